//! A turn of a simulated reactor, and what time does between turns.

use super::host::{Completion, Conn, Phase};
use super::link::End;
use super::network::{Action, Listener, Network, errno};
use super::trace::Fnv;
use crate::limits::{ACCEPT_RETRY, ACCEPTS_PER_TURN, BATCH_EVENTS, READS_PER_TURN};
use crate::{AcceptPause, Event, Nanos, Slot};

/// Events per turn that accepting and ended operations may fill; the rest of a batch is for bytes.
const COMPLETIONS_PER_TURN: usize = BATCH_EVENTS / 2;

impl Network {
    /// Hands out what is due for a reactor. Never waits: it remembers `until` for [`Network::advance`].
    pub(super) fn turn(&mut self, host: usize, until: Option<Nanos>, events: &mut Vec<Event>) {
        self.run_due();
        let now = self.now;
        self.hosts[host].offered = false;
        self.hosts[host].conns.reclaim();
        self.hosts[host].until = until.filter(|until| *until > now);
        self.hosts[host].gauges.turns += 1;
        self.hosts[host].gauges.syscalls += 1;
        if !self.is_ready(host) {
            if let Some(slot) = self.hosts[host].readable.front().copied()
                && self.has_bytes(host, slot)
            {
                self.lacks_buffer(host, slot);
            }
            return;
        }
        if self.dice.hit(self.dice.faults.stall) {
            let until = self.dice.pause(now);
            self.hosts[host].stalled_until = until;
            self.schedule(until, Action::PauseEnds);
            return;
        }
        let first = events.len();
        if self.hosts[host].waker.awaken() | self.dice.hit(self.dice.faults.spurious_wake) {
            self.give(host, events, Event::Wake);
        }
        self.accept(host, first + COMPLETIONS_PER_TURN, events);
        while events.len() - first < COMPLETIONS_PER_TURN
            && let Some((slot, what)) = self.hosts[host].done.pop_front()
        {
            self.hand_out(host, slot, what, events);
        }
        self.read(host, first + BATCH_EVENTS, events);
        assert!(events.len() - first <= BATCH_EVENTS, "rule 11: a batch of {}", events.len() - first);
    }

    /// Whether a turn of this reactor would hand something out now.
    fn is_ready(&self, host: usize) -> bool {
        let state = &self.hosts[host];
        if self.now < state.stalled_until {
            return false;
        }
        let full = state.is_full();
        let mut own = self.listeners.iter().filter(|listener| listener.host == host);
        let can_accept = match state.accept_paused {
            Some(_) => state.can_resume_accepting(self.now),
            None => own.any(|listener| full || !listener.backlog.is_empty()),
        };
        let can_read = state.readable.front().is_some_and(|slot| {
            self.now >= state.starved_until && state.pool.has_free() || !self.has_bytes(host, *slot)
        });
        state.waker.is_notified() || !state.done.is_empty() || can_accept || can_read
    }

    fn has_bytes(&self, host: usize, slot: Slot) -> bool {
        let Some(conn) = self.hosts[host].conns.get(slot) else { return false };
        conn.phase == Phase::Open
            && !conn.paused
            && self.links.get(&conn.link).is_some_and(|link| link.pipes[1 - conn.end].readable() > 0)
    }

    /// Moves time to the next instant at which something happens, if nothing can happen now.
    pub(super) fn advance(&mut self) -> bool {
        self.run_due();
        let mut found = false;
        for host in 0..self.hosts.len() {
            if !self.hosts[host].offered && self.is_ready(host) {
                self.hosts[host].offered = true;
                found = true;
            }
        }
        if found {
            return true;
        }
        let deadlines = self.hosts.iter().filter_map(|host| host.until);
        let Some(next) = deadlines.chain(self.next_due()).min() else { return false };
        self.now = self.now.max(next);
        for host in &mut self.hosts {
            host.until = host.until.filter(|until| *until > self.now);
        }
        self.run_due();
        true
    }

