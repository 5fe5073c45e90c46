//! What goes wrong in a simulated network, and the dice that decide when.

use std::ops::RangeInclusive;
use std::time::Duration;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::Nanos;

/// How the network and the machines in it behave. Chances are per mille, each time that the fault could happen.
///
/// The default has a fixed latency and no faults. Dice are thrown only when something happens, so a world with
/// faults comes to rest as one without does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// How long a segment travels.
    pub latency: RangeInclusive<Duration>,
    /// Bytes that the kernels take for one direction of a connection before a sender has to wait.
    pub pipe_bytes: usize,
    /// Clients that a listener lets wait; the SYNs of others are lost, and repeated after one second, two, four ...
    pub backlog: usize,
    /// A send is taken only in part, the rest after a delay.
    pub short_send: u16,
    /// A segment, or what one receive gives of it, is cut at an arbitrary byte, often the first.
    pub split: u16,
    /// `Connected`, `Sent` or `Closed` comes late, and so after those of other connections.
    pub late_completion: u16,
    /// A receive finds the pool empty, for a pause.
    pub starved: u16,
    /// A connection is reset while it carries a segment.
    pub reset: u16,
    /// An accept fails for want of what the whole machine shares, for a pause: clients wait.
    pub accept_pause: u16,
    /// An accept fails for want of a descriptor of its own, for a pause: its clients go elsewhere, or are refused.
    pub full_table: u16,
    /// A segment is held up for a pause, and with it all that follow on its stream.
    pub slow: u16,
    /// A turn that has events has a `Wake` too, though nobody called.
    pub spurious_wake: u16,
    /// A reactor with events gets no processor, for a pause.
    pub stall: u16,
    /// Longest delay of a completion or a step of a send.
    pub delay_max: Duration,
    /// Longest pause.
    pub pause_max: Duration,
}

impl Default for Faults {
    fn default() -> Self {
        Faults {
            latency: Duration::from_micros(50)..=Duration::from_micros(50),
            pipe_bytes: 64 << 10,
            backlog: 4096,
            short_send: 0,
            split: 0,
            late_completion: 0,
            starved: 0,
            reset: 0,
            accept_pause: 0,
            full_table: 0,
            slow: 0,
            spurious_wake: 0,
            stall: 0,
            delay_max: Duration::from_millis(2),
            pause_max: Duration::from_millis(100),
        }
    }
}

impl Faults {
    /// Everything at once, but connections live: [`Faults::reset`] and [`Faults::full_table`] stay 0, since only some
    /// tests expect losses.
    pub fn rough() -> Faults {
        Faults {
            latency: Duration::from_micros(10)..=Duration::from_millis(5),
            pipe_bytes: 4 << 10,
            backlog: 8,
            short_send: 200,
            split: 200,
            late_completion: 200,
            starved: 20,
            accept_pause: 50,
            slow: 20,
            spurious_wake: 50,
            stall: 10,
            ..Faults::default()
        }
    }

    /// As [`Faults::rough`], and some connections are reset or refused.
    pub fn hostile() -> Faults {
        Faults { reset: 5, full_table: 10, ..Faults::rough() }
    }
}

/// The one source of chance in a world.
pub(super) struct Dice {
    generator: Xoshiro256PlusPlus,
    pub(super) faults: Faults,
}

impl Dice {
    pub(super) fn new(seed: u64, faults: Faults) -> Dice {
        assert!(faults.pipe_bytes > 0 && faults.backlog > 0, "a network without room moves nothing");
        assert!(faults.latency.start() <= faults.latency.end(), "a latency is at least its least");
        Dice { generator: Xoshiro256PlusPlus::seed_from_u64(seed), faults }
    }

    /// A number in `0..bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.generator.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Whether something happens that happens so many times in a thousand.
    pub(super) fn hit(&mut self, per_mille: u16) -> bool {
        per_mille > 0 && self.below(1000) < u64::from(per_mille)
    }

    /// A part of `whole` units, at least one: half of the time exactly one.
    pub(super) fn part(&mut self, whole: usize) -> usize {
        match self.below(2) {
            0 => 1,
            _ => 1 + self.below(whole as u64) as usize,
        }
    }

    /// How long a segment that leaves now travels.
    pub(super) fn latency(&mut self) -> Duration {
        let (least, most) = (*self.faults.latency.start(), *self.faults.latency.end());
        least + self.up_to(most - least)
    }

    /// A delay after `now` with the chance of a fault, else `now`.
    pub(super) fn delayed(&mut self, now: Nanos, per_mille: u16) -> Nanos {
        if self.hit(per_mille) { now + self.up_to(self.faults.delay_max) } else { now }
    }

    /// The end of a pause that begins now; later than `now`.
    pub(super) fn pause(&mut self, now: Nanos) -> Nanos {
        now + self.up_to(self.faults.pause_max) + Duration::from_nanos(1)
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX - 1);
        Duration::from_nanos(self.below(nanos + 1))
    }
}
