//! Setting what a plan says, in a lab or on this machine, and putting it back.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::SystemTime;

use throng_tune::Plan;
use throng_tune::change::{self, Change, Entry, Journal, Keeper, Progress, Restored, Wanted};

use crate::args::{ApplyArgs, JournalFlag, RollbackArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::lab;
use crate::utc;

/// Names this start of the kernel.
fn boot_id() -> Result<String, Failure> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string(path).map_err(|error| Failure::broke(format!("{path}: {error}")))?;
    Ok(text.trim().to_owned())
}

fn keeper(flag: &JournalFlag) -> Keeper {
    Keeper::new(flag.journal.clone())
}

/// `throng tune apply`.
pub(super) fn apply(args: &ApplyArgs) -> Outcome {
    let about = |why: String| Failure::usage(format!("{}: {why}", args.plan.display()));
    let text = fs::read_to_string(&args.plan).map_err(|error| about(error.to_string()))?;
    let plan = Plan::from_toml(&text).map_err(about)?;
    for setting in &plan.by_hand {
        eprintln!("throng: by hand: {} {}; {}", setting.name, setting.value, setting.how);
    }
    match (args.host, args.command.is_empty()) {
        (true, true) => on_host(args, &plan),
        (true, false) => Err(Failure::usage("--host sets this machine, and runs no command".to_owned())),
        (false, _) => in_lab(args, &plan),
    }
}

/// In a lab of its own, which goes with the command that runs in it.
fn in_lab(args: &ApplyArgs, plan: &Plan) -> Outcome {
    let wanted = plan.wanted(false);
    for setting in plan.set.iter().filter(|setting| wanted.iter().all(|wanted| wanted.name != setting.name)) {
        eprintln!("throng: {} is the whole machine's, and not set in a lab: that takes --host", setting.name);
    }
    if args.dry_run {
        wanted.iter().for_each(say);
        return Ok(Exit::Pass);
    }
    let Some((program, rest)) = args.command.split_first() else {
        let why =
            "a lab goes with what runs in it: name a command behind --, or set this machine with --host";
        return Err(Failure::usage(why.to_owned()));
    };
    let asked: Vec<(String, String)> = wanted.into_iter().map(|wanted| (wanted.name, wanted.value)).collect();
    let lab = lab::open(true, 0, &asked)?;
    eprintln!("throng: {}", lab::describe(&lab));
    // On success this process is the command.
    let error = Command::new(program).args(rest).exec();
    Err(Failure::broke(format!("cannot start {}: {error}", program.display())))
}

fn say(wanted: &Wanted) {
    let now = fs::read_to_string(&wanted.path).unwrap_or_default();
    println!("{}: {} -> {}", wanted.name, words(&now), wanted.value);
}

/// A value with single blanks.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// On this machine, with a journal.
fn on_host(args: &ApplyArgs, plan: &Plan) -> Outcome {
    let wanted = plan.wanted(true);
    let needs = change::needs(&wanted);
    if args.dry_run {
        wanted.iter().for_each(say);
        needs.iter().for_each(|need| println!("needs: {need}"));
        return Ok(if needs.is_empty() { Exit::Pass } else { Exit::Broke });
    }
    if !needs.is_empty() {
        let list: Vec<String> = needs.iter().map(|need| format!("\n  {need}")).collect();
        return Err(Failure::broke(format!("nothing was set, since not all of it can be:{}", list.concat())));
    }
    for (name, pid, what) in throng_tune::other_tuners() {
        eprintln!("throng: {name} runs here ({pid}), and {what}: it may change this again");
    }
    let boot = boot_id()?;
    let keeper = keeper(&args.journal);
    let began = utc::rfc3339(SystemTime::now());
    let mut change = Change::new(keeper.clone(), &wanted, boot.clone(), began).map_err(Failure::broke)?;
    if change.entries().is_empty() {
        println!("nothing is to be set: everything is as the plan wants it");
        return Ok(Exit::Pass);
    }
    let mut steps = 0;
    loop {
        if args.die_after == Some(steps) {
            let this = rustix::process::getpid();
            let _ = rustix::process::kill_process(this, rustix::process::Signal::KILL);
        }
        steps += 1;
        match change.step() {
            Ok(true) => {}
            Ok(false) => break,
            Err(why) => {
                drop(change); // with its lock
                let restored = change::restore(&keeper, &boot);
                let outcome = restored.map_err(|error| Failure::broke(format!("{why}; {error}")))?;
                tell(&outcome);
                let left = if outcome.is_whole() {
                    "everything is as it was"
                } else {
                    "not all of it could be put back"
                };
                return Err(Failure::broke(format!("{why}; {left}")));
            }
        }
    }
    let journal = change.finish();
    list(&journal);
    println!("`throng tune rollback` puts it back ({})", keeper.path().display());
    Ok(Exit::Pass)
}

