//! Where connections come from.

use crate::detect::{Found, Seen, unseen};
use crate::knob::{Knob, Place, Said, Scope};
use crate::limits::{LAB_PORT_RANGE, PORT_RANGE_SHARE};
use crate::machine::Machine;
use crate::target::Target;

const NO_SOCKETS: &str = "no sockets connect from here";

/// Pairs of a source and a target address, or nothing where nobody connects from here.
fn pairs(target: &Target) -> Option<u64> {
    let (_, sources) = target.generator.filter(|(side, _)| side.has_sockets())?;
    Some(sources.addresses.max(1) * sources.targets.max(1))
}

/// Connections that found no port.
fn without_port(seen: &Seen<'_>) -> Option<u64> {
    Some(seen.summary.generator.ports_exhausted).filter(|missing| *missing > 0)
}

/// Whether the range would have been enough, but for what is kept out of it.
fn is_kept_out(seen: &Seen<'_>) -> bool {
    let (low, high) = seen.machine.port_range();
    let all = (high + 1).saturating_sub(low);
    pairs(seen.target).is_some_and(|pairs| {
        let per_pair = seen.target.connections.div_ceil(pairs);
        per_pair > seen.machine.ports() && per_pair <= all
    })
}

/// Whether there would have been ports, but for connections that ended.
fn is_kept_waiting(seen: &Seen<'_>) -> bool {
    let is_enough =
        pairs(seen.target).is_some_and(|pairs| seen.target.connections <= pairs * seen.machine.ports());
    is_enough && seen.machine.number(TW_REUSE.name).is_some_and(|now| !is_reused(seen.target, now))
}

/// Whether ports of connections that ended are used again.
fn is_reused(target: &Target, tw_reuse: u64) -> bool {
    let is_local = target.generator.is_some_and(|(_, sources)| sources.loopback);
    tw_reuse == 1 || (tw_reuse == 2 && is_local)
}

pub(super) const RANGE: Knob = Knob {
    name: "net.ipv4.ip_local_port_range",
    scope: Scope::Namespace,
    place: Place::Sysctl,
    what: "the ports that connections come from",
    why: "twice the connections of a pair of source and target address: connect() takes 13 us while half of them are free, and of 18,000 ports 470 us beyond, of more ports longer",
    risk: "a service that starts later may find its port taken: reserve it (net.ipv4.ip_local_reserved_ports)",
    source: "Documentation/networking/ip-sysctl.rst; measured by scripts/knobs.py; connect(2) fails with EADDRNOTAVAIL",
    rule: range,
    seen: |seen| {
        let missing = without_port(seen).filter(|_| !is_kept_out(seen) && !is_kept_waiting(seen))?;
        let (low, high) = seen.machine.port_range();
        let (lab_low, lab_high) = LAB_PORT_RANGE;
        let text = format!("{missing} connections found no port between {low} and {high}");
        let mut found = Found::new(text, format!("{lab_low} {lab_high}"))?;
        "more --source-ip".clone_into(&mut found.instead);
        Some(found)
    },
};

fn range(target: &Target, machine: &Machine) -> Said {
    let Some(pairs) = pairs(target) else { return Said::ok(NO_SOCKETS) };
    let (low, high) = machine.port_range();
    let ports = machine.ports();
    let per_pair = target.connections.div_ceil(pairs);
    let needed = |ports: u64| format!("{ports} ports for each pair of source and target address");
    let addresses = target.generator.map_or(1, |(_, sources)| sources.addresses);
    let shared = format!("{addresses} source addresses, {per_pair} connections each");
    if target.connections <= pairs * (ports / PORT_RANGE_SHARE) {
        return Said::at_least(needed(per_pair * PORT_RANGE_SHARE)).because(shared);
    }
    // Somebody keeps them out: then that is the knob.
    if per_pair <= (high + 1).saturating_sub(low) / PORT_RANGE_SHARE {
        return Said::ok(format!("it would be enough without {}", RESERVED.name));
    }
    let sources = target.generator.is_some_and(|(_, sources)| sources.loopback);
    let more = if sources { "more of 127.0.0.0/8 with --source-ip" } else { "more --source-ip" };
    let (lab_low, lab_high) = LAB_PORT_RANGE;
    let said = |because: String, ports: u64| {
        let said = Said::blocks(format!("at least {}", needed(ports)), because);
        // Where the widest range would not be enough either, it is no way out.
        let is_enough = ports <= u64::from(lab_high - lab_low) + 1;
        if is_enough { said.value(format!("{lab_low} {lab_high}")) } else { said }
    };
    if target.connections > pairs * ports {
        return said(shared, per_pair)
            .fits(pairs * ports)
            .instead(format!("{more}, or more listening ports at the target"))
            .refuses();
    }
    let because = format!("{shared}: connect() slows down a hundredfold beyond half of the range");
    said(because, per_pair * PORT_RANGE_SHARE).instead(more)
}

