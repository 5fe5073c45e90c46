//! A [`Reactor`] whose connections are a [`Stack`]'s, over a [`Link`]. It connects, and never listens.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;

use throng_reactor::limits::BATCH_EVENTS;
use throng_reactor::sys::clock;
use throng_reactor::{Buffer, Close, Config, Event, Gauges, Nanos, Pool, Reactor, Slot, Tun, Waker};

use crate::addresses::Addresses;
use crate::limits::{PACKET_BYTES_MAX, PACKETS_PER_TURN, TIMERS_WAIT_MAX};
use crate::segment::{self, CHECKSUM_OFFSET, CHECKSUM_START, Checksum, Fill};
use crate::stack::{Notice, Stack};

/// Events that one packet mostly brings at most, besides those that wait: its payload, and that the connection stands or ends.
const EVENTS_PER_PACKET: usize = 3;

/// What carries packets.
pub trait Link {
    /// The next packet, at the beginning of `buffer`: how long it is, and who vouches for its checksum. `None`: there is
    /// none.
    ///
    /// # Errors
    /// Only what nobody can go on after.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<(usize, Checksum)>>;

    /// Sends a packet whose checksum is partial ([`Fill::Partial`]). False: there was no room for it, and it is lost.
    ///
    /// # Errors
    /// Only what nobody can go on after.
    fn send(&mut self, packet: &[u8]) -> io::Result<bool>;

    /// Waits until there may be a packet, somebody calls [`Waker::wake`], or `until` has come. True: somebody did.
    ///
    /// # Errors
    /// Only what nobody can go on after.
    fn wait(&mut self, until: Option<Nanos>) -> io::Result<bool>;

    /// What ends a wait from outside.
    fn waker(&self) -> &Waker;

    /// System calls so far.
    fn syscalls(&self) -> u64;

    /// Packets for us that were lost on their way, as far as it is known.
    fn dropped(&self) -> Option<u64>;
}

impl Link for Tun {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<(usize, Checksum)>> {
        let got = Tun::receive(self, buffer)?;
        Ok(got.map(|(len, is_good)| (len, if is_good { Checksum::Trusted } else { Checksum::Verify })))
    }

