//! How much memory can be had.

use std::fs;
use std::path::{Path, PathBuf};

const MEMINFO: &str = "/proc/meminfo";

/// Pages are of 4 KiB on x86-64 and by default on arm64; where they are larger, this counts too little.
const PAGE_BYTES: u64 = 4096;

/// How memory cgroups of one version name their files, and what of their use the kernel takes back under pressure.
#[derive(Debug)]
struct Version {
    limit: &'static str,
    used: &'static str,
    cache: &'static [&'static str],
    /// Reclaimable slab, where it tells.
    slab: Option<&'static str>,
    /// How often somebody found the limit reached: a file, and what its line begins with.
    reached: (&'static str, &'static str),
}

/// `memory.stat` of version 2.
const V2: Version = Version {
    limit: "memory.max",
    used: "memory.current",
    cache: &["inactive_file ", "active_file "],
    slab: Some("slab_reclaimable "),
    reached: ("memory.events", "max "),
};
/// `memory.stat` of version 1, children included.
const V1: Version = Version {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cache: &["total_inactive_file ", "total_active_file "],
    slab: None,
    reached: ("memory.failcnt", ""),
};

/// Looks at how much memory can be had. Made before a run, since it finds the memory cgroups that limit this process, and notes
/// how much of the kernel's slab was reclaimable then; a look reads /proc/meminfo and /proc/zoneinfo, and three files of each such cgroup.
///
/// Inodes and directory entries of open sockets stand in caches that the kernel calls reclaimable and counts as available, a
/// kilobyte for each socket, but it cannot take them back. So of reclaimable slab only as much counts here as there was
/// before the run.
///
/// Free pages that a core keeps at hand, an eighth of the memory after somebody has freed much, the kernel counts as neither free
/// nor available. It takes them from there before it would refuse anybody, so they count here.
#[derive(Debug)]
pub struct Available {
    slab_before: u64,
    groups: Vec<Group>,
}

/// A memory cgroup with a limit.
#[derive(Debug)]
struct Group {
    folder: PathBuf,
    version: &'static Version,
    slab_before: u64,
}

impl Available {
    /// Finds the limited cgroups among this process's own and those above it.
    pub fn of_this_process() -> Available {
        let of = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let meminfo = fs::read_to_string(MEMINFO).unwrap_or_default();
        let total = kib(&meminfo, "MemTotal:").unwrap_or(u64::MAX);
        let mut groups = Vec::new();
        for line in of.lines() {
            let mut parts = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            let (roots, version): (&[&str], _) = match controllers {
                "" => (&["/sys/fs/cgroup/unified", "/sys/fs/cgroup"], &V2),
                some if some.split(',').any(|name| name == "memory") => (&["/sys/fs/cgroup/memory"], &V1),
                _ => continue,
            };
            for root in roots {
                let mut folder = Path::new(root).join(path.trim_start_matches('/'));
                while folder.starts_with(root) {
                    // Version 1 writes the absence of a limit as a number beyond every machine.
                    if number(&folder.join(version.limit)).is_some_and(|limit| limit < total) {
                        groups.push(Group::new(folder.clone(), version));
                    }
                    folder.pop();
                }
            }
        }
        Available { slab_before: reclaimable_slab(&meminfo), groups }
    }

    /// The limit of the tightest of the cgroups; `None`: there is none.
    pub fn limit_bytes(&self) -> Option<u64> {
        self.groups.iter().filter_map(|group| number(&group.folder.join(group.version.limit))).min()
    }

    /// How often somebody found the limit of the tightest cgroup reached, ever; `None`: there is no limit.
    pub fn times_at_limit(&self) -> Option<u64> {
        let limit = |group: &&Group| number(&group.folder.join(group.version.limit));
        let tightest = self.groups.iter().min_by_key(|group| limit(group).unwrap_or(u64::MAX))?;
        let (file, line) = tightest.version.reached;
        value(&fs::read_to_string(tightest.folder.join(file)).ok()?, line)
    }

    /// Bytes that can be had now: MemAvailable without what sockets hold, or what the tightest cgroup leaves. `None` where
    /// /proc does not tell.
    pub fn bytes(&self) -> Option<u64> {
        let meminfo = fs::read_to_string(MEMINFO).ok()?;
        let at_hand = pages_at_hand(&fs::read_to_string("/proc/zoneinfo").unwrap_or_default());
        let machine = available(&meminfo, self.slab_before)? + at_hand * PAGE_BYTES;
        self.groups.iter().filter_map(Group::left).chain([machine]).min()
    }
}

