//! Whole runs that go well, and command lines that do not.

use throng_report::Verdict;

use crate::harness::{LATE, alone, backends, output, serve, summary, throng};

/// Runs `run` on a backend and returns what it left.
fn small(backend: &str, words: &[&str]) -> throng_report::Summary {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("run");
    let out = format!("--out={}", folder.display());
    let fixed = ["run", "-c", "200", "-d", "2s", "-w", "500ms", "--backend", backend, LATE, &out];
    let done = output(throng(&fixed).args(words));
    let stdout = String::from_utf8_lossy(&done.stdout);
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert_eq!(stdout.lines().last(), Some(folder.display().to_string().as_str()), "{stdout}{stderr}");
    for file in ["summary.json", "timeseries.csv", "latency.hlog", "plan.json", "report.html", "server.log"] {
        assert!(folder.join(file).exists(), "{file}");
    }
    let summary = summary(&folder);
    assert_eq!(done.status.code(), Some(i32::from(summary.verdict.exit_code())), "{stdout}{stderr}");
    let shown = output(&mut throng(&["report", "show", "--json", &folder.display().to_string()]));
    assert_eq!(String::from_utf8_lossy(&shown.stdout), summary.to_json());
    summary
}

/// Nothing was lost, whatever the machine did to the latencies.
fn is_whole(summary: &throng_report::Summary, backend: &str) {
    assert_eq!(summary.verdict, Verdict::Pass, "{:?}", summary.reasons);
    assert_eq!((summary.connections.established, summary.connections.lost), (200, 0));
    let messages = &summary.messages;
    assert!(messages.sent > 500 && messages.sent == messages.accepted, "{messages:?}");
    assert_eq!((messages.delivered, messages.lost, messages.duplicated), (messages.sent, 0, 0));
    let server = summary.server.as_ref().expect("the server told its figures");
    assert_eq!(server.backend.as_ref().unwrap().active, backend);
    assert_eq!(summary.generator.backend.as_ref().unwrap().active, backend);
    assert_eq!(server.counters["messages_accepted"], messages.accepted);
    let (shards, skew) = (server.shards.unwrap() as f64, server.connections_skew);
    assert!(skew.is_some_and(|skew| (1.0..=shards).contains(&skew)), "{skew:?} of {shards}");
    assert!(server.cpu_s.is_some_and(|cpu_s| cpu_s > 0.0) && server.messages_per_cpu_s.is_some());
    assert!(server.user_bytes_per_connection.is_some() && summary.generator.user_bytes_per_user.is_some());
    assert!(summary.kernel.counters["TcpActiveOpens"] >= 200, "{:?}", summary.kernel.counters);
    assert!(
        !summary.host.sysctls.is_empty() && ["lab", "host loopback"].contains(&summary.host.network.as_str())
    );
}

#[test]
fn a_small_run_over_io_uring_delivers_everything_and_leaves_its_folder() {
    if !backends().contains(&"io-uring") {
        return;
    }
    is_whole(&small("io-uring", &["-r", "500", "--label", "who=me"]), "io-uring");
}

#[test]
fn a_small_run_over_epoll_delivers_everything_and_leaves_its_folder() {
    is_whole(&small("epoll", &["-r", "500", "--shards", "3", "--threads", "2"]), "epoll");
}

#[test]
fn a_closed_loop_is_told_by_the_servers_cpu_time() {
    let summary = small("auto", &["--closed-loop", "4"]);
    assert_eq!(summary.plan.closed_loop_window, Some(4));
    assert!(summary.server.unwrap().messages_per_cpu_s.is_some());
}

#[test]
fn idle_users_are_all_reached_at_the_end() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let out = format!("--out={}", home.path().display());
    // Hold and roll call last 2 s each, so that each has a row of its own.
    let words = ["run", "idle", "-c", "400", "-d", "2s", "-w", "0s", "-r", "200", "-q", &out];
    let done = output(&mut throng(&words));
    let summary = summary(home.path());
    assert_eq!(summary.messages.delivered, 400, "{}", String::from_utf8_lossy(&done.stderr));
    let rows = std::fs::read_to_string(home.path().join("timeseries.csv")).unwrap();
    let phases: Vec<&str> = rows.lines().skip(1).filter_map(|row| row.split(',').nth(1)).collect();
    let order = ["connect", "warmup", "measure", "rollcall", "drain", "leave"];
    assert!(
        phases.is_sorted_by_key(|phase| order.iter().position(|known| known == phase).unwrap()),
        "{rows}"
    );
    assert!(["measure", "rollcall", "leave"].iter().all(|phase| phases.contains(phase)), "{rows}");
}

