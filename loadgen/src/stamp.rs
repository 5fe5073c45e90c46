//! What every message's body begins with, so that it can be recognised and timed without memory for it.
//!
//! ```text
//!  0                8                16               24               32
//!  |     check      |     index      |    planned     |    written     | pattern ...
//!  |      u64       |      u64       |   ns, u64      |   ns, u64      | the same for all messages of a plan
//! ```
//!
//! `check` mixes the plan, the sender and the other three words: a body that comes to the wrong person, from another run or
//! damaged is told from a good one. Instants are those of the sender's clock; sender and recipient are played by one thread.

use throng_reactor::Nanos;

/// Bytes of the stamp: the smallest payload.
pub const STAMP_BYTES: usize = 32;

/// Mixes all bits of a word into all others (the finaliser of splitmix64).
pub(crate) fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// The stamp of one message, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The message's number among its sender's, from 1.
    pub index: u64,
    /// When it was due.
    pub planned: Nanos,
    /// When it was written.
    pub written: Nanos,
}

/// Makes and checks the bodies of one plan.
#[derive(Debug)]
pub struct Bodies {
    key: u64,
    template: Vec<u8>,
}

impl Bodies {
    /// Bodies of `payload_bytes`, at least [`STAMP_BYTES`], for the plan whose seed is `seed`.
    pub fn new(seed: u64, payload_bytes: usize) -> Bodies {
        assert!(payload_bytes >= STAMP_BYTES, "the plan checked the size");
        let key = mix(seed ^ 0x7468_726f_6e67);
        let pattern = (0..).flat_map(|word: u64| mix(key.wrapping_add(word)).to_le_bytes());
        Bodies { key, template: pattern.take(payload_bytes).collect() }
    }

    /// Bytes of a body.
    pub fn bytes(&self) -> usize {
        self.template.len()
    }

    /// A keyed hash of a message's name, for sums that do not depend on the order.
    #[inline]
    pub fn hash(&self, sender: u64, index: u64) -> u64 {
        mix(self.key ^ mix(sender.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index))
    }

    fn check(&self, sender: u64, stamp: Stamp) -> u64 {
        mix(self.hash(sender, stamp.index) ^ stamp.planned.0.rotate_left(32) ^ stamp.written.0)
    }

    /// Appends the body of one message to `out`.
    #[inline]
    pub fn write(&self, sender: u64, stamp: Stamp, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.template);
        self.restamp(sender, stamp, &mut out[start..]);
    }

    /// Puts a stamp on a body made from the template.
    #[inline]
    pub(crate) fn restamp(&self, sender: u64, stamp: Stamp, body: &mut [u8]) {
        let words = [self.check(sender, stamp), stamp.index, stamp.planned.0, stamp.written.0];
        for (place, word) in body.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }

    /// A body without a stamp, to be stamped in place.
    pub(crate) fn template(&self) -> &[u8] {
        &self.template
    }

    /// Reads a body that `sender` wrote as its message `index`; `None` when it is another's, or not as it was written.
    #[inline]
    pub fn read(&self, sender: u64, index: u64, body: &[u8]) -> Option<Stamp> {
        if body.len() != self.template.len() || body[STAMP_BYTES..] != self.template[STAMP_BYTES..] {
            return None;
        }
        let word = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().expect("eight bytes"));
        let stamp = Stamp { index: word(8), planned: Nanos(word(16)), written: Nanos(word(24)) };
        (stamp.index == index && word(0) == self.check(sender, stamp)).then_some(stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bodies: &Bodies) -> (Stamp, Vec<u8>) {
        let stamp = Stamp { index: 7, planned: Nanos(11), written: Nanos(12) };
        let mut body = Vec::new();
        bodies.write(3, stamp, &mut body);
        (stamp, body)
    }

    #[test]
    fn a_body_is_read_as_it_was_written() {
        for bytes in [32, 33, 100, 4000] {
            let bodies = Bodies::new(1, bytes);
            let (stamp, body) = written(&bodies);
            assert_eq!(body.len(), bytes);
            assert_eq!(bodies.read(3, 7, &body), Some(stamp));
        }
    }

    #[test]
    fn a_body_of_another_sender_message_or_plan_is_refused() {
        let bodies = Bodies::new(1, 64);
        let (_, body) = written(&bodies);
        assert_eq!(bodies.read(4, 7, &body), None);
        assert_eq!(bodies.read(3, 8, &body), None);
        assert_eq!(Bodies::new(2, 64).read(3, 7, &body), None);
        assert_eq!(bodies.read(3, 7, &body[..63]), None);
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let bodies = Bodies::new(1, 64);
        let (_, body) = written(&bodies);
        for at in 0..64 {
            let mut changed = body.clone();
            changed[at] ^= 1;
            assert_eq!(bodies.read(3, 7, &changed), None, "byte {at}");
        }
    }
}
