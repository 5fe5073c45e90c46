//! Segment by segment, against a peer that the test plays.

mod anything;
mod closing;

use std::net::SocketAddrV4;
use std::time::Duration;

use throng_reactor::{Nanos, Slot};

use super::{Cause, Notice, Stack};
use crate::addresses::Addresses;
use crate::conn::NOT_BUSY;
use crate::limits::{ACK_DELAY, MSS, MSS_DEFAULT, RETRIES, RTO_FIRST, RTO_MIN, SYN_RETRIES};
use crate::segment::{self, Checksum, Fill, Flags, Header, Seq};

/// The first wait for an acknowledgement when a round trip took no time, and a tick of the timers.
const RTO: Duration = RTO_MIN.saturating_add(Duration::from_millis(1));

const SYN: Flags = Flags::SYN;
const ACK: Flags = Flags::ACK;
const FIN: Flags = Flags(Flags::FIN.0 | Flags::ACK.0);
const RST: Flags = Flags::RST;
const PUSH: Flags = Flags(Flags::PSH.0 | Flags::ACK.0);

fn server() -> SocketAddrV4 {
    "198.18.0.1:7400".parse().unwrap()
}

/// A stack with one connection, and the peer that the test plays.
struct Play {
    stack: Stack,
    now: Nanos,
    slot: Slot,
    /// What the peer would send next.
    seq: Seq,
    /// What the peer acknowledges.
    ack: Seq,
    window: u16,
    out: Vec<(Header, Vec<u8>)>,
}

impl Play {
    /// A SYN is out.
    fn connecting() -> Play {
        let mut stack = Stack::new(3, Addresses::new([198, 18, 0, 2].into(), 1), 99, Nanos(0));
        let slot = stack.connect(server(), Nanos(0)).unwrap();
        let mut play = Play {
            stack,
            now: Nanos(0),
            slot,
            seq: Seq(u32::MAX - 5),
            ack: Seq(0),
            window: 60_000,
            out: Vec::new(),
        };
        play.output();
        let (header, _) = play.sent();
        assert_eq!((header.flags, header.mss), (SYN, Some(MSS)));
        play.ack = header.seq.plus(1);
        play
    }

    /// The connection stands, and nothing is owed.
    fn open() -> Play {
        let mut play = Play::connecting();
        play.say(SYN.with(ACK), b"");
        play.seq = play.seq.plus(1);
        assert_eq!(play.notices(), [Notice::Connected]);
        let (header, _) = play.sent();
        assert_eq!((header.flags, header.seq, header.ack), (ACK, play.ack, play.seq));
        assert!(play.is_idle());
        play
    }

    /// The peer sends this as the next in order.
    fn say(&mut self, flags: Flags, payload: &[u8]) -> Option<Vec<u8>> {
        self.say_at(self.seq, flags, payload)
    }

    fn say_at(&mut self, seq: Seq, flags: Flags, payload: &[u8]) -> Option<Vec<u8>> {
        let to = self.stack.local(self.slot).unwrap();
        let header = Header { from: server(), to, seq, ack: self.ack, flags, window: self.window, mss: None };
        self.deliver(&header, payload)
    }

    fn deliver(&mut self, header: &Header, payload: &[u8]) -> Option<Vec<u8>> {
        let mut packet = [0; 2000];
        let len = segment::write(header, [payload, b""], Fill::Whole, &mut packet);
        let brought = self.stack.input(&packet[..len], Checksum::Verify, self.now);
        self.output();
        brought.map(|(slot, part)| {
            assert_eq!(slot, self.slot);
            packet[part].to_vec()
        })
    }

    fn output(&mut self) {
        let out = &mut self.out;
        self.stack.output(self.now, |header, payload| out.push((*header, payload.concat())));
    }

