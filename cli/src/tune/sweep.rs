//! `throng tune sweep`: many runs, each with one thing changed, and which of them help.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime};

use clap::{ArgMatches, CommandFactory};
use throng_report::folder;
use throng_report::schema::{Arm, Series, Verdict};
use throng_tune::Plan;
use throng_tune::change::Wanted;
use throng_tune::sweep::{self, Outcome as Swept, Trial, Tried};

use super::apply::OnHost;
use super::asked::{Asked, Asking};
use super::trial::Changes;
use super::write_json;
use crate::args::{Cli, JournalFlag, SweepArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::fresh::{self, Fresh};
use crate::load::default_folder;
use crate::noise;
use crate::prepare;
use crate::signals::{self, Stop};
use crate::utc;

/// What it found, and the settings that help.
const FOUND: &str = "sweep.json";
const PLAN: &str = "plan.toml";
/// How often a run that measured something else is made.
const ATTEMPTS: u64 = 3;

/// Runs the command.
pub(super) fn sweep(args: &SweepArgs, matches: &ArgMatches) -> Outcome {
    let plan = prepare::plan(&args.scenario, &args.plan)?;
    if args.duet && plan.closed_loop_window.is_none() {
        let why = "--duet compares what a message costs: it wants --closed-loop";
        return Err(Failure::usage(why.to_owned()));
    }
    if args.knob.is_empty() && !args.auto && !args.resume {
        let why = "name what to try with --knob NAME=VALUE, or let --auto propose it";
        return Err(Failure::usage(why.to_owned()));
    }
    let commands = Cli::command();
    let command = commands.find_subcommand("run").expect("a command of this program");
    let tune = commands.find_subcommand("tune").expect("a command of this program");
    let audit = tune.find_subcommand("audit").expect("a command of `tune`");
    // Before anything is made: a name that is none.
    let named = Changes::of(&Trial { knobs: args.knob.clone() }, command, args.host)?;
    if args.duet && !named.host.is_empty() {
        let why = "--duet has both runs on one machine at the same time, so the machine's own settings are the same for both";
        return Err(Failure::usage(why.to_owned()));
    }
    let started = SystemTime::now();
    let home = args.report.out.clone().unwrap_or_else(|| {
        let mut name = default_folder(&plan, started).into_os_string();
        name.push("-sweep");
        PathBuf::from(name)
    });
    let (stops, stopped) = channel::<Stop>();
    signals::watch(&stops, false)
        .map_err(|error| Failure::broke(format!("cannot watch for signals: {error}")))?;
    let asking = Asking { args, matches, run: command, audit, home: &home, stopped: &stopped };
    let Some(asked) = asking.settle(utc::file_name(started))? else { return Ok(Exit::Interrupted) };
    if asked.trials.is_empty() {
        let why = "neither the audit nor a counter of the run names a knob that a sweep sets: nothing is to be tried";
        eprintln!("throng: {why}");
        return Ok(Exit::Pass);
    }
    let by_trial: Result<Vec<Changes>, Failure> =
        asked.trials.iter().map(|trial| Changes::of(trial, command, args.host)).collect();
    let mut player = Player {
        asked: &asked,
        by_trial: by_trial?,
        journal: &args.journal,
        home: &home,
        is_quiet: args.report.quiet,
        stopped,
        number: 0,
        began: Instant::now(),
    };
    let ended = player.rounds(args.rounds, args.budget);
    let outcome = match told(&asked, &home, args, !matches!(ended, Ok(Ended::Done))) {
        Ok(outcome) => outcome,
        // Why there is nothing to tell of.
        Err(failure) => return Err(ended.err().unwrap_or(failure)),
    };
    if args.report.json {
        println!("{}", serde_json::to_string_pretty(&outcome).expect("strings and numbers"));
        eprintln!("{}", home.display());
    } else {
        if !args.report.quiet {
            println!("{}", outcome.render());
        }
        println!("{}", home.display());
    }
    Ok(if matches!(ended?, Ended::Stopped) { Exit::Interrupted } else { Exit::Pass })
}

/// How the rounds ended.
enum Ended {
    Done,
    /// The time was up.
    Late,
    /// Somebody asked for it.
    Stopped,
}

/// Makes the runs.
struct Player<'a> {
    asked: &'a Asked,
    by_trial: Vec<Changes>,
    /// Where the machine's settings are noted while they are changed.
    journal: &'a JournalFlag,
    home: &'a Path,
    is_quiet: bool,
    stopped: Receiver<Stop>,
    number: u64,
    began: Instant,
}

