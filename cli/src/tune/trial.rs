//! What a trial changes: flags of `throng run`, and with --host settings of the whole machine.

use std::ffi::OsString;

use clap::Command;
use throng_tune::change::Wanted;
use throng_tune::sweep::Trial;
use throng_tune::{KNOBS, Knob, Place, Scope, wanted};

use crate::exit::Failure;

/// Flags of a sweep that its runs do not get, or get from it.
pub(super) const OWN_FLAGS: [&str; 6] = ["out", "json", "quiet", "until_stdin_closes", "metric", "duet"];

/// What makes a trial's runs differ from those as it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    /// For `throng run`.
    pub(super) flags: Vec<OsString>,
    /// Of the machine, while it runs.
    pub(super) host: Vec<Wanted>,
}

impl Changes {
    /// Those of a trial, for the command `run`.
    ///
    /// # Errors
    /// A name that is neither a flag nor a setting that may be changed; the whole machine's without `is_host`.
    pub(super) fn of(trial: &Trial, run: &Command, is_host: bool) -> Result<Changes, Failure> {
        let mut changes = Changes::default();
        for (name, value) in &trial.knobs {
            changes.add(name, value, run, is_host)?;
        }
        Ok(changes)
    }

    fn add(&mut self, name: &str, value: &str, run: &Command, is_host: bool) -> Result<(), Failure> {
        let ending = format!(".{name}");
        let knob = KNOBS.iter().find(|knob| knob.name == name || knob.name.ends_with(&ending));
        if let Some(knob) = knob {
            match whose(knob) {
                Some(Whose::Lab) => self.flags.push(format!("--sysctl={}={value}", knob.name).into()),
                Some(Whose::Flag(flag)) => self.flags.push(format!("{flag}={value}").into()),
                Some(Whose::Host) if is_host => self.host.extend(wanted(knob, value)),
                Some(Whose::Host) => {
                    let why =
                        format!("{} is the whole machine's: a sweep sets it with --host alone", knob.name);
                    return Err(Failure::usage(why));
                }
                None => {
                    let why = format!("{} is not to be set here: {}", knob.name, knob.set(value));
                    return Err(Failure::usage(why));
                }
            }
            return Ok(());
        }
        let is_flag =
            run.get_arguments().any(|arg| arg.get_long() == Some(name) && arg.get_action().takes_values());
        if is_flag && !OWN_FLAGS.contains(&name) {
            self.flags.push(format!("--{name}={value}").into());
            return Ok(());
        }
        let why = format!("`{name}` is neither a setting (`throng tune knobs`) nor a flag of `throng run`");
        Err(Failure::usage(why))
    }
}

/// By what a sweep sets a knob.
pub(super) enum Whose {
    /// A lab has its own.
    Lab,
    /// A flag of `throng run`.
    Flag(&'static str),
    /// The whole machine's.
    Host,
}

/// By what a sweep sets this knob; `None`: by nothing.
pub(super) fn whose(knob: &Knob) -> Option<Whose> {
    match (knob.place, knob.scope) {
        (Place::Sysctl | Place::Boot(_), Scope::Namespace) => Some(Whose::Lab),
        (Place::Throng(Some(flag)), _) => Some(Whose::Flag(flag)),
        (Place::Sysctl | Place::File(_), Scope::Host) => Some(Whose::Host),
        _ => None,
    }
}
