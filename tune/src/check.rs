//! Compares what is wanted with what is there.

use std::fmt;

use serde::Serialize;

use crate::limits::{
    ACCEPT_STALL_MS, FILES_RESERVED_PER_TABLE, LOOPBACK_BACKLOG, LOOPBACK_BACKLOG_MATTERS_CONNECTIONS,
    MEMORY_RESERVE_BYTES, MEMORY_RESERVE_DIVISOR, PORT_RANGE_SHARE, SOCKETS_PER_HASH_BUCKET,
};
use crate::machine::Machine;
use crate::sizing::memory_bytes;
use crate::target::Target;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The run cannot reach its target.
    Blocker,
    /// The run can, but its figures may suffer.
    Advice,
}

/// One setting that does not fit the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The setting, as its own documentation calls it.
    pub name: &'static str,
    /// What it is.
    pub now: String,
    /// What the target needs.
    pub needed: String,
    /// What to do, as a command where there is one.
    pub remedy: String,
    /// How much it matters.
    pub severity: Severity,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, needed: {}; {}", self.name, self.now, self.needed, self.remedy)
    }
}

/// Everything of `machine` that does not fit `target`, blockers first.
pub fn check(target: &Target, machine: &Machine) -> Vec<Finding> {
    let mut findings = Vec::new();
    descriptors(target, machine, &mut findings);
    watches(target, machine, &mut findings);
    ports(target, machine, &mut findings);
    memory(target, machine, &mut findings);
    conntrack(target, machine, &mut findings);
    backlogs(target, machine, &mut findings);
    tables_of_the_kernel(target, machine, &mut findings);
    findings.sort_by_key(|finding| finding.severity);
    findings
}

fn blocker(name: &'static str, now: impl fmt::Display, needed: impl fmt::Display, remedy: String) -> Finding {
    Finding { name, now: now.to_string(), needed: needed.to_string(), remedy, severity: Severity::Blocker }
}

fn advice(name: &'static str, now: impl fmt::Display, needed: impl fmt::Display, remedy: String) -> Finding {
    Finding { severity: Severity::Advice, ..blocker(name, now, needed, remedy) }
}

fn descriptors(target: &Target, machine: &Machine, findings: &mut Vec<Finding>) {
    for (side, tables, fullest) in target.sides().map(|(name, side)| (name, side.tables.max(1), side.fullest))
    {
        let needed = fullest + FILES_RESERVED_PER_TABLE + tables;
        if needed > machine.files_per_table {
            let remedy = if needed > machine.nr_open {
                format!("the {side} needs more threads: fs.nr_open allows no more than {}", machine.nr_open)
            } else {
                format!(
                    "ulimit -Hn {needed} (LimitNOFILE= under systemd), or more threads for the {side}, each of which \
                     has a table of its own"
                )
            };
            findings.push(blocker("RLIMIT_NOFILE", machine.files_per_table, needed, remedy));
        }
    }
    let needed = machine.files_used + target.endpoints() + FILES_RESERVED_PER_TABLE;
    if needed > machine.file_max {
        findings.push(blocker("fs.file-max", machine.file_max, needed, sysctl("fs.file-max", needed)));
    }
}

fn watches(target: &Target, machine: &Machine, findings: &mut Vec<Finding>) {
    let watched = target.sides().filter(|(_, side)| side.epoll).count() as u64 * target.connections;
    let Some(max) = machine.epoll_max_user_watches.filter(|&max| watched > max) else { return };
    let remedy = format!("{}, or --backend io-uring", sysctl("fs.epoll.max_user_watches", watched));
    findings.push(blocker("fs.epoll.max_user_watches", max, watched, remedy));
}

fn ports(target: &Target, machine: &Machine, findings: &mut Vec<Finding>) {
    let Some((_, sources)) = target.generator else { return };
    let (low, high) = machine.port_range;
    let ports = (high + 1).saturating_sub(low).saturating_sub(machine.ports_reserved);
    let pairs = sources.addresses.max(1) * sources.targets.max(1);
    let widen = "sysctl -w net.ipv4.ip_local_port_range='10000 65535'";
    let more = if sources.loopback { "more of 127.0.0.0/8 with --source-ip" } else { "more --source-ip" };
    if target.connections > pairs * ports {
        let needed = target.connections.div_ceil(pairs);
        let remedy = format!("{widen}, or {more}, or more listening ports at the target");
        findings.push(blocker(
            "net.ipv4.ip_local_port_range",
            format!("{low}-{high}"),
            ports_text(needed),
            remedy,
        ));
        return;
    }
    let fast = ports / PORT_RANGE_SHARE;
    if target.connections > pairs * fast {
        let needed = target.connections.div_ceil(pairs) * PORT_RANGE_SHARE;
        let remedy =
            format!("connect() slows down a hundredfold beyond half of the range: {widen}, or {more}");
        findings.push(advice(
            "net.ipv4.ip_local_port_range",
            format!("{low}-{high}"),
            ports_text(needed),
            remedy,
        ));
    }
}

