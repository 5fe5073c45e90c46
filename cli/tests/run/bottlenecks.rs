//! Settings that hold a run back: planted one by one, told by the audit before the run, and named by the run after it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::{LATE, alone, output, program, skip, summary, throng};

/// A run that nothing holds back, and the setting that holds it back then.
struct Fault {
    /// What the audit and the run are to name.
    knob: &'static str,
    /// What the users do.
    plan: &'static [&'static str],
    /// What sets the knob, for the audit and for the run.
    fault: &'static [&'static str],
    /// What else the run takes to come upon it: the server is slow, or goes on although it was refused.
    besides: &'static [&'static str],
    /// The program that sets it, where it is a process's.
    outside: &'static [&'static str],
    /// Its value, where it is the whole machine's.
    host: Option<fn() -> String>,
}

const NOTHING: Fault = Fault { knob: "", plan: &[], fault: &[], besides: &[], outside: &[], host: None };

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

/// How often a run is made that names nothing: how evenly the kernel shares clients out, and when it counts orphans, is chance.
const TRIES: u64 = 4;

/// `throng`, started by another program where one is named.
fn started_by(outside: &[&str]) -> Command {
    match outside {
        [] => throng(&[]),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(env!("CARGO_BIN_EXE_throng"));
            command
        }
    }
}

/// The knobs that an audit finds in the way.
fn in_the_way(outside: &[&str], words: &[&[&str]]) -> Vec<String> {
    let done = output(started_by(outside).args(["tune", "audit", "--json"]).args(words.concat()));
    let text = String::from_utf8_lossy(&done.stderr);
    let lines: Vec<Value> =
        serde_json::from_slice(&done.stdout).unwrap_or_else(|_| panic!("{words:?}: {text}"));
    let blocks = lines.iter().filter(|line| line["verdict"] == "blocks");
    blocks.map(|line| line["name"].as_str().unwrap().to_owned()).collect()
}

/// The knobs that a run names, with what it says of them.
fn named(outside: &[&str], words: &[&[&str]]) -> Vec<(String, String)> {
    let home = tempfile::tempdir().unwrap();
    let out = format!("--out={}", home.path().display());
    let fixed = ["run", "-d", "400ms", "-w", "100ms", "-q", LATE, &out];
    let done = output(started_by(outside).args(fixed).args(words.concat()));
    assert!(
        home.path().join("summary.json").exists(),
        "{words:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    let found = summary(home.path()).detected;
    found.into_iter().map(|found| (found.knob, format!("{}: {}", found.text, found.remedy))).collect()
}

/// A setting of this machine, put back when it is dropped.
struct Applied<'a>(&'a Path);

impl<'a> Applied<'a> {
    fn new(home: &'a Path, name: &str, value: &str) -> Applied<'a> {
        let plan = home.join("plan.toml");
        let text = format!(
            "schema = 'throng.tune-plan/1'\ntarget = 'a test'\n[[set]]\nname = '{name}'\nvalue = '{value}'\n"
        );
        std::fs::write(&plan, text).unwrap();
        let (plan, journal) = (plan.display().to_string(), Applied::journal(home));
        let done = output(&mut throng(&["tune", "apply", "--host", "--journal", &journal, &plan]));
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Applied(home)
    }

    fn journal(home: &Path) -> String {
        home.join("tune.json").display().to_string()
    }
}

impl Drop for Applied<'_> {
    fn drop(&mut self) {
        let done = output(&mut throng(&["tune", "rollback", "--journal", &Applied::journal(self.0)]));
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

/// What went otherwise than it should, and the tally on stdout.
fn tally(faults: &[Fault]) -> Vec<String> {
    let home = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    let (mut told, mut found, mut runs, mut alarms) = (0, 0, 0, 0);
    let mut last = (&[][..], Vec::new());
    for fault in faults {
        let Fault { knob, plan, outside, .. } = fault;
        // As it is: nothing is named. Of faults with one plan once.
        if last.0 != *plan {
            let plain = named(&[], &[plan]);
            runs += 1;
            if !plain.is_empty() {
                alarms += 1;
                wrong.push(format!("{plan:?}: the run names {plain:?}"));
            }
            last = (plan, in_the_way(&[], &[plan]));
        }
        let is_told = |before: &[String]| before.iter().any(|name| name == knob);
        if is_told(&last.1) {
            wrong.push(format!("{knob}: without it the audit has {:?} in the way", last.1));
        }
        let planted = fault.host.map(|value| Applied::new(home.path(), knob, &value()));
        let before = in_the_way(outside, &[plan, fault.fault]);
        let mut tries = (0..TRIES).map(|_| named(outside, &[plan, fault.fault, fault.besides]));
        let after = tries.find(|named| !named.is_empty()).unwrap_or_default();
        drop(planted);
        println!("{knob}: {after:?}");
        if is_told(&before) {
            told += 1;
        } else {
            wrong.push(format!("{knob}: the audit has {before:?} in the way"));
        }
        if matches!(&after[..], [(name, _)] if name == knob) {
            found += 1;
        } else {
            wrong.push(format!("{knob}: the run names {after:?}"));
        }
    }
    let all = faults.len();
    println!(
        "{told} of {all} told by the audit before the run, {found} of {all} named alone by it; {alarms} false alarms in {runs} runs without"
    );
    wrong
}

#[test]
fn each_setting_that_a_lab_has_of_its_own_is_told_before_and_named_after() {
    let _turn = alone();
    if program("prlimit").is_none() {
        return;
    }
    let wrong = tally(&OF_A_LAB);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
#[ignore = "sets this machine for some seconds: `scripts/check.sh host`, as root, with nothing else running"]
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
#[ignore = "sets this machine for some seconds: `scripts/check.sh host`, as root, with nothing else running"]
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
