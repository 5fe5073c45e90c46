//! TCP sockets as the backends want them: non-blocking, closing on exec, without Nagle's delay.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::check;
use crate::contract::SocketOptions;

/// Says which address an error is about.
fn at(what: &str, address: SocketAddr) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{what} {address}: {error}"))
}

fn new(address: SocketAddr) -> io::Result<Socket> {
    Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))
}

/// A listener in the SO_REUSEPORT group of its address.
pub(crate) fn listen(address: SocketAddr, options: &SocketOptions) -> io::Result<(OwnedFd, SocketAddr)> {
    // A port that the kernel chose is lost when the listener is shut down; one that was asked for is kept. So the port
    // is chosen by a socket that goes again, and asked for by the one that stays.
    let (_chooser, address) = reserve(address)?;
    let socket = bound(address)?;
    prepare(socket.as_fd(), options).map_err(at("cannot set up the listener on", address))?;
    if !options.defer_accept.is_zero() {
        defer_accept(socket.as_fd(), options.defer_accept)
            .map_err(at("cannot defer accepting on", address))?;
    }
    begin_to_listen(&SockRef::from(&socket), options.backlog).map_err(at("cannot listen on", address))?;
    Ok((socket.into(), address))
}

/// Listens, for clients who ask and are answered: whoever is accepted acknowledges what it received with the answer, from the
/// first bytes on. Else the kernel acknowledges the first sixteen segments of a connection by a packet each.
fn begin_to_listen(socket: &SockRef<'_>, backlog: u32) -> io::Result<()> {
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    // Whoever is accepted inherits it, and listen() forgets it.
    let _ = socket.set_tcp_quickack(false);
    Ok(())
}

/// A socket that holds an address without listening on it.
fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = new(address)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into()).map_err(at("cannot bind", address))?;
    Ok(socket)
}

/// The kernel keeps a client back until it has sent something, for `limit` at the most: it then answers its own SYN-ACK anew, and
/// whoever acknowledges that is accepted, silent or not.
fn defer_accept(listener: BorrowedFd<'_>, limit: Duration) -> io::Result<()> {
    let seconds = limit.as_secs() + u64::from(limit.subsec_nanos() > 0);
    let seconds = libc::c_int::try_from(seconds).unwrap_or(libc::c_int::MAX);
    // SAFETY: pointer and length are those of `seconds`, which outlives the call.
    check(unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of_val(&seconds) as libc::socklen_t,
        )
    })
    .map(drop)
}

/// Accepts one connection, ready for use: it inherits what [`prepare`] set on its listener.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let (null, none) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: null for address and length means that the caller does not want them.
    let fd = check(unsafe { libc::accept4(listener.as_raw_fd(), null, none, flags) })?;
    // SAFETY: the kernel just made `fd` for us, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets what every connection has, on itself or on the listener that it comes from.
///
/// # Errors
/// The kernel's, with the option in the text: it is not allowed, or this kernel does not have it.
fn prepare(socket: BorrowedFd<'_>, options: &SocketOptions) -> io::Result<()> {
    let socket = SockRef::from(&socket);
    let about = |option: &'static str| {
        move |error: io::Error| io::Error::new(error.kind(), format!("{option}: {error}"))
    };
    socket.set_tcp_nodelay(true).map_err(about("TCP_NODELAY"))?;
    if let Some(bytes) = options.recv_buffer_bytes {
        socket.set_recv_buffer_size(bytes as usize).map_err(about("SO_RCVBUF"))?;
    }
    if let Some(bytes) = options.send_buffer_bytes {
        socket.set_send_buffer_size(bytes as usize).map_err(about("SO_SNDBUF"))?;
    }
    if let Some(bytes) = options.notsent_lowat_bytes {
        socket.set_tcp_notsent_lowat(bytes).map_err(about("TCP_NOTSENT_LOWAT"))?;
    }
    if options.user_timeout.is_some() {
        socket.set_tcp_user_timeout(options.user_timeout).map_err(about("TCP_USER_TIMEOUT"))?;
    }
    if let Some(time) = options.busy_poll {
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        socket.set_busy_poll(micros).map_err(about("SO_BUSY_POLL"))?;
    }
    Ok(())
}

/// Binds a socket to the address that its connection comes from. With a port of 0 the port is chosen at connect(), by the
/// whole 4-tuple: connections to different targets can share it.
///
/// # Errors
/// The kernel's, with the address in the text.
pub fn bind_source(socket: BorrowedFd<'_>, source: SocketAddr) -> io::Result<()> {
    let one: libc::c_int = 1;
    // SAFETY: pointer and length are those of `one`, which outlives the call.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const one).cast(),
            size_of_val(&one) as libc::socklen_t,
        )
    })?;
    SockRef::from(&socket).bind(&source.into()).map_err(at("cannot bind", source))
}

