//! Backend `epoll`: readiness, through the crate `mio`, dressed as completions.
//!
//! A connection is registered once, edge-triggered, and never again. What an edge said is remembered (`READABLE`), so
//! pausing and resuming cost no system call, and a connection that was read short is known to be empty without asking.
//! A message costs one recv and one send; a wait is shared by all that is ready.
//!
//! Calls act at once and queue their events for the next turn:
//!
//! ```text
//!   send() ──> send(2) takes all ─────────────────────────> Sent   ┐
//!                └─ takes a part: side table ── writable ──> Sent   ┼──> queue ──> the next batch
//!   close(), errors ──────────────────────────────────────> Closed ┘
//! ```
//!
//! `Closed` passes only through the queue, so it stands behind the slot's `Sent`; everything else about a slot is
//! appended to the batch directly, while the slot is open.

mod accept;
mod conn;
mod transfer;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use slab::Slab;

use self::accept::Acceptor;
use self::conn::{CONNECTING, CONNS_MAX, Conn, EOF, PAUSED, READ_CLOSED, READABLE, SENDING, SHUTDOWN};
use self::transfer::Unfinished;
use crate::limits::BATCH_EVENTS;
use crate::poller::{Poller, Source, source};
use crate::pool::Pool;
use crate::slot::Slots;
use crate::sys::{clock, socket};
use crate::{Close, Config, Event, Gauges, Nanos, Reactor, Slot, SocketOptions, Waker};

/// Events of a batch that are for the queue when it has that many, however much there is to receive.
const QUEUE_SHARE: usize = BATCH_EVENTS / 4;

/// A reactor over epoll. User memory per idle connection: 16 bytes, times the slack of the slab.
pub struct Epoll {
    poller: Poller,
    waker: Waker,
    pool: Rc<Pool>,
    /// Open connections, and closed ones whose `Closed` the user has not seen.
    conns: Slots<Conn>,
    connections_max: usize,
    sockets: SocketOptions,
    unfinished: Slab<Unfinished>,
    /// Connections to receive from, in order; each at most once, and stale names of closed ones.
    readable: VecDeque<Slot>,
    /// How many at the front of `readable` were counted as waiting for a buffer.
    starved: usize,
    acceptor: Acceptor,
    /// Events of calls: at most one `Sent` and one `Closed` per connection.
    queue: VecDeque<Event>,
    /// Whether the last turn asked the kernel.
    polled: bool,
    gauges: Gauges,
}

impl Epoll {
    /// A reactor for the calling thread, made after the thread took its private table of descriptors, if it takes
    /// one. `waker` is made before.
    ///
    /// # Errors
    /// No descriptor left: a reactor needs two. No room for two watches (fs.epoll.max_user_watches).
    pub fn new(config: &Config, waker: Waker) -> io::Result<Epoll> {
        Ok(Epoll {
            poller: Poller::new(&waker)?,
            waker,
            pool: Pool::new(config.recv_buffers, config.recv_buffer_bytes),
            conns: Slots::new(config.number),
            connections_max: config.connections_max,
            sockets: config.sockets,
            unfinished: Slab::new(),
            readable: VecDeque::new(),
            starved: 0,
            acceptor: Acceptor::default(),
            queue: VecDeque::new(),
            polled: false,
            gauges: Gauges::default(),
        })
    }

    fn is_full(&self) -> bool {
        self.gauges.connections as usize >= self.connections_max || self.conns.len() >= CONNS_MAX
    }

    /// Makes a socket a connection. On failure the socket comes back with the reason.
    fn adopt(&mut self, socket: OwnedFd, flags: u32) -> Result<Slot, (OwnedFd, io::Error)> {
        let slot = self.conns.insert(Conn::new(socket, flags));
        let conn = self.conns.get(slot).expect("it was just put in");
        let added = self.poller.add(conn.socket().expect("it was just put in"), slot);
        if let Err(error) = added {
            let mut conn = self.conns.remove(slot).expect("it was just put in");
            return Err((conn.take_socket().expect("nobody took it"), error));
        }
        self.gauges.connections += 1;
        Ok(slot)
    }

    /// Whether the turn has something to do besides what the queue holds.
    fn has_work(&self) -> bool {
        !self.readable.is_empty() && self.pool.has_free() || self.acceptor.has_work(self.is_full())
    }

    /// Waits, unless there is something to do, and notes what is ready.
    fn wait(&mut self, until: Option<Nanos>, events: &mut Vec<Event>) -> io::Result<()> {
        let until = match self.acceptor.retry() {
            _ if self.has_work() || !self.queue.is_empty() => Some(Nanos(0)),
            Some(retry) => Some(until.map_or(retry, |until| until.min(retry))),
            None => until,
        };
        let asleep = until != Some(Nanos(0)) && self.waker.sleep();
        self.gauges.syscalls += self.poller.wait(if asleep { until } else { Some(Nanos(0)) })?;
        let ready = self.poller.take();
        for event in &ready {
            match source(event) {
                Source::Conn(slot) => self.on_ready(slot, event, events),
                Source::Listener(number) => self.acceptor.set_ready(number),
                Source::Signal => {}
            }
        }
        self.poller.put_back(ready);
        Ok(())
    }

