//! What the kernel holds at a time: the highest that was seen of it.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

/// How often to look: three files of /proc, which take the kernel 20 us together.
const LOOK: Duration = Duration::from_millis(100);

/// The highest value of each gauge, by the schema's names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peaks {
    highest: BTreeMap<String, u64>,
    next: Option<Instant>,
}

impl Peaks {
    /// Looks once more, if it is time to.
    pub(crate) fn look(&mut self, now: Instant) {
        if self.next.is_some_and(|next| now < next) {
            return;
        }
        self.next = Some(now + LOOK);
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let sockets = sockstat(&text("/proc/net/sockstat"));
        let files = first("file_nr", &text("/proc/sys/fs/file-nr"));
        let tracked = first("nf_conntrack_count", &text("/proc/sys/net/netfilter/nf_conntrack_count"));
        self.take(sockets.into_iter().chain(files).chain(tracked));
    }

    /// The highest of each; what this kernel does not tell is left out.
    pub(crate) fn highest(&self) -> BTreeMap<String, u64> {
        self.highest.clone()
    }

    fn take(&mut self, seen: impl Iterator<Item = (String, u64)>) {
        for (name, now) in seen {
            let highest = self.highest.entry(name).or_default();
            *highest = now.max(*highest);
        }
    }
}

/// `TCP: inuse 4 orphan 0 tw 2 alloc 6 mem 3`: pairs of a name and a number.
fn sockstat(text: &str) -> Vec<(String, u64)> {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:")).unwrap_or_default();
    let words: Vec<&str> = line.split_whitespace().collect();
    let pairs = words.chunks_exact(2);
    pairs.filter_map(|pair| Some((format!("sockstat_tcp_{}", pair[0]), pair[1].parse().ok()?))).collect()
}

/// The first number of a file.
fn first(name: &str, text: &str) -> Option<(String, u64)> {
    Some((name.to_owned(), text.split_whitespace().next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_tells_its_sockets_and_files() {
        let mut peaks = Peaks::default();
        peaks.look(Instant::now());
        let seen = peaks.highest();
        assert!(seen["file_nr"] > 0 && seen.contains_key("sockstat_tcp_orphan"), "{seen:?}");
    }

    #[test]
    fn the_highest_of_each_stays() {
        let mut peaks = Peaks::default();
        for text in
            ["TCP: inuse 4 orphan 0 tw 2 alloc 6 mem 3\n", "TCP: inuse 1 orphan 7 tw x\nUDP: inuse 9\n"]
        {
            peaks.take(sockstat(text).into_iter());
        }
        let expected = [("alloc", 6), ("inuse", 4), ("mem", 3), ("orphan", 7), ("tw", 2)];
        let expected = expected.map(|(name, value)| (format!("sockstat_tcp_{name}"), value));
        assert_eq!(peaks.highest(), BTreeMap::from(expected));
    }
}
