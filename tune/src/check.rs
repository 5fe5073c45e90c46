//! Compares what is wanted with what is there.

use std::fmt;

use serde::Serialize;

use crate::lab::{CHILD_EHASH, ehash_entries};
use crate::limits::{
    ACCEPT_STALL_MS, BYTES_PER_RING, FILES_RESERVED_PER_TABLE, LOOPBACK_BACKLOG,
    LOOPBACK_BACKLOG_MATTERS_CONNECTIONS, PORT_RANGE_SHARE, SOCKETS_PER_HASH_BUCKET, THREADS_BESIDES,
};
use crate::machine::Machine;
use crate::sizing::{Memory, connections_of_tables, reserve_bytes, tables_needed};
use crate::target::{Backend, Target};

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
    /// The most connections that fit as it is, where that is the question.
    pub fits: Option<u64>,
    /// How much it matters.
    pub severity: Severity,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, needed: {}; {}", self.name, self.now, self.needed, self.remedy)?;
        match self.fits {
            Some(fits) => write!(f, " (at most {fits} connections fit as it is)"),
            None => Ok(()),
        }
    }
}

/// Everything of `machine` that does not fit `target`, blockers first.
pub fn check(target: &Target, machine: &Machine) -> Vec<Finding> {
    let mut findings = Vec::new();
    descriptors(target, machine, &mut findings);
    watches(target, machine, &mut findings);
    ports(target, machine, &mut findings);
    memory(target, machine, &mut findings);
    locked_memory(target, machine, &mut findings);
    threads(target, machine, &mut findings);
    conntrack(target, machine, &mut findings);
    backlogs(target, machine, &mut findings);
    tables_of_the_kernel(target, machine, &mut findings);
    findings.sort_by_key(|finding| finding.severity);
    findings
}

fn blocker(name: &'static str, now: impl fmt::Display, needed: impl fmt::Display, remedy: String) -> Finding {
    Finding {
        name,
        now: now.to_string(),
        needed: needed.to_string(),
        remedy,
        fits: None,
        severity: Severity::Blocker,
    }
}

/// A blocker of the number of connections.
fn too_many(
    name: &'static str,
    now: impl fmt::Display,
    needed: impl fmt::Display,
    remedy: String,
    fits: u64,
) -> Finding {
    Finding { fits: Some(fits), ..blocker(name, now, needed, remedy) }
}

fn advice(name: &'static str, now: impl fmt::Display, needed: impl fmt::Display, remedy: String) -> Finding {
    Finding { severity: Severity::Advice, ..blocker(name, now, needed, remedy) }
}

fn descriptors(target: &Target, machine: &Machine, findings: &mut Vec<Finding>) {
    let files = machine.files_per_table;
    for (name, side) in target.sides() {
        let threads = side.threads.max(1);
        // What a thread's own table holds; direct descriptors are in none.
        let own = match side.backend {
            Backend::Epoll => side.fullest,
            // A ring, and the eventfd that wakes its thread.
            Backend::IoUring => 2 * side.rings_per_thread(files),
            // A device, an epoll and a timer, of every thread in the one table of the process.
            Backend::UserSpace => 3 * threads,
        };
        let needed = own + FILES_RESERVED_PER_TABLE + threads;
        if needed <= files {
            continue;
        }
        let raise = if needed > machine.nr_open {
            format!("fs.nr_open allows no more than {}", machine.nr_open)
        } else {
            format!("ulimit -Hn {needed} (LimitNOFILE= under systemd)")
        };
        findings.push(match (side.backend, tables_needed(target.connections, threads, files)) {
            (Backend::Epoll, Some(enough)) => {
                let flag = if name == "server" { "--shards" } else { "--threads" };
                let remedy = format!(
                    "{flag} {enough} for the {name}: each thread has a table of its own; or --backend io-uring, or {raise}"
                );
                too_many("RLIMIT_NOFILE", files, needed, remedy, connections_of_tables(threads, files))
            }
            _ => blocker("RLIMIT_NOFILE", files, needed, format!("{raise}, for the {name}")),
        });
    }
    let reserved = machine.files_used + FILES_RESERVED_PER_TABLE;
    let needed = reserved + target.endpoints();
    if needed > machine.file_max && !machine.file_max_holds {
        let remedy = format!(
            "{}; CAP_SYS_ADMIN goes beyond it, but everybody else can open no file meanwhile",
            sysctl("fs.file-max", needed)
        );
        findings.push(advice("fs.file-max", machine.file_max, needed, remedy));
    } else if needed > machine.file_max {
        let fits = machine.file_max.saturating_sub(reserved) / target.sides().count().max(1) as u64;
        findings.push(too_many("fs.file-max", machine.file_max, needed, sysctl("fs.file-max", needed), fits));
    }
}

