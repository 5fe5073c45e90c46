//! A distribution as a line of a chart, and in words.

use super::chart::Line;
use super::numbers::{exact, time};
use super::palette::Ink;
use crate::Histogram;

/// Points of a curve from one mark to the next.
const PER_DECADE: u32 = 24;

/// A distribution by percentile; the dot is the largest of all.
pub(super) fn line(name: &'static str, ink: Ink, histogram: &Histogram) -> Line {
    let points = histogram.curve(PER_DECADE).into_iter().map(|(one_in, us)| (one_in, Some(us)));
    let dot = histogram.summary().max.map(|largest| (histogram.count() as f64, largest));
    Line { name, ink, points: points.collect(), dot }
}

/// A distribution in words.
pub(super) fn told(name: &str, histogram: &Histogram) -> String {
    let latency = histogram.summary();
    let figures =
        [("p50", latency.p50), ("p99", latency.p99), ("p99.9", latency.p999), ("largest", latency.max)];
    let figures: Vec<String> =
        figures.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", time(value?)))).collect();
    format!("{name}: {} of {} samples", figures.join(", "), exact(latency.count))
}
