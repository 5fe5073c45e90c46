//! What the workers of one load have in common: the instants that they must agree on, and the figures that they show.
//!
//! ```text
//!         start gate              traffic gate                calm gate                     leave gate
//!  ready ────┼── connect, log in ──────┼── warm-up ── measure ─┬── storm ──┼── roll call ── drain ────┼── close ── done
//!            │  every worker is ready  │  every user is in,    │           │  everybody is back,      │  all are drained
//!            │                         │  or failed            planned     │  or gave up              │
//! ```
//!
//! A gate opens when the last worker arrives, at one instant for all; nobody blocks on it. The instants between two gates follow
//! from the plan; without a storm the roll call, too, has a planned instant, and without one draining begins after the window. A
//! run that is cut short ([`EarlyEnd`]) has its end moved to that moment.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, TryLockError};
use std::time::Duration;

use throng_reactor::{Nanos, Waker};
use throng_report::IntervalHistogram;

use crate::Plan;
use crate::limits::{CONNECT_TIMEOUT, HANGING_LIMIT, REFUSED_LIMIT, STORM_LIMIT};
use crate::scenario::Kind;

/// How far a load has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Users connect and log in.
    Connecting,
    /// Traffic that is not measured.
    Warmup,
    /// The measured window; with idle users, the hold.
    Measuring,
    /// Users lost their connection and come back.
    Storming,
    /// Quiet users send their one message each.
    RollCall,
    /// What is under way is waited for.
    Draining,
    /// Connections are closed.
    Leaving,
    /// Everybody is gone.
    Done,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Phase::Connecting => "connecting",
            Phase::Warmup => "warming up",
            Phase::Measuring => "measuring",
            Phase::Storming => "storm",
            Phase::RollCall => "roll call",
            Phase::Draining => "draining",
            Phase::Leaving => "leaving",
            Phase::Done => "done",
        })
    }
}

/// Why a run ended before its plan did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EarlyEnd {
    /// Somebody asked for it.
    Interrupted,
    /// Memory ran short while users connected; how short, in words and figures.
    MemoryGuard(String),
    /// Nobody was connected any more, and nobody to come.
    EverybodyLost,
    /// Nobody was let in for so long that waiting for the others would show nothing; how that looked, in words and figures.
    ServerGone(String),
}

/// Opens once, when everybody has arrived.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    arrived: AtomicU32,
    /// The instant of opening plus one; zero while it is closed.
    opens: AtomicU64,
}

impl Gate {
    /// Says that one more of `workers` is here. The last one sets the instant, `lead` after `now`; true for it.
    fn arrive(&self, workers: u32, now: Nanos, lead: Duration) -> bool {
        let last = self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == workers;
        if last {
            self.opens.store((now + lead).0 + 1, Ordering::Release);
        }
        last
    }

    /// The instant at which it opens; `None` while somebody is missing.
    pub(crate) fn opens(&self) -> Option<Nanos> {
        self.opens.load(Ordering::Acquire).checked_sub(1).map(Nanos)
    }
}

/// What was measured since it was last asked for.
#[derive(Clone, Debug, Default)]
pub struct Interval {
    /// Planned to delivered, of messages planned in the window.
    pub planned_to_delivered: IntervalHistogram,
    /// Planned to attempted, likewise.
    pub send_lag: IntervalHistogram,
}

impl Interval {
    /// Adds what another one holds.
    pub fn merge(&mut self, other: &Interval) {
        self.planned_to_delivered.merge(&other.planned_to_delivered);
        self.send_lag.merge(&other.send_lag);
    }

    /// Begins anew.
    pub(crate) fn reset(&mut self) {
        self.planned_to_delivered.reset();
        self.send_lag.reset();
    }
}

/// The figures of one worker, for whoever watches. Stored once per turn; each is exact, together they may be a turn
/// apart.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Board {
    pub(crate) established: AtomicU64,
    pub(crate) connected_now: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) planned: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) waiting: AtomicU64,
    pub(crate) missing: AtomicU64,
    pub(crate) duplicated: AtomicU64,
    pub(crate) reordered: AtomicU64,
    pub(crate) corrupted: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) unknown: AtomicU64,
    pub(crate) done: AtomicBool,
    /// What was measured since somebody last took it.
    pub(crate) interval: Mutex<Interval>,
}

