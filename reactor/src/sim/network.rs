//! The network between the simulated reactors: addresses, handshakes, segments, resets, and the queue of what comes
//! when.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::faults::{Dice, Faults};
use super::host::{Completion, Conn, Host, Phase};
use super::link::{Arrival, End, Link};
use super::trace::Trace;
use crate::{Nanos, Slot};

/// The ports that the network gives by itself: Linux's default range.
const PORTS: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// How often a lost SYN is repeated, as net.ipv4.tcp_syn_retries.
const SYN_RETRIES: u32 = 6;

/// Something that is due at an instant. A link or a slot that is gone by then makes it nothing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    /// A SYN reaches its target.
    Syn { link: u64, tries: u32 },
    /// The client learns that it is connected.
    Established { link: u64 },
    /// The client learns that it is not.
    Refused { link: u64, errno: i32 },
    /// The next segment reaches `end`.
    Arrive { link: u64, end: usize },
    /// RST reaches `end`.
    Reset { link: u64, end: usize },
    /// `end` can go on sending.
    Pump { link: u64, end: usize },
    /// An operation ends.
    Complete { host: usize, slot: Slot, what: Completion },
    /// A pause of some reactor is over.
    PauseEnds,
}

/// A listening socket.
pub(super) struct Listener {
    pub(super) address: SocketAddr,
    pub(super) host: usize,
    pub(super) backlog: VecDeque<u64>,
}

/// Everything in a world. [`super::turn`] is the part that hands events out.
pub(super) struct Network {
    pub(super) seed: u64,
    pub(super) now: Nanos,
    pub(super) dice: Dice,
    pub(super) trace: Trace,
    pub(super) hosts: Vec<Host>,
    pub(super) listeners: Vec<Listener>,
    pub(super) links: BTreeMap<u64, Link>,
    links_made: u64,
    /// Due instants; the second number keeps the order of what is due at once.
    queue: BTreeMap<(Nanos, u64), Action>,
    queued: u64,
    /// Pairs of addresses in use.
    pairs: BTreeSet<(SocketAddr, SocketAddr)>,
    /// The port given last, per address.
    ports: BTreeMap<IpAddr, u16>,
}

impl Network {
    pub(super) fn new(seed: u64, faults: Faults) -> Network {
        Network {
            seed,
            now: Nanos(0),
            dice: Dice::new(seed, faults),
            trace: Trace::new(),
            hosts: Vec::new(),
            listeners: Vec::new(),
            links: BTreeMap::new(),
            links_made: 0,
            queue: BTreeMap::new(),
            queued: 0,
            pairs: BTreeSet::new(),
            ports: BTreeMap::new(),
        }
    }

    pub(super) fn schedule(&mut self, at: Nanos, action: Action) {
        self.queued += 1;
        self.queue.insert((at, self.queued), action);
    }

    fn after_latency(&mut self, action: Action) {
        let at = self.now + self.dice.latency();
        self.schedule(at, action);
    }

    /// When the next thing is due.
    pub(super) fn next_due(&self) -> Option<Nanos> {
        self.queue.keys().next().map(|key| key.0)
    }

    /// Does everything that is due by now.
    pub(super) fn run_due(&mut self) {
        while let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= self.now
        {
            match entry.remove() {
                Action::Syn { link, tries } => self.syn(link, tries),
                Action::Established { link } => self.established(link),
                Action::Refused { link, errno } => self.fail(link, 0, errno),
                Action::Arrive { link, end } => self.arrive(link, end),
                Action::Reset { link, end } => self.fail(link, end, libc::ECONNRESET),
                Action::Pump { link, end } => self.pump(link, end),
                Action::Complete { host, slot, what } => {
                    if self.hosts[host].conns.get(slot).is_some() {
                        self.hosts[host].done.push_back((slot, what));
                    }
                }
                Action::PauseEnds => {}
            }
        }
    }

