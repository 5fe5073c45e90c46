//! Intervals of a median by the bootstrap, exactly.
//!
//! What resampling would come to can be written down for a median: which two of the values stand in the middle of a resample, and how
//! often, follows from binomial probabilities (Hutson & Ernst, Journal of the Royal Statistical Society B 62, 2000). So nothing is drawn.
//!
//! The percentile bootstrap is too narrow for few values: it takes their spread for that of the whole, and the normal
//! distribution's ends for Student's. Hesterberg's expanded percentile interval (The American Statistician 69(4), 2015)
//! corrects both by taking percentiles further out, as far as there are few values.

use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, Normal, StudentsT};
use statrs::function::factorial::ln_binomial;

/// Where a figure lies with the confidence that was asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Interval {
    /// Whether it holds this value.
    pub fn contains(self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// The interval of the median of what `values` were drawn from. `confidence` is 0 to 1. `None` with fewer than two values.
pub fn median_interval(values: &[f64], confidence: f64) -> Option<Interval> {
    let tail = expanded_tail(values.len(), confidence)?;
    let medians = medians(values);
    let mirrored: Vec<(f64, f64)> = medians.iter().rev().map(|(value, likely)| (-value, *likely)).collect();
    Some(Interval { low: quantile(&medians, tail), high: -quantile(&mirrored, tail) })
}

/// The interval of the difference of the medians, `candidate` less `baseline`. `None` with fewer than two values in either.
pub fn median_difference_interval(baseline: &[f64], candidate: &[f64], confidence: f64) -> Option<Interval> {
    let tail = expanded_tail(baseline.len().min(candidate.len()), confidence)?;
    let (from_baseline, from_candidate) = (medians(baseline), medians(candidate));
    let low = difference_quantile(&from_candidate, &from_baseline, tail);
    let high = -difference_quantile(&from_baseline, &from_candidate, tail);
    Some(Interval { low, high })
}

/// The medians that resamples of `values` have, in order, each with its probability.
fn medians(values: &[f64]) -> Vec<(f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let n = sorted.len();
    let share = |count: usize| count as f64 / n as f64;
    // The probability that the kth of a resample is at most the ith of the values, both from 1.
    let at_most = |k: usize, i: usize| {
        let below = Binomial::new(share(i), n as u64).expect("a share is a probability");
        below.sf(k as u64 - 1)
    };
    let is = |k: usize, i: usize| at_most(k, i) - at_most(k, i - 1);
    let half = n / 2;
    if n % 2 == 1 {
        return (1..=n).map(|i| (sorted[i - 1], is(half + 1, i))).collect();
    }
    // That half of a resample lies among the first so many values and reaches the last of them, as a logarithm: the numbers
    // themselves are too small and the ways too many where there are hundreds of values.
    let reaches = |count: usize| {
        half as f64 * share(count).ln() + (-(share(count - 1) / share(count)).powi(half as i32)).ln_1p()
    };
    let ways = ln_binomial(n as u64, half as u64);
    let mut medians = Vec::with_capacity(n * (n + 1) / 2);
    for i in 1..=n {
        let mut same = is(half, i);
        for j in i + 1..=n {
            // Half of the resample up to the ith value, which is among them; the other half from the jth on, likewise.
            let likely = (ways + reaches(i) + reaches(n - j + 1)).exp();
            same -= likely;
            medians.push(((sorted[i - 1] + sorted[j - 1]) / 2.0, likely));
        }
        medians.push((sorted[i - 1], same));
    }
    medians.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    medians
}

/// The least value up to which more than `tail` of the probability lies; `values` are in order.
fn quantile(values: &[(f64, f64)], tail: f64) -> f64 {
    let mut sum = 0.0;
    let reached = values.iter().find(|(_, likely)| {
        sum += likely;
        sum > tail
    });
    reached.or(values.last()).map_or(f64::NAN, |(value, _)| *value)
}

/// The same for the difference of two independent values, `a` less `b`, both in order. Differences are as many as the product, so
/// they are not written down: how much lies up to one of them takes a walk along both lists, and halving finds the one to ask for, from
/// below and to a part in 10^15 of their range.
fn difference_quantile(a: &[(f64, f64)], b: &[(f64, f64)], tail: f64) -> f64 {
    let mut from: Vec<f64> = b.iter().map(|(_, likely)| *likely).collect();
    for at in (1..from.len()).rev() {
        from[at - 1] += from[at];
    }
    let up_to = |limit: f64| {
        let mut at = 0;
        let mut sum = 0.0;
        for (value, likely) in a {
            while at < b.len() && value - b[at].0 > limit {
                at += 1;
            }
            sum += likely * from.get(at).unwrap_or(&0.0);
        }
        sum
    };
    let (mut low, mut high) = (a[0].0 - b[b.len() - 1].0, a[a.len() - 1].0 - b[0].0);
    let enough = (high - low) * 1e-15;
    if up_to(low) > tail {
        return low;
    }
    while high - low > enough {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            break;
        }
        if up_to(middle) > tail { high = middle } else { low = middle }
    }
    low
}

/// The share of resamples beyond either end: Phi(-sqrt(n / (n - 1)) * t), t being Student's quantile with n - 1 degrees of freedom.
fn expanded_tail(n: usize, confidence: f64) -> Option<f64> {
    if n < 2 {
        return None;
    }
    let degrees = (n - 1) as f64;
    let student = StudentsT::new(0.0, 1.0, degrees).ok()?.inverse_cdf(0.5 + confidence / 2.0);
    Some(Normal::standard().cdf(-(n as f64 / degrees).sqrt() * student))
}

#[cfg(test)]
mod tests {
    use rand_core::Rng;

    use super::super::{Draws, median};
    use super::*;

