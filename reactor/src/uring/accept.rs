//! Accepting: everybody in the backlogs, as long as there is room.
//!
//! ```text
//!             no descriptor, or connections_max
//!   going ─────────────────────────────────────> paused
//!     ^      AcceptPaused                           │  one of our connections closed, or ACCEPT_RETRY is over
//!     └─────────────────────────────────────────────┘  and an accept does not fail again: AcceptResumed
//! ```
//!
//! A multishot accept brings whoever is there, more than were wanted when the room ends in the middle of it: they are
//! held, in order, and come first when there is room. It is cancelled when the reactor is full, so that the others
//! stay in the backlog.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use slab::Slab;

use super::Uring;
use super::conn::{CONNS_MAX, Conn};
use super::request::Request;
use super::ring::Completion;
use crate::limits::{ACCEPT_RETRY, ACCEPTS_PER_TURN};
use crate::sys::{clock, socket};
use crate::{AcceptPause, Event, Nanos, Slot};

#[derive(Default)]
pub(super) struct Acceptor {
    /// Those that are stopped stay until their accept has completed.
    listeners: Slab<Listener>,
    /// Accepted, but not yet announced. Bounded by the backlogs and the limit on open files.
    held: VecDeque<OwnedFd>,
    pause: Option<Pause>,
    /// A connection of ours was closed since accepting paused.
    freed: bool,
    /// What broke a listener, for the turn to report.
    broken: Option<io::Error>,
}

struct Listener {
    socket: OwnedFd,
    /// Its accept is in flight.
    armed: bool,
    stopped: bool,
}

struct Pause {
    /// When to try again; `None` when only a closed connection of our own can help.
    retry: Option<Nanos>,
    /// An accept was tried again, and has not failed yet.
    trying: bool,
}

impl Acceptor {
    /// Notes that a descriptor became free.
    pub(super) fn note_freed(&mut self) {
        self.freed = true;
    }

    /// How many wait to be announced.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// When a paused acceptor wants to try again.
    pub(super) fn retry(&self) -> Option<Nanos> {
        self.pause.as_ref().and_then(|pause| pause.retry)
    }
}

impl Uring {
    pub(super) fn is_full(&self) -> bool {
        self.gauges.connections as usize >= self.connections_max || self.conns.len() >= CONNS_MAX
    }

    /// Whether there is somebody to announce right now.
    pub(super) fn can_admit(&self) -> bool {
        !self.acceptor.held.is_empty() && !self.is_full()
    }

    /// Makes a socket a connection.
    pub(super) fn adopt(&mut self, socket: OwnedFd) -> Slot {
        self.gauges.connections += 1;
        self.conns.insert(Conn::new(socket))
    }

    pub(super) fn add_listener(&mut self, socket: OwnedFd) {
        let number = self.acceptor.listeners.insert(Listener { socket, armed: false, stopped: false });
        if self.acceptor.pause.is_none() {
            self.arm_accept(number);
        }
    }

    fn arm_accept(&mut self, number: usize) {
        let Some(listener) = self.acceptor.listeners.get_mut(number) else { return };
        if !listener.armed && !listener.stopped {
            listener.armed = true;
            self.ring.accept(listener.socket.as_fd(), Request::accept(number));
        }
    }

    fn arm_accepts(&mut self) {
        // Keys of a slab lie below its capacity; a shard has one listener, or a few.
        for number in 0..self.acceptor.listeners.capacity() {
            self.arm_accept(number);
        }
    }

    fn cancel_accepts(&mut self) {
        for (number, listener) in &self.acceptor.listeners {
            if listener.armed {
                self.ring.cancel(Request::accept(number));
            }
        }
    }

    /// Ends every listener, and whoever was not announced yet with them. Shutting them down first ends them at once,
    /// while the accept in flight still holds them, and in other tables of descriptors too.
    pub(super) fn stop_accepting(&mut self) {
        for (_, listener) in &mut self.acceptor.listeners {
            if !listener.stopped {
                socket::shutdown(listener.socket.as_fd());
                listener.stopped = true;
            }
        }
        self.cancel_accepts();
        self.acceptor.listeners.retain(|_, listener| listener.armed);
        self.acceptor.held.clear();
        self.acceptor.pause = None;
    }

