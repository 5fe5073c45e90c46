//! How the runs of two arms belong together, and what each way of it has as evidence.

use std::collections::BTreeMap;

use super::{BLOCKS_MIN, CONFIDENCE, Quiet, RUNS_MIN, is_of_a_duet, log, noise};
use crate::metric::Metric;
use crate::schema::{Summary, Verdict};
use crate::stats::{
    Block, Interval, mann_whitney_p, median, median_difference_interval, median_interval, permutation_p,
};

/// The runs of a block: of the baseline and of the candidate.
type Runs<'a> = [Vec<&'a Summary>; 2];

/// The runs that count, as they belong together.
pub(super) enum Design<'a> {
    /// Runs of both arms in turn.
    Blocks(Vec<Runs<'a>>),
    /// Blocks of one run of each, made at the same time on the same cores: whatever slows the machine slows both.
    Duets(Vec<Runs<'a>>),
    /// No matter when.
    Samples(Vec<&'a Summary>, Vec<&'a Summary>),
}

/// What the figures say of a ratio, as logarithms.
pub(super) struct Evidence {
    /// The ratio.
    pub(super) centre: Option<f64>,
    /// Its interval.
    pub(super) interval: Option<Interval>,
    /// How likely so much of it is by chance.
    pub(super) p: f64,
}

impl<'a> Design<'a> {
    /// The second figure: blocks that were left out.
    pub(super) fn of(
        baseline: &[&'a Summary],
        candidate: &[&'a Summary],
        one_series: bool,
    ) -> (Design<'a>, u64) {
        let is_valid = |run: &&&Summary| run.verdict != Verdict::Invalid;
        if !one_series {
            let valid = |runs: &[&'a Summary]| runs.iter().filter(is_valid).copied().collect();
            return (Design::Samples(valid(baseline), valid(candidate)), 0);
        }
        let mut blocks = BTreeMap::<u64, Runs<'a>>::new();
        for (arm, runs) in [baseline, candidate].into_iter().enumerate() {
            for run in runs {
                let block = run.series.as_ref().map_or(0, |series| series.block);
                blocks.entry(block).or_default()[arm].push(run);
            }
        }
        let all = blocks.len();
        let is_whole = |block: &Runs<'_>| {
            block.iter().all(|runs| !runs.is_empty() && runs.iter().all(|run| is_valid(&run)))
        };
        let whole: Vec<_> = blocks.into_values().filter(is_whole).collect();
        let left_out = (all - whole.len()) as u64;
        let is_duet = !baseline.is_empty() && baseline.iter().chain(candidate).all(|run| is_of_a_duet(run));
        (if is_duet { Design::Duets(whole) } else { Design::Blocks(whole) }, left_out)
    }

    /// Its blocks; `None` without.
    pub(super) fn blocks(&self) -> Option<u64> {
        match self {
            Design::Blocks(blocks) | Design::Duets(blocks) => Some(blocks.len() as u64),
            Design::Samples(..) => None,
        }
    }

    /// Whether they are duets.
    pub(super) fn is_duet(&self) -> bool {
        matches!(self, Design::Duets(_))
    }

    /// The runs of an arm that count, in the order of time.
    pub(super) fn arm(&self, arm: usize) -> Vec<&'a Summary> {
        match self {
            Design::Blocks(blocks) | Design::Duets(blocks) => {
                blocks.iter().flat_map(|block| block[arm].iter().copied()).collect()
            }
            Design::Samples(baseline, candidate) => [baseline, candidate][arm].clone(),
        }
    }

    /// How many runs of each arm are missing for a verdict, and what there is, in words.
    pub(super) fn too_few(&self) -> Option<(u64, String)> {
        let (missing, why) = match self {
            Design::Blocks(blocks) => (
                2 * BLOCKS_MIN.saturating_sub(blocks.len()),
                format!("{} of {BLOCKS_MIN} blocks", blocks.len()),
            ),
            Design::Duets(duets) => {
                (RUNS_MIN.saturating_sub(duets.len()), format!("{} of {RUNS_MIN} duets", duets.len()))
            }
            Design::Samples(baseline, candidate) => (
                RUNS_MIN.saturating_sub(baseline.len().min(candidate.len())),
                format!("{} and {} of {RUNS_MIN} runs", baseline.len(), candidate.len()),
            ),
        };
        (missing > 0).then_some((missing as u64, why))
    }

    /// What is to be said of a metric that every run has; `logs` are those of its figures, by arm.
    pub(super) fn evidence(&self, metric: Metric, logs: &[Vec<f64>; 2]) -> Evidence {
        match self {
            Design::Blocks(blocks) | Design::Duets(blocks) => {
                let blocks = figures(blocks, metric);
                let mut ratios: Vec<f64> = blocks.iter().map(Block::log_ratio).collect();
                Evidence {
                    centre: middle(&mut ratios),
                    interval: median_interval(&ratios, CONFIDENCE),
                    p: permutation_p(&blocks),
                }
            }
            Design::Samples(..) => {
                let [baseline, candidate] = logs;
                let centre = middle(&mut candidate.clone()).zip(middle(&mut baseline.clone()));
                Evidence {
                    centre: centre.map(|(candidate, baseline)| candidate - baseline),
                    interval: median_difference_interval(baseline, candidate, CONFIDENCE),
                    p: mann_whitney_p(baseline, candidate),
                }
            }
        }
    }

    /// The logarithm of the ratio that this machine makes of nothing; `known` are A/A blocks from elsewhere.
    pub(super) fn noise_floor(&self, metric: Metric, logs: &[Vec<f64>; 2], known: &[Quiet]) -> Option<f64> {
        if let Design::Duets(duets) = self {
            // Runs that shared their cores tell nothing of runs that did not, nor the other way round.
            let ratios: Vec<f64> = figures(duets, metric).iter().map(Block::log_ratio).collect();
            return noise::floor_of_duets(&ratios);
        }
        let mut quiet: Vec<Quiet> = logs.iter().flat_map(|logs| noise::blocks(logs)).collect();
        // A series is learned from when it ends, and may be compared again afterwards.
        let elsewhere: Vec<Quiet> = known.iter().filter(|known| !quiet.contains(known)).copied().collect();
        quiet.extend(elsewhere);
        noise::floor(&quiet)
    }
}

/// The logarithms of a metric, block by block.
fn figures(blocks: &[Runs<'_>], metric: Metric) -> Vec<Block> {
    let of = |runs: &[&Summary]| runs.iter().filter_map(|run| log(metric, run)).collect();
    let block = |[baseline, candidate]: &Runs<'_>| Block { baseline: of(baseline), candidate: of(candidate) };
    blocks.iter().map(block).collect()
}

/// The median; `None` of nothing.
fn middle(values: &mut [f64]) -> Option<f64> {
    (!values.is_empty()).then(|| median(values))
}
