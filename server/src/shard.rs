//! A shard: one event loop with its sessions, its part of the directory, and its mailbox.
//!
//! Two roles meet here. For its *connections* a shard reads and writes frames; for the users whose *home* it is, it
//! knows where they are and what is on its way to them. A message goes from the sender's shard to the recipient's home to
//! the recipient's shard; where two of them are the same shard the step is a call, else a letter ([`crate::mailbox`]).
//! `delivery.rs` holds these steps, `conduct.rs` what ends a session, `upkeep.rs` timeouts, `drain.rs` the end.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use throng_reactor::{AcceptPause, Close, Event, Lease, Nanos, Reactor, Slot, SlotMap};
use throng_wire::limits::{FRAME_BYTES_MAX, FRAME_BYTES_MAX_BEFORE_LOGIN, OUTSTANDING_MAX};
use throng_wire::native::{ErrorCode, Frame, Frames, Hello, Receiver, Recipient, VERSIONS};
use throng_wire::tls::Setup;

use crate::config::Config;
use crate::deadlines::Deadlines;
use crate::drain::Drain;
use crate::figures::{Published, ShardFigures};
use crate::home::{Home, Settled};
use crate::limits::{HEARD_TICK, PARKED_RETRY, SIDE_CLIENTS_MIN, spare_bytes};
use crate::mailbox::{Letter, Mailboxes, Post};
use crate::outbox::{Outboxes, Partials};
use crate::session::{Flags, Session, Side, State};
use crate::tls::Security;

/// What all shards of a server share.
#[derive(Debug)]
pub struct Shared {
    /// The settings.
    pub(crate) config: Config,
    /// The mailboxes.
    pub(crate) mailboxes: Arc<Mailboxes>,
    /// What each shard published.
    pub(crate) published: Vec<Published>,
    /// What clients with TLS are met with from now on.
    setup: RwLock<Option<Setup>>,
    draining: AtomicBool,
    /// Shards that drain and have neither sessions nor letters left.
    parted: AtomicUsize,
    failed: AtomicBool,
}

impl Shared {
    /// For as many shards as there are mailboxes.
    pub fn new(config: Config, mailboxes: Arc<Mailboxes>) -> Arc<Shared> {
        let published = (0..mailboxes.shards()).map(|_| Published::default()).collect();
        Arc::new(Shared {
            setup: RwLock::new(config.tls.clone()),
            config,
            mailboxes,
            published,
            draining: AtomicBool::new(false),
            parted: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
        })
    }

    /// Meets clients with another certificate from now on; whoever is connected stays.
    pub fn renew(&self, setup: Setup) {
        *self.setup.write().unwrap_or_else(PoisonError::into_inner) = Some(setup);
    }

    /// What clients with TLS are met with.
    pub(crate) fn setup(&self) -> Option<Setup> {
        self.setup.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells every shard to stop accepting, flush, say goodbye and end.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.mailboxes.wake_all();
    }

    /// Ends every shard at once: one of them cannot go on, and nobody may wait for it.
    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::SeqCst);
        self.mailboxes.wake_all();
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    pub(crate) fn part(&self) {
        self.parted.fetch_add(1, Ordering::SeqCst);
        self.mailboxes.wake_all();
    }

    pub(crate) fn all_parted(&self) -> bool {
        self.parted.load(Ordering::SeqCst) == self.published.len()
    }

    /// Messages of all senders that have no outcome yet, as far as published.
    pub(crate) fn outstanding(&self) -> u64 {
        self.published.iter().map(Published::outstanding).sum()
    }

    /// What every shard published last.
    pub fn figures(&self) -> Vec<ShardFigures> {
        self.published.iter().map(Published::snapshot).collect()
    }
}

/// Whether a shard goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Turn it again.
    Running,
    /// The drain is over: nobody is connected any more. Or another shard has failed, and with it the server.
    Drained,
}

