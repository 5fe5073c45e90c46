//! The permutation test within blocks: what else could the runs of each block have been called?
//!
//! Runs of one block are close in time, and so share what the machine was doing. If the two arms are the same, each way to
//! call its runs is as likely as the one that was, whatever the noise looks like.

use super::{Draws, median};

/// So many relabellings are counted one by one; of more, as many as [`DRAWN`] are drawn.
const COUNTED_MAX: usize = 2_000_000;
const DRAWN: usize = 200_000;
/// Runs of one block, at most.
const BLOCK_MAX: usize = 16;

/// Runs of both arms that belong together: the logarithms of their figures.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Of the arm that is compared with.
    pub baseline: Vec<f64>,
    /// Of the arm that is judged.
    pub candidate: Vec<f64>,
}

impl Block {
    /// The logarithm of the ratio, candidate to baseline.
    ///
    /// # Panics
    /// Where either arm has no run.
    pub fn log_ratio(&self) -> f64 {
        mean(&self.candidate) - mean(&self.baseline)
    }

    /// The log-ratios of all ways to call its runs, each as likely as another.
    fn relabelled(&self) -> Vec<f64> {
        let all: Vec<f64> = self.baseline.iter().chain(&self.candidate).copied().collect();
        assert!(all.len() <= BLOCK_MAX, "a block is a handful of runs");
        let candidates = self.candidate.len() as u32;
        let ways = (0_u32..1 << all.len()).filter(|way| way.count_ones() == candidates);
        let log_ratio = |way: u32| {
            let of = |called: bool| -> Vec<f64> {
                let runs = all.iter().enumerate().filter(|(at, _)| (way >> at & 1 == 1) == called);
                runs.map(|(_, value)| *value).collect()
            };
            mean(&of(true)) - mean(&of(false))
        };
        ways.map(log_ratio).collect()
    }
}

fn mean(values: &[f64]) -> f64 {
    assert!(!values.is_empty(), "each arm has a run in each block");
    values.iter().sum::<f64>() / values.len() as f64
}

/// How likely a median of the blocks' log-ratios as far from zero as this one is, where the arms do not differ: two-sided, exact for up
/// to two million relabellings, else from 200,000 drawn ones. 1 without blocks.
pub fn permutation_p(blocks: &[Block]) -> f64 {
    if blocks.is_empty() {
        return 1.0;
    }
    let mut seen: Vec<f64> = blocks.iter().map(Block::log_ratio).collect();
    // What differs from it by rounding alone is as far.
    let limit = median(&mut seen).abs() * (1.0 - 1e-9);
    let mut ways: Vec<Vec<f64>> = blocks.iter().map(Block::relabelled).collect();
    if blocks.iter().all(|block| block.baseline.len() == block.candidate.len()) {
        // To call everything the other way round turns the sign of the median alone. The two halves of the first block's ways are each
        // other's opposites, so one of them stands for both.
        let half = ways[0].len() / 2;
        ways[0].truncate(half);
    }
    let all = ways.iter().try_fold(1_usize, |all, ways| all.checked_mul(ways.len()));
    let mut chosen = vec![0.0; ways.len()];
    match all.filter(|all| *all <= COUNTED_MAX) {
        Some(all) => {
            let far = (0..all).filter(|number| {
                let mut number = *number;
                for (chosen, ways) in chosen.iter_mut().zip(&ways) {
                    *chosen = ways[number % ways.len()];
                    number /= ways.len();
                }
                median(&mut chosen).abs() >= limit
            });
            far.count() as f64 / all as f64
        }
        None => {
            let mut draws = Draws::new();
            let far = (0..DRAWN).filter(|_| {
                for (chosen, ways) in chosen.iter_mut().zip(&ways) {
                    *chosen = ways[draws.below(ways.len())];
                }
                median(&mut chosen).abs() >= limit
            });
            // The one that was seen is one of them.
            (far.count() + 1) as f64 / (DRAWN + 1) as f64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(baseline: [f64; 2], candidate: [f64; 2]) -> Block {
        Block { baseline: baseline.to_vec(), candidate: candidate.to_vec() }
    }

    #[test]
    fn a_block_of_two_and_two_has_six_ways() {
        let mut ways = block([0.0, 1.0], [10.0, 21.0]).relabelled();
        ways.sort_unstable_by(f64::total_cmp);
        // Sums of two of 0, 1, 10, 21 as candidates against the rest, by hand.
        assert_eq!(ways, [-15.0, -6.0, -5.0, 5.0, 6.0, 15.0]);
    }

    #[test]
    fn the_most_extreme_of_all_ways_has_the_smallest_p() {
        let blocks: Vec<Block> =
            (0..6).map(|at| block([0.0, 0.1], [1.0, 1.1 + f64::from(at) / 100.0])).collect();
        // Only the blocks as they are, and all of them the other way round, are as far in every block; the median wants four.
        let p = permutation_p(&blocks);
        assert!(p < 0.02, "{p}");
        let one = permutation_p(&blocks[..1]);
        assert!((one - 2.0 / 6.0).abs() < 1e-12, "{one}");
    }

    #[test]
    fn arms_without_a_difference_are_not_told_apart() {
        let blocks: Vec<Block> = (0..6)
            .map(|at| {
                let sign = if at % 2 == 0 { 1.0 } else { -1.0 };
                block([0.0, 0.3], [0.1 * sign, 0.2])
            })
            .collect();
        assert!(permutation_p(&blocks) > 0.3);
        assert_eq!(permutation_p(&[]), 1.0);
        assert_eq!(permutation_p(&[block([1.0; 2], [1.0; 2])]), 1.0);
    }

    #[test]
    fn drawn_relabellings_tell_what_counted_ones_tell() {
        let noise = [0.3, -0.2, 0.5, 0.1, -0.4, 0.2, 0.0, 0.35, -0.1, 0.25];
        let blocks = |count: usize| -> Vec<Block> {
            (0..count).map(|at| block([0.0, noise[at] / 2.0], [noise[at], 0.15])).collect()
        };
        let (counted, drawn) = (permutation_p(&blocks(8)), permutation_p(&blocks(10)));
        assert!(counted > 0.0 && drawn > 0.0 && drawn < 1.0, "{counted} {drawn}");
    }
}
