//! The live screen as somebody at a terminal meets it: in a pseudo-terminal, with a parser that knows what it shows.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtyPair, PtySize, native_pty_system};
use throng_report::Verdict;

use crate::harness::{LATE, PATIENCE, alone, child_with, output, signal, summary, throng, until};

/// What begins a screen, and what ends it.
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";

/// A terminal with a program in it.
struct Sitting {
    child: Box<dyn Child + Send + Sync>,
    pair: PtyPair,
    keys: Box<dyn Write + Send>,
    /// What the terminal shows, and everything that was written to it.
    shown: Arc<Mutex<(vt100::Parser, String)>>,
    before: String,
}

impl Sitting {
    /// Starts `throng` in a terminal of that size, whose output is read from now on, or later.
    fn new(words: &[&str], (rows, cols): (u16, u16), is_read: bool) -> Sitting {
        let pair = native_pty_system().openpty(size(rows, cols)).unwrap();
        let before = termios(&*pair.master);
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_throng"));
        command.args(words);
        command.env("TERM", "xterm-256color");
        command.env_remove("NO_COLOR");
        command.cwd(std::env::current_dir().unwrap());
        let child = pair.slave.spawn_command(command).unwrap();
        let keys = pair.master.take_writer().unwrap();
        let shown = Arc::new(Mutex::new((vt100::Parser::new(rows, cols, 0), String::new())));
        let sitting = Sitting { child, pair, keys, shown, before };
        if is_read {
            sitting.read();
        }
        sitting
    }

    /// Begins to read what is written to the terminal.
    fn read(&self) {
        let mut reader = self.pair.master.try_clone_reader().unwrap();
        let shown = Arc::clone(&self.shown);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(got @ 1..) = reader.read(&mut bytes) {
                let mut shown = shown.lock().unwrap();
                shown.0.process(&bytes[..got]);
                shown.1.push_str(&String::from_utf8_lossy(&bytes[..got]));
            }
        });
    }

    fn pid(&self) -> u32 {
        self.child.process_id().unwrap()
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn resize(&self, rows: u16, cols: u16) {
        self.shown.lock().unwrap().0.screen_mut().set_size(rows, cols);
        self.pair.master.resize(size(rows, cols)).unwrap();
    }

    fn contents(&self) -> String {
        self.shown.lock().unwrap().0.screen().contents()
    }

    /// Everything that was written so far.
    fn written(&self) -> String {
        self.shown.lock().unwrap().1.clone()
    }

    fn has_screen(&self) -> bool {
        self.shown.lock().unwrap().0.screen().alternate_screen()
    }

    /// Waits until the screen shows this.
    fn sees(&self, part: &str) {
        let begun = Instant::now();
        while !(self.has_screen() && self.contents().contains(part)) {
            let late = begun.elapsed() > PATIENCE;
            assert!(!late, "`{part}` never came up:\n{}\n{:?}", self.contents(), self.written());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the end; the terminal must then be as it was before.
    fn ends_with(&mut self, code: u32) {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end:\n{}", self.contents());
            std::thread::sleep(Duration::from_millis(20));
        };
        // What is on its way to the parser arrives.
        until("the screen's end", || (!self.has_screen()).then_some(()));
        assert_eq!(status.exit_code(), code, "{}", self.written());
        assert!(!self.shown.lock().unwrap().0.screen().hide_cursor(), "the cursor is shown");
        assert_eq!(termios(&*self.pair.master), self.before, "the terminal is set as before");
    }
}

impl Drop for Sitting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(rows: u16, cols: u16) -> PtySize {
    PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }
}

/// How the terminal is set, as text that can be compared.
fn termios(master: &dyn MasterPty) -> String {
    format!("{:?}", master.get_termios().unwrap())
}

/// Somebody at a terminal, with a run that lasts until it is ended.
fn sitting(home: &Path, more: &[&str]) -> Sitting {
    let out = format!("--out={}", home.display());
    let words = ["run", "-c", "100", "-r", "500", "-w", "0s", "-d", "300s", LATE, &out];
    Sitting::new(&[&words, more].concat(), (24, 80), true)
}

