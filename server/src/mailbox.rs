//! Letters between shards: gathered per destination, put into its mailbox once per turn, with one wake.
//!
//! A mailbox is bounded and may be full. A shard never waits for room in another's: the batch stays *parked* at its writer and
//! is tried again, while the writer goes on emptying its own mailbox. From [`crate::limits::PARKED_BYTES_MAX`] on the sessions that add
//! messages to it are paused; acknowledgements, outcomes, logins and logouts are still added, since they are what
//! empties the other shards. So two full shards cannot wait for each other. A home whose way to a recipient's shard is
//! crowded refuses the message as busy, before it gets a sequence.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use throng_reactor::{Slot, Waker};
use throng_wire::native::{MessageId, Refusal, Sequence, Uncertainty, UserId};

use crate::limits::{MAILBOX_BATCHES_PER_SHARD, SPARE_BATCHES, SPARE_BUFFER_BYTES, spare_bytes};
use crate::spare::trim;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The recipient acknowledged.
    Accepted,
    /// It was not delivered.
    Refused(Refusal),
    /// It may have been delivered.
    Unknown(Uncertainty),
}

/// Where a body lies in its batch.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    start: u32,
    len: u32,
}

/// What one shard tells another. The first four go to a user's home, the others to a connection's shard.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the steps that the letters stand for are documented in delivery.rs")]
pub enum Letter {
    Login { user: UserId, place: Slot },
    Logout { user: UserId, place: Slot },
    Send { from: UserId, to: UserId, id: MessageId, sender: Slot, body: Span },
    Ack { user: UserId, place: Slot, sequence: Sequence },
    Welcome { slot: Slot },
    Replaced { slot: Slot },
    Deliver { slot: Slot, sequence: Sequence, from: UserId, id: MessageId, body: Span },
    Outcome { slot: Slot, id: MessageId, outcome: Outcome },
}
const _: () = assert!(size_of::<Letter>() == 48);

/// The letters of one turn from one shard to another, and the bodies that they carry.
#[derive(Debug, Default)]
pub struct Batch {
    /// In the order in which they were written.
    pub letters: Vec<Letter>,
    bodies: Vec<u8>,
}

impl Batch {
    fn bytes(&self) -> usize {
        self.letters.len() * size_of::<Letter>() + self.bodies.len()
    }

    fn capacity(&self) -> usize {
        self.letters.capacity() * size_of::<Letter>() + self.bodies.capacity()
    }

    /// The body of a letter of this batch.
    pub fn body(&self, span: Span) -> &[u8] {
        &self.bodies[span.start as usize..][..span.len as usize]
    }
}

/// The mailboxes of all shards and what wakes their owners: 16 bytes per batch that has room in one, so 64 per pair of shards.
#[derive(Debug)]
pub struct Mailboxes {
    boxes: Vec<(ArrayQueue<Box<Batch>>, Waker)>,
}

impl Mailboxes {
    /// One mailbox for each shard, in the order of their wakers.
    pub fn new(wakers: impl ExactSizeIterator<Item = Waker>) -> Arc<Mailboxes> {
        let capacity = MAILBOX_BATCHES_PER_SHARD * wakers.len();
        Mailboxes::with_capacity(wakers, capacity)
    }

    fn with_capacity(wakers: impl ExactSizeIterator<Item = Waker>, capacity: usize) -> Arc<Mailboxes> {
        Arc::new(Mailboxes { boxes: wakers.map(|waker| (ArrayQueue::new(capacity), waker)).collect() })
    }

    /// How many shards there are.
    pub fn shards(&self) -> u16 {
        u16::try_from(self.boxes.len()).expect("the server refuses more than SHARDS_MAX shards")
    }

    /// Ends every shard's wait.
    pub fn wake_all(&self) {
        self.boxes.iter().for_each(|(_, waker)| waker.wake());
    }
}

/// A batch in the making. There is one of these per pair of shards, so it holds no memory while there is nothing to say.
#[derive(Debug, Default)]
struct Outgoing {
    batch: Option<Box<Batch>>,
    /// The mailbox was full when it was last tried.
    parked: bool,
}
const _: () = assert!(size_of::<Outgoing>() == 16);

