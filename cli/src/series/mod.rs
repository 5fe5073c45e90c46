//! `throng run --repeat` and `--against`: the same plan many times, each time in fresh processes.
//!
//! Two arms take turns in blocks of ABBA (A is what is compared with), so that what the machine does meanwhile hits both; or they are
//! duets, which run at the same time on the same cores (Bulej et al., arXiv 2001.05811). A block with a run that is INVALID says nothing
//! and is made anew, a few times.

mod against;

use std::ffi::OsString;
use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Instant, SystemTime};

use clap::{ArgMatches, CommandFactory};
use throng_report::compare::{self, Compared, Comparison, Judgement, Runs};
use throng_report::schema::{Arm, Series, Verdict};
use throng_report::{Summary, spread};

use crate::args::{Cli, RunArgs, forward};
use crate::child::Held;
use crate::exit::{Exit, Failure, Outcome};
use crate::fresh::{self, Fresh};
use crate::load::default_folder;
use crate::noise;
use crate::page;
use crate::prepare;
use crate::signals::{self, Stop};

use against::Against;

/// Which arm runs when, within a block.
const BLOCK: [Arm; 4] = [Arm::Baseline, Arm::Candidate, Arm::Candidate, Arm::Baseline];
/// Duets that stand for a block: as many runs of each arm.
const DUETS_PER_BLOCK: u64 = 2;
/// Flags of this command that its runs do not get, or get from here.
const OWN_FLAGS: [&str; 10] =
    ["repeat", "against", "duet", "blocks", "metric", "gate", "out", "json", "quiet", "until_stdin_closes"];
/// From here on a difference of costs that would not be seen is worth a word.
const BLURRED_SHARE: f64 = 0.05;
/// Where an unfinished run is put, in the folder of all runs.
const UNFINISHED: &str = "unfinished";
/// Where a comparison stands in the folder of its runs, and its page.
const COMPARISON: &str = "comparison.json";
const PAGE: &str = "comparison.html";

/// Runs the command.
pub(crate) fn run(args: &RunArgs, matches: &ArgMatches) -> Outcome {
    let against = args.series.against.as_deref().map(Against::parse).transpose().map_err(Failure::usage)?;
    let plan = prepare::plan(&args.scenario, &args.plan)?;
    if args.series.duet && plan.closed_loop_window.is_none() {
        let why = "--duet compares what a message costs: it wants --closed-loop, because two runs on the same cores have no latencies of \
                   their own";
        return Err(Failure::usage(why.to_owned()));
    }
    let started = SystemTime::now();
    let home = args.report.out.clone().unwrap_or_else(|| {
        let mut name = default_folder(&plan, started).into_os_string();
        name.push("-series");
        PathBuf::from(name)
    });
    if home.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        let why = format!("{} is not empty: name another folder with --out", home.display());
        return Err(Failure::usage(why));
    }
    let (stops, asked) = channel::<Stop>();
    signals::watch(&stops, args.until_stdin_closes)
        .map_err(|error| Failure::broke(format!("cannot watch for signals: {error}")))?;
    let commands = Cli::command();
    let command = commands.find_subcommand("run").expect("a command of this program");
    let mut player = Player {
        scenario: args.scenario.clone(),
        flags: forward(matches, command, &OWN_FLAGS),
        against,
        id: crate::utc::file_name(started),
        home: home.clone(),
        is_quiet: args.report.quiet,
        asked,
        number: 0,
        began: Instant::now(),
    };
    let ended = match args.series.repeat {
        Some(count) => player.repeat(count),
        None if args.series.duet => player.duets(DUETS_PER_BLOCK * args.series.blocks),
        None => player.blocks(args.series.blocks),
    };
    // Whatever happened, what was made is there, and is worth a look.
    let exit = match args.series.repeat {
        Some(_) => say_spread(args, &home),
        None => say_comparison(args, &home),
    };
    // With --json stdout is for a program.
    if args.report.json {
        eprintln!("{}", home.display());
    } else {
        println!("{}", home.display());
    }
    match ended? {
        Exit::Pass => exit,
        interrupted => Ok(interrupted),
    }
}

/// Where a run stands.
#[derive(Clone, Copy)]
struct Place {
    arm: Arm,
    block: u64,
    is_duet: bool,
    /// Runs of the whole series, as far as is known.
    expected: u64,
}

/// Makes the runs of a series.
struct Player {
    scenario: String,
    flags: Vec<OsString>,
    against: Option<Against>,
    id: String,
    home: PathBuf,
    is_quiet: bool,
    asked: Receiver<Stop>,
    number: u64,
    began: Instant,
}

