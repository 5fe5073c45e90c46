//! The ring: requests in, completions out, and every request accounted for.
//!
//! A request that was pushed is never lost: when the submission queue is full it is submitted at once, and when the
//! kernel takes nothing for the moment, it waits here in order. [`Ring::quiesce`] ends all that is in flight, so that
//! memory the kernel writes to or reads from can be freed.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{CancelBuilder, DestinationSlot, Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{CompletionQueue, EnterFlags, IoUring, SubmissionQueue, Submitter, cqueue, opcode};

use super::request::Request;
use crate::Nanos;

/// Entries of the submission queue: 16 KiB. A batch that needs more costs one more system call per 256 requests.
const SUBMISSIONS: u32 = 256;

/// Entries of the completion queue: 64 KiB. The kernel's table of pollers gets one bucket for every 32, so one has 128 polls of a
/// full table of descriptors and cancelling stays cheap; twice as many would cost a connection 5 bytes more. An overflow would
/// end every multishot request that it hits, but the kernel does a poll's work only while it is asked for completions.
const COMPLETIONS: u32 = 4096;
const _: () =
    assert!(COMPLETIONS as usize >= 4 * crate::limits::BATCH_EVENTS, "a batch must not overflow it");

/// Waits of [`Ring::quiesce`] that bring nothing before it gives up.
const QUIESCE_WAITS: usize = 100;
/// Completions that one of these waits asks for: the kernel ends no more than that in one pass.
const QUIESCE_BATCH: usize = 512;
/// The longest of these waits.
const QUIESCE_WAIT: std::time::Duration = std::time::Duration::from_millis(10);

/// What the kernel says about a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    /// As given with the request.
    pub(super) request: Request,
    /// Not negative: what the system call of that name returns; negative: an errno.
    pub(super) result: i32,
    flags: u32,
}

impl Completion {
    /// Whether the request goes on: a multishot one, which will complete again.
    pub(super) fn more(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// Whether the socket holds more to receive: bytes, or the end.
    pub(super) fn sock_nonempty(&self) -> bool {
        cqueue::sock_nonempty(self.flags)
    }
}

/// Where the counters of eventfds are read to. Nobody looks at it: that it was read is all that matters.
static EVENTFD_COUNTER: AtomicU64 = AtomicU64::new(0);

/// What the rings of one reactor did, together.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) syscalls: Cell<u64>,
    /// Completions that overflowed their queue.
    pub(super) overflows: Cell<u64>,
}

/// An io_uring of one thread.
pub(super) struct Ring {
    // The three parts point into the allocation behind `ring`. They are kept, not made per call: the submitter knows
    // the registered descriptor of the ring, and the queues know what is not yet published.
    submitter: ManuallyDrop<Submitter<'static>>,
    submissions: ManuallyDrop<SubmissionQueue<'static>>,
    completions: ManuallyDrop<CompletionQueue<'static>>,
    ring: NonNull<IoUring>,
    /// Requests for which the submission queue had no room, in order. Bounded by what connections may have in flight.
    waiting: VecDeque<Entry>,
    /// Requests that will complete at least once more.
    in_flight: usize,
    wait_flags: EnterFlags,
    counts: Rc<Counts>,
}