impl Board {
    /// Hands a second's measurements over; keeps them when somebody is reading, so that a worker never waits.
    pub(crate) fn hand_over(&self, part: &mut Interval) {
        match self.interval.try_lock() {
            Ok(mut taken) => taken.merge(part),
            Err(TryLockError::Poisoned(taken)) => taken.into_inner().merge(part),
            Err(TryLockError::WouldBlock) => return,
        }
        part.reset();
    }
}

/// Whether anybody is let in, as all workers together see it: since when they saw nothing but failures.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    /// The first failed attempt after the last user was let in, plus one; zero when there is none.
    failing_since: AtomicU64,
    /// The same, when all of those attempts timed out.
    hanging_since: AtomicU64,
}

impl Doors {
    /// Somebody was let in.
    pub(crate) fn opened(&self) {
        for since in [&self.failing_since, &self.hanging_since] {
            // Read first: in a good ramp there is nothing to write, and every worker is here in every turn.
            if since.load(Ordering::Relaxed) != 0 {
                since.store(0, Ordering::Relaxed);
            }
        }
    }

    /// Nobody was let in since the last look, and attempts failed, by waiting too long or otherwise.
    pub(crate) fn stayed_shut(&self, now: Nanos, all_timed_out: bool) {
        let begin = |since: &AtomicU64| {
            let _ = since.compare_exchange(0, now.0 + 1, Ordering::Relaxed, Ordering::Relaxed);
        };
        begin(&self.failing_since);
        if all_timed_out {
            begin(&self.hanging_since);
        } else {
            self.hanging_since.store(0, Ordering::Relaxed);
        }
    }

    fn since(since: &AtomicU64, now: Nanos) -> Option<Duration> {
        since.load(Ordering::Relaxed).checked_sub(1).map(|since| now.since(Nanos(since)))
    }
}

/// What the workers of one load share.
#[derive(Debug)]
pub struct Shared {
    pub(crate) start: Gate,
    pub(crate) traffic: Gate,
    pub(crate) calm: Gate,
    pub(crate) leave: Gate,
    /// Whether anybody is let in.
    pub(crate) doors: Doors,
    /// When the run was cut short, and why; the first reason stands.
    early_end: OnceLock<(Nanos, EarlyEnd)>,
    /// A worker is gone, so that no gate may be waited for.
    broken: AtomicBool,
    pub(crate) boards: Box<[Board]>,
    wakers: Box<[Waker]>,
}

impl Shared {
    /// For as many workers as there are wakers, one each.
    pub fn new(wakers: Vec<Waker>) -> Shared {
        Shared {
            start: Gate::default(),
            traffic: Gate::default(),
            calm: Gate::default(),
            leave: Gate::default(),
            doors: Doors::default(),
            early_end: OnceLock::new(),
            broken: AtomicBool::new(false),
            boards: wakers.iter().map(|_| Board::default()).collect(),
            wakers: wakers.into(),
        }
    }

    /// Workers.
    pub fn workers(&self) -> u32 {
        self.boards.len() as u32
    }

    /// Arrives at a gate; whoever comes last wakes the others.
    pub(crate) fn arrive(&self, gate: &Gate, now: Nanos, lead: Duration) {
        if gate.arrive(self.workers(), now, lead) {
            self.wake_all();
        }
    }

    fn wake_all(&self) {
        self.wakers.iter().for_each(Waker::wake);
    }

    /// Ends the run at `now`: no further connection is begun, what is under way is waited for, then everybody leaves. A run
    /// that was ended before keeps its first instant and its first reason.
    pub fn end_early(&self, now: Nanos, why: EarlyEnd) {
        // Whoever comes second has nothing to add.
        let _ = self.early_end.set((now, why));
        self.wake_all();
    }

    /// Ends all workers at once, without their leaving properly: one of them could not go on, or nobody wants the outcome.
    pub(crate) fn abandon(&self) {
        self.broken.store(true, Ordering::Release);
        self.wake_all();
    }

    /// Whether to end at once.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// When the run was cut short.
    pub(crate) fn cut(&self) -> Option<Nanos> {
        self.early_end.get().map(|&(at, _)| at)
    }

    /// Why the run ended before its plan did; `None` when it did not.
    pub fn early_end(&self) -> Option<&EarlyEnd> {
        self.early_end.get().map(|(_, why)| why)
    }