    fn send(&mut self, packet: &[u8]) -> io::Result<bool> {
        match Tun::send(self, packet, CHECKSUM_START, CHECKSUM_OFFSET) {
            Ok(()) => Ok(true),
            Err(error) if is_full(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn wait(&mut self, until: Option<Nanos>) -> io::Result<bool> {
        Tun::wait(self, until)
    }

    fn waker(&self) -> &Waker {
        Tun::waker(self)
    }

    fn syscalls(&self) -> u64 {
        Tun::syscalls(self)
    }

    fn dropped(&self) -> Option<u64> {
        Tun::dropped(self).ok()
    }
}

fn is_full(error: &io::Error) -> bool {
    const ENOBUFS: i32 = 105;
    let full = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory);
    full || error.kind() == io::ErrorKind::Interrupted || error.raw_os_error() == Some(ENOBUFS)
}

/// The users of one thread. User memory per idle connection: 32 bytes, times the slack of the table.
#[derive(Debug)]
pub struct Users<L> {
    link: L,
    stack: Stack,
    pool: Rc<Pool>,
    /// Taken from the pool for the next packet.
    buffer: Option<Buffer>,
    packet: Box<[u8; PACKET_BYTES_MAX]>,
    /// Where a packet goes that the pool has no buffer for.
    spill: Box<[u8; PACKET_BYTES_MAX]>,
    /// When the link was last seen empty.
    drained: Nanos,
    /// Packets that the link had no room for.
    unsent: u64,
    connections_max: usize,
    gauges: Gauges,
}

impl<L: Link> Users<L> {
    /// Users at `addresses`. `seed` is a secret; of `config` the number, the pool and the bound of connections count.
    pub fn new(link: L, config: &Config, addresses: Addresses, seed: u64) -> Users<L> {
        Users {
            link,
            stack: Stack::new(config.number, addresses, seed, clock::now()),
            pool: Pool::new(config.recv_buffers, PACKET_BYTES_MAX as u32),
            buffer: None,
            packet: Box::new([0; PACKET_BYTES_MAX]),
            spill: Box::new([0; PACKET_BYTES_MAX]),
            drained: clock::now(),
            unsent: 0,
            connections_max: config.connections_max,
            gauges: Gauges::default(),
        }
    }

    /// The state machine, for what it counted.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// What carries the packets.
    pub fn link(&mut self) -> &mut L {
        &mut self.link
    }

    /// Sends all that is due.
    fn flush(&mut self, now: Nanos) -> io::Result<()> {
        let Users { link, stack, packet, unsent, .. } = self;
        let mut outcome = Ok(());
        stack.output(now, |header, payload| {
            let len = segment::write(header, payload, Fill::Partial, &mut packet[..]);
            match link.send(&packet[..len]) {
                Ok(true) => {}
                // As lost as on any other wire: it is sent again when nobody acknowledges it.
                Ok(false) => *unsent += 1,
                Err(error) => outcome = Err(error),
            }
        });
        outcome
    }

    /// Takes packets until there are none, or the batch has no room for what another might bring. True: there are none.
    fn receive(&mut self, events: &mut Vec<Event>, limit: usize, now: Nanos) -> io::Result<bool> {
        for _ in 0..PACKETS_PER_TURN {
            if events.len() + EVENTS_PER_PACKET > limit {
                return Ok(false);
            }
            let delivered = match self.buffer.take().or_else(|| self.pool.buffer()) {
                Some(mut buffer) => {
                    let Some((len, checksum)) = self.link.receive(&mut buffer)? else {
                        self.buffer = Some(buffer);
                        return Ok(true);
                    };
                    match self.stack.input(&buffer[..len], checksum, now) {
                        Some((slot, payload)) => deliver(events, slot, buffer, payload),
                        None => self.buffer = Some(buffer),
                    }
                    None
                }
                // Acknowledgements are heard all the same; payload waits for a buffer.
                None => {
                    let Some((len, checksum)) = self.link.receive(&mut self.spill[..])? else {
                        return Ok(true);
                    };
                    self.stack.input(&self.spill[..len], checksum, now)
                }
            };
            if let Some((slot, payload)) = delivered {
                self.gauges.recv_starved += 1;
                self.stack.hold_back(slot, &self.spill[payload]);
            }
            self.hand_over(events, limit);
        }
        Ok(false)
    }

    /// Whether something that happened can be handed over.
    fn has_news(&self) -> bool {
        self.stack.has_notices()
            && (!self.stack.next_wants_room() || self.buffer.is_some() || self.pool.has_free())
    }

    /// Moves what happened to the batch, as far as that and the pool have room.
    fn hand_over(&mut self, events: &mut Vec<Event>, limit: usize) {
        while events.len() < limit && self.has_news() {
            let wants_room = self.stack.next_wants_room();
            let buffer = if wants_room { self.buffer.take().or_else(|| self.pool.buffer()) } else { None };
            let room = buffer.as_ref().map_or(0, |buffer| buffer.len());
            let Some((slot, notice)) = self.stack.next_notice(room) else { return };
            match (notice, buffer) {
                (Notice::Connected, _) => events.push(Event::Connected { slot }),
                (Notice::Eof, _) => events.push(Event::Eof { slot }),
                (Notice::Sent(buffer, is_taken), _) => {
                    let result = if is_taken { Ok(()) } else { Err(io::ErrorKind::ConnectionAborted.into()) };
                    events.push(Event::Sent { slot, buffer, result });
                }
                (Notice::Closed(cause), _) => {
                    self.gauges.connections -= 1;
                    events.push(Event::Closed { slot, error: cause.map(|cause| cause.kind().into()) });
                }
                (Notice::Data(bytes), Some(mut buffer)) => {
                    buffer[..bytes.len()].copy_from_slice(&bytes);
                    deliver(events, slot, buffer, 0..bytes.len());
                }
                (Notice::Data(_), None) => unreachable!("bytes come where there is room for them"),
            }
        }
    }
}

fn deliver(events: &mut Vec<Event>, slot: Slot, buffer: Buffer, part: Range<usize>) {
    events.push(Event::Data { slot, data: buffer.lease(part) });
}

impl<L: Link> Reactor for Users<L> {
    fn now(&self) -> Nanos {
        clock::now()
    }

    fn waker(&self) -> &Waker {
        self.link.waker()
    }

    fn listen(&mut self, _: SocketAddr) -> io::Result<SocketAddr> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "users connect, and do not listen"))
    }

    fn stop_listening(&mut self) {}

    /// The source is not asked for: each connection has its own address and port.
    fn connect(&mut self, _: Option<SocketAddr>, target: SocketAddr) -> io::Result<Slot> {
        if self.stack.connections() >= self.connections_max {
            return Err(io::Error::from_raw_os_error(EMFILE));
        }
        let SocketAddr::V4(target) = target else {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "users in user space speak IPv4"));
        };
        let slot = self.stack.connect(target, clock::now())?;
        self.gauges.connections += 1;
        Ok(slot)
    }

    fn send(&mut self, slot: Slot, buffer: Vec<u8>) {
        self.stack.send(slot, buffer);
    }

    fn pause(&mut self, slot: Slot) {
        self.stack.pause(slot);
    }

    fn resume(&mut self, slot: Slot) {
        self.stack.resume(slot);
    }

    fn shutdown(&mut self, slot: Slot) {
        self.stack.shutdown(slot);
    }

    fn close(&mut self, slot: Slot, how: Close) {
        self.stack.close(slot, how);
    }

    fn turn(&mut self, until: Option<Nanos>, events: &mut Vec<Event>) -> io::Result<()> {
        self.gauges.turns += 1;
        self.stack.reclaim();
        let start = events.len();
        let limit = start + BATCH_EVENTS;
        loop {
            self.flush(clock::now())?;
            let deadline = [until, self.stack.next_deadline()].into_iter().flatten().min();
            if self.link.wait(if self.has_news() { Some(Nanos(0)) } else { deadline })? {
                events.push(Event::Wake);
            }
            self.hand_over(events, start + BATCH_EVENTS / 2);
            let now = clock::now();
            let is_empty = self.receive(events, limit, now)?;
            self.stack.expire_acks(now);
            // An acknowledgement that waits in the queue is no loss: who was held up reads what came meanwhile, and only then looks
            // what is missing.
            if is_empty || now.since(self.drained) > TIMERS_WAIT_MAX {
                self.stack.expire(now);
            }
            if is_empty {
                self.drained = now;
            }
            if events.len() > start || until.is_some_and(|until| now >= until) {
                return Ok(());
            }
        }
    }

    fn gauges(&self) -> Gauges {
        Gauges { syscalls: self.link.syscalls(), ..self.gauges }
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let dropped = self.link.dropped().map(|dropped| ("queue_dropped", dropped));
        self.stack.counters().named().chain([("unsent", self.unsent)]).chain(dropped).collect()
    }
}

const EMFILE: i32 = 24;
