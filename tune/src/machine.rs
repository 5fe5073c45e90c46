//! What the machine allows, read from /proc and /sys.

use std::fs;
use std::io;
use std::str::FromStr;

use crate::available::{Available, kib};

/// Connection tracking, when its module is loaded: it sees every packet of loopback too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conntrack {
    /// Connections that it tracks now.
    pub count: u64,
    /// Connections that it can track.
    pub max: u64,
}

/// What the machine allows. `None`: this kernel does not have it, so it limits nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// RLIMIT_NOFILE, the hard one: the commands raise the soft one to it.
    pub files_per_table: u64,
    /// fs.nr_open: what root may raise RLIMIT_NOFILE to.
    pub nr_open: u64,
    /// fs.file-max: open files of the whole machine.
    pub file_max: u64,
    /// Whether it holds for this process: whoever has CAP_SYS_ADMIN goes beyond, and everybody else is refused meanwhile.
    pub file_max_holds: bool,
    /// Of those: in use now.
    pub files_used: u64,
    /// fs.epoll.max_user_watches, per user.
    pub epoll_max_user_watches: Option<u64>,
    /// net.core.somaxconn: the longest accept queue.
    pub somaxconn: u64,
    /// net.core.netdev_max_backlog: packets per core that wait for the kernel; the host's, not a namespace's.
    pub netdev_max_backlog: Option<u64>,
    /// net.ipv4.ip_local_port_range, both ends included.
    pub port_range: (u64, u64),
    /// Ports of that range that net.ipv4.ip_local_reserved_ports keeps out.
    pub ports_reserved: u64,
    /// net.ipv4.tcp_max_tw_buckets: connections that may wait out their last minute.
    pub tcp_max_tw_buckets: u64,
    /// net.ipv4.tcp_ehash_entries: buckets of the table of connections; negative (a table shared with the host) counts as
    /// its size.
    pub tcp_ehash_entries: Option<u64>,
    /// Connection tracking.
    pub conntrack: Option<Conntrack>,
    /// RLIMIT_MEMLOCK, which rings count against; `None` for whoever may lock without limit (CAP_IPC_LOCK, which does not
    /// count in a user namespace).
    pub lockable_bytes: Option<u64>,
    /// Threads that can still be started: kernel.threads-max and the cgroup's pids.max, less those that are there.
    pub threads_left: Option<u64>,
    /// Memory of the machine.
    pub memory_total_bytes: u64,
    /// Memory that can be had now: [`Available::bytes`].
    pub memory_available_bytes: u64,
}

impl Machine {
    /// Of a machine that was read inside a network namespace: with what `host`, read outside, has of settings that no
    /// namespace shows.
    #[must_use]
    pub fn with_settings_of(self, host: &Machine) -> Machine {
        Machine { netdev_max_backlog: self.netdev_max_backlog.or(host.netdev_max_backlog), ..self }
    }

    /// Reads this machine.
    ///
    /// # Errors
    /// A file of /proc that every kernel has cannot be read or says something unexpected; the text names it.
    pub fn read() -> io::Result<Machine> {
        let memory = fs::read_to_string("/proc/meminfo").map_err(|error| about("/proc/meminfo", &error))?;
        let available = Available::of_this_process().bytes().ok_or_else(|| odd("/proc/meminfo", &memory))?;
        let file_nr = words::<u64>("/proc/sys/fs/file-nr")?;
        let ports = words::<u64>("/proc/sys/net/ipv4/ip_local_port_range")?;
        let port_range = match ports[..] {
            [low, high] => (low, high),
            _ => return Err(odd("/proc/sys/net/ipv4/ip_local_port_range", &format!("{ports:?}"))),
        };
        let reserved = fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
        Ok(Machine {
            files_per_table: limits("Max open files")?.1,
            nr_open: number("/proc/sys/fs/nr_open")?,
            file_max: number("/proc/sys/fs/file-max")?,
            file_max_holds: !has_capability(CAP_SYS_ADMIN),
            files_used: file_nr.first().copied().unwrap_or(0),
            epoll_max_user_watches: number("/proc/sys/fs/epoll/max_user_watches").ok(),
            somaxconn: number("/proc/sys/net/core/somaxconn")?,
            netdev_max_backlog: number("/proc/sys/net/core/netdev_max_backlog").ok(),
            port_range,
            ports_reserved: reserved_within(&reserved, port_range),
            tcp_max_tw_buckets: number("/proc/sys/net/ipv4/tcp_max_tw_buckets")?,
            tcp_ehash_entries: number::<i64>("/proc/sys/net/ipv4/tcp_ehash_entries")
                .ok()
                .map(i64::unsigned_abs),
            conntrack: conntrack(),
            lockable_bytes: lockable_bytes()?,
            threads_left: threads_left(),
            memory_total_bytes: kib(&memory, "MemTotal:").unwrap_or(available),
            memory_available_bytes: available,
        })
    }
}

