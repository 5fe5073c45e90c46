//! Getting in: from the first packet of a connection to accept().

use crate::detect::{Found, Seen, unseen};
use crate::knob::{Knob, Place, Said, Scope};
use crate::limits::{ACCEPT_STALL_MS, CROWDED_TABLE_SHARE, FILES_RESERVED_PER_TABLE, SOMAXCONN};
use crate::target::{Backend, Target};

/// Connections that arrive at one listener while its shard does not accept; `None` without a server here.
fn burst(target: &Target) -> Option<u64> {
    let server = target.server?;
    let per_listener = target.connect_rate_per_s / server.threads.max(1) as f64;
    let burst = (per_listener * ACCEPT_STALL_MS as f64 / 1000.0).ceil() as u64;
    Some(burst.min(target.connections).min(SOMAXCONN))
}

const NO_SERVER: &str = "no server runs here";

/// Counters of clients who found as many handshakes under way as the accept queue is long.
const HANDSHAKES_BEYOND_QUEUE: [&str; 2] = ["TcpExtTCPReqQFullDrop", "TcpExtTCPReqQFullDoCookies"];

/// The accept queue that was too short, of `now` clients.
fn overflowed(seen: &Seen<'_>, now: u64) -> Option<Found> {
    // Handshakes under way are bounded by the same number, before they come to wait for accept().
    let lost = seen.kernel("TcpExtListenOverflows") + seen.kernel_sum(&HANDSHAKES_BEYOND_QUEUE);
    // Of a server elsewhere these are not the counters.
    seen.target.server.filter(|_| lost > 0)?;
    let rate = seen.target.connect_rate_per_s;
    let text =
        format!("accept queues overflowed {lost} times: each holds {now}, at {rate:.0} connects a second");
    let mut found = Found::new(text, enough(seen.target, now))?;
    if now >= SOMAXCONN {
        "more --shards, or a lower --connect-rate".clone_into(&mut found.instead);
    }
    Some(found)
}

/// A queue that is long enough, where one of `now` was not.
fn enough(target: &Target, now: u64) -> u64 {
    burst(target).unwrap_or(0).max(2 * now).next_power_of_two().min(SOMAXCONN)
}

pub(super) const SOMAXCONN_KNOB: Knob = Knob {
    name: "net.core.somaxconn",
    scope: Scope::Namespace,
    place: Place::Sysctl,
    what: "the longest queue of connections that wait for accept(); the shorter of it and listen()'s own counts",
    why: "what arrives at one listener in 100 ms, the longest that a shard is expected not to accept; no more than 65,535, which is what \
          Throng asks for",
    risk: "none: a longer queue costs nothing until somebody waits in it",
    source: "Documentation/networking/ip-sysctl.rst; 100 ms is Throng's choice; TcpExtListenOverflows",
    rule: |target, machine| {
        let Some(now) = machine.number(SOMAXCONN_KNOB.name) else { return Said::absent() };
        queue(target, now)
    },
    seen: |seen| {
        let now = seen.machine.number(SOMAXCONN_KNOB.name)?;
        (now <= seen.target.sockets.backlog).then(|| overflowed(seen, now))?
    },
};

fn queue(target: &Target, now: u64) -> Said {
    match burst(target) {
        None => Said::ok(NO_SERVER),
        Some(needed) if needed <= now => Said::at_least(needed),
        Some(needed) => {
            let rate = target.connect_rate_per_s;
            let because = format!(
                "{rate:.0} connect each second (--connect-rate), and a shard may be busy for {ACCEPT_STALL_MS} ms"
            );
            let threads = target.server.map_or(1, |server| server.threads.max(1));
            let rate = now * threads * 1000 / ACCEPT_STALL_MS;
            Said::blocks(format!("at least {needed}"), because)
                .value(needed)
                .instead(format!("--connect-rate {rate}"))
        }
    }
}

