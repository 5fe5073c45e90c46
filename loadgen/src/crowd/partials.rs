//! Beginnings of frames.

use crate::limits::SPARE_BUFFER_BYTES_MAX;

/// Beginnings of frames, for those few users whose bytes were cut within one.
#[derive(Default)]
pub(super) struct Partials {
    held: Vec<Vec<u8>>,
    free: Vec<u32>,
}

impl Partials {
    pub(super) fn put(&mut self, bytes: &[u8]) -> u32 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.held.push(Vec::new());
            (self.held.len() - 1) as u32
        });
        self.held[place as usize].extend_from_slice(bytes);
        place
    }

    /// Bytes that it has allocated.
    #[cfg(test)]
    pub(super) fn allocated_bytes(&self) -> usize {
        self.held.capacity() * size_of::<Vec<u8>>()
            + self.held.iter().map(Vec::capacity).sum::<usize>()
            + self.free.capacity() * size_of::<u32>()
    }

    pub(super) fn take(&mut self, place: u32) -> Vec<u8> {
        std::mem::take(&mut self.held[place as usize])
    }

    pub(super) fn put_back(&mut self, place: u32, bytes: Vec<u8>) {
        self.held[place as usize] = bytes;
    }

    pub(super) fn free(&mut self, place: u32) {
        let held = &mut self.held[place as usize];
        held.clear();
        if held.capacity() > SPARE_BUFFER_BYTES_MAX {
            *held = Vec::new();
        }
        self.free.push(place);
    }
}
