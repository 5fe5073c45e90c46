//! What a lab is set to: a network namespace that only one run lives in, so that nobody else's settings and tables count.

use crate::limits::{EHASH_ENTRIES_MAX, EHASH_ENTRIES_MIN, LAB_PORT_RANGE, SOMAXCONN};

/// A sysctl: its dotted name and its value.
pub type Setting = (&'static str, String);

/// The sysctl that decides how many entries the table of connections has in the namespaces made *below* the one where it is
/// set.
pub const CHILD_EHASH: &str = "net.ipv4.tcp_child_ehash_entries";

/// The sysctl that tells how many there are; it cannot be written.
pub const EHASH: &str = "net.ipv4.tcp_ehash_entries";

/// Entries of the table of connections: a power of two, one for each of `sockets` while the kernel allows as many. They
/// cost 8 bytes each.
pub fn ehash_entries(sockets: u64) -> u64 {
    sockets.next_power_of_two().clamp(EHASH_ENTRIES_MIN, EHASH_ENTRIES_MAX)
}

/// What a namespace for `sockets` sockets, both ends of a connection counted, is set to.
///
/// Left as the kernel has it: everything that changes how TCP treats a connection (congestion control, buffers, timers),
/// since a run is to measure that; and tcp_syncookies, which is on, and which a ramp that fits never makes use of.
pub fn settings(sockets: u64) -> Vec<Setting> {
    let (low, high) = LAB_PORT_RANGE;
    vec![
        // More source ports for each pair of addresses; the listener's own lies below them.
        ("net.ipv4.ip_local_port_range", format!("{low} {high}")),
        // A storm of connections waits instead of being dropped. A longer queue costs nothing until somebody waits in it.
        ("net.core.somaxconn", SOMAXCONN.to_string()),
        ("net.ipv4.tcp_max_syn_backlog", SOMAXCONN.to_string()),
        // Who waits at a listener that leaves its SO_REUSEPORT group moves to another one instead of being reset.
        ("net.ipv4.tcp_migrate_req", "1".to_owned()),
        // Ports of connections that ended a second ago may be used again: reconnecting needs them.
        ("net.ipv4.tcp_tw_reuse", "1".to_owned()),
        // Everybody may leave at once. The kernel's default is half of the table.
        ("net.ipv4.tcp_max_tw_buckets", (ehash_entries(sockets) / 2).max(sockets).to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_connections_follows_the_sockets_up_to_what_the_kernel_allows() {
        assert_eq!(ehash_entries(5_000_000), 8 << 20);
        assert_eq!(ehash_entries(4 << 20), 4 << 20);
        assert_eq!(ehash_entries(2), 65_536);
        assert_eq!(ehash_entries(100_000_000), 16 << 20);
    }

    #[test]
    fn everybody_may_leave_at_once() {
        let buckets = |sockets| {
            let settings = settings(sockets);
            let of = |name: &str| settings.iter().find(|(known, _)| *known == name).map(|(_, v)| v.clone());
            of("net.ipv4.tcp_max_tw_buckets").unwrap().parse::<u64>().unwrap()
        };
        assert!(buckets(100) >= 32_768);
        assert!(buckets(5_000_000) >= 5_000_000);
    }
}
