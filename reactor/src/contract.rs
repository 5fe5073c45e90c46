//! The contract between a reactor and its user, written before any backend.
//!
//! A reactor is *completion-shaped*: it reports what happened, never what might be possible. It belongs to one
//! thread. Its user calls [`Reactor::turn`], gets a batch of events, and only then acts on them; nothing that the
//! user calls dispatches an event from within.
//!
//! # A connection's life
//!
//! ```text
//!  (listen)  Accepted ──┐
//!                       ├──> open ── Data* ── Eof? ──────────────┐
//!  connect() Connected ─┘     │  send()/Sent, pause()/resume()     ├──> Closed   the slot is free
//!     └── (refused) ──────────┴── close(), or the peer resets ─────┘
//! ```
//!
//! 1. A slot begins with `Accepted`, which says at which listener, or with [`Reactor::connect`] returning, and ends with exactly one `Closed`, the
//!    last event of its slot. Only then may its index be reused. A connect that fails later gives `Closed` without
//!    `Connected`.
//! 2. `Data` comes in the order of the stream, without gaps or repeats, and never empty. Receiving starts by itself.
//!    After [`Reactor::pause`] no `Data` and no `Eof` is *produced* until [`Reactor::resume`]; what the current
//!    batch already holds still stands.
//! 3. `Eof` comes at most once, after the last `Data`: the peer sends no more. The user may still send.
//! 4. At most one send is in flight per slot: [`Reactor::send`] again before its `Sent` is a mistake of the user's
//!    (debug builds panic; release builds queue nothing and close the slot with an error).
//!    A buffer belongs to the reactor from `send` to `Sent`, which always gives it back, whole, also on failure.
//!    `Sent` with `Ok` means that the kernel took every byte, not that the peer has them.
//! 5. [`Reactor::shutdown`] sends FIN after what was given to `send`; receiving goes on.
//! 6. After [`Reactor::close`] the slot gives no `Data`, `Eof` or `Connected` any more (a batch that is already
//!    handed over excepted: the user ignores slots that it closed); an unfinished send comes back as `Sent` with an
//!    error, then `Closed` with `error: None` follows. `Close::Now` lets the kernel send on what it has taken, then
//!    FIN (RST if unread bytes were left); `Close::Reset` sends RST and drops them.
//! 7. A connection that fails by itself (reset, timeout) is closed by the reactor: `Sent` with an error if a send
//!    was unfinished, then `Closed` with the error.
//! 8. A call on a slot that is `Closed`, or was closed by the user, does nothing; for a send the buffer is dropped.
//! 9. `turn` returns when it has at least one event, when `until` has passed, or after [`Waker::wake`] (as the event
//!    `Wake`, many wakes as one). A wake is never lost, whenever it comes.
//! 10. No descriptor left (EMFILE, ENFILE, no memory, ENOSPC of epoll's watches), or [`Config::connections_max`]
//!     reached, gives `AcceptPaused` once; accepting resumes by itself when there is room again (`AcceptResumed`), at the
//!     latest after a short pause. Nothing spins, and nobody is accepted who cannot be held.
//!     A reactor that is full itself ([`AcceptPause::leaves_group`]) takes its listeners out of their SO_REUSEPORT groups
//!     meanwhile: they stay bound, and do not listen. New clients then come to those who have room, and so does who waits
//!     in its backlog already where net.ipv4.tcp_migrate_req is 1 (else that client is reset). Nobody has room: clients are
//!     refused at once, not left to hang. What the whole machine lacks, nobody else in the group has: then the listeners
//!     stay, and clients wait in the backlog.
//! 11. A batch is bounded ([`crate::limits::BATCH_EVENTS`]), and no connection can starve another: one turn takes at
//!     most [`crate::limits::READS_PER_TURN`] buffers from one connection.
//! 12. Receive buffers come from a pool of the reactor's ([`Config::recv_buffers`]). When it is empty, connections wait
//!     for a returned one, in order; bytes stay in the kernel. Leases are returned by dropping them.
//! 13. With [`SocketOptions::defer_accept`] a client is accepted when its first bytes are there, or after that time without any. In
//!     between it is the kernel's, which lets it go without a word should it reset.
//!
//! A reactor of packets (`throng-tcp`) connects alone and has no kernel between itself and the peer. There `Closed` after
//! [`Close::Now`] comes when the peer has ended its half, too, or did not within a minute, or hears nothing any more; and packets
//! come in the order of the wire, so one turn may take a whole window from one connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::{Lease, Nanos, Slot, Waker};

