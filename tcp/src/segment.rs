//! IPv4 packets with a TCP segment in them: bytes to meaning and back.
//!
//! ```text
//!   0            20            40 + options
//!   ├── IPv4 ────┼── TCP ──────┼── payload ...     no IPv4 options are written; they are read over
//! ```
//!
//! Formats and rules: RFC 791, RFC 9293, RFC 1071 (the checksum). Nothing is copied, and nothing allocated.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;

/// Bytes of an IPv4 header without options.
pub const IP_BYTES: usize = 20;
/// Bytes of a TCP header without options.
pub const TCP_BYTES: usize = 20;
/// Bytes of both.
pub const HEADER_BYTES: usize = IP_BYTES + TCP_BYTES;
/// Bytes of the one option that is written: the largest segment, on a SYN.
pub const MSS_OPTION_BYTES: usize = 4;

const PROTOCOL_TCP: u8 = 6;
const DONT_FRAGMENT: u16 = 1 << 14;
const MORE_FRAGMENTS: u16 = 1 << 13;
const FRAGMENT_OFFSET: u16 = MORE_FRAGMENTS - 1;
const TIME_TO_LIVE: u8 = 64;

/// A place in a stream: it wraps, so only differences mean anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seq(pub u32);

impl Seq {
    /// How far this is beyond `earlier`; negative when it is before it.
    pub fn since(self, earlier: Seq) -> i32 {
        self.0.wrapping_sub(earlier.0) as i32
    }

    /// So many bytes further.
    #[must_use]
    pub fn plus(self, bytes: u32) -> Seq {
        Seq(self.0.wrapping_add(bytes))
    }

    /// Whether this is before `other`.
    pub fn is_before(self, other: Seq) -> bool {
        self.since(other) < 0
    }
}

/// The flags of a segment: a set.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// The sender sends no more.
    pub const FIN: Flags = Flags(1);
    /// The sequence numbers begin here.
    pub const SYN: Flags = Flags(1 << 1);
    /// The connection is no more.
    pub const RST: Flags = Flags(1 << 2);
    /// Hand over what is there.
    pub const PSH: Flags = Flags(1 << 3);
    /// The acknowledgement counts.
    pub const ACK: Flags = Flags(1 << 4);

    /// Whether all flags of `other` are set.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets.
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (1, "FIN"),
            (2, "SYN"),
            (4, "RST"),
            (8, "PSH"),
            (16, "ACK"),
            (32, "URG"),
            (64, "ECE"),
            (128, "CWR"),
        ];
        let set: Vec<&str> =
            names.iter().filter(|(bit, _)| self.0 & bit != 0).map(|(_, name)| *name).collect();
        f.write_str(&set.join("+"))
    }
}

/// The header of a segment, without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Who sends it.
    pub from: SocketAddrV4,
    /// For whom it is.
    pub to: SocketAddrV4,
    /// The place of its first byte, or of its SYN.
    pub seq: Seq,
    /// The next byte that the sender expects, if [`Flags::ACK`] is set.
    pub ack: Seq,
    /// What it is.
    pub flags: Flags,
    /// Bytes that the sender takes beyond `ack`, unscaled.
    pub window: u16,
    /// The largest payload that the sender takes, where it says so.
    pub mss: Option<u16>,
}

/// A packet that was read: its header, and where its payload lies in the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Of the segment.
    pub header: Header,
    /// The payload's place.
    pub payload: Range<usize>,
}

/// Who vouches for a packet's TCP checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Nobody: it is verified.
    Verify,
    /// The kernel: it has never left this machine, or was verified already.
    Trusted,
}

