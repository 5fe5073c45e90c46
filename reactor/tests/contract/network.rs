//! A network of a test's own: a namespace with loopback alone, in which the clients of a listener that leaves its group
//! go to another one.

use std::io;

/// Runs `test` in a thread that has such a network; without the privilege it is skipped, which is a failure in CI.
pub(crate) fn in_own_network(test: fn()) {
    let thread = std::thread::spawn(move || match own_network() {
        Ok(()) => test(),
        Err(why) => skip(&format!("no network of its own: {why}")),
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Says that a test is skipped.
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "CI must not skip this: {why}");
    eprintln!("SKIPPED: {why}");
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Moves the calling thread.
fn own_network() -> io::Result<()> {
    // SAFETY: this changes the calling thread's network alone; no memory is touched.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
    // SAFETY: an ifreq is plain data, for which zeros are valid.
    let mut loopback: libc::ifreq = unsafe { std::mem::zeroed() };
    loopback.ifr_name[0] = b'l' as libc::c_char;
    loopback.ifr_name[1] = b'o' as libc::c_char;
    loopback.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    // SAFETY: `loopback` is a valid ifreq that outlives the call, and `fd` an open socket.
    check(unsafe { libc::ioctl(fd, libc::SIOCSIFFLAGS as libc::Ioctl, &raw const loopback) })?;
    // The calling thread's namespace decides which file this is.
    std::fs::write("/proc/sys/net/ipv4/tcp_migrate_req", "1")
}
