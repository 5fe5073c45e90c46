//! What became of every message, without memory per message.
//!
//! Three things together leave no room for a loss that nobody sees:
//!
//! - **Two windows per user**: which of its last 64 messages have an outcome ([`Outcomes`]), and which of its partner's it
//!   has seen ([`Seen`]). Sender and recipient are played by one worker, and a server may call a message accepted only after the
//!   recipient acknowledged it; so at `Accepted` the recipient must have seen it, and if not, it is missing.
//! - **A bounded list** of the missing, so that one that still comes is taken off again.
//! - **Counts and sums** per direction. A sum adds a keyed hash of each id, in whatever order: sent = accepted + refused +
//!   unknown must hold for both, so a loss and a repeat cannot cancel out.

use throng_report::schema::MessageWindow;

use crate::limits::MISSING_MAX;

/// Which messages of one sender have an outcome. Ids count from 1.
///
/// Invariant: `base <= sent <= base + 64`; every id up to `base` has an outcome; bit `i` of `done` is id `base + 1 + i`, and
/// bit 0 is clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    done: u64,
    base: u32,
    sent: u32,
}

impl Outcomes {
    /// The id of the next message, if one more may be under way when `most` may.
    #[inline]
    pub fn next(&self, most: u32) -> Option<u32> {
        (self.sent - self.base < most).then(|| self.sent + 1)
    }

    /// The message that [`Outcomes::next`] named is on its way.
    #[inline]
    pub fn send(&mut self) {
        self.sent += 1;
    }

    /// Messages without an outcome.
    #[inline]
    pub fn outstanding(&self) -> u32 {
        self.sent - self.base - self.done.count_ones()
    }

    /// Whether a message of this id was sent.
    #[inline]
    pub fn was_sent(&self, id: u64) -> bool {
        id != 0 && id <= u64::from(self.sent)
    }

    /// Whether a message that was sent has its outcome already.
    #[inline]
    pub fn has(&self, id: u32) -> bool {
        id <= self.base || id - self.base <= 64 && self.done & 1 << (id - self.base - 1) != 0
    }

    /// Notes an outcome. False: the id was never sent, or has one.
    #[inline]
    pub fn settle(&mut self, id: u32) -> bool {
        if !self.was_sent(u64::from(id)) || self.has(id) {
            return false;
        }
        self.done |= 1 << (id - self.base - 1);
        let settled = self.done.trailing_ones();
        self.done = self.done.checked_shr(settled).unwrap_or(0);
        self.base += settled;
        true
    }

    /// The oldest message without an outcome.
    pub fn oldest(&self) -> Option<u32> {
        (self.base < self.sent).then_some(self.base + 1)
    }
}

/// How a message looked to its recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// The first time.
    Fresh {
        /// A later one came before it.
        reordered: bool,
    },
    /// It was seen before.
    Repeat,
    /// More than 64 behind the latest, and not all before it were seen: whether it was is for the list of the missing to say.
    Old,
}

/// Which messages of one partner were seen. Ids count from 1.
///
/// Invariant: bit `i` of `map` is id `base + 1 + i`, and bit 0 is clear. `gaps` ids up to `base` were given up: they were not
/// seen when the window moved past them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    map: u64,
    base: u32,
    gaps: u32,
}

impl Seen {
    /// Notes that a message came.
    #[inline]
    pub fn see(&mut self, id: u32) -> Sight {
        if id <= self.base {
            return if self.gaps == 0 { Sight::Repeat } else { Sight::Old };
        }
        let mut place = id - self.base - 1;
        if place >= u64::BITS {
            // The window moves so that this one is its last; what falls out unseen is given up.
            let by = place - (u64::BITS - 1);
            let kept = self.map.checked_shr(by).unwrap_or(0);
            self.gaps += by - (self.map.count_ones() - kept.count_ones());
            self.map = kept;
            self.base += by;
            place = u64::BITS - 1;
        }
        if self.map & 1 << place != 0 {
            return Sight::Repeat;
        }
        let reordered = self.map >> place != 0;
        self.map |= 1 << place;
        let whole = self.map.trailing_ones();
        self.map = self.map.checked_shr(whole).unwrap_or(0);
        self.base += whole;
        Sight::Fresh { reordered }
    }

    /// Whether a message was seen. One that was given up counts as seen here: it was judged when its outcome came.
    #[inline]
    pub fn has(&self, id: u32) -> bool {
        id <= self.base || id - self.base <= 64 && self.map & 1 << (id - self.base - 1) != 0
    }
}

