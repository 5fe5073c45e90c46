//! What time does to a shard: logins that never come, clients that fall silent, goodbyes that nobody reads, memory that
//! a storm has left.

use throng_reactor::{Close, Reactor, SlotMap};
use throng_wire::native::{Bye, ErrorCode, Frame};

use crate::limits::{HEARD_TICK, SWEEP_INTERVAL, SWEEPS_PER_TIMEOUT};
use crate::session::{Flags, Session, Side, State};
use crate::shard::Shard;
use crate::spare::trim;

impl<R: Reactor> Shard<R> {
    /// Acts on every deadline that has passed.
    pub(crate) fn upkeep(&mut self) {
        self.late_logins();
        self.late_leavers();
        if self.now >= self.sweep_at {
            self.sweep_at = self.now + SWEEP_INTERVAL;
            self.sweep();
            self.tidy();
        }
    }

    /// Turns away who has not said `Hello` in time.
    fn late_logins(&mut self) {
        let waits = |sessions: &SlotMap<Session>, slot| {
            let state = sessions.get(slot).map(|session| session.state);
            matches!(state, Some(State::Greeting | State::LoggingIn))
        };
        while let Some(slot) = self.logins.overdue(self.now, |slot| waits(&self.sessions, slot)) {
            let tls = self.sessions.get(slot).map_or(Side::NONE, |session| session.tls);
            let figures = &mut self.figures;
            let figure = match self.security.may_send(tls) {
                true => &mut figures.closed_login_timeout,
                false => &mut figures.closed_handshake_timeout,
            };
            *figure += 1;
            self.turn_away(slot, ErrorCode::LoginTimeout, "no Hello came in time");
        }
        self.logins.tidy(self.figures.logging_in as usize, |slot| waits(&self.sessions, slot));
    }

    /// Resets who was told to go and has not gone in time. A drain has a clock of its own.
    fn late_leavers(&mut self) {
        if self.drain.is_some() {
            return;
        }
        let waits = |sessions: &SlotMap<Session>, slot| {
            sessions.get(slot).is_some_and(|session| session.state == State::Leaving)
        };
        while let Some(slot) = self.leavers.overdue(self.now, |slot| waits(&self.sessions, slot)) {
            self.figures.closed_by_reset += 1;
            self.reactor.close(slot, Close::Reset);
        }
        let staying = self.figures.logging_in + self.figures.logged_in;
        let leaving = self.sessions.len().saturating_sub(staying as usize);
        self.leavers.tidy(leaving, |slot| waits(&self.sessions, slot));
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
            } else if silent >= ticks / 2 && !session.flags.has(Flags::PINGED) {
                self.figures.pings_sent += 1;
                if let Some(session) = self.sessions.get_mut(slot) {
                    session.flags.set(Flags::PINGED);
                }
                self.write(slot, &Frame::Ping { token: u64::from(now) });
            }
        }
    }

    /// Gives back what a storm needed and nobody uses now.
    fn tidy(&mut self) {
        self.home.tidy();
        self.outboxes.tidy();
        self.partials.tidy();
        self.security.tidy();
        self.post.tidy();
        trim(&mut self.settled);
        for list in [&mut self.dirty, &mut self.overfull, &mut self.slots] {
            trim(list);
        }
    }
}
