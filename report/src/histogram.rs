//! Distributions of time. The only module besides [`crate::hlog`] that knows HdrHistogram.
//!
//! Values go in as nanoseconds and come out as microseconds. A [`Histogram`] keeps three significant digits from 1 ns to
//! 1 hour: 33,792 counters of 8 bytes, 264 KiB, of which the kernel gives only the pages that are written (a run whose
//! latencies lie between 50 us and 50 ms touches about 80 KiB). It is meant for a worker and a metric, never for a user.
//! An [`IntervalHistogram`] is for the second that is running: two digits and 4-byte counters, 18 KiB, so that clearing
//! it every second costs well under a microsecond.

use hdrhistogram::Histogram as Hdr;

use crate::schema::Latency;

/// The largest value that a histogram tells apart: one hour.
pub const NANOS_MAX: u64 = 3_600_000_000_000;

/// Samples beyond the percentile that make it worth printing: p needs at least `TAIL_SAMPLES / (1 - p)` in all.
pub const TAIL_SAMPLES: u64 = 10;

const DIGITS: u8 = 3;
const INTERVAL_DIGITS: u8 = 2;
const NANOS_PER_US: f64 = 1000.0;

/// A distribution over a whole run: three significant digits. Recording allocates nothing.
#[derive(Clone, Debug)]
pub struct Histogram {
    hdr: Hdr<u64>,
    clamped: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram::new()
    }
}

impl Histogram {
    /// An empty histogram.
    pub fn new() -> Histogram {
        let hdr =
            Hdr::new_with_bounds(1, NANOS_MAX, DIGITS).expect("1 <= NANOS_MAX / 2, and digits in 0..=5");
        Histogram { hdr, clamped: 0 }
    }

    /// Records one value. What is above [`NANOS_MAX`] is recorded as that and counted in [`Histogram::clamped`].
    #[inline]
    pub fn record(&mut self, nanos: u64) {
        self.clamped += u64::from(nanos > NANOS_MAX);
        self.hdr.saturating_record(nanos.min(NANOS_MAX));
    }

    /// Adds everything that `other` holds; nothing is lost.
    pub fn merge(&mut self, other: &Histogram) {
        self.hdr.add(&other.hdr).expect("both have the same bounds and digits");
        self.clamped += other.clamped;
    }

    /// Values recorded.
    pub fn count(&self) -> u64 {
        self.hdr.len()
    }

    /// Values that were above [`NANOS_MAX`].
    pub fn clamped(&self) -> u64 {
        self.clamped
    }

    /// Forgets everything; keeps the memory.
    pub fn reset(&mut self) {
        self.hdr.reset();
        self.clamped = 0;
    }

    /// The value in nanoseconds that the share `p` (0 to 1) of the samples does not exceed; `None` with fewer than
    /// `10 / (1 - p)` samples.
    pub fn percentile(&self, p: f64) -> Option<u64> {
        (self.count() >= samples_needed(p)).then(|| self.hdr.value_at_quantile(p))
    }

    /// The distribution in microseconds, as `summary.json` holds it.
    pub fn summary(&self) -> Latency {
        let some = !self.hdr.is_empty();
        let us = |nanos: u64| nanos as f64 / NANOS_PER_US;
        let at = |p| self.percentile(p).map(us);
        Latency {
            count: self.count(),
            min: some.then(|| us(self.hdr.min())),
            mean: some.then(|| self.hdr.mean() / NANOS_PER_US),
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: some.then(|| us(self.hdr.max())),
        }
    }

    pub(crate) fn hdr(&self) -> &Hdr<u64> {
        &self.hdr
    }
}

/// How many samples the percentile `p` (0 to 1) needs before it is printed.
pub fn samples_needed(p: f64) -> u64 {
    // Rounded, since 10 / (1 - 0.99) is a little above 1000 in binary.
    (TAIL_SAMPLES as f64 / (1.0 - p)).round() as u64
}

/// A distribution over the second that is running: two significant digits.
#[derive(Clone, Debug)]
pub struct IntervalHistogram {
    hdr: Hdr<u32>,
}

impl Default for IntervalHistogram {
    fn default() -> Self {
        IntervalHistogram::new()
    }
}

impl IntervalHistogram {
    /// An empty histogram.
    pub fn new() -> IntervalHistogram {
        let hdr = Hdr::new_with_bounds(1, NANOS_MAX, INTERVAL_DIGITS)
            .expect("1 <= NANOS_MAX / 2, and digits in 0..=5");
        IntervalHistogram { hdr }
    }

