//! A TUN device: a network interface whose packets a process reads and writes.
//!
//! ```text
//!   the kernel's TCP ── route ──> device's queue ── receive() ──> us
//!                    <─────────────────────────────── send() ──
//! ```
//!
//! One packet per system call, with a header of ten bytes (struct virtio_net_hdr) before it that says whose work the checksum
//! is: in both directions nobody's, as long as a packet stays on the machine. The device goes with its descriptor.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use crate::poller::Poller;
use crate::sys::{check, network_control};
use crate::{Nanos, Waker};

/// What a device is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// The kernel's own address on it, of the network that it is the way to.
    pub address: Ipv4Addr,
    /// How many bits of an address name that network.
    pub prefix: u8,
    /// Bytes of the largest packet.
    pub mtu: u16,
    /// Packets that wait to be received; beyond it the kernel drops them, and counts them as dropped by the device.
    pub queue: u32,
}

/// struct virtio_net_hdr: flags, kind of offload, and four 16-bit numbers.
const HEADER_BYTES: usize = 10;
/// VIRTIO_NET_HDR_F_NEEDS_CSUM: the checksum is partial, and covers from here.
const NEEDS_CHECKSUM: u8 = 1;
/// VIRTIO_NET_HDR_F_DATA_VALID: it was verified.
const IS_VALID: u8 = 2;

/// What a wait costs and brings.
pub struct Tun {
    device: OwnedFd,
    name: String,
    poller: Poller,
    waker: Waker,
    /// The queue may hold packets whose edge was seen.
    is_ready: bool,
    syscalls: u64,
}

impl Tun {
    /// Makes a device in the calling thread's network namespace, gives it its address and brings it up.
    ///
    /// # Errors
    /// With what is missing in the text: /dev/net/tun, or CAP_NET_ADMIN over the namespace.
    pub fn new(setup: &Setup, waker: Waker) -> io::Result<Tun> {
        let device = open()?;
        let mut request = network_control::request("");
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
        // SAFETY: TUNSETIFF reads and writes an ifreq, which `request` is and stays during the call.
        check(unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) }).map_err(
            |error| {
                told("cannot make a TUN device (it takes CAP_NET_ADMIN over the network namespace)", &error)
            },
        )?;
        let name = network_control::name(&request);
        // SAFETY: TUNSETOFFLOAD takes an integer by value.
        check(unsafe {
            libc::ioctl(device.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(libc::TUN_F_CSUM))
        })
        .map_err(|error| told("cannot leave checksums of a TUN device out", &error))?;
        network_control::set_up(&name, setup)
            .map_err(|error| told(&format!("cannot set {name} up"), &error))?;
        let poller = Poller::new(&waker)?;
        poller.add_signal(device.as_fd())?;
        Ok(Tun { device, name, poller, waker, is_ready: true, syscalls: 0 })
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What ends a wait from outside.
    pub fn waker(&self) -> &Waker {
        &self.waker
    }

    /// System calls so far.
    pub fn syscalls(&self) -> u64 {
        self.syscalls
    }

    /// Packets for us that the kernel dropped because the queue was full.
    ///
    /// # Errors
    /// /proc does not tell.
    pub fn dropped(&self) -> io::Result<u64> {
        let text = std::fs::read_to_string("/proc/thread-self/net/dev")?;
        let line =
            text.lines().find_map(|line| line.trim_start().strip_prefix(&self.name)?.strip_prefix(':'));
        // Eight columns of what was received, then bytes, packets, errors and drops of what was sent.
        let dropped = line.and_then(|line| line.split_whitespace().nth(11)?.parse().ok());
        dropped.ok_or_else(|| io::Error::other(format!("/proc/net/dev does not tell of {}", self.name)))
    }

    /// The next packet, at the beginning of `buffer`: how long it is, and whether its checksum needs no look. `None`: there
    /// is none.
    ///
    /// # Errors
    /// EBADFD when the device is gone. Of a packet that is longer than `buffer` the end is missing.
    pub fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<(usize, bool)>> {
        let mut header = [0u8; HEADER_BYTES];
        let parts = [
            libc::iovec { iov_base: header.as_mut_ptr().cast(), iov_len: HEADER_BYTES },
            libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() },
        ];
        self.syscalls += 1;
        // SAFETY: both parts point to memory of ours that outlives the call, and state its length.
        let got = unsafe { libc::readv(self.device.as_raw_fd(), parts.as_ptr(), 2) };
        if got < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock => {
                    self.is_ready = false;
                    Ok(None)
                }
                io::ErrorKind::Interrupted => Ok(None),
                _ => Err(error),
            };
        }
        let len = (got as usize).saturating_sub(HEADER_BYTES);
        Ok(Some((len, header[0] & (NEEDS_CHECKSUM | IS_VALID) != 0)))
    }

    /// Gives the kernel a packet whose partial checksum covers everything from `start` on, and stands `offset` bytes from there.
    ///
    /// # Errors
    /// The kernel's: ENOMEM, ENOBUFS or EAGAIN when it has no room, and the packet is lost; EIO when the device is down.
    pub fn send(&mut self, packet: &[u8], start: u16, offset: u16) -> io::Result<()> {
        let mut header = [0u8; HEADER_BYTES];
        header[0] = NEEDS_CHECKSUM;
        header[6..8].copy_from_slice(&start.to_ne_bytes());
        header[8..10].copy_from_slice(&offset.to_ne_bytes());
        let parts = [
            libc::iovec { iov_base: header.as_mut_ptr().cast(), iov_len: HEADER_BYTES },
            libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() },
        ];
        self.syscalls += 1;
        // SAFETY: both parts point to memory that outlives the call, and state its length; writev only reads it.
        let sent = unsafe { libc::writev(self.device.as_raw_fd(), parts.as_ptr(), 2) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits until there may be a packet, somebody wakes us, or `until` has come. True: somebody woke us.
    ///
    /// # Errors
    /// Only what nobody can go on after.
    pub fn wait(&mut self, until: Option<Nanos>) -> io::Result<bool> {
        if !self.is_ready || until.is_none() {
            let until = if self.is_ready { Some(Nanos(0)) } else { until };
            let is_asleep = until != Some(Nanos(0)) && self.waker.sleep();
            self.syscalls += self.poller.wait(if is_asleep { until } else { Some(Nanos(0)) })?;
            let ready = self.poller.take();
            // Which of the signals it was costs as much to find out as to ask the device.
            self.is_ready |= !ready.is_empty();
            self.poller.put_back(ready);
        }
        Ok(self.waker.awaken())
    }
}

fn open() -> io::Result<OwnedFd> {
    let path = c"/dev/net/tun";
    // SAFETY: the path is a string that ends in zero and outlives the call.
    let fd = check(unsafe { libc::open(path.as_ptr(), libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC) });
    let fd = fd.map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => "load the module (modprobe tun), or give the container the device",
            io::ErrorKind::PermissionDenied => "it is open to root alone here",
            _ => "is the module tun there?",
        };
        told(&format!("cannot open /dev/net/tun ({remedy})"), &error)
    })?;
    // SAFETY: the kernel just made `fd` for us, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn told(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

impl fmt::Debug for Tun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tun({})", self.name)
    }
}
