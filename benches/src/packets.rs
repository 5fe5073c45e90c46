//! The load side of the raw connect floor over a TUN device: SYN, SYN-ACK, ACK, and not a byte of state per connection.
//!
//! Where a connection is, and its first sequence number, follow from its number. So many SYNs are under way at most
//! that no queue of the kernel's runs over; should a packet be lost all the same, the loop ends with an error instead of a figure.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use throng_reactor::tun::{Setup, Tun};
use throng_reactor::{Waker, sys::clock};
use throng_tcp::Addresses;
use throng_tcp::segment::{
    self, CHECKSUM_OFFSET, CHECKSUM_START, Checksum, Fill, Flags, Header, Packet, Seq,
};

/// RFC 2544's network for benchmarks: the first address is the kernel's, as the generator has it.
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const FIRST_USER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const USERS: u32 = 60_000;
const PREFIX: u8 = 15;

/// SYNs that are not answered yet, at most: as the generator's.
const IN_FLIGHT: u64 = throng_loadgen::limits::CONNECTS_IN_FLIGHT as u64;

/// Without an answer for so long, packets were lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes the device.
///
/// # Errors
/// What is missing for it.
pub fn device() -> io::Result<Tun> {
    let (mtu, queue) = (throng_loadgen::limits::TUN_MTU, throng_loadgen::limits::TUN_QUEUE);
    Tun::new(&Setup { address: SERVER, prefix: PREFIX, mtu, queue }, Waker::new()?)
}

/// Connections that stand, to be reset when dropped.
#[derive(Debug)]
pub struct Held {
    tun: Tun,
    /// Ports of the server, and the number of the first connection of each.
    ports: Vec<(u64, u16)>,
    connections: u64,
}

/// Makes `connections` of them on each port.
///
/// # Errors
/// The device's; and packets that were lost.
pub fn connect(tun: Tun, ports: &[(u16, u64)]) -> io::Result<Held> {
    let mut held = Held { tun, ports: Vec::new(), connections: 0 };
    for &(port, connections) in ports {
        held.ports.push((held.connections, port));
        held.connections += connections;
    }
    let addresses = addresses();
    let (mut begun, mut made) = (0, 0);
    let mut buffer = [0; 2048];
    let mut heard = Instant::now();
    while made < held.connections {
        while begun < held.connections && begun - made < IN_FLIGHT {
            let seq = Seq(first(begun));
            held.send(Header {
                seq,
                flags: Flags::SYN,
                mss: Some(throng_tcp::limits::MSS),
                ..held.header(begun)
            })?;
            begun += 1;
        }
        held.tun.wait(Some(clock::now() + PATIENCE))?;
        while let Some((len, _)) = held.tun.receive(&mut buffer)? {
            let Ok(Packet { header, .. }) = segment::read(&buffer[..len], Checksum::Trusted) else {
                continue;
            };
            let Some(number) = addresses.index_of(header.to) else { continue };
            if header.flags == Flags::SYN.with(Flags::ACK)
                && header.ack.0 == first(number as u64).wrapping_add(1)
            {
                let number = number as u64;
                let ack = header.seq.plus(1);
                held.send(Header { seq: header.ack, ack, flags: Flags::ACK, ..held.header(number) })?;
                made += 1;
                heard = Instant::now();
            }
        }
        if heard.elapsed() >= PATIENCE {
            let text = format!("{} of {begun} SYNs were not answered: packets were lost", begun - made);
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
    }
    Ok(held)
}

fn addresses() -> Addresses {
    Addresses::new(FIRST_USER, USERS)
}

/// The first sequence number of a connection.
fn first(number: u64) -> u32 {
    (number as u32).wrapping_mul(2_654_435_761)
}

impl Held {
    fn header(&self, number: u64) -> Header {
        let port = self.ports[self.ports.partition_point(|(begin, _)| *begin <= number) - 1].1;
        Header {
            from: addresses().of(number as usize).expect("there are more addresses than memory"),
            to: SocketAddrV4::new(SERVER, port),
            seq: Seq(first(number).wrapping_add(1)),
            ack: Seq(0),
            flags: Flags::RST,
            window: u16::MAX,
            mss: None,
        }
    }

    fn send(&mut self, header: Header) -> io::Result<()> {
        let mut packet = [0; 64];
        let len = segment::write(&header, [&[], &[]], Fill::Partial, &mut packet);
        self.tun.send(&packet[..len], CHECKSUM_START, CHECKSUM_OFFSET)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for number in 0..self.connections {
            // One that is not reset is repeated to a device that is gone, until its namespace is.
            let _ = self.send(self.header(number));
        }
    }
}
