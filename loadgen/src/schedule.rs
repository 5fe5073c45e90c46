//! When each message is due, and whose it is: streamed, the same for any number of workers.
//!
//! Every lane of the plan has a stream of chance and a Poisson process of its own, with a rate in proportion to its
//! senders; together they are one Poisson process of the plan's rate. A worker merges its lanes by a heap. Nothing depends
//! on the machine: the logarithm, too, is made of additions, multiplications and divisions, which IEEE 754 rounds alike
//! everywhere.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::Plan;
use crate::scenario::Protocol;
use crate::stamp::mix;

/// Which users one worker plays, and how it numbers them: lane by lane within a round of the lanes, so in the order in which
/// they connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    worker: u32,
    workers: u32,
    lanes: u32,
    /// Lanes of this worker.
    own: u32,
    connections: u64,
}

impl Share {
    /// The share of worker `worker` (from 0) of the `workers` of the plan's part. A worker beyond the lanes has no users.
    pub fn new(plan: &Plan, worker: usize, workers: usize) -> Share {
        let lanes = plan.lanes();
        let (worker, workers) = plan.part.among_all(worker as u32, workers as u32);
        let own = lanes.saturating_sub(worker).div_ceil(workers);
        Share { worker, workers, lanes, own, connections: plan.connections }
    }

    /// How many users it has.
    pub fn users(&self) -> u32 {
        let pairs = self.connections.div_ceil(2);
        let (rounds, more) = (pairs / u64::from(self.lanes), (pairs % u64::from(self.lanes)) as u32);
        let last_round = more.saturating_sub(self.worker).div_ceil(self.workers);
        let users = (rounds * u64::from(self.own) + u64::from(last_round)) as u32 * 2;
        // The plan's last user may be without a partner; its pair is the last of whoever has its lane.
        let last_lane = ((pairs - 1) % u64::from(self.lanes)) as u32;
        let has_last = last_lane % self.workers == self.worker;
        users - u32::from(has_last && !self.connections.is_multiple_of(2))
    }

    /// The plan's number of this worker's user `local`, both from 0.
    #[inline]
    pub fn global(&self, local: u32) -> u64 {
        let (pair, side) = (local / 2, local % 2);
        let (round, lane) = (pair / self.own, self.worker + pair % self.own * self.workers);
        (u64::from(round) * u64::from(self.lanes) + u64::from(lane)) * 2 + u64::from(side)
    }

    /// This worker's number of the `nth` user of its own lane number `lane`.
    fn local(&self, lane: u32, nth: u32) -> u32 {
        (nth / 2 * self.own + lane) * 2 + nth % 2
    }

    /// Users in its own lane number `lane`.
    fn users_in_lane(&self, lane: u32) -> u32 {
        let lane = u64::from(self.worker + lane * self.workers);
        let (pairs, lanes) = (self.connections.div_ceil(2), u64::from(self.lanes));
        let here = pairs.saturating_sub(lane).div_ceil(lanes) as u32;
        let has_last = (pairs - 1) % lanes == lane && !self.connections.is_multiple_of(2);
        here * 2 - u32::from(has_last)
    }
}

/// One message that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Due {
    /// When, in nanoseconds from the schedule's first instant: the beginning of the traffic, or of the roll call.
    pub at: u64,
    /// Whose, as its worker numbers it.
    pub user: u32,
}

/// What is due to one worker's users, in order.
#[derive(Debug)]
pub struct Schedule {
    share: Share,
    lanes: Vec<Lane>,
    /// The next instant of every lane that has one. A lane takes its place in it by its number, so ties are always
    /// broken alike.
    heap: BinaryHeap<Reverse<(u64, u32)>>,
    roll_call: RollCall,
}

#[derive(Debug)]
struct Lane {
    chance: Xoshiro256PlusPlus,
    users: u32,
    /// Mean time between two of its messages.
    gap_ns: f64,
    ends: u64,
}

/// The messages at the end of a quiet kind: one per user, evenly spaced.
#[derive(Debug, Default)]
struct RollCall {
    next: u32,
    users: u32,
    gap_ns: f64,
}

