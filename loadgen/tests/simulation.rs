//! The server and its users in one thread of a simulated network: the only place where both are seen together.
#![allow(clippy::unwrap_used)] // in tests a panic with its line is the message

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use throng_loadgen::gate;
use throng_loadgen::outcome::{Outcome, Record, Run};
use throng_loadgen::worker::{Step, Worker};
use throng_loadgen::{Overrides, Plan, PortRange, Protocol, Reconnect, Scenario, Sources, scenario};
use throng_reactor::sim::{Faults, Sim, World};
use throng_reactor::{Config, Reactor};
use throng_server::{Config as ServerConfig, Figures, Mailboxes, Progress, Shard, ShardFigures, Shared};
use throng_wire::tls::{self, Setup, Versions};

const SHARDS: usize = 3;
const WORKERS: usize = 2;

/// More steps than any of these runs takes; beyond it something goes in circles.
const STEPS_MAX: u64 = 5_000_000;

/// Steps in a row in which nothing happens: more than any nap takes.
const STILL_MAX: u64 = 1000;

struct Played {
    outcome: Outcome,
    server: ShardFigures,
    trace: String,
    hash: u64,
}

/// Plays a plan from the first connect to the end of the server's drain.
fn play(seed: u64, faults: Faults, scenario: &Scenario, overrides: &Overrides) -> Played {
    play_on(ServerConfig::default(), None, None, seed, faults, scenario, overrides)
}

/// As [`play`], on a server with these settings, whose shards sleep one after the other for so many steps each, and with users who
/// speak TLS if they have a setup for it.
fn play_on(
    config: ServerConfig,
    tls: Option<&Setup>,
    naps: Option<u64>,
    seed: u64,
    faults: Faults,
    scenario: &Scenario,
    overrides: &Overrides,
) -> Played {
    let plan = Arc::new(Plan::new(scenario, overrides).unwrap());
    let world = World::new(seed, faults);
    world.keep_trace();

    let sims: Vec<Sim> = (0..SHARDS)
        .map(|number| world.reactor(&Config { number: number as u16, ..Config::default() }))
        .collect();
    let wakers: Vec<_> = sims.iter().map(|sim| sim.waker().clone()).collect();
    let server = Shared::new(config, Mailboxes::new(wakers.into_iter()));
    let mut shards: Vec<Option<Shard<Sim>>> = Vec::new();
    let target: SocketAddr = "10.0.0.1:7400".parse().unwrap();
    for (me, sim) in sims.into_iter().enumerate() {
        let mut shard = Shard::new(me as u16, sim, Arc::clone(&server));
        shard.reactor().listen(target).unwrap();
        shards.push(Some(shard));
    }

    let sims: Vec<Sim> = (0..WORKERS).map(|_| world.reactor(&Config::default())).collect();
    let wakers: Vec<_> = sims.iter().map(|sim| sim.waker().clone()).collect();
    let shared = Arc::new(gate::Shared::new(wakers));
    let ports = PortRange { first: 10_000, last: 60_000 };
    let sources = Sources::plan(&[target], plan.connections, ports, None).unwrap();
    let mut workers: Vec<Option<Worker<Sim>>> = Vec::new();
    for (number, sim) in sims.into_iter().enumerate() {
        let worker = Worker::new(
            sim,
            number,
            Arc::clone(&plan),
            Arc::clone(&shared),
            sources.clone(),
            1000,
            tls.cloned(),
        );
        workers.push(Some(worker));
    }

    let mut records: Vec<Record> = Vec::new();
    let mut still = 0;
    for step in 0.. {
        assert!(step < STEPS_MAX, "it goes in circles at {:?}", world.now());
        for (me, place) in (0..).zip(&mut shards) {
            if naps.is_some_and(|steps| step / steps % (SHARDS as u64 + 1) == me) {
                continue;
            }
            if let Some(shard) = place
                && shard.turn().unwrap() == Progress::Drained
            {
                *place = None;
            }
        }
        for place in &mut workers {
            if let Some(worker) = place
                && worker.turn().unwrap() == Step::Done
            {
                records.push(place.take().unwrap().finish());
                if records.len() == WORKERS {
                    server.drain();
                }
            }
        }
        if shards.iter().all(Option::is_none) && workers.iter().all(Option::is_none) {
            break;
        }
        // A worker in a hurry waits for nothing that the world could bring: it only wants its next turn.
        still = if world.advance() { 0 } else { still + 1 };
        assert!(still < STILL_MAX, "everything stands still at {:?}", world.now());
    }
    world.assert_at_rest();

    let run = Run { times: shared.times(&plan), ..Run::default() };
    let outcome = Outcome::new(&plan, run, records);
    let figures = Figures { cpu_s: 0.0, shards: server.figures() };
    Played { outcome, server: figures.total(), trace: world.trace(), hash: world.trace_hash() }
}

