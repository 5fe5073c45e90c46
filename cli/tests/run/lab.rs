//! The lab: what a run has for itself there, and that nothing of it is left on the host, however the run ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use throng_report::{Summary, Verdict};

use crate::harness::{
    LATE, Running, alone, child_with, output, program, signal, skip, summary, throng, until,
};

/// Sysctls that a lab has for itself.
const SYSCTLS: [&str; 8] = [
    "net/core/somaxconn",
    "net/ipv4/ip_local_port_range",
    "net/ipv4/tcp_child_ehash_entries",
    "net/ipv4/tcp_ehash_entries",
    "net/ipv4/tcp_max_syn_backlog",
    "net/ipv4/tcp_max_tw_buckets",
    "net/ipv4/tcp_migrate_req",
    "net/ipv4/tcp_tw_reuse",
];

/// What a run could have changed on the host.
#[derive(Debug, PartialEq, Eq)]
struct Host {
    sysctls: BTreeMap<&'static str, String>,
    devices: BTreeSet<String>,
}

impl Host {
    fn read() -> Host {
        let sysctl =
            |name: &&'static str| Some((*name, fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?));
        let devices = fs::read_to_string("/proc/net/dev").unwrap();
        Host {
            sysctls: SYSCTLS.iter().filter_map(sysctl).collect(),
            devices: devices
                .lines()
                .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
                .collect(),
        }
    }
}

fn processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The network namespace of a process, as `net:[4026531840]`; `None` when it is gone.
fn namespace(process: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{process}/ns/net")).ok()
}

fn ours() -> PathBuf {
    namespace(std::process::id()).unwrap()
}

/// Waits until no process and no mount holds one of these namespaces, and no process writes into `folder`.
fn nothing_is_left(namespaces: &BTreeSet<PathBuf>, folder: &Path) {
    until("the end of all processes, and with them of the lab", || {
        let held = processes().any(|process| {
            namespace(process).is_some_and(|one| namespaces.contains(&one))
                || fs::read_link(format!("/proc/{process}/fd/2")).is_ok_and(|file| file.starts_with(folder))
        });
        (!held).then_some(())
    });
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    for namespace in namespaces {
        assert!(!mounts.contains(&*namespace.to_string_lossy()), "{} is mounted", namespace.display());
    }
}

/// Whether this machine lets us make a lab; says so where it does not.
fn is_possible() -> bool {
    let possible = output(&mut throng(&["run", "--lab", "--dry-run"])).status.success();
    if !possible {
        skip("no lab can be made here: it takes root or user namespaces");
    }
    possible
}

fn start(folder: &Path, words: &[&str]) -> Running {
    let out = format!("--out={}", folder.display());
    let fixed = ["run", "-c", "100", "-r", "200", "-w", "0s", "-q", LATE, &out];
    Running::start(throng(&fixed).args(words).stdout(Stdio::null()).stderr(Stdio::null()))
}

#[test]
fn a_run_has_a_lab_for_itself_and_leaves_the_host_as_it_was() {
    let _turn = alone();
    if !is_possible() {
        return;
    }
    let (home, before) = (tempfile::tempdir().unwrap(), Host::read());
    let mut run = start(home.path(), &["--lab", "-d", "2s"]);
    let load = until("the generator", || child_with(run.pid(), "load"));
    let server = until("the server", || child_with(run.pid(), "serve"));
    let lab = namespace(run.pid()).unwrap();
    assert_ne!(lab, ours());
    assert_eq!((namespace(load), namespace(server)), (Some(lab.clone()), Some(lab.clone())));
    assert_eq!(Host::read(), before, "while it runs");
    run.wait();
    nothing_is_left(&BTreeSet::from([lab]), home.path());
    assert_eq!(Host::read(), before, "afterwards");

    let summary = summary(home.path());
    assert_eq!(summary.verdict, Verdict::Pass, "{:?}", summary.reasons);
    let host = &summary.host;
    let lab = host.lab.as_ref().unwrap();
    assert!(lab.made && lab.refused.is_empty(), "{lab:?}");
    assert_eq!(host.network, "lab");
    // What was set is what the generator saw, and what no lab shows is told all the same.
    for (name, value) in &lab.set {
        let seen =
            if name == "net.ipv4.tcp_child_ehash_entries" { "net.ipv4.tcp_ehash_entries" } else { name };
        assert_eq!(host.sysctls.get(seen).unwrap_or(value), value, "{name}");
    }
    assert_eq!(host.sysctls["net.ipv4.tcp_ehash_entries"], "65536");
    assert!(host.sysctls.contains_key("net.core.netdev_max_backlog"), "{:?}", host.sysctls);
    let opened = summary.kernel.counters["TcpActiveOpens"];
    assert!((100..200).contains(&opened), "{opened}: connections of nobody else are counted");
}

