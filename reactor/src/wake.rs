//! Ending another thread's wait, once per wait, and never too late.
//!
//! ```text
//!            sleep()                    wake(): first one writes the eventfd
//!   AWAKE ───────────────> ASLEEP ─────────────────────> NOTIFIED
//!     ^ \                    │ awaken(): timed out           │
//!     │  \  wake()           v                               │ awaken(): Wake
//!     │   `──────────────> NOTIFIED ──> sleep() refuses      │
//!     └──────────────────────────────────────────────────────┘
//! ```
//!
//! A sender first puts its message where the sleeper will look, then calls `wake`. All transitions are read-modify-
//! write operations on one atomic, so either the sender sees ASLEEP and writes the eventfd, or the sleeper sees
//! NOTIFIED and does not sleep.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

#[cfg(loom)]
use loom::sync::atomic::AtomicU8;
#[cfg(not(loom))]
use std::sync::atomic::AtomicU8;

const AWAKE: u8 = 0;
const ASLEEP: u8 = 1;
const NOTIFIED: u8 = 2;

/// Ends the wait of one reactor, from any thread whose table of descriptors holds its eventfd.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Shared>);

#[derive(Debug)]
#[repr(align(128))] // every turn writes it: no two wakers on one cache line
struct Shared {
    state: AtomicU8,
    /// `None` in the simulator, which looks at `state` alone.
    eventfd: Option<OwnedFd>,
}

impl Waker {
    /// A waker over an eventfd. Make all of them before any thread takes a private file table: a descriptor made
    /// afterwards is unknown in the tables of the others.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn new() -> io::Result<Waker> {
        Ok(Waker::with(Some(crate::sys::eventfd()?)))
    }

    /// A waker without a descriptor.
    pub(crate) fn simulated() -> Waker {
        Waker::with(None)
    }

    fn with(eventfd: Option<OwnedFd>) -> Waker {
        Waker(Arc::new(Shared { state: AtomicU8::new(AWAKE), eventfd }))
    }

    /// The descriptor, to be kept in private file tables.
    pub fn descriptor(&self) -> Option<RawFd> {
        self.0.eventfd.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Ends the reactor's wait, the present or the next one.
    pub fn wake(&self) {
        if self.notify()
            && let Some(eventfd) = &self.0.eventfd
        {
            crate::sys::eventfd_signal(eventfd);
        }
    }

    /// The sender's transition. True: the reactor sleeps, and it is this caller who has to end that.
    fn notify(&self) -> bool {
        self.0.state.swap(NOTIFIED, Ordering::SeqCst) == ASLEEP
    }

    /// Called by the reactor before it waits. False: somebody woke it meanwhile, so do not wait.
    pub fn sleep(&self) -> bool {
        self.0.state.compare_exchange(AWAKE, ASLEEP, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Called by the reactor after it waited (or did not). True: somebody woke it.
    pub fn awaken(&self) -> bool {
        self.0.state.swap(AWAKE, Ordering::SeqCst) == NOTIFIED
    }

    /// Whether a wake is pending: the simulator's substitute for the eventfd.
    pub(crate) fn is_notified(&self) -> bool {
        self.0.state.load(Ordering::SeqCst) == NOTIFIED
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_wake_before_the_sleep_refuses_it() {
        let waker = Waker::simulated();
        waker.wake();
        assert!(!waker.sleep());
        assert!(waker.awaken());
        assert!(waker.sleep());
        assert!(!waker.awaken(), "many wakes count once");
    }

    #[test]
    fn a_wake_during_the_sleep_is_seen() {
        let waker = Waker::simulated();
        assert!(waker.sleep());
        waker.wake();
        waker.wake();
        assert!(waker.awaken());
    }
}

/// The interleavings of a sleeper and its senders. Run with
/// `RUSTFLAGS="--cfg loom" cargo test -p throng-reactor --lib interleavings`.
#[cfg(all(test, loom))]
mod interleavings {
    use loom::sync::Notify;
    use loom::sync::atomic::AtomicU32;
    use loom::thread;

    use super::*;

    /// Two senders leave a message each; the sleeper waits until it has both. A lost wake is a deadlock, which loom
    /// reports. With `times_out`, the first wait ends by itself.
    fn nobody_sleeps_through_a_message(times_out: bool) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3); // with three threads, without it loom is at work for hours
        model.check(move || {
            let waker = Waker::simulated();
            // As an eventfd, it stays signalled until a wait sees it.
            let eventfd = loom::sync::Arc::new(Notify::new());
            // Relaxed throughout: what makes a message visible is the waker's transition.
            let messages = loom::sync::Arc::new(AtomicU32::new(0));
            let senders = [1, 2].map(|message| {
                let (waker, eventfd, messages) = (waker.clone(), eventfd.clone(), messages.clone());
                thread::spawn(move || {
                    messages.fetch_add(message, Ordering::Relaxed);
                    if waker.notify() {
                        eventfd.notify();
                    }
                })
            });
            let mut times_out = times_out;
            while messages.load(Ordering::Relaxed) != 3 {
                if waker.sleep() && !std::mem::take(&mut times_out) {
                    eventfd.wait();
                }
                waker.awaken();
            }
            for sender in senders {
                sender.join().expect("a sender does not panic");
            }
        });
    }

    #[test]
    fn a_wake_is_never_lost() {
        nobody_sleeps_through_a_message(false);
    }

    #[test]
    fn a_wake_that_meets_a_timeout_is_never_lost() {
        nobody_sleeps_through_a_message(true);
    }
}
