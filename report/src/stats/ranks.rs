//! The Mann-Whitney test, exact, with ties.

/// How likely ranks as uneven as these are where both samples are of one distribution: two-sided. Exact, by counting all ways to choose
/// the ranks of one sample; equal values share the mean of their ranks. 1 where either is empty.
///
/// Work grows with the product of the number of values and their ranks: samples are meant to be of some dozens.
pub fn mann_whitney_p(a: &[f64], b: &[f64]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return 1.0;
    }
    let ranks = doubled_ranks(a, b);
    let seen: usize = ranks[..a.len()].iter().sum();
    let total: usize = ranks.iter().sum();
    // ways[k][s]: in how many ways k of the values so far have doubled ranks with the sum s.
    let mut ways = vec![vec![0.0_f64; total + 1]; a.len() + 1];
    ways[0][0] = 1.0;
    for &rank in &ranks {
        for k in (1..=a.len()).rev() {
            let (fewer, these) = ways.split_at_mut(k);
            for sum in (rank..=total).rev() {
                these[0][sum] += fewer[k - 1][sum - rank];
            }
        }
    }
    // As far from the mean as what was seen, on either side. Twice the mean is a whole number.
    let twice_mean = 2 * total * a.len() / ranks.len();
    let distance = |sum: usize| (2 * sum).abs_diff(twice_mean);
    let limit = distance(seen);
    let all: f64 = ways[a.len()].iter().sum();
    let far = ways[a.len()].iter().enumerate().filter(|(sum, _)| distance(*sum) >= limit);
    (far.map(|(_, ways)| ways).sum::<f64>() / all).min(1.0)
}

/// Twice the ranks of all values, first those of `a`: twice, so that the mean of two is whole.
fn doubled_ranks(a: &[f64], b: &[f64]) -> Vec<usize> {
    let all: Vec<f64> = a.iter().chain(b).copied().collect();
    let rank = |value: &f64| {
        let below = all.iter().filter(|other| *other < value).count();
        let equal = all.iter().filter(|other| *other == value).count();
        // The mean of below + 1 ..= below + equal, twice.
        2 * below + equal + 1
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

    #[test]
    fn nothing_says_nothing() {
        assert_eq!(mann_whitney_p(&[], &[1.0]), 1.0);
    }
}
