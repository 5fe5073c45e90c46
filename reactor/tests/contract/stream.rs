//! Rules 2, 3 and 5: bytes, their order and their end.

use throng_reactor::{Config, Reactor};

use crate::harness::{Backend, Pair, Seen, config, pattern};

pub(crate) fn a_mebibyte_arrives_whole_and_in_order_through_small_buffers<B: Backend>() {
    let mut pair = Pair::<B>::with(&Config { recv_buffers: 4, recv_buffer_bytes: 1500, ..config() });
    let (client, server) = pair.connect();
    let bytes = pattern(1 << 20);
    pair.client.send(client, bytes.clone());
    pair.until("a mebibyte", |pair| {
        pair.server.count(|seen| matches!(seen, Seen::Data(..))) * 1500 >= 1 << 20
            && pair.server.received(server).len() == 1 << 20
    });
    assert!(pair.server.received(server) == bytes, "rule 2: gaps, repeats or disorder");
    pair.until("Sent", |pair| pair.client.sent(client).is_some());
    let (buffer, result) = pair.client.sent(client).expect("it was awaited");
    assert!(buffer == bytes && result.is_ok(), "rule 4: the buffer comes back whole");
    pair.close_all();
}

pub(crate) fn streams_in_both_directions_do_not_disturb_each_other<B: Backend>() {
    let mut pair = Pair::<B>::new();
    let (client, server) = pair.connect();
    let (up, down) = (pattern(700_000), pattern(900_001));
    pair.client.send(client, up.clone());
    pair.server.send(server, down.clone());
    pair.until("both streams", |pair| {
        pair.server.received(server).len() >= up.len() && pair.client.received(client).len() >= down.len()
    });
    assert!(pair.server.received(server) == up && pair.client.received(client) == down);
    pair.close_all();
}

pub(crate) fn a_paused_connection_gives_nothing_until_it_is_resumed<B: Backend>() {
    let mut pair = Pair::<B>::new();
    let (client, server) = pair.connect();
    for round in 0..3 {
        // The checker panics on Data of a paused connection.
        pair.server.pause(server);
        pair.client.send(client, vec![round; 10_000]);
        pair.settle();
        pair.server.resume(server);
        let expected = 10_000 * (usize::from(round) + 1);
        pair.until("the bytes", |pair| pair.server.received(server).len() == expected);
        pair.until("Sent", |pair| {
            pair.client.count(|seen| matches!(seen, Seen::Sent(..))) == usize::from(round) + 1
        });
    }
    pair.server.pause(server);
    pair.server.resume(server);
    pair.client.send(client, vec![9]);
    pair.until("what comes after a short pause", |pair| pair.server.received(server).len() == 30_001);
    pair.close_all();
}

pub(crate) fn a_pause_in_the_middle_of_a_flood_holds<B: Backend>() {
    let mut pair = Pair::<B>::with(&Config { recv_buffer_bytes: 256, ..config() });
    let (client, server) = pair.connect();
    let bytes = pattern(100_000);
    pair.client.send(client, bytes.clone());
    for _ in 0..5 {
        let before = pair.server.received(server).len();
        pair.until("some of it", |pair| pair.server.received(server).len() > before);
        // More is in the kernel, and known to be. The checker panics on Data of a paused connection.
        pair.server.pause(server);
        pair.settle();
        pair.server.resume(server);
    }
    pair.until("the rest", |pair| pair.server.received(server).len() == bytes.len());
    assert!(pair.server.received(server) == bytes, "rule 2: gaps, repeats or disorder");
    pair.close_all();
}

pub(crate) fn an_eof_waits_while_paused<B: Backend>() {
    let mut pair = Pair::<B>::new();
    let (client, server) = pair.connect();
    pair.server.pause(server);
    pair.client.reactor.shutdown(client);
    pair.settle();
    pair.server.resume(server);
    pair.until("Eof", |pair| pair.server.has(&Seen::Eof(server)));
    pair.close_all();
}

pub(crate) fn each_half_closes_by_itself<B: Backend>() {
    let mut pair = Pair::<B>::new();
    let (client, server) = pair.connect();
    pair.client.send(client, b"question".to_vec());
    pair.client.reactor.shutdown(client);
    pair.until("the first half's end", |pair| pair.server.has(&Seen::Eof(server)));
    assert_eq!(pair.server.received(server), b"question");
    pair.server.send(server, b"answer".to_vec());
    pair.until("the answer", |pair| pair.client.received(client) == b"answer");
    pair.server.reactor.shutdown(server);
    pair.until("the second half's end", |pair| pair.client.has(&Seen::Eof(client)));
    pair.settle();
    assert_eq!(pair.server.count(|seen| *seen == Seen::Eof(server)), 1);
    assert_eq!(pair.client.count(|seen| *seen == Seen::Eof(client)), 1);
    assert_eq!(
        (pair.client.closed(client), pair.server.closed(server)),
        (None, None),
        "only close() ends it"
    );
    pair.close_all();
}

pub(crate) fn fin_follows_the_send_that_was_given_before<B: Backend>() {
    let mut pair = Pair::<B>::new();
    let (client, server) = pair.connect();
    pair.server.pause(server);
    let bytes = pattern(8 << 20);
    pair.client.send(client, bytes.clone());
    pair.client.reactor.shutdown(client);
    pair.settle();
    pair.server.resume(server);
    pair.until("Eof", |pair| pair.server.has(&Seen::Eof(server)));
    assert!(pair.server.received(server) == bytes, "rule 5: FIN came before the rest");
    assert!(pair.client.sent(client).is_some_and(|(_, result)| result.is_ok()));
    pair.close_all();
}

pub(crate) fn ipv6_works_like_ipv4<B: Backend>() {
    let mut pair = Pair::<B>::at(&config(), "[::1]:0".parse().expect("an address"));
    let (client, server) = pair.connect();
    pair.client.send(client, b"six".to_vec());
    pair.until("the bytes", |pair| pair.server.received(server) == b"six");
    let source = Some("[::1]:0".parse().expect("an address"));
    let from = pair.client.reactor.connect(source, pair.address);
    pair.client.reactor.close(from.expect("a source address of its own"), throng_reactor::Close::Now);
}
