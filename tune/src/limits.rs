//! Every figure that the checks calculate with, and where it comes from.

/// Kernel memory of a server's end of an idle TCP connection over epoll: 3.88 KB of socket, inode and file, 232 B of what watches it,
/// and 16 B of a table of descriptors, as runs of a million users report it with a memory cgroup's notes.
pub const KERNEL_BYTES_PER_END_EPOLL: u64 = 4_130;

/// The same over io_uring: 264 B for the armed poll and 40 B for a used direct descriptor instead. Its tables are counted with
/// its rings.
pub const KERNEL_BYTES_PER_END_IO_URING: u64 = 4_180;

/// What a client's end takes more: its port, which is its own at its source address, and at all addresses.
pub const KERNEL_BYTES_PER_PORT: u64 = 120;

/// User-space memory of one idle connection, either side, all in: the budget of both.
pub const USER_BYTES_PER_END: u64 = 128;

/// What TLS adds to that: keys, numbers and their place in a table.
pub const TLS_BYTES_PER_END: u64 = 248;

/// User-space memory that one page of page tables describes, over its bytes: 512 pages of 4 KiB by 4 KiB.
pub const PAGE_TABLE_SHARE: u64 = 512;

/// Memory of one shard or generator thread besides its connections: receive pool, mailbox, histograms, stacks, table of
/// descriptors. Of 53 threads each was seen to take 0.4 MiB.
pub const BYTES_PER_THREAD: u64 = 1 << 20;

/// Connections of one ring, at most, however high the limit on open files is.
pub const CONNECTIONS_PER_RING: u64 = 16_384;

/// Memory of one ring: its two queues, the larger with 4,096 completions. It counts against RLIMIT_MEMLOCK.
pub const BYTES_PER_RING: u64 = 84 << 10;

/// Memory of one place in a ring's table of direct descriptors, used or not.
pub const BYTES_PER_RING_PLACE: u64 = 8;

/// Memory of one entry of the kernel's table of connections.
pub const BYTES_PER_EHASH_ENTRY: u64 = 8;

/// Entries of that table in a lab, at least: half a megabyte, so that TIME_WAIT has room in small runs, too.
pub const EHASH_ENTRIES_MIN: u64 = 1 << 16;

/// Entries that the kernel gives to a namespace, at most.
pub const EHASH_ENTRIES_MAX: u64 = 16 << 20;
const _: () = assert!(EHASH_ENTRIES_MIN.is_power_of_two() && EHASH_ENTRIES_MAX.is_power_of_two());

/// The port range of a lab: above the ports that services listen on, up to the last one. Its ends differ in parity, as the
/// kernel likes it.
pub const LAB_PORT_RANGE: (u16, u16) = (10_000, 65_535);

/// The accept queue that listeners ask for: two thirds of a second at 100,000 connects per second.
pub const SOMAXCONN: u64 = 65_535;

/// Memory that a run leaves to everybody else, at least.
pub const MEMORY_RESERVE_BYTES: u64 = 512 << 20;

/// Memory that a run leaves to everybody else, as a divisor of the whole: a twentieth.
pub const MEMORY_RESERVE_DIVISOR: u64 = 20;

/// Descriptors that a table needs for other things than connections, besides one eventfd for each table of the
/// process: standard streams, listener, ring, timer, log.
pub const FILES_RESERVED_PER_TABLE: u64 = 64;

/// SO_REUSEPORT spreads by a hash: the fullest of the tables gets some more than its share.
pub const TABLE_HEADROOM: f64 = 1.05;

/// Shards, or generator threads, that one process may have. 264 threads were measured, and a message between threads
/// costs twice as much there as with 2; each further one costs every table an eventfd.
pub const THREADS_MAX: u64 = 4_096;

/// Threads of a run besides shards and workers: main threads, and those for signals, stdin and the admin socket.
pub const THREADS_BESIDES: u64 = 16;

/// Connections from one source address to one target port on loopback, at most. connect() takes 12 us while less than half of the
/// port range is in use, and a hundred times as long beyond.
pub const CONNECTIONS_PER_SOURCE: u64 = 8_000;

/// The share of the port range that connects stay fast in: connect() walks one half (the even ports) first.
pub const PORT_RANGE_SHARE: u64 = 2;

/// Longest time that a shard is expected not to accept, in milliseconds; what arrives meanwhile waits in the backlog.
pub const ACCEPT_STALL_MS: u64 = 100;

/// Sockets per bucket of the kernel's table of connections, at most, where nothing is to be lost.
pub const SOCKETS_PER_BUCKET: f64 = 2.0;

/// The same beyond which throughput is 4 % less and worse (kernel commit d1e5e6408b30).
pub const SOCKETS_PER_CROWDED_BUCKET: f64 = 16.0;

/// The kernel's own backlog of packets per core: it overflows when thousands send at once, which is rare.
pub const BACKLOG_MIN: u64 = 1_000;

/// The per-core backlog that was seen to be enough on loopback.
pub const LOOPBACK_BACKLOG: u64 = 16_384;

/// Memory mappings of a ring: its queues, its entries, its buffers.
pub const MAPS_PER_RING: u64 = 3;

/// Memory mappings of a thread: its stack and the guard below, and what its allocations take.
pub const MAPS_PER_THREAD: u64 = 6;

/// Memory mappings of a process before it has either.
pub const MAPS_RESERVED: u64 = 1_000;

/// From here on a table of descriptors may be full before the others are, since connections are spread by a hash.
pub const CROWDED_TABLE_SHARE: f64 = 0.9;

/// The divisor for connections that may be closed and unacknowledged at once.
pub const ORPHANS_SHARE: u64 = 10;

/// What the protocol and TCP put around a message.
pub const FRAME_OVERHEAD_BYTES: u64 = 64;

/// How many bytes of a queue the kernel counts for one of a message: a packet's buffer is a power of two.
pub const SKB_SHARE: u64 = 2;

/// Connections from which on what each may hold adds up to the machine's memory.
pub const MANY_CONNECTIONS: u64 = 100_000;

/// What one slow reader may hold in the kernel.
pub const SLOW_READER_BYTES: u64 = 256 << 10;

/// Microseconds that somebody waits for memory during a run before it is said to be short.
pub const MEMORY_WAIT_US: u64 = 100_000;

/// Bytes of a page.
pub const PAGE_BYTES: u64 = 4_096;

/// Packets that a core takes in one go, at least: the kernel's default.
pub const BUDGET_MIN: u64 = 300;

/// Microseconds for them, at least: two of the kernel's ticks.
pub const BUDGET_USECS_MIN: u64 = 2_000;

/// Messages that a queue should be able to hold.
pub const MESSAGES_QUEUED: u64 = 4;
