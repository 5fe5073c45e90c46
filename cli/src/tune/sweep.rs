//! `throng tune sweep`: many runs, each with one thing changed, and which of them help.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime};

use clap::{ArgMatches, Command, CommandFactory};
use serde::{Deserialize, Serialize};
use throng_report::folder;
use throng_report::schema::{Arm, Series, Verdict};
use throng_tune::sweep::{self, Outcome as Swept, Trial, Tried};
use throng_tune::{KNOBS, Place, Plan, Scope};

use crate::args::{Cli, SweepArgs, forward};
use crate::exit::{Exit, Failure, Outcome};
use crate::fresh::{self, Fresh};
use crate::load::default_folder;
use crate::noise;
use crate::prepare;
use crate::signals::{self, Stop};
use crate::utc;

/// Flags of this command that its runs do not get, or get from here.
const OWN_FLAGS: [&str; 6] = ["out", "json", "quiet", "until_stdin_closes", "metric", "duet"];
/// What a sweep was asked for, so that it can go on; what it found; and the settings that help.
const ASKED: &str = "asked.json";
const FOUND: &str = "sweep.json";
const PLAN: &str = "plan.toml";

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Asked {
    id: String,
    scenario: String,
    flags: Vec<OsString>,
    trials: Vec<Trial>,
    is_duet: bool,
}

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
    // Before anything is made: a name that is none.
    for (name, value) in &args.knob {
        flag_of(name, value, command)?;
    }
    let started = SystemTime::now();
    let home = args.report.out.clone().unwrap_or_else(|| {
        let mut name = default_folder(&plan, started).into_os_string();
        name.push("-sweep");
        PathBuf::from(name)
    });
    let flags = forward(matches, command, &OWN_FLAGS);
    let (stops, stopped) = channel::<Stop>();
    signals::watch(&stops, false)
        .map_err(|error| Failure::broke(format!("cannot watch for signals: {error}")))?;
    let is_there = home.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    let asked = match (args.resume, is_there) {
        (true, _) => resumed(&home, &args.scenario, &flags)?,
        (false, true) => {
            let why = format!(
                "{} is not empty: name another folder with --out, or go on with --resume",
                home.display()
            );
            return Err(Failure::usage(why));
        }
        (false, false) => {
            fs::create_dir_all(&home)
                .map_err(|error| Failure::usage(format!("{}: {error}", home.display())))?;
            let mut knobs = args.knob.clone();
            if args.auto {
                match proposed(&home, &args.scenario, &flags, &stopped)? {
                    Some(more) => knobs.extend(more),
                    None => return Ok(Exit::Interrupted),
                }
            }
            if knobs.is_empty() {
                eprintln!(
                    "throng: no counter of the run names a knob that a sweep sets: nothing is to be tried"
                );
                return Ok(Exit::Pass);
            }
            let trials = sweep::trials(&knobs, args.factorial).map_err(Failure::usage)?;
            let asked = Asked {
                id: utc::file_name(started),
                scenario: args.scenario.clone(),
                flags,
                trials,
                is_duet: args.duet,
            };
            write_json(&home.join(ASKED), &asked)?;
            asked
        }
    };
    let by_trial: Result<Vec<Vec<OsString>>, Failure> =
        asked.trials.iter().map(|trial| flags_of(trial, command)).collect();
    let mut player = Player {
        asked: &asked,
        by_trial: by_trial?,
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

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).expect("strings and numbers") + "\n";
    fs::write(path, text).map_err(|error| Failure::broke(format!("{}: {error}", path.display())))
}

/// What a sweep that was cut short was asked for.
fn resumed(home: &Path, scenario: &str, flags: &[OsString]) -> Result<Asked, Failure> {
    let path = home.join(ASKED);
    let about = |why: String| Failure::usage(format!("{}: {why}", path.display()));
    let text = fs::read_to_string(&path).map_err(|error| about(error.to_string()))?;
    let asked: Asked = serde_json::from_str(&text).map_err(|error| about(error.to_string()))?;
    if asked.scenario != scenario || asked.flags != flags {
        return Err(about(
            "it was begun with another scenario or other flags: give the same to go on".to_owned(),
        ));
    }
    Ok(asked)
}

/// The flags of `run` that make a trial.
fn flags_of(trial: &Trial, run: &Command) -> Result<Vec<OsString>, Failure> {
    trial.knobs.iter().map(|(name, value)| flag_of(name, value, run)).collect()
}