    /// Checks, traces and appends an event.
    fn give(&mut self, host: usize, events: &mut Vec<Event>, event: Event) {
        let now = self.now.0;
        match &event {
            Event::Data { slot, data } => self.trace.line(format_args!(
                "{now} r{host} Data {slot:?} {} B {:016x}",
                data.len(),
                Fnv::of(data)
            )),
            Event::Sent { slot, buffer, result } => self.trace.line(format_args!(
                "{now} r{host} Sent {slot:?} {} B {:?}",
                buffer.len(),
                result.as_ref().err().and_then(std::io::Error::raw_os_error)
            )),
            Event::Closed { slot, error } => self.trace.line(format_args!(
                "{now} r{host} Closed {slot:?} {:?}",
                error.as_ref().and_then(std::io::Error::raw_os_error)
            )),
            other => self.trace.line(format_args!("{now} r{host} {other:?}")),
        }
        self.hosts[host].monitor.event(&event);
        events.push(event);
    }

    fn accept(&mut self, host: usize, full: usize, events: &mut Vec<Event>) {
        if self.hosts[host].can_resume_accepting(self.now) {
            self.hosts[host].accept_paused = None;
            self.give(host, events, Event::AcceptResumed);
        }
        let of_host = |listener: &usize| self.listeners[*listener].host == host;
        let own: Vec<usize> = (0..self.listeners.len()).filter(of_host).collect();
        for (number, listener) in (0..).zip(own) {
            for _ in 0..ACCEPTS_PER_TURN {
                if self.hosts[host].accept_paused.is_some()
                    || self.listeners[listener].backlog.is_empty()
                    || events.len() >= full
                {
                    break;
                }
                if self.hosts[host].is_full() {
                    break;
                } else if self.dice.hit(self.dice.faults.accept_pause) {
                    self.pause_accepting(host, AcceptPause::SystemFiles, events);
                } else if self.dice.hit(self.dice.faults.full_table) {
                    self.pause_accepting(host, AcceptPause::ProcessFiles, events);
                } else {
                    let link = self.listeners[listener].backlog.pop_front().expect("it is not empty");
                    self.accept_one(host, link, number, events);
                }
            }
        }
        let state = &self.hosts[host];
        let listens = self.listeners.iter().any(|listener| listener.host == host);
        if state.is_full() && listens && state.accept_paused.is_none() {
            self.pause_accepting(host, AcceptPause::Connections, events);
        }
    }

    fn pause_accepting(&mut self, host: usize, why: AcceptPause, events: &mut Vec<Event>) {
        let retry = self.dice.pause(self.now).min(self.now + ACCEPT_RETRY);
        let state = &mut self.hosts[host];
        state.accept_paused = Some(why);
        state.accept_retry = retry;
        state.gauges.accept_pauses += 1;
        self.schedule(retry, Action::PauseEnds);
        self.give(host, events, Event::AcceptPaused { why });
        if why.leaves_group() {
            let of_host = |listener: &&mut Listener| listener.host == host;
            let left = self.listeners.iter_mut().filter(of_host);
            let waiting =
                left.map(|listener| (listener.address, std::mem::take(&mut listener.backlog))).collect();
            self.migrate(waiting);
        }
    }

    fn accept_one(&mut self, host: usize, id: u64, listener: u16, events: &mut Vec<Event>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let was_reset = matches!(link.ends[1], End::Backlog { reset: true, .. });
        let slot = self.hosts[host].conns.insert(Conn::new(id, 1, Phase::Open));
        link.ends[1] = End::Held { host, slot };
        self.give(host, events, Event::Accepted { slot, listener });
        if was_reset {
            self.fail(id, 1, libc::ECONNRESET);
        } else {
            self.hosts[host].queue_read(slot);
        }
    }

