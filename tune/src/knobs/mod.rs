//! Every knob that Throng knows, by what it decides.

mod buffers;
mod ends;
mod files;
mod hardware;
mod listen;
mod memory;
mod packets;
mod ports;
mod tables;
mod tcp;

use crate::knob::Knob;

pub(crate) use tables::CONNTRACK_COUNT;
pub(crate) use tcp::ALLOWED_CONGESTION;

/// All of them, in the order in which a connection meets them.
pub static KNOBS: [&Knob; 61] = [
    &files::NOFILE,
    &files::NR_OPEN,
    &files::FILE_MAX,
    &files::WATCHES,
    &files::MAP_COUNT,
    &files::MEMLOCK,
    &files::THREADS,
    &memory::AVAILABLE,
    &memory::CGROUP,
    &memory::MIN_FREE,
    &memory::HUGE_PAGES,
    &memory::SWAP,
    &ports::RANGE,
    &ports::RESERVED,
    &ports::BIND_NO_PORT,
    &ports::TW_REUSE,
    &listen::SOMAXCONN_KNOB,
    &listen::BACKLOG,
    &listen::SYN_BACKLOG,
    &listen::SYNCOOKIES,
    &listen::REUSEPORT,
    &listen::DEFER_ACCEPT,
    &listen::SYN_RETRIES,
    &listen::SYNACK_RETRIES,
    &listen::MIGRATE_REQ,
    &tables::EHASH,
    &tables::CONNTRACK,
    &tables::CONNTRACK_BUCKETS,
    &tables::NEIGHBOURS,
    &packets::BACKLOG,
    &packets::BUDGET,
    &packets::BUDGET_USECS,
    &packets::RSS,
    &packets::IRQ,
    &packets::RPS,
    &packets::XPS,
    &packets::RING,
    &packets::BUSY_POLL,
    &packets::BUSY_READ,
    &buffers::TCP_MEM,
    &buffers::RMEM,
    &buffers::WMEM,
    &buffers::RMEM_MAX,
    &buffers::WMEM_MAX,
    &buffers::SO_RCVBUF,
    &buffers::SO_SNDBUF,
    &buffers::NOTSENT_LOWAT,
    &tcp::CONGESTION,
    &tcp::QDISC,
    &tcp::SLOW_START,
    &tcp::KEEPALIVE,
    &tcp::RETRIES2,
    &tcp::USER_TIMEOUT,
    &tcp::NODELAY,
    &ends::TW_BUCKETS,
    &ends::ORPHANS,
    &ends::FIN_TIMEOUT,
    &hardware::GOVERNOR,
    &hardware::SMT,
    &hardware::MITIGATIONS,
    &hardware::NUMA,
];
