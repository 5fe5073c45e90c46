//! Flags that say what the users do. They change the scenario's own values; what is not given stays as it says.

use std::time::Duration;

use clap::Args;
use throng_loadgen::{Overrides, Protocol, Reconnect};

use super::values;

/// What the users do.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "What the users do (over what the scenario says)")]
pub(crate) struct PlanFlags {
    /// Users, each with a connection [default: 1k]
    #[arg(short = 'c', long, value_name = "N", value_parser = values::positive)]
    pub(crate) connections: Option<u64>,

    /// Messages per second of all users together [default: 1k]
    #[arg(short = 'r', long, value_name = "N", value_parser = values::rate)]
    pub(crate) rate: Option<f64>,

    /// Messages per second of each user, instead of --rate
    #[arg(long, value_name = "N", value_parser = values::rate, conflicts_with = "rate")]
    pub(crate) rate_per_user: Option<f64>,

    /// Messages in flight per pair, each sent when the one before it arrives, instead of a rate
    ///
    /// A closed loop slows down with the server, so its latencies say little about what users would feel. Read it as
    /// the server's cost per message.
    #[arg(long, value_name = "W", value_parser = values::window, conflicts_with_all = ["rate", "rate_per_user"])]
    pub(crate) closed_loop: Option<u32>,

    /// The measured window alone, after ramp and warm-up [default: 10s]
    #[arg(short = 'd', long, value_name = "TIME", value_parser = values::time_above_zero)]
    pub(crate) duration: Option<Duration>,

    /// Traffic before the window that no latency is taken of [default: 2s]
    #[arg(short = 'w', long, value_name = "TIME", value_parser = values::time)]
    pub(crate) warmup: Option<Duration>,

    /// Bytes of one message's body [default: 100]
    #[arg(short = 's', long, value_name = "BYTES", value_parser = values::count)]
    pub(crate) size: Option<u64>,

    /// New connections per second, until all are there [default: 10k, or as many as take 20 s where that is more]
    #[arg(long, value_name = "N", value_parser = values::rate, conflicts_with = "stages")]
    pub(crate) connect_rate: Option<f64>,

    /// A ramp of connections, linear between its points: 30s:100k,60s:1m is 100k after 30 s, a million 60 s later
    #[arg(long, visible_alias = "stage", value_name = "TIME:N", value_parser = values::stage, value_delimiter = ',',
          conflicts_with = "connections")]
    pub(crate) stages: Vec<(Duration, u64)>,

    /// What is spoken: native (Throng's own: logins, acknowledgements, receipts), echo (every byte comes back: for any echo
    /// server), connect (connections are held and nothing is sent: for any TCP server)
    #[arg(long, value_name = "NAME", value_parser = values::protocol)]
    pub(crate) protocol: Option<Protocol>,

    /// How often an idle user says that it is still there; 0s for never
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub(crate) heartbeat: Option<Duration>,

    /// Share of the users that lose their connection in a reconnect-storm, all at one instant [default: 0.5]
    #[arg(long, value_name = "SHARE", value_parser = values::rate)]
    pub(crate) storm_share: Option<f64>,

    /// How users come back in a storm: at-once, or jittered (at a random instant of an exponential back-off) [default:
    /// jittered]
    #[arg(long, value_name = "HOW", value_parser = values::reconnect)]
    pub(crate) reconnect: Option<Reconnect>,

    /// The first back-off of a storm; it doubles with every repeat [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub(crate) reconnect_base: Option<Duration>,

    /// The longest back-off of a storm [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub(crate) reconnect_cap: Option<Duration>,

    /// Attempts that a user makes in a storm before it gives up [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=255))]
    pub(crate) reconnect_attempts: Option<u32>,

    /// The plan's seed: the same seed and flags are the same plan, message by message [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,

    /// Name messages that were accepted and never arrived, the first 1,024 of each thread, in missing.txt
    #[arg(long)]
    pub(crate) trace_ids: bool,
}

impl PlanFlags {
    /// What the flags set over a scenario.
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides {
            connections: self.connections,
            rate_per_s: self.rate,
            rate_per_user_per_s: self.rate_per_user,
            duration: self.duration,
            warmup: self.warmup,
            drain_limit: None,
            payload_bytes: self.size,
            connect_rate_per_s: self.connect_rate,
            stages: self.stages.clone(),
            heartbeat: self.heartbeat,
            closed_loop_window: self.closed_loop,
            protocol: self.protocol,
            seed: self.seed,
            storm_share: self.storm_share,
            reconnect: self.reconnect,
            reconnect_base: self.reconnect_base,
            reconnect_cap: self.reconnect_cap,
            reconnect_attempts: self.reconnect_attempts,
        }
    }
}