impl Schedule {
    /// Everything that is due to this share of the plan. Empty for a closed loop, whose messages have no planned instants.
    pub fn new(plan: &Plan, share: Share) -> Schedule {
        let mut schedule =
            Schedule { share, lanes: Vec::new(), heap: BinaryHeap::new(), roll_call: RollCall::default() };
        if plan.protocol == Protocol::Connect || plan.closed_loop_window.is_some() {
            return schedule;
        }
        if plan.kind.has_roll_call() {
            schedule.roll_call = RollCall { next: 0, users: share.users(), gap_ns: 1e9 / plan.rate_per_s };
            return schedule;
        }
        let ends = (plan.warmup + plan.duration).as_nanos() as u64;
        for number in 0..share.own {
            let users = share.users_in_lane(number);
            if users == 0 {
                break; // Later lanes have no more users than earlier ones.
            }
            let lane = u64::from(share.worker + number * share.workers);
            let rate_per_s = plan.rate_per_s * f64::from(users) / plan.connections as f64;
            let mut lane = Lane {
                chance: Xoshiro256PlusPlus::seed_from_u64(mix(plan.seed) ^ mix(!lane)),
                users,
                gap_ns: 1e9 / rate_per_s,
                ends,
            };
            if let Some(first) = lane.after(0) {
                schedule.heap.push(Reverse((first, number)));
            }
            schedule.lanes.push(lane);
        }
        schedule
    }

    /// When the next message is due, in nanoseconds from the schedule's first instant; `None` when there is none.
    #[inline]
    pub fn next_at(&self) -> Option<u64> {
        match self.heap.peek() {
            Some(Reverse((at, _))) => Some(*at),
            None => self.roll_call.at(&self.share),
        }
    }

    /// Takes the next message that is due at or before `until`.
    #[inline]
    pub fn pop(&mut self, until: u64) -> Option<Due> {
        let Some(mut top) = self.heap.peek_mut() else {
            let at = self.roll_call.at(&self.share).filter(|&at| at <= until)?;
            self.roll_call.next += 1;
            return Some(Due { at, user: self.roll_call.next - 1 });
        };
        let Reverse((at, number)) = *top;
        if at > until {
            return None;
        }
        let lane = &mut self.lanes[number as usize];
        let user = self.share.local(number, lane.pick());
        match lane.after(at) {
            Some(next) => top.0.0 = next,
            None => drop(PeekMut::pop(top)),
        }
        Some(Due { at, user })
    }
}

impl Lane {
    /// When its next message is due after one at `at`; `None` when that is beyond the end.
    #[inline]
    fn after(&mut self, at: u64) -> Option<u64> {
        let gap = exponential(self.chance.next_u64()) * self.gap_ns;
        Some(at + gap.round() as u64).filter(|&next| next < self.ends)
    }

    /// Whose message it is: any of its users alike.
    #[inline]
    fn pick(&mut self) -> u32 {
        let high = self.chance.next_u64() >> 32;
        ((high * u64::from(self.users)) >> 32) as u32
    }
}

impl RollCall {
    #[inline]
    fn at(&self, share: &Share) -> Option<u64> {
        let at = || (share.global(self.next) as f64 * self.gap_ns) as u64;
        (self.next < self.users).then(at)
    }
}

/// An exponentially distributed number with mean 1, out of 64 random bits; at most 36.8.
#[inline]
fn exponential(bits: u64) -> f64 {
    // In (0, 1]: the logarithm of zero is never asked for.
    -ln(((bits >> 11) + 1) as f64 * (1.0 / (1u64 << 53) as f64))
}

