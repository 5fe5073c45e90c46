//! Getting out: what the kernel keeps of connections that ended.

use crate::detect::{Found, unseen};
use crate::knob::{Knob, Place, Said, Scope};
use crate::limits::ORPHANS_SHARE;

pub(super) const TW_BUCKETS: Knob = Knob {
    name: "net.ipv4.tcp_max_tw_buckets",
    scope: Scope::Namespace,
    place: Place::Sysctl,
    what: "connections that may wait out their last minute (TIME_WAIT)",
    why: "every connection of the users' side, which closes first, since everybody may leave at once",
    risk: "256 bytes of kernel memory for each that waits",
    source: "Documentation/networking/ip-sysctl.rst; TcpExtTCPTimeWaitOverflow",
    rule: |target, machine| {
        let Some(now) = machine.number(TW_BUCKETS.name) else { return Said::absent() };
        if !target.generator.is_some_and(|(side, _)| side.has_sockets()) {
            return Said::ok("the users close first, and have no sockets here");
        }
        let needed = target.connections + target.reconnects;
        if needed <= now {
            return Said::at_least(needed);
        }
        let because = "who closes beyond it skips TIME_WAIT, and a late packet may meet the next connection of its port";
        Said::blocks(format!("at least {needed}"), because).value(needed)
    },
    seen: |seen| {
        let cut = seen.kernel("TcpExtTCPTimeWaitOverflow");
        let now = seen.machine.number(TW_BUCKETS.name).filter(|_| cut > 0)?;
        let needed = (seen.target.connections + seen.target.reconnects).max(2 * now);
        Found::new(format!("{cut} connections could not wait out their last minute: {now} may"), needed)
    },
};

pub(super) const ORPHANS: Knob = Knob {
    name: "net.ipv4.tcp_max_orphans",
    scope: Scope::Host,
    place: Place::Sysctl,
    what: "closed connections whose last bytes the other side has not acknowledged; what is beyond is reset",
    why: "a tenth of the connections: each is an orphan until its last bytes are acknowledged, and when everybody leaves they do so one \
          after the other",
    risk: "each keeps its socket, and up to 64 KiB of what was not sent yet",
    source: "Documentation/networking/ip-sysctl.rst; a tenth is Throng's choice; TcpExtTCPAbortOnMemory; orphan in /proc/net/sockstat",
    rule: |target, machine| {
        let Some(now) = machine.number(ORPHANS.name) else { return Said::absent() };
        let needed = target.connections.div_ceil(ORPHANS_SHARE);
        if needed <= now {
            return Said::at_least(needed);
        }
        let text = format!("at least {needed}");
        let said = if target.generator.is_some() {
            Said::blocks(
                text,
                "when everybody leaves, who is beyond it is reset, and its last bytes are lost",
            )
        } else {
            Said::risky(
                text,
                "when everybody leaves, who is beyond it is reset; but users elsewhere have closed before, and lose nothing",
            )
        };
        said.value(needed)
    },
    seen: |seen| {
        let cut = seen.kernel("TcpExtTCPAbortOnMemory");
        // The same counter moves when TCP is out of memory.
        let most = seen.machine.numbers("net.ipv4.tcp_mem").last().copied().unwrap_or(u64::MAX);
        let has_memory = seen.peak("sockstat_tcp_mem") <= most;
        let now = seen.machine.number(ORPHANS.name).filter(|_| cut > 0 && has_memory)?;
        Found::new(
            format!(
                "{cut} closed connections were reset before their last bytes were acknowledged: {now} may wait"
            ),
            seen.target.connections.max(2 * now),
        )
    },
};

pub(super) const FIN_TIMEOUT: Knob = Knob {
    name: "net.ipv4.tcp_fin_timeout",
    scope: Scope::Namespace,
    place: Place::Sysctl,
    what: "how long a closed connection waits for the other side to close, in seconds",
    why: "5 to 60: a phone that is gone never closes",
    risk: "too short resets slow clients",
    source: "Documentation/networking/ip-sysctl.rst; 5 is Throng's choice; up to 60 it waits as TIME_WAIT does: tw in /proc/net/sockstat",
    rule: |_, machine| match machine.number(FIN_TIMEOUT.name) {
        None => Said::absent(),
        Some(now) if now > 60 => {
            Said::wasteful("at most 60", "connections of clients that are gone stay that long").value(60)
        }
        Some(now) if now < 5 => Said::risky("at least 5", "slow clients are reset").value(15),
        Some(_) => Said::enough("5 to 60"),
    },
    seen: unseen,
};
