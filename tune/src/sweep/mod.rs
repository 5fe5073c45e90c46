//! A sweep: values of knobs, each against things as they are, in runs that take turns.
//!
//! ```text
//!   round:   as it is, a, b, c, c, b, a, as it is      two runs of each, mirrored, so that what drifts hits all alike
//!   verdict: six rounds; each value against the runs as it is, within rounds, corrected for everything that was asked
//! ```
//!
//! It says what to run next and what came of it. How a run is made it does not know.

mod result;

use serde::{Deserialize, Serialize};

pub use result::{Outcome, Ranked, SCHEMA, Tried};

/// Rounds that make a verdict.
pub const ROUNDS: u64 = throng_report::compare::BLOCKS_MIN as u64;

/// One thing that is tried: a knob, or two at once, with values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Names and values.
    pub knobs: Vec<(String, String)>,
}

impl Trial {
    /// As people read it: `backend=epoll`.
    pub fn name(&self) -> String {
        let one = |(name, value): &(String, String)| format!("{name}={value}");
        self.knobs.iter().map(one).collect::<Vec<_>>().join(" and ")
    }
}

/// A run that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Which round, from 1 on.
    pub round: u64,
    /// Which run of the round, from 1 on.
    pub place: u64,
    /// Which trial; `None`: as it is.
    pub trial: Option<usize>,
}

/// Every run of a round. Trials begin each round one further on, so that none always follows the same.
pub fn round(round: u64, trials: usize) -> Vec<Turn> {
    let mut order: Vec<usize> = (0..trials).collect();
    if trials > 0 {
        order.rotate_left((round as usize - 1) % trials);
    }
    let there = std::iter::once(None).chain(order.into_iter().map(Some));
    let there: Vec<Option<usize>> = there.collect();
    let back = there.iter().rev().copied();
    let all = there.iter().copied().chain(back).zip(1..);
    all.map(|(trial, place)| Turn { round, place, trial }).collect()
}

/// The trials of these knobs: each value alone; with `factorial` both of two knobs at once, too.
///
/// # Errors
/// `factorial` with anything but one value of each of two knobs; in words.
pub fn trials(knobs: &[(String, String)], factorial: bool) -> Result<Vec<Trial>, String> {
    let mut trials: Vec<Trial> = Vec::new();
    for knob in knobs {
        let trial = Trial { knobs: vec![knob.clone()] };
        if trials.contains(&trial) {
            return Err(format!("{} is asked for twice", trial.name()));
        }
        trials.push(trial);
    }
    if factorial {
        match knobs {
            [one, other] if one.0 != other.0 => {
                trials.push(Trial { knobs: vec![one.clone(), other.clone()] });
            }
            _ => return Err("--factorial wants one value of each of two knobs".to_owned()),
        }
    }
    Ok(trials)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knob(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn a_round_has_two_runs_of_each_and_is_its_own_mirror() {
        for number in 1..=4 {
            let turns = round(number, 3);
            assert_eq!(turns.len(), 8);
            let order: Vec<Option<usize>> = turns.iter().map(|turn| turn.trial).collect();
            assert!(order.iter().eq(order.iter().rev()), "{order:?}");
            for trial in [None, Some(0), Some(1), Some(2)] {
                assert_eq!(order.iter().filter(|other| **other == trial).count(), 2);
            }
            assert!(turns.iter().zip(1..).all(|(turn, place)| turn.place == place && turn.round == number));
        }
        let second = |number| round(number, 3)[1].trial;
        assert_eq!([1, 2, 3, 4].map(second), [Some(0), Some(1), Some(2), Some(0)]);
        assert_eq!(round(1, 0).len(), 2);
    }

    #[test]
    fn values_are_tried_one_by_one_and_two_knobs_at_once_on_request() {
        let knobs = [knob("a", "1"), knob("a", "2"), knob("b", "x")];
        let names = |trials: Vec<Trial>| trials.iter().map(Trial::name).collect::<Vec<_>>();
        assert_eq!(names(trials(&knobs, false).unwrap()), ["a=1", "a=2", "b=x"]);
        assert_eq!(names(trials(&knobs[1..], true).unwrap()), ["a=2", "b=x", "a=2 and b=x"]);
        assert!(trials(&knobs, true).unwrap_err().contains("each of two knobs"));
        assert!(trials(&[knob("a", "1"), knob("a", "1")], false).unwrap_err().contains("twice"));
    }
}