    /// Lets an operation of a connection end, perhaps late, never before an earlier one of the same connection.
    fn complete(&mut self, host: usize, slot: Slot, what: Completion) {
        let at = self.dice.delayed(self.now, self.dice.faults.late_completion);
        let conn =
            self.hosts[host].conns.get_mut(slot).expect("an operation ends on a connection that has it");
        conn.last_completion = conn.last_completion.max(at);
        let at = conn.last_completion;
        self.schedule(at, Action::Complete { host, slot, what });
    }

    pub(super) fn listen(&mut self, host: usize, mut address: SocketAddr) -> io::Result<SocketAddr> {
        if address.port() == 0 {
            let taken = |port| self.listeners.iter().any(|listener| listener.address.port() == port);
            let port = PORTS.into_iter().find(|port| !taken(*port)).ok_or_else(|| errno(libc::EADDRINUSE))?;
            address.set_port(port);
        }
        self.listeners.push(Listener { address, host, backlog: VecDeque::new() });
        Ok(address)
    }

    /// Closes a reactor's listeners.
    pub(super) fn stop_listening(&mut self, host: usize) {
        self.hosts[host].accept_paused = None;
        let closed = self.listeners.extract_if(.., |listener| listener.host == host);
        let waiting = closed.map(|listener| (listener.address, listener.backlog)).collect();
        self.migrate(waiting);
    }

    /// Who waits where nobody listens any more goes to another of the group, as with net.ipv4.tcp_migrate_req, or is
    /// reset when there is none.
    pub(super) fn migrate(&mut self, waiting: Vec<(SocketAddr, VecDeque<u64>)>) {
        for (address, links) in waiting {
            for id in links {
                let group = self.group(|other| other == address);
                if group.is_empty() {
                    self.abandon(id, 1, true);
                    continue;
                }
                let chosen = group[self.dice.below(group.len() as u64) as usize];
                let listener = &mut self.listeners[chosen];
                listener.backlog.push_back(id);
                if let Some(Link { ends: [_, End::Backlog { host, .. }], .. }) = self.links.get_mut(&id) {
                    *host = listener.host;
                }
            }
        }
    }

    /// The listeners that listen, at the addresses that are wanted.
    fn group(&self, wanted: impl Fn(SocketAddr) -> bool) -> Vec<usize> {
        let listens = |index: &usize| {
            let listener = &self.listeners[*index];
            wanted(listener.address) && self.hosts[listener.host].listens()
        };
        (0..self.listeners.len()).filter(listens).collect()
    }

