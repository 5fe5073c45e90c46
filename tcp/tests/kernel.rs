//! Users in user space against the kernel's TCP, over a TUN device in a network namespace of the test's own.
#![allow(clippy::unwrap_used)] // in tests a panic with its line is the message

#[path = "kernel/device.rs"]
mod device;
#[path = "kernel/lossy.rs"]
mod lossy;
#[path = "kernel/world.rs"]
mod world;

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use device::in_a_namespace;
use lossy::Faults;
use socket2::SockRef;
use throng_reactor::{Close, Config, Reactor, Slot};
use throng_tcp::segment::{Flags, Header};
use world::{Seen, World, pattern};

#[test]
fn a_message_goes_there_and_back_and_both_ends_close() {
    in_a_namespace(|| {
        let mut world = World::new(Faults::default());
        let (user, mut server) = world.pair();
        world.users.send(user, b"hello".to_vec());
        world.until("the buffer comes back", |world| world.has(&Seen::Sent(user, true)));
        let mut got = [0; 5];
        server.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"hello");
        server.write_all(b"and you").unwrap();
        world.until("the answer", |world| world.received(user) == b"and you");
        world.users.close(user, Close::Now);
        world.turns(5);
        assert_eq!(server.read(&mut got).unwrap(), 0, "FIN, and nothing else");
        drop(server);
        world.until("the end", |world| world.has(&Seen::Closed(user, None)));
        let counters = *world.users.stack().counters();
        assert_eq!((counters.resets_sent, counters.resets_received, counters.retransmitted), (0, 0, 0));
        assert_eq!((counters.checksum_errors, counters.malformed, counters.strays), (0, 0, 0));
    });
}

#[test]
fn a_port_that_nobody_listens_on_refuses() {
    in_a_namespace(|| {
        let mut world = World::new(Faults::default());
        let user = world.users.connect(None, "198.18.0.1:9".parse().unwrap()).unwrap();
        world
            .until("the refusal", |world| world.has(&Seen::Closed(user, Some(ErrorKind::ConnectionRefused))));
        assert!(!world.has(&Seen::Connected(user)));
    });
}

#[test]
fn a_megabyte_goes_through_both_ways() {
    in_a_namespace(|| {
        let mut world = World::new(Faults::default());
        let (user, server) = world.pair();
        let sent = pattern(1 << 20);
        let echo = world::echo(server);
        world.users.send(user, sent.clone());
        world.until("all of it back", |world| world.received(user).len() == sent.len());
        assert!(world.received(user) == sent);
        world.users.close(user, Close::Now);
        world.until("the end", |world| world.has(&Seen::Closed(user, None)));
        assert_eq!(echo.join().unwrap(), 1 << 20);
    });
}

#[test]
fn with_a_single_buffer_everything_comes_one_after_the_other() {
    in_a_namespace(|| {
        let mut world = World::with(Faults::default(), &Config { recv_buffers: 1, ..Config::default() });
        let (user, server) = world.pair();
        let sent = pattern(300_000);
        let echo = world::echo(server);
        world.users.send(user, sent.clone());
        world.until("all of it back", |world| world.received(user).len() == sent.len());
        assert!(world.received(user) == sent);
        assert!(world.users.gauges().recv_starved > 0);
        world.users.close(user, Close::Now);
        world.until("the end", |world| world.has(&Seen::Closed(user, None)));
        assert_eq!(echo.join().unwrap(), 300_000);
    });
}

#[test]
fn a_server_that_resets_is_heard() {
    in_a_namespace(|| {
        let mut world = World::new(Faults::default());
        let (user, server) = world.pair();
        SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
        drop(server);
        world.until("the reset", |world| world.has(&Seen::Closed(user, Some(ErrorKind::ConnectionReset))));
    });
}

