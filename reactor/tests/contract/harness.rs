//! Two reactors, one in the role of the server and one of the client, and a checker that sees every
//! event of both: the rules about the order of events hold in every test, whatever else the test is about.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use throng_reactor::limits::{BATCH_EVENTS, READS_PER_TURN};
use throng_reactor::{AcceptPause, Close, Config, Event, Lease, Reactor, Slot};

/// Steps that a test waits for something, at most; a step takes two milliseconds at most.
const STEPS_MAX: usize = 5_000;

/// Makes reactors of one kind, or of one for servers and another for clients.
pub(crate) trait Backend {
    type Reactor: Reactor;
    type Client: Reactor;
    /// Buffers that a client takes from one connection in a turn, at most.
    const CLIENT_READS: u32 = READS_PER_TURN;

    fn new() -> Self;
    fn reactor(&self, config: &Config) -> Self::Reactor;
    fn client(&self, config: &Config) -> Self::Client;
    /// Where clients reach a server.
    fn address() -> SocketAddr {
        "127.0.0.1:0".parse().expect("an address")
    }
    /// Lets time pass, where that is not the kernel's doing.
    fn advance(&self) {}
    /// Runs a test in a network in which the clients of a listener that leaves its group go to another.
    fn where_clients_migrate(test: fn()) {
        crate::network::in_own_network(test);
    }
}

/// An event as a test compares it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    Accepted(Slot),
    Paused(AcceptPause),
    Resumed,
    Connected(Slot),
    Data(Slot, Vec<u8>),
    Eof(Slot),
    Sent(Slot, Vec<u8>, Result<(), ErrorKind>),
    Closed(Slot, Option<ErrorKind>),
    Wake,
}

/// What the checker knows about a slot.
#[derive(Default)]
struct Life {
    connecting: bool,
    eof: bool,
    /// Closed by the user in an earlier batch than the one that is looked at.
    closed_by_user: bool,
    paused: bool,
    /// The length of the send in flight.
    sending: Option<usize>,
}

/// One reactor and what it did.
pub(crate) struct Side<R> {
    pub(crate) reactor: R,
    pub(crate) log: Vec<Seen>,
    /// Buffers from one connection in a batch, at most.
    reads_max: u32,
    /// Leases are kept instead of being returned.
    pub(crate) hoards: bool,
    pub(crate) hoard: Vec<(Slot, Lease)>,
    /// What came in is sent back, for protocols of one question at a time.
    pub(crate) echoes: bool,
    replies: Vec<(Slot, Vec<u8>)>,
    /// At which listener a client came.
    pub(crate) listeners: HashMap<Slot, u16>,
    lives: HashMap<Slot, Life>,
}

impl<R: Reactor> Side<R> {
    pub(crate) fn new(reactor: R) -> Side<R> {
        Side {
            reactor,
            log: vec![],
            reads_max: READS_PER_TURN,
            hoards: false,
            hoard: vec![],
            echoes: false,
            replies: vec![],
            listeners: HashMap::new(),
            lives: HashMap::new(),
        }
    }

    /// One turn that waits for at most a millisecond, checked.
    pub(crate) fn turn(&mut self) {
        let mut batch = Vec::new();
        let until = self.reactor.now() + Duration::from_millis(1);
        self.reactor.turn(Some(until), &mut batch).expect("a turn works");
        assert!(batch.len() <= BATCH_EVENTS, "rule 11: {} events in a batch", batch.len());
        let mut reads: HashMap<Slot, u32> = HashMap::new();
        for event in batch {
            if let Event::Data { slot, .. } = &event {
                let reads = reads.entry(*slot).or_default();
                *reads += 1;
                assert!(*reads <= self.reads_max, "rule 11: {reads} buffers of {slot:?} in a batch");
            }
            self.take(event);
        }
        // After the batch, as a user that first looks at all of it: what is closed by now gets no answer.
        for (slot, bytes) in std::mem::take(&mut self.replies) {
            if self.lives.contains_key(&slot) {
                self.send(slot, bytes);
            }
        }
    }

    fn life(&mut self, slot: Slot, event: &str) -> &mut Life {
        self.lives.get_mut(&slot).unwrap_or_else(|| panic!("rule 1: {event} outside the life of {slot:?}"))
    }

