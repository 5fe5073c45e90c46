//! What waits to be sent, for the sessions that have something to send, and frames whose ends have not arrived.
//!
//! One send per connection is in flight; whatever comes meanwhile waits here and goes out together. Buffers are
//! borrowed from a pool while they are needed.
//!
//! Both tables know how many bytes they hold: a bound on the sum protects a shard from many slow clients, as a bound on each
//! does from one ([`crate::limits::SIDE_BYTES_MAX`]).

use slab::Slab;

use crate::limits::SPARE_BUFFER_BYTES;
use crate::session::Side;
use crate::spare::{Spares, trim_slab};

#[derive(Debug)]
struct Outbox {
    waiting: Vec<u8>,
    /// Bytes of the send in flight; 0 without one.
    in_flight: u32,
    /// Listed to be flushed at the end of the turn.
    listed: bool,
}
const _: () = assert!(size_of::<Outbox>() == 32);

/// The outboxes of a shard's busy sessions.
#[derive(Debug)]
pub(crate) struct Outboxes {
    boxes: Slab<Outbox>,
    bytes: usize,
    spares: Spares,
}

impl Outboxes {
    /// None yet; keeps so many bytes of spare buffers.
    pub(crate) fn new(spare_bytes_max: usize) -> Outboxes {
        Outboxes { boxes: Slab::new(), bytes: 0, spares: Spares::new(spare_bytes_max) }
    }

    /// Bytes that wait or are in flight, of all sessions.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Lets `write` append a frame. Returns the bytes that wait behind a send in flight (0 without one), and whether the
    /// session must be listed for the flush.
    pub(crate) fn append(&mut self, side: &mut Side, write: impl FnOnce(&mut Vec<u8>)) -> (usize, bool) {
        let index = side.index().unwrap_or_else(|| {
            let index = self.boxes.insert(Outbox { waiting: Vec::new(), in_flight: 0, listed: false });
            *side = Side::new(index);
            index
        });
        let outbox = &mut self.boxes[index];
        if outbox.waiting.capacity() == 0 {
            outbox.waiting = self.spares.take();
        }
        let before = outbox.waiting.len();
        write(&mut outbox.waiting);
        self.bytes += outbox.waiting.len() - before;
        let list = outbox.in_flight == 0 && !outbox.listed;
        outbox.listed |= list;
        (if outbox.in_flight > 0 { outbox.waiting.len() } else { 0 }, list)
    }

    /// The bytes that wait for one session, whether a send is in flight or not.
    pub(crate) fn waiting(&self, side: Side) -> usize {
        side.index().map_or(0, |index| self.boxes[index].waiting.len())
    }

    /// Forgets what waits, to make room for a last frame. What is in flight is not touched.
    pub(crate) fn discard_waiting(&mut self, side: Side) {
        if let Some(index) = side.index() {
            let waiting = &mut self.boxes[index].waiting;
            self.bytes -= waiting.len();
            waiting.clear();
        }
    }

    /// What is to be sent now, if no send is in flight: what `seal` makes of what waits. It is in flight from here on. Where nothing
    /// comes of it, the outbox is gone.
    pub(crate) fn flush(&mut self, side: &mut Side, seal: impl FnOnce(&mut Vec<u8>)) -> Option<Vec<u8>> {
        let outbox = &mut self.boxes[side.index()?];
        outbox.listed = false;
        if outbox.in_flight > 0 {
            return None;
        }
        let mut buffer = std::mem::take(&mut outbox.waiting);
        self.bytes -= buffer.len();
        seal(&mut buffer);
        if buffer.is_empty() {
            self.spares.give_back(buffer);
            self.remove(side);
            return None;
        }
        debug_assert!(buffer.len() <= u32::MAX as usize, "a turn brings less than 4 GiB to one client");
        self.bytes += buffer.len();
        outbox.in_flight = buffer.len() as u32;
        Some(buffer)
    }

    /// A send ended. True: more waits, so list the session for the flush. Otherwise the outbox is gone.
    pub(crate) fn sent(&mut self, side: &mut Side, buffer: Vec<u8>) -> bool {
        self.spares.give_back(buffer);
        let Some(index) = side.index() else { return false };
        let outbox = &mut self.boxes[index];
        self.bytes -= std::mem::take(&mut outbox.in_flight) as usize;
        if outbox.waiting.is_empty() {
            self.remove(side);
            return false;
        }
        !std::mem::replace(&mut outbox.listed, true)
    }

    /// Gives a session's outbox up, with all that waits in it.
    pub(crate) fn remove(&mut self, side: &mut Side) {
        if let Some(index) = std::mem::replace(side, Side::NONE).index() {
            let outbox = self.boxes.remove(index);
            self.bytes -= outbox.waiting.len() + outbox.in_flight as usize;
            self.spares.give_back(outbox.waiting);
        }
    }

    /// Takes back a buffer whose session is gone.
    pub(crate) fn recycle(&mut self, buffer: Vec<u8>) {
        self.spares.give_back(buffer);
    }

    /// Gives back the memory that a storm needed.
    pub(crate) fn tidy(&mut self) {
        trim_slab(&mut self.boxes);
    }
}

/// The beginnings of frames whose ends have not arrived.
#[derive(Debug)]
pub(crate) struct Partials {
    kept: Slab<Vec<u8>>,
    /// Capacity of all kept buffers, and its bound.
    bytes: usize,
    bytes_max: usize,
    spares: Spares,
}

