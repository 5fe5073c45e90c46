//! Users of Throng's own protocol.

use throng_reactor::Nanos;
use throng_wire::limits::FRAME_BYTES_MAX;
use throng_wire::native::{
    Frame, Frames, Hello, MessageId, Receiver, Recipient, Sequence, UserId, VERSIONS, Welcome,
};

use super::{Crowd, PONGS_MAX};
use crate::ledger::{Missing, Sight};
use crate::limits::OUTSTANDING_MAX;
use crate::stamp::Stamp;
use crate::user::{Flags, State};

impl Crowd {
    pub(super) fn read_native(&mut self, user: u32, bytes: &[u8], now: Nanos) -> usize {
        let mut frames = Frames::new(bytes, Receiver::Client, FRAME_BYTES_MAX);
        let mut settled = 0;
        loop {
            match frames.next() {
                Ok(Some(Frame::Deliver { sequence, from, id, body })) => {
                    self.delivered(user, sequence, from, id, body, now);
                }
                Ok(Some(Frame::Accepted { id })) => settled += u32::from(self.accepted(user, id, now)),
                Ok(Some(Frame::Refused { id, .. })) => {
                    if let Some(hash) = self.settle(user, id) {
                        self.ledger.refused.add(hash);
                        settled += 1;
                    }
                }
                Ok(Some(Frame::Unknown { id, .. })) => {
                    if let Some(hash) = self.settle(user, id) {
                        self.ledger.unknown.add(hash);
                        settled += 1;
                    }
                }
                Ok(Some(other)) => self.control(user, other, now),
                Ok(None) => break,
                Err(error) => {
                    self.end(user, &format!("the server sent {error}"));
                    break;
                }
            }
            if self.state(user) == State::Closing {
                break;
            }
        }
        if settled > 0 {
            if self.plan.closed_loop_window.is_some() {
                self.allow(user, settled, now);
            } else {
                self.touch(user);
            }
        }
        bytes.len() - frames.rest().len()
    }

    /// What is not about messages.
    #[cold]
    fn control(&mut self, user: u32, frame: Frame<'_>, now: Nanos) {
        match (self.state(user), frame) {
            (State::LoggingIn, Frame::Welcome(welcome)) => self.welcome(user, welcome, now),
            (State::Ready, Frame::Pong { .. }) => {
                if self.users[user as usize].flags.take(Flags::PINGED) {
                    self.pings_open -= 1;
                    self.heartbeats.answered += 1;
                } else {
                    self.ledger.strays += 1;
                }
            }
            (State::Ready, Frame::Ping { token }) => {
                if self.pongs.len() < PONGS_MAX {
                    self.pongs.push((user, token));
                    self.users[user as usize].flags.set(Flags::PONG);
                    self.touch(user);
                }
            }
            (state, Frame::Error { code, .. }) => {
                self.counts.refused_by_server += u64::from(state == State::LoggingIn);
                self.end(user, &format!("the server said: {code}"));
            }
            (state, Frame::Bye { why, .. }) => {
                self.counts.refused_by_server += u64::from(state == State::LoggingIn);
                self.end(user, &format!("the server said: {why}"));
            }
            _ => self.end(user, "the server sent a frame out of turn"),
        }
    }

    fn welcome(&mut self, user: u32, welcome: Welcome, now: Nanos) {
        if !VERSIONS.contains(&welcome.version) || welcome.outstanding_max == 0 {
            return self.end(user, "the server's Welcome makes no sense");
        }
        // One server, one rule; should several differ, the strictest holds for all.
        self.outstanding_max =
            self.outstanding_max.min(u32::from(welcome.outstanding_max)).min(OUTSTANDING_MAX);
        let waited = now.since(self.planned_connect(user));
        self.connect_times().login.record(waited.as_nanos() as u64);
        self.established(user, now);
    }

