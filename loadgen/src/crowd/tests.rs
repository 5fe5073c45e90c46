//! Users against scripted bytes.

use std::io;
use std::time::Duration;

use throng_wire::native::{Frame, Frames, MessageId, Receiver, Sequence, UserId, Welcome};

use super::*;
use crate::gate::Shared;
use crate::{Overrides, scenario};

const BEGINS: Nanos = Nanos(1_000_000_000);

/// Two partners, connected, at the beginning of a window that counts from the first instant.
struct Pair {
    crowd: Crowd,
    out: [Vec<u8>; 2],
}

fn slot(index: u64) -> Slot {
    Slot::from_word(1 << 36 | index).unwrap()
}

fn encoded(frames: &[Frame<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frames.iter().for_each(|frame| frame.encode(&mut bytes));
    bytes
}

fn welcome(outstanding_max: u16) -> Frame<'static> {
    Frame::Welcome(Welcome { version: 1, outstanding_max, frame_bytes_max: 65536, idle_timeout_ms: 300_000 })
}

impl Pair {
    fn connected(change: impl FnOnce(&mut Overrides)) -> Pair {
        let mut set =
            Overrides { connections: Some(2), warmup: Some(Duration::ZERO), ..Overrides::default() };
        change(&mut set);
        let plan = Arc::new(Plan::new(&scenario::load("pairs").unwrap(), &set).unwrap());
        let mut crowd = Crowd::new(Arc::clone(&plan), Share::new(&plan, 0, 1), None);
        for user in 0..2 {
            crowd.begin(user, Ok(slot(u64::from(user))), Nanos(0), Nanos(0));
            crowd.connected(user, Nanos(100));
        }
        let shared = Shared::new(vec![throng_reactor::Waker::new().unwrap()]);
        shared.arrive(&shared.traffic, BEGINS, Duration::ZERO);
        crowd.times = shared.times(&plan);
        Pair { crowd, out: Default::default() }
    }

    fn logged_in(change: impl FnOnce(&mut Overrides)) -> Pair {
        let mut pair = Pair::connected(change);
        pair.write(BEGINS);
        for user in 0..2 {
            pair.sent(user);
            pair.crowd.data(user, &encoded(&[welcome(64)]), Nanos(200));
        }
        assert_eq!((pair.crowd.ready, pair.crowd.pending), (2, 0));
        pair
    }

    /// Everything that users have to say, into `out`, replacing what was there.
    fn write(&mut self, now: Nanos) {
        self.out = Default::default();
        let mut cursor = 0;
        while let Some(user) = self.crowd.next_dirty(&mut cursor) {
            let mut buffer = Vec::new();
            if self.crowd.write(user, now, &mut buffer) {
                self.out[user as usize] = buffer;
            }
        }
    }

    fn sent(&mut self, user: u32) {
        self.crowd.sent(Some(user), Vec::new());
    }

    /// The frames that a user wrote last.
    fn frames(&self, user: usize) -> Vec<Frame<'_>> {
        let mut frames = Frames::new(&self.out[user], Receiver::Server, 1 << 16);
        std::iter::from_fn(|| frames.next().unwrap()).collect()
    }

    /// The ids of the messages that a user wrote last.
    fn ids(&self, user: usize) -> Vec<u64> {
        let id = |frame: &Frame<'_>| if let Frame::Send { id, .. } = frame { Some(id.0) } else { None };
        self.frames(user).iter().filter_map(id).collect()
    }
}

fn micros(after: u64) -> Nanos {
    BEGINS + Duration::from_micros(after)
}

#[test]
fn a_user_says_hello_and_is_ready_after_the_welcome_however_it_is_cut() {
    let mut pair = Pair::connected(|_| {});
    pair.write(Nanos(100));
    assert!(matches!(pair.frames(0)[..], [Frame::Hello(hello)] if hello.user == UserId(1)));
    assert!(matches!(pair.frames(1)[..], [Frame::Hello(hello)] if hello.user == UserId(2)));
    for byte in encoded(&[welcome(64)]) {
        assert_eq!(pair.crowd.state(0), State::LoggingIn);
        pair.crowd.data(0, &[byte], Nanos(200));
    }
    assert_eq!(pair.crowd.state(0), State::Ready);
    assert_eq!(pair.crowd.users[0].partial, NOBODY, "nothing is kept of it");
}

