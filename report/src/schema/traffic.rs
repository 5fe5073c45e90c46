//! The traffic's part of the schema: what was planned, and what became of connections and messages.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was to be done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PlanFacts {
    /// The scenario's name.
    pub scenario: String,
    /// `native`, `echo` or `connect`.
    pub protocol: String,
    /// The seed that the plan grew from.
    pub seed: u64,
    /// The plan's hash: equal hashes are equal plans.
    pub hash: String,
    /// Users.
    pub connections: u64,
    /// Messages per second of all users together; `None` for a closed loop and for a plan without messages.
    pub rate_per_s: Option<f64>,
    /// Length of the measured window, without ramp, warm-up and drain.
    pub duration_s: f64,
    /// Traffic before the window that no latency is taken of.
    pub warmup_s: f64,
    /// Bytes of one message's body.
    pub payload_bytes: u64,
    /// Messages in flight per pair; `None` for an open loop.
    pub closed_loop_window: Option<u64>,
    /// Its messages are a roll call: one of each user after the window, in which nobody writes.
    pub roll_call: bool,
    /// Which part of the plan this generator played, as `1/4`; `None` for all of it.
    pub part: Option<String>,
}

impl PlanFacts {
    /// Whether the plan sends messages at all.
    pub fn has_messages(&self) -> bool {
        self.is_closed_loop() || self.rate_per_s.is_some_and(|rate| rate > 0.0)
    }

    /// Whether a message waits for an earlier one.
    pub fn is_closed_loop(&self) -> bool {
        self.closed_loop_window.is_some()
    }
}

/// What became of the connections, over the whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Connections {
    /// Connections that the plan holds at its height.
    pub target: u64,
    /// Connected and, where the protocol has it, logged in: each user once, so without those who came back after a storm.
    pub established: u64,
    /// Attempts that did not get that far and were not repeated. In a storm users try again, so it counts those who gave up,
    /// also of a connection that they had before; [`Storm::failed_attempts_by_cause`](super::Storm::failed_attempts_by_cause) has every attempt.
    pub failed: u64,
    /// Established ones that ended and the plan had not asked for it.
    pub lost: u64,
    /// Connections that ended because the plan had everybody leave; without those that a storm closed.
    pub closed_by_plan: u64,
    /// At most so many were established at one time: the sum of what each worker had at its own height, and those need not
    /// have been at one time.
    pub peak: u64,
    /// Established per second from the first planned instant to the last one established; `None` when nothing was.
    pub connect_rate_per_s: Option<f64>,
    /// What the plan's ramp promises: connections per second over its whole length; `None` for a storm of logins, in which all
    /// have the same planned instant.
    pub planned_connect_rate_per_s: Option<f64>,
    /// Connections that were begun late because as many as may be under way at once were: the server took its time to let
    /// them in.
    pub held_back: u64,
    /// Attempts that the server turned away by an answer of its own. Of `failed`, but for a storm: there those count, too, that
    /// were repeated.
    pub refused_by_server: u64,
    /// `failed` by cause, as `ECONNREFUSED` or `login refused`.
    pub failed_by_cause: BTreeMap<String, u64>,
    /// `lost` by cause.
    pub lost_by_cause: BTreeMap<String, u64>,
}

/// What became of the messages. The fields here are of the whole run, from the first message of the warm-up to the end
/// of the drain; `window` and the two rates are of the measured window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Messages {
    /// Messages of the plan. In a closed loop: moments at which the window allowed one.
    pub planned: u64,
    /// Messages that the generator set out to send, whether or not the socket took them at once.
    pub attempted: u64,
    /// Messages that were handed to the event loop; `sent = accepted + refused + unknown`.
    pub sent: u64,
    /// Messages that the server took responsibility for. With a protocol that has no such promise: delivered ones.
    pub accepted: u64,
    /// Messages that the server declined, by an answer of its own.
    pub refused: u64,
    /// Messages without an answer when the drain ended, or whose connection died before it.
    pub unknown: u64,
    /// Of `unknown`: those whose connection died, so that no answer could come.
    pub unknown_connection_died: u64,
    /// Messages that arrived, each counted once.
    pub delivered: u64,
    /// Accepted messages that did not arrive.
    pub lost: u64,
    /// `lost` and `duplicated` are known only to be at least so many.
    pub lost_is_lower_bound: bool,
    /// Messages that a user was shown more than once.
    pub duplicated: u64,
    /// Deliveries on the wire beyond the first that were recognised as repeats and not shown. Not a fault.
    pub repeated: u64,
    /// Messages that arrived after a later one of the same sender.
    pub reordered: u64,
    /// Whose order and repeats were checked: `every user`, or the sample in words.
    pub order_checked: String,
    /// Messages whose body or size was not what was sent.
    pub corrupted: u64,
    /// Of `attempted`: those that could not be written before the end, because the server took others too slowly or
    /// let the user go. They have no latency: whoever reads one must look here, too.
    pub unsent: u64,
    /// Answers and deliveries that belong to no message: the server made them up, or gave them to the wrong user.
    pub strays: u64,
    /// Delivered per second of the window.
    pub rate_per_s: Option<f64>,
    /// Accepted per second of the window.
    pub accepted_rate_per_s: Option<f64>,
    /// The measured window alone.
    pub window: MessageWindow,
}

