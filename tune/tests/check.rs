//! Each limit that forbids a run is named, with the value that the run needs; what fits is left in peace.

use throng_tune::{
    Backend, Conntrack, Finding, Machine, Severity, Side, Sources, Target, check, fullest_thread,
};

const MIB: u64 = 1 << 20;

/// A machine with room for a million connections.
fn machine() -> Machine {
    Machine {
        files_per_table: 20_000,
        nr_open: 1_048_576,
        file_max: 4_000_000,
        file_max_holds: true,
        files_used: 1_000,
        epoll_max_user_watches: Some(5_000_000),
        somaxconn: 4_096,
        netdev_max_backlog: Some(16_384),
        port_range: (10_000, 65_535),
        ports_reserved: 0,
        tcp_max_tw_buckets: 1_048_576,
        tcp_ehash_entries: Some(1 << 20),
        conntrack: None,
        lockable_bytes: Some(8 * MIB),
        threads_left: Some(10_000),
        memory_total_bytes: 24_576 * MIB,
        memory_available_bytes: 22_000 * MIB,
    }
}

/// `connections` with both ends here, over epoll with `threads` threads a side.
fn target(connections: u64, threads: u64) -> Target {
    let side = Side { threads, fullest: fullest_thread(connections, threads), backend: Backend::Epoll };
    let sources = Sources { addresses: connections.div_ceil(8_000), targets: 1, loopback: true };
    Target { connections, connect_rate_per_s: 10_000.0, server: Some(side), generator: Some((side, sources)) }
}

/// `connections` with both ends here, over io_uring with a thread a side.
fn over_rings(connections: u64) -> Target {
    let side = Side { threads: 1, fullest: connections, backend: Backend::IoUring };
    let mut target = target(connections, 1);
    target.server = Some(side);
    target.generator = target.generator.map(|(_, sources)| (side, sources));
    target
}

fn only(findings: &[Finding]) -> (&str, &str, Severity) {
    match findings {
        [finding] => (finding.name, &finding.needed, finding.severity),
        other => panic!("expected one finding: {other:#?}"),
    }
}

#[test]
fn what_fits_is_left_in_peace() {
    assert_eq!(check(&target(1_000, 2), &machine()), []);
    assert_eq!(check(&target(1_000_000, 56), &machine()), []);
}

#[test]
fn each_limit_is_named_with_what_is_needed() {
    type Change = fn(&mut Target, &mut Machine);
    let cases: [(&str, &str, Severity, Change); 13] = [
        ("fs.file-max", "201064", Severity::Blocker, |_, machine| machine.file_max = 150_000),
        ("fs.epoll.max_user_watches", "200000", Severity::Blocker, |_, machine| {
            machine.epoll_max_user_watches = Some(199_999);
        }),
        ("RLIMIT_MEMLOCK", "10665984", Severity::Blocker, |target, _| {
            // 62 rings a side, of 84 KiB each.
            *target = over_rings(1_000_000);
        }),
        ("threads that can be started", "36", Severity::Blocker, |_, machine| {
            machine.threads_left = Some(35);
        }),
        (
            "net.ipv4.ip_local_port_range",
            "100000 ports for each pair of source and target address",
            Severity::Blocker,
            |target, _| {
                if let Some((_, sources)) = &mut target.generator {
                    sources.addresses = 1;
                }
            },
        ),
        (
            "net.ipv4.ip_local_port_range",
            "66668 ports for each pair of source and target address",
            Severity::Advice,
            |target, _| {
                if let Some((_, sources)) = &mut target.generator {
                    sources.addresses = 3;
                }
            },
        ),
        ("memory available", "2.17 GB", Severity::Blocker, |_, machine| {
            machine.memory_available_bytes = 2_000 * MIB;
        }),
        ("net.netfilter.nf_conntrack_max", "120010", Severity::Blocker, |_, machine| {
            machine.conntrack = Some(Conntrack { count: 10, max: 65_536 });
        }),
        ("fs.file-max", "201064", Severity::Advice, |_, machine| {
            machine.file_max = 150_000;
            machine.file_max_holds = false;
        }),
        ("net.core.somaxconn", "10000", Severity::Advice, |target, _| target.connect_rate_per_s = 1e6),
        ("net.core.netdev_max_backlog", "16384", Severity::Advice, |_, machine| {
            machine.netdev_max_backlog = Some(1_000);
        }),
        ("net.ipv4.tcp_ehash_entries", "262144", Severity::Advice, |_, machine| {
            machine.tcp_ehash_entries = Some(65_536);
        }),
        ("net.ipv4.tcp_max_tw_buckets", "100000", Severity::Advice, |_, machine| {
            machine.tcp_max_tw_buckets = 8_192;
        }),
    ];
    for (name, needed, severity, change) in cases {
        let (mut target, mut machine) = (target(100_000, 10), machine());
        change(&mut target, &mut machine);
        let findings = check(&target, &machine);
        assert_eq!(only(&findings), (name, needed, severity), "{name}");
        assert!(!findings[0].remedy.is_empty() && !findings[0].now.is_empty(), "{:?}", findings[0]);
    }
}

