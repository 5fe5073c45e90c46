//! The kernel's counters, as nstat(8) names them.

use std::collections::BTreeMap;
use std::fs;

use throng_tune::Available;

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

/// Times that the limit of a memory cgroup above this process was reached.
const MAX_REACHED: &str = "memory_max_reached";

/// All counters of this network namespace, of the host's packet queues, of its memory, and of who waited for what.
pub(crate) fn read() -> Counters {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut counters = Counters::new();
    for path in ["/proc/net/snmp", "/proc/net/netstat"] {
        counters.extend(pairs(&text(path)).filter(|(name, _)| !GAUGES.contains(&name.as_str())));
    }
    counters.extend(softnet(&text("/proc/net/softnet_stat")));
    counters.extend(chosen(&text("/proc/vmstat"), &VMSTAT));
    counters.extend(conntrack(&text("/proc/net/stat/nf_conntrack")));
    for what in ["cpu", "memory", "io"] {
        counters.extend(pressure(what, &text(&format!("/proc/pressure/{what}"))));
    }
    counters.extend(
        Available::of_this_process().times_at_limit().map(|times| (MAX_REACHED.to_owned(), times as i64)),
    );
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

/// The sums over all cores of the columns of `/proc/net/stat/nf_conntrack` that mean a packet lost; hexadecimal.
fn conntrack(text: &str) -> Counters {
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    let mut sums = Counters::new();
    for line in lines {
        let lost = names
            .iter()
            .zip(line.split_whitespace())
            .filter(|(name, _)| ["drop", "early_drop"].contains(name));
        for (name, word) in lost {
            *sums.entry(format!("nf_conntrack_{name}")).or_default() +=
                i64::from_str_radix(word, 16).unwrap_or(0);
        }
    }
    sums
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=15`: the last one of each line, in microseconds.
fn pressure(what: &str, text: &str) -> Counters {
    let total = |line: &str| {
        let (who, rest) = line.split_once(' ')?;
        let total = rest.rsplit_once("total=")?.1.parse().ok()?;
        Some((format!("psi_{what}_{who}_us"), total))
    };
    text.lines().filter_map(total).collect()
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
    fn lost_packets_of_tracked_connections_are_summed_over_cores() {
        let text = "entries drop  early_drop\n0000ffff 0000000a 00000001\n0000ffff 00000010 00000000\n";
        let expected = [("nf_conntrack_drop", 26), ("nf_conntrack_early_drop", 1)];
        assert_eq!(conntrack(text), expected.map(|(name, sum)| (name.to_owned(), sum)).into());
    }

    #[test]
    fn pressure_is_told_as_time() {
        let text = "some avg10=3.30 avg60=3.29 avg300=1.22 total=14912998\nfull avg10=0.00 total=7\n";
        let expected = [("psi_cpu_some_us", 14_912_998), ("psi_cpu_full_us", 7)];
        assert_eq!(pressure("cpu", text), expected.map(|(name, time)| (name.to_owned(), time)).into());
    }

    #[test]
    fn only_what_moved_is_growth() {
        let of = |list: &[(&str, i64)]| list.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect::<Counters>();
        let grown = growth(&of(&[("a", 1), ("b", 2)]), &of(&[("a", 1), ("b", 5), ("c", 1)]));
        assert_eq!(grown, of(&[("b", 3), ("c", 1)]));
    }
}
