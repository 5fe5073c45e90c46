//! What a sweep tries by itself: what the audit finds in the way or costly, and what the counters of a first run name.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::Receiver;

use serde::Deserialize;
use throng_report::folder;
use throng_tune::KNOBS;

use super::trial::{Whose, whose};
use crate::child::this_program;
use crate::exit::{Exit, Failure};
use crate::fresh::Fresh;
use crate::signals::Stop;

/// Names and values.
type Knobs = Vec<(String, String)>;

/// A line of an audit, as far as it is needed here.
#[derive(Deserialize)]
struct Line {
    name: String,
    verdict: String,
    value: Option<String>,
    because: String,
    remedy: String,
}

/// What is to be tried for this scenario; `None`: somebody wants an end. The flags are those of an audit and those of a run, whose
/// report is left at `first`. What this sweep does not set is told; the machine's own it sets where it is `of_host`, too.
pub(super) fn proposed(
    scenario: &str,
    (audit, run): (&[OsString], &[OsString]),
    of_host: bool,
    first: &Path,
    stopped: &Receiver<Stop>,
) -> Result<Option<Knobs>, Failure> {
    let mut proposed = Proposed { of_host, ..Proposed::default() };
    for line in audited(scenario, audit)? {
        if matches!(line.verdict.as_str(), "blocks" | "wasteful") {
            proposed.consider(&line.name, &line.because, line.value, &line.remedy);
        }
    }
    let fresh = Fresh { program: None, scenario, flags: run, heading: None };
    match fresh.play(first, stopped)? {
        None => return Ok(None),
        Some(exit @ (Exit::Broke | Exit::Usage)) => {
            let message = "the first run ended without a verdict; its message stands above".to_owned();
            return Err(Failure { exit, message });
        }
        Some(_) => {}
    }
    let summary = folder::open(first).map_err(|error| Failure::broke(error.to_string()))?;
    for found in summary.detected {
        proposed.consider(&found.knob, &found.text, found.value, &found.remedy);
    }
    Ok(Some(proposed.knobs))
}

/// What was considered.
#[derive(Default)]
struct Proposed {
    /// Whether the machine's own settings are tried, too.
    of_host: bool,
    seen: Vec<String>,
    knobs: Knobs,
}

impl Proposed {
    /// Takes it up where a sweep can set it; says so where not. The first who names a knob has the value.
    fn consider(&mut self, name: &str, why: &str, value: Option<String>, remedy: &str) {
        eprintln!("throng: {name}: {why}");
        if self.seen.iter().any(|seen| seen == name) {
            return;
        }
        self.seen.push(name.to_owned());
        let whose = KNOBS.iter().find(|knob| knob.name == name).and_then(|knob| whose(knob));
        match (whose, value) {
            (Some(Whose::Host), Some(_)) if !self.of_host => {
                eprintln!("throng: it is the whole machine's, and tried with --host alone: {remedy}");
            }
            (Some(_), Some(value)) => self.knobs.push((name.to_owned(), value)),
            _ => eprintln!("throng: no sweep sets it: {remedy}"),
        }
    }
}

/// The audit of the lab that the runs will have: by a process of its own, since whoever opens a lab stays in it.
fn audited(scenario: &str, flags: &[OsString]) -> Result<Vec<Line>, Failure> {
    let mut command = this_program().map_err(Failure::broke)?;
    command.args(["tune", "audit", "--json", scenario].map(OsStr::new)).args(flags).stdin(Stdio::null());
    let told = command.stderr(Stdio::inherit()).output();
    let told = told.map_err(|error| Failure::broke(format!("cannot start an audit: {error}")))?;
    serde_json::from_slice(&told.stdout)
        .map_err(|_| Failure::broke("the audit ended without a word; its message stands above".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_lab_or_a_flag_sets_is_tried_once_and_nothing_else() {
        let mut proposed = Proposed::default();
        let mut of_host = Proposed { of_host: true, ..Proposed::default() };
        for (name, value) in [
            ("net.ipv4.tcp_rmem", Some("4096 131072 262144")),
            ("net.ipv4.tcp_rmem", Some("4096 131072 4194304")),
            ("net.core.netdev_max_backlog", Some("16384")),
            ("listen backlog", Some("512")),
            ("SO_RCVBUF", None),
            ("SO_REUSEPORT", Some("on")),
        ] {
            for proposed in [&mut proposed, &mut of_host] {
                proposed.consider(name, "why", value.map(str::to_owned), "do it");
            }
        }
        let names =
            |proposed: &Proposed| proposed.knobs.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&proposed), ["net.ipv4.tcp_rmem", "listen backlog"]);
        assert_eq!(proposed.knobs[0].1, "4096 131072 262144", "the first who names it has the value");
        assert_eq!(names(&of_host), ["net.ipv4.tcp_rmem", "net.core.netdev_max_backlog", "listen backlog"]);
    }
}
