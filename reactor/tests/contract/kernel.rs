//! What a simulator cannot show: other threads, and the clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use throng_reactor::{Config, Event, Reactor, SocketOptions};

use crate::harness::{Backend, Pair, Seen, config};

pub(crate) fn a_wake_from_another_thread_is_never_lost<B: Backend>() {
    const ROUNDS: u32 = 2000;
    let mut reactor = B::new().client(&config());
    let waker = reactor.waker().clone();
    let wanted = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&wanted);
    let other = std::thread::spawn(move || {
        for round in 1..=ROUNDS {
            while seen.load(Ordering::SeqCst) < round {
                std::hint::spin_loop();
            }
            // Now before the sleep, now during it.
            if round % 2 == 0 {
                std::thread::yield_now();
            }
            waker.wake();
        }
    });
    for round in 1..=ROUNDS {
        wanted.store(round, Ordering::SeqCst);
        let mut events = Vec::new();
        let far = reactor.now() + Duration::from_secs(10);
        reactor.turn(Some(far), &mut events).expect("a turn works");
        assert!(matches!(events[..], [Event::Wake]), "rule 9: round {round} brought {events:?}");
        assert!(reactor.now() < far, "rule 9: the deadline ended the wait, not the wake");
    }
    other.join().expect("the other thread does not panic");
}

pub(crate) fn a_wake_before_the_wait_ends_it<B: Backend>() {
    let mut reactor = B::new().client(&config());
    for round in 0..3 {
        reactor.waker().wake();
        let mut events = Vec::new();
        let far = reactor.now() + Duration::from_secs(10);
        reactor.turn(Some(far), &mut events).expect("a turn works");
        assert!(matches!(events[..], [Event::Wake]), "rule 9: round {round} brought {events:?}");
        assert!(reactor.now() < far, "rule 9: the deadline ended the wait, not the wake");
    }
}

pub(crate) fn a_wait_does_not_end_before_its_deadline<B: Backend>() {
    let mut reactor = B::new().client(&config());
    let mut events = Vec::new();
    for micros in [1, 50, 300, 999, 1_000, 2_500, 120, 10] {
        let until = reactor.now() + Duration::from_micros(micros);
        reactor.turn(Some(until), &mut events).expect("a turn works");
        assert!(events.is_empty(), "{events:?}");
        assert!(reactor.now() >= until, "rule 9: a wait of {micros} us ended early, with nothing");
    }
}

pub(crate) fn an_earlier_deadline_replaces_a_later_one<B: Backend>() {
    let mut reactor = B::new().client(&config());
    let mut events = Vec::new();
    let far = reactor.now() + Duration::from_secs(10);
    let waker = reactor.waker().clone();
    let other = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20)); // so that the wait has most likely begun
        waker.wake();
    });
    reactor.turn(Some(far), &mut events).expect("a turn works");
    other.join().expect("the other thread does not panic");
    let until = reactor.now() + Duration::from_micros(200);
    reactor.turn(Some(until), &mut events).expect("a turn works");
    assert!(matches!(events[..], [Event::Wake]), "{events:?}");
    assert!(
        (until..far).contains(&reactor.now()),
        "rule 9: the second wait ended at the first one's deadline"
    );
}

pub(crate) fn a_silent_client_is_kept_back_and_accepted_in_the_end<B: Backend>() {
    let mut pair = Pair::<B>::with(&Config {
        sockets: SocketOptions { defer_accept: Duration::from_secs(2), ..SocketOptions::default() },
        ..config()
    });
    let silent = pair.client.connect(pair.address).expect("a connect begins");
    pair.until("the client to stand", |pair| pair.client.has(&Seen::Connected(silent)));
    let speaks = pair.client.connect(pair.address).expect("a connect begins");
    pair.until("the client to stand", |pair| pair.client.has(&Seen::Connected(speaks)));
    assert_eq!(pair.accepted(), [0, 0], "rule 13: neither has sent anything");
    pair.client.send(speaks, b"hello".to_vec());
    pair.until("the bytes", |pair| pair.server.count(|seen| matches!(seen, Seen::Data(..))) == 1);
    assert_eq!(pair.accepted(), [1, 0], "rule 13: the other one is silent");
    pair.until("the silent one", |pair| pair.accepted() == [2, 0]);
    pair.close_all();
}
