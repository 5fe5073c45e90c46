//! Many TCP clients as one state machine: segments and time in, segments and notices out.
//!
//! ```text
//!   user      connect, send, shutdown, close ──┐                ┌──> notices: Connected, Eof, Sent, Closed, ...
//!   network   input(packet) ───────────────────┼──> connections ┼──> payload, for the user
//!   clock     expire(now) ─────────────────────┘                └──> output(): segments
//! ```
//!
//! Nothing goes out but in [`Stack::output`]: what a packet makes us owe waits until the user has had its turn, so that an
//! answer carries the acknowledgement. Each connection's address and port follow from its index, so the way from a packet to its
//! connection is a division, not a table.
//!
//! What is left out: window scaling, timestamps and selective acknowledgements are not offered, so no peer uses them. A
//! simultaneous open and urgent data are not understood.

mod input;
mod output;
#[cfg(test)]
mod tests;
mod timers;

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::SocketAddrV4;

use slab::Slab;
use throng_reactor::{Close, Nanos, Slot, Slots, Wheel};

use crate::addresses::Addresses;
use crate::busy::Busy;
use crate::conn::{Conn, NOT_BUSY, State};
use crate::counters::Counters;
use crate::limits::{MSS_DEFAULT, RECEIVE_WINDOW, SEND_BUFFER, SPARE_BYTES_MAX, SPARES_MAX, TIMER_TICK};
use crate::segment::{Flags, Header, Seq};

/// What happened to a connection, besides payload that [`Stack::input`] hands over on the spot.
#[derive(Debug, PartialEq, Eq)]
pub enum Notice {
    /// The peer answered.
    Connected,
    /// Bytes that had waited: for others before them, for [`Stack::resume`], or for room.
    Data(Vec<u8>),
    /// The peer sends no more.
    Eof,
    /// A send has room, or (false) the connection ended before it had.
    Sent(Vec<u8>, bool),
    /// The connection is gone.
    Closed(Option<Cause>),
}

/// A notice as it is queued. Of `Connected` and `Stream` there is one for each connection at most ([`State::QUEUED`]), and payload
/// that comes meanwhile joins what waits: so the order of a stream is that of one buffer.
#[derive(Debug)]
enum Word {
    Connected,
    /// There are bytes, or the end, for a user who can have them.
    Stream,
    Sent(Vec<u8>, bool),
    Closed(Option<Cause>),
}

/// Why a connection ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The peer answered the SYN with a reset.
    Refused,
    /// The peer sent a reset.
    Reset,
    /// The peer answers no more.
    TimedOut,
    /// The user sent again before the first send was done.
    Misused,
}

impl Cause {
    /// As the kernel names it.
    pub fn kind(self) -> io::ErrorKind {
        match self {
            Cause::Refused => io::ErrorKind::ConnectionRefused,
            Cause::Reset => io::ErrorKind::ConnectionReset,
            Cause::TimedOut => io::ErrorKind::TimedOut,
            Cause::Misused => io::ErrorKind::InvalidInput,
        }
    }
}

/// All connections of one thread. The module's text says how it works.
///
/// Memory: 32 bytes per connection, with the slack of the table; what `Busy` needs for those with something under way; and lists of
/// those who have something to say or to wait for, which stay as long as they ever were.
#[derive(Debug)]
pub struct Stack {
    addresses: Addresses,
    targets: Vec<SocketAddrV4>,
    conns: Slots<Conn>,
    busy: Slab<Busy>,
    /// Connections that may have something to send.
    listed: Vec<Slot>,
    /// Acknowledgements that are owed soon, in the order of their instants; some of them were given meanwhile.
    later: VecDeque<(Nanos, Slot)>,
    timers: Wheel<Slot>,
    /// Connections whose timers have run out; kept for its memory.
    expired: Vec<Slot>,
    /// Segments that belong to no connection any more.
    loose: VecDeque<Header>,
    words: VecDeque<(Slot, Word)>,
    spares: Vec<VecDeque<u8>>,
    /// Makes first sequence numbers hard to guess.
    seed: u64,
    counters: Counters,
}

/// A connection that exists.
fn conn_of(conns: &mut Slots<Conn>, slot: Slot) -> &mut Conn {
    conns.get_mut(slot).expect("whoever asks has looked")
}

impl Stack {
    /// Without connections. `reactor` is the number that stands in their slots; `seed` is a secret.
    pub fn new(reactor: u16, addresses: Addresses, seed: u64, now: Nanos) -> Stack {
        Stack {
            addresses,
            targets: Vec::new(),
            conns: Slots::new(reactor),
            busy: Slab::new(),
            listed: Vec::new(),
            later: VecDeque::new(),
            timers: Wheel::new(now, TIMER_TICK),
            expired: Vec::new(),
            loose: VecDeque::new(),
            words: VecDeque::new(),
            spares: Vec::new(),
            seed,
            counters: Counters::default(),
        }
    }