pub(super) const BACKLOG: Knob = Knob {
    name: "listen backlog",
    scope: Scope::Socket,
    place: Place::Throng(Some("--listen-backlog")),
    what: "how long a queue each listener asks for",
    why: "as net.core.somaxconn; Throng asks for 65,535",
    risk: "none",
    source: "listen(2); TcpExtListenOverflows",
    rule: |target, _| match target.server {
        None => Said::ok(NO_SERVER),
        Some(_) => queue(target, target.sockets.backlog).now(target.sockets.backlog),
    },
    seen: |seen| {
        let (now, most) = (seen.target.sockets.backlog, seen.machine.number(SOMAXCONN_KNOB.name)?);
        (now < most).then(|| overflowed(seen, now))?
    },
};

pub(super) const SYN_BACKLOG: Knob = Knob {
    name: "net.ipv4.tcp_max_syn_backlog",
    scope: Scope::Namespace,
    place: Place::Sysctl,
    what: "connections whose handshake is under way, beyond which unknown clients are dropped; only without SYN cookies",
    why: "no matter while net.ipv4.tcp_syncookies is 1; else as net.core.somaxconn, and a third more: a quarter of it is kept for known clients",
    risk: "each takes 300 bytes of kernel memory while it lasts",
    source: "Documentation/networking/ip-sysctl.rst; net/ipv4/tcp_input.c, tcp_conn_request; TcpExtListenDrops beyond TcpExtListenOverflows",
    rule: |target, machine| {
        let Some(now) = machine.number(SYN_BACKLOG.name) else { return Said::absent() };
        if machine.number(SYNCOOKIES.name) != Some(0) {
            return Said::ok("no matter while SYN cookies are on");
        }
        match burst(target).map(|burst| burst + burst.div_ceil(3)) {
            None => Said::ok(NO_SERVER),
            Some(needed) if needed <= now => Said::at_least(needed),
            Some(needed) => Said::blocks(
                format!("at least {needed}"),
                "SYN cookies are off, so whoever finds it full is dropped",
            )
            .value(needed),
        }
    },
    seen: |seen| {
        let of_others = seen.kernel("TcpExtListenOverflows") + seen.kernel("TcpExtTCPReqQFullDrop");
        let dropped = seen.kernel("TcpExtListenDrops").saturating_sub(of_others);
        let has_no_cookies = seen.machine.number(SYNCOOKIES.name) == Some(0);
        let now = seen.machine.number(SYN_BACKLOG.name).filter(|_| dropped > 0 && has_no_cookies)?;
        let text = format!(
            "{dropped} clients were dropped in their handshake: {now} of them may be under way at a listener"
        );
        Found::new(text, enough(seen.target, now))
    },
};

pub(super) const SYNCOOKIES: Knob = Knob {
    name: "net.ipv4.tcp_syncookies",
    scope: Scope::Namespace,
    place: Place::Sysctl,
    what: "whether a full queue of handshakes answers with a cookie instead of dropping",
    why: "1; a ramp that fits never makes use of it",
    risk: "connections made by a cookie may have lost window scaling and selective acknowledgements",
    source: "Documentation/networking/ip-sysctl.rst; TcpExtSyncookiesSent, TcpExtTCPReqQFullDoCookies",
    rule: |_, machine| match machine.number(SYNCOOKIES.name) {
        None => Said::absent(),
        Some(1) => Said::enough(1),
        Some(0) => Said::risky(1, "a full queue drops clients without a word").value(1),
        Some(_) => Said::risky(1, "2 sends a cookie to everybody, which is meant for tests").value(1),
    },
    seen: unseen,
};

pub(super) const REUSEPORT: Knob = Knob {
    name: "SO_REUSEPORT",
    scope: Scope::Socket,
    place: Place::Throng(None),
    what: "a listener for each shard on one port",
    why: "always: no lock of one accept queue between the cores",
    risk: "connections are spread by a hash, so the fullest shard has some more than its share",
    source: "socket(7)",
    rule: |_, _| Said::enough("on").now("on"),
    seen: unseen,
};