    /// Takes up what the kernel says about a connection. At most one event is appended.
    fn on_ready(&mut self, slot: Slot, ready: &mio::event::Event, events: &mut Vec<Event>) {
        // A stale name, or closed while this event was on its way.
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let Some(socket) = conn.socket() else { return };
        let broken = ready.is_error() || ready.is_write_closed();
        if conn.has(CONNECTING) {
            if !broken && !ready.is_writable() {
                return;
            }
            if broken && let Some(error) = socket::error(socket) {
                return self.end(slot, Some(error));
            }
            conn.clear(CONNECTING);
            events.push(Event::Connected { slot });
            self.send_fin_if_due(slot);
        } else if ready.is_error()
            && conn.has(PAUSED | EOF)
            && let Some(error) = socket::error(socket)
        {
            // Nobody receives here, so nobody else would find the error.
            return self.end(slot, Some(error));
        }
        if ready.is_writable() || broken {
            self.go_on_sending(slot);
        }
        if ready.is_readable() || ready.is_read_closed() || broken {
            let closed = if ready.is_read_closed() || broken { READ_CLOSED } else { 0 };
            self.note_readable(slot, closed);
        }
    }

    /// Ends a connection: the unfinished send comes back, then `Closed` follows.
    fn end(&mut self, slot: Slot, error: Option<io::Error>) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let Some(socket) = conn.take_socket() else { return };
        drop(socket);
        if let Some(place) = conn.unfinished() {
            let buffer = self.unfinished.remove(place).buffer;
            let why = match &error {
                None => io::Error::new(io::ErrorKind::ConnectionAborted, "closed before everything was sent"),
                Some(error) => copy(error),
            };
            self.queue.push_back(Event::Sent { slot, buffer, result: Err(why) });
        }
        self.queue.push_back(Event::Closed { slot, error });
        self.gauges.connections -= 1;
        self.acceptor.note_freed();
    }

    /// Moves the queue to the batch while that is shorter than `limit`.
    fn hand_over(&mut self, events: &mut Vec<Event>, limit: usize) {
        while events.len() < limit
            && let Some(event) = self.queue.pop_front()
        {
            match &event {
                Event::Sent { slot, .. } => {
                    if let Some(conn) = self.conns.get_mut(*slot) {
                        conn.clear(SENDING);
                    }
                }
                Event::Closed { slot, .. } => self.conns.retire(*slot),
                _ => {}
            }
            events.push(event);
        }
        if self.queue.is_empty() && self.queue.capacity() > 4 * BATCH_EVENTS {
            self.queue = VecDeque::new(); // what one storm needed
        }
    }
}

/// The same error once more, as far as errors can be copied.
fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

impl Reactor for Epoll {
    fn now(&self) -> Nanos {
        clock::now()
    }

    fn waker(&self) -> &Waker {
        &self.waker
    }

    fn listen(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        let (socket, local) = socket::listen(address, &self.sockets)?;
        self.poller
            .add_listener(socket.as_fd(), self.acceptor.next_number())
            .map_err(|error| watch_error(error, "the listener"))?;
        self.acceptor.add(socket);
        Ok(local)
    }

    fn stop_listening(&mut self) {
        self.acceptor.stop();
    }

    fn connect(&mut self, source: Option<SocketAddr>, target: SocketAddr) -> io::Result<Slot> {
        if self.is_full() {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        let socket = socket::connect(source, target, &self.sockets)?;
        self.adopt(socket, CONNECTING).map_err(|(_, error)| watch_error(error, "a connection"))
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
        if conn.has(READABLE) {
            self.note_readable(slot, 0);
        }
    }

    fn shutdown(&mut self, slot: Slot) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        conn.set(SHUTDOWN);
        self.send_fin_if_due(slot);
    }

    fn close(&mut self, slot: Slot, how: Close) {
        if how == Close::Reset
            && let Some(socket) = self.conns.get(slot).and_then(Conn::socket)
        {
            socket::reset_on_close(socket);
        }
        self.end(slot, None);
    }

    fn turn(&mut self, until: Option<Nanos>, events: &mut Vec<Event>) -> io::Result<()> {
        self.gauges.turns += 1;
        self.conns.reclaim();
        let start = events.len();
        let limit = start + BATCH_EVENTS;
        loop {
            // When a turn has only the queue to hand over, it leaves the kernel alone: the next one has to ask it
            // anyway. Never twice in a row, so a user who answers every `Sent` with a send still hears the others.
            self.polled = self.queue.is_empty() || !self.polled || self.has_work();
            if self.polled {
                self.wait(until, events)?;
            }
            if self.waker.awaken() {
                events.push(Event::Wake);
            }
            let before_queue = limit - self.queue.len().min(QUEUE_SHARE);
            self.accept(events, before_queue)?;
            self.receive(events, before_queue);
            self.hand_over(events, limit);
            if events.len() > start || until.is_some_and(|until| self.now() >= until) {
                return Ok(());
            }
        }
    }

    fn gauges(&self) -> Gauges {
        self.gauges
    }
}

/// Says which limit a full epoll means.
fn watch_error(error: io::Error, what: &str) -> io::Error {
    if error.raw_os_error() != Some(libc::ENOSPC) {
        return error;
    }
    let text = format!("epoll cannot watch {what}: {error}; raise fs.epoll.max_user_watches");
    io::Error::new(error.kind(), text)
}

impl std::fmt::Debug for Epoll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Epoll").field("gauges", &self.gauges).finish_non_exhaustive()
    }
}
