//! How much the kernel holds for a connection that does not read, or is not read from.

use throng_report::text::bytes;

use crate::detect::{Found, Seen, unseen};
use crate::knob::{Knob, Place, Said, Scope};
use crate::limits::{
    FRAME_OVERHEAD_BYTES, MANY_CONNECTIONS, MESSAGES_QUEUED, PAGE_BYTES, SKB_SHARE, SLOW_READER_BYTES,
};
use crate::machine::Machine;
use crate::sizing::queues;
use crate::target::Target;

/// What the kernel sets net.ipv4.tcp_mem to by itself (net/ipv4/tcp.c, tcp_init_mem): pages.
fn tcp_mem_by_itself(machine: &Machine) -> [u64; 3] {
    let pressure = machine.memory_total_bytes / PAGE_BYTES / 16;
    [pressure / 4 * 3, pressure, pressure / 4 * 6]
}

pub(super) const TCP_MEM: Knob = Knob {
    name: "net.ipv4.tcp_mem",
    scope: Scope::Host,
    place: Place::Sysctl,
    what: "pages that all TCP queues together may take: from the second number on TCP is under pressure, and makes queues and windows \
           smaller; above the third packets are dropped",
    why: "the second: a page for each message of a second, once on its way in and once on its way out, and one for every 4 KiB of theirs, \
          so that a server which stands still for a second is not short; the first: half of that, or what it is; the third: twice, and no \
          more than half of the memory; idle connections take none",
    risk: "memory that queues hold is not there for anybody else",
    source: "Documentation/networking/ip-sysctl.rst; pages measured by scripts/knobs.py; a second is Throng's choice",
    rule: |target, machine| {
        let [min, pressure, max] = machine.numbers(TCP_MEM.name)[..] else { return Said::absent() };
        let (busy, needed) = queues(target);
        if busy == 0 {
            return Said::ok("no message waits");
        }
        let text = format!("at least {needed} as the second");
        let stall = format!("{busy} queues hold {needed} pages when the server stands still for a second");
        if needed <= pressure {
            return Said::enough(text).because(stall);
        }
        let ceiling = machine.memory_total_bytes / PAGE_BYTES / 2;
        let value = (needed <= ceiling)
            .then(|| format!("{} {needed} {}", (needed / 2).max(min), (2 * needed).min(ceiling)));
        let said = if needed <= max {
            Said::risky(text, format!("{stall}: TCP would be under pressure"))
        } else {
            Said::blocks(text, format!("{stall}, more than the third number: packets would be dropped"))
        };
        match value {
            Some(value) => said.value(value),
            None => said.instead(format!(
                "{:.0} messages/s at the most, for which half of the memory is enough; or more memory",
                target.rate_per_s * ceiling as f64 / needed as f64
            )),
        }
    },
    seen: |seen| {
        let pruned = seen.kernel_sum(&[
            "TcpExtTCPMemoryPressures",
            "TcpExtPruneCalled",
            "TcpExtRcvPruned",
            "TcpExtOfoPruned",
            "TcpExtTCPRcvQDrop",
            "TcpExtTCPAbortOnMemory",
        ]);
        let [min, pressure, max] = seen.machine.numbers(TCP_MEM.name)[..] else { return None };
        // The kernel counts how often the shortage began, which may have been before the run.
        let peak = seen.peak("sockstat_tcp_mem");
        let is_short = peak > pressure || seen.kernel("TcpExtTCPMemoryPressures") > 0;
        (pruned > 0 && is_short).then_some(())?;
        let text = format!(
            "TCP was short of memory: {pruned} times a queue was cut or packets were dropped; its queues took {peak} pages at a time, \
             and from {pressure} on it is under pressure"
        );
        let by_itself = tcp_mem_by_itself(seen.machine);
        let more = |now: u64, by_itself: u64| by_itself.max(4 * now);
        let [least, pressed, most] =
            [(min, 0), (pressure, 1), (max, 2)].map(|(now, at)| more(now, by_itself[at]));
        Found::new(text, format!("{least} {pressed} {most}"))
    },
};

/// The queue that one message wants, as the kernel counts it.
fn message(target: &Target) -> u64 {
    (target.payload_bytes + FRAME_OVERHEAD_BYTES) * SKB_SHARE
}

/// What a queue should have at first, and at the most: a packet's worth, and some messages.
fn queue_needed(target: &Target) -> (u64, u64) {
    let most = (MESSAGES_QUEUED * message(target)).max(4_096);
    (message(target).clamp(4_096, 16_384), most)
}

