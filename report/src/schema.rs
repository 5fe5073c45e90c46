//! What `summary.json` says, schema `throng.run/1`: the names, the units, and how old files still open.
//!
//! Three rules hold for every field:
//!
//! - The unit stands at the end of the name; a name without one is a count. `share` is 0 to 1.
//! - What was not measured is `null` (`None`), never 0 and never a guess. Numbers are finite.
//! - A reader ignores what it does not know and takes the default for what is missing, so fields may be added within
//!   schema 1. To rename or to redefine one makes schema 2.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod machine;
mod memory;
mod series;
mod storm;
mod traffic;

pub use machine::{Backend, Build, Detected, Generator, Host, Kernel, Lab, Machine, Server, Tls};
pub use memory::{Footprint, KernelMemory, MachineMemory, Memory, ProcessMemory, SlabGrowth};
pub use series::{Arm, Series};
pub use storm::{STORM_COUNTERS, Storm};
pub use traffic::{Connections, Heartbeats, Latencies, Latency, MessageWindow, Messages, PlanFacts};

/// The part of the schema's name that never changes.
pub const SCHEMA_FAMILY: &str = "throng.run/";
/// The version that this build writes, and the newest that it reads.
pub const SCHEMA_VERSION: u32 = 1;

/// The schema's whole name, as it stands in the file.
pub fn schema_name() -> String {
    format!("{SCHEMA_FAMILY}{SCHEMA_VERSION}")
}

/// Everything that one run found out.
///
/// `Default` is a run of which nothing is known yet, under the current schema; its verdict is INVALID.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Summary {
    /// `throng.run/1`.
    pub schema: String,
    /// The version of the Throng that made the run.
    pub throng_version: String,
    /// When the run began, RFC 3339 in UTC.
    pub started_utc: String,
    /// What the user called the run: `--label k=v`.
    pub label: BTreeMap<String, String>,
    /// Its place among others that were made together; `None` for a run of its own.
    pub series: Option<Series>,
    /// What the run amounts to; see [`crate::judge`].
    pub verdict: Verdict,
    /// Why it is not a pass, the weightiest first; empty for a pass.
    pub reasons: Vec<Reason>,
    /// What a reader of the figures should know and what does not change the verdict.
    pub warnings: Vec<String>,
    /// The user's thresholds and how they came out.
    pub thresholds: Vec<ThresholdResult>,
    /// The limits beyond which a run is INVALID.
    pub validity: Validity,
    /// What happened to the run itself.
    pub incidents: Incidents,
    /// What was to be done.
    pub plan: PlanFacts,
    /// What became of the connections.
    pub connections: Connections,
    /// The storm of connections; `None` for a run without.
    pub storm: Option<Storm>,
    /// What became of the messages.
    pub messages: Messages,
    /// How long things took.
    pub latency_us: Latencies,
    /// The server; `None` when nothing is known of it.
    pub server: Option<Server>,
    /// Heartbeats over the whole run.
    pub heartbeats: Heartbeats,
    /// The kernel under both sides.
    pub kernel: Kernel,
    /// Settings that held the run back, as counters say.
    pub detected: Vec<Detected>,
    /// Encryption; `None` for a run without.
    pub tls: Option<Tls>,
    /// The generator.
    pub generator: Generator,
    /// Both sides together.
    pub machine: Machine,
    /// Where the bytes of the connections are.
    pub memory: Memory,
    /// What must be equal for two runs to be comparable.
    pub host: Host,
}

impl Default for Summary {
    fn default() -> Self {
        Summary {
            schema: schema_name(),
            throng_version: String::new(),
            started_utc: String::new(),
            label: BTreeMap::new(),
            series: None,
            verdict: Verdict::default(),
            reasons: Vec::new(),
            warnings: Vec::new(),
            thresholds: Vec::new(),
            validity: Validity::default(),
            incidents: Incidents::default(),
            plan: PlanFacts::default(),
            connections: Connections::default(),
            storm: None,
            messages: Messages::default(),
            latency_us: Latencies::default(),
            server: None,
            heartbeats: Heartbeats::default(),
            kernel: Kernel::default(),
            detected: Vec::new(),
            tls: None,
            generator: Generator::default(),
            machine: Machine::default(),
            memory: Memory::default(),
            host: Host::default(),
        }
    }
}

impl Summary {
    /// Reads a `summary.json` of any schema up to [`SCHEMA_VERSION`].
    ///
    /// # Errors
    /// [`SchemaError`], which names what was found and what to do.
    pub fn from_json(text: &str) -> Result<Summary, SchemaError> {
        let value: serde_json::Value = serde_json::from_str(text).map_err(SchemaError::NotJson)?;
        let schema = value.get("schema").and_then(serde_json::Value::as_str).unwrap_or_default();
        let Some(version) = schema.strip_prefix(SCHEMA_FAMILY).and_then(|digits| digits.parse::<u32>().ok())
        else {
            return Err(SchemaError::NotARun { found: schema.to_owned() });
        };
        if version > SCHEMA_VERSION {
            let made_by =
                value.get("throng_version").and_then(serde_json::Value::as_str).unwrap_or("unknown");
            return Err(SchemaError::Newer { version, made_by: made_by.to_owned() });
        }
        serde_json::from_value(value).map_err(SchemaError::Field)
    }

