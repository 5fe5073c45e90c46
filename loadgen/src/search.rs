//! The search for the most that still holds: which load to try next, and what may be said at the end.
//!
//! ```text
//!   grow:       double until something does not hold (or shrink, until something does)
//!   staircase:  up by a step after a trial that held, down after one that did not; the step halves with every turn
//! ```
//!
//! Near the limit the same load now holds and now does not. A staircase goes on turning there, so its last turns show both where the
//! limit is (their median: what holds half of the time) and how sure that is: their range and half a step more, which where a limit is blurred
//! by 15 % holds it in 95 of 100 searches. Nothing is tried twice for its own sake, and
//! an unlucky trial costs two steps.

use throng_report::stats::median;

/// Turns with the smallest step, after which the search is over.
pub const TURNS: usize = 7;
/// Trials in a row at an edge of the bounds, after which the search is over: the limit is beyond it.
const AT_EDGE: usize = 2;
/// How much of the bracket is the first step of the staircase, on a logarithmic scale.
const FIRST_STEP: f64 = 0.25;

/// Where a search may look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Where it begins.
    pub start: u64,
    /// The least that is tried.
    pub min: u64,
    /// The most that is tried.
    pub max: u64,
    /// The smallest step, as a share of the load.
    pub precision_share: f64,
}

/// A search; see the module's text.
#[derive(Clone, Debug)]
pub struct Search {
    bounds: Bounds,
    stage: Stage,
    /// Every load that was tried, and whether it held.
    trials: Vec<(u64, bool)>,
    /// Trials in a row at an edge that the staircase would have left.
    at_edge: usize,
    /// Where the staircase turned with the smallest step, as logarithms.
    turns: Vec<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    /// What to try next.
    Grow(u64),
    /// Where the staircase stands, its step and the direction in which it came here.
    Stairs {
        at: f64,
        step: f64,
        came_up: Option<bool>,
    },
    Done,
}

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// The most that holds: half of the trials there do.
    pub load: u64,
    /// Where it lies with 95 % confidence, not narrower than one and a half steps either way.
    pub low: u64,
    /// The upper end.
    pub high: u64,
    /// Nothing above it was seen not to hold, so the limit may be anywhere beyond.
    pub is_lower_bound: bool,
}

impl Search {
    /// One that has tried nothing.
    pub fn new(bounds: Bounds) -> Search {
        let start = bounds.start.clamp(bounds.min, bounds.max);
        Search { bounds, stage: Stage::Grow(start), trials: Vec::new(), at_edge: 0, turns: Vec::new() }
    }

    /// The load to try next; `None` when the search is over.
    pub fn next(&self) -> Option<u64> {
        match self.stage {
            Stage::Grow(load) => Some(load),
            Stage::Stairs { at, .. } => Some(self.clamped(at.exp())),
            Stage::Done => None,
        }
    }

    fn clamped(&self, load: f64) -> u64 {
        (load.round() as u64).clamp(self.bounds.min, self.bounds.max)
    }

    /// What [`Search::next`] was tried; whether it held.
    pub fn tell(&mut self, held: bool) {
        self.trials.extend(self.next().map(|load| (load, held)));
        match self.stage {
            Stage::Grow(load) => self.grow(load),
            Stage::Stairs { at, step, came_up } => self.climb(at, step, came_up, held),
            Stage::Done => {}
        }
    }

    /// The loads that held, or those that did not.
    fn tried(&self, held: bool) -> impl Iterator<Item = u64> {
        self.trials.iter().filter(move |trial| trial.1 == held).map(|trial| trial.0)
    }

    fn grow(&mut self, load: u64) {
        self.stage = match (self.tried(true).max(), self.tried(false).min()) {
            (Some(low), Some(high)) => {
                let (low, high) = ((low as f64).ln(), (high as f64).ln());
                let step = ((high - low) * FIRST_STEP).max(self.step_min());
                Stage::Stairs { at: (low + high) / 2.0, step, came_up: None }
            }
            (Some(_), None) if load < self.bounds.max => {
                Stage::Grow(load.saturating_mul(2).min(self.bounds.max))
            }
            (None, Some(_)) if load > self.bounds.min => Stage::Grow((load / 2).max(self.bounds.min)),
            _ => Stage::Done,
        };
    }

    fn step_min(&self) -> f64 {
        self.bounds.precision_share.ln_1p()
    }

    fn climb(&mut self, at: f64, step: f64, came_up: Option<bool>, held: bool) {
        let turned = came_up.is_some_and(|up| up != held);
        let mut step = step;
        if turned {
            if step <= self.step_min() {
                // Between the last that held and the first that did not.
                let before = if held { at + step } else { at - step };
                self.turns.push((at + before) / 2.0);
            }
            step = (step / 2.0).max(self.step_min());
        }
        let next = if held { at + step } else { at - step };
        let inside = next.clamp((self.bounds.min as f64).ln(), (self.bounds.max as f64).ln());
        self.at_edge = if inside == at { self.at_edge + 1 } else { 0 };
        self.stage = if self.turns.len() >= TURNS || self.at_edge >= AT_EDGE {
            Stage::Done
        } else {
            Stage::Stairs { at: inside, step, came_up: Some(held) }
        };
    }

