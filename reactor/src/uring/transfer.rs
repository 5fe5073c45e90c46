//! Bytes in and out, and the end of a connection.
//!
//! ```text
//!   poll: something is there ──> list ──> recv, one buffer ──> Data ── more is there ──> list, at the end
//!                                 ^  no buffer: wait here          ── that was all  ──> the poll tells
//!                                 └─ paused: remembered, listed on resume
//! ```
//!
//! A poll completes once per arrival, not while something is there. So whoever is told remembers it until a receive
//! has found the socket empty; the kernel says with each receive whether it has.

use std::io;

use super::Uring;
use super::conn::{
    CHECK, CLOSED_BY_USER, CONNECT, Conn, ENDING, EOF, FIN, IN_FLIGHT, LISTED, PAUSED, POLL, READABLE, RECV,
    RESET, SEND, SHUTDOWN, STASHED,
};
use super::request::{Request, Tag};
use super::ring::{Completion, Ring};
use crate::limits::BATCH_EVENTS;
use crate::{Event, Slot};

/// What a poll waits for; errors and the end of both directions are always told.
const POLL_MASK: u32 = (libc::POLLIN | libc::POLLRDHUP) as u32;

/// A send whose `Sent` is owed. The kernel reads from the buffer while its connection has SEND set.
pub(super) struct Sending {
    pub(super) buffer: Vec<u8>,
    sent: usize,
    /// [`Uring::drains`] when it was begun.
    since: u64,
}

