//! The raw connect floor: a bare loop that accepts, connects, and keeps what it has.
//!
//! ```text
//!   load core     thread i: socket, bind, connect, keep  ...  x n/T     (a private table of descriptors each)
//!                       │ 127.0.0.1, a port per pair of threads
//!   server core   thread i: accept4, keep  ...  x n/T                   (the same)
//! ```
//!
//! No readiness, no read, no write, no login: a server that logs its clients in has to do all of this too, so what it costs
//! beyond is its own. Threads of a pair share a port, and connections a source address only up to
//! `CONNECTIONS_PER_SOURCE`, so that nothing searches; both block, so that nothing polls.
//!
//! Over packets ([`Over::Packets`]) one thread plays all clients, and the listeners are the same.
//!
//! In the end the load resets everything: nothing stays in TIME_WAIT.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use serde::Serialize;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use throng_reactor::sys::{affinity, files, socket};

use crate::packets;

/// As the generator does: beyond it connect() searches for a port.
const CONNECTIONS_PER_SOURCE: u64 = 8000;

/// The first source address; 127.0.0.0/16 is left to others, as the generator does.
const FIRST_SOURCE: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);

/// Descriptors of a table that are not for connections: stdin, stdout, stderr, the listener, and some to spare.
const TABLE_RESERVE: u64 = 64;

/// Kernel memory of one end of a connection, with room for what the slabs waste.
const BYTES_PER_END: u64 = 4150;

/// Memory that stays free.
const RESERVE_BYTES: u64 = 1 << 30;

/// The kernel cuts it to net.core.somaxconn.
const BACKLOG: i32 = 65_535;

/// What to connect, and where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Connections, both ends in this process.
    pub connections: u64,
    /// The cores of those who accept.
    pub server_cpus: Vec<usize>,
    /// The cores of those who connect.
    pub load_cpus: Vec<usize>,
    /// What the load side connects through.
    pub over: Over,
    /// Whether to touch as much memory as the connections need beforehand, and give it back: a virtual machine that gets
    /// memory for the first time waits for its host.
    pub prefault: bool,
}

/// What the load side connects through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Sockets on loopback, a thread of them for each that accepts.
    Sockets,
    /// Packets on a TUN device, from one thread ([`crate::packets`]).
    Packets,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Connected {
    /// Connections, all held at once.
    pub connections: u64,
    /// Threads that accepted; as many connected.
    pub threads_per_side: u64,
    /// Whether memory was touched beforehand.
    pub prefaulted: bool,
    /// From the first connect until the last connection was accepted.
    pub seconds: f64,
    /// Connections per second.
    pub rate_per_s: f64,
}

/// What one thread has to do.
#[derive(Clone)]
struct Share {
    cpus: Vec<usize>,
    thread: usize,
    /// Of its side.
    threads: usize,
    connections: u64,
    /// Locked until all threads are ready.
    start: Arc<RwLock<()>>,
    /// Locked until all connections were made.
    hold: Arc<RwLock<()>>,
    done: Sender<io::Result<()>>,
}