    pub(super) fn on_accept(&mut self, completion: Completion, events: &mut Vec<Event>) {
        let number = completion.request.listener();
        if let Some(socket) = accepted(completion)
            && self.acceptor.listeners.get(number).is_some_and(|listener| !listener.stopped)
        {
            self.acceptor.held.push_back(socket);
        }
        if completion.more() {
            return;
        }
        let Some(listener) = self.acceptor.listeners.get_mut(number) else { return };
        listener.armed = false;
        if listener.stopped {
            self.acceptor.listeners.remove(number);
            return;
        }
        match -completion.result {
            libc::EMFILE => self.pause_accepting(AcceptPause::ProcessFiles, events),
            libc::EBADF | libc::EFAULT | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP => {
                self.acceptor.listeners.remove(number);
                let error = io::Error::from_raw_os_error(-completion.result);
                let why = format!("a listener is broken, nobody else may close or shut it down: {error}");
                self.acceptor.broken = Some(io::Error::new(error.kind(), why));
            }
            // Cancelled, or the completion queue overflowed, or the client left: armed again when there is room.
            ..=0 | libc::ECANCELED | libc::ECONNABORTED | libc::EPROTO | libc::EINTR | libc::EAGAIN => {}
            // ENFILE, ENOBUFS, ENOMEM, and whatever else would fail again at once.
            _ => self.pause_accepting(AcceptPause::SystemFiles, events),
        }
    }

    fn pause_accepting(&mut self, why: AcceptPause, events: &mut Vec<Event>) {
        if self.acceptor.pause.is_none() {
            self.gauges.accept_pauses += 1;
            events.push(Event::AcceptPaused { why });
            self.acceptor.freed = false;
        }
        let retry = (why != AcceptPause::Connections).then(|| clock::now() + ACCEPT_RETRY);
        self.acceptor.pause = Some(Pause { retry, trying: false });
    }

    fn resume_accepting(&mut self, events: &mut Vec<Event>) {
        if self.acceptor.pause.take().is_some() {
            events.push(Event::AcceptResumed);
        }
    }

    /// Announces whoever is held, and pauses or resumes as there is room, while the batch is shorter than `limit`.
    /// After every wait.
    ///
    /// # Errors
    /// A listener that is broken.
    pub(super) fn accept(&mut self, events: &mut Vec<Event>, limit: usize) -> io::Result<()> {
        if let Some(error) = self.acceptor.broken.take() {
            return Err(error);
        }
        for _ in 0..ACCEPTS_PER_TURN {
            // AcceptResumed and Accepted here, AcceptPaused below.
            if self.is_full() || events.len() + 3 > limit {
                break;
            }
            let Some(socket) = self.acceptor.held.pop_front() else { break };
            self.resume_accepting(events);
            let slot = self.adopt(socket);
            events.push(Event::Accepted { slot });
            self.arm_poll(slot);
        }
        let listens = self.acceptor.listeners.iter().any(|(_, listener)| !listener.stopped);
        if !listens || events.len() + 1 > limit {
            return Ok(());
        }
        let full = self.is_full();
        match &mut self.acceptor.pause {
            None if full => {
                self.pause_accepting(AcceptPause::Connections, events);
                self.cancel_accepts();
            }
            None => self.arm_accepts(),
            Some(_) if full => {}
            Some(Pause { retry: None, .. }) => {
                self.resume_accepting(events);
                self.arm_accepts();
            }
            // The accepts went to the kernel, and none has failed.
            Some(Pause { trying: true, .. }) => self.resume_accepting(events),
            Some(pause @ Pause { retry: Some(_), .. }) => {
                if self.acceptor.freed || pause.retry.is_some_and(|at| clock::now() >= at) {
                    self.acceptor.freed = false;
                    pause.trying = true;
                    self.arm_accepts();
                }
            }
        }
        Ok(())
    }
}

/// The socket that an accept has brought.
pub(super) fn accepted(completion: Completion) -> Option<OwnedFd> {
    // SAFETY: a result of an accept that is not negative is a descriptor that the kernel made for us; a completion is
    // looked at once.
    (completion.result >= 0).then(|| unsafe { OwnedFd::from_raw_fd(completion.result) })
}
