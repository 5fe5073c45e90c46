//! Handing a listener to a child process: a socket stays in the network namespace that it was made in, so that a child in
//! another one can still be reached from there.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::check;

/// Lets the programs that this process starts from here on have the listener, under the number that is returned. It closes
/// here when it is dropped, as ever.
///
/// # Errors
/// The kernel's.
pub fn hand_on(listener: &TcpListener) -> io::Result<RawFd> {
    let fd = listener.as_raw_fd();
    // SAFETY: fcntl takes two integers here and touches no memory of ours.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) })?;
    Ok(fd)
}

/// Takes a listener that whoever started this process handed on as `fd`. From here on no other program gets it.
///
/// # Errors
/// EINVAL when `fd` is no TCP listener, was made by this process, or was taken before; EBADF when there is no such descriptor.
pub fn take_listener(fd: RawFd) -> io::Result<TcpListener> {
    // SAFETY: fcntl takes two integers here and touches no memory of ours.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFD) })?;
    // 0 to 2 belong to the standard library.
    if fd <= 2 || flags & libc::FD_CLOEXEC != 0 || !listens(fd)? {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: as above.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: whatever this process opens closes on exec, so a descriptor that did not was inherited, and nobody here owns it.
    // It does from now on, so that it is taken once.
    Ok(TcpListener::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Whether a descriptor is a socket that listens.
fn listens(fd: RawFd) -> io::Result<bool> {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: value and length are ours, outlive the call, and the length is that of the value.
    let result = check(unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ACCEPTCONN, (&raw mut value).cast(), &raw mut length)
    });
    match result {
        Ok(_) => Ok(value != 0),
        Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;

    #[test]
    fn a_listener_that_was_handed_on_is_taken_once() {
        let ours = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = ours.local_addr().unwrap();
        let refused = take_listener(ours.as_raw_fd()).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EINVAL), "made by this process");
        let fd = hand_on(&ours).unwrap();
        // As a child would find it: there, but nobody's.
        std::mem::forget(ours);
        let taken = take_listener(fd).unwrap();
        assert_eq!(taken.local_addr().unwrap(), address);
        assert_eq!(take_listener(fd).unwrap_err().raw_os_error(), Some(libc::EINVAL), "taken before");
        TcpStream::connect(address).unwrap();
    }

    #[test]
    fn what_is_no_listener_is_refused() {
        assert_eq!(take_listener(1 << 20).unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert!(take_listener(0).is_err(), "stdin");
    }
}
