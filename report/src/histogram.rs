//! Distributions of time. The only module besides [`crate::hlog`] that knows HdrHistogram.
//!
//! Values go in as nanoseconds and come out as microseconds. A [`Histogram`] keeps three significant digits from 1 ns to
//! 1 hour, in the buckets of HdrHistogram: 33 chunks of 1,024 counters of 8 bytes, one for each doubling of the value, and each
//! is allocated when the first value comes that belongs into it. (HdrHistogram itself writes all of its 264 KiB at once.) It
//! is meant for a worker and a metric, never for a user: many workers whose metrics hardly occur cost nothing.
//! An [`IntervalHistogram`] is for the second that is running: two digits and 4-byte counters, 18 KiB from its first value on, so
//! that clearing it every second costs well under a microsecond. Merged over a run it is what is shown while the run lasts; a
//! counter that is full (4 thousand million) stays so.

use hdrhistogram::Histogram as Hdr;

use crate::schema::Latency;

/// The largest value that a histogram tells apart: one hour.
pub const NANOS_MAX: u64 = 3_600_000_000_000;

/// Samples beyond the percentile that make it worth printing: p needs at least `TAIL_SAMPLES / (1 - p)` in all.
pub const TAIL_SAMPLES: u64 = 10;

const DIGITS: u8 = 3;
const INTERVAL_DIGITS: u8 = 2;
const NANOS_PER_US: f64 = 1000.0;

/// Counters of one chunk: half of the sub-buckets that three digits need.
const CHUNK: usize = 1024;
const CHUNK_BITS: u32 = CHUNK.trailing_zeros();
/// Chunks up to [`NANOS_MAX`].
const CHUNKS: usize = chunk_of(NANOS_MAX).0 + 1;

/// The chunk of a value, and its place in it. Below 2,048 every value has a counter of its own; above, each doubling has one
/// chunk.
const fn chunk_of(nanos: u64) -> (usize, usize) {
    let shift = (u64::BITS - CHUNK_BITS - 1).saturating_sub((nanos | 1).leading_zeros());
    let sub = (nanos >> shift) as usize;
    (shift as usize + sub / CHUNK, sub % CHUNK)
}

/// The smallest value of a place in a chunk.
const fn value_of(chunk: usize, place: usize) -> u64 {
    match chunk {
        0 => place as u64,
        _ => ((CHUNK + place) as u64) << (chunk - 1),
    }
}

