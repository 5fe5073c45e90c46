//! The kernel's counters, as nstat(8) names them.

use std::collections::BTreeMap;
use std::fs;

/// Counters by name.
pub(crate) type Counters = BTreeMap<String, i64>;

/// Values that go up and down: their growth over a run means nothing, so they are left out of [`read`].
const GAUGES: [&str; 8] = [
    "TcpCurrEstab",
    "TcpRtoAlgorithm",
    "TcpRtoMin",
    "TcpRtoMax",
    "TcpMaxConn",
    "IpForwarding",
    "IpDefaultTTL",
    "TcpExtTCPMemoryPressuresChrono",
];

/// Lines of /proc/vmstat that tell about a run.
const VMSTAT: [&str; 10] = [
    "pgfault",
    "pgmajfault",
    "pswpin",
    "pswpout",
    "oom_kill",
    "compact_stall",
    "allocstall_normal",
    "allocstall_movable",
    "allocstall_dma32",
    "thp_fault_alloc",
];

/// All counters of this network namespace, of the host's packet queues, and of its memory.
pub(crate) fn read() -> Counters {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut counters = Counters::new();
    for path in ["/proc/net/snmp", "/proc/net/netstat"] {
        counters.extend(pairs(&text(path)).filter(|(name, _)| !GAUGES.contains(&name.as_str())));
    }
    counters.extend(softnet(&text("/proc/net/softnet_stat")));
    counters.extend(chosen(&text("/proc/vmstat"), &VMSTAT));
    counters
}

/// What grew from `before` to `after`, by as much; what did not move is left out.
pub(crate) fn growth(before: &Counters, after: &Counters) -> Counters {
    let grown = after.iter().map(|(name, now)| (name.clone(), now - before.get(name).copied().unwrap_or(0)));
    grown.filter(|(_, by)| *by != 0).collect()
}

/// `/proc/net/snmp` and `netstat`: a line of names, a line of values, both after the same prefix.
fn pairs(text: &str) -> impl Iterator<Item = (String, i64)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut all = Vec::new();
    for two in lines.chunks_exact(2) {
        let (Some((prefix, names)), Some((again, values))) = (two[0].split_once(':'), two[1].split_once(':'))
        else {
            continue;
        };
        if prefix != again {
            continue;
        }
        let named = names.split_whitespace().zip(values.split_whitespace());
        all.extend(named.filter_map(|(name, value)| Some((format!("{prefix}{name}"), value.parse().ok()?))));
    }
    all.into_iter()
}

/// The sums over all cores of `/proc/net/softnet_stat`; hexadecimal columns.
fn softnet(text: &str) -> Counters {
    let names = ["softnet_processed", "softnet_dropped", "softnet_time_squeeze"];
    let mut sums = Counters::new();
    for line in text.lines() {
        for (name, word) in names.iter().zip(line.split_whitespace()) {
            *sums.entry((*name).to_owned()).or_default() += i64::from_str_radix(word, 16).unwrap_or(0);
        }
    }
    sums
}

fn chosen(text: &str, names: &[&str]) -> Counters {
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let wanted = lines.filter(|(name, _)| names.contains(name));
    wanted.filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_counts() {
        let counters = read();
        for name in
            ["TcpActiveOpens", "TcpRetransSegs", "TcpExtListenOverflows", "softnet_dropped", "pgmajfault"]
        {
            assert!(counters.contains_key(name), "{name}");
        }
    }

    #[test]
    fn names_and_values_are_paired_under_their_prefix() {
        let text = "Ip: Forwarding A\nIp: 1 -1\nTcp: B\nTcp: 7\nBroken: X\nOther: 1\n";
        let all: Vec<_> = pairs(text).collect();
        let expected = [("IpForwarding", 1), ("IpA", -1), ("TcpB", 7)];
        assert_eq!(all, expected.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn softnet_columns_are_summed_over_cores() {
        let sums = softnet("0000000a 00000001 00000002 0\n00000010 00000000 00000001 0\n");
        assert_eq!(sums["softnet_processed"], 26);
        assert_eq!(sums["softnet_dropped"], 1);
        assert_eq!(sums["softnet_time_squeeze"], 3);
    }

    #[test]
    fn only_what_moved_is_growth() {
        let of = |list: &[(&str, i64)]| list.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect::<Counters>();
        let grown = growth(&of(&[("a", 1), ("b", 2)]), &of(&[("a", 1), ("b", 5), ("c", 1)]));
        assert_eq!(grown, of(&[("b", 3), ("c", 1)]));
    }
}
