//! Tables of direct descriptors: one ring each, made as connections come.
//!
//! A ring's table holds as many descriptors as the process may open files, whatever else is open, and none of them is in
//! the thread's own table. So one thread holds any number of connections, where the limit on open files is low, too. Ring 0
//! is the one that the thread waits at. Each further one is awake or asleep:
//!
//! ```text
//!           a request is given to it, or: ring 0 has read its eventfd
//!   asleep ──────────────────────────────────────────────────────────> awake: looked at in every turn
//!     ^                                                                  │     its eventfd stays silent
//!     └──────────────────────────────────────────────────────────────────┘
//!           neither it nor the kernel has anything to do: its eventfd speaks, and ring 0 reads it
//! ```
//!
//! Reading is what resets an eventfd, and it cannot be done by a multishot poll: where a ring signals an eventfd, the kernel ends
//! every multishot poll of it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;

use super::request::Request;
use super::ring::{Counts, Ring};
use crate::Nanos;
use crate::limits::ACCEPT_RETRY;
use crate::sys::{self, clock, files};

/// A place in a table: where a connection's socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) table: u16,
    pub(super) file: u16,
}

/// A ring and its table.
pub(super) struct Table {
    pub(super) ring: Ring,
    size: u16,
    /// Places from here on were never used.
    unused: u16,
    /// Places that were used and are free again.
    freed: Vec<u16>,
    /// What the ring signals while it is asleep; ring 0 needs none.
    eventfd: Option<OwnedFd>,
    /// It stands in the list of those that are awake.
    awake: bool,
    /// Ring 0 reads its eventfd.
    watched: bool,
}

/// All tables of a reactor; there is always the first.
pub(super) struct Tables {
    tables: Vec<Table>,
    /// Tables before this one are full.
    first_free: usize,
    table_max: u16,
    /// Tables other than the first that are awake, each once.
    awake: Vec<u16>,
    /// What the kernel said to the last further ring that was wanted, and until when nobody asks it again.
    refused: Option<(i32, Nanos)>,
    counts: Rc<Counts>,
}

impl Table {
    fn new(size_max: u16, eventfd: Option<OwnedFd>, counts: &Rc<Counts>) -> io::Result<Table> {
        let ring = Ring::new(counts)?;
        let limit = u16::try_from(files::limit()?.soft).unwrap_or(u16::MAX);
        let size = size_max.min(limit).max(1);
        ring.submitter().register_files_sparse(u32::from(size))?;
        if let Some(eventfd) = &eventfd {
            ring.submitter().register_eventfd(eventfd.as_raw_fd())?;
        }
        Ok(Table { ring, size, unused: 0, freed: Vec::new(), eventfd, awake: false, watched: false })
    }

    fn take(&mut self) -> Option<u16> {
        self.freed.pop().or_else(|| {
            let file = self.unused;
            (file < self.size).then(|| {
                self.unused += 1;
                file
            })
        })
    }
}

impl Tables {
    /// The first table.
    ///
    /// # Errors
    /// The kernel's refusal of a ring or a table.
    pub(super) fn new(table_max: u16) -> io::Result<Tables> {
        let counts = Rc::default();
        let first = Table::new(table_max, None, &counts)?;
        Ok(Tables { tables: vec![first], first_free: 0, table_max, awake: Vec::new(), refused: None, counts })
    }

    /// A free place; makes another table when all are full.
    ///
    /// # Errors
    /// The kernel's refusal of a ring: no descriptor, no memory that may be locked. It is asked again after
    /// [`ACCEPT_RETRY`].
    pub(super) fn take(&mut self) -> io::Result<Place> {
        while let Some(table) = self.tables.get_mut(self.first_free) {
            if let Some(file) = table.take() {
                return Ok(Place { table: self.first_free as u16, file });
            }
            self.first_free += 1;
        }
        self.add().inspect_err(|error| {
            if self.refused.is_none() {
                let errno = error.raw_os_error().unwrap_or(libc::ENOMEM);
                self.refused = Some((errno, clock::now() + ACCEPT_RETRY));
            }
        })?;
        self.take()
    }

