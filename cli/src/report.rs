//! `throng report`: reads what runs left behind.

use std::io::IsTerminal;

use throng_report::folder;

use crate::args::ReportCommand;
use crate::exit::{Exit, Failure, Outcome};
use crate::page;
use crate::prepare::chain;

/// Runs the command.
pub(crate) fn report(command: &ReportCommand) -> Outcome {
    let (run, json) = match command {
        ReportCommand::Show { run, json } => (run, json),
        ReportCommand::Html { run, out } => return page::make(run, out.as_deref()),
    };
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
