//! Users in user space: whole runs with `--engine tun`.

use std::collections::BTreeSet;
use std::fs;
use std::io::BufRead;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use throng_report::{Summary, Verdict};

use crate::harness::{
    LATE, Running, alone, backends, child_with, codes, output, program, signal, skip, summary, throng, until,
};

/// Whether a run with this engine can be made here; says so where it cannot.
fn is_possible() -> bool {
    let home = tempfile::tempdir().unwrap();
    let out = format!("--out={}", home.path().display());
    let try_it = ["run", "idle", "-c", "2", "-d", "1s", "-w", "0s", "-q", "--engine", "tun", LATE, &out];
    let done = output(&mut throng(&try_it));
    // Whatever the verdict on two users is.
    let possible = done.status.code() != Some(1);
    if !possible {
        skip(&format!("no users in user space here: {}", String::from_utf8_lossy(&done.stderr)));
    }
    possible
}

fn run(folder: &Path, words: &[&str]) -> (Option<i32>, Summary) {
    let out = format!("--out={}", folder.display());
    let done = output(throng(&["run", "-w", "0s", "-q", "--engine", "tun", LATE, &out]).args(words));
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert!(folder.join("summary.json").exists(), "{stderr}");
    (done.status.code(), summary(folder))
}

#[test]
fn users_in_user_space_write_to_each_other_on_every_backend() {
    let _turn = alone();
    if !is_possible() {
        return;
    }
    let devices = || fs::read_to_string("/proc/net/dev").unwrap().lines().count();
    let before = devices();
    for backend in backends() {
        for threads in ["1", "3"] {
            let home = tempfile::tempdir().unwrap();
            let words = ["pairs", "-c", "300", "-r", "2k", "-d", "2s", "--backend", backend, "-t", threads];
            let (code, summary) = run(home.path(), &words);
            assert_eq!((code, summary.verdict), (Some(0), Verdict::Pass), "{:?}", summary.reasons);
            assert_eq!(summary.connections.established, 300);
            assert_eq!(summary.messages.delivered, summary.messages.sent);
            assert!(summary.messages.sent > 3000, "{:?}", summary.messages);
            let generator = &summary.generator;
            assert_eq!((generator.engine.as_str(), generator.backend.as_ref()), ("tun", None));
            let tcp = |name: &str| generator.tcp[name];
            assert!(tcp("segments_received") > 6000 && tcp("segments_sent") > 6000, "{:?}", generator.tcp);
            for name in ["retransmitted", "checksum_errors", "malformed", "strays", "queue_dropped", "unsent"]
            {
                assert_eq!(tcp(name), 0, "{name}");
            }
            let server = summary.server.unwrap();
            assert_eq!(server.backend.unwrap().active, backend);
            assert_eq!(server.counters["closed_by_reset"], 0, "everybody left as one should");
        }
    }
    assert_eq!(devices(), before, "no device is left");
}

#[test]
fn a_storm_finds_every_user_back() {
    let _turn = alone();
    if !is_possible() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (code, summary) = run(home.path(), &["reconnect-storm", "-c", "2k", "-d", "1s", "-r", "2k"]);
    assert_eq!(code, Some(0), "{:?}", summary.reasons);
    let storm = summary.storm.unwrap();
    assert_eq!((storm.back, storm.never_back), (1000, 0));
    assert_eq!(summary.messages.delivered, 2000);
}

#[test]
fn a_server_that_is_killed_takes_its_users_along_and_leaves_nothing_behind() {
    let _turn = alone();
    if !is_possible() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let out = format!("--out={}", home.path().display());
    let words = [
        "run", "pairs", "-c", "3k", "-r", "1k", "-d", "60s", "-w", "0s", "-q", "--engine", "tun", LATE, &out,
    ];
    let mut run = Running::start(throng(&words).stdout(Stdio::null()).stderr(Stdio::null()));
    let server = until("the server", || child_with(run.pid(), "serve"));
    let lab = fs::read_link(format!("/proc/{server}/ns/net")).unwrap();
    until("all users", || is_connected(server).then_some(()));
    signal(server, "KILL");
    assert_eq!(run.wait().code(), Some(99));
    let summary = summary(home.path());
    assert_eq!(summary.verdict, Verdict::Fail);
    assert!(codes(&summary).contains(&"server_died"), "{:?}", summary.reasons);
    assert!(summary.generator.tcp["resets_received"] > 0, "{:?}", summary.generator.tcp);
    let held: BTreeSet<String> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| fs::read_link(entry.path().join("ns/net")).is_ok_and(|one| one == lab))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    assert!(held.is_empty(), "{held:?} still live in the lab");
}

