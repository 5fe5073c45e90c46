//! The kernel's own tables: of connections, of tracked connections, of neighbours.

use crate::detect::{Found, unseen};
use crate::knob::{Knob, Place, Said, Scope};
use crate::lab::{CHILD_EHASH, ehash_entries};
use crate::limits::{SOCKETS_PER_BUCKET, SOCKETS_PER_CROWDED_BUCKET};

pub(super) const EHASH: Knob = Knob {
    name: "net.ipv4.tcp_ehash_entries",
    scope: Scope::Namespace,
    place: Place::Boot("thash_entries"),
    what: "buckets of the table of connections; negative where a namespace shares the host's",
    why: "a power of two, one for each socket, 65,536 at least and 16 Mi at most; up to two sockets per bucket nothing is lost, at 16 \
          throughput is 4 % less, at 256 a third",
    risk: "8 bytes of memory each, which a namespace takes at once",
    source: "kernel commit d1e5e6408b30; sockets by net.ipv4.tcp_ehash_entries",
    rule: |target, machine| {
        let Some(buckets) = machine.signed(EHASH.name).map(i64::unsigned_abs) else { return Said::absent() };
        let needed = ehash_entries(target.endpoints());
        let per_bucket = target.endpoints() as f64 / buckets.max(1) as f64;
        let because = format!("{per_bucket:.1} sockets in each bucket");
        let said = match per_bucket {
            few if few <= SOCKETS_PER_BUCKET => return Said::at_least(needed.min(buckets)).because(because),
            some if some <= SOCKETS_PER_CROWDED_BUCKET => Said::wasteful(needed, because),
            _ => Said::blocks(needed, because),
        };
        match target.is_local() {
            true => said.value(needed).instead("leave out --no-lab: a lab has a table of its own"),
            false => said.value(needed),
        }
    },
    seen: |seen| {
        let buckets = seen.machine.signed(EHASH.name)?.unsigned_abs().max(1);
        let sides = seen.target.sides().filter(|(_, side)| side.has_sockets()).count() as u64;
        let sockets = sides * seen.summary.connections.peak;
        (sockets as f64 > SOCKETS_PER_CROWDED_BUCKET * buckets as f64).then_some(())?;
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
    source: "Documentation/networking/nf_conntrack-sysctl.rst; a fifth is Throng's choice; `table full` in the kernel's log",
    rule: |target, machine| {
        let Some(max) = machine.number(CONNTRACK.name) else {
            return Said::ok("connections are not tracked");
        };
        // Without a rule that uses it, a loaded module tracks nothing, and its count stays at zero.
        let Some(count) = machine.number(CONNTRACK_COUNT).filter(|count| *count > 0) else {
            return Said::ok("nothing is tracked");
        };
        if count + target.connections <= max {
            return Said::at_least(count + target.connections);
        }
        let needed = count + target.connections + target.connections / 5;
        Said::blocks(format!("at least {needed}"), "packets of connections beyond it are dropped")
            .value(needed)
            .instead("a NOTRACK rule for the run's port")
            .fits(max.saturating_sub(count))
            .refuses()
    },
    seen: |seen| {
        let lost = seen.kernel_sum(&["nf_conntrack_drop", "nf_conntrack_early_drop"]);
        // Packets are also dropped because two make the same entry at once.
        let peak = seen.peak("nf_conntrack_count");
        let max = seen.machine.number(CONNTRACK.name).filter(|max| lost > 0 && 20 * peak >= 19 * max)?;
        let text = format!(
            "the firewall dropped {lost} packets: it tracked {peak} connections, and {max} is the most"
        );
        let needed = peak.max(max) + seen.target.connections + seen.target.connections / 5;
        let mut found = Found::new(text, needed)?;
        "a NOTRACK rule for the run's port".clone_into(&mut found.instead);
        Some(found)
    },
};

/// How many are tracked now: read with the others.
pub(crate) const CONNTRACK_COUNT: &str = "net.netfilter.nf_conntrack_count";

pub(super) const CONNTRACK_BUCKETS: Knob = Knob {
    name: "net.netfilter.nf_conntrack_buckets",
    scope: Scope::Host,
    place: Place::Sysctl,
    what: "buckets of the firewall's table",
    why: "one for each connection: it stands there twice, once for each direction",
    risk: "8 bytes of memory each",
    source: "Documentation/networking/nf_conntrack-sysctl.rst",
    rule: |target, machine| {
        let is_used = machine.number(CONNTRACK_COUNT).is_some_and(|count| count > 0);
        let Some(now) = machine.number(CONNTRACK_BUCKETS.name).filter(|_| is_used) else {
            return Said::ok("nothing is tracked");
        };
        let needed = target.connections;
        if needed <= now {
            return Said::at_least(needed);
        }
        let because = format!(
            "{:.1} entries in each: a walk for every packet",
            2.0 * needed as f64 / now.max(1) as f64
        );
        Said::wasteful(format!("at least {needed}"), because).value(needed)
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
