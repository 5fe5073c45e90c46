//! Rules 1 and 4 to 8: how connections begin and end, and what becomes of their sends.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};

use throng_reactor::{Close, Reactor};

use crate::harness::{Backend, Pair, Seen, pattern};

/// More than the buffers of two sockets ever hold.
const MORE_THAN_FITS: usize = 32 << 20;

pub(crate) fn a_connection_begins_on_both_sides_and_ends_with_one_closed<B: Backend>() {
    let mut pair = Pair::<B>::new();
    let (client, server) = pair.connect();
    assert_eq!(pair.client.reactor.gauges().connections, 1);
    pair.client.close(client, Close::Now);
    pair.until("Eof", |pair| pair.server.has(&Seen::Eof(server)));
    pair.close((client, server));
    pair.settle();
    assert_eq!(pair.client.log, [Seen::Connected(client), Seen::Closed(client, None)]);
    assert_eq!(pair.server.log, [Seen::Accepted(server), Seen::Eof(server), Seen::Closed(server, None)]);
    pair.close_all();
}

pub(crate) fn a_client_comes_with_the_number_of_its_listener<B: Backend>() {
    let mut pair = Pair::<B>::new();
    let first = pair.address;
    let second = pair.server.reactor.listen(B::address()).expect("a server may listen at two addresses");
    for (address, number) in [(second, 1), (first, 0), (second, 1)] {
        pair.address = address;
        let (_, server) = pair.connect();
        assert_eq!(pair.server.listeners[&server], number);
    }
    pair.close_all();
}

pub(crate) fn a_refused_connect_is_closed_without_connected<B: Backend>() {
    let mut pair = Pair::<B>::new();
    pair.server.reactor.stop_listening();
    pair.settle();
    match pair.client.connect(pair.address) {
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
        Ok(slot) => {
            pair.until("the refusal", |pair| pair.client.closed(slot).is_some());
            assert_eq!(pair.client.log, [Seen::Closed(slot, Some(ErrorKind::ConnectionRefused))]);
        }
    }
    pair.close_all();
}

pub(crate) fn an_index_is_not_reused_before_its_closed_was_seen<B: Backend>() {
    let mut pair = Pair::<B>::new();
    let (first, at_server) = pair.connect();
    pair.client.close(first, Close::Now);
    let second = pair.client.connect(pair.address).expect("a connect begins");
    assert_ne!(second.index(), first.index(), "the user still keeps its own state under the index");
    pair.server.close(at_server, Close::Now);
    pair.until("both", |pair| {
        let is_there = pair.client.has(&Seen::Connected(second)) && pair.accepted()[0] == 2;
        pair.client.closed(first).is_some() && is_there
    });
    pair.close_all();
}

pub(crate) fn an_index_is_not_reused_while_its_last_batch_is_handled<B: Backend>() {
    let mut pair = Pair::<B>::new();
    let (first, at_server) = pair.connect();
    pair.close((first, at_server));
    // A user that connects while it handles an earlier event of the batch has not come to Closed yet.
    let second = pair.client.connect(pair.address).expect("a connect begins");
    assert_ne!(second.index(), first.index(), "rule 1: the user may not have seen Closed");
    pair.settle();
    let third = pair.client.connect(pair.address).expect("a connect begins");
    assert_eq!(third.index(), first.index(), "indices are reused, so that tables stay dense");
    pair.settle(); // the server accepts it, and so can close it
    pair.close_all();
}

pub(crate) fn a_stale_slot_takes_no_calls<B: Backend>() {
    let mut pair = Pair::<B>::new();
    let (stale, at_server) = pair.connect();
    pair.client.close(stale, Close::Now);
    pair.server.close(at_server, Close::Now);
    // Closed by the user, and later by the reactor too, and later still with a successor in its place.
    for round in 0..3 {
        pair.client.reactor.send(stale, vec![round]);
        pair.client.reactor.pause(stale);
        pair.client.reactor.resume(stale);
        pair.client.reactor.shutdown(stale);
        pair.client.reactor.close(stale, Close::Reset);
        match round {
            0 => pair.until("Closed", |pair| pair.client.closed(stale).is_some()),
            1 => drop(pair.connect()),
            _ => pair.settle(),
        }
    }
    let (client, server) = pair.connect();
    pair.client.send(client, b"well".to_vec());
    pair.until("the bytes", |pair| pair.server.received(server) == b"well");
    assert_eq!(pair.client.count(|seen| matches!(seen, Seen::Closed(..))), 1);
    assert_eq!(pair.client.count(|seen| matches!(seen, Seen::Sent(..))), 1);
    pair.close_all();
}

