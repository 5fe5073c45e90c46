//! The plan: a scenario with all its numbers settled, and a seed. It is a recipe with a hash; what it expands to is
//! streamed by [`crate::schedule`] and [`crate::ramp`], never stored.
//!
//! # How a plan is shared out
//!
//! Users are numbered from 0 in the order in which they connect; on the wire user `n` is `n + 1`. Users 2k and 2k + 1
//! are partners. Pair `k` belongs to lane `k % lanes`, and each lane has a schedule of its own, so what is due when depends on
//! the plan alone. Worker `w` of `n` plays the lanes `w`, `w + n`, `w + 2n` ... Where several generators play a plan together, each has
//! a [`Part`] of the lanes.

mod error;
mod part;
mod storm;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use throng_wire::limits::BODY_BYTES_MAX;

use crate::limits::{
    ATTEMPTS_MAX, CONNECT_RATE_PER_S, CONNECTIONS_MAX, LANE_PAIRS, LANES_MAX, LANES_MIN, OUTSTANDING_MAX,
    RAMP_S_MAX, STORM_BACKOFF_MIN, USER_MESSAGES_MAX, USER_RATE_PER_S_MAX,
};
use crate::scenario::{Kind, Protocol, Scenario, seconds};
use crate::stamp::STAMP_BYTES;
use crate::{Ramp, Stage};

pub use error::PlanError;
pub use part::Part;
pub use storm::{Reconnect, Storm};

/// What a run does, to the last number. Equal plans have equal hashes, and expand to the same instants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The scenario's name.
    pub scenario: String,
    /// What the users do.
    pub kind: Kind,
    /// What is spoken.
    pub protocol: Protocol,
    /// What all chance grows from.
    pub seed: u64,
    /// Users.
    pub connections: u64,
    /// Messages per second of all users together; 0 without messages and in a closed loop. With a roll call: of its
    /// messages.
    pub rate_per_s: f64,
    /// Messages in flight per pair (`echo`: per user); `None` in an open loop.
    pub closed_loop_window: Option<u32>,
    /// Bytes of a message's body.
    pub payload_bytes: u64,
    /// Length of the measured window; with a roll call, of the hold before it.
    #[serde(rename = "duration_us", with = "micros")]
    pub duration: Duration,
    /// Traffic before it that is not measured.
    #[serde(rename = "warmup_us", with = "micros")]
    pub warmup: Duration,
    /// How long messages under way are waited for at the end.
    #[serde(rename = "drain_limit_us", with = "micros")]
    pub drain_limit: Duration,
    /// From one heartbeat of a user to its next; zero for none.
    #[serde(rename = "heartbeat_us", with = "micros")]
    pub heartbeat: Duration,
    /// When users connect.
    pub ramp: Ramp,
    /// How the storm goes; `None` for a kind without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storm: Option<Storm>,
    /// What of it this generator plays. Not in the hash: the parts of a plan are one plan.
    #[serde(skip)]
    pub part: Part,
}

/// Durations as whole microseconds.
pub(crate) mod micros {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_micros)
    }
}

/// What the command line sets; `None` leaves the scenario's value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// Users.
    pub connections: Option<u64>,
    /// Messages per second of all users together.
    pub rate_per_s: Option<f64>,
    /// Messages per second of each user. Not together with `rate_per_s`.
    pub rate_per_user_per_s: Option<f64>,
    /// Length of the measured window.
    pub duration: Option<Duration>,
    /// Traffic before it.
    pub warmup: Option<Duration>,
    /// How long to drain.
    pub drain_limit: Option<Duration>,
    /// Bytes of a message's body.
    pub payload_bytes: Option<u64>,
    /// Connections per second. Not together with `stages`.
    pub connect_rate_per_s: Option<f64>,
    /// A ramp in several stages, each with how long it takes and what it reaches. Sets the connections, too.
    pub stages: Vec<(Duration, u64)>,
    /// From one heartbeat of a user to its next; zero for none.
    pub heartbeat: Option<Duration>,
    /// Messages in flight per pair, instead of a rate. Not together with a rate.
    pub closed_loop_window: Option<u32>,
    /// What is spoken.
    pub protocol: Option<Protocol>,
    /// What all chance grows from; 1 when not set.
    pub seed: Option<u64>,
    /// Share of the users that lose their connection in a storm.
    pub storm_share: Option<f64>,
    /// How they come back.
    pub reconnect: Option<Reconnect>,
    /// The first back-off.
    pub reconnect_base: Option<Duration>,
    /// The longest back-off.
    pub reconnect_cap: Option<Duration>,
    /// Attempts that a user makes before it gives up.
    pub reconnect_attempts: Option<u32>,
}

