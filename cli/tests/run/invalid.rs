//! Whatever makes a run INVALID, provoked: it is named, and ends with 98.
//!
//! Not here: a generator's account that does not add up, which is a mistake of its own; `throng-loadgen` makes one in its ledger, and
//! `throng-report` judges it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::io::Errno;

use crate::harness::{
    LATE, Running, alone, child_with, codes, free_port, in_the_window, output, program, samples, scrape,
    serve, signal, summary, throng, until,
};

/// Runs this command, whose report goes to `home`, and expects the reason.
fn is_invalid(command: &mut Command, home: &Path, code: &str) {
    let done = output(command);
    let text = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert_eq!(done.status.code(), Some(98), "{code}: {text}");
    let summary = summary(home);
    assert!(codes(&summary).contains(&code), "{code}: {:?}", summary.reasons);
    let reason = summary.reasons.iter().find(|reason| reason.code == code).unwrap();
    assert!(text.contains(reason.text.split(' ').next().unwrap()), "{code} is not said: {text}");
}

fn provoke(words: &[&str], code: &str) {
    let home = tempfile::tempdir().unwrap();
    let out = format!("--out={}", home.path().display());
    is_invalid(throng(&["run", &out]).args(words), home.path(), code);
}

/// A shell in a network of its own, in which `meanwhile` happens beside a run with these words.
fn shell(meanwhile: &str, words: &[&str], code: &str) {
    let Some(unshare) = program("unshare") else { return };
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(unshare);
    command.args(["--net", "sh", "-c"]).arg(format!(
        "ip link set lo up; {{ {meanwhile}; }} & exec {} run --no-lab {LATE} --out={} {}",
        env!("CARGO_BIN_EXE_throng"),
        home.path().display(),
        words.join(" ")
    ));
    is_invalid(&mut command, home.path(), code);
}

#[test]
fn a_generator_that_is_late_is_named() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let out = format!("--out={}", home.path().display());
    let figures = format!("127.0.0.1:{}", free_port());
    let words = ["run", "-c", "20", "-r", "2k", "-d", "4s", "-w", "100ms", "-q", "--threshold=p99<100ms"];
    let mut run = Running::start(throng(&words).args(["--prometheus", &figures, &out]));
    let generator = until("the generator", || child_with(run.pid(), "load"));
    in_the_window(&figures);
    // It stands still for a quarter of the window; whatever was due meanwhile is late by as much as it arrives late.
    signal(generator, "STOP");
    std::thread::sleep(Duration::from_secs(1));
    signal(generator, "CONT");
    assert_eq!(run.wait().code(), Some(98));
    let summary = summary(home.path());
    // The threshold is broken by its lateness, not by the server, so the run does not FAIL.
    for code in ["send_lag", "threshold_send_lag"] {
        assert!(codes(&summary).contains(&code), "{code}: {:?}", summary.reasons);
    }
}

#[test]
fn a_plan_without_a_message_in_the_window_is_named() {
    let _turn = alone();
    provoke(&["-c", "20", "-r", "0.001", "-d", "100ms", "-w", "100ms", LATE], "nothing_planned");
}

#[test]
fn memory_that_runs_short_is_named() {
    let _turn = alone();
    provoke(&["-c", "2k", "-d", "300ms", "--memory-reserve=100000g", "--force", LATE], "memory_guard");
}

#[test]
fn ports_that_run_out_are_named() {
    let _turn = alone();
    let fewer = "sleep 1; echo 40000 40019 >/proc/sys/net/ipv4/ip_local_port_range";
    let words = ["-c", "3k", "--connect-rate=1k", "-r", "100", "-d", "300ms", "-w", "100ms"];
    shell(fewer, &words, "generator_ports");
}

#[test]
fn a_setting_that_changes_during_the_run_is_named() {
    let _turn = alone();
    let change = "sleep 1; echo 0 >/proc/sys/net/ipv4/tcp_slow_start_after_idle";
    shell(change, &["-c", "20", "-r", "100", "-d", "3s", "-w", "100ms"], "sysctl_changed");
}

