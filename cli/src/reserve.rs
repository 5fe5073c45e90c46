//! The memory that is left to everybody else, and looking whether it still is there.
//!
//! Connections take memory faster than anything else here: 75,000 a second with both ends on this machine are 0.6 GB a second.
//! Looked at ten times a second, that is 60 MB between two looks, which the smallest reserve covers several times.

use std::time::{Duration, Instant};

use throng_report::text;
use throng_tune::Available;

use crate::proc::machine;

/// The smallest reserve that is taken without being told.
const RESERVE_BYTES_MIN: u64 = 512 << 20;

/// The default as a divisor of the whole: 3 %. MemAvailable leaves out what the kernel keeps for allocations that cannot
/// wait (vm.min_free_kbytes), so this is for everybody else alone. What a run is refused for beforehand is more, a
/// twentieth: a run that was let in does not meet its guard.
const RESERVE_DIVISOR: u64 = 33;

/// How often to look: one file of /proc, which takes the kernel 30 us.
const LOOK: Duration = Duration::from_millis(100);

/// Looks at the memory that can be had, now and then.
pub(crate) struct Reserve {
    available: Available,
    bytes: u64,
    next: Option<Instant>,
    last_bytes: Option<u64>,
    lowest_bytes: Option<u64>,
    is_short: bool,
}

impl Reserve {
    /// As told, else by the machine's size.
    pub(crate) fn new(told: Option<u64>) -> Reserve {
        let default = || RESERVE_BYTES_MIN.max(machine::total_bytes().unwrap_or(0) / RESERVE_DIVISOR);
        Reserve {
            available: Available::of_this_process(),
            bytes: told.unwrap_or_else(default),
            next: None,
            last_bytes: None,
            lowest_bytes: None,
            is_short: false,
        }
    }

    /// What is to be left.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The least that was seen.
    pub(crate) fn lowest_bytes(&self) -> Option<u64> {
        self.lowest_bytes
    }

    /// What was seen last.
    pub(crate) fn last_bytes(&self) -> Option<u64> {
        self.last_bytes
    }

    /// What can be had now.
    pub(crate) fn available_bytes(&mut self) -> Option<u64> {
        let now = self.available.bytes()?;
        self.last_bytes = Some(now);
        self.lowest_bytes = Some(self.lowest_bytes.map_or(now, |lowest| lowest.min(now)));
        Some(now)
    }

    /// Looks, if it is time to. When memory has just run short: how short, in words and figures.
    pub(crate) fn runs_short(&mut self, now: Instant) -> Option<String> {
        if self.next.is_some_and(|next| now < next) {
            return None;
        }
        self.next = Some(now + LOOK);
        let left = self.available_bytes()?;
        self.judge(left)
    }

    fn judge(&mut self, left: u64) -> Option<String> {
        let was_short = std::mem::replace(&mut self.is_short, left < self.bytes);
        (self.is_short && !was_short).then(|| {
            format!(
                "{} could still be had, and {} are to be left to everybody else (--memory-reserve)",
                text::bytes(left as f64),
                text::bytes(self.bytes as f64)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shortage_is_told_once() {
        let mut reserve = Reserve::new(Some(1_000_000_000));
        assert_eq!(reserve.judge(1_000_000_000), None, "just enough");
        let told = reserve.judge(900_000_000).unwrap();
        assert!(told.contains("900.00 MB") && told.contains("1.00 GB"), "{told}");
        assert_eq!(reserve.judge(800_000_000), None);
        assert_eq!(reserve.judge(1_100_000_000), None);
        assert!(reserve.judge(0).is_some(), "a new shortage");
    }

    #[test]
    fn it_looks_now_and_then_and_remembers_the_least() {
        let mut reserve = Reserve::new(Some(u64::MAX));
        let now = Instant::now();
        assert!(reserve.runs_short(now).is_some());
        let lowest = reserve.lowest_bytes().unwrap();
        assert!(lowest > 0 && reserve.last_bytes() == Some(lowest));
        reserve.is_short = false;
        assert_eq!(reserve.runs_short(now + LOOK / 2), None, "not yet");
        assert!(reserve.runs_short(now + LOOK).is_some());
    }

    #[test]
    fn without_being_told_it_is_less_than_a_run_is_refused_for() {
        let total = machine::total_bytes().unwrap();
        let refused = throng_tune::limits::MEMORY_RESERVE_BYTES
            .max(total / throng_tune::limits::MEMORY_RESERVE_DIVISOR);
        let reserve = Reserve::new(None).bytes();
        assert!((RESERVE_BYTES_MIN..=refused).contains(&reserve), "{reserve} of {total}");
    }
}
