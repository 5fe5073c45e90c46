//! The command line: every flag once, with its help, its parser and its default.
//!
//! A group of flags is a struct that commands flatten in. What `run` hands to the processes that it starts is found by
//! name (`forward`), so a new flag of `load` or `serve` reaches them by being flattened into both commands.

mod forward;
mod plan;
mod series;
mod sides;
mod tls;
mod tune;
pub(crate) mod values;

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, Parser, Subcommand, ValueEnum};
use throng_loadgen::{Network, Part};
use throng_report::Threshold;

use crate::lab::Told;

pub(crate) use forward::forward;
pub(crate) use plan::PlanFlags;
pub(crate) use series::{JudgingFlags, SeriesFlags};
pub(crate) use sides::{BackendFlag, EngineName, FiguresFlags, GeneratorFlags, ReportFlags, ServerFlags};
pub(crate) use tls::{CertificateFlags, TlsFlags, TrustFlags};
pub(crate) use tune::{
    ApplyArgs, JournalFlag, Role, RollbackArgs, SweepArgs, TargetFlags, TuneCommand, TunePlanArgs,
};

/// How many people can one machine keep connected, what does each of them cost, and did a change make that better?
#[derive(Parser, Debug)]
#[command(name = "throng", version, max_term_width = 100, propagate_version = true)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0 pass   1 it broke, or does not fit   2 usage   98 INVALID: something other than the server was measured
  99 FAIL   130 interrupted

Counts take k, m and g (1.5k, 2M); times take us, ms, s, m, h. Results go to stdout, everything else to stderr.
Start with:  throng run";

/// The commands.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Server, users and report, on this machine
    Run(RunArgs),
    /// The most connections, or the highest rate, that still does what is asked
    Capacity(CapacityArgs),
    /// The server alone
    Serve(ServeArgs),
    /// The users alone, against a server that is already there
    Load(LoadArgs),
    /// Whether a lab can be made without root's rights: `run` asks a child before it tries.
    #[command(hide = true)]
    Lab,
    /// Read what runs left behind, and compare it
    #[command(subcommand)]
    Report(ReportCommand),
    /// The scenarios that come with Throng
    #[command(subcommand)]
    Scenario(ScenarioCommand),
    /// Which settings of the machine hold it back
    #[command(subcommand)]
    Tune(TuneCommand),
}

/// `throng run`.
#[derive(Args, Debug)]
#[command(after_help = RUN_EXAMPLES, args_override_self = true)]
pub(crate) struct RunArgs {
    /// A scenario's name (see `throng scenario list`) or a TOML file
    #[arg(value_name = "SCENARIO|FILE", default_value = "pairs")]
    pub(crate) scenario: String,

    /// What the users do.
    #[command(flatten)]
    pub(crate) plan: PlanFlags,

    /// How it runs.
    #[command(flatten)]
    pub(crate) local: LocalFlags,

    /// Say what the run would take and what stands in its way; start nothing. Exit code 0: it fits; 1: it does not
    #[arg(long, help_heading = "How it runs")]
    pub(crate) dry_run: bool,

    /// Tell figures to Prometheus on this address, under /metrics: the generator's, and the server's as it reads them. The address
    /// is the host's, in a lab, too
    #[arg(long, value_name = "ADDR", help_heading = "What becomes of the figures")]
    pub(crate) prometheus: Option<SocketAddr>,

    /// The figures.
    #[command(flatten)]
    pub(crate) report: ReportFlags,

    /// Many runs.
    #[command(flatten)]
    pub(crate) series: SeriesFlags,

    /// A run of a series: stop when stdin closes, as on SIGINT.
    #[arg(long, hide = true)]
    pub(crate) until_stdin_closes: bool,
}

/// `throng capacity`.
#[derive(Args, Debug)]
#[command(after_help = CAPACITY_EXAMPLES, args_override_self = true)]
pub(crate) struct CapacityArgs {
    /// A scenario's name (see `throng scenario list`) or a TOML file [default: pairs for a rate, idle for connections]
    #[arg(value_name = "SCENARIO|FILE")]
    pub(crate) scenario: Option<String>,

    /// What is searched for
    #[arg(long, value_name = "WHAT")]
    pub(crate) find: FindName,

    /// The most that is tried [default: 10m messages/s, or 100m connections]
    #[arg(long, value_name = "N", value_parser = values::positive)]
    pub(crate) max: Option<u64>,

    /// The smallest step of the search, in percent of the load
    #[arg(long, value_name = "PERCENT", value_parser = values::percent, default_value = "5")]
    pub(crate) precision: f64,

