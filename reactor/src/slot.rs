//! Names for connections that cannot be confused with those of their predecessors.
//!
//! ```text
//!  63      56 55         36 35     24 23              0
//! +----------+-------------+---------+-----------------+
//! |   zero   | generation  | reactor |      index      |
//! +----------+-------------+---------+-----------------+
//! ```
//!
//! The upper byte is zero so that a backend can put an operation's tag there and hand the whole word to the kernel.
//! An index is reused after `Closed`, the newest first, so tables that run parallel to the reactor's stay dense.

use std::fmt;
use std::num::NonZeroU64;

use slab::Slab;

/// Bits of the index: 16 million connections per reactor.
pub const INDEX_BITS: u32 = 24;
/// Bits of the reactor's number.
pub const REACTOR_BITS: u32 = 12;
/// Bits of the generation. It wraps after a million connections of one reactor; by then nobody may still hold the name.
pub const GENERATION_BITS: u32 = 20;
const _: () =
    assert!(INDEX_BITS + REACTOR_BITS + GENERATION_BITS == 56, "the upper byte belongs to the backends");

const GENERATION_MAX: u32 = (1 << GENERATION_BITS) - 1;

/// The name of one connection of one process: {reactor, index, generation}. Never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(NonZeroU64);

impl Slot {
    /// Puts a slot together. `generation` is in 1..2^20; each part must fit its bits.
    pub(crate) fn new(reactor: u16, index: usize, generation: u32) -> Slot {
        debug_assert!(index < 1 << INDEX_BITS && u32::from(reactor) < 1 << REACTOR_BITS);
        debug_assert!((1..=GENERATION_MAX).contains(&generation));
        let word = u64::from(generation) << (INDEX_BITS + REACTOR_BITS)
            | u64::from(reactor) << INDEX_BITS
            | index as u64;
        Slot(NonZeroU64::new(word).expect("a generation is at least 1"))
    }

    /// The slot as one word whose upper byte is zero.
    pub fn word(self) -> u64 {
        self.0.get()
    }

    /// The slot of a word that [`Slot::word`] gave; `None` for zero or a word with its upper byte set.
    pub fn from_word(word: u64) -> Option<Slot> {
        if word >> 56 != 0 {
            return None;
        }
        NonZeroU64::new(word).map(Slot)
    }

    /// Where the connection stands in its reactor: small, dense, reused after `Closed`.
    pub fn index(self) -> usize {
        (self.word() & ((1 << INDEX_BITS) - 1)) as usize
    }

    /// Whose connection it is: [`crate::Config::number`] of its reactor.
    pub fn reactor(self) -> u16 {
        (self.word() >> INDEX_BITS) as u16 & ((1 << REACTOR_BITS) - 1)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generation = self.word() >> (INDEX_BITS + REACTOR_BITS);
        write!(f, "{}/{}#{generation}", self.reactor(), self.index())
    }
}

/// Entries by which a table of connections grows at least. An empty one keeps no more than these.
const GROWTH_MIN: usize = 1024;

/// How many entries a full table of `len` grows by: an eighth, so that no more than that stands empty. It costs little more
/// than doubling would: a large block is moved by its pages (mremap), not by its bytes.
fn growth(len: usize) -> usize {
    GROWTH_MIN.max(len / 8)
}

/// The name of an entry that is retired: no connection has it.
const RETIRED: Slot = Slot(NonZeroU64::MAX);

/// A reactor's connections: values on a slab, each under the generation that it was put in with.
///
/// Memory follows the most connections there ever were at once, with at most an eighth (or 1024) more, until there are none.
#[derive(Debug)]
pub struct Slots<T> {
    entries: Slab<(Slot, T)>,
    /// Indices whose names are gone, but which the user may still hold in the batch that says so.
    retired: Vec<u32>,
    reactor: u16,
    generation: u32,
}

impl<T> Slots<T> {
    /// Those of reactor number `reactor`.
    pub fn new(reactor: u16) -> Slots<T> {
        Slots { entries: Slab::new(), retired: Vec::new(), reactor, generation: 0 }
    }

