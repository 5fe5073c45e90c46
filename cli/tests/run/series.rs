//! Many runs, and what is said of them.

use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;
use throng_report::folder;
use throng_report::schema::Arm;

use crate::harness::{LATE, Running, alone, child_with, output, signal, throng, until};

/// A run that is as short as one can be.
const SHORT: [&str; 9] = ["-c", "20", "-r", "2k", "-d", "300ms", "-w", "100ms", LATE];

/// `throng` with what it learns of the machine kept in the test's own folder.
fn run(home: &Path, words: &[&str]) -> Output {
    output(throng(words).env("XDG_STATE_HOME", home))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn two_arms_take_turns_and_are_compared() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("series");
    let folder = format!("--out={}", out.display());
    let mut words = vec!["run", "--against", "--backend epoll --shards 1", "--blocks", "1", &folder];
    words.extend(SHORT);
    let done = run(home.path(), &words);
    let (stdout, stderr) = (text(&done.stdout), text(&done.stderr));
    assert_eq!(done.status.code(), Some(0), "{stdout}{stderr}");
    assert!(stdout.starts_with("cannot tell"), "one block is too few: {stdout}");
    assert!(stdout.contains("1 of 6 blocks: 10 more runs of each would do"), "{stdout}");
    assert_eq!(stdout.lines().last(), Some(out.display().to_string().as_str()), "its path comes last");
    // ABBA.
    let mut places = Vec::new();
    for arm in [Arm::Baseline, Arm::Candidate] {
        for (_, summary) in folder::open_runs(&out.join(arm.name())).unwrap() {
            let series = summary.series.clone().unwrap();
            assert_eq!((series.arm, series.block), (arm, 1));
            if arm == Arm::Baseline {
                assert_eq!(summary.server.unwrap().backend.unwrap().active, "epoll");
            }
            places.push((series.number, arm));
        }
    }
    places.sort_unstable_by_key(|place| place.0);
    let arms: Vec<Arm> = places.into_iter().map(|(_, arm)| arm).collect();
    assert_eq!(arms, [Arm::Baseline, Arm::Candidate, Arm::Candidate, Arm::Baseline]);
    // The same once more from the files, in the other formats; a gate cannot tell.
    let path = out.display().to_string();
    let again = run(home.path(), &["report", "compare", &path, "--json", "--gate"]);
    assert_eq!(again.status.code(), Some(98), "{}", text(&again.stderr));
    let json: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(json["judgement"], "cannot_tell");
    let kept: Value =
        serde_json::from_str(&std::fs::read_to_string(out.join("comparison.json")).unwrap()).unwrap();
    assert_eq!(json["metrics"], kept["metrics"]);
    let page = std::fs::read_to_string(out.join("comparison.html")).unwrap();
    assert!(
        page.contains("cannot tell") && page.contains("id=\"overlay-messages\"") && !page.contains("://"),
        "{page}"
    );
    for (format, part) in [("markdown", "| metric |"), ("csv", "metric,judgement,"), ("bencher", "\"value\"")]
    {
        let printed = run(home.path(), &["report", "compare", &path, "--format", format]);
        assert!(text(&printed.stdout).contains(part), "{format}: {}", text(&printed.stdout));
    }
}

#[test]
fn two_arms_run_at_the_same_time_and_are_compared() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("series");
    let folder = format!("--out={}", out.display());
    let words =
        ["run", "--against", "--shards 2", "--shards=1", "--duet", "--blocks=1", "--closed-loop=4", &folder];
    let words = [&words[..], &SHORT[..2], &SHORT[4..]].concat(); // all but the rate
    let done = run(home.path(), &words);
    let (stdout, stderr) = (text(&done.stdout), text(&done.stderr));
    assert_eq!(done.status.code(), Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("2 of 12 duets: 10 more runs of each would do"), "{stdout}");
    assert!(stdout.contains("messages_per_cpu_s") && !stdout.contains("p99"), "{stdout}");
    let arms = [Arm::Baseline, Arm::Candidate].map(|arm| folder::open_runs(&out.join(arm.name())).unwrap());
    let mut seen = Vec::new();
    for (arm, shards) in arms.iter().zip([2, 1]) {
        for (_, summary) in arm {
            let series = summary.series.as_ref().unwrap();
            assert_eq!((series.is_duet, summary.server.as_ref().unwrap().shards), (true, Some(shards)));
            seen.push((series.block, series.number, summary.messages.window.begins_unix_s.unwrap()));
        }
    }
    seen.sort_unstable_by_key(|one| (one.0, one.1));
    assert_eq!(seen.iter().map(|one| one.0).collect::<Vec<_>>(), [1, 1, 2, 2]);
    // Each begins before the other can have ended: the windows are of 300 ms, and each run takes longer beside them.
    for duet in seen.chunks(2) {
        assert!((duet[0].2 - duet[1].2).abs() < (seen[2].2 - seen[0].2).abs(), "{seen:?}");
    }
    let noise = std::fs::read_to_string(home.path().join("throng/noise.json")).unwrap_or_default();
    assert!(!noise.contains("messages_per_cpu_s"), "they shared their cores, and teach nothing: {noise}");
}

