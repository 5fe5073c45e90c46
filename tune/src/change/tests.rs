//! Whoever dies, and whenever: what was changed can be put back, and what others changed is left alone.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;

const BOOT: &str = "this-start";

/// Three settings, and a place for the journal.
struct Host {
    home: TempDir,
}

impl Host {
    fn new() -> Host {
        let home = tempfile::tempdir().unwrap();
        for (name, value) in [("a", "1\n"), ("b", "4096\t131072\t6291456\n"), ("c", "cubic\n")] {
            fs::write(home.path().join(name), value).unwrap();
        }
        Host { home }
    }

    fn keeper(&self) -> Keeper {
        Keeper::new(self.home.path().join("state/tune.json"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn wanted(&self) -> Vec<Wanted> {
        let of = |(name, value): (&str, &str)| Wanted {
            name: name.to_owned(),
            path: self.path(name),
            value: value.to_owned(),
        };
        [("a", "2"), ("b", "4096 65536 262144"), ("c", "reno")].map(of).into()
    }

    fn change(&self) -> Result<Change, String> {
        Change::new(self.keeper(), &self.wanted(), BOOT.to_owned(), "2026-01-01T00:00:00Z".to_owned())
    }

    fn apply(&self) {
        let mut change = self.change().unwrap();
        while change.step().unwrap() {}
    }

    fn values(&self) -> BTreeMap<String, String> {
        ["a", "b", "c"].map(|name| (name.to_owned(), fs::read_to_string(self.path(name)).unwrap())).into()
    }
}

#[test]
fn what_was_applied_is_put_back_byte_for_byte() {
    let host = Host::new();
    let before = host.values();
    host.apply();
    assert_eq!(host.values()["b"], "4096 65536 262144\n");
    assert!(host.keeper().read().unwrap().unwrap().is_done());
    let outcome = restore(&host.keeper(), BOOT).unwrap();
    assert_eq!((outcome.restored.len(), outcome.is_whole()), (3, true));
    assert_eq!(host.values(), before);
    assert!(host.keeper().read().unwrap().is_none(), "nothing is to be put back any more");
    assert!(restore(&host.keeper(), BOOT).unwrap_err().contains("no journal"));
}

#[test]
fn whoever_dies_after_any_step_leaves_what_can_be_put_back() {
    let mut steps = 0;
    loop {
        let host = Host::new();
        let before = host.values();
        let mut change = host.change().unwrap();
        let mut is_done = false;
        for _ in 0..steps {
            is_done = !change.step().unwrap();
        }
        drop(change);
        if steps > 0 {
            restore(&host.keeper(), BOOT).unwrap();
        }
        assert_eq!(host.values(), before, "after {steps} steps");
        if is_done {
            break;
        }
        steps += 1;
    }
    assert!(steps > 9, "each of three settings takes three steps");
}

#[test]
fn whoever_dies_between_a_write_and_its_note_leaves_what_can_be_put_back() {
    let host = Host::new();
    let before = host.values();
    let mut change = host.change().unwrap();
    for _ in 0..2 {
        change.step().unwrap();
    }
    drop(change);
    // The kernel made something else of it, and nobody noted what.
    fs::write(host.path("a"), "3\n").unwrap();
    restore(&host.keeper(), BOOT).unwrap();
    assert_eq!(host.values(), before);
}

#[test]
fn what_somebody_else_changed_since_is_left_alone_and_told() {
    let host = Host::new();
    host.apply();
    fs::write(host.path("a"), "7\n").unwrap();
    let outcome = restore(&host.keeper(), BOOT).unwrap();
    let [now, was] = ["7", "1"].map(str::to_owned);
    assert_eq!(outcome.left, [Left { name: "a".to_owned(), now, was }]);
    assert!(!outcome.is_whole());
    assert_eq!((host.values()["a"].as_str(), host.values()["c"].as_str()), ("7\n", "cubic\n"));
}

#[test]
fn what_somebody_else_changes_meanwhile_ends_the_change() {
    let host = Host::new();
    let mut change = host.change().unwrap();
    while host.values()["a"] != "2\n" {
        change.step().unwrap();
    }
    fs::write(host.path("b"), "9 9 9\n").unwrap();
    let error = loop {
        if let Err(error) = change.step() {
            break error;
        }
    };
    assert!(error.contains("b: somebody else made it 9 9 9"), "{error}");
    drop(change);
    restore(&host.keeper(), BOOT).unwrap();
    assert_eq!((host.values()["a"].as_str(), host.values()["b"].as_str()), ("1\n", "9 9 9\n"));
}

#[test]
fn a_change_is_not_made_upon_another_nor_beside_one() {
    let host = Host::new();
    let beside = host.change().unwrap();
    assert!(host.change().unwrap_err().contains("somebody else is changing settings"));
    assert!(restore(&host.keeper(), BOOT).unwrap_err().contains("somebody else is changing settings"));
    drop(beside);
    host.apply();
    assert!(host.change().unwrap_err().contains("was applied: `throng tune rollback` first"));
    restore(&host.keeper(), BOOT).unwrap();
    let mut cut_off = host.change().unwrap();
    cut_off.step().unwrap();
    drop(cut_off);
    assert!(host.change().unwrap_err().contains("was cut off"));
}

#[test]
fn what_a_restart_put_back_is_not_put_back_by_force() {
    let host = Host::new();
    host.apply();
    let outcome = restore(&host.keeper(), "the next start").unwrap();
    assert_eq!(outcome, Restored::default());
    assert_eq!(host.values()["a"], "2\n", "it was not touched");
    assert!(host.keeper().read().unwrap().is_none());
}

#[test]
fn a_damaged_journal_touches_nothing_and_says_what_to_do() {
    let host = Host::new();
    host.apply();
    let path = host.keeper().path().to_owned();
    let text = fs::read_to_string(&path).unwrap();
    for damaged in [&text[..text.len() / 2], "", &text.replace("tune-journal/1", "tune-journal/9")] {
        fs::write(&path, damaged).unwrap();
        let error = restore(&host.keeper(), BOOT).unwrap_err();
        assert!(error.contains("is damaged") && error.contains("nothing is touched"), "{error}");
        assert_eq!(host.values()["a"], "2\n");
        assert!(host.change().unwrap_err().contains("is damaged"));
    }
}

#[test]
fn what_may_not_be_written_is_told_before_anything_is() {
    let host = Host::new();
    assert!(needs(&host.wanted()).is_empty());
    let mut wanted = host.wanted();
    wanted.push(Wanted { name: "d".to_owned(), path: host.path("d"), value: "1".to_owned() });
    let missing = needs(&wanted);
    assert!(
        missing.len() == 1 && missing[0].starts_with("d: ") && missing[0].contains("does not have it"),
        "{missing:?}"
    );
    assert!(
        Change::new(host.keeper(), &wanted, BOOT.to_owned(), String::new()).unwrap_err().starts_with("d: ")
    );
    // Root writes whatever its mode.
    fs::set_permissions(host.path("a"), fs::Permissions::from_mode(0o444)).unwrap();
    let is_root = fs::OpenOptions::new().write(true).open(host.path("a")).is_ok();
    assert_eq!(needs(&host.wanted()).len(), usize::from(!is_root));
}

#[test]
fn what_has_its_value_already_is_no_change() {
    let host = Host::new();
    fs::write(host.path("a"), "2\n").unwrap();
    assert_eq!(host.change().unwrap().entries().len(), 2);
}

#[test]
fn what_may_be_chosen_is_put_back_by_its_name() {
    let host = Host::new();
    // As the kernel has it; what is written it reads as one word, which a file of a test keeps.
    fs::write(host.path("c"), "[always] madvise never\n").unwrap();
    let wanted = [Wanted { name: "c".to_owned(), path: host.path("c"), value: "madvise".to_owned() }];
    let new = || Change::new(host.keeper(), &wanted, BOOT.to_owned(), "then".to_owned()).unwrap();
    let mut change = new();
    while change.step().unwrap() {}
    assert_eq!(fs::read_to_string(host.path("c")).unwrap(), "madvise\n");
    drop(change);
    assert_eq!(restore(&host.keeper(), BOOT).unwrap().restored, ["c"]);
    assert_eq!(fs::read_to_string(host.path("c")).unwrap(), "always");
    fs::write(host.path("c"), "always [madvise] never\n").unwrap();
    assert_eq!(new().entries(), [], "it is so already");
}

#[test]
fn the_settings_of_another_network_are_not_taken_for_ours() {
    let mut journal = Journal::new(BOOT.to_owned(), String::new(), Vec::new());
    journal.network = "net:[1]".to_owned();
    assert_eq!(journal.is_of_this_network(), Ok(()), "it is not about networks");
    journal.entries.push(Entry {
        name: "net.core.somaxconn".to_owned(),
        path: "/proc/sys/net/core/somaxconn".into(),
        old: "1\n".to_owned(),
        new: "2".to_owned(),
        became: None,
        progress: Progress::Writing,
    });
    assert!(journal.is_of_this_network().unwrap_err().contains("nsenter"));
}
