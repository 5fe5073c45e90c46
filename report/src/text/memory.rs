//! Where each connection's bytes are, per side and in the kernel.

use super::{Page, bytes, known};
use crate::schema::{ProcessMemory, Summary};

/// Rows of the table, by the names of the schema. The first is what counts, resident; rings and TLS are parts of it, the
/// others are not.
const ROWS: [(&str, &str); 5] = [
    ("user", "user space, all in"),
    ("rings", "  of it rings"),
    ("tls", "  of it TLS"),
    ("allocated", "allocated, used or not"),
    ("page_tables", "page tables"),
];

/// Caches that are told by name, the largest of each group.
const CACHES_MAX: usize = 6;

impl Page {
    /// Nothing where nothing was looked at.
    pub(super) fn memory(&mut self, summary: &Summary) {
        let memory = &summary.memory;
        let sides = [memory.server.as_ref(), memory.generator.as_ref()];
        if sides.iter().flatten().any(|side| !side.bytes_per_connection.is_empty()) {
            self.head(&format!("{:<24}{:>12}{:>12}", "Memory per connection", "server", "generator"));
            for (name, shown) in ROWS {
                let values = sides.map(|side| grown(side, name));
                if name == "tls" && values == [None, None] {
                    continue;
                }
                let [server, generator] = values.map(|value| known(value, bytes));
                self.line(&format!("  {shown:<22}{server:>12}{generator:>12}"));
            }
            for (group, shown) in
                [("socket", "the socket"), ("watching", "beyond it"), ("cgroup", "cgroup's")]
            {
                self.slab(summary, group, shown);
            }
        }
        let machine = &memory.machine;
        let moments = [
            ("before", machine.available_bytes_before),
            ("held", machine.available_bytes_held),
            ("lowest", machine.available_bytes_lowest),
            ("after", machine.available_bytes_after),
        ];
        if moments.iter().any(|(_, left)| left.is_some()) {
            let figure = |(when, left): (&str, Option<u64>)| {
                format!("{when} {}", known(left.map(|left| left as f64), bytes))
            };
            self.figures("  machine has left: ", &moments.map(figure));
        }
    }

    /// One group of slab caches, per end.
    fn slab(&mut self, summary: &Summary, group: &str, shown: &str) {
        let rows: Vec<_> = summary.memory.kernel.slab.iter().filter(|row| row.group == group).collect();
        if rows.is_empty() {
            return;
        }
        let tables = summary.memory.kernel.tables_bytes_per_end.filter(|_| group == "watching");
        let sum = rows.iter().map(|row| row.bytes_per_end).sum::<f64>() + tables.unwrap_or(0.0);
        let mut figures = vec![bytes(sum)];
        figures.extend(
            rows.iter().take(CACHES_MAX).map(|row| format!("{} {}", row.cache, bytes(row.bytes_per_end))),
        );
        figures.extend(tables.map(|each| format!("tables of descriptors {}", bytes(each))));
        self.figures(&format!("  kernel, each end: {shown:<12}"), &figures);
    }
}

fn grown(side: Option<&ProcessMemory>, name: &str) -> Option<f64> {
    side?.bytes_per_connection.get(name).copied()
}

#[cfg(test)]
mod tests {
    use super::super::render;
    use super::*;
    use crate::schema::SlabGrowth;

    #[test]
    fn the_table_says_where_the_bytes_are() {
        let mut summary = Summary::default();
        let side = |user: f64| ProcessMemory {
            bytes_per_connection: [("user", user), ("allocated", 96.0), ("rings", 4.0)]
                .map(|(name, bytes)| (name.to_owned(), bytes))
                .into(),
            ..ProcessMemory::default()
        };
        summary.memory.server = Some(side(118.0));
        summary.memory.generator = Some(side(121.0));
        let row = |cache: &str, group: &str, bytes_per_end| SlabGrowth {
            cache: cache.into(),
            group: group.into(),
            bytes_per_end,
            ..SlabGrowth::default()
        };
        summary.memory.kernel.slab = vec![
            row("TCP", "socket", 2521.0),
            row("sock_inode_cache", "socket", 862.0),
            row("io_kiocb", "watching", 256.0),
            row("tcp_bind_bucket+tcp_bind2_bucket", "socket", 70.0),
            row("kmalloc-32", "watching", 40.0),
            row("kmalloc-128", "cgroup", 16.0),
            row("buffer_head", "other", 30.0),
        ];
        summary.memory.kernel.tables_bytes_per_end = Some(8.0);
        summary.memory.machine.available_bytes_before = Some(24_000_000_000);
        summary.memory.machine.available_bytes_lowest = Some(3_100_000_000);
        let text = render(&summary, false);
        let expected = "
Memory per connection         server   generator
  user space, all in           118 B       121 B
    of it rings                  4 B         4 B
  allocated, used or not        96 B        96 B
  page tables                      -           -
  kernel, each end: the socket  3.45 kB   TCP 2.52 kB   sock_inode_cache 862 B
                                tcp_bind_bucket+tcp_bind2_bucket 70 B
  kernel, each end: beyond it   304 B   io_kiocb 256 B   kmalloc-32 40 B
                                tables of descriptors 8 B
  kernel, each end: cgroup's    16 B   kmalloc-128 16 B
  machine has left: before 24.00 GB   held -   lowest 3.10 GB   after -
";
        assert!(text.contains(expected), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn what_was_not_looked_at_is_not_there() {
        let text = render(&Summary::default(), false);
        assert!(!text.contains("Memory") && !text.contains("machine has"), "{text}");
    }
}