/// What a journal says of each setting.
fn list(journal: &Journal) {
    for entry in &journal.entries {
        let became = entry.became.as_deref().map(words).unwrap_or_default();
        let rounded = if became == words(&entry.new) || became.is_empty() {
            String::new()
        } else {
            format!(" (asked for {}, the kernel made it that)", entry.new)
        };
        let (old, new) = (words(&entry.old), if became.is_empty() { entry.new.clone() } else { became });
        match entry.progress {
            Progress::Written => println!("{}: {old} -> {new}{rounded}", entry.name),
            Progress::Writing => println!("{}: {old} -> {new}, cut off while it was written", entry.name),
            Progress::Waiting => println!("{}: {old}, not touched", entry.name),
            Progress::Restored => println!("{}: {old}, as it was", entry.name),
        }
    }
}

/// What became of putting back.
fn tell(outcome: &Restored) {
    for name in &outcome.restored {
        eprintln!("throng: {name} is as it was");
    }
    for (name, now) in &outcome.left {
        eprintln!("throng: {name} is left alone: somebody else made it {now} since");
    }
    for (name, why) in &outcome.failed {
        eprintln!("throng: {name} could not be put back: {why}");
    }
}

/// `throng tune rollback`.
pub(super) fn rollback(args: &RollbackArgs) -> Outcome {
    let (keeper, boot) = (keeper(&args.journal), boot_id()?);
    let journal = keeper.read().map_err(Failure::broke)?;
    if args.dry_run {
        match &journal {
            Some(journal) if journal.boot_id == boot => {
                let changed = |entry: &&Entry| entry.progress != Progress::Waiting;
                for entry in journal.entries.iter().rev().filter(changed) {
                    let now = fs::read_to_string(&entry.path).unwrap_or_default();
                    println!("{}: {} -> {}", entry.name, words(&now), words(&entry.old));
                }
            }
            Some(_) => println!("a restart has put everything back"),
            None => println!("nothing is to be put back"),
        }
        return Ok(Exit::Pass);
    }
    let outcome = change::restore(&keeper, &boot).map_err(Failure::broke)?;
    if journal.is_some_and(|journal| journal.boot_id != boot) {
        println!("a restart has put everything back; the journal is gone");
    }
    tell(&outcome);
    Ok(if outcome.is_whole() { Exit::Pass } else { Exit::Broke })
}

/// `throng tune status`.
pub(super) fn status(flag: &JournalFlag) -> Outcome {
    let keeper = keeper(flag);
    match keeper.read().map_err(Failure::broke)? {
        None => println!("nothing is applied"),
        Some(journal) if journal.boot_id != boot_id()? => {
            println!("nothing is applied: a restart has put back what was, {}", journal.began_utc);
        }
        Some(journal) => {
            let state = if journal.is_done() {
                "applied"
            } else {
                "cut off, to be put back by `throng tune rollback`"
            };
            println!("{state}, {}", journal.began_utc);
            list(&journal);
            for entry in journal.entries.iter().filter(|entry| entry.progress == Progress::Written) {
                let now = fs::read_to_string(&entry.path).unwrap_or_default();
                if entry.became.as_ref() != Some(&now) {
                    println!("{}: somebody else made it {} since", entry.name, now.trim());
                }
            }
        }
    }
    for (name, pid, what) in throng_tune::other_tuners() {
        println!("{name} ({pid}) runs, and {what}");
    }
    Ok(Exit::Pass)
}
