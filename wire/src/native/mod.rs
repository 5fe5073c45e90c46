//! The native protocol, version 1. All numbers are little-endian; a frame is a header and what its kind adds.
//!
//! ```text
//!  header    0        4    5    6    8
//!            | length |kind|flag|code|              length counts the whole frame, header included;
//!            |  u32   | u8 | u8 | u16|              flag is 0 where nothing is said
//!
//!  to the server     8                16               24               32
//!  1  Hello          | magic  |min|max|      user      |device  |   0    |   32 bytes
//!                    |  u32   |u16|u16|      u64       |  u32   |  u32   |
//!  3  Send           |       id       |       to       | body ...            24 bytes + body; flag: kind of `to`
//!  8  Ack            |    sequence    |                                      16 bytes, cumulative
//!
//!  to the client     8                16               24               32
//!  2  Welcome        |ver|out|frame_max|idle_ms|   0   |                     24 bytes
//!                    |u16|u16|  u32    |  u32  |  u32  |
//!  4  Accepted       |       id       |                                      16 bytes
//!  5  Refused        |       id       |                                      16 bytes; code: why
//!  6  Unknown        |       id       |                                      16 bytes; code: why
//!  7  Deliver        |    sequence    |      from      |       id       | body ...   32 bytes + body
//!  11 Error          | text ...                                               8 bytes + text; code: what; then a close
//!
//!  both ways         8                16
//!  9  Ping           |     token      |                                      16 bytes
//!  10 Pong           |     token      |                                      16 bytes
//!  12 Bye            | wait_ms |   0  |                                      16 bytes; code: why
//! ```
//!
//! # A conversation
//!
//! ```text
//!  sender                 server                 recipient
//!    | Hello ------------> |                        |         the first frame, and the only one before Welcome
//!    | <---------- Welcome |                        |
//!    | Send(id, to) -----> | Deliver(seq, from, id) |         at most `out` sends without an outcome
//!    |                     | ---------------------> |
//!    |                     | <------------ Ack(seq) |         everything up to and with `seq` has arrived
//!    | <------ Accepted(id)|                        |
//! ```
//!
//! Every `Send` has one outcome: `Accepted` (the recipient acknowledged), `Refused` (it was not delivered and will
//! not be), or `Unknown` (it was on its way when the recipient's connection died; it may have arrived). A sequence
//! only grows, and need not be dense. The client's version range must contain one that the server speaks; `Welcome` names
//! the one that is used.

mod decode;
mod encode;
mod frame;

pub use decode::{DecodeError, Frames, Receiver};
pub use frame::{
    Bye, ErrorCode, Frame, Hello, MessageId, Recipient, Refusal, Sequence, Uncertainty, UserId, Welcome,
};

/// The lowest and highest version of the protocol that this library speaks.
pub const VERSIONS: std::ops::RangeInclusive<u16> = 1..=1;

/// The first four bytes of a `Hello`'s body: "THRG".
pub const MAGIC: u32 = u32::from_le_bytes(*b"THRG");

/// Bytes of the header that every frame begins with.
pub const HEADER_BYTES: usize = 8;
/// Bytes of a `Hello`.
pub const HELLO_BYTES: usize = HEADER_BYTES + 24;
/// Bytes of a `Welcome`.
pub const WELCOME_BYTES: usize = HEADER_BYTES + 16;
/// Bytes of a `Send` without its body.
pub const SEND_BYTES: usize = HEADER_BYTES + 16;
/// Bytes of a `Deliver` without its body.
pub const DELIVER_BYTES: usize = HEADER_BYTES + 24;
/// Bytes of the frames that carry one 64-bit number: `Accepted`, `Refused`, `Unknown`, `Ack`, `Ping`, `Pong`, and of `Bye`.
pub const NUMBER_BYTES: usize = HEADER_BYTES + 8;

/// The frame kinds' numbers on the wire.
pub(crate) mod kind {
    pub(crate) const HELLO: u8 = 1;
    pub(crate) const WELCOME: u8 = 2;
    pub(crate) const SEND: u8 = 3;
    pub(crate) const ACCEPTED: u8 = 4;
    pub(crate) const REFUSED: u8 = 5;
    pub(crate) const UNKNOWN: u8 = 6;
    pub(crate) const DELIVER: u8 = 7;
    pub(crate) const ACK: u8 = 8;
    pub(crate) const PING: u8 = 9;
    pub(crate) const PONG: u8 = 10;
    pub(crate) const ERROR: u8 = 11;
    pub(crate) const BYE: u8 = 12;
}

/// The offsets of the drawing above, relative to the frame's first byte. Reader and writer use these and no others.
pub(crate) mod offset {
    use super::{DELIVER_BYTES, HEADER_BYTES, HELLO_BYTES, NUMBER_BYTES, SEND_BYTES, WELCOME_BYTES};

    pub(crate) const LENGTH: usize = 0;
    pub(crate) const KIND: usize = 4;
    pub(crate) const FLAG: usize = 5;
    pub(crate) const CODE: usize = 6;
    const _: () = assert!(CODE + size_of::<u16>() == HEADER_BYTES);

    /// Where the one number of `Accepted`, `Refused`, `Unknown`, `Ack`, `Ping` and `Pong` stands, and `Bye`'s wait.
    pub(crate) const NUMBER: usize = HEADER_BYTES;
    const _: () = assert!(NUMBER + size_of::<u64>() == NUMBER_BYTES);

    pub(crate) const HELLO_MAGIC: usize = HEADER_BYTES;
    pub(crate) const HELLO_MIN: usize = HELLO_MAGIC + size_of::<u32>();
    pub(crate) const HELLO_MAX: usize = HELLO_MIN + size_of::<u16>();
    pub(crate) const HELLO_USER: usize = HELLO_MAX + size_of::<u16>();
    pub(crate) const HELLO_DEVICE: usize = HELLO_USER + size_of::<u64>();
    pub(crate) const HELLO_ZERO: usize = HELLO_DEVICE + size_of::<u32>();
    const _: () = assert!(HELLO_ZERO + size_of::<u32>() == HELLO_BYTES);

    pub(crate) const WELCOME_VERSION: usize = HEADER_BYTES;
    pub(crate) const WELCOME_OUTSTANDING: usize = WELCOME_VERSION + size_of::<u16>();
    pub(crate) const WELCOME_FRAME_MAX: usize = WELCOME_OUTSTANDING + size_of::<u16>();
    pub(crate) const WELCOME_IDLE: usize = WELCOME_FRAME_MAX + size_of::<u32>();
    pub(crate) const WELCOME_ZERO: usize = WELCOME_IDLE + size_of::<u32>();
    const _: () = assert!(WELCOME_ZERO + size_of::<u32>() == WELCOME_BYTES);

    pub(crate) const SEND_ID: usize = HEADER_BYTES;
    pub(crate) const SEND_TO: usize = SEND_ID + size_of::<u64>();
    const _: () = assert!(SEND_TO + size_of::<u64>() == SEND_BYTES);

    pub(crate) const DELIVER_SEQUENCE: usize = HEADER_BYTES;
    pub(crate) const DELIVER_FROM: usize = DELIVER_SEQUENCE + size_of::<u64>();
    pub(crate) const DELIVER_ID: usize = DELIVER_FROM + size_of::<u64>();
    const _: () = assert!(DELIVER_ID + size_of::<u64>() == DELIVER_BYTES);
}
