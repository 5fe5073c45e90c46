//! What the users do, as a TOML file: defaults that the command line overrides.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::Reconnect;

/// What users do with their connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// User 2k+1 and user 2k+2 write to each other, at random instants and in random turns. In a closed loop user 2k+1 alone
    /// writes.
    Pairs,
    /// Users stay connected. At the end each writes one message to its partner, evenly spaced.
    Idle,
    /// As [`Kind::Idle`], and everybody connects at the first instant.
    LoginStorm,
    /// As [`Kind::Idle`], and between the hold and the messages a share of the users lose their connection at one instant and
    /// come back.
    ReconnectStorm,
}

impl Kind {
    /// Whether users are quiet until each writes one message at the end.
    pub fn has_roll_call(self) -> bool {
        self != Kind::Pairs
    }

    /// Whether many users connect at one instant.
    pub fn is_storm(self) -> bool {
        matches!(self, Kind::LoginStorm | Kind::ReconnectStorm)
    }
}

/// What is spoken on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Throng's own.
    Native,
    /// Bytes that the server sends back as they are: for any TCP echo server.
    Echo,
    /// Nothing: the connection is held.
    Connect,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Native => "native",
            Protocol::Echo => "echo",
            Protocol::Connect => "connect",
        })
    }
}

impl std::str::FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "native" => Ok(Protocol::Native),
            "echo" => Ok(Protocol::Echo),
            "connect" => Ok(Protocol::Connect),
            other => Err(format!("unknown protocol `{other}`: use native, echo or connect")),
        }
    }
}

/// One stage of a ramp in a scenario file.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageLine {
    /// How long the stage takes.
    pub lasts_s: f64,
    /// Connections at its end.
    pub reaches: u64,
}

/// A scenario: the defaults of a plan. Keys that a file leaves out have the values given here.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The file's stem, or the name of a shipped one.
    #[serde(skip)]
    pub name: String,
    /// One line for people.
    #[serde(default)]
    pub about: String,
    /// What the users do. Required.
    pub kind: Kind,
    /// What is spoken; `native`.
    #[serde(default = "default::protocol")]
    pub protocol: Protocol,
    /// Users; 1000.
    #[serde(default = "default::connections")]
    pub connections: u64,
    /// Messages per second of all users together; 1000. With `idle`: of the messages at the end.
    #[serde(default = "default::rate_per_s")]
    pub rate_per_s: f64,
    /// Length of the measured window; 10.
    #[serde(default = "default::duration_s")]
    pub duration_s: f64,
    /// Traffic before it that is not measured; 2.
    #[serde(default = "default::warmup_s")]
    pub warmup_s: f64,
    /// How long messages under way are waited for at the end; 10.
    #[serde(default = "default::drain_limit_s")]
    pub drain_limit_s: f64,
    /// Bytes of a message's body; 100.
    #[serde(default = "default::payload_bytes")]
    pub payload_bytes: u64,
    /// Connections per second; without it 10,000, or as many as bring everybody in 20 s where that is more. Not together with
    /// `stages`.
    pub connect_rate_per_s: Option<f64>,
    /// A ramp in several stages.
    #[serde(default)]
    pub stages: Vec<StageLine>,
    /// Seconds between two heartbeats of a user; 0 for none; 240.
    #[serde(default = "default::heartbeat_s")]
    pub heartbeat_s: f64,
    /// Messages in flight per pair, instead of a rate.
    pub closed_loop_window: Option<u32>,
    /// Share of the users that lose their connection in a `reconnect-storm`; 0.5.
    pub storm_share: Option<f64>,
    /// How users come back in a storm: `at-once` or `jittered`, which is the default.
    pub reconnect: Option<Reconnect>,
    /// Seconds of the first back-off in a storm; it doubles with every repeat; 1.
    pub reconnect_base_s: Option<f64>,
    /// Seconds of the longest back-off in a storm; 60.
    pub reconnect_cap_s: Option<f64>,
    /// Attempts that a user makes in a storm before it gives up; 8.
    pub reconnect_attempts: Option<u32>,
}

/// What a scenario file may leave out.
mod default {
    use super::Protocol;

    pub(super) fn protocol() -> Protocol {
        Protocol::Native
    }
    pub(super) fn connections() -> u64 {
        1000
    }
    pub(super) fn rate_per_s() -> f64 {
        1000.0
    }
    pub(super) fn duration_s() -> f64 {
        10.0
    }
    pub(super) fn warmup_s() -> f64 {
        2.0
    }
    pub(super) fn drain_limit_s() -> f64 {
        crate::limits::DRAIN_LIMIT.as_secs_f64()
    }
    pub(super) fn payload_bytes() -> u64 {
        100
    }
    pub(super) fn heartbeat_s() -> f64 {
        240.0
    }
}

/// A scenario that comes with the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shipped {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its file.
    pub text: &'static str,
}

/// The scenarios that come with the program; the first is the default.
pub fn shipped() -> &'static [Shipped] {
    &[
        Shipped { name: "pairs", text: include_str!("../scenarios/pairs.toml") },
        Shipped { name: "idle", text: include_str!("../scenarios/idle.toml") },
        Shipped { name: "login-storm", text: include_str!("../scenarios/login-storm.toml") },
        Shipped { name: "reconnect-storm", text: include_str!("../scenarios/reconnect-storm.toml") },
    ]
}

