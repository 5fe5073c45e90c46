//! Others who change settings by themselves, and would do so in the middle of a run.

use std::fs;

/// Programs that do, by the names of their processes, and what they do.
const TUNERS: [(&str, &str); 5] = [
    ("bpftune", "changes buffers, neighbours and congestion control by what it sees"),
    ("tuned", "sets the sysctls of its profile"),
    ("irqbalance", "moves interrupts between cores"),
    ("thermald", "lowers the processor's clock"),
    ("power-profiles-daemon", "chooses the processor's governor"),
];

/// Those that run now: name, process, and what it does.
pub fn running() -> Vec<(&'static str, u32, &'static str)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let tuner = |entry: fs::DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        // The kernel keeps fifteen bytes of a name.
        let found = TUNERS.iter().find(|(tuner, _)| tuner[..tuner.len().min(15)] == *name.trim_end())?;
        Some((found.0, pid, found.1))
    };
    let mut found: Vec<_> = entries.filter_map(tuner).collect();
    found.sort_unstable();
    found
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
            running().iter().any(|(name, pid, _)| *name == "irqbalance" && *pid == child.id())
        });
        let _ = child.kill();
        let _ = child.wait();
        assert!(found);
    }
}