#[test]
fn what_comes_due_during_a_send_goes_out_together_with_its_planned_instants() {
    let mut pair = Pair::logged_in(|_| {});
    pair.crowd.due(0, micros(10), micros(11));
    pair.write(micros(12));
    assert_eq!(pair.ids(0), [1]);
    for after in [20, 30, 40] {
        pair.crowd.due(0, micros(after), micros(after));
        pair.write(micros(after));
        assert!(pair.out[0].is_empty(), "one send at a time");
    }
    pair.sent(0);
    pair.write(micros(50));
    assert_eq!(pair.ids(0), [2, 3, 4]);
    let bodies = pair.frames(0).into_iter().zip([20, 30, 40]).map(|(frame, after)| {
        let Frame::Send { id, body, .. } = frame else { panic!("{frame:?}") };
        let stamp = pair.crowd.bodies.read(1, id.0, body).expect("its own stamp");
        (stamp.planned, stamp.written) == (micros(after), micros(50))
    });
    assert!(bodies.into_iter().all(|good| good));
    assert_eq!(pair.crowd.distributions.send_lag.count(), 4);
}

#[test]
fn the_window_holds_back_and_an_outcome_lets_go() {
    let mut pair = Pair::connected(|_| {});
    pair.write(Nanos(100));
    for user in 0..2 {
        pair.sent(user);
        pair.crowd.data(user, &encoded(&[welcome(3)]), Nanos(200));
    }
    for after in 0..5 {
        pair.crowd.due(0, micros(after), micros(after));
    }
    pair.write(micros(10));
    assert_eq!((pair.ids(0), pair.crowd.waiting()), (vec![1, 2, 3], 2));
    pair.sent(0);
    pair.write(micros(11));
    assert!(pair.out[0].is_empty());
    let why = throng_wire::native::Refusal::RecipientBusy;
    pair.crowd.data(0, &encoded(&[Frame::Refused { id: MessageId(1), why }]), micros(12));
    pair.write(micros(13));
    assert_eq!((pair.ids(0), pair.crowd.waiting()), (vec![4], 1));
}

#[test]
fn deliveries_are_acknowledged_once_with_the_latest() {
    let mut pair = Pair::logged_in(|_| {});
    for after in [1, 2] {
        pair.crowd.due(0, micros(after), micros(after));
    }
    pair.write(micros(3));
    let bodies: Vec<Vec<u8>> = pair
        .frames(0)
        .iter()
        .map(|frame| if let Frame::Send { body, .. } = frame { body.to_vec() } else { panic!("{frame:?}") })
        .collect();
    let deliver = |n: u64| Frame::Deliver {
        sequence: Sequence(70 + n),
        from: UserId(1),
        id: MessageId(n),
        body: &bodies[n as usize - 1],
    };
    pair.crowd.data(1, &encoded(&[deliver(1), deliver(2)]), micros(9));
    pair.write(micros(10));
    assert!(matches!(pair.frames(1)[..], [Frame::Ack { sequence: Sequence(72) }]), "{:?}", pair.frames(1));
    let times = &pair.crowd.distributions;
    assert_eq!((times.planned_to_delivered.count(), times.written_to_delivered.count()), (2, 2));
    assert_eq!(pair.crowd.ledger.delivered.count, 2);
}

#[test]
fn a_closed_loop_answers_a_batch_of_outcomes_with_one_write() {
    let mut pair = Pair::logged_in(|set| set.closed_loop_window = Some(8));
    pair.crowd.kick_off(0, micros(1));
    pair.crowd.kick_off(1, micros(1));
    pair.write(micros(2));
    assert_eq!(pair.ids(0), (1..=8).collect::<Vec<_>>());
    assert!(pair.out[1].is_empty(), "the second of a pair only reads");
    pair.sent(0);
    let accepted: Vec<_> = (1..=5).map(|id| Frame::Accepted { id: MessageId(id) }).collect();
    pair.crowd.data(0, &encoded(&accepted), micros(3));
    pair.write(micros(4));
    assert_eq!(pair.ids(0), (9..=13).collect::<Vec<_>>());
    assert_eq!(pair.crowd.ledger.lost, 5, "the recipient has seen none of them");
}

#[test]
fn nothing_is_due_after_the_end() {
    let mut pair = Pair::logged_in(|set| set.closed_loop_window = Some(1));
    pair.crowd.kick_off(0, micros(1));
    pair.write(micros(2));
    pair.sent(0);
    let ends = pair.crowd.times.unwrap().ends;
    pair.crowd.data(0, &encoded(&[Frame::Accepted { id: MessageId(1) }]), ends);
    pair.write(ends);
    assert!(pair.out[0].is_empty() && pair.crowd.is_quiet());
}