    /// When the search ends although it could be more exact
    #[arg(long, value_name = "TIME", value_parser = values::time_above_zero, default_value = "10m")]
    pub(crate) time_limit: Duration,

    /// What the users do; the rate or the connections are where the search begins.
    #[command(flatten)]
    pub(crate) plan: PlanFlags,

    /// How it runs.
    #[command(flatten)]
    pub(crate) local: LocalFlags,

    /// The figures.
    #[command(flatten)]
    pub(crate) report: ReportFlags,
}

/// What a search looks for.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FindName {
    /// Users connected at once.
    Connections,
    /// Messages per second.
    Rate,
}

const CAPACITY_EXAMPLES: &str = "\
Examples:
  throng capacity --find rate --threshold 'p99<20ms'                  messages/s of 1,000 users
  throng capacity --find rate -c 100k -r 10k --threshold 'p99<50ms'   of 100,000, beginning at 10,000/s
  throng capacity --find connections --threshold 'login.p99<1s'       users that this machine keeps

Every trial is a run of its own, and holds when its verdict is PASS. The answer is the load that holds half of the time, with
its 95 % interval, and what gave out there. Where that is the generator, it is a lower bound, and says so. The last line on
stdout is the path of the folder with capacity.json and all runs.";

/// How a server and its users run on this machine.
#[derive(Args, Clone, Debug)]
pub(crate) struct LocalFlags {
    /// Either side's backend.
    #[command(flatten)]
    pub(crate) backend: BackendFlag,

    /// The server's.
    #[command(flatten)]
    pub(crate) server: ServerFlags,

    /// The generator's.
    #[command(flatten)]
    pub(crate) generator: GeneratorFlags,

    /// How both speak TLS.
    #[command(flatten)]
    pub(crate) tls: TlsFlags,

    /// What the server shows.
    #[command(flatten)]
    pub(crate) certificate: CertificateFlags,

    /// What users want to be shown.
    #[command(flatten)]
    pub(crate) trust: TrustFlags,

    /// Insist on a lab: a network namespace for this run alone, with room for the plan; the host's settings stay as they are.
    /// Without the flag there is one wherever root's rights or a user namespace allow it
    #[arg(long, help_heading = "How it runs", conflicts_with = "no_lab")]
    pub(crate) lab: bool,

    /// Set this in the lab, over what it is set to by itself, as net.ipv4.tcp_rmem='4096 16384 262144'; repeatable. Insists on a lab:
    /// the host's settings are not touched
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::sysctl, help_heading = "How it runs", conflicts_with = "no_lab")]
    pub(crate) sysctl: Vec<(String, String)>,

    /// Run on the host's loopback, with the host's settings
    #[arg(long, help_heading = "How it runs")]
    pub(crate) no_lab: bool,

    /// Touch the memory that the plan needs before anything starts: on a fresh machine the first touch is slow, and the run
    /// would measure it
    #[arg(long, help_heading = "How it runs")]
    pub(crate) prefault: bool,
}

const RUN_EXAMPLES: &str = "\
Examples:
  throng run                                     1,000 users, 1,000 messages/s, 10 s
  throng run -c 10k -r 20k -d 30s                more of everything
  throng run idle -c 100k --connect-rate 20k     how much memory does an idle user cost?
  throng run --closed-loop 8 -c 400              how much CPU does a message cost?
  throng run --threshold 'p99<50ms' -q || ...    a gate for CI
  throng run -c 1m --dry-run                     would that fit here?
  throng run idle -c 1m --prefault               on memory that was touched before
  throng run --repeat 12 -o old                  how much do the figures vary?
  throng run -r 20k --against '--backend epoll'  which backend is better? (takes 24 runs)
  throng run --closed-loop 8 --against ./old/throng --duet --gate    did my change make a message cost more?

Server and users each get half of the cores that this process may use, unless --serve-cpus or --load-cpus say otherwise.
The last line on stdout is the path of the run folder.";

/// `throng serve`.
#[derive(Args, Debug)]
#[command(after_help = SERVE_EXAMPLES)]
pub(crate) struct ServeArgs {
    /// Addresses to listen on; repeatable. Port 0 lets the kernel choose
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7400")]
    pub(crate) listen: Vec<SocketAddr>,

    /// Tell figures on this address, as JSON over HTTP under /figures
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<SocketAddr>,

    /// Tell figures to Prometheus on this address, under /metrics
    #[arg(long, value_name = "ADDR")]
    pub(crate) prometheus: Option<SocketAddr>,

    /// No live screen, also at a terminal
    #[arg(long)]
    pub(crate) no_tui: bool,

