//! Runs that go wrong: each wrong has its verdict, its exit code and its report.

use std::process::Stdio;
use std::time::Duration;

use throng_report::{Summary, Verdict};

use crate::harness::{
    LATE, Running, alone, backends, child_with, codes, output, signal, summary, throng, until,
};

/// A run in the background whose server is a process of its own, once traffic flows.
struct Started {
    running: Running,
    home: tempfile::TempDir,
}

impl Started {
    fn new(words: &[&str]) -> Started {
        let home = tempfile::tempdir().unwrap();
        let out = format!("--out={}", home.path().display());
        let fixed = ["run", "-c", "100", "-r", "500", "-w", "0s", "-q", LATE, &out];
        let running = Running::start(throng(&fixed).args(words).stdout(Stdio::null()).stderr(Stdio::null()));
        Started { running, home }
    }

    fn child(&self, command: &str) -> u32 {
        until(command, || child_with(self.running.pid(), command))
    }

    /// Waits until the generator has begun, and a little.
    fn in_the_middle(&self) {
        self.child("load");
        std::thread::sleep(Duration::from_millis(1500));
    }

    fn end(mut self) -> (Option<i32>, Summary) {
        let code = self.running.wait().code();
        (code, summary(self.home.path()))
    }
}

#[test]
fn an_interrupted_run_drains_and_leaves_an_invalid_report() {
    let _turn = alone();
    let run = Started::new(&["-d", "60s"]);
    run.in_the_middle();
    let (server, load) = (run.child("serve"), run.child("load"));
    signal(run.running.pid(), "INT");
    let (code, summary) = run.end();
    assert_eq!((code, summary.verdict), (Some(130), Verdict::Invalid), "{:?}", summary.reasons);
    assert!(summary.incidents.interrupted && codes(&summary).contains(&"interrupted"));
    assert!(summary.messages.delivered > 0 && summary.messages.lost == 0, "{:?}", summary.messages);
    for pid in [server, load] {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "{pid} is left behind");
    }
}

#[test]
fn nobody_is_left_behind_when_the_run_is_killed() {
    let _turn = alone();
    let mut run = Started::new(&["-d", "60s"]);
    run.in_the_middle();
    let (server, load) = (run.child("serve"), run.child("load"));
    signal(run.running.pid(), "KILL");
    run.running.wait();
    let gone = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
        matches!(state, None | Some('Z' | 'X')).then_some(())
    };
    until("the server's end", || gone(server));
    until("the generator's end", || gone(load));
    assert_eq!(summary(run.home.path()).verdict, Verdict::Invalid);
}

#[test]
fn a_server_that_dies_fails_the_run() {
    let _turn = alone();
    for backend in backends() {
        let run = Started::new(&["-d", "60s", "--backend", backend]);
        run.in_the_middle();
        signal(run.child("serve"), "KILL");
        let (code, summary) = run.end();
        assert_eq!((code, summary.verdict), (Some(99), Verdict::Fail), "{:?}", summary.reasons);
        assert!(codes(&summary).contains(&"server_died"), "{:?}", summary.reasons);
        assert!(
            !summary.incidents.interrupted && summary.connections.lost == 100,
            "{:?}",
            summary.connections
        );
        // What was under way has no answer, and is told as such.
        let messages = &summary.messages;
        assert_eq!(messages.sent, messages.accepted + messages.refused + messages.unknown, "{messages:?}");
    }
}

#[test]
fn a_server_that_stands_still_shows_in_the_tail() {
    let _turn = alone();
    let run = Started::new(&["-d", "6s"]);
    run.in_the_middle();
    let server = run.child("serve");
    signal(server, "STOP");
    std::thread::sleep(Duration::from_secs(2));
    signal(server, "CONT");
    let (_, summary) = run.end();
    // A third of all messages were planned while it stood still: the schedule did not wait for it.
    let latency = &summary.latency_us.planned_to_delivered;
    assert!(latency.p90.is_some_and(|p90| p90 > 300_000.0), "{latency:?}");
    assert!(latency.max.is_some_and(|max| max > 1_800_000.0), "{latency:?}");
    let window = &summary.messages.window;
    assert!(window.attempted * 100 >= window.planned * 95, "{window:?}");
    assert_eq!(summary.messages.lost, 0);
}

#[test]
fn a_slow_server_fails_by_the_threshold_and_not_by_the_generator() {
    let _turn = alone();
    let run = Started::new(&["-d", "3s", "--delay-per-turn", "20ms", "--threshold", "p50<5ms"]);
    let (code, summary) = run.end();
    assert_eq!((code, summary.verdict), (Some(99), Verdict::Fail), "{:?}", summary.reasons);
    assert!(codes(&summary).contains(&"threshold"), "{:?}", summary.reasons);
}

#[test]
fn a_generator_that_is_asked_for_too_much_is_invalid() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let out = format!("--out={}", home.path().display());
    // Far beyond what one core can write in this or any build.
    let words = ["run", "-c", "1000", "-r", "1m", "-d", "1s", "-w", "0s", "-t", "1", "-q", &out];
    let done = output(&mut throng(&words));
    let summary = summary(home.path());
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert_eq!(
        (done.status.code(), summary.verdict),
        (Some(98), Verdict::Invalid),
        "{:?}{stderr}",
        summary.reasons
    );
    assert!(
        codes(&summary).iter().any(|code| ["attempts_short", "send_lag"].contains(code)),
        "{:?}",
        summary.reasons
    );
}

#[test]
fn a_threshold_without_a_figure_is_invalid() {
    let _turn = alone();
    let run = Started::new(&["-d", "1s", "--threshold", "p9999<1s"]);
    let (code, summary) = run.end();
    assert_eq!((code, summary.verdict), (Some(98), Verdict::Invalid));
    assert!(codes(&summary).contains(&"threshold_no_data"), "{:?}", summary.reasons);
}
