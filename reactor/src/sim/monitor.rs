//! The contract's rules, checked from what a reactor is told and what it hands out, and from nothing else.

use crate::{Event, Slot, SlotMap};

/// What is known of one slot.
#[derive(Debug, Default)]
struct Life {
    open: bool,
    paused: bool,
    eof: bool,
    closed_by_user: bool,
    /// Length of the buffer in flight.
    sending: Option<usize>,
}

/// Watches one reactor. Every method panics with the number of the rule that was broken.
#[derive(Debug, Default)]
pub(super) struct Monitor {
    lives: SlotMap<Life>,
}

impl Monitor {
    pub(super) fn connecting(&mut self, slot: Slot) {
        let before = self.lives.insert(slot, Life::default());
        assert!(before.is_none(), "rule 1: {slot:?} took the place of a slot that was not Closed");
    }

    pub(super) fn send(&mut self, slot: Slot, len: usize) {
        if let Some(life) = self.lives.get_mut(slot) {
            assert!(life.sending.is_none(), "rule 4: a second send in flight on {slot:?}");
            life.sending = Some(len);
        }
    }

    pub(super) fn pause(&mut self, slot: Slot, paused: bool) {
        if let Some(life) = self.lives.get_mut(slot) {
            life.paused = paused;
        }
    }

    pub(super) fn close(&mut self, slot: Slot) {
        if let Some(life) = self.lives.get_mut(slot) {
            life.closed_by_user = true;
        }
    }

    /// Sends that have not come back.
    pub(super) fn sends_in_flight(&self) -> usize {
        self.lives.iter().filter(|(_, life)| life.sending.is_some()).count()
    }

    /// Judges an event at the moment when it is produced.
    pub(super) fn event(&mut self, event: &Event) {
        match event {
            Event::Accepted { slot, .. } => {
                self.connecting(*slot);
                self.life(*slot, "Accepted").open = true;
            }
            Event::Connected { slot } => {
                let life = self.life(*slot, "Connected");
                assert!(!life.open, "rule 1: Connected twice on {slot:?}");
                assert!(!life.closed_by_user, "rule 6: Connected after close on {slot:?}");
                life.open = true;
            }
            Event::Data { slot, data } => {
                let life = self.life(*slot, "Data");
                assert!(life.open, "rule 1: Data before the connection on {slot:?}");
                assert!(!data.is_empty(), "rule 2: empty Data on {slot:?}");
                assert!(!life.paused, "rule 2: Data of a paused connection on {slot:?}");
                assert!(!life.eof, "rule 3: Data after Eof on {slot:?}");
                assert!(!life.closed_by_user, "rule 6: Data after close on {slot:?}");
            }
            Event::Eof { slot } => {
                let life = self.life(*slot, "Eof");
                assert!(life.open, "rule 1: Eof before the connection on {slot:?}");
                assert!(!life.paused, "rule 2: Eof of a paused connection on {slot:?}");
                assert!(!life.eof, "rule 3: Eof twice on {slot:?}");
                assert!(!life.closed_by_user, "rule 6: Eof after close on {slot:?}");
                life.eof = true;
            }
            Event::Sent { slot, buffer, result } => {
                let life = self.life(*slot, "Sent");
                let len = life.sending.take();
                assert_eq!(len, Some(buffer.len()), "rule 4: Sent gives back what was sent on {slot:?}");
                let possible = life.open || life.closed_by_user || result.is_err();
                assert!(possible, "rule 4: sent without a connection on {slot:?}");
            }
            Event::Closed { slot, error } => {
                let life = self.life(*slot, "Closed");
                assert!(life.sending.is_none(), "rule 4: Closed keeps the buffer in flight on {slot:?}");
                assert_eq!(error.is_none(), life.closed_by_user, "rule 6: who closed {slot:?}? {error:?}");
                self.lives.remove(*slot);
            }
            Event::AcceptPaused { .. } | Event::AcceptResumed | Event::Wake => {}
        }
    }

    fn life(&mut self, slot: Slot, event: &str) -> &mut Life {
        self.lives.get_mut(slot).unwrap_or_else(|| panic!("rule 1: {event} on {slot:?}, which does not live"))
    }
}
