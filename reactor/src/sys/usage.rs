//! What the calling thread and its process have used.

use std::time::Duration;

fn rusage(who: libc::c_int) -> libc::rusage {
    // SAFETY: an rusage is plain numbers; all zero is valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a valid rusage for the kernel to fill; `who` is one of the kernel's constants.
    unsafe { libc::getrusage(who, &raw mut usage) };
    usage
}

fn cpu(usage: &libc::rusage) -> Duration {
    let part = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    part(usage.ru_utime) + part(usage.ru_stime)
}

/// CPU time of the calling thread, user and system.
pub fn thread_cpu() -> Duration {
    cpu(&rusage(libc::RUSAGE_THREAD))
}

/// CPU time of the process, user and system, threads that ended included.
pub fn process_cpu() -> Duration {
    cpu(&rusage(libc::RUSAGE_SELF))
}