/// What a reactor is made with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which of the process's reactors this is, below 4096: it stands in every slot, so that no two reactors give the same name.
    pub number: u16,
    /// Buffers in the receive pool, at most 32,768.
    pub recv_buffers: u16,
    /// Bytes of one receive buffer.
    pub recv_buffer_bytes: u32,
    /// Connections that the reactor holds at once; beyond it accepting pauses and connecting fails with EMFILE.
    pub connections_max: usize,
    /// How its sockets are set; `sim` has none.
    pub sockets: SocketOptions,
    /// Direct descriptors in one ring's table (io-uring only), at most 32,768. The limit on open files holds for each.
    pub table_max: u16,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            number: 0,
            recv_buffers: crate::limits::RECV_BUFFERS,
            recv_buffer_bytes: crate::limits::RECV_BUFFER_BYTES,
            connections_max: crate::limits::CONNECTIONS_MAX,
            sockets: SocketOptions::default(),
            table_max: crate::limits::TABLE_MAX,
        }
    }
}

/// How sockets are set: those that are accepted as their listener, and those that connect. `None` leaves it to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// How many clients may wait at a listener to be accepted; the kernel cuts it to net.core.somaxconn.
    pub backlog: u32,
    /// How long the kernel keeps a new client back that has sent nothing yet, in whole seconds (TCP_DEFER_ACCEPT). Who speaks
    /// at once is accepted with its first bytes, which saves a wake and a packet's work; zero accepts everybody at once, as
    /// `sim` always does.
    pub defer_accept: Duration,
    /// Bytes of a receive queue (SO_RCVBUF, which the kernel doubles).
    pub recv_buffer_bytes: Option<u32>,
    /// Bytes of a send queue (SO_SNDBUF, which the kernel doubles).
    pub send_buffer_bytes: Option<u32>,
    /// Bytes not yet sent beyond which a socket is not writable (TCP_NOTSENT_LOWAT).
    pub notsent_lowat_bytes: Option<u32>,
    /// How long data may go unacknowledged before a connection is given up, in milliseconds (TCP_USER_TIMEOUT).
    pub user_timeout: Option<Duration>,
    /// How long a receive looks at the network card's queue before it sleeps, in microseconds (SO_BUSY_POLL).
    pub busy_poll: Option<Duration>,
}

impl Default for SocketOptions {
    fn default() -> SocketOptions {
        SocketOptions {
            backlog: crate::limits::LISTEN_BACKLOG,
            defer_accept: Duration::ZERO,
            recv_buffer_bytes: None,
            send_buffer_bytes: None,
            notsent_lowat_bytes: None,
            user_timeout: None,
            busy_poll: None,
        }
    }
}

/// How to close a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// As close(2): FIN, after what the kernel has already taken.
    Now,
    /// RST: nothing that is still queued goes out.
    Reset,
}

/// Why a reactor stopped accepting for the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptPause {
    /// The table of descriptors is full (EMFILE).
    ProcessFiles,
    /// The whole machine's table is full (ENFILE), memory is short (ENOBUFS, ENOMEM), or epoll may not watch more (ENOSPC).
    SystemFiles,
    /// [`Config::connections_max`] is reached.
    Connections,
}

