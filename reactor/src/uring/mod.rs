//! Backend `io-uring`: requests in one ring, completions in another, one system call for a batch of both.
//!
//! An idle connection has one multishot poll in the kernel and nothing else. What the poll announces is received into
//! a buffer that the kernel takes from a ring of them, so buffers are held only by bytes. Sockets are ordinary
//! descriptors of the thread's table.
//!
//! ```text
//!   turn:  returned buffers ─> ring    listed connections ─> recv    (calls since the last turn: send, cancel, ..)
//!          └────────────────────────── one io_uring_enter: submit, wait ──────────────────────────┘
//!          completions ─> events       connections with nothing in flight ─> Closed       held clients ─> Accepted
//! ```
//!
//! A slot ends in three steps: what is in flight for it is cancelled; with the last completion its socket is closed;
//! when the user comes back after `Closed`, its index is free.

mod accept;
mod buffers;
mod conn;
mod probe;
mod request;
mod ring;
#[cfg(test)]
mod tests;
mod transfer;

use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use slab::Slab;

use self::accept::Acceptor;
use self::buffers::BufferRing;
use self::conn::{CLOSED_BY_USER, CONNECT, Conn, PAUSED, READABLE, STASHED};
pub use self::probe::probe;
use self::request::{Request, Tag};
use self::ring::Ring;
use self::transfer::{Sending, cancel};
use crate::limits::{ACCEPTS_PER_TURN, BATCH_EVENTS};
use crate::pool::Pool;
use crate::slot::Slots;
use crate::sys::{clock, socket};
use crate::{Close, Config, Event, Gauges, Lease, Nanos, Reactor, Slot, Waker};

/// Events of a batch that are for closed connections when there are that many, however much there is to receive.
const ENDED_SHARE: usize = BATCH_EVENTS / 4;

/// Events that one completion can give, at most.
const EVENTS_PER_COMPLETION: usize = 1;

/// A reactor over io_uring. User memory per idle connection: 24 bytes, times the slack of the slab; the kernel's: 256
/// bytes for the poll.
pub struct Uring {
    // Dropped by hand, in this order: the ring, then what the kernel wrote to and read from.
    ring: ManuallyDrop<Ring>,
    buffers: ManuallyDrop<BufferRing>,
    sends: ManuallyDrop<Slab<Sending>>,
    waker: Waker,
    /// Open connections, and closed ones whose `Closed` the user has not seen.
    conns: Slots<Conn>,
    connections_max: usize,
    /// Connections to receive from, in order; each at most once, and stale names of closed ones.
    listed: VecDeque<Slot>,
    /// How many at the front of `listed` were counted as waiting for a buffer.
    starved: usize,
    /// What arrived on connections that were paused meanwhile: one buffer each at most.
    stash: Vec<(Slot, Lease)>,
    /// One of those was resumed.
    resumed: bool,
    acceptor: Acceptor,
    /// Connections whose sockets are closed, and whose `Closed` is owed.
    ended: VecDeque<Slot>,
    gauges: Gauges,
}

impl Uring {
    /// A reactor for the calling thread, made after the thread took its private table of descriptors, if it takes
    /// one. `waker` is made before.
    ///
    /// # Errors
    /// A waker without a descriptor, or a pool that is no power of two. Else the kernel's: no descriptor, no memory
    /// that may be locked, io_uring not allowed; [`probe`] says more.
    pub fn new(config: &Config, waker: Waker) -> io::Result<Uring> {
        if waker.descriptor().is_none() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a reactor needs a waker with an eventfd",
            ));
        }
        let ring = Ring::new().map_err(|error| {
            io::Error::new(error.kind(), format!("cannot make an io_uring: {}", probe::explain(&error)))
        })?;
        let pool = Pool::new(config.recv_buffers, config.recv_buffer_bytes);
        // SAFETY: from here on nothing fails, and `drop` ends both in the right order.
        let buffers = unsafe { BufferRing::new(&ring, pool, config.recv_buffers)? };
        let mut uring = Uring {
            ring: ManuallyDrop::new(ring),
            buffers: ManuallyDrop::new(buffers),
            sends: ManuallyDrop::new(Slab::new()),
            waker,
            conns: Slots::new(config.number),
            connections_max: config.connections_max,
            listed: VecDeque::new(),
            starved: 0,
            stash: Vec::new(),
            resumed: false,
            acceptor: Acceptor::default(),
            ended: VecDeque::new(),
            gauges: Gauges::default(),
        };
        uring.arm_waker();
        Ok(uring)
    }

    /// Watches the eventfd. Each write completes the poll once more, so the counter is never read; it could only
    /// overflow after 2^64 wakes.
    fn arm_waker(&mut self) {
        let fd = self.waker.descriptor().expect("`new` saw it");
        // SAFETY: the waker owns the descriptor and lives as long as the reactor.
        let eventfd = unsafe { BorrowedFd::borrow_raw(fd) };
        self.ring.poll(eventfd, libc::POLLIN as u32, true, Request::WAKE);
    }

    /// Submits, and waits unless there is something to do.
    fn wait(&mut self, until: Option<Nanos>, busy: bool) -> io::Result<()> {
        let until = match (until, self.acceptor.retry()) {
            (Some(until), Some(retry)) => Some(until.min(retry)),
            (until, retry) => until.or(retry),
        };
        let wait = !busy
            && !self.ring.has_completions()
            && until.is_none_or(|until| until > clock::now())
            && self.waker.sleep();
        self.ring.enter(usize::from(wait), until)
    }

    /// Turns completions into events, while the batch is shorter than `limit`.
    fn harvest(&mut self, events: &mut Vec<Event>, limit: usize) {
        while self.ring.has_completions() {
            while events.len() + EVENTS_PER_COMPLETION <= limit {
                let Some(completion) = self.ring.next() else { break };
                let request = completion.request;
                match (request.tag(), request.slot()) {
                    (Tag::Poll, Some(slot)) => self.on_poll(slot, completion),
                    (Tag::Recv, Some(slot)) => self.on_recv(slot, completion, events),
                    (Tag::Send, Some(slot)) => self.on_send(slot, completion, events),
                    (Tag::Connect, Some(slot)) => self.on_connect(slot, completion, events),
                    (Tag::Accept, _) => self.on_accept(completion, events),
                    (Tag::Wake, _) if !completion.more() => self.arm_waker(),
                    _ => {}
                }
            }
            if events.len() + EVENTS_PER_COMPLETION > limit {
                return;
            }
        }
    }
}

