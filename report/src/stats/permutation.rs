//! The rank-sum test within blocks (Wilcoxon, stratified): what else could the runs of each block have been called?
//!
//! Runs of one block are close in time, and so share what the machine was doing. If the two arms are the same, each way to
//! call its runs is as likely as the one that was, whatever the noise looks like. What is summed up is the candidate's ranks within each
//! block, so that a machine that becomes slower within a block moves the sum no further than any other order of its runs.

use std::collections::BTreeMap;

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

    /// Twice the ranks of its runs, the baseline's first: so the middle of equal ones is a whole number, too.
    fn ranks(&self) -> Vec<i64> {
        let all: Vec<f64> = self.baseline.iter().chain(&self.candidate).copied().collect();
        assert!(all.len() <= BLOCK_MAX, "a block is a handful of runs");
        let count = |is: &dyn Fn(f64) -> bool| all.iter().filter(|value| is(**value)).count() as i64;
        all.iter().map(|one| 2 * count(&|value| value < *one) + count(&|value| value == *one) + 1).collect()
    }

    /// How far the candidate's ranks are from what they are on average, as it is and in all ways to call its runs, each as likely as
    /// another.
    fn deviations(&self) -> (i64, Vec<i64>) {
        let ranks = self.ranks();
        let candidates = self.candidate.len();
        let average = candidates as i64 * (ranks.len() as i64 + 1);
        let seen = ranks[self.baseline.len()..].iter().sum::<i64>() - average;
        let ways = (0_u32..1 << ranks.len()).filter(|way| way.count_ones() as usize == candidates);
        let of = |way: u32| {
            let called = ranks.iter().enumerate().filter(|(at, _)| way >> at & 1 == 1);
            called.map(|(_, rank)| rank).sum::<i64>() - average
        };
        (seen, ways.map(of).collect())
    }
}

fn mean(values: &[f64]) -> f64 {
    assert!(!values.is_empty(), "each arm has a run in each block");
    values.iter().sum::<f64>() / values.len() as f64
}

/// How likely ranks of the candidate as far from their average as these are, where the arms do not differ: two-sided, exact. 1
/// without blocks.
pub fn permutation_p(blocks: &[Block]) -> f64 {
    let mut seen = 0;
    // How likely each sum over the blocks so far is.
    let mut sums = BTreeMap::from([(0, 1.0)]);
    for block in blocks {
        let (deviation, ways) = block.deviations();
        seen += deviation;
        let mut next = BTreeMap::new();
        for (sum, likely) in sums {
            for way in &ways {
                *next.entry(sum + way).or_insert(0.0) += likely / ways.len() as f64;
            }
        }
        sums = next;
    }
    let far: f64 = sums.iter().filter(|(sum, _)| sum.abs() >= seen.abs()).map(|(_, likely)| likely).sum();
    far.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::mann_whitney_p;

    fn block(baseline: [f64; 2], candidate: [f64; 2]) -> Block {
        Block { baseline: baseline.to_vec(), candidate: candidate.to_vec() }
    }

    #[test]
    fn a_block_of_two_and_two_has_six_ways() {
        let (seen, mut ways) = block([0.0, 1.0], [10.0, 21.0]).deviations();
        ways.sort_unstable();
        // Sums of two of the ranks 1, 2, 3, 4 less 5, by hand, and twice.
        assert_eq!((seen, ways), (4, vec![-4, -2, 0, 0, 2, 4]));
        assert_eq!(block([1.0, 1.0], [0.0, 2.0]).ranks(), [5, 5, 2, 8], "equals share their ranks");
    }

    #[test]
    fn whatever_is_apart_in_each_block_is_as_unlikely_as_can_be() {
        let blocks: Vec<Block> =
            (0..6).map(|at| block([0.0, 0.1], [1.0, 1.1 + f64::from(at) / 100.0])).collect();
        // Of 6^6 ways this one, and all the other way round; also where the figures repeat exactly.
        let least = 2.0 / 6_f64.powi(6);
        assert!((permutation_p(&blocks) - least).abs() < 1e-12);
        assert!((permutation_p(&vec![block([0.0; 2], [0.2; 2]); 6]) - least).abs() < 1e-12);
        assert!((permutation_p(&blocks[..1]) - 2.0 / 6.0).abs() < 1e-12);
    }

    #[test]
    fn a_machine_that_becomes_slower_within_a_block_hides_little() {
        // One of six blocks has a jump of a fifth in it, after which even the better arm is worse than the other was before.
        let mut blocks = vec![block([0.0, 0.01], [-0.1, -0.11]); 5];
        blocks.push(block([0.0, -0.2], [-0.1, -0.3]));
        let p = permutation_p(&blocks);
        assert!(p < 0.001, "{p}");
    }

    #[test]
    fn one_block_is_the_rank_sum_test_of_two_samples() {
        let (baseline, candidate) = ([0.3, 1.7, 2.2, 4.1, 5.0], [1.1, 3.3, 6.0, 6.5]);
        let one = Block { baseline: baseline.to_vec(), candidate: candidate.to_vec() };
        let expected = mann_whitney_p(&baseline, &candidate);
        assert!((permutation_p(&[one]) - expected).abs() < 1e-12, "{expected}");
    }

    #[test]
    fn all_ways_counted_one_by_one_are_as_many() {
        let noise = [0.3, -0.2, 0.5, 0.1, -0.4, 0.2, 0.0, 0.3];
        let blocks: Vec<Block> =
            (0..4).map(|at| block([0.0, noise[at] / 2.0], [noise[at + 4], 0.15])).collect();
        let each: Vec<(i64, Vec<i64>)> = blocks.iter().map(Block::deviations).collect();
        let seen = each.iter().map(|(seen, _)| seen).sum::<i64>().abs();
        let far = (0..6_usize.pow(4)).filter(|number| {
            let sum =
                each.iter().enumerate().map(|(at, (_, ways))| ways[number / 6_usize.pow(at as u32) % 6]);
            sum.sum::<i64>().abs() >= seen
        });
        let expected = far.count() as f64 / 6_f64.powi(4);
        assert!(expected < 1.0 && (permutation_p(&blocks) - expected).abs() < 1e-12, "{expected}");
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
        assert!((permutation_p(&[block([1.0; 2], [1.0; 2])]) - 1.0).abs() < 1e-12);
    }
}
