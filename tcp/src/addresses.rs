//! Which address and port the connection with an index has, and back: a division.

use std::net::{Ipv4Addr, SocketAddrV4};

/// The ports of every address, in order; those below are for servers.
pub const PORT_FIRST: u16 = 1024;
/// How many there are.
pub const PORTS: usize = (1 << 16) - PORT_FIRST as usize;

/// A row of addresses that belong to one stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    first: u32,
    count: u32,
}

impl Addresses {
    /// `count` addresses from `first` on.
    pub fn new(first: Ipv4Addr, count: u32) -> Addresses {
        Addresses { first: first.to_bits(), count: count.min(u32::MAX - first.to_bits()) }
    }

    /// How many connections they name.
    pub fn connections(self) -> u64 {
        u64::from(self.count) * PORTS as u64
    }

    /// Address and port of the connection with this index; `None` beyond the last.
    pub fn of(self, index: usize) -> Option<SocketAddrV4> {
        let nth = u32::try_from(index / PORTS).ok().filter(|nth| *nth < self.count)?;
        let port = PORT_FIRST + (index % PORTS) as u16;
        Some(SocketAddrV4::new(Ipv4Addr::from_bits(self.first + nth), port))
    }

    /// The index of the connection at this address and port; `None` for those of others.
    pub fn index_of(self, address: SocketAddrV4) -> Option<usize> {
        let nth = address.ip().to_bits().checked_sub(self.first).filter(|nth| *nth < self.count)?;
        let port = address.port().checked_sub(PORT_FIRST)?;
        Some(nth as usize * PORTS + usize::from(port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_has_its_own_address_and_port() {
        let addresses = Addresses::new(Ipv4Addr::new(198, 18, 0, 2), 3);
        for index in [0, 1, PORTS - 1, PORTS, 2 * PORTS + 7, 3 * PORTS - 1] {
            let address = addresses.of(index).unwrap();
            assert_eq!(addresses.index_of(address), Some(index));
        }
        assert_eq!(addresses.of(PORTS).unwrap(), "198.18.0.3:1024".parse().unwrap());
        assert_eq!(addresses.of(3 * PORTS), None);
        for other in ["198.18.0.1:2000", "198.18.0.5:2000", "198.18.0.2:1023"] {
            assert_eq!(addresses.index_of(other.parse().unwrap()), None, "{other}");
        }
        assert_eq!(addresses.connections(), 3 * PORTS as u64);
    }
}
