//! What the machine allows, read from /proc and /sys.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::available::{Available, kib};
use crate::knob::Place;
use crate::knobs::{ALLOWED_CONGESTION, CONNTRACK_COUNT, KNOBS};

/// What stands at the place of each knob, by its name, as the kernel writes it with single spaces.
pub type Settings = BTreeMap<String, String>;

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// `eth0`.
    pub name: String,
    /// Its receive queues.
    pub queues: u64,
}

/// What the machine allows, and how it is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Whether it is looked at from a lab, whose settings `throng run --sysctl` sets and nobody else.
    pub in_lab: bool,
    /// Those settings that can be seen from here. What is missing this kernel lacks, or no namespace shows it.
    pub settings: Settings,
    /// RLIMIT_NOFILE, the hard one: the commands raise the soft one to it.
    pub files_per_table: u64,
    /// Whether fs.file-max holds for this process: whoever has CAP_SYS_ADMIN goes beyond, and everybody else is refused meanwhile.
    pub file_max_holds: bool,
    /// Open files of the whole machine now.
    pub files_used: u64,
    /// RLIMIT_MEMLOCK, the hard one as above, which rings count against; `None` for whoever may lock without limit (CAP_IPC_LOCK, which does not
    /// count in a user namespace).
    pub lockable_bytes: Option<u64>,
    /// Threads that can still be started: kernel.threads-max, kernel.pid_max and the cgroup's pids.max, less those that are there; `None`: no limit.
    pub threads_left: Option<u64>,
    /// Memory of the machine.
    pub memory_total_bytes: u64,
    /// Memory that can be had now: [`Available::bytes`].
    pub memory_available_bytes: u64,
    /// The limit of the tightest memory cgroup; `None`: none.
    pub cgroup_limit_bytes: Option<u64>,
    /// Swap.
    pub swap_bytes: u64,
    /// Cores that are online.
    pub cores: u64,
    /// Nodes of memory.
    pub numa_nodes: u64,
    /// Network cards, without loopback and whatever is no device.
    pub cards: Vec<Card>,
    /// Queues of cards that hand packets to other cores (RPS).
    pub rps_queues: u64,
}

impl Machine {
    /// Of a machine that was read inside a network namespace: with what `host`, read outside, has of settings that no
    /// namespace shows.
    #[must_use]
    pub fn with_settings_of(self, host: &Machine) -> Machine {
        self.with_settings(&host.settings)
    }

    /// With those of these settings that cannot be seen from here.
    #[must_use]
    pub fn with_settings(mut self, settings: &Settings) -> Machine {
        for (name, value) in settings {
            self.settings.entry(name.clone()).or_insert_with(|| value.clone());
        }
        self
    }

    /// Reads this machine.
    ///
    /// # Errors
    /// A file of /proc that every kernel has cannot be read or says something unexpected; the text names it.
    pub fn read() -> io::Result<Machine> {
        let memory = fs::read_to_string("/proc/meminfo").map_err(|error| about("/proc/meminfo", &error))?;
        let available = Available::of_this_process();
        let bytes = available.bytes().ok_or_else(|| odd("/proc/meminfo", &memory))?;
        let file_nr = words::<u64>("/proc/sys/fs/file-nr")?;
        let settings = settings();
        if !settings.contains_key(PORT_RANGE) {
            return Err(odd("/proc/sys/net/ipv4/ip_local_port_range", "nothing"));
        }
        let (cards, rps_queues) = cards();
        Ok(Machine {
            in_lab: false,
            settings,
            files_per_table: limits("Max open files")?.1,
            file_max_holds: !has_capability(CAP_SYS_ADMIN),
            files_used: file_nr.first().copied().unwrap_or(0),
            lockable_bytes: lockable_bytes()?,
            threads_left: threads_left(),
            memory_total_bytes: kib(&memory, "MemTotal:").unwrap_or(bytes),
            memory_available_bytes: bytes,
            cgroup_limit_bytes: available.limit_bytes(),
            swap_bytes: kib(&memory, "SwapTotal:").unwrap_or(0),
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64),
            numa_nodes: folders("/sys/devices/system/node", "node").len() as u64,
            cards,
            rps_queues,
        })
    }

    /// A setting as it stands there.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// A setting that is one number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// A setting that is one number, and may be negative.
    pub fn signed(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }

    /// The numbers of a setting that has several; empty where it is not there.
    pub fn numbers(&self, name: &str) -> Vec<u64> {
        self.text(name).unwrap_or_default().split(' ').filter_map(|word| word.parse().ok()).collect()
    }

    /// Ports that connections come from, both ends included.
    pub fn port_range(&self) -> (u64, u64) {
        match self.numbers(PORT_RANGE)[..] {
            [low, high] => (low, high),
            _ => (32_768, 60_999), // the kernel's own
        }
    }

    /// How many of them are not kept out by net.ipv4.ip_local_reserved_ports.
    pub fn ports(&self) -> u64 {
        let (low, high) = self.port_range();
        let reserved = reserved_within(self.text(RESERVED_PORTS).unwrap_or_default(), (low, high));
        (high + 1).saturating_sub(low).saturating_sub(reserved)
    }
}

