//! A load on this machine: one worker per thread, watched and stopped from outside.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use throng_reactor::epoll::Epoll;
use throng_reactor::limits::recv_buffers;
use throng_reactor::sys::{affinity, clock, files, usage};
use throng_reactor::uring::Uring;
use throng_reactor::{Backend, Config, Nanos, Reactor, Requested, Selected, Tun, Waker};
use throng_tcp::{Addresses, Captured, Pcap, Users};
use throng_wire::tls::Setup;

use crate::engine::Engine;
use crate::gate::{EarlyEnd, Interval, Phase, Shared, Times};
use crate::limits::{CONNECTS_IN_FLIGHT, RESERVED_FILES, RING_CONNECTIONS};
use crate::outcome::{Outcome, Record, Run, ThreadUse};
use crate::worker::{Step, Worker};
use crate::{Plan, Sources};

/// How a plan is played on this machine. None of it changes what is due when.
#[derive(Clone, Debug)]
pub struct Options {
    /// From where to where.
    pub sources: Sources,
    /// How connections are made.
    pub engine: Engine,
    /// Workers, one thread each; at least 1.
    pub threads: usize,
    /// Thread `i` runs on `cpus[i % cpus.len()]`; empty: wherever the kernel puts it.
    pub cpus: Vec<usize>,
    /// Every thread gets a table of descriptors of its own, so that the limit on open files holds for each. Needed when
    /// the connections are more than the limit.
    pub private_tables: bool,
    /// Connections that are begun and not yet logged in, all threads together.
    pub connects_in_flight: u32,
    /// Keep the ids of accepted messages that did not arrive.
    pub trace_ids: bool,
    /// Where packets of users in user space are written down.
    pub capture: Option<Arc<Pcap>>,
    /// How users speak TLS, if they do.
    pub tls: Option<Setup>,
}

impl Options {
    /// One thread, sockets over any backend, anywhere.
    pub fn new(sources: Sources) -> Options {
        Options {
            sources,
            engine: Engine::Kernel(Requested::Auto),
            threads: 1,
            cpus: Vec::new(),
            private_tables: false,
            connects_in_flight: CONNECTS_IN_FLIGHT,
            trace_ids: false,
            capture: None,
            tls: None,
        }
    }
}

/// How a load is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How far it has come.
    pub phase: Phase,
    /// The plan's instants (CLOCK_MONOTONIC); `None` while users connect.
    pub times: Option<Times>,
    /// Users that were connected and logged in so far.
    pub established: u64,
    /// Users that are so now.
    pub connected: u64,
    /// Attempts to connect that failed.
    pub failed: u64,
    /// Established connections that were lost.
    pub lost: u64,
    /// Messages of the plan that came due.
    pub planned: u64,
    /// Messages written.
    pub sent: u64,
    /// Messages that the server answered for.
    pub accepted: u64,
    /// Messages that arrived.
    pub delivered: u64,
    /// Messages that are due and wait.
    pub waiting: u64,
    /// Messages that were accepted and have not arrived.
    pub missing: u64,
    /// Messages that came again.
    pub duplicated: u64,
    /// Messages that came after a later one.
    pub reordered: u64,
    /// Messages that came with a body that was not their own.
    pub corrupted: u64,
    /// Messages that the server declined.
    pub refused: u64,
    /// Messages that got no outcome, or one that is not known.
    pub unknown: u64,
}

impl Progress {
    /// Of a load that has just begun.
    pub const START: Progress = Progress {
        phase: Phase::Connecting,
        times: None,
        established: 0,
        connected: 0,
        failed: 0,
        lost: 0,
        planned: 0,
        sent: 0,
        accepted: 0,
        delivered: 0,
        waiting: 0,
        missing: 0,
        duplicated: 0,
        reordered: 0,
        corrupted: 0,
        refused: 0,
        unknown: 0,
    };
}

/// A load that is running. Dropping it ends it on the spot and waits for the threads.
#[derive(Debug)]
pub struct Load {
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    engine: &'static str,
    /// How it talks to the kernel about sockets, where there are any.
    selected: Option<Selected>,
    trace_ids: bool,
    threads: Vec<JoinHandle<io::Result<Record>>>,
}