/// The natural logarithm of a normal positive number, to about 1e-11.
#[inline]
fn ln(x: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut mantissa = f64::from_bits((bits & MANTISSA) | (1023 << 52));
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    // ln m = 2 (s + s^3/3 + s^5/5 ...) with s = (m - 1) / (m + 1), |s| < 0.172.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let s2 = s * s;
    let mut sum = 0.0;
    for odd in [13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        sum = sum * s2 + 1.0 / odd;
    }
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * s * sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::Part;
    use crate::{Overrides, scenario};

    fn plan(name: &str, connections: u64, rate: f64, protocol: Protocol) -> Plan {
        let set = Overrides {
            connections: Some(connections),
            rate_per_s: Some(rate),
            protocol: Some(protocol),
            duration: Some(std::time::Duration::from_secs(2)),
            ..Overrides::default()
        };
        Plan::new(&scenario::load(name).unwrap(), &set).unwrap()
    }

    /// Everything that is due to anybody, with the plan's numbers of users, in order.
    fn expand(plan: &Plan, workers: usize) -> Vec<(u64, u64)> {
        let mut all = Vec::new();
        for worker in 0..workers {
            let share = Share::new(plan, worker, workers);
            let mut schedule = Schedule::new(plan, share);
            let mut before = 0;
            while let Some(due) = schedule.pop(u64::MAX) {
                assert!(due.at >= before && due.user < share.users());
                before = due.at;
                all.push((due.at, share.global(due.user)));
            }
            assert_eq!(schedule.next_at(), None);
        }
        all.sort_unstable();
        all
    }

    #[test]
    fn the_rate_is_met_and_every_user_writes_alike() {
        let plan = plan("pairs", 10, 50_000.0, Protocol::Native);
        let due = expand(&plan, 1);
        // 200,000 expected in 4 s; five standard deviations.
        assert!((due.len() as f64 - 200_000.0).abs() < 5.0 * 200_000f64.sqrt(), "{}", due.len());
        for user in 0..10 {
            let count = due.iter().filter(|event| event.1 == user).count() as f64;
            assert!((count - 20_000.0).abs() < 5.0 * 20_000f64.sqrt(), "user {user} writes {count}");
        }
    }

    #[test]
    fn gaps_are_exponential() {
        let plan = plan("pairs", 1000, 20_000.0, Protocol::Native);
        let due = expand(&plan, 1);
        let gaps: Vec<f64> = due.windows(2).map(|pair| (pair[1].0 - pair[0].0) as f64 / 50_000.0).collect();
        let beyond = |x: f64| gaps.iter().filter(|&&gap| gap > x).count() as f64 / gaps.len() as f64;
        for x in [0.1, 0.5, 1.0, 2.0, 4.0] {
            assert!((beyond(x) - (-x).exp()).abs() < 0.01, "{} of gaps are above {x} means", beyond(x));
        }
    }

    #[test]
    fn another_seed_is_another_plan_of_the_same_rate() {
        let one = plan("pairs", 100, 1000.0, Protocol::Native);
        let mut other = one.clone();
        other.seed = 2;
        assert_eq!(expand(&one, 1), expand(&one, 1));
        assert_ne!(expand(&one, 1), expand(&other, 1));
    }

    #[test]
    fn at_the_roll_call_everybody_is_called_once_at_even_distances() {
        let plan = plan("idle", 1000, 500.0, Protocol::Native);
        let due = expand(&plan, 7);
        for (number, (at, user)) in (0..).zip(due) {
            assert_eq!((at, user), (number * 2_000_000, number));
        }
    }

    #[test]
    fn the_logarithm_is_the_logarithm() {
        for x in (1..100_000).map(|n| f64::from(n) / 99_999.0).chain([f64::MIN_POSITIVE, 1e-16, 1e-9]) {
            let error = (ln(x) - x.ln()).abs();
            assert!(error < 1e-10, "ln {x} is wrong by {error}");
        }
        assert_eq!(exponential(u64::MAX), 0.0);
        assert!(exponential(0) < 37.0);
    }

    #[test]
    fn the_parts_of_a_plan_are_the_plan_whatever_threads_each_has() {
        let whole = plan("pairs", 500, 300.0, Protocol::Echo);
        let mut together = Vec::new();
        for (number, threads) in [(1, 1), (2, 7), (3, 2)] {
            let part = Plan { part: Part { number, of: 3 }, ..whole.clone() };
            assert_eq!(part.hash(), whole.hash());
            let due = expand(&part, threads);
            assert!(
                due.iter().all(|(_, user)| *user / 2 % u64::from(whole.lanes()) % 3 == u64::from(number - 1))
            );
            together.extend(due);
        }
        together.sort_unstable();
        assert_eq!(together, expand(&whole, 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_due_does_not_depend_on_the_number_of_workers(
            connections in 1..1000u64, workers in 2..80usize, seed in any::<u64>(),
        ) {
            let mut plan = plan("pairs", connections, 300.0, Protocol::Echo);
            plan.seed = seed;
            prop_assert_eq!(expand(&plan, 1), expand(&plan, workers));
        }

        #[test]
        fn every_user_is_in_exactly_one_share_beside_its_partner(connections in 1..300_000u64, workers in 1..200usize) {
            let plan = plan("pairs", connections, 1.0, Protocol::Echo);
            let mut seen = vec![false; connections as usize];
            for worker in 0..workers {
                let share = Share::new(&plan, worker, workers);
                let mut before = None;
                for local in 0..share.users() {
                    let global = share.global(local);
                    prop_assert!(before < Some(global), "a share is in the order of connecting");
                    prop_assert!(!std::mem::replace(&mut seen[global as usize], true));
                    if local % 2 == 1 {
                        prop_assert_eq!(before, Some(global - 1), "partners are neighbours");
                    }
                    before = Some(global);
                }
                let in_lanes: u32 = (0..share.own).map(|lane| share.users_in_lane(lane)).sum();
                prop_assert_eq!(in_lanes, share.users());
            }
            prop_assert!(seen.iter().all(|&seen| seen));
        }
    }
}
