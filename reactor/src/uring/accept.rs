//! Accepting: everybody in the backlogs, as long as there is room.
//!
//! ```text
//!             connections_max, or no ring for another table
//!   going ──────────────────────────────────────────────────> paused
//!     ^      AcceptPaused; full: the listeners leave the group    │  one of our connections closed, or ACCEPT_RETRY is over,
//!     └───────────────────────────────────────────────────────────┘  and accepting does not fail again: AcceptResumed
//! ```
//!
//! Every accept takes one connection into a place that was set aside for it, so there are never more of them in flight than
//! there is room, and nobody is accepted who cannot be held.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use slab::Slab;

use super::conn::{CONNS_MAX, Conn};
use super::request::Request;
use super::ring::Completion;
use super::table::Place;
use super::{ACCEPT_SHARE, Uring};
use crate::limits::{ACCEPT_RETRY, ACCEPTS_PER_TURN};
use crate::sys::{clock, socket};
use crate::{AcceptPause, Event, Nanos, Slot};

#[derive(Default)]
pub(super) struct Acceptor {
    listeners: Vec<Listener>,
    /// Accepts in flight.
    accepts: Slab<Accept>,
    pause: Option<Pause>,
    /// A connection of ours was closed since accepting paused.
    freed: bool,
    /// What broke a listener, for the turn to report.
    broken: Option<io::Error>,
}

struct Listener {
    socket: OwnedFd,
    armed: u32,
}

struct Accept {
    listener: usize,
    place: Place,
    /// The listeners were stopped since it began.
    stopped: bool,
}

struct Pause {
    /// When to try again; `None` when only a closed connection of our own can help.
    retry: Option<Nanos>,
    /// Accepting was tried again, and has not failed yet.
    trying: bool,
    /// The listeners have left their groups.
    left: bool,
}

impl Acceptor {
    /// Notes that there is room again.
    pub(super) fn note_freed(&mut self) {
        self.freed = true;
    }

    /// When a paused acceptor wants to try again.
    pub(super) fn retry(&self) -> Option<Nanos> {
        self.pause.as_ref().and_then(|pause| pause.retry)
    }
}

impl Uring {
    /// How many more connections there may be, besides those for which an accept is in flight.
    fn room(&self) -> usize {
        let taken = self.gauges.connections as usize + self.acceptor.accepts.len();
        let slots = self.conns.len() + self.acceptor.accepts.len();
        self.connections_max.saturating_sub(taken).min(CONNS_MAX.saturating_sub(slots))
    }

    pub(super) fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// Makes a socket a connection.
    pub(super) fn adopt(&mut self, place: Place) -> Slot {
        self.gauges.connections += 1;
        self.conns.insert(Conn::new(place))
    }

    pub(super) fn add_listener(&mut self, socket: OwnedFd) {
        self.acceptor.listeners.push(Listener { socket, armed: 0 });
        self.arm_accepts();
    }

    /// Has as many accepts in flight as are useful and allowed; an error says what is missing for more.
    fn arm_accepts(&mut self) -> Option<io::Error> {
        for number in 0..self.acceptor.listeners.len() {
            while self.acceptor.listeners[number].armed < ACCEPTS_PER_TURN && self.room() > 0 {
                let place = match self.tables.take() {
                    Ok(place) => place,
                    Err(error) => return Some(error),
                };
                let accept = self.acceptor.accepts.insert(Accept { listener: number, place, stopped: false });
                let listener = &mut self.acceptor.listeners[number];
                listener.armed += 1;
                let ring = self.tables.ring(place.table);
                ring.accept(listener.socket.as_fd(), place.file, Request::accept(accept));
            }
        }
        None
    }

    fn cancel_accepts(&mut self) {
        for (number, accept) in &self.acceptor.accepts {
            self.tables.ring(accept.place.table).cancel(Request::accept(number));
        }
    }

    /// Ends every listener, and whoever was not announced yet with them. Shutting them down first ends them at once,
    /// while accepts in flight still hold them, and in other tables of descriptors too.
    pub(super) fn stop_accepting(&mut self) {
        for listener in self.acceptor.listeners.drain(..) {
            socket::shutdown(listener.socket.as_fd());
        }
        for (_, accept) in &mut self.acceptor.accepts {
            accept.stopped = true;
        }
        self.cancel_accepts();
        self.acceptor.pause = None;
    }