pub(crate) fn closing_gives_back_the_send_that_the_peer_never_read<B: Backend>() {
    let mut pair = Pair::<B>::new();
    let (client, server) = pair.connect();
    pair.server.pause(server);
    let bytes = pattern(MORE_THAN_FITS);
    pair.client.send(client, bytes.clone());
    pair.settle();
    assert_eq!(pair.client.sent(client), None, "the send stays in flight");
    pair.client.close(client, Close::Now);
    pair.until("Closed", |pair| pair.client.closed(client).is_some());
    let (buffer, result) = pair.client.sent(client).expect("Sent comes before Closed");
    assert!(result.is_err() && buffer == bytes, "rule 6: the whole buffer comes back, with an error");
    assert_eq!(pair.client.closed(client), Some(None));
    pair.close_all();
}

pub(crate) fn a_reset_in_the_middle_of_a_send_gives_the_buffer_back<B: Backend>() {
    let mut pair = Pair::<B>::new();
    let (client, server) = pair.connect();
    pair.server.pause(server);
    let bytes = pattern(MORE_THAN_FITS);
    pair.client.send(client, bytes.clone());
    pair.settle();
    pair.server.close(server, Close::Reset);
    pair.until("Closed", |pair| pair.client.closed(client).is_some());
    let (buffer, result) = pair.client.sent(client).expect("Sent comes before Closed");
    assert!(result.is_err() && buffer == bytes, "rule 7: the whole buffer comes back, with an error");
    assert!(pair.client.closed(client).flatten().is_some(), "rule 7: Closed names the error");
    pair.close_all();
}

pub(crate) fn a_reset_ends_an_idle_connection_with_an_error<B: Backend>() {
    let mut pair = Pair::<B>::new();
    let (client, server) = pair.connect();
    pair.client.close(client, Close::Reset);
    pair.until("both ends", |pair| {
        pair.client.closed(client).is_some() && pair.server.closed(server).is_some()
    });
    assert_eq!(pair.client.closed(client), Some(None));
    assert_eq!(pair.server.closed(server), Some(Some(ErrorKind::ConnectionReset)));
    pair.close_all();
}

pub(crate) fn a_reset_ends_a_connection_after_its_eof<B: Backend>() {
    let mut pair = Pair::<B>::new();
    let (client, server) = pair.connect();
    pair.client.reactor.shutdown(client);
    pair.until("Eof", |pair| pair.server.has(&Seen::Eof(server)));
    pair.client.close(client, Close::Reset);
    pair.until("the error", |pair| pair.server.closed(server).is_some());
    assert!(pair.server.closed(server).flatten().is_some(), "rule 7: it did not end by itself");
    pair.close_all();
}

pub(crate) fn a_close_delivers_what_the_kernel_took<B: Backend>() {
    let mut pair = Pair::<B>::new();
    let (client, server) = pair.connect();
    pair.client.send(client, b"last words".to_vec());
    pair.until("Sent", |pair| pair.client.sent(client).is_some());
    pair.client.close(client, Close::Now);
    pair.until("Eof", |pair| pair.server.has(&Seen::Eof(server)));
    assert_eq!(pair.server.received(server), b"last words");
    pair.close_all();
}

pub(crate) fn a_connection_may_be_closed_right_after_accept<B: Backend>() {
    let mut pair = Pair::<B>::new();
    let client = pair.client.connect(pair.address).expect("a connect begins");
    for _ in 0..1000 {
        pair.server.turn();
        if let Some(Seen::Accepted(slot)) = pair.server.log.first().cloned() {
            pair.server.close(slot, Close::Now);
            break;
        }
        pair.client.turn();
        pair.backend.advance();
    }
    pair.until("the end", |pair| pair.client.has(&Seen::Eof(client)) || pair.client.closed(client).is_some());
    pair.close_all();
}

pub(crate) fn a_connect_may_be_closed_before_its_outcome<B: Backend>() {
    let mut pair = Pair::<B>::new();
    let slot = pair.client.connect(pair.address).expect("a connect begins");
    pair.client.close(slot, Close::Now);
    pair.until("Closed", |pair| pair.client.closed(slot).is_some());
    pair.settle();
    assert_eq!(pair.client.log, [Seen::Closed(slot, None)], "rule 6: no Connected after close");
    pair.close_all();
}

pub(crate) fn a_second_send_in_flight_is_a_mistake<B: Backend>() {
    let mut pair = Pair::<B>::new();
    let (client, server) = pair.connect();
    pair.server.pause(server);
    pair.client.send(client, pattern(MORE_THAN_FITS));
    let again = catch_unwind(AssertUnwindSafe(|| pair.client.reactor.send(client, b"again".to_vec())));
    if cfg!(debug_assertions) {
        assert!(again.is_err(), "rule 4: debug builds panic");
    } else {
        pair.until("Closed", |pair| pair.client.closed(client).is_some());
        assert!(pair.client.sent(client).is_some_and(|(_, result)| result.is_err()));
        assert!(pair.client.closed(client).flatten().is_some(), "rule 4: closed with an error");
    }
}
