//! A comparison as text for a terminal.

use super::{Compared, Comparison, Difference, Judgement, P_MAX, fails_more};
use crate::text::wrap;

/// The comparison as text, readable at 80 columns; with `colour` judgements are coloured by ANSI escapes.
pub fn render(comparison: &Comparison, colour: bool) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    line(&format!("{}  {}", painted(comparison.judgement, colour), about(comparison)));
    for sentence in remarks(comparison) {
        wrap("  ", &sentence).iter().for_each(|words| line(words));
    }
    if !comparison.differences.is_empty() {
        line("");
        line("Differs, besides the commit");
        for differs in &comparison.differences {
            wrap("  ", &difference(differs)).iter().for_each(|words| line(words));
        }
    }
    for metric in &comparison.metrics {
        line("");
        line(&format!("{:<42} {}", metric.metric, headline(metric, colour)));
        for figures in figures(metric) {
            line(&format!("  {figures}"));
        }
    }
    text
}

fn about(comparison: &Comparison) -> String {
    let (baseline, candidate) = (&comparison.baseline, &comparison.candidate);
    let what = if comparison.is_duet { "duets" } else { "blocks" };
    let blocks = comparison.blocks.map_or_else(String::new, |blocks| format!(", {blocks} {what}"));
    format!(
        "{}: {} runs of {} against {} of {}{blocks}",
        comparison.scenario, candidate.runs, candidate.name, baseline.runs, baseline.name
    )
}

/// What a reader should know before the figures.
pub(crate) fn remarks(comparison: &Comparison) -> Vec<String> {
    let mut remarks = Vec::new();
    if comparison.is_duet {
        remarks.push(
            "each duet is a run of either arm, both at the same time on the same cores: compare costs by it, not rates or latencies"
                .to_owned(),
        );
    }
    if comparison.blocks_left_out > 0 {
        remarks.push(format!(
            "{} blocks are left out, since a run of theirs is INVALID: it measured something else",
            comparison.blocks_left_out
        ));
    }
    for (which, arm) in [("baseline", &comparison.baseline), ("candidate", &comparison.candidate)] {
        if arm.invalid > 0 {
            remarks.push(format!(
                "{} of {} runs of the {which} are INVALID, and left out",
                arm.invalid, arm.runs
            ));
        }
        if arm.failed > 0 {
            remarks.push(format!("{} of {} runs of the {which} are FAIL", arm.failed, arm.runs));
        }
    }
    if let Some(p) = fails_more(&comparison.baseline, &comparison.candidate) {
        remarks.push(match p <= P_MAX {
            true => format!("the candidate fails more often than by chance (p {p:.2}): that is worse, whatever its figures"),
            false => format!("that the candidate fails more often may be chance (p {p:.2}): nothing is told before it is known"),
        });
    }
    let (old, new) = (&comparison.baseline.builds, &comparison.candidate.builds);
    if old != new {
        remarks.push(format!("builds: {} against {}", new.join(", "), old.join(", ")));
    }
    remarks
}

/// `host.kernel: 6.18 -> 6.12`.
pub(super) fn difference(difference: &Difference) -> String {
    let values = |values: &[String]| if values.is_empty() { "-".to_owned() } else { values.join(" | ") };
    let (baseline, candidate) = (values(&difference.baseline), values(&difference.candidate));
    if baseline == candidate {
        return format!("{}: {baseline}, in both", difference.what);
    }
    format!("{}: {baseline} -> {candidate}", difference.what)
}

fn painted(judgement: Judgement, colour: bool) -> String {
    let words = judgement.words();
    match (colour, judgement) {
        (false, _) => words.to_owned(),
        (true, Judgement::Better) => format!("\x1b[1;32m{words}\x1b[0m"),
        (true, Judgement::Worse) => format!("\x1b[1;31m{words}\x1b[0m"),
        (true, Judgement::CannotTell) => format!("\x1b[1;33m{words}\x1b[0m"),
        (true, Judgement::NoDifference) => format!("\x1b[1m{words}\x1b[0m"),
    }
}

/// `better, +8.3 %`.
fn headline(metric: &Compared, colour: bool) -> String {
    let words = painted(metric.judgement, colour);
    match metric.judgement {
        Judgement::Better | Judgement::Worse => format!("{words}, {}", effect(metric)),
        Judgement::NoDifference | Judgement::CannotTell => words,
    }
}

/// `+8.3 %`, of the baseline; empty where there is no ratio.
pub(super) fn effect(metric: &Compared) -> String {
    metric.ratio.map_or_else(String::new, |ratio| format!("{:+.1} %", 100.0 * (ratio - 1.0)))
}

/// `0.891 to 0.924`, or why there is none.
pub(super) fn interval(metric: &Compared) -> String {
    match (metric.ratio_low, metric.ratio_high) {
        (Some(low), Some(high)) => format!("{low:.3} to {high:.3}"),
        _ => "-".to_owned(),
    }
}

fn figures(metric: &Compared) -> Vec<String> {
    let median = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| metric.unit.show(value));
    let mut lines = vec![format!(
        "{} -> {}, ratio {} (95 %: {})",
        median(metric.baseline_median),
        median(metric.candidate_median),
        metric.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}")),
        interval(metric),
    )];
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let floor = metric.noise_floor_share.map(|floor| format!("noise floor {}", percent(floor)));
    let p = metric.p_holm.map(|p| format!("p {p:.4}"));
    let smallest = metric
        .smallest_seen_share
        .map(|smallest| format!("the smallest difference that would have been seen: {}", percent(smallest)));
    let smallest = smallest.filter(|_| metric.judgement == Judgement::NoDifference);
    let details: Vec<String> = [p, floor].into_iter().flatten().collect();
    if !details.is_empty() {
        lines.push(details.join(", "));
    }
    lines.extend(smallest);
    lines.extend(why(metric));
    lines
}

/// Why nothing can be told, and what would help.
pub(super) fn why(metric: &Compared) -> Option<String> {
    if metric.why.is_empty() {
        return None;
    }
    let more =
        metric.more_runs.map_or_else(String::new, |more| format!(": {more} more runs of each would do"));
    Some(format!("{}{more}", metric.why))
}
