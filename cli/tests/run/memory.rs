//! Memory: the report's figures against what the kernel says at the same time, and the guard that ends a run in time.

use std::collections::BTreeMap;
use std::fs;
use std::io::BufRead;
use std::process::Stdio;
use std::time::Duration;

use throng_report::schema::Footprint;
use throng_report::{Summary, Verdict};

use crate::harness::{
    LATE, Running, alone, backends, child_with, codes, output, skip, summary, throng, until,
};

/// Enough for slab caches to say something, and few enough for any machine.
const USERS: u64 = 15_000;
/// Both ends are here.
const ENDS: f64 = 2.0 * USERS as f64;

/// Objects of each cache, and the bytes that one takes in its slab; `None` where they are not for us.
fn slabs() -> Option<BTreeMap<String, (f64, f64)>> {
    let text = fs::read_to_string("/proc/slabinfo").ok()?;
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words.get(at)?.parse::<f64>().ok();
        let slab_bytes = number(5)? * 4096.0;
        Some((words[0].to_owned(), (number(1)?, slab_bytes / number(4)?.max(1.0))))
    };
    Some(text.lines().filter_map(line).collect())
}

/// A line of /proc/PID/smaps_rollup or of /proc/meminfo, in bytes.
fn kib(path: &str, name: &str) -> f64 {
    let text = fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse::<f64>().unwrap() * 1024.0
}

/// What the test itself read, before the users and while they were held.
struct Seen {
    before: BTreeMap<String, (f64, f64)>,
    held: BTreeMap<String, (f64, f64)>,
    /// Resident and anonymous memory of server and generator.
    processes: [(f64, f64); 2],
}

impl Seen {
    fn objects(&self, cache: &str) -> f64 {
        let of = |slabs: &BTreeMap<String, (f64, f64)>| slabs.get(cache).map_or(0.0, |(objects, _)| *objects);
        of(&self.held) - of(&self.before)
    }

    /// With the waste of their slabs. Slabs themselves say less: those that earlier sockets left half empty are filled first.
    fn bytes(&self, cache: &str) -> f64 {
        self.objects(cache) * self.held.get(cache).map_or(0.0, |(_, bytes)| *bytes)
    }

    /// Whether the sockets of this run are the only ones that came or went.
    fn is_undisturbed(&self) -> bool {
        (self.objects("TCP") - ENDS).abs() < 0.05 * ENDS
    }
}

