//! The simulator keeps the contract under its own faults, and is the same every time.
//!
//! Clients send bytes that follow from their number, two reactors on one address echo them, and everybody checks.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use throng_reactor::sim::{Faults, Sim, World};
use throng_reactor::{AcceptPause, Close, Config, Event, Nanos, Reactor, Slot, SlotMap};

const STREAM_BYTES: usize = 3000;
const STEPS_MAX: usize = 200_000;

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn small() -> Config {
    Config { recv_buffers: 4, recv_buffer_bytes: 256, ..Config::default() }
}

/// One turn; what it handed out.
fn turn(sim: &mut Sim) -> Vec<Event> {
    let mut events = Vec::new();
    sim.turn(None, &mut events).expect("the simulator does not fail");
    events
}

/// Turns of all `sims` until nothing will ever happen again: all events, each with the number of its reactor.
fn run(world: &World, sims: &mut [&mut Sim]) -> Vec<(usize, Event)> {
    let mut all = Vec::new();
    for _ in 0..STEPS_MAX {
        for (number, sim) in sims.iter_mut().enumerate() {
            all.extend(turn(sim).into_iter().map(|event| (number, event)));
        }
        if !world.advance() {
            return all;
        }
    }
    panic!("the world does not come to rest");
}

/// One end of an echo.
#[derive(Default)]
struct Talk {
    outbox: Vec<u8>,
    sending: bool,
    eof: bool,
    /// A client's number and how many echoed bytes it has checked.
    client: Option<usize>,
    checked: usize,
}

fn byte(client: usize, at: usize) -> u8 {
    (client.wrapping_mul(131) ^ at.wrapping_mul(0x9e37_79b1) >> 7) as u8
}

/// A reactor whose connections echo, or check an echo.
struct Node {
    sim: Sim,
    talks: SlotMap<Talk>,
    echoed: usize,
    failed: usize,
}

impl Node {
    fn new(world: &World) -> Node {
        Node { sim: world.reactor(&small()), talks: SlotMap::default(), echoed: 0, failed: 0 }
    }

    fn connect(&mut self, client: usize, target: SocketAddr) {
        let slot = self.sim.connect(None, target).expect("a connection");
        let outbox = (0..STREAM_BYTES).map(|at| byte(client, at)).collect();
        self.talks.insert(slot, Talk { outbox, client: Some(client), ..Talk::default() });
        if client % 2 == 1 {
            self.write(slot); // the rules do not ask a sender to wait for Connected
        }
    }

    fn turn(&mut self) {
        for event in turn(&mut self.sim) {
            match event {
                Event::Accepted { slot, .. } => {
                    self.talks.insert(slot, Talk::default());
                }
                Event::Connected { slot } => self.write(slot),
                Event::Data { slot, data } => {
                    let talk = self.talks.get_mut(slot).expect("a connection that lives");
                    match talk.client {
                        Some(client) => {
                            for &got in &*data {
                                assert_eq!(got, byte(client, talk.checked), "client {client}");
                                talk.checked += 1;
                            }
                        }
                        None => talk.outbox.extend_from_slice(&data),
                    }
                    self.write(slot);
                }
                Event::Eof { slot } => {
                    self.talks.get_mut(slot).expect("a connection that lives").eof = true;
                    self.write(slot);
                }
                Event::Sent { slot, result, .. } => {
                    self.talks.get_mut(slot).expect("a connection that lives").sending = false;
                    if result.is_ok() {
                        self.write(slot);
                    }
                }
                Event::Closed { slot, error } => {
                    let talk = self.talks.remove(slot).expect("a connection that lives");
                    self.failed += usize::from(error.is_some());
                    self.echoed += usize::from(talk.checked == STREAM_BYTES);
                }
                Event::AcceptPaused { .. } | Event::AcceptResumed | Event::Wake => {}
            }
        }
    }