    /// Connections to be ready for: with epoll, decides the number of shards where --shards does not
    #[arg(short = 'c', long, value_name = "N", value_parser = values::positive, default_value = "10k")]
    pub(crate) connections: u64,

    /// Either side's backend.
    #[command(flatten)]
    pub(crate) backend: BackendFlag,

    /// The server's.
    #[command(flatten)]
    pub(crate) server: ServerFlags,

    /// Whether it speaks TLS.
    #[command(flatten)]
    pub(crate) tls: TlsFlags,

    /// What it shows.
    #[command(flatten)]
    pub(crate) certificate: CertificateFlags,

    /// Addresses on which clients are met without TLS, beside those of --listen; repeatable
    #[arg(long, value_name = "ADDR", requires = "tls", help_heading = "Encryption")]
    pub(crate) listen_plain: Vec<SocketAddr>,

    /// Memory to leave to everybody else, as 512m or 2g; when less can be had, the server says so and goes on [default: 512 MiB,
    /// or 3 % of the machine's memory where that is more]
    #[arg(long, value_name = "BYTES", value_parser = values::count, help_heading = "How it runs")]
    pub(crate) memory_reserve: Option<u64>,

    /// How long a client may take to log in [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = values::time_above_zero, help_heading = "Clients")]
    pub(crate) login_timeout: Option<Duration>,

    /// Silence after which a client is disconnected [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = values::time_above_zero, help_heading = "Clients")]
    pub(crate) idle_timeout: Option<Duration>,

    /// Drain and end when stdin closes: whoever starts a server this way cannot leave it behind, not even by dying.
    #[arg(long, hide = true)]
    pub(crate) until_stdin_closes: bool,
}

const SERVE_EXAMPLES: &str = "\
Examples:
  throng serve                                            on loopback, port 7400
  throng serve --listen 10.0.0.5:7400 --admin 10.0.0.5:7401 -c 500k
  throng serve --tls --cert cert.pem --key key.pem        for clients that speak TLS
  curl http://127.0.0.1:7401/figures                      what it is doing

When it listens, it prints one line on stdout: `listening ADDR.. admin ADDR|off backend NAME shards
N (why)`, with `prometheus ADDR` before `backend` if asked for. SIGTERM or SIGINT let what is on its way arrive, say goodbye to everybody, and end; a second one ends at once.
SIGHUP has it read the certificate again, without a live screen; whoever is connected stays.
The admin address answers whoever reaches it: keep it on loopback or a private network.";

/// `throng load`.
#[derive(Args, Debug)]
#[command(after_help = LOAD_EXAMPLES)]
pub(crate) struct LoadArgs {
    /// The server, as HOST:PORT; several with commas
    #[arg(value_name = "TARGET")]
    pub(crate) target: String,

    /// A scenario's name (see `throng scenario list`) or a TOML file
    #[arg(value_name = "SCENARIO|FILE", default_value = "pairs")]
    pub(crate) scenario: String,

    /// What the users do.
    #[command(flatten)]
    pub(crate) plan: PlanFlags,

    /// Either side's backend.
    #[command(flatten)]
    pub(crate) backend: BackendFlag,

    /// The generator's.
    #[command(flatten)]
    pub(crate) generator: GeneratorFlags,

    /// Whether users speak TLS.
    #[command(flatten)]
    pub(crate) tls: TlsFlags,

    /// What they want to be shown.
    #[command(flatten)]
    pub(crate) trust: TrustFlags,

    /// Play one part of the plan, as 1/4: other generators play the others, and `throng report merge` puts them together
    #[arg(long, value_name = "NUMBER/OF", default_value = "1/1", help_heading = "How it runs")]
    pub(crate) part: Part,

    /// Begin at this moment, as 2026-01-31T09:30:00Z, so that several generators begin together; their clocks should agree
    #[arg(long, value_name = "TIME", value_parser = values::moment, help_heading = "How it runs")]
    pub(crate) start_at: Option<SystemTime>,

    /// Addresses that may be loaded, as 10.0.0.5 or 10.0.0.0/24; repeatable. Loopback always may
    #[arg(long, value_name = "CIDR", value_parser = values::network, help_heading = "How it runs")]
    pub(crate) allow_target: Vec<Network>,

    /// The server's figures.
    #[command(flatten)]
    pub(crate) figures: FiguresFlags,

    /// The figures.
    #[command(flatten)]
    pub(crate) report: ReportFlags,

    /// Tell figures to Prometheus on this address, under /metrics: the generator's, and the server's as it reads them
    #[arg(long, value_name = "ADDR", help_heading = "What becomes of the figures")]
    pub(crate) prometheus: Option<SocketAddr>,

