//! What a simulator cannot show: other threads, the clock, and a table of descriptors that is really full.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use throng_reactor::sys::files::private_table;
use throng_reactor::{AcceptPause, Close, Event, Reactor};

use crate::harness::{Backend, Pair, Seen, config};

pub(crate) fn a_wake_from_another_thread_is_never_lost<B: Backend>() {
    const ROUNDS: u32 = 2000;
    let mut reactor = B::new().reactor(&config());
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
    let mut reactor = B::new().reactor(&config());
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
    let mut reactor = B::new().reactor(&config());
    let mut events = Vec::new();
    for micros in [1, 50, 300, 999, 1_000, 2_500, 120, 10] {
        let until = reactor.now() + Duration::from_micros(micros);
        reactor.turn(Some(until), &mut events).expect("a turn works");
        assert!(events.is_empty(), "{events:?}");
        assert!(reactor.now() >= until, "rule 9: a wait of {micros} us ended early, with nothing");
    }
}

pub(crate) fn an_earlier_deadline_replaces_a_later_one<B: Backend>() {
    let mut reactor = B::new().reactor(&config());
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

/// Runs a test in a thread whose table of descriptors is its own.
fn in_private_table(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        private_table(&[]).expect("a table of its own");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Opens files until the table is full.
fn fill_table() -> Vec<File> {
    let mut files = Vec::new();
    loop {
        match File::open("/dev/null") {
            Ok(file) => files.push(file),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(24), "EMFILE: {error}");
                return files;
            }
        }
    }
}

pub(crate) fn a_full_table_of_descriptors_pauses_accepting<B: Backend>() {
    in_private_table(|| {
        let mut pair = Pair::<B>::new();
        let _ = pair.connect();
        let mut files = fill_table();
        assert!(pair.client.connect(pair.address).is_err(), "nor is there one for connecting");
        files.pop();
        let waiting = pair.client.connect(pair.address).expect("it has the last descriptor");
        pair.until("the pause", |pair| pair.server.has(&Seen::Paused(AcceptPause::ProcessFiles)));
        // Long enough for several attempts.
        let before = pair.server.reactor.gauges();
        for _ in 0..200 {
            pair.step();
        }
        let after = pair.server.reactor.gauges();
        assert!(after.syscalls - before.syscalls < 4 * 200, "rule 10: nothing spins, {before:?} {after:?}");
        assert_eq!(pair.server.count(|seen| matches!(seen, Seen::Paused(_))), 1, "rule 10: said once");
        // Somebody else in the process gives one back: nobody tells the reactor.
        files.pop();
        pair.until("the client", |pair| pair.server.count(|seen| matches!(seen, Seen::Accepted(_))) == 2);
        assert!(pair.server.has(&Seen::Resumed) && pair.client.has(&Seen::Connected(waiting)));
        pair.close_all();
    });
}

pub(crate) fn a_closed_connection_makes_room_in_a_full_table<B: Backend>() {
    in_private_table(|| {
        let mut pair = Pair::<B>::new();
        let (_, first) = pair.connect();
        let mut files = fill_table();
        files.pop();
        pair.client.connect(pair.address).expect("it has the last descriptor");
        pair.until("the pause", |pair| pair.server.has(&Seen::Paused(AcceptPause::ProcessFiles)));
        pair.server.close(first, Close::Now);
        pair.until("the client", |pair| pair.server.count(|seen| matches!(seen, Seen::Accepted(_))) == 2);
        pair.close_all();
    });
}
