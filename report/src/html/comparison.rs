//! The page of a comparison: what may be said, the ratios with their intervals, and the distributions of both arms over each other.

use maud::{Markup, html};

use super::axis::Axis;
use super::chart::{Chart, Line, Range, Ranges};
use super::curve::by_percentile;
use super::numbers::{count, exact, known, share, time};
use super::page::{self, Column, Section, facts, table};
use super::palette::Ink;
use crate::Histogram;
use crate::compare::{ArmFacts, Compared, Comparison, Judgement, remarks};
use crate::folder::Run;
use crate::metric::Unit;

/// The whole page; `arms` are the runs of the baseline and of the candidate, as far as they could be read.
pub(super) fn page(comparison: &Comparison, arms: [&[Run]; 2]) -> String {
    let mut sections = vec![
        Section { id: "verdict", title: "What may be said", body: verdict(comparison) },
        Section { id: "figures", title: "Figures", body: figures(comparison) },
        Section { id: "latency", title: "Latency of both", body: distributions(arms) },
        Section { id: "runs", title: "Run by run", body: runs(comparison) },
    ];
    if !comparison.differences.is_empty() {
        sections.push(Section {
            id: "differences",
            title: "In what they differ",
            body: differences(comparison),
        });
    }
    let name = format!("{} against {}", comparison.candidate.name, comparison.baseline.name);
    let head = html! {
        p.kicker { "Throng, comparison of runs" }
        h1 { (name) }
        p.lead { (lead(comparison)) }
    };
    page::document(&format!("{} · {name}", comparison.judgement.words()), &head, &sections)
}

fn lead(comparison: &Comparison) -> String {
    let blocks = comparison.blocks.map_or_else(
        || "as two samples".to_owned(),
        |blocks| match comparison.is_duet {
            true => format!("in {} duets, both at the same time on the same cores", exact(blocks)),
            false => format!("in {} blocks in which both took turns", exact(blocks)),
        },
    );
    format!(
        "{}: {} runs of the candidate and {} of the baseline, {blocks}.",
        comparison.scenario,
        exact(comparison.candidate.runs),
        exact(comparison.baseline.runs),
    )
}

/// How a judgement looks, and what it means.
fn tone(judgement: Judgement) -> (&'static str, &'static str) {
    match judgement {
        Judgement::Better => ("pass", "Something is better, and nothing is worse."),
        Judgement::Worse => {
            ("fail", "Something is worse, by more than chance and this machine's noise explain.")
        }
        Judgement::NoDifference => {
            ("pass", "Whatever difference there may be, it is too small to be seen here.")
        }
        Judgement::CannotTell => {
            ("invalid", "There are too few runs, or figures, to say anything with confidence.")
        }
    }
}

fn verdict(comparison: &Comparison) -> Markup {
    let (tone, means) = tone(comparison.judgement);
    let remarks = remarks(comparison);
    html! {
        div class={ "verdict " (tone) } {
            strong { (comparison.judgement.words()) }
            p { (means) }
            @if !remarks.is_empty() { ul { @for remark in &remarks { li { (remark) } } } }
        }
        div.charts { (ratios(comparison)) }
        (facts(&[("baseline", arm(&comparison.baseline)), ("candidate", arm(&comparison.candidate))]))
    }
}

fn arm(arm: &ArmFacts) -> String {
    format!(
        "{}: {} runs, {} FAIL, {} INVALID; {}",
        arm.name,
        exact(arm.runs),
        exact(arm.failed),
        exact(arm.invalid),
        arm.builds.join(", ")
    )
}

fn ink(judgement: Judgement) -> Ink {
    match judgement {
        Judgement::Better => Ink::Green,
        Judgement::Worse => Ink::Vermilion,
        Judgement::NoDifference => Ink::Blue,
        Judgement::CannotTell => Ink::Grey,
    }
}

