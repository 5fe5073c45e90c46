//! One person, in 64 bytes.
//!
//! ```text
//!               connected           established           Welcome
//!   Connecting ───────────> Securing ────────────> LoggingIn ────────> Ready ──> Closing ──> Gone
//!        │                     │                       │                 │                    ^
//!        `─────────────────────┴───────────────────────┴─────────────────┴────────────────────┘  closed, by whomever
//! ```
//!
//! In a storm a user that is gone may connect again.
//!
//! Without TLS nobody is securing; without a login (`echo`, `connect`) a user is ready as soon as it is connected. What only busy users need (instants that
//! wait, the beginning of a frame) lives in tables of the [`crate::crowd::Crowd`].

use throng_reactor::Slot;

use crate::ledger::{Outcomes, Seen};
use crate::queue::NOBODY;

/// Where a user stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// The connection is being made.
    Connecting,
    /// Connected, and shakes hands (TLS).
    Securing,
    /// Connected, and the server has not answered the login.
    LoggingIn,
    /// May send and receive.
    Ready,
    /// Closed by us, and judged; the reactor still holds the slot.
    Closing,
    /// Without a connection.
    Gone,
}

/// What a user has to do, or waits for: a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(u8);

impl Flags {
    /// It is on the list of those who may have something to write.
    pub(crate) const DIRTY: Flags = Flags(1);
    /// A send is in flight.
    pub(crate) const IN_FLIGHT: Flags = Flags(1 << 1);
    /// The login is to be written.
    pub(crate) const HELLO: Flags = Flags(1 << 2);
    /// What was delivered is to be acknowledged.
    pub(crate) const ACK: Flags = Flags(1 << 3);
    /// A heartbeat is to be written.
    pub(crate) const PING: Flags = Flags(1 << 4);
    /// A heartbeat is not answered yet.
    pub(crate) const PINGED: Flags = Flags(1 << 5);
    /// The server's heartbeat is to be answered; the token is in the crowd's list.
    pub(crate) const PONG: Flags = Flags(1 << 6);
    /// It connects again when its connection is gone.
    pub(crate) const RETURNS: Flags = Flags(1 << 7);

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

/// The record of one user.
#[derive(Clone, Copy, Debug)]
pub(crate) struct User {
    /// Its connection; `None` when it has none.
    pub(crate) slot: Option<Slot>,
    /// Its own messages.
    pub(crate) outcomes: Outcomes,
    /// Its partner's messages.
    pub(crate) seen: Seen,
    /// The latest delivery's sequence; to be acknowledged when [`Flags::ACK`] is set.
    pub(crate) sequence: u64,
    /// The last of its messages that wait, in the crowd's queue.
    pub(crate) waiting: u32,
    /// The beginning of a frame, in the crowd's partial frames.
    pub(crate) partial: u32,
    /// Its TLS, in the crowd's table.
    pub(crate) tls: u32,
    pub(crate) state: State,
    pub(crate) flags: Flags,
    /// Connections that it began in the present storm.
    pub(crate) attempts: u8,
}

const _: () = assert!(size_of::<User>() <= 64, "one cache line: an idle user is little else");

impl User {
    /// A user whose connection is being made, or failed at once.
    pub(crate) fn new(slot: Option<Slot>) -> User {
        User {
            slot,
            outcomes: Outcomes::default(),
            seen: Seen::default(),
            sequence: 0,
            waiting: NOBODY,
            partial: NOBODY,
            tls: NOBODY,
            state: if slot.is_some() { State::Connecting } else { State::Gone },
            flags: Flags::default(),
            attempts: 0,
        }
    }

    /// Begins a new connection, or failed to at once. What was said on earlier ones stays said; what was to be said on them is
    /// not.
    pub(crate) fn connect_again(&mut self, slot: Option<Slot>) {
        let is_listed = self.flags.has(Flags::DIRTY);
        self.flags = Flags::default();
        if is_listed {
            self.flags.set(Flags::DIRTY);
        }
        self.slot = slot;
        self.state = if slot.is_some() { State::Connecting } else { State::Gone };
    }
}
