//! Touches memory before a run needs it. A virtual machine hands out memory that it never touched several times slower than
//! memory that it did, and a run that happens to be the first would measure that.

use std::hint::black_box;
use std::time::{Duration, Instant};

use throng_tune::reserve_bytes;

use crate::exit::Failure;
use crate::prepare;

/// What is touched between two looks at the memory that is left.
const CHUNK_BYTES: usize = 256 << 20;
/// One byte of each page is enough. Huge pages are several of these.
const PAGE_BYTES: usize = 4096;

/// What was touched.
pub(super) struct Touched {
    pub(super) bytes: u64,
    pub(super) took: Duration,
}

/// Takes `wanted` bytes, writes to each page, and gives all of it back; fewer when the machine's reserve begins before that.
pub(super) fn touch(wanted: u64) -> Result<Touched, Failure> {
    let begun = Instant::now();
    let mut held = Vec::new();
    let mut bytes = 0;
    while bytes < wanted {
        let machine = prepare::machine()?;
        let room = machine.memory_available_bytes.saturating_sub(reserve_bytes(machine.memory_total_bytes));
        let next = (wanted - bytes).min(room).min(CHUNK_BYTES as u64);
        let mut chunk = Vec::<u8>::new();
        // Where address space is limited there is less to touch.
        if next == 0 || chunk.try_reserve_exact(next as usize).is_err() {
            break;
        }
        for page in chunk.spare_capacity_mut().chunks_mut(PAGE_BYTES) {
            page[0].write(1);
        }
        held.push(black_box(chunk));
        bytes += next;
    }
    drop(held);
    Ok(Touched { bytes, took: begun.elapsed() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_is_touched_as_was_wanted() {
        assert_eq!(touch(5_000_001).unwrap().bytes, 5_000_001);
    }

    #[test]
    fn nothing_is_asked_of_a_machine_for_nothing() {
        assert_eq!(touch(0).unwrap().bytes, 0);
    }
}