impl Load {
    /// Starts the threads. The ramp begins when all of them are ready.
    ///
    /// # Errors
    /// [`LoadError`]: a plan that cannot be done, a backend that does not run here, too few descriptors, no thread.
    pub fn start(plan: Plan, options: Options) -> Result<Load, LoadError> {
        plan.check().map_err(LoadError::Plan)?;
        let threads = options.threads.clamp(1, plan.threads_max());
        let selected = match options.engine {
            Engine::Kernel(requested) => Some(backend(requested, &plan, threads, options.private_tables)?),
            Engine::Tun(_) => None,
        };
        // All wakers before the first private table: later ones would be unknown in it.
        let wakers: Vec<Waker> =
            (0..threads).map(|_| Waker::new()).collect::<Result<_, _>>().map_err(LoadError::Files)?;
        let shared = Arc::new(Shared::new(wakers.clone()));
        let keep: Arc<[RawFd]> = wakers.iter().filter_map(Waker::descriptor).collect();
        // Devices, too, before anything else begins: what is missing for them is said at once.
        let ways = wakers.into_iter().enumerate();
        let ways = ways.map(|(number, waker)| match options.engine {
            Engine::Kernel(_) => {
                let active = selected.as_ref().map_or(Backend::Epoll, |selected| selected.active);
                Ok(Way::Sockets(active, waker))
            }
            Engine::Tun(devices) => {
                let (setup, addresses) = devices.of(number);
                let tun = Tun::new(&setup, waker).map_err(LoadError::Device)?;
                Ok(Way::Packets(Box::new(tun), addresses))
            }
        });
        let ways = ways.collect::<Result<Vec<Way>, LoadError>>()?;
        let mut load = Load {
            plan: Arc::new(plan),
            shared,
            engine: options.engine.name(),
            selected,
            trace_ids: options.trace_ids,
            threads: Vec::with_capacity(threads),
        };
        let options = Arc::new(options);
        for (number, way) in ways.into_iter().enumerate() {
            let seat = Seat {
                number,
                plan: Arc::clone(&load.plan),
                shared: Arc::clone(&load.shared),
                options: Arc::clone(&options),
                keep: Arc::clone(&keep),
            };
            let thread = std::thread::Builder::new()
                .name(format!("load-{number}"))
                .spawn(move || seat.play(way))
                .map_err(LoadError::Thread)?;
            load.threads.push(thread);
        }
        Ok(load)
    }

    /// The plan that is played.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Which backend runs, and why; `None` for an engine without sockets.
    pub fn backend(&self) -> Option<&Selected> {
        self.selected.as_ref()
    }

    /// How it is doing now. Never waits for a worker.
    pub fn progress(&self) -> Progress {
        let shared = &self.shared;
        Progress {
            phase: shared.phase(&self.plan, clock::now()),
            times: shared.times(&self.plan),
            established: shared.sum(|board| &board.established),
            connected: shared.sum(|board| &board.connected_now),
            failed: shared.sum(|board| &board.failed),
            lost: shared.sum(|board| &board.lost),
            planned: shared.sum(|board| &board.planned),
            sent: shared.sum(|board| &board.sent),
            accepted: shared.sum(|board| &board.accepted),
            delivered: shared.sum(|board| &board.delivered),
            waiting: shared.sum(|board| &board.waiting),
            missing: shared.sum(|board| &board.missing),
            duplicated: shared.sum(|board| &board.duplicated),
            reordered: shared.sum(|board| &board.reordered),
            corrupted: shared.sum(|board| &board.corrupted),
            refused: shared.sum(|board| &board.refused),
            unknown: shared.sum(|board| &board.unknown),
        }
    }

    /// Takes what was measured since the last call; workers hand theirs over once per second.
    pub fn take_interval(&self) -> Interval {
        let mut interval = Interval::default();
        for board in &self.shared.boards {
            let mut part = board.interval.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            interval.merge(&part);
            part.reset();
        }
        interval
    }

    /// Asks for an early end: what is under way is waited for, then everybody leaves. Returns at once.
    pub fn stop(&self) {
        self.shared.end_early(clock::now(), EarlyEnd::Interrupted);
    }

    /// Memory is short, and `why` says how short, in words and figures: no further connection is begun, everybody leaves, and
    /// the report is INVALID for that reason (`memory_guard`). Returns at once. For a run whose traffic has begun
    /// already it is the same early end as [`Load::stop`].
    pub fn stop_ramp(&self, why: impl Into<String>) {
        self.shared.end_early(clock::now(), EarlyEnd::MemoryGuard(why.into()));
    }

