//! How many threads and how much memory a number of connections takes.

use crate::limits::{
    BYTES_PER_RING, BYTES_PER_RING_PLACE, BYTES_PER_THREAD, CONNECTIONS_PER_RING, FILES_RESERVED_PER_TABLE,
    FRAME_OVERHEAD_BYTES, KERNEL_BYTES_PER_END_EPOLL, KERNEL_BYTES_PER_END_IO_URING, KERNEL_BYTES_PER_PORT,
    MEMORY_RESERVE_BYTES, MEMORY_RESERVE_DIVISOR, PAGE_BYTES, PAGE_TABLE_SHARE, TABLE_HEADROOM, THREADS_MAX,
    TLS_BYTES_PER_END, USER_BYTES_PER_END,
};
use crate::target::{Backend, Target};

/// Connections that one of `tables` tables has descriptors for, when each may hold `files`.
fn connections_per_table(tables: u64, files: u64) -> u64 {
    files.saturating_sub(FILES_RESERVED_PER_TABLE + tables)
}

/// Connections that `tables` tables of `files` descriptors each hold when SO_REUSEPORT shares them out.
pub(crate) fn connections_of_tables(tables: u64, files: u64) -> u64 {
    (tables.saturating_mul(connections_per_table(tables, files)) as f64 / TABLE_HEADROOM) as u64
}

/// The smallest number of tables of `files` descriptors each that holds `connections`, and at least `cores`. With the
/// `epoll` backend a table is a thread.
///
/// `None`: no number of tables up to [`THREADS_MAX`] does (every further table also costs each of the others an
/// eventfd).
pub fn tables_needed(connections: u64, cores: u64, files: u64) -> Option<u64> {
    let wanted = connections as f64 * TABLE_HEADROOM;
    (cores.max(1)..=THREADS_MAX.max(cores))
        .find(|&tables| (tables * connections_per_table(tables, files)) as f64 >= wanted)
}

/// Connections of the fullest of `threads` threads that share by SO_REUSEPORT.
pub fn fullest_thread(connections: u64, threads: u64) -> u64 {
    match threads {
        0 | 1 => connections,
        threads => (connections as f64 * TABLE_HEADROOM / threads as f64).ceil() as u64,
    }
}

/// The memory that a run takes on this machine, by part, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Of the kernel: sockets, and what watches them.
    pub kernel: u64,
    /// Of the processes, for each of their connections.
    pub user: u64,
    /// Page tables of the latter.
    pub page_tables: u64,
    /// Rings, with their tables of direct descriptors.
    pub rings: u64,
    /// Threads, before their first connection.
    pub threads: u64,
    /// Of the kernel: messages on their way, when the server stands still for a second.
    pub queues: u64,
}

/// Queues that hold something when the server stands still for a second, one for each message of it on its way in and one on its
/// way out; and the pages that they take: one each, and one for every 4 KiB that they hold.
pub(crate) fn queues(target: &Target) -> (u64, u64) {
    let busy = ((2.0 * target.rate_per_s).ceil() as u64).min(target.endpoints());
    let bytes = target.payload_bytes + FRAME_OVERHEAD_BYTES;
    (busy, busy + busy.saturating_mul(bytes).div_ceil(PAGE_BYTES))
}

impl Memory {
    /// What `target` takes under a limit of `files` open files.
    pub fn of(target: &Target, files: u64) -> Memory {
        let mut memory = Memory::default();
        for (name, side) in target.sides() {
            let (per_end, rings) = match side.backend {
                Backend::Epoll => (KERNEL_BYTES_PER_END_EPOLL, 0),
                Backend::IoUring => (KERNEL_BYTES_PER_END_IO_URING, side.rings(files)),
                Backend::UserSpace => (0, 0),
            };
            let port = if name == "generator" && side.has_sockets() { KERNEL_BYTES_PER_PORT } else { 0 };
            memory.kernel += target.connections * (per_end + port);
            let tls = if target.tls { TLS_BYTES_PER_END } else { 0 };
            memory.user += target.connections * (USER_BYTES_PER_END + tls);
            memory.rings += rings * (BYTES_PER_RING + files.min(CONNECTIONS_PER_RING) * BYTES_PER_RING_PLACE);
            memory.threads += side.threads * BYTES_PER_THREAD;
        }
        memory.page_tables = memory.user / PAGE_TABLE_SHARE;
        memory.queues = queues(target).1.saturating_mul(PAGE_BYTES);
        memory
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.kernel + self.user + self.page_tables + self.rings + self.threads + self.queues
    }
}