    /// Whether waiting for more users to get in would show nothing, and why, in words and figures. The oldest attempt under way
    /// is `waits` old.
    pub(crate) fn hopeless(&self, in_storm: bool, waits: Duration, now: Nanos) -> Option<String> {
        let limit = |limit| if in_storm { STORM_LIMIT } else { limit };
        let failing = Doors::since(&self.doors.failing_since, now)?;
        if failing >= limit(REFUSED_LIMIT) && self.sum(|board| &board.connected_now) == 0 {
            return Some(format!(
                "every attempt to connect failed for {:.1} s, and nobody was connected",
                failing.as_secs_f64()
            ));
        }
        let hanging = Doors::since(&self.doors.hanging_since, now)?;
        // A pause of the ramp after an attempt that timed out is no sign of anything.
        (hanging >= limit(HANGING_LIMIT) && waits >= HANGING_LIMIT).then(|| {
            format!(
                "nobody was let in for {:.1} s: every attempt timed out",
                (hanging + CONNECT_TIMEOUT).as_secs_f64()
            )
        })
    }

    /// Sums a figure over all boards.
    pub(crate) fn sum(&self, figure: impl Fn(&Board) -> &AtomicU64) -> u64 {
        self.boards.iter().map(|board| figure(board).load(Ordering::Relaxed)).sum()
    }

    /// The plan's instants; `None` before the traffic gate opens.
    pub fn times(&self, plan: &Plan) -> Option<Times> {
        self.traffic.opens().map(|begins| Times::new(plan, begins, self.calm.opens(), self.cut()))
    }

    /// How far the load has come at `now`.
    pub fn phase(&self, plan: &Plan, now: Nanos) -> Phase {
        if self.boards.iter().all(|board| board.done.load(Ordering::Acquire)) {
            return Phase::Done;
        }
        if self.leave.opens().is_some() {
            return Phase::Leaving;
        }
        match self.times(plan) {
            None if self.cut().is_some() => Phase::Draining,
            None => Phase::Connecting,
            Some(times) => times.phase(now),
        }
    }
}

/// The instants of one run, from the beginning of its traffic on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The warm-up begins.
    pub begins: Nanos,
    /// The measured part begins.
    pub measure: Nanos,
    /// It ends: with quiet users the storm or the roll call begins, else draining.
    pub measured: Nanos,
    /// The schedule's instants count from here: with quiet users from the roll call, else from the warm-up. [`Nanos::MAX`]
    /// until a storm is over.
    pub origin: Nanos,
    /// No more messages are due from here on; [`Nanos::MAX`] until a storm is over.
    pub ends: Nanos,
    /// Messages count that are planned from here ...
    pub window_begins: Nanos,
    /// ... to here.
    pub window_ends: Nanos,
}

impl Times {
    fn new(plan: &Plan, begins: Nanos, calm: Option<Nanos>, cut: Option<Nanos>) -> Times {
        let cut = cut.unwrap_or(Nanos::MAX);
        let measure = (begins + plan.warmup).min(cut);
        let measured = (begins + plan.warmup + plan.duration).min(cut);
        let roll_call = match plan.kind {
            Kind::Pairs => None,
            Kind::Idle | Kind::LoginStorm => Some(measured),
            Kind::ReconnectStorm => Some(calm.unwrap_or(Nanos::MAX).min(cut)),
        };
        let ends = roll_call.map_or(measured, |origin| (origin + plan.roll_call()).min(cut));
        Times {
            begins,
            measure,
            measured,
            origin: roll_call.unwrap_or(begins),
            ends,
            window_begins: roll_call.unwrap_or(measure),
            window_ends: ends,
        }
    }

    /// Whether a message planned, or a thing that happened, at this instant counts.
    #[inline]
    pub fn in_window(&self, at: Nanos) -> bool {
        self.window_begins <= at && at < self.window_ends
    }

    fn phase(&self, now: Nanos) -> Phase {
        if now >= self.ends {
            Phase::Draining
        } else if now >= self.measured {
            if now >= self.origin { Phase::RollCall } else { Phase::Storming }
        } else if now >= self.measure {
            Phase::Measuring
        } else {
            Phase::Warmup
        }
    }
}
