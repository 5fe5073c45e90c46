//! Descriptors, watches and threads: what a process may have of each.

use crate::detect::{Found, Seen, unseen};
use crate::knob::{Knob, Place, Said, Scope};
use crate::limits::{
    BYTES_PER_RING, FILES_RESERVED_PER_TABLE, MAPS_PER_RING, MAPS_PER_THREAD, MAPS_RESERVED, THREADS_BESIDES,
};
use crate::machine::Machine;
use crate::sizing::{connections_of_tables, tables_needed};
use crate::target::{Backend, Side, Target};

/// Whether connections were refused or lost, or never came about.
fn is_anybody_missing(seen: &Seen<'_>) -> bool {
    let connections = &seen.summary.connections;
    connections.failed > 0 || connections.established < connections.target
}

/// Whether those who are missing waited at a listener that closed: then there was room at another.
fn is_migration(seen: &Seen<'_>) -> bool {
    seen.failed("ECONNRESET") > 0 && seen.machine.number("net.ipv4.tcp_migrate_req") == Some(0)
}

pub(super) const NOFILE: Knob = Knob {
    name: "RLIMIT_NOFILE",
    scope: Scope::Process,
    place: Place::Limit { line: "Max open files", ulimit: "-n", systemd: "LimitNOFILE" },
    what: "open files of one table of descriptors; each shard and each generator thread has a table of its own",
    why: "with epoll the connections of the fullest thread; with io-uring two for each ring of its, and a ring has as many connections as \
          the limit, 16,384 at most: the least limit for which that goes up; and 64, and one for each thread",
    risk: "none; the hard limit is what counts, because Throng raises the soft one itself",
    source: "getrlimit(2); accept(2) and socket(2) fail with EMFILE, io_uring_register(2) for a longer table, too; 64 is Throng's choice",
    rule: nofile,
    seen: |seen| {
        let (users, left) = (seen.failed("EMFILE"), seen.server("accept_left_group"));
        let is_short = users > 0 || (left > 0 && is_anybody_missing(seen) && !is_migration(seen));
        let needed = is_short.then(|| files_needed(seen.target))?;
        let files = seen.machine.files_per_table;
        let text = format!(
            "{users} connections of the users' had no descriptor, and shards were full {left} times: a table holds {files}"
        );
        Found::new(text, needed.max(2 * files))
    },
};

/// The least limit on open files under which the fullest table of a side has enough.
fn files_of(side: Side) -> u64 {
    let threads = side.threads.max(1);
    let besides = FILES_RESERVED_PER_TABLE + threads;
    match side.backend {
        Backend::Epoll => side.fullest + besides,
        // A device, an epoll and a timer, of every thread in the one table of the process.
        Backend::UserSpace => 3 * threads + besides,
        // Two for each ring: itself, and the eventfd that wakes its thread. Connections stand in the rings' own tables, which may
        // be no longer than the limit: a lower limit is more rings.
        Backend::IoUring => {
            let (mut low, mut high) = (besides, besides + 2 * side.fullest.max(1));
            while low < high {
                let files = low.midpoint(high);
                if 2 * side.rings_per_thread(files) + besides <= files {
                    high = files;
                } else {
                    low = files + 1;
                }
            }
            low
        }
    }
}

/// The least limit under which both sides have enough.
fn files_needed(target: &Target) -> u64 {
    target.sides().map(|(_, side)| files_of(side)).max().unwrap_or(0)
}

fn nofile(target: &Target, machine: &Machine) -> Said {
    let files = machine.files_per_table;
    let needed = files_needed(target);
    if needed <= files {
        let rings = target.rings(files);
        let said = Said::at_least(needed).now(files);
        return if rings > 0 {
            said.because(format!("it makes {rings} rings now, and more of them when it is lower"))
        } else {
            said
        };
    }
    let mut said = Said::blocks(format!("at least {needed}"), "").now(files).refuses();
    let mut ways = Vec::new();
    let short = target.sides().filter(|(_, side)| files_of(*side) > files && side.backend == Backend::Epoll);
    for (name, side) in short {
        let threads = side.threads.max(1);
        let Some(enough) = tables_needed(target.connections, threads, files) else { continue };
        let flag = if name == "server" { "--shards" } else { "--threads" };
        ways.push(format!("{flag} {enough}"));
        said.fits = said.fits.into_iter().chain([connections_of_tables(threads, files)]).min();
    }
    let mut instead = Vec::new();
    if !ways.is_empty() {
        instead.push(format!(
            "{}, since each thread has a table of its own; or --backend io-uring",
            ways.join(" and ")
        ));
    }
    match machine.number(NR_OPEN.name).filter(|max| needed > *max) {
        Some(max) => instead.push(format!("fs.nr_open allows no more than {max}")),
        None => said.value = Some(needed.to_string()),
    }
    said.instead(instead.join("; "))
}

