//! What is asked of the machine.

/// One process of the run on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// Threads that have a table of descriptors each, and share the connections.
    pub tables: u64,
    /// Connections of the fullest of them.
    pub fullest: u64,
    /// Whether an epoll set watches each connection (fs.epoll.max_user_watches counts those alone).
    pub epoll: bool,
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

/// What a run wants from this machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// Connections at the run's height.
    pub connections: u64,
    /// New connections per second, at the steepest.
    pub connect_rate_per_s: f64,
    /// The server, if it runs here.
    pub server: Option<Side>,
    /// The generator, if it runs here, and its sources.
    pub generator: Option<(Side, Sources)>,
}

impl Target {
    /// The sides that run here.
    pub(crate) fn sides(&self) -> impl Iterator<Item = (&'static str, Side)> {
        let server = self.server.map(|side| ("server", side));
        server.into_iter().chain(self.generator.map(|(side, _)| ("generator", side)))
    }

    /// Sockets that the run opens here: two per connection when both ends are here.
    pub fn endpoints(&self) -> u64 {
        self.connections * self.sides().count() as u64
    }
}
