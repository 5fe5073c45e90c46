//! A server of a hundred lines that makes mistakes on order, in one thread with the workers, in virtual time.
#![allow(dead_code)] // no test uses all of it

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use throng_loadgen::gate::Shared;
use throng_loadgen::outcome::Run;
use throng_loadgen::worker::{Step, Worker};
use throng_loadgen::{EarlyEnd, Outcome, Overrides, Plan, PortRange, Protocol, Sources, scenario};
use throng_reactor::sim::{Faults, Sim, World};
use throng_reactor::{Close, Config, Event, Nanos, Reactor, Slot};
use throng_wire::native::{
    Frame, Frames, MessageId, Receiver, Recipient, Refusal, Sequence, UserId, Welcome,
};

/// What the server does wrong, and with which message it relays (counted from 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mischief {
    None,
    /// Says accepted, delivers nothing.
    Lose(u64),
    /// As `Lose`, but it delivers after all, at the next message of the same sender.
    Postpone(u64),
    /// Delivers twice.
    Repeat(u64),
    /// Changes a byte of the body.
    Corrupt(u64),
    /// Says that it is not delivered.
    Refuse(u64),
    /// Says accepted twice.
    AcceptTwice(u64),
    /// Dies with everybody connected.
    Die(u64),
    /// Dies when so many users have logged in.
    DieWhenIn(u64),
    /// Answers no Hello any more when so many users have logged in.
    HangWhenIn(u64),
    /// Turns away so many of the first logins.
    TurnAway(u64),
    /// Dies with the login that comes after so many.
    DieAfterLogins(u64),
    /// Never answers a Hello of this user.
    IgnoreLogin(u64),
    /// Says nothing about this message, ever.
    Forget(u64),
}

#[derive(Default)]
struct Session {
    user: u64,
    got: Vec<u8>,
    out: Vec<u8>,
    in_flight: bool,
    sequence: u64,
    /// Delivered and not acknowledged: sequence, sender, id.
    unacknowledged: VecDeque<(u64, u64, u64)>,
    postponed: Option<Vec<u8>>,
}

pub(crate) struct Fake {
    reactor: Option<Sim>,
    echoes: bool,
    mischief: Mischief,
    relayed: u64,
    logins: u64,
    sessions: BTreeMap<Slot, Session>,
    users: BTreeMap<u64, Slot>,
}

impl Fake {
    fn turn(&mut self) -> bool {
        let Some(reactor) = &mut self.reactor else { return false };
        let mut events = Vec::new();
        reactor.turn(None, &mut events).unwrap();
        let busy = !events.is_empty();
        for event in events {
            match event {
                Event::Accepted { slot, .. } => drop(self.sessions.insert(slot, Session::default())),
                Event::Data { slot, data } => self.data(slot, &data),
                Event::Sent { slot, .. } => {
                    if let Some(session) = self.sessions.get_mut(&slot) {
                        session.in_flight = false;
                    }
                }
                Event::Eof { slot } => self.reactor.as_mut().unwrap().close(slot, Close::Now),
                Event::Closed { slot, .. } => drop(self.sessions.remove(&slot)),
                _ => {}
            }
        }
        let dies = match self.mischief {
            Mischief::Die(at) => self.relayed > at,
            Mischief::DieWhenIn(users) => self.users.len() as u64 >= users,
            Mischief::DieAfterLogins(logins) => self.logins > logins,
            _ => false,
        };
        if dies {
            self.reactor = None;
            return true;
        }
        for (slot, session) in &mut self.sessions {
            if !session.in_flight && !session.out.is_empty() {
                session.in_flight = true;
                self.reactor.as_mut().unwrap().send(*slot, std::mem::take(&mut session.out));
            }
        }
        busy
    }

    fn data(&mut self, slot: Slot, bytes: &[u8]) {
        let Some(session) = self.sessions.get_mut(&slot) else { return };
        if self.echoes {
            let start = session.out.len();
            session.out.extend_from_slice(bytes);
            if matches!(self.mischief, Mischief::Corrupt(at) if self.relayed == at) {
                session.out[start] ^= 1;
            }
            self.relayed += 1;
            return;
        }
        let mut got = std::mem::take(&mut session.got);
        got.extend_from_slice(bytes);
        let mut frames = Frames::new(&got, Receiver::Server, 64 * 1024);
        while let Some(frame) = frames.next().expect("the generator sends frames") {
            self.frame(slot, frame);
        }
        let rest = frames.rest().to_vec();
        self.sessions.get_mut(&slot).unwrap().got = rest;
    }