fn about(path: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot read {path}: {error}"))
}

fn odd(path: &str, text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{path} says something unexpected: {}", text.trim()))
}

fn words<T: FromStr>(path: &str) -> io::Result<Vec<T>> {
    let text = fs::read_to_string(path).map_err(|error| about(path, &error))?;
    text.split_whitespace().map(|word| word.parse().map_err(|_| odd(path, &text))).collect()
}

fn number<T: FromStr + Copy>(path: &str) -> io::Result<T> {
    words(path)?.first().copied().ok_or_else(|| odd(path, ""))
}

/// A limit by its line in `/proc/self/limits`: the soft one and the hard one.
fn limits(name: &str) -> io::Result<(u64, u64)> {
    let path = "/proc/self/limits";
    let text = fs::read_to_string(path).map_err(|error| about(path, &error))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let line = line.ok_or_else(|| odd(path, &format!("no line `{name}`")))?;
    let mut words = line.split_whitespace().map(|word| match word {
        "unlimited" => Ok(u64::MAX),
        word => word.parse().map_err(|_| odd(path, word)),
    });
    let mut next = || words.next().unwrap_or_else(|| Err(odd(path, line)));
    Ok((next()?, next()?))
}

const CAP_IPC_LOCK: u64 = 1 << 14;
const CAP_SYS_ADMIN: u64 = 1 << 21;

/// Whether this process has a capability that counts for the whole machine.
fn has_capability(capability: u64) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = capabilities.and_then(|word| u64::from_str_radix(word.trim(), 16).ok()).unwrap_or(0);
    // The first user namespace maps everybody to themselves; capabilities of any other do not count here.
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"]) && capabilities & capability != 0
}

fn lockable_bytes() -> io::Result<Option<u64>> {
    let (soft, _) = limits("Max locked memory")?;
    Ok(Some(soft).filter(|&soft| soft != u64::MAX && !has_capability(CAP_IPC_LOCK)))
}

fn threads_left() -> Option<u64> {
    let loads = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let there = loads.split_whitespace().nth(3).and_then(|word| word.split_once('/')?.1.parse::<u64>().ok());
    let left = number::<u64>("/proc/sys/kernel/threads-max").ok().zip(there);
    let left = left.map(|(max, there)| max.saturating_sub(there));
    [left, pids_left()].into_iter().flatten().min()
}

fn conntrack() -> Option<Conntrack> {
    let max = number("/proc/sys/net/netfilter/nf_conntrack_max").ok()?;
    let count = number("/proc/sys/net/netfilter/nf_conntrack_count").unwrap_or(0);
    Some(Conntrack { count, max })
}

/// Threads that this process's cgroup (version 2) and those above it leave; `None` where nothing is limited.
fn pids_left() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mut folder = std::path::Path::new("/sys/fs/cgroup").join(path);
    let mut left = None::<u64>;
    while folder.starts_with("/sys/fs/cgroup") {
        let max = number::<u64>(&folder.join("pids.max").to_string_lossy()).ok();
        let used = number::<u64>(&folder.join("pids.current").to_string_lossy()).ok();
        if let (Some(max), Some(used)) = (max, used) {
            let here = max.saturating_sub(used);
            left = Some(left.map_or(here, |left| left.min(here)));
        }
        if !folder.pop() {
            break;
        }
    }
    left
}

/// How many ports of `range` a list such as `8080,9000-9100` keeps out.
fn reserved_within(list: &str, range: (u64, u64)) -> u64 {
    let ends = |part: &str| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        Some((low.parse::<u64>().ok()?.max(range.0), high.parse::<u64>().ok()?.min(range.1)))
    };
    let parts = list.trim().split(',').filter_map(ends);
    parts.map(|(low, high)| (high + 1).saturating_sub(low)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_be_read() {
        let machine = Machine::read().unwrap();
        assert!(machine.files_per_table > 0 && machine.memory_available_bytes > 0, "{machine:?}");
        assert!(machine.port_range.0 < machine.port_range.1, "{machine:?}");
    }

    #[test]
    fn limits_are_told_soft_and_hard() {
        let (soft, hard) = limits("Max open files").unwrap();
        assert!(soft > 0 && soft <= hard);
        assert!(limits("Max of nothing").unwrap_err().to_string().contains("Max of nothing"));
    }

    #[test]
    fn reserved_ports_count_within_the_range_alone() {
        assert_eq!(reserved_within("8080,40000-40009,60999\n", (32_768, 60_999)), 11);
        assert_eq!(reserved_within("\n", (32_768, 60_999)), 0);
    }
}
