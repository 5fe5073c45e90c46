//! A message's way, step by step, and a login's: each step is a call on the same shard, or a letter to another.

use throng_reactor::{Reactor, Slot};
use throng_wire::limits::{FRAME_BYTES_MAX, OUTSTANDING_MAX};
use throng_wire::native::{Bye, Frame, MessageId, Refusal, Sequence, Uncertainty, UserId, VERSIONS, Welcome};

use crate::mailbox::{Letter, Outcome};
use crate::session::{Flags, State};
use crate::shard::Shard;

impl<R: Reactor> Shard<R> {
    /// Which shard is this user's home: the same on every shard, whatever the number of connections.
    pub(crate) fn home_of(&self, user: UserId) -> u16 {
        let shards = u64::from(self.shared.mailboxes.shards());
        // Fibonacci hashing: neighbouring users, who often write to each other, spread evenly.
        let mixed = user.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        ((mixed * shards) >> 32) as u16
    }

    /// Acts on what is in the mailbox now. True: more has come meanwhile; it is left for the next turn, since sockets and
    /// outboxes must have theirs.
    pub(crate) fn letters(&mut self) -> bool {
        for _ in 0..self.post.arrived() {
            let Some(batch) = self.post.receive() else { break };
            for letter in &batch.letters {
                match *letter {
                    Letter::Login { user, place } => self.login(user, place),
                    Letter::Logout { user, place } => self.logout(user, place),
                    Letter::Send { from, to, id, sender, body } => {
                        self.send_from_home(from, to, id, sender, batch.body(body));
                    }
                    Letter::Ack { user, place, sequence } => self.ack_at_home(user, place, sequence),
                    Letter::Welcome { slot } => self.welcome(slot),
                    Letter::Replaced { slot } => self.leave(slot, Some(Bye::Replaced)),
                    Letter::Deliver { slot, sequence, from, id, body } => {
                        self.deliver_here(slot, sequence, from, id, batch.body(body));
                    }
                    Letter::Outcome { slot, id, outcome } => self.outcome_here(slot, id, outcome),
                }
            }
            self.post.recycle(batch);
        }
        self.post.arrived() > 0
    }

    /// Sender's shard: the message goes to the recipient's home.
    pub(crate) fn send(&mut self, from: UserId, to: UserId, id: MessageId, sender: Slot, body: &[u8]) {
        if self.drain.is_some() {
            return self.outcome(sender, id, Outcome::Refused(Refusal::Draining));
        }
        let home = self.home_of(to);
        if home == self.me {
            return self.send_from_home(from, to, id, sender, body);
        }
        self.post.write_body(home, body, |body| Letter::Send { from, to, id, sender, body });
        if self.post.is_crowded(home)
            && let Some(session) =
                self.sessions.get_mut(sender).filter(|session| !session.flags.has(Flags::PAUSED))
        {
            session.flags.set(Flags::PAUSED);
            self.figures.mailbox_paused_sessions += 1;
            self.reactor.pause(sender);
            self.post.pause(home, sender);
        }
    }

    /// Recipient's home: the message gets its sequence and goes to the recipient's connection.
    fn send_from_home(&mut self, from: UserId, to: UserId, id: MessageId, sender: Slot, body: &[u8]) {
        // The way to the recipient must not pile up without bound; nothing is promised yet, so this can be refused.
        if self.post.has_parked()
            && self.home.place_of(to).is_some_and(|place| self.post.is_crowded(place.reactor()))
        {
            return self.outcome(sender, id, Outcome::Refused(Refusal::RecipientBusy));
        }
        match self.home.send(to, sender, id) {
            Ok((slot, sequence)) if slot.reactor() == self.me => {
                self.deliver_here(slot, sequence, from, id, body);
            }
            Ok((slot, sequence)) => self.post.write_body(slot.reactor(), body, |body| Letter::Deliver {
                slot,
                sequence,
                from,
                id,
                body,
            }),
            Err(why) => self.outcome(sender, id, Outcome::Refused(why)),
        }
    }

    /// Recipient's shard: the message is written. A connection that is gone will be reported to the home as gone.
    fn deliver_here(&mut self, slot: Slot, sequence: Sequence, from: UserId, id: MessageId, body: &[u8]) {
        let Some(session) = self.sessions.get_mut(slot).filter(|session| session.state == State::Active)
        else {
            return;
        };
        session.deliver(sequence);
        self.figures.messages_delivered += 1;
        self.write(slot, &Frame::Deliver { sequence, from, id, body });
    }