impl AcceptPause {
    /// Whether the reactor itself is full, so that its listeners leave their groups for as long as it is: others have
    /// room where it has none.
    pub fn leaves_group(self) -> bool {
        match self {
            AcceptPause::ProcessFiles | AcceptPause::Connections => true,
            AcceptPause::SystemFiles => false,
        }
    }
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A client connected.
    Accepted {
        /// The new connection.
        slot: Slot,
        /// At which listener: the number of its [`Reactor::listen`], from zero.
        listener: u16,
    },
    /// Accepting stands still, and why.
    AcceptPaused {
        /// What ran out.
        why: AcceptPause,
    },
    /// Accepting goes on.
    AcceptResumed,
    /// A [`Reactor::connect`] succeeded.
    Connected {
        /// The connection.
        slot: Slot,
    },
    /// Bytes arrived.
    Data {
        /// From where.
        slot: Slot,
        /// The bytes, at least one; dropping the lease returns the buffer.
        data: Lease,
    },
    /// The peer sends no more.
    Eof {
        /// Which connection.
        slot: Slot,
    },
    /// A send ended.
    Sent {
        /// Which connection.
        slot: Slot,
        /// The buffer that was given to `send`, unchanged.
        buffer: Vec<u8>,
        /// Whether the kernel took all of it.
        result: io::Result<()>,
    },
    /// The connection is gone and the slot is free.
    Closed {
        /// Which connection.
        slot: Slot,
        /// `None` when the user asked for it; else what ended it.
        error: Option<io::Error>,
    },
    /// Somebody called [`Waker::wake`].
    Wake,
}

/// How a reactor is doing; all since its start except where said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gauges {
    /// Connections now.
    pub connections: u64,
    /// Turns taken.
    pub turns: u64,
    /// System calls made for waiting, receiving, sending and accepting.
    pub syscalls: u64,
    /// Times that a connection had to wait because the receive pool was empty.
    pub recv_starved: u64,
    /// Times that accepting paused.
    pub accept_pauses: u64,
    /// Sends that had to wait for room: the kernel took nothing of them at first, or a part.
    pub short_sends: u64,
    /// Completions that overflowed the ring (io-uring only).
    pub overflows: u64,
}

/// An event loop of one thread. The module's text is its contract.
pub trait Reactor {
    /// The time, read afresh.
    fn now(&self) -> Nanos;

    /// The handle with which other threads end a wait of this reactor.
    fn waker(&self) -> &Waker;

    /// Accepts connections on `address` (SO_REUSEPORT, so that every shard has a listener of its own). Returns the
    /// address that the kernel gave. May be called for several addresses.
    ///
    /// # Errors
    /// The kernel's, from socket, bind or listen, with the address in the text.
    fn listen(&mut self, address: SocketAddr) -> io::Result<SocketAddr>;

    /// Stops accepting for good: closes every listener. Connections stay.
    fn stop_listening(&mut self);

    /// Starts a connection from `source` (a port of 0 lets the kernel choose one at connect) to `target`.
    ///
    /// # Errors
    /// What the kernel refuses at once: no descriptor (EMFILE), no port (EADDRNOTAVAIL), no route.
    fn connect(&mut self, source: Option<SocketAddr>, target: SocketAddr) -> io::Result<Slot>;

    /// Sends all of `buffer`; `Sent` gives it back. An empty buffer is a mistake of the user's.
    fn send(&mut self, slot: Slot, buffer: Vec<u8>);

    /// Stops receiving on a connection.
    fn pause(&mut self, slot: Slot);

    /// Goes on receiving.
    fn resume(&mut self, slot: Slot);

    /// Sends FIN after what was given to `send`.
    fn shutdown(&mut self, slot: Slot);

    /// Ends a connection; `Closed` follows.
    fn close(&mut self, slot: Slot, how: Close);

    /// Submits what was asked for, waits, and appends what happened to `events`.
    ///
    /// Waits until `until` at most; `None` waits for events alone, and an instant in the past does not wait.
    ///
    /// # Errors
    /// Only what the reactor cannot go on after; interrupted and overfull waits are not errors.
    fn turn(&mut self, until: Option<Nanos>, events: &mut Vec<Event>) -> io::Result<()>;

    /// How it is doing.
    fn gauges(&self) -> Gauges;

    /// What it counts besides, by name.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}
