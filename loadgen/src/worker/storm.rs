//! The storm between hold and roll call: connections are taken away in slices, and made again.

use std::collections::VecDeque;

use throng_reactor::{Close, Nanos, Reactor};

use super::{Stage, Worker};
use crate::limits::{CLOSES_PER_TURN, GATE_LEAD};
use crate::scenario::Kind;

impl<R: Reactor> Worker<R> {
    /// Whether there is a storm to come.
    pub(super) fn storm_is_due(&self) -> bool {
        self.plan.kind == Kind::ReconnectStorm && !self.crowd.in_storm() && self.shared.cut().is_none()
    }

    /// One turn of the storm.
    pub(super) fn storm(&mut self, now: Nanos) {
        if self.shared.cut().is_some() {
            self.stage = Stage::Traffic;
            self.hurry = true;
            return;
        }
        self.strike();
        self.connect(now);
        self.time_out(now);
        self.heartbeat(now);
        self.give_up(now);
        if self.struck == self.crowd.begun() && self.crowd.is_settled() {
            self.timeouts = VecDeque::new();
            self.crowd.end_storm();
            self.stage = Stage::Calm;
            self.shared.arrive(&self.shared.calm, now, GATE_LEAD);
        }
    }

    /// Closes the next connections that are struck. By a reset: a connection that is gone sends no FIN, and a port that is in
    /// TIME_WAIT would be missing when its user comes back.
    fn strike(&mut self) {
        let end = self.crowd.begun().min(self.struck + CLOSES_PER_TURN);
        for user in self.struck..end {
            if let Some(slot) = self.crowd.strike(user) {
                self.reactor.close(slot, Close::Reset);
            }
        }
        self.struck = end;
        self.hurry |= end < self.crowd.begun();
    }
}