    fn take(&mut self, event: Event) {
        let seen = match event {
            Event::Accepted { slot, listener } => {
                self.listeners.insert(slot, listener);
                let before = self.lives.insert(slot, Life::default());
                assert!(before.is_none(), "rule 1: {slot:?} was accepted twice");
                Seen::Accepted(slot)
            }
            Event::AcceptPaused { why } => Seen::Paused(why),
            Event::AcceptResumed => Seen::Resumed,
            Event::Connected { slot } => {
                let life = self.life(slot, "Connected");
                assert!(life.connecting && !life.closed_by_user, "rule 1: {slot:?} connected unasked");
                life.connecting = false;
                Seen::Connected(slot)
            }
            Event::Data { slot, data } => {
                let life = self.life(slot, "Data");
                assert!(!data.is_empty(), "rule 2: empty Data on {slot:?}");
                assert!(!life.connecting && !life.eof, "rule 3: Data on {slot:?} outside its stream");
                assert!(!life.paused, "rule 2: Data on {slot:?}, which is paused");
                assert!(!life.closed_by_user, "rule 6: Data on {slot:?} after close");
                let bytes = data.to_vec();
                if self.hoards {
                    self.hoard.push((slot, data));
                }
                if self.echoes {
                    self.replies.push((slot, bytes.clone()));
                }
                Seen::Data(slot, bytes)
            }
            Event::Eof { slot } => {
                let life = self.life(slot, "Eof");
                assert!(!life.connecting && !life.eof, "rule 3: a second Eof on {slot:?}");
                assert!(!life.paused, "rule 2: Eof on {slot:?}, which is paused");
                assert!(!life.closed_by_user, "rule 6: Eof on {slot:?} after close");
                life.eof = true;
                Seen::Eof(slot)
            }
            Event::Sent { slot, buffer, result } => {
                let sending = self.life(slot, "Sent").sending.take();
                assert_eq!(sending, Some(buffer.len()), "rule 4: Sent on {slot:?} gives back the buffer");
                Seen::Sent(slot, buffer, result.map_err(|error| error.kind()))
            }
            Event::Closed { slot, error } => {
                let life = self.lives.remove(&slot);
                let life = life.unwrap_or_else(|| panic!("rule 1: {slot:?} was closed twice"));
                assert_eq!(life.sending, None, "rule 4: {slot:?} was closed with a send in flight");
                Seen::Closed(slot, error.map(|error| error.kind()))
            }
            Event::Wake => Seen::Wake,
        };
        self.log.push(seen);
    }

    pub(crate) fn connect(&mut self, target: SocketAddr) -> std::io::Result<Slot> {
        let slot = self.reactor.connect(None, target)?;
        let before = self.lives.insert(slot, Life { connecting: true, ..Life::default() });
        assert!(before.is_none(), "rule 1: {slot:?} is connected anew before its Closed");
        Ok(slot)
    }

    pub(crate) fn send(&mut self, slot: Slot, buffer: Vec<u8>) {
        if let Some(life) = self.lives.get_mut(&slot).filter(|life| !life.closed_by_user) {
            life.sending = Some(buffer.len());
        }
        self.reactor.send(slot, buffer);
    }

    pub(crate) fn pause(&mut self, slot: Slot) {
        self.life(slot, "pause").paused = true;
        self.reactor.pause(slot);
    }

    pub(crate) fn resume(&mut self, slot: Slot) {
        self.life(slot, "resume").paused = false;
        self.reactor.resume(slot);
    }

    /// Closes a slot between turns.
    pub(crate) fn close(&mut self, slot: Slot, how: Close) {
        if let Some(life) = self.lives.get_mut(&slot) {
            life.closed_by_user = true;
        }
        self.reactor.close(slot, how);
    }

    pub(crate) fn count(&self, matches: impl Fn(&Seen) -> bool) -> usize {
        self.log.iter().filter(|seen| matches(seen)).count()
    }

    pub(crate) fn has(&self, seen: &Seen) -> bool {
        self.log.contains(seen)
    }

    /// The stream as it came in on one slot.
    pub(crate) fn received(&self, slot: Slot) -> Vec<u8> {
        let mut bytes = Vec::new();
        for seen in &self.log {
            if let Seen::Data(of, data) = seen
                && *of == slot
            {
                bytes.extend_from_slice(data);
            }
        }
        bytes
    }

    pub(crate) fn closed(&self, slot: Slot) -> Option<Option<ErrorKind>> {
        self.log.iter().find_map(|seen| match seen {
            Seen::Closed(of, error) if *of == slot => Some(*error),
            _ => None,
        })
    }

    /// How the send of a slot ended, with its buffer.
    pub(crate) fn sent(&self, slot: Slot) -> Option<(&[u8], Result<(), ErrorKind>)> {
        self.log.iter().find_map(|seen| match seen {
            Seen::Sent(of, buffer, result) if *of == slot => Some((buffer.as_slice(), *result)),
            _ => None,
        })
    }

