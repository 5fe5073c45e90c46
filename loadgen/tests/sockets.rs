//! Loads on real sockets, over loopback, against an echo server of a few lines.
#![allow(clippy::unwrap_used)] // in tests a panic with its line is the message

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use throng_loadgen::load::LoadError;
use throng_loadgen::{
    EarlyEnd, Engine, Load, Options, Overrides, Phase, Plan, PortRange, Protocol, Sources, scenario,
};
use throng_reactor::{Backend, Requested};

/// Sends back what it gets, one thread per connection. It ends with the test's process.
fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(got @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..got]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

fn plan(connections: u64) -> Plan {
    let set = Overrides {
        protocol: Some(Protocol::Echo),
        connections: Some(connections),
        rate_per_s: Some(500.0),
        warmup: Some(Duration::from_millis(50)),
        duration: Some(Duration::from_millis(300)),
        ..Overrides::default()
    };
    Plan::new(&scenario::load("pairs").unwrap(), &set).unwrap()
}

fn options(target: SocketAddr, plan: &Plan) -> Options {
    let ports = PortRange { first: 32768, last: 60999 };
    Options::new(Sources::plan(&[target], plan.connections, ports, None).unwrap())
}

#[test]
fn every_backend_plays_the_same_plan_on_any_number_of_threads() {
    let target = echo_server();
    let mut planned = Vec::new();
    for backend in [Backend::Epoll, Backend::IoUring] {
        if throng_reactor::backend::select(Requested::Named(backend)).is_err() {
            continue; // This kernel has no io_uring for us; the other one is always there.
        }
        for threads in [1, 3] {
            let plan = plan(10);
            let options = Options {
                engine: Engine::Kernel(Requested::Named(backend)),
                threads,
                private_tables: threads > 1,
                ..options(target, &plan)
            };
            let load = Load::start(plan, options).unwrap();
            let outcome = load.wait().unwrap();
            assert_eq!(outcome.connections.established, 10, "{:?}", outcome.connections);
            assert_eq!(outcome.connections.closed_by_plan, 10);
            assert_eq!(outcome.messages.planned, outcome.messages.delivered, "{:?}", outcome.messages);
            assert_eq!(outcome.accounting_error, None);
            assert_eq!(outcome.generator.threads, threads as u64);
            assert_eq!(outcome.generator.backend.as_ref().unwrap().active, backend.to_string());
            assert!(outcome.generator.cpu_s.unwrap() > 0.0);
            planned.push(outcome.messages.planned);
        }
    }
    assert!(planned[0] > 0 && planned.iter().all(|count| *count == planned[0]), "{planned:?}");
}

#[test]
fn a_stopped_load_drains_and_says_so() {
    let target = echo_server();
    let mut plan = plan(4);
    plan.duration = Duration::from_secs(600);
    let load = Load::start(plan.clone(), options(target, &plan)).unwrap();
    while load.progress().delivered < 20 {
        std::thread::yield_now();
    }
    load.stop();
    let outcome = load.wait().unwrap();
    assert_eq!(outcome.early_end, Some(EarlyEnd::Interrupted));
    assert_eq!(outcome.messages.sent, outcome.messages.delivered);
    assert_eq!((outcome.connections.lost, outcome.connections.closed_by_plan), (0, 4));
}

#[test]
fn what_is_measured_is_handed_over_while_it_runs() {
    let target = echo_server();
    let mut plan = plan(4);
    plan.duration = Duration::from_secs(600);
    let load = Load::start(plan.clone(), options(target, &plan)).unwrap();
    let mut handed_over = 0;
    while handed_over < 200 {
        handed_over += load.take_interval().planned_to_delivered.count();
        std::thread::yield_now();
    }
    let progress = load.progress();
    assert_eq!((progress.phase, progress.connected), (Phase::Measuring, 4));
    drop(load);
}

#[test]
fn users_of_every_backend_come_back_after_a_storm() {
    let target = echo_server();
    for backend in [Backend::Epoll, Backend::IoUring] {
        if throng_reactor::backend::select(Requested::Named(backend)).is_err() {
            continue; // As above.
        }
        let set = Overrides {
            protocol: Some(Protocol::Echo),
            connections: Some(40),
            rate_per_s: Some(400.0),
            warmup: Some(Duration::ZERO),
            duration: Some(Duration::from_millis(100)),
            reconnect_base: Some(Duration::from_millis(50)),
            ..Overrides::default()
        };
        let plan = Plan::new(&scenario::load("reconnect-storm").unwrap(), &set).unwrap();
        let options = Options {
            engine: Engine::Kernel(Requested::Named(backend)),
            threads: 2,
            ..options(target, &plan)
        };
        let outcome = Load::start(plan, options).unwrap().wait().unwrap();
        let storm = outcome.storm.as_ref().unwrap();
        assert_eq!((storm.users, storm.back, storm.attempts), (20, 20, 20), "{storm:?}");
        let connections = &outcome.connections;
        assert_eq!((connections.established, connections.closed_by_plan, connections.lost), (40, 40, 0));
        assert_eq!((outcome.messages.planned, outcome.messages.delivered), (40, 40));
        assert_eq!(outcome.accounting_error, None);
    }
}

#[test]
fn a_ramp_that_is_stopped_ends_with_those_who_are_in() {
    let target = echo_server();
    let mut plan = plan(10_000);
    plan.ramp = throng_loadgen::Ramp::at_rate(10_000, 100.0);
    let load = Load::start(plan.clone(), options(target, &plan)).unwrap();
    while load.progress().established < 5 {
        std::thread::yield_now();
    }
    load.stop_ramp("1.0 GB free, 2.0 GB are kept");
    load.stop();
    let outcome = load.wait().unwrap();
    let Some(EarlyEnd::MemoryGuard(why)) = &outcome.early_end else { panic!("{:?}", outcome.early_end) };
    assert!(why.starts_with("1.0 GB"), "the first reason stands: {why}");
    let connections = &outcome.connections;
    assert!(connections.established >= 5 && connections.closed_by_plan == connections.established);
    assert_eq!((connections.failed, connections.lost), (0, 0));
}

#[test]
fn too_few_descriptors_are_an_error_that_names_the_remedy() {
    let plan = plan(1_000_000_000);
    let target = SocketAddr::from(([10, 0, 0, 1], 1));
    let options = Options {
        engine: Engine::Kernel(Requested::Named(Backend::Epoll)),
        ..options(target, &Plan { connections: 1, ..plan.clone() })
    };
    let error = Load::start(plan, options);
    let Err(LoadError::TooFewFiles { needed, .. }) = &error else { panic!("{error:?}") };
    assert!(*needed > 1_000_000_000);
    assert!(error.unwrap_err().to_string().contains("ulimit -n"));
}

#[test]
fn a_core_that_does_not_exist_ends_the_load_with_its_number() {
    let plan = plan(4);
    let options = Options { threads: 2, cpus: vec![0, 1023], ..options(echo_server(), &plan) };
    let error = Load::start(plan, options).unwrap().wait().unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("1023"), "{source}");
}
