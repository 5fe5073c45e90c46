//! The kernel's slab caches, and what of their growth belongs to connections.
//!
//! /proc/slabinfo counts objects exactly but names them badly: the kernel merges caches of the same size and shows the group
//! under the name of whichever came first. /sys/kernel/slab tells who is merged with whom. Where a watcher's cache is merged
//! with a socket's (an epoll registration and a bind bucket are both 128 bytes), the number of `ep_head` tells them apart:
//! every file that an epoll watches has exactly one of those, beside one `eventpoll_epi` and one `eventpoll_pwq`.
//!
//! Objects are counted, not pages: half-empty slabs from before a run would hide what is added to them.

use std::collections::{BTreeMap, HashMap};
use std::fs;

use throng_report::schema::SlabGrowth;

/// Growth belongs to the socket itself.
pub(crate) const SOCKET: &str = "socket";
/// Growth is beyond the socket: somebody watches it.
pub(crate) const WATCHING: &str = "watching";
/// Growth is what a memory cgroup notes about the objects of the others: who pays for each.
pub(crate) const CGROUP: &str = "cgroup";
/// Growth has nothing to do with connections.
pub(crate) const OTHER: &str = "other";

/// Caches of a TCP socket itself, and whether a memory cgroup is charged for their objects.
const SOCKET_CACHES: [(&str, bool); 13] = [
    ("TCP", true),
    ("TCPv6", true),
    ("sock_inode_cache", true),
    ("filp", true),
    ("dentry", true),
    ("lsm_inode_cache", false),
    ("lsm_file_cache", false),
    ("tcp_bind_bucket", true),
    ("tcp_bind2_bucket", true),
    ("skbuff_head_cache", false),
    ("skbuff_small_head", false),
    ("skbuff_fclone_cache", false),
    ("request_sock_TCP", false),
];

/// Caches of whoever watches sockets; a memory cgroup is charged for all of their objects.
const WATCHING_CACHES: [&str; 4] = ["io_kiocb", "ep_head", EPOLL_CACHES[0], EPOLL_CACHES[1]];
/// Of those: with one object per `ep_head`.
const EPOLL_CACHES: [&str; 2] = ["eventpoll_epi", "eventpoll_pwq"];

/// What a memory cgroup notes per object, and in what: one allocation per slab, from the general caches.
const NOTE_BYTES: i64 = 8;

/// Growth per end from which a named cache is told.
const NAMED_BYTES_MIN: f64 = 1.0;
/// Growth per end from which a cache that everybody uses is told. The smallest object is 8 bytes, so less is not one for
/// each connection.
const SHARED_BYTES_MIN: f64 = 4.0;

/// Slab pages are of 4 KiB in /proc/slabinfo, as all pages on x86-64 and by default on arm64.
const PAGE_BYTES: i64 = 4096;

/// One line of /proc/slabinfo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cache {
    /// In use, or on a slab that a core has at hand: a few slabs per core too many.
    objects: i64,
    objects_per_slab: i64,
    slab_bytes: i64,
    slabs: i64,
}

/// All slab caches at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slabs {
    caches: HashMap<String, Cache>,
    /// Under which name /proc/slabinfo shows a cache that is merged with another.
    shown_as: HashMap<&'static str, String>,
}

impl Slabs {
    /// Looks now; `None` where /proc/slabinfo is not for us (it is root's).
    pub(crate) fn read() -> Option<Slabs> {
        let caches = parse(&fs::read_to_string("/proc/slabinfo").ok()?);
        let links = fs::read_dir("/sys/kernel/slab").into_iter().flatten().flatten().filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            Some((entry.file_name().into_string().ok()?, target.to_str()?.to_owned()))
        });
        let shown_as = shown(&caches, &links.collect());
        Some(Slabs { caches, shown_as })
    }

    /// What all caches hold, in bytes: whole slabs.
    pub(crate) fn bytes(&self) -> i64 {
        self.caches.values().map(|cache| cache.slabs * cache.slab_bytes).sum()
    }

    /// TCP sockets that were added since `before`, by whomever on this machine.
    pub(crate) fn sockets_since(&self, before: &Slabs) -> i64 {
        let of = |slabs: &Slabs, name: &str| slabs.caches.get(name).map_or(0, |cache| cache.objects);
        ["TCP", "TCPv6"].iter().map(|name| of(self, name) - of(before, name)).sum()
    }

    /// The name under which a cache is shown; `None` when this kernel has it nowhere.
    fn shown(&self, name: &str) -> Option<&str> {
        match self.caches.get_key_value(name) {
            Some((name, _)) => Some(name),
            None => self.shown_as.get(name).map(String::as_str),
        }
    }

    /// What was added since `before`, the largest first, for `ends` ends of connections.
    pub(crate) fn growth(&self, before: &Slabs, ends: u64) -> Vec<SlabGrowth> {
        Account::new(before, self).close(ends)
    }

    /// Growth of whole slabs since `before`, in bytes, of the caches that `growth` names.
    pub(crate) fn whole(&self, before: &Slabs, growth: &[SlabGrowth]) -> BTreeMap<String, i64> {
        let counted = growth.iter().filter(|one| one.group != OTHER).flat_map(|one| one.cache.split('+'));
        let held = |slabs: &Slabs, name: &str| {
            slabs.caches.get(name).map_or(0, |cache| cache.slabs * cache.slab_bytes)
        };
        let shown = counted.filter_map(|name| self.shown(name));
        shown.map(|name| (name.to_owned(), held(self, name) - held(before, name))).collect()
    }
}