/// Why a packet is none that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// Not IPv4, as the router solicitations of IPv6.
    NotIpv4,
    /// IPv4 without TCP.
    NotTcp,
    /// A part of a packet.
    Fragment,
    /// Shorter than its headers say, or headers that contradict themselves.
    Malformed,
    /// A checksum that does not fit.
    Checksum,
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn double(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The sum that checksums are made of: 16-bit words, the last one filled up with zero.
fn sum(bytes: &[u8]) -> u64 {
    let (doubles, rest) = bytes.as_chunks::<4>();
    let mut sum: u64 = doubles.iter().map(|double| u64::from(u32::from_be_bytes(*double))).sum();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    sum += u64::from(u32::from_be_bytes(last));
    sum
}

/// Sixteen bits of a sum, carries added in; not inverted.
fn fold(mut sum: u64) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The sum of what the TCP checksum covers beside the segment.
fn pseudo_sum(from: Ipv4Addr, to: Ipv4Addr, tcp_bytes: usize) -> u64 {
    u64::from(from.to_bits()) + u64::from(to.to_bits()) + u64::from(PROTOCOL_TCP) + tcp_bytes as u64
}

/// Reads a packet. Bytes behind the length that it states are padding and not looked at.
///
/// # Errors
/// [`Reject`]; the packet is to be dropped and counted.
pub fn read(packet: &[u8], checksum: Checksum) -> Result<Packet, Reject> {
    if packet.first().is_none_or(|first| first >> 4 != 4) {
        return Err(Reject::NotIpv4);
    }
    let ip_bytes = usize::from(packet[0] & 15) * 4;
    if packet.len() < IP_BYTES || ip_bytes < IP_BYTES {
        return Err(Reject::Malformed);
    }
    let total = usize::from(word(packet, 2));
    if total < ip_bytes || total > packet.len() {
        return Err(Reject::Malformed);
    }
    if fold(sum(&packet[..ip_bytes])) != 0xffff {
        return Err(Reject::Checksum);
    }
    if word(packet, 6) & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0 {
        return Err(Reject::Fragment);
    }
    if packet[9] != PROTOCOL_TCP {
        return Err(Reject::NotTcp);
    }
    let (from, to) = (Ipv4Addr::from_bits(double(packet, 12)), Ipv4Addr::from_bits(double(packet, 16)));
    let tcp = &packet[ip_bytes..total];
    if tcp.len() < TCP_BYTES {
        return Err(Reject::Malformed);
    }
    let tcp_bytes = usize::from(tcp[12] >> 4) * 4;
    if tcp_bytes < TCP_BYTES || tcp_bytes > tcp.len() {
        return Err(Reject::Malformed);
    }
    if checksum == Checksum::Verify && fold(pseudo_sum(from, to, tcp.len()) + sum(tcp)) != 0xffff {
        return Err(Reject::Checksum);
    }
    let header = Header {
        from: SocketAddrV4::new(from, word(tcp, 0)),
        to: SocketAddrV4::new(to, word(tcp, 2)),
        seq: Seq(double(tcp, 4)),
        ack: Seq(double(tcp, 8)),
        flags: Flags(tcp[13]),
        window: word(tcp, 14),
        mss: mss(&tcp[TCP_BYTES..tcp_bytes]),
    };
    Ok(Packet { header, payload: ip_bytes + tcp_bytes..total })
}

/// The largest segment out of a list of options; a list that makes no sense has none.
fn mss(mut options: &[u8]) -> Option<u16> {
    const END: u8 = 0;
    const NOTHING: u8 = 1;
    const MSS: u8 = 2;
    loop {
        match *options {
            [] | [END, ..] => return None,
            [NOTHING, ref rest @ ..] => options = rest,
            [MSS, 4, high, low, ..] => return Some(u16::from_be_bytes([high, low])),
            [_, len, ..] if len >= 2 => options = options.get(usize::from(len)..)?,
            [_, ..] => return None,
        }
    }
}

/// How the TCP checksum of a packet that is written is filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// As the standard wants it.
    Whole,
    /// With the sum of the pseudo header alone: whoever sends the packet on adds the rest, if it ever leaves the machine
    /// (VIRTIO_NET_HDR_F_NEEDS_CSUM).
    Partial,
}

/// Where the segment begins in a packet that [`write()`] wrote, and where its checksum lies from there: what an offload has to
/// know.
pub const CHECKSUM_START: u16 = IP_BYTES as u16;
/// See [`CHECKSUM_START`].
pub const CHECKSUM_OFFSET: u16 = 16;