/// One shard's side of the mailboxes.
#[derive(Debug)]
pub struct Post {
    mailboxes: Arc<Mailboxes>,
    me: u16,
    parked_bytes_max: usize,
    outgoing: Vec<Outgoing>,
    /// Destinations with letters, each once.
    written: Vec<u16>,
    /// Some of them found the mailbox full.
    parked: bool,
    /// Sessions that wait for a destination's batch to go.
    paused: Vec<(u16, Slot)>,
    #[expect(clippy::vec_box, reason = "a spare goes out in its box")]
    spares: Vec<Box<Batch>>,
    /// Capacity of the spares, and its bound.
    spare_bytes: usize,
    spare_bytes_max: usize,
    /// Batches that went out.
    pub batches_sent: u64,
    /// Times that a mailbox was found full; trying again does not count.
    pub mailbox_full: u64,
}

impl Post {
    /// The side of shard number `me`, crowded from so many parked bytes per destination on.
    pub fn new(mailboxes: Arc<Mailboxes>, me: u16, parked_bytes_max: usize) -> Post {
        let outgoing = (0..mailboxes.shards()).map(|_| Outgoing::default()).collect();
        let spare_bytes_max = spare_bytes(usize::from(mailboxes.shards()));
        Post {
            mailboxes,
            me,
            parked_bytes_max,
            outgoing,
            written: Vec::new(),
            parked: false,
            paused: Vec::new(),
            spares: Vec::new(),
            spare_bytes: 0,
            spare_bytes_max,
            batches_sent: 0,
            mailbox_full: 0,
        }
    }

    /// Adds a letter without a body.
    pub fn write(&mut self, to: u16, letter: Letter) {
        self.batch(to).letters.push(letter);
    }

    fn batch(&mut self, to: u16) -> &mut Batch {
        let Post { outgoing, written, spares, spare_bytes, .. } = self;
        outgoing[usize::from(to)].batch.get_or_insert_with(|| {
            written.push(to);
            let batch = spares.pop().unwrap_or_default();
            *spare_bytes -= batch.capacity();
            batch
        })
    }

    /// Adds a letter with a body.
    pub fn write_body(&mut self, to: u16, body: &[u8], letter: impl FnOnce(Span) -> Letter) {
        let batch = self.batch(to);
        debug_assert!(batch.bodies.len() + body.len() <= u32::MAX as usize, "a span counts in 32 bits");
        let span = Span { start: batch.bodies.len() as u32, len: body.len() as u32 };
        batch.bodies.extend_from_slice(body);
        batch.letters.push(letter(span));
    }

    /// Whether any mailbox was full when it was last tried: a cheap question before [`Post::is_crowded`].
    pub fn has_parked(&self) -> bool {
        self.parked
    }

    /// Whether whoever adds messages for this destination must be paused.
    pub fn is_crowded(&self, to: u16) -> bool {
        let outgoing = &self.outgoing[usize::from(to)];
        let bytes = outgoing.batch.as_ref().map_or(0, |batch| batch.bytes());
        outgoing.parked && bytes >= self.parked_bytes_max
    }

    /// Notes a paused session; [`Post::dispatch`] gives it back.
    pub fn pause(&mut self, to: u16, slot: Slot) {
        self.paused.push((to, slot));
    }

    /// Puts every batch into its mailbox, as far as there is room. Sessions that may go on are added to `resumed`. True: some
    /// batch is parked, so try again soon.
    pub fn dispatch(&mut self, resumed: &mut Vec<Slot>) -> bool {
        let Post { mailboxes, outgoing, written, paused, batches_sent, mailbox_full, .. } = self;
        written.retain(|&to| {
            let outgoing = &mut outgoing[usize::from(to)];
            let Some(batch) = outgoing.batch.take() else { return false };
            let (mailbox, waker) = &mailboxes.boxes[usize::from(to)];
            match mailbox.push(batch) {
                Ok(()) => {
                    waker.wake();
                    *batches_sent += 1;
                    if std::mem::take(&mut outgoing.parked) {
                        resumed.extend(paused.extract_if(.., |waits| waits.0 == to).map(|(_, slot)| slot));
                    }
                    false
                }
                Err(batch) => {
                    *mailbox_full += u64::from(!outgoing.parked);
                    outgoing.parked = true;
                    outgoing.batch = Some(batch);
                    true
                }
            }
        });
        self.parked = !self.written.is_empty();
        self.parked
    }

    /// Whether nothing is left to hand over.
    pub fn is_empty(&self) -> bool {
        self.written.is_empty()
    }

    /// Batches that have arrived.
    pub fn arrived(&self) -> usize {
        self.mailboxes.boxes[usize::from(self.me)].0.len()
    }