/// A distribution over a whole run: three significant digits. Recording allocates 8 KiB for the first value of each doubling, at
/// most 33 times.
#[derive(Clone, Debug)]
pub struct Histogram {
    chunks: [Option<Box<[u64; CHUNK]>>; CHUNKS],
    count: u64,
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
        Histogram { chunks: [const { None }; CHUNKS], count: 0, clamped: 0 }
    }

    /// Records one value. What is above [`NANOS_MAX`] is recorded as that and counted in [`Histogram::clamped`].
    #[inline]
    pub fn record(&mut self, nanos: u64) {
        self.clamped += u64::from(nanos > NANOS_MAX);
        self.count += 1;
        let (chunk, place) = chunk_of(nanos.min(NANOS_MAX));
        self.chunks[chunk].get_or_insert_with(empty_chunk)[place] += 1;
    }

    /// Records one value `times` times.
    fn record_n(&mut self, nanos: u64, times: u64) {
        self.clamped += if nanos > NANOS_MAX { times } else { 0 };
        self.count += times;
        let (chunk, place) = chunk_of(nanos.min(NANOS_MAX));
        self.chunks[chunk].get_or_insert_with(empty_chunk)[place] += times;
    }

    /// Adds everything that `other` holds; nothing is lost.
    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.chunks.iter_mut().zip(&other.chunks) {
            let Some(theirs) = theirs else { continue };
            let mine = mine.get_or_insert_with(empty_chunk);
            mine.iter_mut().zip(theirs.iter()).for_each(|(mine, theirs)| *mine += theirs);
        }
        self.count += other.count;
        self.clamped += other.clamped;
    }

    /// Values recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Values that were above [`NANOS_MAX`].
    pub fn clamped(&self) -> u64 {
        self.clamped
    }

    /// Bytes that it has allocated.
    pub fn allocated_bytes(&self) -> usize {
        self.chunks.iter().flatten().count() * size_of::<[u64; CHUNK]>()
    }

    /// Forgets everything, and gives its memory back.
    pub fn reset(&mut self) {
        *self = Histogram::new();
    }

    /// The value in nanoseconds that the share `p` (0 to 1) of the samples does not exceed; `None` with fewer than
    /// `10 / (1 - p)` samples.
    pub fn percentile(&self, p: f64) -> Option<u64> {
        (self.count() >= samples_needed(p)).then(|| self.hdr().value_at_quantile(p))
    }

    /// The distribution in microseconds, as `summary.json` holds it.
    pub fn summary(&self) -> Latency {
        let hdr = self.hdr();
        let some = !hdr.is_empty();
        let us = |nanos: u64| nanos as f64 / NANOS_PER_US;
        let at = |p| (self.count >= samples_needed(p)).then(|| us(hdr.value_at_quantile(p)));
        Latency {
            count: self.count(),
            min: some.then(|| us(hdr.min())),
            mean: some.then(|| hdr.mean() / NANOS_PER_US),
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: some.then(|| us(hdr.max())),
        }
    }

    /// The distribution over ever higher percentiles p, as `(1 / (1 - p), microseconds)`: one sample in so many took longer than
    /// that. Begins at p = 0, the smallest value, makes `per_decade` steps from each tenth of the tail to the next, and ends with the
    /// highest percentile that has samples enough, as [`Histogram::percentile`] wants them.
    pub fn curve(&self, per_decade: u32) -> Vec<(f64, f64)> {
        let hdr = self.hdr();
        let one_in = |step: u32| 10f64.powf(f64::from(step) / f64::from(per_decade));
        let known = (0..)
            .map(one_in)
            .take_while(|one_in| (TAIL_SAMPLES as f64 * one_in).round() as u64 <= self.count);
        known
            .map(|one_in| (one_in, hdr.value_at_quantile(1.0 - 1.0 / one_in) as f64 / NANOS_PER_US))
            .collect()
    }

    /// The distribution that a HdrHistogram holds. With three digits and up to [`NANOS_MAX`], as [`Histogram::hdr`] makes them, nothing
    /// is lost; else values go into the buckets that are here, and those above the largest are counted in [`Histogram::clamped`].
    pub(crate) fn from_hdr(hdr: &Hdr<u64>) -> Histogram {
        let mut histogram = Histogram::new();
        for value in hdr.iter_recorded() {
            // The bucket's lower end: the upper one of the last bucket is above `NANOS_MAX`.
            histogram.record_n(hdr.lowest_equivalent(value.value_iterated_to()), value.count_at_value());
        }
        histogram
    }

    /// The same distribution as a HdrHistogram: whatever is read out of it, or written to a file, is read from this.
    pub(crate) fn hdr(&self) -> Hdr<u64> {
        let mut hdr =
            Hdr::new_with_bounds(1, NANOS_MAX, DIGITS).expect("1 <= NANOS_MAX / 2, and digits in 0..=5");
        for (chunk, counts) in self.chunks.iter().enumerate() {
            let counts = counts.iter().flat_map(|counts| counts.iter().enumerate());
            for (place, &count) in counts.filter(|(_, count)| **count > 0) {
                hdr.saturating_record_n(value_of(chunk, place), count);
            }
        }
        hdr
    }
}

fn empty_chunk() -> Box<[u64; CHUNK]> {
    Box::new([0; CHUNK])
}

/// How many samples the percentile `p` (0 to 1) needs before it is printed.
pub fn samples_needed(p: f64) -> u64 {
    // Rounded, since 10 / (1 - 0.99) is a little above 1000 in binary.
    (TAIL_SAMPLES as f64 / (1.0 - p)).round() as u64
}

/// A distribution over the second that is running: two significant digits. Recording allocates once.
#[derive(Clone, Debug, Default)]
pub struct IntervalHistogram {
    hdr: Option<Hdr<u32>>,
}

impl IntervalHistogram {
    /// An empty histogram.
    pub fn new() -> IntervalHistogram {
        IntervalHistogram::default()
    }

    fn hdr(&mut self) -> &mut Hdr<u32> {
        self.hdr.get_or_insert_with(|| {
            Hdr::new_with_bounds(1, NANOS_MAX, INTERVAL_DIGITS)
                .expect("1 <= NANOS_MAX / 2, and digits in 0..=5")
        })
    }

    /// Records one value; what is above [`NANOS_MAX`] is recorded as that (the run's [`Histogram`] counts it).
    #[inline]
    pub fn record(&mut self, nanos: u64) {
        self.hdr().saturating_record(nanos.min(NANOS_MAX));
    }

    /// Adds everything that `other` holds.
    pub fn merge(&mut self, other: &IntervalHistogram) {
        if let Some(theirs) = other.hdr.as_ref().filter(|theirs| !theirs.is_empty()) {
            self.hdr().add(theirs).expect("both have the same bounds and digits");
        }
    }

    /// Values recorded since the last [`IntervalHistogram::reset`].
    pub fn count(&self) -> u64 {
        self.hdr.as_ref().map_or(0, Hdr::len)
    }

    /// As [`Histogram::percentile`], but in microseconds.
    pub fn percentile_us(&self, p: f64) -> Option<f64> {
        let hdr = self.hdr.as_ref().filter(|hdr| hdr.len() >= samples_needed(p))?;
        Some(hdr.value_at_quantile(p) as f64 / NANOS_PER_US)
    }