/// Writes a packet into `out`, which begins with it; its payload is appended by `payload`, in at most two pieces. Returns how many
/// bytes it has.
///
/// # Panics
/// When `out` is too short, or the packet longer than 65,535 bytes.
pub fn write(header: &Header, payload: [&[u8]; 2], fill: Fill, out: &mut [u8]) -> usize {
    let option_bytes = if header.mss.is_some() { MSS_OPTION_BYTES } else { 0 };
    let begin = HEADER_BYTES + option_bytes;
    let middle = begin + payload[0].len();
    let total = middle + payload[1].len();
    let out = &mut out[..total];
    let (ip, tcp) = out.split_at_mut(IP_BYTES);
    ip[0] = 4 << 4 | (IP_BYTES / 4) as u8;
    ip[1] = 0;
    ip[2..4].copy_from_slice(&u16::try_from(total).expect("a packet is at most 65,535 bytes").to_be_bytes());
    ip[4..6].fill(0); // a packet that is never cut needs no name (RFC 6864)
    ip[6..8].copy_from_slice(&DONT_FRAGMENT.to_be_bytes());
    ip[8] = TIME_TO_LIVE;
    ip[9] = PROTOCOL_TCP;
    ip[10..12].fill(0);
    ip[12..16].copy_from_slice(&header.from.ip().octets());
    ip[16..20].copy_from_slice(&header.to.ip().octets());
    let checksum = !fold(sum(ip));
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());

    tcp[0..2].copy_from_slice(&header.from.port().to_be_bytes());
    tcp[2..4].copy_from_slice(&header.to.port().to_be_bytes());
    tcp[4..8].copy_from_slice(&header.seq.0.to_be_bytes());
    tcp[8..12].copy_from_slice(&header.ack.0.to_be_bytes());
    tcp[12] = (((TCP_BYTES + option_bytes) / 4) as u8) << 4;
    tcp[13] = header.flags.0;
    tcp[14..16].copy_from_slice(&header.window.to_be_bytes());
    tcp[16..20].fill(0);
    if let Some(mss) = header.mss {
        tcp[20..22].copy_from_slice(&[2, 4]);
        tcp[22..24].copy_from_slice(&mss.to_be_bytes());
    }
    tcp[begin - IP_BYTES..middle - IP_BYTES].copy_from_slice(payload[0]);
    tcp[middle - IP_BYTES..].copy_from_slice(payload[1]);
    let pseudo = pseudo_sum(*header.from.ip(), *header.to.ip(), tcp.len());
    let checksum = match fill {
        Fill::Whole => !fold(pseudo + sum(tcp)),
        Fill::Partial => fold(pseudo),
    };
    tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
    total
}

