//! Runs floor, Redis and `throng run` in turn and prints the table of their costs, with the host and the commands.
//!
//! Exit code 1 when a measurement failed; the table is written all the same and says which.

use std::error::Error;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use clap::Parser;
use throng_benches::compare::{self, Contestant, Load, table};
use throng_benches::redis;
use throng_reactor::sys::affinity;

/// Cores as `throng-floor run` uses them: the server on the first, the load on the second.
const SERVER_CPU: usize = 0;

/// Times that a fresh Redis is asked whether it listens, and the pause between them.
const REDIS_ATTEMPTS: u32 = 50;
const REDIS_PAUSE: Duration = Duration::from_millis(100);

/// Compare what a message costs: raw relay, Redis and Throng in turn.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Rounds; the table shows medians
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Messages in flight per pair
    #[arg(long, value_delimiter = ',', default_value = "8,1")]
    windows: Vec<usize>,
    /// Throng's backends
    #[arg(long, value_delimiter = ',', default_value = "io-uring,epoll")]
    backends: Vec<String>,
    /// Throng's server threads
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    shards: Vec<usize>,
    /// Pairs: a sender and a recipient each
    #[arg(long, default_value_t = 200)]
    pairs: usize,
    /// Bytes of a body
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// Length of a measurement
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// What goes before each
    #[arg(long, default_value_t = 1)]
    warmup_seconds: u64,
    /// The redis-server to compare with [default: none]
    #[arg(long)]
    redis: Option<PathBuf>,
    /// Do without Throng
    #[arg(long)]
    no_throng: bool,
    /// What was built, for the text
    #[arg(long, default_value = "unknown")]
    commit: String,
    /// Where the text goes, besides stdout; must not exist
    #[arg(long)]
    out: Option<PathBuf>,
    /// Further arguments of `throng run`
    #[arg(last = true)]
    throng_arguments: Vec<String>,
}