#[test]
fn a_reset_of_ours_is_heard_by_the_server() {
    in_a_namespace(|| {
        let mut world = World::new(Faults::default());
        let (user, mut server) = world.pair();
        world.users.close(user, Close::Reset);
        world.until("the end", |world| world.has(&Seen::Closed(user, None)));
        world.turns(5);
        assert_eq!(server.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_server_that_closes_one_half_still_hears_the_other() {
    in_a_namespace(|| {
        let mut world = World::new(Faults::default());
        let (user, mut server) = world.pair();
        server.write_all(b"last words").unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        world.until("the end of its half", |world| world.has(&Seen::Eof(user)));
        assert_eq!(world.received(user), b"last words");
        world.users.send(user, b"I can still talk".to_vec());
        world.users.shutdown(user);
        world.turns(5);
        let mut all = Vec::new();
        server.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"I can still talk");
        world.users.close(user, Close::Now);
        world.until("the end", |world| world.has(&Seen::Closed(user, None)));
        assert_eq!(world.users.stack().counters().resets_sent, 0);
    });
}

#[test]
fn a_server_that_stops_reading_holds_a_send_until_it_reads_on() {
    in_a_namespace(|| {
        let mut world = World::new(Faults::default());
        let (user, mut server) = world.pair();
        SockRef::from(&server).set_recv_buffer_size(4096).unwrap();
        let sent = pattern(300_000);
        world.users.send(user, sent.clone());
        world.until("the window is closed", |world| world.users.stack().counters().window_probes > 0);
        assert!(!world.has(&Seen::Sent(user, true)), "there is no room for it");
        let reader = std::thread::spawn(move || {
            let mut all = vec![0; 300_000];
            server.read_exact(&mut all).unwrap();
            (all, server)
        });
        world.until("the send is done", |world| world.has(&Seen::Sent(user, true)));
        while !reader.is_finished() {
            world.turns(1);
        }
        assert!(reader.join().unwrap().0 == sent);
    });
}

#[test]
fn a_user_who_pauses_gets_everything_later() {
    in_a_namespace(|| {
        let mut world = World::new(Faults::default());
        let (user, mut server) = world.pair();
        world.users.pause(user);
        let sent = pattern(400_000);
        let bytes = sent.clone();
        let writer = std::thread::spawn(move || {
            server.write_all(&bytes).unwrap();
            server.shutdown(Shutdown::Write).unwrap();
            server
        });
        world.turns(100);
        assert!(
            world.received(user).is_empty() && !world.has(&Seen::Eof(user)),
            "nothing is heard in a pause"
        );
        world.users.resume(user);
        world.until("the end of it", |world| world.has(&Seen::Eof(user)));
        assert!(world.received(user) == sent);
        drop(writer.join().unwrap());
    });
}

#[test]
fn a_name_is_used_again_after_its_end() {
    in_a_namespace(|| {
        let mut world = World::new(Faults::default());
        let mut last: Option<Slot> = None;
        // The server closes first, so that its side waits in TIME_WAIT for this very address and port.
        for round in 0..20 {
            let (user, mut server) = world.pair();
            assert!(last.is_none_or(|last| last.index() == user.index() && last != user));
            server.write_all(&[round]).unwrap();
            drop(server);
            world.until("the end of its half", |world| world.has(&Seen::Eof(user)));
            assert_eq!(world.received(user), [round]);
            world.users.close(user, Close::Now);
            world.until("the end", |world| world.has(&Seen::Closed(user, None)));
            world.turns(1); // the index is free from the next turn on
            last = Some(user);
        }
    });
}

#[test]
fn segments_are_as_large_as_the_other_takes_and_no_larger() {
    in_a_namespace(|| {
        let mut world = World::new(Faults::default());
        world.limit_segments(700);
        let (user, server) = world.pair();
        let echo = world::echo(server);
        world.users.send(user, pattern(50_000));
        world.until("all of it back", |world| world.received(user).len() == 50_000);
        world.users.close(user, Close::Now);
        world.until("the end", |world| world.has(&Seen::Closed(user, None)));
        echo.join().unwrap();
        assert_eq!(world.users.link().seen.largest[1], 700, "what the kernel said that it takes");
    });
    in_a_namespace(|| {
        let mut world = World::new(Faults::default());
        let (user, server) = world.pair();
        let echo = world::echo(server);
        world.users.send(user, pattern(50_000));
        world.until("all of it back", |world| world.received(user).len() == 50_000);
        world.users.close(user, Close::Now);
        world.until("the end", |world| world.has(&Seen::Closed(user, None)));
        echo.join().unwrap();
        assert_eq!(world.users.link().seen.largest, [1460; 2]);
    });
}

#[test]
fn an_answer_carries_the_acknowledgement_and_silence_is_acknowledged_later() {
    in_a_namespace(|| {
        let mut world = World::new(Faults::default());
        let (user, mut server) = world.pair();
        let alone = |world: &World| world.users.stack().counters().acks_alone;
        let before = alone(&world);
        for round in 0..20u8 {
            server.write_all(&[round]).unwrap();
            world.until("the question", |world| world.received(user).len() == usize::from(round) + 1);
            world.users.send(user, vec![round]);
            world.turns(1);
            server.read_exact(&mut [0]).unwrap();
        }
        // All of its last byte is not acknowledged yet, and each of the others was with an answer.
        assert!(alone(&world) - before <= 2, "{} of 20", alone(&world) - before);
        let before = alone(&world);
        server.write_all(b"no answer").unwrap();
        world.until("what is not answered", |world| world.received(user).len() > 20);
        assert_eq!(alone(&world), before, "not at once");
        world.until("it goes alone", |world| alone(world) > before);
        assert_eq!(world.users.stack().counters().retransmitted, 0);
    });
}

#[test]
fn a_forged_reset_is_questioned_by_both_and_ends_nothing() {
    in_a_namespace(|| {
        let mut world = World::new(Faults::default());
        let (user, mut server) = world.pair();
        server.write_all(b"one").unwrap();
        world.until("one", |world| world.received(user) == b"one");
        world.turns(30);
        let challenged = || world::counter("TcpExt", "TCPChallengeACK");
        let before = challenged();
        let seen = &world.users.link().seen;
        let (ours, theirs) = (seen.last_sent.unwrap(), seen.last_received.unwrap());
        // In the window, and not at its very beginning.
        let next = theirs.seq.plus(3 + 100);
        let forged = Header { seq: next, flags: Flags::RST, ..theirs };
        world.users.link().forge_received(&forged);
        let forged = Header { seq: ours.seq.plus(100), flags: Flags::RST, ..ours };
        world.users.link().forge_sent(&forged);
        world.turns(10);
        assert_eq!(world.users.stack().counters().challenges, 1);
        assert_eq!(challenged() - before, 1, "the kernel asks, too");
        server.write_all(b"two").unwrap();
        world.until("two", |world| world.received(user) == b"onetwo");
        world.users.send(user, b"three".to_vec());
        world.turns(2);
        let mut got = [0; 5];
        server.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"three");
    });
}

/// What goes wrong between the device and the users, one in so many packets of each way.
#[test]
fn everything_arrives_once_and_in_order_over_a_bad_link() {
    in_a_namespace(|| {
        for seed in 1..=2 {
            let mut world =
                World::new(Faults { seed, lost: 40, doubled: 20, swapped: 20, ..Faults::default() });
            let users: Vec<Slot> = (0..20)
                .map(|_| {
                    let (user, server) = world.pair();
                    let _ = world::echo(server);
                    user
                })
                .collect();
            let sent = pattern(40_000);
            for part in sent.chunks(400) {
                for user in &users {
                    world.users.send(*user, part.to_vec());
                }
                world.turns(1);
            }
            for user in &users {
                world.until("all of it back", |world| world.received(*user).len() >= sent.len());
                assert!(world.received(*user) == sent, "seed {seed}");
            }
            for user in &users {
                world.users.close(*user, Close::Now);
                world.until("the end", |world| world.has(&Seen::Closed(*user, None)));
            }
            let counters = *world.users.stack().counters();
            assert!(
                counters.retransmitted > 0 && counters.duplicates > 0 && counters.out_of_order > 0,
                "{counters:?}"
            );
        }
    });
}

#[test]
fn packets_that_are_damaged_are_counted_and_sent_again() {
    in_a_namespace(|| {
        let mut world = World::new(Faults { seed: 7, damaged: 10, ..Faults::default() });
        let (user, server) = world.pair();
        let _ = world::echo(server);
        let mut sent = Vec::new();
        // Sixteen bits of a packet are its checksum, and damage elsewhere shows in it, mostly.
        while sent.len() < 20_000 || world.users.stack().counters().checksum_errors == 0 {
            let part = pattern(1000);
            sent.extend_from_slice(&part);
            world.users.send(user, part);
            world.until("it comes back", |world| world.received(user).len() >= sent.len());
        }
        assert!(world.received(user) == sent);
    });
}
