//! When each user connects: straight lines between points, and the instants at which they reach whole numbers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One straight piece of a ramp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// How long it takes.
    #[serde(rename = "lasts_us", with = "crate::plan::micros")]
    pub lasts: Duration,
    /// Connections at its end.
    pub reaches: u64,
}

/// How the number of connections grows from zero. It never falls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ramp(Vec<Stage>);

impl Ramp {
    /// A ramp over these stages, one after the other.
    ///
    /// # Errors
    /// A sentence: no stage, one that lasts no time, one that ends lower than it began, or a ramp that reaches nobody.
    pub fn new(stages: Vec<Stage>) -> Result<Ramp, String> {
        let mut before = 0;
        for (number, stage) in (1..).zip(&stages) {
            if stage.lasts.is_zero() {
                return Err(format!("stage {number} lasts no time: give it some, as 1s:{}", stage.reaches));
            }
            if stage.reaches < before {
                return Err(format!(
                    "stage {number} falls from {before} to {} connections: a ramp only grows",
                    stage.reaches
                ));
            }
            before = stage.reaches;
        }
        if before == 0 { Err("the stages reach no connection at all".to_owned()) } else { Ok(Ramp(stages)) }
    }

    /// One straight line to `connections` at `rate_per_s`.
    pub fn at_rate(connections: u64, rate_per_s: f64) -> Ramp {
        let lasts = Duration::from_secs_f64((connections as f64 / rate_per_s).clamp(1e-6, 1e9));
        Ramp(vec![Stage { lasts: Duration::from_micros(lasts.as_micros() as u64), reaches: connections }])
    }

    /// Everybody at the first instant.
    pub fn at_once(connections: u64) -> Ramp {
        Ramp(vec![Stage { lasts: Duration::ZERO, reaches: connections }])
    }

    /// Connections at the end.
    pub fn connections(&self) -> u64 {
        self.0.last().map_or(0, |stage| stage.reaches)
    }

    /// From the first planned connection to the end of the last stage.
    pub fn lasts(&self) -> Duration {
        self.0.iter().map(|stage| stage.lasts).sum()
    }

    /// When the `nth` user (from 0) connects, from the beginning of the ramp. Those beyond the end come at the end.
    pub fn at(&self, nth: u64) -> Duration {
        let (mut begins, mut from) = (Duration::ZERO, 0);
        for stage in &self.0 {
            if nth < stage.reaches {
                let nanos =
                    stage.lasts.as_nanos() * u128::from(nth - from) / u128::from(stage.reaches - from);
                return begins + Duration::from_nanos(nanos as u64);
            }
            begins += stage.lasts;
            from = stage.reaches;
        }
        begins
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stage(secs: u64, reaches: u64) -> Stage {
        Stage { lasts: Duration::from_secs(secs), reaches }
    }

    #[test]
    fn a_straight_ramp_spaces_users_evenly() {
        let ramp = Ramp::at_rate(1000, 100.0);
        assert_eq!(ramp.at(0), Duration::ZERO);
        assert_eq!(ramp.at(500), Duration::from_secs(5));
        assert_eq!((ramp.lasts(), ramp.connections()), (Duration::from_secs(10), 1000));
    }

    #[test]
    fn at_once_is_one_instant() {
        let ramp = Ramp::at_once(1000);
        assert_eq!((ramp.at(0), ramp.at(999), ramp.lasts()), Default::default());
        assert_eq!(ramp.connections(), 1000);
    }

    #[test]
    fn a_level_stage_is_a_pause() {
        let ramp = Ramp::new(vec![stage(1, 10), stage(5, 10), stage(1, 20)]).unwrap();
        assert!(ramp.at(9) < Duration::from_secs(1));
        assert_eq!(ramp.at(10), Duration::from_secs(6));
    }

    #[test]
    fn a_ramp_that_cannot_be_climbed_is_refused_with_the_stage() {
        assert!(Ramp::new(vec![stage(1, 10), stage(1, 9)]).unwrap_err().contains("stage 2"));
        assert!(Ramp::new(vec![stage(0, 10)]).unwrap_err().contains("stage 1"));
        assert!(Ramp::new(vec![]).is_err() && Ramp::new(vec![stage(9, 0)]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn instants_never_go_back_and_count_what_the_line_says(
            steps in prop::collection::vec((1..100_000u64, 0..1000u64), 1..6),
        ) {
            let mut reaches = 1;
            let stages: Vec<Stage> = steps
                .iter()
                .map(|&(micros, more)| {
                    reaches += more;
                    Stage { lasts: Duration::from_micros(micros), reaches }
                })
                .collect();
            let ramp = Ramp::new(stages.clone()).unwrap();
            let mut before = Duration::ZERO;
            for nth in 0..ramp.connections() {
                let at = ramp.at(nth);
                prop_assert!(at >= before, "{nth} at {at:?} after {before:?}");
                before = at;
            }
            prop_assert!(before <= ramp.lasts());
            let mut ends = Duration::ZERO;
            for stage in stages {
                ends += stage.lasts;
                let begun = (0..ramp.connections()).filter(|&nth| ramp.at(nth) < ends).count() as u64;
                prop_assert_eq!(begun, stage.reaches);
            }
        }
    }
}
