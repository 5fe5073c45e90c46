//! The audit: what is to be said of every knob where a target meets a machine.

use std::fmt;

use serde::Serialize;

use crate::knob::{Knob, Verdict};
use crate::knobs::KNOBS;
use crate::machine::Machine;
use crate::target::Target;

/// One knob, for one target on one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The setting.
    #[serde(flatten)]
    pub knob: &'static Knob,
    /// What it is; `-` where that cannot be seen.
    pub now: String,
    /// What the target needs; empty where that is no matter.
    pub needed: String,
    /// What is to be said of it.
    pub verdict: Verdict,
    /// What follows from the figures; empty where nothing needs to be said.
    pub because: String,
    /// What to do, as a command where there is one; empty where nothing needs to be done.
    pub remedy: String,
    /// What a plan would set it to.
    pub value: Option<String>,
    /// The most connections that fit as it is, where that is the question.
    pub fits: Option<u64>,
    /// A run of this target is refused, unless somebody forces it; else it begins, with a warning.
    pub refuses: bool,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, needed: {}", self.knob.name, self.now, self.needed)?;
        for part in [&self.because, &self.remedy].into_iter().filter(|part| !part.is_empty()) {
            write!(f, "; {part}")?;
        }
        match self.fits {
            Some(fits) => write!(f, " (at most {fits} connections fit as it is)"),
            None => Ok(()),
        }
    }
}

/// Every knob, in the order of [`KNOBS`].
pub fn audit(target: &Target, machine: &Machine) -> Vec<Line> {
    KNOBS.iter().map(|knob| line(knob, target, machine)).collect()
}

/// What is in the way of the target, what refuses it first.
pub fn check(target: &Target, machine: &Machine) -> Vec<Line> {
    let mut lines = audit(target, machine);
    lines.retain(|line| line.verdict == Verdict::Blocks);
    lines.sort_by_key(|line| !line.refuses);
    lines
}

fn line(knob: &'static Knob, target: &Target, machine: &Machine) -> Line {
    let said = (knob.rule)(target, machine);
    let now = said.now.or_else(|| machine.text(knob.name).map(str::to_owned));
    let remedy = knob.remedy(said.value.as_deref(), &said.instead, machine.in_lab);
    Line {
        knob,
        now: now.filter(|now| !now.is_empty()).unwrap_or_else(|| "-".to_owned()),
        needed: said.needed,
        verdict: said.verdict,
        because: said.because,
        remedy,
        value: said.value,
        fits: said.fits,
        refuses: said.refuses,
    }
}