    /// Recipient's shard: an acknowledgement goes to the user's home.
    pub(crate) fn ack(&mut self, user: UserId, place: Slot, sequence: Sequence) {
        let home = self.home_of(user);
        if home == self.me {
            self.ack_at_home(user, place, sequence);
        } else {
            self.post.write(home, Letter::Ack { user, place, sequence });
        }
    }

    fn ack_at_home(&mut self, user: UserId, place: Slot, sequence: Sequence) {
        let mut settled = std::mem::take(&mut self.settled);
        self.home.ack(user, place, sequence, &mut settled);
        for (sender, id) in settled.drain(..) {
            self.outcome(sender, id, Outcome::Accepted);
        }
        self.settled = settled;
    }

    /// Recipient's home: the sender is told what became of its message.
    fn outcome(&mut self, sender: Slot, id: MessageId, outcome: Outcome) {
        if sender.reactor() == self.me {
            self.outcome_here(sender, id, outcome);
        } else {
            self.post.write(sender.reactor(), Letter::Outcome { slot: sender, id, outcome });
        }
    }

    /// Sender's shard. A sender that is gone has lost the outcome with its connection.
    fn outcome_here(&mut self, slot: Slot, id: MessageId, outcome: Outcome) {
        let frame = match outcome {
            Outcome::Accepted => {
                self.figures.messages_accepted += 1;
                Frame::Accepted { id }
            }
            Outcome::Refused(why) => {
                self.figures.messages_refused += 1;
                Frame::Refused { id, why }
            }
            Outcome::Unknown(why) => {
                self.figures.messages_unknown += 1;
                Frame::Unknown { id, why }
            }
        };
        let Some(session) = self.sessions.get_mut(slot).filter(|session| session.state == State::Active)
        else {
            return;
        };
        session.outstanding -= 1;
        self.write(slot, &frame);
    }

    /// User's home: a login. An earlier connection of the user is told to go.
    pub(crate) fn login(&mut self, user: UserId, place: Slot) {
        let mut settled = std::mem::take(&mut self.settled);
        let replaced = self.home.login(user, place, &mut settled);
        self.tell_unknown(&mut settled);
        self.settled = settled;
        if let Some(old) = replaced.filter(|old| *old != place) {
            self.figures.logins_replaced += 1;
            if old.reactor() == self.me {
                self.leave(old, Some(Bye::Replaced));
            } else {
                self.post.write(old.reactor(), Letter::Replaced { slot: old });
            }
        }
        if place.reactor() == self.me {
            self.welcome(place);
        } else {
            self.post.write(place.reactor(), Letter::Welcome { slot: place });
        }
    }

    /// Connection's shard: the home knows the user, who may begin.
    fn welcome(&mut self, slot: Slot) {
        let Some(session) = self.sessions.get_mut(slot).filter(|session| session.state == State::LoggingIn)
        else {
            return;
        };
        session.state = State::Active;
        self.figures.logging_in -= 1;
        self.figures.logged_in += 1;
        self.figures.logins += 1;
        let idle_timeout = self.shared.config.idle_timeout;
        let welcome = Welcome {
            version: *VERSIONS.end(),
            outstanding_max: OUTSTANDING_MAX,
            frame_bytes_max: FRAME_BYTES_MAX as u32,
            idle_timeout_ms: u32::try_from(idle_timeout.as_millis()).unwrap_or(u32::MAX),
        };
        self.write(slot, &Frame::Welcome(welcome));
    }

    /// User's home: a connection ended.
    pub(crate) fn logout(&mut self, user: UserId, place: Slot) {
        let mut settled = std::mem::take(&mut self.settled);
        self.home.logout(user, place, &mut settled);
        self.tell_unknown(&mut settled);
        self.settled = settled;
    }

    fn tell_unknown(&mut self, settled: &mut Vec<(Slot, MessageId)>) {
        for (sender, id) in settled.drain(..) {
            self.outcome(sender, id, Outcome::Unknown(Uncertainty::ConnectionLost));
        }
    }
}
