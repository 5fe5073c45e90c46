//! What one connection costs while nothing happens on it: 24 bytes with its name, and one armed poll in the kernel.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::slot::INDEX_BITS;

/// Its multishot poll is in flight.
pub(super) const POLL: u16 = 1 << 0;
/// A receive is in flight.
pub(super) const RECV: u16 = 1 << 1;
/// A send is in flight.
pub(super) const SEND: u16 = 1 << 2;
/// The wait for the outcome of its connect is in flight.
pub(super) const CONNECT: u16 = 1 << 3;
/// Anything is in flight: neither the socket may be closed nor the slot be freed.
pub(super) const IN_FLIGHT: u16 = POLL | RECV | SEND | CONNECT;
/// It stands in the list of connections to receive from.
pub(super) const LISTED: u16 = 1 << 4;
/// The user wants nothing for now.
pub(super) const PAUSED: u16 = 1 << 5;
/// There may be something to receive that no poll will announce again.
pub(super) const READABLE: u16 = 1 << 6;
/// Bytes that arrived during a pause stand in the side table.
pub(super) const STASHED: u16 = 1 << 7;
/// The end of the stream was received.
pub(super) const EOF: u16 = 1 << 8;
/// FIN is to follow the send in flight.
pub(super) const SHUTDOWN: u16 = 1 << 9;
/// It ends as soon as nothing is in flight.
pub(super) const ENDING: u16 = 1 << 10;
/// The user closed it.
pub(super) const CLOSED_BY_USER: u16 = 1 << 11;

/// Most connections of one reactor, so that every slot has an index.
pub(super) const CONNS_MAX: usize = 1 << INDEX_BITS;

const NO_SEND: u32 = u32::MAX;

/// One connection. Without a socket it is closed and only keeps its index until the user has seen `Closed`.
#[derive(Debug)]
pub(super) struct Conn {
    socket: Option<OwnedFd>,
    /// The place of the unfinished send in its side table.
    send: u32,
    /// What ended it: an errno; 0 when the user did, or nothing has.
    pub(super) errno: u16,
    flags: u16,
}
const _: () = assert!(size_of::<Conn>() == 12);
const _: () = assert!(size_of::<Option<(crate::Slot, Conn)>>() == 24, "with its name, as the slab holds it");

impl Conn {
    pub(super) fn new(socket: OwnedFd) -> Conn {
        Conn { socket: Some(socket), send: NO_SEND, errno: 0, flags: 0 }
    }

    /// The socket; `None` when closed.
    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// Closes the connection: whoever drops the socket ends it.
    pub(super) fn take_socket(&mut self) -> Option<OwnedFd> {
        debug_assert!(!self.has(IN_FLIGHT), "closed with a request in flight");
        self.socket.take()
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