    /// Time passes, and what is due happens.
    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.stack.expire_acks(self.now);
        self.stack.expire(self.now);
        self.output();
    }

    /// The one segment that went out since the last look.
    fn sent(&mut self) -> (Header, Vec<u8>) {
        assert_eq!(self.out.len(), 1, "{:?}", self.out);
        self.out.remove(0)
    }

    fn silent(&self) {
        assert!(self.out.is_empty(), "{:?}", self.out);
    }

    fn notices(&mut self) -> Vec<Notice> {
        std::iter::from_fn(|| self.stack.next_notice(usize::MAX)).map(|(_, notice)| notice).collect()
    }

    fn is_idle(&self) -> bool {
        self.stack.conns.get(self.slot).is_some_and(|conn| conn.busy == NOT_BUSY)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stack.send(self.slot, bytes.to_vec());
        self.output();
    }
}

#[test]
fn an_idle_connection_needs_no_more_than_its_24_bytes() {
    let mut play = Play::open();
    play.send(b"hello");
    assert_eq!(play.notices(), [Notice::Sent(b"hello".to_vec(), true)]);
    let (header, bytes) = play.sent();
    assert_eq!((header.flags, &bytes[..]), (PUSH, &b"hello"[..]));
    assert!(!play.is_idle());
    play.ack = play.ack.plus(5);
    play.say(ACK, b"");
    play.silent();
    assert!(play.is_idle());
}

#[test]
fn an_acknowledgement_waits_for_an_answer_that_carries_it() {
    let mut play = Play::open();
    assert_eq!(play.say(PUSH, b"hi").unwrap(), b"hi");
    play.silent();
    play.seq = play.seq.plus(2);
    play.send(b"hi yourself");
    assert_eq!(play.sent().0.ack, play.seq);
    play.pass(ACK_DELAY);
    play.silent();
}

#[test]
fn an_acknowledgement_that_finds_no_answer_goes_alone() {
    let mut play = Play::open();
    play.say(PUSH, b"hi");
    play.pass(ACK_DELAY - Duration::from_millis(1));
    play.silent();
    play.pass(Duration::from_millis(1));
    let (header, bytes) = play.sent();
    assert_eq!((header.flags, header.ack, bytes.len()), (ACK, play.seq.plus(2), 0));
}

#[test]
fn every_second_full_segment_is_acknowledged_at_once() {
    let mut play = Play::open();
    let full = [7; MSS as usize];
    play.say(ACK, &full);
    play.silent();
    play.seq = play.seq.plus(u32::from(MSS));
    play.say(ACK, &full);
    assert_eq!(play.sent().0.ack, play.seq.plus(u32::from(MSS)));
}

#[test]
fn what_is_not_acknowledged_is_sent_again_with_growing_pauses_until_the_end() {
    let mut play = Play::open();
    play.send(b"hello");
    let first = play.sent();
    let mut pause = RTO_MIN;
    for _ in 0..RETRIES {
        play.pass(pause - Duration::from_millis(1));
        play.silent();
        // The round trip of a tenth of a millisecond is doubled, too, up to three seconds.
        play.pass(Duration::from_millis(2) + pause / 1000);
        let again = play.sent();
        assert_eq!((again.0.seq, &again.1), (first.0.seq, &first.1));
        pause = (2 * pause).min(crate::limits::RTO_MAX);
    }
    play.notices();
    play.pass(2 * pause);
    assert_eq!(play.notices(), [Notice::Closed(Some(Cause::TimedOut))]);
    assert_eq!(play.stack.counters().retransmitted, u64::from(RETRIES));
}

#[test]
fn a_syn_without_an_answer_is_repeated_and_given_up() {
    let mut play = Play::connecting();
    let mut pause = RTO_FIRST;
    for _ in 0..SYN_RETRIES {
        play.pass(pause);
        assert_eq!(play.sent().0.flags, SYN);
        pause *= 2;
    }
    play.pass(pause);
    play.silent();
    assert_eq!(play.notices(), [Notice::Closed(Some(Cause::TimedOut))]);
}

#[test]
fn a_syn_is_refused_by_a_reset_that_acknowledges_it_and_by_no_other() {
    let mut play = Play::connecting();
    play.say(RST, b"");
    let right = std::mem::replace(&mut play.ack, Seq(12_345));
    play.say(RST.with(ACK), b"");
    play.silent();
    assert!(play.notices().is_empty());
    // A SYN-ACK of an earlier connection's.
    play.say(SYN.with(ACK), b"");
    let (header, _) = play.sent();
    assert_eq!((header.flags, header.seq), (RST, Seq(12_345)));
    play.ack = right;
    play.say(RST.with(ACK), b"");
    assert_eq!(play.notices(), [Notice::Closed(Some(Cause::Refused))]);
}