/// A message that was accepted and did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Missing {
    /// Who sent it, as on the wire.
    pub sender: u64,
    /// The sender's number for it.
    pub id: u64,
}

/// How many, and the sum of their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages.
    pub count: u64,
    /// The sum of their keyed hashes, modulo 2^64.
    pub sum: u64,
}

impl Tally {
    /// Adds one message by its hash.
    #[inline]
    pub fn add(&mut self, hash: u64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(hash);
    }

    fn merge(&mut self, other: Tally) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// The account of one worker's messages, or of all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    /// Messages of the plan that came due.
    pub planned: u64,
    /// Of those: the generator set out to send them.
    pub attempted: u64,
    /// Of the planned: the generator was so late that it did not attempt them any more.
    pub missed: u64,
    /// Of the attempted: not written when the run ended, or when the user's connection did.
    pub unsent: u64,
    /// Written.
    pub sent: Tally,
    /// The server took responsibility.
    pub accepted: Tally,
    /// The server declined.
    pub refused: Tally,
    /// No outcome, or the server said that it does not know.
    pub unknown: Tally,
    /// Of the unknown: the sender's connection died.
    pub unknown_connection_died: u64,
    /// Arrived, each once.
    pub delivered: Tally,
    /// Accepted and did not arrive.
    pub lost: u64,
    /// Came again.
    pub duplicated: u64,
    /// Came after a later one.
    pub reordered: u64,
    /// Came with a body that was not its own.
    pub corrupted: u64,
    /// Outcomes and deliveries that belong to no message.
    pub strays: u64,
    /// The measured window. Its duration is left to whoever knows it.
    pub window: MessageWindow,
    /// Lost ones by name, the first [`MISSING_MAX`] of a worker.
    pub missing: Vec<Missing>,
}

impl Ledger {
    /// Messages that are written and have no outcome yet.
    pub fn outstanding(&self) -> u64 {
        self.sent.count - self.accepted.count - self.refused.count - self.unknown.count
    }

    /// A message was accepted that its recipient has not seen.
    pub fn miss(&mut self, missing: Missing) {
        self.lost += 1;
        if self.missing.len() < MISSING_MAX {
            self.missing.push(missing);
        }
    }

    /// One that may have been called missing has come after all. False: it was not on the list.
    pub fn find(&mut self, found: Missing) -> bool {
        let Some(at) = self.missing.iter().position(|missing| *missing == found) else { return false };
        self.missing.swap_remove(at);
        self.lost -= 1;
        true
    }

    /// Adds another worker's account.
    pub fn merge(&mut self, other: Ledger) {
        self.planned += other.planned;
        self.attempted += other.attempted;
        self.missed += other.missed;
        self.unsent += other.unsent;
        self.sent.merge(other.sent);
        self.accepted.merge(other.accepted);
        self.refused.merge(other.refused);
        self.unknown.merge(other.unknown);
        self.unknown_connection_died += other.unknown_connection_died;
        self.delivered.merge(other.delivered);
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupted += other.corrupted;
        self.strays += other.strays;
        self.window.planned += other.window.planned;
        self.window.attempted += other.window.attempted;
        self.window.sent += other.window.sent;
        self.window.accepted += other.window.accepted;
        self.window.delivered += other.window.delivered;
        self.missing.extend(other.missing);
    }

