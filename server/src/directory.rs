//! Where every user is: a table of 16 bytes per entry that grows in place.
//!
//! ```text
//!  hash(user)   63..58          57..0
//!              segment    place = home(hash) or a little above
//!
//!  segment     [ann|   |bob|cem|   |eve| ...  ]   in the order of the hash, without a gap between home and place
//! ```
//!
//! A place follows from the hash by its share of the segment's homes (`hash * homes >> 64`), not by a mask: so a
//! segment may have any number of homes, and grows by an eighth where a table of powers of two doubles. Entries stand in
//! the order of their hashes, which a growth keeps: every entry moves up or stays, so it needs no second table beside
//! the first. Segments grow one at a time: the longest stall is that of one.
//!
//! Memory: 16 bytes per entry at a load of 7/9 to 7/8, so 18.3 to 20.6 bytes per user. A segment that is nearly empty
//! shrinks by half.

use std::hash::BuildHasher;

use foldhash::quality::FixedState;
use throng_reactor::Slot;
use throng_wire::native::UserId;

/// Segments per directory, as a number of bits. With a million users in one directory a segment has 16,000 entries, which
/// move in a fraction of a millisecond when it grows.
const SEGMENT_BITS: u32 = 6;

/// Homes of the smallest segment that has any: 128 bytes.
const HOMES_MIN: usize = 8;

/// Entries that a segment's end grows by when the last cluster reaches over it.
const END_STEP: usize = 4;

type Entry = Option<(UserId, Slot)>;
const _: () = assert!(size_of::<Entry>() == 16);

/// The users whose home a shard is, with their connections.
#[derive(Debug)]
pub(crate) struct Directory {
    segments: Vec<Segment>,
    hash: FixedState,
    len: usize,
}

/// A range of the hash's values. Invariant: an entry stands at or above its home, entries stand in the order of their hashes, and
/// no place between an entry and its home is empty.
#[derive(Debug, Default)]
struct Segment {
    /// At least one place per home, and those that the last cluster needs beyond them.
    entries: Vec<Entry>,
    homes: usize,
    len: usize,
}

/// Where an entry of a user is, or where it would have to be.
enum Found {
    At(usize),
    Before(usize),
}

impl Directory {
    /// An empty one. `seed` keeps clients from choosing users that collide.
    pub(crate) fn new(seed: u64) -> Directory {
        Directory {
            segments: (0..1 << SEGMENT_BITS).map(|_| Segment::default()).collect(),
            hash: FixedState::with_seed(seed),
            len: 0,
        }
    }

    /// How many users it has.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The user's connection.
    pub(crate) fn get(&self, user: UserId) -> Option<Slot> {
        let (segment, hash) = self.part(user);
        let segment = &self.segments[segment];
        match segment.find(&self.hash, user, hash) {
            Found::At(place) => segment.entries[place].map(|(_, slot)| slot),
            Found::Before(_) => None,
        }
    }

    /// Notes the user's connection; returns the one before.
    pub(crate) fn insert(&mut self, user: UserId, slot: Slot) -> Option<Slot> {
        let (segment, hash) = self.part(user);
        let segment = &mut self.segments[segment];
        let mut found = segment.find(&self.hash, user, hash);
        if matches!(found, Found::Before(_)) && segment.is_full() {
            segment.grow(&self.hash);
            found = segment.find(&self.hash, user, hash);
        }
        match found {
            Found::At(place) => segment.entries[place].replace((user, slot)).map(|(_, before)| before),
            Found::Before(place) => {
                segment.put(place, (user, slot));
                self.len += 1;
                None
            }
        }
    }

    /// Forgets the user if this is the connection. True: it was.
    pub(crate) fn remove(&mut self, user: UserId, slot: Slot) -> bool {
        let (segment, hash) = self.part(user);
        let segment = &mut self.segments[segment];
        match segment.find(&self.hash, user, hash) {
            Found::At(place) if segment.entries[place] == Some((user, slot)) => {
                segment.take(&self.hash, place);
                self.len -= 1;
                true
            }
            Found::At(_) | Found::Before(_) => false,
        }
    }