    fn add(&mut self) -> io::Result<()> {
        if let Some((errno, until)) = self.refused {
            if clock::now() < until {
                return Err(io::Error::from_raw_os_error(errno));
            }
            self.refused = None;
        }
        if self.tables.len() >= usize::from(u16::MAX) {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        let mut table = Table::new(self.table_max, Some(sys::eventfd_to_read()?), &self.counts)?;
        table.ring.set_signals(false);
        table.awake = true;
        self.awake.push(self.tables.len() as u16);
        self.tables.push(table);
        Ok(())
    }

    /// Returns a place whose descriptor is closed.
    pub(super) fn free(&mut self, place: Place) {
        self.tables[usize::from(place.table)].freed.push(place.file);
        self.first_free = self.first_free.min(usize::from(place.table));
    }

    /// A ring, to give it a request.
    pub(super) fn ring(&mut self, table: u16) -> &mut Ring {
        self.wake(table);
        &mut self.tables[usize::from(table)].ring
    }

    /// Puts a socket into a free place; the thread's own descriptor may then be closed.
    ///
    /// # Errors
    /// The kernel's: no memory.
    pub(super) fn put(&mut self, place: Place, socket: &OwnedFd) -> io::Result<()> {
        let ring = &self.tables[usize::from(place.table)].ring;
        ring.submitter().register_files_update(u32::from(place.file), &[socket.as_raw_fd()]).map(drop)
    }

    /// A ring, to take completions from it.
    pub(super) fn peek(&mut self, table: u16) -> &mut Ring {
        &mut self.tables[usize::from(table)].ring
    }

    /// The ring that the thread waits at.
    pub(super) fn first(&mut self) -> &mut Ring {
        &mut self.tables[0].ring
    }

    /// Ring 0 has read a table's eventfd, or can read it no more.
    pub(super) fn on_signal(&mut self, table: u16) {
        self.tables[usize::from(table)].watched = false;
        self.wake(table);
    }

    /// Sees to it that a table is looked at.
    pub(super) fn wake(&mut self, number: u16) {
        let table = &mut self.tables[usize::from(number)];
        if number != 0 && !table.awake {
            table.awake = true;
            table.ring.set_signals(false);
            self.awake.push(number);
        }
    }

    /// Tables other than the first that are awake: the one at `place` of them.
    pub(super) fn awake(&self, place: usize) -> Option<u16> {
        self.awake.get(place).copied()
    }

    /// Submits to all rings but the first, and has the kernel do what is due there. True: one of them has completions to take, or
    /// more work to do.
    ///
    /// # Errors
    /// What a ring cannot go on after.
    pub(super) fn submit_awake(&mut self) -> io::Result<bool> {
        let mut any = false;
        for &number in &self.awake {
            let ring = &mut self.tables[usize::from(number)].ring;
            ring.enter(0, None)?;
            any |= ring.is_signalled();
        }
        Ok(any)
    }

    /// Lets those that are awake fall asleep, before the thread waits. False: one of them has something to do.
    pub(super) fn sleep(&mut self) -> bool {
        let mut place = 0;
        while place < self.awake.len() {
            place += usize::from(!self.try_sleep(place));
        }
        self.awake.is_empty()
    }

    /// Lets the table at `place` of those that are awake fall asleep: it is none of them then, and another stands in its place. False:
    /// it has requests for the kernel, or the kernel has something for it.
    pub(super) fn try_sleep(&mut self, place: usize) -> bool {
        let (first, others) = self.tables.split_first_mut().expect("there is always the first");
        let number = self.awake[place];
        let table = &mut others[usize::from(number) - 1];
        if table.ring.has_requests() {
            return false;
        }
        // What came before was silent; what comes from here on signals.
        table.ring.set_signals(true);
        if table.ring.is_signalled() {
            table.ring.set_signals(false);
            return false;
        }
        table.awake = false;
        self.awake.swap_remove(place);
        if !table.watched
            && let Some(eventfd) = &table.eventfd
        {
            table.watched = true;
            first.ring.read_eventfd(eventfd.as_fd(), Request::signal(number));
        }
        true
    }

    /// Ends the reading of eventfds.
    pub(super) fn cancel_signals(&mut self) {
        let (first, others) = self.tables.split_first_mut().expect("there is always the first");
        for (number, _) in (1..).zip(others).filter(|(_, table)| table.watched) {
            first.ring.cancel(Request::signal(number));
        }
    }

    /// System calls and overflows, all rings together.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.counts.syscalls.get(), self.counts.overflows.get())
    }

    /// All rings.
    pub(super) fn rings(&mut self) -> impl Iterator<Item = &mut Ring> {
        self.tables.iter_mut().map(|table| &mut table.ring)
    }

    /// Until when the kernel is not asked for another ring.
    #[cfg(test)]
    pub(super) fn refused_until(&self) -> Nanos {
        self.refused.map_or(Nanos(0), |(_, until)| until)
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.tables.len()
    }
}
