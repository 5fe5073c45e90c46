//! The pool's buffers as the kernel takes them: a ring that we fill at its tail, and the kernel empties at its head.
//!
//! A receive takes the buffer at the head when it finds bytes. Since every receive is promised a buffer before it is
//! submitted ([`BufferRing::promise`]), none ever comes back with ENOBUFS, and connections without a promise wait in
//! an order of ours.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::ring::Ring;
use crate::Lease;
use crate::pool::Pool;

/// Most entries of a ring: the kernel's own limit.
const ENTRIES_MAX: u16 = 1 << 15;

/// The ring must begin on a page.
const PAGE_BYTES: usize = 4096;

/// Buffer group 0 of a [`Ring`].
pub(super) struct BufferRing {
    /// `count` entries. The kernel reads those before the tail; the tail itself lies in entry 0.
    entries: NonNull<BufRingEntry>,
    count: u16,
    /// Counts all buffers ever provided, modulo 2^16, as the kernel wants it.
    tail: u16,
    /// Buffers in the ring that no receive was promised.
    unpromised: usize,
    pool: Rc<Pool>,
    returned: Vec<u16>,
}

impl BufferRing {
    /// Gives all of `pool` to the kernel.
    ///
    /// # Errors
    /// A count of buffers that the kernel does not take; what the kernel says about registering.
    ///
    /// # Safety
    /// The ring must be dropped before the buffer ring is, with no receive in flight; else both are to be leaked
    /// ([`BufferRing::leak`]).
    pub(super) unsafe fn new(ring: &Ring, pool: Rc<Pool>, count: u16) -> io::Result<BufferRing> {
        if !count.is_power_of_two() || count > ENTRIES_MAX {
            let why =
                format!("{count} receive buffers: io_uring needs a power of two, {ENTRIES_MAX} at most");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let layout = layout(count);
        // SAFETY: the layout is not empty, since a power of two is at least 1.
        let memory = unsafe { alloc_zeroed(layout) };
        let entries = NonNull::new(memory.cast()).unwrap_or_else(|| handle_alloc_error(layout));
        let returned = Vec::with_capacity(usize::from(count));
        let mut buffers = BufferRing { entries, count, tail: 0, unpromised: 0, pool, returned };
        // SAFETY: the memory holds `count` entries and, by the caller's promise, outlives the ring.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(entries.as_ptr() as u64, count, 0, 0)?;
        }
        buffers.refill();
        Ok(buffers)
    }

    /// Hands on to the kernel what was returned to the pool, in one advance of the tail.
    pub(super) fn refill(&mut self) {
        self.pool.take_all(&mut self.returned);
        if self.returned.is_empty() {
            return;
        }
        for &index in &self.returned {
            let place = usize::from(self.tail & (self.count - 1));
            // SAFETY: the place is below `count` by the mask. The kernel does not look at an entry from the tail on,
            // and at most `count` buffers exist, so this one is free; the reference ends before anything else is made
            // from the pointer.
            let entry = unsafe { &mut *self.entries.as_ptr().add(place) };
            entry.set_addr(self.pool.address(index) as u64);
            entry.set_len(self.pool.size() as u32);
            entry.set_bid(index);
            self.tail = self.tail.wrapping_add(1);
        }
        self.unpromised += self.returned.len();
        self.returned.clear();
        // SAFETY: the pointer leads to the first entry of a registered ring; there is the tail, aligned, and only this
        // thread writes it.
        let tail = unsafe { &*BufRingEntry::tail(self.entries.as_ptr()).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }

    /// Sets a buffer aside for one receive; false when there is none.
    pub(super) fn promise(&mut self) -> bool {
        let promised = self.unpromised > 0;
        self.unpromised -= usize::from(promised);
        promised
    }

    /// Takes up how a promised receive ended: the lease of the bytes that it put into the buffer, if it used one.
    pub(super) fn redeem(&mut self, buffer: Option<u16>, len: usize) -> Option<Lease> {
        match buffer {
            None => {
                self.unpromised += 1;
                None
            }
            // Without bytes the lease only brings the buffer back.
            Some(index) => Some(self.pool.lease(index, len)).filter(|lease| !lease.is_empty()),
        }
    }

    /// Gives up the memory for good, pool and all: the kernel may still use it.
    pub(super) fn leak(self) {
        std::mem::forget(self);
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        // SAFETY: this is the allocation of `new`. Its ring was dropped before, as `new` demands.
        unsafe { dealloc(self.entries.as_ptr().cast(), layout(self.count)) };
    }
}

fn layout(count: u16) -> Layout {
    Layout::from_size_align(usize::from(count) * size_of::<BufRingEntry>(), PAGE_BYTES)
        .expect("half a megabyte at most")
}
