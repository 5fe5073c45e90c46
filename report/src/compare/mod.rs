//! Whether one thing is better than another: fresh runs of both, and what may be said of them.
//!
//! The unit is a run. Runs of a series ([`Series`](crate::schema::Series)) were made in blocks, each with runs of both arms, so that
//! what the machine did meanwhile is in both; a duet is a block whose two runs were made at the same time on the same cores. Others are two
//! samples. A verdict on a metric wants twelve runs of each, in six blocks at least, and then all of these:
//!
//! - the 95 % interval of the ratio excludes 1 (the exact bootstrap, over blocks or over runs);
//! - the effect is larger than the noise floor of this very machine, and than what anybody cares for (2 %, latencies 5 %);
//! - the p-value, corrected for the number of metrics (Holm), is at most 0.05 (exact: the rank-sum test within blocks, or of two samples).
//!
//! No run is dropped for its figure. Runs that are INVALID measured something else: their block, or they, are left out, and the
//! comparison says so.

mod design;
mod export;
mod fingerprint;
mod known;
mod noise;
mod text;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

pub use export::{to_bencher, to_csv, to_markdown};
pub use fingerprint::Difference;
pub(crate) use fingerprint::differences;
pub use known::KnownNoise;
pub use noise::Quiet;
pub(crate) use text::remarks;
pub use text::render;

use crate::metric::{Better, Metric, Unit};
use crate::schema::{Arm, Summary, Verdict};
use crate::stats::{Interval, holm, median, more_often_p};

use design::{Design, Evidence};

/// The schema of [`Comparison`] as JSON.
pub const SCHEMA: &str = "throng.comparison/1";
/// Blocks without which there is no verdict.
pub const BLOCKS_MIN: usize = noise::SET_BLOCKS;
/// Runs of each arm without which there is no verdict.
pub const RUNS_MIN: usize = 2 * BLOCKS_MIN;

const CONFIDENCE: f64 = 0.95;
const P_MAX: f64 = 0.05;
/// Effects that nobody cares for, as shares of the baseline.
const EFFECT_MIN: f64 = 0.02;
const EFFECT_MIN_LATENCY: f64 = 0.05;
/// With fewer connections what they share is most of what each seems to cost.
const CONNECTIONS_MIN: u64 = 10_000;

/// What may be said of one metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// The candidate is better.
    Better,
    /// The candidate is worse.
    Worse,
    /// Whatever difference there may be, it is too small to be seen.
    NoDifference,
    /// There are too few runs, or figures.
    CannotTell,
}

impl Judgement {
    /// As it is printed.
    pub fn words(self) -> &'static str {
        match self {
            Judgement::Better => "better",
            Judgement::Worse => "WORSE",
            Judgement::NoDifference => "no difference seen",
            Judgement::CannotTell => "cannot tell",
        }
    }
}

/// One metric of both arms.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// Its name, as `--metric` takes it.
    pub metric: String,
    /// Whether more of it is better.
    pub higher_is_better: bool,
    /// What may be said.
    pub judgement: Judgement,
    /// Why nothing can be told, in words; else empty.
    pub why: String,
    /// With so many runs more of each arm something could be.
    pub more_runs: Option<u64>,
    /// The figures of the baseline's runs, in the order of time, in the unit of the metric.
    pub baseline: Vec<f64>,
    /// The figures of the candidate's.
    pub candidate: Vec<f64>,
    /// Median of the baseline's.
    pub baseline_median: Option<f64>,
    /// Median of the candidate's.
    pub candidate_median: Option<f64>,
    /// Candidate by baseline: the median of the blocks' ratios, or the ratio of the medians.
    pub ratio: Option<f64>,
    /// The lower end of its 95 % interval.
    pub ratio_low: Option<f64>,
    /// The upper end.
    pub ratio_high: Option<f64>,
    /// The p-value before correction.
    pub p: Option<f64>,
    /// The p-value after it.
    pub p_holm: Option<f64>,
    /// The noise floor, as a share.
    pub noise_floor_share: Option<f64>,
    /// The smallest effect that would have been called one, as a share: above floor, minimum, and half the interval.
    pub smallest_seen_share: Option<f64>,
    #[serde(skip)]
    unit: Unit,
}

impl Compared {
    /// What its figures count.
    pub fn unit(&self) -> Unit {
        self.unit
    }
}

/// What one arm is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ArmFacts {
    /// Where its runs are, as the user named it.
    pub name: String,
    /// All its runs.
    pub runs: u64,
    /// Of those: FAIL.
    pub failed: u64,
    /// Of those: INVALID, and left out with their blocks.
    pub invalid: u64,
    /// Versions and commits of its runs.
    pub builds: Vec<String>,
}