fn pairs() -> Scenario {
    scenario::load("pairs").unwrap()
}

fn small(seed: u64) -> Overrides {
    Overrides {
        connections: Some(40),
        rate_per_s: Some(500.0),
        duration: Some(Duration::from_secs(2)),
        warmup: Some(Duration::from_millis(200)),
        connect_rate_per_s: Some(400.0),
        seed: Some(seed),
        ..Overrides::default()
    }
}

/// What holds whatever goes wrong.
fn keeps_its_promises(seed: u64, played: &Played) {
    let m = &played.outcome.messages;
    assert_eq!(m.sent, m.accepted + m.refused + m.unknown, "seed {seed}: {m:?}");
    assert_eq!((m.lost, m.duplicated, m.reordered, m.corrupted), (0, 0, 0, 0), "seed {seed}: {m:?}");
    assert_eq!(played.outcome.messages.strays, 0, "seed {seed}: {m:?}");
    let server = &played.server;
    let left = (server.connections, server.logged_in, server.logging_in, server.directory_users);
    assert_eq!(left, (0, 0, 0, 0), "seed {seed}: nobody is left behind: {server:?}");
    assert_eq!(server.unacknowledged, 0, "seed {seed}: no message is left behind");
    let settled = server.messages_accepted + server.messages_refused + server.messages_unknown;
    assert_eq!(server.messages_received, settled, "seed {seed}: every message has one outcome");
}

#[test]
fn a_quiet_network_delivers_every_message_of_the_plan() {
    let played = play(1, Faults::default(), &pairs(), &small(1));
    keeps_its_promises(1, &played);
    let m = &played.outcome.messages;
    assert!(m.planned > 900, "{m:?}");
    assert_eq!((m.planned, m.planned, m.planned), (m.sent, m.accepted, m.delivered));
    let c = &played.outcome.connections;
    assert_eq!((c.established, c.failed, c.lost, c.closed_by_plan), (40, 0, 0, 40), "{c:?}");
}

#[test]
fn a_rough_network_that_keeps_its_connections_loses_nothing() {
    for seed in 0..30 {
        let played = play(seed, Faults::rough(), &pairs(), &small(seed));
        keeps_its_promises(seed, &played);
        let m = &played.outcome.messages;
        assert_eq!((m.sent, m.sent), (m.accepted, m.delivered), "seed {seed}: {m:?}");
    }
}

#[test]
fn whatever_a_hostile_network_does_every_message_has_one_outcome() {
    let mut lost_connections = 0;
    for seed in 0..30 {
        let played = play(seed, Faults::hostile(), &pairs(), &small(seed));
        keeps_its_promises(seed, &played);
        lost_connections += played.outcome.connections.lost;
    }
    assert!(lost_connections > 0, "a hostile network resets somebody");
}

#[test]
fn a_closed_loop_keeps_its_window_full_and_loses_nothing() {
    let overrides =
        Overrides { rate_per_s: None, closed_loop_window: Some(8), connections: Some(20), ..small(1) };
    for seed in 0..5 {
        let played = play(seed, Faults::rough(), &pairs(), &overrides);
        keeps_its_promises(seed, &played);
        assert!(played.outcome.messages.delivered > 8 * 10, "more than the first window");
    }
}

