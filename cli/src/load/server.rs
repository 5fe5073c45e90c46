//! The server as the generator's side sees it: through its admin socket, through /proc, or not at all.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use throng_report::schema::Footprint;
use throng_server::Figures;

use super::target::Mine;
use crate::admin::{self, ServerFigures};
use crate::args::FiguresFlags;
use crate::exit::Failure;
use crate::proc::{memory, process};

/// How often a server that lost everybody is looked at before it counts as alive, and how far apart: a second in all,
/// since to free the memory of a large process takes time.
const LAST_LOOKS: u32 = 50;
const LAST_LOOK_EVERY: Duration = Duration::from_millis(20);
/// How soon a look at its memory must have failed to be repeated.
const LOOK_AGAIN_WITHIN: Duration = Duration::from_secs(1);

/// A server that may or may not tell about itself.
#[derive(Debug)]
pub(super) struct Server {
    source: Source,
    /// The server's process, when it runs on this machine.
    pid: Option<u32>,
    /// Its figures before the run.
    first: Option<ServerFigures>,
    died: Option<String>,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    Admin(SocketAddr),
    Process(u32),
    Nothing,
}

/// The server's CPU time at one moment, and what else its figures say.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// CPU time of the process.
    pub(super) cpu: Duration,
    /// The figures that it came from.
    pub(super) figures: Option<ServerFigures>,
}

/// What the server's connections occupy at one moment, and how they are spread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Occupied {
    /// The process's memory.
    pub(super) memory: Footprint,
    /// The fullest shard by the average; `None` for a server without shards, or without connections.
    pub(super) connections_skew: Option<f64>,
    /// Its sessions with TLS, and the bytes of their tables; `None` for a server that does not tell.
    pub(super) tls: Option<(u64, u64)>,
    /// Its CPU time.
    pub(super) cpu: Option<Duration>,
}

/// A server's figures for whoever looks every second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Brief(Source);

impl Brief {
    /// Of no server.
    #[cfg(test)]
    pub(super) fn nothing() -> Brief {
        Brief(Source::Nothing)
    }

    /// Whether somebody wants them.
    pub(super) fn is_asked(&self) -> bool {
        !matches!(self.0, Source::Nothing)
    }

    /// Looks; `None` when nobody wants them. Of a server that is not a Throng its CPU time and memory are told, no more.
    pub(super) fn look(&self) -> Option<Result<ServerFigures, String>> {
        match self.0 {
            Source::Admin(address) => Some(admin::fetch_brief(address)),
            Source::Process(pid) => {
                let told = process::cpu(pid).zip(memory::brief(&pid.to_string())).map(|(cpu, memory)| {
                    let server = Figures { cpu_s: cpu.as_secs_f64(), shards: Vec::new() };
                    ServerFigures { pid, memory, server, ..ServerFigures::default() }
                });
                Some(told.ok_or_else(|| format!("process {pid} tells nothing of itself")))
            }
            Source::Nothing => None,
        }
    }
}

/// Looks once more after a failure, unless that took so long that the moment has passed which the look is about.
fn twice<T>(mut look: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let begun = Instant::now();
    look().or_else(|error| if begun.elapsed() < LOOK_AGAIN_WITHIN { look() } else { Err(error) })
}

impl Server {
    /// Looks for the server's figures; one that was named and does not answer is an error.
    pub(super) fn find(flags: &FiguresFlags, targets: &[SocketAddr], mine: &Mine) -> Result<Server, Failure> {
        if let Some(address) = flags.server_admin {
            let figures = admin::fetch(address).map_err(Failure::broke)?;
            // A process id means something on its own machine alone.
            let here = address.ip().is_loopback() && targets.iter().all(|target| mine.has(target));
            let pid = Some(figures.pid).filter(|&pid| here && process::is_alive(pid));
            return Ok(Server { source: Source::Admin(address), pid, first: Some(figures), died: None });
        }
        if let Some(pid) = flags.server_pid {
            if !process::is_alive(pid) {
                return Err(Failure::usage(format!("--server-pid {pid}: there is no such process")));
            }
            return Ok(Server { source: Source::Process(pid), pid: Some(pid), first: None, died: None });
        }
        Ok(Server { source: Source::Nothing, pid: None, first: None, died: None })
    }

    /// Its figures in brief, for another thread.
    pub(super) fn brief(&self) -> Brief {
        Brief(self.source)
    }

    /// Its shards, when it is a Throng on this machine.
    pub(super) fn shards_here(&self) -> Option<usize> {
        self.pid.and(self.first.as_ref()).map(|figures| figures.server.shards.len())
    }

    /// Whether it runs on this machine.
    pub(super) fn is_here(&self) -> bool {
        self.pid.is_some()
    }

