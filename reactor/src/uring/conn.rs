//! What one connection costs while nothing happens on it: 24 bytes with its name, and one armed poll and one place in a
//! table of direct descriptors in the kernel.

use super::table::Place;
use crate::slot::INDEX_BITS;

/// Its multishot poll is in flight.
pub(super) const POLL: u16 = 1 << 0;
/// A receive is in flight; `buffer` is the kernel's.
pub(super) const RECV: u16 = 1 << 1;
/// A send is in flight.
pub(super) const SEND: u16 = 1 << 2;
/// The outcome of its connect is waited for.
pub(super) const CONNECT: u16 = 1 << 3;
/// The question for its error is in flight.
pub(super) const CHECK: u16 = 1 << 4;
/// The sending of FIN is in flight.
pub(super) const FIN: u16 = 1 << 5;
/// Anything is in flight: neither the socket may be closed nor the slot be freed.
pub(super) const IN_FLIGHT: u16 = POLL | RECV | SEND | CONNECT | CHECK | FIN;
/// It stands in the list of connections to receive from.
pub(super) const LISTED: u16 = 1 << 6;
/// The user wants nothing for now.
pub(super) const PAUSED: u16 = 1 << 7;
/// There may be something to receive that no poll will announce again.
pub(super) const READABLE: u16 = 1 << 8;
/// Bytes that arrived during a pause stand in the side table.
pub(super) const STASHED: u16 = 1 << 9;
/// The end of the stream was received.
pub(super) const EOF: u16 = 1 << 10;
/// FIN is to follow the send in flight.
pub(super) const SHUTDOWN: u16 = 1 << 11;
/// It ends as soon as nothing is in flight.
pub(super) const ENDING: u16 = 1 << 12;
/// The user closed it.
pub(super) const CLOSED_BY_USER: u16 = 1 << 13;
/// Its end is to be a RST.
pub(super) const RESET: u16 = 1 << 14;
/// The closing of its socket is in flight.
pub(super) const CLOSING: u16 = 1 << 15;

/// Most connections of one reactor, so that every slot has an index.
pub(super) const CONNS_MAX: usize = 1 << INDEX_BITS;

const NO_SEND: u32 = u32::MAX;
const NO_FILE: u16 = u16::MAX;

/// One connection. Without a socket it is closed and only keeps its index until the user has seen `Closed`.
#[derive(Debug)]
pub(super) struct Conn {
    /// The place of the unfinished send in its side table.
    send: u32,
    table: u16,
    file: u16,
    /// The pool's buffer that a receive in flight fills.
    pub(super) buffer: u16,
    /// What ended it: an errno; 0 when the user did, or nothing has.
    pub(super) errno: u16,
    flags: u16,
}
const _: () = assert!(size_of::<Option<(crate::Slot, Conn)>>() == 24, "with its name, as the slab holds it");

impl Conn {
    pub(super) fn new(place: Place) -> Conn {
        debug_assert!(place.file != NO_FILE);
        Conn { send: NO_SEND, table: place.table, file: place.file, buffer: 0, errno: 0, flags: 0 }
    }

    /// Where its socket is; `None` when it is closed, or about to be.
    pub(super) fn place(&self) -> Option<Place> {
        (!self.has(CLOSING) && self.file != NO_FILE).then_some(Place { table: self.table, file: self.file })
    }

    /// Marks the socket as about to be closed.
    pub(super) fn begin_closing(&mut self) -> Option<Place> {
        debug_assert!(!self.has(IN_FLIGHT), "closed with a request in flight");
        let place = self.place();
        self.set(CLOSING);
        place
    }

    /// The socket is closed: its place, which is free.
    pub(super) fn end_closing(&mut self) -> Place {
        self.clear(CLOSING);
        Place { table: self.table, file: std::mem::replace(&mut self.file, NO_FILE) }
    }

    /// Whether any of these flags is set.
    pub(super) fn has(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }

    pub(super) fn set(&mut self, flags: u16) {
        self.flags |= flags;
    }

    pub(super) fn clear(&mut self, flags: u16) {
        self.flags &= !flags;
    }

    /// Where its unfinished send stands in the side table.
    pub(super) fn send(&self) -> Option<usize> {
        (self.send != NO_SEND).then_some(self.send as usize)
    }

    pub(super) fn set_send(&mut self, place: Option<usize>) {
        self.send = place.map_or(NO_SEND, |place| place as u32);
    }
}
