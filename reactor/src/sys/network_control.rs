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
    set_queue(name, setup.queue)?;
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

/// Sets how many packets wait for an interface. The request for that (SIOCSIFTXQLEN) is for the machine's own root alone, and a message
/// to the kernel for whoever rules the namespace.
fn set_queue(name: &str, packets: u32) -> io::Result<()> {
    const IFLA_TXQLEN: u16 = 13;
    let name = std::ffi::CString::new(name)?;
    // SAFETY: the name ends in zero and outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        return Err(io::Error::last_os_error());
    }
    // struct nlmsghdr, struct ifinfomsg, struct rtattr, and its value.
    let mut message = Vec::with_capacity(40);
    message.extend_from_slice(&40u32.to_ne_bytes());
    message.extend_from_slice(&libc::RTM_NEWLINK.to_ne_bytes());
    message.extend_from_slice(&((libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16).to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&index.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&8u16.to_ne_bytes());
    message.extend_from_slice(&IFLA_TXQLEN.to_ne_bytes());
    message.extend_from_slice(&packets.to_ne_bytes());
    // SAFETY: socket takes three integers and touches no memory of ours.
    let socket = check(unsafe {
        libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE)
    })?;
    // SAFETY: the kernel just made `socket` for us, and nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: pointer and length are those of `message`, which outlives the call.
    let sent = unsafe { libc::send(socket.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut answer = [0u8; 256];
    // SAFETY: pointer and length are those of `answer`, which outlives the call.
    let got = unsafe { libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0) };
    // A header, and an errno with its sign turned.
    match answer[..usize::try_from(got).unwrap_or(0)].get(16..20) {
        Some(&[a, b, c, d]) => match i32::from_ne_bytes([a, b, c, d]) {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(-errno)),
        },
        _ => Err(io::Error::last_os_error()),
    }
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let [a, b, c, d] = address.octets().map(|octet| octet as libc::c_char);
    let mut data = [0; 14];
    data[2..6].copy_from_slice(&[a, b, c, d]); // behind the port
    libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data: data }
}
