//! Clients that break the rules: each gets a reason or a close, a figure moves, and nobody else notices.

use std::collections::VecDeque;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::common::{Client, Got, bystanders_still_chat, hello, impatient, on_every_server, wait_until};
use socket2::SockRef;
use throng_server::{Config, Server};
use throng_wire::native::{Bye, ErrorCode, Frame, MessageId, Recipient, Sequence, UserId};

#[test]
fn random_bytes_are_answered_with_an_error() {
    on_every_server(&impatient(), |server| {
        for seed in 1..=20u8 {
            let mut client = Client::connect(server.addresses()[0]);
            let bytes: Vec<u8> = (0..64u8).map(|i| i.wrapping_mul(167).wrapping_add(seed) | 1).collect();
            client.stream.write_all(&bytes).unwrap();
            assert!(matches!(client.read(), Got::Error(ErrorCode::BadFrame | ErrorCode::FrameTooLong)));
        }
        wait_until(server, "20 bad frames", |figures| figures.closed_bad_frame == 20);
        bystanders_still_chat(server);
    });
}

#[test]
fn a_frame_longer_than_the_limit_is_refused_at_its_header() {
    on_every_server(&impatient(), |server| {
        let mut stranger = Client::connect(server.addresses()[0]);
        stranger.stream.write_all(&[1, 4, 0, 0, 1, 0, 0, 0]).unwrap(); // 1025 bytes before login
        stranger.expect_error(ErrorCode::FrameTooLong);
        let mut user = Client::login(server, 1);
        user.stream.write_all(&[1, 0, 1, 0, 3, 0, 0, 0]).unwrap(); // 65,537 bytes after it
        user.expect_error(ErrorCode::FrameTooLong);
        wait_until(server, "two bad frames", |figures| figures.closed_bad_frame == 2);
        bystanders_still_chat(server);
    });
}

#[test]
fn half_a_hello_then_silence_runs_into_the_login_timeout() {
    on_every_server(&impatient(), |server| {
        let mut client = Client::connect(server.addresses()[0]);
        client.stream.write_all(&[32, 0, 0, 0, 1, 0]).unwrap();
        client.expect_error(ErrorCode::LoginTimeout);
        wait_until(server, "a login timeout", |figures| figures.closed_login_timeout == 1);
    });
}

#[test]
fn half_a_message_then_silence_runs_into_the_idle_timeout() {
    on_every_server(&impatient(), |server| {
        let mut client = Client::login(server, 1);
        client.stream.write_all(&[200, 0, 0, 0, 3, 0, 0, 0, 1]).unwrap();
        assert!(matches!(client.read(), Got::Ping(_)), "the server asks first");
        assert_eq!(client.read(), Got::Bye(Bye::Idle));
        assert_eq!(client.read(), Got::End);
        wait_until(server, "an idle close", |figures| figures.closed_idle == 1 && figures.pings_sent >= 1);
    });
}

#[test]
fn a_client_that_answers_pings_stays() {
    on_every_server(&impatient(), |server| {
        let mut client = Client::login(server, 1);
        for _ in 0..4 {
            let Got::Ping(token) = client.read() else { panic!("not a ping") };
            client.write(&Frame::Pong { token });
        }
        assert_eq!(server.figures().total().closed_idle, 0);
    });
}

#[test]
fn a_frame_split_at_every_byte_is_a_frame() {
    on_every_server(&Config::default(), |server| {
        let mut bob = Client::login(server, 2);
        let mut ann = Client::connect(server.addresses()[0]);
        let mut bytes = Vec::new();
        hello(1).encode(&mut bytes);
        for byte in bytes {
            ann.stream.write_all(&[byte]).unwrap();
        }
        assert_eq!(ann.read(), Got::Welcome);
        for cut in 1..29 {
            let mut bytes = Vec::new();
            Frame::Send { id: MessageId(cut), to: Recipient::User(UserId(2)), body: b"split" }
                .encode(&mut bytes);
            let (head, tail) = bytes.split_at(cut as usize);
            ann.stream.write_all(head).unwrap();
            std::thread::sleep(Duration::from_millis(1)); // so that the halves mostly arrive apart
            ann.stream.write_all(tail).unwrap();
            assert_eq!(bob.read(), Got::Deliver { from: 1, id: cut, body: b"split".to_vec() });
            bob.ack();
            assert_eq!(ann.read(), Got::Accepted(cut));
        }
    });
}