const PORT_RANGE: &str = "net.ipv4.ip_local_port_range";
const RESERVED_PORTS: &str = "net.ipv4.ip_local_reserved_ports";

/// Where a sysctl is read and written.
pub fn sysctl_path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name.replace('.', "/"))
}

/// The word in brackets of a file that lists what may be chosen, as those below /sys/kernel/mm do.
pub(crate) fn chosen(text: &str) -> Option<&str> {
    text.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))
}

/// What stands at the places of all knobs.
fn settings() -> Settings {
    let places = KNOBS.iter().filter_map(|knob| match knob.place {
        Place::Sysctl => Some((knob.name, sysctl_path(knob.name))),
        Place::File(path) | Place::Read(path) => Some((knob.name, path.into())),
        Place::Boot(_) if knob.name.contains('.') => Some((knob.name, sysctl_path(knob.name))),
        _ => None,
    });
    let more = [CONNTRACK_COUNT, ALLOWED_CONGESTION].map(|name| (name, sysctl_path(name)));
    let value = |(name, path): (&str, PathBuf)| {
        let text = fs::read_to_string(path).ok()?;
        let value = chosen(&text).unwrap_or(&text);
        Some((name.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" ")))
    };
    places.chain(more).filter_map(value).collect()
}

/// The folders below one whose name begins so and goes on with a number.
fn folders(path: &str, begin: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let is_one = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(begin));
        rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    entries.filter(is_one).map(|entry| entry.path()).collect()
}

/// The network cards, and how many of their queues hand packets on.
fn cards() -> (Vec<Card>, u64) {
    let entries = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let (mut cards, mut handing_on) = (Vec::new(), 0);
    for entry in entries.filter(|entry| entry.path().join("device").exists()) {
        let queues = folders(&entry.path().join("queues").to_string_lossy(), "rx-");
        let hands_on = |queue: &&PathBuf| {
            let mask = fs::read_to_string(queue.join("rps_cpus")).unwrap_or_default();
            mask.chars().any(|digit| digit.is_ascii_hexdigit() && digit != '0')
        };
        handing_on += queues.iter().filter(hands_on).count() as u64;
        let name = entry.file_name().to_string_lossy().into_owned();
        cards.push(Card { name, queues: queues.len().max(1) as u64 });
    }
    cards.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    (cards, handing_on)
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
    let (_, hard) = limits("Max locked memory")?;
    Ok(Some(hard).filter(|&hard| hard != u64::MAX && !has_capability(CAP_IPC_LOCK)))
}

fn threads_left() -> Option<u64> {
    let loads = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let there = loads.split_whitespace().nth(3).and_then(|word| word.split_once('/')?.1.parse::<u64>().ok());
    let of = |path| Some(number::<u64>(path).ok()?.saturating_sub(there?));
    let (threads, pids) = (of("/proc/sys/kernel/threads-max"), of("/proc/sys/kernel/pid_max"));
    [threads, pids, pids_left()].into_iter().flatten().min()
}

/// Threads that this process's cgroup, of either version, and those above it leave; `None` where nothing is limited.
fn pids_left() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let of =
        |controllers: &str| text.lines().find_map(|line| line.split_once(':')?.1.strip_prefix(controllers));
    let root = "/sys/fs/cgroup";
    let mut folder = match (of(":/"), of("pids:/")) {
        (_, Some(path)) => Path::new(root).join("pids").join(path),
        (Some(path), None) => Path::new(root).join(path),
        (None, None) => return None,
    };
    let mut left = None::<u64>;
    while folder.starts_with(root) {
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
        assert!(
            machine.files_per_table > 0 && machine.memory_available_bytes > 0 && machine.numa_nodes > 0,
            "{machine:?}"
        );
        assert!(machine.port_range().0 < machine.port_range().1, "{machine:?}");
    }

    #[test]
    fn limits_are_told_soft_and_hard() {
        let (soft, hard) = limits("Max open files").unwrap();
        assert!(soft > 0 && soft <= hard);
        assert!(limits("Max of nothing").unwrap_err().to_string().contains("Max of nothing"));
    }

    #[test]
    fn of_several_the_chosen_one_counts() {
        assert_eq!(chosen("always [madvise] never\n"), Some("madvise"));
        assert_eq!(chosen("4096 131072\n"), None);
    }

    #[test]
    fn reserved_ports_count_within_the_range_alone() {
        assert_eq!(reserved_within("8080,40000-40009,60999\n", (32_768, 60_999)), 11);
        assert_eq!(reserved_within("\n", (32_768, 60_999)), 0);
    }
}