    fn frame(&mut self, slot: Slot, frame: Frame<'_>) {
        let session = self.sessions.get_mut(&slot).unwrap();
        match frame {
            Frame::Hello(hello) => {
                session.user = hello.user.0;
                self.logins += 1;
                match self.mischief {
                    Mischief::TurnAway(logins) if self.logins <= logins => {
                        let code = throng_wire::native::ErrorCode::TooManyLogins;
                        return Frame::Error { code, text: "full" }.encode(&mut session.out);
                    }
                    Mischief::HangWhenIn(users) if self.users.len() as u64 >= users => return,
                    _ => {}
                }
                self.users.insert(hello.user.0, slot);
                if self.mischief != Mischief::IgnoreLogin(hello.user.0) {
                    let welcome = Welcome {
                        version: 1,
                        outstanding_max: 64,
                        frame_bytes_max: 65536,
                        idle_timeout_ms: 300_000,
                    };
                    Frame::Welcome(welcome).encode(&mut session.out);
                }
            }
            Frame::Ping { token } => Frame::Pong { token }.encode(&mut session.out),
            Frame::Send { id, to: Recipient::User(to), body } => {
                let from = session.user;
                self.relay(slot, from, to.0, id, body);
            }
            Frame::Ack { sequence } => {
                let mut accepted = Vec::new();
                while session.unacknowledged.front().is_some_and(|entry| entry.0 <= sequence.0) {
                    accepted.extend(session.unacknowledged.pop_front());
                }
                for (_, sender, id) in accepted {
                    if let Some(session) =
                        self.users.get(&sender).and_then(|slot| self.sessions.get_mut(slot))
                    {
                        Frame::Accepted { id: MessageId(id) }.encode(&mut session.out);
                    }
                }
            }
            other => panic!("a client sent {other:?}"),
        }
    }

    fn relay(&mut self, from_slot: Slot, from: u64, to: u64, id: MessageId, body: &[u8]) {
        let now = self.relayed;
        self.relayed += 1;
        let sender = self.sessions.get_mut(&from_slot).unwrap();
        match self.mischief {
            Mischief::Refuse(at) if at == now => {
                return Frame::Refused { id, why: Refusal::RecipientBusy }.encode(&mut sender.out);
            }
            Mischief::Forget(at) if at == now => return,
            Mischief::Lose(at) | Mischief::Postpone(at) if at == now => {
                Frame::Accepted { id }.encode(&mut sender.out);
                if self.mischief == Mischief::Lose(at) {
                    return;
                }
            }
            Mischief::AcceptTwice(at) if at == now => Frame::Accepted { id }.encode(&mut sender.out),
            _ => {}
        }
        let Some(session) = self.users.get(&to).and_then(|slot| self.sessions.get_mut(slot)) else {
            let sender = self.sessions.get_mut(&from_slot).unwrap();
            return Frame::Refused { id, why: Refusal::NotConnected }.encode(&mut sender.out);
        };
        let mut body = body.to_vec();
        if self.mischief == Mischief::Corrupt(now) {
            body[0] ^= 1;
        }
        let times = if self.mischief == Mischief::Repeat(now) { 2 } else { 1 };
        for _ in 0..times {
            session.sequence += 1;
            let sequence = Sequence(session.sequence);
            let mut bytes = Vec::new();
            Frame::Deliver { sequence, from: UserId(from), id, body: &body }.encode(&mut bytes);
            if self.mischief == Mischief::Postpone(now) {
                session.postponed = Some(bytes);
                return;
            }
            session.unacknowledged.push_back((session.sequence, from, id.0));
            session.out.extend(bytes);
        }
        if times == 2 {
            session.unacknowledged.pop_back();
        }
        if let Some(bytes) = session.postponed.take() {
            session.out.extend(bytes);
        }
    }
}

/// A plan of `pairs` for a simulation: 20 users, half a second of 2,000 messages per second.
pub(crate) fn plan(change: impl FnOnce(&mut Overrides)) -> Plan {
    let mut set = Overrides {
        connections: Some(20),
        duration: Some(Duration::from_millis(500)),
        warmup: Some(Duration::from_millis(100)),
        drain_limit: Some(Duration::from_secs(2)),
        ..Overrides::default()
    };
    change(&mut set);
    if set.closed_loop_window.is_none() && set.rate_per_s.is_none() && set.protocol != Some(Protocol::Connect)
    {
        set.rate_per_s = Some(2000.0);
    }
    Plan::new(&scenario::load("pairs").unwrap(), &set).unwrap()
}

