//! What outlives a user's connection: where the user is, and which messages to it are on their way.
//!
//! The directory is split over the shards by user; the shard that holds a user's entry is the user's *home*. A home is
//! a state machine: it is told, and answers; it sends nothing itself.
//!
//! Sequences come from one counter per home, so they grow for every recipient, across its reconnects too, and cost
//! nothing per user. Their upper half is the server's epoch, so they grow across restarts.

use std::collections::VecDeque;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use slab::Slab;
use throng_reactor::Slot;
use throng_wire::native::{MessageId, Refusal, Sequence, UserId};

use crate::limits::{SPARE_BUFFER_BYTES, SPARE_BUFFERS, UNACKNOWLEDGED_MAX};
use crate::session::Side;

/// Where a user's connection stands. A further node would be a further field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The connection.
    pub slot: Slot,
    /// The shard whose connection it is.
    pub shard: u16,
}

/// A delivered message that is not acknowledged yet.
#[derive(Clone, Copy, Debug)]
struct Flight {
    sequence: Sequence,
    id: MessageId,
    sender: Place,
}
const _: () = assert!(size_of::<Flight>() == 32, "see UNACKNOWLEDGED_MAX");

/// A directory entry: 16 bytes, and 8 for the user.
#[derive(Debug)]
struct Entry {
    slot: Slot,
    flights: Side,
    shard: u16,
}
const _: () = assert!(size_of::<(UserId, Entry)>() == 24);

/// What becomes of a message whose flight ended: told to its sender.
pub(crate) type Settled = Vec<(Place, MessageId)>;

/// The users whose home is this shard.
#[derive(Debug)]
pub(crate) struct Home {
    users: HashMap<UserId, Entry, FixedState>,
    flights: Slab<VecDeque<Flight>>,
    spares: Vec<VecDeque<Flight>>,
    sequence: u64,
    in_flight: usize,
}

impl Home {
    /// An empty home whose sequences begin at `epoch`.
    pub(crate) fn new(epoch: u32, seed: u64) -> Home {
        Home {
            users: HashMap::with_hasher(FixedState::with_seed(seed)),
            flights: Slab::new(),
            spares: Vec::new(),
            sequence: u64::from(epoch) << 32,
            in_flight: 0,
        }
    }

    /// How many users are here.
    pub(crate) fn users(&self) -> usize {
        self.users.len()
    }

    /// How many messages are on their way.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// A user logged in at `place`. Returns the place that this replaces; the messages that were on their way
    /// there are added to `unknown`.
    pub(crate) fn login(&mut self, user: UserId, place: Place, unknown: &mut Settled) -> Option<Place> {
        let entry = Entry { slot: place.slot, flights: Side::NONE, shard: place.shard };
        let before = self.users.insert(user, entry)?;
        self.end_flights(before.flights, unknown);
        Some(Place { slot: before.slot, shard: before.shard })
    }

    /// The connection at `place` ended. Nothing happens when the user has meanwhile logged in elsewhere.
    pub(crate) fn logout(&mut self, user: UserId, place: Place, unknown: &mut Settled) {
        if self.at(user, place).is_some()
            && let Some(entry) = self.users.remove(&user)
        {
            self.end_flights(entry.flights, unknown);
        }
    }

    /// The shard of this user's connection.
    pub(crate) fn shard_of(&self, user: UserId) -> Option<u16> {
        self.users.get(&user).map(|entry| entry.shard)
    }

    /// A message for `user`: where it must be delivered, and under which sequence.
    ///
    /// # Errors
    /// Why it will not be.
    pub(crate) fn send(
        &mut self,
        user: UserId,
        sender: Place,
        id: MessageId,
    ) -> Result<(Place, Sequence), Refusal> {
        let entry = self.users.get_mut(&user).ok_or(Refusal::NotConnected)?;
        let index = entry.flights.index().unwrap_or_else(|| {
            let index = self.flights.insert(self.spares.pop().unwrap_or_default());
            entry.flights = Side::new(index);
            index
        });
        let flights = &mut self.flights[index];
        if flights.len() >= UNACKNOWLEDGED_MAX {
            return Err(Refusal::RecipientBusy);
        }
        self.sequence += 1;
        self.in_flight += 1;
        let sequence = Sequence(self.sequence);
        flights.push_back(Flight { sequence, id, sender });
        Ok((Place { slot: entry.slot, shard: entry.shard }, sequence))
    }

    /// The client at `place` has everything up to and with `sequence`: adds those messages to `accepted`.
    pub(crate) fn ack(&mut self, user: UserId, place: Place, sequence: Sequence, accepted: &mut Settled) {
        let Some(index) = self.at(user, place).and_then(|entry| entry.flights.index()) else { return };
        let flights = &mut self.flights[index];
        while let Some(flight) = flights.front().filter(|flight| flight.sequence <= sequence) {
            accepted.push((flight.sender, flight.id));
            flights.pop_front();
            self.in_flight -= 1;
        }
        if flights.is_empty() {
            let flights = self.flights.remove(index);
            self.spare(flights);
            if let Some(entry) = self.users.get_mut(&user) {
                entry.flights = Side::NONE;
            }
        }
    }