impl Plan {
    /// The scenario's plan with what the command line overrides.
    ///
    /// # Errors
    /// [`PlanError`]: numbers that cannot be done, or that contradict each other.
    pub fn new(scenario: &Scenario, overrides: &Overrides) -> Result<Plan, PlanError> {
        let set = overrides;
        let protocol = set.protocol.unwrap_or(scenario.protocol);
        refuse_contradictions(set, protocol)?;
        let storm = storm(scenario, set)?;
        let ramp = ramp(scenario, set)?;
        let connections = ramp.connections();
        let has_messages = protocol != Protocol::Connect;
        let has_rate = set.rate_per_s.is_some() || set.rate_per_user_per_s.is_some();
        let window =
            set.closed_loop_window.or(scenario.closed_loop_window.filter(|_| !has_rate && has_messages));
        let total = set.rate_per_user_per_s.map(|rate| rate * connections as f64).or(set.rate_per_s);
        let rate = if window.is_some() || !has_messages { 0.0 } else { total.unwrap_or(scenario.rate_per_s) };
        let time = |set: Option<Duration>, otherwise| set.or(seconds(otherwise)).unwrap_or_default();
        let heartbeat = match protocol {
            Protocol::Native => time(set.heartbeat, scenario.heartbeat_s),
            Protocol::Echo | Protocol::Connect => Duration::ZERO,
        };
        let plan = Plan {
            scenario: scenario.name.clone(),
            kind: scenario.kind,
            protocol,
            seed: set.seed.unwrap_or(1),
            connections,
            rate_per_s: rate,
            closed_loop_window: window,
            payload_bytes: set.payload_bytes.unwrap_or(scenario.payload_bytes),
            duration: whole_micros(time(set.duration, scenario.duration_s)),
            warmup: whole_micros(time(set.warmup, scenario.warmup_s)),
            drain_limit: whole_micros(time(set.drain_limit, scenario.drain_limit_s)),
            heartbeat: whole_micros(heartbeat),
            ramp,
            storm,
            part: Part::WHOLE,
        };
        plan.check()?;
        Ok(plan)
    }

    /// The same plan, of which this generator plays a part.
    ///
    /// # Errors
    /// [`PlanError::EmptyPart`].
    pub fn with_part(self, part: Part) -> Result<Plan, PlanError> {
        let plan = Plan { part, ..self };
        plan.check()?;
        Ok(plan)
    }

