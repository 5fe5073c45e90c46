//! The host's fingerprint: what must be equal for two runs to be comparable.

use std::collections::BTreeMap;
use std::fs;

use throng_report::schema::{Build, Host};

/// Sysctls that change what a run measures, by their dotted names.
const SYSCTLS: [&str; 33] = [
    "fs.epoll.max_user_watches",
    "fs.file-max",
    "fs.nr_open",
    "kernel.sched_autogroup_enabled",
    "net.core.busy_poll",
    "net.core.default_qdisc",
    "net.core.netdev_budget",
    "net.core.netdev_budget_usecs",
    "net.core.netdev_max_backlog",
    "net.core.rmem_default",
    "net.core.rmem_max",
    "net.core.somaxconn",
    "net.core.wmem_default",
    "net.core.wmem_max",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_autocorking",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_ehash_entries",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_max_orphans",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_max_tw_buckets",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_notsent_lowat",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_rto_min_us",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_tw_reuse",
    "net.ipv4.tcp_wmem",
    "vm.max_map_count",
    "vm.min_free_kbytes",
];

/// The sysctls of a fingerprint; those that this kernel lacks are left out.
pub(crate) fn sysctls() -> BTreeMap<String, String> {
    let value = |name: &&str| {
        let text = fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
        Some(((*name).to_owned(), text.split_whitespace().collect::<Vec<_>>().join(" ")))
    };
    SYSCTLS.iter().filter_map(value).collect()
}

/// `name: before -> after` for each sysctl that changed.
pub(crate) fn changes(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let changed = before.iter().filter(|(name, value)| after.get(*name) != Some(value));
    changed
        .map(|(name, value)| format!("{name}: {value} -> {}", after.get(name).map_or("gone", String::as_str)))
        .collect()
}

/// This host; `network` says where the packets went.
pub(crate) fn read(network: String) -> Host {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cpuinfo = text("/proc/cpuinfo");
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    let memory = text("/proc/meminfo");
    let memory_kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    Host {
        kernel: text("/proc/sys/kernel/osrelease"),
        cmdline: text("/proc/cmdline"),
        cpu_model: field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        cores: super::cpu::cores().len() as u64,
        memory_bytes: memory_kib
            .and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
            .map_or(0, |kib| kib * 1024),
        mitigations: mitigations(),
        limits: limits(&text("/proc/self/limits")),
        sysctls: sysctls(),
        network,
        build: Build {
            profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
            commit: env!("THRONG_COMMIT").to_owned(),
            target: env!("THRONG_TARGET").to_owned(),
            rustc: env!("THRONG_RUSTC").to_owned(),
        },
        ..Host::default()
    }
}

fn mitigations() -> BTreeMap<String, String> {
    let entries = fs::read_dir("/sys/devices/system/cpu/vulnerabilities").into_iter().flatten().flatten();
    let named = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path()).ok()?;
        Some((entry.file_name().into_string().ok()?, text.trim().to_owned()))
    };
    entries.filter_map(named).collect()
}

/// Lines of `/proc/self/limits` and the names that setrlimit(2) gives them.
const LIMITS: [(&str, &str); 5] = [
    ("Max open files", "RLIMIT_NOFILE"),
    ("Max locked memory", "RLIMIT_MEMLOCK"),
    ("Max processes", "RLIMIT_NPROC"),
    ("Max address space", "RLIMIT_AS"),
    ("Max stack size", "RLIMIT_STACK"),
];

/// The hard limits: the soft one on open files is raised to it by every command.
fn limits(text: &str) -> BTreeMap<String, String> {
    let hard = |&(line, name): &(&str, &str)| {
        let rest = text.lines().find_map(|text| text.strip_prefix(line))?;
        Some((name.to_owned(), rest.split_whitespace().nth(1)?.to_owned()))
    };
    LIMITS.iter().filter_map(hard).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_a_fingerprint() {
        let host = read("host loopback".to_owned());
        assert!(!host.kernel.is_empty() && host.cores > 0 && host.memory_bytes > 0, "{host:?}");
        assert!(host.sysctls.contains_key("net.core.somaxconn"), "{host:?}");
        assert!(host.limits.contains_key("RLIMIT_NOFILE"), "{host:?}");
        assert!(host.build.rustc.starts_with("rustc "), "{host:?}");
    }

    #[test]
    fn a_changed_sysctl_is_named_with_both_values() {
        let of =
            |list: &[(&str, &str)]| list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let changed = changes(&of(&[("a", "1"), ("b", "2")]), &of(&[("a", "1"), ("b", "3")]));
        assert_eq!(changed, ["b: 2 -> 3"]);
    }
}