/// Everything about two arms.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// [`SCHEMA`].
    pub schema: String,
    /// What is judged, over all metrics.
    pub judgement: Judgement,
    /// The plan's scenario.
    pub scenario: String,
    /// What is compared with.
    pub baseline: ArmFacts,
    /// What is judged.
    pub candidate: ArmFacts,
    /// Complete blocks of valid runs; `None` where the runs are of no series.
    pub blocks: Option<u64>,
    /// Whether the blocks are duets.
    pub is_duet: bool,
    /// Blocks that were left out, since a run of theirs was INVALID.
    pub blocks_left_out: u64,
    /// In what they differ besides their commits.
    pub differences: Vec<Difference>,
    /// Whether the two arms are of one series, so that they differ in what their user wanted to compare.
    pub one_series: bool,
    /// Metric by metric.
    pub metrics: Vec<Compared>,
}

/// Why two arms cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompareError {
    /// They differ in what must be equal.
    Differ(Vec<Difference>),
    /// No metric was asked for, and the runs have none in common.
    NothingInCommon,
}

impl fmt::Display for CompareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CompareError::Differ(differences) => {
                write!(f, "these runs are not comparable (--force compares them all the same):")?;
                for difference in differences {
                    write!(f, "\n  {}", text::difference(difference))?;
                }
                Ok(())
            }
            CompareError::NothingInCommon => {
                f.write_str("the two arms have no figure in common: name one with --metric")
            }
        }
    }
}

impl std::error::Error for CompareError {}

/// One arm: its name, and its runs.
#[derive(Clone, Copy, Debug)]
pub struct Runs<'a> {
    /// As the user named it.
    pub name: &'a str,
    /// In any order.
    pub runs: &'a [Summary],
}

/// Compares two arms by these metrics, or, without any, by those that their plan is about. `noise` brings A/A blocks that this
/// machine is known for, by metric.
///
/// # Errors
/// The arms differ in what must be equal, and `force` is not set; or they have no figure in common.
pub fn compare(
    baseline: Runs<'_>,
    candidate: Runs<'_>,
    metrics: &[Metric],
    noise: &BTreeMap<String, Vec<Quiet>>,
    force: bool,
) -> Result<Comparison, CompareError> {
    let [all_baseline, all_candidate] = [in_time(baseline.runs), in_time(candidate.runs)];
    let differences = fingerprint::differences(&all_baseline, &all_candidate);
    let one_series = is_one_series(&all_baseline, &all_candidate);
    if !differences.is_empty() && !one_series && !force {
        return Err(CompareError::Differ(differences));
    }
    let valid = |runs: &[&'_ Summary]| runs.iter().filter(|run| run.verdict != Verdict::Invalid).count();
    let invalid = [&all_baseline, &all_candidate].map(|runs| (runs.len() - valid(runs)) as u64);
    let (design, blocks_left_out) = Design::of(&all_baseline, &all_candidate, one_series);
    let chosen = match metrics {
        [] => default_metrics(&all_baseline, &all_candidate),
        chosen => chosen.to_vec(),
    };
    if chosen.is_empty() {
        return Err(CompareError::NothingInCommon);
    }
    let none = Vec::new();
    let mut compared: Vec<Compared> = chosen
        .iter()
        .map(|metric| compare_metric(*metric, &design, noise.get(&metric.to_string()).unwrap_or(&none)))
        .collect();
    judge(compared.iter_mut().collect());
    let facts = |arm: Runs<'_>, runs: &[&Summary], invalid: u64| ArmFacts {
        name: arm.name.to_owned(),
        runs: runs.len() as u64,
        failed: runs.iter().filter(|run| run.verdict == Verdict::Fail).count() as u64,
        invalid,
        builds: builds(runs),
    };
    let [baseline, candidate] =
        [facts(baseline, &all_baseline, invalid[0]), facts(candidate, &all_candidate, invalid[1])];
    Ok(Comparison {
        schema: SCHEMA.to_owned(),
        judgement: overall(&compared, &baseline, &candidate),
        scenario: all_candidate.first().map_or_else(String::new, |run| run.plan.scenario.clone()),
        baseline,
        candidate,
        blocks: design.blocks(),
        is_duet: design.is_duet(),
        blocks_left_out,
        differences,
        one_series,
        metrics: compared,
    })
}