    /// The user's segment, and its hash within the segment.
    fn part(&self, user: UserId) -> (usize, u64) {
        let hash = self.hash.hash_one(user);
        ((hash >> (u64::BITS - SEGMENT_BITS)) as usize, hash << SEGMENT_BITS)
    }

    /// Bytes of all entries, empty ones too.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.segments.iter().map(|segment| segment.entries.capacity() * size_of::<Entry>()).sum()
    }
}

/// A hash within its segment.
fn within(state: &FixedState, user: UserId) -> u64 {
    state.hash_one(user) << SEGMENT_BITS
}

/// The place at which a hash belongs among so many homes.
fn home(hash: u64, homes: usize) -> usize {
    ((u128::from(hash) * homes as u128) >> u64::BITS) as usize
}

impl Segment {
    fn find(&self, state: &FixedState, user: UserId, hash: u64) -> Found {
        let mut place = home(hash, self.homes);
        while let Some(&Some((other, _))) = self.entries.get(place) {
            if other == user {
                return Found::At(place);
            }
            if within(state, other) > hash {
                break;
            }
            place += 1;
        }
        Found::Before(place)
    }

    /// Whether another entry would fill more than 7/8 of the homes.
    fn is_full(&self) -> bool {
        self.len >= self.homes / 8 * 7
    }

    /// Puts an entry at `place`; what stands there and next to it moves up by one.
    fn put(&mut self, place: usize, entry: (UserId, Slot)) {
        let mut next = Some(entry);
        for at in place.. {
            if at == self.entries.len() {
                self.entries.reserve_exact(END_STEP);
                self.entries.resize(at + END_STEP, None);
            }
            next = std::mem::replace(&mut self.entries[at], next);
            if next.is_none() {
                break;
            }
        }
        self.len += 1;
    }

    /// Takes the entry at `place`; those next to it that are above their homes move down by one.
    fn take(&mut self, state: &FixedState, mut place: usize) {
        self.len -= 1;
        while let Some(&Some((user, slot))) = self.entries.get(place + 1)
            && home(within(state, user), self.homes) <= place
        {
            self.entries[place] = Some((user, slot));
            place += 1;
        }
        self.entries[place] = None;
        if self.len < self.homes / 4 && self.homes > HOMES_MIN {
            self.shrink(state);
        }
    }

    /// One home more for every eight.
    fn grow(&mut self, state: &FixedState) {
        let homes = HOMES_MIN.max(self.homes + (self.homes / 8).next_multiple_of(8));
        // How far the last cluster will reach.
        let end = self
            .entries
            .iter()
            .flatten()
            .fold(0, |next, (user, _)| next.max(home(within(state, *user), homes)) + 1);
        let extent = end.max(homes);
        self.entries.reserve_exact(extent.saturating_sub(self.entries.len()));
        self.entries.resize(extent, None);
        // All to the end, the last first; from there down to their places, the first first. No entry's place is above where
        // it waits, since those after it have their places above its own.
        let mut top = extent;
        for at in (0..extent).rev() {
            if let Some(entry) = self.entries[at].take() {
                top -= 1;
                self.entries[top] = Some(entry);
            }
        }
        self.spread(state, top, homes);
    }

    /// Half as many homes. Every entry moves down or stays.
    fn shrink(&mut self, state: &FixedState) {
        let homes = HOMES_MIN.max((self.homes / 2).next_multiple_of(8));
        let end = self.spread(state, 0, homes);
        self.entries.truncate(end.max(homes));
        self.entries.shrink_to_fit();
    }

