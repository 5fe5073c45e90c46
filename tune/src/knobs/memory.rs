//! Memory: how much there is, and what takes it away at the wrong moment.

use throng_report::text::bytes;

use crate::detect::{Found, unseen};
use crate::knob::{Knob, Place, Said, Scope};
use crate::limits::MEMORY_WAIT_US;
use crate::machine::Machine;
use crate::sizing::{Memory, reserve_bytes};
use crate::target::Target;

fn gigabytes(bytes: u64) -> String {
    format!("{:.2} GB", bytes as f64 / 1e9)
}

/// What the target takes, with what is left to everybody else.
fn needed(target: &Target, machine: &Machine) -> (Memory, u64) {
    let memory = Memory::of(target, machine.files_per_table);
    let reserve = reserve_bytes(machine.memory_total_bytes);
    (memory, memory.total() + reserve)
}

pub(super) const AVAILABLE: Knob = Knob {
    name: "memory available",
    scope: Scope::Host,
    place: Place::Told,
    what: "what can be had without taking it from somebody",
    why: "4.2 kB of the kernel for each end that is a socket, and 120 B for each port; 128 B of a process for each end; rings, threads, page \
          tables; the queues of net.ipv4.tcp_mem; and a twentieth that is left to everybody else, 512 MiB at least",
    risk: "a machine without memory ends processes, and not those that took it",
    source: "measured, benches/runs/*-density-*.md; MemAvailable in /proc/meminfo without what sockets hold, or what the tightest cgroup \
             leaves; a twentieth is Throng's choice",
    rule: |target, machine| {
        let (memory, needed) = needed(target, machine);
        let now = gigabytes(machine.memory_available_bytes);
        let reserve = reserve_bytes(machine.memory_total_bytes);
        let parts = [
            ("the kernel", memory.kernel),
            ("the processes", memory.user + memory.page_tables),
            ("rings", memory.rings),
            ("threads", memory.threads),
            ("queues", memory.queues),
            ("left to everybody else", reserve),
        ];
        let parts = parts.map(|(name, part)| format!("{name} {}", bytes(part as f64))).join(", ");
        if needed <= machine.memory_available_bytes {
            return Said::at_least(gigabytes(needed)).because(parts).now(now);
        }
        // What threads and the rate take stays; the rest goes with the connections.
        let stays = memory.threads + memory.queues;
        let room = machine.memory_available_bytes.saturating_sub(reserve + stays);
        let per_all = u128::from((memory.total() - stays).max(1));
        let fits = (u128::from(room) * u128::from(target.connections) / per_all) as u64;
        Said::blocks(format!("at least {}", gigabytes(needed)), parts)
            .now(now)
            .instead(if target.uses_loopback() {
                "fewer connections or messages/s; or users on another machine, or in user space (--engine tun)"
            } else {
                "fewer connections or messages/s, or more memory"
            })
            .fits(fits & !1) // users come in pairs
            .refuses()
    },
    seen: unseen,
};

pub(super) const CGROUP: Knob = Knob {
    name: "memory.max",
    scope: Scope::Process,
    place: Place::Told,
    what: "the limit of the memory cgroup; sockets and the kernel's objects for them count",
    why: "what the target takes, and 15 % more",
    risk: "beyond it the kernel ends a process of the group",
    source: "Documentation/admin-guide/cgroup-v2.rst; 15 % are Throng's choice; memory.events",
    rule: |target, machine| {
        let Some(limit) = machine.cgroup_limit_bytes else {
            return Said::ok("").because("no group of this process is limited").now("none");
        };
        let needed = Memory::of(target, machine.files_per_table).total() / 100 * 115;
        let said = if needed <= limit {
            Said::at_least(gigabytes(needed))
        } else {
            Said::blocks(format!("at least {}", gigabytes(needed)), "")
                .instead("raise memory.max (MemoryMax= under systemd)")
                .refuses()
        };
        said.now(gigabytes(limit))
    },
    seen: |seen| {
        // Whoever fills the file cache reaches it, too, and gets room at once.
        let (reached, waited_us) = (seen.kernel("memory_max_reached"), seen.kernel("psi_memory_some_us"));
        (reached > 0 && waited_us >= MEMORY_WAIT_US).then_some(())?;
        let remedy = "fewer connections, or more memory.max (MemoryMax= under systemd)";
        let text = format!(
            "the limit of the memory cgroup was reached {reached} times, and somebody waited for memory for {} ms",
            waited_us / 1000
        );
        Found::remedied(text, remedy)
    },
};

