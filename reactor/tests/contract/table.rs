//! Rule 10 with a table of descriptors that is really full.

use std::fs::File;

use throng_reactor::sys::files::private_table;
use throng_reactor::{AcceptPause, Close, Reactor};

use crate::harness::{Backend, Pair, Seen};

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
        let reset = pair.client.connect(pair.address).expect("it has the last descriptor");
        pair.until("the pause", |pair| pair.server.has(&Seen::Paused(AcceptPause::ProcessFiles)));
        pair.until("the reset", |pair| pair.client.closed(reset).flatten().is_some());
        files.push(File::open("/dev/null").expect("the client's descriptor"));
        // Long enough for several attempts.
        let before = pair.server.reactor.gauges();
        for _ in 0..200 {
            pair.step();
        }
        let after = pair.server.reactor.gauges();
        assert!(after.syscalls - before.syscalls < 4 * 200, "rule 10: nothing spins, {before:?} {after:?}");
        assert_eq!(pair.server.count(|seen| matches!(seen, Seen::Paused(_))), 1, "rule 10: said once");
        assert!(!pair.server.has(&Seen::Resumed), "rule 10: there is no room");
        // Somebody else in the process gives some back: nobody tells the reactor.
        files.truncate(files.len() - 2);
        pair.until("the return", |pair| pair.server.has(&Seen::Resumed));
        let _ = pair.connect();
        pair.close_all();
    });
}

pub(crate) fn a_closed_connection_makes_room_in_a_full_table<B: Backend>() {
    in_private_table(|| {
        let mut pair = Pair::<B>::new();
        let (_, first) = pair.connect();
        let (_, second) = pair.connect();
        let mut files = fill_table();
        files.pop();
        let reset = pair.client.connect(pair.address).expect("it has the last descriptor");
        pair.until("the pause", |pair| pair.server.has(&Seen::Paused(AcceptPause::ProcessFiles)));
        pair.until("the reset", |pair| pair.client.closed(reset).flatten().is_some());
        pair.server.close(first, Close::Now);
        pair.server.close(second, Close::Now);
        pair.until("the return", |pair| pair.server.has(&Seen::Resumed));
        let _ = pair.connect();
        pair.close_all();
    });
}
