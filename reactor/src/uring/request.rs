//! The names of requests: what the kernel gives back with every completion.

use crate::Slot;

/// Which of its requests a completion belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// Watches a connection for something to receive.
    Poll,
    /// Receives from a connection.
    Recv,
    /// Sends on a connection.
    Send,
    /// Waits for the outcome of a connect.
    Connect,
    /// Accepts at a listener.
    Accept,
    /// Watches the waker.
    Wake,
    /// Ends another request. Completes only to say that there was none.
    Cancel,
}

const TAGS: [Tag; 7] = [Tag::Poll, Tag::Recv, Tag::Send, Tag::Connect, Tag::Accept, Tag::Wake, Tag::Cancel];

/// The name of a request: its tag in the upper byte, below it the slot of its connection or the number of its
/// listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request(u64);

impl Request {
    pub(super) const WAKE: Request = Request((Tag::Wake as u64) << 56);
    pub(super) const CANCEL: Request = Request((Tag::Cancel as u64) << 56);

    /// One of a connection's.
    pub(super) fn of(tag: Tag, slot: Slot) -> Request {
        Request((tag as u64) << 56 | slot.word())
    }

    /// A listener's.
    pub(super) fn accept(listener: usize) -> Request {
        debug_assert!(listener < 1 << 56);
        Request((Tag::Accept as u64) << 56 | listener as u64)
    }

    pub(super) fn word(self) -> u64 {
        self.0
    }

    pub(super) fn from_word(word: u64) -> Request {
        Request(word)
    }

    pub(super) fn tag(self) -> Tag {
        TAGS[(self.0 >> 56) as usize]
    }

    /// Whose it is, if a connection's.
    pub(super) fn slot(self) -> Option<Slot> {
        Slot::from_word(self.low())
    }

    /// Which listener's it is, if one's.
    pub(super) fn listener(self) -> usize {
        self.low() as usize
    }

    fn low(self) -> u64 {
        self.0 & ((1 << 56) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_the_trip_through_the_kernel() {
        let slot = Slot::new(263, 19_999, (1 << crate::slot::GENERATION_BITS) - 1);
        for tag in TAGS {
            let back = Request::from_word(Request::of(tag, slot).word());
            assert_eq!((back.tag(), back.slot()), (tag, Some(slot)));
        }
        assert_eq!(Request::accept(7).listener(), 7);
        assert_eq!(Request::accept(7).tag(), Tag::Accept);
    }
}
