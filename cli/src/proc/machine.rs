//! The machine's memory: how much there is, and what the kernel holds outside its slab caches.

use std::collections::BTreeMap;
use std::fs;

/// Lines of /proc/meminfo about the kernel's own memory, and what the schema calls them.
const KERNEL_LINES: [(&str, &str); 5] = [
    ("Percpu:", "percpu_bytes"),
    ("KernelStack:", "kernel_stack_bytes"),
    ("VmallocUsed:", "vmalloc_bytes"),
    ("PageTables:", "page_table_bytes"),
    ("SecPageTables:", "sec_page_table_bytes"),
];

/// Pages are of 4 KiB wherever /proc/net counts in them, on x86-64 and by default on arm64.
const PAGE_BYTES: i64 = 4096;

/// Memory of the kernel outside slab caches, by the schema's names, in bytes. `slab_bytes` is what all caches hold together:
/// the rest of what the kernel calls slab is allocations too large for one.
pub(crate) fn kernel(slab_bytes: Option<i64>) -> BTreeMap<String, i64> {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = |name: &str| super::kib(&meminfo, name).map(|bytes| bytes as i64);
    let mut found: BTreeMap<String, i64> = KERNEL_LINES
        .iter()
        .filter_map(|(name, as_what)| Some(((*as_what).to_owned(), line(name)?)))
        .collect();
    if let (Some(all), Some(caches)) = (line("Slab:"), slab_bytes) {
        found.insert("large_allocation_bytes".to_owned(), all - caches);
    }
    let sockstat = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    if let Some(pages) = tcp_pages(&sockstat) {
        found.insert("tcp_queue_bytes".to_owned(), pages * PAGE_BYTES);
    }
    found
}

/// `TCP: inuse 4 orphan 0 tw 2 alloc 6 mem 3`: the last one.
fn tcp_pages(sockstat: &str) -> Option<i64> {
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    line.split_whitespace().skip_while(|&word| word != "mem").nth(1)?.parse().ok()
}

/// Memory of the whole machine.
pub(crate) fn total_bytes() -> Option<u64> {
    super::kib(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// Seconds since boot.
pub(crate) fn uptime_s() -> Option<f64> {
    fs::read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_tells_what_its_kernel_holds() {
        assert!(total_bytes() > Some(0));
        assert!(kernel(Some(0))["large_allocation_bytes"] > 0 && uptime_s() > Some(0.0));
    }

    #[test]
    fn queues_of_sockets_are_counted_in_pages() {
        let text = "sockets: used 13\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 7\nUDP: inuse 0 mem 3\n";
        assert_eq!(tcp_pages(text), Some(7));
    }
}