    /// Whether every thread has ended; [`Load::wait`] then returns at once.
    pub fn is_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// [`LoadError::Worker`] when a reactor could not go on. The other threads are then stopped first.
    pub fn wait(mut self) -> Result<Outcome, LoadError> {
        let mut records = Vec::with_capacity(self.threads.len());
        let mut failure = None;
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(Ok(record)) => records.push(record),
                Ok(Err(error)) => failure = failure.or(Some(error)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        if let Some(error) = failure {
            return Err(LoadError::Worker(error));
        }
        let backend = self.selected.as_ref().map(|selected| throng_report::schema::Backend {
            requested: selected.requested.to_string(),
            active: selected.active.to_string(),
            reason: selected.reason.clone(),
        });
        let run = Run {
            engine: self.engine,
            backend,
            times: self.shared.times(&self.plan),
            early_end: self.shared.early_end().cloned(),
            trace_ids: self.trace_ids,
        };
        Ok(Outcome::new(&self.plan, run, records))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.shared.abandon();
        }
        for thread in self.threads.drain(..) {
            // Whatever it found out, nobody wants to know.
            let _ = thread.join();
        }
    }
}

/// Ends the other workers when this one ends by an error or a panic: they must not wait at a gate for it.
struct Alarm(Option<Arc<Shared>>);

impl Alarm {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.abandon();
        }
    }
}

/// Everything that one thread needs.
struct Seat {
    number: usize,
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    options: Arc<Options>,
    keep: Arc<[RawFd]>,
}

/// What a thread's connections go through.
enum Way {
    Sockets(Backend, Waker),
    Packets(Box<Tun>, Addresses),
}

impl Seat {
    fn play(self, way: Way) -> io::Result<Record> {
        let alarm = Alarm(Some(Arc::clone(&self.shared)));
        let cpu = affinity::take_seat(&self.options.cpus, self.number, self.shared.workers() as usize)?;
        let config = Config {
            number: self.number as u16,
            recv_buffers: recv_buffers(self.shared.workers() as usize),
            ..Config::default()
        };
        let mut record = match way {
            Way::Sockets(backend, waker) => {
                if self.options.private_tables {
                    files::private_table(&self.keep)?;
                }
                match backend {
                    Backend::IoUring => self.run(Uring::new(&config, waker)?)?,
                    Backend::Epoll => self.run(Epoll::new(&config, waker)?)?,
                }
            }
            Way::Packets(tun, addresses) => {
                let link = Captured::new(*tun, self.options.capture.clone());
                self.run(Users::new(link, &config, addresses, secret()))?
            }
        };
        record.thread.cpu = cpu;
        alarm.disarm();
        Ok(record)
    }

    fn run<R: Reactor>(&self, reactor: R) -> io::Result<Record> {
        let in_flight = self.options.connects_in_flight.div_ceil(self.shared.workers()).max(1);
        let mut worker = Worker::new(
            reactor,
            self.number,
            Arc::clone(&self.plan),
            Arc::clone(&self.shared),
            self.options.sources.clone(),
            in_flight,
            self.options.tls.clone(),
        );
        let mut phase = Phase::Connecting;
        let (mut began, mut used) = (Reading::now(), Reading::default());
        loop {
            let step = worker.turn()?;
            if worker.phase() != phase {
                if worker.phase() == Phase::Measuring {
                    began = Reading::now();
                } else if phase == Phase::Measuring {
                    used = Reading::now().less(began);
                }
                phase = worker.phase();
            }
            if step == Step::Done {
                break;
            }
        }
        let mut record = worker.finish();
        record.thread =
            ThreadUse { cpu: None, cpu_ns: used.cpu, run_queue_ns: used.run_queue, wall_ns: used.at };
        Ok(record)
    }
}

/// The backend of a plan's sockets, if there are descriptors enough for it.
fn backend(requested: Requested, plan: &Plan, threads: usize, private: bool) -> Result<Selected, LoadError> {
    let limit = files::limit().map_err(LoadError::Files)?.soft;
    let selected = throng_reactor::backend::select(requested).map_err(LoadError::Backend)?;
    let (users, sharing) =
        if private { (plan.users_per_thread(threads), 1) } else { (plan.users(), threads as u64) };
    let needed = files_needed(selected.active, users, sharing, limit) + threads as u64;
    if needed > limit {
        // Threads help where each has room for its users; a ring's table is not in the thread's.
        let most = limit.saturating_sub(RESERVED_FILES * 2);
        let threads = plan.threads_for(most).filter(|_| selected.active == Backend::Epoll);
        return Err(LoadError::TooFewFiles { needed, limit, threads });
    }
    Ok(selected)
}