/// The scenario of this name, or in the file of this path. A name without `/` and `.toml` is a shipped one.
///
/// # Errors
/// [`ScenarioError`]: no such scenario, an unreadable file, or a bad line in it.
pub fn load(name_or_path: &str) -> Result<Scenario, ScenarioError> {
    if let Some(shipped) = shipped().iter().find(|shipped| shipped.name == name_or_path) {
        return Scenario::parse(shipped.name, shipped.text);
    }
    let path = Path::new(name_or_path);
    let is_path = name_or_path.contains('/') || path.extension().is_some_and(|end| end == "toml");
    if !is_path {
        return Err(ScenarioError::UnknownName(name_or_path.to_owned()));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|source| ScenarioError::Unreadable { file: name_or_path.to_owned(), source })?;
    let mut scenario = Scenario::parse(name_or_path, &text)?;
    if let Some(stem) = path.file_stem() {
        scenario.name = stem.to_string_lossy().into_owned();
    }
    Ok(scenario)
}

impl Scenario {
    /// Reads a scenario's text. `file` names it in errors, and the scenario itself.
    ///
    /// # Errors
    /// [`ScenarioError::BadLine`].
    pub fn parse(file: &str, text: &str) -> Result<Scenario, ScenarioError> {
        let bad = |line, what: String| ScenarioError::BadLine { file: file.to_owned(), line, what };
        let mut scenario: Scenario = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            bad(line, error.message().to_owned())
        })?;
        file.clone_into(&mut scenario.name);
        let mut times = vec![
            ("duration_s", scenario.duration_s),
            ("warmup_s", scenario.warmup_s),
            ("drain_limit_s", scenario.drain_limit_s),
            ("heartbeat_s", scenario.heartbeat_s),
        ];
        let optional =
            [("reconnect_base_s", scenario.reconnect_base_s), ("reconnect_cap_s", scenario.reconnect_cap_s)];
        times.extend(optional.into_iter().filter_map(|(key, value)| Some((key, value?))));
        times.extend(scenario.stages.iter().map(|stage| ("lasts_s", stage.lasts_s)));
        for (key, value) in times {
            if seconds(value).is_none() {
                let line = text.lines().position(|line| line.trim_start().starts_with(key)).map(|at| at + 1);
                return Err(bad(line, format!("`{key}` is {value}: a time in seconds, 0 or more")));
            }
        }
        Ok(scenario)
    }
}

/// A time in seconds; `None` when no time can be that long (negative, not a number, more than 31 years).
pub(crate) fn seconds(value: f64) -> Option<Duration> {
    const SECONDS_MAX: f64 = 1e9;
    if value <= SECONDS_MAX { Duration::try_from_secs_f64(value).ok() } else { None }
}

/// Why there is no scenario.
#[derive(Debug)]
pub enum ScenarioError {
    /// Neither a shipped name nor a path.
    UnknownName(String),
    /// The file cannot be read.
    Unreadable {
        /// Which.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file says something that a scenario does not.
    BadLine {
        /// Which file.
        file: String,
        /// The line, from 1, when it is known.
        line: Option<usize>,
        /// What is wrong, with the key.
        what: String,
    },
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScenarioError::UnknownName(name) => {
                write!(f, "no scenario `{name}`: use ")?;
                for shipped in shipped() {
                    write!(f, "{}, ", shipped.name)?;
                }
                f.write_str("or a path that ends in .toml")
            }
            ScenarioError::Unreadable { file, .. } => write!(f, "cannot read the scenario {file}"),
            ScenarioError::BadLine { file, line: Some(line), what } => write!(f, "{file}:{line}: {what}"),
            ScenarioError::BadLine { file, line: None, what } => write!(f, "{file}: {what}"),
        }
    }
}

impl std::error::Error for ScenarioError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ScenarioError::Unreadable { source, .. } => Some(source),
            ScenarioError::UnknownName(_) | ScenarioError::BadLine { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_scenario_makes_a_plan_as_it_is() {
        for shipped in shipped() {
            let scenario = load(shipped.name).unwrap();
            assert!(!scenario.about.is_empty(), "{}", shipped.name);
            crate::Plan::new(&scenario, &crate::Overrides::default()).unwrap();
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_file_and_line() {
        let error = Scenario::parse("mine.toml", "kind = \"pairs\"\n\nrates = 5\n").unwrap_err().to_string();
        assert!(error.starts_with("mine.toml:3:") && error.contains("rates"), "{error}");
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named_with_its_line() {
        let error =
            Scenario::parse("mine.toml", "kind = \"pairs\"\nconnections = \"many\"").unwrap_err().to_string();
        assert!(error.starts_with("mine.toml:2:"), "{error}");
    }

    #[test]
    fn a_time_below_zero_is_named_with_its_line() {
        let error = Scenario::parse("mine.toml", "kind = \"idle\"\nwarmup_s = -1.0").unwrap_err().to_string();
        assert!(error.starts_with("mine.toml:2:") && error.contains("warmup_s"), "{error}");
    }

    #[test]
    fn an_unknown_name_lists_what_there_is() {
        let error = load("pears").unwrap_err().to_string();
        assert!(error.contains("pairs") && error.contains("idle"), "{error}");
        assert!(matches!(load("./pears.toml"), Err(ScenarioError::Unreadable { .. })));
    }
}