    /// What must hold when every message has an outcome; else what does not, in words.
    ///
    /// # Errors
    /// The first equation that does not hold. It is a mistake of the generator's, not of the server's.
    pub fn check(&self) -> Result<(), String> {
        let sides = [self.accepted, self.refused, self.unknown];
        let outcomes = sides.into_iter().fold(Tally::default(), |mut all, side| {
            all.merge(side);
            all
        });
        if self.sent != outcomes {
            return Err(format!("sent {:?} is not accepted + refused + unknown {outcomes:?}", self.sent));
        }
        if self.planned != self.attempted + self.missed {
            return Err(format!(
                "planned {} is not attempted {} + missed {}",
                self.planned, self.attempted, self.missed
            ));
        }
        if self.attempted != self.sent.count + self.unsent {
            return Err(format!(
                "attempted {} is not sent {} + unsent {}",
                self.attempted, self.sent.count, self.unsent
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn outcomes_slide_over_what_is_settled() {
        let mut outcomes = Outcomes::default();
        for id in 1..=64 {
            assert_eq!(outcomes.next(64), Some(id));
            outcomes.send();
        }
        assert_eq!(outcomes.next(64), None);
        assert!(outcomes.settle(2) && !outcomes.settle(2) && !outcomes.settle(65));
        assert_eq!((outcomes.next(64), outcomes.outstanding(), outcomes.oldest()), (None, 63, Some(1)));
        assert!(outcomes.settle(1) && !outcomes.settle(1));
        assert_eq!((outcomes.next(64), outcomes.outstanding(), outcomes.oldest()), (Some(65), 62, Some(3)));
        for id in (3..=64).rev() {
            assert!(outcomes.settle(id));
        }
        assert_eq!((outcomes.outstanding(), outcomes.oldest()), (0, None));
    }

    #[test]
    fn what_falls_out_of_the_window_unseen_is_old_when_it_comes() {
        let mut seen = Seen::default();
        assert_eq!(seen.see(1), Sight::Fresh { reordered: false });
        assert_eq!(seen.see(1), Sight::Repeat);
        assert_eq!(seen.see(65), Sight::Fresh { reordered: false });
        assert_eq!(seen.gaps, 0, "2 is still in the window");
        assert_eq!(seen.see(200), Sight::Fresh { reordered: false });
        assert_eq!(seen.gaps, 200 - 64 - 2);
        assert_eq!(seen.see(2), Sight::Old);
        assert_eq!(seen.see(199), Sight::Fresh { reordered: true });
    }

    #[test]
    fn a_loss_and_a_repeat_do_not_cancel_out_in_the_sums() {
        let (mut sent, mut came) = (Tally::default(), Tally::default());
        [11, 22].into_iter().for_each(|hash| sent.add(hash));
        [11, 11].into_iter().for_each(|hash| came.add(hash));
        assert!(sent.count == came.count && sent != came);
    }

    #[test]
    fn the_missing_are_named_up_to_a_bound_and_counted_beyond() {
        let mut ledger = Ledger::default();
        for id in 0..MISSING_MAX as u64 + 5 {
            ledger.miss(Missing { sender: 1, id });
        }
        assert_eq!((ledger.lost, ledger.missing.len()), (MISSING_MAX as u64 + 5, MISSING_MAX));
        assert!(ledger.find(Missing { sender: 1, id: 3 }) && !ledger.find(Missing { sender: 1, id: 3 }));
        assert_eq!(ledger.lost, MISSING_MAX as u64 + 4);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        /// Messages 1..=n with some left out, some twice, some swapped, none further from its place than the window is wide.
        #[test]
        fn any_mix_of_loss_repeat_and_swap_is_told(
            fates in prop::collection::vec((0..100u8, 0..30u32), 1..400),
        ) {
            let mut arrivals: Vec<(u32, u32)> = Vec::new();
            for (id, &(fate, late)) in (1..).zip(&fates) {
                match fate {
                    0..10 => {}
                    10..20 => arrivals.extend([(id, id), (id + late, id)]),
                    20..30 => arrivals.push((id + late, id)),
                    _ => arrivals.push((id, id)),
                }
            }
            arrivals.sort_by_key(|arrival| arrival.0);
            let mut seen = Seen::default();
            let mut model = BTreeSet::new();
            for (_, id) in arrivals {
                let reordered = model.last().is_some_and(|&last| last > id);
                let expected = if model.insert(id) { Sight::Fresh { reordered } } else { Sight::Repeat };
                let told = seen.see(id);
                prop_assert!(told == expected || told == Sight::Old && expected == Sight::Repeat, "{id}: {told:?}");
                prop_assert!(seen.has(id));
            }
            for id in 1..=fates.len() as u32 {
                prop_assert!(!model.contains(&id) || seen.has(id));
                prop_assert!(model.contains(&id) || !seen.has(id) || id <= seen.base && seen.gaps > 0);
            }
        }

        #[test]
        fn outcomes_agree_with_a_set(steps in prop::collection::vec((any::<bool>(), 0..70u32), 1..500)) {
            let mut outcomes = Outcomes::default();
            let (mut sent, mut open) = (0, BTreeSet::new());
            for (sends, back) in steps {
                if sends {
                    if let Some(id) = outcomes.next(64) {
                        sent += 1;
                        prop_assert_eq!(id, sent);
                        outcomes.send();
                        open.insert(id);
                    }
                } else {
                    let id = (sent + 3).saturating_sub(back).max(1);
                    prop_assert_eq!(outcomes.settle(id), open.remove(&id));
                }
                prop_assert_eq!(outcomes.outstanding() as usize, open.len());
                prop_assert_eq!(outcomes.oldest(), if outcomes.base < sent { Some(outcomes.base + 1) } else { None });
                prop_assert!(outcomes.oldest().is_none_or(|id| open.contains(&id)));
            }
        }
    }
}