/// One shard over one reactor.
#[derive(Debug)]
pub struct Shard<R> {
    pub(crate) me: u16,
    pub(crate) reactor: R,
    pub(crate) shared: Arc<Shared>,
    pub(crate) sessions: SlotMap<Session>,
    pub(crate) outboxes: Outboxes,
    pub(crate) partials: Partials,
    /// This shard's share of what may wait for clients.
    side_bytes_max: usize,
    pub(crate) home: Home,
    pub(crate) post: Post,
    /// Sessions that have not logged in yet.
    pub(crate) logins: Deadlines,
    /// Sessions that were told to go.
    pub(crate) leavers: Deadlines,
    /// Sessions with something to send at the end of the turn.
    pub(crate) dirty: Vec<Slot>,
    /// Sessions that let too much pile up in this turn, perhaps named more than once. They are closed at its end: closing
    /// one tells others, who may be overfull in turn.
    pub(crate) overfull: Vec<Slot>,
    /// What sessions with TLS have besides.
    pub(crate) security: Security,
    /// Outcomes of one step; kept for its memory.
    pub(crate) settled: Settled,
    pub(crate) figures: ShardFigures,
    pub(crate) drain: Option<Drain>,
    /// This shard has told the others that it has nothing left.
    pub(crate) parted: bool,
    /// Where the sweep over idle sessions goes on, and when.
    pub(crate) sweep_index: usize,
    pub(crate) sweep_at: Nanos,
    /// Letters or handshakes were left for the next turn, which must not wait.
    hurry: bool,
    start: Nanos,
    pub(crate) now: Nanos,
    events: Vec<Event>,
    pub(crate) slots: Vec<Slot>,
}

impl<R: Reactor> Shard<R> {
    /// Shard number `me` over the reactor of the same number ([`throng_reactor::Config::number`]): a connection's slot says whose
    /// it is. It does not listen yet.
    pub fn new(me: u16, reactor: R, shared: Arc<Shared>) -> Shard<R> {
        let now = reactor.now();
        let (config, shards) = (&shared.config, usize::from(shared.mailboxes.shards()));
        let side_bytes_max = (config.side_bytes_max / shards).max(SIDE_CLIENTS_MIN * config.outbox_bytes_max);
        let spare_bytes = spare_bytes(shards);
        Shard {
            me,
            sessions: SlotMap::default(),
            outboxes: Outboxes::new(spare_bytes),
            partials: Partials::new(side_bytes_max, spare_bytes),
            side_bytes_max,
            home: Home::new(shared.config.epoch, shared.config.seed),
            post: Post::new(Arc::clone(&shared.mailboxes), me, shared.config.parked_bytes_max),
            logins: Deadlines::default(),
            leavers: Deadlines::default(),
            dirty: Vec::new(),
            overfull: Vec::new(),
            security: Security::default(),
            settled: Settled::new(),
            figures: ShardFigures::default(),
            drain: None,
            parted: false,
            sweep_index: 0,
            sweep_at: now,
            hurry: false,
            start: now,
            now,
            events: Vec::new(),
            slots: Vec::new(),
            reactor,
            shared,
        }
    }

    /// The reactor, to make it listen.
    pub fn reactor(&mut self) -> &mut R {
        &mut self.reactor
    }

    /// Waits for events, acts on them, and sends what came of it.
    ///
    /// # Errors
    /// The reactor's: the shard cannot go on.
    pub fn turn(&mut self) -> io::Result<Progress> {
        if self.shared.has_failed() {
            return Ok(Progress::Drained);
        }
        let parked = self.dispatch();
        let until = if self.hurry { Some(Nanos(0)) } else { self.next_deadline(parked) };
        let mut events = std::mem::take(&mut self.events);
        self.reactor.turn(until, &mut events)?;
        self.now = self.reactor.now();
        let is_busy = !events.is_empty();
        for event in events.drain(..) {
            self.event(event);
        }
        self.events = events;
        let more = self.letters();
        self.upkeep();
        if self.drain.is_none() && self.shared.draining.load(Ordering::SeqCst) {
            self.begin_drain();
        }
        let shakes = self.shake_hands(is_busy);
        let progress = self.drain_on();
        self.close_overfull();
        // Before anybody can see what came of this turn, its figures are there to be read.
        self.publish();
        self.flush();
        self.hurry = more || shakes;
        if !self.shared.config.delay_per_turn.is_zero() {
            std::thread::sleep(self.shared.config.delay_per_turn);
        }
        Ok(progress)
    }

