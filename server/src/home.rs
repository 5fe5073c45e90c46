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

use crate::limits::UNACKNOWLEDGED_MAX;
use crate::session::Side;

/// Where a user's connection stands. A further node would be a further field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) slot: Slot,
    pub(crate) shard: u16,
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
        if self.spares.len() < crate::limits::SPARE_BUFFERS {
            self.spares.push(flights);
        }
    }
}
