//! What held a run back: the counters that moved, and the knob that each of them names.

use std::collections::BTreeMap;

use throng_report::Summary;
use throng_report::schema::Detected;

use crate::knob::Knob;
use crate::knobs::KNOBS;
use crate::machine::Machine;
use crate::target::Target;

/// A run that is over, and where it was.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// Its report, with the counters.
    pub summary: &'a Summary,
    /// What was asked of the machine.
    pub target: &'a Target,
    /// How the machine was set, in the lab where there was one.
    pub machine: &'a Machine,
}

impl Seen<'_> {
    /// By how much a counter of the kernel's grew.
    pub(crate) fn kernel(&self, name: &str) -> u64 {
        self.summary.kernel.counters.get(name).copied().unwrap_or(0).max(0) as u64
    }

    /// The sum of several.
    pub(crate) fn kernel_sum(&self, names: &[&str]) -> u64 {
        names.iter().map(|name| self.kernel(name)).sum()
    }

    /// The most that was seen of something at a time.
    pub(crate) fn peak(&self, name: &str) -> u64 {
        self.summary.kernel.peaks.get(name).copied().unwrap_or(0)
    }

    /// By how much a counter of the server's grew, where it runs on the machine that is looked at.
    pub(crate) fn server(&self, name: &str) -> u64 {
        let server = self.summary.server.as_ref().filter(|_| self.target.server.is_some());
        server.and_then(|server| server.counters.get(name)).copied().unwrap_or(0)
    }

    /// Connections, and attempts of a storm, that failed for this reason, by the name of the kernel's error.
    pub(crate) fn failed(&self, cause: &str) -> u64 {
        let of = |causes: &BTreeMap<String, u64>| causes.get(cause).copied().unwrap_or(0);
        let storm = self.summary.storm.as_ref().map_or(0, |storm| of(&storm.failed_attempts_by_cause));
        of(&self.summary.connections.failed_by_cause) + storm
    }
}

/// What a counter says of its knob.
pub(crate) struct Found {
    /// What was seen, with figures.
    pub(crate) text: String,
    /// What to set the knob to; `None` where setting it is not the remedy.
    pub(crate) value: Option<String>,
    /// What to do besides, or instead.
    pub(crate) instead: String,
}

impl Found {
    pub(crate) fn new(text: String, value: impl std::fmt::Display) -> Option<Found> {
        Some(Found { text, value: Some(value.to_string()), instead: String::new() })
    }

    /// One whose remedy is something else.
    pub(crate) fn remedied(text: String, instead: &str) -> Option<Found> {
        Some(Found { text, value: None, instead: instead.to_owned() })
    }
}

/// Nothing tells of this knob.
pub(crate) fn unseen(_: &Seen<'_>) -> Option<Found> {
    None
}

/// Every knob that held the run back, in the order of [`KNOBS`].
pub fn detect(seen: &Seen<'_>) -> Vec<Detected> {
    let one = |knob: &&'static Knob| {
        let mut found = (knob.seen)(seen)?;
        // Setting it to what it is helps nobody.
        found.value = found.value.filter(|value| seen.machine.text(knob.name) != Some(value));
        if found.value.is_none() && found.instead.is_empty() {
            "it is as far as Throng knows how to set it".clone_into(&mut found.instead);
        }
        let remedy = knob.remedy(found.value.as_deref(), &found.instead, seen.machine.in_lab);
        Some(Detected { knob: knob.name.to_owned(), text: found.text, value: found.value, remedy })
    };
    KNOBS.iter().filter_map(one).collect()
}
