//! Whole loads in a simulated network: what a server does right and wrong is told, whatever the network does.
#![allow(clippy::unwrap_used)] // in tests a panic with its line is the message

mod fake;

use std::time::Duration;

use fake::{Mischief, Scene, plan, play};
use throng_loadgen::{EarlyEnd, Outcome, Overrides, Plan, Protocol, scenario};
use throng_reactor::sim::Faults;

fn assert_whole(outcome: &Outcome) {
    assert_eq!(outcome.accounting_error, None);
    let messages = &outcome.messages;
    assert_eq!(messages.sent, messages.accepted + messages.refused + messages.unknown, "{messages:?}");
    assert_eq!(messages.planned, messages.attempted);
    assert_eq!(messages.attempted, messages.sent + messages.unsent);
}

fn assert_clean(outcome: &Outcome) {
    assert_whole(outcome);
    let (messages, connections) = (&outcome.messages, &outcome.connections);
    assert_eq!((connections.established, connections.failed, connections.lost), (connections.target, 0, 0));
    assert_eq!(connections.closed_by_plan, connections.target);
    assert!(messages.planned > 0);
    assert_eq!(
        (messages.attempted, messages.sent, messages.accepted, messages.delivered),
        (messages.planned, messages.planned, messages.planned, messages.planned)
    );
    let faults =
        [messages.lost, messages.duplicated, messages.reordered, messages.corrupted, outcome.messages.strays];
    assert_eq!(faults, [0; 5]);
    let times = &outcome.times;
    assert_eq!(times.planned_to_delivered.count(), messages.window.planned);
    assert_eq!(times.written_to_delivered.count(), messages.window.planned);
    assert_eq!(times.ramp.connect.count(), connections.target);
    assert_eq!(outcome.heartbeats.due, outcome.heartbeats.answered);
    assert!(outcome.early_end.is_none() && !outcome.everybody_lost);
}

#[test]
fn an_open_loop_accounts_for_every_message() {
    let outcome = play(&plan(|_| {}), &Scene::default());
    assert_clean(&outcome);
    // 1,200 in 600 ms; five standard deviations.
    assert!((1000..1400).contains(&outcome.messages.planned), "{}", outcome.messages.planned);
    let window = &outcome.messages.window;
    assert!((850..1150).contains(&window.planned), "1,000 of them in the 500 ms that count: {window:?}");
    assert_eq!(window.attempted, window.planned);
    assert_eq!(outcome.times.send_lag.count(), outcome.messages.window.planned);
    // There and back over links of 50 us: nobody can deliver faster, and an idle network not much slower.
    let p50 = outcome.times.written_to_delivered.percentile(0.5).unwrap();
    assert!((100_000..150_000).contains(&p50), "{p50}");
    assert_eq!(outcome.times.ramp.login.count(), 20);
}

#[test]
fn the_same_seed_gives_the_same_outcome_however_many_workers_play() {
    let plan = plan(|_| {});
    let one = play(&plan, &Scene::default());
    let three = play(&plan, &Scene { workers: 3, ..Scene::default() });
    assert_clean(&three);
    assert_eq!(one.messages.planned, three.messages.planned);
    assert_eq!(one.messages.window.planned, three.messages.window.planned);
    assert_eq!(three.generator.threads, 3);
}

#[test]
fn a_rough_network_costs_time_and_no_message() {
    for seed in 0..10 {
        for workers in [1, 2] {
            let scene = Scene { seed, workers, faults: Faults::rough(), ..Scene::default() };
            assert_clean(&play(&plan(|set| set.drain_limit = Some(Duration::from_secs(60))), &scene));
        }
    }
}

#[test]
fn resets_are_lost_connections_and_every_message_is_still_accounted_for() {
    let mut lost = 0;
    for seed in 0..10 {
        let scene = Scene { seed, faults: Faults::hostile(), ..Scene::default() };
        let outcome = play(&plan(|_| {}), &scene);
        assert_whole(&outcome);
        assert_eq!(outcome.messages.lost, 0, "what was accepted was acknowledged by us");
        let connections = &outcome.connections;
        assert_eq!(connections.established + connections.failed, 20);
        assert_eq!(connections.closed_by_plan + connections.lost, connections.established);
        lost += connections.lost;
    }
    assert!(lost > 0);
}

#[test]
fn a_closed_loop_keeps_its_window_and_never_more() {
    let outcome = play(&plan(|set| set.closed_loop_window = Some(4)), &Scene::default());
    assert_clean_closed(&outcome);
    // 10 pairs, 4 in flight, 200 us from send to Accepted: 600 ms make 120,000 if nobody ever pauses.
    assert!((60_000..=120_100).contains(&outcome.messages.sent), "{}", outcome.messages.sent);
    assert_eq!(outcome.times.send_lag.count(), 0);
    let planned_to_written = outcome.times.planned_to_delivered.percentile(0.5);
    assert_eq!(planned_to_written, outcome.times.written_to_delivered.percentile(0.5));
}