/// Where a run stands in the sweep, and where its folder is.
struct Seat {
    path: PathBuf,
    series: Series,
    trial: Option<usize>,
}

impl Player<'_> {
    /// The flags of a run of this trial.
    fn flags(&self, trial: Option<usize>) -> Vec<OsString> {
        let mut flags = self.asked.flags.clone();
        flags.extend(trial.iter().flat_map(|trial| self.by_trial[*trial].flags.iter().cloned()));
        flags
    }

    fn rounds(&mut self, rounds: u64, budget: Duration) -> Result<Ended, Failure> {
        let mut longest = Duration::ZERO;
        for round in 1..=rounds {
            if self.began.elapsed() + longest > budget {
                return Ok(Ended::Late);
            }
            let begins = Instant::now();
            let is_done = if self.asked.is_duet { self.duets(round)? } else { self.turns(round)? };
            if !is_done {
                return Ok(Ended::Stopped);
            }
            longest = longest.max(begins.elapsed());
            if !self.is_quiet {
                let left = longest.mul_f64((rounds - round) as f64).as_secs();
                eprintln!("throng: round {round} of {rounds} is over; about {left} s left");
            }
        }
        Ok(Ended::Done)
    }

    fn seat(&self, block: u64, number: u64, trial: Option<usize>, folder: String) -> Seat {
        let arm = if trial.is_some() { Arm::Candidate } else { Arm::Baseline };
        let is_duet = self.asked.is_duet;
        let series = Series { id: self.asked.id.clone(), arm, block, number, is_duet };
        Seat { path: self.home.join(folder), series, trial }
    }

    /// One round, in turns. False: somebody wants an end.
    fn turns(&mut self, round: u64) -> Result<bool, Failure> {
        for turn in sweep::round(round, self.asked.trials.len()) {
            self.number += 1;
            let name = turn.trial.map_or("as-it-is".to_owned(), |trial| format!("trial-{}", trial + 1));
            let seat =
                self.seat(round, self.number, turn.trial, format!("{name}/{round:02}-{:02}", turn.place));
            if !self.play(&[seat])? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// One round of two duets for each trial.
    fn duets(&mut self, round: u64) -> Result<bool, Failure> {
        for half in 0..2 {
            for trial in 0..self.asked.trials.len() {
                let block = 2 * round - 1 + half;
                self.number += 2;
                // Neither side is always the first.
                let mut sides = [None, Some(trial)];
                sides.rotate_left(half as usize);
                let seats = sides.map(|side| {
                    let name = if side.is_some() { "trial" } else { "as-it-is" };
                    let number = self.number - u64::from(side.is_none());
                    self.seat(block, number, side, format!("{name}-{}/{block:02}", trial + 1))
                });
                if !self.play(&seats)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Makes these runs at the same time, unless they are there; anew while one of them is INVALID, a few times. False: somebody
    /// wants an end.
    fn play<const N: usize>(&mut self, seats: &[Seat; N]) -> Result<bool, Failure> {
        if seats.iter().all(|seat| is_there(&seat.path)) {
            return Ok(true);
        }
        for attempt in 1..=ATTEMPTS {
            let Some(verdicts) = self.play_once(seats)? else { return Ok(false) };
            if !verdicts.contains(&Verdict::Invalid) {
                break;
            }
            if !self.is_quiet && attempt < ATTEMPTS {
                eprintln!("throng: it measured something else, and is made anew");
            }
        }
        Ok(true)
    }

    /// Makes them. `None`: somebody wants an end.
    fn play_once<const N: usize>(&mut self, seats: &[Seat; N]) -> Result<Option<[Verdict; N]>, Failure> {
        let trials = seats.iter().filter_map(|seat| seat.trial);
        let of_host: Vec<Wanted> = trials.flat_map(|trial| self.by_trial[trial].host.clone()).collect();
        // Dropped on the way out, it puts everything back, too.
        let applied = OnHost::set(self.journal, &of_host)?;
        let mut runs = Vec::new();
        for seat in seats {
            // What is left of one that was cut off, or measured something else.
            if seat.path.exists() {
                fs::remove_dir_all(&seat.path)
                    .map_err(|error| Failure::broke(format!("{}: {error}", seat.path.display())))?;
            }
            let flags = self.flags(seat.trial);
            let fresh = Fresh { program: None, scenario: &self.asked.scenario, flags: &flags, heading: None };
            runs.push(fresh.start(&seat.path)?);
        }
        let Ok(runs) = <[_; N]>::try_from(runs) else { unreachable!("a run for each seat") };
        let Some(exits) = fresh::wait(runs, &self.stopped)? else { return Ok(None) };
        applied.put_back()?;
        let mut verdicts = [Verdict::Pass; N];
        for ((seat, exit), verdict) in seats.iter().zip(exits).zip(&mut verdicts) {
            if exit == Exit::Interrupted {
                return Ok(None);
            }
            let name = seat.trial.map_or("as it is".to_owned(), |trial| self.asked.trials[trial].name());
            if matches!(exit, Exit::Broke | Exit::Usage) {
                let message = format!("a run with {name} ended without a verdict; its message stands above");
                return Err(Failure { exit, message });
            }
            let summary = fresh::mark(&seat.path, seat.series.clone())?;
            if !self.is_quiet && summary.verdict != Verdict::Pass {
                let why = summary.reasons.first().map_or("", |reason| reason.text.as_str());
                eprintln!("throng: {name}: {}: {why}", summary.verdict.word());
            }
            *verdict = summary.verdict;
        }
        Ok(Some(verdicts))
    }
}

/// Whether a run came to its end there.
fn is_there(path: &Path) -> bool {
    folder::open(path).is_ok_and(|run| run.series.is_some() && run.verdict != Verdict::Invalid)
}

/// What came of it, and the files that say so.
fn told(asked: &Asked, home: &Path, args: &SweepArgs, is_cut_short: bool) -> Result<Swept, Failure> {
    let tried = asked.trials.iter().enumerate().map(|(at, trial)| Tried {
        trial: trial.clone(),
        as_it_is: match asked.is_duet {
            true => fresh::made(&home.join(format!("as-it-is-{}", at + 1))),
            false => fresh::made(&home.join("as-it-is")),
        },
        runs: fresh::made(&home.join(format!("trial-{}", at + 1))),
    });
    let tried: Vec<Tried> = tried.collect();
    if tried.iter().any(|tried| tried.as_it_is.is_empty() || tried.runs.is_empty()) {
        return Err(Failure::broke("the sweep ended before each trial had a run".to_owned()));
    }
    let first = &tried[0].as_it_is[0];
    let (known, connections) = (noise::known().of(first), first.connections.target);
    let mut outcome =
        Swept::of(tried, &args.metric, &known).map_err(|error| Failure::broke(error.to_string()))?;
    outcome.is_cut_short = is_cut_short;
    write_json(&home.join(FOUND), &outcome)?;
    // The best value of each knob: they come best first. Two at once are not known to help one by one.
    let mut helpful: Vec<(String, String)> = Vec::new();
    for trial in outcome.helpful() {
        match &trial.knobs[..] {
            [(name, value)] if helpful.iter().all(|(known, _)| known != name) => {
                helpful.push((name.clone(), value.clone()));
            }
            [_] => {}
            _ => eprintln!(
                "throng: {} helps, and is not in the plan, which has knobs one by one",
                trial.name()
            ),
        }
    }
    let plan = Plan::of_values(&helpful, format!("{}, as a sweep found", asked.scenario), connections);
    let path = home.join(PLAN);
    fs::write(&path, plan.to_toml())
        .map_err(|error| Failure::broke(format!("{}: {error}", path.display())))?;
    Ok(outcome)
}