#[test]
fn json_is_all_that_stdout_holds() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let out = format!("--out={}", home.path().display());
    let done = output(&mut throng(&["run", "-c", "20", "-r", "100", "-d", "1s", "-w", "0s", "--json", &out]));
    let text = String::from_utf8(done.stdout).unwrap();
    assert_eq!(throng_report::Summary::from_json(&text).unwrap(), summary(home.path()));
}

#[test]
fn a_dry_run_starts_nothing_and_names_what_is_in_the_way() {
    let fits = output(&mut throng(&["run", "--dry-run"]));
    assert_eq!(fits.status.code(), Some(0), "{}", String::from_utf8_lossy(&fits.stdout));
    let big = output(&mut throng(&["run", "-c", "1000m", "--dry-run"]));
    assert_eq!(big.status.code(), Some(1));
    let told = String::from_utf8_lossy(&big.stdout).into_owned() + &String::from_utf8_lossy(&big.stderr);
    assert!(told.contains("memory available") || told.contains("open files"), "{told}");
}

#[test]
fn mistakes_end_with_2_and_one_clear_sentence() {
    let cases: [(&[&str], &str); 12] = [
        (&["run", "--nope"], "--nope"),
        (&["run", "-c", "many"], "not a count"),
        (&["run", "-c", "7"], "6 or 8"),
        (&["run", "-d", "10"], "10s"),
        (&["run", "pears"], "no scenario `pears`"),
        (&["run", "/nowhere/x.toml"], "/nowhere/x.toml"),
        (&["run", "--threshold", "p98<1ms"], "unknown metric"),
        (&["run", "--backend", "kqueue"], "io-uring"),
        (&["load", "192.0.2.1:7400"], "--allow-target 192.0.2.1"),
        (&["load", "nowhere"], "HOST:PORT"),
        (&["load", "127.0.0.1:1", "--server-pid", "4294967295"], "no such process"),
        (&["report", "show", "/nowhere"], "no run at /nowhere"),
    ];
    for (words, part) in cases {
        let done = output(&mut throng(words));
        let stderr = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(2), "{words:?}: {stderr}");
        assert!(stderr.contains(part), "{words:?}: {stderr}");
    }
}

#[test]
fn a_run_is_never_written_over() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("summary.json"), "{}").unwrap();
    let out = format!("--out={}", home.path().display());
    let done = output(&mut throng(&["run", "-c", "2", "-d", "1s", &out]));
    assert_eq!(done.status.code(), Some(2));
    assert_eq!(std::fs::read_to_string(home.path().join("summary.json")).unwrap(), "{}");
}

#[test]
fn scenarios_are_shown_as_files_that_run_again() {
    let list = output(&mut throng(&["scenario", "list"]));
    assert!(String::from_utf8_lossy(&list.stdout).contains("pairs"));
    let shown = output(&mut throng(&["scenario", "show", "pairs"]));
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("mine.toml");
    std::fs::write(&file, shown.stdout).unwrap();
    let done = output(&mut throng(&["run", &file.display().to_string(), "--dry-run"]));
    let stdout = String::from_utf8_lossy(&done.stdout);
    assert!(stdout.contains("mine: 1000 users"), "{stdout}");
}

#[test]
fn server_and_users_work_apart_and_the_report_is_as_full() {
    let _turn = alone();
    let served = serve(&["--connections", "100"]);
    let home = tempfile::tempdir().unwrap();
    let out = format!("--out={}", home.path().display());
    let words = [
        "load",
        &served.address,
        "-c",
        "50",
        "-r",
        "200",
        "-d",
        "1s",
        "-w",
        "0s",
        LATE,
        &out,
        "--server-admin",
    ];
    let done = output(throng(&words).arg(&served.admin));
    let summary = summary(home.path());
    assert_ne!(
        summary.verdict,
        Verdict::Fail,
        "{:?}{}",
        summary.reasons,
        String::from_utf8_lossy(&done.stderr)
    );
    assert!(summary.server.unwrap().counters["logins"] >= 50);
}
