//! Deadlines that lie the same time ahead for everybody: whoever came first is due first, so a queue is enough.
//!
//! Nobody is taken out of the middle. Whoever waits no longer is forgotten when it comes to the front, or when they have become
//! more than those who do wait. So a login that succeeds at once costs nothing from then on, and one that never comes
//! does not keep those behind it in memory.

use std::collections::VecDeque;

use throng_reactor::{Nanos, Slot};

use crate::limits::TABLE_KEPT;
use crate::spare::trim_queue;

/// Sessions in the order of their deadlines, 16 bytes each.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    queue: VecDeque<(Nanos, Slot)>,
}

impl Deadlines {
    /// Adds a session whose deadline is not before those of the others.
    pub(crate) fn push(&mut self, deadline: Nanos, slot: Slot) {
        debug_assert!(self.queue.back().is_none_or(|last| last.0 <= deadline), "everybody has the same time");
        self.queue.push_back((deadline, slot));
    }

    /// The instant up to which nothing needs to be done, or earlier.
    pub(crate) fn next(&self) -> Option<Nanos> {
        self.queue.front().map(|first| first.0)
    }

    /// Takes the next session that still waits, as `waits` says, at its deadline.
    pub(crate) fn overdue(&mut self, now: Nanos, waits: impl Fn(Slot) -> bool) -> Option<Slot> {
        while let Some(&(deadline, slot)) = self.queue.front() {
            let waits = waits(slot);
            if waits && deadline > now {
                return None;
            }
            self.queue.pop_front();
            if waits {
                return Some(slot);
            }
        }
        None
    }

    /// Bounds the queue by twice the sessions that wait, of which there are `waiting`, and gives memory back.
    pub(crate) fn tidy(&mut self, waiting: usize, waits: impl Fn(Slot) -> bool) {
        if self.queue.len() > 2 * waiting + TABLE_KEPT {
            self.queue.retain(|&(_, slot)| waits(slot));
        }
        trim_queue(&mut self.queue);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(index: u64) -> Slot {
        Slot::from_word(1 << 36 | index).expect("a generation of 1")
    }

    #[test]
    fn only_who_still_waits_is_overdue_and_not_before_its_deadline() {
        let mut deadlines = Deadlines::default();
        for index in 0..4 {
            deadlines.push(Nanos(100 + index), slot(index));
        }
        let waits = |slot: Slot| slot.index() % 2 == 1;
        assert_eq!(deadlines.overdue(Nanos(99), waits), None);
        assert_eq!(deadlines.next(), Some(Nanos(101)), "who waits no longer is forgotten at once");
        assert_eq!(deadlines.overdue(Nanos(103), waits), Some(slot(1)));
        assert_eq!(deadlines.overdue(Nanos(103), waits), Some(slot(3)));
        assert_eq!((deadlines.overdue(Nanos(103), waits), deadlines.next()), (None, None));
    }

    #[test]
    fn one_that_waits_long_keeps_nobody_behind_it_in_memory() {
        let mut deadlines = Deadlines::default();
        let waits = |slot: Slot| slot.index() == 0;
        for index in 0..100_000 {
            deadlines.push(Nanos(1 + index), slot(index));
            assert_eq!(deadlines.overdue(Nanos(0), waits), None);
            deadlines.tidy(1, waits);
            assert!(deadlines.queue.capacity() <= 4 * TABLE_KEPT);
        }
        assert_eq!(deadlines.overdue(Nanos(1), waits), Some(slot(0)));
    }

    #[test]
    fn memory_follows_those_who_wait() {
        let mut deadlines = Deadlines::default();
        for index in 0..100_000 {
            deadlines.push(Nanos(index), slot(index));
        }
        deadlines.tidy(100_000, |_| true);
        assert_eq!(deadlines.queue.len(), 100_000);
        assert_eq!(deadlines.overdue(Nanos(0), |slot| slot.index() == 99_999), None);
        deadlines.tidy(1, |_| true);
        assert!(deadlines.queue.len() == 1 && deadlines.queue.capacity() <= TABLE_KEPT);
    }
}
