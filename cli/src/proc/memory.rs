//! What one process occupies.

use std::fs;

use throng_report::schema::Footprint;

/// What stands at the end of a mapping's line when it is a ring.
const RING: &str = "anon_inode:[io_uring]";

/// What process `pid` occupies now (`self` for the own one); `None` when there is no such process.
///
/// Of a process of somebody else's only what `status` tells is known. What the allocator gave is known of the own
/// process alone.
pub(crate) fn footprint(pid: &str) -> Option<Footprint> {
    let text = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let status = text("status");
    let resident = super::kib(&status, "VmRSS:")?;
    let mapped = of_smaps(&text("smaps")).unwrap_or_else(|| {
        let anonymous = super::kib(&status, "RssAnon:");
        // A process without rings that we cannot see has none that we know of.
        Footprint {
            resident_bytes: Some(resident),
            anonymous_bytes: anonymous,
            user_bytes: anonymous,
            ..Footprint::default()
        }
    });
    let faults = faults(&text("stat"));
    Some(Footprint {
        allocated_bytes: if pid == "self" { throng_reactor::sys::usage::allocated_bytes() } else { None },
        page_table_bytes: super::kib(&status, "VmPTE:"),
        minor_faults: faults.map(|(minor, _)| minor),
        major_faults: faults.map(|(_, major)| major),
        ..mapped
    })
}

/// What process `pid` occupies now, as far as `status` tells: resident, anonymous, page tables. That costs the same however much
/// it is, while [`footprint`] walks all of it.
pub(crate) fn brief(pid: &str) -> Option<Footprint> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(Footprint {
        resident_bytes: Some(super::kib(&status, "VmRSS:")?),
        anonymous_bytes: super::kib(&status, "RssAnon:"),
        page_table_bytes: super::kib(&status, "VmPTE:"),
        ..Footprint::default()
    })
}

/// The sums over all mappings; `None` for an empty text, which is what an unreadable file amounts to.
fn of_smaps(text: &str) -> Option<Footprint> {
    let (mut resident, mut private, mut anonymous, mut rings) = (0, 0, 0, 0);
    let mut in_ring = false;
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(name) = words.next() else { continue };
        // A mapping's own line begins with its addresses, all others with a name and a colon.
        if !name.ends_with(':') {
            in_ring = line.ends_with(RING);
            continue;
        }
        let mut bytes = || words.next().and_then(|word| word.parse::<u64>().ok()).map_or(0, |kib| kib * 1024);
        match name {
            "Rss:" => {
                let bytes = bytes();
                resident += bytes;
                rings += if in_ring { bytes } else { 0 };
            }
            "Private_Clean:" | "Private_Dirty:" => private += bytes(),
            "Anonymous:" => anonymous += bytes(),
            _ => {}
        }
    }
    (resident > 0).then(|| Footprint {
        user_bytes: Some(anonymous + rings),
        resident_bytes: Some(resident),
        private_bytes: Some(private),
        anonymous_bytes: Some(anonymous),
        ring_bytes: Some(rings),
        ..Footprint::default()
    })
}

/// Minor and major faults since the process began.
fn faults(stat: &str) -> Option<(u64, u64)> {
    // proc(5) counts from 1 with the command's name as 2: minflt is 10, majflt 12; the fields go on after the last `)`.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.get(7)?.parse().ok()?, fields.get(9)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_occupies_memory() {
        let held = footprint("self").unwrap();
        let (resident, private, anonymous) =
            (held.resident_bytes.unwrap(), held.private_bytes.unwrap(), held.anonymous_bytes.unwrap());
        assert!(resident >= private && private >= anonymous && anonymous > 0, "{held:?}");
        assert!(held.page_table_bytes > Some(0) && held.minor_faults > Some(0), "{held:?}");
        assert_eq!(footprint("4294967295"), None);
        let told = brief("self").unwrap();
        assert!(told.resident_bytes >= told.anonymous_bytes && told.anonymous_bytes > Some(0), "{told:?}");
        assert_eq!(brief("4294967295"), None);
    }

    #[test]
    fn rings_are_user_space_and_text_is_not() {
        let text = "55d0-55d1 r-xp 0 08:01 7    /usr/bin/throng\nRss: 100 kB\nPrivate_Clean: 8 kB\nAnonymous: 0 kB\n\
                    7f00-7f01 rw-p 0 00:00 0 \nSize: 64 kB\nRss: 40 kB\nPrivate_Dirty: 40 kB\nAnonymous: 40 kB\n\
                    7f02-7f03 rw-s 0 00:10 9    anon_inode:[io_uring]\nRss: 132 kB\nPrivate_Clean: 128 kB\n\
                    Private_Dirty: 4 kB\nAnonymous: 0 kB\nVmFlags: rd wr\n";
        let kib = |kib: u64| Some(kib * 1024);
        let expected = Footprint {
            user_bytes: kib(172),
            resident_bytes: kib(272),
            private_bytes: kib(180),
            anonymous_bytes: kib(40),
            ring_bytes: kib(132),
            ..Footprint::default()
        };
        assert_eq!(of_smaps(text), Some(expected));
        assert_eq!(of_smaps(""), None);
    }

    #[test]
    fn faults_are_read_behind_the_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 11 2 13 4 150 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(faults(stat), Some((11, 13)));
    }
}
