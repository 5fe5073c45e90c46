//! Settings that hold a run back: planted one by one, told by the audit before the run, and named by the run after it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::{LATE, output, summary, throng};

/// A run that nothing holds back, and the setting that holds it back then.
pub(crate) struct Fault {
    /// What the audit and the run are to name.
    pub(crate) knob: &'static str,
    /// What the users do.
    pub(crate) plan: &'static [&'static str],
    /// What sets the knob, for the audit and for the run.
    pub(crate) fault: &'static [&'static str],
    /// What else the run takes to come upon it: the server is slow, or goes on although it was refused.
    pub(crate) besides: &'static [&'static str],
    /// The program that sets it, where it is a process's.
    pub(crate) outside: &'static [&'static str],
    /// Its value, where it is the whole machine's.
    pub(crate) host: Option<fn() -> String>,
}

pub(crate) const NOTHING: Fault =
    Fault { knob: "", plan: &[], fault: &[], besides: &[], outside: &[], host: None };

/// How often a run is made that names nothing: how evenly the kernel shares clients out, and when it counts orphans, is chance.
const TRIES: u64 = 4;

/// `throng`, started by another program where one is named.
fn started_by(outside: &[&str]) -> Command {
    match outside {
        [] => throng(&[]),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(env!("CARGO_BIN_EXE_throng"));
            command
        }
    }
}

/// The knobs that an audit finds in the way.
fn in_the_way(outside: &[&str], words: &[&[&str]]) -> Vec<String> {
    let done = output(started_by(outside).args(["tune", "audit", "--json"]).args(words.concat()));
    let text = String::from_utf8_lossy(&done.stderr);
    let lines: Vec<Value> =
        serde_json::from_slice(&done.stdout).unwrap_or_else(|_| panic!("{words:?}: {text}"));
    let blocks = lines.iter().filter(|line| line["verdict"] == "blocks");
    blocks.map(|line| line["name"].as_str().unwrap().to_owned()).collect()
}

/// The knobs that a run names, with what it says of them.
fn named(outside: &[&str], words: &[&[&str]]) -> Vec<(String, String)> {
    let home = tempfile::tempdir().unwrap();
    let out = format!("--out={}", home.path().display());
    let fixed = ["run", "-d", "400ms", "-w", "100ms", "-q", LATE, &out];
    let done = output(started_by(outside).args(fixed).args(words.concat()));
    assert!(
        home.path().join("summary.json").exists(),
        "{words:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    let found = summary(home.path()).detected;
    found.into_iter().map(|found| (found.knob, format!("{}: {}", found.text, found.remedy))).collect()
}

/// A setting of this machine, put back when it is dropped.
pub(crate) struct Applied<'a>(&'a Path);

impl<'a> Applied<'a> {
    pub(crate) fn new(home: &'a Path, name: &str, value: &str) -> Applied<'a> {
        let plan = home.join("plan.toml");
        let text = format!(
            "schema = 'throng.tune-plan/1'\ntarget = 'a test'\n[[set]]\nname = '{name}'\nvalue = '{value}'\n"
        );
        std::fs::write(&plan, text).unwrap();
        let (plan, journal) = (plan.display().to_string(), Applied::journal(home));
        let done = output(&mut throng(&["tune", "apply", "--host", "--journal", &journal, &plan]));
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Applied(home)
    }

    pub(crate) fn journal(home: &Path) -> String {
        home.join("tune.json").display().to_string()
    }
}

impl Drop for Applied<'_> {
    fn drop(&mut self) {
        let done = output(&mut throng(&["tune", "rollback", "--journal", &Applied::journal(self.0)]));
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

/// What went otherwise than it should, and the tally on stdout.
pub(crate) fn tally(faults: &[Fault]) -> Vec<String> {
    let home = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    let (mut told, mut found, mut runs, mut alarms) = (0, 0, 0, 0);
    let mut last = (&[][..], Vec::new());
    for fault in faults {
        let Fault { knob, plan, outside, .. } = fault;
        // As it is: nothing is named. Of faults with one plan once.
        if last.0 != *plan {
            let plain = named(&[], &[plan]);
            runs += 1;
            if !plain.is_empty() {
                alarms += 1;
                wrong.push(format!("{plan:?}: the run names {plain:?}"));
            }
            last = (plan, in_the_way(&[], &[plan]));
        }
        let is_told = |before: &[String]| before.iter().any(|name| name == knob);
        if is_told(&last.1) {
            wrong.push(format!("{knob}: without it the audit has {:?} in the way", last.1));
        }
        let planted = fault.host.map(|value| Applied::new(home.path(), knob, &value()));
        let before = in_the_way(outside, &[plan, fault.fault]);
        let mut tries = (0..TRIES).map(|_| named(outside, &[plan, fault.fault, fault.besides]));
        let after = tries.find(|named| !named.is_empty()).unwrap_or_default();
        drop(planted);
        println!("{knob}: {after:?}");
        if is_told(&before) {
            told += 1;
        } else {
            wrong.push(format!("{knob}: the audit has {before:?} in the way"));
        }
        if matches!(&after[..], [(name, _)] if name == knob) {
            found += 1;
        } else {
            wrong.push(format!("{knob}: the run names {after:?}"));
        }
    }
    let all = faults.len();
    println!(
        "{told} of {all} told by the audit before the run, {found} of {all} named alone by it; {alarms} false alarms in {runs} runs without"
    );
    wrong
}
