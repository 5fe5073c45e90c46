//! Which settings hold a machine back, and changing them: by the whole program, in networks of the tests' own.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::{LATE, Running, alone, output, program, skip, summary, throng, until};

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
    let head = "schema = 'throng.tune-plan/1'\ntarget = 'a test'\nconnections = 100000\n";
    let text = format!("{head}{}", settings.map(setting).concat());
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn a_plan_is_applied_in_a_lab_that_goes_with_its_command() {
    let home = tempfile::tempdir().unwrap();
    let before = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_rmem").unwrap();
    let path = plan(home.path());
    let files = ["/proc/sys/net/ipv4/tcp_rmem", "/proc/sys/net/ipv4/tcp_ehash_entries"];
    let done = output(throng(&["tune", "apply", &path, "--", "cat"]).args(files));
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    assert_eq!(text(&done.stdout), "4096\t20000\t300000\n262144\n", "and tables for its connections");
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
    // What changes by itself, or whenever somebody looks.
    let changing = [
        "--exclude-dir=random",
        "--exclude=*-state",
        "--exclude=*-nr",
        "--exclude=ns_last_pid",
        "--exclude=nr",
        "--exclude=nf_conntrack_count",
        "--exclude=stat_refresh",
    ];
    let changing = changing.join(" ");
    let script = format!(
        "all() {{ {{ grep -asr '' /proc/sys {changing}; cat /proc/$$/limits; }} | sort | cksum; }}
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

/// A sweep with these words, in a folder of its own below `home`.
fn sweep(home: &Path, words: &[&str]) -> (Option<i32>, String, Value) {
    let folder = home.join("sweep");
    let out = format!("--out={}", folder.display());
    let short = ["tune", "sweep", "-c", "20", "--closed-loop=2", "-d", "300ms", "-w", "100ms", LATE, &out];
    let done = output(throng(&short).args(words).env("XDG_STATE_HOME", home));
    let json = std::fs::read_to_string(folder.join("sweep.json")).unwrap_or_default();
    let said = text(&done.stdout) + &text(&done.stderr);
    (done.status.code(), said, serde_json::from_str(&json).unwrap_or_default())
}

#[test]
fn a_sweep_ranks_a_value_that_hurts_first_and_goes_on_where_it_was_cut_short() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let words = ["-s", "60k", "--knob=tcp_fin_timeout=30", "--knob=tcp_rmem=4096 4096 4096", "--metric=rate"];
    let (code, said, json) = sweep(home.path(), &[&words[..], &["--rounds=1"]].concat());
    assert_eq!(code, Some(0), "{said}");
    let of = |json: &Value, at: usize| {
        (json["trials"][at]["trial"]["knobs"][0][0].clone(), json["trials"][at].clone())
    };
    let (first, trial) = of(&json, 0);
    assert_eq!(first, "tcp_rmem", "{said}");
    assert_eq!(trial["comparison"]["judgement"], "cannot_tell", "one round is too few: {said}");
    assert!(trial["comparison"]["metrics"][0]["ratio"].as_f64().unwrap() < 0.7, "{said}");
    let plan = std::fs::read_to_string(home.path().join("sweep/plan.toml")).unwrap();
    assert!(plan.contains("set = []"), "nothing was found to help: {plan}");
    // The first round is not made again.
    let run = home.path().join("sweep/as-it-is/01-01/summary.json");
    let made = std::fs::metadata(&run).unwrap().modified().unwrap();
    let (code, said, json) = sweep(home.path(), &[&words[..], &["--rounds=2", "--resume"]].concat());
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(std::fs::metadata(&run).unwrap().modified().unwrap(), made);
    assert_eq!(json["trials"][0]["comparison"]["blocks"], 2);
    let (code, said, _) = sweep(home.path(), &["-s", "50k", "--resume", "--knob=backend=epoll"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("other flags"), "{said}");
}

#[test]
fn a_sweep_of_duets_compares_each_value_with_runs_beside_it() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let words = ["--knob=shards=2", "--knob=backend=epoll", "--duet", "--rounds=1"];
    let (code, said, json) = sweep(home.path(), &words);
    assert_eq!(code, Some(0), "{said}");
    for trial in json["trials"].as_array().unwrap() {
        assert_eq!(
            (&trial["comparison"]["is_duet"], &trial["comparison"]["blocks"]),
            (&true.into(), &2.into())
        );
    }
}

#[test]
fn what_a_sweep_cannot_try_is_told_before_anything_is_made() {
    let home = tempfile::tempdir().unwrap();
    for (words, part) in [
        (&["--knob=nothing=1"][..], "neither a setting"),
        (&["--knob=netdev_max_backlog=5"][..], "with --host alone"),
        (&["--host", "--duet", "--knob=netdev_max_backlog=5"][..], "the same for both"),
        (&["--knob=backend"][..], "NAME=VALUE"),
        (&["--knob=tcp_rmem=x"][..], "tcp_rmem=x cannot be tried here"),
        (&[][..], "name what to try"),
    ] {
        let (code, said, _) = sweep(home.path(), words);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(part), "{said}");
    }
    assert!(!home.path().join("sweep").exists());
    // Nothing of a folder that is not a sweep's is touched.
    let mine = home.path().join("sweep/first/mine");
    std::fs::create_dir_all(mine.parent().unwrap()).unwrap();
    std::fs::write(&mine, "kept").unwrap();
    let (code, said, _) = sweep(home.path(), &["--auto"]);
    assert_eq!((code, said.contains("name another folder with --out")), (Some(2), true), "{said}");
    assert_eq!(std::fs::read_to_string(&mine).unwrap(), "kept");
}

