//! How much the kernel holds for a connection that does not read, or is not read from.

use crate::detect::{Found, Seen, unseen};
use crate::knob::{Knob, Place, Said, Scope};
use crate::limits::{
    FRAME_OVERHEAD_BYTES, MANY_CONNECTIONS, MESSAGES_QUEUED, PAGE_BYTES, PAGES_PER_BUSY_SOCKET, SKB_SHARE,
    SLOW_READER_BYTES,
};
use crate::machine::Machine;
use crate::target::Target;

pub(super) const TCP_MEM: Knob = Knob {
    name: "net.ipv4.tcp_mem",
    scope: Scope::Host,
    place: Place::Sysctl,
    what: "pages that all TCP queues together may take: below the first nobody is asked to save, above the last packets are dropped",
    why: "two and a half pages for each socket that has something queued within a second; idle connections take none; half of the memory at most",
    risk: "memory that queues hold is not there for anybody else",
    source: "Documentation/networking/ip-sysctl.rst; TcpExtTCPMemoryPressures, TcpExtPruneCalled, TcpExtRcvPruned",
    rule: |target, machine| {
        let [_, pressure, max] = machine.numbers(TCP_MEM.name)[..] else { return Said::absent() };
        let busy = (2.0 * target.rate_per_s).ceil() as u64;
        let needed = (busy.min(target.endpoints()) as f64 * PAGES_PER_BUSY_SOCKET).ceil() as u64;
        let text = format!("{needed} pages");
        if needed <= pressure {
            return Said::enough(text);
        }
        let ceiling = machine.memory_total_bytes / PAGE_BYTES / 2;
        let value = format!("{} {} {}", needed / 2, needed, (2 * needed).min(ceiling.max(needed)));
        let because = format!("{busy} sockets are busy within a second, and would be asked to save");
        if needed <= max {
            Said::risky(text, because).value(value)
        } else {
            Said::blocks(text, "packets are dropped").value(value)
        }
    },
    seen: |seen| {
        let pruned = seen.kernel_sum(&[
            "TcpExtTCPMemoryPressures",
            "TcpExtPruneCalled",
            "TcpExtRcvPruned",
            "TcpExtOfoPruned",
            "TcpExtTCPRcvQDrop",
        ]);
        let [min, pressure, max] = seen.machine.numbers(TCP_MEM.name)[..] else { return None };
        (seen.kernel("TcpExtTCPMemoryPressures") > 0).then_some(())?;
        let text = format!(
            "TCP was short of memory: {pruned} times a queue was cut or packets were dropped; {pressure} pages may be taken before"
        );
        Found::new(text, format!("{} {} {}", 4 * min, 4 * pressure, 4 * max))
    },
};

/// The queue that one message wants, as the kernel counts it.
fn message(target: &Target) -> u64 {
    (target.payload_bytes + FRAME_OVERHEAD_BYTES) * SKB_SHARE
}

/// How often a receive queue was full.
fn full(seen: &Seen<'_>) -> u64 {
    seen.kernel_sum(&["TcpExtTCPToZeroWindowAdv", "TcpExtTCPRcvCollapsed"])
}

/// What is to be said of the three values of tcp_rmem or tcp_wmem.
fn queue(target: &Target, machine: &Machine, name: &str) -> Said {
    let [min, default, max] = machine.numbers(name)[..] else { return Said::absent() };
    let least = message(target).max(4096);
    if max < least || default < least.min(16_384) {
        let needed = format!("at least {least} for a message");
        let because = format!("a message of {} bytes does not fit at once", target.payload_bytes);
        let (default, max) =
            (default.max(least.next_power_of_two()).max(16_384), max.max(65_536).max(2 * least));
        return Said::blocks(needed, because).value(format!("{min} {default} {max}"));
    }
    // What everybody together could hold, if nobody reads.
    let worst = u128::from(default) * u128::from(target.connections);
    if target.connections >= MANY_CONNECTIONS
        && max > SLOW_READER_BYTES
        && worst > u128::from(machine.memory_total_bytes)
    {
        let because = format!(
            "{} connections that do not read may hold {} kB each, up to net.ipv4.tcp_mem",
            target.connections,
            max / 1000
        );
        let default = default.min(16_384).max(least);
        return Said::wasteful(format!("{least} to {SLOW_READER_BYTES}"), because)
            .value(format!("{min} {default} {SLOW_READER_BYTES}"));
    }
    Said::enough(format!("at least {least}"))
}

pub(super) const RMEM: Knob = Knob {
    name: "net.ipv4.tcp_rmem",
    scope: Scope::Namespace,
    place: Place::Sysctl,
    what: "bytes of a connection's receive queue: least, at first, at most",
    why: "a message, as the kernel counts it, must fit; with many connections 256 KiB at most, since who does not read fills it",
    risk: "too small closes windows, and long distances become slow",
    source: "Documentation/networking/ip-sysctl.rst; TcpExtTCPToZeroWindowAdv, TcpExtTCPRcvCollapsed",
    rule: |target, machine| queue(target, machine, RMEM.name),
    seen: |seen| {
        let closed = full(seen);
        let [min, default, max] = seen.machine.numbers(RMEM.name)[..] else { return None };
        // One that may grow to what is under way is full now and then, and held nothing back.
        (closed > 0 && seen.target.sockets.rcvbuf.is_none() && max < MESSAGES_QUEUED * message(seen.target))
            .then_some(())?;
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
    why: "a message, as the kernel counts it, must fit; with many connections 256 KiB at most, since slow readers fill it",
    risk: "too small makes sends short, and each takes more system calls",
    source: "Documentation/networking/ip-sysctl.rst; short_sends of the server",
    rule: |target, machine| queue(target, machine, WMEM.name),
    seen: |seen| {
        let short = seen.server("short_sends");
        let [min, default, max] = seen.machine.numbers(WMEM.name)[..] else { return None };
        (short > 0 && seen.target.sockets.sndbuf.is_none() && max < MESSAGES_QUEUED * message(seen.target))
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

/// A buffer that Throng asks for.
fn own_buffer(target: &Target, asked: Option<u64>) -> Said {
    let Some(asked) = asked else { return Said::ok("the kernel sizes it by what is needed").now("not set") };
    let least = message(target);
    if asked < least {
        let because = format!("a message of {} bytes does not fit", target.payload_bytes);
        return Said::blocks(least, because).value(least).now(asked);
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
        let asked = seen.target.sockets.rcvbuf.filter(|_| closed > 0)?;
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
        let asked = seen.target.sockets.sndbuf.filter(|_| short > 0)?;
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
    source: "Documentation/networking/ip-sysctl.rst; notsent in ss -ti",
    rule: |target, machine| match machine.number(NOTSENT_LOWAT.name) {
        None => Said::absent(),
        Some(now) if now < message(target) => {
            Said::blocks(message(target), "a message does not fit at once").value(131_072)
        }
        Some(now) if now > 1 << 20 && target.connections >= MANY_CONNECTIONS => {
            Said::wasteful("16384 to 131072", "a slow reader holds as much as net.ipv4.tcp_wmem allows")
                .value(131_072)
        }
        Some(_) => Said::ok(""),
    },
    seen: unseen,
};