/// Fills in the whole checksum of a packet that was written, or came, with a partial one.
pub fn complete(packet: &mut [u8]) {
    let Ok(read) = read(packet, Checksum::Trusted) else { return };
    let begin = usize::from(packet[0] & 15) * 4;
    let tcp = &mut packet[begin..read.payload.end];
    tcp[16..18].fill(0);
    let checksum = !fold(pseudo_sum(*read.header.from.ip(), *read.header.to.ip(), tcp.len()) + sum(tcp));
    tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> Header {
        Header {
            from: "198.18.0.2:1024".parse().unwrap(),
            to: "198.18.0.1:7400".parse().unwrap(),
            seq: Seq(0xffff_fff0),
            ack: Seq(7),
            flags: Flags::PSH.with(Flags::ACK),
            window: 65_535,
            mss: None,
        }
    }

    fn packet(header: &Header, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0xee; 2000];
        let len = write(header, [payload, b""], Fill::Whole, &mut out);
        out.truncate(len);
        out
    }

    /// A SYN as Linux 6.18 sent it, with all of its options.
    const SYN: &str = "4500003c0efa400040062dc07f0000017f0000019bd81ce8c98fd81e00000000a002ffd7fe300000\
                       0204ffd70402080ad26de0f5000000000103030a";

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    #[test]
    fn a_syn_of_the_kernels_is_read() {
        let bytes = hex(SYN);
        let read = read(&bytes, Checksum::Trusted).unwrap();
        assert_eq!(read.header.from, "127.0.0.1:39896".parse().unwrap());
        assert_eq!((read.header.to.port(), read.header.flags), (7400, Flags::SYN));
        assert_eq!((read.header.mss, read.payload), (Some(65_495), 60..60));
    }

    #[test]
    fn a_packet_comes_back_as_it_was_written() {
        for mss in [None, Some(1460)] {
            let header = Header { mss, ..header() };
            let bytes = packet(&header, b"hello");
            let read = read(&bytes, Checksum::Verify).unwrap();
            assert_eq!((read.header, &bytes[read.payload]), (header, &b"hello"[..]));
        }
    }

    #[test]
    fn a_checksum_that_is_known_comes_out() {
        // RFC 1071, section 3: the sum of these is ddf2.
        assert_eq!(fold(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
        assert_eq!(fold(sum(&[1])), 0x0100, "an odd byte is the upper half of a word");
    }

    #[test]
    fn a_partial_checksum_becomes_a_whole_one() {
        let mut out = [0; 100];
        let len = write(&header(), [b"ab", b"cde"], Fill::Partial, &mut out);
        assert_eq!(read(&out[..len], Checksum::Verify), Err(Reject::Checksum));
        complete(&mut out[..len]);
        assert_eq!(&out[..len], packet(&header(), b"abcde"));
    }

    #[test]
    fn what_is_no_tcp_packet_is_called_by_its_name() {
        let good = packet(&header(), b"x");
        let with = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            bytes[10..12].fill(0);
            let checksum = !fold(sum(&bytes[..IP_BYTES]));
            bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
            read(&bytes, Checksum::Trusted)
        };
        assert_eq!(with(0, 0x65), Err(Reject::NotIpv4));
        assert_eq!(with(0, 0x44), Err(Reject::Malformed), "a header of 16 bytes");
        assert_eq!(with(3, 19), Err(Reject::Malformed), "shorter than its header");
        assert_eq!(with(3, 42), Err(Reject::Malformed), "longer than what came");
        assert_eq!(with(6, 0x20), Err(Reject::Fragment));
        assert_eq!(with(7, 1), Err(Reject::Fragment));
        assert_eq!(with(9, 17), Err(Reject::NotTcp));
        assert_eq!(with(32, 0x40), Err(Reject::Malformed), "a TCP header of 16 bytes");
        assert_eq!(with(32, 0x60), Err(Reject::Malformed), "a TCP header beyond the end");
        assert_eq!(read(&[], Checksum::Trusted), Err(Reject::NotIpv4));
        assert_eq!(read(&good[..19], Checksum::Trusted), Err(Reject::Malformed));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = packet(&header(), b"some payload");
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bytes, Checksum::Verify).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn options_that_make_no_sense_are_none() {
        assert_eq!(mss(&[1, 1, 2, 4, 5, 0xb4]), Some(1460));
        assert_eq!(mss(&[3, 3, 7, 2, 4, 5, 0xb4]), Some(1460));
        for nonsense in [&[2u8, 4, 5][..], &[3, 0, 1], &[3], &[8, 200, 2, 4, 5, 0xb4], &[0, 2, 4, 5, 0xb4]] {
            assert_eq!(mss(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn sequences_wrap() {
        assert!(Seq(u32::MAX).is_before(Seq(0)) && !Seq(0).is_before(Seq(u32::MAX)));
        assert_eq!((Seq(5).since(Seq(u32::MAX)), Seq(u32::MAX).plus(6)), (6, Seq(5)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = read(&bytes, Checksum::Trusted);
            // Most random bytes are not IPv4; these are, more often.
            let mut bytes = bytes;
            if bytes.len() >= IP_BYTES {
                bytes[0] = 0x40 | bytes[0] & 15;
                let ip_bytes = usize::from(bytes[0] & 15) * 4;
                let total = bytes.len() as u16;
                bytes[2..4].copy_from_slice(&total.to_be_bytes());
                bytes[6..8].fill(0);
                bytes[9] = PROTOCOL_TCP;
                if (IP_BYTES..=bytes.len()).contains(&ip_bytes) {
                    bytes[10..12].fill(0);
                    let checksum = !fold(sum(&bytes[..ip_bytes]));
                    bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
                }
                if let Ok(packet) = read(&bytes, Checksum::Trusted) {
                    prop_assert!(packet.payload.end <= bytes.len());
                }
            }
        }
    }
}
