//! Setting what a plan says, in a lab or on this machine, and putting it back.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::SystemTime;

use throng_tune::Plan;
use throng_tune::change::{self, Change, Fate, Journal, Keeper, Left, Progress, Restored, Wanted};

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
    let lab = lab::open(true, 2 * plan.connections, &asked)?;
    eprintln!("throng: {}", lab::describe(&lab));
    // On success this process is the command.
    let error = Command::new(program).args(rest).exec();
    Err(Failure::broke(format!("cannot start {}: {error}", program.display())))
}

fn say(wanted: &Wanted) {
    let now = change::read(&wanted.path).unwrap_or_default();
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
    for tuner in throng_tune::other_tuners() {
        eprintln!("throng: {tuner}: it may change this again");
    }
    let keeper = keeper(&args.journal);
    let Some(journal) = set_all(&keeper, &wanted, args.die_after)? else {
        println!("nothing is to be set: everything is as the plan wants it");
        return Ok(Exit::Pass);
    };
    list(&journal);
    println!("`throng tune rollback` puts it back ({})", keeper.path().display());
    Ok(Exit::Pass)
}

/// Sets all of it, or at the first refusal none. `None`: everything is so already.
fn set_all(keeper: &Keeper, wanted: &[Wanted], die_after: Option<u64>) -> Result<Option<Journal>, Failure> {
    let boot = boot_id()?;
    let began = utc::rfc3339(SystemTime::now());
    let mut change = Change::new(keeper.clone(), wanted, boot.clone(), began).map_err(Failure::broke)?;
    if change.entries().is_empty() {
        return Ok(None);
    }
    let mut steps = 0;
    loop {
        if die_after == Some(steps) {
            let this = rustix::process::getpid();
            let _ = rustix::process::kill_process(this, rustix::process::Signal::KILL);
        }
        steps += 1;
        match change.step() {
            Ok(true) => {}
            Ok(false) => return Ok(Some(change.finish())),
            Err(why) => {
                drop(change); // with its lock
                let restored = change::restore(keeper, &boot);
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
}

/// Settings of this machine, for as long as a run of a sweep. Dropped, they are put back; killed, `throng tune rollback` does it.
pub(super) struct OnHost {
    keeper: Option<Keeper>,
}

impl OnHost {
    /// Sets them; nothing where there are none.
    pub(super) fn set(flag: &JournalFlag, wanted: &[Wanted]) -> Result<OnHost, Failure> {
        if wanted.is_empty() {
            return Ok(OnHost { keeper: None });
        }
        if let Some(need) = change::needs(wanted).first() {
            return Err(Failure::broke(need.clone()));
        }
        let keeper = keeper(flag);
        let is_set = set_all(&keeper, wanted, None)?.is_some();
        Ok(OnHost { keeper: is_set.then_some(keeper) })
    }

    /// Puts them back.
    ///
    /// # Errors
    /// Not all of it could be, or somebody else changed it meanwhile.
    pub(super) fn put_back(mut self) -> Result<(), Failure> {
        let Some(keeper) = self.keeper.take() else { return Ok(()) };
        let outcome = change::restore(&keeper, &boot_id()?).map_err(Failure::broke)?;
        if outcome.is_whole() {
            return Ok(());
        }
        tell(&outcome);
        Err(Failure::broke("what was tried on this machine could not be put back: see above".to_owned()))
    }
}

impl Drop for OnHost {
    fn drop(&mut self) {
        if self.keeper.is_some()
            && let Err(failure) = (OnHost { keeper: self.keeper.take() }).put_back()
        {
            eprintln!("throng: {}", failure.message);
        }
    }
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
    for Left { name, now, was } in &outcome.left {
        eprintln!("throng: {name} is left alone: somebody else made it {now} since; it was {was}");
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
                journal.is_of_this_network().map_err(Failure::broke)?;
                for entry in journal.entries.iter().rev() {
                    let now = change::read(&entry.path).unwrap_or_default();
                    let (name, now_words) = (&entry.name, words(&now));
                    match entry.fate(&now) {
                        Fate::Stays => {}
                        Fate::PutBack => println!("{name}: {now_words} -> {}", words(&entry.old)),
                        Fate::LeftAlone => {
                            println!("{name}: {now_words}, left alone: somebody else made it that");
                        }
                    }
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
                let now = change::read(&entry.path).unwrap_or_default();
                if entry.became.as_ref() != Some(&now) {
                    println!("{}: somebody else made it {} since", entry.name, now.trim());
                }
            }
        }
    }
    for tuner in throng_tune::other_tuners() {
        println!("{tuner}");
    }
    Ok(Exit::Pass)
}
