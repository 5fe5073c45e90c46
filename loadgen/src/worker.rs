//! One thread's part of a load: a crowd, its schedule, and the reactor that carries both.
//!
//! ```text
//!   turn():  what is due      -> crowd         (connections, messages, heartbeats, the end)
//!            crowd            -> reactor       (sends, closes)
//!            reactor.turn(until the next thing is due)
//!            what happened    -> crowd         (Connected, Data, Sent, Closed)
//! ```
//!
//! Every wait ends at the next planned instant, and the schedule is looked at whether or not the server answers. The clock is
//! read once for a batch of events (their bytes were here by then), once per pick and once per send.

mod connections;
mod storm;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use throng_reactor::{Close, Event, Nanos, Reactor, Slot};
use throng_wire::tls::Setup;

use crate::crowd::Crowd;
use crate::gate::{EarlyEnd, Phase, Shared, Times};
use crate::limits::{
    BUSY_TURNS_MAX, GATE_LEAD, HEARTBEAT_TICK, HEARTBEATS_PER_TURN, LATE_ATTEMPTS, MISSES_PER_TURN,
    PICKS_PER_TURN, WAIT_MAX,
};
use crate::outcome::Record;
use crate::schedule::{Schedule, Share};
use crate::{Plan, Sources};

/// From one handing over of the running second's measurements to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long closing may stand still before the reactor is dropped with what is left.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);

/// Whether there is more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Another turn, please.
    Running,
    /// The same, and at once: before anything else happens there is something to do already.
    Busy,
    /// Everybody is gone.
    Done,
}

/// Where a worker stands; the instants are shared ([`Shared`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Waits for the start gate.
    Ready,
    /// Begins connections.
    Connecting,
    /// All of its users are in, or failed; waits for the others.
    Settled,
    /// From the traffic gate to the plan's last message, with a storm in between.
    Traffic,
    /// Takes connections away and makes them again.
    Storming,
    /// All of its users are back, or gave up; waits for the others.
    Calm,
    /// Waits for what is under way.
    Draining {
        until: Nanos,
    },
    /// Nothing is under way; waits for the others.
    Drained,
    /// Closes connections.
    Leaving {
        /// Connections that were left when last one closed, and when that will have been too long ago.
        slots: u32,
        until: Nanos,
    },
    Done,
}

/// One thread's part of a load. The module's text says how it works.
pub struct Worker<R> {
    reactor: R,
    number: usize,
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    sources: Sources,
    share: Share,
    schedule: Schedule,
    crowd: Crowd,
    stage: Stage,
    phase: Phase,
    events: Vec<Event>,
    started: Nanos,
    connects_in_flight: u32,
    /// Connections are held back because as many as allowed are under way.
    held_back: bool,
    /// When there was room again for one that was held back.
    room_since: Nanos,
    /// Connections in the order of their beginning, with the instant at which they have taken too long.
    timeouts: VecDeque<(Nanos, Slot)>,
    /// The first user whom the storm did not look at yet.
    struck: u32,
    /// How many were let in and failed to be, when the others were told last.
    told: (u64, u64, u64),
    /// The first user whose closed loop was not begun yet.
    kicked_off: u32,
    /// Heartbeats so far; the users have their turns one after the other.
    heartbeats: u64,
    /// The first user who was not asked to leave yet.
    left: u32,
    hands_over: Nanos,
    /// Something is left over from this turn, so the next one must not wait.
    hurry: bool,
    /// Turns since the last step of a handshake that had something else to do.
    busy_turns: u32,
}

impl<R: Reactor> Worker<R> {
    /// The worker `number` (from 0) of `shared`. At most `connects_in_flight` of its connections are begun and not logged in.
    pub fn new(
        reactor: R,
        number: usize,
        plan: Arc<Plan>,
        shared: Arc<Shared>,
        sources: Sources,
        connects_in_flight: u32,
        tls: Option<Setup>,
    ) -> Worker<R> {
        let share = Share::new(&plan, number, shared.workers() as usize);
        let now = reactor.now();
        shared.arrive(&shared.start, now, GATE_LEAD);
        Worker {
            schedule: Schedule::new(&plan, share),
            crowd: Crowd::new(Arc::clone(&plan), share, tls),
            reactor,
            number,
            plan,
            shared,
            sources,
            share,
            stage: Stage::Ready,
            phase: Phase::Connecting,
            events: Vec::with_capacity(throng_reactor::limits::BATCH_EVENTS),
            started: now,
            connects_in_flight: connects_in_flight.max(1),
            held_back: false,
            room_since: Nanos(0),
            timeouts: VecDeque::new(),
            struck: 0,
            told: (0, 0, 0),
            kicked_off: 0,
            heartbeats: 0,
            left: 0,
            hands_over: now + INTERVAL,
            hurry: false,
            busy_turns: 0,
        }
    }