/// MemAvailable, without the reclaimable slab that has come since there were `slab_before` bytes of it.
fn available(meminfo: &str, slab_before: u64) -> Option<u64> {
    let held = reclaimable_slab(meminfo).saturating_sub(slab_before);
    Some(kib(meminfo, "MemAvailable:")?.saturating_sub(held))
}

/// The sum of the lists of free pages of all cores.
fn pages_at_hand(zoneinfo: &str) -> u64 {
    let counts = zoneinfo.lines().filter_map(|line| line.trim_start().strip_prefix("count:"));
    counts.filter_map(|count| count.trim().parse::<u64>().ok()).sum()
}

fn reclaimable_slab(meminfo: &str) -> u64 {
    kib(meminfo, "KReclaimable:").or_else(|| kib(meminfo, "SReclaimable:")).unwrap_or(0)
}

impl Version {
    fn slab(&self, stat: &str) -> u64 {
        self.slab.and_then(|name| value(stat, name)).unwrap_or(0)
    }
}

impl Group {
    fn new(folder: PathBuf, version: &'static Version) -> Group {
        let slab_before = version.slab(&stat(&folder));
        Group { folder, version, slab_before }
    }

    /// What it leaves: its limit, less what it uses and cannot be made to give back.
    fn left(&self) -> Option<u64> {
        let Group { folder, version, slab_before } = self;
        let (limit, used) = (number(&folder.join(version.limit))?, number(&folder.join(version.used))?);
        let stat = stat(folder);
        let cache: u64 = version.cache.iter().filter_map(|name| value(&stat, name)).sum();
        let slab = version.slab(&stat).min(*slab_before);
        Some(limit.saturating_sub(used.saturating_sub(cache + slab)))
    }
}

fn stat(folder: &Path) -> String {
    fs::read_to_string(folder.join("memory.stat")).unwrap_or_default()
}

fn value(stat: &str, name: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

/// A file that holds one number; `max` is none.
fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The value of a line `name:   123 kB`, in bytes.
pub(crate) fn kib(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory_to_give() {
        let total = kib(&fs::read_to_string(MEMINFO).unwrap(), "MemTotal:").unwrap();
        let available = Available::of_this_process().bytes().unwrap();
        assert!(available > 0 && available < total);
    }

    #[test]
    fn what_sockets_hold_is_not_available_though_the_kernel_says_so() {
        let text = "MemAvailable:  9000 kB\nKReclaimable:  3000 kB\nSReclaimable:  2000 kB\n";
        assert_eq!(available(text, 1000 << 10), Some(7000 << 10), "2000 came with the run");
        assert_eq!(available(text, 4000 << 10), Some(9000 << 10), "some was given back meanwhile");
        assert_eq!(available("MemAvailable: 9000 kB\nSReclaimable: 2000 kB\n", 0), Some(7000 << 10));
        assert_eq!(available("KReclaimable: 3000 kB\n", 0), None);
    }

    #[test]
    fn a_cgroup_leaves_what_it_can_be_made_to_give_back() {
        let home = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(home.path().join(name), text).unwrap();
        write("memory.max", "1000\n");
        write("memory.current", "900\n");
        write("memory.stat", "anon 500\ninactive_file 200\nactive_file 50\nslab_reclaimable 25\n");
        let group = Group::new(home.path().to_owned(), &V2);
        assert_eq!(group.left(), Some(1000 - 900 + 275));
        write("memory.stat", "anon 500\ninactive_file 200\nactive_file 50\nslab_reclaimable 60\n");
        assert_eq!(group.left(), Some(1000 - 900 + 275), "sockets keep what has come since");
        write("memory.events", "low 0\nhigh 1\nmax 17\noom 0\n");
        let available = Available { slab_before: 0, groups: vec![Group::new(home.path().to_owned(), &V2)] };
        assert_eq!(available.times_at_limit(), Some(17));
        write("memory.max", "max\n");
        assert_eq!(group.left(), None);
    }

    #[test]
    fn pages_that_cores_keep_at_hand_are_counted() {
        let text = "Node 0, zone   Normal\n  pages free     4660154\n  pagesets\n    cpu: 0\n              count:    282754\n              \
                    high:     282994\n    cpu: 1\n              count:    202172\n";
        assert_eq!(pages_at_hand(text), 484_926);
    }

    #[test]
    fn memory_is_told_in_bytes() {
        let text = "MemTotal:       100 kB\nMemAvailable:    40 kB\n";
        assert_eq!(kib(text, "MemAvailable:"), Some(40 * 1024));
        assert_eq!(kib(text, "MemAvail:"), None);
    }
}
