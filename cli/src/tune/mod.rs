//! `throng tune`: which settings hold this machine back, and changing them.

mod apply;
mod sweep;

use std::fs;

use clap::ArgMatches;
use throng_tune::{KNOBS, Line, Plan, Verdict, audit, describe};

use crate::args::{Role, TargetFlags, TuneCommand, TunePlanArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::prepare;
use crate::size::Sized;

/// Runs the command.
pub(crate) fn tune(command: &TuneCommand, matches: &ArgMatches) -> Outcome {
    match command {
        TuneCommand::Audit(args) => {
            let (_, lines) = judge(&args.target)?;
            if args.json {
                println!("{}", serde_json::to_string_pretty(&lines).expect("strings and numbers"));
            } else {
                print!("{}", throng_tune::render(&lines));
            }
            let is_blocked = lines.iter().any(|line| line.verdict == Verdict::Blocks);
            Ok(if is_blocked { Exit::Broke } else { Exit::Pass })
        }
        TuneCommand::Plan(args) => plan(args),
        TuneCommand::Apply(args) => apply::apply(args),
        TuneCommand::Rollback(args) => apply::rollback(args),
        TuneCommand::Sweep(args) => {
            sweep::sweep(args, matches.subcommand().map_or(matches, |(_, flags)| flags))
        }
        TuneCommand::Status(journal) => apply::status(journal),
        TuneCommand::Knobs { name } => knobs(name.as_deref()),
    }
}

/// The target in words, and every knob for it.
fn judge(flags: &TargetFlags) -> Result<(String, Vec<Line>), Failure> {
    let plan = prepare::plan(&flags.scenario, &flags.plan)?;
    let about = format!(
        "{} with {} connections and {} messages/s, {}",
        plan.scenario,
        plan.connections,
        plan.rate_per_s,
        match flags.role {
            Role::Both => "both sides here",
            Role::Server => "the server here",
            Role::Users => "the users here",
        }
    );
    let machine = prepare::machine()?;
    let mut target = Sized::new(plan, &flags.local, &machine)?.target;
    match flags.role {
        Role::Both => {}
        Role::Server => target.generator = None,
        Role::Users => {
            target.server = None;
            if let Some((_, sources)) = &mut target.generator {
                sources.loopback = false;
                sources.addresses = flags.source_addresses;
            }
        }
    }
    Ok((about, audit(&target, &machine)))
}

fn plan(args: &TunePlanArgs) -> Outcome {
    let (about, lines) = judge(&args.target)?;
    let plan = Plan::of(&lines, about, args.all);
    let write = |path: &std::path::Path, text: &str| {
        let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
        let written = folder.and_then(|()| fs::write(path, text));
        written.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
    };
    if let Some(folder) = &args.emit {
        for (name, text) in plan.files() {
            let path = folder.join(name);
            write(&path, &text)?;
            eprintln!("throng: {}", path.display());
        }
    }
    match &args.out {
        Some(path) => write(path, &plan.to_toml())?,
        None => print!("{}", plan.to_toml()),
    }
    eprintln!("throng: {} to be set, {} to be done by hand", plan.set.len(), plan.by_hand.len());
    Ok(Exit::Pass)
}

/// What is known of one knob, or the names of all.
fn knobs(name: Option<&str>) -> Outcome {
    let Some(name) = name else {
        for knob in KNOBS {
            println!("{:<36} {:<10} {}", knob.name, knob.scope.word(), knob.what);
        }
        return Ok(Exit::Pass);
    };
    let ending = format!(".{name}");
    let found = KNOBS.iter().filter(|knob| knob.name == name || knob.name.ends_with(&ending));
    let texts: Vec<String> = found.map(|knob| describe(knob)).collect();
    if texts.is_empty() {
        let why = format!("no knob `{name}`: `throng tune knobs` lists those that there are");
        return Err(Failure::usage(why));
    }
    print!("{}", texts.join("\n"));
    Ok(Exit::Pass)
}