fn flag_of(name: &str, value: &str, run: &Command) -> Result<OsString, Failure> {
    let ending = format!(".{name}");
    let knob = KNOBS.iter().find(|knob| knob.name == name || knob.name.ends_with(&ending));
    match knob.map(|knob| (knob.name, knob.place, knob.scope)) {
        Some((name, Place::Sysctl | Place::Boot(_), Scope::Namespace)) => {
            return Ok(format!("--sysctl={name}={value}").into());
        }
        Some((_, Place::Throng(Some(flag)), _)) => return Ok(format!("{flag}={value}").into()),
        Some((name, ..)) => {
            let why = format!(
                "{name} is the whole machine's, or Throng's own: a sweep sets what a lab has of its own, and flags"
            );
            return Err(Failure::usage(why));
        }
        None => {}
    }
    let is_flag =
        run.get_arguments().any(|arg| arg.get_long() == Some(name) && arg.get_action().takes_values());
    if is_flag && !OWN_FLAGS.contains(&name) {
        return Ok(format!("--{name}={value}").into());
    }
    let why = format!(
        "`{name}` is neither a setting of a lab's own (`throng tune knobs`) nor a flag of `throng run`"
    );
    Err(Failure::usage(why))
}

/// What the counters of one run propose; `None`: somebody wants an end.
fn proposed(
    home: &Path,
    scenario: &str,
    flags: &[OsString],
    stopped: &Receiver<Stop>,
) -> Result<Option<Vec<(String, String)>>, Failure> {
    let path = home.join("first");
    let fresh = Fresh { program: None, scenario, flags, heading: None };
    if fresh.play(&path, stopped)?.is_none() {
        return Ok(None);
    }
    let summary = folder::open(&path).map_err(|error| Failure::broke(error.to_string()))?;
    let mut knobs = Vec::new();
    for found in &summary.detected {
        eprintln!("throng: {}: {}", found.knob, found.text);
        let knob = KNOBS.iter().find(|knob| knob.name == found.knob);
        let is_ours = knob.is_some_and(|knob| {
            knob.scope == Scope::Namespace || matches!(knob.place, Place::Throng(Some(_)))
        });
        match found.value.clone().filter(|_| is_ours) {
            Some(value) => knobs.push((found.knob.clone(), value)),
            None => eprintln!("throng: no sweep sets it: {}", found.remedy),
        }
    }
    Ok(Some(knobs))
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
    by_trial: Vec<Vec<OsString>>,
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

    /// Makes these runs at the same time, unless they are there.
    fn play<const N: usize>(&mut self, seats: &[Seat; N]) -> Result<bool, Failure> {
        if seats.iter().all(|seat| is_there(&seat.path)) {
            return Ok(true);
        }
        let mut runs = Vec::new();
        for seat in seats {
            // What is left of one that was cut off.
            if seat.path.exists() {
                fs::remove_dir_all(&seat.path)
                    .map_err(|error| Failure::broke(format!("{}: {error}", seat.path.display())))?;
            }
            let mut flags = self.asked.flags.clone();
            flags.extend(seat.trial.iter().flat_map(|trial| self.by_trial[*trial].iter().cloned()));
            let fresh = Fresh { program: None, scenario: &self.asked.scenario, flags: &flags, heading: None };
            runs.push(fresh.start(&seat.path)?);
        }
        let Ok(runs) = <[_; N]>::try_from(runs) else { unreachable!("a run for each seat") };
        let Some(exits) = fresh::wait(runs, &self.stopped)? else { return Ok(false) };
        for (seat, exit) in seats.iter().zip(exits) {
            if exit == Exit::Interrupted {
                return Ok(false);
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
        }
        Ok(true)
    }
}

/// Whether a run came to its end there.
fn is_there(path: &Path) -> bool {
    folder::open(path).is_ok_and(|run| run.series.is_some())
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
    let known = noise::known().of(&tried[0].as_it_is[0]);
    let mut outcome =
        Swept::of(tried, &args.metric, &known).map_err(|error| Failure::broke(error.to_string()))?;
    outcome.is_cut_short = is_cut_short;
    write_json(&home.join(FOUND), &outcome)?;
    let helpful: Vec<(String, String)> = outcome
        .helpful()
        .filter(|trial| trial.knobs.len() == 1)
        .flat_map(|trial| trial.knobs.clone())
        .collect();
    let plan = Plan::of_values(&helpful, format!("{}, as a sweep found", asked.scenario));
    let path = home.join(PLAN);
    fs::write(&path, plan.to_toml())
        .map_err(|error| Failure::broke(format!("{}: {error}", path.display())))?;
    Ok(outcome)
}
