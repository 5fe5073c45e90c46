//! Where the bytes of a connection are: in both processes, and in the kernel.

use maud::{Markup, html};

use crate::html::chart::{Bar, Bars};
use crate::html::numbers::{bytes, exact, known};
use crate::html::page::{Column, facts, table};
use crate::html::palette::Ink;
use crate::schema::{KernelMemory, ProcessMemory, SlabGrowth, Summary};

/// Groups of slab caches, as the schema calls them; how they are called here; and their ink.
const GROUPS: [(&str, &str, Ink); 3] = [
    ("socket", "the socket", Ink::Blue),
    ("watching", "beyond the socket", Ink::Vermilion),
    ("cgroup", "notes of a memory cgroup", Ink::Grey),
];
const TABLES: &str = "tables of descriptors";

/// Charts and tables, where anything was looked at.
pub(super) fn body(summary: &Summary) -> Markup {
    let memory = &summary.memory;
    let sides = [
        ("server", Ink::Blue, memory.server.as_ref()),
        ("generator", Ink::Vermilion, memory.generator.as_ref()),
    ];
    if sides.iter().all(|(.., side)| side.is_none()) && memory.kernel.ends.is_none() {
        return html! { p.none { "Nothing is known: the run did not get as far as holding all connections." } (machine(summary)) };
    }
    html! {
        p { "What " (exact(memory.connections)) " connections made grow, from before the first one to while all were held." }
        div.charts {
            (whole(summary, &sides))
            (kernel(&memory.kernel))
            (processes(&sides))
        }
        div.tables {
            (table(
                "Each process, per connection",
                &[Column::Text(""), Column::Number("server"), Column::Number("generator")],
                &by_side(&sides),
            ))
            (table(
                "The kernel, per end of a connection",
                &[Column::Text("slab cache"), Column::Number("per end"), Column::Number("objects"), Column::Text("for")],
                &by_cache(&memory.kernel),
            ))
        }
        (machine(summary))
    }
}

type Side<'a> = (&'static str, Ink, Option<&'a ProcessMemory>);

fn grown(side: &Side<'_>, name: &str) -> Option<f64> {
    side.2?.bytes_per_connection.get(name).copied()
}

