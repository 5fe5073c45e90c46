//! One process: its memory and its CPU time.

use std::fs;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A process's memory, from `/proc/PID/smaps_rollup`; for a process of somebody else's, what `status` tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Memory {
    /// Resident memory.
    pub(crate) rss_bytes: u64,
    /// Resident memory, shared pages divided among those who share them; `None` when unreadable.
    pub(crate) pss_bytes: Option<u64>,
    /// Resident anonymous memory: heap, stacks, rings that the process mapped itself.
    pub(crate) anon_bytes: u64,
}

/// The memory of process `pid` (`self` for the own one).
pub(crate) fn memory(pid: &str) -> Option<Memory> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
    rollup.ok().and_then(|text| of_rollup(&text)).or_else(|| {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let (rss_bytes, anon_bytes) = (kib(&text, "VmRSS:")?, kib(&text, "RssAnon:")?);
        Some(Memory { rss_bytes, pss_bytes: None, anon_bytes })
    })
}

fn of_rollup(text: &str) -> Option<Memory> {
    Some(Memory {
        rss_bytes: kib(text, "Rss:")?,
        pss_bytes: kib(text, "Pss:"),
        anon_bytes: kib(text, "Anonymous:")?,
    })
}

/// The value of a line `name   123 kB`, in bytes.
fn kib(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The CPU time of process `pid`, user and system, threads that ended included.
///
/// In ticks of 10 ms: USER_HZ is 100 for every program on x86-64 and arm64, whatever the kernel's own tick.
pub(crate) fn cpu(pid: u32) -> Option<Duration> {
    of_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn of_stat(text: &str) -> Option<Duration> {
    // The command's name may hold anything, also `)`: the fields begin after the last one.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    // proc(5) counts from 1 with the name as 2: utime is 14, stime 15.
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

/// Whether a process lives; a zombie does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !matches!(rest.trim_start().chars().next(), Some('Z' | 'X')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_lives() {
        let memory = memory("self").unwrap();
        assert!(memory.rss_bytes >= memory.anon_bytes && memory.anon_bytes > 0, "{memory:?}");
        assert!(is_alive(std::process::id()) && cpu(std::process::id()).is_some());
        assert!(!is_alive(u32::MAX));
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let text = "7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(of_stat(text), Some(Duration::from_secs(2)));
    }

    #[test]
    fn a_rollup_is_read_by_whole_names() {
        let text = "x [rollup]\nRss:  10 kB\nPss:  8 kB\nPss_Anon: 1 kB\nAnonymous:  4 kB\n";
        let memory = Memory { rss_bytes: 10_240, pss_bytes: Some(8_192), anon_bytes: 4_096 };
        assert_eq!(of_rollup(text), Some(memory));
    }
}
