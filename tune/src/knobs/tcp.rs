//! How TCP treats a connection.

use crate::detect::{Found, unseen};
use crate::knob::{Knob, Place, Said, Scope};

pub(super) const CONGESTION: Knob = Knob {
    name: "net.ipv4.tcp_congestion_control",
    scope: Scope::Namespace,
    place: Place::Sysctl,
    what: "how much a sender dares to have under way",
    why: "cubic, or reno, on loopback and in a data centre; bbr only with the fq queue, because it paces packets by timers",
    risk: "another algorithm is another thing that is measured",
    source: "Documentation/networking/ip-sysctl.rst; ss -ti",
    rule: |target, machine| match (machine.text(CONGESTION.name), machine.text(QDISC.name)) {
        (None, _) => Said::absent(),
        (Some(now), _) if !now.starts_with("bbr") => Said::ok(""),
        (Some(_), _) if target.is_local() => {
            Said::risky("cubic", "it paces packets by timers, and loopback has nothing to be paced for")
                .value("cubic")
        }
        (Some(_), Some("fq")) => Said::ok(""),
        (Some(_), _) => Said::risky("cubic", "without the fq queue each connection paces itself by a timer")
            .value("cubic"),
    },
    seen: unseen,
};

pub(super) const QDISC: Knob = Knob {
    name: "net.core.default_qdisc",
    scope: Scope::Host,
    place: Place::Sysctl,
    what: "the queue in front of a network card",
    why: "fq where the congestion control is bbr; loopback has none",
    risk: "none",
    source: "Documentation/admin-guide/sysctl/net.rst",
    rule: |target, machine| match machine.text(QDISC.name) {
        None => Said::absent(),
        Some(_) if target.is_local() => Said::ok("packets stay on this machine"),
        Some(now) if now != "fq" && machine.text(CONGESTION.name) == Some("bbr") => {
            Said::risky("fq", "bbr paces by it").value("fq")
        }
        Some(_) => Said::ok(""),
    },
    seen: unseen,
};

pub(super) const SLOW_START: Knob = Knob {
    name: "net.ipv4.tcp_slow_start_after_idle",
    scope: Scope::Namespace,
    place: Place::Sysctl,
    what: "whether a connection that was quiet begins anew with ten packets under way",
    why: "0 for messages of more than ten packets on connections that are quiet between them",
    risk: "a burst into a network that has become slower",
    source: "Documentation/networking/ip-sysctl.rst; cwnd in ss -ti",
    rule: |target, machine| match machine.number(SLOW_START.name) {
        None => Said::absent(),
        Some(0) => Said::ok(""),
        Some(_) if target.payload_bytes > 10 * 1_448 && !target.is_local() => {
            Said::wasteful(0, format!("messages of {} bytes take a round trip more", target.payload_bytes))
                .value(0)
        }
        Some(_) => Said::ok("a message is no more than ten packets, or stays on this machine"),
    },
    seen: unseen,
};

pub(super) const KEEPALIVE: Knob = Knob {
    name: "net.ipv4.tcp_keepalive_time",
    scope: Scope::Namespace,
    place: Place::Sysctl,
    what: "seconds of silence after which a connection that asked for it is probed",
    why: "no matter: Throng asks for no probes, and relies on the heartbeats of its users",
    risk: "a packet for each connection each time",
    source: "Documentation/networking/ip-sysctl.rst; TcpExtTCPKeepAlive",
    rule: |_, machine| {
        machine.number(KEEPALIVE.name).map_or_else(Said::absent, |_| Said::ok("no socket here asks for it"))
    },
    seen: unseen,
};

pub(super) const RETRIES2: Knob = Knob {
    name: "net.ipv4.tcp_retries2",
    scope: Scope::Namespace,
    place: Place::Sysctl,
    what: "how often a packet of an established connection is repeated before the connection is given up",
    why: "at least 5, which is some seconds; the kernel's 15 is a quarter of an hour",
    risk: "phones in tunnels lose their connection",
    source: "Documentation/networking/ip-sysctl.rst; TcpExtTCPAbortOnTimeout",
    rule: |_, machine| match machine.number(RETRIES2.name) {
        None => Said::absent(),
        Some(now) if now < 5 => {
            Said::risky(8, "a busy machine loses connections that were only slow").value(8)
        }
        Some(_) => Said::enough("5 to 15"),
    },
    seen: unseen,
};

pub(super) const USER_TIMEOUT: Knob = Knob {
    name: "TCP_USER_TIMEOUT",
    scope: Scope::Socket,
    place: Place::Throng(Some("--user-timeout")),
    what: "how long data may go unacknowledged before a connection is given up",
    why: "not set, or 10 s and more: a server finds out about silent clients by itself (--idle-timeout)",
    risk: "too short loses connections that were only slow",
    source: "tcp(7); TcpExtTCPAbortOnTimeout",
    rule: |target, _| match target.sockets.user_timeout_ms {
        None => Said::ok("").now("not set"),
        Some(now) if now < 10_000 => {
            Said::risky("10s", "a busy machine loses connections that were only slow")
                .value("10s")
                .now(format!("{now} ms"))
        }
        Some(now) => Said::ok("").now(format!("{now} ms")),
    },
    seen: |seen| {
        let given_up = seen.kernel("TcpExtTCPAbortOnTimeout");
        let now = seen.target.sockets.user_timeout_ms.filter(|_| given_up > 0)?;
        Found::new(format!("{given_up} connections were given up after {now} ms without an answer"), "10s")
    },
};

pub(super) const NODELAY: Knob = Knob {
    name: "TCP_NODELAY",
    scope: Scope::Socket,
    place: Place::Throng(None),
    what: "small packets are sent at once, whatever is under way",
    why: "always: Throng puts together itself what goes out together",
    risk: "none here",
    source: "tcp(7)",
    rule: |_, _| Said::enough("on").now("on"),
    seen: unseen,
};