#[test]
fn the_table_of_connections_is_sized_for_the_plan() {
    let _turn = alone();
    if !is_possible() {
        return;
    }
    // Shown only where the kernel gave it.
    let words = ["run", "idle", "--lab", "-c", "1m", "--force", "--dry-run"];
    let told = String::from_utf8(output(&mut throng(&words)).stdout).unwrap();
    assert!(told.contains("net.ipv4.tcp_child_ehash_entries = 2097152"), "{told}");
    assert!(told.contains("net.ipv4.tcp_max_tw_buckets = 2000000"), "{told}");
}

#[test]
fn a_run_that_is_killed_at_any_instant_leaves_the_host_as_it_was() {
    let _turn = alone();
    if !is_possible() {
        return;
    }
    let before = Host::read();
    let mut seed = 0x5EED_u64;
    // Touching memory, a second of ramp, one of hold, one of roll call, leaving: one instant in each eighth of all that.
    let words =
        ["idle", "-c", "5k", "--connect-rate", "5k", "-d", "1s", "-r", "5k", "-w", "0s", "--prefault"];
    for eighth in 0..8 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let after = Duration::from_millis(500 * eighth + (seed >> 33) % 500);
        let home = tempfile::tempdir().unwrap();
        let out = format!("--out={}", home.path().display());
        let mut command = throng(&["run", "-q", LATE, &out]);
        let mut run = Running::start(command.args(words).stdout(Stdio::null()).stderr(Stdio::null()));
        std::thread::sleep(after);
        let children = ["serve", "load"].into_iter().filter_map(|word| child_with(run.pid(), word));
        let namespaces: BTreeSet<PathBuf> =
            children.chain([run.pid()]).filter_map(namespace).filter(|one| *one != ours()).collect();
        signal(run.pid(), "KILL");
        run.wait();
        nothing_is_left(&namespaces, home.path());
        assert_eq!(Host::read(), before, "killed after {after:?}");
    }
}

#[test]
fn no_lab_is_the_hosts_loopback() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let mut run = start(home.path(), &["--no-lab", "-d", "1s"]);
    until("the generator", || child_with(run.pid(), "load"));
    assert_eq!(namespace(run.pid()), Some(ours()));
    run.wait();
    let summary = summary(home.path());
    assert_eq!(summary.verdict, Verdict::Pass, "{:?}", summary.reasons);
    assert_eq!((summary.host.network.as_str(), &summary.host.lab), ("host loopback", &None));
}

/// `throng` in a user namespace that may not have namespaces of its own.
fn forbidden(words: &[&str]) -> Option<Command> {
    let unshare = program("unshare")?;
    let user = ["--user", "--map-root-user"];
    if !output(Command::new(&unshare).args(user).arg("true")).status.success() {
        skip("user namespaces are not for this user");
        return None;
    }
    let script = "for kind in user net; do echo 0 > /proc/sys/user/max_${kind}_namespaces || exit 3; done; exec \"$@\"";
    let mut command = Command::new(unshare);
    command.args(user).args(["sh", "-c", script, "sh", env!("CARGO_BIN_EXE_throng"), "run"]);
    command.args(["-c", "50", "-r", "100", "-d", "1s", "-w", "0s", "-q", LATE]).args(words);
    command.stdin(Stdio::null());
    Some(command)
}

