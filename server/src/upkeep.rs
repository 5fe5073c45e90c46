//! What time does to a shard: logins that never come, clients that fall silent, goodbyes that nobody reads, the drain.

use throng_reactor::{Close, Nanos, Reactor, Slot};
use throng_wire::native::{Bye, ErrorCode, Frame};

use crate::limits::{
    DRAIN_LEAVE, DRAIN_LOOK, DRAIN_SETTLE, GOODBYES_PER_TURN, HEARD_TICK, SWEEP_INTERVAL, SWEEPS_PER_TIMEOUT,
};
use crate::session::State;
use crate::shard::{Progress, Shard};

/// A drain: first messages on their way settle, then everybody is told goodbye, then the last are reset.
#[derive(Debug)]
pub(crate) enum Drain {
    /// Nothing new is accepted; messages on their way may arrive.
    Settling { until: Nanos },
    /// Sessions below this index were told goodbye.
    Parting { index: usize, until: Nanos },
    /// Time is up: what is left is reset.
    Resetting { until: Nanos },
}

impl Drain {
    pub(crate) fn deadline(&self, now: Nanos) -> Nanos {
        match *self {
            // How far the other shards are shows only by looking.
            Drain::Settling { until } | Drain::Resetting { until } => until.min(now + DRAIN_LOOK),
            Drain::Parting { until, .. } => until,
        }
    }
}

impl<R: Reactor> Shard<R> {
    /// Acts on every deadline that has passed.
    pub(crate) fn upkeep(&mut self) {
        let mut expired = Vec::new();
        self.timers.expire(self.now, &mut expired);
        for slot in expired {
            self.overdue(slot);
        }
        if self.now >= self.sweep_at {
            self.sweep_at = self.now + SWEEP_INTERVAL;
            self.sweep();
        }
    }

    /// A login or a goodbye takes too long, if it is still the matter.
    fn overdue(&mut self, slot: Slot) {
        match self.sessions.get(slot).map(|session| session.state) {
            Some(State::Greeting | State::LoggingIn) => {
                self.figures.closed_login_timeout += 1;
                self.turn_away(slot, ErrorCode::LoginTimeout, "no Hello came in time");
            }
            // The timer may be that of its login.
            Some(State::Leaving) if self.has_lingered(slot) => {
                self.figures.closed_by_reset += 1;
                self.reactor.close(slot, Close::Reset);
            }
            Some(State::Active | State::Leaving) | None => {}
        }
    }

    /// Whether a leaving session has had its time, to the tick.
    fn has_lingered(&self, slot: Slot) -> bool {
        let linger = (self.shared.config.linger.as_nanos() / HEARD_TICK.as_nanos()) as u32;
        self.sessions.get(slot).is_some_and(|session| self.heard_now() - session.heard >= linger)
    }

    /// Looks at the next slice of the sessions for silence. There is no timer per session: a session costs nothing
    /// while it is quiet, and every one is looked at several times within the idle timeout.
    fn sweep(&mut self) {
        let timeout = self.shared.config.idle_timeout;
        let passes = SWEEP_INTERVAL.as_secs_f64() * f64::from(SWEEPS_PER_TIMEOUT) / timeout.as_secs_f64();
        let extent = self.sessions.extent();
        let slice = ((extent as f64 * passes).ceil() as usize).clamp(1, extent.max(1));
        let ticks = (timeout.as_nanos() / HEARD_TICK.as_nanos()) as u32;
        let now = self.heard_now();
        for _ in 0..slice {
            self.sweep_index = if self.sweep_index + 1 < extent { self.sweep_index + 1 } else { 0 };
            let Some((slot, session)) = self.sessions.at(self.sweep_index) else { continue };
            if session.state != State::Active {
                continue;
            }
            let silent = now.saturating_sub(session.heard);
            if silent >= ticks {
                self.figures.closed_idle += 1;
                self.leave(slot, Some(Bye::Idle));
            } else if silent >= ticks / 2 && !session.pinged {
                self.figures.pings_sent += 1;
                if let Some(session) = self.sessions.get_mut(slot) {
                    session.pinged = true;
                }
                self.write(slot, &Frame::Ping { token: u64::from(now) });
            }
        }
    }

    /// Stops accepting; messages on their way have a moment to settle.
    pub(crate) fn begin_drain(&mut self) {
        self.reactor.stop_listening();
        self.drain = Some(Drain::Settling { until: self.now + DRAIN_SETTLE });
    }

    /// Takes the drain a step further.
    pub(crate) fn drain_on(&mut self) -> Progress {
        let now = self.now;
        match self.drain {
            None => return Progress::Running,
            Some(Drain::Settling { until }) => {
                if now >= until || self.shared.outstanding() == 0 {
                    self.drain = Some(Drain::Parting { index: 0, until: now });
                }
            }
            Some(Drain::Parting { index, .. }) => {
                let end = (index + GOODBYES_PER_TURN).min(self.sessions.extent());
                for index in index..end {
                    if let Some(slot) = self.sessions.at(index).map(|(slot, _)| slot) {
                        self.leave(slot, Some(Bye::Draining));
                    }
                }
                self.drain = Some(if end < self.sessions.extent() {
                    Drain::Parting { index: end, until: now }
                } else {
                    Drain::Resetting { until: now + DRAIN_LEAVE }
                });
            }
            Some(Drain::Resetting { until }) if now >= until => {
                for (slot, _) in self.sessions.iter() {
                    self.figures.closed_by_reset += 1;
                    self.reactor.close(slot, Close::Reset);
                }
                self.drain = Some(Drain::Resetting { until: Nanos::MAX });
            }
            Some(Drain::Resetting { .. }) => {}
        }
        if !matches!(self.drain, Some(Drain::Resetting { .. })) || !self.sessions.is_empty() {
            return Progress::Running;
        }
        // The others' last sessions may have their home here: stay until every shard has sent its last letter.
        if !self.parted && self.post.is_empty() {
            self.parted = true;
            self.shared.part();
        }
        if self.shared.all_parted() && self.post.arrived() == 0 {
            Progress::Drained
        } else {
            Progress::Running
        }
    }
}
