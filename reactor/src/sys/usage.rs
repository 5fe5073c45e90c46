//! What the calling thread and its process have used: time and memory.

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

/// Bytes that the allocator has handed out in this process and not got back, over all its arenas and mappings, with its own
/// overhead per block. `None` where the C library does not tell (it is not glibc).
///
/// Takes the lock of each arena in turn: to be asked now and then, not per message.
pub fn allocated_bytes() -> Option<u64> {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: mallinfo2 takes nothing, returns plain numbers by value, and locks each arena that it reads.
        let told = unsafe { libc::mallinfo2() };
        Some((told.uordblks + told.hblkhd) as u64)
    }
    #[cfg(not(target_env = "gnu"))]
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_env = "gnu")]
    fn what_is_allocated_counts_on_every_thread_and_in_every_size() {
        // 32 MB of small blocks in the arena of another thread, and a large one that is a mapping of its own. Other tests
        // allocate meanwhile, but no such amounts.
        let before = allocated_bytes().unwrap();
        let other = std::thread::spawn(|| (0..8000).map(|_| vec![1u8; 4000]).collect::<Vec<_>>());
        let both = (other.join().unwrap(), vec![1u8; 64 << 20]);
        let held = allocated_bytes().unwrap();
        drop(both);
        let after = allocated_bytes().unwrap();
        assert!(held >= before + 85_000_000, "{before} then {held}");
        assert!(held >= after + 85_000_000, "{held} then {after}");
    }
}
