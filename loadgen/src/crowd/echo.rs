//! Users of an echo server: what a user sends comes back to it, in order and unchanged.

use throng_reactor::Nanos;

use super::Crowd;
use crate::stamp::Stamp;
use crate::user::State;

impl Crowd {
    /// Every message has the same length, so the stream is cut by counting.
    pub(super) fn read_echo(&mut self, user: u32, bytes: &[u8], now: Nanos) -> usize {
        let sender = self.share.global(user) + 1;
        let mut used = 0;
        let mut arrived = 0;
        for body in bytes.chunks_exact(self.bodies.bytes()) {
            used += body.len();
            let Some(id) = self.users[user as usize].outcomes.oldest() else {
                self.ledger.strays += 1;
                self.end(user, "the server sent bytes that nobody had sent");
                break;
            };
            self.users[user as usize].outcomes.settle(id);
            arrived += 1;
            let hash = self.bodies.hash(sender, u64::from(id));
            let Some(stamp) = self.bodies.read(sender, u64::from(id), body) else {
                self.ledger.corrupted += 1;
                self.ledger.unknown.add(hash);
                continue;
            };
            self.ledger.accepted.add(hash);
            self.ledger.delivered.add(hash);
            let counts = u64::from(self.in_window(now));
            self.ledger.window.accepted += counts;
            self.ledger.window.delivered += counts;
            self.note_times(stamp, now);
        }
        if self.plan.closed_loop_window.is_some() {
            self.allow(user, arrived, now);
        } else {
            self.touch(user);
        }
        used
    }

    pub(super) fn write_echo(&mut self, user: u32, now: Nanos, out: &mut Vec<u8>) {
        if self.state(user) != State::Ready {
            return;
        }
        let sender = self.share.global(user) + 1;
        while let Some((id, planned)) = self.next_message(user, out) {
            self.bodies.write(sender, Stamp { index: u64::from(id), planned, written: now }, out);
            self.note_sent(sender, id, now);
        }
    }
}
