//! The machine's part of the schema: what both sides and the kernel spent, and on what.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The server: from its own accounts, or from /proc for a server that is not ours.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Server {
    /// CPU time in the window, user and system, all threads.
    pub cpu_s: Option<f64>,
    /// Messages delivered in the window per CPU-second of the server.
    pub messages_per_cpu_s: Option<f64>,
    /// Shards.
    pub shards: Option<u64>,
    /// Connections of the fullest shard by the average of all shards, while all were held: 1 is even, and the number of
    /// shards is the most.
    pub connections_skew: Option<f64>,
    /// How it talks to the kernel.
    pub backend: Option<Backend>,
    /// How long its kernel keeps a client back that has sent nothing, before it is accepted; 0 for not at all.
    pub defer_accept_s: Option<f64>,
    /// What its sockets are set to, by the names of the options (`SO_RCVBUF`); what is left to the kernel is missing.
    pub socket_options: BTreeMap<String, String>,
    /// User-space memory per established connection, all in: anonymous memory and rings, above those of a process that
    /// has started and holds neither pools nor rings. See `memory.rs`.
    pub user_bytes_per_connection: Option<f64>,
    /// Its busiest core in the window, 0 to 1.
    pub busiest_core: Option<f64>,
    /// Its cores, by number.
    pub cpus: Vec<u32>,
    /// Its own counters at the end of the run, by name.
    pub counters: BTreeMap<String, u64>,
}

/// A backend: what was asked for, what it became, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Backend {
    /// `auto`, or a name.
    pub requested: String,
    /// `io-uring` or `epoll`.
    pub active: String,
    /// Why that one, in words.
    pub reason: String,
}

/// The kernel under both sides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Kernel {
    /// Kernel memory in slab caches per end of an established connection, all in.
    pub bytes_per_connection: Option<f64>,
    /// Of that: beyond the socket itself, because somebody watches it. See `memory.rs`.
    pub extra_bytes_per_connection: Option<f64>,
    /// Counters that grew during the run, by as much. Names as nstat(8) prints them (`TcpRetransSegs`,
    /// `TcpExtListenOverflows`), and `softnet_processed`, `softnet_dropped`, `softnet_time_squeeze`; `nf_conntrack_drop`,
    /// `nf_conntrack_early_drop`; `psi_cpu_some_us` and the like: microseconds that somebody (`some`) or everybody (`full`) of the
    /// machine waited for it; `memory_max_reached`: times that a memory cgroup's limit was.
    pub counters: BTreeMap<String, i64>,
    /// The most that was seen at a time, looked at ten times a second: `sockstat_tcp_inuse`, `sockstat_tcp_orphan`, `sockstat_tcp_tw`,
    /// `sockstat_tcp_alloc`, `sockstat_tcp_mem` (pages), `file_nr` (open files), `nf_conntrack_count`. All but `inuse`, `tw` and the
    /// last are the whole machine's.
    pub peaks: BTreeMap<String, u64>,
    /// Growth of each slab cache that connections occupy, from before the run to its peak: whole slabs, in bytes.
    pub slab_bytes: BTreeMap<String, i64>,
}

/// A setting that held the run back, as the counters say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Detected {
    /// Its name, as `net.core.somaxconn`.
    pub knob: String,
    /// What was seen, with figures.
    pub text: String,
    /// What to set it to; `None` where setting it is not the remedy.
    pub value: Option<String>,
    /// What to do, as a command where there is one.
    pub remedy: String,
}

/// Encryption.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Tls {
    /// Handshakes that succeeded, of all users and over the whole run.
    pub sessions: u64,
    /// Of these: resumed from an earlier session, without a certificate.
    pub resumed: u64,
    /// `1.3`; several, with commas, where not everybody agreed on the same.
    pub version: String,
    /// The cipher suite, as IANA names it; several, with commas.
    pub suite: String,
    /// Whether users resumed where they could.
    pub resumption: bool,
    /// The server's user-space memory per session for encryption alone, while all connections were held.
    pub bytes_per_session: Option<f64>,
    /// Handshakes per second of the server's CPU, from before the first connection to while all were held: logins and all else that the
    /// server did then are in it.
    pub handshakes_per_cpu_s: Option<f64>,
    /// Users whose connection was kept whole by the TLS library when everybody was asked to leave, because the compact form could not serve.
    pub whole: u64,
}

