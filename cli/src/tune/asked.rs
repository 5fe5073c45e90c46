//! What a sweep was asked for: settled before its first round, and kept so that it can go on.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::mpsc::Receiver;

use clap::{ArgMatches, Command};
use serde::{Deserialize, Serialize};
use throng_tune::change;
use throng_tune::sweep::{self, Trial};

use super::propose::proposed;
use super::trial::{Changes, OWN_FLAGS};
use super::write_json;
use crate::args::{SweepArgs, forward};
use crate::exit::{Exit, Failure};
use crate::fresh::Fresh;
use crate::signals::Stop;

/// Where it is kept.
const ASKED: &str = "asked.json";
/// The run whose counters propose what to try.
const FIRST: &str = "first";

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    /// Names the sweep.
    pub(super) id: String,
    pub(super) scenario: String,
    /// Of every run.
    pub(super) flags: Vec<OsString>,
    pub(super) trials: Vec<Trial>,
    pub(super) is_duet: bool,
}

/// What it is made of.
pub(super) struct Asking<'a> {
    pub(super) args: &'a SweepArgs,
    pub(super) matches: &'a ArgMatches,
    /// The commands `throng run` and `throng tune audit`.
    pub(super) run: &'a Command,
    pub(super) audit: &'a Command,
    /// The sweep's folder.
    pub(super) home: &'a Path,
    pub(super) stopped: &'a Receiver<Stop>,
}

impl Asking<'_> {
    /// That of a sweep that goes on, or of a new one. `None`: somebody wants an end.
    ///
    /// # Errors
    /// What was asked for cannot be had, or is not what the sweep in the folder was begun with.
    pub(super) fn settle(&self, id: String) -> Result<Option<Asked>, Failure> {
        let flags = forward(self.matches, self.run, &OWN_FLAGS);
        if self.args.resume {
            return self.resumed(&flags).map(Some);
        }
        self.is_free()?;
        let trials = sweep::trials(&self.args.knob, self.args.factorial).map_err(Failure::usage)?;
        for trial in &trials {
            if self.rehearse(trial, &flags)?.is_none() {
                return Ok(None);
            }
        }
        let cannot = |error| Failure::usage(format!("{}: {error}", self.home.display()));
        fs::create_dir_all(self.home).map_err(cannot)?;
        let scenario = self.args.scenario.clone();
        let mut asked = Asked { id, scenario, flags, trials, is_duet: self.args.duet };
        if self.args.auto {
            let Some(more) = self.proposals(&asked.flags)? else { return Ok(None) };
            asked.trials.extend(more);
        }
        write_json(&self.home.join(ASKED), &asked)?;
        Ok(Some(asked))
    }

    /// A sweep's folder is its own.
    fn is_free(&self) -> Result<(), Failure> {
        if self.home.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
            let home = self.home.display();
            let or = match self.home.join(ASKED).exists() {
                true => "go on with --resume",
                false => "remove it, if all it holds is a sweep's first run that was cut off",
            };
            return Err(Failure::usage(format!(
                "{home} is not empty: name another folder with --out, or {or}"
            )));
        }
        Ok(())
    }

    /// What a sweep that was cut short was asked for.
    fn resumed(&self, flags: &[OsString]) -> Result<Asked, Failure> {
        let path = self.home.join(ASKED);
        let about = |why: String| Failure::usage(format!("{}: {why}", path.display()));
        let text = fs::read_to_string(&path).map_err(|error| about(error.to_string()))?;
        let asked: Asked = serde_json::from_str(&text).map_err(|error| about(error.to_string()))?;
        if asked.scenario != self.args.scenario || asked.flags != flags {
            let why = "it was begun with another scenario or other flags: give the same to go on";
            return Err(about(why.to_owned()));
        }
        Ok(asked)
    }

    /// What the audit and a first run propose besides, as far as it can be had here. `None`: somebody wants an end.
    fn proposals(&self, flags: &[OsString]) -> Result<Option<Vec<Trial>>, Failure> {
        let audit = forward(self.matches, self.audit, &OWN_FLAGS);
        // Of a duet both runs have the machine's own settings.
        let of_host = self.args.host && !self.args.duet;
        let first = self.home.join(FIRST);
        let proposed = proposed(&self.args.scenario, (&audit, flags), of_host, &first, self.stopped)?;
        let Some(proposed) = proposed else { return Ok(None) };
        let is_asked = |name: &str| {
            self.args.knob.iter().any(|(asked, _)| name == asked || name.ends_with(&format!(".{asked}")))
        };
        let mut trials = Vec::new();
        for knob in proposed.into_iter().filter(|(name, _)| !is_asked(name)) {
            let trial = Trial { knobs: vec![knob] };
            match self.rehearse(&trial, flags) {
                Ok(Some(())) => trials.push(trial),
                Ok(None) => return Ok(None),
                Err(failure) => eprintln!("throng: {}", failure.message),
            }
        }
        Ok(Some(trials))
    }

    /// Whether the trial can be had here, before hours are spent. `None`: somebody wants an end.
    ///
    /// # Errors
    /// It cannot; why is said.
    fn rehearse(&self, trial: &Trial, flags: &[OsString]) -> Result<Option<()>, Failure> {
        let changes = Changes::of(trial, self.run, self.args.host)?;
        let about = |why: &str, exit| Failure {
            exit,
            message: format!("{} cannot be tried here: {why}", trial.name()),
        };
        if let Some(need) = change::needs(&changes.host).first() {
            return Err(about(need, Exit::Broke));
        }
        let flags = [flags, &changes.flags].concat();
        let fresh = Fresh { program: None, scenario: &self.args.scenario, flags: &flags, heading: None };
        match fresh.rehearse(self.stopped)? {
            None => Ok(None),
            Some(Exit::Pass) => Ok(Some(())),
            Some(exit) => Err(about("why stands above", exit)),
        }
    }
}