/// Whether the lab of a process has 3,000 connections that stand.
fn is_connected(process: u32) -> bool {
    let sockets = fs::read_to_string(format!("/proc/{process}/net/sockstat")).unwrap_or_default();
    let line = sockets.lines().find_map(|line| line.strip_prefix("TCP: inuse ")).unwrap_or_default();
    line.split_whitespace()
        .next()
        .and_then(|count| count.parse::<u64>().ok())
        .is_some_and(|count| count > 3000)
}

#[test]
fn captured_packets_are_those_that_the_report_counts() {
    let _turn = alone();
    if !is_possible() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("users.pcap");
    let capture = format!("--capture={}", file.display());
    let folder = home.path().join("run");
    let (code, summary) = run(&folder, &["pairs", "-c", "20", "-r", "100", "-d", "1s", &capture]);
    assert_eq!(code, Some(0), "{:?}", summary.reasons);
    let bytes = fs::read(&file).unwrap();
    assert_eq!(bytes[..4], 0xa1b2_3c4du32.to_ne_bytes());
    let (mut at, mut packets) = (24, 0);
    while at < bytes.len() {
        let len = u32::from_ne_bytes(bytes[at + 8..][..4].try_into().unwrap()) as usize;
        at += 16 + len;
        packets += 1;
    }
    let tcp = &summary.generator.tcp;
    assert_eq!((at, packets), (bytes.len(), tcp["segments_received"] + tcp["segments_sent"]));

    let few = home.path().join("few.pcap");
    let words = ["--capture-packets", "10", "pairs", "-c", "20", "-r", "100", "-d", "1s"];
    let capture = format!("--capture={}", few.display());
    let words: Vec<&str> = words.into_iter().chain([capture.as_str()]).collect();
    assert_eq!(run(&home.path().join("again"), &words).0, Some(0));
    assert!(fs::metadata(few).unwrap().len() < 24 + 10 * (16 + 1500));
}

#[test]
fn what_cannot_be_is_refused_before_anything_starts() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let refused = |words: &[&str]| {
        let out = format!("--out={}", home.path().join("run").display());
        let done = output(throng(&["run", "-c", "10", "-d", "1s", "-q", &out]).args(words));
        assert_eq!(done.status.code(), Some(2), "{words:?}");
        String::from_utf8_lossy(&done.stderr).into_owned()
    };
    assert!(refused(&["--engine", "tun", "--no-lab"]).contains("--no-lab"));
    assert!(refused(&["--engine", "dpdk"]).contains("kernel"));
    assert!(refused(&["--engine", "tun", "--source-ip", "fd00::/64"]).contains("IPv4"));
    let small = ["--engine", "tun", "--source-ip", "198.18.0.0/31"];
    assert!(refused(&small).contains("another block"));
}

