//! Users on a TUN device, a listener of the kernel's beside them, and what the users saw.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;
use throng_reactor::{Config, Event, Reactor, Slot};
use throng_tcp::{Addresses, Users};

use super::device::tun;
use super::lossy::{Faults, Lossy};

/// How long a test waits for what must happen before it gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a user was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Connected(Slot),
    Eof(Slot),
    Sent(Slot, bool),
    Closed(Slot, Option<ErrorKind>),
}

/// The whole setting of a test.
pub(crate) struct World {
    pub(crate) users: Users<Lossy>,
    listener: TcpListener,
    seen: Vec<Seen>,
    received: Vec<(Slot, Vec<u8>)>,
    events: Vec<Event>,
}

impl World {
    pub(crate) fn new(faults: Faults) -> World {
        World::with(faults, &Config::default())
    }

    pub(crate) fn with(faults: Faults, config: &Config) -> World {
        let link = Lossy::new(tun().unwrap(), faults);
        let addresses = Addresses::new(Ipv4Addr::new(198, 18, 0, 2), 10);
        World {
            users: Users::new(link, config, addresses, 42),
            listener: TcpListener::bind("198.18.0.1:0").unwrap(),
            seen: Vec::new(),
            received: Vec::new(),
            events: Vec::new(),
        }
    }

    /// The kernel says that it takes no more than this in a segment.
    pub(crate) fn limit_segments(&self, bytes: u32) {
        SockRef::from(&self.listener).set_tcp_mss(bytes).unwrap();
    }

    /// A connection, as its user and its server see it.
    pub(crate) fn pair(&mut self) -> (Slot, TcpStream) {
        let address = self.listener.local_addr().unwrap();
        let user = self.users.connect(None, address).unwrap();
        self.until("a connection", |world| world.has(&Seen::Connected(user)));
        self.turns(1); // the last acknowledgement goes out
        let local = SocketAddr::V4(self.users.stack().local(user).unwrap());
        self.listener.set_nonblocking(true).unwrap();
        loop {
            match self.listener.accept() {
                Ok((stream, from)) => {
                    assert_eq!(from, local);
                    stream.set_nonblocking(false).unwrap();
                    stream.set_nodelay(true).unwrap();
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    return (user, stream);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.turns(1),
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(crate) fn turns(&mut self, count: usize) {
        for _ in 0..count {
            let until = self.users.now() + Duration::from_millis(2);
            let mut events = std::mem::take(&mut self.events);
            self.users.turn(Some(until), &mut events).unwrap();
            for event in events.drain(..) {
                self.note(event);
            }
            self.events = events;
        }
    }

    pub(crate) fn until(&mut self, what: &str, done: impl Fn(&World) -> bool) {
        let limit = self.users.now() + PATIENCE;
        while !done(self) {
            assert!(self.users.now() < limit, "never came: {what}; {:?}", self.users.stack().counters());
            self.turns(1);
        }
    }

    fn note(&mut self, event: Event) {
        let seen = match event {
            Event::Data { slot, data } => {
                assert!(!data.is_empty());
                match self.received.iter_mut().find(|(whose, _)| *whose == slot) {
                    Some((_, bytes)) => bytes.extend_from_slice(&data),
                    None => self.received.push((slot, data.to_vec())),
                }
                return;
            }
            Event::Connected { slot } => Seen::Connected(slot),
            Event::Eof { slot } => Seen::Eof(slot),
            Event::Sent { slot, result, .. } => Seen::Sent(slot, result.is_ok()),
            Event::Closed { slot, error } => Seen::Closed(slot, error.map(|error| error.kind())),
            other => panic!("{other:?}"),
        };
        self.seen.push(seen);
    }

    pub(crate) fn has(&self, seen: &Seen) -> bool {
        self.seen.contains(seen)
    }

    pub(crate) fn received(&self, slot: Slot) -> &[u8] {
        self.received.iter().find(|(whose, _)| *whose == slot).map_or(&[], |(_, bytes)| bytes)
    }
}

/// Sends everything back on a thread; how much it was, at the end.
pub(crate) fn echo(mut stream: TcpStream) -> JoinHandle<usize> {
    std::thread::spawn(move || {
        let (mut all, mut bytes) = (0, [0; 16 * 1024]);
        loop {
            match stream.read(&mut bytes) {
                Ok(0) | Err(_) => return all,
                Ok(len) => {
                    all += len;
                    if stream.write_all(&bytes[..len]).is_err() {
                        return all;
                    }
                }
            }
        }
    })
}

/// A counter of the kernel's, in this namespace: as `TcpExt` and `TCPChallengeACK`.
pub(crate) fn counter(group: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/netstat").unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(group)?.strip_prefix(": "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let found = names.split(' ').zip(values.split(' ')).find(|(known, _)| *known == name);
    found.unwrap().1.parse().unwrap()
}

/// Bytes in which a gap or a repeat shows.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}