/// What a run leaves to everybody else on a machine with `total` bytes of memory.
pub fn reserve_bytes(total: u64) -> u64 {
    MEMORY_RESERVE_BYTES.max(total / MEMORY_RESERVE_DIVISOR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{Side, Sources};

    #[test]
    fn a_few_connections_take_one_table_per_core() {
        assert_eq!(tables_needed(1_000, 2, 20_000), Some(2));
        assert_eq!(tables_needed(0, 0, 20_000), Some(1));
    }

    #[test]
    fn a_million_connections_under_a_limit_of_20_000_take_tens_of_tables() {
        let tables = tables_needed(1_000_000, 2, 20_000).unwrap();
        assert!(tables * connections_per_table(tables, 20_000) >= 1_050_000);
        assert!((tables - 1) * connections_per_table(tables - 1, 20_000) < 1_050_000);
        assert_eq!(tables, 53);
        assert!(fullest_thread(1_000_000, tables) <= connections_per_table(tables, 20_000));
        assert!(connections_of_tables(tables, 20_000) >= 1_000_000);
        assert!(connections_of_tables(tables - 1, 20_000) < 1_000_000);
    }

    #[test]
    fn eventfds_of_the_other_tables_can_use_up_a_small_limit() {
        assert_eq!(tables_needed(1_000_000, 2, 1_024), None);
        assert_eq!(tables_needed(1, 1, 64), None);
    }

    #[test]
    fn rings_follow_the_connections_of_a_thread_and_the_limit() {
        let side = |fullest| Side { threads: 2, fullest, backend: Backend::IoUring };
        assert_eq!(side(0).rings(20_000), 2);
        assert_eq!(side(16_384).rings(20_000), 2);
        assert_eq!(side(16_385).rings(20_000), 4);
        assert_eq!(side(10_001).rings(10_000), 4);
        assert_eq!(side(1_000_000).rings(1 << 20), 124, "a ring has at most 16,384 places");
        assert_eq!(Side { backend: Backend::Epoll, ..side(1_000_000) }.rings(20_000), 0);
    }

    #[test]
    fn users_in_user_space_take_no_memory_of_the_kernels() {
        let side = |backend| Side { threads: 1, fullest: 5_000_000, backend };
        let from = Sources { addresses: 1, targets: 1, loopback: true };
        let target = Target {
            server: Some(side(Backend::IoUring)),
            generator: Some((side(Backend::UserSpace), from)),
            ..Target::of(5_000_000)
        };
        let memory = Memory::of(&target, 20_000);
        assert_eq!((memory.kernel, memory.user), (20_900_000_000, 1_280_000_000));
        assert_eq!((target.endpoints(), target.rings(20_000)), (5_000_000, 306));
    }

    #[test]
    fn with_tls_each_end_has_its_keys_in_user_space() {
        let side = Side { threads: 1, fullest: 1_000, backend: Backend::UserSpace };
        let plain = Target { server: Some(side), ..Target::of(1_000) };
        let [plain, secure] =
            [plain, Target { tls: true, ..plain }].map(|target| Memory::of(&target, 20_000));
        assert_eq!((plain.user, secure.user), (128_000, 376_000));
        assert_eq!(plain.kernel, secure.kernel);
    }

    #[test]
    fn a_message_that_waits_takes_a_page_and_its_bytes_and_no_more_than_there_are_sockets() {
        let side = Side { threads: 1, fullest: 1_000, backend: Backend::Epoll };
        let target = |rate_per_s, payload_bytes| Target {
            server: Some(side),
            rate_per_s,
            payload_bytes,
            ..Target::of(1_000)
        };
        assert_eq!(queues(&target(100.0, 100)), (200, 200 + 9), "200 times 164 bytes are 8.01 pages");
        assert_eq!(queues(&target(100.0, 4_032)), (200, 400));
        assert_eq!(queues(&target(1e9, 4_032)), (1_000, 2_000));
        assert_eq!(Memory::of(&target(100.0, 4_032), 20_000).queues, 400 * 4_096);
    }

    #[test]
    fn two_and_a_half_million_connections_with_both_ends_take_22_gb() {
        let from = Sources { addresses: 313, targets: 1, loopback: true };
        let memory = |threads, backend| {
            let side = Side { threads, fullest: fullest_thread(2_500_000, threads), backend };
            let target =
                Target { server: Some(side), generator: Some((side, from)), ..Target::of(2_500_000) };
            Memory::of(&target, 20_000)
        };
        let uring = memory(1, Backend::IoUring);
        assert_eq!((uring.kernel, uring.user), (21_200_000_000, 640_000_000));
        // 153 rings a side, with 16,384 places each.
        assert_eq!(uring.rings, 306 * (84 * 1024 + 128 * 1024));
        let epoll = memory(133, Backend::Epoll);
        assert_eq!((epoll.kernel, epoll.threads), (20_950_000_000, 266 << 20));
        for memory in [uring, epoll] {
            assert!((21_800_000_000..22_000_000_000).contains(&memory.total()), "{memory:?}");
        }
    }
}
