//! Every bound of this crate, with its reason.

use std::time::Duration;

/// Events of one batch, at most: enough to fill the largest wait that io_uring completes in one pass (512) twice over,
/// small enough that a batch stays in the cache.
pub const BATCH_EVENTS: usize = 1024;

/// Buffers that one connection may fill per turn before the others get theirs.
pub const READS_PER_TURN: u32 = 4;

/// Connections accepted per listener and turn: a storm of logins must not stop those who are in.
pub const ACCEPTS_PER_TURN: u32 = 64;

/// Default bytes of one receive buffer: about 30 messages of 100 bytes in one system call.
pub const RECV_BUFFER_BYTES: u32 = 4096;

/// Default buffers in a pool: 2 MiB per reactor, half of [`BATCH_EVENTS`], since a batch is mostly not only data.
pub const RECV_BUFFERS: u16 = 512;
const _: () = assert!(RECV_BUFFERS.is_power_of_two(), "a buffer ring counts with a mask");

/// Default of connections per reactor: what an index can name.
pub const CONNECTIONS_MAX: usize = 1 << crate::slot::INDEX_BITS;

/// Backlog asked for with listen(2); the kernel cuts it to net.core.somaxconn.
pub const LISTEN_BACKLOG: i32 = 65_535;

/// Longest pause of accepting before it is tried again, when no connection of our own was closed meanwhile.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(100);