    /// By hand: with n = 5, t is 2.776, times sqrt(5 / 4) is 3.104; with 10, 2.262 times sqrt(10 / 9) is 2.385.
    #[test]
    fn few_values_take_percentiles_further_out() {
        let tail = |n| expanded_tail(n, 0.95).unwrap();
        let near = |value: f64, wanted: f64| (value - wanted).abs() < 2e-5;
        assert!(near(tail(5), 0.000_955), "{}", tail(5));
        assert!(near(tail(10), 0.008_54), "{}", tail(10));
        assert!((tail(10_000) - 0.025).abs() < 1e-4, "{}", tail(10_000));
        assert_eq!(expanded_tail(1, 0.95), None);
    }

    /// What all 6^6 and 5^5 resamples come to, counted one by one.
    #[test]
    fn the_probabilities_are_those_of_all_resamples() {
        for values in [&[3.0, 1.0, 4.0, 1.5, 9.0, 2.6][..], &[3.0, 1.0, 4.0, 1.5, 9.0]] {
            let (n, mut counts) = (values.len(), std::collections::BTreeMap::<u64, f64>::new());
            let all = n.pow(n as u32);
            for mut number in 0..all {
                let mut resample: Vec<f64> = Vec::new();
                for _ in 0..n {
                    resample.push(values[number % n]);
                    number /= n;
                }
                *counts.entry(median(&mut resample).to_bits()).or_default() += 1.0 / all as f64;
            }
            let mut exact = std::collections::BTreeMap::<u64, f64>::new();
            for (value, probability) in medians(values) {
                *exact.entry(value.to_bits()).or_default() += probability;
            }
            assert_eq!(counts.len(), exact.len());
            for (value, probability) in exact {
                assert!((counts[&value] - probability).abs() < 1e-9, "{}", f64::from_bits(value));
            }
        }
    }

    /// Normally distributed, by the sum of twelve even ones.
    fn normal(draws: &mut Draws) -> f64 {
        (0..12).map(|_| (draws.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64).sum::<f64>() - 6.0
    }

    fn coverage(n: usize, make: impl Fn(&mut Draws) -> f64, truth: f64) -> f64 {
        let mut draws = Draws::new();
        let held = (0..1000).filter(|_| {
            let values: Vec<f64> = (0..n).map(|_| make(&mut draws)).collect();
            median_interval(&values, 0.95).unwrap().contains(truth)
        });
        held.count() as f64 / 1000.0
    }

    #[test]
    fn an_interval_holds_the_true_median_as_often_as_it_says() {
        for n in [6, 12, 25] {
            let even = coverage(n, normal, 0.0);
            assert!((0.93..=0.985).contains(&even), "{n} normal values: {even}");
            // A machine's noise has a tail on one side.
            let skewed = coverage(n, |draws| normal(draws).exp(), 1.0);
            assert!((0.93..=0.985).contains(&skewed), "{n} skewed values: {skewed}");
        }
    }

    #[test]
    fn the_interval_of_a_difference_holds_it_as_often_as_it_says() {
        let mut draws = Draws::new();
        let held = (0..1000).filter(|_| {
            let baseline: Vec<f64> = (0..12).map(|_| normal(&mut draws)).collect();
            let candidate: Vec<f64> = (0..12).map(|_| 0.5 + normal(&mut draws)).collect();
            median_difference_interval(&baseline, &candidate, 0.95).unwrap().contains(0.5)
        });
        let share = held.count() as f64 / 1000.0;
        assert!((0.93..=0.99).contains(&share), "{share}");
    }

    /// All differences, written down.
    #[test]
    fn the_ends_of_a_difference_are_those_among_all_differences() {
        let mut draws = Draws::new();
        for n in [2, 3, 12] {
            let a: Vec<f64> = (0..n).map(|_| normal(&mut draws)).collect();
            let b: Vec<f64> = (0..n + 1).map(|_| normal(&mut draws)).collect();
            let (a, b) = (medians(&a), medians(&b));
            let mut all: Vec<(f64, f64)> =
                a.iter().flat_map(|a| b.iter().map(move |b| (a.0 - b.0, a.1 * b.1))).collect();
            all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
            for tail in [1e-12, 0.003, 0.025, 0.4] {
                let (found, expected) = (difference_quantile(&a, &b, tail), quantile(&all, tail));
                assert!((found - expected).abs() < 1e-12, "{n}, {tail}: {found}, {expected}");
            }
        }
    }

    /// The standard error of a median of n normal values is sqrt(pi / 2n): for the difference of two, 1.96 times sqrt(pi / n).
    #[test]
    fn hundreds_of_values_have_the_interval_that_theory_gives() {
        for n in [240, 1500] {
            let mut draws = Draws::new();
            let mut sample = || (0..n).map(|_| normal(&mut draws)).collect::<Vec<f64>>();
            let (baseline, candidate) = (sample(), sample());
            let interval = median_difference_interval(&baseline, &candidate, 0.95).unwrap();
            let expected = 2.0 * 1.96 * (std::f64::consts::PI / f64::from(n)).sqrt();
            let length = interval.high - interval.low;
            assert!((0.7..1.4).contains(&(length / expected)), "{n}: {length}, {expected}");
            let likely: f64 = medians(&baseline).iter().map(|(_, likely)| likely).sum();
            assert!((likely - 1.0).abs() < 1e-9, "{n}: {likely}");
        }
    }

    #[test]
    fn equal_values_have_an_interval_without_length() {
        assert_eq!(median_interval(&[2.0; 6], 0.95), Some(Interval { low: 2.0, high: 2.0 }));
        assert_eq!(median_interval(&[2.0], 0.95), None);
    }
}
