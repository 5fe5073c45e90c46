//! What a connection needs while something is under way on it.

use std::collections::VecDeque;

use throng_reactor::Nanos;

use crate::limits::{HELD_SEGMENTS_MAX, WINDOW_FIRST};
use crate::segment::Seq;

/// Something is to be sent or acknowledged, or was received and not handed over.
#[derive(Debug)]
pub(crate) struct Busy {
    /// Bytes from the connection's `snd_una` on, those that were sent first.
    pub(crate) data: VecDeque<u8>,
    /// The next byte to be sent; goes back when something is to be sent again.
    pub(crate) snd_nxt: Seq,
    /// One past the last byte that was ever sent.
    pub(crate) snd_max: Seq,
    pub(crate) congestion: Congestion,
    /// The first segment that is not acknowledged is lost, and goes out again before anything else.
    pub(crate) repairs: bool,
    /// Attempts since the peer last said that it is there.
    pub(crate) retries: u8,
    /// How often the wait doubled: with each attempt since the peer last acknowledged something or had room.
    pub(crate) backoff: u8,
    /// A byte whose acknowledgement tells the round trip, and when it was sent.
    pub(crate) timed: Option<(Seq, Nanos)>,
    /// When what was sent is sent again, or the wait for the peer is over.
    pub(crate) deadline: Option<Nanos>,
    /// The instant of the timer in the wheel that counts; others of this connection are left over from what was before.
    pub(crate) timer: Option<Nanos>,
    /// The user's buffer of a send that has no room yet; its bytes stand in `data`.
    pub(crate) owed: Option<Vec<u8>>,
    pub(crate) held: Held,
}

impl Busy {
    /// Nothing yet, on a connection whose next byte is `next`.
    pub(crate) fn new(data: VecDeque<u8>, next: Seq, mss: u16) -> Busy {
        Busy {
            data,
            snd_nxt: next,
            snd_max: next,
            congestion: Congestion::new(mss),
            repairs: false,
            retries: 0,
            backoff: 0,
            timed: None,
            deadline: None,
            timer: None,
            owed: None,
            held: Held::default(),
        }
    }
}

/// How much may be on its way (RFC 5681, with the partial acknowledgements of RFC 6582).
#[derive(Debug)]
pub(crate) struct Congestion {
    window: u32,
    threshold: u32,
    /// While a loss is repaired: what had been sent when it was noticed.
    recovers: Option<Seq>,
    /// After a timeout: what had been sent. Up to there the peer may say the same of what comes twice, which means no loss.
    repeats: Option<Seq>,
    duplicates: u8,
}

impl Congestion {
    fn new(mss: u16) -> Congestion {
        Congestion {
            window: WINDOW_FIRST * u32::from(mss),
            threshold: u32::MAX,
            recovers: None,
            repeats: None,
            duplicates: 0,
        }
    }

    /// Bytes that may be on their way.
    pub(crate) fn window(&self) -> u32 {
        self.window
    }

    /// `acked` bytes up to `ack` arrived. True: what follows them is lost, too, and is to be sent now.
    pub(crate) fn on_ack(&mut self, ack: Seq, acked: u32, mss: u16) -> bool {
        let mss = u32::from(mss);
        self.duplicates = 0;
        self.repeats.take_if(|until| until.is_before(ack));
        match self.recovers {
            Some(until) if ack.is_before(until) => {
                self.window = self.window.saturating_sub(acked).max(mss) + mss;
                return true;
            }
            Some(_) => {
                self.recovers = None;
                self.window = self.threshold;
            }
            None if self.window < self.threshold => self.window = self.window.saturating_add(acked.min(mss)),
            None => self.window = self.window.saturating_add((mss * mss / self.window).max(1)),
        }
        false
    }

    /// The peer said again what it had said. `on_way` bytes are not acknowledged. True: this means a loss, so the first of
    /// them is to be sent again.
    pub(crate) fn on_duplicate(&mut self, snd_max: Seq, on_way: u32, mss: u16) -> bool {
        let mss = u32::from(mss);
        if self.recovers.is_some() {
            self.window = self.window.saturating_add(mss); // a segment has left the network
            return false;
        }
        if self.repeats.is_some() {
            return false;
        }
        self.duplicates += 1;
        if self.duplicates < crate::limits::DUPLICATE_ACKS {
            return false;
        }
        self.threshold = (on_way / 2).max(2 * mss);
        self.window = self.threshold + u32::from(crate::limits::DUPLICATE_ACKS) * mss;
        self.recovers = Some(snd_max);
        true
    }

    /// Nothing was heard for too long of `on_way` bytes before `snd_max`.
    pub(crate) fn on_timeout(&mut self, snd_max: Seq, on_way: u32, mss: u16) {
        let mss = u32::from(mss);
        self.threshold = (on_way / 2).max(2 * mss);
        *self = Congestion {
            window: mss,
            threshold: self.threshold,
            recovers: None,
            repeats: Some(snd_max),
            duplicates: 0,
        };
    }
}

/// What was received and was not handed over: bytes for a user who paused or had to wait, and segments behind one that is missing.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// In order, and acknowledged.
    pub(crate) ready: VecDeque<u8>,
    /// In the order of their beginnings; none begins before another's end.
    later: Vec<(Seq, Vec<u8>)>,
}

