//! What came of a sweep: which values help, which hurt, and which do nothing.

use std::collections::BTreeMap;

use serde::Serialize;
use throng_report::Metric;
use throng_report::Summary;
use throng_report::compare::{
    CompareError, Compared, Comparison, Judgement, Quiet, Runs, compare, correct_together,
};

use super::Trial;

/// The schema of [`Outcome`] as JSON.
pub const SCHEMA: &str = "throng.sweep/1";

/// A trial with what is to be said of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ranked {
    /// What was tried.
    pub trial: Trial,
    /// Against things as they are: all figures.
    pub comparison: Comparison,
}

/// The runs of a trial, and those that they are compared with.
#[derive(Clone, Debug)]
pub struct Tried {
    /// What was tried.
    pub trial: Trial,
    /// Runs of things as they are.
    pub as_it_is: Vec<Summary>,
    /// Runs of the trial.
    pub runs: Vec<Summary>,
}

/// Everything that a sweep found, the largest effect first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// [`SCHEMA`].
    pub schema: String,
    /// The plan's scenario.
    pub scenario: String,
    /// Whether it ended before its last round.
    pub is_cut_short: bool,
    /// The trials.
    pub trials: Vec<Ranked>,
}

impl Ranked {
    /// The figure that says most: of those that differ the one that differs most, else the one that comes nearest to it.
    pub fn headline(&self) -> Option<&Compared> {
        let figures = self.comparison.metrics.iter().filter(|metric| metric.ratio.is_some());
        figures.max_by(|a, b| weight(a).total_cmp(&weight(b)))
    }
}

/// How much a figure says: those that differ before all others.
fn weight(compared: &Compared) -> f64 {
    let by = compared.ratio.map_or(0.0, |ratio| ratio.ln().abs());
    match compared.judgement {
        Judgement::Better | Judgement::Worse => 1e3 + by,
        Judgement::NoDifference | Judgement::CannotTell => by,
    }
}

impl Outcome {
    /// Compares the runs of each trial with those of things as they are. `noise` is what is known of the machine.
    ///
    /// # Errors
    /// The runs have no figure in common.
    pub fn of(
        tried: Vec<Tried>,
        metrics: &[Metric],
        noise: &BTreeMap<String, Vec<Quiet>>,
    ) -> Result<Outcome, CompareError> {
        let run = tried.iter().find_map(|tried| tried.as_it_is.first());
        let scenario = run.map_or_else(String::new, |run| run.plan.scenario.clone());
        let mut names = Vec::new();
        let mut comparisons = Vec::new();
        for Tried { trial, as_it_is, runs } in tried {
            let baseline = Runs { name: "as it is", runs: &as_it_is };
            let candidate = Runs { name: &trial.name(), runs: &runs };
            comparisons.push(compare(baseline, candidate, metrics, noise, true)?);
            names.push(trial);
        }
        correct_together(&mut comparisons);
        let both = names.into_iter().zip(comparisons);
        let mut trials: Vec<Ranked> = both.map(|(trial, comparison)| Ranked { trial, comparison }).collect();
        let weight_of = |ranked: &Ranked| ranked.headline().map_or(0.0, weight);
        trials.sort_by(|a, b| weight_of(b).total_cmp(&weight_of(a)));
        Ok(Outcome { schema: SCHEMA.to_owned(), scenario, is_cut_short: false, trials })
    }

    /// The trials that make something better and nothing worse.
    pub fn helpful(&self) -> impl Iterator<Item = &Trial> {
        let helps = |ranked: &&Ranked| ranked.comparison.judgement == Judgement::Better;
        self.trials.iter().filter(helps).map(|ranked| &ranked.trial)
    }

    /// The sweep as text.
    pub fn render(&self) -> String {
        let ending = if self.trials.len() == 1 { "" } else { "s" };
        let mut text = format!("{}: {} trial{ending}", self.scenario, self.trials.len());
        if self.is_cut_short {
            text.push_str(", cut short: with --resume it goes on");
        }
        text.push_str("\n\n");
        for ranked in &self.trials {
            let judgement = ranked.comparison.judgement.words();
            text.push_str(&format!("{:<52} {judgement}\n", ranked.trial.name()));
            for metric in &ranked.comparison.metrics {
                let interval = match (metric.ratio_low, metric.ratio_high) {
                    (Some(low), Some(high)) => format!("{low:.3} to {high:.3}"),
                    _ => "-".to_owned(),
                };
                let ratio = metric.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"));
                let smallest = metric
                    .smallest_seen_share
                    .filter(|_| metric.judgement == Judgement::NoDifference)
                    .map_or_else(String::new, |share| format!(", {:.1} % would have been", 100.0 * share));
                text.push_str(&format!(
                    "  {:<34} {ratio:>7} ({interval})  {}{smallest}\n",
                    metric.metric,
                    metric.judgement.words()
                ));
                if !metric.why.is_empty() {
                    text.push_str(&format!("  {:<34} {}\n", "", metric.why));
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use throng_report::schema::{Arm, Series, Server, Verdict};

    use super::super::round;
    use super::*;

    /// Runs of six rounds, in which trial `n` makes the server so many times as good.
    fn sweep(effects: &[f64]) -> Outcome {
        let mut runs = vec![Vec::new(); effects.len() + 1];
        let mut number = 0;
        for at in 1..=6 {
            for turn in round(at, effects.len()) {
                number += 1;
                let better = turn.trial.map_or(1.0, |trial| effects[trial]);
                let noise = 1.0 + 0.004 * f64::from(number * 7919 % 13);
                let mut run = Summary { verdict: Verdict::Pass, ..Summary::default() };
                run.plan.scenario = "pairs".to_owned();
                run.plan.rate_per_s = Some(1.0);
                run.server =
                    Some(Server { messages_per_cpu_s: Some(1e5 * better * noise), ..Server::default() });
                run.series = Some(Series {
                    id: "one".to_owned(),
                    arm: if turn.trial.is_some() { Arm::Candidate } else { Arm::Baseline },
                    block: at,
                    number: number as u64,
                    ..Series::default()
                });
                runs[turn.trial.map_or(0, |trial| trial + 1)].push(run);
            }
        }
        let mut runs = runs.into_iter();
        let as_it_is = runs.next().unwrap();
        let tried = runs.enumerate().map(|(at, runs)| Tried {
            trial: Trial { knobs: vec![("k".into(), at.to_string())] },
            as_it_is: as_it_is.clone(),
            runs,
        });
        Outcome::of(tried.collect(), &[], &BTreeMap::new()).unwrap()
    }

    #[test]
    fn the_largest_effect_ranks_first_and_what_helps_is_told_apart() {
        let outcome = sweep(&[1.0, 0.6, 1.001, 1.2]);
        let ranked: Vec<(String, Judgement)> =
            outcome.trials.iter().map(|ranked| (ranked.trial.name(), ranked.comparison.judgement)).collect();
        assert_eq!(ranked[0], ("k=1".to_owned(), Judgement::Worse));
        assert_eq!(ranked[1], ("k=3".to_owned(), Judgement::Better));
        assert!(ranked[2..].iter().all(|one| one.1 == Judgement::NoDifference), "{ranked:?}");
        assert_eq!(outcome.helpful().map(Trial::name).collect::<Vec<_>>(), ["k=3"]);
        let text = outcome.render();
        assert!(text.contains("no difference seen, ") && text.contains("% would have been"), "{text}");
    }
}