/// Starts a connection: writability, then the socket's error, tell the outcome.
pub(crate) fn connect(
    source: Option<SocketAddr>,
    target: SocketAddr,
    options: &SocketOptions,
) -> io::Result<OwnedFd> {
    let socket = new(target)?;
    if let Some(source) = source {
        bind_source(socket.as_fd(), source)?;
    }
    prepare(socket.as_fd(), options)?;
    match socket.connect(&target.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        Ok(()) | Err(_) => Ok(socket.into()),
    }
}

/// Receives what is there. `Ok(0)` is the end of the stream.
pub(crate) fn recv(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: pointer and length are those of `buffer`.
    let got = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    usize::try_from(got).map_err(|_| io::Error::last_os_error())
}

/// Sends what the kernel takes.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: pointer and length are those of `bytes`.
    let put =
        unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
    usize::try_from(put).map_err(|_| io::Error::last_os_error())
}

/// The error that ended a connect or a connection; `None` while it is well. Reading clears it.
pub(crate) fn error(socket: BorrowedFd<'_>) -> Option<io::Error> {
    SockRef::from(&socket).take_error().unwrap_or_else(Some)
}

/// Sends FIN. A connection that is already gone needs none.
pub(crate) fn shutdown_write(socket: BorrowedFd<'_>) {
    let _ = SockRef::from(&socket).shutdown(std::net::Shutdown::Write);
}

/// Ends a listener in every table of descriptors that holds it: close(2) alone ends it only where it is the last.
pub(crate) fn shutdown(listener: BorrowedFd<'_>) {
    let _ = SockRef::from(&listener).shutdown(std::net::Shutdown::Both);
}

/// Lets a listener that was shut down listen again, at the address that it kept.
pub(crate) fn listen_again(listener: BorrowedFd<'_>, options: &SocketOptions) -> io::Result<()> {
    begin_to_listen(&SockRef::from(&listener), options.backlog)
        .map_err(|error| io::Error::new(error.kind(), format!("a listener cannot listen again: {error}")))
}

/// Makes the coming close send RST.
pub(crate) fn reset_on_close(socket: BorrowedFd<'_>) {
    let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
}

/// Holds a port for a group of listeners that will be made later, in other threads: bound, not listening.
///
/// # Errors
/// The kernel's, with the address in the text.
pub fn reserve(address: SocketAddr) -> io::Result<(OwnedFd, SocketAddr)> {
    let socket = bound(address)?;
    let local = socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("not an IP address"))?;
    Ok((socket.into(), local))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn whoever_is_accepted_acknowledges_with_its_answers_also_after_a_pause_of_the_listener() {
        let options = SocketOptions::default();
        let (listener, address) = listen("127.0.0.1:0".parse().unwrap(), &options).unwrap();
        SockRef::from(&listener).set_nonblocking(false).unwrap();
        for round in 0..2 {
            let _client = TcpStream::connect(address).unwrap();
            let accepted = accept(listener.as_fd()).unwrap();
            assert!(!SockRef::from(&accepted).tcp_quickack().unwrap(), "round {round}");
            shutdown(listener.as_fd());
            listen_again(listener.as_fd(), &options).unwrap();
        }
    }

    #[test]
    fn whoever_is_accepted_has_the_options_of_its_listener() {
        let options = SocketOptions {
            recv_buffer_bytes: Some(20_000),
            send_buffer_bytes: Some(30_000),
            notsent_lowat_bytes: Some(16_384),
            user_timeout: Some(Duration::from_secs(7)),
            ..SocketOptions::default()
        };
        let (listener, address) = listen("127.0.0.1:0".parse().unwrap(), &options).unwrap();
        SockRef::from(&listener).set_nonblocking(false).unwrap();
        let client = connect(None, address, &options).unwrap();
        let accepted = accept(listener.as_fd()).unwrap();
        for socket in [SockRef::from(&client), SockRef::from(&accepted)] {
            assert_eq!(socket.recv_buffer_size().unwrap(), 40_000, "the kernel doubles it");
            assert_eq!(socket.send_buffer_size().unwrap(), 60_000);
            assert_eq!(socket.tcp_notsent_lowat().unwrap(), 16_384);
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(7)));
            assert!(socket.tcp_nodelay().unwrap());
        }
    }

    #[test]
    fn an_option_that_is_refused_is_named() {
        let options =
            SocketOptions { busy_poll: Some(Duration::from_secs(1 << 31)), ..SocketOptions::default() };
        let error = listen("127.0.0.1:0".parse().unwrap(), &options).unwrap_err().to_string();
        assert!(error.contains("SO_BUSY_POLL") && error.contains("127.0.0.1:"), "{error}");
    }
}
