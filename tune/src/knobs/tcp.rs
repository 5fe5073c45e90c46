//! How TCP treats a connection.

use crate::detect::{Found, unseen};
use crate::knob::{Knob, Place, Said, Scope};
use crate::machine::Card;

/// Those that anybody may choose: read with the others.
pub(crate) const ALLOWED_CONGESTION: &str = "net.ipv4.tcp_allowed_congestion_control";

/// What is said of bbr where nothing but its own timers paces it.
const OWN_TIMERS: &str = "it paces by timers: one for each connection that has packets under way";

pub(super) const CONGESTION: Knob = Knob {
    name: "net.ipv4.tcp_congestion_control",
    scope: Scope::Namespace,
    place: Place::Sysctl,
    what: "how much a sender dares to have under way",
    why: "cubic, or reno, on loopback and in a data centre; bbr for distant clients",
    risk: "every connection from now on has it, and runs with another are not compared",
    source: "Documentation/networking/ip-sysctl.rst; kernel commit 218af599fa63: TCP paces by itself where the queue does not; that distance decides is Throng's choice; ss -ti",
    rule: |target, machine| match machine.text(CONGESTION.name) {
        None => Said::absent(),
        Some(now) if now.starts_with("bbr") && target.is_local() => {
            // A namespace may have what is allowed to everybody alone, and reno always is.
            let allowed = machine.text(ALLOWED_CONGESTION).unwrap_or_default();
            let is_allowed = !machine.in_lab || allowed.split(' ').any(|name| name == "cubic");
            let value = if is_allowed { "cubic" } else { "reno" };
            let because = format!("{OWN_TIMERS}, and nothing here needs to be paced");
            Said::wasteful(value, because).value(value)
        }
        Some(now) if now.starts_with("bbr") => {
            Said::ok(format!("right for distant clients; what it costs stands at {}", QDISC.name))
        }
        Some(_) => Said::ok("it needs no timers"),
    },
    seen: unseen,
};

pub(super) const QDISC: Knob = Knob {
    name: "net.core.default_qdisc",
    scope: Scope::Host,
    place: Place::Sysctl,
    what: "the queue in front of network cards that come up from now on",
    why: "fq where the congestion control is bbr: one timer for each card then, instead of one for each connection",
    risk: "fq holds 10,000 packets, and drops what is beyond (limit); not every kernel has it",
    source: "tc-fq(8); Documentation/admin-guide/sysctl/net.rst",
    rule: |target, machine| match machine.text(QDISC.name) {
        None => Said::absent(),
        Some(_) if target.is_local() => Said::ok("packets stay on this machine"),
        Some(now)
            if now != "fq" && machine.text(CONGESTION.name).is_some_and(|now| now.starts_with("bbr")) =>
        {
            // Of several queues each gets one of its own, below mq.
            let replace = |card: &Card| {
                let root = if card.queues > 1 { "mq" } else { "fq" };
                format!(", then tc qdisc replace dev {} root {root}", card.name)
            };
            let cards: String = machine.cards.iter().map(replace).collect();
            let (fq, cubic) = (QDISC.set("fq"), CONGESTION.set("cubic"));
            Said::wasteful("fq", format!("bbr: {OWN_TIMERS}"))
                .instead(format!("{fq}{cards}, where the kernel has it (modprobe sch_fq); or {cubic}"))
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
    why: "8 to 15: 100 seconds at least, as RFC 1122 wants it; the kernel's 15 is a quarter of an hour",
    risk: "phones in tunnels lose their connection",
    source: "Documentation/networking/ip-sysctl.rst; TcpExtTCPAbortOnTimeout",
    rule: |_, machine| match machine.number(RETRIES2.name) {
        None => Said::absent(),
        Some(now) if now < 8 => {
            Said::risky("8 to 15", "a busy machine loses connections that were only slow").value(8)
        }
        Some(_) => Said::enough("8 to 15"),
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
        None => Said::ok("the server finds silent clients by itself").now("not set"),
        Some(now) if now < 10_000 => {
            Said::risky("10s", "a busy machine loses connections that were only slow")
                .value("10s")
                .now(format!("{now} ms"))
        }
        Some(now) => Said::ok("").now(format!("{now} ms")),
    },
    seen: |seen| {
        let given_up = seen.kernel("TcpExtTCPAbortOnTimeout");
        let now = seen.target.sockets.user_timeout_ms.filter(|now| given_up > 0 && *now < 10_000)?;
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
