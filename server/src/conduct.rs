//! What ends a session, and how: always with a reason for the client, and a figure for the operator.

use throng_reactor::{Close, Reactor, Slot};
use throng_wire::native::{Bye, ErrorCode, Frame};

use crate::limits::DRAIN_WAIT_MS;
use crate::mailbox::Letter;
use crate::session::{Flags, State};
use crate::shard::Shard;

impl<R: Reactor> Shard<R> {
    /// The client sent a frame that was not allowed then.
    pub(crate) fn misconduct(&mut self, slot: Slot, code: ErrorCode) {
        self.figures.closed_bad_conduct += 1;
        self.turn_away(slot, code, &code.to_string());
    }

    /// Closes everybody who let too much pile up.
    pub(crate) fn close_overfull(&mut self) {
        while let Some(slot) = self.overfull.pop() {
            if self.sessions.get(slot).is_some_and(|session| session.state != State::Leaving) {
                self.slow_reader(slot);
            }
        }
    }

    /// The client leaves what it is sent unread: too much, or while too much waits for all. What waits for it is dropped, so that the reason fits.
    fn slow_reader(&mut self, slot: Slot) {
        if let Some(session) = self.sessions.get(slot) {
            let own_fault = self.outboxes.waiting(session.outbox) > self.shared.config.outbox_bytes_max;
            let figures = &mut self.figures;
            let figure =
                if own_fault { &mut figures.closed_slow_reader } else { &mut figures.closed_no_room };
            *figure += 1;
            self.outboxes.discard_waiting(session.outbox);
        }
        self.turn_away(slot, ErrorCode::SlowReader, &ErrorCode::SlowReader.to_string());
    }

    /// Ends a session with an `Error`.
    pub(crate) fn turn_away(&mut self, slot: Slot, code: ErrorCode, text: &str) {
        self.write(slot, &Frame::Error { code, text });
        self.part_with(slot);
    }

    /// Ends a session politely; without a reason when it was the client that said bye.
    pub(crate) fn leave(&mut self, slot: Slot, why: Option<Bye>) {
        if self.sessions.get(slot).is_none_or(|session| session.state == State::Leaving) {
            return;
        }
        if let Some(why) = why {
            let wait_ms = if why == Bye::Draining { DRAIN_WAIT_MS } else { 0 };
            self.write(slot, &Frame::Bye { why, wait_ms });
        }
        self.part_with(slot);
    }

    /// The client sends no more.
    pub(crate) fn ended(&mut self, slot: Slot) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        session.flags.set(Flags::ENDED);
        if session.state == State::Leaving {
            if session.outbox.index().is_none() {
                self.reactor.close(slot, Close::Now);
            }
        } else {
            self.part_with(slot);
        }
    }

    /// From here on the session only finishes what it has to say.
    pub(crate) fn part_with(&mut self, slot: Slot) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        match session.state {
            State::Active => self.figures.logged_in -= 1,
            State::Greeting | State::LoggingIn => self.figures.logging_in -= 1,
            State::Leaving => return,
        }
        session.state = State::Leaving;
        self.partials.remove(&mut session.partial);
        self.close_tls(slot);
        let silent = self.sessions.get(slot).is_some_and(|session| session.outbox.index().is_none());
        if self.drain.is_none() {
            self.leavers.push(self.now + self.shared.config.linger, slot);
        }
        self.deregister(slot);
        if silent {
            self.part(slot);
        }
    }

    /// Everything was handed to the reactor: FIN follows it, or the close when the client has ended, too.
    pub(crate) fn part(&mut self, slot: Slot) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if session.flags.has(Flags::ENDED) && session.outbox.index().is_none() {
            self.reactor.close(slot, Close::Now);
        } else if !session.flags.has(Flags::SHUT) {
            session.flags.set(Flags::SHUT);
            self.reactor.shutdown(slot);
        }
    }

    /// Tells the user's home that this connection takes no more messages.
    fn deregister(&mut self, slot: Slot) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if !session.flags.take(Flags::REGISTERED) {
            return;
        }
        let user = session.user;
        let home = self.home_of(user);
        if home == self.me {
            self.logout(user, slot);
        } else {
            self.post.write(home, Letter::Logout { user, place: slot });
        }
    }

    /// The connection is gone.
    pub(crate) fn closed(&mut self, slot: Slot, failed: bool) {
        self.figures.connections_closed += 1;
        self.figures.connections_failed += u64::from(failed);
        self.deregister(slot);
        let Some(mut session) = self.sessions.remove(slot) else { return };
        match session.state {
            State::Active => self.figures.logged_in -= 1,
            State::Greeting | State::LoggingIn => self.figures.logging_in -= 1,
            State::Leaving => {}
        }
        self.outboxes.remove(&mut session.outbox);
        self.partials.remove(&mut session.partial);
        self.forget_tls(session.tls);
    }
}