    /// Records one value; what is above [`NANOS_MAX`] is recorded as that (the run's [`Histogram`] counts it).
    #[inline]
    pub fn record(&mut self, nanos: u64) {
        self.hdr.saturating_record(nanos.min(NANOS_MAX));
    }

    /// Adds everything that `other` holds.
    pub fn merge(&mut self, other: &IntervalHistogram) {
        self.hdr.add(&other.hdr).expect("both have the same bounds and digits");
    }

    /// Values recorded since the last [`IntervalHistogram::reset`].
    pub fn count(&self) -> u64 {
        self.hdr.len()
    }

    /// As [`Histogram::percentile`], but in microseconds.
    pub fn percentile_us(&self, p: f64) -> Option<f64> {
        (self.count() >= samples_needed(p)).then(|| self.hdr.value_at_quantile(p) as f64 / NANOS_PER_US)
    }

    /// The largest value in microseconds; `None` without samples.
    pub fn max_us(&self) -> Option<f64> {
        (!self.hdr.is_empty()).then(|| self.hdr.max() as f64 / NANOS_PER_US)
    }

    /// Begins the next second.
    pub fn reset(&mut self) {
        self.hdr.reset();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::new();
        values.into_iter().for_each(|nanos| histogram.record(nanos));
        histogram
    }

    #[test]
    fn a_percentile_needs_ten_samples_beyond_it() {
        let needed = [0.5, 0.9, 0.95, 0.99, 0.999, 0.9999].map(samples_needed);
        assert_eq!(needed, [20, 100, 200, 1_000, 10_000, 100_000]);
        assert_eq!(of(1..=999).percentile(0.99), None);
        assert!(of(1..=1000).percentile(0.99).is_some());
        let (few, enough) = (of(1..=19).summary(), of(1..=20).summary());
        assert_eq!((few.count, few.p50, enough.p50), (19, None, Some(0.010)));
    }

    #[test]
    fn nothing_recorded_is_null_and_not_zero() {
        assert_eq!(Histogram::new().summary(), Latency::default());
        assert_eq!(IntervalHistogram::new().max_us(), None);
    }

    #[test]
    fn nanoseconds_go_in_and_microseconds_come_out() {
        let summary = of((1..=100_000).map(|us| us * 1000)).summary();
        let near = |value: Option<f64>, wanted: f64| (value.unwrap() / wanted - 1.0).abs() < 0.002;
        assert!(near(summary.p99, 99_000.0) && near(summary.p9999, 99_990.0), "{summary:?}");
        assert!(near(summary.mean, 50_000.5) && near(summary.max, 100_000.0), "{summary:?}");
    }

    #[test]
    fn what_is_longer_than_an_hour_is_counted() {
        let mut histogram = of([NANOS_MAX, NANOS_MAX + 1, u64::MAX]);
        assert_eq!((histogram.count(), histogram.clamped()), (3, 2));
        let mut merged = of([0]);
        merged.merge(&histogram);
        assert_eq!((merged.count(), merged.clamped()), (4, 2));
        histogram.reset();
        assert_eq!((histogram.count(), histogram.clamped()), (0, 0));
    }

    #[test]
    fn the_memory_is_what_the_module_says() {
        assert_eq!(Histogram::new().hdr.distinct_values(), 33_792);
        assert_eq!(IntervalHistogram::new().hdr.distinct_values() * size_of::<u32>(), 18 << 10);
    }

    #[test]
    fn a_second_forgets_the_one_before() {
        let mut second = IntervalHistogram::new();
        (0..1000).for_each(|_| second.record(5_000_000));
        second.reset();
        (0..1000).for_each(|_| second.record(1_000_000));
        let (p99, max) = (second.percentile_us(0.99).unwrap(), second.max_us().unwrap());
        assert!((1000.0..1010.0).contains(&p99) && (1000.0..1010.0).contains(&max), "{p99} {max}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn merged_workers_are_one_worker_that_saw_everything(
            left in prop::collection::vec(0..2 * NANOS_MAX, 0..200),
            right in prop::collection::vec(0..2 * NANOS_MAX, 0..200),
        ) {
            let mut merged = of(left.iter().copied());
            merged.merge(&of(right.iter().copied()));
            let all = of(left.into_iter().chain(right));
            prop_assert_eq!(&merged.hdr, &all.hdr);
            prop_assert_eq!(merged.clamped(), all.clamped());
            prop_assert_eq!(merged.summary(), all.summary());
        }
    }
}