#[test]
fn a_second_hello_on_one_connection_is_an_error() {
    on_every_server(&impatient(), |server| {
        let mut client = Client::login(server, 1);
        client.write(&hello(1));
        client.expect_error(ErrorCode::AlreadyLoggedIn);
        wait_until(server, "bad conduct", |figures| figures.closed_bad_conduct == 1);
    });
}

#[test]
fn a_message_before_login_is_an_error() {
    on_every_server(&impatient(), |server| {
        let mut client = Client::connect(server.addresses()[0]);
        client.send(1, 2, b"too early");
        client.expect_error(ErrorCode::NotLoggedIn);
        wait_until(server, "bad conduct", |figures| figures.closed_bad_conduct == 1);
    });
}

#[test]
fn no_common_version_is_an_error_that_says_so() {
    on_every_server(&impatient(), |server| {
        let mut client = Client::connect(server.addresses()[0]);
        client.write(&Frame::Hello(throng_wire::native::Hello {
            version_min: 2,
            version_max: 9,
            user: UserId(1),
            device: 0,
        }));
        client.expect_error(ErrorCode::Version);
    });
}

#[test]
fn a_frame_that_only_a_server_sends_is_an_error() {
    on_every_server(&impatient(), |server| {
        let mut client = Client::login(server, 1);
        client.write(&Frame::Accepted { id: MessageId(1) });
        client.expect_error(ErrorCode::WrongDirection);
    });
}

#[test]
fn an_ack_of_what_was_never_delivered_is_an_error() {
    on_every_server(&impatient(), |server| {
        let mut client = Client::login(server, 1);
        client.write(&Frame::Ack { sequence: Sequence(u64::MAX) });
        client.expect_error(ErrorCode::BadAck);
    });
}

#[test]
fn more_than_64_messages_without_an_outcome_are_an_error() {
    on_every_server(&impatient(), |server| {
        let (mut ann, _bob) = (Client::login(server, 1), Client::login(server, 2));
        for id in 1..=65 {
            ann.send(id, 2, b"x");
        }
        ann.expect_error(ErrorCode::TooManyOutstanding);
    });
}

#[test]
fn a_peer_that_never_reads_is_closed_and_its_senders_are_told() {
    // No jam between shards may refuse messages, so that they reach the one who does not read.
    let parked_bytes_max = 64 * 1024 * 1024;
    let config = Config { outbox_bytes_max: 64 * 1024, parked_bytes_max, ..impatient() };
    on_every_server(&config, |server| {
        let slow = Client::login(server, 1);
        SockRef::from(&slow.stream).set_recv_buffer_size(4096).unwrap();
        let mut senders: Vec<Client> = (10..40).map(|user| Client::login(server, user)).collect();
        let body = vec![7; 60_000];
        // What one turn brings goes out as one send, whatever its size. The first half is more than sockets take, so its send
        // stays in flight, and the second half waits behind it: that makes a reader slow.
        for (ids, sent) in [(1..=4, 120), (5..=8, 240)] {
            for sender in &mut senders {
                ids.clone().for_each(|id| sender.send(id, 1, &body));
            }
            wait_until(server, "the messages at the slow one", |figures| {
                figures.messages_delivered == sent || figures.closed_slow_reader == 1
            });
        }
        wait_until(server, "a slow reader", |figures| figures.closed_slow_reader == 1);
        for sender in &mut senders {
            let mut ids: Vec<u64> = (1..=8)
                .map(|_| match sender.read() {
                    Got::Unknown(id) | Got::Refused(id, _) => id,
                    other => panic!("{other:?}"),
                })
                .collect();
            ids.sort_unstable();
            assert_eq!(ids, [1, 2, 3, 4, 5, 6, 7, 8], "each message has one outcome");
        }
        wait_until(server, "the slow one gone", |figures| figures.connections == 30);
        drop(slow);
        bystanders_still_chat(server);
    });
}

#[test]
fn a_client_that_pings_and_never_reads_is_closed() {
    on_every_server(&Config { outbox_bytes_max: 64 * 1024, ..impatient() }, |server| {
        let mut client = Client::login(server, 1);
        SockRef::from(&client.stream).set_recv_buffer_size(4096).unwrap();
        let mut pings = Vec::new();
        for token in 0..4096 {
            Frame::Ping { token }.encode(&mut pings);
        }
        // 64 MiB of pongs are more than any socket buffer takes; the server ends it long before.
        for _ in 0..1024 {
            match client.stream.write_all(&pings) {
                Ok(()) => {}
                Err(error) => {
                    let gone = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
                    assert!(gone.contains(&error.kind()), "{error}");
                    break;
                }
            }
        }
        wait_until(server, "a slow reader", |figures| figures.closed_slow_reader == 1);
        bystanders_still_chat(server);
    });
}

