//! Connecting, giving up and leaving, each bounded per turn.

use throng_reactor::{Close, Nanos, Reactor};

use super::Worker;
use crate::limits::{CLOSES_PER_TURN, CONNECT_TIMEOUT, CONNECTS_PER_TURN};
use crate::user::State;

impl<R: Reactor> Worker<R> {
    /// When the next user is to connect; `None` when all were begun.
    pub(super) fn next_connect(&self) -> Option<Nanos> {
        let user = self.crowd.begun();
        (user < self.share.users()).then(|| self.crowd.planned_connect(user))
    }

    pub(super) fn connect(&mut self, now: Nanos) {
        for _ in 0..CONNECTS_PER_TURN {
            if self.crowd.pending >= self.connects_in_flight {
                return;
            }
            let Some(planned) = self.next_connect().filter(|&planned| planned <= now) else { return };
            debug_assert!(planned >= self.started);
            let user = self.crowd.begun();
            let (source, target) = self.sources.of(self.share.global(user));
            let connecting = self.reactor.connect(source, target);
            self.crowd.begin(connecting, now);
            self.timeouts.push_back((now + CONNECT_TIMEOUT, user));
        }
        self.hurry = true;
    }

    /// Gives up connections that take too long. The list holds what was begun in the last [`CONNECT_TIMEOUT`] at most.
    pub(super) fn time_out(&mut self, now: Nanos) {
        while let Some(&(at, user)) = self.timeouts.front() {
            let is_pending = matches!(self.crowd.state(user), State::Connecting | State::LoggingIn);
            if is_pending && now < at {
                return;
            }
            if is_pending {
                self.crowd.timed_out(user);
            }
            self.timeouts.pop_front();
        }
    }

    pub(super) fn leave(&mut self) {
        let end = self.crowd.begun().min(self.left + CLOSES_PER_TURN);
        for user in self.left..end {
            if let Some(slot) = self.crowd.dismiss(user) {
                self.reactor.close(slot, Close::Now);
            }
        }
        self.left = end;
        self.hurry |= end < self.crowd.begun();
    }
}
