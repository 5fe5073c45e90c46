//! The command `throng`: flags, exit codes, terminal, children, and what /proc tells about a run.
//!
//! Everything that depends on the environment ends here: the crates below take values and return values.

mod admin;
mod args;
mod capacity;
mod child;
mod exit;
mod fresh;
mod lab;
mod load;
mod metrics;
mod noise;
mod page;
mod prepare;
mod proc;
mod report;
mod reserve;
mod run;
mod scenario;
mod screen;
mod series;
mod serve;
mod signals;
mod size;
mod tls;
mod tune;
mod utc;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use args::{Cli, Command};
use exit::Outcome;

fn main() -> ExitCode {
    // clap prints help and mistakes itself, and ends with 0 and 2.
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let flags = matches.subcommand().map_or(&matches, |(_, flags)| flags);
    let outcome: Outcome = match &cli.command {
        Command::Run(args) if args.series.is_wanted() => series::run(args, flags),
        Command::Run(args) => run::run(args, flags),
        Command::Capacity(args) => capacity::run(args, flags),
        Command::Serve(args) => serve::serve(args),
        Command::Load(args) => load::load(args),
        Command::Lab => lab::rehearse(),
        Command::Report(command) => report::report(command),
        Command::Scenario(command) => scenario::scenario(command),
        Command::Tune(command) => tune::tune(command, flags),
    };
    let exit = outcome.unwrap_or_else(|failure| {
        eprintln!("throng: {}", failure.message);
        failure.exit
    });
    exit.into()
}
