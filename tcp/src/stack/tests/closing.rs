//! How connections end, by whomever.

use std::time::Duration;

use throng_reactor::Close;

use super::{ACK, FIN, PUSH, Play, RST, RTO};
use crate::limits::{FIN_TIMEOUT, ORPHAN_RETRIES};
use crate::stack::Notice;

#[test]
fn both_ends_close_one_after_the_other() {
    let mut play = Play::open();
    play.stack.close(play.slot, Close::Now);
    play.output();
    assert_eq!(play.sent().0.flags, FIN);
    play.ack = play.ack.plus(1);
    play.say(ACK, b"");
    assert!(play.notices().is_empty(), "the peer has not closed");
    play.say(FIN, b"");
    assert_eq!(play.sent().0.ack, play.seq.plus(1), "its FIN is acknowledged");
    assert_eq!(play.notices(), [Notice::Closed(None)]);
    // It did not hear that, and says it again.
    play.say(FIN, b"");
    assert_eq!(play.sent().0.flags, RST);
}

#[test]
fn both_ends_close_at_once() {
    let mut play = Play::open();
    play.stack.close(play.slot, Close::Now);
    play.output();
    play.sent();
    play.say(FIN, b"");
    assert_eq!(play.sent().0.flags, ACK);
    play.seq = play.seq.plus(1);
    play.ack = play.ack.plus(1);
    play.say(ACK, b"");
    play.silent();
    assert_eq!(play.notices(), [Notice::Closed(None)]);
}

#[test]
fn the_peer_closes_first() {
    let mut play = Play::open();
    play.say(PUSH.with(FIN), b"bye");
    assert_eq!(play.sent().0.ack, play.seq.plus(4));
    play.seq = play.seq.plus(4);
    assert_eq!(play.notices(), [Notice::Eof]);
    play.send(b"one more thing");
    assert_eq!(play.sent().1, b"one more thing");
    play.stack.close(play.slot, Close::Now);
    play.output();
    assert_eq!(play.sent().0.flags, FIN);
    play.ack = play.ack.plus(15);
    play.say(ACK, b"");
    let notices = play.notices();
    assert_eq!(notices.last(), Some(&Notice::Closed(None)), "{notices:?}");
}

#[test]
fn fin_stands_behind_the_data_and_both_are_sent_again() {
    let mut play = Play::open();
    play.stack.send(play.slot, b"last".to_vec());
    play.stack.shutdown(play.slot);
    play.output();
    let (header, bytes) = play.sent();
    assert_eq!((header.flags, &bytes[..]), (PUSH.with(FIN), &b"last"[..]));
    play.pass(RTO);
    assert_eq!(play.sent().0.flags, PUSH.with(FIN));
    play.ack = play.ack.plus(4);
    play.say(ACK, b"");
    play.pass(RTO);
    let (header, bytes) = play.sent();
    assert_eq!((header.flags, bytes.len(), header.seq), (FIN, 0, play.ack));
}

#[test]
fn a_peer_that_never_closes_is_not_waited_for_forever() {
    let mut play = Play::open();
    play.stack.close(play.slot, Close::Now);
    play.output();
    play.sent();
    play.ack = play.ack.plus(1);
    play.say(ACK, b"");
    play.pass(FIN_TIMEOUT);
    assert_eq!(play.sent().0.flags, RST.with(ACK));
    assert_eq!(play.notices(), [Notice::Closed(None)]);
}

#[test]
fn data_for_a_user_who_has_closed_is_answered_by_a_reset() {
    let mut play = Play::open();
    play.stack.close(play.slot, Close::Now);
    play.output();
    play.sent();
    play.say(PUSH, b"too late");
    assert_eq!(play.sent().0.flags, RST.with(ACK));
    assert_eq!(play.notices(), [Notice::Closed(None)]);
}

#[test]
fn a_closed_connection_does_not_wait_forever_for_a_peer_without_room() {
    let mut play = Play::open();
    play.window = 0;
    play.say(ACK, b"");
    play.send(b"never read");
    play.stack.close(play.slot, Close::Now);
    for _ in 0..=ORPHAN_RETRIES {
        play.pass(Duration::from_secs(130));
        play.out.clear();
        play.say(ACK, b"");
    }
    assert_eq!(play.notices(), [Notice::Sent(b"never read".to_vec(), true), Notice::Closed(None)]);
}

#[test]
fn whoever_closes_what_has_just_ended_hears_of_the_end_alone() {
    let mut play = Play::open();
    let seq = play.seq;
    play.say_at(seq.plus(1), PUSH, b"b");
    play.say(PUSH, b"a");
    play.say_at(seq.plus(2), RST, b"");
    play.stack.close(play.slot, Close::Now);
    assert_eq!(play.notices(), [Notice::Closed(None)], "no bytes, and no error");
}
