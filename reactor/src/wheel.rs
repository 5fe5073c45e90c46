//! Timers: a hierarchical wheel that is told the time.
//!
//! ```text
//!  level 0   one tick per slot        ticks that share all but their lowest 6 bits with the wheel's
//!  level 1   64 ticks per slot        all but their lowest 12 bits
//!  level l   64^l ticks per slot      a timer stands on the level of the highest digit (base 64) in which its tick
//!                                     differs from the wheel's, in the slot of its own digit there
//! ```
//!
//! Hence every timer on a level is earlier than all timers on the levels above, and the next slot to look at is the
//! lowest bit of the lowest level that has any. When the wheel's tick enters a slot, level 0 fires, and a higher
//! level deals its timers out to the levels below: at most once per level, so a timer costs O(1) altogether. Eleven
//! levels cover every instant that [`Nanos`] can name; there is no list of timers that are too far away.
//!
//! There is no cancelling. A user that no longer wants a timer lets it fire and finds, by the state that it keeps
//! anyway, that nothing is due; one that moves a deadline back and forth keeps one timer and inserts it anew when
//! it fires too early. So a timer needs no handle, and whoever restarts a timeout per message pays nothing per
//! message.

use std::time::Duration;

use crate::Nanos;

const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
const LEVELS: usize = 11;
const _: () = assert!(LEVELS as u32 * DIGIT_BITS >= u64::BITS, "the levels reach every tick");
const _: () = assert!(LEVELS <= 16, "the summary of levels is a u16");

const NOBODY: u32 = u32::MAX;

/// One pending timer: 12 bytes and its key. Slots are chains of these in one vector, so an empty slot costs its four
/// bytes of [`Wheel::heads`] (2,816 in all) and a busy one nothing more.
#[derive(Clone, Copy)]
struct Timer<K> {
    tick: u64,
    next: u32,
    key: K,
}
const _: () = assert!(size_of::<Timer<crate::Slot>>() == 24);
const _: () = assert!(size_of::<Timer<u32>>() == 16);

/// Keys under deadlines. The module's text says how it works.
///
/// Memory: 24 bytes per pending timer with an 8-byte key, 16 with a 4-byte key, times the vector's slack; it stays at
/// its high-water mark. Inserting and expiring allocate only when there are more timers than ever before.
pub struct Wheel<K> {
    start: Nanos,
    tick: u64,
    /// Ticks since `start` that have been expired. No timer is on an earlier tick.
    current: u64,
    heads: [[u32; SLOTS]; LEVELS],
    /// Which slots of a level have a chain.
    occupied: [u64; LEVELS],
    /// Which levels have a slot that has.
    levels: u16,
    timers: Vec<Timer<K>>,
    /// The chain of unused timers.
    free: u32,
    len: usize,
}

/// Room for timers that an empty wheel keeps: 24 KiB with keys of 8 bytes.
const TIMERS_KEPT: usize = 1024;

impl<K: Copy> Wheel<K> {
    /// An empty wheel that begins at `start` and tells instants apart to one `tick`.
    ///
    /// # Panics
    /// When `tick` is zero or longer than 584 years.
    pub fn new(start: Nanos, tick: Duration) -> Wheel<K> {
        let tick = u64::try_from(tick.as_nanos()).expect("a tick fits 64 bits of nanoseconds");
        assert!(tick > 0, "a tick takes time");
        Wheel {
            start,
            tick,
            current: 0,
            heads: [[NOBODY; SLOTS]; LEVELS],
            occupied: [0; LEVELS],
            levels: 0,
            timers: Vec::new(),
            free: NOBODY,
            len: 0,
        }
    }

    /// How many timers are pending.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a timer. A deadline in the past fires with the next [`Wheel::expire`]; one less than a tick before
    /// [`Nanos::MAX`] may never fire.
    pub fn insert(&mut self, deadline: Nanos, key: K) {
        // Rounded up: a timer is late by less than a tick rather than early.
        let tick = deadline.0.saturating_sub(self.start.0).div_ceil(self.tick).max(self.current);
        let timer = Timer { tick, next: NOBODY, key };
        let index = match self.free {
            NOBODY => {
                assert!(self.timers.len() < NOBODY as usize, "a wheel holds at most 2^32 - 1 timers");
                self.timers.push(timer);
                (self.timers.len() - 1) as u32
            }
            index => {
                self.free = self.timers[index as usize].next;
                self.timers[index as usize] = timer;
                index
            }
        };
        self.len += 1;
        self.link(index);
    }