/// All that a connection takes, on either side and in the kernel: what of it is known.
fn whole(summary: &Summary, sides: &[Side<'_>]) -> Markup {
    let kernel = &summary.memory.kernel;
    let ends = kernel.ends.unwrap_or(0) as f64 / summary.memory.connections.max(1) as f64;
    let of_kernel = GROUPS.iter().map(|(group, name, _)| {
        let sum: f64 = parts(kernel, group).iter().map(|(_, value)| value).sum();
        (format!("kernel: {name}"), sum * ends)
    });
    let of_sides = sides.iter().map(|side| (side.0.to_owned(), grown(side, "user").unwrap_or(0.0)));
    let tables = sides.iter().filter_map(|side| grown(side, "page_tables")).sum();
    let mut parts: Vec<(String, f64)> = of_kernel.chain(of_sides).collect();
    parts.push(("page tables".to_owned(), tables));
    parts.retain(|(_, value)| *value > 0.0);
    let sum: f64 = parts.iter().map(|(_, value)| value).sum();
    let order: Vec<String> = parts.iter().map(|(part, value)| format!("{part} {}", bytes(*value))).collect();
    let bars = vec![Bar { name: format!("all in: {}", bytes(sum)), ink: Ink::Green, parts }];
    let chart = Bars {
        id: "whole",
        title: "One connection, with all of its ends",
        says: said(&bars),
        label: "bytes per connection",
        bars: if kernel.ends.is_some() { bars } else { Vec::new() },
        note: &format!("In this order: {}.", order.join("; ")),
        none: "Not known, since the kernel's part is not.",
    };
    chart.figure()
}

/// User space of either side, with the rings apart, and its page tables.
fn processes(sides: &[Side<'_>]) -> Markup {
    let bars: Vec<Bar> = sides
        .iter()
        .filter_map(|side| {
            let user = grown(side, "user")?;
            let [rings, tls, tables] =
                ["rings", "tls", "page_tables"].map(|name| grown(side, name).unwrap_or(0.0));
            let parts = [
                ("heap, stacks, pools", user - rings - tls),
                ("rings", rings),
                ("TLS", tls),
                ("page tables", tables),
            ];
            let parts = parts.map(|(part, value)| (part.to_owned(), value)).into();
            Some(Bar { name: format!("{}: {} of user space", side.0, bytes(user)), ink: side.1, parts })
        })
        .collect();
    let chart = Bars {
        id: "processes",
        title: "Memory of the processes",
        says: said(&bars),
        label: "bytes per connection",
        bars,
        note: "In this order: heap, stacks and pools; rings of io_uring; TLS; page tables, which are the kernel's.",
        none: "Not known: no connection was held, or neither process could be looked at.",
    };
    chart.figure()
}

/// The kernel's slab caches.
fn kernel(memory: &KernelMemory) -> Markup {
    let bars: Vec<Bar> = GROUPS
        .iter()
        .filter_map(|(group, name, ink)| {
            let parts: Vec<(String, f64)> = parts(memory, group);
            let sum: f64 = parts.iter().map(|(_, value)| value).sum();
            (!parts.is_empty()).then(|| Bar { name: format!("{name}: {}", bytes(sum)), ink: *ink, parts })
        })
        .collect();
    let note = format!(
        "A connection has an end for each socket of this machine: {} in all.",
        exact(memory.ends.unwrap_or(0))
    );
    let chart = Bars {
        id: "kernel",
        title: "Memory of the kernel, by slab cache",
        says: said(&bars),
        label: "bytes per end of a connection",
        bars,
        note: &note,
        none: "Not known: the slab caches could not be read, too few connections were held, or sockets of somebody else came or went \
               meanwhile.",
    };
    chart.figure()
}

/// What a group is made of, the largest first.
fn parts(memory: &KernelMemory, group: &str) -> Vec<(String, f64)> {
    let caches = memory.slab.iter().filter(|row| row.group == group);
    let mut parts: Vec<(String, f64)> = caches.map(|row| (row.cache.clone(), row.bytes_per_end)).collect();
    let tables = memory.tables_bytes_per_end.filter(|_| group == "watching");
    parts.extend(tables.map(|each| (TABLES.to_owned(), each)));
    parts
}

fn said(bars: &[Bar]) -> String {
    let bars = bars.iter().map(|bar| {
        let parts: Vec<String> =
            bar.parts.iter().map(|(part, value)| format!("{part} {}", bytes(*value))).collect();
        format!("{} ({})", bar.name, parts.join(", "))
    });
    format!("{}.", bars.collect::<Vec<_>>().join("; "))
}

fn by_side(sides: &[Side<'_>]) -> Vec<Vec<String>> {
    let rows = [
        ("user", "user space, all in"),
        ("rings", "of it rings"),
        ("allocated", "allocated, touched or not"),
        ("page_tables", "page tables"),
    ];
    let row = |(name, shown): (&str, &str)| {
        let mut row = vec![shown.to_owned()];
        row.extend(sides.iter().map(|side| known(grown(side, name), bytes)));
        row
    };
    match sides.iter().any(|(.., side)| side.is_some_and(|side| !side.bytes_per_connection.is_empty())) {
        true => rows.map(row).into(),
        false => Vec::new(),
    }
}

fn by_cache(memory: &KernelMemory) -> Vec<Vec<String>> {
    let row = |row: &SlabGrowth| {
        let group = GROUPS.iter().find(|(group, ..)| *group == row.group);
        // What grew at the same time and does not belong to connections.
        let group = group.map_or("something else", |(_, name, _)| name);
        vec![row.cache.clone(), bytes(row.bytes_per_end), exact(row.objects), group.to_owned()]
    };
    let mut rows: Vec<Vec<String>> = memory.slab.iter().map(row).collect();
    if let Some(each) = memory.tables_bytes_per_end {
        rows.push(vec![TABLES.to_owned(), bytes(each), String::new(), GROUPS[1].1.to_owned()]);
    }
    rows
}

/// What the generator's machine had left.
fn machine(summary: &Summary) -> Markup {
    let machine = &summary.memory.machine;
    let moments = [
        ("before the first", machine.available_bytes_before),
        ("while all were held", machine.available_bytes_held),
        ("at the lowest", machine.available_bytes_lowest),
        ("after the last", machine.available_bytes_after),
        ("kept free by the guard", machine.reserve_bytes),
    ];
    if moments.iter().all(|(_, left)| left.is_none()) {
        return html! {};
    }
    let left = moments.map(|(when, left)| (when, left.map(|left| bytes(left as f64)).unwrap_or_default()));
    html! {
        h3 { "What the generator's machine had left" }
        (facts(&left))
    }
}
