//! Each limit that forbids a run is named, with the value that the run needs; what fits is left in peace.

use throng_tune::{
    Backend, Card, KNOBS, Line, Machine, Side, Sockets, Sources, Target, Verdict, audit, check,
    fullest_thread, render,
};

const MIB: u64 = 1 << 20;

/// A machine with room for a million connections.
fn machine() -> Machine {
    let settings = [
        ("fs.nr_open", "1048576"),
        ("fs.file-max", "4000000"),
        ("fs.epoll.max_user_watches", "5000000"),
        ("vm.max_map_count", "65530"),
        ("vm.min_free_kbytes", "67584"),
        ("vm.swappiness", "60"),
        ("transparent huge pages", "madvise"),
        ("net.core.somaxconn", "4096"),
        ("net.core.netdev_max_backlog", "16384"),
        ("net.core.netdev_budget", "300"),
        ("net.core.netdev_budget_usecs", "8000"),
        ("net.core.busy_poll", "0"),
        ("net.core.busy_read", "0"),
        ("net.core.default_qdisc", "pfifo_fast"),
        ("net.core.rmem_max", "4194304"),
        ("net.core.wmem_max", "4194304"),
        ("net.ipv4.ip_local_port_range", "10000 65535"),
        ("net.ipv4.ip_local_reserved_ports", ""),
        ("net.ipv4.neigh.default.gc_thresh3", "1024"),
        ("net.ipv4.tcp_congestion_control", "cubic"),
        ("net.ipv4.tcp_ehash_entries", "1048576"),
        ("net.ipv4.tcp_fin_timeout", "60"),
        ("net.ipv4.tcp_keepalive_time", "7200"),
        ("net.ipv4.tcp_max_orphans", "131072"),
        ("net.ipv4.tcp_max_syn_backlog", "4096"),
        ("net.ipv4.tcp_max_tw_buckets", "1048576"),
        ("net.ipv4.tcp_mem", "287898 383866 575796"),
        ("net.ipv4.tcp_migrate_req", "1"),
        ("net.ipv4.tcp_notsent_lowat", "4294967295"),
        ("net.ipv4.tcp_retries2", "15"),
        ("net.ipv4.tcp_rmem", "4096 131072 33554432"),
        ("net.ipv4.tcp_slow_start_after_idle", "1"),
        ("net.ipv4.tcp_syn_retries", "6"),
        ("net.ipv4.tcp_synack_retries", "5"),
        ("net.ipv4.tcp_syncookies", "1"),
        ("net.ipv4.tcp_tw_reuse", "2"),
        ("net.ipv4.tcp_wmem", "4096 16384 4194304"),
    ];
    Machine {
        in_lab: false,
        settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        files_per_table: 20_000,
        file_max_holds: true,
        files_used: 1_000,
        lockable_bytes: Some(8 * MIB),
        threads_left: Some(10_000),
        memory_total_bytes: 24_576 * MIB,
        memory_available_bytes: 22_000 * MIB,
        cgroup_limit_bytes: None,
        swap_bytes: 0,
        cores: 2,
        numa_nodes: 1,
        cards: vec![Card { name: "eth0".to_owned(), queues: 2 }],
        rps_queues: 0,
    }
}

fn set(machine: &mut Machine, name: &str, value: &str) {
    machine.settings.insert(name.to_owned(), value.to_owned());
}

/// `connections` with both ends here, over epoll with `threads` threads a side.
fn target(connections: u64, threads: u64) -> Target {
    let side = Side { threads, fullest: fullest_thread(connections, threads), backend: Backend::Epoll };
    let sources = Sources { addresses: connections.div_ceil(8_000), targets: 1, loopback: true };
    Target {
        tls: false,
        connections,
        reconnects: 0,
        rate_per_s: 1_000.0,
        payload_bytes: 100,
        sockets: Sockets::default(),
        connect_rate_per_s: 10_000.0,
        server: Some(side),
        generator: Some((side, sources)),
    }
}

/// `connections` with both ends here, over io_uring with a thread a side.
fn over_rings(connections: u64) -> Target {
    let side = Side { threads: 1, fullest: connections, backend: Backend::IoUring };
    let mut target = target(connections, 1);
    target.server = Some(side);
    target.generator = target.generator.map(|(_, sources)| (side, sources));
    target
}