    /// Notes that a message has its outcome; its hash, or `None` when it had one or was never sent.
    #[inline]
    fn settle(&mut self, user: u32, id: MessageId) -> Option<u64> {
        let known = u32::try_from(id.0).is_ok_and(|id| self.users[user as usize].outcomes.settle(id));
        if known {
            Some(self.bodies.hash(self.share.global(user) + 1, id.0))
        } else {
            self.ledger.strays += 1;
            None
        }
    }

    #[inline]
    fn accepted(&mut self, user: u32, id: MessageId, now: Nanos) -> bool {
        let Some(hash) = self.settle(user, id) else { return false };
        self.ledger.accepted.add(hash);
        self.ledger.window.accepted += u64::from(self.in_window(now));
        let arrived =
            self.users.get((user ^ 1) as usize).is_some_and(|partner| partner.seen.has(id.0 as u32));
        if !arrived {
            self.ledger.miss(Missing { sender: self.share.global(user) + 1, id: id.0 });
        }
        true
    }

    #[inline]
    fn delivered(
        &mut self,
        user: u32,
        sequence: Sequence,
        from: UserId,
        id: MessageId,
        body: &[u8],
        now: Nanos,
    ) {
        let partner = self.users.get((user ^ 1) as usize).map(|partner| partner.outcomes);
        let record = &mut self.users[user as usize];
        record.sequence = sequence.0;
        record.flags.set(Flags::ACK);
        self.touch(user);
        let sender = (self.share.global(user) ^ 1) + 1;
        let was_sent = partner.is_some_and(|outcomes| outcomes.was_sent(id.0));
        if from.0 != sender || !was_sent {
            // Another's message, or nobody's.
            self.ledger.strays += 1;
            return;
        }
        let number = id.0 as u32;
        let sight = self.users[user as usize].seen.see(number);
        let is_late = partner.is_some_and(|outcomes| outcomes.has(number));
        let reordered = match sight {
            Sight::Fresh { reordered } => {
                if is_late {
                    // Called accepted before it came; refused or unknown ones are not on the list.
                    self.ledger.find(Missing { sender, id: id.0 });
                }
                reordered
            }
            Sight::Old if self.ledger.find(Missing { sender, id: id.0 }) => true,
            Sight::Old | Sight::Repeat => {
                self.ledger.duplicated += 1;
                return;
            }
        };
        self.ledger.delivered.add(self.bodies.hash(sender, id.0));
        self.ledger.reordered += u64::from(reordered);
        self.ledger.window.delivered += u64::from(self.in_window(now));
        match self.bodies.read(sender, id.0, body) {
            Some(stamp) => self.note_times(stamp, now),
            None => self.ledger.corrupted += 1,
        }
    }

    pub(super) fn write_native(&mut self, user: u32, now: Nanos, out: &mut Vec<u8>) {
        let global = self.share.global(user);
        let record = &mut self.users[user as usize];
        if record.state == State::LoggingIn && record.flags.take(Flags::HELLO) {
            Frame::Hello(Hello {
                version_min: *VERSIONS.start(),
                version_max: *VERSIONS.end(),
                user: UserId(global + 1),
                device: 1,
            })
            .encode(out);
        }
        if record.state != State::Ready {
            return;
        }
        if record.flags.take(Flags::ACK) {
            Frame::Ack { sequence: Sequence(record.sequence) }.encode(out);
        }
        if record.flags.take(Flags::PING) {
            Frame::Ping { token: global + 1 }.encode(out);
        }
        if record.flags.take(Flags::PONG) {
            self.pongs.retain(|&(whose, token)| {
                if whose == user {
                    Frame::Pong { token }.encode(out);
                }
                whose != user
            });
        }
        let to = Recipient::User(UserId((global ^ 1) + 1));
        while let Some((id, planned)) = self.next_message(user, out) {
            let index = u64::from(id);
            Frame::Send { id: MessageId(index), to, body: self.bodies.template() }.encode(out);
            let at = out.len() - self.bodies.bytes();
            self.bodies.restamp(global + 1, Stamp { index, planned, written: now }, &mut out[at..]);
            self.note_sent(global + 1, id, now);
        }
    }
}