fn assert_clean_closed(outcome: &Outcome) {
    assert_clean(outcome);
    assert_eq!(outcome.plan.rate_per_s, None);
}

#[test]
fn echo_users_get_back_what_they_sent() {
    for change in [|_: &mut Overrides| {}, |set: &mut Overrides| set.closed_loop_window = Some(2)] {
        let plan = plan(|set| {
            set.protocol = Some(Protocol::Echo);
            set.connections = Some(7);
            change(set);
        });
        assert_clean(&play(&plan, &Scene::default()));
        let scene = Scene { faults: Faults { split: 500, ..Faults::default() }, ..Scene::default() };
        assert_clean(&play(&plan, &scene));
    }
}

#[test]
fn an_echo_that_is_not_what_was_sent_is_corrupted() {
    let plan = plan(|set| set.protocol = Some(Protocol::Echo));
    let outcome = play(&plan, &Scene { mischief: Mischief::Corrupt(5), ..Scene::default() });
    assert_whole(&outcome);
    assert_eq!((outcome.messages.corrupted, outcome.messages.unknown), (1, 1));
}

#[test]
fn connect_users_hold_the_connection_and_say_nothing() {
    let outcome = play(&plan(|set| set.protocol = Some(Protocol::Connect)), &Scene::default());
    assert_eq!((outcome.connections.established, outcome.connections.closed_by_plan), (20, 20));
    assert_eq!((outcome.messages.planned, outcome.messages.rate_per_s), (0, Some(0.0)));
}

#[test]
fn idle_users_answer_heartbeats_and_a_roll_call() {
    let set = Overrides {
        connections: Some(100),
        rate_per_s: Some(1000.0),
        duration: Some(Duration::from_secs(20)),
        heartbeat: Some(Duration::from_secs(5)),
        ..Overrides::default()
    };
    let plan = Plan::new(&scenario::load("idle").unwrap(), &set).unwrap();
    let outcome = play(&plan, &Scene { workers: 2, ..Scene::default() });
    assert_clean(&outcome);
    assert_eq!((outcome.messages.planned, outcome.messages.window.planned), (100, 100));
    // 22 s from the first login to the end, and four whole rounds in them.
    assert!((400..=500).contains(&outcome.heartbeats.due), "{}", outcome.heartbeats.due);
    assert!((0.09..0.11).contains(&outcome.messages.window.duration_s), "{:?}", outcome.messages.window);
}

fn with(mischief: Mischief) -> Outcome {
    let outcome = play(&plan(|_| {}), &Scene { mischief, ..Scene::default() });
    assert_whole(&outcome);
    outcome
}

#[test]
fn an_accepted_message_that_never_comes_is_lost_and_named() {
    let outcome = with(Mischief::Lose(100));
    assert_eq!((outcome.messages.lost, outcome.missing.len()), (1, 1));
    assert_eq!(outcome.messages.accepted, outcome.messages.delivered + 1);
}

#[test]
fn an_accepted_message_that_comes_late_is_reordered_and_not_lost() {
    let outcome = with(Mischief::Postpone(100));
    assert_eq!((outcome.messages.lost, outcome.messages.reordered), (0, 1), "{:?}", outcome.messages);
    assert_eq!(outcome.messages.accepted, outcome.messages.delivered);
}

#[test]
fn a_message_that_comes_twice_is_a_duplicate() {
    let outcome = with(Mischief::Repeat(100));
    assert_eq!((outcome.messages.duplicated, outcome.messages.lost), (1, 0));
    assert_eq!(outcome.messages.accepted, outcome.messages.delivered);
}

#[test]
fn a_changed_body_is_corrupted() {
    assert_eq!(with(Mischief::Corrupt(100)).messages.corrupted, 1);
}

#[test]
fn a_refusal_is_an_outcome() {
    let outcome = with(Mischief::Refuse(100));
    assert_eq!((outcome.messages.refused, outcome.messages.lost), (1, 0));
    assert_eq!(outcome.messages.sent, outcome.messages.delivered + 1);
}

#[test]
fn a_second_outcome_of_one_message_is_a_stray() {
    // The first of the two comes before the delivery, so the message is missing until it arrives.
    let outcome = with(Mischief::AcceptTwice(100));
    assert_eq!((outcome.messages.strays, outcome.messages.lost), (1, 0));
}

#[test]
fn a_message_without_an_outcome_is_unknown_after_the_drain() {
    let outcome = with(Mischief::Forget(100));
    assert_eq!((outcome.messages.unknown, outcome.messages.unknown_connection_died), (1, 0));
}