/// A number that nobody outside this process knows.
fn secret() -> u64 {
    RandomState::new().hash_one(())
}

/// Descriptors that `users` connections take in a table that `workers` share, without the workers' wakers. With epoll each is one.
/// With io-uring they are direct, in the tables of rings of which each is two descriptors and has room for
/// [`RING_CONNECTIONS`], or for as many as the limit on open files allows.
fn files_needed(backend: Backend, users: u64, workers: u64, limit: u64) -> u64 {
    let files = match backend {
        Backend::Epoll => users,
        Backend::IoUring => 2 * (users.div_ceil(limit.clamp(1, RING_CONNECTIONS)) + workers),
    };
    files + RESERVED_FILES
}

/// What the calling thread has used, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    at: u64,
    cpu: u64,
    run_queue: u64,
}

impl Reading {
    fn now() -> Reading {
        // "time on the core, time waited for one, times put on one"; zero on a kernel without CONFIG_SCHED_INFO.
        let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let run_queue = schedstat.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        let Nanos(at) = clock::now();
        Reading { at, cpu: usage::thread_cpu().as_nanos() as u64, run_queue }
    }

    fn less(self, before: Reading) -> Reading {
        Reading {
            at: self.at.saturating_sub(before.at),
            cpu: self.cpu.saturating_sub(before.cpu),
            run_queue: self.run_queue.saturating_sub(before.run_queue),
        }
    }
}

/// Why a load did not start, or did not end well.
#[derive(Debug)]
pub enum LoadError {
    /// The plan's numbers.
    Plan(crate::PlanError),
    /// The backend that was asked for.
    Backend(io::Error),
    /// The limit on open files is too low for this plan.
    TooFewFiles {
        /// Descriptors that one table needs.
        needed: u64,
        /// RLIMIT_NOFILE.
        limit: u64,
        /// Threads with a private table each that would do; `None` when no number does.
        threads: Option<usize>,
    },
    /// A TUN device could not be made; the text names what is missing.
    Device(io::Error),
    /// Descriptors for the workers themselves.
    Files(io::Error),
    /// A thread could not be started.
    Thread(io::Error),
    /// A reactor could not be made, or could not go on.
    Worker(io::Error),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Plan(_) => f.write_str("the plan cannot be done"),
            LoadError::Backend(_) => f.write_str("the backend does not run here"),
            LoadError::Device(_) => f.write_str("no users in user space (--engine kernel needs no device)"),
            LoadError::TooFewFiles { needed, limit, threads } => {
                write!(
                    f,
                    "{needed} descriptors are needed in one table, and the limit is {limit}: raise `ulimit -n`"
                )?;
                match threads {
                    Some(threads) => write!(f, ", or use {threads} threads with private tables"),
                    None => Ok(()),
                }
            }
            LoadError::Files(_) => f.write_str("no descriptor for a worker: raise `ulimit -n`"),
            LoadError::Thread(_) => {
                f.write_str("cannot start a thread: see `ulimit -u` and the cgroup's pids.max")
            }
            LoadError::Worker(_) => f.write_str("a generator thread could not go on"),
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LoadError::Plan(source) => Some(source),
            LoadError::TooFewFiles { .. } => None,
            LoadError::Backend(source)
            | LoadError::Device(source)
            | LoadError::Files(source)
            | LoadError::Thread(source)
            | LoadError::Worker(source) => Some(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_users_of_one_ring_worker_need_few_descriptors_and_of_one_epoll_worker_a_million() {
        let (epoll, uring) = (Backend::Epoll, Backend::IoUring);
        assert_eq!(files_needed(epoll, 1_000_000, 1, 20_000), 1_000_000 + RESERVED_FILES);
        assert!(files_needed(uring, 1_000_000, 1, 20_000) < 250);
        assert!(files_needed(uring, 1_000_000, 1, 1024) < 1024 * 3, "a small limit makes small rings");
        assert!(files_needed(uring, 1_000_000, 1, 1024) > 1024, "and of them too many");
        assert!(files_needed(uring, 1 << 30, 4, 20_000) > 20_000);
    }
}