    /// Every connection that was ever begun is over, and nothing is owed.
    pub(crate) fn assert_nothing_left(&self) {
        assert_eq!(self.lives.len(), 0, "rule 1: slots without Closed");
        assert_eq!(self.reactor.gauges().connections, 0, "connections left");
    }
}

/// A server that listens, and a client.
pub(crate) struct Pair<B: Backend> {
    pub(crate) backend: B,
    pub(crate) server: Side<B::Reactor>,
    /// Another server in the group of the first, in the tests that want one.
    pub(crate) other: Option<Side<B::Reactor>>,
    pub(crate) client: Side<B::Client>,
    pub(crate) address: SocketAddr,
}

/// Few small buffers: what is about many of them says so.
pub(crate) fn config() -> Config {
    Config { recv_buffers: 16, recv_buffer_bytes: 4096, ..Config::default() }
}

impl<B: Backend> Pair<B> {
    pub(crate) fn new() -> Pair<B> {
        Pair::with(&config())
    }

    /// With a server of a certain kind.
    pub(crate) fn with(server: &Config) -> Pair<B> {
        Pair::at(server, B::address())
    }

    pub(crate) fn at(server: &Config, address: SocketAddr) -> Pair<B> {
        let backend = B::new();
        let mut server = Side::new(backend.reactor(server));
        let mut client = Side::new(backend.client(&config()));
        client.reads_max = B::CLIENT_READS;
        let address = server.reactor.listen(address).expect("a server may listen there");
        assert_ne!(address.port(), 0);
        Pair { backend, server, other: None, client, address }
    }

    /// Adds the other server.
    pub(crate) fn with_another(mut self) -> Pair<B> {
        let mut other = Side::new(self.backend.reactor(&config()));
        other.reactor.listen(self.address).expect("a group takes another listener");
        self.other = Some(other);
        self
    }

    /// Connections that the server and the other one accepted so far.
    pub(crate) fn accepted(&self) -> [usize; 2] {
        let of = |side: &Side<B::Reactor>| side.count(|seen| matches!(seen, Seen::Accepted(_)));
        [of(&self.server), self.other.as_ref().map_or(0, of)]
    }

    pub(crate) fn step(&mut self) {
        self.server.turn();
        self.other.iter_mut().for_each(Side::turn);
        self.client.turn();
        self.backend.advance();
    }

    /// Steps in which nothing in particular should happen.
    pub(crate) fn settle(&mut self) {
        for _ in 0..20 {
            self.step();
        }
    }

    /// Steps until something is so.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..STEPS_MAX {
            if is_so(self) {
                return;
            }
            self.step();
        }
        panic!("still waiting: {what}; server {:.900?}\nclient {:.900?}", self.server.log, self.client.log);
    }

    /// One more connection: its slot at the client and at the server.
    #[track_caller]
    pub(crate) fn connect(&mut self) -> (Slot, Slot) {
        let before = self.accepted()[0];
        let slot = self.client.connect(self.address).expect("a connect begins");
        self.until("a connection", |pair| {
            pair.client.has(&Seen::Connected(slot)) && pair.accepted()[0] > before
        });
        let at_server = self.server.log.iter().rev().find_map(|seen| match seen {
            Seen::Accepted(slot) => Some(*slot),
            _ => None,
        });
        (slot, at_server.expect("it was just accepted"))
    }

    /// Closes one end, then the other, and waits for the end of both.
    #[track_caller]
    pub(crate) fn close(&mut self, (client, server): (Slot, Slot)) {
        self.client.close(client, Close::Now);
        self.server.close(server, Close::Now);
        self.until("both Closed", |pair| {
            pair.client.closed(client).is_some() && pair.server.closed(server).is_some()
        });
    }

    /// Closes both ends of all connections and waits for the end of all.
    #[track_caller]
    pub(crate) fn close_all(&mut self) {
        for slot in self.client.lives.keys().copied().collect::<Vec<_>>() {
            self.client.close(slot, Close::Now);
        }
        for server in [&mut self.server].into_iter().chain(&mut self.other) {
            for slot in server.lives.keys().copied().collect::<Vec<_>>() {
                server.close(slot, Close::Now);
            }
        }
        self.until("the end of all", |pair| {
            let mut servers = [&pair.server].into_iter().chain(&pair.other);
            pair.client.lives.is_empty() && servers.all(|side| side.lives.is_empty())
        });
        self.client.assert_nothing_left();
        for side in [&self.server].into_iter().chain(&self.other) {
            side.assert_nothing_left();
        }
    }
}

/// Bytes in which every misplaced piece shows.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8).collect()
}