    /// What is known so far; `None` when nothing held, or nothing was tried.
    pub fn found(&self) -> Option<Found> {
        let most = self.tried(true).max()?;
        let Some(above) = self.tried(false).filter(|load| *load > most).min() else {
            // Whatever did not hold further down, this did.
            let broke = self.tried(false).min().unwrap_or(most);
            let low = self.tried(true).filter(|load| *load < broke).max().unwrap_or(most.min(broke));
            return Some(Found { load: most, low, high: most, is_lower_bound: true });
        };
        if self.turns.len() < 2 {
            let least = self.tried(false).min().unwrap_or(above);
            let (low, high) = (most.min(least) as f64, most.max(least) as f64);
            return Some(Found {
                load: self.clamped(((low.ln() + high.ln()) / 2.0).exp()),
                low: self.tried(true).filter(|load| *load < least).max().unwrap_or(self.bounds.min),
                high: above,
                is_lower_bound: false,
            });
        }
        let mut turns = self.turns.clone();
        let middle = median(&mut turns);
        let (first, last, step) = (turns[0], turns[turns.len() - 1], self.step_min());
        Some(Found {
            load: self.clamped(middle.exp()),
            low: self.clamped((first.min(middle - step) - step / 2.0).exp()),
            high: self.clamped((last.max(middle + step) + step / 2.0).exp()),
            is_lower_bound: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { start: 1000, min: 100, max: 10_000_000, precision_share: 0.05 };

    /// Searches where a load holds with a probability that falls from 1 to 0 within `noise` (as a share) of `limit`.
    fn search(bounds: Bounds, limit: f64, noise: f64, seed: u64) -> (Option<Found>, usize) {
        let mut search = Search::new(bounds);
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut trials = 0;
        while let Some(load) = search.next() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let luck = (state >> 11) as f64 / (1_u64 << 53) as f64 * 2.0 - 1.0;
            search.tell((load as f64) < limit * (1.0 + noise * luck));
            trials += 1;
            assert!(trials < 200, "a search ends");
        }
        (search.found(), trials)
    }

    #[test]
    fn a_sharp_limit_is_found_within_a_step() {
        for limit in [150.0, 1234.0, 37_000.0, 999_999.0] {
            let (found, trials) = search(BOUNDS, limit, 0.0, 1);
            let found = found.unwrap();
            assert!((found.load as f64 / limit).ln().abs() < 0.06, "{limit}: {found:?}");
            assert!((found.low as f64) < limit && limit < found.high as f64, "{limit}: {found:?}");
            assert!(trials < 35, "{limit} took {trials}");
        }
    }

    #[test]
    fn a_blurred_limit_is_in_the_interval_of_nearly_every_search() {
        let held = (1..=200).filter(|seed| {
            let (found, trials) = search(BOUNDS, 20_000.0, 0.15, *seed);
            let found = found.unwrap();
            assert!(trials < 80, "{trials}");
            (found.low..=found.high).contains(&20_000)
        });
        let held = held.count();
        assert!(held >= 186, "{held} of 200");
    }

    #[test]
    fn two_searches_of_one_machine_overlap() {
        let overlap = (1..=100).filter(|seed| {
            let [a, b] = [2 * seed, 2 * seed + 1].map(|seed| search(BOUNDS, 20_000.0, 0.15, seed).0.unwrap());
            a.low <= b.high && b.low <= a.high
        });
        assert!(overlap.count() >= 97);
    }

    #[test]
    fn what_holds_everywhere_is_beyond_the_most_and_what_holds_nowhere_is_nothing() {
        let (found, trials) = search(BOUNDS, 1e12, 0.0, 1);
        let found = found.unwrap();
        assert_eq!((found.load, found.is_lower_bound), (10_000_000, true));
        assert!(trials < 20);
        assert_eq!(search(BOUNDS, 1.0, 0.0, 1).0, None);
    }

    #[test]
    fn whoever_stops_early_has_what_is_known() {
        let mut search = Search::new(BOUNDS);
        assert_eq!(search.found(), None);
        search.tell(true);
        assert_eq!(search.found().map(|found| (found.load, found.is_lower_bound)), Some((1000, true)));
        search.tell(false);
        let found = search.found().unwrap();
        assert_eq!((found.low, found.high), (1000, 2000));
        assert!((1400..1430).contains(&found.load));
        // The staircase's trials count, too: 1414 did not hold, and 1189 did.
        search.tell(false);
        search.tell(true);
        let found = search.found().unwrap();
        assert_eq!((found.low, found.high, found.is_lower_bound), (1189, 1414, false));
    }

    #[test]
    fn one_unlucky_trial_while_growing_does_not_hide_what_holds() {
        let mut search = Search::new(BOUNDS);
        search.tell(true);
        search.tell(false);
        for _ in 0..12 {
            search.tell(true);
        }
        let found = search.found().unwrap();
        assert!(found.load > 8_000 && found.is_lower_bound && found.low < 2000, "{found:?}");
    }

    #[test]
    fn a_staircase_that_stays_at_an_edge_ends_there() {
        let bounds = Bounds { start: 1000, min: 1000, max: 4000, precision_share: 0.05 };
        let play = |outcomes: &[bool]| {
            let mut search = Search::new(bounds);
            let mut trials = 0;
            while search.next().is_some() {
                search.tell(*outcomes.get(trials).unwrap_or(&outcomes[outcomes.len() - 1]));
                trials += 1;
                assert!(trials < 20, "it ends");
            }
            search.found()
        };
        // The most did not hold once, and then always.
        let found = play(&[true, true, false, true]).unwrap();
        assert_eq!((found.load, found.is_lower_bound), (4000, true));
        // The least held once, and then nothing.
        let found = play(&[true, false]).unwrap();
        assert!(found.load <= 1200 && !found.is_lower_bound, "{found:?}");
    }

    #[test]
    fn a_start_outside_the_bounds_begins_at_their_edge() {
        assert_eq!(Search::new(Bounds { start: 1, ..BOUNDS }).next(), Some(100));
        assert_eq!(Search::new(Bounds { start: u64::MAX, ..BOUNDS }).next(), Some(10_000_000));
    }
}