    /// The JSON Schema of `summary.json`, from these types.
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(Summary).to_value()
    }

    /// The text of `summary.json`: indented, keys in the order of this type, one newline at the end.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("strings, numbers and string-keyed maps");
        text.push('\n');
        text
    }
}

/// Why a text is not a summary that this build understands.
#[derive(Debug)]
pub enum SchemaError {
    /// Not JSON at all, or cut short.
    NotJson(serde_json::Error),
    /// JSON, but not a run's summary.
    NotARun {
        /// What stands under `schema`; empty when nothing does.
        found: String,
    },
    /// Written by a Throng that knows more than this one.
    Newer {
        /// The file's schema version.
        version: u32,
        /// The version of the Throng that wrote it.
        made_by: String,
    },
    /// A known field holds something of another type.
    Field(serde_json::Error),
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SchemaError::NotJson(_) => {
                f.write_str("is not complete JSON; the run may have been cut off while writing")
            }
            SchemaError::NotARun { found } if found.is_empty() => {
                f.write_str("is not a run's summary: it has no \"schema\"")
            }
            SchemaError::NotARun { found } => {
                write!(f, "is not a run's summary: its schema is \"{found}\", not \"{}\"", schema_name())
            }
            SchemaError::Newer { version, made_by } => write!(
                f,
                "made by a newer Throng ({made_by}): schema {version}, while this one reads up to {SCHEMA_VERSION}; \
                 open it with that version or a later one"
            ),
            SchemaError::Field(_) => {
                f.write_str("has a field of an unexpected type; it was edited or damaged")
            }
        }
    }
}

impl std::error::Error for SchemaError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SchemaError::NotJson(source) | SchemaError::Field(source) => Some(source),
            SchemaError::NotARun { .. } | SchemaError::Newer { .. } => None,
        }
    }
}

/// What a run amounts to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything held.
    Pass,
    /// The server did not do what was asked of it.
    Fail,
    /// Something other than the server was measured. The default: what nobody judged is no pass.
    #[default]
    Invalid,
}

impl Verdict {
    /// The exit code of a command that ends with this verdict.
    pub fn exit_code(self) -> u8 {
        match self {
            Verdict::Pass => 0,
            Verdict::Fail => 99,
            Verdict::Invalid => 98,
        }
    }

    /// As it is printed: `PASS`, `FAIL`, `INVALID`.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "PASS",
            Verdict::Fail => "FAIL",
            Verdict::Invalid => "INVALID",
        }
    }
}

/// One reason against a pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Reason {
    /// What the reason argues for: FAIL or INVALID.
    pub verdict: Verdict,
    /// A stable name for programs, such as `messages_lost`.
    pub code: String,
    /// A sentence for people, with the figures.
    pub text: String,
}

/// How one threshold came out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ThresholdResult {
    /// As the user wrote it.
    pub text: String,
    /// Whether it held.
    pub outcome: Outcome,
    /// What was measured, in the metric's own unit: microseconds for a latency, else as the field of this schema.
    pub measured: Option<f64>,
}

/// Whether a threshold held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The measured value keeps to it.
    Holds,
    /// The measured value breaks it.
    Broken,
    /// There is no value: not measured, or too few samples for that percentile. Makes the run INVALID.
    #[default]
    NoData,
}

/// The limits beyond which something other than the server was measured. For open loops only.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Validity {
    /// Send lag (p99) that is always allowed, in microseconds.
    pub send_lag_p99_us_floor: f64,
    /// Send lag (p99) that is allowed as a share of the planned-to-delivered p99, when that is more than the floor.
    pub send_lag_p99_share_max: f64,
    /// How many of the plan's messages in the window may lack an attempt, as a share.
    pub attempts_short_share_max: f64,
    /// Connect lag (p99) that is always allowed, in microseconds.
    pub connect_lag_p99_us_floor: f64,
    /// Connect lag (p99) that is allowed as a share of the connect p99, when that is more than the floor.
    pub connect_lag_p99_share_max: f64,
}

impl Validity {
    /// The send lag that is allowed where the 99th percentile from planned to delivered is `p99_us`.
    pub fn send_lag_allowed_us(&self, p99_us: Option<f64>) -> f64 {
        self.send_lag_p99_us_floor.max(self.send_lag_p99_share_max * p99_us.unwrap_or(0.0))
    }
}

impl Default for Validity {
    fn default() -> Self {
        Validity {
            send_lag_p99_us_floor: 1000.0,
            send_lag_p99_share_max: 0.1,
            attempts_short_share_max: 0.01,
            connect_lag_p99_us_floor: 10_000.0,
            connect_lag_p99_share_max: 0.1,
        }
    }
}

impl Incidents {
    /// Whether the run was ended before its plan was done, for a reason that is not the server's.
    pub fn was_cut_short(&self) -> bool {
        self.interrupted || self.memory_guard.is_some()
    }
}

/// What happened to the run itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Incidents {
    /// Somebody stopped the run before its plan was done.
    pub interrupted: bool,
    /// The memory guard stopped the ramp, and with it the run; how short memory was, in words and figures.
    pub memory_guard: Option<String>,
    /// The server ended by itself during the run, and how, in words.
    pub server_died: Option<String>,
    /// The generator ended the run because nobody was let in any more; how that looked, in words and figures.
    pub server_gone: Option<String>,
    /// The generator's own account does not add up, and how: a mistake in Throng.
    pub accounting_error: Option<String>,
    /// Sysctls that changed during the run: `name: before -> after`.
    pub sysctls_changed: Vec<String>,
}
