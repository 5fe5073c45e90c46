//! Messages between users, within and across shards, over real sockets and both backends.

use crate::common::{
    Client, Got, backends, bystanders_still_chat, impatient, on_a_server, on_every_server, wait_until,
};
use throng_server::{Config, Server};
use throng_wire::native::{Bye, Frame, Refusal};

#[test]
fn a_message_is_delivered_acknowledged_and_accepted() {
    on_every_server(&Config::default(), bystanders_still_chat);
}

#[test]
fn messages_between_many_users_arrive_once_and_in_order() {
    on_every_server(&Config::default(), |server| {
        let mut users: Vec<Client> = (1..=20).map(|user| Client::login(server, user)).collect();
        for (index, user) in users.iter_mut().enumerate() {
            let partner = (index as u64 ^ 1) + 1;
            for id in 1..=50 {
                user.send(id, partner, &id.to_le_bytes());
            }
        }
        let mut accepted = [0; 20];
        for (index, user) in users.iter_mut().enumerate() {
            let partner = (index as u64 ^ 1) + 1;
            let mut delivered = 0u64;
            while delivered < 50 {
                match user.read() {
                    Got::Deliver { from, id, body } => {
                        delivered += 1;
                        assert_eq!((from, id, body), (partner, delivered, delivered.to_le_bytes().to_vec()));
                    }
                    Got::Accepted(id) => {
                        accepted[index] += 1;
                        assert_eq!(id, accepted[index]);
                    }
                    other => panic!("{other:?}"),
                }
            }
            user.ack();
        }
        for (user, accepted) in users.iter_mut().zip(accepted) {
            for id in accepted + 1..=50 {
                assert_eq!(user.read(), Got::Accepted(id));
            }
        }
        wait_until(server, "1000 accepted", |figures| figures.messages_accepted == 1000);
    });
}

#[test]
fn one_ack_accepts_everything_before_it() {
    on_every_server(&Config::default(), |server| {
        let (mut ann, mut bob) = (Client::login(server, 1), Client::login(server, 2));
        for id in 1..=64 {
            ann.send(id, 2, b"x");
        }
        for id in 1..=64 {
            assert_eq!(bob.read(), Got::Deliver { from: 1, id, body: b"x".to_vec() });
        }
        bob.ack();
        for id in 1..=64 {
            assert_eq!(ann.read(), Got::Accepted(id));
        }
        bob.ack();
        bystanders_still_chat(server);
    });
}

#[test]
fn a_message_to_somebody_unknown_is_refused_and_the_sender_goes_on() {
    on_every_server(&Config::default(), |server| {
        let mut ann = Client::login(server, 1);
        ann.send(7, 12345, b"anybody there?");
        assert_eq!(ann.read(), Got::Refused(7, Refusal::NotConnected));
        ann.write(&Frame::Ping { token: 5 });
        assert_eq!(ann.read(), Got::Pong(5));
    });
}

#[test]
fn a_connection_that_dies_after_deliver_makes_the_outcome_unknown() {
    on_every_server(&Config::default(), |server| {
        let (mut ann, mut bob) = (Client::login(server, 1), Client::login(server, 2));
        ann.send(1, 2, b"x");
        assert!(matches!(bob.read(), Got::Deliver { .. }));
        drop(bob);
        assert_eq!(ann.read(), Got::Unknown(1));
        ann.send(2, 2, b"x");
        assert_eq!(ann.read(), Got::Refused(2, Refusal::NotConnected));
    });
}

#[test]
fn a_second_login_closes_the_first_with_a_reason() {
    on_every_server(&Config::default(), |server| {
        for _ in 0..10 {
            let mut first = Client::login(server, 1);
            let mut second = Client::login(server, 1);
            assert_eq!(first.read(), Got::Bye(Bye::Replaced));
            assert_eq!(first.read(), Got::End);
            let mut bob = Client::login(server, 2);
            bob.send(1, 1, b"to the new one");
            assert_eq!(second.read(), Got::Deliver { from: 2, id: 1, body: b"to the new one".to_vec() });
            second.ack();
            assert_eq!(bob.read(), Got::Accepted(1));
        }
        wait_until(server, "ten replaced", |figures| figures.logins_replaced >= 10);
    });
}

#[test]
fn what_was_on_its_way_to_a_replaced_connection_is_unknown() {
    on_every_server(&Config::default(), |server| {
        let (mut ann, mut first) = (Client::login(server, 1), Client::login(server, 2));
        ann.send(1, 2, b"x");
        assert!(matches!(first.read(), Got::Deliver { .. }));
        let _second = Client::login(server, 2);
        assert_eq!(ann.read(), Got::Unknown(1));
    });
}

#[test]
fn a_drain_says_bye_with_a_time_to_come_back_and_ends() {
    for backend in backends() {
        let config =
            Config { backend, shards: 2, listen: vec!["127.0.0.1:0".parse().unwrap()], ..impatient() };
        let server = Server::start(config).unwrap();
        let mut clients: Vec<Client> = (1..=20).map(|user| Client::login(&server, user)).collect();
        server.drain();
        for client in &mut clients {
            assert_eq!(client.read(), Got::Bye(Bye::Draining));
            assert_eq!(client.read(), Got::End);
        }
        drop(clients);
        let address = server.addresses()[0];
        let figures = server.join().unwrap().total();
        assert_eq!((figures.connections, figures.logins), (0, 20));
        assert!(std::net::TcpStream::connect(address).is_err(), "the listeners are gone");
    }
}