/// How often a receive queue was full.
fn full(seen: &Seen<'_>) -> u64 {
    seen.kernel_sum(&["TcpExtTCPToZeroWindowAdv", "TcpExtTCPRcvCollapsed"])
}

/// What is to be said of the three values of tcp_rmem or tcp_wmem.
fn queue(target: &Target, machine: &Machine, name: &str) -> Said {
    let [min, default, max] = machine.numbers(name)[..] else { return Said::absent() };
    let (first, most) = queue_needed(target);
    if max < most || default < first {
        let needed = format!("at least {first} as the second, {most} as the third");
        let because = format!("{MESSAGES_QUEUED} messages of {} bytes do not fit", target.payload_bytes);
        let (default, max) =
            (default.max(first.next_power_of_two()).max(16_384), max.max(SLOW_READER_BYTES).max(most));
        return Said::blocks(needed, because).value(format!("{min} {default} {max}"));
    }
    let bounded = SLOW_READER_BYTES.max(most.next_power_of_two());
    if target.connections >= MANY_CONNECTIONS && max > bounded {
        let because = format!(
            "{} connections may hold {} each when somebody does not read, up to net.ipv4.tcp_mem together",
            target.connections,
            bytes(max as f64)
        );
        return Said::risky(format!("at most {bounded} as the third"), because)
            .value(format!("{min} {} {bounded}", default.min(bounded)));
    }
    Said::enough(format!("at least {most} as the third"))
}

pub(super) const RMEM: Knob = Knob {
    name: "net.ipv4.tcp_rmem",
    scope: Scope::Namespace,
    place: Place::Sysctl,
    what: "bytes of a connection's receive queue: least, at first, at most",
    why: "the third: at least four messages, at twice their bytes, since the kernel counts a packet's buffer, and never below 4,096; from \
          100,000 connections on no more than 256 KiB, or those four messages, since who does not read fills it",
    risk: "every connection here has it: too small closes windows, and long distances become slow",
    source: "Documentation/networking/ip-sysctl.rst; four messages, 100,000 and 256 KiB are Throng's choice",
    rule: |target, machine| queue(target, machine, RMEM.name),
    seen: |seen| {
        let closed = full(seen);
        let [min, default, max] = seen.machine.numbers(RMEM.name)[..] else { return None };
        // One that may grow to what is under way is full now and then, and held nothing back.
        (closed > 0 && max < queue_needed(seen.target).1).then_some(())?;
        let text = format!(
            "receive queues were full {closed} times: a connection begins with {default} bytes, and has {max} at most"
        );
        Found::new(text, format!("{min} {} {}", default.max(131_072), max.max(4 << 20)))
    },
};

pub(super) const WMEM: Knob = Knob {
    name: "net.ipv4.tcp_wmem",
    scope: Scope::Namespace,
    place: Place::Sysctl,
    what: "bytes of a connection's send queue: least, at first, at most",
    why: "the third: at least four messages, at twice their bytes, since the kernel counts a packet's buffer, and never below 4,096; from \
          100,000 connections on no more than 256 KiB, or those four messages, since slow readers fill it",
    risk: "every connection here has it: too small makes sends wait for room, and long distances become slow",
    source: "Documentation/networking/ip-sysctl.rst; four messages, 100,000 and 256 KiB are Throng's choice",
    rule: |target, machine| queue(target, machine, WMEM.name),
    seen: |seen| {
        let short = seen.server("short_sends");
        let [min, default, max] = seen.machine.numbers(WMEM.name)[..] else { return None };
        (short > 0 && seen.target.sockets.sndbuf.is_none() && max < queue_needed(seen.target).1)
            .then_some(())?;
        let text = format!("{short} sends found no room for all of it: a connection has {max} bytes at most");
        Found::new(text, format!("{min} {} {}", default.max(16_384), max.max(4 << 20)))
    },
};

/// The ceiling of a buffer that a socket asks for itself.
fn ceiling(machine: &Machine, name: &str, asked: Option<u64>) -> Said {
    let Some(max) = machine.number(name) else { return Said::absent() };
    match asked {
        None => Said::ok("no socket here asks for a size of its own"),
        Some(asked) if asked > max => {
            Said::blocks(asked, "a socket asks for more, and gets this").value(asked)
        }
        Some(asked) => Said::enough(asked),
    }
}

pub(super) const RMEM_MAX: Knob = Knob {
    name: "net.core.rmem_max",
    scope: Scope::Host,
    place: Place::Sysctl,
    what: "the largest receive buffer that a socket may ask for",
    why: "what --rcvbuf asks for, if anything",
    risk: "none by itself",
    source: "Documentation/admin-guide/sysctl/net.rst",
    rule: |target, machine| ceiling(machine, RMEM_MAX.name, target.sockets.rcvbuf),
    seen: unseen,
};