    /// The largest value in microseconds; `None` without samples.
    pub fn max_us(&self) -> Option<f64> {
        let hdr = self.hdr.as_ref().filter(|hdr| !hdr.is_empty())?;
        Some(hdr.max() as f64 / NANOS_PER_US)
    }

    /// The sum of all values in seconds, each as the middle of its counter: 1 % off at most.
    pub fn sum_s(&self) -> f64 {
        let Some(hdr) = &self.hdr else { return 0.0 };
        let values = hdr.iter_recorded().map(|step| {
            hdr.median_equivalent(step.value_iterated_to()) as f64 * f64::from(step.count_at_value())
        });
        values.sum::<f64>() / 1e9
    }

    /// How many values were at most so many nanoseconds; those that share a counter with the bound are among them.
    pub fn count_up_to(&self, nanos: u64) -> u64 {
        self.hdr.as_ref().map_or(0, |hdr| hdr.count_between(0, nanos))
    }

    /// Begins the next second.
    pub fn reset(&mut self) {
        self.hdr.iter_mut().for_each(Hdr::reset);
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
        assert_eq!(CHUNKS * CHUNK, Histogram::new().hdr().distinct_values(), "the same buckets");
        assert_eq!((Histogram::new().allocated_bytes(), size_of::<Histogram>() <= 512), (0, true));
        // From 1 ms to 1 s: ten doublings.
        assert_eq!(of((1..1000).map(|ms| ms * 1_000_000)).allocated_bytes(), 11 * 8192);
        let mut second = IntervalHistogram::new();
        assert!(second.hdr.is_none());
        second.record(1);
        assert_eq!(second.hdr().distinct_values() * size_of::<u32>(), 18 << 10);
    }

    #[test]
    fn a_merge_or_a_reset_of_nothing_allocates_nothing() {
        let mut second = IntervalHistogram::new();
        second.merge(&IntervalHistogram::new());
        second.reset();
        assert!(second.hdr.is_none() && second.count() == 0);
        let mut whole = Histogram::new();
        whole.merge(&Histogram::new());
        assert_eq!(whole.allocated_bytes(), 0);
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

    #[test]
    fn a_curve_ends_where_a_percentile_would_be_a_guess() {
        let curve = of((1..=100_000).map(|us| us * 1000)).curve(2);
        let ends: Vec<f64> = curve.iter().map(|(one_in, _)| one_in.round()).collect();
        assert_eq!(ends, [1.0, 3.0, 10.0, 32.0, 100.0, 316.0, 1000.0, 3162.0, 10_000.0]);
        assert!(curve[0].1 < 1.01 && (curve[8].1 / 99_990.0 - 1.0).abs() < 0.002, "{curve:?}");
        assert!(of(0..9).curve(10).is_empty() && !of(0..10).curve(10).is_empty());
    }

    #[test]
    fn what_another_histogram_holds_beyond_an_hour_is_clamped_and_counted() {
        let mut other = Hdr::<u64>::new_with_bounds(1, 100 * NANOS_MAX, 4).unwrap();
        other.record_n(2 * NANOS_MAX, 3).unwrap();
        other.record(1_000).unwrap();
        let read = Histogram::from_hdr(&other);
        assert_eq!((read.count(), read.clamped()), (4, 3));
        assert_eq!(read.hdr(), of([1_000, NANOS_MAX, NANOS_MAX, NANOS_MAX]).hdr());
    }

    #[test]
    fn a_second_can_be_counted_up_to_a_bound_and_summed() {
        let mut second = IntervalHistogram::new();
        assert_eq!((second.count_up_to(u64::MAX), second.sum_s()), (0, 0.0));
        (1..=100).for_each(|ms| second.record(ms * 1_000_000));
        assert_eq!([500_000, 10_000_000, 1 << 40].map(|bound| second.count_up_to(bound)), [0, 10, 100]);
        assert!((second.sum_s() / 5.05 - 1.0).abs() < 0.01, "{}", second.sum_s());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn buckets_are_those_of_hdrhistogram(
            values in prop::collection::vec(prop_oneof![0..5000u64, 0..2_000_000_000u64, 0..=NANOS_MAX], 1..200),
        ) {
            let mut hdr = Hdr::<u64>::new_with_bounds(1, NANOS_MAX, DIGITS).unwrap();
            values.iter().for_each(|&value| hdr.record(value).unwrap());
            prop_assert_eq!(of(values).hdr(), hdr);
        }

        #[test]
        fn merged_workers_are_one_worker_that_saw_everything(
            left in prop::collection::vec(0..2 * NANOS_MAX, 0..200),
            right in prop::collection::vec(0..2 * NANOS_MAX, 0..200),
        ) {
            let mut merged = of(left.iter().copied());
            merged.merge(&of(right.iter().copied()));
            let all = of(left.into_iter().chain(right));
            prop_assert_eq!(merged.hdr(), all.hdr());
            prop_assert_eq!(merged.clamped(), all.clamped());
            prop_assert_eq!(merged.summary(), all.summary());
        }
    }
}
