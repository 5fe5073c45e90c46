//! Rules 9, 11 and 12: waits, batches and buffers.

use throng_reactor::{Close, Config, Reactor, Slot};

use crate::harness::{Backend, Pair, Seen, config, pattern};

pub(crate) fn a_greedy_connection_does_not_starve_another<B: Backend>() {
    let mut pair = Pair::<B>::with(&Config { recv_buffers: 8, recv_buffer_bytes: 256, ..config() });
    let (greedy, greedy_at_server) = pair.connect();
    let (modest, modest_at_server) = pair.connect();
    pair.client.send(greedy, pattern(1 << 20));
    pair.until("the flood", |pair| !pair.server.received(greedy_at_server).is_empty());
    pair.client.send(modest, b"me too".to_vec());
    // The checker counts the buffers per batch; here, the flood must not be over before the other is heard.
    pair.until("the modest one", |pair| !pair.server.received(modest_at_server).is_empty());
    assert!(pair.server.received(greedy_at_server).len() < 1 << 20, "rule 11: it had to wait for all of it");
    pair.close_all();
}

pub(crate) fn those_who_wait_for_a_buffer_get_one_in_order<B: Backend>() {
    const BUFFERS: usize = 4;
    let mut pair = Pair::<B>::with(&Config { recv_buffers: BUFFERS as u16, ..config() });
    pair.server.hoards = true;
    let slots: Vec<(Slot, Slot)> = (0..3 * BUFFERS).map(|_| pair.connect()).collect();
    for (i, (client, _)) in slots.iter().enumerate() {
        pair.client.send(*client, vec![i as u8; 10]);
        pair.settle();
        let expected = BUFFERS.min(i + 1);
        assert_eq!(pair.server.hoard.len(), expected, "rule 12: one buffer each, while they last");
    }
    assert!(pair.server.reactor.gauges().recv_starved > 0, "the shortage is counted");
    for (returned, (_, server)) in slots.iter().enumerate() {
        assert_eq!(pair.server.hoard.len(), BUFFERS.min(slots.len() - returned));
        let (of, lease) = pair.server.hoard.remove(0);
        assert_eq!((of, &*lease), (*server, &[returned as u8; 10][..]), "rule 12: in order");
        drop(lease);
        pair.settle();
    }
    pair.close_all();
}

pub(crate) fn a_send_that_waits_for_room_is_counted_and_others_are_not<B: Backend>() {
    let mut pair = Pair::<B>::new();
    let (client, server) = pair.connect();
    for round in 1..=20 {
        pair.client.send(client, vec![0; 1000]);
        pair.until("a send that fits", |pair| pair.server.received(server).len() == round * 1000);
        pair.settle();
    }
    assert_eq!(pair.client.reactor.gauges().short_sends, 0);
    pair.server.pause(server);
    pair.client.send(client, vec![0; 8 << 20]);
    pair.settle();
    pair.server.resume(server);
    pair.until("the rest", |pair| pair.server.received(server).len() == 20_000 + (8 << 20));
    pair.until("its Sent", |pair| pair.client.count(|seen| matches!(seen, Seen::Sent(..))) == 21);
    assert_eq!(pair.client.reactor.gauges().short_sends, 1);
    pair.close_all();
}

pub(crate) fn stopping_to_listen_keeps_the_connections<B: Backend>() {
    let mut pair = Pair::<B>::new();
    let (client, server) = pair.connect();
    pair.server.reactor.stop_listening();
    pair.client.send(client, b"still here".to_vec());
    pair.until("the bytes", |pair| pair.server.received(server) == b"still here");
    if let Ok(slot) = pair.client.connect(pair.address) {
        pair.until("the refusal", |pair| pair.client.closed(slot).is_some());
        assert!(!pair.client.has(&Seen::Connected(slot)), "nobody listens");
    }
    pair.close_all();
}

pub(crate) fn many_wakes_before_a_wait_are_one<B: Backend>() {
    let mut pair = Pair::<B>::new();
    pair.settle();
    for round in 1..4 {
        for _ in 0..5 {
            pair.server.reactor.waker().wake();
        }
        pair.settle();
        assert_eq!(pair.server.log, vec![Seen::Wake; round], "rule 9: many as one, and none lost");
    }
}

pub(crate) fn a_deadline_in_the_past_does_not_wait<B: Backend>() {
    let mut pair = Pair::<B>::new();
    pair.settle();
    let mut events = Vec::new();
    let now = pair.server.reactor.now();
    pair.server.reactor.turn(Some(now), &mut events).expect("a turn works");
    assert!(events.is_empty());
    // Endless waits end too when a call has left something to say.
    let (client, _) = pair.connect();
    pair.client.close(client, Close::Now);
    for _ in 0..100 {
        pair.client.reactor.turn(None, &mut events).expect("a turn works");
        if !events.is_empty() {
            return;
        }
        pair.backend.advance();
    }
    panic!("rule 9: no Closed in 100 turns");
}

pub(crate) fn two_thousand_connections_leave_nothing_behind<B: Backend>() {
    const CONNECTIONS: usize = 2000;
    let mut pair = Pair::<B>::with(&Config { recv_buffers: 64, recv_buffer_bytes: 512, ..config() });
    pair.server.echoes = true;
    let mut slots = Vec::new();
    for i in 0..CONNECTIONS {
        slots.push(pair.client.connect(pair.address).expect("a connect begins"));
        if i % 100 == 99 {
            pair.step(); // the backlog of this machine may be small
        }
    }
    pair.until("all connections", |pair| {
        pair.client.count(|seen| matches!(seen, Seen::Connected(_))) == CONNECTIONS
            && pair.server.count(|seen| matches!(seen, Seen::Accepted(_))) == CONNECTIONS
    });
    for (i, slot) in slots.iter().enumerate() {
        pair.client.send(*slot, (i as u64).to_be_bytes().to_vec());
    }
    pair.until("all answers", |pair| {
        pair.client.count(|seen| matches!(seen, Seen::Data(..))) >= CONNECTIONS
            && pair.client.count(|seen| matches!(seen, Seen::Sent(..))) == CONNECTIONS
            && pair.server.count(|seen| matches!(seen, Seen::Sent(..))) == CONNECTIONS
    });
    let mut answers = std::collections::HashMap::new();
    for seen in &pair.client.log {
        if let Seen::Data(slot, bytes) = seen {
            answers.entry(*slot).or_insert_with(Vec::new).extend_from_slice(bytes);
        }
    }
    for (i, slot) in slots.iter().enumerate() {
        assert_eq!(answers[slot], (i as u64).to_be_bytes(), "each its own");
    }
    // Half end by the client, half by the server; the other side finds out, and closes too.
    for (i, slot) in slots.iter().enumerate().filter(|(i, _)| i % 2 == 0) {
        pair.client.close(*slot, if i % 4 == 0 { Close::Now } else { Close::Reset });
    }
    pair.settle();
    pair.close_all();
    assert_eq!(pair.client.count(|seen| matches!(seen, Seen::Closed(..))), CONNECTIONS);
    assert_eq!(pair.server.count(|seen| matches!(seen, Seen::Closed(..))), CONNECTIONS);
    // Every buffer of the pool can be leased again.
    pair.server.echoes = false;
    pair.server.hoards = true;
    for _ in 0..64 {
        let (client, _) = pair.connect();
        pair.client.send(client, vec![1]);
    }
    pair.until("64 leases at once", |pair| pair.server.hoard.len() == 64);
    pair.server.hoard.clear();
    pair.close_all();
}
