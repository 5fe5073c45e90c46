//! The raw floors as a program: the relay, its generator, both at once, the same load for Redis, and the connect loop.
//!
//! Every measurement is one line on stdout, in JSON (of the connect loop with --json).

use std::error::Error;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use throng_benches::accounts::CpuAccount;
use throng_benches::closed_loop::{self, Exchange, Measured, Plan, WINDOW_MAX};
use throng_benches::connect::{self, Connected, Over};
use throng_benches::relay::{self, Tally};
use throng_benches::{floor, redis, tls};
use throng_reactor::sys::{affinity, files};
use throng_wire::tls::Versions;

/// The cheapest relay there is, and a load to measure it with.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Relay between each two connections, until killed; prints a line whenever the last of them is gone
    Serve {
        /// Where to listen
        #[arg(long, default_value = "127.0.0.1:7999")]
        listen: SocketAddr,
        /// The core to run on [default: any]
        #[arg(long)]
        cpu: Option<usize>,
    },
    /// Load a relay that runs in another process
    Drive {
        /// The relay
        address: SocketAddr,
        /// The core to run on [default: any]
        #[arg(long)]
        cpu: Option<usize>,
        /// The relay's process, for its CPU time
        #[arg(long)]
        server_pid: Option<u32>,
        /// Send each message alone and let nothing come back
        #[arg(long)]
        no_ack: bool,
        #[command(flatten)]
        load: Load,
    },
    /// Relay and load in one process, a thread each
    Run {
        /// The relay's core
        #[arg(long, default_value_t = 0)]
        server_cpu: usize,
        /// The load's core
        #[arg(long, default_value_t = 1)]
        client_cpu: usize,
        /// Send each message alone and let nothing come back
        #[arg(long)]
        no_ack: bool,
        #[command(flatten)]
        load: Load,
    },
    /// Load a Redis server with PUBLISH; its reply is what reopens the window
    Redis {
        /// The server
        address: SocketAddr,
        /// The core to run on [default: any]
        #[arg(long)]
        cpu: Option<usize>,
        /// The server's process, for its CPU time [default: what INFO says]
        #[arg(long)]
        server_pid: Option<u32>,
        #[command(flatten)]
        load: Load,
    },
    /// Connect and hold, nothing else; with as many threads as the limit on open files wants
    Connect {
        /// Connections; digits, then perhaps k or m
        #[arg(short, long, default_value = "10k", value_parser = count)]
        connections: u64,
        /// The cores that accept, as 0,2 [default: the first half of the allowed ones]
        #[arg(long, value_delimiter = ',')]
        server_cpus: Vec<usize>,
        /// The cores that connect [default: the others]
        #[arg(long, value_delimiter = ',')]
        load_cpus: Vec<usize>,
        /// Connect by packets on a TUN device, in a network namespace of your own, instead of by sockets
        #[arg(long)]
        tun: bool,
        /// Touch the memory before
        #[arg(long)]
        prefault: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Shake hands (TLS) one after the other, and keep what the library has of each
    Tls {
        /// Handshakes; digits, then perhaps k or m
        #[arg(short = 'n', long, default_value = "10k", value_parser = count)]
        handshakes: u64,
        /// The version
        #[arg(long, default_value = "1.3", value_parser = ["1.2", "1.3"])]
        version: String,
        /// Resume: only the first takes a certificate
        #[arg(long)]
        resumption: bool,
        /// The server's core
        #[arg(long, default_value_t = 0)]
        server_cpu: usize,
        /// The load's core
        #[arg(long, default_value_t = 1)]
        client_cpu: usize,
    },
}

#[derive(Args)]
struct Load {
    /// Pairs: a sender and a recipient each
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pairs: u32,
    /// Messages in flight per pair
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=WINDOW_MAX as i64))]
    window: u16,
    /// Bytes of a message's body; frames come on top
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    size: u16,
    /// What is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// What goes before it
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=3600))]
    warmup_seconds: u64,
}

impl Load {
    fn plan(&self) -> Plan {
        Plan {
            window: usize::from(self.window),
            warmup: Duration::from_secs(self.warmup_seconds),
            measure: Duration::from_secs(self.seconds),
        }
    }
}

/// One line of output.
#[derive(Serialize)]
struct Line<T> {
    server: &'static str,
    #[serde(flatten)]
    figures: T,
}

fn print<T: Serialize>(server: &'static str, figures: T) -> Result<(), Box<dyn Error>> {
    println!("{}", serde_json::to_string(&Line { server, figures })?);
    Ok(())
}

