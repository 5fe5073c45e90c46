//! A link that loses, repeats, swaps and damages packets, both ways.

use std::collections::VecDeque;
use std::io;

use throng_reactor::{Nanos, Tun, Waker};
use throng_tcp::Link;
use throng_tcp::segment::{self, Checksum};

/// One in so many packets, each way; 0 for none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) seed: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) swapped: u64,
    /// On the way in alone: what goes out has a checksum that nobody looks at.
    pub(crate) damaged: u64,
}

/// What passed, and what somebody wants to forge.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The largest payload each way, from the kernel and to it.
    pub(crate) largest: [usize; 2],
    /// The last header that went out.
    pub(crate) last_sent: Option<segment::Header>,
    /// The last header that came.
    pub(crate) last_received: Option<segment::Header>,
}

#[derive(Debug)]
pub(crate) struct Lossy {
    tun: Tun,
    faults: Faults,
    random: u64,
    /// Packets that came and were held back, or come twice.
    inbound: VecDeque<(Vec<u8>, Checksum)>,
    /// A packet that the next one overtakes.
    outbound: Option<Vec<u8>>,
    pub(crate) seen: Seen,
}

impl Lossy {
    pub(crate) fn new(tun: Tun, faults: Faults) -> Lossy {
        Lossy {
            tun,
            faults,
            random: faults.seed | 1,
            inbound: VecDeque::new(),
            outbound: None,
            seen: Seen::default(),
        }
    }

    /// Lets a packet come that the kernel never sent.
    pub(crate) fn forge_received(&mut self, header: &segment::Header) {
        let mut packet = vec![0; 100];
        let len = segment::write(header, [&[], &[]], segment::Fill::Whole, &mut packet);
        packet.truncate(len);
        self.inbound.push_back((packet, Checksum::Verify));
    }

    /// Sends the kernel a packet that no user sent.
    pub(crate) fn forge_sent(&mut self, header: &segment::Header) {
        let mut packet = [0; 100];
        let len = segment::write(header, [&[], &[]], segment::Fill::Partial, &mut packet);
        Link::send(&mut self.tun, &packet[..len]).unwrap();
    }

    fn note(&mut self, packet: &[u8], sent: bool) {
        if let Ok(read) = segment::read(packet, Checksum::Trusted) {
            let largest = &mut self.seen.largest[usize::from(sent)];
            *largest = read.payload.len().max(*largest);
            let last = if sent { &mut self.seen.last_sent } else { &mut self.seen.last_received };
            *last = Some(read.header);
        }
    }

    /// xorshift64.
    fn happens(&mut self, one_in: u64) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        one_in > 0 && self.random.is_multiple_of(one_in)
    }
}

impl Link for Lossy {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<(usize, Checksum)>> {
        loop {
            let Some((len, checksum)) = Link::receive(&mut self.tun, buffer)? else {
                let Some((bytes, checksum)) = self.inbound.pop_front() else { return Ok(None) };
                buffer[..bytes.len()].copy_from_slice(&bytes);
                return Ok(Some((bytes.len(), checksum)));
            };
            self.note(&buffer[..len], false);
            if self.happens(self.faults.lost) {
                continue;
            }
            if self.happens(self.faults.damaged) {
                segment::complete(&mut buffer[..len]);
                let at = self.random as usize % len;
                buffer[at] ^= 1 << (self.random % 8);
                return Ok(Some((len, Checksum::Verify)));
            }
            if self.happens(self.faults.doubled) {
                self.inbound.push_back((buffer[..len].to_vec(), checksum));
            }
            if self.happens(self.faults.swapped) {
                self.inbound.push_back((buffer[..len].to_vec(), checksum));
                continue;
            }
            return Ok(Some((len, checksum)));
        }
    }

    fn send(&mut self, packet: &[u8]) -> io::Result<bool> {
        self.note(packet, true);
        if self.happens(self.faults.lost) {
            return Ok(true);
        }
        if self.outbound.is_none() && self.happens(self.faults.swapped) {
            self.outbound = Some(packet.to_vec());
            return Ok(true);
        }
        if self.happens(self.faults.doubled) {
            Link::send(&mut self.tun, packet)?;
        }
        Link::send(&mut self.tun, packet)?;
        match self.outbound.take() {
            Some(packet) => Link::send(&mut self.tun, &packet),
            None => Ok(true),
        }
    }

    fn wait(&mut self, until: Option<Nanos>) -> io::Result<bool> {
        if self.inbound.is_empty() {
            Link::wait(&mut self.tun, until)
        } else {
            Link::wait(&mut self.tun, Some(Nanos(0)))
        }
    }

    fn waker(&self) -> &Waker {
        Link::waker(&self.tun)
    }

    fn syscalls(&self) -> u64 {
        Link::syscalls(&self.tun)
    }

    fn dropped(&self) -> Option<u64> {
        Link::dropped(&self.tun)
    }
}