/// The generator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Generator {
    /// `kernel` or `tun`.
    pub engine: String,
    /// How it talks to the kernel about sockets; `None` for `tun`, which has none.
    pub backend: Option<Backend>,
    /// With `tun`: what its TCP counted, by name.
    pub tcp: BTreeMap<String, u64>,
    /// Worker threads.
    pub threads: u64,
    /// CPU time in the window, user and system, all threads.
    pub cpu_s: Option<f64>,
    /// Its busiest core in the window, 0 to 1, all its threads on that core together.
    pub busiest_core: Option<f64>,
    /// The share of the window, 0 to 1, in which the thread with the least time to spare was running or waited for its core. A core whose
    /// thread waits is never idle, so it had at least as little.
    pub busiest_thread: Option<f64>,
    /// Time in the window that its threads were ready and waited for a core, all threads together.
    pub run_queue_delay_s: Option<f64>,
    /// User-space memory per user, all in, as the server's.
    pub user_bytes_per_user: Option<f64>,
    /// Its cores, by number.
    pub cpus: Vec<u32>,
    /// Latencies above the largest that a histogram holds (1 hour), recorded as that.
    pub clamped: u64,
    /// Connections that could not begin because no source port was free.
    pub ports_exhausted: u64,
    /// Connections that could not begin because no descriptor was free.
    pub descriptors_exhausted: u64,
    /// Connections that could not begin because epoll could not watch another one.
    pub watches_exhausted: u64,
    /// Connections that could not begin because the kernel gave no memory, for the socket or for another ring.
    pub memory_exhausted: u64,
}

/// Both sides together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Machine {
    /// CPU time of server and generator, with the kernel's part, per message delivered in the window.
    pub cpu_us_per_message: Option<f64>,
    /// Cores that are online.
    pub cores: u64,
    /// Seconds from boot to the run's begin: memory that nobody has touched since is slow the first time.
    pub uptime_s: Option<f64>,
    /// CPU time that the hypervisor took away in the window, as a share of all.
    pub steal_share: Option<f64>,
    /// Whether server and generator ran on some of the same cores.
    pub cores_shared: Option<bool>,
}

/// What must be equal for two runs to be comparable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Host {
    /// The kernel's release, as uname -r prints it.
    pub kernel: String,
    /// The kernel's command line.
    pub cmdline: String,
    /// The processor's name.
    pub cpu_model: String,
    /// Cores that are online.
    pub cores: u64,
    /// The machine's memory.
    pub memory_bytes: u64,
    /// Processor weaknesses and what the kernel does about each.
    pub mitigations: BTreeMap<String, String>,
    /// Limits of the process, by the names of setrlimit(2), such as `RLIMIT_NOFILE`.
    pub limits: BTreeMap<String, String>,
    /// Sysctls that matter, by their dotted names.
    pub sysctls: BTreeMap<String, String>,
    /// Where the packets went: `lab`, `host loopback`, or the target's address.
    pub network: String,
    /// The lab, where `throng run` wanted one.
    pub lab: Option<Lab>,
    /// Memory that was touched and given back before anything started: the first touch of a machine's memory is slow.
    pub prefaulted_bytes: u64,
    /// What was built.
    pub build: Build,
}

/// The private network namespace of a run. Sysctls of a namespace that are not listed have the kernel's defaults in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Lab {
    /// Whether there was one.
    pub made: bool,
    /// Whose rights it took: `root`, or `user` for a user namespace. Empty when there was none.
    pub kind: String,
    /// Why there was none; else empty.
    pub why: String,
    /// Sysctls that were set in it, by their dotted names.
    pub set: BTreeMap<String, String>,
    /// Sysctls that could not be set, and why not.
    pub refused: BTreeMap<String, String>,
}

/// The program itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Build {
    /// `release` or `debug`.
    pub profile: String,
    /// The commit that it was built from; empty when unknown.
    pub commit: String,
    /// The target triple.
    pub target: String,
    /// The compiler.
    pub rustc: String,
}