#[test]
fn repeats_show_how_much_the_figures_vary() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("series");
    let folder = format!("--out={}", out.display());
    let mut words = vec!["run", "--repeat", "4", &folder];
    words.extend(SHORT);
    let done = run(home.path(), &words);
    let stdout = text(&done.stdout);
    assert_eq!(done.status.code(), Some(0), "{stdout}{}", text(&done.stderr));
    assert!(
        stdout.starts_with("4 runs: 4 PASS") && stdout.contains("messages_per_cpu_s\n  median"),
        "{stdout}"
    );
    let noise = std::fs::read_to_string(home.path().join("throng/noise.json")).unwrap();
    assert!(noise.contains("messages_per_cpu_s"), "four runs are one block of noise: {noise}");
    // A folder that holds something is not written into.
    let again = run(home.path(), &words);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("is not empty"), "{}", text(&again.stderr));
}

#[test]
fn what_cannot_be_compared_is_told_with_the_remedy() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).display().to_string();
    for (name, rate) in [("a", "1k"), ("b", "1k"), ("c", "2k")] {
        let out = format!("--out={}", path(name));
        let words = ["run", "-c", "20", "-r", rate, "-d", "300ms", "-w", "100ms", LATE, "-q", &out];
        assert_eq!(run(home.path(), &words).status.code(), Some(0));
    }
    std::fs::create_dir(home.path().join("empty")).unwrap();
    std::fs::create_dir_all(home.path().join("half/one")).unwrap();
    std::fs::create_dir(home.path().join("newer")).unwrap();
    let newer = r#"{"schema": "throng.run/9", "throng_version": "7.1"}"#;
    std::fs::write(home.path().join("newer/summary.json"), newer).unwrap();
    let compare = |words: &[&str]| {
        let done = run(home.path(), &[&["report", "compare"], words].concat());
        (done.status.code(), text(&done.stdout), text(&done.stderr))
    };
    let cases: [(&[&str], &str); 8] = [
        (&[&path("a"), &path("a")], "on both sides"),
        (&[&path("a")], "alone is no comparison"),
        (&[&path("a"), &path("c")], "plan.hash"),
        (&[&path("a"), &path("empty")], "no run at"),
        (&[&path("a"), &path("half")], "half/one"),
        (&[&path("a"), &path("newer")], "newer Throng (7.1)"),
        (&[&path("a"), &path("b"), "--metric", "p98"], "unknown metric `p98`"),
        (&[&path("a"), &path("nowhere")], "no run at"),
    ];
    for (words, part) in cases {
        let (code, _, stderr) = compare(words);
        assert_eq!(code, Some(2), "{words:?}: {stderr}");
        assert!(stderr.contains(part), "{words:?}: {stderr}");
    }
    let (code, stdout, _) = compare(&[&path("a"), &path("b"), "--gate"]);
    assert_eq!(code, Some(98), "{stdout}");
    assert!(stdout.contains("1 and 1 of 12 runs: 11 more runs of each would do"), "{stdout}");
    let (code, stdout, _) = compare(&[&path("a"), &path("c"), "--force", "--metric", "p50"]);
    assert_eq!(code, Some(0));
    assert!(stdout.contains("plan.hash") && stdout.contains("planned_to_delivered.p50"), "{stdout}");
}

#[test]
fn what_is_no_other_arm_is_refused_before_anything_runs() {
    let home = tempfile::tempdir().unwrap();
    let out = format!("--out={}", home.path().join("series").display());
    for (words, part) in [
        (&["--against", "/nowhere/throng"][..], "is no file"),
        (&["--against", "'--backend"][..], "quotes do not close"),
        (&["--against", "--backend epoll", "--repeat", "3"][..], "cannot be used with"),
        (&["--blocks", "3"][..], "--against"),
        (&["--against", "--backend epoll", "--duet"][..], "--closed-loop"),
    ] {
        let done = run(home.path(), &[&["run", &out], words].concat());
        assert_eq!(done.status.code(), Some(2), "{words:?}");
        assert!(text(&done.stderr).contains(part), "{words:?}: {}", text(&done.stderr));
    }
    assert!(!home.path().join("series").exists());
}

#[test]
fn a_series_that_is_interrupted_leaves_nobody_behind() {
    let _turn = alone();
    for (name, code) in [("INT", Some(130)), ("KILL", None)] {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("series");
        let out = format!("--out={}", folder.display());
        let words = ["run", "--repeat", "9", "-d", "1m", "-c", "20", &out];
        let mut command = throng(&words);
        command.env("XDG_STATE_HOME", home.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut series = Running::start(&mut command);
        let of = |parent: u32, word: &'static str| until(word, || child_with(parent, word));
        let child = of(series.pid(), "run");
        let children = [child, of(child, "serve"), of(child, "load")];
        until("the plan", || folder.join("001/plan.json").exists().then_some(()));
        signal(series.pid(), name);
        assert_eq!(series.wait().code(), code);
        if name == "INT" {
            assert!(folder.join("unfinished/plan.json").exists(), "no comparison takes it for a run");
            assert!(!folder.join("001").exists());
        }
        for pid in children {
            until("its end", || (!Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
        }
    }
}
