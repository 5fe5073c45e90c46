//! Every bound of this crate, with its reason.

use std::time::Duration;

/// Bytes that a connection takes beyond what it acknowledged: all that a header's 16 bits say without scaling. A phone's share
/// of a chat is a few messages.
pub const RECEIVE_WINDOW: u16 = u16::MAX;

/// Bytes that are sent and not acknowledged, or wait for room, from where on a send is not done before some of them are
/// acknowledged: the place of a kernel's send buffer.
pub const SEND_BUFFER: usize = 64 * 1024;

/// The largest payload that we take: an Ethernet frame's 1500 bytes without headers.
pub const MSS: u16 = 1460;

/// The largest payload that a peer takes which does not say so (RFC 9293).
pub const MSS_DEFAULT: u16 = 536;

/// The smallest that is believed: a peer that asks for less would have us send headers alone. Linux's least.
pub const MSS_MIN: u16 = 48;

/// Segments that may be sent before the first acknowledgement (RFC 6928).
pub const WINDOW_FIRST: u32 = 10;

/// The wait for an acknowledgement before any round trip was measured (RFC 6298), and its bounds. Linux's: the standard's least
/// of one second would be a second in every tail.
pub const RTO_FIRST: Duration = Duration::from_secs(1);
/// See [`RTO_FIRST`].
pub const RTO_MIN: Duration = Duration::from_millis(200);
/// See [`RTO_FIRST`].
pub const RTO_MAX: Duration = Duration::from_secs(120);

/// Attempts before a peer that does not answer counts as gone: of a SYN (net.ipv4.tcp_syn_retries) ...
pub const SYN_RETRIES: u8 = 6;
/// ... of anything else (net.ipv4.tcp_retries2) ...
pub const RETRIES: u8 = 15;
/// ... and of what nobody waits for any more (net.ipv4.tcp_orphan_retries).
pub const ORPHAN_RETRIES: u8 = 8;

/// How long an acknowledgement waits for something that goes out and carries it. Linux's least.
pub const ACK_DELAY: Duration = Duration::from_millis(40);

/// How long a connection that we have closed waits for the peer's FIN (net.ipv4.tcp_fin_timeout).
pub const FIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Duplicate acknowledgements that mean a loss (RFC 5681).
pub const DUPLICATE_ACKS: u8 = 3;

/// Segments that a connection keeps for later, because one before them is missing. A peer's first window is ten of them.
pub const HELD_SEGMENTS_MAX: usize = 32;

/// Segments of no connection that wait to be sent, from where on nobody else is answered who writes to none: that costs a stranger a
/// repeat.
pub const LOOSE_MAX: usize = 4096;

/// Send buffers that are kept for reuse, each of at most this many bytes.
pub const SPARES_MAX: usize = 1024;
/// See [`SPARES_MAX`].
pub const SPARE_BYTES_MAX: usize = 4096;

/// How exact timers are. None is shorter than [`ACK_DELAY`].
pub const TIMER_TICK: Duration = Duration::from_millis(1);

/// The longest packet that is taken or sent: an Ethernet frame's.
pub const PACKET_BYTES_MAX: usize = 1500;
const _: () = assert!(PACKET_BYTES_MAX == MSS as usize + crate::segment::HEADER_BYTES);

/// Packets taken per turn, before what they cause goes out. Most bring an event or none, and a batch has room for 1024 events: a
/// turn that takes fewer packets than it causes has the device's queue run over.
pub const PACKETS_PER_TURN: usize = 4096;
const _: () = assert!(PACKETS_PER_TURN >= 4 * throng_reactor::limits::BATCH_EVENTS);

/// How long timers of what was not acknowledged may wait for the device's queue to be seen empty. Beyond it whoever has no time to
/// read has none to wait for either.
pub const TIMERS_WAIT_MAX: Duration = Duration::from_millis(100);
