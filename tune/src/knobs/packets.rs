//! Between the wire, or the other end on this machine, and TCP.

use throng_report::verdict::LOOPBACK_LOSS_SHARE;

use crate::detect::{Found, Seen, unseen};
use crate::knob::{Knob, Place, Said, Scope};
use crate::limits::{BACKLOG_MIN, BUDGET_MIN, BUDGET_USECS_MIN, LOOPBACK_BACKLOG};
use crate::machine::Machine;
use crate::target::Target;

const STAYS: &str = "packets stay on this machine";

/// A core that was sent away from its packets: which of the two limits is below the kernel's own.
fn squeezed(seen: &Seen<'_>, name: &str, least: u64) -> Option<Found> {
    let times = seen.kernel("softnet_time_squeeze");
    let now = seen.machine.number(name).filter(|now| times > 0 && *now < least)?;
    Found::new(
        format!(
            "a core was sent away from its packets {times} times while more waited: {now} is all it may take"
        ),
        least,
    )
}

pub(super) const BACKLOG: Knob = Knob {
    name: "net.core.netdev_max_backlog",
    scope: Scope::Host,
    place: Place::Sysctl,
    what: "packets of a core that wait for the kernel, on loopback and with RPS; what is beyond is dropped",
    why: "one for each connection, and no more than 16,384: they may all send at once, as after a stall, or leave; each packet that is dropped \
          waits for its sender's timer, 200 ms or, before it is connected, a second; in the way where it is below 1,000, too",
    risk: "longer queues are longer waits",
    source: "Documentation/admin-guide/sysctl/net.rst; measured by scripts/knobs.py; the second column of /proc/net/softnet_stat",
    rule: |target, machine| {
        let Some(now) = machine.number(BACKLOG.name) else { return Said::absent() };
        if !target.uses_loopback() && machine.rps_queues == 0 {
            return Said::ok("neither loopback nor RPS is used");
        }
        let because = "what finds a core's backlog full is dropped, and waits for its sender's timer";
        let needed = target.connections.min(LOOPBACK_BACKLOG);
        let text = format!("at least {needed}");
        match now {
            now if now < needed.min(BACKLOG_MIN) => Said::blocks(text, because).value(needed),
            now if now < needed => Said::risky(text, because).value(needed),
            _ => Said::enough(text),
        }
    },
    seen: |seen| {
        let dropped = seen.kernel("softnet_dropped");
        let is_much = dropped as f64 > LOOPBACK_LOSS_SHARE * seen.kernel("softnet_processed") as f64;
        let now = seen.machine.number(BACKLOG.name).filter(|_| is_much)?;
        Found::new(
            format!(
                "{dropped} packets were dropped because {now} waited for a core already; each costs 200 ms"
            ),
            LOOPBACK_BACKLOG.max(2 * now),
        )
    },
};

fn budget(machine: &Machine, name: &str, least: u64) -> Said {
    match machine.number(name) {
        None => Said::absent(),
        Some(now) if now < least => {
            let because = "a core's packets wait for its next turn while more are coming";
            Said::blocks(format!("at least {least}"), because).value(least)
        }
        Some(_) => Said::at_least(least),
    }
}

pub(super) const BUDGET: Knob = Knob {
    name: "net.core.netdev_budget",
    scope: Scope::Host,
    place: Place::Sysctl,
    what: "packets that a core takes in one go before it lets others work",
    why: "the kernel's 300; twice as many only while it is what ends them, and nobody waits for the core",
    risk: "more of it starves the programs that the packets are for",
    source: "Documentation/admin-guide/sysctl/net.rst; the third column of /proc/net/softnet_stat",
    rule: |_, machine| budget(machine, BUDGET.name, BUDGET_MIN),
    seen: |seen| squeezed(seen, BUDGET.name, BUDGET_MIN),
};

pub(super) const BUDGET_USECS: Knob = Knob {
    name: "net.core.netdev_budget_usecs",
    scope: Scope::Host,
    place: Place::Sysctl,
    what: "microseconds that a core takes packets in one go before it lets others work",
    why: "two ticks, as the kernel sets it: 2,000 at 1,000 ticks a second, 20,000 at 100",
    risk: "more of it starves the programs that the packets are for",
    source: "net/core/hotdata.c; the third column of /proc/net/softnet_stat",
    rule: |_, machine| budget(machine, BUDGET_USECS.name, BUDGET_USECS_MIN),
    seen: |seen| squeezed(seen, BUDGET_USECS.name, BUDGET_USECS_MIN),
};

/// What is to be said of the network cards, where packets leave the machine.
fn cards(target: &Target, machine: &Machine, say: fn(&Machine) -> Said) -> Said {
    match () {
        () if target.is_local() => Said::ok(STAYS),
        () if machine.cards.is_empty() => Said::unknown("no network card is seen from here"),
        () => say(machine),
    }
}

/// The first `cores` cores, as the kernel reads it: 32 to a word, the last first.
fn mask(cores: u64) -> String {
    let words = cores.div_ceil(32).max(1);
    let of = |word: u64| {
        let within = (cores - (32 * word).min(cores)).min(32);
        format!("{:x}", (1_u64 << within) - 1)
    };
    (0..words).rev().map(of).collect::<Vec<_>>().join(",")
}

/// The queues of the card that has the fewest.
fn queues(machine: &Machine) -> u64 {
    machine.cards.iter().map(|card| card.queues).min().unwrap_or(1)
}

