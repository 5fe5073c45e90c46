//! `throng scenario`: what comes with the program.

use throng_loadgen::scenario::{load, shipped};

use crate::args::ScenarioCommand;
use crate::exit::{Exit, Failure, Outcome};
use crate::prepare::chain;

/// Runs the command.
pub(crate) fn scenario(command: &ScenarioCommand) -> Outcome {
    match command {
        ScenarioCommand::List => {
            for shipped in shipped() {
                let scenario = load(shipped.name).map_err(|error| Failure::broke(chain(&error)))?;
                println!("{:<16} {}", shipped.name, scenario.about);
            }
        }
        ScenarioCommand::Show { name } => {
            let found = shipped().iter().find(|shipped| shipped.name == name).ok_or_else(|| {
                let names: Vec<&str> = shipped().iter().map(|shipped| shipped.name).collect();
                Failure::usage(format!(
                    "no scenario `{name}` comes with Throng; there is: {}",
                    names.join(", ")
                ))
            })?;
            print!("{}", found.text);
        }
    }
    Ok(Exit::Pass)
}
