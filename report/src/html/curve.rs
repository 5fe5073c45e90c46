//! Distributions by percentile: as lines of a chart, and in words.

use maud::Markup;

use super::axis::Axis;
use super::chart::{Chart, Line};
use super::numbers::{exact, time};
use super::palette::Ink;
use crate::Histogram;

/// Points of a curve from one mark to the next.
const PER_DECADE: u32 = 24;

/// A chart of these distributions, each with its name; those without samples are left out.
pub(super) fn by_percentile(
    id: &str,
    title: &str,
    curves: &[(&'static str, Ink, &Histogram)],
    none: &str,
) -> Markup {
    let timed: Vec<_> = curves.iter().filter(|(.., histogram)| histogram.count() > 0).collect();
    let lines: Vec<Line> = timed.iter().map(|(name, ink, histogram)| line(name, *ink, histogram)).collect();
    let says: Vec<String> = timed.iter().map(|(name, _, histogram)| told(name, histogram)).collect();
    let most = timed.iter().map(|(.., histogram)| histogram.count()).max().unwrap_or(0);
    let values = lines.iter().flat_map(|line| {
        line.points.iter().filter_map(|(_, value)| *value).chain(line.dot.map(|(_, value)| value))
    });
    let chart = Chart {
        id,
        title,
        says: format!("{}.", says.join("; ")),
        x: Axis::percentiles("percentile (%)", most as f64),
        y: Axis::times("time, logarithmic (µs, ms, s)", values),
        bands: &[],
        lines,
        note: "",
        none,
    };
    chart.figure()
}

/// A distribution by percentile; the dot is the largest of all.
fn line(name: &'static str, ink: Ink, histogram: &Histogram) -> Line {
    let points = histogram.curve(PER_DECADE).into_iter().map(|(one_in, us)| (one_in, Some(us)));
    let dot = histogram.summary().max.map(|largest| (histogram.count() as f64, largest));
    Line { name, ink, points: points.collect(), dot }
}

/// A distribution in words.
fn told(name: &str, histogram: &Histogram) -> String {
    let latency = histogram.summary();
    let figures =
        [("p50", latency.p50), ("p99", latency.p99), ("p99.9", latency.p999), ("largest", latency.max)];
    let figures: Vec<String> =
        figures.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", time(value?)))).collect();
    format!("{name}: {} of {} samples", figures.join(", "), exact(latency.count))
}
