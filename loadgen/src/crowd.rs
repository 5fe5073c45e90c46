//! Everybody whom one worker plays: users and what they share, without a socket and without a clock.
//!
//! Whoever holds a crowd tells it what happened (`begin`, `connected`, `data`, `sent`, `closed`, `due` ...), then asks for
//! what is to be done: [`Crowd::next_dirty`] and [`Crowd::write`] until there is nobody left, and [`Crowd::next_close`].
//! A user's bytes go out in one send at a time; whatever comes due meanwhile goes out together with the next.

mod echo;
mod life;
mod native;
mod partials;
mod secure;
mod storm;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use throng_reactor::{Nanos, Slot};
use throng_report::schema::Heartbeats;
use throng_wire::tls::Setup;

use self::partials::Partials;
use self::secure::Security;
use self::storm::Returns;
use crate::Plan;
use crate::gate::{Interval, Times};
use crate::ledger::Ledger;
use crate::limits::{OUTSTANDING_MAX, SPARE_BUFFERS_MAX, SPARE_BYTES_MAX, WAITING_MAX};
use crate::outcome::{ConnectionCounts, Distributions, StormCounts};
use crate::queue::{NOBODY, Queue};
use crate::scenario::Protocol;
use crate::schedule::Share;
use crate::stamp::{Bodies, STAMP_BYTES, Stamp};
use crate::user::{Flags, State, User};

/// Bytes after which a send is full and the rest waits for the next one.
const SEND_BYTES_FULL: usize = 64 * 1024;

/// Heartbeats of the server's that wait for their answer, all users together; more are not answered.
const PONGS_MAX: usize = 4096;

/// Users and what they share. The module's text says how it is used.
pub(crate) struct Crowd {
    plan: Arc<Plan>,
    share: Share,
    bodies: Bodies,
    /// In the order of connecting: `Share`'s numbers.
    users: Vec<User>,
    /// From a slot's index to a user; whether it is that user's slot, the user knows.
    by_slot: Vec<u32>,
    queue: Queue,
    partials: Partials,
    /// Their TLS, if they have any.
    security: Option<Security>,
    /// Users who have said their last, and whose connections are to be closed.
    parted: Vec<u32>,
    dirty: Vec<u32>,
    closes: Vec<u32>,
    pongs: Vec<(u32, u64)>,
    spares: Vec<Vec<u8>>,
    /// Bytes of all of them.
    spare_bytes: usize,
    /// Messages that one user may have without an outcome.
    outstanding_max: u32,
    /// When the ramp began.
    started: Nanos,
    /// The plan's instants, once the traffic began.
    pub(crate) times: Option<Times>,
    pub(crate) ledger: Ledger,
    pub(crate) distributions: Distributions,
    pub(crate) interval: Interval,
    pub(crate) counts: ConnectionCounts,
    pub(crate) storm: StormCounts,
    pub(crate) heartbeats: Heartbeats,
    /// Users that are connecting or logging in.
    pub(crate) pending: u32,
    /// Users that wait for their connection to be gone, and then for their next attempt.
    returns: Returns,
    pub(crate) returning: u32,
    /// Attempts that failed, repeated or not.
    pub(crate) attempts_failed: u64,
    /// Of those: they took too long.
    pub(crate) attempts_timed_out: u64,
    /// Users that are ready.
    pub(crate) ready: u32,
    pub(crate) peak: u32,
    /// Slots that the reactor holds for us.
    pub(crate) slots: u32,
    pings_open: u32,
    leaving: bool,
}

impl Crowd {
    pub(crate) fn new(plan: Arc<Plan>, share: Share, tls: Option<Setup>) -> Crowd {
        let payload_bytes = (plan.payload_bytes as usize).max(STAMP_BYTES);
        Crowd {
            bodies: Bodies::new(plan.seed, payload_bytes),
            plan,
            share,
            // To the exact size: growing would leave up to half of it unused. Memory comes with the users.
            users: Vec::with_capacity(share.users() as usize),
            by_slot: Vec::with_capacity(share.users() as usize),
            queue: Queue::new(WAITING_MAX),
            partials: Partials::default(),
            security: tls.map(Security::new),
            parted: Vec::new(),
            dirty: Vec::new(),
            closes: Vec::new(),
            pongs: Vec::new(),
            spares: Vec::new(),
            spare_bytes: 0,
            outstanding_max: OUTSTANDING_MAX,
            started: Nanos(0),
            times: None,
            ledger: Ledger::default(),
            distributions: Distributions::default(),
            interval: Interval::default(),
            counts: ConnectionCounts::default(),
            storm: StormCounts::default(),
            heartbeats: Heartbeats::default(),
            pending: 0,
            returns: Returns::new(),
            returning: 0,
            attempts_failed: 0,
            attempts_timed_out: 0,
            ready: 0,
            peak: 0,
            slots: 0,
            pings_open: 0,
            leaving: false,
        }
    }

    /// Connecting begins: planned instants of connections count from here.
    pub(crate) fn start(&mut self, now: Nanos) {
        self.started = now;
    }