fn watches(target: &Target, machine: &Machine, findings: &mut Vec<Finding>) {
    let sides = target.sides().filter(|(_, side)| side.backend == Backend::Epoll).count() as u64;
    let watched = sides * target.connections;
    let Some(max) = machine.epoll_max_user_watches.filter(|&max| watched > max) else { return };
    let name = "fs.epoll.max_user_watches";
    let remedy = format!("{}, or --backend io-uring", sysctl(name, watched));
    findings.push(too_many(name, max, watched, remedy, max / sides));
}

fn ports(target: &Target, machine: &Machine, findings: &mut Vec<Finding>) {
    let Some((_, sources)) = target.generator.filter(|(side, _)| side.has_sockets()) else { return };
    let (low, high) = machine.port_range;
    let ports = (high + 1).saturating_sub(low).saturating_sub(machine.ports_reserved);
    let pairs = sources.addresses.max(1) * sources.targets.max(1);
    let widen = "sysctl -w net.ipv4.ip_local_port_range='10000 65535'";
    let more = if sources.loopback { "more of 127.0.0.0/8 with --source-ip" } else { "more --source-ip" };
    if target.connections > pairs * ports {
        let needed = target.connections.div_ceil(pairs);
        let remedy = format!("{widen}, or {more}, or more listening ports at the target");
        findings.push(too_many(
            "net.ipv4.ip_local_port_range",
            format!("{low}-{high}"),
            ports_text(needed),
            remedy,
            pairs * ports,
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
    let reserve = reserve_bytes(machine.memory_total_bytes);
    let memory = Memory::of(target, machine.files_per_table);
    let total = memory.total();
    let needed = total + reserve;
    if needed > machine.memory_available_bytes {
        // What threads take stays; the rest goes with the connections.
        let room = machine.memory_available_bytes.saturating_sub(reserve + memory.threads);
        let per_all = u128::from((total - memory.threads).max(1));
        let fits = (u128::from(room) * u128::from(target.connections) / per_all) as u64;
        let available = gigabytes(machine.memory_available_bytes);
        let remedy = format!("free some: {} of it are left to everybody else", gigabytes(reserve));
        findings.push(too_many("memory available", available, gigabytes(needed), remedy, fits));
    }
}

fn locked_memory(target: &Target, machine: &Machine, findings: &mut Vec<Finding>) {
    let rings = target.rings(machine.files_per_table);
    let needed = rings * BYTES_PER_RING;
    let Some(max) = machine.lockable_bytes.filter(|&max| needed > max) else { return };
    let remedy = format!(
        "{rings} rings of {} KiB count against it without CAP_IPC_LOCK: ulimit -l {} (LimitMEMLOCK= under systemd), or \
         --backend epoll",
        BYTES_PER_RING >> 10,
        needed.div_ceil(1024)
    );
    findings.push(blocker("RLIMIT_MEMLOCK", max, needed, remedy));
}

fn threads(target: &Target, machine: &Machine, findings: &mut Vec<Finding>) {
    let needed = target.sides().map(|(_, side)| side.threads).sum::<u64>() + THREADS_BESIDES;
    let Some(left) = machine.threads_left.filter(|&left| needed > left) else { return };
    let remedy =
        "raise kernel.threads-max or pids.max of the cgroup (TasksMax= under systemd), or take fewer threads";
    findings.push(blocker("threads that can be started", left, needed, remedy.to_owned()));
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.2} GB", bytes as f64 / 1e9)
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
        let per_listener = target.connect_rate_per_s / server.threads.max(1) as f64;
        let burst = (per_listener * ACCEPT_STALL_MS as f64 / 1000.0).ceil() as u64;
        let needed = burst.min(target.connections).min(65_535);
        if needed > machine.somaxconn {
            let name = "net.core.somaxconn";
            findings.push(advice(name, machine.somaxconn, needed, sysctl(name, needed)));
        }
    }
    let loopback = target.server.is_some() && target.generator.is_some_and(|(side, _)| side.has_sockets());
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
        let needed = ehash_entries(target.endpoints());
        let remedy = format!(
            "throng run sees to it in its lab; elsewhere sysctl -w {CHILD_EHASH}={needed} before a network namespace is \
             made, or boot with thash_entries={needed}"
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
