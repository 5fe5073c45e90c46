//! Settings that a lab, a process or a socket has of its own, and that hold a run back. Those of the whole machine are in `tests/host`.

use crate::fault::{Fault, NOTHING, tally};
use crate::harness::{alone, program};

const STORM: &[&str] = &["login-storm", "-c", "500", "--shards=1", "--source-ip=127.0.0.2/32"];
/// Messages of 60 kB, a pair with two of them on their way.
const LARGE: &[&str] = &["-c", "20", "--closed-loop=2", "-s", "60k"];
const SOME: &[&str] = &["-c", "300", "-r", "300", "--source-ip=127.0.0.2/32"];
const FEW_FILES: &[&str] = &["prlimit", "--nofile=200:200"];

/// What a lab, a process or a socket has of its own.
const OF_A_LAB: [Fault; 13] = [
    Fault {
        knob: "net.core.somaxconn",
        plan: STORM,
        fault: &["--sysctl=net.core.somaxconn=4"],
        besides: &["--delay-per-turn=5ms"],
        ..NOTHING
    },
    Fault {
        knob: "listen backlog",
        plan: STORM,
        fault: &["--listen-backlog=4"],
        besides: &["--delay-per-turn=5ms"],
        ..NOTHING
    },
    Fault {
        knob: "net.ipv4.tcp_max_syn_backlog",
        plan: STORM,
        fault: &["--sysctl=net.ipv4.tcp_max_syn_backlog=8", "--sysctl=net.ipv4.tcp_syncookies=0"],
        ..NOTHING
    },
    Fault {
        knob: "net.ipv4.tcp_rmem",
        plan: LARGE,
        fault: &["--sysctl=net.ipv4.tcp_rmem=4096 4096 4096"],
        ..NOTHING
    },
    Fault {
        knob: "net.ipv4.tcp_wmem",
        plan: LARGE,
        fault: &["--sysctl=net.ipv4.tcp_wmem=4096 4096 4096"],
        ..NOTHING
    },
    Fault { knob: "SO_RCVBUF", plan: LARGE, fault: &["--rcvbuf=2304"], ..NOTHING },
    Fault { knob: "SO_SNDBUF", plan: LARGE, fault: &["--sndbuf=4608"], ..NOTHING },
    Fault {
        knob: "net.ipv4.tcp_max_tw_buckets",
        plan: SOME,
        fault: &["--sysctl=net.ipv4.tcp_max_tw_buckets=10"],
        ..NOTHING
    },
    Fault {
        knob: "net.ipv4.ip_local_port_range",
        plan: SOME,
        fault: &["--sysctl=net.ipv4.ip_local_port_range=60001 60100"],
        besides: &["--force"],
        ..NOTHING
    },
    Fault {
        knob: "net.ipv4.ip_local_reserved_ports",
        plan: SOME,
        fault: &["--sysctl=net.ipv4.ip_local_reserved_ports=10000-65400"],
        besides: &["--force"],
        ..NOTHING
    },
    Fault {
        knob: "net.ipv4.tcp_ehash_entries",
        plan: &["-c", "800", "-r", "500"],
        fault: &["--sysctl=net.ipv4.tcp_ehash_entries=64"],
        ..NOTHING
    },
    Fault {
        knob: "RLIMIT_NOFILE",
        plan: &["-c", "300", "-r", "200", "--backend=epoll", "--shards=1", "--threads=4"],
        besides: &["--force"],
        outside: FEW_FILES,
        ..NOTHING
    },
    // Four shards have room for some more than 740 together, and the kernel does not share them out evenly.
    Fault {
        knob: "net.ipv4.tcp_migrate_req",
        plan: &[
            "-c",
            "740",
            "-r",
            "200",
            "--connect-rate=1m",
            "--backend=epoll",
            "--shards=4",
            "--threads=8",
        ],
        fault: &["--sysctl=net.ipv4.tcp_migrate_req=0"],
        besides: &["--force", "--delay-per-turn=20ms"],
        outside: FEW_FILES,
        ..NOTHING
    },
];

#[test]
fn each_setting_that_a_lab_has_of_its_own_is_told_before_and_named_after() {
    let _turn = alone();
    if program("prlimit").is_none() {
        return;
    }
    let wrong = tally(&OF_A_LAB);
    assert!(wrong.is_empty(), "{wrong:#?}");
}
