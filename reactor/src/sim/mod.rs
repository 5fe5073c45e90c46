//! Backend `sim`: many reactors and the network between them, in one thread, in virtual time, from one seed.
//!
//! ```text
//!   World ── reactor() ──> Sim (a Reactor)      loop {
//!     │                    Sim (a Reactor)          each reactor: turn(), and its user acts on the events
//!     │ advance()                                   until all of them returned none
//!     `──> virtual time                             if !world.advance() { break }    nothing will ever happen again
//!                                               }
//! ```
//!
//! [`Sim::turn`](Reactor::turn) never waits: it hands out what is due and remembers until when it would have
//! waited; [`World::advance`] does the waiting for all of them at once. A connection is two bounded pipes of
//! segments that take their time but keep their order. [`Faults`] says what goes wrong, and how often.
//!
//! Everything that is called and everything that happens is a line of the [trace](World::trace): the same seed and
//! the same calls give the same trace, byte for byte. The rules of [`crate::contract`] are checked at every event;
//! a rule that breaks panics with its number, and a panic while a world lives prints its seed and the end of its
//! trace.
//!
//! What it does not have: congestion, retransmission (only SYNs are repeated), TIME_WAIT, keepalive, routing: every
//! address reaches every other.

mod faults;
mod host;
mod link;
mod monitor;
mod network;
mod trace;
mod turn;

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

pub use faults::Faults;

use self::host::{Host, Send};
use self::network::Network;
use self::trace::Fnv;
use crate::{Close, Config, Event, Gauges, Nanos, Reactor, Slot, Waker};

/// Lines of the trace that a panic prints.
const LINES_IN_PANIC: usize = 40;

/// A simulated network. Clones are handles of the same one.
#[derive(Clone)]
pub struct World(Rc<RefCell<Network>>);

impl World {
    /// A world in which `seed` decides everything that is left to chance. Its time begins at zero.
    ///
    /// # Panics
    /// When `faults` has a pipe or backlog without room, or an empty range of latencies.
    pub fn new(seed: u64, faults: Faults) -> World {
        World(Rc::new(RefCell::new(Network::new(seed, faults))))
    }

    /// A new reactor in this world.
    pub fn reactor(&self, config: &Config) -> Sim {
        let mut network = self.0.borrow_mut();
        let host = network.hosts.len();
        let state = Host::new(config);
        let waker = state.waker.clone();
        network.hosts.push(state);
        Sim { world: self.clone(), host, waker }
    }

    /// Lets the next thing happen. When a reactor has something to hand out, no time passes, and it is due a turn;
    /// else time moves to the next arrival, completion, end of a pause, or instant until which a reactor waits.
    ///
    /// False when nothing will ever happen again unless somebody calls: everything is done, or stuck.
    pub fn advance(&self) -> bool {
        self.0.borrow_mut().advance()
    }

    /// The virtual time.
    pub fn now(&self) -> Nanos {
        self.0.borrow().now
    }

    /// Changes what goes wrong from now on, for example to let a run that was disturbed come to its end.
    pub fn set_faults(&self, faults: Faults) {
        self.0.borrow_mut().dice.faults = faults;
    }

    /// Keeps the whole trace from now on, not only its last 4096 lines.
    pub fn keep_trace(&self) {
        self.0.borrow_mut().trace.keep_all();
    }

    /// A hash of every line of the trace so far.
    pub fn trace_hash(&self) -> u64 {
        self.0.borrow().trace.hash()
    }

    /// The lines of the trace that are kept: nanoseconds, reactor, call or event, slot, and what belongs to it.
    pub fn trace(&self) -> String {
        self.0.borrow().trace.last(usize::MAX)
    }

    /// Connections that exist, also those that wait in a backlog or that only one side still holds.
    pub fn connections(&self) -> usize {
        self.0.borrow().links.len()
    }

    /// Panics unless every buffer is back where it belongs: no send in flight, no lease outstanding.
    pub fn assert_at_rest(&self) {
        for (number, host) in self.0.borrow().hosts.iter().enumerate() {
            assert_eq!(host.monitor.sends_in_flight(), 0, "rule 4: sends in flight on r{number}");
            assert!(host.pool.is_whole(), "rule 12: r{number} has leases outstanding");
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let last = self.trace.last(LINES_IN_PANIC);
            eprintln!("simulation: seed {}, at {} ns, after\n{last}", self.seed, self.now.0);
        }
    }
}

/// A reactor in a [`World`]. Dropping it is the death of its process: the kernel closes what it held.
pub struct Sim {
    world: World,
    host: usize,
    waker: Waker,
}