#[test]
fn somebody_at_a_terminal_sees_the_run_changes_the_scale_and_stops_it() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let mut terminal = sitting(home.path(), &[]);
    terminal.sees("measuring");
    terminal.sees("planned to delivered, last s");
    terminal.sees("so far: nothing against a PASS");
    terminal.sees("time scale (60 s)");
    terminal.press("-");
    terminal.sees("time scale (2 min)");
    terminal.press("+");
    terminal.sees("time scale (60 s)");
    terminal.press("?");
    terminal.sees("q again: at once");
    terminal.press("?");
    terminal.resize(12, 40);
    terminal.sees("users 100 of 100");
    assert!(!terminal.contents().contains("Latency"), "{}", terminal.contents());
    terminal.resize(24, 80);
    terminal.sees("Latency");
    terminal.press("q");
    terminal.ends_with(130);
    let summary = summary(home.path());
    assert_eq!((summary.verdict, summary.incidents.interrupted), (Verdict::Invalid, true));
    assert_eq!((summary.messages.lost, summary.connections.lost), (0, 0));
    // The summary stands on the normal screen, and so does what was said meanwhile.
    let written = terminal.written();
    let after = written.rsplit_once(LEAVE).unwrap().1;
    assert!(after.contains("INVALID") && after.contains("throng: interrupted"), "{after}");
    assert!(after.trim_end().ends_with(&home.path().display().to_string()), "{after}");
}

/// A server that is so slow that draining takes long.
const SLOW: &str = "--delay-per-turn=700ms";

#[test]
fn a_second_q_ends_at_once() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let mut terminal = sitting(home.path(), &[SLOW]);
    terminal.sees("measuring");
    terminal.press("q");
    terminal.sees("interrupted");
    terminal.press("q");
    terminal.ends_with(130);
    assert!(terminal.written().contains("ended at once"), "{}", terminal.written());
}

#[test]
fn a_second_signal_ends_at_once() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let mut terminal = sitting(home.path(), &[SLOW]);
    terminal.sees("measuring");
    signal(terminal.pid(), "INT");
    terminal.sees("interrupted");
    // The generator is killed, and `run` gives the terminal back.
    signal(terminal.pid(), "INT");
    terminal.ends_with(130);
}

#[test]
fn signals_give_the_terminal_back() {
    let _turn = alone();
    for (whom, name, code) in
        [("run", "TERM", 130), ("load", "TERM", 130), ("run", "HUP", 1), ("load", "KILL", 1)]
    {
        let home = tempfile::tempdir().unwrap();
        let mut terminal = sitting(home.path(), &[]);
        terminal.sees("measuring");
        let load = child_with(terminal.pid(), "load").unwrap();
        signal(if whom == "run" { terminal.pid() } else { load }, name);
        terminal.ends_with(code);
    }
}

#[test]
fn a_search_shows_its_runs_and_what_became_of_those_before() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let out = format!("--out={}", home.path().display());
    let small = ["capacity", "--find=rate", "-c", "100", "-r", "500", "-w", "0s", LATE, &out];
    let mut terminal = Sitting::new(&[&small[..], &["-d", "2s", "--max=1k"]].concat(), (24, 80), true);
    terminal.sees("search, run 1: 500 messages/s");
    terminal.sees("search, run 2: 1000 messages/s; before: 500 PASS");
    terminal.sees("so far: nothing against a PASS");
    terminal.ends_with(0);
    let written = terminal.written();
    let after = written.rsplit(LEAVE).next().unwrap();
    assert!(written.contains("throng: 500 messages/s: PASS"), "{written}");
    assert!(after.contains("at least 1000 messages/s") && !after.contains("Latency"), "{after}");
}