    /// How far it has come: the load's phase, as this worker saw it in its last turn.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Waits for the next thing, and does it.
    ///
    /// # Errors
    /// Only what the reactor cannot go on after.
    pub fn turn(&mut self) -> io::Result<Step> {
        if self.shared.is_abandoned() {
            self.stage = Stage::Done;
        }
        if self.stage == Stage::Done {
            self.publish();
            self.board().done.store(true, Ordering::Release);
            self.phase = Phase::Done;
            return Ok(Step::Done);
        }
        // What the last events caused goes out before what the schedule adds.
        self.flush();
        let now = self.reactor.now();
        self.hurry = false;
        self.advance(now);
        self.shake_hands();
        self.flush();
        self.publish();
        if now >= self.hands_over {
            self.shared.boards[self.number].hand_over(&mut self.crowd.interval);
            self.hands_over = now + INTERVAL;
        }
        self.phase = self.shared.phase(&self.plan, now);

        let until = if self.hurry { Nanos(0) } else { self.next_deadline(now) };
        let mut events = std::mem::take(&mut self.events);
        self.reactor.turn(Some(until), &mut events)?;
        let now = self.reactor.now();
        let is_busy = self.hurry || !events.is_empty();
        let busy_turns = self.busy_turns.saturating_add(1);
        self.busy_turns = if events.is_empty() { BUSY_TURNS_MAX } else { busy_turns };
        for event in events.drain(..) {
            self.handle(event, now);
        }
        self.events = events;
        if self.held_back && self.crowd.pending < self.connects_max() {
            self.held_back = false;
            self.room_since = now;
        }
        Ok(if is_busy { Step::Busy } else { Step::Running })
    }

    /// What it found out. Called after [`Step::Done`].
    pub fn finish(mut self) -> Record {
        self.shared.boards[self.number].hand_over(&mut self.crowd.interval);
        Record {
            tls: self.crowd.tls_counts(),
            connections: self.crowd.counts,
            storm: self.crowd.storm,
            peak: u64::from(self.crowd.peak),
            ledger: self.crowd.ledger,
            times: self.crowd.distributions,
            heartbeats: self.crowd.heartbeats,
            gauges: self.reactor.gauges(),
            counters: self.reactor.counters().into_iter().collect(),
            thread: crate::outcome::ThreadUse::default(),
        }
    }

    fn board(&self) -> &crate::gate::Board {
        &self.shared.boards[self.number]
    }

    fn handle(&mut self, event: Event, now: Nanos) {
        match event {
            Event::Data { slot, mut data } => {
                if let Some(user) = self.crowd.user_of(slot) {
                    self.crowd.receive(user, &mut data, now);
                }
            }
            Event::Sent { slot, buffer, .. } => {
                let user = self.crowd.user_of(slot);
                self.crowd.sent(user, buffer);
            }
            Event::Connected { slot } => {
                if let Some(user) = self.crowd.user_of(slot) {
                    self.crowd.connected(user, now);
                }
            }
            Event::Eof { slot } => {
                if let Some(user) = self.crowd.user_of(slot) {
                    self.crowd.eof(user);
                }
            }
            Event::Closed { slot, error } => {
                if let Some(user) = self.crowd.user_of(slot) {
                    self.crowd.closed(user, error.as_ref(), now);
                }
            }
            // A generator listens nowhere.
            Event::Accepted { .. } | Event::AcceptPaused { .. } | Event::AcceptResumed | Event::Wake => {}
        }
    }

    /// Hands everything that users have to say to the reactor, and closes whom the crowd gave up.
    fn flush(&mut self) {
        let mut cursor = 0;
        while let Some(user) = self.crowd.next_dirty(&mut cursor) {
            self.send(user);
        }
        while let Some(user) = self.crowd.next_close() {
            if let Some(slot) = self.crowd.slot(user) {
                self.reactor.close(slot, Close::Reset);
            }
        }
        while let Some(user) = self.crowd.next_parted() {
            if let Some(slot) = self.crowd.slot(user) {
                self.reactor.close(slot, Close::Now);
            }
        }
    }

    /// Takes a handshake a step further, if there is one, after a turn that had nothing else to do or after some that had. What is to
    /// be said of it goes out with the rest.
    fn shake_hands(&mut self) {
        if self.busy_turns >= BUSY_TURNS_MAX && self.crowd.step(&self.reactor) {
            self.busy_turns = 0;
        }
        self.hurry |= self.crowd.has_steps();
    }

