//! Instants as whole nanoseconds. Time is an argument everywhere: only a reactor reads a clock.

use std::ops::{Add, Sub};
use std::time::Duration;

/// An instant in nanoseconds. Real backends count from the kernel's CLOCK_MONOTONIC origin, so instants of two
/// processes on one machine compare; the simulator counts from its own zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The far future: later than every deadline.
    pub const MAX: Nanos = Nanos(u64::MAX);

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Nanos) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Nanos {
    type Output = Nanos;

    /// Saturates at [`Nanos::MAX`].
    fn add(self, rhs: Duration) -> Nanos {
        let nanos = u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX);
        Nanos(self.0.saturating_add(nanos))
    }
}

impl Sub<Duration> for Nanos {
    type Output = Nanos;

    /// Saturates at zero.
    fn sub(self, rhs: Duration) -> Nanos {
        let nanos = u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX);
        Nanos(self.0.saturating_sub(nanos))
    }
}