    /// Users whose connection was begun, or failed at once.
    pub(crate) fn begun(&self) -> u32 {
        self.users.len() as u32
    }

    /// The user of a slot; `None` when it is no longer anybody's.
    pub(crate) fn user_of(&self, slot: Slot) -> Option<u32> {
        let user = *self.by_slot.get(slot.index())?;
        self.users.get(user as usize).filter(|record| record.slot == Some(slot)).map(|_| user)
    }

    pub(crate) fn slot(&self, user: u32) -> Option<Slot> {
        self.users[user as usize].slot
    }

    pub(crate) fn state(&self, user: u32) -> State {
        self.users[user as usize].state
    }

    /// Bytes came.
    pub(crate) fn data(&mut self, user: u32, bytes: &[u8], now: Nanos) {
        // What was under way when everybody was asked to leave is written off: an answer comes too late to count.
        if self.leaving || !matches!(self.users[user as usize].state, State::LoggingIn | State::Ready) {
            return;
        }
        let place = self.users[user as usize].partial;
        if place == NOBODY {
            let used = self.read(user, bytes, now);
            if used < bytes.len() && self.state(user) != State::Closing {
                self.users[user as usize].partial = self.partials.put(&bytes[used..]);
            }
            return;
        }
        let mut held = self.partials.take(place);
        held.extend_from_slice(bytes);
        let used = self.read(user, &held, now);
        held.drain(..used);
        let keeps = !held.is_empty() && self.state(user) != State::Closing;
        self.partials.put_back(place, held);
        if !keeps {
            self.drop_partial(user);
        }
    }

    /// Reads whole frames; returns how many bytes they had.
    fn read(&mut self, user: u32, bytes: &[u8], now: Nanos) -> usize {
        match self.plan.protocol {
            Protocol::Native => self.read_native(user, bytes, now),
            Protocol::Echo => self.read_echo(user, bytes, now),
            Protocol::Connect => bytes.len(),
        }
    }

    fn drop_partial(&mut self, user: u32) {
        let place = std::mem::replace(&mut self.users[user as usize].partial, NOBODY);
        if place != NOBODY {
            self.partials.free(place);
        }
    }

    /// A send ended; whether it succeeded, `closed` tells.
    pub(crate) fn sent(&mut self, user: Option<u32>, buffer: Vec<u8>) {
        self.give_back(buffer);
        let Some(user) = user else { return };
        self.users[user as usize].flags.take(Flags::IN_FLIGHT);
        self.touch(user);
    }

    /// A message of this user's is due, and `now` is when that was noticed.
    #[inline]
    pub(crate) fn due(&mut self, user: u32, planned: Nanos, now: Nanos) {
        let counts = self.times.is_some_and(|times| times.in_window(planned));
        self.ledger.planned += 1;
        self.ledger.window.planned += u64::from(counts);
        self.ledger.attempted += 1;
        if counts {
            let in_time = self.times.is_some_and(|times| now < times.window_ends);
            self.ledger.window.attempted += u64::from(in_time);
            if self.plan.closed_loop_window.is_none() {
                let lag = now.since(planned).as_nanos() as u64;
                self.distributions.send_lag.record(lag);
                self.interval.send_lag.record(lag);
            }
        }
        let record = &mut self.users[user as usize];
        if record.state == State::Ready && self.queue.push(&mut record.waiting, planned.0) {
            self.touch(user);
        } else {
            // The server let the user go, or was so slow for so long that there is no room left to wait: that is no
            // lateness of ours.
            self.ledger.unsent += 1;
        }
    }

    /// A message was due and will not be attempted any more: the generator is far too late.
    pub(crate) fn missed(&mut self, planned: Nanos) {
        self.ledger.planned += 1;
        self.ledger.missed += 1;
        self.ledger.window.planned += u64::from(self.times.is_some_and(|times| times.in_window(planned)));
    }

    /// The window of a closed loop lets this user send `count` more.
    fn allow(&mut self, user: u32, messages: u32, now: Nanos) {
        if self.times.is_some_and(|times| times.begins <= now && now < times.ends) {
            for _ in 0..messages {
                self.due(user, now, now);
            }
        }
    }

    /// Begins the closed loop of a user; of a pair, only the first writes.
    pub(crate) fn kick_off(&mut self, user: u32, now: Nanos) {
        let writes = self.plan.protocol == Protocol::Echo || user.is_multiple_of(2);
        if let Some(window) = self.plan.closed_loop_window.filter(|_| writes) {
            self.allow(user, window, now);
        }
    }

    /// A user's heartbeat is due. Those who are not ready have none.
    pub(crate) fn heartbeat(&mut self, user: u32) {
        let Some(record) = self.users.get_mut(user as usize) else { return };
        if record.state != State::Ready {
            return;
        }
        self.heartbeats.due += 1;
        // One that is not answered yet is enough to wait for.
        if !record.flags.has(Flags::PINGED) {
            record.flags.set(Flags::PINGED);
            record.flags.set(Flags::PING);
            self.pings_open += 1;
            self.touch(user);
        }
    }

