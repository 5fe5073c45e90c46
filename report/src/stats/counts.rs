//! Fisher's exact test: does something happen more often in one arm than in the other?

use statrs::distribution::{DiscreteCDF, Hypergeometric};

/// How likely it is by chance alone that at least so many of the candidate's runs are among those to which it happened: one-sided, exact.
/// Each arm is the number of runs to which it happened, and the number of the others. 1 where it happened to none.
pub fn more_often_p(baseline: [u64; 2], candidate: [u64; 2]) -> f64 {
    let happened = baseline[0] + candidate[0];
    let all = happened + baseline[1] + candidate[1];
    let Some(fewer) = candidate[0].checked_sub(1) else { return 1.0 };
    Hypergeometric::new(all, happened, candidate[0] + candidate[1]).map_or(1.0, |chance| chance.sf(fewer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lady_tasting_tea_and_small_counts_by_hand() {
        // Fisher 1935: of eight cups she names the four right, 1 of 70; three of four, 17 of 70.
        let tea = |right: u64| more_often_p([4 - right, right], [right, 4 - right]);
        assert!((tea(4) - 1.0 / 70.0).abs() < 1e-12 && (tea(3) - 17.0 / 70.0).abs() < 1e-12);
        // One of twelve against none: a coin. Four: 12*11*10*9 / (24*23*22*21).
        assert!((more_often_p([0, 12], [1, 11]) - 0.5).abs() < 1e-12);
        assert!((more_often_p([0, 12], [4, 8]) - 11880.0 / 255_024.0).abs() < 1e-12);
        assert_eq!(more_often_p([3, 9], [0, 12]), 1.0);
    }
}
