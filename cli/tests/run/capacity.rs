//! The search for the most that a machine carries.

use serde_json::Value;

use crate::harness::{LATE, alone, output, summary, throng};

fn search(words: &[&str]) -> (Option<i32>, String, Value, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    let out = format!("--out={}", home.path().display());
    let done = output(throng(&["capacity", "-w", "100ms", &out]).args(words));
    let text = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    let json = std::fs::read_to_string(home.path().join("capacity.json")).unwrap_or_default();
    (done.status.code(), text, serde_json::from_str(&json).unwrap_or_default(), home)
}

#[test]
fn a_server_that_sleeps_is_found_at_its_limit_by_the_threshold() {
    let _turn = alone();
    // Each pass of the loop takes 20 ms, so that a message takes twice that; what was asked never holds, nor at the least load.
    let words = [
        "--find=rate",
        "-c",
        "20",
        "-r",
        "100",
        "-d",
        "1s",
        LATE,
        "--delay-per-turn=20ms",
        "--threshold=p50<1ms",
    ];
    let (code, text, json, _home) = search(&words);
    assert_eq!(code, Some(99), "{text}");
    assert!(text.contains("nothing held"), "{text}");
    assert_eq!(json["load"], Value::Null);
    assert_eq!(json["exhausted"], "threshold", "{text}");
}

#[test]
fn what_holds_up_to_the_most_is_a_lower_bound() {
    let _turn = alone();
    let words = ["--find=rate", "-c", "20", "-r", "500", "--max=1k", "-d", "300ms", LATE];
    let (code, text, json, home) = search(&words);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("at least 1000 messages/s"), "{text}");
    assert_eq!((json["load"].as_u64(), json["is_lower_bound"].as_bool()), (Some(1000), Some(true)));
    let trials = json["trials"].as_array().unwrap();
    assert_eq!(trials.iter().map(|trial| trial["load"].as_u64().unwrap()).collect::<Vec<_>>(), [500, 1000]);
    let page = std::fs::read_to_string(home.path().join("capacity.html")).unwrap();
    assert!(
        page.contains("at least 1000 messages/s") && page.contains("id=\"search\"") && !page.contains("://"),
        "{page}"
    );
    let run = summary(&home.path().join("002-1000"));
    assert_eq!(run.plan.rate_per_s, Some(1000.0));
    let (code, text, ..) = search(&["--find=rate", "-c", "20", "--closed-loop=4"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("open loop"), "{text}");
}

#[test]
fn connections_that_do_not_fit_are_not_tried_and_named() {
    let _turn = alone();
    // Epoll holds each connection in a descriptor of a table of 20,000 at most, on one shard and one thread here.
    let words = [
        "--find=connections",
        "--backend=epoll",
        "--shards=1",
        "--threads=1",
        "-c",
        "300",
        "--precision=40",
        "--connect-rate=20k",
        "-d",
        "300ms",
        "--heartbeat=0s",
        LATE,
        "--time-limit=40s",
    ];
    let mut command = std::process::Command::new("sh");
    let home = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_throng");
    command.arg("-c").arg(format!(
        "ulimit -n 1024; exec {program} capacity -w 100ms --out={} {}",
        home.path().display(),
        words.join(" ")
    ));
    let done = output(&mut command);
    let text = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert_eq!(done.status.code(), Some(0), "{text}");
    let json: Value =
        serde_json::from_str(&std::fs::read_to_string(home.path().join("capacity.json")).unwrap()).unwrap();
    assert_eq!(json["exhausted"], "kernel_limit", "{text}");
    assert!(text.contains("RLIMIT_NOFILE") || text.contains("open files"), "{text}");
    let [low, high] = ["low", "high"].map(|end| json[end].as_u64().unwrap());
    assert!(low <= 1000 && 700 <= high, "{text}");
}

#[test]
fn a_search_whose_first_run_cannot_begin_says_why_and_leaves_its_folder() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("not-there-yet");
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg(format!(
        "ulimit -n 60; exec {} capacity --find=connections --backend=epoll -c 100 --out={}",
        env!("CARGO_BIN_EXE_throng"),
        folder.display()
    ));
    let done = output(&mut command);
    let text = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert_eq!(done.status.code(), Some(1), "{text}");
    assert!(text.contains("limit of 60 open files") && text.contains("ulimit -Hn"), "{text}");
    let json: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("capacity.json")).unwrap()).unwrap();
    assert_eq!((&json["load"], &json["is_cut_short"]), (&Value::Null, &Value::Bool(true)), "{text}");
    assert!(folder.join("capacity.html").exists());
}