    /// Notes that a user may have something to write.
    #[inline]
    fn touch(&mut self, user: u32) {
        let flags = &mut self.users[user as usize].flags;
        if !flags.has(Flags::IN_FLIGHT) && !flags.has(Flags::DIRTY) {
            flags.set(Flags::DIRTY);
            self.dirty.push(user);
        }
    }

    /// Whoever may have something to write, in the order in which that came up. The walk begins with a cursor of zero, and the
    /// list is empty at its end.
    pub(crate) fn next_dirty(&mut self, cursor: &mut usize) -> Option<u32> {
        let Some(&user) = self.dirty.get(*cursor) else {
            self.dirty.clear();
            return None;
        };
        *cursor += 1;
        self.users[user as usize].flags.take(Flags::DIRTY);
        Some(user)
    }

    /// The next user who has said its last.
    pub(crate) fn next_parted(&mut self) -> Option<u32> {
        self.parted.pop()
    }

    /// The next user whose connection is to be closed.
    pub(crate) fn next_close(&mut self) -> Option<u32> {
        self.closes.pop()
    }

    /// An empty buffer for [`Crowd::write`].
    pub(crate) fn buffer(&mut self) -> Vec<u8> {
        let buffer = self.spares.pop().unwrap_or_default();
        self.spare_bytes -= buffer.capacity();
        buffer
    }

    /// Takes a buffer back.
    pub(crate) fn give_back(&mut self, mut buffer: Vec<u8>) {
        let bytes = self.spare_bytes + buffer.capacity();
        if self.spares.len() < SPARE_BUFFERS_MAX && bytes <= SPARE_BYTES_MAX {
            buffer.clear();
            self.spare_bytes = bytes;
            self.spares.push(buffer);
        }
    }

    /// Writes everything that a user has to say; `now` is when it is handed to the reactor. True when there is something, and
    /// the send then counts as in flight.
    #[inline]
    pub(crate) fn write(&mut self, user: u32, now: Nanos, out: &mut Vec<u8>) -> bool {
        let record = &self.users[user as usize];
        if record.flags.has(Flags::IN_FLIGHT) {
            return false;
        }
        match self.plan.protocol {
            Protocol::Native => self.write_native(user, now, out),
            Protocol::Echo => self.write_echo(user, now, out),
            Protocol::Connect => {}
        }
        self.seal(user, out);
        if out.is_empty() {
            self.part_if_said(user);
            return false;
        }
        self.users[user as usize].flags.set(Flags::IN_FLIGHT);
        true
    }

    /// Takes the next message of a user that may be written: its id and its planned instant.
    #[inline]
    fn next_message(&mut self, user: u32, out: &[u8]) -> Option<(u32, Nanos)> {
        let record = &mut self.users[user as usize];
        if record.waiting == NOBODY || out.len() >= SEND_BYTES_FULL {
            return None;
        }
        let id = record.outcomes.next(self.outstanding_max)?;
        let planned = self.queue.pop(&mut record.waiting)?;
        record.outcomes.send();
        Some((id, Nanos(planned)))
    }

    /// Accounts for a message that was just written.
    #[inline]
    fn note_sent(&mut self, sender: u64, id: u32, now: Nanos) {
        self.ledger.sent.add(self.bodies.hash(sender, u64::from(id)));
        self.ledger.window.sent += u64::from(self.in_window(now));
    }

    #[inline]
    fn in_window(&self, at: Nanos) -> bool {
        self.times.is_some_and(|times| times.in_window(at))
    }

    /// Accounts for the times of a message that arrived.
    #[inline]
    fn note_times(&mut self, stamp: Stamp, now: Nanos) {
        if self.in_window(stamp.planned) {
            let whole = now.since(stamp.planned).as_nanos() as u64;
            self.distributions.planned_to_delivered.record(whole);
            self.distributions.written_to_delivered.record(now.since(stamp.written).as_nanos() as u64);
            self.interval.planned_to_delivered.record(whole);
        }
    }

    /// Whether nothing is under way: every message has its outcome, nothing waits, every heartbeat is answered.
    pub(crate) fn is_quiet(&self) -> bool {
        self.ledger.outstanding() == 0 && self.queue.len() == 0 && self.pings_open == 0
    }

    /// Messages that are due and wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.queue.len() as u64
    }

    /// Bytes that it has allocated, whatever they are for.
    #[cfg(test)]
    fn allocated_bytes(&self) -> usize {
        fn of<T>(list: &Vec<T>) -> usize {
            list.capacity() * size_of::<T>()
        }
        of(&self.users)
            + of(&self.by_slot)
            + self.queue.allocated_bytes()
            + self.partials.allocated_bytes()
            + of(&self.dirty)
            + of(&self.closes)
            + of(&self.pongs)
            + of(&self.spares)
            + self.spare_bytes
            + self.returns.capacity() * size_of::<(Nanos, u32)>()
            + self.distributions.named().iter().map(|(_, times)| times.allocated_bytes()).sum::<usize>()
    }
}
