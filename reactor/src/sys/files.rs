//! Limits on open files and on locked memory, and tables of descriptors that one thread has for itself.

use std::io;
use std::os::fd::RawFd;

use super::check;

/// The limit on open files in force for this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLimit {
    /// What applies now, per table.
    pub soft: u64,
    /// What the process may raise it to.
    pub hard: u64,
}

/// Reads RLIMIT_NOFILE.
///
/// # Errors
/// None that a working kernel gives.
pub fn limit() -> io::Result<FileLimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit for the kernel to fill.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    Ok(FileLimit { soft: limit.rlim_cur, hard: limit.rlim_max })
}

/// Raises the soft limits on open files, and on locked memory, which rings count against, to the hard ones; returns the former as it is
/// in force then.
///
/// # Errors
/// None that a working kernel gives: nobody is refused what is below the hard limit.
pub fn raise_limits() -> io::Result<FileLimit> {
    for resource in [libc::RLIMIT_NOFILE, libc::RLIMIT_MEMLOCK] {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is a valid rlimit for the kernel to fill.
        check(unsafe { libc::getrlimit(resource, &raw mut limit) })?;
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: `limit` is a valid rlimit that outlives the call.
        check(unsafe { libc::setrlimit(resource, &raw const limit) })?;
    }
    limit()
}

/// Gives the calling thread a table of descriptors of its own that holds stdin, stdout, stderr and `keep`.
///
/// From here on the limit on open files holds for this thread alone, and no lock is shared with other threads. Make
/// listeners and rings afterwards: those made before stay open in the tables of others.
///
/// # Errors
/// The kernel's, from unshare(2) or close_range(2) (Linux 5.9 or newer).
pub fn private_table(keep: &[RawFd]) -> io::Result<()> {
    // SAFETY: CLONE_FILES copies this thread's table; no memory is touched.
    check(unsafe { libc::unshare(libc::CLONE_FILES) })?;
    let mut kept: Vec<u32> = keep.iter().filter(|&&fd| fd > 2).map(|&fd| fd as u32).collect();
    kept.sort_unstable();
    kept.dedup();
    let mut first = 3;
    for fd in kept.into_iter().chain([u32::MAX]) {
        let last = fd.saturating_sub(1);
        if first <= last {
            // SAFETY: this closes descriptors of the table that unshare just copied for us. The other threads keep
            // their own; this thread, at its start, owns none of them but those in `keep`.
            check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } as libc::c_int)?;
        }
        first = fd.saturating_add(1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_private_table_closes_what_is_not_kept_and_only_for_its_thread() {
        let kept = super::super::eventfd().unwrap();
        let dropped = super::super::eventfd().unwrap();
        let (kept_fd, dropped_fd) = (kept.as_raw_fd(), dropped.as_raw_fd());
        let is_open = |fd: RawFd| std::fs::read_link(format!("/proc/thread-self/fd/{fd}")).is_ok();
        std::thread::spawn(move || {
            private_table(&[kept_fd]).unwrap();
            assert!(is_open(kept_fd) && !is_open(dropped_fd));
        })
        .join()
        .unwrap();
        assert!(is_open(kept_fd) && is_open(dropped_fd), "the spawning thread keeps both");
    }
}