    fn send(&mut self, user: u32) {
        let Some(slot) = self.crowd.slot(user) else { return };
        let mut buffer = self.crowd.buffer();
        let now = self.reactor.now();
        if self.crowd.write(user, now, &mut buffer) {
            self.reactor.send(slot, buffer);
        } else {
            self.crowd.give_back(buffer);
        }
    }

    /// Does what is due at `now`.
    fn advance(&mut self, now: Nanos) {
        let shared = Arc::clone(&self.shared);
        match self.stage {
            Stage::Ready => {
                if let Some(opens) = shared.start.opens().filter(|&opens| opens <= now) {
                    self.started = opens;
                    self.crowd.start(opens);
                    self.stage = Stage::Connecting;
                    self.hurry = true;
                }
            }
            Stage::Connecting => {
                if shared.cut().is_some() {
                    return self.drained(now);
                }
                self.connect(now);
                self.time_out(now);
                self.heartbeat(now);
                self.give_up(now);
                if self.crowd.begun() == self.share.users() && self.crowd.is_settled() {
                    self.timeouts = VecDeque::new();
                    self.stage = Stage::Settled;
                    // Whoever passes the gate reads the boards.
                    self.publish();
                    shared.arrive(&shared.traffic, now, GATE_LEAD);
                }
            }
            Stage::Settled => match shared.traffic.opens() {
                Some(opens) if opens <= now => {
                    self.stage = Stage::Traffic;
                    self.hurry = true;
                }
                None if shared.cut().is_some() => self.drained(now),
                _ => self.heartbeat(now),
            },
            Stage::Traffic => self.traffic(now),
            Stage::Storming => self.storm(now),
            Stage::Calm => {
                self.heartbeat(now);
                if shared.calm.opens().is_some_and(|opens| opens <= now) || shared.cut().is_some() {
                    self.stage = Stage::Traffic;
                    self.hurry = true;
                }
            }
            Stage::Draining { until } => {
                if self.crowd.is_quiet() || now >= until {
                    self.drained(now);
                }
            }
            Stage::Drained => {
                if shared.leave.opens().is_some_and(|opens| opens <= now) {
                    self.crowd.leave();
                    self.stage = Stage::Leaving { slots: self.crowd.slots, until: now + LEAVE_LIMIT };
                    self.hurry = true;
                }
            }
            Stage::Leaving { slots, until } => {
                self.leave();
                let left = self.crowd.slots;
                if left < slots {
                    self.stage = Stage::Leaving { slots: left, until: now + LEAVE_LIMIT };
                } else if left == 0 || now >= until {
                    self.stage = Stage::Done;
                    self.hurry = true;
                }
            }
            Stage::Done => {}
        }
    }

    fn drained(&mut self, now: Nanos) {
        self.stage = Stage::Drained;
        self.shared.arrive(&self.shared.leave, now, GATE_LEAD);
    }

    fn traffic(&mut self, now: Nanos) {
        let Some(times) = self.shared.times(&self.plan) else { return };
        self.crowd.times = Some(times);
        if self.crowd.ready == 0
            && self.shared.sum(|board| &board.connected_now) == 0
            && self.shared.cut().is_none()
        {
            // Nobody is left to play: waiting for the plan's end would measure nothing.
            self.shared.end_early(now, EarlyEnd::EverybodyLost);
            return self.traffic(now);
        }
        if times.measured <= now && self.storm_is_due() {
            self.crowd.begin_storm(times.measured);
            self.stage = Stage::Storming;
            self.hurry = true;
            return;
        }
        self.kick_off(now);
        let more = self.pick(times);
        self.heartbeat(now);
        if now >= times.ends && !more {
            self.stage = Stage::Draining { until: times.ends.max(now) + self.plan.drain_limit };
            self.hurry = true;
        }
    }

    /// Begins closed loops, some per turn, so that nobody's answers wait for all of them.
    fn kick_off(&mut self, now: Nanos) {
        if self.plan.closed_loop_window.is_none() {
            return;
        }
        let end = self.crowd.begun().min(self.kicked_off + PICKS_PER_TURN);
        for user in self.kicked_off..end {
            self.crowd.kick_off(user, now);
        }
        self.kicked_off = end;
        self.hurry |= end < self.crowd.begun();
    }