    /// Appends to `expired` the keys of all timers whose deadline is at or before `now`: none early, those of the
    /// last tick perhaps with the next call. Earlier ticks come first; within a tick there is no order. A `now`
    /// that goes back expires only what was inserted since.
    pub fn expire(&mut self, now: Nanos, expired: &mut Vec<K>) {
        let target = (now.0.saturating_sub(self.start.0) / self.tick).max(self.current);
        while let Some((level, slot, begins)) = self.next_slot() {
            if begins > target {
                break;
            }
            self.current = begins;
            let mut index = self.unlink(level, slot);
            while index != NOBODY {
                let timer = self.timers[index as usize];
                if level == 0 {
                    expired.push(timer.key);
                    self.timers[index as usize].next = self.free;
                    self.free = index;
                    self.len -= 1;
                } else {
                    self.link(index);
                }
                index = timer.next;
            }
        }
        if self.len == 0 && self.timers.capacity() > TIMERS_KEPT {
            self.timers = Vec::new(); // what one storm needed
            self.free = NOBODY;
        }
        // Nothing is due up to here, so the digits above every timer's level stay equal to the wheel's.
        self.current = target;
    }

    /// The instant up to which nothing needs to be done; `None` without timers.
    ///
    /// Never later than the instant at which the earliest timer fires. [`Wheel::expire`] at this instant fires
    /// something or moves the nearest timers down a level, so at most ten calls in a row fire nothing.
    pub fn next_deadline(&self) -> Option<Nanos> {
        let (_, _, begins) = self.next_slot()?;
        Some(Nanos(self.start.0.saturating_add(begins.saturating_mul(self.tick))))
    }

    /// The earliest slot that has timers: level, slot, and the tick with which it begins.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        if self.levels == 0 {
            return None;
        }
        let level = self.levels.trailing_zeros() as usize;
        let slot = self.occupied[level].trailing_zeros() as usize;
        let shift = level as u32 * DIGIT_BITS;
        // The digits above this level are the wheel's, those below are zero.
        let above =
            self.current.checked_shr(shift + DIGIT_BITS).map_or(0, |high| high << (shift + DIGIT_BITS));
        Some((level, slot, above | (slot as u64) << shift))
    }

    /// Puts a timer in front of the chain where it belongs as seen from the current tick.
    fn link(&mut self, index: u32) {
        let tick = self.timers[index as usize].tick;
        let differs = (tick ^ self.current) | 1;
        let level = (differs.ilog2() / DIGIT_BITS) as usize;
        let slot = (tick >> (level as u32 * DIGIT_BITS)) as usize % SLOTS;
        self.timers[index as usize].next = std::mem::replace(&mut self.heads[level][slot], index);
        self.occupied[level] |= 1 << slot;
        self.levels |= 1 << level;
    }

    /// Takes a slot's chain; returns its first timer.
    fn unlink(&mut self, level: usize, slot: usize) -> u32 {
        self.occupied[level] &= !(1 << slot);
        if self.occupied[level] == 0 {
            self.levels &= !(1 << level);
        }
        std::mem::replace(&mut self.heads[level][slot], NOBODY)
    }
}

