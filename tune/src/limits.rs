//! Every figure that the checks calculate with, and where it comes from.

/// Kernel memory of one end of an idle TCP connection: 3.8 KB of sockets, inodes, files, plus what watches it.
/// Measured over 10 million sockets; nothing published is below 3.0 KB.
pub const KERNEL_BYTES_PER_END: u64 = 4_100;

/// User-space memory of one idle connection, either side: the budget of both is 128 B, and what grows by doubling
/// may stand half empty.
pub const USER_BYTES_PER_END: u64 = 256;

/// Memory of one shard or generator thread before its first connection: receive pool, mailbox, histograms, stack.
pub const BYTES_PER_TABLE: u64 = 6 << 20;

/// Memory that a run leaves to everybody else, at least.
pub const MEMORY_RESERVE_BYTES: u64 = 512 << 20;

/// Memory that a run leaves to everybody else, as a divisor of the whole: a twentieth.
pub const MEMORY_RESERVE_DIVISOR: u64 = 20;

/// Descriptors that a table needs for other things than connections, besides one eventfd for each table of the
/// process: standard streams, listener, ring, timer, log.
pub const FILES_RESERVED_PER_TABLE: u64 = 64;

/// SO_REUSEPORT spreads by a hash: the fullest of the tables gets some more than its share.
pub const TABLE_HEADROOM: f64 = 1.05;

/// Tables that one process may have. Each is a thread; 264 of them were measured, and a message between threads costs
/// twice as much there as with 2.
pub const TABLES_MAX: u64 = 1_024;

/// Connections from one source address to one target port on loopback, at most. connect() takes 12 us while less than half of the
/// port range is in use, and a hundred times as long beyond.
pub const CONNECTIONS_PER_SOURCE: u64 = 8_000;

/// The share of the port range that connects stay fast in: connect() walks one half (the even ports) first.
pub const PORT_RANGE_SHARE: u64 = 2;

/// Longest time that a shard is expected not to accept, in milliseconds; what arrives meanwhile waits in the backlog.
pub const ACCEPT_STALL_MS: u64 = 100;

/// Sockets per bucket of the kernel's table of connections beyond which lookups slow down measurably.
pub const SOCKETS_PER_HASH_BUCKET: u64 = 2;

/// Connections on loopback from which a default backlog of 1,000 packets per core was seen to overflow.
pub const LOOPBACK_BACKLOG_MATTERS_CONNECTIONS: u64 = 10_000;

/// The per-core backlog that was seen to be enough on loopback.
pub const LOOPBACK_BACKLOG: u64 = 16_384;