    /// Moves the entries from `first` on, in their order, to their places among so many homes. Returns where they end.
    fn spread(&mut self, state: &FixedState, first: usize, homes: usize) -> usize {
        self.homes = homes;
        let mut next = 0;
        for at in first..self.entries.len() {
            if let Some((user, slot)) = self.entries[at].take() {
                let place = next.max(home(within(state, user), homes));
                debug_assert!(place <= at, "entries move down here, or would meet those that wait");
                self.entries[place] = Some((user, slot));
                next = place + 1;
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn slot(word: u64) -> Slot {
        Slot::from_word(1 << 36 | word).expect("a generation of 1")
    }

    impl Directory {
        fn assert_invariants(&self) {
            let mut len = 0;
            for (number, segment) in self.segments.iter().enumerate() {
                let (mut before, mut run) = (0, 0);
                for (place, entry) in segment.entries.iter().enumerate() {
                    let Some((user, _)) = *entry else {
                        run = place + 1;
                        continue;
                    };
                    let (own, hash) = self.part(user);
                    assert_eq!(own, number, "{user:?} is in a segment that is not its own");
                    assert!(hash >= before, "{user:?} stands out of order");
                    let home = home(hash, segment.homes);
                    assert!((run..=place).contains(&home), "a gap between {home} and {place}");
                    before = hash;
                    len += 1;
                }
                assert!(segment.entries.len() >= segment.homes && segment.len <= segment.homes / 8 * 7);
            }
            assert_eq!((len, self.segments.iter().map(|segment| segment.len).sum()), (self.len, self.len));
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64, u64),
        Remove(u64),
        /// Many at once, so that segments grow and shrink.
        InsertMany(u64),
        RemoveMany(u64),
    }

    const MANY: u64 = 3000;

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            20 => (0..MANY, 0..8u64).prop_map(|(user, word)| Step::Insert(user, word)),
            20 => (0..MANY).prop_map(Step::Remove),
            1 => (0..MANY).prop_map(Step::InsertMany),
            1 => (0..MANY).prop_map(Step::RemoveMany),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_agrees_with_a_hash_map(seed: u64, steps in prop::collection::vec(step(), 1..200)) {
            let mut directory = Directory::new(seed);
            let mut model: HashMap<u64, Slot> = HashMap::new();
            for step in steps {
                match step {
                    Step::Insert(user, word) => {
                        prop_assert_eq!(directory.insert(UserId(user), slot(word)), model.insert(user, slot(word)));
                    }
                    Step::Remove(user) => {
                        let there = model.remove(&user);
                        // Nobody's: users of `InsertMany` have their own number's.
                        prop_assert!(!directory.remove(UserId(user), slot(MANY)), "another connection's");
                        let removed = there.is_some_and(|slot| directory.remove(UserId(user), slot));
                        prop_assert_eq!(removed, there.is_some());
                    }
                    Step::InsertMany(first) => for user in first..MANY {
                        directory.insert(UserId(user), slot(user));
                        model.insert(user, slot(user));
                    },
                    Step::RemoveMany(first) => for user in first..MANY {
                        let there = model.remove(&user);
                        prop_assert!(there.is_none_or(|slot| directory.remove(UserId(user), slot)));
                    },
                }
                directory.assert_invariants();
            }
            for user in 0..MANY {
                prop_assert_eq!(directory.get(UserId(user)), model.get(&user).copied());
            }
        }
    }

    #[test]
    fn a_user_costs_twenty_bytes_and_a_directory_that_emptied_next_to_nothing() {
        let mut directory = Directory::new(1);
        let (mut sum, mut samples) = (0.0, 0);
        for user in 0..300_000 {
            directory.insert(UserId(user), slot(user));
            let users = directory.len();
            if users >= 10_000 && users.is_multiple_of(1000) {
                let each = directory.bytes() as f64 / users as f64;
                assert!(each <= 22.0, "{each} bytes per user at {users}");
                sum += each;
                samples += 1;
            }
        }
        let mean = sum / f64::from(samples);
        assert!(mean <= 20.0, "{mean} bytes per user on the average");
        directory.assert_invariants();
        for user in 0..300_000 {
            assert!(directory.remove(UserId(user), slot(user)));
        }
        assert_eq!(directory.len(), 0);
        assert!(directory.bytes() < 20_000, "{} bytes for nobody", directory.bytes());
    }
}
