//! What sets the whole machine for some seconds and puts it back: as root, with nothing else running. `cargo test` leaves it out;
//! `scripts/check.sh host` runs it.
#![allow(clippy::unwrap_used)] // in tests a panic with its line is the message

#[path = "../run/fault.rs"]
mod fault;
#[allow(dead_code)] // most of it is for the tests of `run`
#[path = "../run/harness.rs"]
mod harness;

use crate::fault::{Applied, Fault, NOTHING, tally};
use crate::harness::{LATE, alone, output, program, skip, summary, throng};

/// Whoever has CAP_SYS_ADMIN goes beyond fs.file-max.
const ORDINARY: &[&str] = &["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"];

/// What belongs to the whole machine.
const OF_THE_HOST: [Fault; 5] = [
    Fault {
        knob: "net.core.netdev_max_backlog",
        plan: &["-c", "500", "-r", "5k"],
        host: Some(|| "1".to_owned()),
        ..NOTHING
    },
    Fault {
        knob: "net.ipv4.tcp_mem",
        plan: &["-c", "100", "-r", "5k", "-s", "10k"],
        host: Some(|| "4 8 16".to_owned()),
        ..NOTHING
    },
    // Everybody leaves while the server is slow, so last bytes are acknowledged late. The kernel counts orphans ten times a second: there
    // must be so many that leaving takes longer.
    Fault {
        knob: "net.ipv4.tcp_max_orphans",
        plan: &["-c", "6k", "-r", "500"],
        besides: &["--delay-per-turn=50ms"],
        host: Some(|| "0".to_owned()),
        ..NOTHING
    },
    Fault {
        knob: "fs.epoll.max_user_watches",
        plan: &["-c", "500", "-r", "500", "--backend=epoll"],
        besides: &["--force"],
        host: Some(|| "700".to_owned()),
        ..NOTHING
    },
    Fault {
        knob: "fs.file-max",
        plan: &["-c", "500", "-r", "500"],
        besides: &["--force"],
        outside: ORDINARY,
        host: Some(|| {
            let used = std::fs::read_to_string("/proc/sys/fs/file-nr").unwrap();
            (used.split_whitespace().next().unwrap().parse::<u64>().unwrap() + 400).to_string()
        }),
        ..NOTHING
    },
];

#[test]
fn each_setting_of_the_whole_machine_is_told_before_and_named_after() {
    let _turn = alone();
    if program("setpriv").is_none() {
        return;
    }
    if std::fs::OpenOptions::new().write(true).open("/proc/sys/net/ipv4/tcp_mem").is_err() {
        return skip("the settings of this machine may not be written");
    }
    // Six thousand who leave at once may overflow the kernel's own backlog of a thousand packets: that is named, too.
    let home = tempfile::tempdir().unwrap();
    let _enough = Applied::new(home.path(), "net.core.netdev_max_backlog", "16384");
    let wrong = tally(&OF_THE_HOST);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_sweep_sets_the_whole_machine_for_its_runs_and_puts_it_back() {
    let _turn = alone();
    let now = || std::fs::read_to_string("/proc/sys/net/core/netdev_max_backlog").unwrap();
    let before = now();
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("sweep");
    let (out, journal) =
        (format!("--out={}", folder.display()), format!("--journal={}", Applied::journal(home.path())));
    let words =
        ["tune", "sweep", "-c", "20", "--closed-loop=2", "-d", "300ms", "-w", "100ms", LATE, &out, &journal];
    let done = output(throng(&words).args(["--host", "--knob=netdev_max_backlog=2345", "--rounds=1"]));
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(now(), before);
    let set = |run: &str| summary(&folder.join(run)).host.sysctls["net.core.netdev_max_backlog"].clone();
    assert_eq!((set("trial-1/01-02"), set("as-it-is/01-01")), ("2345".to_owned(), before.trim().to_owned()));
}
