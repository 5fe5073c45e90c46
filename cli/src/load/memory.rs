//! What connections occupy: the difference between a look before them and one while they are held.

use std::collections::BTreeMap;

use throng_report::schema::{Footprint, Kernel, KernelMemory, MachineMemory, Memory, ProcessMemory};

use super::samples::Hold;
use super::server::Server;
use crate::proc::counters::Counters;
use crate::proc::slab;

/// Ends of connections from which the growth of slab caches says something: below, what everybody else does hides it.
const ENDS_MIN: u64 = 4_000;

/// How far the sockets that the kernel has more may be from the ends that this run holds, as a share. Beyond, somebody else's
/// came or went meanwhile, and the caches tell about both.
const STRANGERS_SHARE_MAX: f64 = 0.05;

/// Where tables of descriptors and the stacks of their threads are, by the schema's names.
const TABLES: [&str; 2] = ["large_allocation_bytes", "kernel_stack_bytes"];

/// The memory part of the report; `held` is missing when the run did not get that far.
pub(super) fn report(
    before: &Hold,
    held: Option<&Hold>,
    server: &Server,
    sockets: u64,
    machine: MachineMemory,
) -> Memory {
    let Some(held) = held else {
        return Memory { machine, ..Memory::default() };
    };
    let side = |baseline: Option<Footprint>, now: Option<Footprint>| {
        let (baseline, held_by) = (baseline?, now?);
        let bytes_per_connection = per_connection(&baseline, &held_by, held.connected);
        Some(ProcessMemory { baseline, held: held_by, bytes_per_connection })
    };
    let mut server = side(server.memory_at_start().or(before.server), held.server);
    if let (Some(server), Some((1.., bytes))) = (&mut server, held.tls) {
        let each = bytes as f64 / held.connected.max(1) as f64;
        server.bytes_per_connection.insert("tls".to_owned(), each);
    }
    Memory {
        connections: held.connected,
        server,
        generator: side(before.generator, held.generator),
        kernel: kernel(before, held, sockets * held.connected),
        machine,
    }
}

fn per_connection(baseline: &Footprint, held: &Footprint, connections: u64) -> BTreeMap<String, f64> {
    let parts = [
        ("user", baseline.user_bytes, held.user_bytes),
        ("allocated", baseline.allocated_bytes, held.allocated_bytes),
        ("rings", baseline.ring_bytes, held.ring_bytes),
        ("page_tables", baseline.page_table_bytes, held.page_table_bytes),
    ];
    let grown = parts.into_iter().filter_map(|(name, then, now)| {
        let grown = now?.saturating_sub(then?);
        (connections > 0).then(|| (name.to_owned(), grown as f64 / connections as f64))
    });
    grown.collect()
}

fn kernel(before: &Hold, held: &Hold, ends: u64) -> KernelMemory {
    let slabs = before.slabs.as_ref().zip(held.slabs.as_ref()).filter(|_| ends >= ENDS_MIN);
    let slabs = slabs.filter(|(before, held)| are_ours(held.sockets_since(before), ends));
    let other =
        held.kernel.iter().filter_map(|(name, now)| Some((name.clone(), now - before.kernel.get(name)?)));
    let other: BTreeMap<String, i64> = other.collect();
    let tables: Option<i64> = TABLES.iter().map(|name| other.get(*name).copied()).sum();
    KernelMemory {
        ends: slabs.map(|_| ends),
        slab: slabs.map(|(before, held)| held.growth(before, ends)).unwrap_or_default(),
        tables_bytes_per_end: slabs.and(tables).map(|bytes| bytes.max(0) as f64 / ends as f64),
        other,
    }
}

fn are_ours(sockets: i64, ends: u64) -> bool {
    (sockets as f64 - ends as f64).abs() <= STRANGERS_SHARE_MAX * ends as f64
}