#[test]
fn a_search_that_is_ended_keeps_what_it_knows() {
    let _turn = alone();
    // A key of the run that is shown, or Ctrl-C of a terminal, which reaches the search, its run and the generator at once.
    for by_key in [true, false] {
        let home = tempfile::tempdir().unwrap();
        let out = format!("--out={}", home.path().display());
        let long =
            ["capacity", "--find=rate", "-c", "100", "-r", "500", "-w", "0s", "-d", "300s", LATE, &out];
        let mut terminal = Sitting::new(&long, (24, 80), true);
        terminal.sees("measuring");
        if by_key {
            terminal.press("q");
        } else {
            let group = format!("-{}", terminal.pid());
            assert!(Command::new("kill").args(["-INT", "--", &group]).status().unwrap().success());
        }
        terminal.ends_with(130);
        let json = std::fs::read_to_string(home.path().join("capacity.json")).unwrap();
        assert!(json.contains("\"is_cut_short\": true"), "{json}");
        // The run under way was ended in order.
        assert!(summary(&home.path().join("001-500")).incidents.interrupted);
    }
}

#[test]
fn without_a_terminal_there_are_lines() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let out = format!("--out={}", home.path().display());
    let words = ["run", "-c", "100", "-r", "500", "-w", "0s", "-d", "2s", LATE, &out];
    let done = output(throng(&words).env("TERM", "xterm"));
    let (stdout, stderr) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(
        stderr.lines().any(|line| line.contains(" s  measuring") && line.contains("users 100")),
        "{stderr}"
    );
    assert!(!stderr.contains('\x1b') && !stdout.contains('\x1b'), "{stdout}{stderr}");
}

#[test]
fn whoever_wants_no_screen_gets_none() {
    let _turn = alone();
    for (flag, has_line) in [("--no-tui", true), ("-q", false), ("--json", true)] {
        let home = tempfile::tempdir().unwrap();
        let out = format!("--out={}", home.path().display());
        let words = ["run", "-c", "20", "-r", "100", "-w", "0s", "-d", "1s", LATE, &out, flag];
        let mut terminal = Sitting::new(&words, (24, 80), true);
        terminal.ends_with(0);
        let written = terminal.written();
        assert!(!written.contains(ENTER), "{flag}: {written}");
        assert_eq!(written.contains("measuring"), has_line, "{flag}: {written}");
    }
}

#[test]
fn a_terminal_that_takes_nothing_holds_up_no_sample_and_costs_no_report() {
    let _turn = alone();
    let home = tempfile::tempdir().unwrap();
    let out = format!("--out={}", home.path().display());
    let words = ["run", "-c", "100", "-r", "500", "-w", "0s", "-d", "4s", LATE, &out];
    // Large, so that what the kernel holds of it is soon full.
    let mut terminal = Sitting::new(&words, (200, 500), false);
    until("the report", || home.path().join("summary.json").exists().then_some(()));
    let rows = std::fs::read_to_string(home.path().join("timeseries.csv")).unwrap();
    let rows = rows.lines().filter(|row| row.contains(",measure,")).count();
    assert!(rows >= 3, "{rows}");
    assert_eq!(terminal.child.try_wait().unwrap().map(|status| status.exit_code()), None, "it waits");
    terminal.read();
    terminal.ends_with(0);
    assert_eq!(summary(home.path()).verdict, Verdict::Pass);
}

#[test]
fn a_server_shows_itself_and_drains_on_q() {
    let words = ["serve", "--listen=127.0.0.1:0", "--shards=2"];
    let mut terminal = Sitting::new(&words, (24, 80), true);
    terminal.sees("connected 0");
    terminal.sees("accept pauses 0");
    terminal.press("q");
    terminal.ends_with(0);
    let written = terminal.written();
    let (before, after) = (written.split(ENTER).next().unwrap(), written.rsplit(LEAVE).next().unwrap());
    assert!(before.contains("listening 127.0.0.1:"), "{before}");
    assert!(after.contains("draining"), "{after}");
}

#[test]
fn a_server_without_a_terminal_says_its_line_alone() {
    let mut running = crate::harness::Running::start(
        throng(&["serve", "--listen=127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::piped()),
    );
    let mut line = String::new();
    std::io::BufRead::read_line(&mut running.stdout(), &mut line).unwrap();
    signal(running.pid(), "TERM");
    assert_eq!(running.wait().code(), Some(0));
    let mut stderr = String::new();
    running.stderr().read_to_string(&mut stderr).unwrap();
    assert!(
        line.starts_with("listening") && !stderr.contains('\x1b') && stderr.contains("draining"),
        "{stderr}"
    );
}