#[test]
fn a_message_on_its_way_when_the_drain_begins_is_still_accepted() {
    on_every_server(&Config::default(), |server| {
        let (mut ann, mut bob) = (Client::login(server, 1), Client::login(server, 2));
        ann.send(1, 2, b"x");
        assert!(matches!(bob.read(), Got::Deliver { .. }));
        server.drain();
        bob.ack();
        assert_eq!(ann.read(), Got::Accepted(1));
        assert_eq!(ann.read(), Got::Bye(Bye::Draining));
    });
}

#[test]
fn ipv6_is_served_beside_ipv4() {
    for backend in backends() {
        let listen = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
        let server = Server::start(Config { backend, shards: 2, listen, ..Config::default() }).unwrap();
        let [v4, v6] = server.addresses() else { panic!("two addresses") };
        let (mut ann, mut bob) = (Client::connect(*v4), Client::connect(*v6));
        ann.write(&crate::common::hello(1));
        bob.write(&crate::common::hello(2));
        assert_eq!((ann.read(), bob.read()), (Got::Welcome, Got::Welcome));
        ann.send(1, 2, b"across families");
        assert_eq!(bob.read(), Got::Deliver { from: 1, id: 1, body: b"across families".to_vec() });
        drop((ann, bob));
        server.drain();
        server.join().unwrap();
    }
}

#[test]
fn an_address_in_use_is_an_error_that_names_it() {
    on_a_server(Config::default(), |server| {
        let address = server.addresses()[0];
        let blocker = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = blocker.local_addr().unwrap();
        let error =
            Server::start(Config { listen: vec![taken], ..Config::default() }).unwrap_err().to_string();
        assert!(error.contains(&taken.to_string()), "{error}");
        assert!(Client::connect(address).stream.peer_addr().is_ok());
    });
}

#[test]
fn a_body_of_the_greatest_length_is_delivered_and_a_longer_one_is_the_senders_fault() {
    on_every_server(&Config::default(), |server| {
        let (mut ann, mut bob) = (Client::login(server, 1), Client::login(server, 2));
        let body = vec![7; throng_wire::limits::BODY_BYTES_MAX];
        ann.send(1, 2, &body);
        assert_eq!(bob.read(), Got::Deliver { from: 1, id: 1, body });
        bob.ack();
        assert_eq!(ann.read(), Got::Accepted(1));
        let length = (throng_wire::limits::FRAME_BYTES_MAX as u32).to_le_bytes();
        std::io::Write::write_all(&mut ann.stream, &[length[0], length[1], length[2], length[3], 3, 0, 0, 0])
            .unwrap();
        ann.expect_error(throng_wire::native::ErrorCode::FrameTooLong);
        bob.write(&Frame::Ping { token: 1 });
        assert_eq!(bob.read(), Got::Pong(1));
    });
}

#[test]
fn many_senders_at_once_do_not_make_a_fast_reader_slow() {
    on_every_server(&Config::default(), |server| {
        let mut hub = Client::login(server, 1);
        let mut senders: Vec<Client> = (10..40).map(|user| Client::login(server, user)).collect();
        for sender in &mut senders {
            let mut bytes = Vec::new();
            for id in 1..=64 {
                let to = throng_wire::native::Recipient::User(throng_wire::native::UserId(1));
                Frame::Send { id: throng_wire::native::MessageId(id), to, body: &[7; 120] }
                    .encode(&mut bytes);
            }
            std::io::Write::write_all(&mut sender.stream, &bytes).unwrap();
        }
        for _ in 0..30 * 64 {
            assert!(matches!(hub.read(), Got::Deliver { .. }));
        }
        hub.ack();
        for sender in &mut senders {
            for id in 1..=64 {
                assert_eq!(sender.read(), Got::Accepted(id));
            }
        }
        assert_eq!(server.figures().total().closed_slow_reader, 0);
    });
}

#[test]
fn a_goodbye_is_not_cut_short_by_the_timer_of_the_login() {
    let config = Config {
        login_timeout: std::time::Duration::from_millis(600),
        linger: std::time::Duration::from_secs(20),
        ..Config::default()
    };
    on_every_server(&config, |server| {
        let mut first = Client::login(server, 1);
        let _second = Client::login(server, 1);
        wait_until(server, "the first was told to go", |figures| figures.logins_replaced == 1);
        // Longer than the login timeout: its timer finds a leaving session, and must leave it alone.
        std::thread::sleep(std::time::Duration::from_millis(900));
        assert_eq!(first.read(), Got::Bye(Bye::Replaced));
        assert_eq!(first.read(), Got::End);
        assert_eq!(server.figures().total().closed_by_reset, 0);
    });
}

#[test]
fn a_shard_that_cannot_start_is_an_error_and_not_a_hang() {
    let allowed = throng_reactor::sys::affinity::allowed().unwrap();
    let listen = vec!["127.0.0.1:0".parse().unwrap()];
    let cpus = vec![allowed[0], 1000];
    let error =
        Server::start(Config { listen, shards: 2, cpus, ..Config::default() }).unwrap_err().to_string();
    assert!(error.contains("shard 1") && error.contains("1000"), "{error}");
}

#[test]
fn more_shards_than_slots_can_tell_apart_are_refused_with_the_number() {
    for shards in [0, 4097] {
        let error = Server::start(Config { shards, ..Config::default() }).unwrap_err().to_string();
        assert!(error.contains(&format!("{shards} shards")) && error.contains("4096"), "{error}");
    }
}