    /// Connections, those included whose `Closed` was not taken yet.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// What it counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Where a connection is, as its peer sees it.
    pub fn local(&self, slot: Slot) -> Option<SocketAddrV4> {
        self.addresses.of(slot.index())
    }

    /// Begins a connection; `Connected` or `Closed` follows.
    ///
    /// # Errors
    /// EADDRNOTAVAIL when every address and port is taken, or there are 65,536 targets already.
    pub fn connect(&mut self, target: SocketAddrV4, now: Nanos) -> io::Result<Slot> {
        let known = self.targets.iter().position(|one| *one == target);
        let number = known.unwrap_or(self.targets.len());
        let number = u16::try_from(number).map_err(|_| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
        let slot = self.conns.insert(Conn::connecting(number, Seq(0), MSS_DEFAULT, NOT_BUSY));
        if self.addresses.of(slot.index()).is_none() {
            self.conns.remove(slot);
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        if known.is_none() {
            self.targets.push(target);
        }
        let iss = self.first_sequence(slot, target, now);
        let busy = self.busy.insert(Busy::new(VecDeque::new(), iss, MSS_DEFAULT)) as u32;
        *self.conns.get_mut(slot).expect("it was just put in") =
            Conn::connecting(number, iss, MSS_DEFAULT, busy);
        self.list(slot);
        Ok(slot)
    }

    /// RFC 6528: it grows with time, so that no earlier connection's segments fit into this one, from where a secret tells for
    /// this pair of addresses.
    fn first_sequence(&self, slot: Slot, target: SocketAddrV4, now: Nanos) -> Seq {
        let mut hasher = DefaultHasher::new();
        (self.seed, slot.index(), target).hash(&mut hasher);
        Seq(((now.0 >> 12) as u32).wrapping_add(hasher.finish() as u32))
    }

    /// Sends all of `buffer`; `Sent` gives it back.
    pub fn send(&mut self, slot: Slot, buffer: Vec<u8>) {
        let Some(conn) = self.conns.get_mut(slot).filter(|conn| !conn.state.has(State::CLOSED_BY_USER))
        else {
            return;
        };
        if conn.state.has(State::GONE) {
            // Its end is queued, and this comes before it.
            let ends = |(whose, word): &(Slot, Word)| *whose == slot && matches!(word, Word::Closed(_));
            let at = self.words.iter().rposition(ends).unwrap_or(self.words.len());
            return self.words.insert(at, (slot, Word::Sent(buffer, false)));
        }
        if conn.state.has(State::SENDING) {
            debug_assert!(false, "one send at a time");
            return self.reset(slot, Some(Cause::Misused));
        }
        conn.state.set(State::SENDING);
        let state = conn.state;
        if state.has(State::FIN_QUEUED) {
            return self.words.push_back((slot, Word::Sent(buffer, false)));
        }
        let busy = self.busy(slot);
        busy.data.extend(&buffer);
        if state.has(State::SYN_SENT) || busy.data.len() > SEND_BUFFER {
            busy.owed = Some(buffer);
        } else {
            self.words.push_back((slot, Word::Sent(buffer, true)));
        }
        self.list(slot);
    }

    /// Sends FIN after everything that was given to [`Stack::send`].
    pub fn shutdown(&mut self, slot: Slot) {
        let Some(conn) = self.open(slot) else { return };
        if !conn.state.has(State::FIN_QUEUED) {
            conn.state.set(State::FIN_QUEUED);
            self.busy(slot);
            self.list(slot);
        }
    }

    /// Ends a connection; `Closed` follows, when the peer has ended it, too, or by [`Close::Reset`] at once.
    pub fn close(&mut self, slot: Slot, how: Close) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let (state, place) = (conn.state, conn.busy);
        conn.state.set(State::CLOSED_BY_USER);
        if state.has_any(State::CLOSED_BY_USER.with(State::GONE)) {
            return; // whatever has ended it meanwhile, the user asked for the end
        }
        if state.has(State::SYN_SENT) {
            return self.end(slot, None);
        }
        let has_unread = self.busy.get(place as usize).is_some_and(|busy| !busy.held.ready.is_empty());
        if how == Close::Reset || has_unread {
            return self.reset(slot, None);
        }
        conn_of(&mut self.conns, slot).state.set(State::FIN_QUEUED);
        if let Some(buffer) = self.busy(slot).owed.take() {
            self.words.push_back((slot, Word::Sent(buffer, false)));
        }
        self.list(slot);
        self.settle(slot);
    }

    /// Holds back what arrives; the peer's window closes meanwhile.
    pub fn pause(&mut self, slot: Slot) {
        if let Some(conn) = self.open(slot) {
            conn.state.set(State::PAUSED);
        }
    }

    /// Goes on receiving.
    pub fn resume(&mut self, slot: Slot) {
        if let Some(conn) = self.open(slot) {
            conn.state.take(State::PAUSED);
            self.tell(slot);
        }
    }

    /// Keeps payload that was handed over, and that the user cannot have yet.
    pub fn hold_back(&mut self, slot: Slot, bytes: &[u8]) {
        if self.conns.get(slot).is_some_and(|conn| !conn.state.has(State::GONE)) {
            self.busy(slot).held.ready.extend(bytes);
            self.tell(slot);
        }
    }

    /// Queues a word about a stream that has something, unless one stands there already or the user has paused.
    fn tell(&mut self, slot: Slot) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let has_bytes = self.busy.get(conn.busy as usize).is_some_and(|busy| !busy.held.ready.is_empty());
        let quiet = State::QUEUED.with(State::PAUSED).with(State::CLOSED_BY_USER).with(State::GONE);
        if (has_bytes || conn.state.has(State::EOF_OWED)) && !conn.state.has_any(quiet) {
            conn.state.set(State::QUEUED);
            self.words.push_back((slot, Word::Stream));
        }
    }

