//! Which settings hold a machine back, and changing them: by the whole program, in networks of the tests' own.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::{LATE, alone, output, program, summary, throng};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A shell in a network namespace of its own, with `$T` for the program.
fn shell(script: &str) -> Option<Output> {
    let mut command = Command::new(program("unshare")?);
    command.args(["--net", "sh", "-c", script]).env("T", env!("CARGO_BIN_EXE_throng"));
    Some(output(&mut command))
}

fn audit(words: &[&str]) -> (Option<i32>, Vec<Value>) {
    let done = output(throng(&["tune", "audit", "--json"]).args(words));
    let lines = serde_json::from_slice(&done.stdout).unwrap_or_else(|_| panic!("{}", text(&done.stderr)));
    (done.status.code(), lines)
}

#[test]
fn an_audit_judges_every_knob_and_its_exit_code_says_whether_the_target_fits() {
    let (code, lines) = audit(&["-c", "100", "-r", "100"]);
    let blocking: Vec<&Value> = lines.iter().filter(|line| line["verdict"] == "blocks").collect();
    assert_eq!((code, blocking.len()), (Some(0), 0), "{blocking:?}");
    assert!(lines.len() > 50);
    let (code, lines) = audit(&["-c", "100m"]);
    let memory = lines.iter().find(|line| line["name"] == "memory available").unwrap();
    assert_eq!((code, &memory["verdict"], &memory["refuses"]), (Some(1), &"blocks".into(), &true.into()));
    assert!(memory["fits"].as_u64().is_some_and(|fits| fits < 100_000_000), "{memory}");
    let done = output(&mut throng(&["tune", "knobs", "somaxconn"]));
    assert!(text(&done.stdout).contains("/proc/sys/net/core/somaxconn"), "{}", text(&done.stdout));
    let done = output(&mut throng(&["tune", "knobs", "nothing"]));
    assert_eq!(done.status.code(), Some(2));
}