#[test]
fn a_repeated_syn_ack_is_acknowledged_again() {
    let mut play = Play::open();
    play.say_at(Seq(u32::MAX - 5), SYN.with(ACK), b"");
    assert_eq!(play.sent().0.ack, play.seq);
    assert!(play.notices().is_empty());
}

#[test]
fn segments_in_the_wrong_order_come_out_in_the_right_one() {
    let mut play = Play::open();
    let seq = play.seq;
    assert!(play.say_at(seq.plus(4), PUSH, b"efgh").is_none());
    assert_eq!(play.sent().0.ack, seq, "what is missing is asked for");
    assert!(play.say_at(seq.plus(6), PUSH, b"ghij").is_none());
    play.sent();
    assert_eq!(play.say_at(seq, PUSH, b"abcd").unwrap(), b"abcd");
    assert_eq!(play.sent().0.ack, seq.plus(10));
    assert_eq!(play.notices(), [Notice::Data(b"efghij".to_vec())]);
    play.output();
    assert_eq!(play.sent().0.window, u16::MAX, "they are taken");
    assert!(play.is_idle());
}

#[test]
fn what_came_before_is_acknowledged_and_not_handed_over_again() {
    let mut play = Play::open();
    let seq = play.seq;
    play.say(PUSH, b"abcd");
    play.silent();
    assert!(play.say_at(seq, PUSH, b"abcd").is_none());
    assert_eq!(play.sent().0.ack, seq.plus(4));
    assert_eq!(play.say_at(seq, PUSH, b"abcdef").unwrap(), b"ef", "only what is new");
}

#[test]
fn a_window_bounds_what_goes_out_and_its_opening_lets_the_rest_go() {
    let mut play = Play::open();
    play.window = 3;
    play.say(ACK, b"");
    play.send(b"abcdefgh");
    assert_eq!(play.sent().1, b"abc");
    play.ack = play.ack.plus(3);
    play.window = 0;
    play.say(ACK, b"");
    play.silent();
    play.pass(RTO);
    assert_eq!(play.sent().1, b"d", "one byte asks whether there is room");
    play.say(ACK, b"");
    for probes in 2..5 {
        let wait = RTO * (1 << (probes - 1));
        play.pass(wait - RTO / 2);
        play.silent();
        play.pass(RTO / 2);
        assert_eq!(play.sent().1, b"d", "ever more rarely");
        play.say(ACK, b"");
        assert_eq!(play.stack.counters().window_probes, probes);
    }
    play.window = 100;
    play.say(ACK, b"");
    assert_eq!(play.sent().1, b"defgh");
}

#[test]
fn three_repeated_acknowledgements_bring_the_lost_segment_at_once() {
    let mut play = Play::open();
    let bytes: Vec<u8> = (0..4 * u32::from(MSS_DEFAULT)).map(|at| (at / 7) as u8).collect();
    play.send(&bytes);
    let sent: Vec<Vec<u8>> = play.out.drain(..).map(|(_, bytes)| bytes).collect();
    assert_eq!(sent.concat(), bytes, "a peer that does not say more takes 536 bytes a segment");
    play.say(ACK, b"");
    play.say(ACK, b"");
    play.silent();
    play.say(ACK, b"");
    assert_eq!(play.sent().1, sent[0], "and no other");
    // The third was lost, too: what acknowledges the second says so.
    play.ack = play.ack.plus(2 * u32::from(MSS_DEFAULT));
    play.say(ACK, b"");
    assert_eq!(play.sent().1, sent[2]);
    play.ack = play.ack.plus(2 * u32::from(MSS_DEFAULT));
    play.say(ACK, b"");
    play.silent();
    assert!(play.is_idle());
    let counters = play.stack.counters();
    assert_eq!((counters.duplicate_acks, counters.fast_retransmits, counters.timeouts), (3, 1, 0));
}