fn main() -> ExitCode {
    match execute(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("throng-compare: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every measurement succeeded.
fn execute(cli: &Cli) -> Result<bool, Box<dyn Error>> {
    if let Some(out) = cli.out.as_ref().filter(|out| out.exists()) {
        return Err(format!("{} exists: move it or choose another name", out.display()).into());
    }
    let programs = std::env::current_exe()?.parent().ok_or("a program without a folder")?.to_owned();
    // The commands stand in the record: as whoever repeats them types them, and not with this machine's folders.
    let here = std::env::current_dir()?;
    let programs = programs.strip_prefix(&here).map_or(programs.clone(), Path::to_owned);
    let redis = cli.redis.as_deref().map(RedisServer::start).transpose()?;
    let contestants = contestants(cli, &programs, redis.as_ref());

    let load_before = load_average();
    let mut rows = Vec::new();
    let mut commands = String::new();
    for &window in &cli.windows {
        let load = Load {
            pairs: cli.pairs,
            window,
            size: cli.size,
            seconds: cli.seconds,
            warmup_seconds: cli.warmup_seconds,
        };
        for contestant in &contestants {
            commands += &format!("{}\n", contestant.command(&load).join(" "));
        }
        rows.extend(compare::run(&contestants, &load, cli.rounds, |contestant, sample| match sample {
            Ok(sample) => eprintln!(
                "W={window} {contestant}: {:.0} messages per server CPU-s",
                sample.messages_per_cpu_s
            ),
            Err(why) => eprintln!("W={window} {contestant}: failed: {why}"),
        }));
    }
    let failed = rows.iter().flat_map(|row| &row.samples).any(Result::is_err);

    let skipped = if redis.is_none() { "Redis was not asked for.\n\n" } else { "" };
    let text = format!(
        "# Messages per second of server CPU\n\n{}{skipped}{}\n## Host\n\n{}| load average before, after | {load_before}, \
         {} |\n\n## Commands\n\n```\n{}{commands}```\n",
        method(cli),
        table::table(&rows),
        host(&cli.commit),
        load_average(),
        redis.as_ref().map_or_else(String::new, |redis| format!("{}\n", redis.command)),
    );
    print!("{text}");
    if let Some(out) = &cli.out {
        fs::write(out, &text).map_err(|error| format!("{}: {error}", out.display()))?;
        eprintln!("{}", out.display());
    }
    Ok(!failed)
}

fn contestants(cli: &Cli, programs: &Path, redis: Option<&RedisServer>) -> Vec<Contestant> {
    let floor = programs.join("throng-floor");
    let mut all = vec![Contestant::Floor { program: floor.clone() }];
    all.extend(redis.map(|redis| Contestant::Redis { program: floor, address: redis.address }));
    for backend in cli.backends.iter().filter(|_| !cli.no_throng) {
        for &shards in &cli.shards {
            all.push(Contestant::Throng {
                program: programs.join("throng"),
                backend: backend.clone(),
                shards,
                arguments: cli.throng_arguments.clone(),
                folder: std::env::temp_dir().join(format!("throng-compare-{}", std::process::id())),
            });
        }
    }
    all
}

fn method(cli: &Cli) -> String {
    format!(
        "{} pairs, bodies of {} B, closed loop with W messages in flight per pair; {} rounds in turn, each {} s after {} s of \
         warm-up. Medians; a ratio is the median of the ratios within a round. The server's CPU is counted, the \
         generator's not. Floor and Throng acknowledge every message end to end; Redis does not, its window reopens on the \
         reply to PUBLISH. Floor and Redis run on core 0, their load on core 1.\n\n",
        cli.pairs, cli.size, cli.rounds, cli.seconds, cli.warmup_seconds
    )
}

/// What must be equal for two such tables to be comparable.
fn host(commit: &str) -> String {
    let cores =
        thread::available_parallelism().map_or_else(|_| "unknown".to_owned(), |cores| cores.to_string());
    format!(
        "| | |\n| --- | --- |\n| kernel | {} |\n| processor | {cores} x {} |\n| memory | {} |\n| congestion control | {} \
         |\n| commit | {commit} |\n",
        fact("/proc/sys/kernel/osrelease", ""),
        fact("/proc/cpuinfo", "model name"),
        fact("/proc/meminfo", "MemTotal"),
        fact("/proc/sys/net/ipv4/tcp_congestion_control", ""),
    )
}

/// Over 1, 5 and 15 minutes.
fn load_average() -> String {
    fact("/proc/loadavg", "").split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// What a file of /proc says behind the first line that begins with `key`.
fn fact(path: &str, key: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.map_or("unknown", |rest| rest.trim_matches([' ', '\t', ':'])).to_owned()
}

/// A Redis of our own, which keeps nothing; killed at the end.
struct RedisServer {
    child: Child,
    address: SocketAddr,
    command: String,
}

impl RedisServer {
    fn start(program: &Path) -> Result<RedisServer, Box<dyn Error>> {
        // Redis cannot tell which port it was given, so this one is free for the moment at least.
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let (program, port) = (program.display(), address.port());
        let command = format!("{program} --bind 127.0.0.1 --port {port} --save '' --appendonly no");
        let words: Vec<String> = command.split(' ').map(|word| word.replace("''", "")).collect();
        // A process inherits the cores of the thread that starts it.
        let starter = thread::spawn(move || -> io::Result<Child> {
            affinity::pin(&[SERVER_CPU])?;
            Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).spawn()
        });
        let child = starter.join().map_err(|_| "the thread that starts Redis panicked")?;
        let child = child.map_err(|error| format!("cannot start {program}: {error}"))?;
        let mut server = RedisServer { child, address, command };
        for _ in 0..REDIS_ATTEMPTS {
            if redis::process_id(address).is_ok_and(|pid| pid == server.child.id()) {
                return Ok(server);
            }
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("{program} ended: {status}").into());
            }
            thread::sleep(REDIS_PAUSE);
        }
        Err(format!("{program} does not answer on {address}").into())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may have ended by itself; then both have nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
