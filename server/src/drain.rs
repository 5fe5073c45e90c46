//! The end of a shard, for a handful of users or for a million.
//!
//! ```text
//!  SETTLING ──────> PARTING ──────────> LEAVING ─────────────> RESETTING
//!   messages on      everybody is told   they close, as long    who is left
//!   their way        goodbye, a slice    as there is progress   is reset, a slice
//!   may arrive       per turn                                   per turn
//! ```
//!
//! From LEAVING on the shard ends as soon as nobody is left and all other shards have come as far.

use throng_reactor::{Close, Nanos, Reactor};
use throng_wire::native::Bye;

use crate::limits::{
    DRAIN_LEAVE, DRAIN_LEAVE_SHARE, DRAIN_LOOK, DRAIN_SETTLE, GOODBYES_PER_TURN, RESETS_PER_TURN,
};
use crate::shard::{Progress, Shard};

/// How far a drain is.
#[derive(Debug)]
pub(crate) enum Drain {
    /// Nothing new is accepted; messages on their way may arrive until then. Looking whether they have goes through the figures of
    /// all shards, so it is done only at `look_at`.
    Settling { until: Nanos, look_at: Nanos },
    /// Sessions below this index were told goodbye.
    Parting { index: usize },
    /// All were.
    Leaving(Patience),
    /// Time is up; sessions below this index were reset.
    Resetting { index: usize },
}

impl Drain {
    /// When it must be looked at again; `extent` is one past the last session's index.
    pub(crate) fn deadline(&self, now: Nanos, extent: usize) -> Nanos {
        match *self {
            Drain::Settling { until, look_at } => until.min(look_at),
            Drain::Parting { .. } => now,
            Drain::Resetting { index } if index < extent => now,
            // How far the other shards are shows only by looking.
            Drain::Leaving(_) | Drain::Resetting { .. } => now + DRAIN_LOOK,
        }
    }
}

/// How long the shard waits for those who were told goodbye: as long as enough of them go.
#[derive(Debug)]
pub(crate) struct Patience {
    /// Sessions at the last progress, and when the next one is due.
    left: usize,
    until: Nanos,
}

impl Patience {
    fn new(left: usize, now: Nanos) -> Patience {
        Patience { left, until: now + DRAIN_LEAVE }
    }

    /// Whether too few have gone for too long. `left` is the number of sessions now.
    fn is_over(&mut self, left: usize, now: Nanos) -> bool {
        let gone = self.left.saturating_sub(left);
        if gone > 0 && gone >= self.left / DRAIN_LEAVE_SHARE {
            *self = Patience::new(left, now);
        }
        now >= self.until
    }
}

impl<R: Reactor> Shard<R> {
    /// Stops accepting; messages on their way have a moment to settle.
    pub(crate) fn begin_drain(&mut self) {
        self.reactor.stop_listening();
        self.drain = Some(Drain::Settling { until: self.now + DRAIN_SETTLE, look_at: self.now });
    }

    /// Takes the drain a step further.
    pub(crate) fn drain_on(&mut self) -> Progress {
        let now = self.now;
        match &mut self.drain {
            None => return Progress::Running,
            Some(Drain::Settling { until, look_at }) => {
                if now >= *until || (now >= *look_at && self.shared.outstanding() == 0) {
                    self.drain = Some(Drain::Parting { index: 0 });
                } else if now >= *look_at {
                    *look_at = now + DRAIN_LOOK;
                }
            }
            &mut Some(Drain::Parting { index }) => {
                let end = (index + GOODBYES_PER_TURN).min(self.sessions.extent());
                for index in index..end {
                    if let Some(slot) = self.sessions.at(index).map(|(slot, _)| slot) {
                        self.leave(slot, Some(Bye::Draining));
                    }
                }
                self.drain = Some(if end < self.sessions.extent() {
                    Drain::Parting { index: end }
                } else {
                    Drain::Leaving(Patience::new(self.sessions.len(), now))
                });
            }
            Some(Drain::Leaving(patience)) => {
                if patience.is_over(self.sessions.len(), now) {
                    self.drain = Some(Drain::Resetting { index: 0 });
                }
            }
            Some(Drain::Resetting { index }) => {
                let end = (*index + RESETS_PER_TURN).min(self.sessions.extent());
                for index in *index..end {
                    if let Some((slot, _)) = self.sessions.at(index) {
                        self.figures.closed_by_reset += 1;
                        self.reactor.close(slot, Close::Reset);
                    }
                }
                *index = end;
            }
        }
        let done = matches!(self.drain, Some(Drain::Leaving(_) | Drain::Resetting { .. }));
        if !done || !self.sessions.is_empty() {
            return Progress::Running;
        }
        // The others' last sessions may have their home here: stay until every shard has sent its last letter.
        if !self.parted && self.post.is_empty() {
            self.parted = true;
            self.shared.part();
        }
        if self.shared.all_parted() && self.post.arrived() == 0 {
            Progress::Drained
        } else {
            Progress::Running
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LONG: Duration = DRAIN_LEAVE;

    #[test]
    fn as_long_as_users_go_the_last_of_a_million_is_not_cut() {
        let (mut now, mut left) = (Nanos(0), 1_000_000);
        let mut patience = Patience::new(left, now);
        // An eighth goes within each period: eleven periods for the first three quarters.
        while left > 0 {
            now = now + LONG / 2;
            left -= left.div_ceil(16);
            assert!(!patience.is_over(left, now), "{left} are left");
        }
        assert!(now > Nanos(0) + LONG * 11);
    }

    #[test]
    fn users_who_do_not_go_are_cut_though_a_few_do() {
        let mut patience = Patience::new(1000, Nanos(0));
        assert!(!patience.is_over(1000, Nanos(0) + LONG / 2));
        assert!(patience.is_over(1000 - 1000 / DRAIN_LEAVE_SHARE + 1, Nanos(0) + LONG));
        let mut patience = Patience::new(3, Nanos(0));
        assert!(!patience.is_over(2, Nanos(0) + LONG), "of few users each counts");
    }
}
