//! Any sequence of segments, calls and pauses, and what must be true after each.

use std::time::Duration;

use proptest::prelude::*;
use throng_reactor::Close;

use super::{ACK, Play, SYN};
use crate::conn::{NOT_BUSY, State};
use crate::limits::{MSS, RETRIES};
use crate::segment::{Flags, Seq};
use crate::stack::Notice;

/// Something that may happen to a connection.
#[derive(Clone, Debug)]
enum Step {
    Segment { seq: i8, ack: i8, flags: u8, window: u16, payload: u8 },
    Send(u8),
    Shutdown,
    Close(bool),
    Pause,
    Resume,
    Pass(u16),
    Notices,
}

fn steps() -> impl Strategy<Value = Step> {
    let near = prop_oneof![Just(0i8), -3..6i8];
    prop_oneof![
        8 => (near.clone(), near, prop_oneof![Just(16u8), Just(24), Just(17), Just(18), Just(4), any::<u8>()], any::<u16>(), 0..9u8)
            .prop_map(|(seq, ack, flags, window, payload)| Step::Segment { seq, ack, flags, window, payload }),
        3 => (1..60u8).prop_map(Step::Send),
        1 => Just(Step::Shutdown),
        1 => any::<bool>().prop_map(Step::Close),
        1 => Just(Step::Pause),
        1 => Just(Step::Resume),
        2 => any::<u16>().prop_map(Step::Pass),
        2 => Just(Step::Notices),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes, in whatever order: nothing panics, what goes out is within the window and the stream, every notice has its
    /// place, and at the end nothing is left behind.
    #[test]
    fn no_sequence_of_segments_breaks_an_invariant(steps in proptest::collection::vec(steps(), 1..60)) {
        let mut play = Play::connecting();
        let (mut connected, mut eof, mut closed, mut closing) = (0, 0, 0, false);
        let (mut out, mut heard, mut begin) = (0, Vec::new(), None);
        for step in steps {
            let (seq, ack) = (play.seq, play.ack);
            match step {
                Step::Segment { seq: by, ack: ack_by, flags, window, payload } => {
                    // Near to what fits, so that much of it is believed.
                    let conn = play.stack.conns.get(play.slot).copied();
                    let base = conn.filter(|conn| conn.rcv_nxt != Seq(0)).map_or(seq, |conn| conn.rcv_nxt);
                    let at = Seq(base.0.wrapping_add_signed(i32::from(by)));
                    play.ack = Seq(conn.map_or(ack, |conn| conn.snd_una).0.wrapping_add_signed(i32::from(ack_by)));
                    play.window = window;
                    // Every byte tells its place in the stream.
                    let bytes: Vec<u8> = (0..u32::from(payload)).map(|by| at.plus(by).0 as u8).collect();
                    heard.extend(play.say_at(at, Flags(flags), &bytes).unwrap_or_default());
                }
                Step::Send(len) => {
                    let sends = play.stack.conns.get(play.slot).is_some_and(|conn| conn.state.has(State::SENDING));
                    if !sends {
                        play.send(&vec![1; usize::from(len) * 40]);
                    }
                }
                Step::Shutdown => play.stack.shutdown(play.slot),
                Step::Close(resets) => {
                    closing = true;
                    play.stack.close(play.slot, if resets { Close::Reset } else { Close::Now });
                }
                Step::Pause => play.stack.pause(play.slot),
                Step::Resume => play.stack.resume(play.slot),
                Step::Pass(millis) => play.pass(Duration::from_millis(u64::from(millis))),
                Step::Notices => {
                    for notice in play.notices() {
                        prop_assert_eq!(closed, 0, "{:?} after the end", notice);
                        prop_assert!(!closing || matches!(notice, Notice::Sent(..) | Notice::Closed(_)));
                        match notice {
                            Notice::Connected => connected += 1,
                            Notice::Eof => eof += 1,
                            Notice::Closed(cause) => {
                                closed += 1;
                                prop_assert!(!closing || cause.is_none());
                            }
                            Notice::Data(bytes) => {
                                prop_assert!(connected == 1 && eof == 0 && !bytes.is_empty());
                                heard.extend(bytes);
                            }
                            Notice::Sent(..) => {}
                        }
                    }
                }
            }
            play.output();
            let stands = play.stack.conns.get(play.slot).filter(|conn| !conn.state.has(State::SYN_SENT));
            begin = begin.or(stands.map(|conn| conn.rcv_nxt));
            for (at, byte) in heard.iter().enumerate() {
                prop_assert_eq!(Some(*byte), begin.map(|begin| begin.plus(at as u32).0 as u8), "byte {}", at);
            }
            if let Some(conn) = play.stack.conns.get(play.slot).filter(|conn| conn.busy != NOT_BUSY) {
                let busy = &play.stack.busy[conn.busy as usize];
                let sent = busy.snd_max.since(conn.snd_una);
                prop_assert!((0..=busy.data.len() as i32 + 1).contains(&sent), "{} of {}", sent, busy.data.len());
                prop_assert!((0..=sent).contains(&busy.snd_nxt.since(conn.snd_una)));
                prop_assert!(busy.held.ready.len() <= usize::from(u16::MAX));
                prop_assert!(sent == 0 || busy.deadline.is_some(), "what is on its way is waited for");
                prop_assert!(busy.deadline.is_none() || busy.timer.is_some());
            }
            for (header, payload) in &play.out[out..] {
                prop_assert!(payload.len() <= usize::from(MSS));
                prop_assert!(header.flags.has(Flags::RST) || header.flags.has(SYN) || header.flags.has(ACK));
            }
            out = play.out.len();
            prop_assert!(connected <= 1 && eof <= 1);
        }
        play.stack.close(play.slot, Close::Reset);
        play.notices();
        play.stack.reclaim();
        // A FIN that waits for its answer ends with the time for it.
        for _ in 0..2 * RETRIES {
            play.pass(Duration::from_secs(130));
            play.notices();
            play.stack.reclaim();
        }
        prop_assert_eq!((play.stack.connections(), play.stack.busy.len()), (0, 0));
    }
}
