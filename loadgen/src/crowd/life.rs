//! How users come and go, and what their going means for what they had under way.

use std::collections::BTreeMap;
use std::io;

use throng_reactor::{Nanos, Slot};

use super::Crowd;
use crate::queue::NOBODY;
use crate::scenario::Protocol;
use crate::user::{Flags, State, User};

impl Crowd {
    /// The next user's connection is being made, or was refused at once.
    pub(crate) fn begin(&mut self, connecting: io::Result<Slot>, now: Nanos) {
        self.counts.first_attempt.get_or_insert(now);
        match connecting {
            Ok(slot) => {
                if slot.index() >= self.by_slot.len() {
                    self.by_slot.resize(slot.index() + 1, NOBODY);
                }
                self.by_slot[slot.index()] = self.users.len() as u32;
                self.users.push(User::new(Some(slot)));
                self.slots += 1;
                self.pending += 1;
            }
            Err(error) => {
                self.users.push(User::new(None));
                self.fail(cause(&error));
            }
        }
    }

    /// The connection stands; a login follows where the protocol has one.
    pub(crate) fn connected(&mut self, user: u32, now: Nanos) {
        if self.users[user as usize].state != State::Connecting {
            return;
        }
        let waited = now.since(self.planned_connect(user));
        self.distributions.connect.record(waited.as_nanos() as u64);
        if self.plan.protocol == Protocol::Native {
            let record = &mut self.users[user as usize];
            record.state = State::LoggingIn;
            record.flags.set(Flags::HELLO);
            self.touch(user);
        } else {
            self.established(user, now);
        }
    }

    pub(super) fn established(&mut self, user: u32, now: Nanos) {
        self.users[user as usize].state = State::Ready;
        self.pending -= 1;
        self.ready += 1;
        self.peak = self.peak.max(self.ready);
        self.counts.established += 1;
        self.counts.last_established = Some(now);
    }

    /// The server sends no more: it is done with this user.
    pub(crate) fn eof(&mut self, user: u32) {
        self.end(user, "closed by the server");
    }

    /// A user leaves as planned; its slot, to be closed. After [`Crowd::leave`].
    pub(crate) fn dismiss(&mut self, user: u32) -> Option<Slot> {
        let record = &mut self.users[user as usize];
        let slot = record.slot?;
        match std::mem::replace(&mut record.state, State::Closing) {
            State::Ready => {
                self.ready -= 1;
                self.counts.closed_by_plan += 1;
            }
            State::Connecting | State::LoggingIn => self.pending -= 1,
            State::Closing | State::Gone => return None,
        }
        Some(slot)
    }

    /// A connection took too long.
    pub(crate) fn timed_out(&mut self, user: u32) {
        self.end(user, "timed out");
    }

    /// Gives a user up, says why, and has its connection closed.
    pub(super) fn end(&mut self, user: u32, why: &str) {
        match self.users[user as usize].state {
            State::Connecting | State::LoggingIn => {
                self.pending -= 1;
                if !self.leaving {
                    self.fail(why);
                }
            }
            State::Ready => {
                self.ready -= 1;
                self.part(why);
            }
            State::Closing | State::Gone => return,
        }
        self.write_off(user);
        self.users[user as usize].state = State::Closing;
        self.closes.push(user);
    }

    /// The connection is gone and its slot free.
    pub(crate) fn closed(&mut self, user: u32, error: Option<&io::Error>) {
        self.slots -= 1;
        let why = error.map_or("closed by the server", cause);
        match self.users[user as usize].state {
            State::Connecting | State::LoggingIn => {
                self.pending -= 1;
                if !self.leaving {
                    self.fail(why);
                }
            }
            State::Ready => {
                self.ready -= 1;
                self.write_off(user);
                self.part(why);
            }
            State::Closing | State::Gone => {}
        }
        self.drop_partial(user);
        let record = &mut self.users[user as usize];
        record.slot = None;
        record.state = State::Gone;
    }

    fn fail(&mut self, why: &str) {
        self.counts.ports_exhausted += u64::from(why == "EADDRNOTAVAIL");
        self.counts.descriptors_exhausted += u64::from(matches!(why, "EMFILE" | "ENFILE"));
        count(&mut self.counts.failed_by_cause, why);
    }

    /// An established connection ended.
    fn part(&mut self, why: &str) {
        if self.leaving {
            self.counts.closed_by_plan += 1;
        } else {
            count(&mut self.counts.lost_by_cause, why);
        }
    }

    /// What a user has under way gets no outcome any more, and what waits will not be written.
    fn write_off(&mut self, user: u32) {
        let sender = self.share.global(user) + 1;
        let record = &mut self.users[user as usize];
        while let Some(id) = record.outcomes.oldest() {
            record.outcomes.settle(id);
            self.ledger.unknown.add(self.bodies.hash(sender, u64::from(id)));
            self.ledger.unknown_connection_died += u64::from(!self.leaving);
        }
        while self.queue.pop(&mut record.waiting).is_some() {
            self.ledger.unsent += 1;
        }
        if record.flags.take(Flags::PINGED) {
            self.pings_open -= 1;
        }
    }

    /// From here on, connections end because the plan says so, and what is under way stays without an outcome.
    pub(crate) fn leave(&mut self) {
        self.leaving = true;
        for user in 0..self.begun() {
            if self.state(user) == State::Ready {
                self.write_off(user);
            }
        }
    }
}

fn count(causes: &mut BTreeMap<String, u64>, why: &str) {
    match causes.get_mut(why) {
        Some(count) => *count += 1,
        None => drop(causes.insert(why.to_owned(), 1)),
    }
}

/// The name that people know an error by.
pub(crate) fn cause(error: &io::Error) -> &'static str {
    use io::ErrorKind as Kind;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    match (error.raw_os_error(), error.kind()) {
        (Some(EMFILE), _) => "EMFILE",
        (Some(ENFILE), _) => "ENFILE",
        (_, Kind::AddrNotAvailable) => "EADDRNOTAVAIL",
        (_, Kind::AddrInUse) => "EADDRINUSE",
        (_, Kind::ConnectionRefused) => "ECONNREFUSED",
        (_, Kind::ConnectionReset) => "ECONNRESET",
        (_, Kind::ConnectionAborted) => "ECONNABORTED",
        (_, Kind::BrokenPipe) => "EPIPE",
        (_, Kind::TimedOut) => "ETIMEDOUT",
        (_, Kind::HostUnreachable) => "EHOSTUNREACH",
        (_, Kind::NetworkUnreachable) => "ENETUNREACH",
        (_, Kind::PermissionDenied) => "EACCES",
        (_, Kind::OutOfMemory) => "ENOMEM",
        _ => "another error of the kernel's",
    }
}