#[test]
fn idle_users_stay_are_heard_and_each_write_and_receive_one_message() {
    let overrides = Overrides {
        connections: Some(60),
        rate_per_s: Some(200.0),
        duration: Some(Duration::from_secs(120)),
        heartbeat: Some(Duration::from_secs(30)),
        ..Overrides::default()
    };
    let played = play(7, Faults::rough(), &scenario::load("idle").unwrap(), &overrides);
    keeps_its_promises(7, &played);
    let (m, h) = (&played.outcome.messages, &played.outcome.heartbeats);
    assert_eq!((m.planned, m.sent, m.delivered), (60, 60, 60));
    assert!(h.due >= 60 * 3, "{h:?}");
    assert_eq!(h.due, h.answered);
    assert_eq!(played.server.pings_answered, h.due);
}

/// 60 users, of whom two thirds lose their connection at one instant.
fn storm(seed: u64) -> Overrides {
    Overrides {
        connections: Some(60),
        rate_per_s: Some(200.0),
        duration: Some(Duration::from_secs(20)),
        heartbeat: Some(Duration::from_secs(5)),
        connect_rate_per_s: Some(400.0),
        storm_share: Some(2.0 / 3.0),
        reconnect: Some(if seed.is_multiple_of(2) { Reconnect::AtOnce } else { Reconnect::Jittered }),
        seed: Some(seed),
        ..Overrides::default()
    }
}

#[test]
fn after_a_reconnect_storm_everybody_is_back_and_every_message_arrives() {
    let scenario = scenario::load("reconnect-storm").unwrap();
    for seed in 0..20 {
        let played = play(seed, Faults { backlog: 32, ..Faults::rough() }, &scenario, &storm(seed));
        keeps_its_promises(seed, &played);
        let outcome = &played.outcome;
        let storm = outcome.storm.as_ref().unwrap();
        assert_eq!((storm.users, storm.back, storm.never_back), (40, 40, 0), "seed {seed}: {storm:?}");
        assert!(played.server.logins >= 100, "seed {seed}: 60 and 40, more if an attempt was repeated");
        let (m, c, h) = (&outcome.messages, &outcome.connections, &outcome.heartbeats);
        assert_eq!((m.planned, m.sent, m.delivered), (60, 60, 60), "seed {seed}: {m:?}");
        assert_eq!((c.established, c.failed, c.lost, c.closed_by_plan), (60, 0, 0, 60), "seed {seed}: {c:?}");
        assert_eq!(h.due, h.answered, "seed {seed}");
    }
}

#[test]
fn a_login_storm_that_overflows_the_backlog_lets_everybody_in_in_the_end() {
    let scenario = scenario::load("login-storm").unwrap();
    let overrides = Overrides { connections: Some(200), ..storm(1) };
    let overrides = Overrides { connect_rate_per_s: None, storm_share: None, ..overrides };
    for seed in 0..5 {
        let played = play(seed, Faults { backlog: 8, ..Faults::default() }, &scenario, &overrides);
        keeps_its_promises(seed, &played);
        let storm = played.outcome.storm.as_ref().unwrap();
        assert_eq!((storm.users, storm.back), (200, 200), "seed {seed}: {storm:?}");
        let after = storm.last_back_after_s.unwrap();
        assert!(after > 1.0, "a SYN that found no room is repeated after a second: {after}");
        assert_eq!(played.outcome.messages.delivered, 200);
    }
}

#[test]
fn a_storm_has_the_same_trace_for_the_same_seed() {
    let scenario = scenario::load("reconnect-storm").unwrap();
    let [first, second, other] = [5, 5, 6].map(|seed| play(seed, Faults::hostile(), &scenario, &storm(3)));
    assert_eq!(first.trace, second.trace);
    assert_ne!(first.hash, other.hash);
    assert_eq!(first.outcome.storm, second.outcome.storm);
}

#[test]
fn full_mailboxes_pause_and_refuse_and_lose_nothing() {
    let config = ServerConfig { parked_bytes_max: 500, ..ServerConfig::default() };
    let overrides = Overrides { rate_per_s: Some(5000.0), connections: Some(200), ..small(1) };
    let (mut full, mut paused, mut refused) = (0, 0, 0);
    for seed in 0..10 {
        let played = play_on(config.clone(), None, Some(60), seed, Faults::default(), &pairs(), &overrides);
        keeps_its_promises(seed, &played);
        full += played.server.mailbox_full;
        paused += played.server.mailbox_paused_sessions;
        refused += played.server.messages_refused;
    }
    assert!(full > 0 && paused > 0 && refused > 0, "full {full}, paused {paused}, refused {refused}");
}