impl Uring {
    /// Begins to watch for something to receive.
    pub(super) fn arm_poll(&mut self, slot: Slot) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let place = conn.place().expect("an open connection");
        conn.set(POLL);
        self.tables.ring(place.table).poll(place.file, POLL_MASK, true, Request::of(Tag::Poll, slot));
    }

    pub(super) fn on_poll(&mut self, slot: Slot, completion: Completion) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        if !completion.more() {
            conn.clear(POLL);
        }
        if conn.has(ENDING) {
            return self.end_if_quiet(slot);
        }
        if completion.result < 0 {
            return self.end(slot, -completion.result);
        }
        let failed = completion.result & i32::from(libc::POLLERR) != 0;
        if failed && conn.has(PAUSED | EOF) {
            // Nobody receives here, so nobody else would find the error.
            self.ask_for_error(slot);
        }
        if self.conns.get(slot).is_some_and(|conn| !conn.has(POLL)) {
            self.arm_poll(slot); // the completion queue overflowed
        }
        self.note_readable(slot);
    }

    fn ask_for_error(&mut self, slot: Slot) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        if let Some(place) = conn.place().filter(|_| !conn.has(CHECK)) {
            conn.set(CHECK);
            self.tables.ring(place.table).check(place.file, Request::of(Tag::Check, slot));
        }
    }

    /// The answer: an error ends the connection; without one, a connect that was asked about has succeeded.
    pub(super) fn on_check(&mut self, slot: Slot, completion: Completion, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        conn.clear(CHECK);
        let was_connecting = conn.has(CONNECT);
        conn.clear(CONNECT);
        if conn.has(ENDING) {
            return self.end_if_quiet(slot);
        }
        match -completion.result {
            errno @ 1.. if errno != libc::EAGAIN => self.end(slot, errno),
            _ if was_connecting => self.connected(slot, events),
            _ => {}
        }
    }

    /// Remembers that a connection has something to receive, and lists it if its user wants it.
    pub(super) fn note_readable(&mut self, slot: Slot) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        if conn.has(EOF | LISTED | ENDING) {
            return;
        }
        if conn.has(PAUSED | RECV) {
            return conn.set(READABLE);
        }
        conn.set(LISTED);
        self.listed.push_back(slot);
    }

    /// Submits a receive for everybody listed, while buffers last.
    pub(super) fn receive_listed(&mut self) {
        while let Some(&slot) = self.listed.front() {
            if let Some(conn) = self.conns.get_mut(slot).filter(|conn| !conn.has(ENDING)) {
                if conn.has(PAUSED) {
                    conn.set(READABLE);
                } else if let Some(buffer) = self.pool.take() {
                    conn.clear(READABLE);
                    conn.set(RECV);
                    conn.buffer = buffer;
                    let place = conn.place().expect("an open connection");
                    let (to, len) = (self.pool.address(buffer), self.pool.size() as u32);
                    let request = Request::of(Tag::Recv, slot);
                    // SAFETY: the buffer was just taken from the pool: it is nobody else's until `on_recv` gives it on
                    // or back, after the completion; and the pool outlives the ring, or is leaked with it.
                    unsafe { self.tables.ring(place.table).recv(place.file, to, len, request) };
                } else {
                    return self.starve();
                }
                conn.clear(LISTED);
            }
            self.listed.pop_front();
            self.starved = self.starved.saturating_sub(1);
        }
    }

    /// Counts those who wait for a buffer from now on.
    fn starve(&mut self) {
        if self.listed.len() > 2 * self.conns.len() + BATCH_EVENTS {
            // Connections that came and went while nobody returned a buffer.
            self.listed.retain(|&slot| self.conns.get(slot).is_some_and(|conn| conn.has(LISTED)));
            self.starved = self.starved.min(self.listed.len());
        }
        self.gauges.recv_starved += (self.listed.len() - self.starved) as u64;
        self.starved = self.listed.len();
    }

    pub(super) fn on_recv(&mut self, slot: Slot, completion: Completion, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        conn.clear(RECV);
        // Without bytes the lease only brings the buffer back.
        let len = usize::try_from(completion.result).unwrap_or(0);
        let data = Some(self.pool.lease(conn.buffer, len)).filter(|data| !data.is_empty());
        if conn.has(ENDING) {
            return self.end_if_quiet(slot);
        }
        match (-completion.result, data) {
            (_, Some(data)) => {
                let more = completion.sock_nonempty() || conn.has(READABLE);
                if conn.has(PAUSED) {
                    conn.set(STASHED);
                    self.stash.push((slot, data));
                } else {
                    events.push(Event::Data { slot, data });
                }
                if more {
                    self.note_readable(slot);
                }
            }
            // The end stays to be received, again and again.
            (0, None) if conn.has(PAUSED) => conn.set(READABLE),
            (0, None) => {
                conn.set(EOF);
                events.push(Event::Eof { slot });
            }
            (libc::EAGAIN, None) if !conn.has(READABLE) => {}
            (libc::EAGAIN | libc::EINTR, None) => self.note_readable(slot),
            (errno, None) => self.end(slot, errno),
        }
    }

    /// Hands over what arrived during a pause that is over, while the batch is shorter than `limit`.
    pub(super) fn unstash(&mut self, events: &mut Vec<Event>, limit: usize) {
        self.resumed = false;
        let mut place = 0;
        while let Some((slot, _)) = self.stash.get(place) {
            let conn = self.conns.get_mut(*slot).filter(|conn| !conn.has(ENDING));
            if conn.as_ref().is_some_and(|conn| conn.has(PAUSED)) {
                place += 1;
                continue;
            }
            if events.len() >= limit {
                self.resumed = true;
                return;
            }
            if let Some(conn) = conn {
                conn.clear(STASHED);
                let (slot, data) = self.stash.swap_remove(place);
                events.push(Event::Data { slot, data });
                let conn = self.conns.get(slot).expect("it was just there");
                if conn.has(READABLE) {
                    self.note_readable(slot);
                }
            } else {
                self.stash.swap_remove(place);
            }
        }
    }

    pub(super) fn start_sending(&mut self, slot: Slot, buffer: Vec<u8>) {
        debug_assert!(!buffer.is_empty(), "an empty send on {slot:?}");
        let Some(conn) = self.conns.get_mut(slot) else { return };
        if conn.has(CLOSED_BY_USER) {
            return;
        }
        if conn.send().is_some() {
            debug_assert!(false, "a second send on {slot:?} before the first one's `Sent`");
            return self.end(slot, libc::EALREADY);
        }
        // Waiting for the connection is no waiting for room.
        let since = if conn.has(CONNECT) { u64::MAX } else { self.drains };
        let sending = Sending { buffer, sent: 0, since };
        conn.set_send(Some(self.sends.insert(sending)));
        // On a connection that failed while its user cannot know it yet, the buffer comes back with the end.
        if !conn.has(ENDING) {
            self.go_on_sending(slot);
        }
    }

    /// Submits what is left of the send.
    fn go_on_sending(&mut self, slot: Slot) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let (Some(index), Some(place)) = (conn.send(), conn.place()) else { return };
        let Sending { buffer, sent, .. } = &self.sends[index];
        let request = Request::of(Tag::Send, slot);
        // SAFETY: the vector stays in the side table, untouched, until the completion: it is taken out only by
        // `on_send` and `hand_over_ended`, after SEND was cleared, and by the reactor's end, which waits or leaks.
        // Moving the vector within the table does not move its bytes.
        unsafe { self.tables.ring(place.table).send(place.file, &buffer[*sent..], request) };
        conn.set(SEND);
    }

    pub(super) fn on_send(&mut self, slot: Slot, completion: Completion, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        conn.clear(SEND);
        let Some(place) = conn.send() else { return };
        let sending = &mut self.sends[place];
        sending.sent += usize::try_from(completion.result).unwrap_or(0);
        if sending.sent == sending.buffer.len() {
            conn.set_send(None);
            let Sending { buffer, since, .. } = self.sends.remove(place);
            self.gauges.short_sends += u64::from(since < self.drains);
            events.push(Event::Sent { slot, buffer, result: Ok(()) });
            if conn.has(ENDING) {
                return self.end_if_quiet(slot);
            }
            if conn.has(SHUTDOWN) {
                self.send_fin(slot);
            }
            return;
        }
        if conn.has(ENDING) {
            return self.end_if_quiet(slot);
        }
        match -completion.result {
            ..0 | libc::EINTR => self.go_on_sending(slot),
            0 => self.end(slot, libc::EPIPE),
            errno => self.end(slot, errno),
        }
    }

    /// Sends FIN, now or after the send in flight.
    pub(super) fn send_fin(&mut self, slot: Slot) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        conn.set(SHUTDOWN);
        if conn.send().is_none()
            && !conn.has(ENDING | CONNECT | FIN)
            && let Some(place) = conn.place()
        {
            conn.clear(SHUTDOWN);
            conn.set(FIN);
            self.tables.ring(place.table).shutdown(place.file, Request::of(Tag::Fin, slot));
        }
    }

    /// FIN is sent, or the connection is gone and needs none.
    pub(super) fn on_fin(&mut self, slot: Slot) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        conn.clear(FIN);
        if conn.has(ENDING) {
            self.end_if_quiet(slot);
        }
    }

    pub(super) fn on_connect(&mut self, slot: Slot, completion: Completion, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        if !conn.has(ENDING) && completion.result >= 0 {
            if completion.result & i32::from(libc::POLLERR | libc::POLLHUP) == 0 {
                conn.clear(CONNECT);
                return self.connected(slot, events);
            }
            return self.ask_for_error(slot);
        }
        conn.clear(CONNECT);
        if conn.has(ENDING) { self.end_if_quiet(slot) } else { self.end(slot, -completion.result) }
    }

    fn connected(&mut self, slot: Slot, events: &mut Vec<Event>) {
        events.push(Event::Connected { slot });
        self.arm_poll(slot);
        if self.conns.get(slot).is_some_and(|conn| conn.has(SHUTDOWN)) {
            self.send_fin(slot);
        }
    }

    /// Begins the end of a connection, for an errno or (0) because the user wants it. What is in flight is cancelled.
    pub(super) fn end(&mut self, slot: Slot, errno: i32) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let Some(place) = conn.place().filter(|_| !conn.has(ENDING)) else { return };
        conn.set(ENDING);
        conn.errno = errno as u16;
        cancel(self.tables.ring(place.table), slot, conn);
        self.end_if_quiet(slot);
    }

    /// Closes the socket of a connection that is to end, once nothing is in flight for it.
    pub(super) fn end_if_quiet(&mut self, slot: Slot) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        if conn.has(IN_FLIGHT) {
            return;
        }
        if let Some(place) = conn.begin_closing() {
            let reset = conn.has(RESET);
            self.tables.ring(place.table).close(place.file, reset, Request::of(Tag::Close, slot));
        }
    }

    /// The socket is closed; `Closed` follows.
    pub(super) fn on_closed(&mut self, slot: Slot) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        self.tables.free(conn.end_closing());
        if conn.has(STASHED) {
            self.stash.retain(|(of, _)| *of != slot);
        }
        self.ended.push_back(slot);
        self.gauges.connections -= 1;
        self.acceptor.note_freed();
    }

    /// Says of those that ended what is to be said, while the batch is shorter than `limit`.
    pub(super) fn hand_over_ended(&mut self, events: &mut Vec<Event>, limit: usize) {
        // `Sent` and `Closed`: two each at most.
        while events.len() + 2 <= limit
            && let Some(slot) = self.ended.pop_front()
        {
            let Some(conn) = self.conns.get_mut(slot) else { continue };
            let errno = i32::from(conn.errno);
            let error = (errno != 0).then(|| io::Error::from_raw_os_error(errno));
            if let Some(place) = conn.send() {
                conn.set_send(None);
                let buffer = self.sends.remove(place).buffer;
                let why = match errno {
                    0 => {
                        io::Error::new(io::ErrorKind::ConnectionAborted, "closed before everything was sent")
                    }
                    _ => io::Error::from_raw_os_error(errno),
                };
                events.push(Event::Sent { slot, buffer, result: Err(why) });
            }
            events.push(Event::Closed { slot, error });
            self.conns.retire(slot);
        }
        if self.ended.is_empty() && self.ended.capacity() > 4 * BATCH_EVENTS {
            self.ended = std::collections::VecDeque::new(); // what one storm needed
        }
    }
}

/// Cancels what is in flight for a connection and could take long; the rest ends by itself.
pub(super) fn cancel(ring: &mut Ring, slot: Slot, conn: &Conn) {
    for (flag, tag) in [(POLL, Tag::Poll), (SEND, Tag::Send), (CONNECT, Tag::Connect)] {
        if conn.has(flag) {
            ring.cancel(Request::of(tag, slot));
        }
    }
}