impl Ring {
    /// A ring for the calling thread, and for no other.
    pub(super) fn new(counts: &Rc<Counts>) -> io::Result<Ring> {
        let ring = match build(true) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => build(false)?,
            other => other?,
        };
        let wait_flags = match ring.params().is_feature_no_iowait() {
            true => EnterFlags::NO_IOWAIT, // an idle reactor is idle, not waiting for a disk
            false => EnterFlags::empty(),
        };
        let ring = NonNull::from(Box::leak(Box::new(ring)));
        // SAFETY: the allocation stays where it is until `drop`, which first ends the three parts; until then nobody
        // else refers to it.
        let (mut submitter, submissions, completions) = unsafe { &mut *ring.as_ptr() }.split();
        // Saves a lookup per system call; the kernel has room for 16 per thread, and the descriptor serves as well.
        let _ = submitter.register_ring_fd();
        Ok(Ring {
            submitter: ManuallyDrop::new(submitter),
            submissions: ManuallyDrop::new(submissions),
            completions: ManuallyDrop::new(completions),
            ring,
            waiting: VecDeque::new(),
            in_flight: 0,
            wait_flags,
            counts: Rc::clone(counts),
        })
    }

    /// For registering.
    pub(super) fn submitter(&self) -> &Submitter<'static> {
        &self.submitter
    }

    /// Watches a descriptor of the thread's own table until it is cancelled.
    pub(super) fn watch(&mut self, fd: BorrowedFd<'_>, mask: u32, request: Request) {
        let entry = opcode::PollAdd::new(Fd(fd.as_raw_fd()), mask).multi(true).build();
        // SAFETY: the entry names no memory.
        unsafe { self.push(entry, request) };
    }

    /// Watches a socket, once or until it is cancelled.
    pub(super) fn poll(&mut self, file: u16, mask: u32, multi: bool, request: Request) {
        let entry = opcode::PollAdd::new(fixed(file), mask).multi(multi).build();
        // SAFETY: the entry names no memory.
        unsafe { self.push(entry, request) };
    }

    /// Reads an eventfd, which resets it, once it is not zero. It must be one whose reads wait.
    pub(super) fn read_eventfd(&mut self, eventfd: BorrowedFd<'_>, request: Request) {
        let (to, len) = (EVENTFD_COUNTER.as_ptr().cast(), size_of::<AtomicU64>() as u32);
        let entry = opcode::Read::new(Fd(eventfd.as_raw_fd()), to, len).build();
        // SAFETY: the entry names a static of that size, which nobody reads.
        unsafe { self.push(entry, request) };
    }

    /// Whether the kernel writes the ring's eventfd when it has something for the ring. Switched on, it does so for everything that
    /// a following [`Ring::is_signalled`] does not see.
    pub(super) fn set_signals(&mut self, on: bool) {
        if on {
            self.completions.enable_eventfd();
            // The kernel says that it has something, and then looks whether to signal; so this must be seen before we look.
            fence(Ordering::SeqCst);
        } else {
            self.completions.disable_eventfd();
        }
    }

    /// Receives what is there, at once: EAGAIN if there is nothing.
    ///
    /// # Safety
    /// The `len` bytes at `to` must be the kernel's alone until the request has completed.
    pub(super) unsafe fn recv(&mut self, file: u16, to: *mut u8, len: u32, request: Request) {
        let entry = opcode::Recv::new(fixed(file), to, len).flags(libc::MSG_DONTWAIT).build();
        // SAFETY: the caller's promise.
        unsafe { self.push(entry, request) };
    }

    /// Accepts one connection into a free place.
    pub(super) fn accept(&mut self, listener: BorrowedFd<'_>, file: u16, request: Request) {
        let (null, none) = (std::ptr::null_mut(), std::ptr::null_mut());
        let place = DestinationSlot::try_from_slot_target(u32::from(file)).expect("it has 16 bits");
        let entry = opcode::Accept::new(Fd(listener.as_raw_fd()), null, none)
            .file_index(Some(place))
            .flags(libc::SOCK_NONBLOCK)
            .build();
        // SAFETY: null for address and length means that the caller does not want them.
        unsafe { self.push(entry, request) };
    }

    /// Sends all of `bytes`, waiting in the kernel for room.
    ///
    /// # Safety
    /// `bytes` must stay where they are, unchanged, until the request has completed.
    pub(super) unsafe fn send(&mut self, file: u16, bytes: &[u8], request: Request) {
        // The rest of a buffer beyond 4 GiB follows as after any short send.
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        let entry = opcode::Send::new(fixed(file), bytes.as_ptr(), len).flags(flags).build();
        // SAFETY: the caller's promise.
        unsafe { self.push(entry, request) };
    }

    /// Asks for a socket's error, which becomes the result: sending nothing does that and nothing else.
    pub(super) fn check(&mut self, file: u16, request: Request) {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let entry = opcode::Send::new(fixed(file), std::ptr::null(), 0).flags(flags).build();
        // SAFETY: the entry names no bytes.
        unsafe { self.push(entry, request) };
    }

    /// Sends FIN. A thread of the kernel's does it: shutdown has no way that cannot wait.
    pub(super) fn shutdown(&mut self, file: u16, request: Request) {
        let entry = opcode::Shutdown::new(fixed(file), libc::SHUT_WR).build();
        // SAFETY: the entry names no memory.
        unsafe { self.push(entry, request) };
    }

    /// Closes a socket of this ring's table, with RST if so wished.
    pub(super) fn close(&mut self, file: u16, reset: bool, request: Request) {
        if reset {
            static AT_ONCE: libc::linger = libc::linger { l_onoff: 1, l_linger: 0 };
            let (level, name) = (libc::SOL_SOCKET as u32, libc::SO_LINGER as u32);
            let (value, len) = ((&raw const AT_ONCE).cast(), size_of::<libc::linger>() as u32);
            let entry = opcode::SetSockOpt::new(fixed(file), level, name, value, len)
                .build()
                .flags(Flags::IO_HARDLINK | Flags::SKIP_SUCCESS);
            // SAFETY: the value is a static.
            unsafe { self.push(entry, Request::ASIDE) };
        }
        let entry = opcode::Close::new(fixed(file)).build();
        // SAFETY: the entry names no memory.
        unsafe { self.push(entry, request) };
    }

    /// Ends a request, if it is still in flight; its last completion tells how it ended. Found by its name, which
    /// costs less than by its descriptor (0.8 against 17 us).
    pub(super) fn cancel(&mut self, request: Request) {
        let entry = opcode::AsyncCancel::new(request.word()).build().flags(Flags::SKIP_SUCCESS);
        // SAFETY: the entry names no memory.
        unsafe { self.push(entry, Request::ASIDE) };
    }

    /// # Safety
    /// Memory that `entry` names must stay valid, and what it names for writing untouched, until `request` completes.
    unsafe fn push(&mut self, entry: Entry, request: Request) {
        self.in_flight += usize::from(request != Request::ASIDE);
        let entry = entry.user_data(request.word());
        // SAFETY: as the caller promised; an entry that waits is pushed later, unchanged.
        if self.waiting.is_empty() && unsafe { self.submissions.push(&entry) }.is_ok() {
            return;
        }
        self.waiting.push_back(entry);
        // What goes wrong here goes wrong again in the next `enter`, which reports it.
        let _ = self.enter(0, None);
    }

    /// Moves waiting requests to the submission queue as far as there is room, and publishes them.
    fn publish(&mut self) {
        while let Some(entry) = self.waiting.front() {
            // SAFETY: `push` got the promise for the entry's memory; it holds until the completion.
            if unsafe { self.submissions.push(entry) }.is_err() {
                break;
            }
            self.waiting.pop_front();
        }
        self.submissions.sync();
    }

    /// Submits, and waits for `want` completions or until an instant. With `want` 0 it only does what is due.
    ///
    /// # Errors
    /// What the ring cannot go on after. Waits that end early for other reasons are not errors.
    pub(super) fn enter(&mut self, want: usize, until: Option<Nanos>) -> io::Result<()> {
        self.publish();
        self.completions.sync(); // what was taken makes room for what overflowed
        let overflown = self.submissions.cq_overflow();
        self.counts.overflows.set(self.counts.overflows.get() + u64::from(overflown));
        if want == 0 && self.submissions.is_empty() && !overflown && !self.submissions.taskrun() {
            return Ok(());
        }
        self.counts.syscalls.set(self.counts.syscalls.get() + 1);
        let result = match until {
            _ if want == 0 => self.submitter.submit(),
            None => self.submitter.submit_with_args_and_flags(want, &SubmitArgs::new(), self.wait_flags),
            Some(until) => {
                let time =
                    Timespec::new().sec(until.0 / 1_000_000_000).nsec((until.0 % 1_000_000_000) as u32);
                let args = SubmitArgs::new().timespec(&time);
                let flags = self.wait_flags | EnterFlags::ABS_TIMER; // the ring's clock is CLOCK_MONOTONIC
                self.submitter.submit_with_args_and_flags(want, &args, flags)
            }
        };
        self.publish();
        match result.map_err(|error| (error.raw_os_error(), error)) {
            Ok(_) => Ok(()),
            // The deadline, a signal, or the kernel wants completions taken or memory freed first.
            Err((Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY), _)) => Ok(()),
            Err((_, error)) => Err(error),
        }
    }

    /// Whether there are requests that the kernel has not taken yet.
    pub(super) fn has_requests(&mut self) -> bool {
        !self.waiting.is_empty() || !self.submissions.is_empty()
    }

    /// Whether the kernel has something for this ring: completions, or work that becomes some in the next `enter`.
    pub(super) fn is_signalled(&mut self) -> bool {
        self.submissions.taskrun() || self.submissions.cq_overflow() || self.has_completions()
    }

    /// Whether there are completions to take.
    pub(super) fn has_completions(&mut self) -> bool {
        self.completions.sync();
        !self.completions.is_empty()
    }

    /// Takes one completion of those that `has_completions` saw.
    pub(super) fn next(&mut self) -> Option<Completion> {
        let entry = self.completions.next()?;
        let request = Request::from_word(entry.user_data());
        let completion = Completion { request, result: entry.result(), flags: entry.flags() };
        self.in_flight -= usize::from(request != Request::ASIDE && !completion.more());
        Some(completion)
    }

    /// Waits for the last completion of each request, after the caller has cancelled by name what it knows of; the rest is
    /// cancelled here. False: something is still in flight, and the memory that it names must never
    /// be freed.
    ///
    /// Cancelling everything at once is kept for few: the kernel begins its search anew for each that it finds, and passes
    /// all those that it has found (two seconds for 19,000 polls).
    pub(super) fn quiesce(&mut self) -> bool {
        let (mut idle, mut before) = (0, usize::MAX);
        loop {
            while self.has_completions() {
                while self.next().is_some() {}
            }
            if self.in_flight == 0 {
                return true;
            }
            idle = if self.in_flight < before { 0 } else { idle + 1 };
            before = self.in_flight;
            if idle >= QUIESCE_WAITS {
                return false;
            }
            if idle > 0 {
                let entry = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
                // SAFETY: the entry names no memory.
                unsafe { self.push(entry, Request::ASIDE) };
            }
            let until = crate::sys::clock::now() + QUIESCE_WAIT;
            if self.enter(self.in_flight.min(QUIESCE_BATCH), Some(until)).is_err() {
                return false;
            }
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // Else the thread would keep the ring alive.
        let _ = self.submitter.unregister_ring_fd();
        // SAFETY: each part is ended once, here, before the allocation that it points into; `ring` came from a box.
        unsafe {
            ManuallyDrop::drop(&mut self.submitter);
            ManuallyDrop::drop(&mut self.submissions);
            ManuallyDrop::drop(&mut self.completions);
            drop(Box::from_raw(self.ring.as_ptr()));
        }
    }
}

fn fixed(file: u16) -> Fixed {
    Fixed(u32::from(file))
}

/// `deferred`: the kernel does its part of the work only when this thread asks for completions, in one go.
fn build(deferred: bool) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder
        .setup_single_issuer()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_no_sqarray()
        .setup_clamp()
        .setup_cqsize(COMPLETIONS);
    if deferred {
        builder.setup_defer_taskrun();
    } else {
        builder.setup_coop_taskrun();
    }
    builder.build(SUBMISSIONS)
}