/// The measured window alone. A message belongs to it by its planned instant (`planned`, `attempted`), else by the
/// instant at which the thing itself happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MessageWindow {
    /// When it began, in seconds of the Unix epoch; absent where there was none, or where nobody wrote it down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begins_unix_s: Option<f64>,
    /// How long the window was in fact.
    pub duration_s: f64,
    /// Messages that the plan has in the window.
    pub planned: u64,
    /// Of `planned`: those that were attempted, however late, before the window's end.
    pub attempted: u64,
    /// Handed to the event loop within the window.
    pub sent: u64,
    /// Accepted within the window.
    pub accepted: u64,
    /// Delivered within the window.
    pub delivered: u64,
}

/// How long things took, in microseconds. Messages of the measured window only; connecting over the whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Latencies {
    /// From the instant that the plan set to the delivery: what a user would have felt.
    pub planned_to_delivered: Latency,
    /// From handing the message to the event loop to the delivery: the server and the network, and what the loop still
    /// had to do before its next system call.
    pub written_to_delivered: Latency,
    /// From the planned instant to the attempt: the generator's own lateness.
    pub send_lag: Latency,
    /// From the planned instant of a connection to its beginning: the generator's own lateness. Counts from the moment at which
    /// there was room for one that [`Connections::held_back`] counts.
    pub connect_lag: Latency,
    /// From the planned instant of a connection to its being connected.
    pub connect: Latency,
    /// From the planned instant of a connection to the end of its TLS handshake; empty without TLS.
    pub handshake: Latency,
    /// From the planned instant of a connection to the answer to its login; empty for a protocol without one.
    pub login: Latency,
}

/// A distribution in microseconds. `None`: no samples, or fewer than `10 / (1 - p)` for the percentile p.
///
/// Values carry three significant digits: each is the upper end of its bucket, at most 0.1 % above what was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Latency {
    /// Samples.
    pub count: u64,
    /// The smallest.
    pub min: Option<f64>,
    /// The arithmetic mean.
    pub mean: Option<f64>,
    /// Half of the samples are at most this; from 20 samples on.
    pub p50: Option<f64>,
    /// From 100 samples on.
    pub p90: Option<f64>,
    /// From 200 samples on.
    pub p95: Option<f64>,
    /// From 1,000 samples on.
    pub p99: Option<f64>,
    /// 99.9 %, from 10,000 samples on.
    pub p999: Option<f64>,
    /// 99.99 %, from 100,000 samples on.
    pub p9999: Option<f64>,
    /// The largest.
    pub max: Option<f64>,
}

impl Latency {
    /// The p99, or with too few samples for it the highest percentile below: when that is late already, so is the p99.
    pub(crate) fn highest_percentile(&self) -> Option<(&'static str, f64)> {
        let percentiles = [("p99", self.p99), ("p95", self.p95), ("p90", self.p90), ("p50", self.p50)];
        percentiles.into_iter().find_map(|(name, value)| Some((name, value?)))
    }
}

/// Heartbeats over the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Heartbeats {
    /// Those that came due for a user who was logged in. One that came due while the one before had no answer is not sent,
    /// and counts: the server kept it from being sent. The one that was unanswered on a connection that a storm closed does
    /// not count.
    pub due: u64,
    /// Of those: sent and answered.
    pub answered: u64,
}
