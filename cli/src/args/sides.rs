//! Flags that say how server and generator run, shared by every command that starts one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use throng_loadgen::Network;
use throng_reactor::{Requested, SocketOptions};
use throng_report::Threshold;
use throng_report::schema::Validity;

use super::values::{self, Cores};

/// How Throng talks to the kernel, on either side.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "How it runs")]
pub(crate) struct BackendFlag {
    /// How to talk to the kernel: io-uring, epoll, or auto (io-uring where the kernel passes a check, else epoll). A
    /// backend asked for by name never falls back
    #[arg(long, value_name = "NAME", value_parser = values::backend, default_value = "auto")]
    pub(crate) backend: Requested,
}

/// How the server runs.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "How it runs")]
pub(crate) struct ServerFlags {
    /// Shards, each a thread with a listener of its own [default: one per core; with epoll more where the limit on open
    /// files forces it, since each has a table of descriptors of its own]
    #[arg(long, value_name = "N", value_parser = values::positive)]
    pub(crate) shards: Option<u64>,

    /// Cores for the server, as 0-3,8
    #[arg(long, value_name = "LIST", value_parser = values::cores)]
    pub(crate) serve_cpus: Option<Cores>,

    /// How long a client that connected and says nothing is left to the kernel (TCP_DEFER_ACCEPT), in whole seconds; 0s: every
    /// client is accepted at once, for about a fifth fewer logins per second [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub(crate) defer_accept: Option<Duration>,

    /// How many clients may wait at each listener to be accepted; net.core.somaxconn cuts it [default: 65535]
    #[arg(long, value_name = "N", value_parser = values::positive)]
    pub(crate) listen_backlog: Option<u64>,

    /// Bytes of each connection's receive queue (SO_RCVBUF), which the kernel doubles [default: the kernel sizes it by need]
    #[arg(long, value_name = "BYTES", value_parser = values::socket_bytes)]
    pub(crate) rcvbuf: Option<u32>,

    /// Bytes of each connection's send queue (SO_SNDBUF), which the kernel doubles [default: the kernel sizes it by need]
    #[arg(long, value_name = "BYTES", value_parser = values::socket_bytes)]
    pub(crate) sndbuf: Option<u32>,

    /// Bytes not yet sent beyond which a connection is not writable (TCP_NOTSENT_LOWAT) [default: net.ipv4.tcp_notsent_lowat]
    #[arg(long, value_name = "BYTES", value_parser = values::socket_bytes)]
    pub(crate) notsent_lowat: Option<u32>,

    /// How long data may go unacknowledged before a connection is given up (TCP_USER_TIMEOUT) [default: net.ipv4.tcp_retries2]
    #[arg(long, value_name = "TIME", value_parser = values::time_above_zero)]
    pub(crate) user_timeout: Option<Duration>,

    /// How long a receive looks at the network card's queue before it sleeps (SO_BUSY_POLL); takes CAP_NET_ADMIN [default:
    /// net.core.busy_read]
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub(crate) busy_poll: Option<Duration>,

    /// Makes every shard sleep this long per turn: a slow server on purpose
    #[arg(long, value_name = "TIME", value_parser = values::time, hide = true)]
    pub(crate) delay_per_turn: Option<Duration>,

    /// Makes every shard compute this long per message: a server that costs more on purpose
    #[arg(long, value_name = "TIME", value_parser = values::time, hide = true)]
    pub(crate) work_per_message: Option<Duration>,
}

impl ServerFlags {
    /// How its sockets are set; what no flag says is as in `default`.
    pub(crate) fn sockets(&self, default: SocketOptions) -> SocketOptions {
        SocketOptions {
            backlog: self
                .listen_backlog
                .map_or(default.backlog, |most| u32::try_from(most).unwrap_or(u32::MAX)),
            defer_accept: self.defer_accept.unwrap_or(default.defer_accept),
            recv_buffer_bytes: self.rcvbuf.or(default.recv_buffer_bytes),
            send_buffer_bytes: self.sndbuf.or(default.send_buffer_bytes),
            notsent_lowat_bytes: self.notsent_lowat.or(default.notsent_lowat_bytes),
            user_timeout: self.user_timeout.or(default.user_timeout),
            busy_poll: self.busy_poll.or(default.busy_poll),
        }
    }
}