/// The least that vm.min_free_kbytes should be.
fn min_free_low(machine: &Machine) -> u64 {
    (machine.memory_total_bytes / 1024 / 1000).min(64 << 10)
}

pub(super) const MIN_FREE: Knob = Knob {
    name: "vm.min_free_kbytes",
    scope: Scope::Host,
    place: Place::Sysctl,
    what: "memory that the kernel keeps for those that cannot wait, packets above all",
    why: "64 MiB, or a thousandth of the memory where that is less, up to a twentieth",
    risk: "it is nobody's; above 5 % it brings on the shortage that it is against",
    source: "Documentation/admin-guide/sysctl/vm.rst; mm/khugepaged.c has the twentieth, and the least is Throng's choice; allocstall in /proc/vmstat, page allocation failure in the kernel's log",
    rule: |_, machine| {
        let Some(now) = machine.number(MIN_FREE.name) else { return Said::absent() };
        let (low, high) = (min_free_low(machine), machine.memory_total_bytes / 1024 / 20);
        match now {
            now if now < low => {
                Said::risky(format!("at least {low}"), "packets are dropped when memory is short")
                    .value(2 * low)
            }
            now if now > high => Said::wasteful(format!("at most {high}"), "nobody gets it").value(2 * low),
            _ => Said::enough(format!("{low} to {high}")),
        }
    },
    seen: |seen| {
        let stalls = seen.kernel_sum(&["allocstall_normal", "allocstall_movable", "allocstall_dma32"]);
        let low = min_free_low(seen.machine);
        seen.machine.number(MIN_FREE.name).filter(|now| stalls > 0 && *now < low)?;
        Found::new(
            format!("somebody waited for memory {stalls} times while others gave theirs back"),
            2 * low,
        )
    },
};

pub(super) const HUGE_PAGES: Knob = Knob {
    name: "transparent huge pages",
    scope: Scope::Host,
    place: Place::File("/sys/kernel/mm/transparent_hugepage/enabled"),
    what: "whether the kernel gives memory in pages of 2 MiB without being asked",
    why: "madvise or never: resident memory grows by whole pages of 2 MiB, and making them stops whoever waits",
    risk: "none for Throng",
    source: "Documentation/admin-guide/mm/transhuge.rst; AnonHugePages in /proc/meminfo, compact_stall in /proc/vmstat",
    rule: |_, machine| match machine.text(HUGE_PAGES.name) {
        None => Said::absent(),
        Some("always") => {
            Said::wasteful("madvise", "memory per user looks larger than it is").value("madvise")
        }
        Some(_) => Said::enough("madvise or never"),
    },
    seen: unseen,
};

pub(super) const SWAP: Knob = Knob {
    name: "vm.swappiness",
    scope: Scope::Host,
    place: Place::Sysctl,
    what: "how readily the kernel moves memory of processes to disk",
    why: "no swap, or 1: a session that is on disk is a session that is late",
    risk: "without swap a shortage ends a process sooner",
    source: "Documentation/admin-guide/sysctl/vm.rst; pswpin in /proc/vmstat",
    rule: |_, machine| {
        let Some(now) = machine.number(SWAP.name) else { return Said::absent() };
        if machine.swap_bytes == 0 {
            return Said::ok("there is no swap");
        }
        if now <= 1 {
            Said::enough(1)
        } else {
            Said::risky(1, format!("{} of swap", gigabytes(machine.swap_bytes))).value(1)
        }
    },
    seen: |seen| {
        let pages = seen.kernel("pswpin");
        seen.machine.number(SWAP.name).filter(|now| pages > 0 && *now > 1)?;
        Found::new(format!("{pages} pages of memory came back from disk"), 1)
    },
};