#[test]
fn too_few_threads_of_epoll_are_named_once_for_each_side_with_how_many_are_enough() {
    let findings = check(&target(100_000, 2), &machine());
    let sides: Vec<(&str, &str)> = findings.iter().map(|found| (found.name, found.needed.as_str())).collect();
    assert_eq!(sides, [("RLIMIT_NOFILE", "52566"); 2]);
    assert!(findings[0].remedy.starts_with("--shards 6 "), "{}", findings[0]);
    assert!(findings[1].remedy.starts_with("--threads 6 "), "{}", findings[1]);
    // 2 x (20,000 - 66) / 1.05
    assert_eq!(findings[0].fits, Some(37_969));
    assert_eq!(check(&target(100_000, 6), &machine()), []);
    assert_eq!(check(&target(37_969, 2), &machine()), []);
}

#[test]
fn rings_need_no_threads_of_their_own_and_no_watches() {
    let mut machine = machine();
    machine.lockable_bytes = None;
    machine.epoll_max_user_watches = Some(1);
    assert_eq!(check(&over_rings(1_000_000), &machine), []);
}

#[test]
fn the_most_that_fits_is_told_and_fits() {
    type Change = fn(&mut Machine);
    let cases: [(&str, Change); 4] = [
        ("fs.file-max", |machine| machine.file_max = 150_000),
        ("fs.epoll.max_user_watches", |machine| machine.epoll_max_user_watches = Some(50_001)),
        ("net.ipv4.ip_local_port_range", |machine| machine.port_range = (30_000, 31_000)),
        ("memory available", |machine| machine.memory_available_bytes = 2_000 * MIB),
    ];
    for (name, change) in cases {
        let blockers = |connections: u64| -> Vec<Finding> {
            let mut target = target(connections, 10);
            if let Some((_, sources)) = &mut target.generator {
                sources.addresses = 13;
            }
            let mut machine = machine();
            change(&mut machine);
            let found = check(&target, &machine).into_iter();
            found.filter(|finding| finding.severity == Severity::Blocker).collect()
        };
        let fits = match &blockers(100_000)[..] {
            [one] if one.name == name => one.fits.unwrap(),
            other => panic!("{name}: {other:#?}"),
        };
        assert_eq!(blockers(fits), [], "{name}: {fits} fit");
        // Rounding, and what threads take whatever the connections are, may leave room for a few more.
        assert!(!blockers(fits + fits / 10).is_empty(), "{name}: not many more than {fits} fit");
    }
}

#[test]
fn two_and_a_half_million_connections_fit_24_gib_and_three_do_not() {
    let mut machine = machine();
    machine.lockable_bytes = None;
    machine.file_max = 100_000_000;
    machine.memory_available_bytes = 24_700_000_000;
    machine.tcp_ehash_entries = Some(8 << 20);
    machine.tcp_max_tw_buckets = 5_000_000;
    assert_eq!(check(&over_rings(2_500_000), &machine), []);
    assert_eq!(only(&check(&over_rings(3_000_000), &machine)).0, "memory available");
}

#[test]
fn a_connection_tracker_without_a_rule_is_no_matter() {
    let mut machine = machine();
    machine.conntrack = Some(Conntrack { count: 0, max: 50_000 });
    assert_eq!(check(&target(100_000, 10), &machine), []);
}

#[test]
fn a_server_elsewhere_costs_nothing_here() {
    let mut target = target(100_000, 10);
    target.server = None;
    let mut machine = machine();
    machine.file_max = 110_000;
    machine.netdev_max_backlog = Some(1_000);
    assert_eq!(check(&target, &machine), []);
}

#[test]
fn blockers_come_first() {
    let mut machine = machine();
    machine.tcp_max_tw_buckets = 1;
    machine.memory_available_bytes = 0;
    let severities: Vec<Severity> =
        check(&target(100_000, 10), &machine).iter().map(|finding| finding.severity).collect();
    assert_eq!(severities, [Severity::Blocker, Severity::Advice]);
}
