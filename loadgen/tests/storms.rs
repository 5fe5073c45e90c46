//! Storms and ramps in a simulated network: who comes back, when, and what becomes of a run whose server is gone.
#![allow(clippy::unwrap_used)] // in tests a panic with its line is the message

mod fake;

use std::time::Duration;

use fake::{Mischief, Scene, plan, play};
use throng_loadgen::{EarlyEnd, Outcome, Overrides, Plan, Reconnect, scenario};
use throng_reactor::sim::Faults;
use throng_report::schema::Storm;
use throng_report::{Summary, Verdict};

fn storm_plan(name: &str, change: impl FnOnce(&mut Overrides)) -> Plan {
    let mut set = Overrides {
        connections: Some(200),
        rate_per_s: Some(2000.0),
        duration: Some(Duration::from_secs(2)),
        warmup: Some(Duration::from_millis(100)),
        heartbeat: Some(Duration::from_secs(1)),
        ..Overrides::default()
    };
    change(&mut set);
    Plan::new(&scenario::load(name).unwrap(), &set).unwrap()
}

fn judged(outcome: &Outcome) -> (Verdict, Vec<String>) {
    let mut summary = Summary::default();
    outcome.fill(&mut summary);
    throng_report::judge(&mut summary, &[]);
    (summary.verdict, summary.reasons.into_iter().map(|reason| reason.code).collect())
}

/// Everybody is in at the end, and everybody's message arrived.
fn assert_all_there(outcome: &Outcome) -> &Storm {
    let (connections, messages) = (&outcome.connections, &outcome.messages);
    assert_eq!(
        (connections.established, connections.failed, connections.lost),
        (200, 0, 0),
        "{connections:?}"
    );
    assert_eq!(connections.closed_by_plan, 200, "a connection that a storm took is not closed for good");
    assert_eq!((messages.planned, messages.delivered, messages.lost), (200, 200, 0), "{messages:?}");
    assert_eq!(outcome.accounting_error, None);
    assert_eq!(outcome.heartbeats.due, outcome.heartbeats.answered);
    let storm = outcome.storm.as_ref().unwrap();
    assert_eq!((storm.back, storm.never_back), (storm.users, 0), "{storm:?}");
    assert_eq!(judged(outcome), (Verdict::Pass, vec![]));
    storm
}

#[test]
fn in_a_login_storm_all_connect_at_the_first_instant_and_nobody_waits_for_another() {
    for workers in [1, 3] {
        let outcome = play(
            &storm_plan("login-storm", |_| {}),
            &Scene { workers, connects_in_flight: 1, ..Scene::default() },
        );
        let storm = assert_all_there(&outcome);
        assert_eq!((storm.kind.as_str(), storm.users, storm.attempts, storm.repeats), ("login", 200, 200, 0));
        assert_eq!(outcome.connections.held_back, 0);
        assert_eq!(outcome.connections.planned_connect_rate_per_s, None);
        // Two ways there and back of 50 us each, for all of them at once.
        let after = storm.last_back_after_s.unwrap();
        assert!((0.0002..0.01).contains(&after), "{after}");
        assert_eq!((storm.connect_us.count, storm.login_us.count), (200, 200));
    }
}

#[test]
fn after_a_reconnect_storm_everybody_is_back_and_every_message_arrives() {
    for (reconnect, share, struck) in
        [(Reconnect::AtOnce, 0.5, 100), (Reconnect::Jittered, 0.5, 100), (Reconnect::Jittered, 1.0, 200)]
    {
        for workers in [1, 3] {
            let plan = storm_plan("reconnect-storm", |set| {
                set.reconnect = Some(reconnect);
                set.storm_share = Some(share);
            });
            let outcome = play(&plan, &Scene { workers, ..Scene::default() });
            let storm = assert_all_there(&outcome);
            assert_eq!((storm.users, storm.attempts, storm.repeats), (struck, struck, 0));
            let (after, login) = (storm.last_back_after_s.unwrap(), storm.login_us);
            assert_eq!((login.count, storm.connect_us.count), (struck, struck));
            match reconnect {
                Reconnect::AtOnce => assert!(after < 0.01, "{after}"),
                // From its own planned instant nobody waits long, however late that is in the second of the back-off.
                Reconnect::Jittered => assert!((0.9..1.01).contains(&after), "{after}"),
            }
            assert!(login.max.unwrap() < 10_000.0, "{login:?}");
            assert_eq!(outcome.times.ramp.login.count(), 200, "the ramp's times are kept apart");
        }
    }
}

