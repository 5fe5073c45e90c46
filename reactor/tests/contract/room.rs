//! Rule 10: a reactor that is full, alone and among others.

use throng_reactor::{AcceptPause, Close, Config, Reactor, Slot};

use crate::harness::{Backend, Pair, Seen, config};

/// Clients that connect one after another, at most, until a certain server of two had one: 2^-200 is never.
const TRIES: usize = 200;

fn pauses<B: Backend>(pair: &Pair<B>) -> usize {
    pair.server.count(|seen| matches!(seen, Seen::Paused(_)))
}

/// One client more, at whichever server.
fn connect_somewhere<B: Backend>(pair: &mut Pair<B>) -> Slot {
    let before: usize = pair.accepted().iter().sum();
    let slot = pair.client.connect(pair.address).expect("the client has room");
    pair.until("one more", |pair| pair.accepted().iter().sum::<usize>() > before);
    pair.until("Connected", |pair| pair.client.has(&Seen::Connected(slot)));
    slot
}

/// Lets clients connect until `is_so`.
fn connect_until<B: Backend>(pair: &mut Pair<B>, is_so: impl Fn(&Pair<B>) -> bool) {
    for _ in 0..TRIES {
        if is_so(pair) {
            return;
        }
        connect_somewhere(pair);
        pair.settle();
    }
    panic!("{TRIES} clients were not enough: {:?} accepted", pair.accepted());
}

pub(crate) fn a_full_reactor_alone_refuses_and_returns_when_it_has_room<B: Backend>() {
    let mut pair = Pair::<B>::with(&Config { connections_max: 2, ..config() });
    let (first, second) = (pair.connect(), pair.connect());
    for round in 1..=2 {
        // The first may still be taken into the backlog, and is reset then; it does not hang.
        let late = pair.client.connect(pair.address).expect("the client has room");
        pair.until("the end of the third", |pair| pair.client.closed(late).flatten().is_some());
        assert!(pair.server.has(&Seen::Paused(AcceptPause::Connections)));
        let refused = pair.client.connect(pair.address).expect("the client has room");
        pair.until("the refusal", |pair| pair.client.closed(refused).flatten().is_some());
        assert!(!pair.client.has(&Seen::Connected(refused)), "rule 10: refused at once");
        pair.settle();
        assert_eq!(pair.accepted()[0], 1 + round, "rule 10: no more than connections_max");
        assert_eq!(pauses(&pair), round, "rule 10: said once");
        let error = pair.server.reactor.connect(None, pair.address).expect_err("there is no room");
        assert_eq!(error.raw_os_error(), Some(24), "EMFILE: {error}");
        pair.server.close(if round == 1 { first.1 } else { second.1 }, Close::Now);
        pair.until("the return", |pair| {
            pair.server.count(|seen| *seen == Seen::Resumed) == round && pair.server.closed(first.1).is_some()
        });
        let (client, server) = pair.connect();
        pair.client.send(client, b"back again".to_vec());
        pair.until("the bytes", |pair| pair.server.received(server) == b"back again");
    }
    pair.close_all();
}

pub(crate) fn a_full_reactor_gives_its_clients_to_another_of_its_group<B: Backend>() {
    let mut pair = Pair::<B>::with(&Config { connections_max: 2, ..config() }).with_another();
    connect_until(&mut pair, |pair| pauses(pair) == 1);
    let clients: Vec<Slot> = (0..50).map(|_| connect_somewhere(&mut pair)).collect();
    assert_eq!(pair.accepted()[0], 2, "rule 10: no more than connections_max");
    assert!(clients.iter().all(|slot| pair.client.closed(*slot).is_none()), "rule 10: nobody is lost");
    let of_full = pair.server.log.iter().find_map(|seen| match seen {
        Seen::Accepted(slot) => Some(*slot),
        _ => None,
    });
    pair.server.close(of_full.expect("it accepted two"), Close::Now);
    pair.until("the return", |pair| pair.server.has(&Seen::Resumed));
    connect_until(&mut pair, |pair| pair.accepted()[0] == 3);
    pair.settle();
    assert_eq!(pauses(&pair), 2, "rule 10: full again");
    pair.close_all();
}

pub(crate) fn who_waits_at_a_full_reactor_goes_to_another_of_its_group<B: Backend>() {
    B::where_clients_migrate(|| {
        let mut pair = Pair::<B>::with(&Config { connections_max: 1, ..config() }).with_another();
        // The servers get no turn: everybody waits in a backlog.
        let clients: Vec<Slot> =
            (0..40).map(|_| pair.client.connect(pair.address).expect("the client has room")).collect();
        for _ in 0..20 {
            pair.client.turn();
            pair.backend.advance();
        }
        pair.until("all", |pair| pair.accepted().iter().sum::<usize>() == clients.len());
        pair.settle();
        assert_eq!(pair.accepted(), [1, clients.len() - 1]);
        for slot in clients {
            assert!(
                pair.client.has(&Seen::Connected(slot)) && pair.client.closed(slot).is_none(),
                "{slot:?}"
            );
        }
        pair.close_all();
    });
}
