//! The kernel's own tables: of connections, of tracked connections, of neighbours.

use crate::detect::{Found, unseen};
use crate::knob::{Knob, Place, Said, Scope};
use crate::lab::{CHILD_EHASH, ehash_entries};
use crate::limits::SOCKETS_PER_HASH_BUCKET;

pub(super) const EHASH: Knob = Knob {
    name: "net.ipv4.tcp_ehash_entries",
    scope: Scope::Namespace,
    place: Place::Boot("thash_entries"),
    what: "buckets of the table of connections; negative where a namespace shares the host's",
    why: "a power of two, one for each socket, 16 Mi at most: at 16 sockets per bucket throughput is 4 % less, at 256 a third",
    risk: "8 bytes of memory each, which a namespace takes at once",
    source: "kernel commit d1e5e6408b30; sockets by net.ipv4.tcp_ehash_entries",
    rule: |target, machine| {
        let Some(buckets) = machine.signed(EHASH.name).map(i64::unsigned_abs) else { return Said::absent() };
        let needed = ehash_entries(target.endpoints());
        if target.endpoints() <= buckets.saturating_mul(SOCKETS_PER_HASH_BUCKET) {
            return Said::enough(needed);
        }
        let because = format!("{} sockets in each bucket", target.endpoints() / buckets.max(1));
        Said::blocks(needed, because).value(needed).instead(format!(
            "throng run sees to it in its lab; elsewhere sysctl -w {CHILD_EHASH}={needed} before a network namespace is made"
        ))
    },
    seen: |seen| {
        let buckets = seen.machine.signed(EHASH.name)?.unsigned_abs().max(1);
        let sides = seen.target.sides().filter(|(_, side)| side.has_sockets()).count() as u64;
        let sockets = sides * seen.summary.connections.peak;
        (sockets > SOCKETS_PER_HASH_BUCKET * buckets).then_some(())?;
        let needed = ehash_entries(sockets);
        let text = format!("{sockets} sockets stood in {buckets} buckets, {} in each", sockets / buckets);
        let mut found = Found::new(text, needed)?;
        found.instead = format!("sysctl -w {CHILD_EHASH}={needed} before a network namespace is made");
        Some(found)
    },
};

pub(super) const CONNTRACK: Knob = Knob {
    name: "net.netfilter.nf_conntrack_max",
    scope: Scope::Host,
    place: Place::Sysctl,
    what: "connections that the firewall tracks, those over loopback, too",
    why: "all of them and a fifth more; nothing where no rule makes it track",
    risk: "300 bytes of kernel memory each, and a longer walk where nf_conntrack_buckets does not grow with it",
    source: "Documentation/networking/nf_conntrack-sysctl.rst; `table full` in the kernel's log",
    rule: |target, machine| {
        let Some(max) = machine.number(CONNTRACK.name) else {
            return Said::ok("connections are not tracked");
        };
        // Without a rule that uses it, a loaded module tracks nothing, and its count stays at zero.
        let Some(count) = machine.number(CONNTRACK_COUNT).filter(|count| *count > 0) else {
            return Said::ok("nothing is tracked");
        };
        if count + target.connections <= max {
            return Said::enough(count + target.connections);
        }
        let needed = count + target.connections + target.connections / 5;
        Said::blocks(needed, "packets of connections beyond it are dropped")
            .value(needed)
            .instead("a NOTRACK rule for the run's port")
            .fits(max.saturating_sub(count))
            .refuses()
    },
    seen: unseen,
};

/// How many are tracked now: read with the others.
pub(crate) const CONNTRACK_COUNT: &str = "net.netfilter.nf_conntrack_count";

pub(super) const CONNTRACK_BUCKETS: Knob = Knob {
    name: "net.netfilter.nf_conntrack_buckets",
    scope: Scope::Host,
    place: Place::Sysctl,
    what: "buckets of the firewall's table",
    why: "an eighth of nf_conntrack_max or more",
    risk: "8 bytes of memory each",
    source: "Documentation/networking/nf_conntrack-sysctl.rst",
    rule: |target, machine| {
        let is_used = machine.number(CONNTRACK_COUNT).is_some_and(|count| count > 0);
        let Some(now) = machine.number(CONNTRACK_BUCKETS.name).filter(|_| is_used) else {
            return Said::ok("nothing is tracked");
        };
        let needed = target.connections.div_ceil(8);
        if needed <= now {
            Said::enough(needed)
        } else {
            Said::risky(needed, "long walks for every packet").value(needed)
        }
    },
    seen: unseen,
};

pub(super) const NEIGHBOURS: Knob = Knob {
    name: "net.ipv4.neigh.default.gc_thresh3",
    scope: Scope::Host,
    place: Place::Sysctl,
    what: "neighbours on the local networks whose hardware addresses the kernel keeps",
    why: "1.2 for each machine that is not behind a router; none for loopback, TUN devices and clients behind a router",
    risk: "half a kilobyte each",
    source: "Documentation/networking/ip-sysctl.rst; table_fulls in /proc/net/stat/arp_cache",
    rule: |target, machine| match machine.number(NEIGHBOURS.name) {
        _ if target.is_local() => Said::ok("packets stay on this machine"),
        None => Said::absent(),
        Some(_) => Said::unknown("how many clients are on the local network is not known"),
    },
    seen: unseen,
};
