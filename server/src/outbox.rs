//! What waits to be sent, for the sessions that have something to send.
//!
//! One send per connection is in flight; whatever comes meanwhile waits here and goes out together. Buffers are
//! borrowed from a pool while they are needed.

use slab::Slab;

use crate::limits::{SPARE_BUFFER_BYTES, SPARE_BUFFERS};
use crate::session::Side;

/// Empty buffers kept for reuse.
#[derive(Debug, Default)]
pub(crate) struct Spares(Vec<Vec<u8>>);

impl Spares {
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    pub(crate) fn give_back(&mut self, mut buffer: Vec<u8>) {
        if self.0.len() < SPARE_BUFFERS && buffer.capacity() <= SPARE_BUFFER_BYTES {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

#[derive(Debug)]
struct Outbox {
    waiting: Vec<u8>,
    in_flight: bool,
    /// Listed to be flushed at the end of the turn.
    listed: bool,
}

/// The outboxes of a shard's busy sessions.
#[derive(Debug, Default)]
pub(crate) struct Outboxes {
    boxes: Slab<Outbox>,
    spares: Spares,
}

impl Outboxes {
    /// Lets `write` append a frame. Returns the bytes that wait behind a send in flight (0 without one), and whether the
    /// session must be listed for the flush.
    pub(crate) fn append(&mut self, side: &mut Side, write: impl FnOnce(&mut Vec<u8>)) -> (usize, bool) {
        let index = side.index().unwrap_or_else(|| {
            let waiting = self.spares.take();
            let index = self.boxes.insert(Outbox { waiting, in_flight: false, listed: false });
            *side = Side::new(index);
            index
        });
        let outbox = &mut self.boxes[index];
        write(&mut outbox.waiting);
        let list = !outbox.in_flight && !outbox.listed;
        outbox.listed |= list;
        (if outbox.in_flight { outbox.waiting.len() } else { 0 }, list)
    }

    /// Forgets what waits, to make room for a last frame. What is in flight is not touched.
    pub(crate) fn discard_waiting(&mut self, side: Side) {
        if let Some(index) = side.index() {
            self.boxes[index].waiting.clear();
        }
    }

    /// What is to be sent now, if no send is in flight. It is in flight from here on.
    pub(crate) fn flush(&mut self, side: Side) -> Option<Vec<u8>> {
        let outbox = &mut self.boxes[side.index()?];
        outbox.listed = false;
        if outbox.in_flight || outbox.waiting.is_empty() {
            return None;
        }
        outbox.in_flight = true;
        Some(std::mem::replace(&mut outbox.waiting, self.spares.take()))
    }

    /// A send ended. True: more waits, so list the session for the flush. Otherwise the outbox is gone.
    pub(crate) fn sent(&mut self, side: &mut Side, buffer: Vec<u8>) -> bool {
        self.spares.give_back(buffer);
        let Some(index) = side.index() else { return false };
        let outbox = &mut self.boxes[index];
        outbox.in_flight = false;
        if outbox.waiting.is_empty() {
            self.remove(side);
            return false;
        }
        !std::mem::replace(&mut outbox.listed, true)
    }

    /// Gives a session's outbox up, with all that waits in it.
    pub(crate) fn remove(&mut self, side: &mut Side) {
        if let Some(index) = std::mem::replace(side, Side::NONE).index() {
            self.spares.give_back(self.boxes.remove(index).waiting);
        }
    }

    /// Takes back a buffer whose session is gone.
    pub(crate) fn recycle(&mut self, buffer: Vec<u8>) {
        self.spares.give_back(buffer);
    }
}

/// The beginnings of frames whose ends have not arrived.
#[derive(Debug, Default)]
pub(crate) struct Partials {
    kept: Slab<Vec<u8>>,
    spares: Spares,
}

impl Partials {
    /// Takes what a session kept.
    pub(crate) fn take(&mut self, side: &mut Side) -> Option<Vec<u8>> {
        let index = std::mem::replace(side, Side::NONE).index()?;
        Some(self.kept.remove(index))
    }

    /// A buffer to keep something in.
    pub(crate) fn spare(&mut self) -> Vec<u8> {
        self.spares.take()
    }

    /// Keeps bytes for a session; empty ones are not kept, and few bytes not in a large buffer.
    pub(crate) fn keep(&mut self, side: &mut Side, mut bytes: Vec<u8>) {
        debug_assert_eq!(*side, Side::NONE, "one partial frame per session");
        if bytes.capacity() > SPARE_BUFFER_BYTES && bytes.len() < bytes.capacity() / 4 {
            bytes.shrink_to_fit();
        }
        if bytes.is_empty() {
            self.spares.give_back(bytes);
        } else {
            *side = Side::new(self.kept.insert(bytes));
        }
    }

    /// Gives up what a session kept.
    pub(crate) fn remove(&mut self, side: &mut Side) {
        if let Some(bytes) = self.take(side) {
            self.spares.give_back(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_during_a_send_goes_out_together_after_it() {
        let mut outboxes = Outboxes::default();
        let mut side = Side::NONE;
        assert_eq!(outboxes.append(&mut side, |out| out.push(1)), (0, true));
        assert_eq!(outboxes.append(&mut side, |out| out.push(2)), (0, false), "listed once per turn");
        let first = outboxes.flush(side).expect("something waits");
        assert_eq!(first, [1, 2]);
        assert_eq!(
            outboxes.append(&mut side, |out| out.push(3)),
            (1, false),
            "the send in flight comes first"
        );
        assert_eq!(outboxes.append(&mut side, |out| out.push(4)), (2, false));
        assert!(outboxes.flush(side).is_none());
        assert!(outboxes.sent(&mut side, first), "more waits");
        let second = outboxes.flush(side).expect("something waits");
        assert_eq!(second, [3, 4]);
        assert!(!outboxes.sent(&mut side, second));
        assert_eq!((side, outboxes.boxes.len()), (Side::NONE, 0), "an idle session has no outbox");
    }

    #[test]
    fn a_partial_frame_is_kept_only_while_there_is_one() {
        let mut partials = Partials::default();
        let mut side = Side::NONE;
        partials.keep(&mut side, vec![]);
        assert_eq!(side, Side::NONE);
        partials.keep(&mut side, vec![1]);
        assert_eq!(partials.take(&mut side), Some(vec![1]));
        assert_eq!((side, partials.kept.len()), (Side::NONE, 0));
    }
}
