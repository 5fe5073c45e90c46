//! Interfaces of the calling thread's network namespace: their flags, addresses and queues.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::check;
use crate::tun::Setup;

/// A request about an interface; an empty name lets the kernel choose one.
pub(crate) fn request(name: &str) -> libc::ifreq {
    // SAFETY: all zeros is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(room)) {
        *to = from as libc::c_char;
    }
    request
}

/// The name that a request is about.
pub(crate) fn name(request: &libc::ifreq) -> String {
    request.ifr_name.iter().take_while(|&&byte| byte != 0).map(|&byte| char::from(byte as u8)).collect()
}

/// The socket that requests go through: any will do.
struct Control(OwnedFd);

impl Control {
    fn new() -> io::Result<Control> {
        // SAFETY: socket takes three integers and touches no memory of ours.
        let socket = check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
        // SAFETY: the kernel just made `socket` for us, and nobody else owns it.
        Ok(Control(unsafe { OwnedFd::from_raw_fd(socket) }))
    }

    fn set(&self, what: libc::c_ulong, request: &libc::ifreq) -> io::Result<()> {
        // SAFETY: every request here reads an ifreq, which `request` is and stays during the call.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), what as _, std::ptr::from_ref(request)) }).map(drop)
    }
}

/// Brings an interface up.
pub(crate) fn up(name: &str) -> io::Result<()> {
    let mut request = request(name);
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    Control::new()?.set(libc::SIOCSIFFLAGS, &request)
}

/// Gives an interface its queue, size of packets, address and network, and brings it up.
pub(crate) fn set_up(name: &str, setup: &Setup) -> io::Result<()> {
    let control = Control::new()?;
    let mut request = request(name);
    // The queue's memory is made when the device comes up.
    request.ifr_ifru.ifru_metric = libc::c_int::try_from(setup.queue).unwrap_or(libc::c_int::MAX);
    control.set(libc::SIOCSIFTXQLEN, &request)?;
    request.ifr_ifru.ifru_mtu = libc::c_int::from(setup.mtu);
    control.set(libc::SIOCSIFMTU, &request)?;
    let mask = u32::MAX.checked_shl(32 - u32::from(setup.prefix)).unwrap_or(0);
    for (what, address) in
        [(libc::SIOCSIFADDR, setup.address), (libc::SIOCSIFNETMASK, Ipv4Addr::from_bits(mask))]
    {
        request.ifr_ifru.ifru_addr = socket_address(address);
        control.set(what, &request)?;
    }
    up(name)
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let [a, b, c, d] = address.octets().map(|octet| octet as libc::c_char);
    let mut data = [0; 14];
    data[2..6].copy_from_slice(&[a, b, c, d]); // behind the port
    libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data: data }
}