impl Player {
    /// The same thing so many times.
    fn repeat(&mut self, count: u64) -> Outcome {
        for at in 0..count {
            let path = self.home.join(format!("{:03}", at + 1));
            if self.run(&path, Arm::Baseline, at / BLOCK.len() as u64 + 1, count)?.is_none() {
                return Ok(Exit::Interrupted);
            }
        }
        Ok(Exit::Pass)
    }

    /// Both in turn, until so many blocks are whole; for a broken one another is made, up to half as many.
    fn blocks(&mut self, wanted: u64) -> Outcome {
        let most = wanted + wanted.div_ceil(2);
        let (mut whole, mut block) = (0, 0);
        while whole < wanted && block < most {
            block += 1;
            let mut is_whole = true;
            for (place, arm) in BLOCK.into_iter().enumerate() {
                let path = self.home.join(arm.name()).join(format!("{block:02}-{}", place + 1));
                let expected = (wanted + block - 1 - whole) * BLOCK.len() as u64;
                match self.run(&path, arm, block, expected)? {
                    Some(Verdict::Invalid) => is_whole = false,
                    Some(_) => {}
                    None => return Ok(Exit::Interrupted),
                }
            }
            whole += u64::from(is_whole);
        }
        Ok(Exit::Pass)
    }

    /// So many duets; for a broken one another is made, up to half as many.
    fn duets(&mut self, wanted: u64) -> Outcome {
        let most = wanted + wanted.div_ceil(2);
        let (mut whole, mut duet) = (0, 0);
        while whole < wanted && duet < most {
            duet += 1;
            let expected = 2 * (wanted + duet - 1 - whole);
            // Neither arm is always the first.
            let mut arms = [Arm::Baseline, Arm::Candidate];
            arms.rotate_left((duet % 2) as usize);
            let paths = arms.map(|arm| self.home.join(arm.name()).join(format!("{duet:02}")));
            let started = [0, 1].map(|at| self.start(&paths[at], arms[at]));
            let [first, second] = started;
            let played = first.and_then(|first| fresh::wait([first, second?], &self.asked));
            let exits = match played {
                Ok(Some(exits)) => exits.map(|exit| Ok(Some(exit))),
                Ok(None) => [Ok(None), Ok(None)],
                Err(failure) => {
                    paths.iter().for_each(|path| self.put_aside(path));
                    return Err(failure);
                }
            };
            let mut is_whole = true;
            for (at, exit) in exits.into_iter().enumerate() {
                let place = Place { arm: arms[at], block: duet, is_duet: true, expected };
                match self.take(&paths[at], exit, place)? {
                    Some(Verdict::Invalid) => is_whole = false,
                    Some(_) => {}
                    None => return Ok(Exit::Interrupted),
                }
            }
            whole += u64::from(is_whole);
        }
        Ok(Exit::Pass)
    }

    /// One run of `expected`. `None`: somebody wants an end.
    fn run(&mut self, path: &Path, arm: Arm, block: u64, expected: u64) -> Result<Option<Verdict>, Failure> {
        let played = self.start(path, arm).and_then(|run| fresh::wait([run], &self.asked));
        let exit = played.map(|exits| exits.map(|[exit]| exit));
        self.take(path, exit, Place { arm, block, is_duet: false, expected })
    }

    /// Begins a run of this arm.
    fn start(&self, path: &Path, arm: Arm) -> Result<Held, Failure> {
        let other = self.against.as_ref().filter(|_| arm == Arm::Baseline);
        let mut flags = self.flags.clone();
        flags.extend(other.iter().flat_map(|against| against.flags.iter().cloned()));
        let program = other.and_then(|against| against.program.as_deref());
        Fresh { program, scenario: &self.scenario, flags: &flags, heading: None }.start(path)
    }

    /// Takes up a run that ended. `None`: somebody wants an end.
    fn take(
        &mut self,
        path: &Path,
        played: Result<Option<Exit>, Failure>,
        place: Place,
    ) -> Result<Option<Verdict>, Failure> {
        self.number += 1;
        if !matches!(played, Ok(Some(Exit::Pass | Exit::Fail | Exit::Invalid))) {
            self.put_aside(path);
        }
        let Some(exit) = played? else { return Ok(None) };
        if matches!(exit, Exit::Broke | Exit::Usage | Exit::Interrupted) {
            let message = format!("run {} ended without a verdict; its message stands above", self.number);
            return Err(Failure { exit, message });
        }
        let Place { arm, block, is_duet, expected } = place;
        let place = Series { id: self.id.clone(), arm, block, number: self.number, is_duet };
        let summary = fresh::mark(path, place)?;
        self.say(&summary, arm, expected);
        Ok(Some(summary.verdict))
    }

