//! TLS between the reactor's bytes and a session's frames.
//!
//! ```text
//!   Data ──> established? ── yes ──> records are opened in the lease ──> frames
//!                │ no
//!                v
//!            kept, and the session queues for a step of its handshake
//! ```
//!
//! A step of a handshake takes as long as a hundred messages, so a shard takes one only in a turn that has nothing else to do, or
//! after [`BUSY_TURNS_MAX`] that had: a storm of clients waits for those who chat, whose answers are with the kernel before. Whose
//! handshake has begun goes first, and no more are begun than [`crate::Config::handshakes_max`]: what waits beyond costs the bytes of
//! its ClientHello, and of all together no more is kept than of frames without an end. The login's deadline is the handshake's, too.

use std::collections::VecDeque;

use throng_reactor::{Reactor, Slot};
use throng_wire::tls::{Established, Step, Table, Tls};

use crate::limits::{BUSY_TURNS_MAX, HANDSHAKE_BYTES_MAX};
use crate::session::{Side, State};
use crate::shard::Shard;
use crate::spare::trim_queue;

/// One session's TLS.
pub(crate) struct Secured {
    tls: Tls,
    /// The beginning of a record, or what waits for a step of the handshake.
    partial: Side,
    /// It queues for a step.
    is_queued: bool,
    /// Nothing is read until the step.
    is_held: bool,
    /// The client said that it sends no more, as TLS wants it.
    said_goodbye: bool,
}
const _: () = assert!(size_of::<Secured>() <= 248);

/// The TLS of a shard's sessions.
#[derive(Debug, Default)]
pub(crate) struct Security {
    table: Table<Secured>,
    /// Sessions with bytes for a handshake that has begun, and for one that has not.
    begun: VecDeque<Slot>,
    fresh: VecDeque<Slot>,
    /// Turns since the last step that had something else to do.
    busy_turns: u32,
    /// Handshakes that have begun and are not over.
    under_way: usize,
    /// Sessions that rustls keeps whole.
    whole: usize,
}

impl Security {
    fn get(&mut self, side: Side) -> Option<&mut Secured> {
        self.table.get_mut(side.index()? as u32)
    }

    /// Takes a connection further, and counts what that makes of it.
    fn on<T>(&mut self, side: Side, act: impl FnOnce(&mut Tls) -> T) -> Option<T> {
        let tls = &mut self.table.get_mut(side.index()? as u32)?.tls;
        let before = (tls.is_shaking_hands(), tls.is_whole());
        let result = act(tls);
        let after = (tls.is_shaking_hands(), tls.is_whole());
        self.under_way = self.under_way + usize::from(after.0) - usize::from(before.0);
        self.whole = self.whole + usize::from(after.1) - usize::from(before.1);
        Some(result)
    }

    /// Queues a session for a step of its handshake.
    fn queue(&mut self, slot: Slot, side: Side) {
        let Some(secured) = self.get(side) else { return };
        let has_begun = secured.tls.is_shaking_hands();
        if !std::mem::replace(&mut secured.is_queued, true) {
            let queue = if has_begun { &mut self.begun } else { &mut self.fresh };
            queue.push_back(slot);
        }
    }

    /// Whether TLS has something to say on a session though nobody else has.
    pub(crate) fn wants_to_send(&mut self, side: Side) -> bool {
        self.get(side).is_some_and(|secured| secured.tls.wants_to_send())
    }

    /// Whether text may be sent.
    pub(crate) fn may_send(&mut self, side: Side) -> bool {
        side == Side::NONE || self.get(side).is_some_and(|secured| secured.tls.is_established())
    }

    /// Makes of a session's text what it is sent; false when nothing more may be sealed for it. Without TLS the text is it.
    pub(crate) fn seal(&mut self, side: Side, text: &mut Vec<u8>) -> bool {
        self.on(side, |tls| tls.seal(text).is_ok()).unwrap_or(true)
    }