#[test]
fn the_same_users_are_struck_at_the_same_instants_on_any_number_of_workers() {
    let plan = storm_plan("reconnect-storm", |_| {});
    let one = play(&plan, &Scene::default());
    let three = play(&plan, &Scene { workers: 3, ..Scene::default() });
    let storms = [&one, &three].map(|outcome| outcome.storm.clone().unwrap());
    assert_eq!((storms[0].users, storms[0].attempts), (storms[1].users, storms[1].attempts));
    let after = storms.map(|storm| storm.last_back_after_s.unwrap());
    assert!((after[0] - after[1]).abs() < 0.001, "{after:?}");
}

#[test]
fn who_is_turned_away_tries_again_and_the_wait_is_part_of_its_login() {
    for name in ["login-storm", "reconnect-storm"] {
        let plan = storm_plan(name, |set| {
            set.reconnect = Some(Reconnect::AtOnce);
            set.reconnect_base = Some(Duration::from_millis(500));
            set.connect_rate_per_s = (name == "reconnect-storm").then_some(1000.0);
        });
        let first = if name == "login-storm" { 30 } else { 0 };
        let outcome = play(&plan, &Scene { mischief: Mischief::TurnAway(first), ..Scene::default() });
        let storm = assert_all_there(&outcome);
        assert_eq!(storm.repeats, first, "{storm:?}");
        if first > 0 {
            assert_eq!(storm.failed_attempts_by_cause.values().sum::<u64>(), 30);
            assert_eq!(storm.attempts, 230);
            let after = storm.last_back_after_s.unwrap();
            assert!((0.5..0.6).contains(&after), "{after}");
            assert!((500_000.0..600_000.0).contains(&storm.login_us.max.unwrap()), "{:?}", storm.login_us);
            let refused = outcome.connections.refused_by_server;
            assert_eq!((refused, outcome.connections.failed), (30, 0), "an attempt is not a user");
        }
    }
}

#[test]
fn whoever_has_made_all_attempts_never_comes_back_and_the_run_fails() {
    let plan = storm_plan("login-storm", |set| {
        set.reconnect = Some(Reconnect::AtOnce);
        set.reconnect_attempts = Some(3);
        set.reconnect_base = Some(Duration::from_millis(100));
    });
    // Every login is turned away until the first 100 users are in their third attempt: they get in, the others do not.
    let outcome = play(&plan, &Scene { mischief: Mischief::TurnAway(500), ..Scene::default() });
    let storm = outcome.storm.clone().unwrap();
    assert_eq!((storm.back, storm.never_back, storm.attempts), (100, 100, 600), "{storm:?}");
    assert_eq!((outcome.connections.established, outcome.connections.failed), (100, 100));
    let (verdict, codes) = judged(&outcome);
    assert_eq!((verdict, codes[0].as_str()), (Verdict::Fail, "connections_failed"));
}

#[test]
fn a_rough_network_delays_a_storm_and_loses_nobody() {
    for name in ["login-storm", "reconnect-storm"] {
        for seed in 0..10 {
            let plan = storm_plan(name, |set| {
                if name == "reconnect-storm" {
                    set.storm_share = Some(0.7);
                    set.connect_rate_per_s = Some(400.0);
                }
                set.drain_limit = Some(Duration::from_secs(60));
            });
            let faults = Faults { backlog: 64, ..Faults::rough() };
            let scene = Scene { seed, workers: 2, faults, ..Scene::default() };
            assert_all_there(&play(&plan, &scene));
        }
    }
}