    /// Attempts the messages that are due. True: some of those that are due were left for the next turn.
    fn pick(&mut self, times: Times) -> bool {
        let ends = times.ends.since(times.origin).as_nanos() as u64;
        if self.reactor.now() >= times.ends + LATE_ATTEMPTS {
            return self.miss(times, ends);
        }
        for _ in 0..PICKS_PER_TURN {
            let Some(next) = self.schedule.next_at().filter(|&next| next < ends) else { return false };
            let now = self.reactor.now();
            let passed = now.since(times.origin).as_nanos() as u64;
            if next > passed || now < times.origin {
                return false;
            }
            let Some(due) = self.schedule.pop(passed) else { return false };
            self.crowd.due(due.user, times.origin + Duration::from_nanos(due.at), now);
            self.flush();
        }
        self.hurry = true;
        true
    }

    /// Counts messages that are due and come too late to be attempted. True: there are more.
    fn miss(&mut self, times: Times, ends: u64) -> bool {
        for _ in 0..MISSES_PER_TURN {
            let Some(due) = ends.checked_sub(1).and_then(|last| self.schedule.pop(last)) else {
                return false;
            };
            self.crowd.missed(times.origin + Duration::from_nanos(due.at));
        }
        self.hurry = true;
        true
    }

    /// When to send heartbeats next: at the tick after the next one is due.
    fn next_heartbeat(&self) -> Option<Nanos> {
        let users = self.share.users();
        if self.plan.heartbeat.is_zero() || users == 0 {
            return None;
        }
        let every_ns = self.plan.heartbeat.as_nanos() as f64 / f64::from(users);
        let due_ns = (self.heartbeats as f64 * every_ns) as u64;
        Some(self.started + Duration::from_nanos(due_ns.next_multiple_of(HEARTBEAT_TICK.as_nanos() as u64)))
    }

    fn heartbeat(&mut self, now: Nanos) {
        for _ in 0..HEARTBEATS_PER_TURN {
            if self.next_heartbeat().is_none_or(|next| next > now) {
                return;
            }
            let user = self.heartbeats % u64::from(self.share.users());
            self.crowd.heartbeat(user as u32);
            self.heartbeats += 1;
        }
        self.hurry = true;
    }

    /// Until when there is nothing to do but to wait for events.
    fn next_deadline(&self, now: Nanos) -> Nanos {
        let mut until = now + WAIT_MAX;
        let mut at_most = |instant: Option<Nanos>| until = until.min(instant.unwrap_or(Nanos::MAX));
        match self.stage {
            Stage::Ready => at_most(self.shared.start.opens()),
            Stage::Connecting | Stage::Storming => {
                if self.crowd.pending < self.connects_max() {
                    at_most(self.crowd.next_connect().map(|(planned, _)| planned));
                }
                at_most(self.next_heartbeat());
            }
            Stage::Calm => {
                at_most(self.shared.calm.opens());
                at_most(self.next_heartbeat());
            }
            Stage::Settled => {
                at_most(self.shared.traffic.opens());
                at_most(self.next_heartbeat());
            }
            Stage::Traffic => {
                if let Some(times) = self.crowd.times {
                    let planned = |at| times.origin + Duration::from_nanos(at);
                    at_most(self.schedule.next_at().map(planned));
                    for edge in [times.measure, times.measured, times.ends] {
                        at_most(Some(edge).filter(|&edge| edge > now));
                    }
                }
                at_most(self.next_heartbeat());
            }
            Stage::Draining { until } | Stage::Leaving { until, .. } => at_most(Some(until)),
            Stage::Drained => at_most(self.shared.leave.opens()),
            Stage::Done => {}
        }
        until
    }

    fn publish(&mut self) {
        self.tell_doors();
        let (board, crowd) = (self.board(), &self.crowd);
        let figures = [
            (&board.established, crowd.counts.established),
            (&board.connected_now, u64::from(crowd.ready)),
            (&board.failed, crowd.counts.failed()),
            (&board.lost, crowd.counts.lost()),
            (&board.planned, crowd.ledger.planned),
            (&board.sent, crowd.ledger.sent.count),
            (&board.accepted, crowd.ledger.accepted.count),
            (&board.delivered, crowd.ledger.delivered.count),
            (&board.waiting, crowd.waiting()),
            (&board.missing, crowd.ledger.lost),
            (&board.duplicated, crowd.ledger.duplicated),
            (&board.reordered, crowd.ledger.reordered),
            (&board.corrupted, crowd.ledger.corrupted),
            (&board.refused, crowd.ledger.refused.count),
            (&board.unknown, crowd.ledger.unknown.count),
        ];
        for (place, value) in figures {
            place.store(value, Ordering::Relaxed);
        }
    }
}
