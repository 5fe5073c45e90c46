//! What comes due: acknowledgements that found nothing to carry them, and whatever was not acknowledged.

use throng_reactor::{Nanos, Slot};

use super::{Cause, Stack};
use crate::conn::{NOT_BUSY, State};
use crate::limits::{ORPHAN_RETRIES, RETRIES, SYN_RETRIES};

impl Stack {
    /// Owes the acknowledgements that found nothing to carry them by `now`. They go out with the next output.
    pub fn expire_acks(&mut self, now: Nanos) {
        while let Some(&(at, slot)) = self.later.front()
            && at <= now
        {
            self.later.pop_front();
            if self.conns.get(slot).is_some_and(|conn| conn.state.has(State::ACK_LATER)) {
                self.ack_now(slot);
            }
        }
    }

    /// Does what is due at `now` because nothing was heard for too long.
    pub fn expire(&mut self, now: Nanos) {
        let mut expired = std::mem::take(&mut self.expired);
        self.timers.expire(now, &mut expired);
        for slot in expired.drain(..) {
            self.on_timer(slot, now);
        }
        self.expired = expired;
    }

    /// When something is due, at the earliest.
    pub fn next_deadline(&self) -> Option<Nanos> {
        let acks = self.later.front().map(|&(at, _)| at);
        [acks, self.timers.next_deadline()].into_iter().flatten().min()
    }

    /// Sees to it that the wheel knows of a deadline. A timer that stands before it finds out by itself that it is too early.
    pub(super) fn arm(&mut self, slot: Slot) {
        let Some(conn) = self.conns.get(slot).filter(|conn| conn.busy != NOT_BUSY) else { return };
        let busy = &mut self.busy[conn.busy as usize];
        let Some(deadline) = busy.deadline else { return };
        if busy.timer.is_none_or(|timer| deadline < timer) {
            busy.timer = Some(deadline);
            self.timers.insert(deadline, slot);
        }
    }

    fn on_timer(&mut self, slot: Slot, now: Nanos) {
        let Some(conn) = self.conns.get_mut(slot).filter(|conn| conn.busy != NOT_BUSY) else { return };
        let busy = &mut self.busy[conn.busy as usize];
        if busy.timer.is_none_or(|timer| now < timer) {
            return; // one that does not count any more
        }
        busy.timer = None;
        if busy.deadline.is_none_or(|deadline| now < deadline) {
            return self.arm(slot);
        }
        busy.deadline = None;
        if conn.state.has(State::CLOSED_BY_USER.with(State::FIN_ACKED)) {
            self.counters.fin_timeouts += 1;
            return self.reset(slot, None);
        }
        let retries_max = match conn.state {
            state if state.has(State::SYN_SENT) => SYN_RETRIES,
            state if state.has(State::CLOSED_BY_USER) => ORPHAN_RETRIES,
            _ => RETRIES,
        };
        if busy.retries >= retries_max {
            self.counters.gave_up += 1;
            return self.end(slot, Some(Cause::TimedOut));
        }
        busy.retries += 1;
        busy.backoff = busy.backoff.saturating_add(1);
        let on_way = busy.snd_max.since(conn.snd_una) as u32;
        self.counters.timeouts += u64::from(on_way > 0);
        if conn.snd_wnd > 0 {
            busy.congestion.on_timeout(busy.snd_max, on_way, conn.mss); // no loss, where there was no room
        }
        busy.snd_nxt = conn.snd_una;
        busy.timed = None; // nobody could say which of the two was acknowledged
        self.list(slot);
    }
}