#[test]
fn a_hostile_network_leaves_every_user_with_one_fate() {
    for seed in 0..10 {
        let plan = storm_plan("reconnect-storm", |_| {});
        let outcome = play(&plan, &Scene { seed, faults: Faults::hostile(), ..Scene::default() });
        let (connections, storm) = (&outcome.connections, outcome.storm.clone().unwrap());
        assert_eq!(outcome.accounting_error, None);
        assert_eq!(storm.back + storm.never_back, storm.users, "seed {seed}");
        let ended = connections.closed_by_plan + connections.lost + storm.never_back;
        assert_eq!(ended, connections.established, "seed {seed}: {connections:?} {storm:?}");
    }
}

#[test]
fn a_storm_that_is_interrupted_says_who_was_away_and_why_there_were_no_messages() {
    let plan = storm_plan("reconnect-storm", |set| set.reconnect_base = Some(Duration::from_secs(50)));
    let scene = Scene { end_at: Some((Duration::from_secs(10), EarlyEnd::Interrupted)), ..Scene::default() };
    let outcome = play(&plan, &scene);
    let storm = outcome.storm.clone().unwrap();
    assert!(storm.back > 0 && storm.never_back > 0, "{storm:?}");
    assert_eq!((outcome.messages.planned, outcome.connections.failed), (0, 0));
    assert!(outcome.roll_call_skipped.as_ref().unwrap().contains("in the storm"), "{outcome:?}");
    assert_eq!(judged(&outcome), (Verdict::Invalid, vec!["interrupted".to_owned()]));
}

#[test]
fn an_idle_run_that_is_interrupted_says_that_its_roll_call_was_still_to_come() {
    let plan = storm_plan("idle", |set| set.duration = Some(Duration::from_secs(60)));
    let at =
        |secs| Scene { end_at: Some((Duration::from_secs(secs), EarlyEnd::Interrupted)), ..Scene::default() };
    let skipped = play(&plan, &at(10)).roll_call_skipped;
    assert!(skipped.as_ref().unwrap().contains("while users were held"), "{skipped:?}");
    assert_eq!(play(&plan, &Scene::default()).roll_call_skipped, None);
}

/// A ramp that would take `users` / 100 seconds.
fn long_ramp(users: u64) -> Plan {
    plan(|set| {
        set.connections = Some(users);
        set.connect_rate_per_s = Some(100.0);
    })
}

fn assert_server_gone(outcome: &Outcome, saying: &str) {
    let Some(EarlyEnd::ServerGone(how)) = &outcome.early_end else { panic!("{:?}", outcome.early_end) };
    assert!(how.contains(saying), "{how}");
    let (verdict, codes) = judged(outcome);
    assert_eq!(verdict, Verdict::Fail, "{codes:?}");
    assert!(codes.iter().any(|code| code == "server_gone"), "{codes:?}");
}

#[test]
fn a_ramp_against_nobody_ends_early() {
    let outcome = play(&long_ramp(6000), &Scene { workers: 2, no_server: true, ..Scene::default() });
    assert_server_gone(&outcome, "every attempt to connect failed for 3.");
    let failed = outcome.connections.failed;
    assert!((290..400).contains(&failed), "three seconds of a minute: {failed}");
}

#[test]
fn a_server_that_dies_in_the_middle_of_the_ramp_ends_it() {
    let outcome =
        play(&long_ramp(6000), &Scene { workers: 2, mischief: Mischief::DieWhenIn(500), ..Scene::default() });
    assert_server_gone(&outcome, "nobody was connected");
    let connections = &outcome.connections;
    assert!(connections.lost >= 490 && connections.lost == connections.established, "{connections:?}");
    assert!(outcome.everybody_lost && connections.failed < 400, "{connections:?}");
}

