//! What goes out: everything that is owed, as far as the windows allow.

use std::collections::VecDeque;

use throng_reactor::{Nanos, Slot};

use super::Stack;
use crate::conn::{NOT_BUSY, State};
use crate::limits::{FIN_TIMEOUT, MSS, RECEIVE_WINDOW};
use crate::segment::{Flags, Header};

impl Stack {
    /// Gives every segment that is due to `emit`, its payload in two pieces.
    pub fn output(&mut self, now: Nanos, mut emit: impl FnMut(&Header, [&[u8]; 2])) {
        while let Some(header) = self.loose.pop_front() {
            self.counters.segments_sent += 1;
            emit(&header, [&[], &[]]);
        }
        let mut listed = std::mem::take(&mut self.listed);
        for slot in listed.drain(..) {
            let Some(conn) = self.conns.get_mut(slot) else { continue };
            conn.state.take(State::LISTED);
            if conn.state.has(State::GONE) {
                continue;
            }
            if conn.state.has(State::SYN_SENT) {
                self.send_syn(slot, now, &mut emit);
            } else {
                self.send_due(slot, now, &mut emit);
            }
        }
        self.listed = listed;
    }

    fn send_syn(&mut self, slot: Slot, now: Nanos, emit: &mut impl FnMut(&Header, [&[u8]; 2])) {
        let header = self.header(slot, Flags::SYN);
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let busy = &mut self.busy[conn.busy as usize];
        let iss = conn.snd_una;
        if busy.snd_nxt != iss {
            return; // it was sent, and the timer says when again
        }
        if busy.snd_max == iss {
            busy.timed = Some((iss, now));
        } else {
            self.counters.retransmitted += 1;
        }
        busy.snd_nxt = iss.plus(1);
        busy.snd_max = iss.plus(1);
        busy.deadline = Some(now + conn.rto(busy.backoff));
        self.counters.segments_sent += 1;
        emit(&Header { seq: iss, window: RECEIVE_WINDOW, mss: Some(MSS), ..header }, [&[], &[]]);
        self.arm(slot);
    }

    /// Sends data as far as both windows allow, FIN behind the last of it, and an acknowledgement if nothing carried it.
    fn send_due(&mut self, slot: Slot, now: Nanos, emit: &mut impl FnMut(&Header, [&[u8]; 2])) {
        let header = self.header(slot, Flags::ACK);
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let mut is_acked = !conn.state.has(State::ACK_NOW);
        if conn.busy != NOT_BUSY {
            let busy = &mut self.busy[conn.busy as usize];
            let window = busy.congestion.window().min(u32::from(conn.snd_wnd));
            let mut room = window.saturating_sub(busy.snd_nxt.since(conn.snd_una) as u32);
            if conn.snd_wnd == 0 && busy.retries > 0 && busy.snd_nxt == conn.snd_una {
                room = 1; // is there really none?
                self.counters.window_probes += u64::from(!busy.data.is_empty());
            }
            let fin = conn.state.has(State::FIN_QUEUED) && !conn.state.has(State::FIN_ACKED);
            let resume = busy.snd_nxt;
            let mut repairs = std::mem::take(&mut busy.repairs) && resume != conn.snd_una;
            if repairs {
                // One segment from the beginning; then on where it was.
                busy.snd_nxt = conn.snd_una;
                busy.timed = None;
                room = room.max(u32::from(conn.mss));
            }
            loop {
                let sent = busy.snd_nxt.since(conn.snd_una) as usize;
                let left = busy.data.len().saturating_sub(sent);
                let len = left.min(usize::from(conn.mss)).min(room as usize);
                let is_last = len == left;
                // Behind the last byte, once: from then on the next sequence is beyond it.
                let has_fin = fin && is_last && sent <= busy.data.len();
                if len == 0 && !has_fin {
                    break;
                }
                let mut flags = header.flags;
                if len > 0 && is_last {
                    flags = flags.with(Flags::PSH);
                }
                if has_fin {
                    flags = flags.with(Flags::FIN);
                }
                let seq = busy.snd_nxt;
                busy.snd_nxt = seq.plus(len as u32 + u32::from(has_fin));
                if seq == busy.snd_max {
                    busy.timed = busy.timed.or(Some((seq, now)));
                } else {
                    self.counters.retransmitted += 1;
                }
                if busy.snd_max.is_before(busy.snd_nxt) {
                    busy.snd_max = busy.snd_nxt;
                }
                room -= len as u32;
                is_acked = true;
                conn.state.take(State::ACK_NOW.with(State::ACK_LATER));
                self.counters.segments_sent += 1;
                emit(&Header { seq, flags, ..header }, pieces(&busy.data, sent, len));
                if std::mem::take(&mut repairs) {
                    busy.snd_nxt = if busy.snd_nxt.is_before(resume) { resume } else { busy.snd_nxt };
                    room = window.saturating_sub(busy.snd_nxt.since(conn.snd_una) as u32);
                }
            }
            if busy.deadline.is_none() {
                if busy.snd_max != conn.snd_una || !busy.data.is_empty() {
                    busy.deadline = Some(now + conn.rto(busy.backoff));
                } else if conn.state.has(State::CLOSED_BY_USER) {
                    busy.deadline = Some(now + FIN_TIMEOUT);
                }
            }
        }
        if !is_acked {
            conn.state.take(State::ACK_NOW.with(State::ACK_LATER));
            self.counters.segments_sent += 1;
            self.counters.acks_alone += 1;
            emit(&header, [&[], &[]]);
        }
        self.arm(slot);
    }
}

/// `len` bytes of a queue from `begin` on.
fn pieces(data: &VecDeque<u8>, begin: usize, len: usize) -> [&[u8]; 2] {
    if len == 0 {
        return [&[], &[]];
    }
    let (front, back) = data.as_slices();
    let end = begin + len;
    let first = &front[begin.min(front.len())..end.min(front.len())];
    let second = &back[begin.saturating_sub(front.len())..end.saturating_sub(front.len())];
    [first, second]
}