#[test]
fn a_reset_counts_at_its_exact_place_alone() {
    let mut play = Play::open();
    play.say_at(play.seq.plus(1), RST, b"");
    assert_eq!(play.sent().0.flags, ACK, "a challenge");
    play.say_at(play.seq.plus(100_000), RST, b"");
    play.silent();
    assert!(play.notices().is_empty());
    play.say(RST, b"");
    play.silent();
    assert_eq!(play.notices(), [Notice::Closed(Some(Cause::Reset))]);
    assert_eq!(play.stack.counters().challenges, 1);
}

#[test]
fn a_syn_on_a_connection_that_stands_is_challenged() {
    let mut play = Play::open();
    play.say(SYN, b"");
    assert_eq!((play.sent().0.flags, play.stack.counters().challenges), (ACK, 1));
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_challenged() {
    let mut play = Play::open();
    let right = play.ack;
    play.ack = right.plus(1);
    assert!(play.say(PUSH, b"lies").is_none(), "nor is what it carries believed");
    assert_eq!(play.sent().0.seq, right);
    play.ack = right;
    assert_eq!(play.say(PUSH, b"true").unwrap(), b"true");
}

#[test]
fn segments_of_no_connection_are_answered_by_a_reset() {
    let mut play = Play::open();
    let to = "198.18.0.2:5000".parse().unwrap();
    let header = Header { from: server(), to, seq: Seq(7), ack: Seq(8), flags: PUSH, window: 1, mss: None };
    play.deliver(&header, b"who is there?");
    let (answer, _) = play.sent();
    assert_eq!((answer.from, answer.to, answer.flags, answer.seq), (to, server(), RST, Seq(8)));
    play.deliver(&Header { flags: FIN, ..header }, b"");
    assert_eq!(play.sent().0.flags, RST);
    play.deliver(&Header { flags: SYN, ..header }, b"");
    let (answer, _) = play.sent();
    assert_eq!((answer.flags, answer.ack), (RST.with(ACK), Seq(8)));
    play.deliver(&Header { flags: RST, ..header }, b"");
    play.silent();
    let elsewhere = Header { to: "198.18.0.9:5000".parse().unwrap(), ..header };
    play.deliver(&elsewhere, b"");
    play.silent();
    let counters = play.stack.counters();
    assert_eq!((counters.strays, counters.foreign, counters.resets_sent), (4, 1, 3));
}

#[test]
fn another_server_does_not_speak_for_ours() {
    let mut play = Play::open();
    let to = play.stack.local(play.slot).unwrap();
    let from = "198.18.0.1:7401".parse().unwrap();
    let header = Header { from, to, seq: play.seq, ack: play.ack, flags: PUSH, window: 1, mss: None };
    assert!(play.deliver(&header, b"boo").is_none());
    assert_eq!(play.sent().0.flags, RST);
}

#[test]
fn a_user_who_pauses_closes_the_window_and_gets_everything_later() {
    let mut play = Play::open();
    play.stack.pause(play.slot);
    assert!(play.say(PUSH, b"abc").is_none());
    play.seq = play.seq.plus(3);
    play.pass(ACK_DELAY);
    assert_eq!(play.sent().0.window, u16::MAX - 3);
    play.say(FIN, b"");
    play.sent();
    assert!(play.notices().is_empty());
    play.stack.resume(play.slot);
    assert_eq!(play.notices(), [Notice::Data(b"abc".to_vec()), Notice::Eof]);
    play.output();
    assert_eq!(play.sent().0.window, u16::MAX);
    play.stack.resume(play.slot);
    assert!(play.notices().is_empty(), "once is enough");
}

#[test]
fn what_had_come_before_a_pause_is_held_back_in_order() {
    let mut play = Play::open();
    let seq = play.seq;
    play.say_at(seq.plus(1), PUSH, b"b");
    play.say_at(seq.plus(2), PUSH, b"c");
    assert_eq!(play.say(PUSH, b"a").unwrap(), b"a");
    play.stack.pause(play.slot);
    assert!(play.notices().is_empty());
    assert!(play.say_at(seq.plus(3), PUSH, b"d").is_none());
    play.stack.resume(play.slot);
    assert!(play.say_at(seq.plus(4), PUSH.with(FIN), b"e").is_none(), "it stands behind the others");
    assert_eq!(play.stack.next_notice(2), Some((play.slot, Notice::Data(b"bc".to_vec()))));
    assert_eq!(play.stack.next_notice(0), None);
    assert_eq!(play.notices(), [Notice::Data(b"de".to_vec()), Notice::Eof]);
}

#[test]
fn nothing_overtakes_the_word_that_a_connection_stands() {
    let mut play = Play::connecting();
    play.say(SYN.with(ACK), b"");
    play.seq = play.seq.plus(1);
    assert!(play.say(PUSH, b"welcome").is_none());
    assert_eq!(play.notices(), [Notice::Connected, Notice::Data(b"welcome".to_vec())]);
}

#[test]
fn nothing_comes_after_the_end_of_a_stream() {
    let mut play = Play::open();
    let seq = play.seq;
    play.say_at(seq.plus(1), PUSH, b"behind the end");
    play.say(FIN, b"");
    assert_eq!(play.notices(), [Notice::Eof]);
    play.say_at(seq.plus(1), PUSH, b"again");
    assert!(play.notices().is_empty());
    assert!(play.is_idle());
}

#[test]
fn payload_that_found_no_buffer_comes_when_there_is_one() {
    let mut play = Play::open();
    let bytes = play.say(PUSH, b"ab").unwrap();
    play.stack.hold_back(play.slot, &bytes);
    play.seq = play.seq.plus(2);
    assert!(play.say(PUSH, b"cd").is_none());
    assert!(play.stack.has_notices() && play.stack.next_wants_room());
    assert_eq!(play.notices(), [Notice::Data(b"abcd".to_vec())]);
}

#[test]
fn a_send_on_a_connection_that_has_just_died_comes_back_before_its_end() {
    let mut play = Play::open();
    play.say(RST, b"");
    play.stack.send(play.slot, b"late".to_vec());
    assert_eq!(play.notices(), [Notice::Sent(b"late".to_vec(), false), Notice::Closed(Some(Cause::Reset))]);
}

#[test]
fn what_is_sent_before_the_connection_stands_is_not_done_before() {
    let mut play = Play::connecting();
    play.send(b"early");
    assert!(play.notices().is_empty());
    play.say(SYN.with(ACK), b"");
    assert_eq!(play.notices(), [Notice::Connected, Notice::Sent(b"early".to_vec(), true)]);
    assert_eq!(play.sent().1, b"early");
}

#[test]
fn a_send_beyond_the_buffer_is_done_when_there_is_room() {
    let mut play = Play::open();
    let bytes = vec![5; 100_000];
    play.send(&bytes);
    assert!(play.notices().is_empty());
    let mut acked = 0;
    while acked < bytes.len() {
        let sent: usize = play.out.drain(..).map(|(_, bytes)| bytes.len()).sum();
        assert!(sent > 0);
        acked += sent;
        play.ack = play.ack.plus(sent as u32);
        play.say(ACK, b"");
    }
    assert_eq!(play.notices(), [Notice::Sent(bytes, true)]);
    assert!(play.is_idle());
}

#[test]
fn a_send_that_had_no_room_comes_back_when_the_connection_dies() {
    let mut play = Play::open();
    play.send(&[5; 100_000]);
    play.say(RST, b"");
    assert_eq!(play.notices(), [Notice::Sent(vec![5; 100_000], false), Notice::Closed(Some(Cause::Reset))]);
}

#[test]
fn timers_do_not_pile_up_on_a_connection_that_is_never_idle() {
    let mut play = Play::open();
    for _ in 0..10_000 {
        play.send(b"x");
        play.notices();
        play.ack = play.ack.plus(1);
        play.say(ACK, b"");
        play.pass(Duration::from_millis(1));
    }
    assert!(play.stack.timers.len() <= 2 * RTO_MIN.as_millis() as usize, "{}", play.stack.timers.len());
}

#[test]
fn addresses_that_ran_out_are_an_error() {
    let mut stack = Stack::new(0, Addresses::new([198, 18, 0, 2].into(), 0), 1, Nanos(0));
    let error = stack.connect(server(), Nanos(0)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrNotAvailable);
    assert_eq!(stack.connections(), 0);
}
