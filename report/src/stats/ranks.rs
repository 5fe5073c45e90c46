//! The Mann-Whitney test with ties: exact for some dozens of values, by the normal distribution for more.

use statrs::distribution::{ContinuousCDF, Normal};

/// Values of both samples together up to which ways are counted: the work grows with their fourth power.
const EXACT_MAX: usize = 100;

/// How likely ranks as uneven as these are where both samples are of one distribution: two-sided. 1 where either is empty. Equal values
/// share the mean of their ranks. Up to a hundred values together it is exact, by counting all ways to choose the ranks of one sample;
/// beyond, the normal distribution stands for them, with the corrections for ties and for continuity (as R's wilcox.test has it).
pub fn mann_whitney_p(a: &[f64], b: &[f64]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return 1.0;
    }
    let ranks = doubled_ranks(a, b);
    if ranks.len() <= EXACT_MAX { counted(a.len(), &ranks) } else { approximated(a.len(), &ranks) }
}

/// `ranks` are twice those of all values, first those of the sample with `chosen` of them.
fn counted(chosen: usize, ranks: &[usize]) -> f64 {
    let seen: usize = ranks[..chosen].iter().sum();
    let total: usize = ranks.iter().sum();
    // ways[k][s]: in how many ways k of the values so far have doubled ranks with the sum s.
    let mut ways = vec![vec![0.0_f64; total + 1]; chosen + 1];
    ways[0][0] = 1.0;
    for &rank in ranks {
        for k in (1..=chosen).rev() {
            let (fewer, these) = ways.split_at_mut(k);
            for sum in (rank..=total).rev() {
                these[0][sum] += fewer[k - 1][sum - rank];
            }
        }
    }
    // As far from the mean as what was seen, on either side. Twice the mean is a whole number.
    let twice_mean = 2 * total * chosen / ranks.len();
    let distance = |sum: usize| (2 * sum).abs_diff(twice_mean);
    let limit = distance(seen);
    let all: f64 = ways[chosen].iter().sum();
    let far = ways[chosen].iter().enumerate().filter(|(sum, _)| distance(*sum) >= limit);
    (far.map(|(_, ways)| ways).sum::<f64>() / all).min(1.0)
}

/// The same by the normal distribution.
fn approximated(chosen: usize, ranks: &[usize]) -> f64 {
    let (n, a) = (ranks.len() as f64, chosen as f64);
    let seen = ranks[..chosen].iter().sum::<usize>() as f64 / 2.0;
    let mut sorted = ranks.to_vec();
    sorted.sort_unstable();
    let tied = sorted.chunk_by(|one, other| one == other).map(|equal| equal.len() as f64);
    let ties: f64 = tied.map(|count| count.powi(3) - count).sum();
    let variance = a * (n - a) / 12.0 * (n + 1.0 - ties / (n * (n - 1.0)));
    if variance <= 0.0 {
        return 1.0; // all are equal
    }
    let away = (seen - a * (n + 1.0) / 2.0).abs();
    let z = (away - 0.5).max(0.0) / variance.sqrt();
    (2.0 * Normal::standard().sf(z)).min(1.0)
}

/// Twice the ranks of all values, first those of `a`: twice, so that the mean of two is whole.
fn doubled_ranks(a: &[f64], b: &[f64]) -> Vec<usize> {
    let all: Vec<f64> = a.iter().chain(b).copied().collect();
    let mut sorted = all.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    let rank = |value: &f64| {
        let below = sorted.partition_point(|other| other < value);
        let up_to = sorted.partition_point(|other| other <= value);
        // The mean of below + 1 ..= up_to, twice.
        below + up_to + 1
    };
    all.iter().map(rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(p: f64, published: f64) {
        assert!((p - published).abs() < 5e-5, "{p}, published {published}");
    }

    /// Hollander & Wolfe, Nonparametric Statistical Methods, permeability constants: R's wilcox.test gives W = 35, and two-sided
    /// p = 0.2544.
    #[test]
    fn the_textbook_example_comes_out() {
        let term = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
        let early = [1.15, 0.88, 0.90, 0.74, 1.21];
        near(mann_whitney_p(&term, &early), 0.254_4);
        near(mann_whitney_p(&early, &term), 0.254_4);
    }

    /// Of the 20 ways to choose three ranks of six, one is as low as this and one as high.
    #[test]
    fn small_samples_that_do_not_overlap() {
        near(mann_whitney_p(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]), 0.1);
        near(mann_whitney_p(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]), 2.0 / 70.0);
    }

    /// By hand: ranks 1, 2.5, 2.5, 4; of the six sums of two, 3.5 is reached twice, 6.5 twice, 5 twice.
    #[test]
    fn equal_values_share_their_ranks() {
        near(mann_whitney_p(&[1.0, 2.0], &[2.0, 3.0]), 4.0 / 6.0);
        near(mann_whitney_p(&[5.0; 4], &[5.0; 4]), 1.0);
    }

    /// Where both can be had, they agree to what the approximation is good for.
    #[test]
    fn many_values_are_judged_as_if_all_ways_were_counted() {
        for shift in [0, 4, 9, 14] {
            // Every other value is there twice.
            let a: Vec<f64> = (0..50).map(|at| f64::from(at % 37 * 7 / 2)).collect();
            let b: Vec<f64> = (0..50).map(|at| f64::from(at * 5 % 43 * 7 / 3 + shift)).collect();
            let ranks = doubled_ranks(&a, &b);
            let (exact, near) = (counted(50, &ranks), approximated(50, &ranks));
            assert!((exact - near).abs() < 0.003, "{shift}: {exact}, {near}");
        }
        let apart: Vec<f64> = (0..500).map(f64::from).collect();
        let above: Vec<f64> = apart.iter().map(|value| value + 1e3).collect();
        assert!(mann_whitney_p(&apart, &above) < 1e-100);
        near(mann_whitney_p(&apart, &apart), 1.0);
        near(mann_whitney_p(&[5.0; 200], &[5.0; 200]), 1.0);
    }

    #[test]
    fn nothing_says_nothing() {
        assert_eq!(mann_whitney_p(&[], &[1.0]), 1.0);
    }
}