impl Held {
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.later.is_empty()
    }

    /// Whether a segment before these is missing.
    pub(crate) fn has_gap(&self) -> bool {
        !self.later.is_empty()
    }

    /// Forgets what stands behind a gap: nothing comes after the end of a stream.
    pub(crate) fn forget_later(&mut self) {
        self.later.clear();
    }

    /// Keeps what came too early, without what is there already. False: there is no room for it.
    pub(crate) fn keep(&mut self, mut seq: Seq, mut bytes: &[u8]) -> bool {
        let mut at = 0;
        while let Some((begin, kept)) = self.later.get(at) {
            let end = begin.plus(kept.len() as u32);
            if !seq.is_before(end) {
                at += 1;
                continue;
            }
            let before = begin.since(seq);
            if before > 0 {
                let part = bytes.len().min(before as usize);
                if !self.insert(at, seq, &bytes[..part]) {
                    return false;
                }
                at += 1;
                if part == bytes.len() {
                    return true;
                }
            }
            // What overlaps is there already.
            let Some(rest) = bytes.get(end.since(seq) as usize..) else { return true };
            (seq, bytes) = (end, rest);
        }
        bytes.is_empty() || self.insert(at, seq, bytes)
    }

    fn insert(&mut self, at: usize, seq: Seq, bytes: &[u8]) -> bool {
        let fits = self.later.len() < HELD_SEGMENTS_MAX;
        if fits {
            self.later.insert(at, (seq, bytes.to_vec()));
        }
        fits
    }

    /// The bytes that follow `next`, now that everything before it is there.
    pub(crate) fn take(&mut self, next: Seq) -> Option<Vec<u8>> {
        while let Some((seq, bytes)) = self.later.first() {
            let passed = next.since(*seq);
            if passed < 0 {
                return None;
            }
            if passed as usize >= bytes.len() {
                self.later.remove(0); // all of it came otherwise
                continue;
            }
            let (_, mut bytes) = self.later.remove(0);
            bytes.drain(..passed as usize);
            return Some(bytes);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_window_grows_until_a_loss_and_halves() {
        let mut congestion = Congestion::new(1000);
        assert_eq!(congestion.window(), 10_000);
        assert!(!congestion.on_ack(Seq(1000), 1000, 1000));
        assert_eq!(congestion.window(), 11_000);
        assert!(!congestion.on_duplicate(Seq(20_000), 10_000, 1000));
        assert!(!congestion.on_duplicate(Seq(20_000), 10_000, 1000));
        assert!(congestion.on_duplicate(Seq(20_000), 10_000, 1000), "the third means a loss");
        assert_eq!(congestion.window(), 5000 + 3000);
        assert!(!congestion.on_duplicate(Seq(20_000), 10_000, 1000), "which is repaired already");
        assert!(congestion.on_ack(Seq(15_000), 5000, 1000), "an ack before its end shows the next loss");
        assert!(!congestion.on_ack(Seq(20_000), 5000, 1000));
        assert_eq!(congestion.window(), 5000);
        congestion.on_timeout(Seq(24_000), 4000, 1000);
        assert_eq!(congestion.window(), 1000);
    }

    #[test]
    fn after_a_timeout_duplicates_of_what_was_sent_before_mean_no_loss() {
        let mut congestion = Congestion::new(1000);
        congestion.on_timeout(Seq(24_000), 4000, 1000);
        let mut threefold = |una: u32| {
            let mut lost = false;
            for _ in 0..3 {
                lost |= congestion.on_duplicate(Seq(30_000), 2000, 1000);
            }
            (lost, congestion.on_ack(Seq(una + 1000), 1000, 1000))
        };
        assert_eq!(threefold(20_000), (false, false));
        assert_eq!(
            threefold(23_000),
            (false, false),
            "all before the timeout is there, and nothing behind it"
        );
        assert_eq!(threefold(24_000), (false, false));
        assert!(threefold(25_000).0, "what followed it may be lost as anything");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever overlaps how, the stream comes out as it was sent, from wherever it wraps.
        #[test]
        fn pieces_in_any_order_make_the_stream(
            begin in any::<u32>(),
            pieces in proptest::collection::vec((0..200usize, 1..40usize), 1..60),
        ) {
            let stream: Vec<u8> = (0..240).map(|at| at as u8).collect();
            let begin = Seq(begin);
            let mut held = Held::default();
            let mut there = vec![false; stream.len()];
            for &(at, len) in &pieces {
                if held.keep(begin.plus(at as u32), &stream[at..at + len]) {
                    there[at..at + len].fill(true);
                }
            }
            prop_assert!(held.later.len() <= HELD_SEGMENTS_MAX);
            let (mut out, mut next) = (Vec::new(), begin);
            while out.len() < stream.len() {
                match held.take(next) {
                    Some(bytes) => {
                        prop_assert!(!bytes.is_empty());
                        next = next.plus(bytes.len() as u32);
                        out.extend(bytes);
                    }
                    None => {
                        // Missing, or refused for want of room: comes by itself.
                        prop_assert!(!there[out.len()]);
                        out.push(stream[out.len()]);
                        next = next.plus(1);
                    }
                }
            }
            prop_assert_eq!(&out[..stream.len()], &stream[..]);
        }
    }
}
