//! What a packet changes: RFC 9293, section 3.10.7, with the challenges of RFC 5961.

use std::ops::Range;

use throng_reactor::{Nanos, Slot};

use super::{Cause, Stack, Word};
use crate::busy::Busy;
use crate::conn::{NOT_BUSY, State};
use crate::limits::{ACK_DELAY, LOOSE_MAX, MSS, MSS_MIN, SEND_BUFFER};
use crate::segment::{self, Checksum, Flags, Header, Packet, Seq};

impl Stack {
    /// Takes up a packet. What it brings for the user, if anything: whose it is, and where it lies in the packet.
    pub fn input(&mut self, packet: &[u8], checksum: Checksum, now: Nanos) -> Option<(Slot, Range<usize>)> {
        self.counters.segments_received += 1;
        let Packet { header, payload } = match segment::read(packet, checksum) {
            Ok(read) => read,
            Err(reject) => {
                self.counters.count(reject);
                return None;
            }
        };
        let Some(index) = self.addresses.index_of(header.to) else {
            self.counters.foreign += 1;
            return None;
        };
        let found = self.conns.at(index).filter(|(_, conn)| {
            !conn.state.has(State::GONE) && self.targets[usize::from(conn.target)] == header.from
        });
        let Some((slot, conn)) = found else {
            self.counters.strays += 1;
            self.refuse(&header, payload.len());
            return None;
        };
        if conn.state.has(State::SYN_SENT) {
            self.on_answer(slot, &header, payload.len(), now);
            return None;
        }
        self.on_segment(slot, &header, packet, payload, now)
    }

    /// Answers a segment of no connection of ours.
    fn refuse(&mut self, header: &Header, payload: usize) {
        if header.flags.has(Flags::RST) {
            return;
        }
        if self.loose.len() >= LOOSE_MAX {
            self.counters.answers_dropped += 1;
            return;
        }
        let answer = Header { from: header.to, to: header.from, window: 0, mss: None, ..*header };
        self.say(if header.flags.has(Flags::ACK) {
            Header { seq: header.ack, ack: Seq(0), flags: Flags::RST, ..answer }
        } else {
            let ack = header.seq.plus(length(header, payload));
            Header { seq: Seq(0), ack, flags: Flags::RST.with(Flags::ACK), ..answer }
        });
    }

