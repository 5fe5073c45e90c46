//! Packets written to a file that tcpdump and Wireshark read, as many as somebody asked for.
//!
//! The classic format: a header of 24 bytes, then each packet behind 16 bytes that say when it was and how long. Checksums that the
//! kernel leaves out on its own machine are filled in, so that nobody takes them for errors; those that came from elsewhere stand
//! there as they came.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use throng_reactor::{Nanos, Waker};

use crate::limits::PACKET_BYTES_MAX;
use crate::segment::{self, Checksum};
use crate::users::Link;

/// A file of packets with times in nanoseconds.
const MAGIC: u32 = 0xa1b2_3c4d;
/// LINKTYPE_RAW: packets begin with their IP header.
const LINK_RAW: u32 = 101;

/// Where captured packets go, from all threads.
pub struct Pcap {
    out: Mutex<Out>,
    left: AtomicU64,
}

struct Out {
    to: Box<dyn Write + Send>,
    /// What writing ended with; nothing is written afterwards.
    error: Option<io::Error>,
}

impl Pcap {
    /// Captures the first `packets` packets.
    ///
    /// # Errors
    /// That of writing the file's header.
    pub fn new(mut to: Box<dyn Write + Send>, packets: u64) -> io::Result<Arc<Pcap>> {
        let (major, minor) = (2u16, 4u16);
        to.write_all(&MAGIC.to_ne_bytes())?;
        to.write_all(&[major.to_ne_bytes(), minor.to_ne_bytes()].concat())?;
        for word in [0, 0, PACKET_BYTES_MAX as u32, LINK_RAW] {
            to.write_all(&word.to_ne_bytes())?;
        }
        Ok(Arc::new(Pcap { out: Mutex::new(Out { to, error: None }), left: AtomicU64::new(packets) }))
    }

    /// Notes a packet; a checksum that is `partial` is filled in.
    fn note(&self, packet: &[u8], partial: bool) {
        // Read first: when it is over, every packet of every thread passes here.
        if self.left.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut whole = [0; PACKET_BYTES_MAX];
        let whole = &mut whole[..packet.len().min(PACKET_BYTES_MAX)];
        whole.copy_from_slice(&packet[..whole.len()]);
        if partial {
            segment::complete(whole);
        }
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that the file's packets stand in the order of their times.
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 || out.error.is_some() {
            return;
        }
        self.left.store(left - 1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let head = [now.as_secs() as u32, now.subsec_nanos(), whole.len() as u32, packet.len() as u32];
        let head = head.map(u32::to_ne_bytes).concat();
        out.error = out.to.write_all(&head).and_then(|()| out.to.write_all(whole)).err();
    }

    /// Writes what is still to be written.
    ///
    /// # Errors
    /// The first that writing met; packets behind it are missing.
    pub fn finish(&self) -> io::Result<()> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        self.left.store(0, Ordering::Relaxed);
        match out.error.take() {
            Some(error) => Err(error),
            None => out.to.flush(),
        }
    }
}

impl fmt::Debug for Pcap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pcap({} packets left)", self.left.load(Ordering::Relaxed))
    }
}

/// A link whose packets are captured, both ways, if somebody wants them.
#[derive(Debug)]
pub struct Captured<L> {
    link: L,
    pcap: Option<Arc<Pcap>>,
}

impl<L> Captured<L> {
    /// Captures the packets of `link`.
    pub fn new(link: L, pcap: Option<Arc<Pcap>>) -> Captured<L> {
        Captured { link, pcap }
    }
}

impl<L: Link> Link for Captured<L> {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<(usize, Checksum)>> {
        let got = self.link.receive(buffer)?;
        if let (Some(pcap), Some((len, checksum))) = (&self.pcap, got) {
            pcap.note(&buffer[..len], checksum == Checksum::Trusted);
        }
        Ok(got)
    }

    fn send(&mut self, packet: &[u8]) -> io::Result<bool> {
        if let Some(pcap) = &self.pcap {
            pcap.note(packet, true);
        }
        self.link.send(packet)
    }

    fn wait(&mut self, until: Option<Nanos>) -> io::Result<bool> {
        self.link.wait(until)
    }

    fn waker(&self) -> &Waker {
        self.link.waker()
    }

    fn syscalls(&self) -> u64 {
        self.link.syscalls()
    }

    fn dropped(&self) -> Option<u64> {
        self.link.dropped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::{Fill, Flags, Header, Seq};

    /// A file in memory that is full after so many bytes.
    #[derive(Clone)]
    struct Shared(Arc<Mutex<Vec<u8>>>, usize);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut all = self.0.lock().unwrap();
            if all.len() + bytes.len() > self.1 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            all.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn packet() -> Vec<u8> {
        let header = Header {
            from: "198.18.0.2:1024".parse().unwrap(),
            to: "198.18.0.1:7400".parse().unwrap(),
            seq: Seq(1),
            ack: Seq(2),
            flags: Flags::ACK,
            window: 3,
            mss: None,
        };
        let mut bytes = vec![0; 100];
        let len = segment::write(&header, [b"hello", b""], Fill::Partial, &mut bytes);
        bytes.truncate(len);
        bytes
    }

    #[test]
    fn as_many_packets_as_asked_for_are_written_with_whole_checksums() {
        let file = Shared(Arc::default(), 10_000);
        let pcap = Pcap::new(Box::new(file.clone()), 2).unwrap();
        for _ in 0..3 {
            pcap.note(&packet(), true);
        }
        pcap.finish().unwrap();
        let bytes = file.0.lock().unwrap();
        assert_eq!((bytes.len(), &bytes[20..24]), (24 + 2 * (16 + 45), &LINK_RAW.to_ne_bytes()[..]));
        let one = &bytes[24..][..16 + 45];
        assert_eq!(&one[8..16], [45u32.to_ne_bytes(), 45u32.to_ne_bytes()].concat());
        assert_eq!(segment::read(&one[16..], Checksum::Verify).unwrap().payload, 40..45);
    }

    #[test]
    fn a_file_that_cannot_be_written_says_so_at_the_end() {
        let file = Shared(Arc::default(), 50);
        let pcap = Pcap::new(Box::new(file), 10).unwrap();
        pcap.note(&packet(), true);
        pcap.note(&packet(), true);
        assert_eq!(pcap.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