    /// Whether the numbers can be done; for plans that were read from a file.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn check(&self) -> Result<(), PlanError> {
        let users = self.connections;
        if users == 0 || users > CONNECTIONS_MAX {
            return Err(PlanError::Connections { connections: users });
        }
        if self.users() == 0 {
            return Err(PlanError::EmptyPart { part: self.part, connections: users });
        }
        if self.ramp.connections() != users {
            return Err(PlanError::RampElsewhere { connections: users, reaches: self.ramp.connections() });
        }
        if let Some(storm) = &self.storm {
            let fits = storm.share > 0.0 && storm.share <= 1.0 && storm.base >= STORM_BACKOFF_MIN;
            if !fits || storm.cap < storm.base || !(1..=ATTEMPTS_MAX).contains(&storm.attempts_max) {
                return Err(PlanError::Storm { storm: *storm });
            }
        }
        if self.storm.is_some() != self.kind.is_storm() {
            return Err(PlanError::NoStorm { what: "a storm" });
        }
        if self.duration.is_zero() {
            return Err(PlanError::NoWindow);
        }
        if self.protocol == Protocol::Connect {
            return Ok(());
        }
        if self.protocol == Protocol::Native && !users.is_multiple_of(2) {
            return Err(PlanError::OddUsers { connections: users });
        }
        if !(STAMP_BYTES as u64..=BODY_BYTES_MAX as u64).contains(&self.payload_bytes) {
            return Err(PlanError::Payload { bytes: self.payload_bytes });
        }
        if !self.heartbeat.is_zero() && self.heartbeat < Duration::from_secs(1) {
            return Err(PlanError::Heartbeat { every: self.heartbeat });
        }
        if let Some(window) = self.closed_loop_window {
            if self.kind.has_roll_call() {
                return Err(PlanError::ClosedLoopIdle);
            }
            if window == 0 || window > OUTSTANDING_MAX {
                return Err(PlanError::ClosedLoopWindow { window });
            }
            return Ok(());
        }
        let per_user = self.rate_per_s / users as f64;
        let messages = per_user * (self.warmup + self.duration).as_secs_f64();
        let fits =
            self.kind.has_roll_call() || per_user <= USER_RATE_PER_S_MAX && messages <= USER_MESSAGES_MAX;
        if !self.rate_per_s.is_finite() || self.rate_per_s <= 0.0 || self.rate_per_s > 1e9 || !fits {
            return Err(PlanError::Rate { rate_per_s: self.rate_per_s, connections: users });
        }
        Ok(())
    }

    /// The SHA-256 of the plan's canonical JSON, in hexadecimal.
    pub fn hash(&self) -> String {
        let json = serde_json::to_string(self).expect("numbers, strings and lists");
        Sha256::digest(json.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The text of `plan.json`: indented, keys in the order of this type.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("numbers, strings and lists");
        text.push('\n');
        text
    }

    /// How many lanes the users are shared out over. It depends on the plan alone.
    pub fn lanes(&self) -> u32 {
        let lanes = (self.pairs() / LANE_PAIRS).next_power_of_two();
        lanes.clamp(u64::from(LANES_MIN), u64::from(LANES_MAX)) as u32
    }

    /// Pairs of users; the last one is a single user when their number is odd.
    pub fn pairs(&self) -> u64 {
        self.connections.div_ceil(2)
    }

    /// Users whom this generator plays: those of its part.
    pub fn users(&self) -> u64 {
        self.users_per_thread(1)
    }

    /// Over how many threads its part can be shared out at most.
    pub fn threads_max(&self) -> usize {
        (self.lanes() / self.part.of).max(1) as usize
    }

    /// Users of the fullest of `threads` workers.
    pub fn users_per_thread(&self, threads: usize) -> u64 {
        let share = crate::schedule::Share::new(self, 0, threads.max(1));
        u64::from(share.users())
    }

    /// The fewest threads of which none plays more than `users` users; `None` when there are not enough lanes for it.
    pub fn threads_for(&self, users: u64) -> Option<usize> {
        let least = self.users().div_ceil(users.max(1)).max(1) as usize;
        (least..=self.threads_max()).find(|&threads| self.users_per_thread(threads) <= users)
    }

    /// How long the messages at the end of a quiet kind take; zero for the others.
    pub fn roll_call(&self) -> Duration {
        if self.kind.has_roll_call() && self.protocol != Protocol::Connect {
            Duration::from_nanos((self.connections as f64 / self.rate_per_s * 1e9) as u64)
        } else {
            Duration::ZERO
        }
    }

    /// The part of the report that says what was to be done.
    pub fn facts(&self) -> throng_report::schema::PlanFacts {
        throng_report::schema::PlanFacts {
            scenario: self.scenario.clone(),
            protocol: self.protocol.to_string(),
            seed: self.seed,
            hash: self.hash(),
            connections: self.connections,
            rate_per_s: (self.rate_per_s > 0.0).then_some(self.rate_per_s),
            duration_s: self.duration.as_secs_f64(),
            warmup_s: self.warmup.as_secs_f64(),
            payload_bytes: self.payload_bytes,
            closed_loop_window: self.closed_loop_window.map(u64::from),
            roll_call: !self.roll_call().is_zero(),
            part: (self.part != Part::WHOLE).then(|| self.part.to_string()),
        }
    }
}

