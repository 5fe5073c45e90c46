//! Receive buffers: one pool per reactor, leased to whoever reads, given back by dropping the lease.
//!
//! Idle connections hold none. The pool belongs to one thread; a [`Lease`] cannot leave it.

use std::cell::RefCell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::{NonNull, slice_from_raw_parts_mut};
use std::rc::Rc;

/// The memory of a pool and the buffers that came back.
pub struct Pool {
    /// `count` buffers of `size` bytes each, one after the other. A buffer is written only by whoever took it: the
    /// kernel (through a ring) or [`Pool::with_buffer`]; it is read only through its one [`Lease`].
    memory: NonNull<u8>,
    size: usize,
    count: usize,
    returned: RefCell<Vec<u16>>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} x {} B)", self.count, self.size)
    }
}

impl Pool {
    /// A pool whose buffers are all free. Memory is zero pages until it is used.
    pub fn new(count: u16, size: u32) -> Rc<Pool> {
        let size = size as usize;
        let memory = Box::into_raw(vec![0u8; usize::from(count) * size].into_boxed_slice());
        Rc::new(Pool {
            memory: NonNull::new(memory.cast()).expect("a box is not null"),
            size,
            count: usize::from(count),
            returned: RefCell::new((0..count).rev().collect()),
        })
    }

    /// Bytes of one buffer.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Whether a buffer is free.
    pub fn has_free(&self) -> bool {
        !self.returned.borrow().is_empty()
    }

    /// Whether every buffer is free.
    pub(crate) fn is_whole(&self) -> bool {
        self.returned.borrow().len() == self.count
    }

    /// A free buffer, to write into; `None` while all are in use.
    pub fn buffer(self: &Rc<Self>) -> Option<Buffer> {
        self.take().map(|index| Buffer { pool: Rc::clone(self), index })
    }

    /// Takes a free buffer's number: its holder gives it back by [`Pool::give_back`] or makes it a [`Lease`].
    pub(crate) fn take(&self) -> Option<u16> {
        self.returned.borrow_mut().pop()
    }

    /// Returns a taken buffer.
    pub(crate) fn give_back(&self, index: u16) {
        self.returned.borrow_mut().push(index);
    }

    /// Where a buffer begins, for a kernel that writes into it.
    pub(crate) fn address(&self, index: u16) -> *mut u8 {
        assert!(usize::from(index) < self.count, "buffer {index} of {}", self.count);
        // SAFETY: the offset stays inside the allocation of `count * size` bytes by the assertion above.
        unsafe { self.memory.as_ptr().add(usize::from(index) * self.size) }
    }

    /// Lets `fill` write into a taken buffer.
    pub(crate) fn with_buffer<T>(&self, index: u16, fill: impl FnOnce(&mut [u8]) -> T) -> T {
        let address = self.address(index);
        // SAFETY: the buffer was taken (`take`) and not made a lease, so nobody else reads or writes its bytes while
        // `fill` runs; the range lies inside the allocation, and the bytes are initialised.
        fill(unsafe { std::slice::from_raw_parts_mut(address, self.size) })
    }

    /// Makes the first `len` bytes of a taken buffer readable.
    pub(crate) fn lease(self: &Rc<Self>, index: u16, len: usize) -> Lease {
        assert!(len <= self.size, "{len} bytes in a buffer of {}", self.size);
        Lease { pool: Rc::clone(self), len: len as u32, start: 0, index }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let memory = slice_from_raw_parts_mut(self.memory.as_ptr(), self.count * self.size);
        // SAFETY: the pointer and length are those of the box that `new` took apart; every lease holds an `Rc` of
        // the pool, so none is left, and a ring's owner drops the ring before its pool.
        drop(unsafe { Box::from_raw(memory) });
    }
}

/// A buffer that somebody fills. Dropping it gives it back.
pub struct Buffer {
    pool: Rc<Pool>,
    index: u16,
}

impl Buffer {
    /// Makes a part of it readable, and the rest unreachable until that is dropped.
    ///
    /// # Panics
    /// When the part is not within the buffer's first 64 KiB.
    pub fn lease(self, part: Range<usize>) -> Lease {
        assert!(part.start <= part.end && part.end <= self.pool.size, "{part:?} of {} bytes", self.pool.size);
        let start = u16::try_from(part.start).expect("a part begins in the first 64 KiB");
        let Buffer { ref pool, index } = *ManuallyDrop::new(self); // the lease gives it back
        // SAFETY: what is in a ManuallyDrop is never dropped, so this is the only one that owns the pool from here on.
        let pool = unsafe { std::ptr::read(pool) };
        Lease { pool, len: part.len() as u32, start, index }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let address = self.pool.address(self.index);
        // SAFETY: this is the buffer's one holder, so nobody writes it while it is borrowed; every byte is initialised.
        unsafe { std::slice::from_raw_parts(address, self.pool.size) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        let address = self.pool.address(self.index);
        // SAFETY: this is the buffer's one holder, borrowed for writing; every byte is initialised.
        unsafe { std::slice::from_raw_parts_mut(address, self.pool.size) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.give_back(self.index);
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer(#{})", self.index)
    }
}

/// Bytes that arrived, in a buffer of the reactor's. Dropping it gives the buffer back.
pub struct Lease {
    pool: Rc<Pool>,
    len: u32,
    start: u16,
    index: u16,
}
const _: () = assert!(size_of::<Lease>() == 16, "events hold them");

impl Deref for Lease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let address = self.pool.address(self.index);
        // SAFETY: a leased buffer is written by nobody until the lease is dropped; start and length were checked against its
        // size when it was leased, and every byte of the pool is initialised.
        unsafe { std::slice::from_raw_parts(address.add(usize::from(self.start)), self.len as usize) }
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut [u8] {
        let address = self.pool.address(self.index);
        // SAFETY: as in `deref`; and this is the buffer's only lease, borrowed for writing.
        unsafe { std::slice::from_raw_parts_mut(address.add(usize::from(self.start)), self.len as usize) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.give_back(self.index);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease(#{}, {} B)", self.index, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_lease_is_free_again() {
        let pool = Pool::new(1, 8);
        let index = pool.take().expect("one is free");
        assert!(pool.take().is_none() && !pool.has_free());
        pool.with_buffer(index, |bytes| bytes[..3].copy_from_slice(b"abc"));
        let mut lease = pool.lease(index, 3);
        assert_eq!(&*lease, b"abc");
        lease.make_ascii_uppercase();
        assert_eq!(&*lease, b"ABC", "its holder may write what it reads");
        drop(lease);
        assert_eq!(pool.take(), Some(index));
    }

    #[test]
    fn a_part_of_a_buffer_is_leased_and_the_whole_comes_back() {
        let pool = Pool::new(1, 8);
        let mut buffer = pool.buffer().expect("one is free");
        buffer.copy_from_slice(b"abcdefgh");
        assert!(pool.buffer().is_none());
        let lease = buffer.lease(2..5);
        assert_eq!(&*lease, b"cde");
        drop(lease);
        assert!(pool.is_whole());
        drop(pool.buffer().expect("it came back"));
        assert!(pool.is_whole() && Rc::strong_count(&pool) == 1);
    }

    #[test]
    fn buffers_do_not_overlap() {
        let pool = Pool::new(4, 16);
        let leases: Vec<Lease> = (0..4u8)
            .map(|i| {
                let index = pool.take().expect("four are free");
                pool.with_buffer(index, |bytes| bytes.fill(i));
                pool.lease(index, 16)
            })
            .collect();
        for (i, lease) in leases.iter().enumerate() {
            assert_eq!(&**lease, &[i as u8; 16]);
        }
    }
}