pub(super) const WMEM_MAX: Knob = Knob {
    name: "net.core.wmem_max",
    scope: Scope::Host,
    place: Place::Sysctl,
    what: "the largest send buffer that a socket may ask for",
    why: "what --sndbuf asks for, if anything",
    risk: "none by itself",
    source: "Documentation/admin-guide/sysctl/net.rst",
    rule: |target, machine| ceiling(machine, WMEM_MAX.name, target.sockets.sndbuf),
    seen: unseen,
};

/// The kernel gives so many times what a socket asks for (socket(7)), and counts its own overhead against it.
const DOUBLED: u64 = 2;

/// Whether a queue of which a socket asked for this much is too short for some messages.
fn is_short(target: &Target, asked: u64) -> bool {
    DOUBLED * asked < queue_needed(target).1
}

/// A buffer that Throng asks for.
fn own_buffer(target: &Target, asked: Option<u64>) -> Said {
    let Some(asked) = asked else { return Said::ok("the kernel sizes it by what is needed").now("not set") };
    let least = queue_needed(target).1.div_ceil(DOUBLED);
    if asked < least {
        let because = format!("{MESSAGES_QUEUED} messages of {} bytes do not fit", target.payload_bytes);
        return Said::blocks(format!("at least {least}"), because).value(least).now(asked);
    }
    Said::wasteful("not set", "the kernel would size it by what is needed")
        .instead("leave it to the kernel")
        .now(asked)
}

pub(super) const SO_RCVBUF: Knob = Knob {
    name: "SO_RCVBUF",
    scope: Scope::Socket,
    place: Place::Throng(Some("--rcvbuf")),
    what: "the size of a socket's receive queue, once and for all",
    why: "not set: whoever sets it turns the kernel's own sizing off",
    risk: "too small closes windows",
    source: "socket(7)",
    rule: |target, _| own_buffer(target, target.sockets.rcvbuf),
    seen: |seen| {
        let closed = full(seen);
        let asked = seen.target.sockets.rcvbuf.filter(|asked| closed > 0 && is_short(seen.target, *asked))?;
        Found::remedied(
            format!("receive queues of {asked} bytes were full {closed} times"),
            "leave --rcvbuf away",
        )
    },
};

pub(super) const SO_SNDBUF: Knob = Knob {
    name: "SO_SNDBUF",
    scope: Scope::Socket,
    place: Place::Throng(Some("--sndbuf")),
    what: "the size of a socket's send queue, once and for all",
    why: "not set: whoever sets it turns the kernel's own sizing off",
    risk: "too small makes sends short",
    source: "socket(7)",
    rule: |target, _| own_buffer(target, target.sockets.sndbuf),
    seen: |seen| {
        let short = seen.server("short_sends");
        let asked = seen.target.sockets.sndbuf.filter(|asked| short > 0 && is_short(seen.target, *asked))?;
        Found::remedied(
            format!("{short} sends found no room in queues of {asked} bytes"),
            "leave --sndbuf away",
        )
    },
};

pub(super) const NOTSENT_LOWAT: Knob = Knob {
    name: "net.ipv4.tcp_notsent_lowat",
    scope: Scope::Namespace,
    place: Place::Sysctl,
    what: "bytes not yet sent beyond which a socket is not writable",
    why: "16 to 128 KiB where many connections may have slow readers; it bounds what each holds in the kernel",
    risk: "below a few kilobytes it costs system calls",
    source: "Documentation/networking/ip-sysctl.rst; 16 to 128 KiB are Throng's choice; notsent in ss -ti",
    rule: |target, machine| match machine.number(NOTSENT_LOWAT.name) {
        None => Said::absent(),
        Some(now) if now < message(target) => {
            Said::blocks(message(target), "a message does not fit at once").value(131_072)
        }
        Some(now) if now > 1 << 20 && target.connections >= MANY_CONNECTIONS => {
            let said =
                Said::risky("16384 to 131072", "a slow reader holds as much as net.ipv4.tcp_wmem allows");
            let said = said.value(131_072);
            if now >= u64::from(u32::MAX) { said.now("no limit") } else { said }
        }
        Some(now) => {
            let said = Said::ok("what slow readers hold is bounded by net.ipv4.tcp_wmem");
            if now >= u64::from(u32::MAX) { said.now("no limit") } else { said }
        }
    },
    seen: unseen,
};