    /// Connections that have a name.
    pub fn len(&self) -> usize {
        self.entries.len() - self.retired.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives `value` a name that no connection of this reactor has had in the last million.
    pub fn insert(&mut self, value: T) -> Slot {
        self.generation = self.generation % GENERATION_MAX + 1;
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(growth(self.entries.len()));
        }
        let vacant = self.entries.vacant_entry();
        let slot = Slot::new(self.reactor, vacant.key(), self.generation);
        vacant.insert((slot, value));
        slot
    }

    /// The value under exactly this name; `None` when the name is stale.
    pub fn get(&self, slot: Slot) -> Option<&T> {
        self.entries.get(slot.index()).filter(|entry| entry.0 == slot).map(|entry| &entry.1)
    }

    /// As [`Slots::get`], to change it.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.entries.get_mut(slot.index()).filter(|entry| entry.0 == slot).map(|entry| &mut entry.1)
    }

    /// The connection at an index, with its name; `None` when nobody is there.
    pub fn at(&mut self, index: usize) -> Option<(Slot, &mut T)> {
        self.entries.get_mut(index).filter(|entry| entry.0 != RETIRED).map(|entry| (entry.0, &mut entry.1))
    }

    /// Ends the name when its `Closed` is handed over. The index stays taken until [`Slots::reclaim`]: the user may
    /// make connections while it handles the events before that `Closed`.
    pub fn retire(&mut self, slot: Slot) {
        if self.get(slot).is_some() {
            self.entries[slot.index()].0 = RETIRED;
            self.retired.push(slot.index() as u32);
        }
    }

    /// Frees the retired indices, at the beginning of the next turn.
    pub fn reclaim(&mut self) {
        for index in self.retired.drain(..) {
            self.entries.remove(index as usize);
        }
        if self.entries.is_empty() && self.entries.capacity() > GROWTH_MIN {
            self.entries = Slab::new();
        }
    }

    /// Frees name and index of a connection that the user never heard of; `None` when the name is stale.
    pub fn remove(&mut self, slot: Slot) -> Option<T> {
        self.get(slot)?;
        Some(self.entries.remove(slot.index()).1)
    }

    /// Every connection, in the order of the slab.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        self.entries.iter().map(|(_, entry)| (entry.0, &entry.1)).filter(|(slot, _)| *slot != RETIRED)
    }
}

/// A user's table that runs parallel to the reactor's connections: the same index, no second lookup.
///
/// Memory follows the highest index that was used since it was last empty, with at most an eighth (or 1024) more:
/// `size_of::<T>() + 8` bytes each, where `T` needs no more alignment.
#[derive(Debug)]
pub struct SlotMap<T> {
    entries: Vec<Option<(Slot, T)>>,
    len: usize,
}

impl<T> Default for SlotMap<T> {
    fn default() -> Self {
        SlotMap { entries: Vec::new(), len: 0 }
    }
}

impl<T> SlotMap<T> {
    /// How many values it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One past the highest index used since the table was last empty: the bound of [`SlotMap::at`].
    pub fn extent(&self) -> usize {
        self.entries.len()
    }

    /// Puts a value under `slot`; returns what stood at that index, under whatever generation.
    pub fn insert(&mut self, slot: Slot, value: T) -> Option<T> {
        let index = slot.index();
        if index >= self.entries.len() {
            if index >= self.entries.capacity() {
                let missing = index + 1 - self.entries.len();
                self.entries.reserve_exact(missing.max(growth(self.entries.len())));
            }
            self.entries.resize_with(index + 1, || None);
        }
        let before = self.entries[index].replace((slot, value));
        self.len += usize::from(before.is_none());
        before.map(|(_, value)| value)
    }

    /// The value under exactly this name.
    pub fn get(&self, slot: Slot) -> Option<&T> {
        match self.entries.get(slot.index()) {
            Some(Some((name, value))) if *name == slot => Some(value),
            _ => None,
        }
    }

