//! One simulated reactor: its connections, what is due to be handed out, and why it may stand still.

use std::collections::VecDeque;
use std::rc::Rc;

use super::monitor::Monitor;
use crate::pool::Pool;
use crate::slot::Slots;
use crate::{AcceptPause, Config, Gauges, Nanos, Slot, Waker};

/// How far a connection of a reactor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// `Connected` was not handed out.
    Connecting,
    Open,
    /// Closed by the user or failed; only `Sent` and `Closed` are still to come.
    Closing,
}

/// A send from `send` to the hand-out of its `Sent`.
#[derive(Debug)]
pub(super) struct Send {
    pub(super) buffer: Vec<u8>,
    /// Bytes of it that the pipe took.
    pub(super) taken: usize,
    /// Its `Sent` is under way.
    pub(super) settled: bool,
    /// It was counted as short.
    pub(super) short: bool,
}

/// One connection as its reactor sees it: end `end` of link `link`.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) link: u64,
    pub(super) end: usize,
    pub(super) phase: Phase,
    /// The handshake is over, so that bytes may leave; `Connected` may be handed out later.
    pub(super) wired: bool,
    pub(super) paused: bool,
    pub(super) eof_given: bool,
    pub(super) fin_wanted: bool,
    pub(super) closed_by_user: bool,
    /// Stands in [`Host::readable`].
    pub(super) queued: bool,
    /// Was counted as starved in its present wait.
    pub(super) starved: bool,
    pub(super) send: Option<Send>,
    /// Its completions keep their order: none is handed out before this.
    pub(super) last_completion: Nanos,
}

impl Conn {
    pub(super) fn new(link: u64, end: usize, phase: Phase) -> Conn {
        Conn {
            link,
            end,
            phase,
            wired: phase == Phase::Open,
            paused: false,
            eof_given: false,
            fin_wanted: false,
            closed_by_user: false,
            queued: false,
            starved: false,
            send: None,
            last_completion: Nanos(0),
        }
    }
}

/// An operation that ended; the error is an errno value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Completion {
    Connected,
    /// All of it was taken. A send that fails comes back with `Closed`.
    Sent,
    Closed(Option<i32>),
}

/// Everything of one reactor.
pub(super) struct Host {
    pub(super) conns: Slots<Conn>,
    pub(super) connections_max: usize,
    pub(super) pool: Rc<Pool>,
    pub(super) waker: Waker,
    /// Due, in the order in which they are handed out.
    pub(super) done: VecDeque<(Slot, Completion)>,
    /// Connections that may have something to read, in turn.
    pub(super) readable: VecDeque<Slot>,
    pub(super) accept_paused: Option<AcceptPause>,
    pub(super) accept_retry: Nanos,
    pub(super) starved_until: Nanos,
    pub(super) stalled_until: Nanos,
    /// Until when its last turn would have waited.
    pub(super) until: Option<Nanos>,
    /// `advance` has pointed at it, and it has not had a turn since.
    pub(super) offered: bool,
    pub(super) gauges: Gauges,
    pub(super) monitor: Monitor,
}

impl Host {
    pub(super) fn new(config: &Config) -> Host {
        Host {
            conns: Slots::new(config.number),
            connections_max: config.connections_max,
            pool: Pool::new(config.recv_buffers, config.recv_buffer_bytes),
            waker: Waker::simulated(),
            done: VecDeque::new(),
            readable: VecDeque::new(),
            accept_paused: None,
            accept_retry: Nanos(0),
            starved_until: Nanos(0),
            stalled_until: Nanos(0),
            until: None,
            offered: false,
            gauges: Gauges::default(),
            monitor: Monitor::default(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.conns.len() >= self.connections_max
    }

    /// Whether its listeners are in their groups.
    pub(super) fn listens(&self) -> bool {
        self.accept_paused.is_none_or(|why| !why.leaves_group())
    }

    /// Whether accepting may go on after a pause.
    pub(super) fn can_resume_accepting(&self, now: Nanos) -> bool {
        match self.accept_paused {
            None => false,
            Some(AcceptPause::Connections) => !self.is_full(),
            Some(AcceptPause::ProcessFiles | AcceptPause::SystemFiles) => now >= self.accept_retry,
        }
    }

    /// Lets a connection take its turn at reading.
    pub(super) fn queue_read(&mut self, slot: Slot) {
        if let Some(conn) = self.conns.get_mut(slot)
            && conn.phase == Phase::Open
            && !conn.paused
            && !conn.queued
        {
            conn.queued = true;
            self.readable.push_back(slot);
        }
    }
}
