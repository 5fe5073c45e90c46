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

/// An entry of a side table that a session may have; idle ones have none.
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
    /// What waits to be sent.
    pub(crate) outbox: Side,
    /// The beginning of a frame.
    pub(crate) partial: Side,
    /// Where it stands.
    pub(crate) state: State,
    /// Messages of this user without an outcome.
    pub(crate) outstanding: u8,
    /// A ping was sent and nothing heard since.
    pub(crate) pinged: bool,
    /// The client sends no more.
    pub(crate) ended: bool,
    /// The user's home knows this session, and must hear of its end.
    pub(crate) registered: bool,
    /// FIN was sent.
    pub(crate) shut: bool,
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
            outbox: Side::NONE,
            partial: Side::NONE,
            state: State::Greeting,
            outstanding: 0,
            pinged: false,
            ended: false,
            registered: false,
            shut: false,
        }
    }
}