    fn at(&self, user: UserId, place: Place) -> Option<&Entry> {
        self.users.get(&user).filter(|entry| (entry.slot, entry.shard) == (place.slot, place.shard))
    }

    fn end_flights(&mut self, flights: Side, unknown: &mut Settled) {
        let Some(index) = flights.index() else { return };
        let mut flights = self.flights.remove(index);
        self.in_flight -= flights.len();
        unknown.extend(flights.drain(..).map(|flight| (flight.sender, flight.id)));
        self.spare(flights);
    }

    fn spare(&mut self, flights: VecDeque<Flight>) {
        let bytes = flights.capacity() * size_of::<Flight>();
        if self.spares.len() < SPARE_BUFFERS && bytes <= SPARE_BUFFER_BYTES {
            self.spares.push(flights);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: UserId = UserId(1);
    const BOB: UserId = UserId(2);

    fn place(index: u64, shard: u16) -> Place {
        Place { slot: Slot::from_word(1 << 36 | index).expect("a generation of 1"), shard }
    }

    fn ids(settled: &mut Settled) -> Vec<u64> {
        settled.drain(..).map(|(_, id)| id.0).collect()
    }

    #[test]
    fn an_ack_settles_everything_up_to_it_and_nothing_else() {
        let (mut home, mut settled) = (Home::new(7, 0), Settled::new());
        let (sender, recipient) = (place(1, 0), place(2, 1));
        home.login(BOB, recipient, &mut settled);
        let sequences: Vec<Sequence> =
            (1..=3).map(|id| home.send(BOB, sender, MessageId(id)).expect("connected").1).collect();
        assert!(sequences.is_sorted() && sequences[0] > Sequence(7 << 32));
        home.ack(BOB, recipient, sequences[1], &mut settled);
        assert_eq!((ids(&mut settled), home.in_flight()), (vec![1, 2], 1));
        home.ack(BOB, recipient, sequences[0], &mut settled);
        assert!(settled.is_empty(), "an ack that goes back settles nothing");
        home.ack(BOB, recipient, sequences[2], &mut settled);
        assert_eq!((ids(&mut settled), home.in_flight(), home.flights.len()), (vec![3], 0, 0));
    }

    #[test]
    fn a_replaced_connection_can_neither_acknowledge_nor_log_out() {
        let (mut home, mut settled) = (Home::new(1, 0), Settled::new());
        let (old, new) = (place(1, 0), place(1, 1));
        assert_eq!(home.login(BOB, old, &mut settled), None);
        home.send(BOB, place(9, 0), MessageId(1)).expect("connected");
        assert_eq!(home.login(BOB, new, &mut settled), Some(old));
        assert_eq!(ids(&mut settled), [1], "what was on its way to the old one is unknown");
        let (at, sequence) = home.send(BOB, place(9, 0), MessageId(2)).expect("connected");
        assert_eq!(at, new);
        home.ack(BOB, old, sequence, &mut settled);
        home.logout(BOB, old, &mut settled);
        assert!(settled.is_empty());
        home.logout(BOB, new, &mut settled);
        assert_eq!((ids(&mut settled), home.users()), (vec![2], 0));
    }

    #[test]
    fn a_recipient_that_never_acknowledges_is_busy_at_the_limit() {
        let (mut home, mut settled) = (Home::new(1, 0), Settled::new());
        home.login(BOB, place(1, 0), &mut settled);
        for id in 0..UNACKNOWLEDGED_MAX as u64 {
            home.send(BOB, place(2, 0), MessageId(id)).expect("below the limit");
        }
        let refused = home.send(BOB, place(2, 0), MessageId(9999));
        assert_eq!(refused, Err(Refusal::RecipientBusy));
        assert_eq!(home.send(ANN, place(2, 0), MessageId(1)), Err(Refusal::NotConnected));
        assert_eq!(home.in_flight(), UNACKNOWLEDGED_MAX);
    }

    #[test]
    fn sequences_grow_over_a_reconnect() {
        let (mut home, mut settled) = (Home::new(1, 0), Settled::new());
        home.login(BOB, place(1, 0), &mut settled);
        let before = home.send(BOB, place(2, 0), MessageId(1)).expect("connected").1;
        home.logout(BOB, place(1, 0), &mut settled);
        home.login(BOB, place(3, 0), &mut settled);
        let after = home.send(BOB, place(2, 0), MessageId(2)).expect("connected").1;
        assert!(after > before);
    }
}
