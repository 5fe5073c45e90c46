//! Statistics for few runs of a noisy machine. All of it works on logarithms, so that a difference is a ratio.
//!
//! Nothing here draws from a clock or the system's randomness: where all cases are too many to be counted, a fixed seed
//! chooses some, and the same figures give the same answer.

mod bootstrap;
mod counts;
mod permutation;
mod ranks;

pub use bootstrap::{Interval, median_difference_interval, median_interval};
pub use counts::more_often_p;
pub use permutation::{Block, permutation_p};
pub use ranks::mann_whitney_p;

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// The seed of everything that is drawn.
const SEED: u64 = 0x7468_726f_6e67;

/// A stream of numbers that is the same on every machine.
pub(crate) struct Draws(Xoshiro256PlusPlus);

impl Draws {
    pub(crate) fn new() -> Draws {
        Draws(Xoshiro256PlusPlus::seed_from_u64(SEED))
    }

    /// One of `0..bound`, near enough to evenly for bounds below 2^32.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (((self.0.next_u64() >> 32) * bound as u64) >> 32) as usize
    }
}

/// The median, which of an even number is the mean of the two in the middle; `values` are put in order on the way.
///
/// # Panics
/// Without values.
pub fn median(values: &mut [f64]) -> f64 {
    assert!(!values.is_empty(), "nothing has no median");
    values.sort_unstable_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 { values[half] } else { (values[half - 1] + values[half]) / 2.0 }
}

/// The value that the share `p` of the values does not exceed, interpolated between neighbours; `sorted` is in order.
///
/// # Panics
/// Without values.
pub fn quantile(sorted: &[f64], p: f64) -> f64 {
    let at = p.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

/// Holm's step-down adjustment of p-values: each is as small as a level can be at which its hypothesis is rejected while the
/// chance of any false rejection among all of them stays below that level.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_unstable_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut adjusted = vec![0.0; p.len()];
    let mut least = 0.0_f64;
    for (done, index) in order.into_iter().enumerate() {
        least = least.max(p[index] * (p.len() - done) as f64).min(1.0);
        adjusted[index] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&mut [7.0]), 7.0);
    }

    #[test]
    fn quantiles_lie_between_neighbours() {
        let sorted = [1.0, 2.0, 4.0];
        let at = [0.0, 0.25, 0.5, 0.75, 1.0].map(|p| quantile(&sorted, p));
        assert_eq!(at, [1.0, 1.5, 2.0, 3.0, 4.0]);
    }

    /// R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") is 0.03 0.06 0.06 0.02.
    #[test]
    fn holm_adjusts_as_r_does() {
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (adjusted, published) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((adjusted - published).abs() < 1e-12, "{adjusted} {published}");
        }
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn draws_are_even() {
        let mut draws = Draws::new();
        let mut counts = [0; 6];
        for _ in 0..60_000 {
            counts[draws.below(6)] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }
}
