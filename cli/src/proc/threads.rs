//! Threads of this process: what each has worked, and what that makes of the cores that they are bound to.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// CPU time of this process's threads that are called `PREFIX-NUMBER`, in nanoseconds, by number.
pub(crate) fn cpu_ns(prefix: &str) -> BTreeMap<usize, u64> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let of = |task: fs::DirEntry| {
        let text = |file| fs::read_to_string(task.path().join(file)).ok();
        let number = number(&text("comm")?, prefix)?;
        let spent = text("schedstat")?.split(' ').next()?.parse().ok()?;
        Some((number, spent))
    };
    tasks.filter_map(of).collect()
}

fn number(name: &str, prefix: &str) -> Option<usize> {
    name.trim_end().strip_prefix(prefix)?.strip_prefix('-')?.parse().ok()
}

/// The busiest core's share of `wall`, 0 to 1. Thread `n` is bound to core `n` of the list, which begins again at its end;
/// `worked` is each thread's number and what it worked in that time, in nanoseconds. `None` where threads are not bound, or no
/// time passed.
pub(crate) fn busiest_core(
    cores: usize,
    worked: impl IntoIterator<Item = (usize, u64)>,
    wall: Duration,
) -> Option<f64> {
    if cores == 0 || wall.is_zero() {
        return None;
    }
    let mut per_core = BTreeMap::<usize, u64>::new();
    for (thread, nanos) in worked {
        *per_core.entry(thread % cores).or_default() += nanos;
    }
    let busiest = per_core.into_values().max()?;
    Some((busiest as f64 / wall.as_nanos() as f64).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_found_by_their_names() {
        assert_eq!(number("load-12\n", "load"), Some(12));
        assert_eq!((number("load\n", "load"), number("loader-1\n", "load")), (None, None));
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("seeker-7".to_owned());
        let thread = thread.spawn(move || wait.recv()).unwrap();
        // A thread names itself when it begins.
        let found = (0..1000).any(|_| {
            std::thread::sleep(Duration::from_millis(1));
            cpu_ns("seeker").contains_key(&7)
        });
        drop(done);
        let _ = thread.join();
        assert!(found);
    }

    #[test]
    fn threads_on_one_core_count_together() {
        let worked = [(0, 300), (1, 500), (2, 300)];
        assert_eq!(busiest_core(2, worked, Duration::from_nanos(1000)), Some(0.6), "0 and 2 are on one core");
        assert_eq!(busiest_core(0, worked, Duration::from_nanos(1000)), None);
        assert_eq!(busiest_core(2, [], Duration::from_nanos(1000)), None);
    }
}
