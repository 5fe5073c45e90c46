//! `throng report`: reads what runs left behind.

use std::io::IsTerminal;

use throng_report::folder;

use crate::args::ReportCommand;
use crate::exit::{Exit, Failure, Outcome};
use crate::prepare::chain;

/// Runs the command.
pub(crate) fn report(command: &ReportCommand) -> Outcome {
    let ReportCommand::Show { run, json } = command;
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    for (number, path) in run.iter().enumerate() {
        let summary = folder::open(path).map_err(|error| Failure::usage(chain(&error)))?;
        if *json {
            print!("{}", summary.to_json());
            continue;
        }
        if number > 0 {
            println!();
        }
        if run.len() > 1 {
            println!("{}", path.display());
        }
        print!("{}", throng_report::text::render(&summary, colour));
    }
    Ok(Exit::Pass)
}