#[test]
fn a_server_that_dies_ends_the_run_early_with_a_whole_record() {
    for workers in [1, 3] {
        let outcome =
            play(&plan(|_| {}), &Scene { workers, mischief: Mischief::Die(300), ..Scene::default() });
        assert_whole(&outcome);
        assert!(outcome.everybody_lost);
        assert_eq!((outcome.connections.lost, outcome.connections.established), (20, 20));
        assert!(outcome.messages.window.duration_s < 0.4, "{:?}", outcome.messages.window);
        assert!(outcome.messages.delivered > 200);
    }
}

#[test]
fn nobody_listening_fails_every_connection_by_name() {
    let outcome = play(&plan(|_| {}), &Scene { no_server: true, ..Scene::default() });
    assert_eq!((outcome.connections.failed, outcome.connections.established), (20, 0));
    assert_eq!(outcome.connections.failed_by_cause.get("ECONNREFUSED"), Some(&20));
    assert!(outcome.everybody_lost);
}

#[test]
fn a_login_that_is_never_answered_times_out_and_the_rest_goes_on() {
    let outcome = play(&plan(|_| {}), &Scene { mischief: Mischief::IgnoreLogin(4), ..Scene::default() });
    assert_whole(&outcome);
    assert_eq!((outcome.connections.established, outcome.connections.failed), (19, 1));
    assert_eq!(outcome.connections.failed_by_cause.get("timed out"), Some(&1));
    assert!(outcome.messages.unsent > 0, "user 4 was to write, too");
    assert!(outcome.messages.delivered > 800);
    assert_eq!(
        outcome.messages.window.attempted, outcome.messages.window.planned,
        "no lateness of the generator's"
    );
}

#[test]
fn an_interrupted_run_drains_and_keeps_its_record() {
    for workers in [1, 2] {
        let outcome = play(&plan(|_| {}), &Scene { workers, interrupt_after: Some(500), ..Scene::default() });
        assert_clean_but_interrupted(&outcome);
        assert!((480..700).contains(&outcome.messages.sent), "{}", outcome.messages.sent);
    }
}

fn assert_clean_but_interrupted(outcome: &Outcome) {
    assert_whole(outcome);
    assert!(outcome.early_end == Some(EarlyEnd::Interrupted) && !outcome.everybody_lost);
    assert_eq!((outcome.connections.lost, outcome.connections.closed_by_plan), (0, 20));
    assert_eq!(outcome.messages.sent, outcome.messages.delivered);
}

#[test]
fn a_ramp_that_is_stopped_begins_no_further_connection_and_everybody_leaves() {
    let why = EarlyEnd::MemoryGuard("1.0 GB free, 2.0 GB are kept".to_owned());
    let plan = plan(|set| {
        set.connections = Some(400);
        set.connect_rate_per_s = Some(1000.0);
    });
    for workers in [1, 2] {
        let outcome =
            play(&plan, &Scene { workers, end_when_in: Some((100, why.clone())), ..Scene::default() });
        assert_eq!(outcome.early_end, Some(why.clone()));
        let connections = &outcome.connections;
        assert!((100..200).contains(&connections.established), "{connections:?}");
        assert_eq!(connections.closed_by_plan, connections.established);
        assert_eq!((connections.failed, connections.lost, outcome.messages.planned), (0, 0, 0));
        let mut summary = throng_report::Summary::default();
        outcome.fill(&mut summary);
        throng_report::judge(&mut summary, &[]);
        let codes: Vec<&str> = summary.reasons.iter().map(|reason| reason.code.as_str()).collect();
        assert_eq!((summary.verdict, codes), (throng_report::Verdict::Invalid, vec!["memory_guard"]));
    }
}

#[test]
fn a_slow_server_does_not_slow_the_schedule() {
    // Everything waits behind pauses of up to a second, so windows and sockets close; the schedule must not.
    let faults = Faults { slow: 50, pause_max: Duration::from_secs(1), ..Faults::default() };
    let slow = play(
        &plan(|set| {
            set.rate_per_s = Some(20_000.0);
            set.drain_limit = Some(Duration::from_secs(600));
        }),
        &Scene { faults, ..Scene::default() },
    );
    assert_whole(&slow);
    assert_eq!(slow.messages.window.attempted, slow.messages.window.planned);
    assert!(slow.times.send_lag.percentile(0.99).unwrap() < 1000, "nothing was attempted late");
    assert_eq!(slow.messages.delivered, slow.messages.planned);
    let p99 = |histogram: &throng_report::Histogram| histogram.percentile(0.99).unwrap();
    let (felt, server) = (p99(&slow.times.planned_to_delivered), p99(&slow.times.written_to_delivered));
    assert!(felt > 2 * server, "the wait before writing counts: {felt} against {server}");
}