impl Partials {
    /// None yet. Keeps at most `bytes_max` bytes of frames, and so many of spare buffers.
    pub(crate) fn new(bytes_max: usize, spare_bytes_max: usize) -> Partials {
        Partials { kept: Slab::new(), bytes: 0, bytes_max, spares: Spares::new(spare_bytes_max) }
    }

    /// Takes what a session kept.
    pub(crate) fn take(&mut self, side: &mut Side) -> Option<Vec<u8>> {
        let index = std::mem::replace(side, Side::NONE).index()?;
        let bytes = self.kept.remove(index);
        self.bytes -= bytes.capacity();
        Some(bytes)
    }

    /// A buffer to keep something in.
    pub(crate) fn spare(&mut self) -> Vec<u8> {
        self.spares.take()
    }

    /// Keeps bytes for a session; empty ones are not kept, and few bytes not in a large buffer. False: there is no room for them.
    #[must_use]
    pub(crate) fn keep(&mut self, side: &mut Side, mut bytes: Vec<u8>) -> bool {
        debug_assert_eq!(*side, Side::NONE, "one partial frame per session");
        if bytes.capacity() > SPARE_BUFFER_BYTES && bytes.len() < bytes.capacity() / 4 {
            bytes.shrink_to_fit();
        }
        let fits = self.bytes + bytes.capacity() <= self.bytes_max;
        if bytes.is_empty() || !fits {
            let nothing = bytes.is_empty();
            self.spares.give_back(bytes);
            return nothing;
        }
        self.bytes += bytes.capacity();
        *side = Side::new(self.kept.insert(bytes));
        true
    }

    /// Takes back a buffer of [`Partials::take`].
    pub(crate) fn give_back(&mut self, bytes: Vec<u8>) {
        self.spares.give_back(bytes);
    }

    /// Gives up what a session kept.
    pub(crate) fn remove(&mut self, side: &mut Side) {
        if let Some(bytes) = self.take(side) {
            self.spares.give_back(bytes);
        }
    }

    /// Gives back the memory that a storm needed.
    pub(crate) fn tidy(&mut self) {
        trim_slab(&mut self.kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_during_a_send_goes_out_together_after_it() {
        let mut outboxes = Outboxes::new(1 << 20);
        let mut side = Side::NONE;
        assert_eq!(outboxes.append(&mut side, |out| out.push(1)), (0, true));
        assert_eq!(outboxes.append(&mut side, |out| out.push(2)), (0, false), "listed once per turn");
        let first = outboxes.flush(&mut side, |_| {}).expect("something waits");
        assert_eq!(first, [1, 2]);
        assert_eq!(
            outboxes.append(&mut side, |out| out.push(3)),
            (1, false),
            "the send in flight comes first"
        );
        assert_eq!(outboxes.append(&mut side, |out| out.push(4)), (2, false));
        assert!(outboxes.flush(&mut side, |_| {}).is_none());
        assert!(outboxes.sent(&mut side, first), "more waits");
        let second = outboxes.flush(&mut side, |_| {}).expect("something waits");
        assert_eq!(second, [3, 4]);
        assert!(!outboxes.sent(&mut side, second));
        assert_eq!(
            (side, outboxes.boxes.len(), outboxes.bytes()),
            (Side::NONE, 0, 0),
            "an idle session has no outbox"
        );
    }

    #[test]
    fn a_partial_frame_is_kept_only_while_there_is_one() {
        let mut partials = Partials::new(1000, 1 << 20);
        let mut side = Side::NONE;
        assert!(partials.keep(&mut side, vec![]));
        assert_eq!(side, Side::NONE);
        assert!(partials.keep(&mut side, vec![1]));
        assert_eq!(partials.take(&mut side), Some(vec![1]));
        assert_eq!((side, partials.kept.len(), partials.bytes), (Side::NONE, 0, 0));
    }

    #[test]
    fn bytes_in_flight_count_until_they_are_sent_or_given_up() {
        let mut outboxes = Outboxes::new(1 << 20);
        let (mut ann, mut bob) = (Side::NONE, Side::NONE);
        outboxes.append(&mut ann, |out| out.extend([1; 100]));
        let sending = outboxes.flush(&mut ann, |_| {}).expect("something waits");
        outboxes.append(&mut ann, |out| out.extend([2; 10]));
        outboxes.append(&mut bob, |out| out.extend([3; 1000]));
        assert_eq!((outboxes.bytes(), outboxes.waiting(ann), outboxes.waiting(bob)), (1110, 10, 1000));
        outboxes.discard_waiting(ann);
        assert_eq!(outboxes.bytes(), 1100);
        assert!(!outboxes.sent(&mut ann, sending));
        assert_eq!((outboxes.bytes(), ann), (1000, Side::NONE));
        outboxes.flush(&mut bob, |_| {}).expect("something waits");
        outboxes.append(&mut bob, |out| out.push(4));
        outboxes.remove(&mut bob);
        assert_eq!(outboxes.bytes(), 0);
    }

    #[test]
    fn partial_frames_beyond_their_sum_are_not_kept() {
        let mut partials = Partials::new(1000, 1 << 20);
        let mut sides = [Side::NONE; 3];
        assert!(partials.keep(&mut sides[0], vec![1; 500]));
        assert!(partials.keep(&mut sides[1], vec![1; 500]));
        assert!(!partials.keep(&mut sides[2], vec![1]));
        assert_eq!((sides[2], partials.kept.len()), (Side::NONE, 2));
        partials.remove(&mut sides[0]);
        assert!(partials.keep(&mut sides[2], vec![1]));
    }
}
