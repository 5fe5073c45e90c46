//! A comparison for other programs: Markdown for a pull request, CSV, and Bencher Metric Format.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::{Compared, Comparison, text};
use crate::stats::median_interval;

/// A table for a pull request.
pub fn to_markdown(comparison: &Comparison) -> String {
    let mut out = format!(
        "**Throng: {}** ({}, {} runs against {})\n\n",
        comparison.judgement.words(),
        comparison.scenario,
        comparison.candidate.runs,
        comparison.baseline.runs
    );
    for remark in text::remarks(comparison) {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "- {}", escaped(&remark));
    }
    for difference in &comparison.differences {
        let _ = writeln!(out, "- differs: {}", escaped(&text::difference(difference)));
    }
    out.push_str("\n| metric | baseline | candidate | effect | 95 % interval of the ratio | |\n");
    out.push_str("| --- | ---: | ---: | ---: | :---: | --- |\n");
    for metric in &comparison.metrics {
        let median =
            |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| metric.unit.show(value));
        let why = text::why(metric).map_or_else(String::new, |why| format!(" ({why})"));
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {}{} |",
            metric.metric,
            median(metric.baseline_median),
            median(metric.candidate_median),
            text::effect(metric),
            text::interval(metric),
            metric.judgement.words(),
            escaped(&why),
        );
    }
    out
}

/// What would end a cell of a table.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}

/// One row per metric; figures in the metric's unit, shares and ratios as numbers, nothing where nothing is known.
pub fn to_csv(comparison: &Comparison) -> String {
    let mut out = String::from(
        "metric,judgement,higher_is_better,baseline_runs,candidate_runs,baseline_median,candidate_median,ratio,ratio_low,\
         ratio_high,p,p_holm,noise_floor_share,smallest_seen_share\n",
    );
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    for metric in &comparison.metrics {
        let judgement = serde_json::to_value(metric.judgement).expect("a name");
        let _ = writeln!(
            out,
            "{},{},{},{},{},{},{},{},{},{},{},{},{},{}",
            metric.metric,
            judgement.as_str().unwrap_or_default(),
            metric.higher_is_better,
            metric.baseline.len(),
            metric.candidate.len(),
            number(metric.baseline_median),
            number(metric.candidate_median),
            number(metric.ratio),
            number(metric.ratio_low),
            number(metric.ratio_high),
            number(metric.p),
            number(metric.p_holm),
            number(metric.noise_floor_share),
            number(metric.smallest_seen_share),
        );
    }
    out
}

/// The candidate's figures in [Bencher Metric Format](https://bencher.dev/docs/reference/bencher-metric-format/): the median of the
/// runs, with its 95 % interval as lower and upper value.
pub fn to_bencher(comparison: &Comparison) -> Value {
    let measure = |metric: &Compared| -> Option<(String, Value)> {
        let value = metric.candidate_median?;
        let mut fields = Map::from_iter([("value".to_owned(), json!(value))]);
        if let Some(interval) = median_interval(&metric.candidate, super::CONFIDENCE) {
            fields.insert("lower_value".to_owned(), json!(interval.low));
            fields.insert("upper_value".to_owned(), json!(interval.high));
        }
        Some((metric.metric.clone(), Value::Object(fields)))
    };
    let measures: Map<String, Value> = comparison.metrics.iter().filter_map(measure).collect();
    json!({ comparison.scenario.clone(): measures })
}
