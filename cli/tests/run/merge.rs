//! One plan, played by several generators, and one report of it.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use throng_report::Verdict;

use crate::harness::{LATE, Running, alone, output, serve, summary, throng};

/// `throng` with these words, to its end: exit code, and what it said.
fn run(words: &[&str]) -> (Option<i32>, String) {
    let done = output(&mut throng(words));
    (
        done.status.code(),
        format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr)),
    )
}

/// A moment so many seconds from now, as --start-at takes it.
fn moment(seconds: u64) -> String {
    let at = SystemTime::now() + Duration::from_secs(seconds);
    let date = std::process::Command::new("date")
        .args(["-u", "+%FT%TZ", "-d", &format!("@{}", at.duration_since(UNIX_EPOCH).unwrap().as_secs())])
        .output()
        .unwrap();
    String::from_utf8(date.stdout).unwrap().trim().to_owned()
}

fn path(home: &Path, name: &str) -> String {
    home.join(name).display().to_string()
}

#[test]
fn the_parts_of_a_plan_add_up_to_it() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let server = serve(&[]);
    let at = moment(2);
    let plan = ["-c", "60", "-r", "2k", "-d", "1s", "-w", "200ms", LATE, "--threshold=p50<10s"];
    let part = |number: &str, name: &str, more: &[&str]| {
        let part = format!("--part={number}");
        let out = format!("--out={}", path(home.path(), name));
        let words = [&["load", &server.address, &part, "--start-at", &at, &out], &plan[..], more].concat();
        Running::start(throng(&words).stdout(Stdio::null()).stderr(Stdio::inherit()))
    };
    let mut first = part("1/2", "a", &["--server-admin", &server.admin]);
    let mut second = part("2/2", "b", &["-t", "2", "--threshold=p90<10s"]);
    assert_eq!((first.wait().code(), second.wait().code()), (Some(0), Some(0)));
    let parts = ["a", "b"].map(|name| summary(&home.path().join(name)));
    assert_eq!(parts[0].plan.hash, parts[1].plan.hash);
    assert_eq!(parts[0].connections.target + parts[1].connections.target, 60);
    let server = parts[0].server.as_ref().unwrap();
    assert!(
        server.cpu_s.is_some() && server.messages_per_cpu_s.is_none(),
        "the other part had some of it, too"
    );
    assert!(server.user_bytes_per_connection.is_none() && parts[0].memory.server.is_none());

    let [a, b, all] = ["a", "b", "all"].map(|name| path(home.path(), name));
    let (code, text) = run(&["report", "merge", &a, &b, "-o", &all]);
    assert_eq!(code, Some(0), "{text}");
    let merged = summary(Path::new(&all));
    assert_eq!((merged.verdict, merged.connections.established), (Verdict::Pass, 60));
    assert_eq!(merged.messages.delivered, parts[0].messages.delivered + parts[1].messages.delivered);
    let counts = parts.each_ref().map(|part| part.latency_us.planned_to_delivered.count);
    assert_eq!(merged.latency_us.planned_to_delivered.count, counts[0] + counts[1]);
    let judged: Vec<&str> = merged.thresholds.iter().map(|threshold| threshold.text.as_str()).collect();
    assert_eq!(judged, ["p50<10s", "p90<10s"], "whatever any part had to hold is judged again, and once");
    assert!(merged.server.is_some_and(|server| server.messages_per_cpu_s.is_some()));
    assert!(Path::new(&all).join("report.html").exists());
    // What was merged can be shown, and its samples merged no more than once.
    assert_eq!(run(&["report", "show", &all]).0, Some(0));
    let (code, text) = run(&["report", "merge", &a, &b, "-o", &all]);
    assert_eq!(code, Some(2), "{text}");

    for (words, part) in [
        (&["report", "merge", &a, "-o", &path(home.path(), "x")][..], "parts 2/2 are missing"),
        (&["report", "merge", &a, &a, "-o", &path(home.path(), "x")][..], "same part"),
    ] {
        let (code, text) = run(words);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(part), "{text}");
    }
    // A threshold that the sum breaks.
    let strict = path(home.path(), "strict");
    let (code, text) = run(&["report", "merge", &a, &b, "-o", &strict, "--threshold", "p50<1us"]);
    assert_eq!(code, Some(99), "{text}");
    // A damaged histogram.
    std::fs::write(Path::new(&b).join("latency.hlog"), "Tag=login,0,1,").unwrap();
    let (code, text) = run(&["report", "merge", &a, &b, "-o", &path(home.path(), "y")]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("latency.hlog is damaged: line 1"), "{text}");
}

#[test]
fn a_moment_that_is_past_and_a_part_that_is_none_are_refused() {
    for (words, part) in [
        (&["--start-at", "2001-01-01T00:00:00Z"][..], "is past"),
        (&["--start-at", "soon"][..], "is not a moment"),
        (&["--part", "5/4"][..], "is no part"),
        (&["--part", "64/64", "-c", "2"][..], "has nobody"),
    ] {
        let home = tempfile::tempdir().unwrap();
        let out = format!("--out={}", home.path().join("run").display());
        let (code, text) = run(&[&["load", "127.0.0.1:1", &out], words].concat());
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(part), "{words:?}: {text}");
    }
}
