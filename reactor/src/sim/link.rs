//! A simulated connection: two ends, and a pipe from each to the other.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::trace::Fnv;
use crate::{Nanos, Slot};

/// Who holds one end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nobody yet: the SYN is on its way.
    Awaited,
    /// A listener of `host`, until it accepts; `reset` when the client has gone with RST meanwhile.
    Backlog { host: usize, reset: bool },
    /// A reactor, under a slot.
    Held { host: usize, slot: Slot },
    /// Nobody any more. What still arrives here is answered with RST.
    Gone,
}

/// A connection between the client's end (0) and the server's end (1). Pipe `i` carries what end `i` writes.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) source: SocketAddr,
    pub(super) target: SocketAddr,
    pub(super) ends: [End; 2],
    pub(super) pipes: [Pipe; 2],
}

impl Link {
    pub(super) fn new(source: SocketAddr, target: SocketAddr, client: End) -> Link {
        Link { source, target, ends: [client, End::Awaited], pipes: [Pipe::default(), Pipe::default()] }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.ends == [End::Gone; 2]
    }
}

/// What travels.
#[derive(Clone, Copy, Debug)]
enum Segment {
    Bytes(usize),
    Fin,
}

/// What arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// That many bytes are readable that were not.
    Bytes(usize),
    /// The end of the stream.
    Fin,
    /// Nothing: the segment was dropped by a reset after it left.
    Nothing,
}

/// One direction of a connection: the kernels' buffers of both sides and the wire between them.
///
/// Invariant: `taken == read + dropped + bytes.len()`, and `arrived <= bytes.len()`.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    /// Taken from the writer, not yet read; the first `arrived` of them can be.
    bytes: VecDeque<u8>,
    arrived: usize,
    wire: VecDeque<Segment>,
    /// When the last segment arrives: none that leaves later arrives earlier.
    last_arrival: Nanos,
    fin_sent: bool,
    fin_arrived: bool,
    taken: u64,
    read: u64,
    dropped: u64,
    taken_hash: Fnv,
    read_hash: Fnv,
}

impl Pipe {
    /// Bytes that it holds, on the wire or unread.
    pub(super) fn held(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn readable(&self) -> usize {
        self.arrived
    }

    /// Whether everything was read and the stream has ended.
    pub(super) fn at_end(&self) -> bool {
        self.fin_arrived && self.arrived == 0
    }

    pub(super) fn fin_sent(&self) -> bool {
        self.fin_sent
    }

    /// Puts bytes on the wire that would arrive at `at`; returns when they will.
    pub(super) fn write(&mut self, bytes: &[u8], at: Nanos) -> Nanos {
        assert!(!self.fin_sent, "rule 5: bytes after FIN");
        self.bytes.extend(bytes);
        self.taken += bytes.len() as u64;
        self.taken_hash.add(bytes.iter().copied());
        self.send(Segment::Bytes(bytes.len()), at)
    }

    /// Puts FIN on the wire.
    pub(super) fn write_fin(&mut self, at: Nanos) -> Nanos {
        assert!(!self.fin_sent, "rule 5: FIN twice");
        self.fin_sent = true;
        self.send(Segment::Fin, at)
    }

    fn send(&mut self, segment: Segment, at: Nanos) -> Nanos {
        self.wire.push_back(segment);
        self.last_arrival = self.last_arrival.max(at);
        self.last_arrival
    }

    /// The next segment arrives.
    pub(super) fn arrive(&mut self) -> Arrival {
        match self.wire.pop_front() {
            Some(Segment::Bytes(count)) => {
                self.arrived += count;
                Arrival::Bytes(count)
            }
            Some(Segment::Fin) => {
                self.fin_arrived = true;
                Arrival::Fin
            }
            None => Arrival::Nothing,
        }
    }

    /// Reads the first `to.len()` bytes, which must have arrived.
    pub(super) fn read(&mut self, to: &mut [u8]) {
        assert!(to.len() <= self.arrived, "rule 2: bytes before they arrived");
        let count = to.len();
        for (to, byte) in to.iter_mut().zip(self.bytes.drain(..count)) {
            *to = byte;
        }
        self.arrived -= count;
        self.read += count as u64;
        self.read_hash.add(to.iter().copied());
        self.check();
    }

    /// Forgets what nobody will read: the arrived bytes, and with `wire` also those that are under way.
    pub(super) fn drop_bytes(&mut self, wire: bool) {
        let count = if wire { self.bytes.len() } else { self.arrived };
        self.bytes.drain(..count);
        self.dropped += count as u64;
        self.arrived = 0;
        if wire {
            self.wire.clear();
        }
        self.check();
    }

    /// Panics when bytes were lost, repeated or changed.
    pub(super) fn check(&self) {
        let held = self.bytes.len() as u64;
        assert_eq!(self.taken, self.read + self.dropped + held, "rule 2: bytes are conserved");
        assert!(self.arrived <= self.bytes.len(), "rule 2: more bytes arrived than were sent");
        if self.read == self.taken {
            assert_eq!(self.read_hash, self.taken_hash, "rule 2: bytes come in order and unchanged");
        }
    }
}
