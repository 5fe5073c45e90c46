//! Backend `io-uring`: requests in one ring, completions in another, one system call for a batch of both.
//!
//! An idle connection has one multishot poll in the kernel and nothing else. What the poll announces is received into
//! a buffer of the pool, so buffers are held only by bytes. Sockets are direct descriptors: each ring has a table of
//! them, and a reactor as many rings as its connections need (`table.rs`).
//!
//! ```text
//!   turn:  listed connections ─> recv        (calls since the last turn: send, cancel, close, ..)
//!          other rings: submit     first ring: submit, wait     <── eventfd ── other rings, other threads
//!          completions ─> events       connections with nothing in flight ─> close ─> Closed       room ─> accepts
//! ```
//!
//! A slot ends in four steps: what is in flight for it is cancelled; with the last completion its socket is closed; then
//! `Closed` is handed over; when the user comes back after that, its index is free.

mod accept;
mod conn;
mod probe;
mod request;
mod ring;
mod table;
#[cfg(test)]
mod tests;
mod transfer;

use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use slab::Slab;

use self::accept::Acceptor;
use self::conn::{CLOSED_BY_USER, CONNECT, Conn, PAUSED, READABLE, RESET, STASHED};
pub use self::probe::probe;
use self::request::{Request, Tag};
use self::ring::Completion;
use self::table::Tables;
use self::transfer::{Sending, cancel};
use crate::limits::BATCH_EVENTS;
use crate::pool::Pool;
use crate::slot::Slots;
use crate::sys::{clock, socket};
use crate::{Close, Config, Event, Gauges, Lease, Nanos, Reactor, Slot, SocketOptions, Waker};

/// Events of a batch that are for closed connections when there are that many, however much there is to receive.
const ENDED_SHARE: usize = BATCH_EVENTS / 4;

/// Events of a batch that are for accepting, which pauses or resumes.
const ACCEPT_SHARE: usize = 2;

/// Events that one completion can give, at most: `AcceptResumed` and `Accepted`.
const EVENTS_PER_COMPLETION: usize = 2;