    /// What it said before the run.
    pub(super) fn first(&self) -> Option<&ServerFigures> {
        self.first.as_ref()
    }

    /// What its connections occupy now; `None` when nobody asked for its figures.
    ///
    /// # Errors
    /// A sentence that says why it could not be read.
    pub(super) fn occupied(&self) -> Result<Option<Occupied>, String> {
        match self.source {
            Source::Admin(address) => twice(|| {
                let figures = admin::fetch(address)?;
                let total = figures.server.total();
                Ok(Occupied {
                    memory: figures.memory,
                    connections_skew: figures.connections_skew,
                    tls: Some((total.tls_sessions, total.tls_bytes)),
                    cpu: Duration::try_from_secs_f64(figures.server.cpu_s).ok(),
                })
            })
            .map(Some),
            Source::Process(pid) => twice(|| {
                let memory = memory::footprint(&pid.to_string())
                    .ok_or_else(|| format!("/proc/{pid}/status cannot be read"))?;
                Ok(Occupied { memory, connections_skew: None, tls: None, cpu: process::cpu(pid) })
            })
            .map(Some),
            Source::Nothing => Ok(None),
        }
    }

    /// Its memory when it had started and held nothing; `None` when it does not tell.
    pub(super) fn memory_at_start(&self) -> Option<Footprint> {
        let told = self.first.as_ref().map(|figures| figures.memory_at_start);
        told.filter(|memory| memory.user_bytes.is_some())
    }

    /// Its CPU time now, and its figures.
    pub(super) fn cpu(&self) -> Option<Look> {
        match self.source {
            // In brief: to walk its memory would be CPU time of the window.
            Source::Admin(address) => admin::fetch_brief(address).ok().map(|figures| Look {
                cpu: Duration::try_from_secs_f64(figures.server.cpu_s).unwrap_or_default(),
                figures: Some(figures),
            }),
            Source::Process(pid) => process::cpu(pid).map(|cpu| Look { cpu, figures: None }),
            Source::Nothing => None,
        }
    }

    /// Its CPU time for the time series: in ticks of 10 ms, and without disturbing it.
    pub(super) fn cpu_ticks(&self) -> Option<Duration> {
        self.pid.and_then(process::cpu)
    }

    /// Whether its figures were asked for.
    pub(super) fn is_known(&self) -> bool {
        !matches!(self.source, Source::Nothing)
    }

    /// Notes its death, once.
    pub(super) fn look(&mut self) {
        if let Some(pid) = self.pid.filter(|&pid| self.died.is_none() && !process::is_alive(pid)) {
            self.died = Some(format!("its process {pid} is gone"));
        }
    }

    /// Looks a last time. Where all connections ended at once, the server may be dying just now: the kernel closes its
    /// sockets a moment before its process is gone.
    pub(super) fn look_after_the_end(&mut self, everybody_lost: bool) {
        let looks = if everybody_lost { LAST_LOOKS } else { 1 };
        for look in 0..looks {
            if look > 0 {
                std::thread::sleep(LAST_LOOK_EVERY);
            }
            self.look();
            if self.died.is_some() || self.pid.is_none() {
                return;
            }
        }
    }

    /// How it died.
    pub(super) fn died(&self) -> Option<String> {
        self.died.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    fn server(source: Source) -> Server {
        Server { source, pid: None, first: None, died: None }
    }

    #[test]
    fn memory_that_cannot_be_read_is_an_error_and_memory_that_nobody_asked_for_is_none() {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let error = server(Source::Admin(free)).occupied().unwrap_err();
        assert!(error.contains(&free.to_string()), "{error}");
        let error = server(Source::Process(u32::MAX)).occupied().unwrap_err();
        assert!(error.contains("/proc/4294967295/status"), "{error}");
        assert!(server(Source::Nothing).occupied().unwrap().is_none());
        let own = server(Source::Process(std::process::id())).occupied().unwrap().unwrap();
        assert!(own.memory.user_bytes.is_some_and(|bytes| bytes > 0));
    }

    #[test]
    fn a_look_that_failed_is_repeated_once_while_its_moment_lasts() {
        let look = |failures: u32, lasts: Duration| {
            let mut looks = 0;
            let seen = twice(|| {
                looks += 1;
                std::thread::sleep(lasts);
                if looks > failures { Ok(()) } else { Err(looks.to_string()) }
            });
            (seen, looks)
        };
        assert_eq!(look(0, Duration::ZERO), (Ok(()), 1));
        assert_eq!(look(1, Duration::ZERO), (Ok(()), 2));
        assert_eq!(look(9, Duration::ZERO), (Err("2".to_owned()), 2));
        assert_eq!(look(9, LOOK_AGAIN_WITHIN), (Err("1".to_owned()), 1));
    }
}
