//! From which address each user connects, worked out before the run.
//!
//! A connection is named by source address, source port, target address and target port. connect() finds a free source port
//! at once while less than half of the port range is in use for that source and target, and searches beyond it: so many users
//! need many source addresses or several targets. On IPv4's loopback every 127.x.y.z is there for the taking; elsewhere
//! the machine's owner says which addresses it has.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::limits::CONNECTIONS_PER_SOURCE;

/// The ports that the kernel gives to connections: `net.ipv4.ip_local_port_range`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

impl PortRange {
    /// How many ports there are.
    pub fn ports(self) -> u32 {
        u32::from(self.last).saturating_sub(u32::from(self.first)) + 1
    }
}

impl FromStr for PortRange {
    type Err = String;

    /// As /proc/sys/net/ipv4/ip_local_port_range has it: two numbers with space between.
    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Vec<u16> = text.split_whitespace().map_while(|word| word.parse().ok()).collect();
        match numbers[..] {
            [first, last] if first <= last => Ok(PortRange { first, last }),
            _ => Err(format!("`{}` is not a port range: two numbers, as `32768 60999`", text.trim())),
        }
    }
}

/// A block of addresses, as 10.0.0.0/24.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    prefix: u8,
}

impl Network {
    /// Its first address.
    pub fn base(self) -> IpAddr {
        self.base
    }

    /// How many bits of an address name it.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    fn bits(self) -> u8 {
        if self.base.is_ipv4() { 32 } else { 128 }
    }

    /// Addresses that a machine may have: all, but for IPv4 the first and the last of a block of more than two.
    pub fn hosts(self) -> u64 {
        let free = u32::from(self.bits() - self.prefix);
        match 1u64.checked_shl(free) {
            Some(all) if self.base.is_ipv4() && free > 1 => all - 2,
            Some(all) => all,
            None => u64::MAX,
        }
    }

    /// Whether an address lies in the block.
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.base.is_ipv4() && masked(address, self.prefix) == self.base
    }

    /// The `nth` of [`Network::hosts`].
    fn host(self, nth: u64) -> IpAddr {
        let skip = u64::from(self.base.is_ipv4() && self.bits() - self.prefix > 1);
        offset(self.base, nth + skip)
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

fn offset(address: IpAddr, by: u64) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() + by as u32).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() + u128::from(by)).into(),
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad =
            || format!("`{text}` is not a block of addresses: as 10.0.0.0/24 or fd00::/112, or one address");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let base: IpAddr = address.parse().map_err(|_| bad())?;
        let bits = if base.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(bits), str::parse).map_err(|_| bad())?;
        if prefix > bits || masked(base, prefix) != base {
            return Err(bad());
        }
        Ok(Network { base, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

/// Which source and which target every user has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    targets: Vec<SocketAddr>,
    /// Addresses from here on; `None`: the kernel chooses, one address per target.
    first: Option<IpAddr>,
    count: u64,
}

impl Sources {
    /// The addresses for `connections` users to `targets`, out of `from` when it is given.
    ///
    /// Without it, IPv4 loopback targets get as many addresses of 127.0.0.0/8 as they need, and the kernel chooses
    /// for all others. Where there are fewer than the users need there are as many as there are: whoever looks at the machine says
    /// so, before the run.
    ///
    /// # Errors
    /// [`AddressError`]: source and target cannot talk to each other.
    pub fn plan(
        targets: &[SocketAddr],
        connections: u64,
        ports: PortRange,
        from: Option<Network>,
    ) -> Result<Sources, AddressError> {
        let one = targets.first().ok_or(AddressError::NoTarget)?;
        if targets.iter().any(|target| target.is_ipv4() != one.is_ipv4()) {
            return Err(AddressError::MixedFamilies);
        }
        let half = (ports.ports() / 2).max(1);
        let per_target = connections.div_ceil(targets.len() as u64);
        // Up to here a source address is comfortable; up to half of the range it is still fast.
        let needed = per_target.div_ceil(u64::from(half.min(CONNECTIONS_PER_SOURCE))).max(1);
        let (first, count) = match from {
            Some(network) => {
                if network.base.is_ipv4() != one.is_ipv4() {
                    return Err(AddressError::OtherFamily { network, target: *one });
                }
                (Some(network.host(0)), needed.min(network.hosts()))
            }
            None if needed == 1 => (None, 1),
            None if targets.iter().all(is_loopback_v4) => {
                // 127.0.0.0/16 is left to whoever put something on 127.0.0.1 and its neighbours.
                let begin = Ipv4Addr::new(127, 1, 0, 1);
                let last = Ipv4Addr::new(127, 255, 255, 254);
                let available = u64::from(last.to_bits() - begin.to_bits()) + 1;
                (Some(begin.into()), needed.min(available))
            }
            None => (None, 1),
        };
        Ok(Sources { targets: targets.to_vec(), first, count })
    }

    /// Sources that are nobody's business: each connection has an address of its own already.
    ///
    /// # Errors
    /// [`AddressError::NoTarget`].
    pub fn of_users(targets: &[SocketAddr]) -> Result<Sources, AddressError> {
        if targets.is_empty() {
            return Err(AddressError::NoTarget);
        }
        Ok(Sources { targets: targets.to_vec(), first: None, count: 1 })
    }

    /// The source (its port chosen by the kernel; `None`: the address, too) and the target of the `nth` user.
    #[inline]
    pub fn of(&self, nth: u64) -> (Option<SocketAddr>, SocketAddr) {
        let targets = self.targets.len() as u64;
        let target = self.targets[(nth % targets) as usize];
        let source = self.first.map(|first| SocketAddr::new(offset(first, nth / targets % self.count), 0));
        (source, target)
    }

    /// How many source addresses are used; 1 when the kernel chooses.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The first and the last source address; `None` when the kernel chooses.
    pub fn range(&self) -> Option<(IpAddr, IpAddr)> {
        self.first.map(|first| (first, offset(first, self.count - 1)))
    }

    /// Where the users connect to.
    pub fn targets(&self) -> &[SocketAddr] {
        &self.targets
    }
}

fn is_loopback_v4(target: &SocketAddr) -> bool {
    target.is_ipv4() && target.ip().is_loopback()
}

/// Why there are not enough addresses. Its text says what to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// Nowhere to connect to.
    NoTarget,
    /// IPv4 and IPv6 targets together.
    MixedFamilies,
    /// Source and target cannot talk to each other.
    OtherFamily {
        /// The sources.
        network: Network,
        /// A target.
        target: SocketAddr,
    },
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddressError::NoTarget => f.write_str("no target to connect to: name one, as 127.0.0.1:7400"),
            AddressError::MixedFamilies => f.write_str("targets of IPv4 and IPv6 together: use one of them"),
            AddressError::OtherFamily { network, target } => {
                write!(f, "--source-ip {network} cannot reach {target}: use addresses of the same family")
            }
        }
    }
}

