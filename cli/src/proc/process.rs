//! One process: its CPU time, and whether it lives.

use std::fs;
use std::io;
use std::time::Duration;

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

/// Whether a process lives; a zombie does not. Of one that cannot be looked at, as while the machine has no file left, nobody says
/// that it is dead.
pub(crate) fn is_alive(pid: u32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat
            .rsplit_once(')')
            .is_some_and(|(_, rest)| !matches!(rest.trim_start().chars().next(), Some('Z' | 'X'))),
        Err(error) => !is_gone(&error),
    }
}

/// ENOENT from opening, ESRCH from reading.
fn is_gone(error: &io::Error) -> bool {
    const ESRCH: i32 = 3;
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives() {
        assert!(is_alive(std::process::id()) && cpu(std::process::id()).is_some());
        assert!(!is_alive(u32::MAX));
    }

    #[test]
    fn who_cannot_be_looked_at_is_not_dead() {
        let gone = |errno| is_gone(&io::Error::from_raw_os_error(errno));
        let (enoent, esrch, enfile) = (2, 3, 23);
        assert!(gone(enoent) && gone(esrch) && !gone(enfile));
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let text = "7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(of_stat(text), Some(Duration::from_secs(2)));
    }
}
