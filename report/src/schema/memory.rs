//! The memory part of the schema: what connections occupy, on each side and in the kernel.
//!
//! Everything is looked at twice, and the difference is what the connections cost:
//!
//! ```text
//!  process starts ── rings, pools, threads ── users connect ── all are held ── roll call ── leave
//!   `baseline`                                                  `held`
//! ```
//!
//! - *User space* is anonymous memory (heap, stacks, pools, the allocator's slack) and the rings shared with the kernel,
//!   all in: the baseline is a process that has started and has neither a ring nor a pool yet. Its budget is 128 B per
//!   connection on either side. The program's own text is not counted: it does not grow. Page tables are listed apart.
//! - *Kernel* is counted in objects of its slab caches, times what an object takes in its slab with the waste there. It
//!   is told per *end* of a connection: where both sides run on one machine, a connection has two.
//!   - `socket` is what every TCP connection costs, whoever watches it: socket, inode, file, directory entry, the blobs of
//!     security modules, and the bind buckets of the client's port (one per source address and port, so half of one per end
//!     where both ends are here). Ports that an earlier run left in TIME_WAIT have their buckets already, so they are not
//!     counted again.
//!   - `watching` is beyond the socket: what exists for each connection because somebody waits for it, such as a poll
//!     armed in io_uring or a registration with epoll. The general caches (`kmalloc-*`) count here, less the cgroup's
//!     notes. So do the tables of descriptors (of threads and of rings) and the kernel's stacks of
//!     threads, which are in no cache (`tables_bytes_per_end`).
//!   - `cgroup` is what a memory cgroup notes about the objects of both, 8 bytes for each: who pays for it. It is there only where
//!     the run is in such a cgroup, so it counts in what a connection takes, and in neither of the other two.
//!   - `other` grew at the same time and does not belong to connections, such as the caches of a file system. It counts
//!     in no sum.
//!   - The caches are the whole machine's. Below 4,000 ends too little grows to tell it from everything else, and where the
//!     machine's TCP sockets became more by another number than this run holds (5 % apart), somebody else's came or went
//!     meanwhile: `null`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the bytes of the connections are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Memory {
    /// Connections that were held at the look that this is about.
    pub connections: u64,
    /// The server; `None` when its memory is not known.
    pub server: Option<ProcessMemory>,
    /// The generator.
    pub generator: Option<ProcessMemory>,
    /// The kernel.
    pub kernel: KernelMemory,
    /// The machine that the generator runs on.
    pub machine: MachineMemory,
}

/// One side's process, before connections and with them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProcessMemory {
    /// A process that has started and has no ring, no pool and no connection; of a server that is not a Throng: just before
    /// the first connection.
    pub baseline: Footprint,
    /// While all connections were held.
    pub held: Footprint,
    /// Growth per connection: `user`, `allocated`, `rings`, `page_tables`; what is not known, or not per connection because
    /// there are none, is left out.
    pub bytes_per_connection: BTreeMap<String, f64>,
}

/// A process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Footprint {
    /// Anonymous memory and rings: user space, all in.
    pub user_bytes: Option<u64>,
    /// What the allocator had handed out, its overhead per block included.
    pub allocated_bytes: Option<u64>,
    /// Resident memory, shared text included (Rss of /proc/PID/smaps).
    pub resident_bytes: Option<u64>,
    /// Resident memory that this process has for itself (Private_Clean and Private_Dirty).
    pub private_bytes: Option<u64>,
    /// Resident anonymous memory: heap, stacks, pools.
    pub anonymous_bytes: Option<u64>,
    /// Rings of io_uring, mapped and always present.
    pub ring_bytes: Option<u64>,
    /// Page tables (VmPTE of /proc/PID/status): the kernel's, and not in `user_bytes`.
    pub page_table_bytes: Option<u64>,
    /// Page faults since the process began that found their page in memory.
    pub minor_faults: Option<u64>,
    /// Page faults since the process began that waited for a disk.
    pub major_faults: Option<u64>,
}

/// The kernel's memory for connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct KernelMemory {
    /// Ends of connections on this machine that the figures per end are about; `None` when the slab caches could not be
    /// read, too few were held, or sockets of somebody else came or went meanwhile.
    pub ends: Option<u64>,
    /// Slab caches that grew, the largest first.
    pub slab: Vec<SlabGrowth>,
    /// Tables of descriptors, per end: what grew in allocations too large for a slab cache, and in the stacks of threads. Of the
    /// whole machine.
    pub tables_bytes_per_end: Option<f64>,
    /// Growth outside slab caches, in bytes: `large_allocation_bytes` (tables too large for a cache, such as those of
    /// descriptors), `percpu_bytes`, `kernel_stack_bytes`, `vmalloc_bytes`, `page_table_bytes`, `sec_page_table_bytes`
    /// (all of /proc/meminfo, the whole machine's), `tcp_queue_bytes` (data in the queues of TCP sockets, of this network
    /// namespace).
    pub other: BTreeMap<String, i64>,
}

/// One slab cache from before the connections to while they were held.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SlabGrowth {
    /// Its name. A cache that the kernel merged with others of the same size stands under the name of what grew in it.
    pub cache: String,
    /// `socket`, `watching`, `cgroup` or `other`; see the module.
    pub group: String,
    /// Objects that were added.
    pub objects: i64,
    /// What those take in their slabs, waste included.
    pub bytes: i64,
    /// `bytes` per end of a connection.
    pub bytes_per_end: f64,
}

/// Memory that could be had on the machine that the generator runs on: MemAvailable, or what the tightest memory cgroup has
/// left, whichever is less; without reclaimable slab that came with the run, since sockets hold it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MachineMemory {
    /// Before the first connection.
    pub available_bytes_before: Option<u64>,
    /// While all connections were held.
    pub available_bytes_held: Option<u64>,
    /// After the last connection was closed.
    pub available_bytes_after: Option<u64>,
    /// The least that was seen while the run lasted, at ten looks a second.
    pub available_bytes_lowest: Option<u64>,
    /// What the memory guard kept free.
    pub reserve_bytes: Option<u64>,
}
