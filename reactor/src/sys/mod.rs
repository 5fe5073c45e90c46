//! Thin, safe functions over system calls that the standard library does not have.

pub mod affinity;
pub mod clock;
pub mod files;
pub mod inherit;
pub mod namespace;
pub(crate) mod network_control;
pub mod socket;
pub(crate) mod timer;
pub mod usage;

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Turns the usual "minus one and errno" into a result.
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A non-blocking eventfd that closes on exec.
pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: eventfd takes two integers and touches no memory of ours.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: the kernel just made `fd` for us, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// An eventfd whose reads wait, which io_uring needs to wait for them, and that closes on exec.
pub(crate) fn eventfd_to_read() -> io::Result<OwnedFd> {
    // SAFETY: eventfd takes two integers and touches no memory of ours.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })?;
    // SAFETY: the kernel just made `fd` for us, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Adds one to an eventfd. A full counter (EAGAIN) is as good as signalled.
pub(crate) fn eventfd_signal(eventfd: &OwnedFd) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: the pointer and length are those of `one`, which outlives the call.
    let written = unsafe { libc::write(eventfd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    debug_assert!(
        written == 8 || io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock,
        "an eventfd that this thread's table does not hold"
    );
}
