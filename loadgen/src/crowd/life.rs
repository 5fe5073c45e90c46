//! How users come and go, and what their going means for what they had under way.

use std::collections::BTreeMap;
use std::io;

use throng_reactor::{Nanos, Slot};

use super::Crowd;
use crate::outcome::ConnectTimes;
use crate::queue::NOBODY;
use crate::scenario::Protocol;
use crate::user::{Flags, State, User};

/// Places by which the index from slots to users grows beyond one for each user.
const BY_SLOT_STEP: usize = 4096;

impl Crowd {
    /// The connection that [`Crowd::next_connect`] named is being made, or was refused at once. It could have been begun at `due`,
    /// and was at `now`.
    pub(crate) fn begin(&mut self, user: u32, connecting: io::Result<Slot>, due: Nanos, now: Nanos) {
        let slot = connecting.as_ref().ok().copied();
        if user == self.begun() {
            let planned = self.planned_connect(user);
            self.counts.first_planned.get_or_insert(planned);
            self.users.push(User::new(slot));
        } else {
            self.users[user as usize].connect_again(slot);
        }
        self.count_attempt(user);
        self.connect_times().lag.record(now.since(due).as_nanos() as u64);
        match connecting {
            Ok(slot) => {
                self.name(slot, user);
                self.slots += 1;
                self.pending += 1;
            }
            Err(error) => {
                self.fail(user, cause(&error));
                self.gone(user, now);
            }
        }
    }

    /// Notes whose slot it is.
    fn name(&mut self, slot: Slot, user: u32) {
        let needed = slot.index() + 1;
        if needed > self.by_slot.len() {
            // In small steps: doubling would take memory for as many users again.
            if needed > self.by_slot.capacity() {
                self.by_slot.reserve_exact(needed.next_multiple_of(BY_SLOT_STEP) - self.by_slot.len());
            }
            self.by_slot.resize(needed, NOBODY);
        }
        self.by_slot[slot.index()] = user;
    }

    /// Where the times of connections go that are made now.
    pub(super) fn connect_times(&mut self) -> &mut ConnectTimes {
        match self.storm.began {
            None => &mut self.distributions.ramp,
            Some(_) => &mut self.distributions.storm,
        }
    }

    /// The connection stands; a login follows where the protocol has one.
    pub(crate) fn connected(&mut self, user: u32, now: Nanos) {
        if self.users[user as usize].state != State::Connecting {
            return;
        }
        let waited = now.since(self.planned_connect(user));
        self.connect_times().connect.record(waited.as_nanos() as u64);
        match self.security {
            Some(_) => self.secure(user),
            None => self.log_in(user, now),
        }
    }

    /// The connection can be spoken on.
    pub(super) fn log_in(&mut self, user: u32, now: Nanos) {
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
        if self.storm.began.is_some() {
            self.storm.back += 1;
            self.storm.last_back = Some(now);
        } else {
            self.counts.established += 1;
            self.counts.last_established = Some(now);
        }
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
            State::Connecting | State::Securing | State::LoggingIn => self.pending -= 1,
            State::Closing | State::Gone => return None,
        }
        // With TLS it says goodbye first.
        if self.says_goodbye(user) { None } else { Some(slot) }
    }

    /// A connection took too long.
    pub(crate) fn timed_out(&mut self, user: u32) {
        self.attempts_timed_out += 1;
        self.end(user, "timed out");
    }

    /// Gives a user up, says why, and has its connection closed.
    pub(super) fn end(&mut self, user: u32, why: &str) {
        match self.users[user as usize].state {
            State::Connecting | State::Securing | State::LoggingIn => {
                self.pending -= 1;
                self.fail(user, why);
            }
            State::Ready => {
                self.ready -= 1;
                self.part(why);
            }
            State::Closing | State::Gone => return,
        }
        self.write_off(user);
        let record = &mut self.users[user as usize];
        let was_ready = std::mem::replace(&mut record.state, State::Closing) == State::Ready;
        // Who is not in has nothing to say but why, and who waits for the server to read says nothing more.
        let is_heard = !record.flags.has(Flags::IN_FLIGHT) && (was_ready || self.has_last_words(user));
        if !(is_heard && self.says_goodbye(user)) {
            self.closes.push(user);
        }
    }

    /// The connection is gone and its slot free.
    pub(crate) fn closed(&mut self, user: u32, error: Option<&io::Error>, now: Nanos) {
        self.slots -= 1;
        let why = error.map_or("closed by the server", cause);
        match self.users[user as usize].state {
            State::Connecting | State::Securing | State::LoggingIn => {
                self.pending -= 1;
                self.fail(user, why);
            }
            State::Ready => {
                self.ready -= 1;
                self.write_off(user);
                self.part(why);
            }
            State::Closing | State::Gone => {}
        }
        self.drop_partial(user);
        self.forget_tls(user);
        self.gone(user, now);
    }

    /// An attempt to connect failed.
    fn fail(&mut self, user: u32, why: &str) {
        if self.leaving {
            return;
        }
        self.attempts_failed += 1;
        if self.in_storm() {
            count(&mut self.storm.failed_by_cause, why);
        }
        self.counts.ports_exhausted += u64::from(why == "EADDRNOTAVAIL");
        self.counts.descriptors_exhausted += u64::from(matches!(why, "EMFILE" | "ENFILE"));
        self.counts.watches_exhausted += u64::from(why == "ENOSPC");
        self.counts.memory_exhausted += u64::from(matches!(why, "ENOMEM" | "ENOBUFS"));
        if !self.tries_again(user) {
            count(&mut self.counts.failed_by_cause, why);
        }
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
    pub(super) fn write_off(&mut self, user: u32) {
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
        if record.flags.take(Flags::PONG) {
            self.pongs.retain(|&(whose, _)| whose != user);
        }
    }

    /// From here on, connections end because the plan says so, and what is under way stays without an outcome.
    pub(crate) fn leave(&mut self) {
        self.count_whole();
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
    const ENOBUFS: i32 = 105;
    match (error.raw_os_error(), error.kind()) {
        (Some(EMFILE), _) => "EMFILE",
        (Some(ENFILE), _) => "ENFILE",
        (Some(ENOBUFS), _) => "ENOBUFS",
        (_, Kind::StorageFull) => "ENOSPC",
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