    /// The child of `run`: the listener for Prometheus, which was made outside of the lab.
    #[arg(long, hide = true, value_name = "FD")]
    pub(crate) prometheus_fd: Option<RawFd>,

    /// The child of `run`: stop when stdin closes, as on SIGINT.
    #[arg(long, hide = true)]
    pub(crate) until_stdin_closes: bool,

    /// What `run` did beforehand, for the report.
    #[arg(long, hide = true, value_name = "JSON", value_parser = Told::from_json)]
    pub(crate) told: Option<Told>,
}

const LOAD_EXAMPLES: &str = "\
Examples:
  throng load 127.0.0.1:7400 -c 10k -r 20k --server-admin 127.0.0.1:7401
  throng load 127.0.0.1:7 --protocol echo -c 100 -r 10k             any echo server
  throng load chat.example.com:7443 --tls --cacert ca.pem -c 10k    one that speaks TLS
  throng load 127.0.0.1:6379 --protocol connect -c 5k --server-pid $(pidof redis-server)
  throng load chat.example.com:7400 --allow-target 10.0.0.0/24 -c 50k
  throng load 10.0.0.5:7400 --part 1/2 --start-at 2026-01-31T09:30:00Z -c 2m ..    half of the users; 2/2 elsewhere

A load generator is a weapon against the wrong address. Loopback is always allowed; any other address must be named by
--allow-target, or by a line of ~/.config/throng/targets.";

/// `throng report`.
#[derive(Subcommand, Debug)]
pub(crate) enum ReportCommand {
    /// Print a run's summary
    Show {
        /// A run folder, or its summary.json
        #[arg(value_name = "RUN", required = true)]
        run: Vec<PathBuf>,
        /// Print summary.json as it is
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of summary.json
    Schema,
    /// Make one report of several generators that played the parts of a plan; judges the sum
    Merge {
        /// The run folders of all parts
        #[arg(value_name = "RUN", required = true)]
        run: Vec<PathBuf>,
        /// The folder of the sum
        #[arg(short = 'o', long, value_name = "DIR")]
        out: PathBuf,
        /// What must hold for a PASS [default: what had to hold for the parts]
        #[arg(long, value_name = "EXPR", value_parser = values::threshold)]
        threshold: Vec<Threshold>,
    },
    /// Say whether one thing is better than another, and how sure that is
    #[command(after_help = COMPARE_HELP)]
    Compare(CompareArgs),
    /// Make a run's report.html again: one file that opens without a network. Prints its path
    Html {
        /// A run folder, or its summary.json
        #[arg(value_name = "RUN", required = true)]
        run: Vec<PathBuf>,
        /// The page, of one run [default: RUN/report.html]
        #[arg(short = 'o', long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

/// `throng report compare`.
#[derive(Args, Debug)]
pub(crate) struct CompareArgs {
    /// What is compared with: a run folder, a folder of them, or (alone) what `run --against` left behind
    #[arg(value_name = "BASELINE")]
    pub(crate) baseline: PathBuf,

    /// What is judged
    #[arg(value_name = "CANDIDATE")]
    pub(crate) candidate: Option<PathBuf>,

    /// Compare although the runs differ in what must be equal; the differences then stand on top
    #[arg(long)]
    pub(crate) force: bool,

    /// How to print it
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,

    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,

    /// Make a page of it, too: one file that opens without a network
    #[arg(long, value_name = "FILE")]
    pub(crate) page: Option<PathBuf>,

    /// Which figures, and what follows.
    #[command(flatten)]
    pub(crate) judging: JudgingFlags,
}

/// How a comparison is printed.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For a terminal.
    Text,
    /// Everything, for programs.
    Json,
    /// A table for a pull request.
    Markdown,
    /// A row per metric.
    Csv,
    /// Bencher Metric Format.
    Bencher,
}

const COMPARE_HELP: &str = "\
A verdict takes 12 runs of each: six blocks of `throng run --against`, or folders of 12 runs each. With fewer the answer is `cannot
tell`. What is better or worse is so by the interval of the ratio, by more than the noise of this machine, and by a p-value that
is corrected for the number of metrics.

Exit codes: 0, or with --gate: 99 something is worse, 98 it cannot be told.";

/// `throng scenario`.
#[derive(Subcommand, Debug)]
pub(crate) enum ScenarioCommand {
    /// The names, each with a line about it
    List,
    /// A scenario as the TOML file that it is, to be copied and changed
    Show {
        /// The scenario's name
        name: String,
    },
}
