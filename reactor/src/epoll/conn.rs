//! What one connection costs while nothing happens on it: a descriptor and a word.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::slot::INDEX_BITS;

/// connect() has not told its outcome yet.
pub(super) const CONNECTING: u32 = 1 << 24;
/// The kernel may have something to receive: bytes, the end, or an error. Edges come once, so this is remembered.
pub(super) const READABLE: u32 = 1 << 25;
/// It stands in the list of connections to receive from.
pub(super) const LISTED: u32 = 1 << 26;
/// The user wants nothing for now.
pub(super) const PAUSED: u32 = 1 << 27;
/// The end of the stream is in the kernel; no further edge will announce it.
pub(super) const READ_CLOSED: u32 = 1 << 28;
/// The end of the stream was received.
pub(super) const EOF: u32 = 1 << 29;
/// From `send` until its `Sent` was handed over.
pub(super) const SENDING: u32 = 1 << 30;
/// FIN is to follow the unfinished send, or the connect.
pub(super) const SHUTDOWN: u32 = 1 << 31;

/// The lower bits are the place of the unfinished send in its side table; all ones is none.
const NO_SEND: u32 = (1 << INDEX_BITS) - 1;
const _: () = assert!(CONNECTING > NO_SEND, "flags and place share a word");

/// Most connections of one reactor, so that every unfinished send has a place below [`NO_SEND`].
pub(super) const CONNS_MAX: usize = NO_SEND as usize;

/// One connection. Without a socket it is closed and only keeps its index until the user has seen `Closed`.
#[derive(Debug)]
pub(super) struct Conn {
    socket: Option<OwnedFd>,
    bits: u32,
}
const _: () = assert!(size_of::<Conn>() == 8);
const _: () = assert!(size_of::<Option<(crate::Slot, Conn)>>() == 16, "with its name, as the slab holds it");

impl Conn {
    pub(super) fn new(socket: OwnedFd, flags: u32) -> Conn {
        Conn { socket: Some(socket), bits: flags | NO_SEND }
    }

    /// The socket; `None` when closed.
    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// Closes the connection: whoever drops the socket ends it.
    pub(super) fn take_socket(&mut self) -> Option<OwnedFd> {
        self.socket.take()
    }

    /// Whether any of these flags is set.
    pub(super) fn has(&self, flags: u32) -> bool {
        self.bits & flags != 0
    }

    pub(super) fn set(&mut self, flags: u32) {
        self.bits |= flags;
    }

    pub(super) fn clear(&mut self, flags: u32) {
        self.bits &= !flags;
    }

    /// Where its unfinished send stands in the side table.
    pub(super) fn unfinished(&self) -> Option<usize> {
        let place = self.bits & NO_SEND;
        (place != NO_SEND).then_some(place as usize)
    }

    pub(super) fn set_unfinished(&mut self, place: Option<usize>) {
        let place = place.map_or(NO_SEND, |place| place as u32);
        debug_assert!(place <= NO_SEND);
        self.bits = self.bits & !NO_SEND | place;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_the_place_of_a_send_do_not_touch_each_other() {
        let mut conn = Conn::new(crate::sys::eventfd().unwrap(), CONNECTING);
        assert_eq!(conn.unfinished(), None);
        conn.set_unfinished(Some(CONNS_MAX - 1));
        conn.set(SHUTDOWN);
        conn.clear(CONNECTING);
        assert_eq!(conn.unfinished(), Some(CONNS_MAX - 1));
        conn.set_unfinished(None);
        assert!(conn.has(SHUTDOWN) && !conn.has(CONNECTING) && conn.unfinished().is_none());
    }
}
