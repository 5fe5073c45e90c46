//! A storm's part of the schema: many users connect at one instant, and how long it takes until all of them are in.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Latency;

/// Counters of the kernel that a report of a storm shows even when they did not move.
pub const STORM_COUNTERS: [&str; 4] =
    ["TcpExtListenOverflows", "TcpExtListenDrops", "TcpExtTCPSynRetrans", "TcpRetransSegs"];

/// A storm of connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Storm {
    /// `login`: everybody connects for the first time. `reconnect`: a share of the users lost their connection at one instant.
    pub kind: String,
    /// How an attempt is made and repeated: `at-once` or `jittered`.
    pub reconnect: String,
    /// The window of the first back-off, in seconds; it doubles with every repeat.
    pub backoff_base_s: f64,
    /// The largest window of a back-off, in seconds.
    pub backoff_cap_s: f64,
    /// Attempts that a user makes before it gives up.
    pub attempts_max: u64,
    /// Users in the storm: everybody, or those whose connection the plan closed.
    pub users: u64,
    /// Of those: connected and, where the protocol has it, logged in.
    pub back: u64,
    /// Of those: not in when they had made all of their attempts, or when the run ended.
    pub never_back: u64,
    /// Connections begun in the storm.
    pub attempts: u64,
    /// Of those: after the first one of their user had failed.
    pub repeats: u64,
    /// Attempts that failed, repeated or not, by cause.
    pub failed_attempts_by_cause: BTreeMap<String, u64>,
    /// From the first planned instant (login) or the instant at which the connections were closed (reconnect) to the moment at
    /// which the last user was in; `None` when nobody was.
    pub last_back_after_s: Option<f64>,
    /// From the planned instant of an attempt to its beginning: the generator's own lateness.
    pub connect_lag_us: Latency,
    /// From the planned instant of a user's first attempt to its being connected.
    pub connect_us: Latency,
    /// From the planned instant of a user's first attempt to the end of its TLS handshake; empty without TLS.
    pub handshake_us: Latency,
    /// From the planned instant of a user's first attempt to the answer to its login; empty for a protocol without one.
    pub login_us: Latency,
}
