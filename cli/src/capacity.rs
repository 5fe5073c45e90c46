//! `throng capacity`: the most that still does what is asked, found by many runs in fresh processes.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime};

use clap::{ArgMatches, CommandFactory};
use throng_loadgen::{Bounds, Plan, Search};
use throng_report::capacity::{Capacity, Exhausted, Find, SCHEMA, Trial};
use throng_report::folder;
use throng_report::schema::Verdict;
use throng_report::text::count;

use crate::args::{CapacityArgs, Cli, FindName, forward};
use crate::exit::{Exit, Failure, Outcome};
use crate::fresh::Fresh;
use crate::load::default_folder;
use crate::page;
use crate::prepare;
use crate::screen;
use crate::signals::{self, Stop};

/// The least that is tried.
const LOAD_MIN: u64 = 10;
/// The most that is tried where nothing else is said.
const RATE_MAX: u64 = 10_000_000;
const CONNECTIONS_MAX: u64 = 100_000_000;
/// How long each trial measures where nothing else is said: there are some twenty of them.
const WINDOW: &str = "5s";
/// What this command gives its runs itself.
const OWN_FLAGS: [&str; 5] = ["out", "json", "quiet", "heading", "until_stdin_closes"];
/// How many trials a screen tells of.
const TRIALS_SHOWN: usize = 3;
/// What the search leaves behind.
const CAPACITY: &str = "capacity.json";
const PAGE: &str = "capacity.html";

/// Runs the command.
pub(crate) fn run(args: &CapacityArgs, matches: &ArgMatches) -> Outcome {
    let (find, default) = match args.find {
        FindName::Rate => (Find::Rate, "pairs"),
        FindName::Connections => (Find::Connections, "idle"),
    };
    let scenario = args.scenario.as_deref().unwrap_or(default);
    let plan = prepare::plan(scenario, &args.plan)?;
    if find == Find::Rate && plan.facts().rate_per_s.is_none() {
        let why = format!(
            "{} has no rate of messages to search for: --find rate wants an open loop",
            plan.scenario
        );
        return Err(Failure::usage(why));
    }
    let home = home(args, &plan)?;
    let (stops, asked) = channel::<Stop>();
    signals::watch(&stops, false)
        .map_err(|error| Failure::broke(format!("cannot watch for signals: {error}")))?;
    let trials = Trials {
        find,
        scenario,
        flags: flags(args, matches, find),
        home: &home,
        is_quiet: args.report.quiet,
        is_forced: args.local.generator.force,
        has_screen: screen::is_wanted(&args.report),
        asked,
        begun: 0,
    };
    let (search, mut capacity, ended) = trials.search(bounds(args, find, &plan), args.time_limit);
    capacity.scenario.clone_from(&plan.scenario);
    capacity.thresholds = args.report.threshold.iter().map(ToString::to_string).collect();
    if let Some(found) = search.found() {
        capacity.load = Some(found.load);
        [capacity.low, capacity.high] = [Some(found.low), Some(found.high)];
        capacity.is_lower_bound = found.is_lower_bound;
    }
    capacity.name_exhausted();
    let json = serde_json::to_string_pretty(&capacity).expect("strings and numbers") + "\n";
    let path = home.join(CAPACITY);
    fs::write(&path, &json).map_err(|error| Failure::broke(format!("{}: {error}", path.display())))?;
    page::searched(&home.join(PAGE), &capacity);
    if args.report.json {
        eprintln!("{}", home.display());
        print!("{json}");
    } else {
        if !args.report.quiet {
            println!("{}", capacity.render());
        }
        println!("{}", home.display());
    }
    Ok(match (ended?, capacity.load) {
        (Ended::Stopped, _) => Exit::Interrupted,
        (Ended::Done, Some(_)) => Exit::Pass,
        // When every trial measured something else, the server did nothing wrong.
        (Ended::Done, None) if capacity.trials.iter().all(|trial| trial.verdict == Verdict::Invalid) => {
            Exit::Invalid
        }
        (Ended::Done, None) => Exit::Fail,
    })
}

fn home(args: &CapacityArgs, plan: &Plan) -> Result<PathBuf, Failure> {
    let home = args.report.out.clone().unwrap_or_else(|| {
        let mut name = default_folder(plan, SystemTime::now()).into_os_string();
        name.push("-capacity");
        PathBuf::from(name)
    });
    if home.join(CAPACITY).exists() {
        let why = format!("{} holds a search already: name another folder with --out", home.display());
        return Err(Failure::usage(why));
    }
    // Now, since there may be no run that would make it.
    fs::create_dir_all(&home).map_err(|error| Failure::usage(format!("{}: {error}", home.display())))?;
    Ok(home)
}

fn bounds(args: &CapacityArgs, find: Find, plan: &Plan) -> Bounds {
    let (start, max) = match find {
        Find::Rate => (plan.rate_per_s.round() as u64, RATE_MAX),
        Find::Connections => (plan.connections, CONNECTIONS_MAX),
    };
    let max = args.max.unwrap_or(max);
    Bounds { start, min: LOAD_MIN.min(max), max, precision_share: args.precision }
}

/// Flags of every run.
fn flags(args: &CapacityArgs, matches: &ArgMatches, find: Find) -> Vec<OsString> {
    let commands = Cli::command();
    let command = commands.find_subcommand("run").expect("a command of this program");
    let mut except = OWN_FLAGS.to_vec();
    match find {
        Find::Rate => except.extend(["rate", "rate_per_user"]),
        Find::Connections => except.push("connections"),
    }
    let mut flags = forward(matches, command, &except);
    if args.plan.duration.is_none() {
        flags.push(format!("--duration={WINDOW}").into());
    }
    flags
}

/// How a search ended.
enum Ended {
    /// By itself, or since the time was up.
    Done,
    /// Somebody asked for it.
    Stopped,
}

