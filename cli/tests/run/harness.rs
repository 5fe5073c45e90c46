//! Starts `throng` and other programs, and never leaves one behind.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use throng_report::{Summary, folder};

/// No test waits longer for anything: a hang becomes a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// On a busy machine the generator is late, and the runs of these tests would be INVALID for that alone.
pub(crate) const LATE: &str = "--send-lag-max=10s";

/// Runs measure, so they do not run beside each other within one test process.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `throng` with these words.
pub(crate) fn throng(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_throng"));
    command.args(words).stdin(Stdio::null());
    command
}

/// Runs to the end; a program that does not end is killed and fails the test.
pub(crate) fn output(command: &mut Command) -> Output {
    let mut running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut child = running.0.take().expect("just started");
    let watchdog = child.id();
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let killer = std::thread::spawn(move || {
        if ended.recv_timeout(PATIENCE).is_err() {
            signal(watchdog, "KILL");
        }
    });
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    let _ = done.send(());
    killer.join().unwrap();
    output
}

/// A child that is killed when the test ends, however it ends.
pub(crate) struct Running(Option<Child>);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Running {
        let child = command.spawn();
        Running(Some(child.unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()))))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.as_ref().expect("running").id()
    }

    pub(crate) fn stdout(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.0.as_mut().and_then(|child| child.stdout.take()).expect("its stdout is a pipe"))
    }

    pub(crate) fn stderr(&mut self) -> BufReader<ChildStderr> {
        BufReader::new(self.0.as_mut().and_then(|child| child.stderr.take()).expect("its stderr is a pipe"))
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            let child = self.0.as_mut().expect("running");
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "process {} does not end", child.id());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Sends a signal by its name.
pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().unwrap();
    assert!(status.success(), "kill -{name} {pid}");
}

/// The children of a process whose command line holds `word`.
pub(crate) fn child_with(parent: u32, word: &str) -> Option<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).find(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent_of =
            stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        parent_of == Some(parent) && words.split(|&byte| byte == 0).any(|found| found == word.as_bytes())
    })
}

/// Waits until `what` is so.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The report in a run folder.
pub(crate) fn summary(folder: &Path) -> Summary {
    folder::open(folder).unwrap_or_else(|error| panic!("{error}"))
}

/// The codes of all reasons against a pass.
pub(crate) fn codes(summary: &Summary) -> Vec<&str> {
    summary.reasons.iter().map(|reason| reason.code.as_str()).collect()
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A `throng serve` of its own.
pub(crate) struct Served {
    pub(crate) running: Running,
    /// The line that it printed.
    pub(crate) line: String,
    pub(crate) address: String,
    pub(crate) admin: String,
}

/// Starts `throng serve` with these words and reads the line that it prints.
pub(crate) fn serve(words: &[&str]) -> Served {
    let fixed = ["serve", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0"];
    let mut running = Running::start(throng(&fixed).args(words).stdout(Stdio::piped()).stderr(Stdio::null()));
    let mut line = String::new();
    running.stdout().read_line(&mut line).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words.first().copied(), Some("listening"), "{line}");
    Served { address: words[1].to_owned(), admin: words[3].to_owned(), running, line: line.clone() }
}

/// A program of somebody else's that a test plays against. Without it the test is skipped, loudly; in CI it fails.
pub(crate) fn program(name: &str) -> Option<String> {
    any_program(&[name])
}

/// The first of these that there is: distributions call one program by several names.
pub(crate) fn any_program(names: &[&str]) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).collect();
    let files = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    let found = files.into_iter().find(|file| file.is_file());
    if found.is_none() {
        skip(&format!("{} is not installed", names[0]));
    }
    found.map(|file| file.display().to_string())
}

/// The backends that this kernel runs; io-uring missing is told.
pub(crate) fn backends() -> Vec<&'static str> {
    match throng_reactor::backend::select("io-uring".parse().unwrap()) {
        Ok(_) => vec!["epoll", "io-uring"],
        Err(why) => {
            skip(&format!("io-uring: {why}"));
            vec!["epoll"]
        }
    }
}

/// Says that a test did not run; in CI nothing is skipped.
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "CI must not skip this: {why}");
    eprintln!("SKIPPED: {why}");
}

/// What Prometheus would read, by name and labels.
pub(crate) type Samples = BTreeMap<String, f64>;

/// The text under /metrics; `None` while nobody answers.
pub(crate) fn scrape(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: text/plain\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, text) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(head.contains("Content-Type: text/plain; version=0.0.4"), "{head}");
    Some(text.to_owned())
}

pub(crate) fn samples(text: &str) -> Samples {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

/// Waits until the window is measured and messages have arrived.
pub(crate) fn in_the_window(address: &str) -> String {
    until("the window", || {
        let text = scrape(address)?;
        let told = samples(&text);
        let is_measured = told["throng_generator_phase{phase=\"measuring\"}"] == 1.0;
        (is_measured && told["throng_generator_delivery_latency_seconds_count"] > 0.0).then_some(text)
    })
}