pub(super) const DEFER_ACCEPT: Knob = Knob {
    name: "TCP_DEFER_ACCEPT",
    scope: Scope::Socket,
    place: Place::Throng(Some("--defer-accept")),
    what: "how long a client that connected and says nothing is the kernel's business, in seconds",
    why: "1 or more: a client is accepted together with its first bytes, one wake per login instead of two",
    risk: "clients that wait for the server to speak first are accepted late",
    source: "tcp(7); measured by scripts/knobs.py",
    rule: |target, _| {
        let now = target.sockets.defer_accept_s;
        match target.server {
            None => Said::ok(NO_SERVER),
            Some(_) if now == 0 => Said::wasteful("1s", "each login wakes its shard twice").value("1s"),
            Some(_) => Said::enough("1 s or more"),
        }
        .now(format!("{now} s"))
    },
    seen: unseen,
};

pub(super) const SYN_RETRIES: Knob = Knob {
    name: "net.ipv4.tcp_syn_retries",
    scope: Scope::Namespace,
    place: Place::Sysctl,
    what: "how often a client repeats its first packet",
    why: "at least 2, so that one lost packet loses no connection; more than that only delays the news of a dead server",
    risk: "0 makes every lost packet a failed connection",
    source: "Documentation/networking/ip-sysctl.rst; TcpExtTCPSynRetrans",
    rule: |target, machine| match machine.number(SYN_RETRIES.name) {
        None => Said::absent(),
        Some(_) if !target.generator.is_some_and(|(side, _)| side.has_sockets()) => {
            Said::ok("no sockets connect from here")
        }
        Some(now) if now < 2 => {
            Said::risky("at least 2", "one lost packet, or two, and the connection has failed").value(2)
        }
        Some(_) => Said::at_least(2),
    },
    seen: |seen| {
        let timed_out = seen.failed("ETIMEDOUT");
        let now = seen.machine.number(SYN_RETRIES.name).filter(|now| timed_out > 0 && *now < 2)?;
        Found::new(format!("{timed_out} connects timed out after {now} repetitions of their first packet"), 2)
    },
};

pub(super) const SYNACK_RETRIES: Knob = Knob {
    name: "net.ipv4.tcp_synack_retries",
    scope: Scope::Namespace,
    place: Place::Sysctl,
    what: "how often a server repeats its answer to a client's first packet",
    why: "at least 2; the kernel's 5 is 63 seconds",
    risk: "0 makes a lost answer wait for the client's own repetition",
    source: "Documentation/networking/ip-sysctl.rst",
    rule: |target, machine| match machine.number(SYNACK_RETRIES.name) {
        None => Said::absent(),
        Some(_) if target.server.is_none() => Said::ok(NO_SERVER),
        Some(now) if now < 2 => {
            Said::risky("at least 2", "a lost answer waits for the client to repeat itself").value(2)
        }
        Some(_) => Said::at_least(2),
    },
    seen: unseen,
};

pub(super) const MIGRATE_REQ: Knob = Knob {
    name: "net.ipv4.tcp_migrate_req",
    scope: Scope::Namespace,
    place: Place::Sysctl,
    what: "whether clients that wait at a listener which closes move to another one of its port",
    why: "1 where a shard can become full: it leaves the group of listeners, and who waits there would be reset",
    risk: "none for servers that accept the same clients on every listener",
    source: "Documentation/networking/ip-sysctl.rst",
    rule: |target, machine| {
        let Some(now) = machine.number(MIGRATE_REQ.name) else { return Said::absent() };
        let Some(server) = target.server else { return Said::ok(NO_SERVER) };
        let room = machine.files_per_table.saturating_sub(FILES_RESERVED_PER_TABLE + server.threads);
        let is_crowded = server.backend == Backend::Epoll
            && server.threads > 1
            && server.fullest as f64 >= CROWDED_TABLE_SHARE * room as f64;
        match (is_crowded, now) {
            (true, 0) => Said::blocks(
                1,
                format!("a shard has room for {room}, and may have to leave before the others"),
            )
            .value(1),
            (true, _) => Said::enough(1),
            (false, _) => Said::ok("no shard comes near the end of its table"),
        }
    },
    seen: |seen| {
        let (left, reset) = (seen.server("accept_left_group"), seen.failed("ECONNRESET"));
        (left > 0 && reset > 0 && seen.machine.number(MIGRATE_REQ.name) == Some(0)).then_some(())?;
        let text = format!(
            "shards left their group of listeners {left} times, and {reset} clients who waited there were reset"
        );
        Found::new(text, 1)
    },
};