    /// As [`SlotMap::get`], to change it.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        match self.entries.get_mut(slot.index()) {
            Some(Some((name, value))) if *name == slot => Some(value),
            _ => None,
        }
    }

    /// Takes the value under exactly this name.
    pub fn remove(&mut self, slot: Slot) -> Option<T> {
        self.get(slot)?;
        self.len -= 1;
        let value = self.entries[slot.index()].take().map(|(_, value)| value);
        if self.len == 0 && self.entries.capacity() > GROWTH_MIN {
            self.entries = Vec::new();
        }
        value
    }

    /// What stands at an index, under whatever generation: for sweeps that walk the table in slices.
    pub fn at(&self, index: usize) -> Option<(Slot, &T)> {
        self.entries.get(index)?.as_ref().map(|(slot, value)| (*slot, value))
    }

    /// Every value with its name, in the order of the index.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        self.entries.iter().flatten().map(|(slot, value)| (*slot, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_survives_the_trip_through_a_word() {
        let slot = Slot::new(263, 19_999, GENERATION_MAX);
        assert_eq!((slot.reactor(), slot.index()), (263, 19_999));
        assert_eq!(Slot::from_word(slot.word()), Some(slot));
        assert_eq!(Slot::from_word(0), None);
        assert_eq!(Slot::from_word(1 << 56 | slot.word()), None);
    }

    #[test]
    fn a_stale_name_finds_nothing_in_its_successors_place() {
        let mut slots = Slots::new(0);
        let first = slots.insert('a');
        assert_eq!(slots.remove(first), Some('a'));
        let second = slots.insert('b');
        assert_eq!(first.index(), second.index(), "the slab reuses the index");
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&'b'));
    }

    #[test]
    fn a_retired_index_is_reused_only_when_it_is_reclaimed() {
        let mut slots = Slots::new(0);
        let first = slots.insert('a');
        slots.retire(first);
        slots.retire(first);
        assert_eq!((slots.get(first), slots.len(), slots.iter().count()), (None, 0, 0));
        let second = slots.insert('b');
        assert_ne!(first.index(), second.index());
        slots.reclaim();
        assert_eq!(slots.insert('c').index(), first.index());
        assert_eq!((slots.get(second), slots.len()), (Some(&'b'), 2));
    }

    #[test]
    fn generations_wrap_past_zero() {
        let mut slots = Slots::new(0);
        slots.generation = GENERATION_MAX - 1;
        let last = slots.insert(());
        let wrapped = slots.insert(());
        assert_ne!(last, wrapped);
        assert_eq!(wrapped.word() >> 36, 1);
    }

    #[test]
    fn a_parallel_table_checks_the_generation() {
        let mut slots = Slots::new(0);
        let mut map = SlotMap::default();
        let first = slots.insert(());
        map.insert(first, 1);
        slots.remove(first);
        let second = slots.insert(());
        assert_eq!(map.insert(second, 2), Some(1), "the index is the same");
        assert_eq!((map.get(first), map.get(second), map.len()), (None, Some(&2), 1));
        assert_eq!(map.remove(first), None);
        assert_eq!((map.remove(second), map.len()), (Some(2), 0));
    }

    #[test]
    fn tables_grow_by_an_eighth_and_are_given_back_when_empty() {
        let mut slots = Slots::new(0);
        let mut map = SlotMap::default();
        let most = |used: usize| used + GROWTH_MIN.max(used / 8);
        let names: Vec<Slot> = (0..50_000)
            .map(|count: usize| {
                let slot = slots.insert([0u8; 8]);
                map.insert(slot, [0u64; 5]);
                assert!(
                    slots.entries.capacity() <= most(count + 1) && map.entries.capacity() <= most(count + 1)
                );
                slot
            })
            .collect();
        for slot in names {
            map.remove(slot);
            slots.retire(slot);
        }
        slots.reclaim();
        assert!(slots.entries.capacity() <= GROWTH_MIN && map.entries.capacity() <= GROWTH_MIN);
        let next = slots.insert([0; 8]);
        assert_eq!((next.index(), map.insert(next, [0; 5]), map.extent()), (0, None, 1));
    }

    #[test]
    fn a_parallel_table_costs_eight_bytes_more_than_its_values() {
        assert_eq!(size_of::<Option<(Slot, [u64; 7])>>(), 64);
    }
}