fn only(lines: &[Line]) -> (&str, &str, bool) {
    match lines {
        [line] => (line.knob.name, &line.needed, line.refuses),
        other => panic!("expected one line: {other:#?}"),
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
    let refused = true;
    let cases: [(&str, &str, bool, Change); 24] = [
        ("fs.file-max", "at least 201064", refused, |_, machine| set(machine, "fs.file-max", "150000")),
        ("fs.epoll.max_user_watches", "at least 200000", refused, |_, machine| {
            set(machine, "fs.epoll.max_user_watches", "199999");
        }),
        ("vm.max_map_count", "at least 1060", refused, |_, machine| set(machine, "vm.max_map_count", "1059")),
        ("RLIMIT_MEMLOCK", "at least 10416 KiB", refused, |target, _| {
            // 62 rings a side, of 84 KiB each.
            *target = over_rings(1_000_000);
        }),
        ("kernel.threads-max", "at least 36", refused, |_, machine| machine.threads_left = Some(35)),
        (
            "net.ipv4.ip_local_port_range",
            "at least 100000 ports for each pair of source and target address",
            refused,
            |target, _| {
                if let Some((_, sources)) = &mut target.generator {
                    sources.addresses = 1;
                }
            },
        ),
        (
            "net.ipv4.ip_local_port_range",
            "at least 66668 ports for each pair of source and target address",
            !refused,
            |target, _| {
                if let Some((_, sources)) = &mut target.generator {
                    sources.addresses = 3;
                }
            },
        ),
        ("net.ipv4.ip_local_reserved_ports", "the listeners' ports alone", refused, |_, machine| {
            set(machine, "net.ipv4.ip_local_reserved_ports", "10000-65000");
        }),
        ("net.ipv4.tcp_tw_reuse", "2", !refused, |target, machine| {
            target.reconnects = 100_000;
            if let Some((_, sources)) = &mut target.generator {
                sources.addresses = 3;
            }
            target.connections = 80_000;
            set(machine, "net.ipv4.tcp_tw_reuse", "0");
        }),
        ("memory available", "at least 2.18 GB", refused, |_, machine| {
            machine.memory_available_bytes = 2_000 * MIB;
        }),
        ("memory.max", "at least 1.03 GB", refused, |_, machine| {
            machine.cgroup_limit_bytes = Some(900 * MIB);
        }),
        ("net.netfilter.nf_conntrack_max", "at least 120010", refused, |_, machine| {
            set(machine, "net.netfilter.nf_conntrack_max", "65536");
            set(machine, "net.netfilter.nf_conntrack_count", "10");
        }),
        ("net.core.somaxconn", "at least 10000", !refused, |target, _| target.connect_rate_per_s = 1e6),
        ("listen backlog", "at least 100", !refused, |target, _| target.sockets.backlog = 99),
        ("net.ipv4.tcp_max_syn_backlog", "at least 134", !refused, |_, machine| {
            set(machine, "net.ipv4.tcp_syncookies", "0");
            set(machine, "net.ipv4.tcp_max_syn_backlog", "133");
        }),
        ("net.ipv4.tcp_migrate_req", "1", !refused, |target, machine| {
            *target = self::target(180_000, 10);
            set(machine, "net.ipv4.tcp_migrate_req", "0");
        }),
        ("net.core.netdev_max_backlog", "at least 16384", !refused, |_, machine| {
            set(machine, "net.core.netdev_max_backlog", "999");
        }),
        ("net.core.netdev_budget", "at least 300", !refused, |_, machine| {
            set(machine, "net.core.netdev_budget", "30");
        }),
        ("net.ipv4.tcp_ehash_entries", "262144", !refused, |_, machine| {
            set(machine, "net.ipv4.tcp_ehash_entries", "-8192");
        }),
        ("net.ipv4.tcp_max_tw_buckets", "at least 100000", !refused, |_, machine| {
            set(machine, "net.ipv4.tcp_max_tw_buckets", "8192");
        }),
        ("net.ipv4.tcp_max_orphans", "at least 10000", !refused, |_, machine| {
            set(machine, "net.ipv4.tcp_max_orphans", "9999");
        }),
        // A thousand messages of 164 bytes, in and out.
        ("net.ipv4.tcp_mem", "at least 2081 as the second", !refused, |_, machine| {
            set(machine, "net.ipv4.tcp_mem", "500 1000 2080");
        }),
        (
            "net.ipv4.tcp_rmem",
            "at least 16384 as the second, 480512 as the third",
            !refused,
            |target, machine| {
                target.payload_bytes = 60_000;
                set(machine, "net.ipv4.tcp_rmem", "4096 8192 8192");
                set(machine, "net.ipv4.tcp_wmem", "4096 16384 4194304");
            },
        ),
        (
            "net.ipv4.tcp_wmem",
            "at least 16384 as the second, 480512 as the third",
            !refused,
            |target, machine| {
                target.payload_bytes = 60_000;
                set(machine, "net.ipv4.tcp_wmem", "4096 8192 8192");
            },
        ),
    ];
    for (name, needed, refuses, change) in cases {
        let (mut target, mut machine) = (target(100_000, 10), machine());
        change(&mut target, &mut machine);
        let lines = check(&target, &machine);
        assert_eq!(lines.len(), 1, "{name}: {lines:#?}");
        assert_eq!(only(&lines), (name, needed, refuses), "{name}");
        assert!(!lines[0].remedy.is_empty() && !lines[0].now.is_empty(), "{:?}", lines[0]);
    }
}

#[test]
fn too_few_threads_of_epoll_are_named_with_how_many_are_enough_on_each_side() {
    let lines = check(&target(100_000, 2), &machine());
    assert_eq!(only(&lines), ("RLIMIT_NOFILE", "at least 52566", true));
    assert!(lines[0].remedy.contains("--shards 6 and --threads 6, "), "{}", lines[0]);
    // 2 x (20,000 - 66) / 1.05
    assert_eq!(lines[0].fits, Some(37_969));
    assert_eq!(check(&target(100_000, 6), &machine()), []);
    assert_eq!(check(&target(37_969, 2), &machine()), []);
}

#[test]
fn rings_need_no_threads_of_their_own_and_no_watches() {
    let mut machine = machine();
    machine.lockable_bytes = None;
    set(&mut machine, "fs.epoll.max_user_watches", "1");
    assert_eq!(check(&over_rings(1_000_000), &machine), []);
}

#[test]
fn the_limit_that_rings_are_said_to_need_is_one_that_they_fit_under() {
    let under = |files| {
        check(&over_rings(1_000_000), &Machine { files_per_table: files, lockable_bytes: None, ..machine() })
    };
    let lines = under(100);
    let (name, needed, refuses) = only(&lines);
    assert_eq!((name, refuses), ("RLIMIT_NOFILE", true));
    let needed: u64 = needed.strip_prefix("at least ").unwrap().parse().unwrap();
    assert_eq!(under(needed), []);
    assert_eq!(only(&under(needed - 1)).1, format!("at least {needed}"), "the same, whatever it is now");
}

#[test]
fn nobody_is_told_to_give_more_than_half_of_the_memory_to_queues() {
    let line = |rate| {
        let mut target = target(4_000_000, 250);
        target.rate_per_s = rate;
        let lines = audit(&target, &machine());
        lines.into_iter().find(|line| line.knob.name == "net.ipv4.tcp_mem").unwrap()
    };
    // 24 GiB are 6,291,456 pages.
    assert_eq!(line(500_000.0).value.as_deref(), Some("520020 1040040 2080080"));
    assert_eq!(line(1_000_000.0).value.as_deref(), Some("1040039 2080079 3145728"));
    assert_eq!(line(2_000_000.0).value, None);
    assert!(line(2_000_000.0).remedy.contains("1512312 messages/s at the most"), "{}", line(2_000_000.0));
}

#[test]
fn what_slow_readers_may_hold_is_told_where_there_are_many() {
    let names = |connections| {
        let lines = audit(&target(connections, 100), &machine()).into_iter();
        let risky = lines.filter(|line| line.verdict == Verdict::Risky);
        risky.map(|line| (line.knob.name, line.value.unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(names(99_998), []);
    let expected = [
        ("net.ipv4.tcp_rmem", "4096 131072 262144"),
        ("net.ipv4.tcp_wmem", "4096 16384 262144"),
        ("net.ipv4.tcp_notsent_lowat", "131072"),
    ];
    assert_eq!(names(100_000), expected.map(|(name, value)| (name, value.to_owned())));
}

#[test]
fn the_most_that_fits_is_told_and_fits() {
    type Change = fn(&mut Machine);
    let cases: [(&str, Change); 4] = [
        ("fs.file-max", |machine| set(machine, "fs.file-max", "150000")),
        ("fs.epoll.max_user_watches", |machine| set(machine, "fs.epoll.max_user_watches", "50001")),
        ("net.ipv4.ip_local_port_range", |machine| {
            set(machine, "net.ipv4.ip_local_port_range", "30000 31000");
        }),
        ("memory available", |machine| machine.memory_available_bytes = 2_000 * MIB),
    ];
    for (name, change) in cases {
        let blockers = |connections: u64| -> Vec<Line> {
            let mut target = target(connections, 10);
            if let Some((_, sources)) = &mut target.generator {
                sources.addresses = 13;
            }
            let mut machine = machine();
            change(&mut machine);
            let found = check(&target, &machine).into_iter();
            found.filter(|line| line.refuses).collect()
        };
        let fits = match &blockers(100_000)[..] {
            [one] if one.knob.name == name => one.fits.unwrap(),
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
    machine.memory_available_bytes = 24_700_000_000;
    for (name, value) in [
        ("fs.file-max", "100000000"),
        ("net.ipv4.tcp_ehash_entries", "8388608"),
        ("net.ipv4.tcp_max_tw_buckets", "5000000"),
        ("net.ipv4.tcp_max_orphans", "300000"),
    ] {
        set(&mut machine, name, value);
    }
    assert_eq!(check(&over_rings(2_500_000), &machine), []);
    assert_eq!(only(&check(&over_rings(3_000_000), &machine)).0, "memory available");
}

#[test]
fn a_connection_tracker_without_a_rule_is_no_matter() {
    let mut machine = machine();
    set(&mut machine, "net.netfilter.nf_conntrack_max", "50000");
    set(&mut machine, "net.netfilter.nf_conntrack_count", "0");
    assert_eq!(check(&target(100_000, 10), &machine), []);
}

#[test]
fn a_server_elsewhere_costs_nothing_here() {
    let mut target = target(100_000, 10);
    target.server = None;
    let mut machine = machine();
    set(&mut machine, "fs.file-max", "110000");
    set(&mut machine, "net.core.netdev_max_backlog", "1000");
    set(&mut machine, "net.ipv4.tcp_tw_reuse", "1");
    assert_eq!(check(&target, &machine), []);
}

#[test]
fn what_refuses_comes_first() {
    let mut machine = machine();
    set(&mut machine, "net.ipv4.tcp_max_tw_buckets", "1");
    machine.memory_available_bytes = 0;
    let refuses: Vec<bool> = check(&target(100_000, 10), &machine).iter().map(|line| line.refuses).collect();
    assert_eq!(refuses, [true, false]);
}

#[test]
fn what_hurts_what_may_and_what_costs_are_told_apart() {
    type Change = fn(&mut Target, &mut Machine);
    let cases: [(&str, Verdict, Change); 20] = [
        ("fs.file-max", Verdict::Blocks, |_, machine| {
            set(machine, "fs.file-max", "15000");
            machine.file_max_holds = false;
        }),
        ("net.core.netdev_max_backlog", Verdict::Risky, |_, machine| {
            set(machine, "net.core.netdev_max_backlog", "1000");
        }),
        ("net.ipv4.tcp_ehash_entries", Verdict::Wasteful, |_, machine| {
            set(machine, "net.ipv4.tcp_ehash_entries", "4096");
        }),
        ("TCP_DEFER_ACCEPT", Verdict::Wasteful, |target, _| target.sockets.defer_accept_s = 0),
        ("net.ipv4.tcp_max_orphans", Verdict::Risky, |target, machine| {
            target.generator = None;
            set(machine, "net.ipv4.tcp_max_orphans", "999");
        }),
        ("net.ipv4.tcp_syncookies", Verdict::Risky, |_, machine| {
            set(machine, "net.ipv4.tcp_syncookies", "2");
        }),
        ("net.ipv4.tcp_syn_retries", Verdict::Risky, |_, machine| {
            set(machine, "net.ipv4.tcp_syn_retries", "0");
        }),
        ("net.ipv4.tcp_tw_reuse", Verdict::Risky, |_, machine| set(machine, "net.ipv4.tcp_tw_reuse", "0")),
        ("vm.min_free_kbytes", Verdict::Risky, |_, machine| set(machine, "vm.min_free_kbytes", "1024")),
        ("vm.min_free_kbytes", Verdict::Wasteful, |_, machine| set(machine, "vm.min_free_kbytes", "4194304")),
        ("vm.swappiness", Verdict::Risky, |_, machine| machine.swap_bytes = 1 << 30),
        ("transparent huge pages", Verdict::Wasteful, |_, machine| {
            set(machine, "transparent huge pages", "always");
        }),
        ("net.core.busy_poll", Verdict::Wasteful, |_, machine| set(machine, "net.core.busy_poll", "50")),
        ("net.ipv4.tcp_congestion_control", Verdict::Wasteful, |_, machine| {
            set(machine, "net.ipv4.tcp_congestion_control", "bbr");
        }),
        ("net.ipv4.tcp_retries2", Verdict::Risky, |_, machine| set(machine, "net.ipv4.tcp_retries2", "3")),
        ("net.ipv4.tcp_fin_timeout", Verdict::Wasteful, |_, machine| {
            set(machine, "net.ipv4.tcp_fin_timeout", "600");
        }),
        ("TCP_USER_TIMEOUT", Verdict::Risky, |target, _| target.sockets.user_timeout_ms = Some(100)),
        ("SO_RCVBUF", Verdict::Wasteful, |target, _| target.sockets.rcvbuf = Some(65_536)),
        ("network card queues", Verdict::Wasteful, |target, machine| {
            target.generator = None;
            machine.cores = 16;
        }),
        ("NUMA nodes", Verdict::Risky, |_, machine| machine.numa_nodes = 2),
    ];
    for (name, verdict, change) in cases {
        let (mut target, mut machine) = (target(10_000, 2), machine());
        change(&mut target, &mut machine);
        let lines = audit(&target, &machine);
        let line = lines.iter().find(|line| line.knob.name == name).unwrap();
        assert_eq!(line.verdict, verdict, "{line:?}");
        assert!(!line.remedy.is_empty() && !line.because.is_empty(), "{line:?}");
        let others = lines.iter().filter(|line| line.knob.name != name);
        let odd: Vec<&Line> =
            others.filter(|line| !matches!(line.verdict, Verdict::Ok | Verdict::Unknown)).collect();
        assert!(odd.is_empty(), "{name}: {odd:#?}");
    }
}

#[test]
fn a_kernel_that_lacks_a_setting_or_hides_it_is_told_so() {
    let mut machine = machine();
    machine.settings.clear();
    set(&mut machine, "net.ipv4.ip_local_port_range", "10000 65535");
    let lines = audit(&target(1_000, 2), &machine);
    assert!(lines.iter().all(|line| line.verdict != Verdict::Blocks), "{lines:#?}");
    let hidden = lines.iter().find(|line| line.knob.name == "net.core.somaxconn").unwrap();
    assert_eq!((hidden.verdict, hidden.now.as_str()), (Verdict::Unknown, "-"));
}

#[test]
fn every_knob_says_what_it_is_and_where_its_rule_comes_from() {
    let mut names: Vec<&str> = KNOBS.iter().map(|knob| knob.name).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all, "no name stands twice");
    for knob in KNOBS {
        for text in [knob.what, knob.why, knob.risk, knob.source] {
            assert!(text.len() > 3, "{knob:?}: {text}");
        }
        let text = throng_tune::describe(knob);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}

#[test]
fn an_audit_shows_what_needs_a_look_first() {
    let mut machine = machine();
    set(&mut machine, "net.core.somaxconn", "16");
    let shown =
        |target: &Target, machine: &Machine| render("a test", target, machine, &audit(target, machine));
    let text = shown(&target(100_000, 10), &machine);
    let heading = "In the way: less than the rule asks for, and something is lost, late or slow (1)\n  net.core.somaxconn";
    assert!(
        text.starts_with("a test\n  server    10 shards over epoll\n") && text.contains(heading),
        "{text}"
    );
    assert!(text.contains("from 13 source addresses\n"), "{text}");
    assert!(text.contains("do   sysctl -w net.core.somaxconn=100"), "{text}");
    assert!(text.contains("\nThe target does not fit: 1 in the way.\n"), "{text}");
    machine.memory_available_bytes = 1_000 * MIB;
    let text = shown(&target(100_000, 10), &machine);
    let refused = text.find("In the way: Throng does not begin (1)\n  memory available").unwrap();
    assert!(refused < text.find(heading).unwrap() && text.contains("connections at most."), "{text}");
    let fits = shown(&target(1_000, 2), &self::machine());
    assert!(fits.contains("\nThe target fits, as far as"), "{fits}");
}
