//! Meaning to bytes.

use super::frame::{Frame, Recipient};
use super::{
    DELIVER_BYTES, HEADER_BYTES, HELLO_BYTES, MAGIC, NUMBER_BYTES, SEND_BYTES, WELCOME_BYTES, kind, offset,
};
use crate::limits::{ERROR_TEXT_BYTES_MAX, FRAME_BYTES_MAX};

/// Writes the header and returns the rest of the head to be filled in.
fn head<const N: usize>(kind: u8, code: u16, tail: usize) -> [u8; N] {
    debug_assert!(N + tail <= FRAME_BYTES_MAX, "a frame of {} bytes", N + tail);
    let mut bytes = [0; N];
    put(&mut bytes, offset::LENGTH, ((N + tail) as u32).to_le_bytes());
    bytes[offset::KIND] = kind;
    put(&mut bytes, offset::CODE, code.to_le_bytes());
    bytes
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

fn number(kind: u8, code: u16, value: u64) -> [u8; NUMBER_BYTES] {
    let mut bytes = head(kind, code, 0);
    put(&mut bytes, offset::NUMBER, value.to_le_bytes());
    bytes
}

impl Frame<'_> {
    /// Appends the frame's bytes to `out`.
    ///
    /// A body must be at most [`crate::limits::BODY_BYTES_MAX`] (checked in debug builds); a text is cut to
    /// [`ERROR_TEXT_BYTES_MAX`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Frame::Hello(hello) => {
                let mut bytes = head::<HELLO_BYTES>(kind::HELLO, 0, 0);
                put(&mut bytes, offset::HELLO_MAGIC, MAGIC.to_le_bytes());
                put(&mut bytes, offset::HELLO_MIN, hello.version_min.to_le_bytes());
                put(&mut bytes, offset::HELLO_MAX, hello.version_max.to_le_bytes());
                put(&mut bytes, offset::HELLO_USER, hello.user.0.to_le_bytes());
                put(&mut bytes, offset::HELLO_DEVICE, hello.device.to_le_bytes());
                out.extend_from_slice(&bytes);
            }
            Frame::Welcome(welcome) => {
                let mut bytes = head::<WELCOME_BYTES>(kind::WELCOME, 0, 0);
                put(&mut bytes, offset::WELCOME_VERSION, welcome.version.to_le_bytes());
                put(&mut bytes, offset::WELCOME_OUTSTANDING, welcome.outstanding_max.to_le_bytes());
                put(&mut bytes, offset::WELCOME_FRAME_MAX, welcome.frame_bytes_max.to_le_bytes());
                put(&mut bytes, offset::WELCOME_IDLE, welcome.idle_timeout_ms.to_le_bytes());
                out.extend_from_slice(&bytes);
            }
            Frame::Send { id, to: Recipient::User(user), body } => {
                let mut bytes = head::<SEND_BYTES>(kind::SEND, 0, body.len());
                put(&mut bytes, offset::SEND_ID, id.0.to_le_bytes());
                put(&mut bytes, offset::SEND_TO, user.0.to_le_bytes());
                out.reserve(bytes.len() + body.len());
                out.extend_from_slice(&bytes);
                out.extend_from_slice(body);
            }
            Frame::Deliver { sequence, from, id, body } => {
                let mut bytes = head::<DELIVER_BYTES>(kind::DELIVER, 0, body.len());
                put(&mut bytes, offset::DELIVER_SEQUENCE, sequence.0.to_le_bytes());
                put(&mut bytes, offset::DELIVER_FROM, from.0.to_le_bytes());
                put(&mut bytes, offset::DELIVER_ID, id.0.to_le_bytes());
                out.reserve(bytes.len() + body.len());
                out.extend_from_slice(&bytes);
                out.extend_from_slice(body);
            }
            Frame::Accepted { id } => out.extend_from_slice(&number(kind::ACCEPTED, 0, id.0)),
            Frame::Refused { id, why } => out.extend_from_slice(&number(kind::REFUSED, why.code(), id.0)),
            Frame::Unknown { id, why } => out.extend_from_slice(&number(kind::UNKNOWN, why.code(), id.0)),
            Frame::Ack { sequence } => out.extend_from_slice(&number(kind::ACK, 0, sequence.0)),
            Frame::Ping { token } => out.extend_from_slice(&number(kind::PING, 0, token)),
            Frame::Pong { token } => out.extend_from_slice(&number(kind::PONG, 0, token)),
            Frame::Bye { why, wait_ms } => {
                out.extend_from_slice(&number(kind::BYE, why.code(), u64::from(wait_ms)));
            }
            Frame::Error { code, text } => {
                let text = &text[..text.floor_char_boundary(ERROR_TEXT_BYTES_MAX)];
                out.extend_from_slice(&head::<HEADER_BYTES>(kind::ERROR, code.code(), text.len()));
                out.extend_from_slice(text.as_bytes());
            }
        }
    }
}
