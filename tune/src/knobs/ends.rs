//! Getting out: what the kernel keeps of connections that ended.

use crate::detect::{Found, unseen};
use crate::knob::{Knob, Place, Said, Scope};
use crate::limits::ORPHANS_SHARE;

pub(super) const TW_BUCKETS: Knob = Knob {
    name: "net.ipv4.tcp_max_tw_buckets",
    scope: Scope::Namespace,
    place: Place::Sysctl,
    what: "connections that may wait out their last minute (TIME_WAIT)",
    why: "every connection of the side that closes first, since everybody may leave at once",
    risk: "256 bytes of kernel memory for each that waits",
    source: "Documentation/networking/ip-sysctl.rst; TcpExtTCPTimeWaitOverflow",
    rule: |target, machine| {
        let Some(now) = machine.number(TW_BUCKETS.name) else { return Said::absent() };
        let needed = target.connections + target.reconnects;
        if needed <= now {
            return Said::enough(needed);
        }
        Said::blocks(needed, "beyond it the kernel cuts TIME_WAIT short, and counts it").value(needed)
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
    why: "a tenth of the connections where both ends are here, because each takes microseconds; all of them where clients are elsewhere",
    risk: "each may hold 64 kB of memory that no process answers for",
    source: "Documentation/networking/ip-sysctl.rst; TcpExtTCPAbortOnMemory; orphan in /proc/net/sockstat",
    rule: |target, machine| {
        let Some(now) = machine.number(ORPHANS.name) else { return Said::absent() };
        let is_local = target.is_local();
        let needed = if is_local { target.connections.div_ceil(ORPHANS_SHARE) } else { target.connections };
        if needed <= now {
            return Said::enough(needed);
        }
        let because = "whoever is beyond it when everybody leaves is reset";
        if is_local {
            Said::blocks(needed, because).value(needed)
        } else {
            Said::risky(needed, because).value(needed)
        }
    },
    seen: |seen| {
        let cut = seen.kernel("TcpExtTCPAbortOnMemory");
        let now = seen.machine.number(ORPHANS.name).filter(|_| cut > 0)?;
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
    why: "60 or less: a phone that is gone never closes",
    risk: "too short resets slow clients",
    source: "Documentation/networking/ip-sysctl.rst; orphan in /proc/net/sockstat",
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