    /// The next thing that happened; of bytes at most `room`, and with none of it nothing behind them. After `Closed` the name is
    /// gone, and its index is free after [`Stack::reclaim`].
    pub fn next_notice(&mut self, room: usize) -> Option<(Slot, Notice)> {
        loop {
            if room == 0 && self.next_wants_room() {
                return None;
            }
            let (slot, word) = self.words.pop_front()?;
            let Some(conn) = self.conns.get_mut(slot) else { continue };
            let is_closed = conn.state.has(State::CLOSED_BY_USER);
            match word {
                Word::Closed(cause) => {
                    self.conns.retire(slot);
                    // What the user closed has no cause, whatever ended it.
                    return Some((slot, Notice::Closed(cause.filter(|_| !is_closed))));
                }
                Word::Sent(buffer, is_taken) => {
                    conn.state.take(State::SENDING);
                    return Some((slot, Notice::Sent(buffer, is_taken)));
                }
                Word::Connected => {
                    conn.state.take(State::QUEUED);
                    self.tell(slot);
                    if !is_closed {
                        return Some((slot, Notice::Connected));
                    }
                }
                Word::Stream => {
                    conn.state.take(State::QUEUED);
                    // Paused meanwhile: it is told when that is over.
                    if is_closed || conn.state.has_any(State::PAUSED.with(State::GONE)) {
                        continue;
                    }
                    return Some((slot, self.take_stream(slot, room)));
                }
            }
        }
    }

    /// What a stream has: bytes, or when there are none its end. What is left is told next.
    fn take_stream(&mut self, slot: Slot, room: usize) -> Notice {
        let conn = conn_of(&mut self.conns, slot);
        let bytes: Vec<u8> = match self.busy.get_mut(conn.busy as usize) {
            Some(busy) => {
                let ready = &mut busy.held.ready;
                ready.drain(..ready.len().min(room)).collect()
            }
            None => Vec::new(),
        };
        if bytes.is_empty() {
            conn.state.take(State::EOF_OWED);
            return Notice::Eof;
        }
        let left = self.busy.get(conn.busy as usize).is_some_and(|busy| !busy.held.ready.is_empty());
        if left || conn.state.has(State::EOF_OWED) {
            conn.state.set(State::QUEUED);
            self.words.push_front((slot, Word::Stream));
        }
        // The window is open again, of which a peer that found it shut must hear.
        self.ack_now(slot);
        self.settle(slot);
        Notice::Data(bytes)
    }

    /// Whether something happened that was not taken yet.
    pub fn has_notices(&self) -> bool {
        !self.words.is_empty()
    }

    /// Whether that is bytes.
    pub fn next_wants_room(&self) -> bool {
        let Some((slot, Word::Stream)) = self.words.front() else { return false };
        let busy = self.conns.get(*slot).and_then(|conn| self.busy.get(conn.busy as usize));
        busy.is_some_and(|busy| !busy.held.ready.is_empty())
    }

    /// Frees the indices of connections whose `Closed` was taken.
    pub fn reclaim(&mut self) {
        self.conns.reclaim();
    }

    /// A connection that the user may still do something with.
    fn open(&mut self, slot: Slot) -> Option<&mut Conn> {
        self.conns.get_mut(slot).filter(|conn| !conn.state.has_any(State::GONE.with(State::CLOSED_BY_USER)))
    }