/// Why the kernel's part is missing although there were ends enough for it.
pub(super) fn warning(before: &Hold, held: Option<&Hold>, sockets: u64) -> Option<String> {
    let held = held?;
    let ends = sockets * held.connected;
    let sockets = held.slabs.as_ref()?.sockets_since(before.slabs.as_ref()?);
    (ends >= ENDS_MIN && !are_ours(sockets, ends)).then(|| {
        format!(
            "kernel memory per connection is not told: this run held {ends} ends of connections, while the sockets of the whole \
             machine became {sockets} more"
        )
    })
}

/// User space per connection of one side, all in.
pub(super) fn user_bytes(side: Option<&ProcessMemory>) -> Option<f64> {
    side?.bytes_per_connection.get("user").copied()
}

/// The sums of the kernel's part, and its counters.
pub(super) fn kernel_part(
    before: &Hold,
    held: Option<&Hold>,
    memory: &KernelMemory,
    counters: Counters,
) -> Kernel {
    let sum = |groups: &[&str]| {
        let counted = memory.slab.iter().filter(|one| groups.contains(&one.group.as_str()));
        let slabs: f64 = counted.map(|one| one.bytes_per_end).sum();
        memory.ends.map(|_| slabs + memory.tables_bytes_per_end.unwrap_or(0.0))
    };
    let slabs = before.slabs.as_ref().zip(held.and_then(|held| held.slabs.as_ref()));
    Kernel {
        bytes_per_connection: sum(&[slab::SOCKET, slab::WATCHING, slab::CGROUP]),
        extra_bytes_per_connection: sum(&[slab::WATCHING]),
        counters,
        slab_bytes: slabs.map(|(before, held)| held.whole(before, &memory.slab)).unwrap_or_default(),
        ..Kernel::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_costs_what_it_has_grown_by_since_it_began() {
        let at = |user, rings| Footprint {
            user_bytes: Some(user),
            ring_bytes: Some(rings),
            allocated_bytes: None,
            page_table_bytes: Some(4096),
            ..Footprint::default()
        };
        let costs = per_connection(&at(1000, 0), &at(3000, 500), 10);
        let expected = [("page_tables", 0.0), ("rings", 50.0), ("user", 200.0)];
        assert_eq!(costs, expected.map(|(name, bytes)| (name.to_owned(), bytes)).into());
        assert!(per_connection(&at(0, 0), &at(1, 1), 0).is_empty(), "nobody to share it");
    }

    #[test]
    fn tables_of_descriptors_count_as_beyond_the_socket() {
        let other = |bytes: i64| TABLES.iter().map(|name| ((*name).to_owned(), bytes)).collect();
        let slabs = || Some(crate::proc::slab::Slabs::default());
        let before = Hold { slabs: slabs(), kernel: other(1_000), ..Hold::default() };
        let held = Hold { slabs: slabs(), kernel: other(41_000), ..Hold::default() };
        let mut memory = kernel(&before, &held, ENDS_MIN);
        assert_eq!(memory.ends, None, "no socket was counted, so nothing is told per end");
        memory.ends = Some(ENDS_MIN);
        memory.tables_bytes_per_end = Some(20.0);
        let part = kernel_part(&before, Some(&held), &memory, Counters::new());
        assert_eq!(part.extra_bytes_per_connection, Some(20.0));
        assert_eq!(part.bytes_per_connection, Some(20.0));
    }

    #[test]
    fn sockets_of_others_are_noticed() {
        assert!(are_ours(10_000, 10_000) && are_ours(10_400, 10_000) && are_ours(9_600, 10_000));
        assert!(!are_ours(10_600, 10_000) && !are_ours(9_400, 10_000) && !are_ours(-1, 10_000));
    }

    #[test]
    fn too_few_ends_say_nothing_about_slabs() {
        let hold = Hold { slabs: Some(crate::proc::slab::Slabs::default()), ..Hold::default() };
        let few = kernel(&hold, &hold, ENDS_MIN - 1);
        assert_eq!(few.ends, None);
        assert_eq!(kernel_part(&hold, Some(&hold), &few, Counters::new()).bytes_per_connection, None);
    }
}