/// The generator's engines.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum EngineName {
    /// Sockets of the kernel's.
    #[default]
    Kernel,
    /// TCP in user space over TUN devices.
    Tun,
}

/// How the generator runs.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "How it runs")]
pub(crate) struct GeneratorFlags {
    /// Generator threads [default: one per core of the generator; with epoll more where the limit on open files forces it]
    #[arg(short = 't', long, value_name = "N", value_parser = values::positive)]
    pub(crate) threads: Option<u64>,

    /// Cores for the generator, as 0-3,8
    #[arg(long, value_name = "LIST", value_parser = values::cores)]
    pub(crate) load_cpus: Option<Cores>,

    /// How connections are made: kernel (a socket for each user), or tun (TCP in user space over a TUN device: a user costs no
    /// kernel memory)
    #[arg(long, value_name = "NAME", default_value = "kernel")]
    pub(crate) engine: EngineName,

    /// Addresses that connections come from, as 10.0.0.0/24 [default: enough of 127.0.0.0/8 for a target on loopback, else
    /// the kernel's choice; with --engine tun 198.18.0.0/15]
    #[arg(long, value_name = "CIDR", value_parser = values::network)]
    pub(crate) source_ip: Option<Network>,

    /// Write the first packets of the users to this file, for tcpdump or Wireshark; with --engine tun alone
    #[arg(long, value_name = "FILE")]
    pub(crate) capture: Option<PathBuf>,

    /// How many packets to write there
    #[arg(long, value_name = "N", value_parser = values::positive, default_value = "100k", requires = "capture")]
    pub(crate) capture_packets: u64,

    /// Memory to leave to everybody else on the generator's machine, as 512m or 2g. When less can be had, the ramp stops, everybody
    /// leaves, and the run is INVALID; 0 for no such guard [default: 512 MiB, or 3 % of the machine's memory where that is
    /// more]
    #[arg(long, value_name = "BYTES", value_parser = values::count)]
    pub(crate) memory_reserve: Option<u64>,

    /// Try although the machine does not fit the plan
    #[arg(long)]
    pub(crate) force: bool,
}

/// What becomes of the figures.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "What becomes of the figures")]
pub(crate) struct ReportFlags {
    /// What must hold for a PASS, as 'p99<50ms'; repeatable. A bare pNN is planned-to-delivered latency
    #[arg(long, value_name = "EXPR", value_parser = values::threshold)]
    pub(crate) threshold: Vec<Threshold>,

    /// How late the generator may be (p99 of the send lag) before a run is INVALID; a tenth of the p99 measured is always
    /// allowed [default: 1ms]
    #[arg(long, value_name = "TIME", value_parser = values::time_above_zero)]
    pub(crate) send_lag_max: Option<Duration>,

    /// A name for the run, as build=abc123; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::label)]
    pub(crate) label: Vec<(String, String)>,

    /// The run folder [default: throng-runs/TIME-SCENARIO, TIME in UTC]
    #[arg(short = 'o', long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Print summary.json on stdout, and nothing else there; the run folder's path then goes to stderr
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) json: bool,

    /// No progress and no summary: only the run folder's path
    #[arg(short = 'q', long)]
    pub(crate) quiet: bool,

    /// Lines of progress also where a terminal could show the live screen
    #[arg(long)]
    pub(crate) no_tui: bool,

    /// A run of a search: show the live screen, whose first line is this, and nothing else.
    #[arg(long, hide = true, requires = "quiet", value_name = "TEXT")]
    pub(crate) heading: Option<String>,
}

impl ReportFlags {
    /// What decides whether the server was what was measured.
    pub(crate) fn validity(&self) -> Validity {
        let mut validity = Validity::default();
        if let Some(lag) = self.send_lag_max {
            validity.send_lag_p99_us_floor = lag.as_secs_f64() * 1e6;
        }
        validity
    }
}

/// Where the server's own figures come from.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Where the server's figures come from")]
pub(crate) struct FiguresFlags {
    /// The admin address of a `throng serve`: its CPU time, memory and counters then stand in the report
    #[arg(long, value_name = "ADDR", conflicts_with = "server_pid")]
    pub(crate) server_admin: Option<SocketAddr>,

    /// The process of any server on this machine: CPU time and memory from /proc
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Option<u32>,
}
