//! Counters that moved and should not have, of the server, the users' TCP and the kernel, each with what that means.

use super::Page;
use crate::schema::Summary;

impl Page {
    /// Nothing where nothing moved.
    pub(super) fn counters(&mut self, summary: &Summary) {
        for (title, moved) in moved(summary) {
            self.head(title);
            for (name, by, meaning) in moved {
                self.wrapped(&format!("  {name:<26}{by:>+10}   "), meaning);
            }
        }
    }
}

/// A counter's name, by how much it moved, and what that means.
type Moved<'a> = (&'a str, i128, &'static str);

/// The counters that moved and should not have, under a title for each place; places where nothing did are left out.
pub(crate) fn moved(summary: &Summary) -> Vec<(&'static str, Vec<Moved<'_>>)> {
    let server = summary.server.iter().flat_map(|server| &server.counters);
    let server = server.filter_map(|(name, by)| Some((name.as_str(), i128::from(*by), of_server(name)?)));
    let tcp = summary.generator.tcp.iter();
    let tcp = tcp.filter_map(|(name, by)| Some((name.as_str(), i128::from(*by), of_tcp(name)?)));
    let kernel = summary.kernel.counters.iter();
    let kernel = kernel.filter_map(|(name, by)| Some((name.as_str(), i128::from(*by), of_kernel(name)?)));
    let places: [(&str, Vec<Moved<'_>>); 3] = [
        ("Server counters that moved", server.collect()),
        ("Counters of the users' TCP that moved", tcp.collect()),
        ("Kernel counters that moved", kernel.collect()),
    ];
    let moved = places.map(|(title, mut counters)| {
        counters.retain(|(_, by, _)| *by != 0);
        (title, counters)
    });
    moved.into_iter().filter(|(_, counters)| !counters.is_empty()).collect()
}

/// What it means when this counter of the server moves; `None` for those that always do, and for what the summary tells
/// elsewhere.
fn of_server(counter: &str) -> Option<&'static str> {
    Some(match counter {
        "accept_left_group" => "a shard was full: its descriptors or its limit",
        "accept_pauses" => "accepting paused: fs.file-max, or memory was short",
        "closed_bad_conduct" => "closed: a frame that was not allowed then",
        "closed_bad_frame" => "closed: bytes that are no frame",
        "closed_bad_record" => "closed: a record that was not sealed for it, or not allowed then",
        "closed_by_reset" => "reset: told to go, and did not in time",
        "closed_handshake_timeout" => "closed: no handshake in time",
        "closed_idle" => "closed: nothing was heard for too long",
        "closed_key_used_up" => "closed: a key of TLS 1.2 had sealed all that it may",
        "closed_login_timeout" => "closed: no login in time",
        "closed_no_room" => "closed: too much waited for all clients of a shard",
        "closed_slow_reader" => "closed: the client read too slowly",
        "closed_too_many_logins" => "closed: too many were logging in at once",
        "handshakes_failed" => "handshakes failed: no TLS, or nothing in common",
        "mailbox_full" => "a shard did not keep up with the others",
        "mailbox_paused_sessions" => "senders waited for a shard that did not keep up",
        "recv_starved" => "connections waited for a receive buffer",
        "ring_overflows" => "completions came faster than a shard took them",
        "tls_truncated" => "ended without the goodbye of TLS",
        "short_sends" => "sends waited for room: the connection's send queue was full",
        _ => return None,
    })
}

/// What it means when this counter of TCP in user space moves; `None` for those that always do.
fn of_tcp(counter: &str) -> Option<&'static str> {
    Some(match counter {
        "answers_dropped" => "too many segments of no connection to answer them all",
        "challenges" => "the server was asked whether it meant a segment (RFC 5961)",
        "checksum_errors" => "packets dropped: their checksum does not fit",
        "duplicates" => "segments that were there already",
        "fast_retransmits" => "losses that repeated acknowledgements told of",
        "fin_timeouts" => "reset: closed, and the server did not close in time",
        "foreign" => "packets dropped: for addresses that no user has",
        "fragments" => "packets dropped: parts of packets",
        "gave_up" => "connections whose server answered no more",
        "malformed" => "packets dropped: their lengths contradict each other",
        "out_of_order" => "segments came before their turn",
        "out_of_order_dropped" => "of these: dropped for want of room",
        "queue_dropped" => "packets dropped: the device's queue was full",
        "resets_received" => "connections that the server reset",
        "resets_sent" => "resets of ours",
        "retransmitted" => "segments sent again",
        "strays" => "segments of no connection",
        "timeouts" => "retransmission timeouts: each is 200 ms or more in the tail",
        "unexpected" => "segments dropped: they make no sense where they came",
        "unsent" => "packets lost: the kernel had no memory for them",
        "window_probes" => "a closed window was probed: the server reads too slowly",
        _ => return None,
    })
}