pub(super) const NR_OPEN: Knob = Knob {
    name: "fs.nr_open",
    scope: Scope::Host,
    place: Place::Sysctl,
    what: "the highest limit on open files that anybody may ask for",
    why: "at least the RLIMIT_NOFILE that is needed",
    risk: "a table of descriptors takes 8 bytes for each that was ever open",
    source: "Documentation/admin-guide/sysctl/fs.rst; setrlimit(2) fails with EPERM",
    rule: |target, machine| {
        let Some(max) = machine.number(NR_OPEN.name) else { return Said::absent() };
        let needed = files_needed(target);
        // Whoever has their limit needs no room above it.
        if needed <= max.max(machine.files_per_table) {
            return Said::at_least(needed);
        }
        Said::blocks(format!("at least {needed}"), "RLIMIT_NOFILE cannot be raised so far")
            .value(needed.next_multiple_of(64))
    },
    seen: unseen,
};

pub(super) const FILE_MAX: Knob = Knob {
    name: "fs.file-max",
    scope: Scope::Host,
    place: Place::Sysctl,
    what: "open files of the whole machine",
    why: "every socket here, what is open already, and 64; whoever has CAP_SYS_ADMIN goes beyond it, and everybody else opens nothing \
          meanwhile",
    risk: "none by itself",
    source: "Documentation/admin-guide/sysctl/fs.rst; fs.file-nr; accept(2) fails with ENFILE",
    rule: |target, machine| {
        let Some(max) = machine.number(FILE_MAX.name) else { return Said::absent() };
        let reserved = machine.files_used + FILES_RESERVED_PER_TABLE;
        let needed = reserved + target.endpoints();
        if needed <= max {
            return Said::at_least(needed);
        }
        let (needed_text, open) =
            (format!("at least {needed}"), format!("{} files are open already", machine.files_used));
        if machine.file_max_holds {
            let fits = max.saturating_sub(reserved) / target.sides().count().max(1) as u64;
            return Said::blocks(needed_text, open).value(needed).fits(fits).refuses();
        }
        let because = format!(
            "{open}; Throng goes beyond it by CAP_SYS_ADMIN, and until it ends nobody else opens a file, accepts or starts a program"
        );
        Said::blocks(needed_text, because).value(needed)
    },
    seen: |seen| {
        let max = seen.machine.number(FILE_MAX.name)?;
        let full = seen.failed("ENFILE") + seen.server("accept_pauses");
        let needed = seen.machine.files_used + FILES_RESERVED_PER_TABLE + seen.target.endpoints();
        (full > 0 && needed > max).then_some(())?;
        Found::new(format!("the machine had no file left, {full} times: it allows {max}"), needed)
    },
};

pub(super) const WATCHES: Knob = Knob {
    name: "fs.epoll.max_user_watches",
    scope: Scope::Host,
    place: Place::Sysctl,
    what: "descriptors that one user may watch with epoll",
    why: "one for each connection of each side that uses epoll",
    risk: "some 200 bytes of kernel memory for each that is used",
    source: "epoll(7); epoll_ctl(2) fails with ENOSPC",
    rule: |target, machine| {
        let Some(max) = machine.number(WATCHES.name) else { return Said::absent() };
        let sides = target.sides().filter(|(_, side)| side.backend == Backend::Epoll).count() as u64;
        if sides == 0 {
            return Said::ok("nobody here uses epoll");
        }
        let needed = sides * target.connections;
        if needed <= max {
            return Said::at_least(needed);
        }
        Said::blocks(format!("at least {needed}"), "")
            .value(needed)
            .fits(max / sides)
            .instead("--backend io-uring")
            .refuses()
    },
    seen: |seen| {
        let max = seen.machine.number(WATCHES.name)?;
        let full = seen.failed("ENOSPC") + seen.server("accept_pauses");
        let sides = seen.target.sides().filter(|(_, side)| side.backend == Backend::Epoll).count() as u64;
        let needed = sides * seen.target.connections;
        (full > 0 && needed > max).then_some(())?;
        Found::new(format!("epoll could watch no more, {full} times: one user may have {max}"), needed)
    },
};