impl std::error::Error for AddressError {}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const PORTS: PortRange = PortRange { first: 32768, last: 60999 };

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn few_users_leave_the_source_to_the_kernel() {
        let sources = Sources::plan(&[at("127.0.0.1:7400")], 8000, PORTS, None).unwrap();
        assert_eq!(sources.of(5), (None, at("127.0.0.1:7400")));
        assert_eq!(sources.range(), None);
    }

    #[test]
    fn loopback_users_spread_over_addresses() {
        let sources = Sources::plan(&[at("127.0.0.1:7400")], 5_000_000, PORTS, None).unwrap();
        assert_eq!(sources.count(), 625);
        let (first, last) = sources.range().unwrap();
        assert_eq!((first.to_string(), last.to_string()), ("127.1.0.1".to_owned(), "127.1.2.113".to_owned()));
    }

    #[test]
    fn where_there_are_too_few_addresses_there_are_as_many_as_there_are() {
        let count = |target: &str, users, from: Option<Network>| {
            Sources::plan(&[at(target)], users, PORTS, from).unwrap().count()
        };
        assert_eq!(count("[::1]:7400", 30_000, None), 1);
        assert_eq!(count("10.9.0.1:7400", 100_000, Some("10.0.0.0/30".parse().unwrap())), 2);
        assert_eq!(count("10.9.0.1:7400", 100_000, Some("10.0.0.0/24".parse().unwrap())), 13);
        let from = Some("fd00::/112".parse().unwrap());
        let error = Sources::plan(&[at("10.9.0.1:7400")], 1, PORTS, from).unwrap_err().to_string();
        assert!(error.contains("family"), "{error}");
    }

    #[test]
    fn blocks_are_read_and_leave_out_network_and_broadcast() {
        let block: Network = "10.0.0.0/24".parse().unwrap();
        assert_eq!((block.hosts(), block.host(0).to_string()), (254, "10.0.0.1".to_owned()));
        assert!(block.contains("10.0.0.9".parse().unwrap()) && !block.contains("10.0.1.9".parse().unwrap()));
        let single: Network = "10.0.0.7".parse().unwrap();
        assert_eq!((single.hosts(), single.host(0).to_string()), (1, "10.0.0.7".to_owned()));
        assert_eq!("::/0".parse::<Network>().unwrap().hosts(), u64::MAX);
        for text in ["10.0.0.1/24", "10.0.0.0/33", "x/8", "10.0.0.0/", ""] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_port_range_is_read_as_the_kernel_writes_it() {
        assert_eq!("32768\t60999\n".parse(), Ok(PORTS));
        assert!("60999 32768".parse::<PortRange>().is_err() && "1".parse::<PortRange>().is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_source_has_more_than_half_of_the_ports_to_one_target(
            connections in 1..200_000u64, targets in 1..5u16, first in 1024..60_000u16,
        ) {
            let ports = PortRange { first, last: 60_999 };
            let targets: Vec<SocketAddr> = (0..targets).map(|port| SocketAddr::new([127, 0, 0, 1].into(), 7400 + port)).collect();
            let sources = Sources::plan(&targets, connections, ports, None).unwrap();
            let mut used: HashMap<_, u32> = HashMap::new();
            for nth in 0..connections {
                let (source, target) = sources.of(nth);
                prop_assert!(source.is_none_or(|source| source.ip().is_loopback() && source.port() == 0));
                *used.entry((source, target)).or_default() += 1;
            }
            let most = (ports.ports() / 2).clamp(1, CONNECTIONS_PER_SOURCE);
            prop_assert!(used.values().all(|&count| count <= most), "{used:?} of {most}");
        }
    }
}