fn parse(text: &str) -> HashMap<String, Cache> {
    let line = |line: &str| {
        // name active objects size objects-per-slab pages-per-slab : tunables .. : slabdata active-slabs slabs shared
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = words.iter().position(|&word| word == "slabdata")?;
        let number = |i: usize| words.get(i).and_then(|word| word.parse::<i64>().ok());
        let cache = Cache {
            objects: number(1)?,
            objects_per_slab: number(4)?.max(1),
            slab_bytes: number(5)? * PAGE_BYTES,
            slabs: number(at + 2)?,
        };
        Some((words[0].to_owned(), cache))
    };
    text.lines().filter_map(line).collect()
}

/// Where each cache of ours is shown that is not shown under its own name: under that of another with the same target.
fn shown(caches: &HashMap<String, Cache>, links: &HashMap<String, String>) -> HashMap<&'static str, String> {
    let ours = SOCKET_CACHES.iter().map(|(name, _)| *name).chain(WATCHING_CACHES);
    let merged = ours.filter(|name| !caches.contains_key(*name));
    let with = |name: &str| {
        let target = links.get(name)?;
        let mut others = links.iter().filter(|(_, to)| *to == target).map(|(other, _)| other);
        others.find(|other| caches.contains_key(*other)).cloned()
    };
    merged.filter_map(|name| Some((name, with(name)?))).collect()
}

/// Objects that were added, handed out to whom they belong.
struct Account<'a> {
    held: &'a Slabs,
    /// By shown name: what nobody has taken yet.
    left: BTreeMap<&'a str, i64>,
    taken: Vec<Taken<'a>>,
}

struct Taken<'a> {
    name: String,
    shown: &'a str,
    group: &'static str,
    objects: i64,
}

