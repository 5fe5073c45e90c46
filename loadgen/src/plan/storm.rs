//! How a storm goes: who is in it, when each user of it tries to connect, and when it tries again.
//!
//! Every instant follows from the plan's seed and the user's number, so a storm is the same for any number of workers, and a user
//! costs no memory for it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::stamp::mix;

/// How users come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reconnect {
    /// All at the same instant, and repeats after the whole back-off: everybody keeps in step.
    AtOnce,
    /// Each at a random instant of its back-off, the first attempt too.
    Jittered,
}

impl fmt::Display for Reconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reconnect::AtOnce => "at-once",
            Reconnect::Jittered => "jittered",
        })
    }
}

impl FromStr for Reconnect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "at-once" => Ok(Reconnect::AtOnce),
            "jittered" => Ok(Reconnect::Jittered),
            other => Err(format!("unknown way to reconnect `{other}`: use at-once or jittered")),
        }
    }
}

/// A storm of connections, settled to the last number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storm {
    /// Share of the users that lose their connection, above 0 and up to 1; 1 in a storm of logins.
    pub share: f64,
    /// How they come back.
    pub reconnect: Reconnect,
    /// The first back-off; it doubles with every repeat.
    #[serde(rename = "base_us", with = "crate::plan::micros")]
    pub base: Duration,
    /// The longest back-off.
    #[serde(rename = "cap_us", with = "crate::plan::micros")]
    pub cap: Duration,
    /// Attempts that a user makes before it gives up, 1 to 255.
    pub attempts_max: u32,
}

impl Storm {
    /// Whether the `nth` user of the plan (from 0) loses its connection: of the first n users, n times the share do.
    pub fn strikes(&self, nth: u64) -> bool {
        let of_first = |users: u64| (users as f64 * self.share) as u64;
        of_first(nth + 1) > of_first(nth)
    }

    /// From the instant of the storm to the first attempt of the `nth` user.
    pub fn first_delay(&self, seed: u64, nth: u64) -> Duration {
        match self.reconnect {
            Reconnect::AtOnce => Duration::ZERO,
            Reconnect::Jittered => self.jitter(seed, nth, 0),
        }
    }

    /// From the end of a failed attempt of the `nth` user, its number `attempts` (from 1), to the next one.
    pub fn delay(&self, seed: u64, nth: u64, attempts: u32) -> Duration {
        match self.reconnect {
            Reconnect::AtOnce => self.window(attempts.saturating_sub(1)),
            Reconnect::Jittered => self.jitter(seed, nth, attempts),
        }
    }

    fn window(&self, doublings: u32) -> Duration {
        self.base.saturating_mul(1u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(self.cap)
    }

    fn jitter(&self, seed: u64, nth: u64, attempts: u32) -> Duration {
        let chance = mix(mix(seed ^ 0x73_746f_726d) ^ mix((nth << 8) + u64::from(attempts)));
        let window = self.window(attempts).as_nanos() as u64;
        Duration::from_nanos(((u128::from(window) * u128::from(chance)) >> 64) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storm(share: f64, reconnect: Reconnect) -> Storm {
        Storm {
            share,
            reconnect,
            base: Duration::from_secs(1),
            cap: Duration::from_secs(10),
            attempts_max: 8,
        }
    }

    #[test]
    fn the_share_is_met_to_the_user() {
        for (share, struck) in [(0.5, 500), (1.0, 1000), (0.1, 100), (0.333, 333), (0.0011, 1)] {
            let storm = storm(share, Reconnect::AtOnce);
            assert_eq!((0..1000).filter(|&nth| storm.strikes(nth)).count(), struck, "{share}");
        }
    }

    #[test]
    fn at_once_keeps_everybody_in_step() {
        let storm = storm(1.0, Reconnect::AtOnce);
        assert_eq!(storm.first_delay(1, 7), Duration::ZERO);
        let delays: Vec<u64> = (1..=6).map(|attempts| storm.delay(1, 7, attempts).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 10, 10]);
        assert_eq!(storm.delay(1, 7, 255), storm.cap, "however often it doubled");
    }

    #[test]
    fn jitter_fills_the_whole_window_evenly_and_follows_from_the_seed() {
        let storm = storm(1.0, Reconnect::Jittered);
        for (attempts, window_s) in [(0, 1.0), (2, 4.0), (9, 10.0)] {
            let delays: Vec<f64> = (0..10_000)
                .map(|nth| match attempts {
                    0 => storm.first_delay(1, nth).as_secs_f64(),
                    _ => storm.delay(1, nth, attempts).as_secs_f64(),
                })
                .collect();
            let mean = delays.iter().sum::<f64>() / 10_000.0;
            assert!((mean / window_s - 0.5).abs() < 0.02, "{attempts}: {mean}");
            assert!(delays.iter().all(|&delay| delay < window_s), "{attempts}");
            assert!(delays.iter().any(|&delay| delay > 0.99 * window_s), "{attempts}");
        }
        assert_eq!(storm.first_delay(1, 5), storm.first_delay(1, 5));
        assert_ne!(storm.first_delay(1, 5), storm.first_delay(2, 5));
    }
}
