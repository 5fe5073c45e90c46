//! Users with TLS: what lies between the reactor's bytes and what a user says and hears.
//!
//! A handshake takes as long as a hundred messages, so it is taken further only when somebody has the time ([`Crowd::step`]), and the
//! others' messages go first.

use std::collections::VecDeque;

use throng_reactor::{Nanos, Reactor, Slot};
use throng_wire::tls::{Established, Setup, Step, Table, Tls, Version};

use super::Crowd;
use crate::limits::HANDSHAKE_BYTES_MAX;
use crate::outcome::TlsCounts;
use crate::queue::NOBODY;
use crate::user::{State, User};

/// The TLS of one worker's users.
pub(super) struct Security {
    setup: Setup,
    table: Table<Secured>,
    /// Connections whose handshake can go on.
    queue: VecDeque<Slot>,
    counts: TlsCounts,
}

struct Secured {
    tls: Tls,
    /// The beginning of a record, in the crowd's partial frames.
    partial: u32,
    is_queued: bool,
}
const _: () = assert!(size_of::<Secured>() <= 248);

impl Security {
    pub(super) fn new(setup: Setup) -> Security {
        Security { setup, table: Table::default(), queue: VecDeque::new(), counts: TlsCounts::default() }
    }

    fn queue(&mut self, slot: Option<Slot>, place: u32) {
        let secured = self.table.get_mut(place).filter(|secured| !secured.is_queued);
        if let (Some(secured), Some(slot)) = (secured, slot) {
            secured.is_queued = true;
            self.queue.push_back(slot);
        }
    }
}

impl Crowd {
    fn tls(&mut self, user: u32) -> Option<&mut Secured> {
        let place = self.users[user as usize].tls;
        self.security.as_mut()?.table.get_mut(place)
    }

    /// A user is connected, and begins a handshake when somebody has the time.
    pub(super) fn secure(&mut self, user: u32) {
        let Some(security) = &mut self.security else { return };
        let place = security.table.insert(Secured { tls: Tls::new(), partial: NOBODY, is_queued: false });
        let record = &mut self.users[user as usize];
        record.state = State::Securing;
        record.tls = place;
        security.queue(record.slot, place);
    }

    /// Bytes came from the server.
    pub(crate) fn receive(&mut self, user: u32, bytes: &mut [u8], now: Nanos) {
        let place = self.users[user as usize].tls;
        if place == NOBODY {
            return self.data(user, bytes, now);
        }
        // What was under way when everybody was asked to leave is written off.
        if self.leaving || self.state(user) == State::Closing {
            return;
        }
        let Some(security) = &mut self.security else { return };
        let Some(secured) = security.table.get_mut(place) else { return };
        if !secured.tls.is_established() {
            if secured.tls.put(bytes) > HANDSHAKE_BYTES_MAX {
                return self.end(user, "TLS: the server said too much for a handshake");
            }
            return security.queue(self.users[user as usize].slot, place);
        }
        let held = std::mem::replace(&mut secured.partial, NOBODY);
        if held == NOBODY {
            let used = self.records(user, bytes, now);
            return self.keep_record(user, &bytes[used..]);
        }
        let mut all = self.partials.take(held);
        all.extend_from_slice(bytes);
        let used = self.records(user, &mut all, now);
        all.drain(..used);
        let keeps = !all.is_empty();
        self.partials.put_back(held, all);
        match self.tls(user).filter(|_| keeps) {
            Some(secured) => secured.partial = held,
            None => self.partials.free(held),
        }
    }

    fn keep_record(&mut self, user: u32, bytes: &[u8]) {
        if bytes.is_empty() || self.state(user) == State::Closing {
            return;
        }
        let held = self.partials.put(bytes);
        if let Some(secured) = self.tls(user) {
            secured.partial = held;
        }
    }

