//! Touches memory before a run needs it. A virtual machine hands out memory that it never touched several times slower than
//! memory that it did, and a run that happens to be the first would measure that.

use std::hint::black_box;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use throng_tune::reserve_bytes;

use crate::exit::Failure;
use crate::prepare;

/// What is touched between two looks at the memory that is left.
const CHUNK_BYTES: usize = 256 << 20;
/// One byte of each page is enough. Huge pages are several of these.
const PAGE_BYTES: usize = 4096;
/// How often progress is told.
const TELL: Duration = Duration::from_secs(5);

/// What was touched.
pub(super) struct Touched {
    pub(super) bytes: u64,
    pub(super) took: Duration,
}

/// What the threads share out.
struct Shares {
    /// Bytes that somebody touches, or has.
    taken: u64,
    /// Of those: not all of it is there yet.
    touching: u64,
    told: Instant,
    held: Vec<Vec<u8>>,
}

/// Takes `wanted` bytes, writes to each page, and gives all of it back; fewer when the machine's reserve begins before that. One
/// thread per core, since each waits for the host. `tell` hears now and then how far it is.
pub(super) fn touch(wanted: u64, tell: impl Fn(u64) + Sync) -> Result<Touched, Failure> {
    let begun = Instant::now();
    let shares = Mutex::new(Shares { taken: 0, touching: 0, told: begun, held: Vec::new() });
    let threads = prepare::allowed_cores()?.len();
    std::thread::scope(|scope| {
        let touching: Vec<_> =
            (0..threads).map(|_| scope.spawn(|| touch_share(wanted, &shares, &tell))).collect();
        touching.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(Failure::broke("a thread that touches memory panicked")))
        })
    })?;
    let shares = shares.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Touched { bytes: shares.taken, took: begun.elapsed() })
}

/// Touches chunk after chunk until all are taken.
fn touch_share(wanted: u64, shares: &Mutex<Shares>, tell: &impl Fn(u64)) -> Result<(), Failure> {
    let mut done = None;
    loop {
        let mut chunk = Vec::<u8>::new();
        {
            let mut shares = shares.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(chunk) = done.take() {
                shares.touching -= Vec::capacity(&chunk) as u64;
                shares.held.push(chunk);
            }
            if shares.told.elapsed() >= TELL {
                shares.told = Instant::now();
                tell(shares.taken);
            }
            let machine = prepare::machine()?;
            let reserve = reserve_bytes(machine.memory_total_bytes) + shares.touching;
            let room = machine.memory_available_bytes.saturating_sub(reserve);
            let next = (wanted - shares.taken).min(room).min(CHUNK_BYTES as u64);
            // Where address space is limited there is less to touch.
            if next == 0 || chunk.try_reserve_exact(next as usize).is_err() {
                return Ok(());
            }
            shares.taken += next;
            shares.touching += chunk.capacity() as u64;
        }
        for page in chunk.spare_capacity_mut().chunks_mut(PAGE_BYTES) {
            page[0].write(1);
        }
        done = Some(black_box(chunk));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_is_touched_as_was_wanted() {
        assert_eq!(touch(5_000_001, |_| {}).unwrap().bytes, 5_000_001);
    }

    #[test]
    fn nothing_is_asked_of_a_machine_for_nothing() {
        assert_eq!(touch(0, |_| {}).unwrap().bytes, 0);
    }
}
