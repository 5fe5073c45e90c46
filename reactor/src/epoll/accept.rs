//! Accepting: everybody in the backlogs, as long as there is room.
//!
//! ```text
//!             no descriptor, or connections_max
//!   going ─────────────────────────────────────> paused     full itself: its listeners leave their groups
//!     ^      AcceptPaused                           │  one of our connections closed, or ACCEPT_RETRY is over,
//!     └─────────────────────────────────────────────┘  and there is room: they return, AcceptResumed
//! ```
//!
//! A listener's edge comes once, so `ready` remembers it until accept(2) says that nobody is left. A listener that left
//! gives an edge for that (EPOLLHUP) and answers accept(2) with EINVAL: `ready` then only costs one look after its return.
//!
//! accept(2) takes a descriptor before it looks for a client. So the table is known to be full when its last
//! descriptor is given out, not when a client finds none; and a listener that left can be asked whether it still is.

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
    /// Accepted at a listener, but not yet registered: epoll had no room for it.
    unregistered: Option<(usize, OwnedFd)>,
}

struct Listener {
    socket: OwnedFd,
    ready: bool,
}

struct Pause {
    why: AcceptPause,
    /// When to try again, unless one of our connections closes before; no matter for [`AcceptPause::Connections`].
    retry: Nanos,
}

/// What one attempt brought.
enum Attempt {
    Accepted {
        slot: Slot,
        listener: usize,
    },
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
        if self.has_left() {
            socket::shutdown(socket.as_fd());
        }
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

    /// Whether the listeners are out of their groups.
    fn has_left(&self) -> bool {
        self.pause.as_ref().is_some_and(|pause| pause.why.leaves_group())
    }

    /// Shut down, a listener is out of its group, stays bound, and goes on telling of its clients when it listens again.
    fn leave_groups(&self) {
        for listener in &self.listeners {
            socket::shutdown(listener.socket.as_fd());
        }
    }

    /// Whether there is something to do right now; `full` says whether `connections_max` is reached.
    pub(super) fn has_work(&self, full: bool) -> bool {
        let waiting = self.unregistered.is_some() || self.listeners.iter().any(|listener| listener.ready);
        match self.pause.as_ref().map(|pause| pause.why) {
            None => waiting || full && !self.listeners.is_empty(),
            Some(AcceptPause::Connections) => !full,
            Some(AcceptPause::ProcessFiles | AcceptPause::SystemFiles) => self.freed,
        }
    }

    /// When a paused acceptor wants to try again.
    pub(super) fn retry(&self) -> Option<Nanos> {
        let pause = self.pause.as_ref().filter(|pause| pause.why != AcceptPause::Connections)?;
        Some(pause.retry)
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
        // Before the clients there are two events at most, and one attempt gives two at most.
        if events.len() + 2 > limit || !self.may_accept() {
            return Ok(());
        }
        if self.acceptor.has_left() {
            if !self.return_to_groups()? {
                self.pause_accepting(AcceptPause::ProcessFiles, events);
                return Ok(());
            }
            self.resume_accepting(events);
        }
        for number in 0..self.acceptor.listeners.len() {
            for _ in 0..ACCEPTS_PER_TURN {
                let waiting = self.acceptor.unregistered.is_some() || self.acceptor.listeners[number].ready;
                if !waiting || self.is_full() || events.len() + 2 > limit {
                    break;
                }
                let attempt = self.accept_one(number)?;
                if let Attempt::NoRoom(why) = attempt {
                    self.pause_accepting(why, events);
                    return Ok(());
                }
                self.resume_accepting(events);
                if let Attempt::Accepted { slot, listener } = attempt {
                    events.push(Event::Accepted { slot, listener: listener as u16 });
                }
            }
        }
        if self.is_full() && !self.acceptor.listeners.is_empty() && events.len() < limit {
            self.pause_accepting(AcceptPause::Connections, events);
        }
        Ok(())
    }

    /// Whether accepting is not paused, or may be tried again.
    fn may_accept(&mut self) -> bool {
        let freed = std::mem::take(&mut self.acceptor.freed);
        match &self.acceptor.pause {
            None => true,
            Some(Pause { why: AcceptPause::Connections, .. }) => !self.is_full(),
            Some(Pause { retry, .. }) => freed || clock::now() >= *retry,
        }
    }

    /// Lets the listeners listen again; false when there is no descriptor for a client, or no memory for a listener.
    ///
    /// # Errors
    /// A listener that is broken.
    fn return_to_groups(&mut self) -> io::Result<bool> {
        let Some(first) = self.acceptor.listeners.first() else { return Ok(true) };
        self.gauges.syscalls += 1;
        // It does not listen, so this asks for a descriptor and for nothing else.
        let answer = socket::accept(first.socket.as_fd()).err().and_then(|error| error.raw_os_error());
        if answer == Some(libc::EMFILE) {
            return Ok(false);
        }
        for listener in &self.acceptor.listeners {
            if let Err(error) = socket::listen_again(listener.socket.as_fd(), &self.sockets) {
                self.acceptor.leave_groups();
                return if error.kind() == io::ErrorKind::OutOfMemory { Ok(false) } else { Err(error) };
            }
        }
        Ok(true)
    }

    fn accept_one(&mut self, number: usize) -> io::Result<Attempt> {
        let listener = &mut self.acceptor.listeners[number];
        let accepted = match self.acceptor.unregistered.take() {
            Some(waited) => Ok(waited),
            None => {
                self.gauges.syscalls += 1;
                socket::accept(listener.socket.as_fd()).map(|socket| (number, socket))
            }
        };
        let error = match accepted {
            Ok((listener, socket)) => {
                return Ok(match self.adopt(socket, 0) {
                    Ok(slot) => Attempt::Accepted { slot, listener },
                    Err((socket, _)) => {
                        self.acceptor.unregistered = Some((listener, socket));
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
        if why.leaves_group() && !self.acceptor.has_left() {
            self.acceptor.leave_groups();
        }
        self.acceptor.pause = Some(Pause { why, retry: clock::now() + ACCEPT_RETRY });
    }

    fn resume_accepting(&mut self, events: &mut Vec<Event>) {
        if self.acceptor.pause.take().is_some() {
            events.push(Event::AcceptResumed);
        }
    }
}
