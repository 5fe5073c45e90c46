//! Connecting, giving up and leaving, each bounded per turn.

use std::time::Duration;

use throng_reactor::{Close, Nanos, Reactor};

use super::Worker;
use crate::gate::EarlyEnd;
use crate::limits::{CLOSES_IN_FLIGHT, CLOSES_PER_TURN, CONNECT_TIMEOUT, CONNECTS_PER_TURN};
use crate::user::State;

impl<R: Reactor> Worker<R> {
    /// Connections that may be under way at once. In a storm as many as there are users: phones do not wait for each other.
    pub(super) fn connects_max(&self) -> u32 {
        if self.crowd.in_storm() { u32::MAX } else { self.connects_in_flight }
    }

    /// Begins the connections that are due, some per turn.
    pub(super) fn connect(&mut self, now: Nanos) {
        for _ in 0..CONNECTS_PER_TURN {
            let next = self.crowd.next_connect().filter(|&(planned, _)| planned <= now);
            let Some((planned, user)) = next else { return };
            if self.crowd.pending >= self.connects_max() {
                self.held_back = true;
                return;
            }
            let begun = self.reactor.now();
            let (source, target) = self.sources.of(self.share.global(user));
            let connecting = self.reactor.connect(source, target);
            // What the server held back is no lateness of ours.
            self.crowd.counts.held_back += u64::from(planned < self.room_since);
            self.crowd.begin(user, connecting, planned.max(self.room_since), begun);
            if let Some(slot) = self.crowd.slot(user) {
                self.timeouts.push_back((begun + CONNECT_TIMEOUT, slot));
            }
        }
        self.hurry = true;
    }

    /// Gives up connections that take too long. The list holds what was begun in the last [`CONNECT_TIMEOUT`] at most.
    pub(super) fn time_out(&mut self, now: Nanos) {
        while let Some(&(at, slot)) = self.timeouts.front() {
            let user = self.crowd.user_of(slot);
            let pending = user.filter(|&user| {
                matches!(self.crowd.state(user), State::Connecting | State::Securing | State::LoggingIn)
            });
            if let Some(user) = pending {
                if now < at {
                    return;
                }
                self.crowd.timed_out(user);
            }
            self.timeouts.pop_front();
        }
    }

    /// Tells the other workers whether somebody was let in since the last time, or only failed to be.
    pub(super) fn tell_doors(&mut self) {
        let crowd = &self.crowd;
        let (let_in, failed, timed_out) = self.told;
        self.told =
            (crowd.counts.established + crowd.storm.back, crowd.attempts_failed, crowd.attempts_timed_out);
        if self.told.0 != let_in {
            self.shared.doors.opened();
        } else if self.told.1 != failed {
            let all_timed_out = self.told.1 - failed == self.told.2 - timed_out;
            self.shared.doors.stayed_shut(self.reactor.now(), all_timed_out);
        }
    }

    /// Ends the run when nobody is let in any more.
    pub(super) fn give_up(&mut self, now: Nanos) {
        // After `time_out`, the first of the list is under way.
        let oldest = self.timeouts.front();
        let waits = oldest.map_or(Duration::ZERO, |&(at, _)| now.since(at - CONNECT_TIMEOUT));
        if let Some(how) = self.shared.hopeless(self.crowd.in_storm(), waits, now) {
            self.shared.end_early(now, EarlyEnd::ServerGone(how));
            self.hurry = true;
        }
    }

    pub(super) fn leave(&mut self) {
        // Those who are there and were not asked yet; should some be gone, fewer are under way than it seems.
        let rest = self.crowd.begun() - self.left;
        let under_way = self.crowd.slots.saturating_sub(rest);
        let room = CLOSES_IN_FLIGHT.saturating_sub(under_way).min(CLOSES_PER_TURN);
        let end = self.crowd.begun().min(self.left + room);
        for user in self.left..end {
            if let Some(slot) = self.crowd.dismiss(user) {
                self.reactor.close(slot, Close::Now);
            }
        }
        self.left = end;
        self.hurry |= room > 0 && end < self.crowd.begun();
    }
}
