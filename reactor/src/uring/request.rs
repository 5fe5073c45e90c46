//! The names of requests: what the kernel gives back with every completion.

use super::table::Place;
use crate::Slot;

/// Which request a completion belongs to.
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
    /// Asks for a connection's error.
    Check,
    /// Sends FIN.
    Fin,
    /// Closes a connection's socket: the last of its requests.
    Close,
    /// Closes a socket that nobody heard of.
    Discard,
    /// Accepts at a listener.
    Accept,
    /// Watches the waker.
    Wake,
    /// Reads the eventfd of a table's ring.
    Signal,
    /// Ends another request, or sets an option. Completes only to say that it could not.
    Aside,
}

const TAGS: [Tag; 12] = [
    Tag::Poll,
    Tag::Recv,
    Tag::Send,
    Tag::Connect,
    Tag::Check,
    Tag::Fin,
    Tag::Close,
    Tag::Discard,
    Tag::Accept,
    Tag::Wake,
    Tag::Signal,
    Tag::Aside,
];

/// The name of a request: its tag in the upper byte, below it the slot of its connection, the place of a socket without
/// one, or the number of an accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request(u64);

impl Request {
    pub(super) const WAKE: Request = Request((Tag::Wake as u64) << 56);
    pub(super) const ASIDE: Request = Request((Tag::Aside as u64) << 56);

    /// One of a connection's.
    pub(super) fn of(tag: Tag, slot: Slot) -> Request {
        Request((tag as u64) << 56 | slot.word())
    }

    /// Of the ring of a table, by the table's number.
    pub(super) fn signal(table: u16) -> Request {
        Request((Tag::Signal as u64) << 56 | u64::from(table))
    }

    /// An accept's, by its number.
    pub(super) fn accept(number: usize) -> Request {
        debug_assert!(number < 1 << 56);
        Request((Tag::Accept as u64) << 56 | number as u64)
    }

    /// One of a socket's that is no connection.
    pub(super) fn discard(place: Place) -> Request {
        Request((Tag::Discard as u64) << 56 | u64::from(place.table) << 16 | u64::from(place.file))
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

    /// Which socket it is about, if one that is no connection.
    pub(super) fn place(self) -> Place {
        Place { table: (self.low() >> 16) as u16, file: self.low() as u16 }
    }

    /// Which accept it is, if one; which table, if a signal.
    pub(super) fn number(self) -> usize {
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
        assert_eq!(Request::accept(7).number(), 7);
        assert_eq!(Request::accept(7).tag(), Tag::Accept);
        assert_eq!((Request::signal(263).tag(), Request::signal(263).number()), (Tag::Signal, 263));
        let place = Place { table: 300, file: 32_767 };
        assert_eq!(Request::discard(place).place(), place);
    }
}
