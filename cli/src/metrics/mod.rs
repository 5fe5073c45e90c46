//! `GET /metrics` in Prometheus' text format: the figures of a moment, made into families when somebody asks.
//!
//! Names and units are those of that world: `throng_server_` and `throng_generator_` say whose figure it is, counters end in
//! `_total`, times are in seconds, sizes in bytes, and what a shard counts has its number as a label. `promtool check metrics`
//! has nothing to say about them, and a test keeps it so.
//!
//! Nothing is counted for this: a page is made from what shards and workers publish anyway. Of the crate `prometheus` only the
//! model of a family and its text encoder are used, since its counters and registries would be a second account of the same
//! things.

pub(crate) mod generator;
pub(crate) mod server;

use std::io;
use std::net::TcpListener;

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{TEXT_FORMAT, TextEncoder};
use throng_report::IntervalHistogram;

use crate::admin::{Page, answer};

/// Upper bounds of a latency's buckets in nanoseconds: 1, 2.5 and 5 of each power of ten, from where loopback's medians are to
/// where a chat is broken.
const BOUNDS_NS: [u64; 18] = [
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Whether a family's value may fall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It only grows; the name ends in `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// One page.
#[derive(Default)]
pub(crate) struct Families(Vec<MetricFamily>);

impl Families {
    /// Adds a family of one value without labels; nothing when it is not known.
    pub(crate) fn one(&mut self, kind: Kind, name: &str, help: &str, value: impl Into<Option<f64>>) {
        self.each(kind, name, help, value.into().map(|value| (Vec::new(), value)));
    }

    /// Adds a family of values told apart by labels; nothing when there are none.
    pub(crate) fn each(
        &mut self,
        kind: Kind,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Vec<(&'static str, String)>, f64)>,
    ) {
        let metrics = values.into_iter().map(|(labels, value)| {
            let mut metric = Metric::default();
            metric.set_label(labels.into_iter().map(label).collect());
            match kind {
                Kind::Counter => {
                    let mut counter = Counter::default();
                    counter.set_value(value);
                    metric.set_counter(counter);
                }
                Kind::Gauge => {
                    let mut gauge = Gauge::default();
                    gauge.set_value(value);
                    metric.set_gauge(gauge);
                }
            }
            metric
        });
        let kind = match kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
        };
        self.family(kind, name, help, metrics.collect());
    }

    /// Adds a distribution of seconds.
    pub(crate) fn seconds(&mut self, name: &str, help: &str, times: &IntervalHistogram) {
        let buckets = BOUNDS_NS.iter().map(|&bound| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound as f64 / 1e9);
            bucket.set_cumulative_count(times.count_up_to(bound));
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(times.count());
        histogram.set_sample_sum(times.sum_s());
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        self.family(MetricType::HISTOGRAM, name, help, vec![metric]);
    }

    fn family(&mut self, kind: MetricType, name: &str, help: &str, metrics: Vec<Metric>) {
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }

    /// The page's text.
    ///
    /// # Errors
    /// The encoder's, in words.
    pub(crate) fn text(&self) -> Result<String, String> {
        TextEncoder::new().encode_to_string(&self.0).map_err(|error| error.to_string())
    }
}

fn label((name, value): (&str, String)) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value);
    pair
}

/// Adds the versions of whoever is told about: `component` is `server` or `generator`.
pub(crate) fn build_info(page: &mut Families, components: &[(&str, &str)]) {
    let versions = components.iter().map(|(component, version)| {
        (vec![("component", (*component).to_owned()), ("version", (*version).to_owned())], 1.0)
    });
    page.each(Kind::Gauge, "throng_build_info", "The version of a program; always 1.", versions);
}

/// Answers `GET /metrics` with a new page each time, until the process ends.
///
/// # Errors
/// No thread can be started.
pub(crate) fn listen<F>(listener: TcpListener, page: F) -> io::Result<()>
where
    F: Fn() -> Families + Send + Sync + 'static,
{
    answer(listener, "metrics", "/metrics", move |_| Ok(Page { kind: TEXT_FORMAT, text: page().text()? }))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What holds for every page of ours.
    pub(crate) fn is_proper(text: &str) {
        let mut names = BTreeSet::new();
        for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
            let words: Vec<&str> = line.split(' ').collect();
            let (name, kind) = (words[2], words[3]);
            assert!(names.insert(name), "{name} is there twice");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            assert!(name.starts_with("throng_"), "{line}");
            let help = text.lines().find_map(|line| line.strip_prefix(&format!("# HELP {name} ")));
            assert!(help.is_some_and(|help| help.ends_with('.')), "{name}: {help:?}");
        }
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let mut seen = BTreeSet::new();
        for line in samples {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            assert!(seen.insert(sample), "{sample} is there twice");
            assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
            let name = sample.split('{').next().unwrap();
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            assert!(names.contains(name) || base.is_some_and(|base| names.contains(base)), "{line}");
        }
        assert!(!names.is_empty());
    }

    #[test]
    fn a_page_is_the_text_that_prometheus_reads() {
        let mut page = Families::default();
        page.one(Kind::Counter, "throng_things_total", "Things.", 3.0);
        page.one(Kind::Gauge, "throng_unknown", "Nobody knows.", None);
        page.each(
            Kind::Gauge,
            "throng_heat",
            "How hot.",
            [(vec![("where", "a \"b\"\\c\nd".to_owned())], 0.25), (vec![("where", "e".to_owned())], 1e9)],
        );
        page.each(Kind::Gauge, "throng_nothing", "Of nobody.", []);
        let expected = "\
# HELP throng_things_total Things.
# TYPE throng_things_total counter
throng_things_total 3
# HELP throng_heat How hot.
# TYPE throng_heat gauge
throng_heat{where=\"a \\\"b\\\"\\\\c\\nd\"} 0.25
throng_heat{where=\"e\"} 1000000000
";
        assert_eq!(page.text().unwrap(), expected);
        is_proper(expected);
    }

    #[test]
    fn a_distribution_is_cumulative_and_in_seconds() {
        let mut times = IntervalHistogram::new();
        for us in [10, 90, 90, 900, 20_000_000] {
            times.record(us * 1000);
        }
        let mut page = Families::default();
        page.seconds("throng_wait_seconds", "Waits.", &times);
        let text = page.text().unwrap();
        for line in [
            "# TYPE throng_wait_seconds histogram",
            "throng_wait_seconds_bucket{le=\"0.000025\"} 1",
            "throng_wait_seconds_bucket{le=\"0.0001\"} 3",
            "throng_wait_seconds_bucket{le=\"0.001\"} 4",
            "throng_wait_seconds_bucket{le=\"10\"} 4",
            "throng_wait_seconds_bucket{le=\"+Inf\"} 5",
            "throng_wait_seconds_count 5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        let sum = text.lines().find_map(|line| line.strip_prefix("throng_wait_seconds_sum ")).unwrap();
        assert!((sum.parse::<f64>().unwrap() / 20.00109 - 1.0).abs() < 0.01, "{sum}");
        is_proper(&text);
    }

    #[test]
    fn an_empty_distribution_is_there_with_zeros() {
        let mut page = Families::default();
        page.seconds("throng_wait_seconds", "Waits.", &IntervalHistogram::new());
        let text = page.text().unwrap();
        assert!(text.contains("throng_wait_seconds_count 0\n"), "{text}");
        is_proper(&text);
    }

    #[test]
    fn bounds_grow() {
        assert!(BOUNDS_NS.is_sorted_by(|a, b| a < b));
    }
}