    /// The oldest batch in this shard's own mailbox.
    pub fn receive(&mut self) -> Option<Box<Batch>> {
        self.mailboxes.boxes[usize::from(self.me)].0.pop()
    }

    /// Takes an emptied batch back for reuse.
    pub fn recycle(&mut self, mut batch: Box<Batch>) {
        let bytes = batch.capacity();
        let fits = bytes <= 4 * SPARE_BUFFER_BYTES && self.spare_bytes + bytes <= self.spare_bytes_max;
        if fits && self.spares.len() < SPARE_BATCHES {
            batch.letters.clear();
            batch.bodies.clear();
            self.spare_bytes += bytes;
            self.spares.push(batch);
        }
    }

    /// Gives back the memory that a jam needed.
    pub fn tidy(&mut self) {
        trim(&mut self.paused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PARKED_BYTES_MAX;

    fn post_with_room_for_one() -> (Post, Post) {
        let wakers = [(); 2].map(|()| Waker::new().unwrap());
        let mailboxes = Mailboxes::with_capacity(wakers.into_iter(), 1);
        (Post::new(Arc::clone(&mailboxes), 0, PARKED_BYTES_MAX), Post::new(mailboxes, 1, PARKED_BYTES_MAX))
    }

    fn place() -> Slot {
        Slot::from_word(1 << 36).unwrap()
    }

    fn ack(sequence: u64) -> Letter {
        Letter::Ack { user: UserId(1), place: place(), sequence: Sequence(sequence) }
    }

    fn sequences(batch: &Batch) -> Vec<u64> {
        let sequence = |letter: &Letter| match letter {
            Letter::Ack { sequence, .. } => sequence.0,
            other => panic!("{other:?}"),
        };
        batch.letters.iter().map(sequence).collect()
    }

    #[test]
    fn a_full_mailbox_parks_the_batch_and_loses_nothing() {
        let (mut writer, mut reader) = post_with_room_for_one();
        let mut resumed = Vec::new();
        writer.write(1, ack(1));
        assert!(!writer.dispatch(&mut resumed));
        writer.write(1, ack(2));
        assert!(writer.dispatch(&mut resumed), "no room for a second batch");
        writer.write(1, ack(3));
        assert_eq!(writer.mailbox_full, 1);
        assert_eq!(sequences(&reader.receive().unwrap()), [1]);
        assert!(!writer.dispatch(&mut resumed));
        assert_eq!(sequences(&reader.receive().unwrap()), [2, 3], "in order, and together");
        assert!(reader.receive().is_none());
    }

    #[test]
    fn a_crowded_destination_pauses_its_writers_until_the_batch_goes() {
        let (mut writer, mut reader) = post_with_room_for_one();
        let mut resumed = Vec::new();
        writer.write(1, ack(1));
        writer.dispatch(&mut resumed);
        let body = vec![7; PARKED_BYTES_MAX];
        writer.write_body(1, &body, |body| Letter::Deliver {
            slot: place(),
            sequence: Sequence(1),
            from: UserId(1),
            id: MessageId(1),
            body,
        });
        assert!(!writer.is_crowded(1), "a batch that was not tried yet is not parked");
        assert!(writer.dispatch(&mut resumed));
        assert!(writer.is_crowded(1) && !writer.is_crowded(0));
        writer.pause(1, place());
        reader.receive();
        writer.dispatch(&mut resumed);
        assert_eq!(resumed, [place()]);
        assert!(!writer.is_crowded(1));
        let batch = reader.receive().unwrap();
        let Letter::Deliver { body: span, .. } = batch.letters[0] else { panic!("not a delivery") };
        assert_eq!(batch.body(span), body);
    }

    #[test]
    fn spare_batches_are_bounded_in_number_size_and_sum() {
        let (mut post, _) = post_with_room_for_one();
        post.spare_bytes_max = 100_000;
        for len in [4 * SPARE_BUFFER_BYTES + 1, 50_000, 40_000, 20_000] {
            post.recycle(Box::new(Batch { letters: Vec::new(), bodies: Vec::with_capacity(len) }));
        }
        assert_eq!((post.spares.len(), post.spare_bytes), (2, 90_000));
        for _ in 0..2 * SPARE_BATCHES {
            post.recycle(Box::default());
        }
        assert_eq!(post.spares.len(), SPARE_BATCHES);
        for to in [0, 1] {
            post.write(to, ack(1));
        }
        assert_eq!((post.spares.len(), post.spare_bytes), (SPARE_BATCHES - 2, 90_000));
    }
}