impl<K> std::fmt::Debug for Wheel<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wheel({} timers, tick {} of {} ns)", self.len, self.current, self.tick)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const TICK: u64 = 1_000_000;
    const START: Nanos = Nanos(123_456_789);

    fn wheel() -> Wheel<u32> {
        Wheel::new(START, Duration::from_nanos(TICK))
    }

    fn expire(wheel: &mut Wheel<u32>, now: Nanos) -> Vec<u32> {
        let mut expired = Vec::new();
        wheel.expire(now, &mut expired);
        expired
    }

    #[test]
    fn a_timer_fires_within_a_tick_after_its_deadline_and_not_before() {
        let mut wheel = wheel();
        let deadline = START + Duration::from_nanos(TICK * 5000 + 1);
        wheel.insert(deadline, 7);
        assert_eq!(expire(&mut wheel, Nanos(deadline.0 - 1)), []);
        assert_eq!(expire(&mut wheel, Nanos(deadline.0 + TICK - 1)), [7]);
        assert!(wheel.is_empty() && wheel.next_deadline().is_none());
    }

    #[test]
    fn a_deadline_in_the_past_fires_at_once() {
        let mut wheel = wheel();
        let now = START + Duration::from_secs(3600);
        assert_eq!(expire(&mut wheel, now), []);
        wheel.insert(Nanos(0), 1);
        assert!(wheel.next_deadline().is_some_and(|at| at <= now));
        assert_eq!(expire(&mut wheel, now), [1]);
    }

    #[test]
    fn the_end_of_time_is_a_deadline_like_any_other() {
        let mut wheel = Wheel::new(Nanos(0), Duration::from_nanos(1));
        wheel.insert(Nanos::MAX, 1);
        wheel.insert(Nanos(u64::MAX - 1), 2);
        assert_eq!(expire(&mut wheel, Nanos(u64::MAX - 2)), []);
        assert_eq!(expire(&mut wheel, Nanos(u64::MAX - 1)), [2]);
        assert_eq!(wheel.next_deadline(), Some(Nanos::MAX));
        assert_eq!(expire(&mut wheel, Nanos::MAX), [1]);
    }

    #[test]
    fn timers_that_fired_leave_their_memory_to_the_next() {
        let mut wheel = wheel();
        let mut now = START;
        for round in 0..1000 {
            for key in 0..100 {
                wheel.insert(now + Duration::from_micros(u64::from(key) * 700 + round), key);
            }
            now = now + Duration::from_secs(1);
            assert_eq!(expire(&mut wheel, now).len(), 100);
        }
        assert_eq!(wheel.timers.len(), 100);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        Jump(u64),
        /// Waits exactly as long as the wheel says, as a reactor does.
        Wait,
    }

    /// Spans of all sizes, from nothing to 208 days.
    fn span() -> impl Strategy<Value = u64> {
        (0..54u32, any::<u64>()).prop_map(|(bits, value)| value & ((1 << bits) - 1))
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => span().prop_map(Step::Insert),
            1 => span().prop_map(Step::Jump),
            2 => Just(Step::Wait),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_agrees_with_a_sorted_map(steps in prop::collection::vec(step(), 1..200), tick in 1..5_000_000u64) {
            let mut wheel = Wheel::new(START, Duration::from_nanos(tick));
            let mut model: BTreeMap<(u64, u32), ()> = BTreeMap::new();
            let (mut now, mut key, mut idle) = (START.0, 0, 0);
            for step in steps {
                match step {
                    Step::Insert(after) => {
                        wheel.insert(Nanos(now + after), key);
                        model.insert((now + after, key), ());
                        key += 1;
                        idle = 0;
                        continue;
                    }
                    Step::Jump(by) => now += by,
                    Step::Wait => {
                        let Some(next) = wheel.next_deadline() else { continue };
                        let earliest = model.keys().next().expect("the wheel has a timer").0;
                        prop_assert!(next.0 < earliest.saturating_add(tick), "{next:?} is after {earliest} + a tick");
                        now = now.max(next.0);
                    }
                }
                let before = model.len();
                for key in expire(&mut wheel, Nanos(now)) {
                    let (deadline, _) =
                        *model.keys().find(|entry| entry.1 == key).expect("it fires once");
                    prop_assert!(deadline <= now, "{key} is early");
                    model.remove(&(deadline, key));
                }
                if let Some((deadline, _)) = model.keys().next() {
                    prop_assert!(deadline + tick > now, "{deadline} is a whole tick late at {now}");
                }
                idle = if model.len() < before { 0 } else { idle + usize::from(matches!(step, Step::Wait)) };
                prop_assert!(idle < LEVELS, "{idle} waits in a row fired nothing");
                prop_assert_eq!(wheel.len(), model.len());
            }
        }
    }
}
