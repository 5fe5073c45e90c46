//! A client that can misbehave, and a server to misbehave against, on both backends.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use throng_reactor::{Backend, Requested};
use throng_server::{Config, Server, ShardFigures};
use throng_wire::limits::FRAME_BYTES_MAX;
use throng_wire::native::{
    ErrorCode, Frame, Frames, Hello, MessageId, Receiver, Recipient, Sequence, UserId,
};

/// How long a test waits for what must happen before it gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The backends that this kernel runs; io-uring missing is told, and an error in CI.
pub(crate) fn backends() -> Vec<Backend> {
    match throng_reactor::backend::select(Requested::Named(Backend::IoUring)) {
        Ok(_) => vec![Backend::Epoll, Backend::IoUring],
        Err(why) => {
            assert!(std::env::var_os("CI").is_none(), "io-uring must run in CI: {why}");
            eprintln!("SKIPPED: io-uring does not run here: {why}");
            vec![Backend::Epoll]
        }
    }
}

/// Runs `check` against a server on each backend, with one shard and with three, and ends the server by a drain.
pub(crate) fn on_every_server(config: &Config, check: impl Fn(&Server)) {
    for backend in backends() {
        for shards in [1, 3] {
            on_a_server(Config { backend, shards, ..config.clone() }, &check);
        }
    }
}

/// Runs `check` against one server.
pub(crate) fn on_a_server(config: Config, check: impl Fn(&Server)) {
    eprintln!("{} with {} shards", config.backend, config.shards);
    let listen = vec!["127.0.0.1:0".parse().unwrap()];
    let server = Server::start(Config { listen, ..config }).unwrap();
    check(&server);
    server.drain();
    let figures = server.join().unwrap().total();
    let left = (figures.connections, figures.logged_in, figures.logging_in, figures.directory_users);
    assert_eq!(left, (0, 0, 0, 0), "nothing is left behind");
    assert_eq!(figures.unacknowledged, 0, "no message is left without an outcome");
}

/// Short timeouts, so that they happen within a test.
pub(crate) fn impatient() -> Config {
    Config {
        login_timeout: Duration::from_millis(400),
        idle_timeout: Duration::from_secs(2),
        linger: Duration::from_millis(500),
        ..Config::default()
    }
}

/// Waits until the server's figures satisfy `done`.
pub(crate) fn wait_until(server: &Server, what: &str, done: impl Fn(&ShardFigures) -> bool) {
    let step = Duration::from_millis(5);
    for _ in 0..PATIENCE.as_millis() / step.as_millis() {
        if done(&server.figures().total()) {
            return;
        }
        std::thread::sleep(step);
    }
    panic!("never came: {what}; {:?}", server.figures().total());
}

/// A frame that owns its body, for comparison.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Welcome,
    Accepted(u64),
    Refused(u64, throng_wire::native::Refusal),
    Unknown(u64),
    Deliver {
        from: u64,
        id: u64,
        body: Vec<u8>,
    },
    Ping(u64),
    Pong(u64),
    Error(ErrorCode),
    Bye(throng_wire::native::Bye),
    /// The server closed the connection.
    End,
    /// The server reset it.
    Reset,
    /// The server closed it without the goodbye of TLS.
    Cut,
}

/// A blocking client.
#[derive(Debug)]
pub(crate) struct Client<S = TcpStream> {
    pub(crate) stream: S,
    bytes: Vec<u8>,
    /// The sequence of the last delivery.
    pub(crate) last: Sequence,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        Client::over(TcpStream::connect(address).unwrap())
    }

    /// A client over a connection that exists.
    pub(crate) fn over(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client::of(stream)
    }

    pub(crate) fn login(server: &Server, user: u64) -> Client {
        let mut client = Client::connect(server.addresses()[0]);
        client.write(&hello(user));
        assert_eq!(client.read(), Got::Welcome);
        client
    }
}

impl<S: Read + Write> Client<S> {
    /// A client over whatever carries its bytes.
    pub(crate) fn of(stream: S) -> Client<S> {
        Client { stream, bytes: Vec::new(), last: Sequence(0) }
    }

    pub(crate) fn write(&mut self, frame: &Frame<'_>) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.stream.write_all(&bytes).unwrap();
        self.stream.flush().unwrap();
    }

    pub(crate) fn send(&mut self, id: u64, to: u64, body: &[u8]) {
        self.write(&Frame::Send { id: MessageId(id), to: Recipient::User(UserId(to)), body });
    }

    /// Acknowledges everything that was read.
    pub(crate) fn ack(&mut self) {
        let sequence = self.last;
        self.write(&Frame::Ack { sequence });
    }

    /// The next frame, or how the connection ended.
    pub(crate) fn read(&mut self) -> Got {
        loop {
            let mut frames = Frames::new(&self.bytes, Receiver::Client, FRAME_BYTES_MAX);
            if let Some(frame) = frames.next().unwrap() {
                let got = match frame {
                    Frame::Welcome(_) => Got::Welcome,
                    Frame::Accepted { id } => Got::Accepted(id.0),
                    Frame::Refused { id, why } => Got::Refused(id.0, why),
                    Frame::Unknown { id, .. } => Got::Unknown(id.0),
                    Frame::Deliver { sequence, from, id, body } => {
                        assert!(sequence > self.last, "sequences only grow");
                        self.last = sequence;
                        Got::Deliver { from: from.0, id: id.0, body: body.to_vec() }
                    }
                    Frame::Ping { token } => Got::Ping(token),
                    Frame::Pong { token } => Got::Pong(token),
                    Frame::Error { code, .. } => Got::Error(code),
                    Frame::Bye { why, .. } => Got::Bye(why),
                    other => panic!("a server sent {other:?}"),
                };
                let consumed = self.bytes.len() - frames.rest().len();
                self.bytes.drain(..consumed);
                return got;
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Got::End,
                Ok(len) => self.bytes.extend_from_slice(&chunk[..len]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Got::Reset,
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Got::Cut,
                // The ring that probed the kernel from this thread is taken down behind our back.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    /// Reads an error of this code, then the end.
    pub(crate) fn expect_error(&mut self, code: ErrorCode) {
        assert_eq!(self.read(), Got::Error(code));
        assert_eq!(self.read(), Got::End);
    }
}

pub(crate) fn hello(user: u64) -> Frame<'static> {
    Frame::Hello(Hello { version_min: 1, version_max: 1, user: UserId(user), device: 0 })
}

/// Two users who are served as ever, whatever others do.
pub(crate) fn bystanders_still_chat(server: &Server) {
    let mut ann = Client::login(server, 900_001);
    let mut bob = Client::login(server, 900_002);
    for id in 1..=3 {
        ann.send(id, 900_002, b"hello");
        assert_eq!(bob.read(), Got::Deliver { from: 900_001, id, body: b"hello".to_vec() });
        bob.ack();
        assert_eq!(ann.read(), Got::Accepted(id));
    }
}