/// Plans are written in microseconds, so they hold nothing finer.
fn whole_micros(time: Duration) -> Duration {
    Duration::from_micros(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

fn refuse_contradictions(set: &Overrides, protocol: Protocol) -> Result<(), PlanError> {
    let both = |first, second| Err(PlanError::Both { first, second });
    let has_rate = set.rate_per_s.is_some() || set.rate_per_user_per_s.is_some();
    if set.rate_per_s.is_some() && set.rate_per_user_per_s.is_some() {
        return both("--rate", "--rate-per-user");
    }
    if has_rate && set.closed_loop_window.is_some() {
        return both("--rate", "--closed-loop");
    }
    if set.connect_rate_per_s.is_some() && !set.stages.is_empty() {
        return both("--connect-rate", "--stages");
    }
    if protocol == Protocol::Connect && (has_rate || set.closed_loop_window.is_some()) {
        return Err(PlanError::NoMessages);
    }
    if protocol != Protocol::Native && set.heartbeat.is_some_and(|every| !every.is_zero()) {
        return Err(PlanError::NoHeartbeat { protocol });
    }
    Ok(())
}

/// The storm of a kind that is one: overrides before the scenario.
fn storm(scenario: &Scenario, set: &Overrides) -> Result<Option<Storm>, PlanError> {
    let given = [
        ("--storm-share", set.storm_share.or(scenario.storm_share).is_some()),
        ("--reconnect", set.reconnect.or(scenario.reconnect).is_some()),
        ("--reconnect-base", set.reconnect_base.is_some() || scenario.reconnect_base_s.is_some()),
        ("--reconnect-cap", set.reconnect_cap.is_some() || scenario.reconnect_cap_s.is_some()),
        ("--reconnect-attempts", set.reconnect_attempts.or(scenario.reconnect_attempts).is_some()),
    ];
    let beside = match scenario.kind {
        Kind::Pairs | Kind::Idle => given.iter().find(|(_, is_given)| *is_given),
        // Everybody is in it, at once.
        Kind::LoginStorm => given[..1].iter().find(|(_, is_given)| *is_given),
        Kind::ReconnectStorm => None,
    };
    if let Some((what, _)) = beside {
        return Err(PlanError::NoStorm { what });
    }
    if !scenario.kind.is_storm() {
        return Ok(None);
    }
    let has_ramp = set.connect_rate_per_s.or(scenario.connect_rate_per_s).is_some()
        || !set.stages.is_empty()
        || !scenario.stages.is_empty();
    if scenario.kind == Kind::LoginStorm && has_ramp {
        return Err(PlanError::RampInStorm);
    }
    let time = |set: Option<Duration>, file: Option<f64>, otherwise| {
        whole_micros(set.or(file.and_then(seconds)).unwrap_or(otherwise))
    };
    let everybody = (scenario.kind == Kind::LoginStorm).then_some(1.0);
    Ok(Some(Storm {
        share: everybody.or(set.storm_share).or(scenario.storm_share).unwrap_or(0.5),
        reconnect: set.reconnect.or(scenario.reconnect).unwrap_or(Reconnect::Jittered),
        base: time(set.reconnect_base, scenario.reconnect_base_s, Duration::from_secs(1)),
        cap: time(set.reconnect_cap, scenario.reconnect_cap_s, Duration::from_secs(60)),
        attempts_max: set.reconnect_attempts.or(scenario.reconnect_attempts).unwrap_or(8),
    }))
}

/// The ramp: overrides before the scenario, stages before a rate.
fn ramp(scenario: &Scenario, set: &Overrides) -> Result<Ramp, PlanError> {
    let connections = set.connections.unwrap_or(scenario.connections);
    let from_file = set.connect_rate_per_s.is_none() && set.connections.is_none();
    let mut stages: Vec<Stage> =
        set.stages.iter().map(|&(lasts, reaches)| Stage { lasts: whole_micros(lasts), reaches }).collect();
    if stages.is_empty() && from_file {
        stages = scenario
            .stages
            .iter()
            .map(|line| Stage {
                lasts: whole_micros(seconds(line.lasts_s).unwrap_or_default()),
                reaches: line.reaches,
            })
            .collect();
    }
    if !stages.is_empty() {
        let ramp = Ramp::new(stages).map_err(PlanError::Stages)?;
        return match set.connections {
            Some(connections) if connections != ramp.connections() => {
                Err(PlanError::RampElsewhere { connections, reaches: ramp.connections() })
            }
            _ => Ok(ramp),
        };
    }
    if scenario.kind == Kind::LoginStorm && connections > 0 {
        return Ok(Ramp::at_once(connections));
    }
    let default = CONNECT_RATE_PER_S.max(connections as f64 / RAMP_S_MAX);
    let rate = set.connect_rate_per_s.or(scenario.connect_rate_per_s).unwrap_or(default);
    if !rate.is_finite() || rate <= 0.0 {
        return Err(PlanError::ConnectRate { rate_per_s: rate });
    }
    if connections == 0 {
        return Err(PlanError::Connections { connections });
    }
    Ok(Ramp::at_rate(connections, rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs() -> Scenario {
        crate::scenario::load("pairs").unwrap()
    }

    fn refused(change: impl FnOnce(&mut Overrides)) -> String {
        let mut set = Overrides::default();
        change(&mut set);
        Plan::new(&pairs(), &set).unwrap_err().to_string()
    }

    #[test]
    fn a_plan_survives_its_file_with_the_same_hash() {
        let set = Overrides {
            stages: vec![(Duration::from_secs(3), 10), (Duration::from_secs(1), 40)],
            ..Overrides::default()
        };
        let plan = Plan::new(&pairs(), &set).unwrap();
        let read: Plan = serde_json::from_str(&plan.to_json()).unwrap();
        assert_eq!(read, plan);
        assert_eq!(read.hash(), plan.hash());
        assert_eq!((plan.hash().len(), plan.connections), (64, 40));
    }

    #[test]
    fn a_ramp_that_says_nothing_takes_no_longer_than_twenty_seconds() {
        let lasts_s = |connections| {
            let set = Overrides { connections: Some(connections), ..Overrides::default() };
            Plan::new(&pairs(), &set).unwrap().ramp.lasts().as_secs_f64()
        };
        assert_eq!([1_000, 100_000, 200_000, 2_500_000].map(lasts_s), [0.1, 10.0, 20.0, 20.0]);
    }

    #[test]
    fn every_number_changes_the_hash() {
        let base = Plan::new(&pairs(), &Overrides::default()).unwrap();
        let mut seeded = base.clone();
        seeded.seed += 1;
        let mut faster = base.clone();
        faster.rate_per_s += 0.5;
        assert!(base.hash() != seeded.hash() && base.hash() != faster.hash());
    }

    #[test]
    fn storms_take_their_settings_from_flags_before_the_file() {
        let scenario = crate::scenario::load("reconnect-storm").unwrap();
        let plan = Plan::new(&scenario, &Overrides::default()).unwrap();
        let set = Overrides {
            storm_share: Some(0.25),
            reconnect: Some(Reconnect::AtOnce),
            reconnect_base: Some(Duration::from_millis(10)),
            ..Overrides::default()
        };
        let other = Plan::new(&scenario, &set).unwrap();
        assert_eq!(plan.storm.unwrap().share, 0.5);
        let storm = other.storm.unwrap();
        assert_eq!((storm.share, storm.reconnect), (0.25, Reconnect::AtOnce));
        assert_eq!((storm.base, storm.cap), (Duration::from_millis(10), plan.storm.unwrap().cap));
        assert_ne!(plan.hash(), other.hash());
        let read: Plan = serde_json::from_str(&other.to_json()).unwrap();
        assert_eq!(read, other);
    }

    #[test]
    fn a_storm_that_cannot_be_is_refused_with_a_remedy() {
        let refused = |name: &str, set: &Overrides| {
            Plan::new(&crate::scenario::load(name).unwrap(), set).unwrap_err().to_string()
        };
        let share = |share| Overrides { storm_share: Some(share), ..Overrides::default() };
        for bad in [0.0, -1.0, 1.5, f64::NAN] {
            assert!(refused("reconnect-storm", &share(bad)).contains("--storm-share"), "{bad}");
        }
        assert!(refused("pairs", &share(0.5)).contains("--storm-share"));
        assert!(refused("login-storm", &share(0.5)).contains("--storm-share"));
        let base = Overrides { reconnect_base: Some(Duration::from_secs(61)), ..Overrides::default() };
        assert!(refused("reconnect-storm", &base).contains("--reconnect-cap"));
        let never = Overrides { reconnect_attempts: Some(0), ..Overrides::default() };
        assert!(refused("reconnect-storm", &never).contains("--reconnect-attempts"));
        let ramp = Overrides { connect_rate_per_s: Some(10.0), ..Overrides::default() };
        assert!(refused("login-storm", &ramp).contains("--connect-rate"));
    }

    #[test]
    fn impossible_numbers_are_refused_with_a_remedy() {
        assert!(refused(|set| set.connections = Some(0)).contains("--connections"));
        assert!(refused(|set| set.connections = Some(7)).contains("6 or 8"));
        assert!(refused(|set| set.payload_bytes = Some(31)).contains("--size"));
        assert!(refused(|set| set.payload_bytes = Some(1 << 20)).contains("--size"));
        assert!(refused(|set| set.duration = Some(Duration::ZERO)).contains("--duration"));
        assert!(refused(|set| set.rate_per_s = Some(1e12)).contains("--rate"));
        assert!(refused(|set| set.rate_per_s = Some(-1.0)).contains("--rate"));
        assert!(refused(|set| set.rate_per_user_per_s = Some(200_000.0)).contains("per user"));
        assert!(refused(|set| set.closed_loop_window = Some(65)).contains("64"));
        assert!(refused(|set| set.heartbeat = Some(Duration::from_millis(1))).contains("--heartbeat"));
        assert!(refused(|set| set.connect_rate_per_s = Some(0.0)).contains("--connect-rate"));
        assert!(refused(|set| set.stages = vec![(Duration::from_secs(1), 0)]).contains("no connection"));
    }

    #[test]
    fn settings_that_exclude_each_other_are_refused() {
        assert!(
            refused(|set| {
                set.rate_per_s = Some(1.0);
                set.closed_loop_window = Some(1);
            })
            .contains("exclude")
        );
        assert!(
            refused(|set| {
                set.connections = Some(100);
                set.stages = vec![(Duration::from_secs(1), 50)];
            })
            .contains("50")
        );
        assert!(
            refused(|set| {
                set.protocol = Some(Protocol::Connect);
                set.rate_per_s = Some(10.0);
            })
            .contains("connect sends no messages")
        );
    }

    #[test]
    fn a_rate_per_user_is_multiplied() {
        let set =
            Overrides { connections: Some(200), rate_per_user_per_s: Some(0.5), ..Overrides::default() };
        assert_eq!(Plan::new(&pairs(), &set).unwrap().rate_per_s, 100.0);
    }

    #[test]
    fn a_plain_rate_overrides_the_files_closed_loop() {
        let mut scenario = pairs();
        scenario.closed_loop_window = Some(8);
        let closed = Plan::new(&scenario, &Overrides::default()).unwrap();
        assert_eq!((closed.closed_loop_window, closed.rate_per_s), (Some(8), 0.0));
        let set = Overrides { rate_per_s: Some(5.0), ..Overrides::default() };
        let open = Plan::new(&scenario, &set).unwrap();
        assert_eq!((open.closed_loop_window, open.rate_per_s), (None, 5.0));
    }

    #[test]
    fn threads_are_found_by_the_fullest() {
        let set = Overrides { connections: Some(1_000_000), ..Overrides::default() };
        let plan = Plan::new(&pairs(), &set).unwrap();
        let threads = plan.threads_for(19_000).unwrap();
        assert!((53..=60).contains(&threads), "{threads}");
        assert!(plan.users_per_thread(threads) <= 19_000);
        assert!(plan.users_per_thread(threads - 1) > 19_000);
        assert_eq!(plan.threads_for(0), None, "a million threads are not to be had");
    }
}
