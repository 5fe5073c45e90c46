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

/// Default buffers in a pool: 2 MiB per reactor, half of [`BATCH_EVENTS`], since a batch is mostly not only data. Those that
/// were never needed at once are never touched.
pub const RECV_BUFFERS: u16 = 512;

/// Receive buffers of each of `reactors` in one process: [`RECV_BUFFERS`] of up to four and fewer of more, so that all together
/// take 8 MiB up to 64 of them. A buffer that was used once stays resident, and a storm uses every one. 32 are a few turns of sparse traffic, and who is out of buffers only takes one turn more.
pub const fn recv_buffers(reactors: usize) -> u16 {
    let mut buffers = RECV_BUFFERS;
    while buffers > 32 && buffers as usize * reactors > 4 * RECV_BUFFERS as usize {
        buffers /= 2;
    }
    buffers
}
const _: () = assert!(recv_buffers(1) == 512 && recv_buffers(4) == 512 && recv_buffers(5) == 256);
const _: () = assert!(recv_buffers(53) == 32 && recv_buffers(4096) == 32);

/// Default of direct descriptors in one ring's table: 128 buckets of the kernel's table of polls then hold 128 each, so cancelling
/// one stays cheap; the ring's own memory is 5 bytes per connection; and the kernel's table is 128 KiB, a power of two like every
/// large allocation of its, so that nothing of it is lost.
pub const TABLE_MAX: u16 = 1 << 14;

/// Default of connections per reactor: what an index can name.
pub const CONNECTIONS_MAX: usize = 1 << crate::slot::INDEX_BITS;

/// Backlog asked for with listen(2); the kernel cuts it to net.core.somaxconn.
pub const LISTEN_BACKLOG: u32 = 65_535;

/// Longest pause of accepting before it is tried again, when no connection of our own was closed meanwhile.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(100);