#[test]
fn descriptors_that_run_out_are_named() {
    let _turn = alone();
    let Some(prlimit) = program("prlimit") else { return };
    let home = tempfile::tempdir().unwrap();
    let out = format!("--out={}", home.path().display());
    let words =
        ["-c", "3k", "--connect-rate=1k", "-r", "100", "-d", "300ms", "-w", "100ms", "--backend=epoll", LATE];
    let figures = format!("127.0.0.1:{}", free_port());
    let mut run = Running::start(throng(&["run", "-q", "--prometheus", &figures, &out]).args(words));
    let generator = until("the generator", || child_with(run.pid(), "load"));
    until("the first who are connected", || {
        let told = samples(&scrape(&figures)?);
        (told["throng_generator_connections"] > 0.0).then_some(())
    });
    let less =
        Command::new(prlimit).args(["--pid", &generator.to_string(), "--nofile=200:"]).status().unwrap();
    assert!(less.success());
    assert_eq!(run.wait().code(), Some(98));
    let summary = summary(home.path());
    assert!(codes(&summary).contains(&"generator_descriptors"), "{:?}", summary.reasons);
}

#[test]
fn an_interrupted_run_is_named_and_has_a_code_of_its_own() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let out = format!("--out={}", home.path().display());
    let mut run = Running::start(&mut throng(&["run", "-c", "20", "-d", "1m", "-q", &out]));
    until("the plan", || home.path().join("plan.json").exists().then_some(()));
    signal(run.pid(), "INT");
    assert_eq!(run.wait().code(), Some(130));
    assert!(codes(&summary(home.path())).contains(&"interrupted"));
}

#[test]
fn a_generator_without_time_to_spare_is_named() {
    let _turn = alone();
    provoke(&["-c", "1k", "-r", "10m", "-d", "1s", "-w", "100ms", "--threads=8"], "generator_saturated");
}

/// What stands between a program and the kernel, made of `between.c`.
fn between(home: &Path) -> Option<PathBuf> {
    let library = home.join("between.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/run/between.c");
    let mut command = Command::new(program("cc")?);
    let done = output(command.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source));
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Some(library)
}

#[test]
fn what_the_kernel_refuses_the_generator_is_named() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let Some(library) = between(home.path()) else { return };
    for (call, error, code) in [
        ("epoll_ctl", Errno::NOSPC, "generator_watches"),
        ("socket", Errno::NOBUFS, "generator_memory"),
        ("socket", Errno::MFILE, "generator_descriptors"),
    ] {
        let served = serve(&[]);
        let folder = home.path().join(code);
        let out = format!("--out={}", folder.display());
        let words =
            ["load", &served.address, "-c", "200", "-r", "100", "-d", "300ms", "--backend=epoll", LATE];
        let mut command = throng(&words);
        command.arg(&out).env("LD_PRELOAD", &library);
        command
            .env("BETWEEN_CALL", call)
            .env("BETWEEN_AFTER", "100")
            .env("BETWEEN_ERRNO", error.raw_os_error().to_string());
        is_invalid(&mut command, &folder, code);
    }
}

#[test]
fn a_clock_that_jumps_by_more_than_a_histogram_holds_is_named() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let Some(library) = between(home.path()) else { return };
    // So slow that there are messages under way whenever the clock jumps.
    let served = serve(&["--delay-per-turn=200ms"]);
    let folder = home.path().join("run");
    let out = format!("--out={}", folder.display());
    let figures = format!("127.0.0.1:{}", free_port());
    let words =
        ["load", &served.address, "-c", "20", "-r", "1k", "-d", "3s", "-w", "100ms", "--backend=epoll", "-q"];
    let more = ["--prometheus", &figures, &out, LATE];
    let mut load = Running::start(throng(&words).args(more).env("LD_PRELOAD", &library));
    in_the_window(&figures);
    signal(load.pid(), "USR2");
    assert_eq!(load.wait().code(), Some(98));
    let summary = summary(&folder);
    assert!(codes(&summary).contains(&"clamped"), "{:?}", summary.reasons);
}