impl Reactor for Uring {
    fn now(&self) -> Nanos {
        clock::now()
    }

    fn waker(&self) -> &Waker {
        &self.waker
    }

    fn listen(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        let (socket, local) = socket::listen(address)?;
        self.add_listener(socket);
        Ok(local)
    }

    fn stop_listening(&mut self) {
        self.stop_accepting();
    }

    fn connect(&mut self, source: Option<SocketAddr>, target: SocketAddr) -> io::Result<Slot> {
        if self.is_full() {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        let socket = socket::connect(source, target)?;
        let slot = self.adopt(socket);
        let conn = self.conns.get_mut(slot).expect("it was just put in");
        conn.set(CONNECT);
        let socket = conn.socket().expect("it was just put in");
        self.ring.poll(socket, libc::POLLOUT as u32, false, Request::of(Tag::Connect, slot));
        Ok(slot)
    }

    fn send(&mut self, slot: Slot, buffer: Vec<u8>) {
        self.start_sending(slot, buffer);
    }

    fn pause(&mut self, slot: Slot) {
        if let Some(conn) = self.conns.get_mut(slot) {
            conn.set(PAUSED);
        }
    }

    fn resume(&mut self, slot: Slot) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        conn.clear(PAUSED);
        if conn.has(STASHED) {
            self.resumed = true; // what is stashed comes first
        } else if conn.has(READABLE) {
            self.note_readable(slot);
        }
    }

    fn shutdown(&mut self, slot: Slot) {
        self.send_fin(slot);
    }

    fn close(&mut self, slot: Slot, how: Close) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        if how == Close::Reset
            && !conn.has(CLOSED_BY_USER)
            && let Some(socket) = conn.socket()
        {
            socket::reset_on_close(socket);
        }
        conn.set(CLOSED_BY_USER);
        conn.errno = 0; // also of one that has just failed: the user asked for the end
        self.end(slot, 0);
    }

    fn turn(&mut self, until: Option<Nanos>, events: &mut Vec<Event>) -> io::Result<()> {
        self.gauges.turns += 1;
        self.conns.reclaim();
        let start = events.len();
        let limit = start + BATCH_EVENTS;
        loop {
            self.buffers.refill();
            if self.resumed {
                self.unstash(events, limit / 2);
            }
            self.receive_listed();
            let busy = events.len() > start || !self.ended.is_empty() || self.can_admit();
            self.wait(until, busy)?;
            if self.waker.awaken() {
                events.push(Event::Wake);
            }
            let shares = (2 * self.ended.len()).min(ENDED_SHARE)
                + (self.acceptor.held() + 2).min(ACCEPTS_PER_TURN as usize);
            self.harvest(events, limit - shares);
            self.hand_over_ended(events, limit);
            self.accept(events, limit)?;
            if events.len() > start || until.is_some_and(|until| clock::now() >= until) {
                return Ok(());
            }
        }
    }

    fn gauges(&self) -> Gauges {
        Gauges { syscalls: self.ring.syscalls, overflows: self.ring.overflows, ..self.gauges }
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        for (slot, conn) in self.conns.iter() {
            cancel(&mut self.ring, slot, conn);
        }
        let quiet = self.ring.quiesce(|completion| {
            if completion.request.tag() == Tag::Accept {
                drop(accept::accepted(completion));
            }
        });
        // SAFETY: each is taken or dropped once, here.
        unsafe {
            ManuallyDrop::drop(&mut self.ring);
            if quiet {
                ManuallyDrop::drop(&mut self.buffers);
                ManuallyDrop::drop(&mut self.sends);
            } else {
                // The kernel may still write to or read from them, whenever it ends what was in flight.
                ManuallyDrop::take(&mut self.buffers).leak();
            }
        }
    }
}

impl std::fmt::Debug for Uring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uring").field("gauges", &self.gauges()).finish_non_exhaustive()
    }
}
