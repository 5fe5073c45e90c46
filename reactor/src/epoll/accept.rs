//! Accepting: everybody in the backlogs, as long as there is room.
//!
//! ```text
//!             no descriptor, or connections_max
//!   going ─────────────────────────────────────> paused
//!     ^      AcceptPaused                           │  one of our connections closed, or ACCEPT_RETRY is over
//!     └─────────────────────────────────────────────┘  and accept(2) finds room again: AcceptResumed
//! ```
//!
//! A listener's edge comes once, so `ready` remembers it until accept(2) says that nobody is left. Whoever is not
//! accepted stays in the backlog.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::Epoll;
use crate::limits::{ACCEPT_RETRY, ACCEPTS_PER_TURN};
use crate::sys::{clock, socket};
use crate::{AcceptPause, Event, Nanos, Slot};

#[derive(Default)]
pub(super) struct Acceptor {
    listeners: Vec<Listener>,
    pause: Option<Pause>,
    /// A connection of ours was closed since accepting paused.
    freed: bool,
    /// Accepted, but not yet registered: epoll had no room for it.
    unregistered: Option<OwnedFd>,
}

struct Listener {
    socket: OwnedFd,
    ready: bool,
}

struct Pause {
    /// When to try again; `None` when only a closed connection of our own can help.
    retry: Option<Nanos>,
}

/// What one attempt brought.
enum Attempt {
    Accepted(Slot),
    /// The client left before it was accepted.
    Gone,
    /// Nobody waits.
    Nobody,
    NoRoom(AcceptPause),
}

impl Acceptor {
    /// The number of the next listener.
    pub(super) fn next_number(&self) -> usize {
        self.listeners.len()
    }

    pub(super) fn add(&mut self, socket: OwnedFd) {
        self.listeners.push(Listener { socket, ready: false });
    }

    /// Somebody waits at this listener. (It may have been closed since the wait began.)
    pub(super) fn set_ready(&mut self, number: usize) {
        if let Some(listener) = self.listeners.get_mut(number) {
            listener.ready = true;
        }
    }

    /// Notes that a descriptor became free.
    pub(super) fn note_freed(&mut self) {
        self.freed = true;
    }

    /// Whether there is something to do right now.
    pub(super) fn has_work(&self) -> bool {
        let waiting = self.unregistered.is_some() || self.listeners.iter().any(|listener| listener.ready);
        waiting && (self.pause.is_none() || self.freed)
    }

    /// When a paused acceptor wants to try again.
    pub(super) fn retry(&self) -> Option<Nanos> {
        self.pause.as_ref().and_then(|pause| pause.retry)
    }

    /// Closes every listener, and whoever was not announced yet with them. Shutting them down first ends them in
    /// other tables of descriptors too.
    pub(super) fn stop(&mut self) {
        for listener in self.listeners.drain(..) {
            socket::shutdown(listener.socket.as_fd());
        }
        *self = Acceptor::default();
    }
}

impl Epoll {
    /// Accepts while the batch is shorter than `limit`.
    ///
    /// # Errors
    /// A listener that is broken.
    pub(super) fn accept(&mut self, events: &mut Vec<Event>, limit: usize) -> io::Result<()> {
        if let Some(pause) = &self.acceptor.pause
            && !std::mem::take(&mut self.acceptor.freed)
            && pause.retry.is_none_or(|at| clock::now() < at)
        {
            return Ok(());
        }
        for number in 0..self.acceptor.listeners.len() {
            for _ in 0..ACCEPTS_PER_TURN {
                // One attempt gives two events at most: AcceptResumed and Accepted.
                let waiting = self.acceptor.unregistered.is_some() || self.acceptor.listeners[number].ready;
                if !waiting || events.len() + 2 > limit {
                    break;
                }
                let attempt = self.accept_one(number)?;
                if let Attempt::NoRoom(why) = attempt {
                    self.pause_accepting(why, events);
                    return Ok(());
                }
                if self.acceptor.pause.take().is_some() {
                    events.push(Event::AcceptResumed);
                }
                if let Attempt::Accepted(slot) = attempt {
                    events.push(Event::Accepted { slot });
                }
            }
        }
        Ok(())
    }

    fn accept_one(&mut self, number: usize) -> io::Result<Attempt> {
        if self.is_full() {
            return Ok(Attempt::NoRoom(AcceptPause::Connections));
        }
        let listener = &mut self.acceptor.listeners[number];
        let accepted = match self.acceptor.unregistered.take() {
            Some(socket) => Ok(socket),
            None => {
                self.gauges.syscalls += 1;
                socket::accept(listener.socket.as_fd())
            }
        };
        let error = match accepted {
            Ok(socket) => {
                return Ok(match self.adopt(socket, 0) {
                    Ok(slot) => Attempt::Accepted(slot),
                    Err((socket, _)) => {
                        self.acceptor.unregistered = Some(socket);
                        Attempt::NoRoom(AcceptPause::SystemFiles)
                    }
                });
            }
            Err(error) => error,
        };
        match error.raw_os_error().unwrap_or(0) {
            libc::EAGAIN => {
                listener.ready = false;
                Ok(Attempt::Nobody)
            }
            libc::EMFILE => Ok(Attempt::NoRoom(AcceptPause::ProcessFiles)),
            libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => Ok(Attempt::NoRoom(AcceptPause::SystemFiles)),
            libc::EBADF | libc::EFAULT | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP => {
                listener.ready = false;
                let why = format!("a listener is broken, nobody else may close or shut it down: {error}");
                Err(io::Error::new(error.kind(), why))
            }
            // accept(2) hands on the errors of a connection that is already over.
            _ => Ok(Attempt::Gone),
        }
    }

    fn pause_accepting(&mut self, why: AcceptPause, events: &mut Vec<Event>) {
        if self.acceptor.pause.is_none() {
            self.gauges.accept_pauses += 1;
            events.push(Event::AcceptPaused { why });
        }
        self.acceptor.freed = false;
        let retry = (why != AcceptPause::Connections).then(|| clock::now() + ACCEPT_RETRY);
        self.acceptor.pause = Some(Pause { retry });
    }
}