/// A plan of three settings of a namespace.
fn plan(home: &Path) -> String {
    let path = home.join("plan.toml");
    let setting = |(name, value): (&str, &str)| format!("[[set]]\nname = '{name}'\nvalue = '{value}'\n");
    let settings = [
        ("net.core.somaxconn", "1234"),
        ("net.ipv4.tcp_rmem", "4096 20000 300000"),
        ("net.ipv4.tcp_max_tw_buckets", "4321"),
    ];
    let text =
        format!("schema = 'throng.tune-plan/1'\ntarget = 'a test'\n{}", settings.map(setting).concat());
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn a_plan_is_applied_in_a_lab_that_goes_with_its_command() {
    let home = tempfile::tempdir().unwrap();
    let before = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_rmem").unwrap();
    let path = plan(home.path());
    let words = ["tune", "apply", &path, "--", "cat", "/proc/sys/net/ipv4/tcp_rmem"];
    let done = output(&mut throng(&words));
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    assert_eq!(text(&done.stdout), "4096\t20000\t300000\n");
    assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/tcp_rmem").unwrap(), before);
    let done = output(&mut throng(&["tune", "apply", &path]));
    assert_eq!(done.status.code(), Some(2));
    assert!(text(&done.stderr).contains("name a command behind --"), "{}", text(&done.stderr));
}

#[test]
fn whatever_is_applied_is_put_back_to_the_byte_whenever_apply_is_killed() {
    let home = tempfile::tempdir().unwrap();
    let path = plan(home.path());
    let journal = home.path().join("state/tune.json");
    let script = format!(
        "all() {{ find /proc/sys/net -type f ! -name 'nf_conntrack_count' | sort | while read -r f; do echo \"$f\"; cat \"$f\" 2>/dev/null; \
         done | cksum; }}
         before=$(all)
         step=0
         while :; do
             $T tune apply --host --journal {0} --die-after $step {path} >/dev/null 2>&1 && break
             $T tune rollback --journal {0} >/dev/null 2>&1
             [ \"$(all)\" = \"$before\" ] || {{ echo \"after $step steps something is left\"; exit 1; }}
             step=$((step + 1))
         done
         cat /proc/sys/net/core/somaxconn
         $T tune status --journal {0}
         $T tune apply --host --journal {0} {path} 2>&1
         $T tune rollback --journal {0}
         [ \"$(all)\" = \"$before\" ] && echo \"as it was, $step steps\"",
        journal.display()
    );
    let Some(done) = shell(&script) else { return };
    let stdout = text(&done.stdout);
    assert!(stdout.starts_with("1234\napplied, "), "{stdout}{}", text(&done.stderr));
    assert!(stdout.contains("net.ipv4.tcp_rmem: 4096 131072"), "{stdout}");
    assert!(stdout.contains("`throng tune rollback` first"), "not upon another: {stdout}");
    assert!(stdout.ends_with("as it was, 11 steps\n"), "{stdout}");
}

#[test]
fn what_may_not_be_set_is_told_before_anything_is() {
    let home = tempfile::tempdir().unwrap();
    let path = plan(home.path());
    let script = format!(
        "mount -t proc -o ro proc /proc 2>/dev/null || mount -o remount,ro,bind /proc/sys 2>/dev/null
         $T tune apply --host --journal {}/j.json {path}; echo $?; ls {0}",
        home.path().display()
    );
    let Some(unshare) = program("unshare") else { return };
    let mut command = Command::new(unshare);
    command.args(["--net", "--mount", "sh", "-c", &script]).env("T", env!("CARGO_BIN_EXE_throng"));
    let done = output(&mut command);
    let said = text(&done.stdout) + &text(&done.stderr);
    assert!(said.contains("nothing was set") && said.contains("read-only"), "{said}");
    assert!(!said.contains("j.json\n"), "nor noted: {said}");
}

#[test]
fn a_setting_of_a_lab_is_as_it_was_asked_for_or_there_is_no_run() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let out = format!("--out={}", home.path().join("run").display());
    let short = ["run", "-c", "20", "-r", "500", "-d", "300ms", "-w", "100ms", "-q", LATE, &out];
    let done = output(throng(&short).args(["--sysctl", "net.ipv4.tcp_rmem=4096 20000 300000"]));
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let lab = summary(&home.path().join("run")).host.lab.unwrap();
    assert_eq!(lab.set.get("net.ipv4.tcp_rmem").map(String::as_str), Some("4096 20000 300000"));
    for (words, part) in [
        (["--sysctl", "net.core.netdev_max_backlog=5"], "net.* of its own"),
        (["--sysctl", "net.ipv4.tcp_syncookies=x"], "net.ipv4.tcp_syncookies=x"),
        (["--sysctl", "vm.swappiness=1"], "begin with net."),
    ] {
        let done = output(throng(&short).args(words));
        assert_eq!(done.status.code(), Some(2), "{words:?}");
        assert!(text(&done.stderr).contains(part), "{}", text(&done.stderr));
    }
}

#[test]
fn a_queue_that_overflows_is_named_with_its_knob() {
    let _turn = alone();
    for (fault, knob) in
        [("--sysctl=net.core.somaxconn=4", "net.core.somaxconn"), ("--listen-backlog=4", "listen backlog")]
    {
        let home = tempfile::tempdir().unwrap();
        let out = format!("--out={}", home.path().display());
        let words = ["run", "login-storm", "-c", "2k", "--shards=1", "-q", LATE, fault, &out];
        output(&mut throng(&words));
        let found = summary(home.path()).detected;
        let names: Vec<&str> = found.iter().map(|found| found.knob.as_str()).collect();
        assert_eq!(names, [knob], "{found:?}");
        assert!(found[0].text.contains("overflowed") && !found[0].remedy.is_empty(), "{found:?}");
    }
}
