//! What a connection needs while nothing is under way on it: 24 bytes.
//!
//! ```text
//!   connect() ──> SYN_SENT ──> open ─┬─ FIN_QUEUED ── FIN_ACKED ─┬──> gone
//!                                    └─ PEER_FIN ────────────────┘
//! ```
//!
//! The states of RFC 9293 behind ESTABLISHED say how far the two ends of a connection are, each for itself. Here that is three
//! flags: FIN_WAIT_1 is `FIN_QUEUED`, FIN_WAIT_2 `FIN_ACKED` as well, CLOSE_WAIT `PEER_FIN`, LAST_ACK and CLOSING `FIN_QUEUED` and
//! `PEER_FIN`. There is no TIME_WAIT: whoever repeats its FIN to a connection that is gone is answered by a reset.

use std::time::Duration;

use crate::limits::{RTO_FIRST, RTO_MAX, RTO_MIN};
use crate::segment::Seq;

/// Nothing is under way.
pub(crate) const NOT_BUSY: u32 = u32::MAX;

/// What is so with a connection: a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State(u16);

impl State {
    /// The peer has not answered yet.
    pub(crate) const SYN_SENT: State = State(1);
    /// The user sends no more: FIN follows what is queued.
    pub(crate) const FIN_QUEUED: State = State(1 << 1);
    /// The peer has our FIN.
    pub(crate) const FIN_ACKED: State = State(1 << 2);
    /// The peer sends no more.
    pub(crate) const PEER_FIN: State = State(1 << 3);
    /// The user has closed it, and hears no more of it but `Closed`.
    pub(crate) const CLOSED_BY_USER: State = State(1 << 4);
    /// What arrives is held back.
    pub(crate) const PAUSED: State = State(1 << 5);
    /// An acknowledgement is owed at once.
    pub(crate) const ACK_NOW: State = State(1 << 6);
    /// An acknowledgement is owed soon, unless something goes out before that carries it.
    pub(crate) const ACK_LATER: State = State(1 << 7);
    /// It stands on the list of those who may have something to send.
    pub(crate) const LISTED: State = State(1 << 8);
    /// It is gone, and its `Closed` is owed.
    pub(crate) const GONE: State = State(1 << 9);
    /// The peer's FIN came, and the user was not told yet.
    pub(crate) const EOF_OWED: State = State(1 << 10);
    /// A word about its stream stands in the queue of what happened: one at most, so that nothing overtakes it.
    pub(crate) const QUEUED: State = State(1 << 11);
    /// The user's buffer is not given back yet.
    pub(crate) const SENDING: State = State(1 << 12);

    pub(crate) fn has(self, flag: State) -> bool {
        self.0 & flag.0 == flag.0
    }

    pub(crate) fn has_any(self, flags: State) -> bool {
        self.0 & flags.0 != 0
    }

    pub(crate) fn set(&mut self, flag: State) {
        self.0 |= flag.0;
    }

    /// Removes flags; true if any of them was set.
    pub(crate) fn take(&mut self, flags: State) -> bool {
        let had = self.has_any(flags);
        self.0 &= !flags.0;
        had
    }

    pub(crate) const fn with(self, other: State) -> State {
        State(self.0 | other.0)
    }
}

/// An idle connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conn {
    /// The first byte that the peer has not acknowledged; without [`Conn::busy`], the next one to be sent.
    pub(crate) snd_una: Seq,
    /// The next byte that is expected.
    pub(crate) rcv_nxt: Seq,
    /// Bytes that the peer takes beyond `snd_una`.
    pub(crate) snd_wnd: u16,
    /// The largest payload that the peer takes.
    pub(crate) mss: u16,
    rtt: Rtt,
    /// Who the peer is, in the stack's table.
    pub(crate) target: u16,
    pub(crate) state: State,
    /// Where what is under way stands, in the stack's table; [`NOT_BUSY`] for none.
    pub(crate) busy: u32,
}
const _: () = assert!(size_of::<Conn>() == 24);
const _: () =
    assert!(size_of::<(throng_reactor::Slot, Conn)>() <= 64, "with its name, as it stands in the table");

impl Conn {
    /// One whose SYN, with this sequence, is to be sent.
    pub(crate) fn connecting(target: u16, iss: Seq, mss: u16, busy: u32) -> Conn {
        Conn {
            snd_una: iss,
            rcv_nxt: Seq(0),
            snd_wnd: 0,
            mss,
            rtt: Rtt::default(),
            target,
            state: State::SYN_SENT,
            busy,
        }
    }

    pub(crate) fn note_rtt(&mut self, took: Duration) {
        self.rtt.note(took);
    }

    /// How long to wait for an acknowledgement, after so many attempts.
    pub(crate) fn rto(&self, retries: u8) -> Duration {
        self.rtt.timeout().saturating_mul(1 << retries.min(16)).min(RTO_MAX)
    }
}

/// The smoothed round trip and its variation (RFC 6298), in [`Rtt::UNIT`]s, 0 before the first.
#[derive(Clone, Copy, Debug, Default)]
struct Rtt {
    smoothed: u16,
    variation: u16,
}

impl Rtt {
    /// 16 bits of it are 6.5 seconds.
    const UNIT: Duration = Duration::from_micros(100);

    fn note(&mut self, took: Duration) {
        let units = (took.as_nanos() / Rtt::UNIT.as_nanos()).clamp(1, u128::from(u16::MAX)) as u32;
        let (smoothed, variation) = (u32::from(self.smoothed), u32::from(self.variation));
        if smoothed == 0 {
            *self = Rtt { smoothed: units as u16, variation: (units / 2) as u16 };
        } else {
            // Rounded up, so that neither gets stuck at zero.
            self.variation = (3 * variation + smoothed.abs_diff(units)).div_ceil(4) as u16;
            self.smoothed = (7 * smoothed + units).div_ceil(8) as u16;
        }
    }

    fn timeout(self) -> Duration {
        if self.smoothed == 0 {
            return RTO_FIRST;
        }
        // As Linux does: the least is added to the round trip, since a peer may wait with its acknowledgement however fast the way is.
        Rtt::UNIT * u32::from(self.smoothed) + (Rtt::UNIT * 4 * u32::from(self.variation)).max(RTO_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_follows_the_round_trips_and_doubles() {
        let mut conn = Conn::connecting(0, Seq(1), 1460, NOT_BUSY);
        assert_eq!((conn.rto(0), conn.rto(1)), (RTO_FIRST, 2 * RTO_FIRST));
        conn.note_rtt(Duration::from_micros(30));
        assert_eq!(conn.rto(0), RTO_MIN + Rtt::UNIT);
        for _ in 0..200 {
            conn.note_rtt(Duration::from_millis(500));
        }
        let rto = conn.rto(0);
        assert!((700..720).contains(&rto.as_millis()), "{rto:?}");
        assert_eq!(conn.rto(3), 8 * rto);
        assert_eq!(conn.rto(200), RTO_MAX);
        conn.note_rtt(Duration::from_secs(3600));
        assert!(conn.rto(0) <= RTO_MAX);
    }
}