/// A short queue loses packets of either side. What tcpdump saw on the device, tshark finds well formed, and it finds as many repeats
/// as the report has, of the users and of the kernel; and no message is lost.
#[test]
fn other_peoples_tools_count_the_same_repeats() {
    let programs = ["tcpdump", "tshark", "nsenter", "ip"].map(program);
    let [Some(tcpdump), Some(tshark), Some(nsenter), Some(ip)] = programs else { return };
    let _turn = alone();
    if !is_possible() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (folder, file) = (home.path().join("run"), home.path().join("device.pcap"));
    let out = format!("--out={}", folder.display());
    let words = [
        "run", "pairs", "-c", "500", "-r", "3k", "-d", "4s", "-w", "1s", "-q", "--engine", "tun", LATE, &out,
    ];
    let mut run = Running::start(throng(&words).stdout(Stdio::null()).stderr(Stdio::null()));
    let load = until("the generator", || child_with(run.pid(), "load")).to_string();
    let inside = |words: &[&str]| {
        let mut command = Command::new(&nsenter);
        command.args(["-t", &load, "-n"]).args(words).stdin(Stdio::null()).stdout(Stdio::null());
        command
    };
    let shows = || {
        inside(&[&ip, "link", "show", "tun0"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|ended| ended.success())
    };
    until("the device", || shows().then_some(()));
    let path = file.display().to_string();
    let dump = [&tcpdump, "-i", "tun0", "-s", "0", "-B", "65536", "-Z", "root", "-w", &path];
    let mut dump = Running::start(inside(&dump).stderr(Stdio::piped()));
    let mut said = String::new();
    let mut stderr = dump.stderr();
    while !said.contains("listening on") {
        assert!(stderr.read_line(&mut said).unwrap() > 0, "{said}");
    }
    assert!(inside(&[&ip, "link", "set", "tun0", "txqueuelen", "8"]).status().unwrap().success());
    run.wait();
    signal(dump.pid(), "INT");
    dump.wait();
    std::io::Read::read_to_string(&mut stderr, &mut said).unwrap();
    assert!(said.contains("\n0 packets dropped by kernel"), "{said}");

    let summary = summary(&folder);
    assert_eq!(summary.messages.lost, 0, "{:?}", summary.reasons);
    assert_eq!(summary.messages.delivered, summary.messages.sent);
    // The ports are anybody's: without being told, tshark takes payload for what others use them for.
    let count = |filter: &str| {
        let words =
            ["-d", "tcp.port==7400,data", "-r", &path, "-T", "fields", "-e", "frame.number", "-Y", filter];
        let found = output(Command::new(&tshark).args(words));
        assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
        String::from_utf8_lossy(&found.stdout).lines().count() as u64
    };
    assert_eq!(count("_ws.malformed"), 0);
    let users = count("tcp.analysis.retransmission && ip.src != 198.18.0.1");
    let kernel = count("tcp.analysis.retransmission && ip.src == 198.18.0.1");
    assert_eq!(users, summary.generator.tcp["retransmitted"]);
    // In the end the kernel repeats some for users who are gone with their device.
    let counted = u64::try_from(summary.kernel.counters["TcpRetransSegs"]).unwrap();
    assert!((kernel..=kernel + kernel / 10 + 20).contains(&counted), "{kernel} seen, {counted} counted");
    assert!(users > 0 && kernel > 0, "a queue of eight packets loses some");
}

/// Where the device is open to everybody, as most distributions have it, an ordinary user needs no more than a user namespace.
#[test]
fn an_ordinary_user_has_users_in_user_space_too() {
    let _turn = alone();
    let program = env!("CARGO_BIN_EXE_throng");
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let out = format!("--out={}", home.path().join("run").display());
    // The program may lie where an ordinary user cannot go: it is looked at from a place of this test's own.
    let copy = home.path().join("throng");
    fs::copy(program, &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    let open = "mount -t tmpfs -o dev none /dev/net && mknod -m 666 /dev/net/tun c 10 200 && \
                exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", open, "sh"]).arg(copy).stdin(Stdio::null()).current_dir(home.path());
    let words = [
        "run", "-c", "100", "-r", "200", "-d", "1s", "-w", "0s", "-q", LATE, "--engine", "tun", "--lab", &out,
    ];
    let done = output(command.args(words));
    let stderr = String::from_utf8_lossy(&done.stderr);
    if ["unshare:", "mount:", "setpriv:", "no lab can be made"].iter().any(|why| stderr.contains(why)) {
        return skip(&format!("this takes root, and user namespaces for others: {stderr}"));
    }
    assert_eq!(done.status.code(), Some(0), "{stderr}");
    let summary = summary(&home.path().join("run"));
    assert_eq!(summary.host.lab.unwrap().kind, "user");
    assert_eq!((summary.connections.established, summary.generator.engine.as_str()), (100, "tun"));
}

/// Without the device a load ends at once, by the name of what is missing, and one with sockets goes on.
#[test]
fn a_missing_device_is_named() {
    let _turn = alone();
    // A mount namespace of its own, in which /dev/net is empty.
    let hide = "mount -t tmpfs none /dev/net && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", hide, "sh", env!("CARGO_BIN_EXE_throng")]);
    let home = tempfile::tempdir().unwrap();
    let out = |name: &str| format!("--out={}", home.path().join(name).display());
    let words = ["run", "-c", "10", "-r", "10", "-d", "1s", "-w", "0s", "-q", LATE];
    let done = output(command.args(words).args(["--engine", "tun", &out("tun")]).stdin(Stdio::null()));
    let stderr = String::from_utf8_lossy(&done.stderr);
    if stderr.contains("unshare:") || stderr.contains("mount:") {
        return skip(&format!("a mount namespace takes root: {stderr}"));
    }
    assert_eq!(done.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("/dev/net/tun") && stderr.contains("modprobe tun"), "{stderr}");
    assert!(stderr.contains("--engine kernel"), "{stderr}");
    let done = output(throng(&words).arg(out("kernel")));
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
}
