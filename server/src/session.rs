//! One user's connection, as its shard sees it.
//!
//! ```text
//!                Hello              home says yes
//!  GREETING ─────────────> LOGGING ───────────────> ACTIVE
//!     │                       │                       │
//!     └───────────────────────┴───────────────────────┴──> LEAVING ──> gone
//!       an error, a timeout, a replacement, a drain, end of stream
//! ```
//!
//! LEAVING: the last frame (the reason) is on its way, then FIN; what still arrives is dropped. The connection is reset when
//! that takes too long.

use throng_wire::native::{Sequence, UserId};

/// Where a session stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No `Hello` yet.
    Greeting,
    /// The user's home was asked.
    LoggingIn,
    /// Logged in.
    Active,
    /// Told to go.
    Leaving,
}

/// What is so at the moment: a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(u8);

impl Flags {
    /// A ping was sent and nothing heard since.
    pub(crate) const PINGED: Flags = Flags(1);
    /// The client sends no more.
    pub(crate) const ENDED: Flags = Flags(1 << 1);
    /// The user's home knows this session, and must hear of its end.
    pub(crate) const REGISTERED: Flags = Flags(1 << 2);
    /// FIN was sent.
    pub(crate) const SHUT: Flags = Flags(1 << 3);
    /// Nothing is read until another shard's mailbox has room.
    pub(crate) const PAUSED: Flags = Flags(1 << 4);

    pub(crate) fn has(self, flag: Flags) -> bool {
        self.0 & flag.0 != 0
    }

    pub(crate) fn set(&mut self, flag: Flags) {
        self.0 |= flag.0;
    }

    /// Removes a flag; true if it was set.
    pub(crate) fn take(&mut self, flag: Flags) -> bool {
        let had = self.has(flag);
        self.0 &= !flag.0;
        had
    }
}

/// An entry of a side table that a session may have; idle ones have none but their TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Side(u32);

impl Side {
    /// No entry.
    pub(crate) const NONE: Side = Side(u32::MAX);

    pub(crate) fn new(index: usize) -> Side {
        Side(u32::try_from(index).expect("a shard has fewer busy sessions than 2^32"))
    }

    pub(crate) fn index(self) -> Option<usize> {
        (self != Side::NONE).then_some(self.0 as usize)
    }
}

/// A session. With its slot it takes 48 bytes, idle or not.
#[derive(Debug)]
pub(crate) struct Session {
    /// Who; meaningless before `LoggingIn`.
    pub(crate) user: UserId,
    /// The highest sequence that was delivered here: nobody can acknowledge more.
    pub(crate) delivered: Sequence,
    /// When bytes last arrived, in ticks of [`crate::limits::HEARD_TICK`] since the shard's start.
    pub(crate) heard: u32,
    /// How far the acknowledged sequence lies below `delivered`, at most.
    pub(crate) unacknowledged: u32,
    /// What waits to be sent.
    pub(crate) outbox: Side,
    /// The beginning of a frame.
    pub(crate) partial: Side,
    /// Its TLS, if it has any.
    pub(crate) tls: Side,
    /// Where it stands.
    pub(crate) state: State,
    /// Messages of this user without an outcome.
    pub(crate) outstanding: u8,
    pub(crate) flags: Flags,
}

const _: () = assert!(size_of::<Session>() <= 64);
const _: () = assert!(size_of::<Option<(throng_reactor::Slot, Session)>>() == 48);
const _: () = assert!(throng_wire::limits::OUTSTANDING_MAX <= u8::MAX as u16);

impl Session {
    /// A connection that was just accepted.
    pub(crate) fn new(heard: u32) -> Session {
        Session {
            user: UserId(0),
            delivered: Sequence(0),
            heard,
            unacknowledged: 0,
            outbox: Side::NONE,
            partial: Side::NONE,
            tls: Side::NONE,
            state: State::Greeting,
            outstanding: 0,
            flags: Flags::default(),
        }
    }

    /// Notes a delivery.
    pub(crate) fn deliver(&mut self, sequence: Sequence) {
        let step = u32::try_from(sequence.0 - self.delivered.0).unwrap_or(u32::MAX);
        self.unacknowledged = self.unacknowledged.saturating_add(step);
        self.delivered = sequence;
    }

    /// Notes an acknowledgement. True: it says something new, so the user's home must hear of it.
    ///
    /// `sequence` is at most `delivered`.
    pub(crate) fn acknowledge(&mut self, sequence: Sequence) -> bool {
        let left = u32::try_from(self.delivered.0 - sequence.0).unwrap_or(u32::MAX);
        let advances = left < self.unacknowledged;
        self.unacknowledged = self.unacknowledged.min(left);
        advances
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_acknowledgement_that_advances_says_something_new() {
        let mut session = Session::new(0);
        assert!(!session.acknowledge(Sequence(0)), "nothing was delivered");
        session.deliver(Sequence(7 << 32));
        session.deliver(Sequence((7 << 32) + 5));
        assert!(session.acknowledge(Sequence(7 << 32)));
        assert!(!session.acknowledge(Sequence(7 << 32)), "again");
        assert!(!session.acknowledge(Sequence(1)), "backwards");
        assert!(session.acknowledge(Sequence((7 << 32) + 5)));
        assert!(!session.acknowledge(Sequence((7 << 32) + 5)));
    }
}