#[test]
fn a_lab_that_cannot_be_made_is_said_with_what_is_missing() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let out = format!("--out={}", home.path().display());
    let Some(mut insisting) = forbidden(&["--lab", &out]) else { return };
    let done = output(&mut insisting);
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{stderr}");
    for part in ["user.max_user_namespaces = 0", "CAP_SYS_ADMIN", "--no-lab"] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    assert!(!home.path().join("summary.json").exists(), "nothing was started");

    let Some(mut contented) = forbidden(&[&out]) else { return };
    let done = output(&mut contented);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let summary = summary(home.path());
    let lab = summary.host.lab.as_ref().unwrap();
    assert!(!lab.made && lab.why.contains("user.max_user_namespaces = 0"), "{lab:?}");
    assert!(summary.warnings.iter().any(|warning| warning.contains("no lab")), "{:?}", summary.warnings);
    assert_eq!(summary.host.network, "host loopback");
}

/// A run as somebody who is not root, with a program and a folder that are for everybody.
fn as_nobody() -> Option<Summary> {
    let home = tempfile::tempdir().unwrap();
    let (copy, folder) = (home.path().join("throng"), home.path().join("run"));
    fs::copy(env!("CARGO_BIN_EXE_throng"), &copy).unwrap();
    fs::create_dir(&folder).unwrap();
    for (path, mode) in [(home.path(), 0o755), (&copy, 0o755), (&folder, 0o777)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut command = Command::new(program("setpriv")?);
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(copy);
    command.args(["run", "--lab", "-c", "50", "-r", "100", "-d", "1s", "-w", "0s", "-q", LATE, "--out"]);
    let done = output(command.arg(&folder).stdin(Stdio::null()));
    let stderr = String::from_utf8_lossy(&done.stderr);
    if stderr.contains("no lab can be made") {
        skip(&format!("user namespaces are not for everybody here: {stderr}"));
        return None;
    }
    assert_eq!(done.status.code(), Some(0), "{stderr}");
    Some(summary(&folder))
}

#[test]
fn a_lab_needs_no_root() {
    let _turn = alone();
    // For anybody else every lab of these tests is one without root.
    if !fs::read_to_string("/proc/self/status").unwrap().contains("\nUid:\t0\t0\t") {
        return;
    }
    let before = Host::read();
    let Some(summary) = as_nobody() else { return };
    let lab = summary.host.lab.as_ref().unwrap();
    assert_eq!((lab.made, lab.kind.as_str()), (true, "user"), "{lab:?}");
    assert!(lab.refused.is_empty(), "{lab:?}");
    assert_eq!(summary.host.sysctls["net.ipv4.tcp_ehash_entries"], "65536");
    assert_eq!(summary.verdict, Verdict::Pass, "{:?}", summary.reasons);
    assert_eq!(Host::read(), before);
}

#[test]
fn touched_memory_is_told_and_given_back() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let mut run = start(home.path(), &["--prefault", "-d", "1s"]);
    until("the generator", || child_with(run.pid(), "load"));
    let status = fs::read_to_string(format!("/proc/{}/status", run.pid())).unwrap();
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
    };
    run.wait();
    let touched = summary(home.path()).host.prefaulted_bytes;
    // Two threads of 1 MiB, two rings, and 100 connections with both ends.
    assert!((3_000_000..10_000_000).contains(&touched), "{touched}");
    assert!(bytes("VmHWM:") > touched, "it was resident: {status}");
    assert!(bytes("VmRSS:") + touched / 2 < bytes("VmHWM:"), "it was given back: {status}");
}
