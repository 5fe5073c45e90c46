//! Bytes in and out of the connections that are ready for it.

use std::io;
use std::os::fd::BorrowedFd;

use super::conn::{CONNECTING, EOF, LISTED, PAUSED, READ_CLOSED, READABLE, SENDING, SHUTDOWN};
use super::{Epoll, copy};
use crate::limits::{BATCH_EVENTS, READS_PER_TURN};
use crate::sys::socket;
use crate::{Event, Slot};

/// A send of which the kernel has not taken everything.
pub(super) struct Unfinished {
    pub(super) buffer: Vec<u8>,
    sent: usize,
}

/// Gives the kernel what it takes now; true when that was the rest. A send that is taken in part fills the socket's
/// buffer, so the next edge will say that there is room.
fn push(socket: BorrowedFd<'_>, buffer: &[u8], sent: &mut usize) -> io::Result<bool> {
    loop {
        match socket::send(socket, &buffer[*sent..]) {
            Ok(taken) => {
                *sent += taken;
                return Ok(*sent == buffer.len());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl Epoll {
    /// Begins a send: at once, since most sockets have room.
    pub(super) fn start_sending(&mut self, slot: Slot, buffer: Vec<u8>) {
        debug_assert!(!buffer.is_empty(), "an empty send on {slot:?}");
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let Some(socket) = conn.socket() else { return self.return_unsent(slot, buffer) };
        if conn.has(SENDING) {
            debug_assert!(false, "a second send on {slot:?} before the first one's `Sent`");
            let why = "the user sent again before `Sent`";
            return self.end(slot, Some(io::Error::new(io::ErrorKind::InvalidInput, why)));
        }
        let mut sent = 0;
        let outcome = if conn.has(CONNECTING) {
            Ok(false)
        } else {
            self.gauges.syscalls += 1;
            let outcome = push(socket, &buffer, &mut sent);
            self.gauges.short_sends += u64::from(matches!(outcome, Ok(false)));
            outcome
        };
        conn.set(SENDING);
        if let Ok(true) = outcome {
            return self.queue.push_back(Event::Sent { slot, buffer, result: Ok(()) });
        }
        conn.set_unfinished(Some(self.unfinished.insert(Unfinished { buffer, sent })));
        if let Err(error) = outcome {
            self.end(slot, Some(error));
        }
    }

    /// Gives back what was to be sent on a connection that failed while its user cannot know it yet.
    fn return_unsent(&mut self, slot: Slot, buffer: Vec<u8>) {
        let failed = |event: &Event| match event {
            Event::Closed { slot: of, error: Some(error) } if *of == slot => Some(copy(error)),
            _ => None,
        };
        let found = self.queue.iter().enumerate().find_map(|(place, event)| Some((place, failed(event)?)));
        if let Some((place, error)) = found {
            self.queue.insert(place, Event::Sent { slot, buffer, result: Err(error) });
        }
    }

    /// Goes on with an unfinished send, if there is one and the connection stands.
    pub(super) fn go_on_sending(&mut self, slot: Slot) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let (Some(socket), Some(place)) = (conn.socket(), conn.unfinished()) else { return };
        let Unfinished { buffer, sent } = &mut self.unfinished[place];
        self.gauges.syscalls += 1;
        match push(socket, buffer, sent) {
            Ok(false) => {}
            Ok(true) => {
                conn.set_unfinished(None);
                let buffer = self.unfinished.remove(place).buffer;
                self.queue.push_back(Event::Sent { slot, buffer, result: Ok(()) });
                self.send_fin_if_due(slot);
            }
            Err(error) => self.end(slot, Some(error)),
        }
    }

    /// Sends the FIN that was asked for, unless a connect or a send comes first.
    pub(super) fn send_fin_if_due(&mut self, slot: Slot) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        if conn.has(SHUTDOWN)
            && !conn.has(CONNECTING)
            && conn.unfinished().is_none()
            && let Some(socket) = conn.socket()
        {
            socket::shutdown_write(socket);
            conn.clear(SHUTDOWN);
        }
    }

    /// Remembers that a connection has something to receive, and lists it if its user wants it.
    pub(super) fn note_readable(&mut self, slot: Slot, closed: u32) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        if conn.socket().is_none() || conn.has(EOF) {
            return;
        }
        conn.set(READABLE | closed);
        if !conn.has(PAUSED | LISTED) {
            conn.set(LISTED);
            self.readable.push_back(slot);
        }
    }

    /// Receives from those that are listed, each in its turn, while the batch is shorter than `limit` and buffers
    /// last. Whoever does not get his turn stays in front.
    pub(super) fn receive(&mut self, events: &mut Vec<Event>, limit: usize) {
        for _ in 0..self.readable.len() {
            if events.len() >= limit {
                return;
            }
            if !self.pool.has_free() {
                return self.starve();
            }
            let Some(slot) = self.readable.pop_front() else { return };
            self.starved = self.starved.saturating_sub(1);
            if self.receive_from(slot, events, limit) {
                self.readable.push_back(slot);
            }
        }
    }

    /// Receives one connection's share of this turn. True: it stays listed, more may be there.
    fn receive_from(&mut self, slot: Slot, events: &mut Vec<Event>, limit: usize) -> bool {
        let Some(conn) = self.conns.get_mut(slot) else { return false };
        conn.clear(LISTED);
        let Some(socket) = conn.socket() else { return false };
        if conn.has(PAUSED) || !conn.has(READABLE) {
            return false;
        }
        for _ in 0..READS_PER_TURN {
            if events.len() >= limit {
                break;
            }
            let Some(buffer) = self.pool.take() else { break };
            self.gauges.syscalls += 1;
            let received = self.pool.with_buffer(buffer, |bytes| socket::recv(socket, bytes));
            if let Ok(len @ 1..) = received {
                events.push(Event::Data { slot, data: self.pool.lease(buffer, len) });
                // Short means empty, and what comes later is a new edge; but the end made its edge already.
                if len < self.pool.size() && !conn.has(READ_CLOSED) {
                    conn.clear(READABLE);
                    return false;
                }
                continue;
            }
            self.pool.give_back(buffer);
            match received {
                Ok(_) => {
                    conn.clear(READABLE);
                    conn.set(EOF);
                    events.push(Event::Eof { slot });
                    return false;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    conn.clear(READABLE);
                    return false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.end(slot, Some(error));
                    return false;
                }
            }
        }
        conn.set(LISTED);
        true
    }

    /// Counts those who wait for a buffer from now on.
    fn starve(&mut self) {
        if self.readable.len() > 2 * self.conns.len() + BATCH_EVENTS {
            // Connections that came and went while nobody returned a buffer.
            self.readable.retain(|&slot| self.conns.get(slot).is_some_and(|conn| conn.has(LISTED)));
            self.starved = self.readable.len();
        }
        self.gauges.recv_starved += (self.readable.len() - self.starved) as u64;
        self.starved = self.readable.len();
    }
}