/// How a simulation is set up.
pub(crate) struct Scene {
    pub(crate) workers: usize,
    pub(crate) seed: u64,
    pub(crate) faults: Faults,
    pub(crate) mischief: Mischief,
    /// Interrupts the run when so many messages were relayed.
    pub(crate) interrupt_after: Option<u64>,
    /// Ends the run when so many users are in, and why.
    pub(crate) end_when_in: Option<(u64, EarlyEnd)>,
    /// Ends the run at this time of the world, and why.
    pub(crate) end_at: Option<(Duration, EarlyEnd)>,
    /// The workers get no processor for so long after every turn.
    pub(crate) naps: Option<Duration>,
    pub(crate) connects_in_flight: u32,
    /// Nobody listens.
    pub(crate) no_server: bool,
}

impl Default for Scene {
    fn default() -> Self {
        Scene {
            workers: 1,
            seed: 1,
            faults: Faults::default(),
            mischief: Mischief::None,
            interrupt_after: None,
            end_when_in: None,
            end_at: None,
            naps: None,
            connects_in_flight: 64,
            no_server: false,
        }
    }
}

/// Plays a plan against the fake to its end.
pub(crate) fn play(plan: &Plan, scene: &Scene) -> Outcome {
    let world = World::new(scene.seed, scene.faults.clone());
    let mut server = world.reactor(&Config::default());
    let address: SocketAddr = "127.0.0.1:7400".parse().unwrap();
    let target = server.listen(address).unwrap();
    let mut fake = Fake {
        reactor: (!scene.no_server).then_some(server),
        echoes: plan.protocol != Protocol::Native,
        mischief: scene.mischief,
        relayed: 0,
        logins: 0,
        sessions: BTreeMap::new(),
        users: BTreeMap::new(),
    };
    let sources =
        Sources::plan(&[target], plan.connections, PortRange { first: 32768, last: 60999 }, None).unwrap();
    let reactors: Vec<Sim> = (0..scene.workers).map(|_| world.reactor(&Config::default())).collect();
    let shared = Arc::new(Shared::new(reactors.iter().map(|reactor| reactor.waker().clone()).collect()));
    let plan = Arc::new(plan.clone());
    let mut workers: Vec<_> = (0..)
        .zip(reactors)
        .map(|(number, reactor)| {
            let (plan, shared) = (Arc::clone(&plan), Arc::clone(&shared));
            Some(Worker::new(reactor, number, plan, shared, sources.clone(), scene.connects_in_flight, None))
        })
        .collect();
    let mut records = Vec::new();
    let (mut clock, mut sleeps_until) = (world.reactor(&Config::default()), Nanos(0));
    for _ in 0..2_000_000 {
        fake.turn();
        if scene.interrupt_after.is_some_and(|after| fake.relayed > after) {
            shared.end_early(world.now(), EarlyEnd::Interrupted);
        }
        if let Some((users, why)) = &scene.end_when_in
            && fake.users.len() as u64 >= *users
        {
            shared.end_early(world.now(), why.clone());
        }
        if let Some((at, why)) = &scene.end_at
            && world.now().since(Nanos(0)) >= *at
        {
            shared.end_early(world.now(), why.clone());
        }
        if let Some(nap) = scene.naps {
            if world.now() < sleeps_until {
                clock.turn(Some(sleeps_until), &mut Vec::new()).unwrap();
                world.advance();
                continue;
            }
            sleeps_until = world.now() + nap;
        }
        for seat in &mut workers {
            let Some(worker) = seat else { continue };
            // No time passes between two turns of a worker that has something to do.
            let step = loop {
                let step = worker.turn().unwrap();
                if step != Step::Busy {
                    break step;
                }
            };
            if step == Step::Done {
                records.push(seat.take().unwrap().finish());
            }
        }
        if records.len() == scene.workers {
            break;
        }
        world.advance();
    }
    assert_eq!(records.len(), scene.workers, "the load comes to an end");
    let run = Run {
        engine: "kernel",
        backend: None,
        times: shared.times(&plan),
        early_end: shared.early_end().cloned(),
        trace_ids: true,
    };
    Outcome::new(&plan, run, records)
}