/// When a larger share of the candidate's valid runs FAIL: how likely at least so many of them would be by chance, were both alike.
pub(crate) fn fails_more(baseline: &ArmFacts, candidate: &ArmFacts) -> Option<f64> {
    let [valid_baseline, valid] = [baseline, candidate].map(|arm| arm.runs - arm.invalid);
    let is_more = candidate.failed * valid_baseline > baseline.failed * valid;
    is_more.then(|| {
        more_often_p(
            [baseline.failed, valid_baseline - baseline.failed],
            [candidate.failed, valid - candidate.failed],
        )
    })
}

/// Worse in anything is worse, also in that it fails more often; then what cannot be told outranks what is better. Failures that may be
/// chance leave it open: no gate should let them through.
fn overall(metrics: &[Compared], baseline: &ArmFacts, candidate: &ArmFacts) -> Judgement {
    let any = |judgement: Judgement| metrics.iter().any(|metric| metric.judgement == judgement);
    let fails_more = fails_more(baseline, candidate);
    match () {
        () if any(Judgement::Worse) || fails_more.is_some_and(|p| p <= P_MAX) => Judgement::Worse,
        () if any(Judgement::CannotTell) || fails_more.is_some() => Judgement::CannotTell,
        () if any(Judgement::Better) => Judgement::Better,
        () => Judgement::NoDifference,
    }
}

fn in_time(runs: &[Summary]) -> Vec<&Summary> {
    let mut runs: Vec<&Summary> = runs.iter().collect();
    let key =
        |run: &Summary| (run.series.as_ref().map_or(0, |series| series.number), run.started_utc.clone());
    runs.sort_by_key(|run| key(run));
    runs
}

fn builds(runs: &[&Summary]) -> Vec<String> {
    let mut builds = Vec::new();
    for run in runs {
        let build = format!("{} {}", run.throng_version, run.host.build.commit).trim().to_owned();
        if !builds.contains(&build) {
            builds.push(build);
        }
    }
    builds
}

fn is_one_series(baseline: &[&Summary], candidate: &[&Summary]) -> bool {
    let id = |run: &&Summary| run.series.as_ref().map(|series| series.id.clone());
    let Some(first) = baseline.first().and_then(id) else { return false };
    let arms = |runs: &[&Summary], arm: Arm| {
        runs.iter()
            .all(|run| run.series.as_ref().is_some_and(|series| series.id == first && series.arm == arm))
    };
    arms(baseline, Arm::Baseline) && arms(candidate, Arm::Candidate)
}

/// What the plan is about, as far as both arms measured it.
fn default_metrics(baseline: &[&Summary], candidate: &[&Summary]) -> Vec<Metric> {
    let Some(plan) = candidate.first().map(|run| &run.plan) else { return Vec::new() };
    let mut names = Vec::new();
    let shares_cores = [baseline, candidate].iter().any(|runs| runs.iter().any(|run| is_of_a_duet(run)));
    if plan.has_messages() && !plan.roll_call {
        names.extend(["messages_per_cpu_s", "cpu_us_per_message"]);
        if plan.is_closed_loop() && !shares_cores {
            names.push("rate"); // in an open loop it is the plan's
        }
        if !shares_cores {
            names.extend(["planned_to_delivered.p50", "planned_to_delivered.p99"]);
        }
    } else {
        names.extend(["login.p99", "connect.p99"]);
    }
    if plan.roll_call {
        names.push("planned_to_delivered.p99"); // one message of each user says what a user feels, and little of costs
    }
    names.extend(["login_again.p99", "storm_last_back_s"]);
    if plan.connections >= CONNECTIONS_MIN {
        names.extend(["server_user_bytes_per_connection", "kernel_bytes_per_connection"]);
    }
    let metrics = names.into_iter().map(|name| name.parse::<Metric>().expect("a metric of the table"));
    let measured = |metric: &Metric, runs: &[&Summary]| runs.iter().any(|run| metric.of(run).is_some());
    metrics.filter(|metric| measured(metric, baseline) && measured(metric, candidate)).collect()
}

/// Whether another run had the same cores meanwhile: then rates and latencies are those of two on one place.
fn is_of_a_duet(run: &Summary) -> bool {
    run.series.as_ref().is_some_and(|series| series.is_duet)
}

/// What the plan of these runs is about, as far as one of them measured it.
pub(crate) fn default_metrics_of(runs: &[&Summary]) -> Vec<Metric> {
    default_metrics(runs, runs)
}

/// The figure of a run as a logarithm; `None` where it has none.
fn log(metric: Metric, run: &Summary) -> Option<f64> {
    metric.of(run).filter(|value| *value > 0.0 && value.is_finite()).map(f64::ln)
}