    /// Opens every whole record, and lets the user hear what is in it; returns the bytes that they took.
    fn records(&mut self, user: u32, bytes: &mut [u8], now: Nanos) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            let Some(secured) = self.tls(user) else { return bytes.len() };
            match secured.tls.open(&mut bytes[at..]) {
                Ok(None) => break,
                Ok(Some(opened)) => {
                    if !opened.text.is_empty() {
                        self.data(user, &bytes[at..][opened.text], now);
                    }
                    at += opened.used;
                    if opened.closed {
                        self.eof(user);
                    }
                }
                Err(error) => {
                    self.end(user, &format!("TLS: {error}"));
                    return bytes.len();
                }
            }
            if self.state(user) == State::Closing {
                return bytes.len();
            }
        }
        if self.tls(user).is_some_and(|secured| secured.tls.wants_to_send()) {
            self.touch(user);
        }
        at
    }

    /// Whether a handshake can go on.
    pub(crate) fn has_steps(&self) -> bool {
        self.security.as_ref().is_some_and(|security| !security.queue.is_empty())
    }

    /// Takes one handshake a step further; false when there was none to take.
    pub(crate) fn step(&mut self, reactor: &impl Reactor) -> bool {
        let Some(security) = &mut self.security else { return false };
        let Some(slot) = security.queue.pop_front() else { return false };
        let Some(user) = self.user_of(slot) else { return true };
        let place = self.users[user as usize].tls;
        let Some(security) = &mut self.security else { return true };
        let Some(secured) = security.table.get_mut(place) else { return true };
        secured.is_queued = false;
        if self.users[user as usize].state != State::Securing {
            return true;
        }
        match secured.tls.step(&security.setup) {
            Ok(Step::Waiting) => self.touch(user),
            Ok(Step::Established(established)) => self.secured(user, established, reactor.now()),
            Err(error) => self.end(user, &format!("TLS: {error}")),
        }
        true
    }

    fn secured(&mut self, user: u32, established: Established, now: Nanos) {
        let Some(security) = &mut self.security else { return };
        let counts = &mut security.counts;
        let kind = if established.is_resumed { &mut counts.resumed } else { &mut counts.full };
        *kind += 1;
        let version = match established.version {
            Version::Tls12 => "1.2",
            Version::Tls13 => "1.3",
        };
        *counts.agreed.entry((version, established.suite)).or_default() += 1;
        let waited = now.since(self.planned_connect(user));
        self.connect_times().handshake.record(waited.as_nanos() as u64);
        self.touch(user);
        self.log_in(user, now);
        let mut rest = established.rest;
        let used = self.records(user, &mut rest, now);
        self.keep_record(user, &rest[used..]);
    }

    /// Makes of what a user says what goes out.
    pub(super) fn seal(&mut self, user: u32, text: &mut Vec<u8>) {
        if self.users[user as usize].tls == NOBODY {
            return;
        }
        let Some(secured) = self.tls(user) else { return };
        if let Err(error) = secured.tls.seal(text) {
            self.end(user, &format!("TLS: {error}"));
        }
    }

    /// Whether TLS has something to say that nobody asked for: why a connection ended.
    pub(super) fn has_last_words(&mut self, user: u32) -> bool {
        self.tls(user).is_some_and(|secured| secured.tls.wants_to_send())
    }

    /// Whether a user who is closing has something to say before its connection goes; then it does.
    pub(super) fn says_goodbye(&mut self, user: u32) -> bool {
        let Some(secured) = self.tls(user) else { return false };
        secured.tls.close();
        let wants = secured.tls.wants_to_send();
        if wants {
            self.touch(user);
        }
        wants
    }

    /// A user has nothing to say: one who is closing has said its last.
    pub(super) fn part_if_said(&mut self, user: u32) {
        if self.users[user as usize].tls == NOBODY || self.state(user) != State::Closing {
            return;
        }
        if self.tls(user).is_some_and(|secured| !secured.tls.wants_to_send()) {
            self.parted.push(user);
        }
    }

    /// Forgets a user's TLS, keys and all.
    pub(super) fn forget_tls(&mut self, user: u32) {
        let place = std::mem::replace(&mut self.users[user as usize].tls, NOBODY);
        let Some(security) = &mut self.security else { return };
        let Some(secured) = security.table.get_mut(place) else { return };
        let partial = secured.partial;
        security.table.remove(place);
        if partial != NOBODY {
            self.partials.free(partial);
        }
    }

    /// What became of handshakes; `None` without TLS.
    pub(crate) fn tls_counts(&self) -> Option<TlsCounts> {
        self.security.as_ref().map(|security| security.counts.clone())
    }

    /// Counts, before everybody leaves, whose connection rustls keeps whole.
    pub(super) fn count_whole(&mut self) {
        let Some(security) = &mut self.security else { return };
        let is_whole =
            |user: &&User| security.table.get(user.tls).is_some_and(|secured| secured.tls.is_whole());
        security.counts.whole = self.users.iter().filter(is_whole).count() as u64;
    }
}