    /// Sends up to 700 bytes of what is left; ends the connection when both sides are through.
    fn write(&mut self, slot: Slot) {
        let talk = self.talks.get_mut(slot).expect("a connection that lives");
        if talk.sending {
            return;
        }
        if !talk.outbox.is_empty() {
            let rest = talk.outbox.split_off(talk.outbox.len().min(700));
            let chunk = std::mem::replace(&mut talk.outbox, rest);
            talk.sending = true;
            self.sim.send(slot, chunk);
        } else if talk.eof {
            self.sim.close(slot, Close::Now);
        } else if talk.client.is_some() {
            self.sim.shutdown(slot);
        }
    }
}

/// Six clients of two servers: the world at its end, whole echoes, and connections that failed.
fn echo(seed: u64, faults: Faults) -> (World, usize, usize) {
    let world = World::new(seed, faults);
    world.keep_trace();
    let (mut one, mut two, mut users) = (Node::new(&world), Node::new(&world), Node::new(&world));
    let target = one.sim.listen(address("127.0.0.1:0")).expect("a listener");
    assert_eq!(two.sim.listen(target).expect("a second one on the same port"), target);
    for client in 0..6 {
        users.connect(client, target);
    }
    for _ in 0..STEPS_MAX {
        for node in [&mut one, &mut two, &mut users] {
            node.turn();
        }
        if !world.advance() {
            let open = [&one, &two, &users].map(|node| node.talks.len());
            assert_eq!((open, world.connections()), ([0; 3], 0), "everything closed");
            world.assert_at_rest();
            return (world, users.echoed, users.failed);
        }
    }
    panic!("the world does not come to rest");
}

#[test]
fn every_byte_comes_back_in_order_however_rough_the_network_is() {
    for seed in 0..200 {
        let (_, echoed, failed) = echo(seed, Faults::rough());
        assert_eq!((echoed, failed), (6, 0), "seed {seed}");
    }
}