impl Sim {
    /// Runs a call of the user's: as a line of the trace, then for its effect.
    fn call<T>(&self, text: std::fmt::Arguments<'_>, effect: impl FnOnce(&mut Network) -> T) -> T {
        let mut network = self.world.0.borrow_mut();
        let (now, host) = (network.now.0, self.host);
        network.trace.line(format_args!("{now} r{host} > {text}"));
        effect(&mut network)
    }
}

impl Reactor for Sim {
    fn now(&self) -> Nanos {
        self.world.now()
    }

    fn waker(&self) -> &Waker {
        &self.waker
    }

    fn listen(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        self.call(format_args!("listen {address}"), |network| network.listen(self.host, address))
    }

    fn stop_listening(&mut self) {
        self.call(format_args!("stop_listening"), |network| network.stop_listening(self.host));
    }

    fn connect(&mut self, source: Option<SocketAddr>, target: SocketAddr) -> io::Result<Slot> {
        self.call(format_args!("connect {source:?} {target}"), |network| {
            network.connect(self.host, source, target)
        })
    }

    fn send(&mut self, slot: Slot, buffer: Vec<u8>) {
        let hash = Fnv::of(&buffer);
        self.call(format_args!("send {slot:?} {} B {hash:016x}", buffer.len()), |network| {
            network.send(self.host, slot, buffer);
        });
    }

    fn pause(&mut self, slot: Slot) {
        self.call(format_args!("pause {slot:?}"), |network| {
            let host = &mut network.hosts[self.host];
            host.monitor.pause(slot, true);
            if let Some(conn) = host.conns.get_mut(slot) {
                conn.paused = true;
            }
        });
    }

    fn resume(&mut self, slot: Slot) {
        self.call(format_args!("resume {slot:?}"), |network| {
            let host = &mut network.hosts[self.host];
            host.monitor.pause(slot, false);
            if let Some(conn) = host.conns.get_mut(slot) {
                conn.paused = false;
            }
            host.queue_read(slot);
        });
    }

    fn shutdown(&mut self, slot: Slot) {
        self.call(format_args!("shutdown {slot:?}"), |network| {
            if let Some(conn) = network.hosts[self.host].conns.get_mut(slot) {
                conn.fin_wanted = true;
                let (link, end) = (conn.link, conn.end);
                network.pump(link, end);
            }
        });
    }

    fn close(&mut self, slot: Slot, how: Close) {
        self.call(format_args!("close {slot:?} {how:?}"), |network| {
            network.hosts[self.host].monitor.close(slot);
            network.close(self.host, slot, how == Close::Reset);
        });
    }

    fn turn(&mut self, until: Option<Nanos>, events: &mut Vec<Event>) -> io::Result<()> {
        self.world.0.borrow_mut().turn(self.host, until, events);
        Ok(())
    }

    fn gauges(&self) -> Gauges {
        let network = self.world.0.borrow();
        let host = &network.hosts[self.host];
        Gauges { connections: host.conns.len() as u64, ..host.gauges }
    }
}

impl Network {
    /// Rules 4 and 8 of sends. On a connection that failed unseen, the buffer waits for `Closed` and comes back
    /// before it.
    fn send(&mut self, host: usize, slot: Slot, buffer: Vec<u8>) {
        let state = &mut self.hosts[host];
        let Some(conn) = state.conns.get_mut(slot).filter(|conn| !conn.closed_by_user) else { return };
        debug_assert!(!buffer.is_empty(), "rule 4: an empty buffer on {slot:?}");
        debug_assert!(conn.send.is_none(), "rule 4: a second send in flight on {slot:?}");
        let (link, end) = (conn.link, conn.end);
        if buffer.is_empty() || conn.send.is_some() {
            return self.break_off(link, end, libc::EINVAL);
        }
        state.monitor.send(slot, buffer.len());
        conn.send = Some(Send { buffer, taken: 0, settled: false, short: false });
        match conn.fin_wanted {
            true => self.break_off(link, end, libc::EPIPE),
            false => self.pump(link, end),
        }
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        // A panic may have come from within; then there is nothing left to keep in order.
        let Ok(mut network) = self.world.0.try_borrow_mut() else { return };
        let host = self.host;
        network.stop_listening(host);
        let held: Vec<(Slot, u64, usize)> =
            network.hosts[host].conns.iter().map(|(slot, conn)| (slot, conn.link, conn.end)).collect();
        for (slot, link, end) in held {
            let unread = network.links.get(&link).is_some_and(|link| link.pipes[1 - end].readable() > 0);
            let holds =
                network.links.get(&link).is_some_and(|link| link.ends[end] == link::End::Held { host, slot });
            if holds {
                network.hang_up(link, end, unread);
            }
        }
        network.hosts[host] = Host::new(&Config { recv_buffers: 0, ..Config::default() });
    }
}