/// Makes the runs of a search.
struct Trials<'a> {
    find: Find,
    scenario: &'a str,
    flags: Vec<OsString>,
    home: &'a Path,
    is_quiet: bool,
    /// Try although the machine does not fit.
    is_forced: bool,
    /// Each run shows the live screen.
    has_screen: bool,
    asked: Receiver<Stop>,
    begun: u64,
}

impl Trials<'_> {
    /// Searches until it is done, the time is up, somebody wants an end, or a trial breaks. Whatever it was, what was found by then
    /// is told.
    fn search(mut self, bounds: Bounds, limit: Duration) -> (Search, Capacity, Result<Ended, Failure>) {
        let began = Instant::now();
        let mut search = Search::new(bounds);
        let mut capacity = Capacity { schema: SCHEMA.to_owned(), find: self.find, ..Capacity::default() };
        let mut longest = Duration::ZERO;
        let ended = loop {
            let Some(load) = search.next() else { break Ok(Ended::Done) };
            if began.elapsed() + longest > limit {
                capacity.is_cut_short = true;
                break Ok(Ended::Done);
            }
            let begins = Instant::now();
            let load = match self.find {
                Find::Rate => load,
                Find::Connections => load - load % 2, // nobody without a partner
            };
            match self.try_load(load, &mut capacity.trials) {
                Ok(Some(held)) => search.tell(held),
                Ok(None) => break Ok(Ended::Stopped),
                Err(failure) => break Err(failure),
            }
            longest = longest.max(begins.elapsed());
        };
        capacity.is_cut_short |= !matches!(ended, Ok(Ended::Done));
        capacity.took_s = began.elapsed().as_secs_f64();
        (search, capacity, ended)
    }

    /// Whether a load holds. What is INVALID is tried once more before it counts as not: the machine may have been busy with
    /// something else. `None`: somebody wants an end.
    fn try_load(&mut self, load: u64, trials: &mut Vec<Trial>) -> Result<Option<bool>, Failure> {
        for attempt in 0..2 {
            let Some(trial) = self.run(load, trials)? else { return Ok(None) };
            self.say(&trial);
            let verdict = trial.verdict;
            let is_final = verdict != Verdict::Invalid || trial.run.is_none() || attempt == 1;
            trials.push(trial);
            if is_final {
                return Ok(Some(verdict == Verdict::Pass));
            }
        }
        unreachable!("the second attempt is final")
    }

    fn run(&mut self, load: u64, trials: &[Trial]) -> Result<Option<Trial>, Failure> {
        let name = match self.find {
            Find::Rate => "rate",
            Find::Connections => "connections",
        };
        let mut flags = self.flags.clone();
        flags.push(format!("--{name}={load}").into());
        let heading = self.has_screen.then(|| heading(self.find, self.begun + 1, load, trials));
        let fresh = Fresh { program: None, scenario: self.scenario, flags: &flags, heading };
        let obstacle = if self.is_forced { None } else { fresh.obstacle()? };
        if let Some(why) = obstacle {
            return Ok(Some(refused(load, why)));
        }
        self.begun += 1;
        let path = self.home.join(format!("{:03}-{load}", self.begun));
        let Some(exit) = fresh.play(&path, &self.asked)? else { return Ok(None) };
        if exit == Exit::Interrupted {
            return Ok(None); // by a key of its screen
        }
        if matches!(exit, Exit::Broke | Exit::Usage) {
            let message = format!(
                "the run with {} ended without a verdict; its message stands above",
                self.find.show(load)
            );
            return Err(Failure { exit, message });
        }
        let summary = folder::open(&path).map_err(|error| Failure::broke(error.to_string()))?;
        Ok(Some(Trial::of(load, &summary, path.display().to_string())))
    }

    fn say(&self, trial: &Trial) {
        if self.is_quiet {
            return;
        }
        let why = trial.reason.as_ref().map_or_else(String::new, |(_, text)| format!(": {text}"));
        eprintln!("throng: {}: {}{why}", self.find.show(trial.load), trial.verdict.word());
    }
}

/// What a run's screen says of the search: the run, and what became of the last ones.
fn heading(find: Find, number: u64, load: u64, trials: &[Trial]) -> String {
    let last = trials.iter().rev().take(TRIALS_SHOWN).rev();
    let last: Vec<String> =
        last.map(|trial| format!("{} {}", count(trial.load as f64), trial.verdict.word())).collect();
    let before = if last.is_empty() { String::new() } else { format!("; before: {}", last.join(", ")) };
    format!("search, run {number}: {}{before}", find.show(load))
}

/// A run that the machine has no room for, and that was not begun.
fn refused(load: u64, why: String) -> Trial {
    let is_memory = why.starts_with("memory available");
    Trial {
        load,
        verdict: Verdict::Invalid,
        reason: Some(("does_not_fit".to_owned(), why)),
        exhausted: Some(if is_memory { Exhausted::Memory } else { Exhausted::KernelLimit }),
        ..Trial::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_says_what_became_of_the_last_trials() {
        let of = |trials: &[Trial]| heading(Find::Rate, 3, 20_000, trials);
        let trial = |load, verdict| Trial { load, verdict, ..Trial::default() };
        assert_eq!(of(&[]), "search, run 3: 20.0 k messages/s");
        let trials = [
            (8_000, Verdict::Pass),
            (16_000, Verdict::Pass),
            (32_000, Verdict::Fail),
            (24_000, Verdict::Invalid),
        ]
        .map(|(load, verdict)| trial(load, verdict));
        assert_eq!(
            of(&trials),
            "search, run 3: 20.0 k messages/s; before: 16.0 k PASS, 32.0 k FAIL, 24.0 k INVALID"
        );
    }
}