#[test]
fn an_answer_that_comes_after_everybody_was_asked_to_leave_is_no_stray() {
    let mut pair = Pair::logged_in(|_| {});
    pair.crowd.due(0, micros(1), micros(1));
    pair.write(micros(1));
    pair.crowd.leave();
    pair.crowd.data(0, &encoded(&[Frame::Accepted { id: MessageId(1) }]), micros(2));
    let ledger = &pair.crowd.ledger;
    assert_eq!((ledger.unknown.count, ledger.accepted.count, ledger.strays), (1, 0, 0), "too late to count");
    assert_eq!(ledger.check(), Ok(()));
}

#[test]
fn what_finds_no_room_to_wait_was_attempted_and_is_unsent() {
    let mut pair = Pair::logged_in(|_| {});
    pair.crowd.queue = Queue::new(2);
    for after in 0..5 {
        pair.crowd.due(0, micros(after), micros(after));
    }
    let ledger = &pair.crowd.ledger;
    assert_eq!((ledger.planned, ledger.attempted, ledger.unsent), (5, 5, 3));
}

#[test]
fn a_lost_connection_writes_off_what_was_under_way_and_what_waits() {
    let mut pair = Pair::logged_in(|_| {});
    pair.crowd.due(0, micros(1), micros(1));
    pair.write(micros(1));
    pair.crowd.due(0, micros(2), micros(2));
    pair.crowd.heartbeat(0);
    pair.sent(0);
    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
    pair.crowd.closed(0, Some(&reset), micros(2));
    pair.crowd.due(0, micros(3), micros(3));
    let ledger = &pair.crowd.ledger;
    assert_eq!((ledger.unknown.count, ledger.unknown_connection_died, ledger.unsent), (1, 1, 2));
    assert_eq!(ledger.check(), Ok(()));
    assert_eq!(pair.crowd.counts.lost_by_cause.get("ECONNRESET"), Some(&1));
    assert_eq!((pair.crowd.heartbeats.due, pair.crowd.heartbeats.answered), (1, 0));
    assert!(pair.crowd.is_quiet() && pair.crowd.user_of(slot(0)).is_none());
}

#[test]
fn a_heartbeat_is_due_again_but_not_sent_again_before_its_answer() {
    let mut pair = Pair::logged_in(|_| {});
    pair.crowd.heartbeat(0);
    pair.write(micros(1));
    assert!(matches!(pair.frames(0)[..], [Frame::Ping { .. }]));
    pair.sent(0);
    pair.crowd.heartbeat(0);
    pair.write(micros(2));
    assert!(pair.out[0].is_empty());
    pair.crowd.data(0, &encoded(&[Frame::Pong { token: 1 }]), micros(3));
    assert_eq!((pair.crowd.heartbeats.due, pair.crowd.heartbeats.answered), (2, 1));
}

#[test]
fn the_servers_heartbeat_is_answered_with_its_token() {
    let mut pair = Pair::logged_in(|_| {});
    pair.crowd.data(0, &encoded(&[Frame::Ping { token: 77 }, Frame::Ping { token: 78 }]), micros(1));
    pair.write(micros(2));
    assert!(matches!(pair.frames(0)[..], [Frame::Pong { token: 77 }, Frame::Pong { token: 78 }]));
    assert!(pair.crowd.pongs.is_empty());
}

#[test]
fn a_server_that_says_no_is_quoted() {
    let mut pair = Pair::connected(|_| {});
    pair.write(Nanos(100));
    let code = throng_wire::native::ErrorCode::TooManyLogins;
    pair.crowd.data(0, &encoded(&[Frame::Error { code, text: "full" }]), Nanos(200));
    let why = format!("the server said: {code}");
    assert_eq!(pair.crowd.counts.failed_by_cause.get(&why), Some(&1));
    assert_eq!((pair.crowd.counts.refused_by_server, pair.crowd.pending), (1, 1));
    assert_eq!(pair.crowd.next_close(), Some(0));
}

#[test]
fn nonsense_ends_the_connection_and_says_what_came() {
    let mut pair = Pair::logged_in(|_| {});
    pair.crowd.data(0, b"HTTP/1.1 400 Bad Request\r\n\r\n", micros(1));
    let causes: Vec<&String> = pair.crowd.counts.lost_by_cause.keys().collect();
    assert!(causes.len() == 1 && causes[0].starts_with("the server sent a frame of"), "{causes:?}");
    assert_eq!(pair.crowd.next_close(), Some(0));
    pair.crowd.data(0, &encoded(&[welcome(64)]), micros(2));
    assert_eq!(pair.crowd.state(0), State::Closing, "what comes after it is ignored");
}