    fn hand_out(&mut self, host: usize, slot: Slot, what: Completion, events: &mut Vec<Event>) {
        let state = &mut self.hosts[host];
        let Some(conn) = state.conns.get_mut(slot) else { return };
        let event = match what {
            Completion::Connected if conn.closed_by_user => return,
            Completion::Connected => {
                if conn.phase == Phase::Connecting {
                    conn.phase = Phase::Open; // else it has failed since, and `Closed` follows
                }
                state.queue_read(slot);
                Event::Connected { slot }
            }
            Completion::Sent => {
                let send = conn.send.take().expect("a send is kept until its Sent");
                Event::Sent { slot, buffer: send.buffer, result: Ok(()) }
            }
            Completion::Closed(error) => {
                if let Some(send) = conn.send.take() {
                    let result = Err(errno(error.unwrap_or(libc::ECANCELED)));
                    self.give(host, events, Event::Sent { slot, buffer: send.buffer, result });
                    return self.hand_out(host, slot, what, events);
                }
                // Who closes a connection that has failed unseen is told that it is closed, as rule 6 has it.
                let error = error.filter(|_| !conn.closed_by_user);
                state.conns.retire(slot);
                Event::Closed { slot, error: error.map(errno) }
            }
        };
        self.give(host, events, event);
    }

    /// Gives every connection that has something its share of reads.
    fn read(&mut self, host: usize, full: usize, events: &mut Vec<Event>) {
        for _ in 0..self.hosts[host].readable.len() {
            let Some(&slot) = self.hosts[host].readable.front() else { return };
            for _ in 0..READS_PER_TURN {
                if events.len() >= full || self.has_bytes(host, slot) && self.starves(host, slot) {
                    return; // it stays in front
                }
                if !self.read_one(host, slot, events) {
                    break;
                }
            }
            self.hosts[host].readable.pop_front();
            if let Some(conn) = self.hosts[host].conns.get_mut(slot) {
                conn.queued = false;
            }
            if self.has_bytes(host, slot) || self.is_at_end(host, slot) {
                self.hosts[host].queue_read(slot);
            }
        }
    }

    fn is_at_end(&self, host: usize, slot: Slot) -> bool {
        let Some(conn) = self.hosts[host].conns.get(slot) else { return false };
        !conn.eof_given && self.links.get(&conn.link).is_some_and(|link| link.pipes[1 - conn.end].at_end())
    }

    /// Whether no receive buffer is to be had.
    fn starves(&mut self, host: usize, slot: Slot) -> bool {
        if self.now >= self.hosts[host].starved_until && self.dice.hit(self.dice.faults.starved) {
            let until = self.dice.pause(self.now);
            self.hosts[host].starved_until = until;
            self.schedule(until, Action::PauseEnds);
        }
        self.lacks_buffer(host, slot)
    }

    /// As [`Network::starves`], without new bad luck; counts when a wait begins.
    fn lacks_buffer(&mut self, host: usize, slot: Slot) -> bool {
        let state = &mut self.hosts[host];
        let starves = self.now < state.starved_until || !state.pool.has_free();
        if let Some(conn) = state.conns.get_mut(slot) {
            let begins = starves && !std::mem::replace(&mut conn.starved, starves);
            state.gauges.recv_starved += u64::from(begins);
        }
        starves
    }

    /// One receive on one connection; false when there was nothing.
    fn read_one(&mut self, host: usize, slot: Slot, events: &mut Vec<Event>) -> bool {
        let state = &mut self.hosts[host];
        let Some(conn) = state.conns.get_mut(slot) else { return false };
        if conn.phase != Phase::Open || conn.paused {
            return false;
        }
        let (id, end) = (conn.link, conn.end);
        let pipe = &mut self.links.get_mut(&id).expect("an open connection has its link").pipes[1 - end];
        if pipe.readable() == 0 {
            if pipe.at_end() && !conn.eof_given {
                conn.eof_given = true;
                self.give(host, events, Event::Eof { slot });
            }
            return false;
        }
        let mut size = pipe.readable().min(state.pool.size());
        if self.dice.hit(self.dice.faults.split) {
            size = self.dice.part(size);
        }
        let index = state.pool.take().expect("it does not starve");
        state.pool.with_buffer(index, |buffer| pipe.read(&mut buffer[..size]));
        let data = state.pool.lease(index, size);
        state.gauges.syscalls += 1;
        self.tell_of_room(id, 1 - end);
        self.give(host, events, Event::Data { slot, data });
        true
    }
}