    pub(super) fn on_accept(&mut self, completion: Completion, events: &mut Vec<Event>) {
        let Some(accept) = self.acceptor.accepts.try_remove(completion.request.number()) else { return };
        if completion.result < 0 {
            self.tables.free(accept.place);
        }
        if accept.stopped {
            if completion.result >= 0 {
                let request = Request::discard(accept.place);
                self.tables.ring(accept.place.table).close(accept.place.file, false, request);
            }
            return;
        }
        self.acceptor.listeners[accept.listener].armed -= 1;
        match -completion.result {
            ..=0 => {
                self.resume_accepting(events);
                let slot = self.adopt(accept.place);
                events.push(Event::Accepted { slot, listener: accept.listener as u16 });
                self.arm_poll(slot);
            }
            libc::EBADF | libc::EFAULT | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP => {
                let error = io::Error::from_raw_os_error(-completion.result);
                let why = format!("a listener is broken, nobody else may close or shut it down: {error}");
                self.acceptor.broken = Some(io::Error::new(error.kind(), why));
            }
            // Cancelled, or the client left: armed again when there is room.
            libc::ECANCELED | libc::ECONNABORTED | libc::EPROTO | libc::EINTR | libc::EAGAIN => {}
            libc::EMFILE => self.pause_accepting(AcceptPause::ProcessFiles, events),
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
        // Where the whole machine lacks something, leaving would help nobody; and an accept in flight would find its
        // listener broken.
        let left = why != AcceptPause::SystemFiles && self.acceptor.accepts.is_empty();
        if left {
            for listener in &self.acceptor.listeners {
                socket::shutdown(listener.socket.as_fd());
            }
        }
        self.acceptor.pause = Some(Pause { retry, trying: false, left });
    }

    fn resume_accepting(&mut self, events: &mut Vec<Event>) {
        if self.acceptor.pause.take().is_some() {
            events.push(Event::AcceptResumed);
        }
    }

    /// Pauses or resumes as there is room, and sees to it that accepts are in flight, while the batch is shorter than
    /// `limit`. After every wait.
    ///
    /// # Errors
    /// A listener that is broken.
    pub(super) fn accept(&mut self, events: &mut Vec<Event>, limit: usize) -> io::Result<()> {
        if let Some(error) = self.acceptor.broken.take() {
            return Err(error);
        }
        if self.acceptor.listeners.is_empty() || events.len() + ACCEPT_SHARE > limit {
            return Ok(());
        }
        if let Some(pause) = &self.acceptor.pause {
            if pause.trying {
                // The accepts went to the kernel, and none has failed.
                self.resume_accepting(events);
            } else {
                let waits = pause.retry.is_none_or(|at| clock::now() < at);
                if waits && !(self.acceptor.freed && self.room() > 0) {
                    return Ok(());
                }
                self.acceptor.freed = false;
                if !self.return_to_groups()? {
                    return Ok(());
                }
            }
        }
        let missing = self.arm_accepts();
        if self.acceptor.accepts.is_empty() {
            let why = match missing.map(|error| error.raw_os_error()) {
                None => AcceptPause::Connections,
                Some(Some(libc::EMFILE)) => AcceptPause::ProcessFiles,
                Some(_) => AcceptPause::SystemFiles,
            };
            self.pause_accepting(why, events);
        } else if let Some(pause) = &mut self.acceptor.pause {
            pause.trying = true;
            if pause.retry.is_none() {
                self.resume_accepting(events);
            }
        }
        Ok(())
    }

    /// Lets the listeners listen again if they do not; false when the kernel has no memory for that, and it is to be tried
    /// later.
    ///
    /// # Errors
    /// A listener that is broken.
    fn return_to_groups(&mut self) -> io::Result<bool> {
        let Some(pause) = self.acceptor.pause.as_mut().filter(|pause| pause.left) else { return Ok(true) };
        for listener in &self.acceptor.listeners {
            match socket::listen_again(listener.socket.as_fd(), &self.sockets) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
                    pause.retry = Some(clock::now() + ACCEPT_RETRY);
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        pause.left = false;
        Ok(true)
    }
}