    /// Hands letters over and resumes the sessions that waited for that. True: something is parked.
    fn dispatch(&mut self) -> bool {
        let mut resumed = std::mem::take(&mut self.slots);
        let parked = self.post.dispatch(&mut resumed);
        for slot in resumed.drain(..) {
            if let Some(session) = self.sessions.get_mut(slot) {
                session.flags.take(Flags::PAUSED);
                self.reactor.resume(slot);
            }
        }
        self.slots = resumed;
        parked
    }

    fn next_deadline(&self, parked: bool) -> Option<Nanos> {
        let retry = parked.then(|| self.now + PARKED_RETRY);
        let drain = self.drain.as_ref().map(|drain| drain.deadline(self.now, self.sessions.extent()));
        // A draining shard has its own clock for those who leave.
        let leavers = if drain.is_none() { self.leavers.next() } else { None };
        let sweep = (!self.sessions.is_empty()).then_some(self.sweep_at);
        [self.logins.next(), leavers, retry, drain, sweep].into_iter().flatten().min()
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Data { slot, mut data } => self.data(slot, &mut data),
            Event::Sent { slot, buffer, result } => self.sent(slot, buffer, &result),
            Event::Accepted { slot, listener } => self.accepted(slot, listener),
            Event::Closed { slot, error } => self.closed(slot, error.is_some()),
            Event::Eof { slot } => {
                let stays = |session: &&Session| session.state != State::Leaving;
                if let Some(side) = self.sessions.get(slot).filter(stays).map(|session| session.tls) {
                    self.note_end(side);
                }
                self.ended(slot);
            }
            Event::AcceptPaused { why: AcceptPause::SystemFiles } => self.figures.accept_pauses += 1,
            Event::AcceptPaused { why: AcceptPause::ProcessFiles | AcceptPause::Connections } => {
                self.figures.accept_left_group += 1;
            }
            // A wake says that there are letters or a drain; every turn looks for both.
            Event::AcceptResumed | Event::Wake => {}
            // A server connects to nobody.
            Event::Connected { slot } => self.reactor.close(slot, Close::Reset),
        }
    }

    fn accepted(&mut self, slot: Slot, listener: u16) {
        self.figures.connections_accepted += 1;
        self.figures.logging_in += 1;
        debug_assert_eq!(slot.reactor(), self.me, "a shard has its reactor's number");
        self.sessions.insert(slot, Session::new(self.heard_now()));
        if self.shared.config.speaks_tls(listener) {
            self.secure(slot);
        }
        if self.figures.logging_in > self.shared.config.logins_max as u64 {
            self.figures.closed_too_many_logins += 1;
            self.turn_away(slot, ErrorCode::TooManyLogins, "too many connections are waiting to log in");
        } else {
            self.logins.push(self.now + self.shared.config.login_timeout, slot);
        }
    }

    fn data(&mut self, slot: Slot, data: &mut Lease) {
        let heard = self.heard_now();
        let Some(session) = self.sessions.get_mut(slot).filter(|session| session.state != State::Leaving)
        else {
            return;
        };
        session.heard = heard;
        session.flags.take(Flags::PINGED);
        match session.tls {
            Side::NONE => self.text(slot, data),
            side => self.sealed(slot, side, data),
        }
    }

    /// Bytes of a session's frames.
    pub(crate) fn text(&mut self, slot: Slot, data: &[u8]) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let Some(mut bytes) = self.partials.take(&mut session.partial) else {
            let consumed = self.frames(slot, data);
            if consumed < data.len() {
                let mut rest = self.partials.spare();
                rest.extend_from_slice(&data[consumed..]);
                self.keep(slot, rest);
            }
            return;
        };
        bytes.extend_from_slice(data);
        let consumed = self.frames(slot, &bytes);
        bytes.drain(..consumed);
        self.keep(slot, bytes);
    }

    /// Keeps the beginning of a frame, unless the session was told to go by what came before it.
    fn keep(&mut self, slot: Slot, bytes: Vec<u8>) {
        let Some(session) = self.sessions.get_mut(slot).filter(|session| session.state != State::Leaving)
        else {
            return;
        };
        if !self.partials.keep(&mut session.partial, bytes) {
            self.no_room(slot);
        }
    }

    /// Too much waits for its end, of all clients together.
    pub(crate) fn no_room(&mut self, slot: Slot) {
        self.figures.closed_no_room += 1;
        self.turn_away(slot, ErrorCode::NoRoom, &ErrorCode::NoRoom.to_string());
    }

    /// Acts on every whole frame; returns the bytes that they took.
    fn frames(&mut self, slot: Slot, bytes: &[u8]) -> usize {
        let mut frames = Frames::new(bytes, Receiver::Server, FRAME_BYTES_MAX_BEFORE_LOGIN);
        loop {
            let Some(session) = self.sessions.get(slot) else { return bytes.len() };
            match session.state {
                State::Leaving => return bytes.len(),
                State::Active => frames.set_frame_bytes_max(FRAME_BYTES_MAX),
                State::Greeting | State::LoggingIn => {}
            }
            match frames.next() {
                Ok(Some(frame)) => self.frame(slot, frame),
                Ok(None) => return bytes.len() - frames.rest().len(),
                Err(error) => {
                    self.figures.closed_bad_frame += 1;
                    self.turn_away(slot, error.code(), &error.to_string());
                    return bytes.len();
                }
            }
        }
    }

    /// Takes as long as somebody wants a message to take.
    fn work(&self) {
        let work = self.shared.config.work_per_message;
        if !work.is_zero() {
            let begin = Instant::now();
            while begin.elapsed() < work {
                std::hint::spin_loop();
            }
        }
    }

    fn frame(&mut self, slot: Slot, frame: Frame<'_>) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        match (session.state, frame) {
            (State::Greeting, Frame::Hello(hello)) => self.hello(slot, hello),
            (State::Greeting | State::LoggingIn, _) => self.misconduct(slot, ErrorCode::NotLoggedIn),
            (State::Active, Frame::Send { id, to: Recipient::User(to), body }) => {
                if u16::from(session.outstanding) >= OUTSTANDING_MAX {
                    return self.misconduct(slot, ErrorCode::TooManyOutstanding);
                }
                session.outstanding += 1;
                let from = session.user;
                self.figures.messages_received += 1;
                self.work();
                self.send(from, to, id, slot, body);
            }
            (State::Active, Frame::Ack { sequence }) => {
                if sequence > session.delivered {
                    return self.misconduct(slot, ErrorCode::BadAck);
                }
                let user = session.user;
                if session.acknowledge(sequence) {
                    self.ack(user, slot, sequence);
                }
            }
            (State::Active, Frame::Ping { token }) => {
                self.figures.pings_answered += 1;
                self.write(slot, &Frame::Pong { token });
            }
            (State::Active, Frame::Pong { .. }) => {}
            (State::Active, Frame::Bye { .. }) => self.leave(slot, None),
            (State::Active, Frame::Hello(_)) => self.misconduct(slot, ErrorCode::AlreadyLoggedIn),
            // The decoder lets nothing else through to a server, and `frames` stops at a leaving session.
            (State::Active | State::Leaving, _) => {}
        }
    }

    fn hello(&mut self, slot: Slot, hello: Hello) {
        if hello.version_min > *VERSIONS.end() || hello.version_max < *VERSIONS.start() {
            let (lowest, highest) = (VERSIONS.start(), VERSIONS.end());
            let text = format!("this server speaks versions {lowest} to {highest}");
            self.figures.closed_bad_conduct += 1;
            return self.turn_away(slot, ErrorCode::Version, &text);
        }
        let Some(session) = self.sessions.get_mut(slot) else { return };
        session.user = hello.user;
        session.state = State::LoggingIn;
        session.flags.set(Flags::REGISTERED);
        let home = self.home_of(hello.user);
        if home == self.me {
            self.login(hello.user, slot);
        } else {
            self.post.write(home, Letter::Login { user: hello.user, place: slot });
        }
    }

    /// Appends a frame to what the client is sent. A client that lets too much pile up is told to go.
    pub(crate) fn write(&mut self, slot: Slot, frame: &Frame<'_>) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        // Before its handshake is over, nobody hears a reason.
        if !self.security.may_send(session.tls) {
            return;
        }
        let (waiting, list) = self.outboxes.append(&mut session.outbox, |out| frame.encode(out));
        if list {
            self.dirty.push(slot);
        }
        let too_much = waiting > self.shared.config.outbox_bytes_max
            || waiting > 0 && self.outboxes.bytes() > self.side_bytes_max;
        if too_much && session.state != State::Leaving {
            self.overfull.push(slot);
        }
    }

    /// Sends what waits, for every session that has something and no send in flight.
    fn flush(&mut self) {
        while !self.dirty.is_empty() {
            self.flush_listed();
        }
    }

    fn flush_listed(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        let mut used_up = Vec::new();
        for slot in dirty.drain(..) {
            let Some(session) = self.sessions.get_mut(slot) else { continue };
            let mut goes_on = true;
            let seal = |text: &mut Vec<u8>| goes_on = self.security.seal(session.tls, text);
            let buffer = self.outboxes.flush(&mut session.outbox, seal);
            // The last word is with the reactor, or there was none.
            let parts = buffer.is_some() || session.outbox.index().is_none();
            let leaves = session.state == State::Leaving;
            if let Some(buffer) = buffer {
                self.reactor.send(slot, buffer);
            }
            if leaves && parts {
                self.part(slot);
            } else if !goes_on {
                used_up.push(slot);
            }
        }
        self.dirty = dirty;
        // To part with one tells others, who are listed by that.
        for slot in used_up {
            self.figures.closed_key_used_up += 1;
            self.part_with(slot);
        }
    }

    fn sent(&mut self, slot: Slot, buffer: Vec<u8>, result: &io::Result<()>) {
        let Some(session) = self.sessions.get_mut(slot) else { return self.outboxes.recycle(buffer) };
        // After a failed send `Closed` follows, and with it the end of this outbox.
        if self.outboxes.sent(&mut session.outbox, buffer) && result.is_ok() {
            self.dirty.push(slot);
            return;
        }
        let (leaves, is_secure) = (session.state == State::Leaving, session.tls != Side::NONE);
        if is_secure && result.is_ok() {
            self.speak(slot);
        }
        if leaves && self.sessions.get(slot).is_some_and(|session| session.outbox.index().is_none()) {
            self.part(slot);
        }
    }

    fn publish(&mut self) {
        let gauges = self.reactor.gauges();
        let figures = &mut self.figures;
        figures.connections = self.sessions.len() as u64;
        figures.directory_users = self.home.users() as u64;
        figures.unacknowledged = self.home.in_flight() as u64;
        figures.batches_sent = self.post.batches_sent;
        figures.mailbox_full = self.post.mailbox_full;
        figures.turns = gauges.turns;
        figures.syscalls = gauges.syscalls;
        figures.recv_starved = gauges.recv_starved;
        figures.short_sends = gauges.short_sends;
        figures.ring_overflows = gauges.overflows;
        self.note_tls();
        self.shared.published[usize::from(self.me)].publish(&self.figures);
    }

    pub(crate) fn heard_now(&self) -> u32 {
        ((self.now.0 - self.start.0) / HEARD_TICK.as_nanos() as u64) as u32
    }
}