/// Connects everything, takes the time, and closes everything.
///
/// # Errors
/// Memory that does not suffice, with what is needed; a core that is not there; whatever a connect or an accept fails with.
/// The threads then end with the process.
pub fn run(plan: &Plan) -> io::Result<Connected> {
    let ends = if plan.over == Over::Sockets { 2 } else { 1 };
    let needed = plan.connections.saturating_mul(ends * BYTES_PER_END);
    check_memory(needed, available_bytes()?)?;
    if plan.prefault {
        touch(needed);
    }
    let per_table = files::raise_limits()?.soft.saturating_sub(TABLE_RESERVE).max(1);
    let cores = plan.server_cpus.len().max(plan.load_cpus.len()) as u64;
    let threads = plan.connections.div_ceil(per_table).max(cores).min(plan.connections);
    warn_of_short_queues(plan.connections.div_ceil(threads));

    let (start, hold) = (Arc::new(RwLock::new(())), Arc::new(RwLock::new(())));
    let not_yet = start.write().map_err(|_| panicked())?;
    let held = hold.write().map_err(|_| panicked())?;
    let (done, outcomes) = mpsc::channel();
    let mut running = Vec::new();
    let device = if plan.over == Over::Packets { Some(packets::device()?) } else { None };
    let mut ports = Vec::new();
    let mut first = 0;
    for thread in 0..threads {
        let connections = (plan.connections - first) / (threads - thread);
        let share = |cpus: &[usize]| Share {
            cpus: cpus.to_vec(),
            thread: thread as usize,
            threads: threads as usize,
            connections,
            start: Arc::clone(&start),
            hold: Arc::clone(&hold),
            done: done.clone(),
        };
        let (to_main, listening) = mpsc::channel();
        let server = share(&plan.server_cpus);
        running.push(std::thread::spawn(move || server.play(move |share| accept(share, to_main))));
        // A thread that could not listen says why in its outcome.
        if let Ok(address) = listening.recv() {
            ports.push((address.port(), connections));
            if device.is_some() {
                first += connections;
                continue;
            }
            let load = share(&plan.load_cpus);
            running.push(std::thread::spawn(move || load.play(|share| connect(share, address, first))));
        }
        first += connections;
    }
    if let Some(device) = device {
        let load = Share {
            cpus: plan.load_cpus.clone(),
            thread: 0,
            threads: 1,
            connections: plan.connections,
            start: Arc::clone(&start),
            hold: Arc::clone(&hold),
            done: done.clone(),
        };
        let play = move |share: &Share| {
            drop(share.start.read());
            packets::connect(device, &ports)
        };
        running.push(std::thread::spawn(move || load.play_in(false, play)));
    }
    drop(done);
    let began = Instant::now();
    drop(not_yet);
    for outcome in outcomes.iter().take(running.len()) {
        outcome?;
    }
    let seconds = began.elapsed().as_secs_f64();
    drop(held);
    for thread in running {
        thread.join().map_err(|_| panicked())?;
    }
    Ok(Connected {
        connections: plan.connections,
        threads_per_side: threads,
        prefaulted: plan.prefault,
        seconds,
        rate_per_s: plan.connections as f64 / seconds,
    })
}

fn panicked() -> io::Error {
    io::Error::other("a thread panicked")
}

impl Share {
    /// Runs a thread: what `make` returns is held until everybody has everything.
    fn play<T>(&self, make: impl FnOnce(&Share) -> io::Result<T>) {
        self.play_in(true, make);
    }

    /// The same, in a table of descriptors of its own or the process's.
    fn play_in<T>(&self, private: bool, make: impl FnOnce(&Share) -> io::Result<T>) {
        let seated = affinity::take_seat(&self.cpus, self.thread, self.threads);
        let table = |()| if private { files::private_table(&[]) } else { Ok(()) };
        let made = seated.map(drop).and_then(table).and_then(|()| make(self));
        let (outcome, held) = match made {
            Ok(held) => (Ok(()), Some(held)),
            Err(error) => (Err(error), None),
        };
        // Nobody listens when another thread failed, and that is reported.
        let _ = self.done.send(outcome);
        drop(self.hold.read());
        drop(held);
    }
}

/// Accepts its share.
#[allow(clippy::needless_pass_by_value)] // dropping it tells the main thread that no address comes
fn accept(share: &Share, listening: Sender<SocketAddr>) -> io::Result<Vec<TcpStream>> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    // On every address: packets come for that of a device.
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    let mut held = Vec::with_capacity(share.connections as usize);
    // Nobody waits for it when another thread failed, and that is reported.
    let port = listener.local_addr()?.port();
    let _ = listening.send(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    for number in 0..share.connections {
        let about = |error: io::Error| io::Error::new(error.kind(), format!("accept {number}: {error}"));
        held.push(listener.accept().map_err(about)?.0);
    }
    Ok(held)
}

/// What one load thread holds; dropping it resets it.
struct Held(Vec<Socket>);