    /// A segment for a connection whose SYN is not answered yet.
    fn on_answer(&mut self, slot: Slot, header: &Header, payload: usize, now: Nanos) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let has_ack = header.flags.has(Flags::ACK);
        let was_sent = self.busy[conn.busy as usize].snd_max != conn.snd_una;
        if has_ack && (header.ack != conn.snd_una.plus(1) || !was_sent) {
            self.counters.strays += 1;
            return self.refuse(header, payload);
        }
        if header.flags.has(Flags::RST) {
            if has_ack {
                self.counters.resets_received += 1;
                self.end(slot, Some(Cause::Refused));
            }
            return;
        }
        if !header.flags.has(Flags::SYN) || !has_ack {
            self.counters.unexpected += 1;
            return;
        }
        conn.state.take(State::SYN_SENT);
        conn.snd_una = header.ack;
        conn.rcv_nxt = header.seq.plus(1);
        conn.snd_wnd = header.window;
        conn.mss = header.mss.map_or(conn.mss, |mss| mss.clamp(MSS_MIN, MSS));
        let busy = &mut self.busy[conn.busy as usize];
        if let Some((_, at)) = busy.timed.take() {
            conn.note_rtt(now.since(at));
        }
        let before = std::mem::replace(busy, Busy::new(Default::default(), header.ack, conn.mss));
        busy.data = before.data;
        busy.owed = before.owed;
        busy.timer = before.timer;
        if before.retries > 0 {
            busy.congestion.on_timeout(header.ack, 0, conn.mss); // a SYN that was lost tells of a bad way
        }
        conn.state.set(State::QUEUED);
        self.words.push_back((slot, Word::Connected));
        if let Some(buffer) = busy.owed.take_if(|_| busy.data.len() <= SEND_BUFFER) {
            self.words.push_back((slot, Word::Sent(buffer, true)));
        }
        self.ack_now(slot);
        self.settle(slot);
    }

    /// A segment for a connection that stands.
    fn on_segment(
        &mut self,
        slot: Slot,
        header: &Header,
        packet: &[u8],
        payload: Range<usize>,
        now: Nanos,
    ) -> Option<(Slot, Range<usize>)> {
        let conn = self.conns.get(slot)?;
        let (next, window) = (conn.rcv_nxt, u32::from(self.receive_window(conn)));
        let length = length(header, payload.len());
        let is_acceptable = is_acceptable(header.seq, length, next, window);
        if header.flags.has(Flags::RST) {
            // RFC 5961: only the exact place is believed.
            if header.seq == next {
                self.counters.resets_received += 1;
                self.end(slot, Some(Cause::Reset));
            } else if is_acceptable {
                self.challenge(slot);
            }
            return None;
        }
        if header.flags.has(Flags::SYN) {
            self.challenge(slot);
            return None;
        }
        if !is_acceptable {
            self.counters.duplicates += 1;
            self.ack_now(slot);
            return None;
        }
        if !header.flags.has(Flags::ACK) {
            self.counters.unexpected += 1;
            return None;
        }
        if !self.on_ack(slot, header, length == 0, now) || length == 0 {
            return None;
        }
        let conn = self.conns.get(slot).filter(|conn| !conn.state.has(State::GONE))?;
        let is_new = header.seq.plus(payload.len() as u32).since(next) > 0;
        if !payload.is_empty() && is_new && conn.state.has(State::CLOSED_BY_USER) {
            // Nobody will ever read it, and the peer should know.
            self.reset(slot, None);
            return None;
        }
        self.on_payload(slot, header, packet, payload, window, now)
    }

    /// Asks the peer whether it means it.
    fn challenge(&mut self, slot: Slot) {
        self.counters.challenges += 1;
        self.ack_now(slot);
    }

    /// Takes up what the peer has received, and how much more it takes. False: the segment is to be dropped.
    fn on_ack(&mut self, slot: Slot, header: &Header, is_bare: bool, now: Nanos) -> bool {
        let Some(conn) = self.conns.get_mut(slot) else { return false };
        let acked = header.ack.since(conn.snd_una);
        if acked < 0 {
            return true; // an old one says nothing new
        }
        if conn.busy == NOT_BUSY {
            if acked > 0 {
                self.challenge(slot);
                return false;
            }
            conn.snd_wnd = header.window;
            return true;
        }
        let busy = &mut self.busy[conn.busy as usize];
        if busy.snd_max.is_before(header.ack) {
            self.challenge(slot);
            return false;
        }
        let window_before = std::mem::replace(&mut conn.snd_wnd, header.window);
        let on_way = busy.snd_max.since(conn.snd_una) as u32;
        if acked > 0 {
            let acked = acked as u32;
            let bytes = busy.data.len().min(acked as usize);
            busy.data.drain(..bytes);
            if acked as usize > bytes {
                conn.state.set(State::FIN_ACKED);
            }
            conn.snd_una = header.ack;
            if busy.snd_nxt.is_before(header.ack) {
                busy.snd_nxt = header.ack;
            }
            if let Some((_, at)) = busy.timed.take_if(|(seq, _)| seq.is_before(header.ack)) {
                conn.note_rtt(now.since(at));
            }
            (busy.retries, busy.backoff) = (0, 0);
            busy.repairs = busy.congestion.on_ack(header.ack, acked, conn.mss);
            let rto = conn.rto(0);
            busy.deadline = (busy.snd_max != header.ack).then(|| now + rto);
            if busy.data.len() <= SEND_BUFFER
                && let Some(buffer) = busy.owed.take()
            {
                self.words.push_back((slot, Word::Sent(buffer, true)));
            }
        } else if header.window == 0 {
            // The peer is there, and has no room: it is asked ever more rarely, for as long as the user wants to wait.
            if !conn.state.has(State::CLOSED_BY_USER) {
                busy.retries = 0;
            }
        } else if window_before == 0 {
            // Room again: what was sent to find that out is sent anew, with all that fits.
            busy.snd_nxt = conn.snd_una;
            busy.deadline = None;
            (busy.retries, busy.backoff) = (0, 0);
        } else if is_bare && on_way > 0 && header.window == window_before {
            self.counters.duplicate_acks += 1;
            if busy.congestion.on_duplicate(busy.snd_max, on_way, conn.mss) {
                self.counters.fast_retransmits += 1;
                busy.repairs = true;
            }
        }
        self.arm(slot);
        self.list(slot);
        self.settle(slot);
        true
    }

    /// Takes up what a segment brings, part of which may be there already, or beyond the window.
    fn on_payload(
        &mut self,
        slot: Slot,
        header: &Header,
        packet: &[u8],
        payload: Range<usize>,
        window: u32,
        now: Nanos,
    ) -> Option<(Slot, Range<usize>)> {
        let conn = self.conns.get(slot)?;
        let next = conn.rcv_nxt;
        if conn.state.has(State::PEER_FIN) {
            self.ack_now(slot); // there is nothing behind its end
            return None;
        }
        let is_full = payload.len() >= usize::from(MSS);
        // What is beyond the window is not taken, nor a FIN behind it.
        let end = header.seq.plus(payload.len() as u32);
        let beyond = end.since(next.plus(window)).max(0) as usize;
        let payload = payload.start..payload.end - beyond.min(payload.len());
        let early = header.seq.since(next);
        if early > 0 {
            self.counters.out_of_order += 1;
            if !payload.is_empty() && !self.busy(slot).held.keep(header.seq, &packet[payload]) {
                self.counters.out_of_order_dropped += 1;
            }
            self.ack_now(slot);
            return None;
        }
        let payload = (payload.start + early.unsigned_abs() as usize).min(payload.end)..payload.end;
        let conn = self.conns.get_mut(slot)?;
        conn.rcv_nxt = next.plus(payload.len() as u32);
        let waits = self.busy.get(conn.busy as usize).is_some_and(|busy| !busy.held.ready.is_empty());
        let mut delivered = None;
        if waits || conn.state.has_any(State::PAUSED.with(State::QUEUED)) {
            // Behind what is to be told before it.
            if !payload.is_empty() {
                self.busy(slot).held.ready.extend(&packet[payload]);
            }
        } else if !payload.is_empty() {
            delivered = Some((slot, payload));
        }
        let filled = self.take_held(slot);
        let conn = self.conns.get_mut(slot)?;
        let has_fin = header.flags.has(Flags::FIN) && beyond == 0 && end == conn.rcv_nxt;
        if has_fin {
            conn.rcv_nxt = end.plus(1);
            conn.state.set(State::PEER_FIN.with(State::EOF_OWED));
            if let Some(busy) = self.busy.get_mut(conn.busy as usize) {
                busy.held.forget_later();
            }
            self.ack_now(slot);
        } else if filled || is_full && conn.state.has(State::ACK_LATER) {
            self.ack_now(slot);
        } else {
            self.ack_later(slot, now);
        }
        self.tell(slot);
        self.settle(slot);
        delivered
    }

    /// Puts what had waited for what has just come behind it. True: there was something, or there still is.
    fn take_held(&mut self, slot: Slot) -> bool {
        let Some(conn) = self.conns.get_mut(slot).filter(|conn| conn.busy != NOT_BUSY) else { return false };
        let held = &mut self.busy[conn.busy as usize].held;
        let any = held.has_gap();
        while let Some(bytes) = held.take(conn.rcv_nxt) {
            conn.rcv_nxt = conn.rcv_nxt.plus(bytes.len() as u32);
            held.ready.extend(bytes);
        }
        any
    }

    fn ack_later(&mut self, slot: Slot, now: Nanos) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        if !conn.state.has_any(State::ACK_NOW.with(State::ACK_LATER)) {
            conn.state.set(State::ACK_LATER);
            self.later.push_back((now + ACK_DELAY, slot));
        }
    }
}

/// How much of the sequence a segment takes.
fn length(header: &Header, payload: usize) -> u32 {
    payload as u32 + u32::from(header.flags.has(Flags::SYN)) + u32::from(header.flags.has(Flags::FIN))
}

/// Whether some of a segment lies in the window (RFC 9293, section 3.4).
fn is_acceptable(seq: Seq, length: u32, next: Seq, window: u32) -> bool {
    let inside = |at: Seq| (0..i64::from(window)).contains(&i64::from(at.since(next)));
    match (length, window) {
        (0, 0) => seq == next,
        (0, _) => inside(seq),
        (_, 0) => false,
        _ => inside(seq) || inside(seq.plus(length - 1)),
    }
}