/// Whose ports they are only an administrator knows.
const FEWER_RESERVED: &str = "keep fewer ports out, or more --source-ip";

pub(super) const RESERVED: Knob = Knob {
    name: "net.ipv4.ip_local_reserved_ports",
    scope: Scope::Namespace,
    place: Place::Sysctl,
    what: "ports that the kernel gives to no connection of its own accord",
    why: "those of listeners within the port range, and no more",
    risk: "without it a connection may sit on the port of a service that starts later",
    source: "Documentation/networking/ip-sysctl.rst; bind(2) fails with EADDRINUSE",
    rule: |target, machine| {
        let Some(pairs) = pairs(target) else { return Said::ok(NO_SOCKETS) };
        let (low, high) = machine.port_range();
        let (all, left) = ((high + 1).saturating_sub(low), machine.ports());
        let per_pair = target.connections.div_ceil(pairs);
        if per_pair > left / PORT_RANGE_SHARE && per_pair <= all / PORT_RANGE_SHARE {
            let because = format!("{} ports of {low} to {high} are kept out", all - left);
            let said = Said::blocks("the listeners' ports alone", because).instead(FEWER_RESERVED);
            return if per_pair > left { said.fits(pairs * left).refuses() } else { said };
        }
        Said::ok("enough ports are left")
    },
    seen: |seen| {
        let missing = without_port(seen).filter(|_| is_kept_out(seen))?;
        let kept = seen.machine.text(RESERVED.name)?;
        Found::remedied(
            format!("{missing} connections found no port, because {kept} are kept out"),
            FEWER_RESERVED,
        )
    },
};

pub(super) const BIND_NO_PORT: Knob = Knob {
    name: "IP_BIND_ADDRESS_NO_PORT",
    scope: Scope::Socket,
    place: Place::Throng(None),
    what: "a source address is chosen without its port, which connect() chooses",
    why: "always: else a port serves one connection of its address alone",
    risk: "none",
    source: "ip(7); bind(2) fails with EADDRINUSE",
    rule: |_, _| Said::enough("on").now("on"),
    seen: unseen,
};

pub(super) const TW_REUSE: Knob = Knob {
    name: "net.ipv4.tcp_tw_reuse",
    scope: Scope::Namespace,
    place: Place::Sysctl,
    what: "whether a port whose connection ended a second ago may be used again: 0 never, 2 on loopback, 1 everywhere",
    why: "1 where users connect again within a minute, 2 where they do so on loopback",
    risk: "relies on net.ipv4.tcp_timestamps: a middlebox that strips them may see an old packet in a new connection",
    source: "Documentation/networking/ip-sysctl.rst; connect(2) fails with EADDRNOTAVAIL while many wait in TIME_WAIT",
    rule: |target, machine| {
        let Some(pairs) = pairs(target) else { return Said::ok(NO_SOCKETS) };
        let Some(now) = machine.number(TW_REUSE.name) else { return Said::absent() };
        let is_local = target.generator.is_some_and(|(_, sources)| sources.loopback);
        let needed = if is_local { 2 } else { 1 };
        if is_reused(target, now) {
            return Said::enough(if is_local { "1 or 2" } else { "1" });
        }
        // All of one minute's connects, with those that come back.
        let in_a_minute = target.connections + target.reconnects;
        if in_a_minute > pairs * machine.ports() {
            let because = format!("{in_a_minute} connects within the minute that a port is kept");
            return Said::blocks(needed, because).value(needed);
        }
        Said::risky(needed, "a second run within a minute finds its ports taken").value(needed)
    },
    seen: |seen| {
        let missing = without_port(seen).filter(|_| !is_kept_out(seen) && is_kept_waiting(seen))?;
        Found::new(
            format!("{missing} connections found no port while those of ended ones waited out their minute"),
            1,
        )
    },
};