fn main() -> ExitCode {
    match execute(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("throng-floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<(), Box<dyn Error>> {
    files::raise_limits()?; // four descriptors per pair where relay and load are one process
    match command {
        Command::Serve { listen, cpu } => {
            pin(cpu)?;
            let listener = bind(listen)?;
            eprintln!("relaying on {}", listener.local_addr()?);
            let mut printed = Ok(());
            relay::serve(listener, |tally| {
                printed = print("floor", tally);
                if printed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            printed
        }
        Command::Drive { address, cpu, server_pid, no_ack, load } => {
            pin(cpu)?;
            let account = server_pid.map(CpuAccount::of_process);
            print(name(no_ack), drive(address, no_ack, &load, account.as_ref())?)
        }
        Command::Run { server_cpu, client_cpu, no_ack, load } => {
            print(name(no_ack), run(server_cpu, client_cpu, no_ack, &load)?)
        }
        Command::Redis { address, cpu, server_pid, load } => {
            pin(cpu)?;
            let pid = server_pid.map_or_else(|| redis::process_id(address), Ok)?;
            let (exchange, pairs) = redis::connect_pairs(address, load.pairs as usize, load.size.into())?;
            let account = CpuAccount::of_process(pid);
            print("redis", closed_loop::run(pairs, &exchange, load.plan(), Some(&account))?)
        }
        Command::Tls { handshakes, version, resumption, server_cpu, client_cpu } => {
            let versions = if version == "1.2" { Versions::Tls12 } else { Versions::Tls13 };
            let plan =
                tls::Plan { handshakes, versions, resumes: resumption, server_cpu, load_cpu: client_cpu };
            print("floor-tls", tls::run(&plan)?)
        }
        Command::Connect { connections, server_cpus, load_cpus, tun, prefault, json } => {
            let (server_cpus, load_cpus) = split(&affinity::allowed()?, server_cpus, load_cpus);
            let over = if tun { Over::Packets } else { Over::Sockets };
            let connected =
                connect::run(&connect::Plan { connections, server_cpus, load_cpus, over, prefault })?;
            if json {
                return print("floor-connect", connected);
            }
            let Connected { connections, threads_per_side, seconds, rate_per_s, .. } = connected;
            println!(
                "{connections} connections in {seconds:.3} s, {rate_per_s:.0}/s, {threads_per_side} threads a side"
            );
            Ok(())
        }
    }
}

/// A count of at least one: digits, perhaps with a fraction, then perhaps k or m.
fn count(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is not a count: digits, then perhaps k or m, as 1500, 1.5k, 2m");
    let (digits, scale) = match text.char_indices().last() {
        Some((end, 'k' | 'K')) => (&text[..end], 1e3),
        Some((end, 'm' | 'M')) => (&text[..end], 1e6),
        _ => (text, 1.0),
    };
    let count = (digits.parse::<f64>().map_err(|_| bad())? * scale).round();
    if (1.0..=1e9).contains(&count) { Ok(count as u64) } else { Err(bad()) }
}

/// What is not told gets what the other side leaves, or half and half, the server first; one core does both. As
/// `throng run` does it.
fn split(allowed: &[usize], server: Vec<usize>, load: Vec<usize>) -> (Vec<usize>, Vec<usize>) {
    let without = |taken: &[usize]| {
        let rest: Vec<usize> = allowed.iter().copied().filter(|cpu| !taken.contains(cpu)).collect();
        if rest.is_empty() { allowed.to_vec() } else { rest }
    };
    let server = match (server.is_empty(), load.is_empty()) {
        (false, _) => server,
        (true, false) => without(&load),
        (true, true) => allowed[..allowed.len().div_ceil(2)].to_vec(),
    };
    let load = if load.is_empty() { without(&server) } else { load };
    (server, load)
}

fn name(no_ack: bool) -> &'static str {
    if no_ack { "floor-no-ack" } else { "floor" }
}

fn pin(cpu: Option<usize>) -> io::Result<()> {
    cpu.map_or(Ok(()), |cpu| affinity::pin(&[cpu]))
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
}

fn drive(
    address: SocketAddr,
    no_ack: bool,
    load: &Load,
    account: Option<&CpuAccount>,
) -> io::Result<Measured> {
    let size = usize::from(load.size);
    let (exchange, message) =
        if no_ack { Exchange::unacknowledged(size) } else { Exchange::acknowledged(size) };
    let pairs = floor::connect(address, load.pairs as usize, &message)?;
    closed_loop::run(pairs, &exchange, load.plan(), account)
}

/// Relay and load in a thread each.
fn run(server_cpu: usize, client_cpu: usize, no_ack: bool, load: &Load) -> Result<Measured, Box<dyn Error>> {
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let address = listener.local_addr()?;
    let (to_load, from_server) = mpsc::channel();
    let server = std::thread::spawn(move || -> io::Result<Tally> {
        affinity::pin(&[server_cpu])?;
        // Nobody listens only when the load failed, and that is reported.
        let _ = to_load.send(CpuAccount::of_this_thread()?);
        let mut all = Tally::default();
        relay::serve(listener, |tally| {
            all = tally;
            ControlFlow::Break(())
        })?;
        Ok(all)
    });
    if let Ok(account) = from_server.recv() {
        affinity::pin(&[client_cpu])?;
        // When the load fails, the relay's thread ends with the process.
        let measured = drive(address, no_ack, load, Some(&account))?;
        join(server)?;
        Ok(measured)
    } else {
        join(server)?;
        Err("the relay ended before it began".into())
    }
}

fn join(server: JoinHandle<io::Result<Tally>>) -> Result<Tally, Box<dyn Error>> {
    Ok(server.join().map_err(|_| "the relay panicked")??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_takes_thousands_and_millions_and_nothing_else() {
        assert_eq!([count("10k"), count("2.5m"), count("7")], [Ok(10_000), Ok(2_500_000), Ok(7)]);
        for text in ["", "k", "0", "-1", "ten", "2g", "nan"] {
            assert!(count(text).unwrap_err().contains(&format!("`{text}`")));
        }
    }

    #[test]
    fn cores_are_split_as_told_and_else_in_halves() {
        let split = |server: &[usize], load: &[usize]| split(&[0, 1, 2], server.to_vec(), load.to_vec());
        assert_eq!(split(&[], &[]), (vec![0, 1], vec![2]));
        assert_eq!(split(&[1], &[]), (vec![1], vec![0, 2]));
        assert_eq!(split(&[], &[0]), (vec![1, 2], vec![0]));
        assert_eq!(split(&[0], &[0]), (vec![0], vec![0]));
        assert_eq!(super::split(&[4], vec![], vec![]), (vec![4], vec![4]));
    }
}