/// What it means when this counter of the kernel moves; `None` for those that always do.
fn of_kernel(counter: &str) -> Option<&'static str> {
    Some(match counter {
        "TcpExtListenOverflows" => "an accept queue was full: net.core.somaxconn",
        "TcpExtListenDrops" => "connections dropped at a listener",
        "TcpRetransSegs" => "segments sent again",
        "TcpExtTCPSynRetrans" => "connects repeated their SYN",
        "TcpExtSyncookiesSent" => "SYN cookies: the backlog of half-open connections was full",
        "TcpExtTCPReqQFullDrop" => {
            "SYNs dropped: as many handshakes were under way as an accept queue is long"
        }
        "TcpExtTCPReqQFullDoCookies" => {
            "SYN cookies: as many handshakes were under way as an accept queue is long"
        }
        "TcpExtTCPAbortOnMemory" => "connections reset for want of memory: net.ipv4.tcp_mem",
        "TcpExtTCPMemoryPressures" => "TCP was short of memory: net.ipv4.tcp_mem",
        "TcpExtPruneCalled" => "receive buffers pruned: net.ipv4.tcp_rmem",
        "TcpExtTCPRcvQDrop" => "bytes dropped for want of receive memory",
        "TcpExtTCPToZeroWindowAdv" => "a receiver closed its window: it reads too slowly",
        "TcpExtTCPTimeWaitOverflow" => "too many TIME_WAIT: net.ipv4.tcp_max_tw_buckets",
        "TcpExtTCPBacklogDrop" => "segments dropped at a busy socket",
        "TcpExtTCPTimeouts" => "retransmission timeouts: each is 200 ms or more in the tail",
        "memory_max_reached" => "the memory cgroup's limit was reached, and somebody waited: memory.max",
        "nf_conntrack_drop" | "nf_conntrack_early_drop" => {
            "packets or connections dropped by the firewall: net.netfilter.nf_conntrack_max"
        }
        "psi_memory_full_us" => "microseconds in which everybody waited for memory",
        "softnet_dropped" => "packets dropped: net.core.netdev_max_backlog",
        "softnet_time_squeeze" => "softirq ran out of its budget: net.core.netdev_budget",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::render;
    use super::*;
    use crate::schema::Server;

    #[test]
    fn what_moved_stands_there_with_its_meaning_and_what_always_moves_does_not() {
        let mut summary = Summary::default();
        let counters = [
            ("accept_pauses", 3),
            ("closed_no_room", 999_999_999),
            ("closed_slow_reader", 0),
            ("turns", 12_345),
            ("recv_starved", 17),
        ];
        summary.server = Some(Server {
            counters: counters.map(|(name, by)| (name.to_owned(), by)).into(),
            ..Server::default()
        });
        summary.kernel.counters = [("TcpRetransSegs", 12), ("TcpOutSegs", 12_000), ("softnet_dropped", 0)]
            .map(|(name, by)| (name.to_owned(), by))
            .into();
        let text = render(&summary, false);
        let expected = "
Server counters that moved
  accept_pauses                     +3   accepting paused: fs.file-max, or
                                         memory was short
  closed_no_room            +999999999   closed: too much waited for all
                                         clients of a shard
  recv_starved                     +17   connections waited for a receive
                                         buffer

Kernel counters that moved
  TcpRetransSegs                   +12   segments sent again
";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn where_nothing_moved_there_is_no_heading() {
        let text = render(&Summary { server: Some(Server::default()), ..Summary::default() }, false);
        assert!(!text.contains("counters"), "{text}");
    }
}