    /// What is left of a run that did not come to its end is no run of the series.
    fn put_aside(&self, path: &Path) {
        let mut aside = self.home.join(UNFINISHED);
        if aside.exists() {
            aside.set_extension("2"); // of a duet there are two
        }
        if let Err(error) = path.exists().then(|| fs::rename(path, &aside)).transpose() {
            eprintln!("throng: {} is unfinished, and in the way of comparisons: {error}", path.display());
        }
    }

    fn say(&self, summary: &Summary, arm: Arm, expected: u64) {
        if self.is_quiet {
            return;
        }
        let arm = if self.against.is_some() { format!(", {}", arm.name()) } else { String::new() };
        let left =
            self.began.elapsed().mul_f64(expected.saturating_sub(self.number) as f64 / self.number as f64);
        let reason = summary.reasons.first().map_or_else(String::new, |reason| format!(" ({})", reason.text));
        eprintln!(
            "throng: run {} of {expected}{arm}: {}{reason}; about {} left",
            self.number,
            summary.verdict.word(),
            throng_report::text::time(left.as_secs_f64().round() * 1e6),
        );
    }
}

fn say_spread(args: &RunArgs, home: &Path) -> Outcome {
    let runs = fresh::made(home);
    noise::learn(&[&runs]);
    if !args.report.quiet {
        println!("{}", spread::render(&runs));
    }
    let worst = runs.iter().map(|run| run.verdict).max_by_key(|verdict| match verdict {
        Verdict::Pass => 0,
        Verdict::Invalid => 1,
        Verdict::Fail => 2,
    });
    Ok(worst.map_or(Exit::Pass, Exit::from))
}

fn say_comparison(args: &RunArgs, home: &Path) -> Outcome {
    let arms = [Arm::Baseline, Arm::Candidate];
    let [baseline, candidate] = arms.map(|arm| fresh::made(&home.join(arm.name())));
    if baseline.is_empty() || candidate.is_empty() {
        return Ok(Exit::Pass); // why, was said
    }
    let known = noise::known().of(&baseline[0]);
    let against = args.series.against.as_deref().unwrap_or_default();
    let name = format!("`{against}`");
    let compared = compare::compare(
        Runs { name: &name, runs: &baseline },
        Runs { name: "this", runs: &candidate },
        &args.series.judging.metric,
        &known,
        false,
    );
    let comparison = compared.map_err(|error| Failure::broke(error.to_string()))?;
    // An arm that differs tells of itself, not of the machine.
    match comparison.judgement {
        Judgement::NoDifference => noise::learn(&[&baseline, &candidate]),
        _ => noise::learn(&[&baseline]),
    }
    let json = serde_json::to_string_pretty(&comparison).expect("strings and numbers") + "\n";
    let path = home.join(COMPARISON);
    fs::write(&path, &json).map_err(|error| Failure::broke(format!("{}: {error}", path.display())))?;
    let paths = arms.map(|arm| home.join(arm.name()));
    page::compared(&home.join(PAGE), &comparison, [&paths[0], &paths[1]]);
    if !args.report.quiet && is_blurred(&comparison) && candidate[0].plan.is_closed_loop() {
        eprintln!(
            "throng: this machine is too noisy for less to be seen in turn; --duet tells what a message costs all the same"
        );
    }
    let mut stdout = std::io::stdout().lock();
    let colour = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // A closed stdout wants no comparison; the folder has it, and the exit code the verdict.
    let _ = match (args.report.json, args.report.quiet) {
        (true, _) => write!(stdout, "{json}"),
        (_, true) => Ok(()),
        _ => writeln!(stdout, "{}", compare::render(&comparison, colour)),
    };
    Ok(if args.series.judging.gate { Exit::from(comparison.judgement) } else { Exit::Pass })
}

/// Whether a cost that may differ by more than people put up with would not have been seen.
fn is_blurred(comparison: &Comparison) -> bool {
    let cost = comparison.metrics.iter().find(|metric| metric.metric == "messages_per_cpu_s");
    let is_hidden = |cost: &Compared| {
        cost.judgement == Judgement::NoDifference && cost.smallest_seen_share > Some(BLURRED_SHARE)
    };
    !comparison.is_duet && cost.is_some_and(is_hidden)
}