#[test]
fn an_ordinary_user_audits_sets_a_lab_and_sweeps_and_is_told_what_the_rest_takes() {
    let _turn = alone();
    let Some(setpriv) = program("setpriv") else { return };
    let home = tempfile::tempdir().unwrap();
    // The program may lie where an ordinary user cannot go.
    let copy = home.path().join("throng");
    std::fs::copy(env!("CARGO_BIN_EXE_throng"), &copy).unwrap();
    for (path, mode) in [(home.path(), 0o777), (&copy, 0o755)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let plan = plan(home.path());
    let short = format!("-c 20 --closed-loop=2 -d 300ms -w 100ms {LATE}");
    let script = format!(
        "exec 2>&1
         ./throng tune audit -c 100 -r 100 >/dev/null; echo \"audit $?\"
         ./throng tune apply {plan} -- cat /proc/sys/net/ipv4/tcp_rmem; echo \"lab $?\"
         ./throng tune sweep {short} --knob=tcp_fin_timeout=30 --rounds=1 --out=swept; echo \"sweep $?\"
         ./throng tune apply --host --journal=j.json {plan}; echo \"host $?\"
         ls j.json"
    );
    let ordinary = ["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", &script];
    let mut command = Command::new(setpriv);
    command.args(ordinary).current_dir(home.path()).env("XDG_STATE_HOME", home.path());
    let said = text(&output(&mut command).stdout);
    if said.contains("setpriv:") || said.contains("no lab can be made") {
        return skip(&format!("this takes root, and user namespaces for others: {said}"));
    }
    for part in ["audit 0\n", "4096\t20000\t300000\nlab 0\n", "tcp_fin_timeout=30", "sweep 0\n", "host 1\n"] {
        assert!(said.contains(part), "{part:?}: {said}");
    }
    assert!(said.contains("nothing was set") && said.contains("Permission denied"), "{said}");
    assert!(said.contains("root") || said.contains("CAP_NET_ADMIN"), "{said}");
    assert!(!said.ends_with("j.json\n"), "nor noted: {said}");
}

#[test]
fn who_changes_settings_meanwhile_is_named_by_the_audit_and_in_the_report() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let tuner = home.path().join("bpftune");
    std::fs::copy("/bin/sleep", &tuner).unwrap();
    let _running = Running::start(Command::new(&tuner).arg("60").stdin(std::process::Stdio::null()));
    // Until it is that program, it is a copy of this one.
    until("the tuner", || {
        let done = output(&mut throng(&["tune", "audit", "-c", "10"]));
        text(&done.stderr).contains("bpftune (").then_some(())
    });
    let out = format!("--out={}", home.path().join("run").display());
    output(&mut throng(&["run", "-c", "10", "-r", "10", "-d", "300ms", "-w", "100ms", "-q", LATE, &out]));
    let warnings = summary(&home.path().join("run")).warnings;
    assert!(warnings.iter().any(|warning| warning.starts_with("bpftune (")), "{warnings:?}");
}

#[test]
fn runs_that_nothing_holds_back_name_no_knob() {
    let _turn = alone();
    for words in [
        &["-c", "200", "-r", "2k"][..],
        &["-c", "50", "--closed-loop=8"][..],
        &["-c", "50", "--closed-loop=4", "-s", "60k"][..],
    ] {
        let home = tempfile::tempdir().unwrap();
        let out = format!("--out={}", home.path().display());
        output(throng(&["run", "-d", "500ms", "-w", "100ms", "-q", LATE, &out]).args(words));
        assert_eq!(summary(home.path()).detected, [], "{words:?}");
    }
}
