//! How far apart a machine's figures are when nothing differs: the noise floor.

use crate::stats::{Block, Draws, median, quantile};

/// Blocks in a set: as many as a verdict wants.
pub(super) const SET_BLOCKS: usize = 6;
/// Sets that are drawn from the blocks that there are.
const SETS: usize = 1000;
/// The share of the sets that lie below the floor.
const SHARE: f64 = 0.95;
/// Runs of an A/A block.
pub(super) const BLOCK_RUNS: usize = 4;

/// The figures (their logarithms) of runs of one and the same thing, one right after the other.
pub type Quiet = [f64; BLOCK_RUNS];

/// The 95th percentile of how far the median log-ratio of six A/A blocks is from zero, over 1,000 sets: each takes six of the
/// blocks, and calls two runs of each the candidate. `None` with fewer than six blocks.
pub(super) fn floor(blocks: &[Quiet]) -> Option<f64> {
    floor_of(blocks.len(), |at, draws| relabelled(&blocks[at], draws).log_ratio())
}

/// The same for blocks of two duets each, from the log-ratios of duets one after the other, which may differ from zero: half the
/// difference of two of them is what their mean is off, since whatever the arms differ by is in both.
pub(super) fn floor_of_duets(ratios: &[f64]) -> Option<f64> {
    let halves: Vec<f64> = ratios.as_chunks::<2>().0.iter().map(|[one, other]| (one - other) / 2.0).collect();
    floor_of(halves.len(), |at, draws| if draws.below(2) == 0 { halves[at] } else { -halves[at] })
}

/// Of `count` blocks, of which `log_ratio` tells what one is by chance.
fn floor_of(count: usize, log_ratio: impl Fn(usize, &mut Draws) -> f64) -> Option<f64> {
    if count < SET_BLOCKS {
        return None;
    }
    let mut draws = Draws::new();
    let mut order: Vec<usize> = (0..count).collect();
    let mut far: Vec<f64> = (0..SETS)
        .map(|_| {
            let mut ratios: Vec<f64> = (0..SET_BLOCKS)
                .map(|taken| {
                    let other = taken + draws.below(order.len() - taken);
                    order.swap(taken, other);
                    log_ratio(order[taken], &mut draws)
                })
                .collect();
            median(&mut ratios).abs()
        })
        .collect();
    far.sort_unstable_by(f64::total_cmp);
    Some(quantile(&far, SHARE))
}

/// Two of its runs, whichever, as the candidate.
pub(super) fn relabelled(quiet: &Quiet, draws: &mut Draws) -> Block {
    const WAYS: [[usize; 4]; 6] =
        [[0, 1, 2, 3], [0, 2, 1, 3], [0, 3, 1, 2], [1, 2, 0, 3], [1, 3, 0, 2], [2, 3, 0, 1]];
    let way = WAYS[draws.below(WAYS.len())].map(|at| quiet[at]);
    Block { baseline: way[..2].to_vec(), candidate: way[2..].to_vec() }
}

/// Runs in the order of time as blocks; what is left over at the end is in none.
pub(super) fn blocks(figures: &[f64]) -> Vec<Quiet> {
    figures.as_chunks::<BLOCK_RUNS>().0.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_grows_with_the_noise_and_wants_six_blocks() {
        let noisy = |by: f64| -> Vec<Quiet> {
            (0..12).map(|at| [0.0, by, -by * f64::from(at % 3), by / 2.0]).collect()
        };
        assert_eq!(floor(&noisy(0.1)[..5]), None);
        let (quiet, loud) = (floor(&noisy(0.01)).unwrap(), floor(&noisy(0.1)).unwrap());
        assert!(quiet > 0.0 && (loud / quiet - 10.0).abs() < 1e-6, "{quiet} {loud}");
        assert_eq!(floor(&[[1.0; 4]; 6]), Some(0.0));
    }

    #[test]
    fn the_floor_of_duets_is_their_scatter_whatever_the_arms_differ_by() {
        let ratios = |by: f64| (0..12).map(|at| by + 0.01 * f64::from(at * 5 % 7)).collect::<Vec<f64>>();
        let (same, other) = (floor_of_duets(&ratios(0.0)).unwrap(), floor_of_duets(&ratios(0.3)).unwrap());
        assert!(same > 0.0 && same < 0.04 && (same - other).abs() < 1e-12, "{same} {other}");
        assert_eq!(floor_of_duets(&ratios(0.0)[..11]), None);
    }

    #[test]
    fn every_way_to_call_four_runs_occurs() {
        let mut draws = Draws::new();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let block = relabelled(&[1.0, 2.0, 4.0, 8.0], &mut draws);
            assert_eq!((block.baseline.len(), block.candidate.len()), (2, 2));
            seen.insert(block.candidate.iter().sum::<f64>() as u64);
        }
        assert_eq!(seen.len(), 6);
    }
}
