//! Clients with TLS, those of somebody else's (rustls' own buffered connection), and what is no TLS at all.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};

use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use throng_reactor::Backend;
use throng_server::{Config, Server};
use throng_wire::native::{Bye, ErrorCode};
use throng_wire::tls::{self, Setup, Tickets, Versions};

use crate::common::{Client, Got, PATIENCE, backends, hello, impatient, on_a_server, wait_until};

const NAME: &str = "chat.example";
const BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

type Secure = StreamOwned<ClientConnection, TcpStream>;

struct Pair {
    certificate: String,
    key: String,
}

fn pair() -> Pair {
    let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
    Pair { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
}

fn known() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(pair)
}

fn setup(pair: &Pair, tickets: Option<&Tickets>) -> Setup {
    tls::server(pair.certificate.as_bytes(), pair.key.as_bytes(), Versions::Both, tickets, 1_893_456_000)
        .unwrap()
}

/// Runs `check` against a server that listens for both kinds of clients, on each backend, with one shard and with three.
fn on_every_secure_server(config: &Config, check: impl Fn(&Server)) {
    for backend in backends() {
        for shards in [1, 3] {
            on_a_server(secure(Config { backend, shards, ..config.clone() }), &check);
        }
    }
}

fn secure(config: Config) -> Config {
    let tls = Some(setup(known(), None));
    Config { tls, listen_tls: vec!["127.0.0.1:0".parse().unwrap()], ..config }
}

fn plain_address(server: &Server) -> SocketAddr {
    server.addresses()[0]
}

fn address(server: &Server) -> SocketAddr {
    server.addresses()[1]
}

