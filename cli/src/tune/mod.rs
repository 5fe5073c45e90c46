//! `throng tune`: which settings hold this machine back, and changing them.

mod apply;
mod asked;
mod propose;
mod sweep;
mod trial;

use std::fs;
use std::path::Path;

use clap::ArgMatches;
use serde::Serialize;
use throng_tune::{KNOBS, Line, Machine, Plan, Target, Verdict, audit, describe};

use crate::args::values::Cores;
use crate::args::{Role, TargetFlags, TuneCommand, TunePlanArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::lab;
use crate::prepare;
use crate::size::Sized;

/// Runs the command.
pub(crate) fn tune(command: &TuneCommand, matches: &ArgMatches) -> Outcome {
    match command {
        TuneCommand::Audit(args) => {
            let judged = judge(&args.target, args.target.role == Role::Both)?;
            let Judged { about, target, machine, lines } = &judged;
            for tuner in throng_tune::other_tuners() {
                eprintln!("throng: {tuner}");
            }
            if args.json {
                println!("{}", serde_json::to_string_pretty(lines).expect("strings and numbers"));
            } else {
                print!("{}", throng_tune::render(about, target, machine, lines));
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

/// What was judged, and every knob for it.
struct Judged {
    /// The target in words.
    about: String,
    target: Target,
    machine: Machine,
    lines: Vec<Line>,
}

/// Judges the machine as it is, or `in_lab`, as it is in the lab that a run would have.
fn judge(flags: &TargetFlags, in_lab: bool) -> Result<Judged, Failure> {
    let plan = prepare::plan(&flags.scenario, &flags.plan)?;
    let mut about = format!(
        "{}: {} connections, {} messages/s of {} bytes",
        plan.scenario, plan.connections, plan.rate_per_s, plan.payload_bytes
    );
    let outside = prepare::machine()?;
    let lab = match in_lab {
        true => lab::of_run(&flags.local, plan.connections)?,
        false if flags.local.lab || !flags.local.sysctl.is_empty() => {
            let why = "--lab and --sysctl are for an audit of both sides, which `throng run` has";
            return Err(Failure::usage(why.to_owned()));
        }
        false => None,
    };
    let is_made = lab.is_some_and(|lab| lab.made);
    about += match flags.role {
        Role::Both if is_made => "; server and users here, in a lab as `throng run` makes it",
        Role::Both => "; server and users here, on the host's loopback",
        Role::Server => "; the server here, its users elsewhere",
        Role::Users => "; the users here, their server elsewhere",
    };
    // Whoever has the machine alone has all of its cores.
    let mut local = flags.local.clone();
    let all = || prepare::allowed_cores().map(|cores| Some(Cores(cores)));
    match flags.role {
        Role::Server if local.server.serve_cpus.is_none() => local.server.serve_cpus = all()?,
        Role::Users if local.generator.load_cpus.is_none() => local.generator.load_cpus = all()?,
        _ => {}
    }
    let Sized { mut target, machine, .. } = Sized::new(plan, &local, &outside, is_made)?;
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
    let lines = audit(&target, &machine);
    Ok(Judged { about, target, machine, lines })
}

fn plan(args: &TunePlanArgs) -> Outcome {
    let Judged { about, target, lines, .. } = judge(&args.target, false)?;
    let plan = Plan::of(&lines, about, target.connections, args.all);
    let write = |path: &Path, text: &str| {
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

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).expect("strings and numbers") + "\n";
    fs::write(path, text).map_err(|error| Failure::broke(format!("{}: {error}", path.display())))
}
