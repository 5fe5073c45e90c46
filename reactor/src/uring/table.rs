//! Tables of direct descriptors: one ring each, made as connections come.
//!
//! A ring's table holds as many descriptors as the process may open files, whatever else is open, and none of them is in
//! the thread's own table. So one thread holds any number of connections, where the limit on open files is low, too. Ring 0
//! is the one that the thread waits at; each further one signals the thread's eventfd, which ring 0 watches.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::ring::Ring;
use crate::sys::files;

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
    /// It stands in the list of tables to look at.
    listed: bool,
}

/// All tables of a reactor; there is always the first.
pub(super) struct Tables {
    tables: Vec<Table>,
    /// Tables before this one are full.
    first_free: usize,
    table_max: u16,
    eventfd: RawFd,
    /// Tables other than the first with something to submit or to take, each once.
    busy: Vec<u16>,
    /// One of them, or another thread, has written the eventfd since [`Tables::take_signal`].
    signalled: bool,
}

impl Table {
    fn new(size_max: u16, eventfd: Option<RawFd>) -> io::Result<Table> {
        let ring = Ring::new()?;
        let limit = u16::try_from(files::limit()?.soft).unwrap_or(u16::MAX);
        let size = size_max.min(limit).max(1);
        ring.submitter().register_files_sparse(u32::from(size))?;
        if let Some(eventfd) = eventfd {
            ring.submitter().register_eventfd(eventfd)?;
        }
        Ok(Table { ring, size, unused: 0, freed: Vec::new(), listed: false })
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
    /// The first table. Further ones will signal `eventfd` when the kernel has something for them.
    ///
    /// # Errors
    /// The kernel's refusal of a ring or a table.
    pub(super) fn new(table_max: u16, eventfd: RawFd) -> io::Result<Tables> {
        let first = Table::new(table_max, None)?;
        Ok(Tables {
            tables: vec![first],
            first_free: 0,
            table_max,
            eventfd,
            busy: Vec::new(),
            signalled: false,
        })
    }

    /// A free place; makes another table when all are full.
    ///
    /// # Errors
    /// The kernel's refusal of a ring: no descriptor, no memory that may be locked.
    pub(super) fn take(&mut self) -> io::Result<Place> {
        while let Some(table) = self.tables.get_mut(self.first_free) {
            if let Some(file) = table.take() {
                return Ok(Place { table: self.first_free as u16, file });
            }
            self.first_free += 1;
        }
        if self.tables.len() >= usize::from(u16::MAX) {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        self.tables.push(Table::new(self.table_max, Some(self.eventfd))?);
        self.take()
    }

    /// Returns a place whose descriptor is closed.
    pub(super) fn free(&mut self, place: Place) {
        self.tables[usize::from(place.table)].freed.push(place.file);
        self.first_free = self.first_free.min(usize::from(place.table));
    }

    /// A ring, to give it a request.
    pub(super) fn ring(&mut self, table: u16) -> &mut Ring {
        self.note(table);
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

    /// Sees to it that a table is looked at.
    pub(super) fn note(&mut self, table: u16) {
        let noted = &mut self.tables[usize::from(table)].listed;
        if table != 0 && !*noted {
            *noted = true;
            self.busy.push(table);
        }
    }

    /// Notes that the eventfd was written.
    pub(super) fn signal(&mut self) {
        self.signalled = self.tables.len() > 1;
    }

    /// Whether it was, since this was last asked.
    pub(super) fn take_signal(&mut self) -> bool {
        std::mem::take(&mut self.signalled)
    }

    /// Notes every table for which the kernel has something: one of them has signalled.
    pub(super) fn note_signalled(&mut self) {
        for number in 1..self.tables.len() {
            if self.tables[number].ring.is_signalled() {
                self.note(number as u16);
            }
        }
    }

    /// Submits to all rings but the first. True: one of them has completions to take, or more work to do.
    ///
    /// # Errors
    /// What a ring cannot go on after.
    pub(super) fn submit_others(&mut self) -> io::Result<bool> {
        let mut any = false;
        for &number in &self.busy {
            let ring = &mut self.tables[usize::from(number)].ring;
            ring.enter(0, None)?;
            any |= ring.is_signalled();
        }
        Ok(any)
    }

    /// The tables to look at, the first among them; whoever is not done puts one back with [`Tables::ring`].
    pub(super) fn take_busy(&mut self, to: &mut Vec<u16>) {
        to.push(0);
        for number in self.busy.drain(..) {
            self.tables[usize::from(number)].listed = false;
            to.push(number);
        }
    }

    /// System calls and overflows, all rings together.
    pub(super) fn counts(&self) -> (u64, u64) {
        let rings = self.tables.iter().map(|table| &table.ring);
        rings.fold((0, 0), |(calls, overflows), ring| (calls + ring.syscalls, overflows + ring.overflows))
    }

    /// All rings.
    pub(super) fn rings(&mut self) -> impl Iterator<Item = &mut Ring> {
        self.tables.iter_mut().map(|table| &mut table.ring)
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.tables.len()
    }
}
