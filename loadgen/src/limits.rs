//! Every bound of this crate, with its reason.

use std::time::Duration;

/// Lanes of a small plan. Workers share lanes out among themselves, so a plan has at least as many as a machine has cores to
/// spare, and few enough that merging them costs nothing.
pub const LANES_MIN: u32 = 64;
/// Lanes of the largest plans.
pub const LANES_MAX: u32 = 4096;
/// Pairs of users per lane, about, between those bounds: with 19,000 connections per thread (a table of 20,000
/// descriptors) a thread then has nine lanes or more, and the fullest thread at most an eighth more than the average.
pub const LANE_PAIRS: u64 = 1024;

/// Users of one plan. A worker numbers its users with 32 bits.
pub const CONNECTIONS_MAX: u64 = 1 << 30;

/// Messages per second of one user. With 64 messages outstanding it leaves each 640 us for its way to the recipient
/// and the answer.
pub const USER_RATE_PER_S_MAX: f64 = 100_000.0;

/// Messages of one sender in one run: ids are kept in 32 bits.
pub const USER_MESSAGES_MAX: f64 = (u32::MAX / 2) as f64;

/// Messages of one user that have no outcome yet: what the protocol allows, and what a 64-bit map can tell apart.
pub const OUTSTANDING_MAX: u32 = throng_wire::limits::OUTSTANDING_MAX as u32;
const _: () = assert!(OUTSTANDING_MAX <= u64::BITS);

/// Messages that are due and wait in one worker, all users together: 64 MiB at the most, and none of it is touched
/// while the server keeps up. What is beyond it was attempted and counts as unsent, which fails the run.
pub const WAITING_MAX: usize = 1 << 22;

/// How late a message may still be attempted after the plan's end. It covers a machine that stood still for a moment; who
/// is later than that cannot keep up, and counts the rest as missed.
pub const LATE_ATTEMPTS: Duration = Duration::from_secs(1);

/// Messages picked from the schedule between two looks at the sockets.
pub const PICKS_PER_TURN: u32 = 256;
/// Connections begun between two looks at the sockets.
pub const CONNECTS_PER_TURN: u32 = 64;
/// Messages counted as missed between two looks at the sockets.
pub const MISSES_PER_TURN: u32 = 16 * PICKS_PER_TURN;
/// Heartbeats sent between two looks at the sockets.
pub const HEARTBEATS_PER_TURN: u32 = 256;
/// Heartbeats that come due are sent together once in such a time. Nobody measures when they leave, and a wake for each of ten
/// thousand a second costs more than they do.
pub const HEARTBEAT_TICK: Duration = Duration::from_millis(2);
/// Connections closed between two looks at the sockets.
pub const CLOSES_PER_TURN: u32 = 1024;

/// Default of connections that are begun and not yet logged in, all workers together. A server's backlog holds 4,096 where
/// net.core.somaxconn is the kernel's default.
pub const CONNECTS_IN_FLIGHT: u32 = 1024;

/// Connections per second of a ramp that says nothing else, at least ...
pub const CONNECT_RATE_PER_S: f64 = 10_000.0;
/// ... and in how many seconds it brings everybody, at most: nobody wants to wait minutes for a million users. Who asks for
/// more than the machine can is held back by [`CONNECTS_IN_FLIGHT`], and the report says so.
pub const RAMP_S_MAX: f64 = 20.0;

/// How long a connection may take to be logged in: three repeats of a lost SYN (after 1, 3 and 7 s), and some.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Attempts of one user in a storm, at most: a user counts them in a byte.
pub const ATTEMPTS_MAX: u32 = u8::MAX as u32;

/// The shortest back-off of a storm: users who try again at once would keep their generator busy with failing.
pub const STORM_BACKOFF_MIN: Duration = Duration::from_millis(1);

/// How long every attempt may have failed while nobody is connected before the run is ended: a server that is gone refuses at
/// once, and one that is there lets somebody in.
pub const REFUSED_LIMIT: Duration = Duration::from_secs(3);

/// How long every attempt may have timed out before the run is ended, others being connected or not: with
/// [`CONNECT_TIMEOUT`] before the first of them, a server that hangs is given up after 20 s.
pub const HANGING_LIMIT: Duration = Duration::from_secs(5);

/// The same, of both, in a storm: its users come back for longer, since a server that was pushed over may get up again.
pub const STORM_LIMIT: Duration = Duration::from_secs(20);

/// From the moment at which all workers are ready to the first planned instant, so that all of them have seen it.
pub const GATE_LEAD: Duration = Duration::from_millis(5);

/// The longest wait of a worker: how soon it sees an interrupt or a gate that opened, even if nobody wakes it.
pub const WAIT_MAX: Duration = Duration::from_millis(50);

/// How long a run drains by default.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// Empty send buffers that a worker keeps for reuse, at most ...
pub const SPARE_BUFFERS_MAX: usize = 4096;
/// ... and of so many bytes together, so that a burst of messages does not stay in memory.
pub const SPARE_BYTES_MAX: usize = 1 << 20;
/// Bytes of a buffer for the beginning of a frame that is worth keeping.
pub const SPARE_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Ids of missing messages that a worker keeps. Beyond it, losses are counted and not named.
pub const MISSING_MAX: usize = 1024;

/// Connections per source address and target. Up to here connect() finds a port at once; with 19,000 it took twenty times
/// as long (it walks one half of the port range first).
pub const CONNECTIONS_PER_SOURCE: u32 = 8000;

/// Connections of one ring of an io-uring worker, when counting the descriptors that its rings take: what a ring holds where the
/// limit on open files allows it.
pub const RING_CONNECTIONS: u64 = throng_reactor::limits::TABLE_MAX as u64;

/// Descriptors of a worker that are not connections: wakers, ring, timer, logs.
pub const RESERVED_FILES: u64 = 64;

/// The shortest time of which it is told how much of it a thread was busy: the kernel accounts in ticks of up to 10 ms.
pub const SHARE_WINDOW_MIN: Duration = Duration::from_millis(100);

/// Turns with something to do before a step of a handshake (TLS), at most. One takes some 100 us, for so long messages wait.
pub const BUSY_TURNS_MAX: u32 = 4;

/// Bytes that a server may say before a handshake is over: the longest message of one, and what may follow it in the same bytes.
pub const HANDSHAKE_BYTES_MAX: usize = 256 * 1024;

/// Closings under way per worker, at most. A socket's takes no time, and one in user space three packets each way.
pub const CLOSES_IN_FLIGHT: u32 = 4096;

/// Bytes of the largest packet of a user in user space: Ethernet's, as phones have it.
pub const TUN_MTU: u16 = 1500;

/// Packets that wait in a device's queue for its thread. A storm answers each of the connections under way with a packet or two;
/// the kernel drops what comes beyond, and counts it. It costs 8 bytes each.
pub const TUN_QUEUE: u32 = 32_768;
const _: () = assert!(TUN_QUEUE >= 2 * CONNECTS_IN_FLIGHT);
