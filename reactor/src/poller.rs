//! Waiting: mio's `Poll`, and a timerfd because its timeouts are whole milliseconds.
//!
//! Everything is registered once and edge-triggered, the waker's eventfd and the timerfd too: neither is ever read,
//! since every write and every expiry is an edge of its own.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::sys::{clock, timer};
use crate::{Nanos, Slot, Waker};

/// Readiness taken per wait, at most: each may give a `Connected`, and half of a batch is for other events.
const EVENTS: usize = crate::limits::BATCH_EVENTS / 2;

/// Slots leave the upper byte of a token to us.
const LISTENER: usize = 1 << 56;
const SIGNAL: usize = 2 << 56;
const _: () = assert!(usize::BITS == 64, "a token holds a slot's word");

/// What a readiness event is about.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    Conn(Slot),
    Listener(usize),
    /// The waker, the timer or another signal, whose whole effect is that the wait is over.
    Signal,
}

pub(crate) struct Poller {
    poll: Poll,
    timer: OwnedFd,
    /// What the timer was last set to.
    armed: Nanos,
    events: Events,
}

impl Poller {
    pub(crate) fn new(waker: &Waker) -> io::Result<Poller> {
        let poll = Poll::new()?;
        let timer = timer::new()?;
        let register = |fd| poll.registry().register(&mut SourceFd(&fd), Token(SIGNAL), Interest::READABLE);
        register(timer.as_raw_fd())?;
        if let Some(eventfd) = waker.descriptor() {
            register(eventfd)?;
        }
        Ok(Poller { poll, timer, armed: Nanos(0), events: Events::with_capacity(EVENTS) })
    }

    /// Registers a connection for good; closing its descriptor ends it.
    pub(crate) fn add(&self, socket: BorrowedFd<'_>, slot: Slot) -> io::Result<()> {
        let token = Token(slot.word() as usize);
        let registry = self.poll.registry();
        registry.register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Registers the listener with this number.
    pub(crate) fn add_listener(&self, socket: BorrowedFd<'_>, number: usize) -> io::Result<()> {
        let token = Token(LISTENER | number);
        self.poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)
    }

    /// Registers a descriptor of which nothing but its edges is wanted: that there is something to read ends a wait.
    pub(crate) fn add_signal(&self, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        let registry = self.poll.registry();
        registry.register(&mut SourceFd(&descriptor.as_raw_fd()), Token(SIGNAL), Interest::READABLE)
    }

    /// Waits until something is ready or `until` has come (it may end earlier, with nothing). Returns the number of
    /// system calls; [`Poller::take`] tells what is ready.
    pub(crate) fn wait(&mut self, until: Option<Nanos>) -> io::Result<u64> {
        let mut syscalls = 1;
        let mut timeout = None;
        if let Some(until) = until {
            // A deadline of zero is the way to say "do not wait": it costs no look at the clock.
            let now = if until == Nanos(0) { until } else { clock::now() };
            if until <= now {
                timeout = Some(Duration::ZERO);
            } else if self.armed <= now || self.armed > until {
                timer::set(&self.timer, until)?;
                self.armed = until;
                syscalls += 1;
            }
            // Else the timer is set to an earlier deadline that nobody waits for any more. One wait that ends early
            // is cheaper than setting the timer whenever a deadline moves.
        }
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(syscalls),
        }
    }

    /// What the last wait brought; [`Poller::put_back`] returns the memory.
    pub(crate) fn take(&mut self) -> Events {
        std::mem::replace(&mut self.events, Events::with_capacity(0))
    }

    pub(crate) fn put_back(&mut self, events: Events) {
        self.events = events;
    }
}

/// What `event` is about.
pub(crate) fn source(event: &mio::event::Event) -> Source {
    let token = event.token().0;
    match Slot::from_word(token as u64) {
        Some(slot) => Source::Conn(slot),
        None if token & LISTENER != 0 => Source::Listener(token & !LISTENER),
        None => Source::Signal,
    }
}