impl Drop for Held {
    fn drop(&mut self) {
        for socket in &self.0 {
            // Should it fail, the kernel keeps the pair of addresses for a minute, and nothing else happens.
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }
}

/// Connects its share; `first` is the number of its first connection among all.
fn connect(share: &Share, target: SocketAddr, first: u64) -> io::Result<Held> {
    let mut held = Held(Vec::with_capacity(share.connections as usize));
    let target_address = target.into();
    drop(share.start.read());
    for number in first..first + share.connections {
        let source = source(number);
        let about = |error: io::Error| {
            io::Error::new(error.kind(), format!("connect {number} from {source} to {target}: {error}"))
        };
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).map_err(about)?;
        socket::bind_source(socket.as_fd(), SocketAddr::new(source, 0)).map_err(about)?;
        socket.connect(&target_address).map_err(about)?;
        held.0.push(socket);
    }
    Ok(held)
}

/// The address that connection `number` comes from.
fn source(number: u64) -> IpAddr {
    Ipv4Addr::from_bits(FIRST_SOURCE.to_bits() + (number / CONNECTIONS_PER_SOURCE) as u32).into()
}

fn check_memory(needed: u64, available: u64) -> io::Result<()> {
    if needed.saturating_add(RESERVE_BYTES) <= available {
        return Ok(());
    }
    let text = format!(
        "{needed} bytes of kernel memory and {RESERVE_BYTES} to spare are needed, {available} are available: connect fewer"
    );
    Err(io::Error::new(io::ErrorKind::OutOfMemory, text))
}

/// MemAvailable.
fn available_bytes() -> io::Result<u64> {
    let path = "/proc/meminfo";
    let text = fs::read_to_string(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other(format!("{path} has no MemAvailable")))
}

/// Touches that much memory, and gives it back.
fn touch(bytes: u64) {
    const CHUNK: usize = 64 << 20;
    const PAGE: usize = 4096;
    let mut chunks: Vec<Vec<u8>> = Vec::new();
    for _ in 0..bytes.div_ceil(CHUNK as u64) {
        let mut chunk = vec![0; CHUNK];
        chunk.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
        chunks.push(std::hint::black_box(chunk));
    }
}

/// Says when clients may find a backlog full: each then waits a second for its next SYN.
fn warn_of_short_queues(share: u64) {
    let path = "/proc/sys/net/core/somaxconn";
    let queue: Option<u64> = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
    if queue.is_some_and(|queue| queue < share) {
        eprintln!("net.core.somaxconn is below {share}: a client that finds a queue full waits a second");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_connects_and_holds_as_many_as_it_says() {
        let plan = Plan {
            connections: 500,
            server_cpus: vec![],
            load_cpus: vec![],
            over: Over::Sockets,
            prefault: false,
        };
        let connected = run(&plan).unwrap();
        assert_eq!((connected.connections, connected.threads_per_side), (500, 1));
        assert!(connected.rate_per_s > 0.0);
    }

    #[test]
    fn shares_of_several_threads_add_up() {
        // As many threads as cores are named; they need not exist for the count, but these do.
        let cpus = affinity::allowed().unwrap();
        let cpus: Vec<usize> = cpus.iter().copied().cycle().take(3).collect();
        let plan = Plan {
            connections: 100,
            server_cpus: cpus.clone(),
            load_cpus: cpus,
            over: Over::Sockets,
            prefault: true,
        };
        assert_eq!(run(&plan).unwrap().threads_per_side, 3);
    }

    #[test]
    fn a_core_that_is_not_there_is_an_error_and_nobody_hangs() {
        let plan = Plan {
            connections: 10,
            server_cpus: vec![1023],
            load_cpus: vec![],
            over: Over::Sockets,
            prefault: false,
        };
        assert!(run(&plan).unwrap_err().to_string().contains("1023"));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_is_needed() {
        let error = check_memory(5 << 30, 5 << 30).unwrap_err().to_string();
        assert!(error.contains("5368709120") && error.contains("fewer"), "{error}");
        check_memory(5 << 30, 6 << 30).unwrap();
    }

    #[test]
    fn no_source_has_more_than_its_share() {
        assert_eq!(source(7999), IpAddr::from([127, 1, 0, 1]));
        assert_eq!(source(8000), IpAddr::from([127, 1, 0, 2]));
    }
}
