//! How connections are made: as sockets of the kernel's, or in user space over TUN devices.
//!
//! ```text
//!   198.18.0.0/15, two threads
//!   ├── 198.18.0.0/16   tun0   198.18.0.1 is the kernel's, 198.18.0.2 and on are users of thread 0
//!   └── 198.19.0.0/16   tun1   198.19.0.1 is the kernel's, 198.19.0.2 and on are users of thread 1
//! ```
//!
//! Each thread has a device of its own, with a network that the kernel routes to it: so a packet comes to the thread that has its
//! connection, which the queues of one device would not promise beyond a few thousand flows.

use std::net::{IpAddr, Ipv4Addr};

use throng_reactor::Requested;
use throng_reactor::tun::Setup;
use throng_tcp::Addresses;

use crate::address::Network;
use crate::limits::{TUN_MTU, TUN_QUEUE};

/// How connections are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Engine {
    /// By the kernel: a socket for each user.
    Kernel(Requested),
    /// By `throng-tcp`: the kernel sees packets that come from elsewhere.
    Tun(Devices),
}

impl Engine {
    /// As the report calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Engine::Kernel(_) => "kernel",
            Engine::Tun(_) => "tun",
        }
    }
}

/// The devices of a load, one for each thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Devices {
    base: u32,
    /// Bits that name the network of one device.
    prefix: u8,
    threads: u32,
}

/// Of a device's network: the network's own name, the kernel's address and the broadcast address are nobody's.
const TAKEN: u32 = 3;

impl Devices {
    /// Shares `network` out over `threads` devices.
    ///
    /// # Errors
    /// Words that say what is wrong with it: not IPv4, or too small for the `fullest` thread's users.
    pub fn new(network: Network, threads: usize, fullest: u64) -> Result<Devices, String> {
        let IpAddr::V4(base) = network.base() else {
            return Err(format!("--source-ip {network}: users in user space speak IPv4"));
        };
        let threads = u32::try_from(threads.max(1)).unwrap_or(u32::MAX);
        let bits = u32::from(network.prefix()) + threads.next_power_of_two().ilog2();
        if !(8..=30).contains(&bits) {
            return Err(format!(
                "--source-ip {network} cannot be shared out over {threads} threads in networks between /8 and /30: use another block"
            ));
        }
        let devices = Devices { base: base.to_bits(), prefix: bits as u8, threads };
        let room = devices.of(0).1.connections();
        if room < fullest {
            return Err(format!(
                "--source-ip {network} has room for {room} users of each thread, not for {fullest}: use a larger block"
            ));
        }
        Ok(devices)
    }

    /// The device of a thread, and the addresses of its users.
    pub fn of(&self, thread: usize) -> (Setup, Addresses) {
        let size = 1u32 << (32 - self.prefix);
        let network = self.base + thread as u32 * size;
        let address = Ipv4Addr::from_bits(network + 1);
        let setup = Setup { address, prefix: self.prefix, mtu: TUN_MTU, queue: TUN_QUEUE };
        (setup, Addresses::new(Ipv4Addr::from_bits(network + 2), size - TAKEN))
    }

    /// The kernel's address on the first device: where a server on this machine is reached.
    pub fn server(&self) -> Ipv4Addr {
        self.of(0).0.address
    }

    /// How many there are.
    pub fn threads(&self) -> usize {
        self.threads as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(network: &str, threads: usize, fullest: u64) -> Result<Devices, String> {
        Devices::new(network.parse().unwrap(), threads, fullest)
    }

    #[test]
    fn each_thread_has_a_network_of_its_own() {
        let three = devices("198.18.0.0/15", 3, 5_000_000).unwrap();
        let of = |thread| (three.of(thread).0.address.to_string(), three.of(thread).0.prefix);
        assert_eq!(of(0), ("198.18.0.1".to_owned(), 17));
        assert_eq!(of(2), ("198.19.0.1".to_owned(), 17));
        assert_eq!(three.server().to_string(), "198.18.0.1");
    }

    #[test]
    fn a_network_that_is_too_small_is_refused_with_what_fits() {
        assert!(devices("198.18.0.0/30", 1, 64_512).is_ok());
        assert!(
            devices("198.18.0.0/30", 1, 64_513).unwrap_err().contains("room for 64512 users of each thread")
        );
        for (block, threads) in [("198.18.0.0/30", 2), ("0.0.0.0/0", 1)] {
            assert!(devices(block, threads, 1).unwrap_err().contains("another block"));
        }
        assert!(devices("fd00::/64", 1, 1).unwrap_err().contains("IPv4"));
    }
}
