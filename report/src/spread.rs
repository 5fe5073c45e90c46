//! How much the figures of one thing vary from run to run.

use crate::compare::default_metrics_of;
use crate::schema::{Summary, Verdict};
use crate::stats::{median, median_interval};

/// The runs of one thing as text: for each metric that their plan is about the median, its 95 % interval, the smallest and the
/// largest.
pub fn render(runs: &[Summary]) -> String {
    let count = |verdict: Verdict| runs.iter().filter(|run| run.verdict == verdict).count();
    let mut text = format!(
        "{} runs: {} PASS, {} FAIL, {} INVALID (in no figure below)\n\n",
        runs.len(),
        count(Verdict::Pass),
        count(Verdict::Fail),
        count(Verdict::Invalid)
    );
    let valid: Vec<&Summary> = runs.iter().filter(|run| run.verdict != Verdict::Invalid).collect();
    for metric in default_metrics_of(&valid) {
        let mut figures: Vec<f64> = valid.iter().filter_map(|run| metric.of(run)).collect();
        let interval = median_interval(&figures, 0.95);
        let middle = median(&mut figures);
        let show = |value: f64| metric.unit().show(value);
        let interval = interval.map_or_else(String::new, |interval| {
            format!(" (95 %: {} to {})", show(interval.low), show(interval.high))
        });
        let (low, high) = (figures[0], figures[figures.len() - 1]);
        text.push_str(&format!(
            "{metric}\n  median {}{interval}, from {} to {}\n",
            show(middle),
            show(low),
            show(high)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_of_valid_runs_is_shown() {
        let run = |p99: f64, verdict| {
            let mut run = Summary { verdict, ..Summary::default() };
            run.plan.rate_per_s = Some(1.0);
            run.latency_us.planned_to_delivered.p99 = Some(p99);
            run
        };
        let mut runs: Vec<Summary> = [120.0, 100.0, 110.0].map(|p99| run(p99, Verdict::Pass)).into();
        runs.push(run(9e9, Verdict::Invalid));
        let text = render(&runs);
        assert!(text.starts_with("4 runs: 3 PASS, 0 FAIL, 1 INVALID"), "{text}");
        assert!(text.contains("planned_to_delivered.p99\n  median 110 us (95 %: "), "{text}");
        assert!(text.contains("from 100 us to 120 us"), "{text}");
        assert!(render(&[]).starts_with("0 runs"));
    }
}