impl<'a> Account<'a> {
    fn new(before: &Slabs, held: &'a Slabs) -> Account<'a> {
        let added = |(name, cache): (&'a String, &Cache)| {
            let then = before.caches.get(name).map_or(0, |cache| cache.objects);
            (name.as_str(), (cache.objects - then).max(0))
        };
        Account { held, left: held.caches.iter().map(added).collect(), taken: Vec::new() }
    }

    /// Hands out up to `most` of what is left of a cache.
    fn take(&mut self, shown: &'a str, name: &str, group: &'static str, most: i64) -> i64 {
        let left = self.left.get_mut(shown).expect("a shown cache is in the account");
        let objects = most.min(*left);
        *left -= objects;
        let same = self.taken.iter_mut().find(|taken| taken.shown == shown && taken.group == group);
        match same {
            // Two of ours that the kernel merged: together they are what is known.
            Some(taken) => {
                taken.objects += objects;
                taken.name = format!("{}+{name}", taken.name);
            }
            None => self.taken.push(Taken { name: name.to_owned(), shown, group, objects }),
        }
        objects
    }

    fn close(mut self, ends: u64) -> Vec<SlabGrowth> {
        let heads = self.held.shown("ep_head").and_then(|shown| self.left.get(shown)).copied();
        let watching = WATCHING_CACHES.map(|name| (name, true, WATCHING));
        let socket = SOCKET_CACHES.map(|(name, charged)| (name, charged, SOCKET));
        let mut notes = BTreeMap::<i64, i64>::new();
        for (name, charged, group) in watching.into_iter().chain(socket) {
            let Some(shown) = self.held.shown(name) else { continue };
            let most = heads.filter(|_| EPOLL_CACHES.contains(&name)).unwrap_or(i64::MAX);
            let objects = self.take(shown, name, group, most);
            if charged {
                let per_slab = self.held.caches[shown].objects_per_slab;
                *notes.entry(general_size(per_slab * NOTE_BYTES)).or_default() +=
                    (objects + per_slab - 1) / per_slab;
            }
        }
        self.general(notes);
        for (shown, objects) in self.left.clone() {
            self.take(shown, shown, OTHER, objects);
        }
        let mut growth: Vec<SlabGrowth> =
            self.taken.iter().filter_map(|taken| told(taken, self.held, ends)).collect();
        growth.sort_by_key(|one| std::cmp::Reverse(one.bytes));
        growth
    }

    /// The general caches: of each size first the notes on the objects, as far as there can be any, then what watches.
    fn general(&mut self, mut notes: BTreeMap<i64, i64>) {
        let general: Vec<&'a str> =
            self.left.keys().copied().filter(|name| name.starts_with("kmalloc-")).collect();
        for shown in general {
            // Notes are charged to nobody and cannot be taken back.
            let plain = !["-cg-", "-rcl-"].iter().any(|kind| shown.contains(kind));
            if let Some(count) = size_of_name(shown).filter(|_| plain).and_then(|size| notes.get_mut(&size)) {
                *count -= self.take(shown, shown, CGROUP, *count);
            }
            self.take(shown, shown, WATCHING, i64::MAX);
        }
    }
}

/// What is told of a cache; `None` when it is too little to be for each connection.
fn told(taken: &Taken<'_>, held: &Slabs, ends: u64) -> Option<SlabGrowth> {
    let cache = held.caches[taken.shown];
    let bytes = taken.objects * cache.slab_bytes / cache.objects_per_slab;
    let bytes_per_end = bytes as f64 / ends.max(1) as f64;
    let everybodys = taken.group == OTHER || taken.shown.starts_with("kmalloc-");
    let least = if everybodys { SHARED_BYTES_MIN } else { NAMED_BYTES_MIN };
    (bytes_per_end >= least).then(|| SlabGrowth {
        cache: taken.name.clone(),
        group: taken.group.to_owned(),
        objects: taken.objects,
        bytes,
        bytes_per_end,
    })
}

/// The size of the general cache that an allocation comes from.
fn general_size(bytes: i64) -> i64 {
    match bytes {
        65..=96 => 96,
        129..=192 => 192,
        _ => (bytes.max(8) as u64).next_power_of_two() as i64,
    }
}

/// 2048 of `kmalloc-2k`, also of `kmalloc-rnd-03-2k`.
fn size_of_name(name: &str) -> Option<i64> {
    let size = name.rsplit('-').next()?;
    match size.strip_suffix('k') {
        Some(thousands) => thousands.parse::<i64>().ok().map(|size| size * 1024),
        None => size.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Caches as (name, objects, objects per slab, pages per slab), and who is merged into whom.
    fn slabs(caches: &[(&str, i64, i64, i64)], merged: &[(&'static str, &str)]) -> Slabs {
        let cache = |&(name, objects, objects_per_slab, pages): &(&str, i64, i64, i64)| {
            let slabs = (objects + objects_per_slab - 1) / objects_per_slab;
            (name.to_owned(), Cache { objects, objects_per_slab, slab_bytes: pages * PAGE_BYTES, slabs })
        };
        Slabs {
            caches: caches.iter().map(cache).collect(),
            shown_as: merged.iter().map(|(name, shown)| (*name, (*shown).to_owned())).collect(),
        }
    }

    fn rows(growth: &[SlabGrowth]) -> Vec<(&str, &str, i64)> {
        growth.iter().map(|one| (one.cache.as_str(), one.group.as_str(), one.objects)).collect()
    }

    const MERGED: [(&str, &str); 3] = [
        ("tcp_bind_bucket", "eventpoll_epi"),
        ("tcp_bind2_bucket", "eventpoll_epi"),
        ("eventpoll_pwq", "anon_vma_chain"),
    ];

    #[test]
    fn a_line_is_read_by_its_columns() {
        let text = "slabinfo - version: 2.1\n# name  <active_objs> <num_objs> .. : slabdata <active_slabs> <num_slabs>\n\
                    TCP 10 26 2368 13 8 : tunables 0 0 0 : slabdata 2 2 0\n";
        let caches = parse(text);
        let tcp = Cache { objects: 10, objects_per_slab: 13, slab_bytes: 8 * 4096, slabs: 2 };
        assert_eq!(caches, HashMap::from([("TCP".to_owned(), tcp)]));
    }

    #[test]
    fn a_merged_cache_is_found_under_the_name_that_is_shown() {
        let of = |list: &[(&str, &str)]| -> HashMap<String, String> {
            list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
        };
        let links = of(&[("tcp_bind_bucket", ":128"), ("eventpoll_epi", ":128"), ("pid", ":192")]);
        let shown = shown(&slabs(&[("eventpoll_epi", 1, 32, 1), ("pid", 1, 21, 1)], &[]).caches, &links);
        assert_eq!(shown, HashMap::from([("tcp_bind_bucket", "eventpoll_epi".to_owned())]));
    }

    #[test]
    fn over_io_uring_what_is_shown_as_epolls_is_the_clients_ports() {
        let before =
            slabs(&[("TCP", 0, 13, 8), ("io_kiocb", 0, 16, 1), ("eventpoll_epi", 5, 32, 1)], &MERGED);
        let held = [("TCP", 2000, 13, 8), ("io_kiocb", 2000, 16, 1), ("eventpoll_epi", 1805, 32, 1)];
        let held =
            slabs(&[&held[..], &[("ep_head", 0, 256, 1), ("anon_vma_chain", 9, 64, 1)]].concat(), &MERGED);
        let growth = held.growth(&before, 2000);
        assert_eq!(
            rows(&growth),
            [
                ("TCP", SOCKET, 2000),
                ("io_kiocb", WATCHING, 2000),
                ("tcp_bind_bucket+tcp_bind2_bucket", SOCKET, 1800)
            ]
        );
        assert_eq!(growth[1].bytes_per_end, 256.0);
        assert_eq!(growth[0].bytes, 2000 * 8 * 4096 / 13, "with the waste of its slab");
        let whole = held.whole(&before, &growth);
        assert_eq!(whole["eventpoll_epi"], (57 - 1) * 4096, "whole slabs, under the shown name");
    }

    #[test]
    fn over_epoll_the_watched_files_tell_registrations_from_ports() {
        let before = slabs(&[("ep_head", 7, 256, 1)], &MERGED);
        let held =
            [("ep_head", 2007, 256, 1), ("eventpoll_epi", 3100, 32, 1), ("anon_vma_chain", 2900, 64, 1)];
        let growth = slabs(&held, &MERGED).growth(&before, 2000);
        assert_eq!(
            rows(&growth),
            [
                ("eventpoll_epi", WATCHING, 2000),
                ("tcp_bind_bucket+tcp_bind2_bucket", SOCKET, 1100),
                ("eventpoll_pwq", WATCHING, 2000),
                ("anon_vma_chain", OTHER, 900),
                ("ep_head", WATCHING, 2000)
            ]
        );
    }

    #[test]
    fn what_a_cgroup_notes_is_told_apart_from_what_it_is_about() {
        // 13 sockets per slab, 16 polls: 104 and 128 bytes of notes, both from kmalloc-128. The rest watches.
        let held = [("TCP", 13_000, 13, 8), ("io_kiocb", 16_000, 16, 1), ("kmalloc-128", 2812, 32, 1)];
        let growth = slabs(&held, &[]).growth(&slabs(&[], &[]), 13_000);
        let notes: Vec<_> = growth.iter().filter(|one| one.cache == "kmalloc-128").collect();
        let notes: Vec<_> = notes.iter().map(|one| (one.group.as_str(), one.objects)).collect();
        assert_eq!(notes, [(CGROUP, 2000), (WATCHING, 812)]);
        let held = [("TCP", 13_000, 13, 8), ("kmalloc-128", 500, 32, 1), ("kmalloc-32", 13_000, 128, 1)];
        let growth = slabs(&held, &[]).growth(&slabs(&[], &[]), 13_000);
        assert_eq!(
            rows(&growth)[1..],
            [("kmalloc-32", WATCHING, 13_000), ("kmalloc-128", CGROUP, 500)],
            "never more notes than there are"
        );
    }

    #[test]
    fn general_caches_are_known_by_their_size() {
        assert_eq!([1, 64, 65, 104, 152, 256, 2048].map(general_size), [8, 64, 96, 128, 192, 256, 2048]);
        let names = ["kmalloc-192", "kmalloc-2k", "kmalloc-rnd-03-1k", "kmalloc-x"];
        assert_eq!(names.map(size_of_name), [Some(192), Some(2048), Some(1024), None]);
    }
}
