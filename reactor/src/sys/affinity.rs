//! Which cores a thread may run on, and how threads share one.

use std::io;

use super::check;

/// The cores that the calling thread may run on, ascending.
///
/// # Errors
/// The kernel's, if the machine has more cores than a `cpu_set_t` names.
pub fn allowed() -> io::Result<Vec<usize>> {
    // SAFETY: a cpu_set_t is plain bits; all zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: 0 means the calling thread; pointer and size are those of `set`.
    check(unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) })?;
    // SAFETY: CPU_ISSET only reads bits of `set`, and the index stays below CPU_SETSIZE.
    Ok((0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect())
}

/// Binds the calling thread (and the threads that it starts later) to these cores.
///
/// # Errors
/// EINVAL when none of them exists or may be used.
pub fn pin(cpus: &[usize]) -> io::Result<()> {
    // SAFETY: a cpu_set_t is plain bits; all zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &cpu in cpus.iter().filter(|&&cpu| cpu < libc::CPU_SETSIZE as usize) {
        // SAFETY: the index is below CPU_SETSIZE.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: 0 means the calling thread; pointer and size are those of `set`.
    check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) })
        .map(drop)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot run on cores {cpus:?}: {error}")))
}

/// Gives the calling thread, number `number` of `threads`, its core: one after the other of `cpus`, and around again. Where there
/// are more threads than cores (of those that may be used, if `cpus` is empty) they take turns. Returns the core.
///
/// # Errors
/// EINVAL when the core does not exist or may not be used.
pub fn take_seat(cpus: &[usize], number: usize, threads: usize) -> io::Result<Option<usize>> {
    let cpu = (!cpus.is_empty()).then(|| cpus[number % cpus.len()]);
    let cores = if cpus.is_empty() { allowed()?.len() } else { cpus.len() };
    if let Some(cpu) = cpu {
        pin(&[cpu])?;
    }
    if threads > cores {
        // Where a sandbox forbids it they interrupt each other: that costs some speed and nothing else.
        let _ = take_turns();
    }
    Ok(cpu)
}

/// Lets the calling thread wait for its turn: when it wakes it does not interrupt the one that runs on its core (SCHED_BATCH). An
/// event loop runs for microseconds and then sleeps, so to interrupt it only costs two switches more.
fn take_turns() -> io::Result<()> {
    schedule(libc::SCHED_BATCH)
}

/// Lets the calling thread, and those that it starts later, run where nobody else wants the core (SCHED_IDLE): any other thread
/// that wakes up takes it at once. On a core that is never idle such a thread still gets some three thousandths of it.
///
/// # Errors
/// The kernel's, where a sandbox forbids it.
pub fn stand_back() -> io::Result<()> {
    schedule(libc::SCHED_IDLE)
}

fn schedule(policy: libc::c_int) -> io::Result<()> {
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 means the calling thread; the pointer is that of `priority`, which outlives the call.
    check(unsafe { libc::sched_setscheduler(0, policy, &raw const priority) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_may_run_on_its_core_alone() {
        let first = allowed().unwrap()[0];
        std::thread::spawn(move || {
            pin(&[first]).unwrap();
            assert_eq!(allowed().unwrap(), [first]);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn threads_get_one_core_after_the_other_and_take_turns_where_they_share() {
        let cores = allowed().unwrap();
        let policy_of = |cpus: Vec<usize>, number, threads| {
            let seated = std::thread::spawn(move || {
                let cpu = take_seat(&cpus, number, threads).unwrap();
                // SAFETY: 0 means the calling thread; the call touches no memory.
                (cpu, allowed().unwrap(), unsafe { libc::sched_getscheduler(0) })
            });
            seated.join().unwrap()
        };
        let last = cores[cores.len() - 1];
        assert_eq!(
            policy_of(cores.clone(), cores.len() - 1, cores.len()),
            (Some(last), vec![last], libc::SCHED_OTHER)
        );
        let (first, crowd) = (cores[0], cores.len() + 1);
        assert_eq!(
            policy_of(cores.clone(), cores.len(), crowd),
            (Some(first), vec![first], libc::SCHED_BATCH)
        );
        assert_eq!(policy_of(vec![], 0, crowd), (None, cores, libc::SCHED_BATCH));
    }

    #[test]
    fn a_thread_that_stands_back_runs_when_nobody_else_does() {
        let policy = std::thread::spawn(|| {
            stand_back().unwrap();
            // SAFETY: 0 means the calling thread; the call touches no memory.
            unsafe { libc::sched_getscheduler(0) }
        });
        assert_eq!(policy.join().unwrap(), libc::SCHED_IDLE);
    }

    #[test]
    fn no_such_core_is_an_error_that_names_it() {
        let error = pin(&[1023]).unwrap_err().to_string();
        assert!(error.contains("1023"), "{error}");
    }
}