/// Everything but the judgement, which looks at all metrics.
fn compare_metric(metric: Metric, design: &Design<'_>, noise: &[Quiet]) -> Compared {
    let arms = [design.arm(0), design.arm(1)];
    let figures =
        arms.each_ref().map(|runs| runs.iter().filter_map(|run| metric.of(run)).collect::<Vec<f64>>());
    let middle = |values: &[f64]| (!values.is_empty()).then(|| median(&mut values.to_vec()));
    let mut compared = Compared {
        metric: metric.to_string(),
        higher_is_better: metric.better() == Better::Higher,
        judgement: Judgement::CannotTell,
        why: String::new(),
        more_runs: None,
        baseline_median: middle(&figures[0]),
        candidate_median: middle(&figures[1]),
        ratio: None,
        ratio_low: None,
        ratio_high: None,
        p: None,
        p_holm: None,
        noise_floor_share: None,
        smallest_seen_share: None,
        unit: metric.unit(),
        baseline: Vec::new(),
        candidate: Vec::new(),
    };
    [compared.baseline, compared.candidate] = figures;
    if is_always_the_same(&compared, &arms) && design.too_few().is_none() {
        compared.judgement = Judgement::NoDifference;
        return compared;
    }
    let logs =
        arms.each_ref().map(|runs| runs.iter().filter_map(|run| log(metric, run)).collect::<Vec<f64>>());
    let without = |arm: usize| arms[arm].len() - logs[arm].len();
    if without(0) + without(1) > 0 {
        compared.why = format!(
            "{} runs of the baseline and {} of the candidate have no figure for it, or 0",
            without(0),
            without(1)
        );
        return compared;
    }
    let Evidence { centre, interval, p } = design.evidence(metric, &logs);
    compared.ratio = centre.map(f64::exp);
    compared.ratio_low = interval.map(|interval| interval.low.exp());
    compared.ratio_high = interval.map(|interval| interval.high.exp());
    let floor = design.noise_floor(metric, &logs, noise);
    compared.noise_floor_share = floor.map(|floor| floor.exp() - 1.0);
    if let Some((missing, why)) = design.too_few() {
        compared.more_runs = Some(missing);
        compared.why = why;
        return compared;
    }
    compared.p = Some(p);
    if let (Some(centre), Some(interval)) = (centre, interval) {
        let half = (interval.high - centre).max(centre - interval.low);
        let limit = least_effect(metric, floor);
        compared.smallest_seen_share = Some(half.max(limit).exp() - 1.0);
        compared.judgement = verdict(centre, interval, limit, metric.better());
    }
    compared
}

/// Whether every run has the one figure, 0 for instance.
fn is_always_the_same(compared: &Compared, arms: &[Vec<&Summary>; 2]) -> bool {
    let (baseline, candidate) = (&compared.baseline, &compared.candidate);
    let is_whole = baseline.len() == arms[0].len() && candidate.len() == arms[1].len();
    let first = baseline.first().copied();
    is_whole && baseline.iter().chain(candidate).all(|figure| Some(*figure) == first)
}

/// The logarithm of the smallest ratio that counts.
fn least_effect(metric: Metric, floor: Option<f64>) -> f64 {
    let cared_for = if metric.is_latency() { EFFECT_MIN_LATENCY } else { EFFECT_MIN };
    floor.unwrap_or(0.0).max(cared_for.ln_1p())
}

/// What the interval and the size of the effect say; the p-values have their say in [`judge`].
fn verdict(centre: f64, interval: Interval, limit: f64, better: Better) -> Judgement {
    if interval.contains(0.0) || centre.abs() <= limit {
        return Judgement::NoDifference;
    }
    if (centre > 0.0) == (better == Better::Higher) { Judgement::Better } else { Judgement::Worse }
}

/// Corrects the p-values of comparisons that were asked for together for the number of all their metrics, and takes back what they do
/// not bear out: who tries many things finds some that seem to help.
pub fn correct_together(comparisons: &mut [Comparison]) {
    judge(comparisons.iter_mut().flat_map(|comparison| &mut comparison.metrics).collect());
    for comparison in comparisons {
        comparison.judgement = overall(&comparison.metrics, &comparison.baseline, &comparison.candidate);
    }
}

/// Corrects the p-values for the number of metrics, and takes back what they do not bear out.
fn judge(compared: Vec<&mut Compared>) {
    let p: Vec<f64> = compared.iter().filter_map(|metric| metric.p).collect();
    let tested = compared.into_iter().filter(|metric| metric.p.is_some());
    for (metric, p) in tested.zip(holm(&p)) {
        metric.p_holm = Some(p);
        let is_difference = matches!(metric.judgement, Judgement::Better | Judgement::Worse);
        if is_difference && p > P_MAX {
            metric.judgement = Judgement::NoDifference;
        }
    }
}

#[cfg(test)]
mod tests;
