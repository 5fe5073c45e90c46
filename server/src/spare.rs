//! Memory that busy sessions leave: a little is kept for the next ones, the rest is given back.

use std::collections::VecDeque;

use slab::Slab;

use crate::limits::{SPARE_BUFFER_BYTES, SPARE_BUFFERS, TABLE_KEPT};

/// Empty buffers kept for reuse: at most [`SPARE_BUFFERS`], of at most so many bytes together.
#[derive(Debug)]
pub(crate) struct Spares {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
    bytes_max: usize,
}

impl Spares {
    /// None yet.
    pub(crate) fn new(bytes_max: usize) -> Spares {
        Spares { buffers: Vec::new(), bytes: 0, bytes_max }
    }

    /// An empty buffer, with room in it if there is a spare one.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let buffer = self.buffers.pop().unwrap_or_default();
        self.bytes -= buffer.capacity();
        buffer
    }

    /// Keeps a buffer, or frees it.
    pub(crate) fn give_back(&mut self, mut buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        let fits = bytes <= SPARE_BUFFER_BYTES && self.bytes + bytes <= self.bytes_max;
        if bytes > 0 && fits && self.buffers.len() < SPARE_BUFFERS {
            buffer.clear();
            self.bytes += bytes;
            self.buffers.push(buffer);
        }
    }
}

/// Whether a table has far more room than it uses.
fn is_sparse(capacity: usize, len: usize) -> bool {
    capacity > TABLE_KEPT.max(8 * len)
}

/// Gives back what a list had grown to.
pub(crate) fn trim<T>(list: &mut Vec<T>) {
    if is_sparse(list.capacity(), list.len()) {
        list.shrink_to(2 * list.len());
    }
}

/// The same of a queue.
pub(crate) fn trim_queue<T>(queue: &mut VecDeque<T>) {
    if is_sparse(queue.capacity(), queue.len()) {
        queue.shrink_to(2 * queue.len());
    }
}

/// As [`trim`], down to the last entry in use: those after it are short-lived, so later calls go on.
pub(crate) fn trim_slab<T>(slab: &mut Slab<T>) {
    if is_sparse(slab.capacity(), slab.len()) {
        slab.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spares_are_bounded_in_number_size_and_sum() {
        let mut spares = Spares::new(100_000);
        spares.give_back(Vec::with_capacity(SPARE_BUFFER_BYTES + 1));
        spares.give_back(Vec::new());
        assert!(spares.buffers.is_empty());
        for _ in 0..2 * SPARE_BUFFERS {
            spares.give_back(Vec::with_capacity(16));
        }
        assert_eq!(spares.buffers.len(), SPARE_BUFFERS);
        assert!(spares.take().capacity() >= 16);
        let mut spares = Spares::new(100_000);
        for _ in 0..SPARE_BUFFERS {
            spares.give_back(vec![1; SPARE_BUFFER_BYTES]);
        }
        assert_eq!((spares.buffers.len(), spares.bytes), (6, 6 * SPARE_BUFFER_BYTES));
        assert!(spares.take().is_empty());
        assert_eq!(spares.bytes, 5 * SPARE_BUFFER_BYTES);
    }

    #[test]
    fn a_table_that_emptied_gives_its_memory_back_and_one_in_use_keeps_it() {
        let mut slab = Slab::new();
        let keys: Vec<usize> = (0..100_000).map(|value| slab.insert(value)).collect();
        trim_slab(&mut slab);
        for &key in &keys[1..] {
            assert!(slab.capacity() >= 100_000);
            slab.remove(key);
        }
        trim_slab(&mut slab);
        assert!(slab.capacity() <= TABLE_KEPT && slab.contains(keys[0]));
        let mut list: Vec<u64> = (0..100_000).collect();
        trim(&mut list);
        assert!(list.capacity() >= 100_000);
        list.truncate(10);
        trim(&mut list);
        assert!(list.capacity() <= TABLE_KEPT);
    }
}
