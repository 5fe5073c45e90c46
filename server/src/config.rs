//! What a server is started with.

use std::net::SocketAddr;
use std::time::Duration;

use throng_reactor::{Backend, SocketOptions};
use throng_wire::tls::Setup;

use crate::limits;

/// A server's settings. Every duration and count has its reason in [`limits`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses to listen on; a port of 0 lets the kernel choose one, the same for all shards.
    pub listen: Vec<SocketAddr>,
    /// The same, for clients that speak TLS.
    pub listen_tls: Vec<SocketAddr>,
    /// The certificate for them, and how they are met.
    pub tls: Option<Setup>,
    /// See [`limits::HANDSHAKES_MAX`].
    pub handshakes_max: usize,
    /// The backend of every shard.
    pub backend: Backend,
    /// Shards, each a thread with a listener, sessions and a table of descriptors of its own.
    pub shards: usize,
    /// Cores for the shards: shard i runs on core `cpus[i % cpus.len()]`. Empty: wherever the kernel likes.
    pub cpus: Vec<usize>,
    /// Connections that one shard holds. A full one is offered no more; when all are full, clients are refused.
    pub connections_max: usize,
    /// See [`limits::LOGINS_MAX`].
    pub logins_max: usize,
    /// How its sockets are set; on what silent clients wait for, see [`limits::DEFER_ACCEPT`].
    pub sockets: SocketOptions,
    /// See [`limits::LOGIN_TIMEOUT`].
    pub login_timeout: Duration,
    /// See [`limits::IDLE_TIMEOUT`].
    pub idle_timeout: Duration,
    /// See [`limits::OUTBOX_BYTES_MAX`].
    pub outbox_bytes_max: usize,
    /// See [`limits::SIDE_BYTES_MAX`].
    pub side_bytes_max: usize,
    /// See [`limits::PARKED_BYTES_MAX`].
    pub parked_bytes_max: usize,
    /// See [`limits::LINGER`].
    pub linger: Duration,
    /// Makes every shard sleep this long per turn: a slow server on purpose, for trials of what measures it.
    pub delay_per_turn: Duration,
    /// Makes every shard compute this long per message that it takes: a server that costs more, for trials of what compares them.
    pub work_per_message: Duration,
    /// Seeds the directory's hash, so that nobody can choose users that collide.
    pub seed: u64,
    /// Upper half of every delivery sequence: must grow from one start of the server to the next.
    pub epoch: u32,
}

impl Config {
    /// Whether clients of this listener speak TLS: those of `listen` come first.
    pub(crate) fn speaks_tls(&self, listener: u16) -> bool {
        let place = usize::from(listener).checked_sub(self.listen.len());
        place.is_some_and(|place| place < self.listen_tls.len())
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: Vec::new(),
            listen_tls: Vec::new(),
            tls: None,
            handshakes_max: limits::HANDSHAKES_MAX,
            backend: Backend::Epoll,
            shards: 1,
            cpus: Vec::new(),
            connections_max: throng_reactor::limits::CONNECTIONS_MAX,
            logins_max: limits::LOGINS_MAX,
            sockets: SocketOptions { defer_accept: limits::DEFER_ACCEPT, ..SocketOptions::default() },
            login_timeout: limits::LOGIN_TIMEOUT,
            idle_timeout: limits::IDLE_TIMEOUT,
            outbox_bytes_max: limits::OUTBOX_BYTES_MAX,
            side_bytes_max: limits::SIDE_BYTES_MAX,
            parked_bytes_max: limits::PARKED_BYTES_MAX,
            linger: limits::LINGER,
            delay_per_turn: Duration::ZERO,
            work_per_message: Duration::ZERO,
            seed: 0,
            epoch: 1,
        }
    }
}