    pub(super) fn connect(
        &mut self,
        host: usize,
        source: Option<SocketAddr>,
        target: SocketAddr,
    ) -> io::Result<Slot> {
        if self.hosts[host].conns.len() >= self.hosts[host].connections_max {
            return Err(errno(libc::EMFILE));
        }
        let source = source.unwrap_or_else(|| match target {
            SocketAddr::V4(_) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            SocketAddr::V6(_) => SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 0),
        });
        if source.is_ipv4() != target.is_ipv4() {
            return Err(errno(libc::EAFNOSUPPORT));
        }
        let source = self.claim(source, target).ok_or_else(|| errno(libc::EADDRNOTAVAIL))?;
        self.links_made += 1;
        let link = self.links_made;
        let slot = self.hosts[host].conns.insert(Conn::new(link, 0, Phase::Connecting));
        self.hosts[host].monitor.connecting(slot);
        self.links.insert(link, Link::new(source, target, End::Held { host, slot }));
        self.after_latency(Action::Syn { link, tries: 0 });
        Ok(slot)
    }

    /// Reserves a pair of addresses, with a fresh port where the source has none.
    fn claim(&mut self, source: SocketAddr, target: SocketAddr) -> Option<SocketAddr> {
        if source.port() != 0 {
            return self.pairs.insert((source, target)).then_some(source);
        }
        for _ in PORTS {
            let last = self.ports.entry(source.ip()).or_insert(*PORTS.end());
            *last = if *last == *PORTS.end() { *PORTS.start() } else { *last + 1 };
            let candidate = SocketAddr::new(source.ip(), *last);
            if self.pairs.insert((candidate, target)) {
                return Some(candidate);
            }
        }
        None
    }

    fn syn(&mut self, id: u64, tries: u32) {
        let Some(link) = self.links.get(&id) else { return };
        let target = link.target;
        let group = self.group(|address| {
            address == target
                || address.port() == target.port()
                    && address.is_ipv4() == target.is_ipv4()
                    && address.ip().is_unspecified()
        });
        if group.is_empty() {
            return self.after_latency(Action::Refused { link: id, errno: libc::ECONNREFUSED });
        }
        let chosen = group[self.dice.below(group.len() as u64) as usize];
        let listener = &mut self.listeners[chosen];
        if listener.backlog.len() < self.dice.faults.backlog {
            listener.backlog.push_back(id);
            let host = listener.host;
            self.links.get_mut(&id).expect("it was found above").ends[1] =
                End::Backlog { host, reset: false };
            self.after_latency(Action::Established { link: id });
        } else if tries < SYN_RETRIES {
            let again = self.now + Duration::from_secs(1 << tries);
            self.schedule(again, Action::Syn { link: id, tries: tries + 1 });
        } else {
            self.schedule(self.now, Action::Refused { link: id, errno: libc::ETIMEDOUT });
        }
    }

    fn established(&mut self, id: u64) {
        let Some(Link { ends: [End::Held { host, slot }, _], .. }) = self.links.get(&id) else { return };
        let (host, slot) = (*host, *slot);
        self.hosts[host].conns.get_mut(slot).expect("a held end has its connection").wired = true;
        self.complete(host, slot, Completion::Connected);
        self.pump(id, 0);
    }

    fn arrive(&mut self, id: u64, end: usize) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let pipe = &mut link.pipes[1 - end];
        let arrival = pipe.arrive();
        match link.ends[end] {
            End::Held { host, slot } => self.hosts[host].queue_read(slot),
            End::Gone => {
                pipe.drop_bytes(false);
                if let Arrival::Bytes(_) = arrival {
                    self.after_latency(Action::Reset { link: id, end: 1 - end });
                }
            }
            End::Backlog { .. } | End::Awaited => {}
        }
    }

    /// Moves what an unfinished send still has into its pipe, as far as there is room, then FIN if it is wanted.
    pub(super) fn pump(&mut self, id: u64, end: usize) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let End::Held { host, slot } = link.ends[end] else { return };
        let host_state = &mut self.hosts[host];
        let conn = host_state.conns.get_mut(slot).expect("a held end has its connection");
        if !conn.wired || conn.phase == Phase::Closing {
            return;
        }
        let pipe = &mut link.pipes[end];
        let (mut arrivals, mut pump_again, mut finished, mut reset) = (Vec::new(), false, false, false);
        if let Some(send) = conn.send.as_mut().filter(|send| !send.settled) {
            let left = send.buffer.len() - send.taken;
            let room = self.dice.faults.pipe_bytes.saturating_sub(pipe.held());
            let mut step = left.min(room);
            if step > 0 && self.dice.hit(self.dice.faults.short_send) {
                step = self.dice.part(step);
                pump_again = step < left;
            }
            let stop = send.taken + step;
            while send.taken < stop {
                let mut size = stop - send.taken;
                if self.dice.hit(self.dice.faults.split) {
                    size = self.dice.part(size);
                }
                let leaves =
                    if self.dice.hit(self.dice.faults.slow) { self.dice.pause(self.now) } else { self.now };
                let at = leaves + self.dice.latency();
                arrivals.push(pipe.write(&send.buffer[send.taken..send.taken + size], at));
                send.taken += size;
                reset |= self.dice.hit(self.dice.faults.reset);
            }
            finished = send.taken == send.buffer.len();
            send.settled = finished;
            if !finished && !send.short {
                send.short = true;
                host_state.gauges.short_sends += 1;
            }
        }
        if conn.fin_wanted && conn.send.as_ref().is_none_or(|send| send.settled) && !pipe.fin_sent() {
            let at = self.now + self.dice.latency();
            arrivals.push(pipe.write_fin(at));
        }
        pipe.check();
        for at in arrivals {
            self.schedule(at, Action::Arrive { link: id, end: 1 - end });
        }
        if finished {
            self.complete(host, slot, Completion::Sent);
        }
        if pump_again {
            let at = self.dice.delayed(self.now, 1000);
            self.schedule(at, Action::Pump { link: id, end });
        }
        if reset {
            self.after_latency(Action::Reset { link: id, end: 0 });
            self.after_latency(Action::Reset { link: id, end: 1 });
        }
    }

    /// Room in the pipe that `end` writes: its sender hears of it after a while.
    pub(super) fn tell_of_room(&mut self, id: u64, end: usize) {
        let Some(End::Held { host, slot }) = self.links.get(&id).map(|link| link.ends[end]) else { return };
        if self.hosts[host]
            .conns
            .get(slot)
            .is_some_and(|conn| conn.send.as_ref().is_some_and(|send| !send.settled))
        {
            self.after_latency(Action::Pump { link: id, end });
        }
    }

    /// One end of a connection fails.
    pub(super) fn fail(&mut self, id: u64, end: usize, errno: i32) {
        let Some(link) = self.links.get_mut(&id) else { return };
        match link.ends[end] {
            End::Held { host, slot } => {
                self.finish(host, slot, Some(errno));
                self.abandon(id, end, false);
            }
            End::Backlog { host, .. } => link.ends[end] = End::Backlog { host, reset: true },
            End::Awaited | End::Gone => {}
        }
    }

    /// The reactor gives a connection up because of an error on its own side: the peer gets RST.
    pub(super) fn break_off(&mut self, id: u64, end: usize, errno: i32) {
        if let Some(End::Held { host, slot }) = self.links.get(&id).map(|link| link.ends[end]) {
            self.finish(host, slot, Some(errno));
            self.abandon(id, end, true);
        }
    }

    /// Ends a connection for its reactor: `Closed` follows, and before it an unfinished send comes back.
    fn finish(&mut self, host: usize, slot: Slot, error: Option<i32>) {
        let conn = self.hosts[host].conns.get_mut(slot).expect("a held end has its connection");
        conn.phase = Phase::Closing;
        self.complete(host, slot, Completion::Closed(error));
    }

    /// Ends a connection at its user's wish.
    pub(super) fn close(&mut self, host: usize, slot: Slot, reset: bool) {
        let Some(conn) = self.hosts[host].conns.get_mut(slot) else { return };
        if std::mem::replace(&mut conn.closed_by_user, true) || conn.phase == Phase::Closing {
            return;
        }
        let (link, end) = (conn.link, conn.end);
        let reset = reset || !conn.wired;
        self.finish(host, slot, None);
        let unread = self.links.get(&link).is_some_and(|link| link.pipes[1 - end].readable() > 0);
        self.hang_up(link, end, reset || unread);
    }

    /// Tells the peer that `end` is going, by FIN or RST, and lets it go.
    pub(super) fn hang_up(&mut self, id: u64, end: usize, reset: bool) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if !reset && !link.pipes[end].fin_sent() {
            let at = self.now + self.dice.latency();
            let at = link.pipes[end].write_fin(at);
            self.schedule(at, Action::Arrive { link: id, end: 1 - end });
        }
        self.abandon(id, end, reset);
    }

    /// Nobody holds `end` any more. With `reset`, what is under way from it is lost and the peer hears of it.
    pub(super) fn abandon(&mut self, id: u64, end: usize, reset: bool) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.ends[end] = End::Gone;
        link.pipes[1 - end].drop_bytes(false);
        if reset {
            link.pipes[end].drop_bytes(true);
        }
        if link.ends[1 - end] == End::Awaited {
            link.ends[1 - end] = End::Gone; // the SYN finds no connection any more
        }
        if link.is_gone() {
            let link = self.links.remove(&id).expect("it was found above");
            self.pairs.remove(&(link.source, link.target));
        } else if reset {
            self.after_latency(Action::Reset { link: id, end: 1 - end });
        }
    }
}

pub(super) fn errno(value: i32) -> io::Error {
    io::Error::from_raw_os_error(value)
}