fn ports_text(ports: u64) -> String {
    format!("{ports} ports for each pair of source and target address")
}

fn memory(target: &Target, machine: &Machine, findings: &mut Vec<Finding>) {
    let reserve = MEMORY_RESERVE_BYTES.max(machine.memory_total_bytes / MEMORY_RESERVE_DIVISOR);
    let needed = memory_bytes(target) + reserve;
    if needed > machine.memory_available_bytes {
        let fits = machine.memory_available_bytes.saturating_sub(reserve);
        let per_connection = (memory_bytes(target) / target.connections.max(1)).max(1);
        let remedy = format!("about {} connections fit", fits / per_connection);
        let available = gib(machine.memory_available_bytes);
        findings.push(blocker("memory available", available, gib(needed), remedy));
    }
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64)
}

fn conntrack(target: &Target, machine: &Machine, findings: &mut Vec<Finding>) {
    // Without a rule that uses it, a loaded module tracks nothing, and its count stays at zero.
    let Some(conntrack) = machine.conntrack.filter(|conntrack| conntrack.count > 0) else { return };
    if conntrack.count + target.connections > conntrack.max {
        let name = "net.netfilter.nf_conntrack_max";
        let needed = conntrack.count + target.connections + target.connections / 5;
        let remedy = format!("{}, or a NOTRACK rule for the run's port", sysctl(name, needed));
        findings.push(blocker(name, conntrack.max, needed, remedy));
    }
}

fn backlogs(target: &Target, machine: &Machine, findings: &mut Vec<Finding>) {
    if let Some(server) = target.server {
        let per_listener = target.connect_rate_per_s / server.tables.max(1) as f64;
        let burst = (per_listener * ACCEPT_STALL_MS as f64 / 1000.0).ceil() as u64;
        let needed = burst.min(target.connections).min(65_535);
        if needed > machine.somaxconn {
            let name = "net.core.somaxconn";
            findings.push(advice(name, machine.somaxconn, needed, sysctl(name, needed)));
        }
    }
    let loopback = target.server.is_some() && target.generator.is_some();
    if let Some(backlog) = machine.netdev_max_backlog
        && loopback
        && target.connections >= LOOPBACK_BACKLOG_MATTERS_CONNECTIONS
        && backlog < LOOPBACK_BACKLOG
    {
        let name = "net.core.netdev_max_backlog";
        let remedy = format!(
            "{}; loopback drops packets when a core's backlog is full, and each drop costs 200 ms",
            sysctl(name, LOOPBACK_BACKLOG)
        );
        findings.push(advice(name, backlog, LOOPBACK_BACKLOG, remedy));
    }
}

fn tables_of_the_kernel(target: &Target, machine: &Machine, findings: &mut Vec<Finding>) {
    if let Some(buckets) = machine.tcp_ehash_entries
        && target.endpoints() > buckets.saturating_mul(SOCKETS_PER_HASH_BUCKET)
    {
        let needed = target.endpoints().next_power_of_two();
        let remedy = format!(
            "sysctl -w net.ipv4.tcp_child_ehash_entries={needed} before a new network namespace is made, or boot with \
             thash_entries={needed}"
        );
        findings.push(advice("net.ipv4.tcp_ehash_entries", buckets, needed, remedy));
    }
    if target.connections > machine.tcp_max_tw_buckets {
        let name = "net.ipv4.tcp_max_tw_buckets";
        findings.push(advice(
            name,
            machine.tcp_max_tw_buckets,
            target.connections,
            format!(
                "{}; beyond it the kernel cuts TIME_WAIT short and counts it",
                sysctl(name, target.connections)
            ),
        ));
    }
}

fn sysctl(name: &str, value: u64) -> String {
    format!("sysctl -w {name}={value}")
}