#[test]
fn a_reset_in_the_middle_of_a_send_touches_nobody_else() {
    on_every_server(&Config::default(), |server| {
        let mut ann = Client::login(server, 1);
        let bob = Client::login(server, 2);
        SockRef::from(&bob.stream).set_recv_buffer_size(4096).unwrap();
        let body = vec![1; 60_000];
        for id in 1..=4 {
            ann.send(id, 2, &body);
        }
        wait_until(server, "the delivery has begun", |figures| figures.messages_delivered == 4);
        SockRef::from(&bob.stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(bob);
        for id in 1..=4 {
            assert_eq!(ann.read(), Got::Unknown(id));
        }
        bystanders_still_chat(server);
    });
}

#[test]
fn thousands_that_never_log_in_are_turned_away_and_users_get_in() {
    on_every_server(&Config { logins_max: 300, ..impatient() }, |server| {
        let strangers: Vec<Client> = (0..2000).map(|_| Client::connect(server.addresses()[0])).collect();
        wait_until(server, "all turned away", |figures| {
            figures.closed_too_many_logins + figures.closed_login_timeout == 2000
        });
        assert!(server.figures().total().closed_too_many_logins > 0);
        bystanders_still_chat(server);
        drop(strangers);
    });
}

#[test]
fn a_full_server_turns_clients_away_until_somebody_leaves() {
    on_every_server(&Config { connections_max: 8, ..Config::default() }, |server| {
        let mut inside = VecDeque::new();
        for user in 1..=40 {
            let mut attempts = 0;
            while let Err(turned_away) = try_login(server, user).map(|client| inside.push_back(client)) {
                attempts += 1;
                assert!(attempts < 500, "user {user} never came in: {turned_away}");
                inside.pop_front();
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        wait_until(server, "accepting paused", |figures| figures.accept_left_group > 0);
    });
}

/// Logs in, unless the server has no room: then the connection is refused, reset, or not answered.
fn try_login(server: &Server, user: u64) -> std::io::Result<Client> {
    let mut client = Client::over(TcpStream::connect(server.addresses()[0])?);
    let mut bytes = Vec::new();
    hello(user).encode(&mut bytes);
    client.stream.write_all(&bytes)?;
    client.stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    client.stream.peek(&mut [0])?;
    assert_eq!(client.read(), Got::Welcome);
    Ok(client)
}

#[test]
fn many_unfinished_frames_are_bounded_in_sum_and_the_rest_goes_on() {
    let config = Config { side_bytes_max: 0, outbox_bytes_max: 1024, ..Config::default() };
    on_every_server(&config, |server| {
        // A thousand bytes of a longer frame; a shard has room for sixteen of them.
        let mut half = vec![0; 1000];
        half[..5].copy_from_slice(&[0, 8, 0, 0, 3]);
        let mut clients: Vec<Client> = (1..=100).map(|user| Client::login(server, user)).collect();
        for client in &mut clients {
            client.stream.write_all(&half).unwrap();
        }
        let room = 16 * server.figures().shards.len() as u64;
        wait_until(server, "those beyond the sum are told to go", |figures| {
            figures.closed_no_room >= 100 - room
        });
        assert!(server.figures().total().closed_no_room < 100, "those within it stay");
        clients.last_mut().unwrap().expect_error(ErrorCode::NoRoom);
        drop(clients);
        bystanders_still_chat(server);
    });
}

#[test]
fn many_slow_readers_are_bounded_in_sum() {
    let config = Config { side_bytes_max: 0, outbox_bytes_max: 64 * 1024, ..impatient() };
    on_every_server(&config, |server| {
        let slow: Vec<Client> = (1..=60).map(|user| Client::login(server, user)).collect();
        for client in &slow {
            SockRef::from(&client.stream).set_recv_buffer_size(4096).unwrap();
        }
        let mut senders: Vec<Client> = (101..=160).map(|user| Client::login(server, user)).collect();
        // Nobody lets more wait than allowed, but all together do: a shard has room for a MiB.
        let body = vec![7; 60_000];
        for id in 1..=3 {
            for (to, sender) in (1..).zip(&mut senders) {
                sender.send(id, to, &body);
            }
        }
        wait_until(server, "some are told to go", |figures| figures.closed_no_room > 0);
        drop((slow, senders));
        bystanders_still_chat(server);
    });
}
