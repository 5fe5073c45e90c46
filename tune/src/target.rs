//! What is asked of the machine.

use crate::limits::{CONNECTIONS_PER_RING, SOMAXCONN};

/// How a side talks to the kernel, and so what holds its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A table of descriptors for each thread, and an epoll set that watches each connection.
    Epoll,
    /// Rings with tables of direct descriptors, as many for each thread as its connections need.
    IoUring,
    /// No sockets: the process's own TCP, with a TUN device for each thread.
    UserSpace,
}

/// One process of the run on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// Threads that share the connections: shards, or the generator's workers.
    pub threads: u64,
    /// Connections of the fullest of them.
    pub fullest: u64,
    /// What holds them.
    pub backend: Backend,
}

impl Side {
    /// Rings of the whole side, under a limit of `files` open files.
    pub fn rings(&self, files: u64) -> u64 {
        match self.backend {
            Backend::Epoll | Backend::UserSpace => 0,
            Backend::IoUring => self.threads * self.rings_per_thread(files),
        }
    }

    /// Whether its connections are sockets of the kernel's.
    pub fn has_sockets(&self) -> bool {
        self.backend != Backend::UserSpace
    }

    pub(crate) fn rings_per_thread(&self, files: u64) -> u64 {
        self.fullest.div_ceil(files.clamp(1, CONNECTIONS_PER_RING)).max(1)
    }
}

/// Where the generator's connections come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sources {
    /// Source addresses that the generator may use.
    pub addresses: u64,
    /// Target endpoints (address and port) that it spreads over.
    pub targets: u64,
    /// Whether more source addresses cost nothing: all of 127.0.0.0/8 belongs to the host.
    pub loopback: bool,
}

/// What Throng asks of its own sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sockets {
    /// The queue that each listener asks for.
    pub backlog: u64,
    /// How long a client that says nothing is the kernel's business, in seconds.
    pub defer_accept_s: u64,
    /// Bytes of a receive queue, where it is not left to the kernel.
    pub rcvbuf: Option<u64>,
    /// Bytes of a send queue, where it is not left to the kernel.
    pub sndbuf: Option<u64>,
    /// How long data may go unacknowledged, where it is not left to the kernel.
    pub user_timeout_ms: Option<u64>,
}

impl Default for Sockets {
    fn default() -> Sockets {
        Sockets { backlog: SOMAXCONN, defer_accept_s: 1, rcvbuf: None, sndbuf: None, user_timeout_ms: None }
    }
}

/// What a run wants from this machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// Connections at the run's height.
    pub connections: u64,
    /// Connections that are made once more within a minute, because a storm closed them.
    pub reconnects: u64,
    /// Messages per second of all users together, at the most.
    pub rate_per_s: f64,
    /// Bytes of a message.
    pub payload_bytes: u64,
    /// Whether both sides speak TLS.
    pub tls: bool,
    /// How its sockets are set.
    pub sockets: Sockets,
    /// New connections per second, at the steepest.
    pub connect_rate_per_s: f64,
    /// The server, if it runs here.
    pub server: Option<Side>,
    /// The generator, if it runs here, and its sources.
    pub generator: Option<(Side, Sources)>,
}

impl Target {
    /// So many connections that nobody here has an end of, and that carry nothing: to be filled in.
    pub fn of(connections: u64) -> Target {
        Target {
            connections,
            reconnects: 0,
            rate_per_s: 0.0,
            payload_bytes: 0,
            tls: false,
            sockets: Sockets::default(),
            connect_rate_per_s: 0.0,
            server: None,
            generator: None,
        }
    }

    /// The sides that run here.
    pub(crate) fn sides(&self) -> impl Iterator<Item = (&'static str, Side)> {
        let server = self.server.map(|side| ("server", side));
        server.into_iter().chain(self.generator.map(|(side, _)| ("generator", side)))
    }

    /// Whether both sides are here, so that no packet leaves the machine.
    pub fn is_local(&self) -> bool {
        self.server.is_some() && self.generator.is_some()
    }

    /// Whether packets go over loopback.
    pub fn uses_loopback(&self) -> bool {
        self.server.is_some() && self.generator.is_some_and(|(side, _)| side.has_sockets())
    }

    /// Sockets that the run opens here: two per connection when both ends are here, and the kernel's.
    pub fn endpoints(&self) -> u64 {
        self.connections * self.sides().filter(|(_, side)| side.has_sockets()).count() as u64
    }

    /// Rings of both sides, under a limit of `files` open files.
    pub fn rings(&self, files: u64) -> u64 {
        self.sides().map(|(_, side)| side.rings(files)).sum()
    }
}
