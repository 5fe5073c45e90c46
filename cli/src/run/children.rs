//! The two processes of a run.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::SIGINT;

use crate::child::{Group, Held, this_program};
use crate::exit::Exit;
use crate::screen::Keeper;
use crate::signals::{Answer, Calls, Stop};

/// How long a server may take until it listens: hundreds of shards each copy and clear a table of descriptors.
const START_TIME: Duration = Duration::from_secs(60);
/// How long a server may take to drain when its users are gone, at least.
const FINISH_TIME: Duration = Duration::from_secs(15);
/// Connections that it ends per second, at least, where its users are not gone: a quarter of what was measured.
const ENDED_PER_S: u64 = 20_000;
/// How often to look whether a child ended.
const LOOK: Duration = Duration::from_millis(20);

/// The server's process.
pub(super) struct Server {
    held: Held,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Server {
    /// Starts `throng serve` on these ports, 0 for one that the kernel chooses, and waits until it listens. Its figures it tells
    /// on loopback.
    pub(super) fn start(
        listen: IpAddr,
        ports: [u16; 2],
        flags: &[OsString],
        log: &Path,
    ) -> Result<Server, String> {
        let file = File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
        let mut command = this_program()?;
        command
            .args(["serve", "--until-stdin-closes"])
            .arg(format!("--listen={}", SocketAddr::new(listen, ports[0])))
            .arg(format!("--admin=127.0.0.1:{}", ports[1]))
            .args(flags);
        let mut held = Held::start(command.stdout(Stdio::piped()).stderr(file), Group::Own)?;
        let stdout = held.stdout().ok_or("the server has no stdout")?;
        let (lines, first) = channel();
        thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line);
            let _ = lines.send(read.map(|_| line));
        });
        let line = match first.recv_timeout(START_TIME) {
            Ok(Ok(line)) if !line.is_empty() => line,
            Ok(_) => return Err("the server ended before it listened".to_owned()),
            Err(_) => return Err(format!("the server does not listen after {START_TIME:?}")),
        };
        let (address, admin) =
            addresses(&line).ok_or_else(|| format!("the server says something unexpected: {line}"))?;
        Ok(Server { held, address, admin })
    }

    /// Where users connect to.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it tells its figures.
    pub(super) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>, String> {
        self.held.ended()
    }

    /// Drains it; `connections` are those that it may still have. Whoever asks twice has it killed.
    pub(super) fn finish(
        &mut self,
        connections: u64,
        asked: &Receiver<Stop>,
        calls: &mut Calls,
    ) -> Result<Finished, String> {
        self.held.ask_to_end();
        let patience = patience(connections);
        let until = Instant::now() + patience;
        while Instant::now() < until {
            match self.held.ended()? {
                Some(status) if status.success() => return Ok(Finished::Drained),
                Some(status) => return Ok(Finished::Died(format!("it ended with {status}"))),
                None => {}
            }
            if asked.recv_timeout(LOOK).is_ok_and(|stop| calls.take(stop) == Answer::EndAtOnce) {
                self.held.end();
                return Ok(Finished::Killed);
            }
        }
        self.held.end();
        Ok(Finished::Died(format!("it did not end within {patience:?} and was killed")))
    }
}

/// How a server ended that was asked to.
pub(super) enum Finished {
    /// In order.
    Drained,
    /// Otherwise: how.
    Died(String),
    /// By us, since somebody wanted that.
    Killed,
}

/// How long a server with so many connections may take to end.
fn patience(connections: u64) -> Duration {
    FINISH_TIME + Duration::from_secs(connections / ENDED_PER_S)
}

/// The addresses in `listening ADDR admin ADDR ..`.
fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["listening", address, "admin", admin, ..] => Some((address.parse().ok()?, admin.parse().ok()?)),
        _ => None,
    }
}

/// The generator's process. Its stdout and stderr are ours.
pub(super) struct Load {
    held: Held,
    /// How the terminal was, while the process may have taken it.
    terminal: Option<Keeper>,
}

impl Load {
    /// Starts `throng load`, which shows the screen where `with_screen`.
    pub(super) fn start(
        server: SocketAddr,
        scenario: &str,
        flags: &[OsString],
        with_screen: bool,
    ) -> Result<Load, String> {
        let terminal = with_screen.then(Keeper::new).flatten();
        let group = if with_screen { Group::Ours } else { Group::Own };
        let mut command = this_program()?;
        command.args(["load", "--until-stdin-closes"]).args(flags).arg(server.to_string()).arg(scenario);
        Held::start(&mut command, group).map(|held| Load { held, terminal })
    }

    /// Asks for an early end: it drains and writes its report.
    pub(super) fn stop(&mut self) {
        self.held.ask_to_end();
    }

    /// How it ended, if it did. Ctrl-C may have reached it before it listened to signals.
    pub(super) fn ended(&mut self) -> Result<Option<Exit>, String> {
        let Some(status) = self.held.ended()? else { return Ok(None) };
        // Whoever ends by itself has given the terminal back.
        if let Some(terminal) = self.terminal.take().filter(|_| status.code().is_none()) {
            terminal.put_back();
        }
        let is_interrupted = status.signal() == Some(SIGINT);
        Ok(Some(if is_interrupted { Exit::Interrupted } else { Exit::from_code(status.code()) }))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.held.end();
        if let Some(terminal) = &self.terminal {
            terminal.put_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_with_more_connections_may_take_longer_to_end() {
        assert_eq!(patience(100), FINISH_TIME);
        assert_eq!(patience(2_000_000), FINISH_TIME + Duration::from_secs(100));
    }

    #[test]
    fn the_servers_line_is_read_by_its_words() {
        let line = "listening 127.0.0.1:5 admin 127.0.0.1:6 backend epoll shards 2 (asked for by name)\n";
        let (address, admin) = addresses(line).unwrap();
        assert_eq!((address.port(), admin.port()), (5, 6));
        assert!(addresses("listening 127.0.0.1:5 admin off backend epoll").is_none());
        assert!(addresses("").is_none());
    }
}