pub(super) const RSS: Knob = Knob {
    name: "network card queues",
    scope: Scope::Host,
    place: Place::Told,
    what: "receive queues of a card, each with an interrupt of its own (RSS)",
    why: "one for each core, or RPS",
    risk: "drivers reset the card while they change it, and connections stand still",
    source: "Documentation/networking/scaling.rst; ethtool -l, /proc/interrupts",
    rule: |target, machine| {
        cards(target, machine, |machine| {
            let (queues, cores) = (queues(machine), machine.cores);
            let said = if queues >= cores {
                Said::at_least(cores)
            } else if machine.rps_queues > 0 {
                Said::ok("RPS hands packets on")
            } else {
                let card =
                    machine.cards.iter().min_by_key(|card| card.queues).map_or("CARD", |card| &card.name);
                let mask = mask(cores);
                Said::wasteful(format!("at least {cores}"), "some cores take packets for the others").instead(
                    format!(
                        "ethtool -L {card} combined {cores}, where the card has as many; or {} and echo {mask} \
                     >/sys/class/net/{card}/queues/rx-0/rps_cpus",
                    BACKLOG.set(&LOOPBACK_BACKLOG.to_string())
                    ),
                )
            };
            said.now(queues)
        })
    },
    seen: unseen,
};

pub(super) const IRQ: Knob = Knob {
    name: "interrupt affinity",
    scope: Scope::Host,
    place: Place::Told,
    what: "which core takes which interrupt of a network card",
    why: "interrupt i on core i, and nobody who moves them during a run (irqbalance does)",
    risk: "one core may have them all",
    source: "Documentation/core-api/irq/irq-affinity.rst; skew in /proc/interrupts",
    rule: |target, machine| {
        cards(target, machine, |_| Said::unknown("/proc/interrupts tells, while it runs"))
    },
    seen: unseen,
};

pub(super) const RPS: Knob = Knob {
    name: "RPS",
    scope: Scope::Host,
    place: Place::Told,
    what: "packets of one queue are handed to several cores, in software; with RFS to the one that reads them",
    why: "only where a card has fewer queues than the server has cores",
    risk: "an interrupt between cores for every packet",
    source: "Documentation/networking/scaling.rst; received_rps in /proc/net/softnet_stat",
    rule: |target, machine| {
        cards(target, machine, |machine| {
            let said = match (machine.rps_queues, queues(machine) < machine.cores) {
                (0, true) => Said::ok("a way out of too few queues: see `network card queues`"),
                (0, false) => Said::enough("off"),
                (_, true) => Said::enough("on"),
                (_, false) => Said::wasteful("off", "the card has a queue for each core"),
            };
            said.now(if machine.rps_queues > 0 { "on" } else { "off" })
        })
    },
    seen: unseen,
};

pub(super) const XPS: Knob = Knob {
    name: "XPS",
    scope: Scope::Host,
    place: Place::Told,
    what: "which core sends by which queue of a network card",
    why: "one core, one queue: no lock between them; most drivers see to it",
    risk: "none",
    source: "Documentation/networking/scaling.rst",
    rule: |target, machine| {
        cards(target, machine, |_| {
            Said::unknown(
                "the driver's own choice, unless /sys/class/net/*/queues/tx-*/xps_cpus says another",
            )
        })
    },
    seen: unseen,
};

pub(super) const RING: Knob = Knob {
    name: "network card rings",
    scope: Scope::Host,
    place: Place::Told,
    what: "packets that a card holds until the kernel takes them, and how long it waits to interrupt",
    why: "the largest ring where bursts come in; interrupts by the latency that is wanted",
    risk: "longer waits",
    source: "ethtool(8): -g, -c; rx_missed in ethtool -S",
    rule: |target, machine| cards(target, machine, |_| Said::unknown("ethtool -g and ethtool -c tell")),
    seen: unseen,
};

/// Polling instead of interrupts: a real card and few sockets only.
fn polling(target: &Target, machine: &Machine, name: &str) -> Said {
    match machine.number(name) {
        None => Said::absent(),
        Some(0) => Said::enough(0),
        Some(_) if target.is_local() => Said::wasteful(0, "loopback has nothing to poll").value(0),
        Some(_) => Said::risky(0, "cores spin; it helps few sockets on a real card").value(0),
    }
}

pub(super) const BUSY_POLL: Knob = Knob {
    name: "net.core.busy_poll",
    scope: Scope::Host,
    place: Place::Sysctl,
    what: "microseconds that poll() and epoll look at a card's queue before they sleep",
    why: "0, but for few sockets on a real card",
    risk: "a core that spins has no time for anything else",
    source: "Documentation/admin-guide/sysctl/net.rst",
    rule: |target, machine| polling(target, machine, BUSY_POLL.name),
    seen: unseen,
};

pub(super) const BUSY_READ: Knob = Knob {
    name: "net.core.busy_read",
    scope: Scope::Host,
    place: Place::Sysctl,
    what: "the same for a socket's reads: the default of SO_BUSY_POLL",
    why: "0, but for few sockets on a real card",
    risk: "a core that spins has no time for anything else",
    source: "Documentation/admin-guide/sysctl/net.rst; socket(7)",
    rule: |target, machine| polling(target, machine, BUSY_READ.name),
    seen: unseen,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_has_a_word_for_every_32_cores() {
        assert_eq!([2, 32, 40, 64].map(mask), ["3", "ffffffff", "ff,ffffffff", "ffffffff,ffffffff"]);
    }
}