/// A server with TLS, and users who resume where it gives tickets.
fn secure(versions: Versions, gives_tickets: bool) -> (ServerConfig, Setup) {
    let made = rcgen::generate_simple_self_signed(["chat.example".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let tickets = gives_tickets.then(|| tls::Tickets::new().unwrap());
    // 2030: a certificate of rcgen holds then.
    let server =
        tls::server(certificate.as_bytes(), key.as_bytes(), versions, tickets.as_ref(), 1_893_456_000)
            .unwrap();
    let trust = tls::Trust::Roots(tls::certificates(certificate.as_bytes()).unwrap());
    let client = tls::client("chat.example", trust, versions, true, true).unwrap();
    let listen_tls = vec!["10.0.0.1:7400".parse().unwrap()];
    (ServerConfig { listen_tls, tls: Some(server), handshakes_max: 8, ..ServerConfig::default() }, client)
}

#[test]
fn users_with_tls_lose_nothing_on_a_rough_network() {
    for (seed, versions) in (0..).zip([Versions::Tls12, Versions::Tls13].repeat(5)) {
        let (config, tls) = secure(versions, true);
        let played = play_on(config, Some(&tls), None, seed, Faults::rough(), &pairs(), &small(seed));
        keeps_its_promises(seed, &played);
        let (outcome, server) = (&played.outcome, &played.server);
        assert_eq!(outcome.messages.delivered, outcome.messages.sent, "seed {seed}");
        assert_eq!((outcome.connections.established, outcome.connections.lost), (40, 0), "seed {seed}");
        let counts = outcome.tls.as_ref().unwrap();
        assert_eq!((counts.full + counts.resumed, counts.whole), (40, 0), "seed {seed}: {counts:?}");
        assert_eq!(server.handshakes_full + server.handshakes_resumed, 40, "seed {seed}");
        let left =
            (server.tls_sessions, server.tls_whole, server.handshakes_under_way, server.handshakes_queued);
        assert_eq!((left, server.tls_truncated), ((0, 0, 0, 0), 0), "seed {seed}: everybody said goodbye");
    }
}

#[test]
fn who_waits_for_a_ticket_that_never_comes_is_told_as_not_compact() {
    // Nobody says anything: neither a ticket nor a text comes.
    let (config, tls) = secure(Versions::Tls13, false);
    let overrides = Overrides { protocol: Some(Protocol::Connect), rate_per_s: None, ..small(1) };
    let scenario = scenario::load("idle").unwrap();
    let played = play_on(config, Some(&tls), None, 1, Faults::default(), &scenario, &overrides);
    let counts = played.outcome.tls.unwrap();
    assert_eq!((counts.full, counts.resumed, counts.whole), (40, 0, 40));
}

#[test]
fn connections_with_tls_that_die_at_any_moment_leave_nothing_behind() {
    for (seed, versions) in (0..).zip([Versions::Tls12, Versions::Tls13].repeat(10)) {
        let (config, tls) = secure(versions, true);
        let played = play_on(config, Some(&tls), None, seed, Faults::hostile(), &pairs(), &small(seed));
        keeps_its_promises(seed, &played);
        let server = &played.server;
        let left =
            (server.tls_sessions, server.tls_whole, server.handshakes_under_way, server.handshakes_queued);
        assert_eq!((left, server.tls_bytes), ((0, 0, 0, 0), 0), "seed {seed}");
        assert_eq!((server.closed_bad_record, server.handshakes_failed), (0, 0), "seed {seed}: {server:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_byte_for_byte() {
    let first = play(11, Faults::hostile(), &pairs(), &small(3));
    let second = play(11, Faults::hostile(), &pairs(), &small(3));
    assert_eq!(first.trace, second.trace);
    assert_eq!(first.hash, second.hash);
    assert!(first.trace.lines().count() > 1000);
    let other = play(12, Faults::hostile(), &pairs(), &small(3));
    assert_ne!(first.hash, other.hash);
}
