//! What is known of machines' noise: kept in a file between comparisons, so that each of them has more to go by.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Quiet, default_metrics, fingerprint, in_time, is_of_a_duet, log, noise};
use crate::schema::{Summary, Verdict};

/// The schema of the file.
const SCHEMA: &str = "throng.noise/1";
/// A/A blocks that are kept for a metric of a configuration: the newest.
const BLOCKS_MAX: usize = 120;
/// Configurations that are kept: those used last.
const CONFIGURATIONS_MAX: usize = 200;

/// A/A blocks by configuration and metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KnownNoise {
    schema: String,
    /// The one that was used last stands last.
    configurations: Vec<Configuration>,
}

/// One machine with one plan, as far as runs on it are comparable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Configuration {
    fingerprint: String,
    blocks: BTreeMap<String, Vec<Quiet>>,
}

impl Default for KnownNoise {
    fn default() -> KnownNoise {
        KnownNoise { schema: SCHEMA.to_owned(), configurations: Vec::new() }
    }
}

impl KnownNoise {
    /// Reads the file.
    ///
    /// # Errors
    /// It is not one, or of a newer version; in words.
    pub fn from_json(text: &str) -> Result<KnownNoise, String> {
        let known: KnownNoise = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if known.schema == SCHEMA {
            Ok(known)
        } else {
            Err(format!("its schema is {}, not {SCHEMA}", known.schema))
        }
    }

    /// The text of the file.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and finite numbers")
    }

    /// What is known where runs like this one are made: A/A blocks by metric.
    pub fn of(&self, run: &Summary) -> BTreeMap<String, Vec<Quiet>> {
        let fingerprint = fingerprint::key(run);
        let known = self.configurations.iter().find(|known| known.fingerprint == fingerprint);
        known.map(|known| known.blocks.clone()).unwrap_or_default()
    }

    /// Learns from the runs of one arm, which are of one configuration and were made in one series. Only those that PASS teach
    /// anything: what breaks is no noise of the machine's. Those of duets shared their cores, and teach nothing of others.
    pub fn learn(&mut self, runs: &[Summary]) {
        let runs: Vec<&Summary> = in_time(runs)
            .into_iter()
            .filter(|run| run.verdict == Verdict::Pass && !is_of_a_duet(run))
            .collect();
        let Some(first) = runs.first() else { return };
        let fingerprint = fingerprint::key(first);
        if runs.iter().any(|run| fingerprint::key(run) != fingerprint) {
            return;
        }
        let at = self.configurations.iter().position(|known| known.fingerprint == fingerprint);
        let mut known = match at {
            Some(at) => self.configurations.remove(at),
            None => Configuration { fingerprint, ..Configuration::default() },
        };
        for metric in default_metrics(&runs, &runs) {
            let figures: Option<Vec<f64>> = runs.iter().map(|run| log(metric, run)).collect();
            let Some(figures) = figures else { continue };
            let blocks = known.blocks.entry(metric.to_string()).or_default();
            blocks.extend(noise::blocks(&figures));
            blocks.drain(..blocks.len().saturating_sub(BLOCKS_MAX));
        }
        self.configurations.push(known);
        let old = self.configurations.len().saturating_sub(CONFIGURATIONS_MAX);
        self.configurations.drain(..old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(kernel: &str, count: usize) -> Vec<Summary> {
        let run = |at: usize| {
            let mut run = Summary { verdict: Verdict::Pass, ..Summary::default() };
            run.plan.rate_per_s = Some(1.0);
            kernel.clone_into(&mut run.host.kernel);
            run.latency_us.planned_to_delivered.p99 = Some(100.0 + at as f64);
            run.started_utc = format!("{at:04}");
            run
        };
        (0..count).map(run).collect()
    }

    #[test]
    fn what_was_learned_is_known_again_and_for_nobody_else() {
        let mut known = KnownNoise::default();
        known.learn(&runs("6.18", 9));
        let known = KnownNoise::from_json(&known.to_json()).unwrap();
        let blocks = known.of(&runs("6.18", 1)[0]);
        assert_eq!(blocks.keys().collect::<Vec<_>>(), ["planned_to_delivered.p99"]);
        assert_eq!(blocks["planned_to_delivered.p99"].len(), 2, "nine runs are two blocks");
        assert_eq!(blocks["planned_to_delivered.p99"][0][3], 103_f64.ln());
        assert!(known.of(&runs("6.12", 1)[0]).is_empty());
    }

    #[test]
    fn nothing_grows_without_end_and_only_runs_that_pass_teach_anything() {
        let mut known = KnownNoise::default();
        for kernel in 0..CONFIGURATIONS_MAX + 5 {
            known.learn(&runs(&kernel.to_string(), 4));
        }
        assert_eq!(known.configurations.len(), CONFIGURATIONS_MAX);
        assert!(known.of(&runs("0", 1)[0]).is_empty(), "the oldest is gone");
        for _ in 0..BLOCKS_MAX {
            known.learn(&runs("7", 8));
        }
        assert_eq!(known.of(&runs("7", 1)[0])["planned_to_delivered.p99"].len(), BLOCKS_MAX);
        let before = known.clone();
        for verdict in [Verdict::Invalid, Verdict::Fail] {
            let mut broken = runs("8", 4);
            broken.iter_mut().for_each(|run| run.verdict = verdict);
            known.learn(&broken);
            assert_eq!(known, before);
        }
    }

    #[test]
    fn a_file_that_is_none_is_told() {
        assert!(KnownNoise::from_json("{").is_err());
        let newer = r#"{"schema": "throng.noise/2", "configurations": []}"#;
        assert!(KnownNoise::from_json(newer).unwrap_err().contains("throng.noise/2"));
    }
}