fn config(version: &'static SupportedProtocolVersion, trusted: &Pair) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(rustls::pki_types::CertificateDer::from_pem_slice(trusted.certificate.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

fn connect(server: &Server, config: Arc<ClientConfig>) -> Secure {
    let stream = TcpStream::connect(address(server)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    StreamOwned::new(ClientConnection::new(config, ServerName::try_from(NAME).unwrap()).unwrap(), stream)
}

fn login(server: &Server, version: &'static SupportedProtocolVersion, user: u64) -> Client<Secure> {
    let mut client = Client::of(connect(server, config(version, known())));
    client.write(&hello(user));
    assert_eq!(client.read(), Got::Welcome);
    client
}

#[test]
fn users_with_tls_and_without_write_to_each_other() {
    on_every_secure_server(&Config::default(), |server| {
        let mut plain = Client::over(TcpStream::connect(plain_address(server)).unwrap());
        plain.write(&hello(1));
        assert_eq!(plain.read(), Got::Welcome);
        for (user, version) in (2..).zip(BOTH) {
            let mut secure = login(server, version, user);
            for (id, length) in (1..).zip([1, 100, 16_384, 30_000, 60_000]) {
                let body = vec![id as u8; length];
                plain.send(id + 10 * user, user, &body);
                assert_eq!(secure.read(), Got::Deliver { from: 1, id: id + 10 * user, body: body.clone() });
                secure.ack();
                assert_eq!(plain.read(), Got::Accepted(id + 10 * user));
                secure.send(id, 1, &body);
                assert_eq!(plain.read(), Got::Deliver { from: user, id, body });
                plain.ack();
                assert_eq!(secure.read(), Got::Accepted(id));
            }
            secure.stream.conn.send_close_notify();
            secure.stream.conn.complete_io(&mut secure.stream.sock).unwrap();
            assert_eq!(secure.read(), Got::End, "a goodbye is answered by one");
        }
        wait_until(server, "both gone", |figures| figures.tls_sessions == 0 && figures.connections == 1);
        let figures = server.figures().total();
        assert_eq!((figures.handshakes_full, figures.tls_truncated, figures.tls_whole), (2, 0, 0));
        assert_eq!((figures.handshakes_under_way, figures.handshakes_queued), (0, 0));
    });
}

#[test]
fn what_is_no_tls_gets_an_alert_and_tls_where_none_is_spoken_gets_an_error() {
    on_every_secure_server(&impatient(), |server| {
        let mut plain = Client::over(TcpStream::connect(address(server)).unwrap());
        plain.write(&hello(1));
        let mut answer = Vec::new();
        let _ = plain.stream.read_to_end(&mut answer);
        assert_eq!(answer.first_chunk(), Some(&[21, 3, 3, 0, 2, 2]), "a fatal alert: {answer:?}");
        wait_until(server, "a handshake that failed", |figures| figures.handshakes_failed == 1);
        let stream = TcpStream::connect(plain_address(server)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let connection =
            ClientConnection::new(config(BOTH[1], known()), ServerName::try_from(NAME).unwrap()).unwrap();
        let mut secure = StreamOwned::new(connection, stream);
        assert!(secure.write_all(b"hello").is_err(), "the server speaks no TLS there");
        wait_until(server, "a bad frame", |figures| figures.closed_bad_frame == 1);
    });
}

#[test]
fn a_handshake_that_stops_at_any_byte_is_ended_in_time() {
    on_every_secure_server(&impatient(), |server| {
        let mut hello = Vec::new();
        ClientConnection::new(config(BOTH[1], known()), ServerName::try_from(NAME).unwrap())
            .unwrap()
            .write_tls(&mut hello)
            .unwrap();
        let cuts: Vec<usize> = (0..hello.len()).step_by(16).chain([hello.len()]).collect();
        let streams: Vec<TcpStream> = cuts
            .iter()
            .map(|&cut| {
                let mut stream = TcpStream::connect(address(server)).unwrap();
                stream.write_all(&hello[..cut]).unwrap();
                stream
            })
            .collect();
        let count = cuts.len() as u64;
        wait_until(server, "all of them are told to go", |figures| figures.closed_handshake_timeout == count);
        drop(streams);
        wait_until(server, "all of them are gone", |figures| {
            (figures.connections, figures.handshakes_under_way, figures.handshakes_queued) == (0, 0, 0)
        });
    });
}

#[test]
fn whoever_goes_in_the_middle_of_a_handshake_goes_at_once() {
    let patient = Config { linger: PATIENCE, login_timeout: PATIENCE, ..Config::default() };
    on_every_secure_server(&patient, |server| {
        let mut hello = Vec::new();
        let name = ServerName::try_from(NAME).unwrap();
        ClientConnection::new(config(BOTH[1], known()), name).unwrap().write_tls(&mut hello).unwrap();
        for end in [3, hello.len() / 2, hello.len()] {
            let mut stream = TcpStream::connect(address(server)).unwrap();
            stream.write_all(&hello[..end]).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
                .read_to_end(&mut answer)
                .expect("the server ends the stream, too, and does not wait to reset it");
        }
        wait_until(server, "all are gone", |figures| figures.connections == 0);
        assert_eq!(server.figures().total().closed_by_reset, 0, "nobody had to be reset");
    });
}

#[test]
fn a_record_that_was_not_sealed_for_a_session_ends_it() {
    on_every_secure_server(&impatient(), |server| {
        for version in BOTH {
            let mut client = login(server, version, 7);
            client.stream.sock.write_all(&[23, 3, 3, 0, 32]).unwrap();
            client.stream.sock.write_all(&[0; 32]).unwrap();
            let mut rest = Vec::new();
            let error = client.stream.read_to_end(&mut rest).unwrap_err();
            assert!(error.to_string().contains("BadRecordMac"), "{error}");
        }
        wait_until(server, "two bad records", |figures| {
            figures.closed_bad_record == 2 && figures.connections == 0
        });
    });
}

#[test]
fn a_stream_that_ends_without_a_goodbye_is_counted() {
    on_every_secure_server(&impatient(), |server| {
        let client = login(server, BOTH[1], 7);
        client.stream.sock.shutdown(std::net::Shutdown::Both).unwrap();
        wait_until(server, "it is gone", |figures| figures.tls_truncated == 1 && figures.tls_sessions == 0);
    });
}

#[test]
fn reasons_reach_a_client_through_tls_and_nobody_before_the_handshake() {
    on_every_secure_server(&impatient(), |server| {
        let mut client = Client::of(connect(server, config(BOTH[1], known())));
        client.write(&hello(1));
        assert_eq!(client.read(), Got::Welcome);
        client.write(&hello(1));
        client.expect_error(ErrorCode::AlreadyLoggedIn);
        let mut silent = Client::of(connect(server, config(BOTH[0], known())));
        silent.stream.conn.complete_io(&mut silent.stream.sock).unwrap();
        silent.expect_error(ErrorCode::LoginTimeout);
        let mut idle = login(server, BOTH[0], 2);
        assert!(matches!(idle.read(), Got::Ping(_)));
        assert_eq!((idle.read(), idle.read()), (Got::Bye(Bye::Idle), Got::End));
        let mut stranger = TcpStream::connect(address(server)).unwrap();
        let mut answer = Vec::new();
        let _ = stranger.read_to_end(&mut answer);
        assert_eq!(answer, b"", "who never shook hands is closed without a word");
    });
}

#[test]
fn a_certificate_is_renewed_under_those_who_are_connected() {
    on_every_secure_server(&Config::default(), |server| {
        let mut old = login(server, BOTH[1], 1);
        let other = pair();
        server.renew(setup(&other, None));
        let mut refused = connect(server, config(BOTH[1], known()));
        assert!(refused.write_all(b"hello").is_err(), "the old certificate is gone");
        let mut new = Client::of(connect(server, config(BOTH[1], &other)));
        new.write(&hello(2));
        assert_eq!(new.read(), Got::Welcome);
        old.send(1, 2, b"still here");
        assert!(matches!(new.read(), Got::Deliver { from: 1, .. }));
        new.ack();
        assert_eq!(old.read(), Got::Accepted(1));
        wait_until(server, "a handshake that failed", |figures| figures.handshakes_failed == 1);
    });
}

#[test]
fn a_storm_gets_in_though_few_handshakes_may_be_under_way() {
    for backend in backends() {
        let config = Config { handshakes_max: 2, backend, ..Config::default() };
        on_a_server(secure(config), |server| {
            let count = 50;
            let mut clients: Vec<(Secure, u64)> =
                (1..=count).map(|user| (connect(server, config_of(user)), user)).collect();
            // All ClientHellos at once; a handshake that began waits for its client, whose turn comes in the order of the list.
            for (client, _) in &mut clients {
                client.conn.write_tls(&mut client.sock).unwrap();
            }
            wait_until(server, "two have begun", |figures| {
                figures.handshakes_under_way == 2 && figures.handshakes_queued == count - 2
            });
            let threads: Vec<_> = clients
                .into_iter()
                .map(|(stream, user)| {
                    std::thread::spawn(move || {
                        let mut client = Client::of(stream);
                        client.write(&hello(user));
                        assert_eq!(client.read(), Got::Welcome);
                        client
                    })
                })
                .collect();
            let clients: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            let figures = server.figures().total();
            assert_eq!((figures.handshakes_full, figures.logged_in), (count, count));
            drop(clients);
        });
    }
}

fn config_of(user: u64) -> Arc<ClientConfig> {
    config(BOTH[usize::from(user.is_multiple_of(2))], known())
}

#[test]
fn who_has_a_ticket_resumes() {
    let tickets = Tickets::new().unwrap();
    for backend in backends() {
        let tls = Some(setup(known(), Some(&tickets)));
        on_a_server(Config { backend, tls, ..secure(Config::default()) }, |server| {
            for version in BOTH {
                let config = config(version, known());
                for user in 1..=3 {
                    let mut client = Client::of(connect(server, Arc::clone(&config)));
                    client.write(&hello(user));
                    assert_eq!(client.read(), Got::Welcome);
                }
            }
            let figures = server.figures().total();
            assert_eq!((figures.handshakes_full, figures.handshakes_resumed), (2, 4));
        });
    }
}

#[test]
fn what_hurries_behind_a_handshake_waits_for_it() {
    for backend in backends() {
        on_a_server(secure(Config { backend, ..impatient() }), |server| {
            let mut client = connect(server, config(BOTH[1], known()));
            while client.conn.is_handshaking() {
                client.conn.complete_io(&mut client.sock).unwrap();
            }
            let mut ann = Client::of(client);
            ann.write(&hello(1));
            assert_eq!(ann.read(), Got::Welcome);
            for id in 1..=40 {
                ann.send(id, 2, &[5; 2_000]);
            }
            let refused = (1..=40).all(|id| matches!(ann.read(), Got::Refused(of, _) if of == id));
            assert!(refused, "user 2 is nowhere");
        });
    }
}

#[test]
fn a_listener_for_tls_without_a_certificate_is_refused() {
    let listen_tls = vec!["127.0.0.1:0".parse().unwrap()];
    let config = Config { listen_tls, backend: Backend::Epoll, ..Config::default() };
    let error = Server::start(config).unwrap_err();
    assert!(error.to_string().contains("no certificate"), "{error}");
}