fn ratios(comparison: &Comparison) -> Markup {
    let ranges: Vec<Range> = comparison
        .metrics
        .iter()
        .filter_map(|metric| {
            Some(Range {
                name: format!("{}: {}", metric.metric, metric.judgement.words()),
                ink: ink(metric.judgement),
                low: metric.ratio_low?,
                middle: metric.ratio?,
                high: metric.ratio_high?,
            })
        })
        .collect();
    let says: Vec<String> = ranges
        .iter()
        .map(|range| {
            format!("{}, ratio {:.3} ({:.3} to {:.3})", range.name, range.middle, range.low, range.high)
        })
        .collect();
    let chart = Ranges {
        id: "ratios",
        title: "Candidate by baseline, with 95 % intervals",
        says: format!("{}.", says.join("; ")),
        label: "ratio, candidate / baseline",
        ranges,
        note: "At 1 nothing differs. Of a rate more is better, of a time and of bytes less.",
        none: "No figure has an interval.",
    };
    chart.figure()
}

fn show(metric: &Compared, value: Option<f64>) -> String {
    known(value, |value| match metric.unit() {
        Unit::Us => time(value),
        Unit::S => time(value * 1e6),
        Unit::PerS => format!("{}/s", count(value)),
        Unit::Bytes => super::numbers::bytes(value),
        Unit::Count => count(value),
    })
}

fn figures(comparison: &Comparison) -> Markup {
    let row = |metric: &Compared| {
        let interval = match (metric.ratio_low, metric.ratio_high) {
            (Some(low), Some(high)) => format!("{low:.3} to {high:.3}"),
            _ => known(None, count),
        };
        vec![
            metric.metric.clone(),
            metric.judgement.words().to_owned(),
            show(metric, metric.baseline_median),
            show(metric, metric.candidate_median),
            known(metric.ratio, |ratio| format!("{ratio:.3}")),
            interval,
            known(metric.p_holm, |p| format!("{p:.4}")),
            known(metric.noise_floor_share, share),
            known(metric.smallest_seen_share, share),
        ]
    };
    let whys: Vec<String> = comparison
        .metrics
        .iter()
        .filter(|metric| !metric.why.is_empty())
        .map(|metric| format!("{}: {}", metric.metric, metric.why))
        .collect();
    html! {
        (table(
            "Medians of the runs",
            &[
                Column::Text("figure"),
                Column::Text("judgement"),
                Column::Number("baseline"),
                Column::Number("candidate"),
                Column::Number("ratio"),
                Column::Number("95 % interval"),
                Column::Number("p, corrected"),
                Column::Number("noise floor"),
                Column::Number("smallest seen"),
            ],
            &comparison.metrics.iter().map(row).collect::<Vec<_>>(),
        ))
        @if !whys.is_empty() { ul.notes { @for why in &whys { li { (why) } } } }
        p {
            "Better or worse is what has an interval without 1, an effect above the noise floor and above 2 % (latencies 5 %), and a p-value, \
             corrected for the number of figures, of at most 0.05."
        }
    }
}

/// What all runs of an arm have under a tag.
fn merged(runs: &[Run], tag: &str) -> Histogram {
    let mut all = Histogram::new();
    for run in runs {
        for (_, histogram) in run.histograms.iter().filter(|(name, _)| name == tag) {
            all.merge(histogram);
        }
    }
    all
}

fn distributions(arms: [&[Run]; 2]) -> Markup {
    let tags = [
        ("planned_to_delivered", "overlay-messages", "Messages, planned to delivered, all runs together"),
        ("login", "overlay-login", "Logins, all runs together"),
    ];
    html! {
        p { "Samples of all runs of an arm. Nothing is judged by them: what is said above is said of runs." }
        div.charts {
            @for (tag, id, title) in tags { (overlay(&arms.map(|runs| merged(runs, tag)), id, title)) }
        }
    }
}

fn overlay(arms: &[Histogram; 2], id: &str, title: &str) -> Markup {
    let names = [("baseline", Ink::Grey), ("candidate", Ink::Blue)];
    let curves: Vec<_> =
        names.into_iter().zip(arms).map(|((name, ink), histogram)| (name, ink, histogram)).collect();
    by_percentile(id, title, &curves, "Nothing was timed, or the runs left no latency.hlog.")
}
/// Every run's figures, so that a drift or a run apart is seen.
fn runs(comparison: &Comparison) -> Markup {
    html! {
        p { "In the order of time. No run was dropped for its figure." }
        div.charts {
            @for (number, metric) in comparison.metrics.iter().enumerate() { (run_by_run(metric, number)) }
        }
    }
}