pub(super) const MAP_COUNT: Knob = Knob {
    name: "vm.max_map_count",
    scope: Scope::Host,
    place: Place::Sysctl,
    what: "memory mappings of one process",
    why: "three for each ring, six for each thread with its stack and arenas, and a thousand",
    risk: "none worth the name",
    source: "Documentation/admin-guide/sysctl/vm.rst; mmap(2) fails with ENOMEM",
    rule: |target, machine| {
        let Some(max) = machine.number(MAP_COUNT.name) else { return Said::absent() };
        let of = |side: Side| {
            MAPS_RESERVED
                + side.threads * MAPS_PER_THREAD
                + side.rings(machine.files_per_table) * MAPS_PER_RING
        };
        let needed = target.sides().map(|(_, side)| of(side)).max().unwrap_or(0);
        if needed <= max {
            Said::at_least(needed)
        } else {
            Said::blocks(format!("at least {needed}"), "").value(needed).refuses()
        }
    },
    seen: unseen,
};

pub(super) const MEMLOCK: Knob = Knob {
    name: "RLIMIT_MEMLOCK",
    scope: Scope::Process,
    place: Place::Limit { line: "Max locked memory", ulimit: "-l", systemd: "LimitMEMLOCK" },
    what: "memory that a process may lock; rings count against it",
    why: "84 KiB for each ring, of all processes of one user together; nothing for whoever has CAP_IPC_LOCK",
    risk: "none",
    source: "measured by scripts/knobs.py; io_uring_setup(2) fails with ENOMEM",
    rule: |target, machine| {
        let rings = target.rings(machine.files_per_table);
        let needed = (rings * BYTES_PER_RING).div_ceil(1024);
        let text = format!("at least {needed} KiB");
        let because = format!("{rings} rings of {} KiB", BYTES_PER_RING >> 10);
        let Some(max) = machine.lockable_bytes else {
            return Said::enough(text).because(because).now("not applied: CAP_IPC_LOCK");
        };
        let now = format!("{} KiB", max >> 10);
        if needed << 10 <= max {
            return Said::enough(text).because(because).now(now);
        }
        Said::blocks(text, because).now(now).value(needed).instead("--backend epoll").refuses()
    },
    seen: |seen| {
        let refused = seen.summary.generator.memory_exhausted;
        let max = seen.machine.lockable_bytes.filter(|_| refused > 0)?;
        let needed = seen.target.rings(seen.machine.files_per_table) * BYTES_PER_RING;
        (needed > max).then_some(())?;
        Found::new(
            format!("{refused} connections had no ring: {max} bytes may be locked"),
            needed.div_ceil(1024),
        )
    },
};

pub(super) const THREADS: Knob = Knob {
    name: "kernel.threads-max",
    scope: Scope::Host,
    place: Place::Sysctl,
    what: "threads of the whole machine; kernel.pid_max, or pids.max of a cgroup (TasksMax= under systemd), may allow fewer",
    why: "a thread for each shard and each generator thread, and sixteen",
    risk: "none at these numbers",
    source: "Documentation/admin-guide/sysctl/kernel.rst; clone(2) fails with EAGAIN",
    rule: |target, machine| {
        let needed = target.sides().map(|(_, side)| side.threads).sum::<u64>() + THREADS_BESIDES;
        let Some(left) = machine.threads_left else { return Said::at_least(needed) };
        let now = format!("{left} can be started");
        if needed <= left {
            return Said::at_least(needed).now(now);
        }
        Said::blocks(format!("at least {needed}"), "")
            .now(now)
            .instead("raise kernel.threads-max, kernel.pid_max or pids.max of the cgroup (TasksMax= under systemd), or take fewer threads")
            .refuses()
    },
    seen: unseen,
};
