//! CPU time of a thread or a process, read from outside.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Length of the tick in which /proc counts CPU time: the kernel shows USER_HZ, which is 100 whatever its own HZ is.
/// Over 5 s it is an error of 0.2 % at most.
const TICK: Duration = Duration::from_millis(10);

/// Where user and system ticks stand in /proc/PID/stat, counted from behind the command's closing parenthesis.
const USER_TICKS: usize = 11;

/// The CPU account of one thread or of one process with all its threads.
#[derive(Clone, Debug)]
pub struct CpuAccount {
    stat: PathBuf,
}

impl CpuAccount {
    /// The calling thread's, readable by every other thread.
    ///
    /// # Errors
    /// /proc is not mounted.
    pub fn of_this_thread() -> io::Result<CpuAccount> {
        let thread = fs::read_link("/proc/thread-self")?;
        Ok(CpuAccount { stat: PathBuf::from("/proc").join(thread).join("stat") })
    }

    /// A process's, threads that ended included.
    pub fn of_process(pid: u32) -> CpuAccount {
        CpuAccount { stat: PathBuf::from(format!("/proc/{pid}/stat")) }
    }

    /// User and system time so far.
    ///
    /// # Errors
    /// There is no such process here (it ended, or its number is one of another PID namespace).
    pub fn read(&self) -> io::Result<Duration> {
        let about = |what: String| io::Error::other(format!("{}: {what}", self.stat.display()));
        let text = fs::read_to_string(&self.stat).map_err(|error| about(error.to_string()))?;
        let ticks = ticks(&text).ok_or_else(|| about("not the format of proc(5)".to_owned()))?;
        Ok(TICK * ticks)
    }
}

/// User and system ticks. The command may hold spaces and parentheses, so fields count from the last `)`.
fn ticks(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(USER_TICKS);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 100 0 0 0 37 5 900 800 20 0 1 0 50";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("7 (a"), None);
    }

    #[test]
    fn a_threads_account_agrees_with_what_the_thread_sees_itself() {
        let account = CpuAccount::of_this_thread().unwrap();
        let mut sum = 0u64;
        while throng_reactor::sys::usage::thread_cpu() < TICK * 3 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(account.read().unwrap() >= TICK * 2);
        assert!(CpuAccount::of_process(std::process::id()).read().unwrap() >= TICK * 2);
    }

    #[test]
    fn a_process_that_does_not_exist_is_named() {
        let error = CpuAccount::of_process(u32::MAX).read().unwrap_err().to_string();
        assert!(error.contains("/proc/4294967295/stat"), "{error}");
    }
}