fn run_by_run(metric: &Compared, number: usize) -> Markup {
    let trace = |name, ink, figures: &[f64]| Line {
        name,
        ink,
        points: figures.iter().enumerate().map(|(at, figure)| (at as f64 + 1.0, Some(*figure))).collect(),
        dot: None,
    };
    let arms = [&metric.baseline, &metric.candidate];
    let most =
        arms.iter().flat_map(|figures| figures.iter()).fold(0.0, |most: f64, figure| most.max(*figure));
    let unit = match metric.unit() {
        Unit::Us => "µs",
        Unit::S => "s",
        Unit::PerS => "1/s",
        Unit::Bytes => "bytes",
        Unit::Count => "count",
    };
    let id = format!("runs-{number}");
    let chart = Chart {
        id: &id,
        title: &metric.metric,
        says: format!(
            "median {} of the baseline's runs, {} of the candidate's.",
            show(metric, metric.baseline_median),
            show(metric, metric.candidate_median)
        ),
        x: Axis::linear("run", arms.map(Vec::len).into_iter().max().unwrap_or(0) as f64),
        y: Axis::linear(unit, most),
        bands: &[],
        lines: vec![
            trace("baseline", Ink::Grey, &metric.baseline),
            trace("candidate", Ink::Blue, &metric.candidate),
        ],
        note: "",
        none: "No run has this figure.",
    };
    chart.figure()
}

fn differences(comparison: &Comparison) -> Markup {
    let rows: Vec<Vec<String>> = comparison
        .differences
        .iter()
        .map(|difference| {
            vec![difference.what.clone(), difference.baseline.join(" | "), difference.candidate.join(" | ")]
        })
        .collect();
    let columns = [Column::Text("what"), Column::Text("baseline"), Column::Text("candidate")];
    table("Besides the commit", &columns, &rows)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Summary;
    use crate::compare::{Runs, compare};
    use crate::schema::Verdict;

    fn arm(scale: f64) -> Vec<Run> {
        (0..12)
            .map(|at| {
                let summary = Summary { verdict: Verdict::Pass, ..Summary::default() };
                let mut run = Run { summary, ..Run::default() };
                run.summary.plan.scenario = "pairs <1>".into();
                run.summary.plan.rate_per_s = Some(1000.0);
                run.summary.latency_us.planned_to_delivered.p99 = Some(scale * (100.0 + f64::from(at)));
                let mut histogram = Histogram::new();
                (1..2000).for_each(|nanos| histogram.record(nanos * 1000));
                run.histograms = vec![("planned_to_delivered".into(), histogram)];
                run
            })
            .collect()
    }

    #[test]
    fn a_page_says_what_may_be_said_and_shows_both_arms() {
        let arms = [arm(1.0), arm(2.0)];
        let summaries =
            arms.each_ref().map(|runs| runs.iter().map(|run| run.summary.clone()).collect::<Vec<_>>());
        let comparison = compare(
            Runs { name: "old & gone", runs: &summaries[0] },
            Runs { name: "new", runs: &summaries[1] },
            &[],
            &BTreeMap::new(),
            false,
        );
        let comparison = comparison.unwrap();
        let html = page(&comparison, [&arms[0], &arms[1]]);
        for part in [
            "WORSE · new against old &amp; gone",
            "pairs &lt;1&gt;: 12 runs",
            "id=\"ratios\"",
            "planned_to_delivered.p99: WORSE",
            "id=\"overlay-messages\"",
            "</svg>candidate</li>",
            "id=\"runs-0\"",
        ] {
            assert!(html.contains(part), "{part}");
        }
        assert!(!html.contains("://") && !html.contains("NaN"));
        let bare = page(&comparison, [&[], &[]]);
        assert!(bare.contains("left no latency.hlog"));
    }
}
