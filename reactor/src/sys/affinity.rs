//! Which cores a thread may run on.

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
    fn no_such_core_is_an_error_that_names_it() {
        let error = pin(&[1023]).unwrap_err().to_string();
        assert!(error.contains("1023"), "{error}");
    }
}
