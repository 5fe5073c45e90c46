//! What outlives a user's connection: where the user is, and which messages to it are on their way.
//!
//! The directory is split over the shards by user; the shard that holds a user's entry is the user's *home*. A home is
//! a state machine: it is told, and answers; it sends nothing itself.
//!
//! An idle user has an entry in the directory and nothing else; who has messages on their way has a second one, in a small
//! table, until the last of them ended.
//!
//! Sequences come from one counter per home, so they grow for every recipient, across its reconnects too, and cost
//! nothing per user. Their upper half is the server's epoch, so they grow across restarts.

use std::collections::VecDeque;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use throng_reactor::Slot;
use throng_wire::native::{MessageId, Refusal, Sequence, UserId};

use crate::directory::Directory;
use crate::limits::{SPARE_FLIGHTS, SPARE_FLIGHTS_LEN, TABLE_KEPT, UNACKNOWLEDGED_MAX};

/// A delivered message that is not acknowledged yet.
#[derive(Clone, Copy, Debug)]
struct Flight {
    sequence: Sequence,
    id: MessageId,
    sender: Slot,
}
const _: () = assert!(size_of::<Flight>() == 24, "see UNACKNOWLEDGED_MAX");

/// What is on its way to a user: never nothing, and always to the connection that the directory names.
#[derive(Debug)]
struct Underway {
    place: Slot,
    flights: VecDeque<Flight>,
}

/// What becomes of a message whose flight ended: told to its sender.
pub(crate) type Settled = Vec<(Slot, MessageId)>;

/// The users whose home is this shard.
#[derive(Debug)]
pub(crate) struct Home {
    users: Directory,
    /// Those with something on its way.
    underway: HashMap<UserId, Underway, FixedState>,
    spares: Vec<VecDeque<Flight>>,
    sequence: u64,
    in_flight: usize,
}

impl Home {
    /// An empty home whose sequences begin at `epoch`.
    pub(crate) fn new(epoch: u32, seed: u64) -> Home {
        Home {
            users: Directory::new(seed),
            underway: HashMap::with_hasher(FixedState::with_seed(seed)),
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
    pub(crate) fn login(&mut self, user: UserId, place: Slot, unknown: &mut Settled) -> Option<Slot> {
        let before = self.users.insert(user, place)?;
        self.end_flights(user, unknown);
        Some(before)
    }

    /// The connection at `place` ended. Nothing happens when the user has meanwhile logged in elsewhere.
    pub(crate) fn logout(&mut self, user: UserId, place: Slot, unknown: &mut Settled) {
        if self.users.remove(user, place) {
            self.end_flights(user, unknown);
        }
    }

    /// The user's connection.
    pub(crate) fn place_of(&self, user: UserId) -> Option<Slot> {
        self.users.get(user)
    }

    /// A message for `user`: where it must be delivered, and under which sequence.
    ///
    /// # Errors
    /// Why it will not be.
    pub(crate) fn send(
        &mut self,
        user: UserId,
        sender: Slot,
        id: MessageId,
    ) -> Result<(Slot, Sequence), Refusal> {
        let place = self.users.get(user).ok_or(Refusal::NotConnected)?;
        let underway = self.underway.entry(user).or_insert_with(|| {
            let flights = self.spares.pop().unwrap_or_default();
            Underway { place, flights }
        });
        debug_assert_eq!(underway.place, place, "flights end with their connection");
        if underway.flights.len() >= UNACKNOWLEDGED_MAX {
            return Err(Refusal::RecipientBusy);
        }
        self.sequence += 1;
        self.in_flight += 1;
        let sequence = Sequence(self.sequence);
        underway.flights.push_back(Flight { sequence, id, sender });
        Ok((place, sequence))
    }

    /// The client at `place` has everything up to and with `sequence`: adds those messages to `accepted`.
    pub(crate) fn ack(&mut self, user: UserId, place: Slot, sequence: Sequence, accepted: &mut Settled) {
        let Entry::Occupied(mut underway) = self.underway.entry(user) else { return };
        if underway.get().place != place {
            return;
        }
        let flights = &mut underway.get_mut().flights;
        while let Some(flight) = flights.front().filter(|flight| flight.sequence <= sequence) {
            accepted.push((flight.sender, flight.id));
            flights.pop_front();
            self.in_flight -= 1;
        }
        if flights.is_empty() {
            let Underway { flights, .. } = underway.remove();
            self.spare(flights);
        }
    }

    fn end_flights(&mut self, user: UserId, unknown: &mut Settled) {
        let Some(Underway { mut flights, .. }) = self.underway.remove(&user) else { return };
        self.in_flight -= flights.len();
        unknown.extend(flights.drain(..).map(|flight| (flight.sender, flight.id)));
        self.spare(flights);
    }

    fn spare(&mut self, flights: VecDeque<Flight>) {
        if self.spares.len() < SPARE_FLIGHTS && flights.capacity() <= SPARE_FLIGHTS_LEN {
            self.spares.push(flights);
        }
    }

    /// Gives back the memory that a storm needed.
    pub(crate) fn tidy(&mut self) {
        let len = self.underway.len();
        if self.underway.capacity() > TABLE_KEPT.max(8 * len) {
            self.underway.shrink_to(2 * len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: UserId = UserId(1);
    const BOB: UserId = UserId(2);

    fn place(index: u64, shard: u64) -> Slot {
        Slot::from_word(1 << 36 | shard << 24 | index).expect("a generation of 1")
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
        assert_eq!((ids(&mut settled), home.in_flight(), home.underway.len()), (vec![3], 0, 0));
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

    #[test]
    fn who_has_nothing_on_its_way_costs_a_directory_entry_alone() {
        let (mut home, mut settled) = (Home::new(1, 0), Settled::new());
        for user in 0..10_000 {
            home.login(UserId(user), place(user, 0), &mut settled);
            let (_, sequence) = home.send(UserId(user), place(1, 1), MessageId(user)).expect("connected");
            if user % 1000 != 0 {
                home.ack(UserId(user), place(user, 0), sequence, &mut settled);
            }
        }
        assert_eq!((home.users(), home.underway.len(), home.in_flight()), (10_000, 10, 10));
        assert!(home.spares.len() <= SPARE_FLIGHTS);
    }

    #[test]
    fn a_storm_of_messages_leaves_no_table_behind() {
        let (mut home, mut settled) = (Home::new(1, 0), Settled::new());
        for user in 0..10_000 {
            home.login(UserId(user), place(user, 0), &mut settled);
            home.send(UserId(user), place(1, 1), MessageId(user)).expect("connected");
        }
        home.tidy();
        assert!(home.underway.capacity() >= 10_000, "it is in use");
        for user in 1..10_000 {
            home.ack(UserId(user), place(user, 0), Sequence(u64::MAX), &mut settled);
        }
        home.tidy();
        assert!(home.underway.capacity() <= TABLE_KEPT);
        home.ack(UserId(0), place(0, 0), Sequence(u64::MAX), &mut settled);
        assert_eq!((settled.len(), home.in_flight()), (10_000, 0));
    }
}