/// A reactor over io_uring. User memory per idle connection: 24 bytes, and a ring of 84 KiB for every table; the
/// kernel's: 256 bytes for the poll, 40 for the direct descriptor and 8 for its place.
pub struct Uring {
    // Dropped by hand, in this order: the rings, then what the kernel wrote to and read from.
    tables: ManuallyDrop<Tables>,
    pool: ManuallyDrop<Rc<Pool>>,
    sends: ManuallyDrop<Slab<Sending>>,
    /// Times that no completion was left. What fits into a send queue completes while it is submitted, so a send that is older than
    /// the last of them has waited for room.
    drains: u64,
    waker: Waker,
    /// Open connections, and closed ones whose `Closed` the user has not seen.
    conns: Slots<Conn>,
    connections_max: usize,
    sockets: SocketOptions,
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
    /// A waker without a descriptor. Else the kernel's: no descriptor, no memory that may be locked, io_uring not
    /// allowed; [`probe`] says more.
    pub fn new(config: &Config, waker: Waker) -> io::Result<Uring> {
        if waker.descriptor().is_none() {
            let why = "a reactor needs a waker with an eventfd";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let tables = Tables::new(config.table_max).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot make an io_uring: {}", probe::explain(&error)))
        })?;
        let mut uring = Uring {
            tables: ManuallyDrop::new(tables),
            pool: ManuallyDrop::new(Pool::new(config.recv_buffers, config.recv_buffer_bytes)),
            sends: ManuallyDrop::new(Slab::new()),
            drains: 0,
            waker,
            conns: Slots::new(config.number),
            connections_max: config.connections_max,
            sockets: config.sockets,
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

    /// Watches the eventfd that other threads write. Each write completes the poll once more, so the counter is never read; it
    /// could only overflow after 2^64 wakes.
    fn arm_waker(&mut self) {
        let fd = self.waker.descriptor().expect("`new` saw it");
        // SAFETY: the waker owns the descriptor and lives as long as the reactor.
        let eventfd = unsafe { BorrowedFd::borrow_raw(fd) };
        self.tables.first().watch(eventfd, libc::POLLIN as u32, Request::WAKE);
    }

    /// Submits, and waits unless there is something to do.
    fn wait(&mut self, until: Option<Nanos>, busy: bool) -> io::Result<()> {
        let until = match (until, self.acceptor.retry()) {
            (Some(until), Some(retry)) => Some(until.min(retry)),
            (until, retry) => until.or(retry),
        };
        let busy = self.tables.submit_awake()? || busy;
        let wait = !busy
            && !self.tables.first().has_completions()
            && until.is_none_or(|until| until > clock::now())
            && self.tables.sleep()
            && self.waker.sleep();
        self.tables.first().enter(usize::from(wait), until)
    }

    /// Turns completions into events, while the batch is shorter than `limit`.
    ///
    /// # Errors
    /// What a ring cannot go on after.
    fn harvest(&mut self, events: &mut Vec<Event>, limit: usize) -> io::Result<()> {
        self.harvest_one(0, events, limit);
        // Who was just woken by the first ring has not had its work done yet.
        if self.tables.awake(0).is_some() {
            self.tables.submit_awake()?;
        }
        let mut place = 0;
        while let Some(number) = self.tables.awake(place) {
            self.harvest_one(number, events, limit);
            place += usize::from(!self.tables.try_sleep(place));
        }
        self.drains += u64::from(events.len() + EVENTS_PER_COMPLETION <= limit);
        Ok(())
    }

    fn harvest_one(&mut self, table: u16, events: &mut Vec<Event>, limit: usize) {
        while self.tables.peek(table).has_completions() {
            while events.len() + EVENTS_PER_COMPLETION <= limit
                && let Some(completion) = self.tables.peek(table).next()
            {
                self.act_on(completion, events);
            }
            if events.len() + EVENTS_PER_COMPLETION > limit {
                return; // the rest comes next time
            }
        }
    }

    fn act_on(&mut self, completion: Completion, events: &mut Vec<Event>) {
        let request = completion.request;
        match (request.tag(), request.slot()) {
            (Tag::Poll, Some(slot)) => self.on_poll(slot, completion),
            (Tag::Recv, Some(slot)) => self.on_recv(slot, completion, events),
            (Tag::Send, Some(slot)) => self.on_send(slot, completion, events),
            (Tag::Connect, Some(slot)) => self.on_connect(slot, completion, events),
            (Tag::Check, Some(slot)) => self.on_check(slot, completion, events),
            (Tag::Fin, Some(slot)) => self.on_fin(slot),
            (Tag::Close, Some(slot)) => self.on_closed(slot),
            (Tag::Discard, _) => self.tables.free(request.place()),
            (Tag::Accept, _) => self.on_accept(completion, events),
            (Tag::Wake, _) if !completion.more() => self.arm_waker(),
            (Tag::Signal, _) => self.tables.on_signal(request.number() as u16),
            _ => {}
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
        let (socket, local) = socket::listen(address, &self.sockets)?;
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
        let place = self.tables.take()?;
        let connecting =
            socket::connect(source, target, &self.sockets).and_then(|socket| self.tables.put(place, &socket));
        connecting.inspect_err(|_| self.tables.free(place))?;
        let slot = self.adopt(place);
        self.conns.get_mut(slot).expect("it was just put in").set(CONNECT);
        let request = Request::of(Tag::Connect, slot);
        self.tables.ring(place.table).poll(place.file, libc::POLLOUT as u32, false, request);
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
        if how == Close::Reset && !conn.has(CLOSED_BY_USER) {
            conn.set(RESET);
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
            if self.resumed {
                self.unstash(events, limit / 2);
            }
            self.receive_listed();
            let busy = events.len() > start || !self.ended.is_empty();
            self.wait(until, busy)?;
            if self.waker.awaken() {
                events.push(Event::Wake);
            }
            let shares = (2 * self.ended.len()).min(ENDED_SHARE) + ACCEPT_SHARE;
            self.harvest(events, limit - shares)?;
            self.hand_over_ended(events, limit - ACCEPT_SHARE);
            self.accept(events, limit)?;
            if events.len() > start || until.is_some_and(|until| clock::now() >= until) {
                return Ok(());
            }
        }
    }

    fn gauges(&self) -> Gauges {
        let (syscalls, overflows) = self.tables.counts();
        Gauges { syscalls, overflows, ..self.gauges }
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        for (slot, conn) in self.conns.iter() {
            if let Some(place) = conn.place() {
                cancel(self.tables.ring(place.table), slot, conn);
            }
        }
        self.stop_accepting();
        self.tables.cancel_signals();
        let mut quiet = true;
        for ring in self.tables.rings() {
            quiet &= ring.quiesce();
        }
        // SAFETY: each is taken or dropped once, here.
        unsafe {
            ManuallyDrop::drop(&mut self.tables);
            if quiet {
                ManuallyDrop::drop(&mut self.pool);
                ManuallyDrop::drop(&mut self.sends);
            }
            // Else the kernel may still write to or read from them, whenever it ends what was in flight: they leak.
        }
    }
}

impl std::fmt::Debug for Uring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uring").field("gauges", &self.gauges()).finish_non_exhaustive()
    }
}
