//! Storms: who loses the connection, and how users come back, each by its own back-off.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use throng_reactor::{Nanos, Slot};

use super::Crowd;
use crate::Storm;
use crate::scenario::Kind;
use crate::user::{Flags, State};

/// Users who wait for their next attempt, by its instant: 16 bytes for each of them.
pub(super) type Returns = BinaryHeap<Reverse<(Nanos, u32)>>;

impl Crowd {
    /// Whether connections that are begun now belong to a storm.
    pub(crate) fn in_storm(&self) -> bool {
        self.plan.kind == Kind::LoginStorm || self.storm.began.is_some()
    }

    /// Everybody is back, or gave up: whether nobody is on the way any more.
    pub(crate) fn is_settled(&self) -> bool {
        self.pending == 0 && self.returning == 0
    }

    /// The storm begins at this instant of the plan's.
    pub(crate) fn begin_storm(&mut self, at: Nanos) {
        self.storm.began = Some(at);
    }

    /// Takes a user's connection away if the storm strikes it: its slot, to be closed.
    pub(crate) fn strike(&mut self, user: u32) -> Option<Slot> {
        let strikes = self.plan.storm.as_ref()?.strikes(self.share.global(user));
        let record = &mut self.users[user as usize];
        if !strikes || record.state != State::Ready {
            return None;
        }
        record.state = State::Closing;
        record.attempts = 0;
        record.flags.set(Flags::RETURNS);
        let (slot, is_open) = (record.slot, record.flags.has(Flags::PINGED));
        // Nobody may wait for the answer to a heartbeat on a connection that the plan closed.
        self.heartbeats.due -= u64::from(is_open);
        self.ready -= 1;
        self.returning += 1;
        self.storm.struck += 1;
        self.write_off(user);
        slot
    }

    /// The next connection to be begun, and when: a user's first, or one after a storm or a failed attempt.
    pub(crate) fn next_connect(&self) -> Option<(Nanos, u32)> {
        let next = self.begun();
        let first = (next < self.share.users()).then(|| (self.planned_connect(next), next));
        let again = self.returns.peek().map(|Reverse(next)| *next);
        match (first, again) {
            (Some(first), Some(again)) => Some(first.min(again)),
            (first, again) => first.or(again),
        }
    }

    /// When a user was to make the first attempt at its present connection.
    pub(crate) fn planned_connect(&self, user: u32) -> Nanos {
        let global = self.share.global(user);
        match (self.storm.began, &self.plan.storm) {
            (Some(began), Some(storm)) => began + storm.first_delay(self.plan.seed, global),
            _ => self.started + self.plan.ramp.at(global),
        }
    }

    /// Accounts for an attempt that begins; takes the user off the list of those who wait.
    pub(super) fn count_attempt(&mut self, user: u32) {
        if self.returns.peek().is_some_and(|Reverse((_, next))| *next == user) {
            self.returns.pop();
            self.returning -= 1;
        }
        if self.in_storm() {
            let attempts = &mut self.users[user as usize].attempts;
            *attempts = attempts.saturating_add(1);
            self.storm.attempts += 1;
            self.storm.repeats += u64::from(*attempts > 1);
        }
    }

    /// Whether a user whose attempt failed tries again; it then does so when its connection is gone.
    pub(super) fn tries_again(&mut self, user: u32) -> bool {
        let record = &mut self.users[user as usize];
        let allowed = self.plan.storm.as_ref().map_or(0, |storm| storm.attempts_max);
        // Without a storm no attempt was counted, and the ramp before one is no part of it.
        if record.attempts == 0 || u32::from(record.attempts) >= allowed {
            return false;
        }
        record.flags.set(Flags::RETURNS);
        self.returning += 1;
        true
    }

    /// A user's connection is gone: sets the instant of the next one, if there is to be one.
    pub(super) fn gone(&mut self, user: u32, now: Nanos) {
        let record = &mut self.users[user as usize];
        record.slot = None;
        record.state = State::Gone;
        if !record.flags.take(Flags::RETURNS) || self.leaving {
            return;
        }
        let attempts = u32::from(record.attempts);
        let (seed, global) = (self.plan.seed, self.share.global(user));
        let delay = |storm: &Storm| storm.delay(seed, global, attempts);
        let at = match attempts {
            0 => self.planned_connect(user),
            _ => now + self.plan.storm.as_ref().map_or_else(Default::default, delay),
        };
        self.returns.push(Reverse((at, user)));
    }

    /// The storm is over: its memory is given back.
    pub(crate) fn end_storm(&mut self) {
        self.returns = Returns::new();
    }
}
