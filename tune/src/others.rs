//! Others who change settings by themselves, and would do so in the middle of a run.

use std::fmt;
use std::fs;

/// A program that does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    /// The name of its process.
    name: &'static str,
    /// What it does, after `and`.
    what: &'static str,
    /// Whether that changes what a run measures while it lasts, rather than once.
    in_runs: bool,
}

const KNOWN: [Known; 5] = [
    Known {
        name: "bpftune",
        what: "changes buffers, neighbours and congestion control by what it sees",
        in_runs: true,
    },
    Known { name: "tuned", what: "sets the sysctls of its profile", in_runs: true },
    Known { name: "irqbalance", what: "moves interrupts between cores", in_runs: false },
    Known { name: "thermald", what: "lowers the processor's clock", in_runs: false },
    Known { name: "power-profiles-daemon", what: "chooses the processor's governor", in_runs: false },
];

/// One that runs now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuner {
    known: Known,
    pid: u32,
}

impl Tuner {
    /// Whether it may change what a run measures while it lasts.
    pub fn disturbs_runs(&self) -> bool {
        self.known.in_runs
    }
}

impl fmt::Display for Tuner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) runs here, and {}", self.known.name, self.pid, self.known.what)
    }
}

/// Those that run now, in the order of their processes.
pub fn running() -> Vec<Tuner> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let tuner = |entry: fs::DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        Some(Tuner { known: known(name.trim_end())?, pid })
    };
    let mut found: Vec<Tuner> = entries.filter_map(tuner).collect();
    found.sort_unstable_by_key(|tuner| tuner.pid);
    found
}

/// By what /proc/PID/comm says: the kernel keeps fifteen bytes of a name.
fn known(comm: &str) -> Option<Known> {
    KNOWN.into_iter().find(|known| known.name[..known.name.len().min(15)] == *comm)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_tuner_that_runs_is_found_by_its_name() {
        let home = tempfile::tempdir().unwrap();
        let program = home.path().join("irqbalance");
        fs::copy("/bin/sleep", &program).unwrap();
        let mut child = Command::new(&program).arg("60").stdin(Stdio::null()).spawn().unwrap();
        let found = (0..500).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(2));
            running()
                .iter()
                .any(|tuner| tuner.to_string().starts_with(&format!("irqbalance ({}) ", child.id())))
        });
        let _ = child.kill();
        let _ = child.wait();
        assert!(found);
    }

    #[test]
    fn long_names_are_known_by_their_beginning_and_those_who_disturb_runs_apart() {
        assert_eq!(known("power-profiles-").map(|known| known.in_runs), Some(false));
        assert_eq!(known("bpftune").map(|known| known.in_runs), Some(true));
        assert_eq!(known("tune"), None);
    }
}