    /// What is under way on a connection that exists.
    fn busy(&mut self, slot: Slot) -> &mut Busy {
        let conn = self.conns.get_mut(slot).expect("whoever asks has looked");
        if conn.busy == NOT_BUSY {
            let data = self.spares.pop().unwrap_or_default();
            conn.busy = self.busy.insert(Busy::new(data, conn.snd_una, conn.mss)) as u32;
        }
        &mut self.busy[conn.busy as usize]
    }

    /// Sees to it that the next output looks at a connection.
    fn list(&mut self, slot: Slot) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        if !conn.state.has(State::LISTED) {
            conn.state.set(State::LISTED);
            self.listed.push(slot);
        }
    }

    fn ack_now(&mut self, slot: Slot) {
        if let Some(conn) = self.conns.get_mut(slot) {
            conn.state.set(State::ACK_NOW);
            self.list(slot);
        }
    }

    /// Gives up what a connection does not need any more, and the connection, when both ends are through.
    fn settle(&mut self, slot: Slot) {
        let Some(conn) = self.conns.get(slot) else { return };
        let ends = State::CLOSED_BY_USER.with(State::FIN_ACKED);
        if conn.state.has(ends.with(State::PEER_FIN)) {
            return self.end(slot, None);
        }
        if conn.busy == NOT_BUSY || conn.state.has(State::SYN_SENT) {
            return;
        }
        let busy = &self.busy[conn.busy as usize];
        let fin_is_due = conn.state.has(State::FIN_QUEUED) && !conn.state.has(State::FIN_ACKED);
        let waits_for_fin = conn.state.has(ends);
        if busy.data.is_empty() && busy.held.is_empty() && !fin_is_due && !waits_for_fin {
            self.drop_busy(slot);
        }
    }

    fn drop_busy(&mut self, slot: Slot) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        if conn.busy == NOT_BUSY {
            return;
        }
        let mut busy = self.busy.remove(conn.busy as usize);
        conn.busy = NOT_BUSY;
        conn.snd_una = busy.snd_max;
        if let Some(buffer) = busy.owed.take() {
            self.words.push_back((slot, Word::Sent(buffer, false)));
        }
        if self.spares.len() < SPARES_MAX && busy.data.capacity() <= SPARE_BYTES_MAX {
            busy.data.clear();
            self.spares.push(busy.data);
        }
        if self.busy.is_empty() && self.busy.capacity() > SPARES_MAX {
            self.busy = Slab::new(); // what one storm needed
        }
    }

    /// A connection is gone.
    fn end(&mut self, slot: Slot, cause: Option<Cause>) {
        let owes_ack = self
            .conns
            .get(slot)
            .is_some_and(|conn| conn.state.has_any(State::ACK_NOW.with(State::ACK_LATER)));
        if owes_ack && cause.is_none() {
            let ack = self.header(slot, Flags::ACK);
            self.say(ack);
        }
        self.drop_busy(slot);
        let Some(conn) = self.conns.get_mut(slot) else { return };
        conn.state.set(State::GONE);
        self.words.push_back((slot, Word::Closed(cause)));
    }

    /// Ends a connection with a reset to its peer.
    fn reset(&mut self, slot: Slot, cause: Option<Cause>) {
        let header = self.header(slot, Flags::RST.with(Flags::ACK));
        if let Some(conn) = self.conns.get_mut(slot) {
            conn.state.take(State::ACK_NOW.with(State::ACK_LATER));
        }
        self.say(header);
        self.end(slot, cause);
    }

    /// Queues a segment that stands for itself.
    fn say(&mut self, header: Header) {
        self.counters.resets_sent += u64::from(header.flags.has(Flags::RST));
        self.loose.push_back(header);
    }

    /// The header of a segment without payload, as the connection stands.
    fn header(&self, slot: Slot, flags: Flags) -> Header {
        let conn = self.conns.get(slot).expect("whoever asks has looked");
        let seq = if conn.busy == NOT_BUSY { conn.snd_una } else { self.busy[conn.busy as usize].snd_max };
        Header {
            from: self.addresses.of(slot.index()).expect("connections have addresses"),
            to: self.targets[usize::from(conn.target)],
            seq,
            ack: conn.rcv_nxt,
            flags,
            window: self.receive_window(conn),
            mss: None,
        }
    }

    fn receive_window(&self, conn: &Conn) -> u16 {
        let held = if conn.busy == NOT_BUSY { 0 } else { self.busy[conn.busy as usize].held.ready.len() };
        RECEIVE_WINDOW.saturating_sub(u16::try_from(held).unwrap_or(u16::MAX))
    }
}