    /// Gives back the memory that a storm needed.
    pub(crate) fn tidy(&mut self) {
        trim_queue(&mut self.begun);
        trim_queue(&mut self.fresh);
    }
}

impl<R: Reactor> Shard<R> {
    /// A client came to a listener that speaks TLS.
    pub(crate) fn secure(&mut self, slot: Slot) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let secured = Secured {
            tls: Tls::new(),
            partial: Side::NONE,
            is_queued: false,
            is_held: false,
            said_goodbye: false,
        };
        session.tls = Side::new(self.security.table.insert(secured) as usize);
    }

    /// Bytes came for a session with TLS.
    pub(crate) fn sealed(&mut self, slot: Slot, side: Side, data: &mut [u8]) {
        let Some(secured) = self.security.get(side) else { return };
        if !secured.tls.is_established() {
            return self.wait_for_step(slot, side, data);
        }
        let partial = self.partials.take(&mut secured.partial);
        match partial {
            None => {
                let used = self.records(slot, side, data);
                self.keep_record(slot, side, &data[used..]);
            }
            Some(mut bytes) => {
                bytes.extend_from_slice(data);
                let used = self.records(slot, side, &mut bytes);
                bytes.drain(..used);
                self.keep_sealed(slot, side, bytes);
            }
        }
    }

    /// Keeps bytes of a handshake, and queues its session for a step.
    fn wait_for_step(&mut self, slot: Slot, side: Side, data: &[u8]) {
        let Some(secured) = self.security.get(side) else { return };
        let mut bytes = self.partials.take(&mut secured.partial).unwrap_or_else(|| self.partials.spare());
        bytes.extend_from_slice(data);
        let holds = bytes.len() > HANDSHAKE_BYTES_MAX && !std::mem::replace(&mut secured.is_held, true);
        self.keep_sealed(slot, side, bytes);
        self.security.queue(slot, side);
        if holds {
            self.reactor.pause(slot);
        }
    }

    fn keep_record(&mut self, slot: Slot, side: Side, bytes: &[u8]) {
        if !bytes.is_empty() {
            let mut rest = self.partials.spare();
            rest.extend_from_slice(bytes);
            self.keep_sealed(slot, side, rest);
        }
    }

    /// Keeps the beginning of a record, unless the session was told to go by what came before it.
    fn keep_sealed(&mut self, slot: Slot, side: Side, bytes: Vec<u8>) {
        let leaves = self.sessions.get(slot).is_none_or(|session| session.state == State::Leaving);
        let Some(secured) = self.security.get(side).filter(|_| !leaves) else { return };
        if !self.partials.keep(&mut secured.partial, bytes) {
            self.no_room(slot);
        }
    }

    /// Acts on every whole record; returns the bytes that they took.
    fn records(&mut self, slot: Slot, side: Side, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            if self.sessions.get(slot).is_none_or(|session| session.state == State::Leaving) {
                return bytes.len();
            }
            let Some(opened) = self.security.on(side, |tls| tls.open(&mut bytes[at..])) else {
                return bytes.len();
            };
            match opened {
                Ok(None) => break,
                Ok(Some(opened)) => {
                    if !opened.text.is_empty() {
                        self.text(slot, &bytes[at..][opened.text]);
                    }
                    at += opened.used;
                    if opened.closed {
                        if let Some(secured) = self.security.get(side) {
                            secured.said_goodbye = true;
                        }
                        self.ended(slot);
                    }
                }
                Err(_) => {
                    self.figures.closed_bad_record += 1;
                    self.part_with(slot);
                    return bytes.len();
                }
            }
        }
        self.speak(slot);
        at
    }

    /// Takes a step of a handshake, if there is one and this turn has time for it. True: the next turn must not wait.
    pub(crate) fn shake_hands(&mut self, is_busy: bool) -> bool {
        let busy_turns = self.security.busy_turns.saturating_add(1);
        self.security.busy_turns = if is_busy { busy_turns } else { BUSY_TURNS_MAX };
        if self.security.busy_turns >= BUSY_TURNS_MAX
            && let Some(slot) = self.next_handshake()
        {
            self.security.busy_turns = 0;
            self.step(slot);
        }
        !self.security.begun.is_empty() || self.may_begin() && !self.security.fresh.is_empty()
    }

    fn may_begin(&self) -> bool {
        self.security.under_way < self.shared.config.handshakes_max
    }

    fn next_handshake(&mut self) -> Option<Slot> {
        loop {
            let fresh = if self.may_begin() { self.security.fresh.pop_front() } else { None };
            let begun = self.security.begun.pop_front();
            // Whoever has begun goes first.
            if let (Some(fresh), Some(_)) = (fresh, begun) {
                self.security.fresh.push_front(fresh);
            }
            let slot = begun.or(fresh)?;
            if self.sessions.get(slot).is_some_and(|session| session.state != State::Leaving) {
                return Some(slot);
            }
        }
    }

    /// Takes one session's handshake a step further.
    fn step(&mut self, slot: Slot) {
        let Some(side) = self.sessions.get(slot).map(|session| session.tls) else { return };
        let Some(setup) = self.shared.setup() else { return };
        let Some(secured) = self.security.get(side) else { return };
        secured.is_queued = false;
        if std::mem::take(&mut secured.is_held) {
            self.reactor.resume(slot);
        }
        let arrived = self.partials.take(&mut secured.partial).unwrap_or_default();
        let step = self.security.on(side, |tls| {
            tls.put(&arrived);
            tls.step(&setup)
        });
        self.partials.give_back(arrived);
        let Some(step) = step else { return };
        match step {
            Ok(Step::Waiting) => self.speak(slot),
            Ok(Step::Established(established)) => self.established(slot, side, established),
            Err(_) => {
                self.figures.handshakes_failed += 1;
                self.part_with(slot);
            }
        }
    }

    fn established(&mut self, slot: Slot, side: Side, established: Established) {
        let figures = &mut self.figures;
        let figure = if established.is_resumed {
            &mut figures.handshakes_resumed
        } else {
            &mut figures.handshakes_full
        };
        *figure += 1;
        self.speak(slot);
        let mut rest = established.rest;
        let used = self.records(slot, side, &mut rest);
        self.keep_record(slot, side, &rest[used..]);
    }

    /// Sees to it that what TLS has to say is said.
    pub(crate) fn speak(&mut self, slot: Slot) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if self.security.wants_to_send(session.tls) && self.outboxes.append(&mut session.outbox, |_| {}).1 {
            self.dirty.push(slot);
        }
    }

    /// Nothing more is said on a session, but for the goodbye of TLS.
    pub(crate) fn close_tls(&mut self, slot: Slot) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if let Some(secured) = self.security.get(session.tls) {
            secured.tls.close();
            self.partials.remove(&mut secured.partial);
        }
        self.speak(slot);
    }

    /// The client's stream ended; whether TLS was told.
    pub(crate) fn note_end(&mut self, side: Side) {
        if let Some(secured) = self.security.get(side)
            && secured.tls.is_established()
            && !std::mem::replace(&mut secured.said_goodbye, true)
        {
            self.figures.tls_truncated += 1;
        }
    }

    /// Forgets a session's TLS, keys and all.
    pub(crate) fn forget_tls(&mut self, side: Side) {
        self.security.on(side, |tls| *tls = Tls::new());
        let Some(secured) = self.security.get(side) else { return };
        self.partials.remove(&mut secured.partial);
        if let Some(number) = side.index() {
            self.security.table.remove(number as u32);
        }
    }

    /// Publishes how many sessions have what.
    pub(crate) fn note_tls(&mut self) {
        self.figures.tls_sessions = self.security.table.len() as u64;
        self.figures.tls_bytes = self.security.table.allocated_bytes() as u64;
        self.figures.tls_whole = self.security.whole as u64;
        self.figures.handshakes_under_way = self.security.under_way as u64;
        self.figures.handshakes_queued = (self.security.begun.len() + self.security.fresh.len()) as u64;
    }
}
