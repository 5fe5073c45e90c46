//! Who takes part: what to start, and where its figures stand.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// What every contestant has to do.
#[derive(Clone, Debug)]
pub struct Load {
    /// Pairs: a sender and a recipient each.
    pub pairs: usize,
    /// Messages in flight per pair.
    pub window: usize,
    /// Bytes of a body.
    pub size: usize,
    /// Length of the measured part, in seconds.
    pub seconds: u64,
    /// What goes before it, in seconds.
    pub warmup_seconds: u64,
}

/// One of those who are compared.
#[derive(Clone, Debug)]
pub enum Contestant {
    /// The raw relay.
    Floor {
        /// `throng-floor`.
        program: PathBuf,
    },
    /// A Redis server that runs already.
    Redis {
        /// `throng-floor`, which brings the load.
        program: PathBuf,
        /// Where it listens.
        address: SocketAddr,
    },
    /// `throng run`.
    Throng {
        /// `throng`.
        program: PathBuf,
        /// Backend, as `--backend` takes it.
        backend: String,
        /// Server threads.
        shards: usize,
        /// Further arguments.
        arguments: Vec<String>,
        /// Where the run folder goes; removed after each run.
        folder: PathBuf,
    },
}

/// Figures of one measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Messages with an outcome per second of the clock; of Throng, those that were delivered (in a closed loop the same).
    pub messages_per_s: f64,
    /// The same per second of the server's CPU.
    pub messages_per_cpu_s: f64,
    /// What a run judged of itself; `None` where there is no judge.
    pub verdict: Option<String>,
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Contestant::Floor { .. } => f.write_str("raw relay"),
            Contestant::Redis { .. } => f.write_str("redis"),
            Contestant::Throng { backend, shards, .. } => write!(f, "throng {backend}, shards: {shards}"),
        }
    }
}

impl Contestant {
    /// Program and arguments.
    pub fn command(&self, load: &Load) -> Vec<String> {
        let Load { pairs, window, size, seconds, warmup_seconds } = load;
        let path = |program: &Path| program.display().to_string();
        let floor_load = format!(
            "--pairs {pairs} --window {window} --size {size} --seconds {seconds} --warmup-seconds {warmup_seconds}"
        );
        let split = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        match self {
            Contestant::Floor { program } => {
                [vec![path(program)], split(format!("run {floor_load}"))].concat()
            }
            Contestant::Redis { program, address } => {
                [vec![path(program)], split(format!("redis {address} --cpu 1 {floor_load}"))].concat()
            }
            Contestant::Throng { program, backend, shards, arguments, folder } => {
                let connections = 2 * pairs;
                let words = format!(
                    "run pairs -c {connections} -s {size} --closed-loop {window} -d {seconds}s -w {warmup_seconds}s \
                     --backend {backend} --shards {shards} --out"
                );
                [vec![path(program)], split(words), vec![path(folder)], arguments.clone()].concat()
            }
        }
    }

    /// Runs it once.
    ///
    /// # Errors
    /// In words: it cannot be started, failed, or left no figures.
    pub fn measure(&self, load: &Load) -> Result<Sample, String> {
        let command = self.command(load);
        let output = Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cannot start {}: {error}", command[0]))?;
        match self {
            Contestant::Floor { .. } | Contestant::Redis { .. } => {
                let line = serde_json::from_slice(&output.stdout).map_err(|_| complaint(&output))?;
                floor_sample(&line)
            }
            Contestant::Throng { folder, .. } => {
                // FAIL and INVALID are exit codes of their own and leave a summary; a run that broke leaves none.
                let summary = fs::read(folder.join("summary.json")).map_err(|_| complaint(&output));
                // What cannot be removed is in the way of the next run, which says so.
                let _ = fs::remove_dir_all(folder);
                let summary =
                    serde_json::from_slice(&summary?).map_err(|error| format!("summary.json: {error}"))?;
                throng_sample(&summary)
            }
        }
    }
}

fn floor_sample(line: &Value) -> Result<Sample, String> {
    Ok(Sample {
        messages_per_s: number(line, "/messages_per_s")?,
        messages_per_cpu_s: number(line, "/server_messages_per_cpu_s")?,
        verdict: None,
    })
}

fn throng_sample(summary: &Value) -> Result<Sample, String> {
    Ok(Sample {
        messages_per_s: number(summary, "/messages/rate_per_s")?,
        messages_per_cpu_s: number(summary, "/server/messages_per_cpu_s")?,
        verdict: summary.get("verdict").and_then(Value::as_str).map(str::to_owned),
    })
}

fn number(value: &Value, pointer: &str) -> Result<f64, String> {
    let found = value.pointer(pointer).and_then(Value::as_f64);
    found.filter(|&number| number > 0.0).ok_or_else(|| format!("no figure at {pointer}"))
}

/// Why a program left no figures: its last line on stderr.
fn complaint(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let last = stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing on stderr");
    format!("{}: {last}", output.status)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_come_from_the_places_that_the_programs_write() {
        let line = json!({"server": "floor", "messages_per_s": 5.0, "server_messages_per_cpu_s": 7.0});
        let sample = floor_sample(&line).unwrap();
        assert_eq!((sample.messages_per_s, sample.messages_per_cpu_s), (5.0, 7.0));
        let summary = json!({
            "verdict": "invalid", "messages": {"rate_per_s": 5.5}, "server": {"messages_per_cpu_s": 7}
        });
        let sample = throng_sample(&summary).unwrap();
        assert_eq!((sample.messages_per_s, sample.messages_per_cpu_s), (5.5, 7.0));
        assert_eq!(sample.verdict.as_deref(), Some("invalid"));
    }

    #[test]
    fn a_figure_that_is_missing_or_null_is_named() {
        let summary = json!({"messages": {"rate_per_s": 5.5}, "server": {"messages_per_cpu_s": null}});
        assert_eq!(throng_sample(&summary).unwrap_err(), "no figure at /server/messages_per_cpu_s");
    }

    #[test]
    fn a_program_that_breaks_is_quoted() {
        let program = PathBuf::from("/bin/false");
        let load = Load { pairs: 1, window: 1, size: 1, seconds: 1, warmup_seconds: 0 };
        let error = Contestant::Floor { program }.measure(&load).unwrap_err();
        assert_eq!(error, "exit status: 1: nothing on stderr");
    }
}