#[test]
fn a_refused_connect_is_counted_by_name() {
    let mut pair = Pair::connected(|_| {});
    for (user, errno) in [(2, 24), (3, 99), (4, 28), (5, 12), (6, 105)] {
        pair.crowd.begin(user, Err(io::Error::from_raw_os_error(errno)), Nanos(300), Nanos(300));
    }
    let counts = &pair.crowd.counts;
    assert_eq!((counts.descriptors_exhausted, counts.ports_exhausted, counts.failed()), (1, 1, 5));
    assert_eq!((counts.watches_exhausted, counts.memory_exhausted), (1, 2));
    let causes: Vec<&String> = counts.failed_by_cause.keys().collect();
    assert_eq!(causes, ["EADDRNOTAVAIL", "EMFILE", "ENOBUFS", "ENOMEM", "ENOSPC"]);
}

/// Every user connects, logs in, sends a heartbeat and answers the server's, 64 at a time.
fn idle_crowd(users: u32) -> Crowd {
    let set = Overrides { connections: Some(u64::from(users)), ..Overrides::default() };
    let plan = Arc::new(Plan::new(&scenario::load("idle").unwrap(), &set).unwrap());
    let mut crowd = Crowd::new(Arc::clone(&plan), Share::new(&plan, 0, 1), None);
    let answers = [welcome(64), Frame::Ping { token: 7 }, Frame::Pong { token: 1 }].map(|f| encoded(&[f]));
    for first in (0..users).step_by(64) {
        let some = first..users.min(first + 64);
        let now = |step: u64| Nanos(u64::from(first) * 100_000 + step * 1_000_000);
        for user in some.clone() {
            crowd.begin(user, Ok(slot(u64::from(user))), now(0), now(1));
            crowd.connected(user, now(3));
        }
        for (step, answer) in (0..).zip(&answers) {
            let mut sends = Vec::new();
            let mut cursor = 0;
            while let Some(user) = crowd.next_dirty(&mut cursor) {
                let mut buffer = crowd.buffer();
                match crowd.write(user, now(4 + step), &mut buffer) {
                    true => sends.push((user, buffer)),
                    false => crowd.give_back(buffer),
                }
            }
            sends.into_iter().for_each(|(user, buffer)| crowd.sent(Some(user), buffer));
            for user in some.clone() {
                crowd.data(user, answer, now(5 + step * 100));
                if step == 1 {
                    crowd.heartbeat(user);
                }
            }
        }
    }
    assert_eq!((crowd.ready, crowd.heartbeats.answered), (users, u64::from(users)));
    crowd
}

#[test]
fn an_idle_user_costs_less_than_128_bytes_with_everything_that_it_shares() {
    /// What the reactors keep of a connection: io-uring's record, the larger of the two.
    const REACTOR_BYTES: usize = 24;
    let users = 10_000;
    let bytes = idle_crowd(users).allocated_bytes();
    let per_user = bytes as f64 / f64::from(users) + REACTOR_BYTES as f64;
    assert!(per_user < 128.0, "{per_user:.1} bytes per user");
    let more = idle_crowd(2 * users).allocated_bytes() - bytes;
    assert!(more <= users as usize * 70, "{more} bytes for {users} users more");
}

#[test]
fn a_burst_of_large_sends_does_not_stay_in_memory() {
    let mut pair = Pair::logged_in(|_| {});
    for _ in 0..100 {
        pair.crowd.give_back(Vec::with_capacity(64 << 10));
    }
    assert!(pair.crowd.allocated_bytes() < 3 << 20, "{}", pair.crowd.allocated_bytes());
    (0..100).for_each(|_| drop(pair.crowd.buffer()));
    assert_eq!(pair.crowd.spare_bytes, 0);
}

#[test]
fn slots_beyond_the_users_take_no_memory_for_as_many_again() {
    let mut crowd = idle_crowd(10_000);
    let before = crowd.by_slot.capacity();
    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
    crowd.closed(0, Some(&reset), Nanos(1));
    crowd.users[0].attempts = 0;
    crowd.begin(0, Ok(slot(12_000)), Nanos(2), Nanos(3));
    assert_eq!((crowd.user_of(slot(12_000)), crowd.user_of(slot(11_999))), (Some(0), None));
    assert!(crowd.by_slot.capacity() <= before + 2 * 4096, "{}", crowd.by_slot.capacity());
}

#[test]
fn another_users_message_or_one_that_was_never_sent_is_a_stray() {
    let mut pair = Pair::logged_in(|_| {});
    let stray =
        |from, id| Frame::Deliver { sequence: Sequence(1), from: UserId(from), id: MessageId(id), body: b"" };
    pair.crowd.data(
        1,
        &encoded(&[stray(9, 1), stray(1, 1), stray(1, 0), Frame::Accepted { id: MessageId(1) }]),
        micros(1),
    );
    assert_eq!((pair.crowd.ledger.strays, pair.crowd.ledger.delivered.count), (4, 0));
}