#[test]
fn a_server_that_hangs_in_the_middle_of_the_ramp_ends_it_and_those_who_are_in_leave() {
    let outcome = play(
        &long_ramp(10_000),
        &Scene { workers: 2, mischief: Mischief::HangWhenIn(500), ..Scene::default() },
    );
    assert_server_gone(&outcome, "nobody was let in for 20.");
    let connections = &outcome.connections;
    assert_eq!((connections.established, connections.closed_by_plan, connections.lost), (500, 500, 0));
}

#[test]
fn one_user_who_is_never_let_in_ends_nothing_even_in_a_pause_of_the_ramp() {
    let stages = vec![(1, 100), (60, 100), (1, 200)];
    let plan = plan(|set| {
        set.connections = None;
        set.stages = stages.into_iter().map(|(secs, users)| (Duration::from_secs(secs), users)).collect();
    });
    let outcome = play(&plan, &Scene { mischief: Mischief::IgnoreLogin(100), ..Scene::default() });
    assert_eq!(outcome.early_end, None);
    assert_eq!((outcome.connections.established, outcome.connections.failed), (199, 1));
}

#[test]
fn a_server_that_dies_of_a_storm_is_given_up() {
    let plan = storm_plan("reconnect-storm", |set| set.storm_share = Some(1.0));
    let outcome = play(&plan, &Scene { mischief: Mischief::DieAfterLogins(250), ..Scene::default() });
    assert_server_gone(&outcome, "nobody was connected");
    assert!(outcome.everybody_lost);
    assert!(outcome.storm.unwrap().never_back >= 140);
}

#[test]
fn a_slow_server_holds_the_ramp_back_and_the_generator_was_in_time() {
    // 40 ms for a login of two ways there and back, four at once: 100 logins per second of the 1,000 that are planned.
    let way = Duration::from_millis(10);
    let plan = plan(|set| {
        set.connections = Some(200);
        set.connect_rate_per_s = Some(1000.0);
    });
    let faults = Faults { latency: way..=way, ..Faults::default() };
    let outcome = play(&plan, &Scene { faults, connects_in_flight: 4, ..Scene::default() });
    let connections = &outcome.connections;
    assert!(connections.held_back > 180, "{connections:?}");
    assert_eq!(outcome.times.ramp.lag.count(), 200);
    assert!(outcome.times.ramp.lag.summary().max.unwrap() < 1000.0, "{:?}", outcome.times.ramp.lag.summary());
    assert!(outcome.times.ramp.login.percentile(0.5).unwrap() > 500_000_000, "the wait is in the login");
    let planned = connections.planned_connect_rate_per_s.unwrap();
    assert!((planned - 1000.0).abs() < 1.0, "{planned}");
    assert!((80.0..120.0).contains(&connections.connect_rate_per_s.unwrap()), "{connections:?}");
    let mut summary = Summary::default();
    outcome.fill(&mut summary);
    throng_report::judge(&mut summary, &[]);
    let late: Vec<_> = summary.warnings.iter().filter(|warning| warning.contains("ramp")).collect();
    assert!(late.len() == 1 && late[0].contains("because the server"), "{late:?}");
}

#[test]
fn a_generator_that_gets_no_processor_shows_in_its_own_lag() {
    let plan = plan(|set| {
        set.connections = Some(2000);
        set.connect_rate_per_s = Some(1000.0);
    });
    let naps = Some(Duration::from_millis(100));
    let outcome = play(&plan, &Scene { naps, connects_in_flight: 10_000, ..Scene::default() });
    assert_eq!(outcome.connections.held_back, 0);
    assert!(
        outcome.times.ramp.lag.percentile(0.99).unwrap() > 50_000_000,
        "{:?}",
        outcome.times.ramp.lag.summary()
    );
    let mut summary = Summary::default();
    outcome.fill(&mut summary);
    let threshold: throng_report::Threshold = "connect.p99<1ms".parse().unwrap();
    throng_report::judge(&mut summary, &[threshold]);
    assert!(summary.warnings.iter().any(|warning| warning.contains("late to begin connections")));
    assert!(
        summary.reasons.iter().any(|reason| reason.code == "threshold_connect_lag"),
        "{:?}",
        summary.reasons
    );
}