#[test]
fn connections_that_are_reset_close_and_give_everything_back() {
    let mut resets = 0;
    for seed in 0..200 {
        let (_, echoed, failed) = echo(seed, Faults::hostile());
        assert!(echoed + failed >= 6, "seed {seed}: {echoed} echoed, {failed} failed");
        resets += failed;
    }
    assert!(resets > 50, "only {resets} resets: the fault does not happen");
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_gives_another() {
    let (first, ..) = echo(7, Faults::hostile());
    let (again, ..) = echo(7, Faults::hostile());
    let (other, ..) = echo(8, Faults::hostile());
    assert!(first.trace() == again.trace(), "a trace differs from its repetition");
    assert_eq!(first.trace_hash(), again.trace_hash());
    assert_ne!(first.trace_hash(), other.trace_hash());
    assert!(first.trace().lines().count() > 100);
}

#[test]
fn time_jumps_to_the_instant_until_which_a_reactor_waits() {
    let world = World::new(1, Faults::default());
    let mut sim = world.reactor(&small());
    let hour = Nanos(0) + Duration::from_secs(3600);
    let mut events = Vec::new();
    sim.turn(Some(hour), &mut events).expect("a turn");
    assert!(events.is_empty() && world.now() == Nanos(0));
    assert!(world.advance());
    assert_eq!(sim.now(), hour);
    assert!(!world.advance(), "the deadline counts once");
}

#[test]
fn a_wake_takes_no_time_and_comes_once() {
    let world = World::new(1, Faults::default());
    let mut sim = world.reactor(&small());
    assert!(!world.advance(), "nothing was asked for");
    sim.waker().wake();
    sim.waker().wake();
    assert!(world.advance());
    assert!(matches!(turn(&mut sim)[..], [Event::Wake]));
    assert!(!world.advance() && world.now() == Nanos(0));
}

/// A connection over a world without faults: client's slot, server's slot.
fn pair(world: &World, client: &mut Sim, server: &mut Sim) -> (Slot, Slot) {
    let target = server.listen(address("127.0.0.1:0")).expect("a listener");
    let near = client.connect(None, target).expect("a connection");
    let events = run(world, &mut [client, server]);
    let far = events.iter().find_map(|(_, event)| match event {
        Event::Accepted { slot, .. } => Some(*slot),
        _ => None,
    });
    assert!(events.iter().any(|(number, event)| *number == 0 && matches!(event, Event::Connected { .. })));
    (near, far.expect("it was accepted"))
}

#[test]
fn a_peer_that_never_reads_blocks_the_sender_until_it_does() {
    let world = World::new(1, Faults::default());
    let (mut client, mut server) = (world.reactor(&small()), world.reactor(&small()));
    let (near, far) = pair(&world, &mut client, &mut server);
    server.pause(far);
    client.send(near, vec![7; 1 << 20]);
    assert!(run(&world, &mut [&mut client, &mut server]).is_empty(), "64 KiB fit, the rest waits");
    assert_eq!(client.gauges().short_sends, 1);

    server.resume(far);
    let events = run(&world, &mut [&mut client, &mut server]);
    let received: usize = events
        .iter()
        .map(|(_, event)| if let Event::Data { data, .. } = event { data.len() } else { 0 })
        .sum();
    // Four leases are held in `events`, and no more are there: the pool is empty.
    assert_eq!(received, 4 * 256);
    drop(events);
    let mut total = received;
    let mut sent = false;
    for _ in 0..STEPS_MAX {
        for event in turn(&mut client).into_iter().chain(turn(&mut server)) {
            match event {
                Event::Data { data, .. } => total += data.len(),
                Event::Sent { result, buffer, .. } => sent = result.is_ok() && buffer.len() == 1 << 20,
                other => panic!("unexpected {other:?}"),
            }
        }
        if !world.advance() {
            break;
        }
    }
    assert_eq!((total, sent), (1 << 20, true));
    world.assert_at_rest();
}

#[test]
fn a_connect_without_a_listener_is_refused() {
    let world = World::new(1, Faults::default());
    let mut client = world.reactor(&small());
    let slot = client.connect(None, address("127.0.0.1:9")).expect("a slot");
    let events = run(&world, &mut [&mut client]);
    assert!(
        matches!(&events[..], [(0, Event::Closed { slot: closed, error: Some(error) })]
            if *closed == slot && error.kind() == io::ErrorKind::ConnectionRefused),
        "{events:?}"
    );
}

#[test]
fn clients_beyond_a_backlog_come_again_and_none_is_lost() {
    let world = World::new(1, Faults { backlog: 2, accept_pause: 300, ..Faults::default() });
    let mut client = world.reactor(&small());
    let mut server = world.reactor(&small());
    let target = server.listen(address("[::1]:0")).expect("a listener");
    for _ in 0..8 {
        client.connect(None, target).expect("a connection");
    }
    let (mut accepted, mut pauses) = (0, 0);
    for (_, event) in run(&world, &mut [&mut client, &mut server]) {
        match event {
            Event::Accepted { .. } => accepted += 1,
            Event::AcceptPaused { why } => {
                assert_eq!(why, AcceptPause::SystemFiles);
                pauses += 1;
            }
            Event::Closed { error, .. } => panic!("lost: {error:?}"),
            _ => {}
        }
    }
    assert_eq!(accepted, 8);
    assert!(pauses > 0 && server.gauges().accept_pauses == pauses);
    assert!(world.now() >= Nanos(0) + Duration::from_secs(1), "a lost SYN is repeated after a second");
}

#[test]
fn a_full_table_sends_clients_to_another_listener_or_away() {
    let mut lost = [0; 2];
    for (seed, servers) in (0..40).map(|seed| (seed, 1 + seed as usize % 2)) {
        let world = World::new(seed, Faults { full_table: 100, ..Faults::default() });
        let [mut client, mut full, mut other] = [(); 3].map(|()| world.reactor(&small()));
        let target = full.listen(address("127.0.0.1:0")).expect("a listener");
        if servers == 2 {
            other.listen(target).expect("one more in the group");
        }
        for _ in 0..20 {
            client.connect(None, target).expect("a connection");
        }
        let events = run(&world, &mut [&mut client, &mut full, &mut other]);
        let of = |what: fn(&Event) -> bool| events.iter().filter(|(_, event)| what(event)).count();
        let accepted = of(|event| matches!(event, Event::Accepted { .. }));
        let failed = of(|event| matches!(event, Event::Closed { error: Some(_), .. }));
        assert_eq!(accepted + failed, 20, "seed {seed}: nobody hangs");
        let pauses = of(|event| matches!(event, Event::AcceptPaused { why: AcceptPause::ProcessFiles }));
        assert_eq!(pauses as u64, full.gauges().accept_pauses + other.gauges().accept_pauses);
        lost[servers - 1] += failed;
    }
    assert!(0 < lost[1] && lost[1] < lost[0], "another of the group takes who would be lost: {lost:?}");
}

#[test]
fn a_pair_of_addresses_is_used_once() {
    let world = World::new(1, Faults::default());
    let mut sim = world.reactor(&small());
    let target = sim.listen(address("127.0.0.1:0")).expect("a listener");
    let source = Some(address("127.0.0.2:40000"));
    sim.connect(source, target).expect("the first");
    let error = sim.connect(source, target).expect_err("the second");
    assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
}

#[test]
fn the_death_of_a_reactor_closes_what_it_held() {
    let world = World::new(1, Faults::default());
    let (mut client, mut server) = (world.reactor(&small()), world.reactor(&small()));
    let (near, _) = pair(&world, &mut client, &mut server);
    drop(server);
    let events = run(&world, &mut [&mut client]);
    assert!(matches!(events[..], [(0, Event::Eof { .. })]), "{events:?}");
    client.send(near, vec![1]);
    let events = run(&world, &mut [&mut client]);
    assert!(matches!(
        &events[..],
        [(0, Event::Sent { result: Ok(()), .. }), (0, Event::Closed { error: Some(_), .. })]
    ));
    assert_eq!(world.connections(), 0);
}

#[test]
fn closing_gives_an_unfinished_send_back_before_closed() {
    for how in [Close::Now, Close::Reset] {
        let world = World::new(1, Faults::default());
        let (mut client, mut server) = (world.reactor(&small()), world.reactor(&small()));
        let (near, far) = pair(&world, &mut client, &mut server);
        server.pause(far);
        client.send(near, vec![7; 1 << 20]);
        client.close(near, how);
        client.send(near, vec![8]); // rule 8: dropped
        let events = turn(&mut client);
        let [Event::Sent { buffer, result: Err(_), .. }, Event::Closed { error: None, .. }] = &events[..]
        else {
            panic!("{events:?}");
        };
        assert_eq!(buffer.len(), 1 << 20);
        let events = run(&world, &mut [&mut server]);
        assert_eq!(
            events.len(),
            usize::from(how == Close::Reset),
            "paused, it sees RST and no FIN: {events:?}"
        );
    }
}

#[test]
fn a_connection_that_fails_at_once_was_connected_before() {
    let mut both = 0;
    for seed in 0..50 {
        let world = World::new(seed, Faults { reset: 1000, late_completion: 1000, ..Faults::default() });
        let (mut client, mut server) = (world.reactor(&small()), world.reactor(&small()));
        let target = server.listen(address("127.0.0.1:0")).expect("a listener");
        let slot = client.connect(None, target).expect("a connection");
        client.send(slot, vec![1]);
        let events = run(&world, &mut [&mut client, &mut server]);
        let mut own = events.iter().filter(|(number, _)| *number == 0).map(|(_, event)| event);
        let connected = own.any(|event| matches!(event, Event::Connected { .. }));
        let sent = own.any(|event| matches!(event, Event::Sent { result: Ok(()), .. }));
        both += usize::from(connected && sent);
    }
    assert_eq!(both, 50, "Connected, then Sent");
}

#[test]
#[should_panic(expected = "rule 4: a second send in flight")]
#[cfg(debug_assertions)]
fn a_second_send_in_flight_is_a_mistake() {
    let world = World::new(1, Faults::default());
    let (mut client, mut server) = (world.reactor(&small()), world.reactor(&small()));
    let (near, _) = pair(&world, &mut client, &mut server);
    client.send(near, vec![1]);
    client.send(near, vec![2]);
}