/// Holds the users over a backend and looks at them meanwhile. Again when somebody else's sockets came or went.
fn held(backend: &str) -> Option<(Summary, Seen)> {
    let first = slabs()?;
    assert!(first.contains_key("TCP"), "a kernel with TCP");
    let users = format!("{USERS}");
    for _ in 0..5 {
        let home = tempfile::tempdir().unwrap();
        let out = format!("--out={}", home.path().display());
        let words = ["run", "idle", "-c", &users, "-w", "0s", "-d", "5s", "--heartbeat", "0s", "-q", LATE];
        let before = slabs()?;
        let mut command = throng(&words);
        command.args(["--backend", backend, &out]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut running = Running::start(&mut command);
        let enough = before["TCP"].0 + 0.99 * ENDS;
        let ended = || home.path().join("summary.json").exists();
        until("all users, or the end", || {
            (ended() || slabs().is_some_and(|now| now["TCP"].0 >= enough)).then_some(())
        });
        // The last logins, and what the kernel frees only after a while.
        std::thread::sleep(Duration::from_millis(1500));
        let process = |command| {
            let rollup = format!("/proc/{}/smaps_rollup", child_with(running.pid(), command)?);
            Some((kib(&rollup, "Rss:"), kib(&rollup, "Anonymous:")))
        };
        let processes = process("serve").zip(process("load"));
        let held = slabs()?;
        running.wait();
        let summary = summary(home.path());
        let Some((serve, load)) = processes.filter(|_| summary.memory.kernel.ends.is_some()) else {
            eprintln!("{:?}: once more", summary.warnings);
            continue;
        };
        let seen = Seen { before, held, processes: [serve, load] };
        if seen.is_undisturbed() {
            return Some((summary, seen));
        }
        eprintln!("somebody else's sockets came or went ({} for {ENDS}): once more", seen.objects("TCP"));
    }
    panic!("nobody else may open and close thousands of sockets while this is tested");
}

fn agree(what: &str, told: f64, seen: f64, share: f64) {
    assert!((told - seen).abs() <= share * seen, "{what}: told {told:.1}, seen {seen:.1}");
}

/// What holds for either backend. Returns what the report counts beyond the socket, per end.
fn agrees_with_the_kernel(summary: &Summary, seen: &Seen) -> f64 {
    assert_eq!((summary.connections.established, summary.connections.lost), (USERS, 0));
    let memory = &summary.memory;
    assert_eq!((memory.connections, memory.kernel.ends), (USERS, Some(2 * USERS)));

    // The socket, cache by cache, then all of it, which is what every TCP connection is known to cost.
    let row = |name: &str| memory.kernel.slab.iter().find(|row| row.cache == name && row.group == "socket");
    for cache in ["TCP", "sock_inode_cache", "filp"] {
        agree(cache, row(cache).unwrap().bytes as f64, seen.bytes(cache), 0.1);
    }
    let socket: f64 = ["TCP", "sock_inode_cache", "filp", "dentry", "lsm_inode_cache", "lsm_file_cache"]
        .map(|cache| seen.bytes(cache))
        .iter()
        .sum();
    let (all, extra) =
        (summary.kernel.bytes_per_connection.unwrap(), summary.kernel.extra_bytes_per_connection.unwrap());
    agree("the socket", all - extra, socket / ENDS, 0.1);
    assert!((3_000.0..6_000.0).contains(&all), "{all}");

    // Both processes, by name and by sum.
    let told = [memory.server.as_ref().unwrap(), memory.generator.as_ref().unwrap()];
    let costs =
        [summary.server.as_ref().unwrap().user_bytes_per_connection, summary.generator.user_bytes_per_user];
    for ((told, cost), (resident, anonymous)) in told.into_iter().zip(costs).zip(seen.processes) {
        let Footprint { resident_bytes, anonymous_bytes, ring_bytes, user_bytes, allocated_bytes, .. } =
            told.held;
        let [told_resident, told_anonymous, rings, user, allocated] =
            [resident_bytes, anonymous_bytes, ring_bytes, user_bytes, allocated_bytes]
                .map(|bytes| bytes.unwrap() as f64);
        agree("resident", told_resident, resident, 0.1);
        agree("anonymous", told_anonymous, anonymous, 0.1);
        assert!(user == told_anonymous + rings && allocated > 0.0, "{told:?}");
        let baseline = told.baseline.user_bytes.unwrap() as f64;
        assert!(baseline < 2e6 && told.baseline.ring_bytes == Some(0), "before rings and pools: {told:?}");
        agree("user space", cost.unwrap(), (anonymous + rings - baseline) / USERS as f64, 0.1);
        // 128 bytes for the user, and what does not grow with users: pools, stacks, rings.
        assert!(cost.unwrap() < 1_500.0, "{told:?}");
    }
    extra
}

#[test]
fn over_io_uring_the_report_tells_what_the_kernel_holds() {
    let _turn = alone();
    if !backends().contains(&"io-uring") {
        return;
    }
    let Some((summary, seen)) = held("io-uring") else { return skip("/proc/slabinfo is root's") };
    let extra = agrees_with_the_kernel(&summary, &seen);
    let polls = seen.bytes("io_kiocb") / ENDS;
    assert!((250.0..320.0).contains(&polls), "one armed poll per end: {polls}");
    assert!((polls..polls + 100.0).contains(&extra), "told {extra}, polls alone {polls}");
    let rings = summary.memory.server.unwrap().held.ring_bytes;
    assert!(rings > Some(80_000), "{rings:?}");
}

#[test]
fn over_epoll_the_report_tells_what_the_kernel_holds() {
    let _turn = alone();
    let Some((summary, seen)) = held("epoll") else { return skip("/proc/slabinfo is root's") };
    let extra = agrees_with_the_kernel(&summary, &seen);
    // ep_head of 16, eventpoll_epi of 128, eventpoll_pwq of 64 (72 without merging): one of each per watched socket.
    agree("watched sockets", seen.objects("ep_head"), ENDS, 0.1);
    assert!((208.0 * 0.9..208.0 + 100.0).contains(&extra), "{extra}");
    assert_eq!(summary.memory.server.unwrap().held.ring_bytes, Some(0));
}

#[test]
fn a_ramp_ends_while_the_reserve_is_free() {
    let _turn = alone();
    for backend in backends() {
        let home = tempfile::tempdir().unwrap();
        let out = format!("--out={}", home.path().display());
        // The connections take 160 MB of it; the rest is taken here, as by somebody else on the machine.
        let reserve = kib("/proc/meminfo", "MemAvailable:") - 400e6;
        let reserve = format!("--memory-reserve={reserve:.0}");
        let words = ["run", "idle", "-c", "20k", "--connect-rate", "3k", "-w", "0s", "-d", "10s", "-q"];
        let mut command = throng(&words);
        command.args(["--force", "--backend", backend, &reserve, &out]).stdout(Stdio::null());
        let mut running = Running::start(&mut command);
        until("the generator", || child_with(running.pid(), "load"));
        std::thread::sleep(Duration::from_secs(1));
        let mut taken = Vec::new();
        while taken.len() < 150 && !home.path().join("summary.json").exists() {
            taken.push(vec![1u8; 10_000_000]);
            std::thread::sleep(Duration::from_millis(25));
        }
        let code = running.wait().code();
        drop(taken);
        let summary = summary(home.path());
        assert_eq!(
            (code, summary.verdict, codes(&summary)),
            (Some(98), Verdict::Invalid, vec!["memory_guard"]),
            "{:?}",
            summary.reasons
        );
        let connections = &summary.connections;
        assert!((1..connections.target).contains(&connections.established), "{connections:?}");
        assert_eq!((connections.failed, connections.lost), (0, 0), "{connections:?}");
        assert_eq!(connections.closed_by_plan, connections.established, "everybody left");
        let why = &summary.reasons[0].text;
        for part in ["of 20.0 k connected", "could still be had", "--memory-reserve"] {
            assert!(why.contains(part), "{part}: {why}");
        }
        let machine = &summary.memory.machine;
        assert!(machine.available_bytes_lowest < machine.reserve_bytes, "{machine:?}");
    }
}

#[test]
fn a_server_says_when_its_machine_runs_short() {
    let words = ["serve", "--listen=127.0.0.1:0", "--memory-reserve=9000000g"];
    let mut command = throng(&words);
    let mut server = Running::start(command.stdout(Stdio::null()).stderr(Stdio::piped()));
    let mut line = String::new();
    server.stderr().read_line(&mut line).unwrap();
    assert!(line.contains("memory is short") && line.contains("--memory-reserve"), "{line}");
}

#[test]
fn a_run_without_a_reserve_has_no_guard() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let out = format!("--out={}", home.path().display());
    let words =
        ["run", "-c", "20", "-r", "100", "-d", "1s", "-w", "0s", "-q", "--memory-reserve=0", LATE, &out];
    let done = output(&mut throng(&words));
    let summary = summary(home.path());
    assert_eq!(summary.verdict, Verdict::Pass, "{:?}", summary.reasons);
    assert_eq!(summary.memory.machine.reserve_bytes, Some(0));
    assert!(
        summary.memory.machine.available_bytes_after.is_some(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}
