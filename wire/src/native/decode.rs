//! Bytes to meaning. Nothing is copied and nothing allocated: frames borrow from the bytes received.

use std::fmt;

use super::frame::{
    Bye, ErrorCode, Frame, Hello, MessageId, Recipient, Refusal, Sequence, Uncertainty, UserId, Welcome,
};
use super::{
    DELIVER_BYTES, HEADER_BYTES, HELLO_BYTES, MAGIC, NUMBER_BYTES, SEND_BYTES, WELCOME_BYTES, kind, offset,
};
use crate::limits::{BODY_BYTES_MAX, ERROR_TEXT_BYTES_MAX};

/// Who reads: some frames only a server sends, others only a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// A server reads what a client sent.
    Server,
    /// A client reads what a server sent.
    Client,
}

/// Why bytes are not a frame. The stream cannot be read on after any of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The header announces more than the limit.
    TooLong {
        /// What it announces, in bytes.
        length: u32,
        /// What is allowed, in bytes.
        limit: u32,
    },
    /// The length does not fit the kind.
    BadLength {
        /// The kind's number.
        kind: u8,
        /// What the header announces, in bytes.
        length: u32,
    },
    /// No kind has this number.
    UnknownKind(u8),
    /// Only the receiver itself may send this kind.
    WrongDirection(u8),
    /// A field has a value that it may not have.
    BadField {
        /// The kind's number.
        kind: u8,
        /// The field, as the drawing names it.
        field: &'static str,
    },
}

impl DecodeError {
    /// The code of the `Error` frame that answers it.
    pub fn code(&self) -> ErrorCode {
        match self {
            DecodeError::TooLong { .. } => ErrorCode::FrameTooLong,
            DecodeError::WrongDirection(_) => ErrorCode::WrongDirection,
            DecodeError::BadLength { .. } | DecodeError::UnknownKind(_) | DecodeError::BadField { .. } => {
                ErrorCode::BadFrame
            }
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            DecodeError::TooLong { length, limit } => {
                write!(f, "a frame of {length} bytes; at most {limit} are allowed here")
            }
            DecodeError::BadLength { kind, length } => {
                write!(f, "a frame of kind {kind} with {length} bytes")
            }
            DecodeError::UnknownKind(kind) => write!(f, "no frame has kind {kind}"),
            DecodeError::WrongDirection(kind) => write!(f, "a frame of kind {kind} goes the other way"),
            DecodeError::BadField { kind, field } => write!(f, "a bad `{field}` in a frame of kind {kind}"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Walks the frames of a run of bytes. What is left when [`Frames::next`] gives `None` ([`Frames::rest`]) is the
/// beginning of a frame; keep it, and put what arrives next behind it.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    bytes: &'a [u8],
    receiver: Receiver,
    frame_bytes_max: usize,
}

impl<'a> Frames<'a> {
    /// Frames of at most `frame_bytes_max` bytes, for this receiver.
    pub fn new(bytes: &'a [u8], receiver: Receiver, frame_bytes_max: usize) -> Frames<'a> {
        Frames { bytes, receiver, frame_bytes_max }
    }

    /// Changes the limit for the frames to come: it is lower before login.
    pub fn set_frame_bytes_max(&mut self, frame_bytes_max: usize) {
        self.frame_bytes_max = frame_bytes_max;
    }

    /// The bytes not yet read: after `None`, less than one frame.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// The next whole frame; `None` when there is none.
    ///
    /// # Errors
    /// The bytes are not a frame. A length beyond the limit is told from the header alone, before the rest arrives.
    #[expect(clippy::should_implement_trait, reason = "an iterator of results would go on after an error")]
    pub fn next(&mut self) -> Result<Option<Frame<'a>>, DecodeError> {
        if self.bytes.len() < HEADER_BYTES {
            return Ok(None);
        }
        let length = u32_at(self.bytes, offset::LENGTH);
        let kind = self.bytes[offset::KIND];
        if length as usize > self.frame_bytes_max {
            return Err(DecodeError::TooLong { length, limit: self.frame_bytes_max as u32 });
        }
        check_head(kind, length, self.receiver)?;
        let Some((frame, rest)) = self.bytes.split_at_checked(length as usize) else {
            return Ok(None);
        };
        self.bytes = rest;
        decode(frame, kind).map(Some)
    }
}

/// Judges a header before its frame is complete, so that nobody waits for the end of nonsense.
fn check_head(kind: u8, length: u32, receiver: Receiver) -> Result<(), DecodeError> {
    use Receiver::{Client, Server};
    let (reader, fixed, tail) = match kind {
        kind::HELLO => (Some(Server), HELLO_BYTES, false),
        kind::SEND => (Some(Server), SEND_BYTES, true),
        kind::ACK => (Some(Server), NUMBER_BYTES, false),
        kind::WELCOME => (Some(Client), WELCOME_BYTES, false),
        kind::ACCEPTED | kind::REFUSED | kind::UNKNOWN => (Some(Client), NUMBER_BYTES, false),
        kind::DELIVER => (Some(Client), DELIVER_BYTES, true),
        kind::ERROR => (Some(Client), HEADER_BYTES, true),
        kind::PING | kind::PONG | kind::BYE => (None, NUMBER_BYTES, false),
        _ => return Err(DecodeError::UnknownKind(kind)),
    };
    if reader.is_some_and(|reader| reader != receiver) {
        return Err(DecodeError::WrongDirection(kind));
    }
    // What is delivered carries a longer header than what was sent; the body must fit both.
    let send_max = SEND_BYTES + BODY_BYTES_MAX;
    if kind == kind::SEND && length as usize > send_max {
        return Err(DecodeError::TooLong { length, limit: send_max as u32 });
    }
    let length_fits = if tail { length as usize >= fixed } else { length as usize == fixed };
    if length_fits { Ok(()) } else { Err(DecodeError::BadLength { kind, length }) }
}

/// Reads a frame whose header passed [`check_head`] and whose bytes are all there.
fn decode(frame: &[u8], kind: u8) -> Result<Frame<'_>, DecodeError> {
    let bad = |field| DecodeError::BadField { kind, field };
    if frame[offset::FLAG] != 0 {
        return Err(bad("flag"));
    }
    let code = u16_at(frame, offset::CODE);
    let has_code = matches!(kind, kind::REFUSED | kind::UNKNOWN | kind::ERROR | kind::BYE);
    if !has_code && code != 0 {
        return Err(bad("code"));
    }
    Ok(match kind {
        kind::SEND => Frame::Send {
            id: MessageId(u64_at(frame, offset::SEND_ID)),
            to: Recipient::User(user_at(frame, offset::SEND_TO).ok_or(bad("to"))?),
            body: &frame[SEND_BYTES..],
        },
        kind::ACK => Frame::Ack { sequence: Sequence(u64_at(frame, offset::NUMBER)) },
        kind::DELIVER => Frame::Deliver {
            sequence: Sequence(u64_at(frame, offset::DELIVER_SEQUENCE)),
            from: user_at(frame, offset::DELIVER_FROM).ok_or(bad("from"))?,
            id: MessageId(u64_at(frame, offset::DELIVER_ID)),
            body: &frame[DELIVER_BYTES..],
        },
        kind::ACCEPTED => Frame::Accepted { id: MessageId(u64_at(frame, offset::NUMBER)) },
        kind::REFUSED => Frame::Refused {
            id: MessageId(u64_at(frame, offset::NUMBER)),
            why: Refusal::from_code(code).ok_or(bad("code"))?,
        },
        kind::UNKNOWN => Frame::Unknown {
            id: MessageId(u64_at(frame, offset::NUMBER)),
            why: Uncertainty::from_code(code).ok_or(bad("code"))?,
        },
        kind::PING => Frame::Ping { token: u64_at(frame, offset::NUMBER) },
        kind::PONG => Frame::Pong { token: u64_at(frame, offset::NUMBER) },
        kind::HELLO => {
            if u32_at(frame, offset::HELLO_MAGIC) != MAGIC {
                return Err(bad("magic"));
            }
            if u32_at(frame, offset::HELLO_ZERO) != 0 {
                return Err(bad("0"));
            }
            Frame::Hello(Hello {
                version_min: u16_at(frame, offset::HELLO_MIN),
                version_max: u16_at(frame, offset::HELLO_MAX),
                user: user_at(frame, offset::HELLO_USER).ok_or(bad("user"))?,
                device: u32_at(frame, offset::HELLO_DEVICE),
            })
        }
        kind::WELCOME => {
            if u32_at(frame, offset::WELCOME_ZERO) != 0 {
                return Err(bad("0"));
            }
            Frame::Welcome(Welcome {
                version: u16_at(frame, offset::WELCOME_VERSION),
                outstanding_max: u16_at(frame, offset::WELCOME_OUTSTANDING),
                frame_bytes_max: u32_at(frame, offset::WELCOME_FRAME_MAX),
                idle_timeout_ms: u32_at(frame, offset::WELCOME_IDLE),
            })
        }
        kind::ERROR => {
            let text = &frame[HEADER_BYTES..];
            let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= ERROR_TEXT_BYTES_MAX);
            Frame::Error {
                code: ErrorCode::from_code(code).ok_or(bad("code"))?,
                text: text.ok_or(bad("text"))?,
            }
        }
        kind::BYE => Frame::Bye {
            why: Bye::from_code(code).ok_or(bad("code"))?,
            wait_ms: u32::try_from(u64_at(frame, offset::NUMBER)).map_err(|_| bad("0"))?,
        },
        _ => return Err(DecodeError::UnknownKind(kind)),
    })
}

fn at<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    bytes[offset..offset + N].try_into().expect("the range has N bytes")
}

fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(at(bytes, offset))
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(at(bytes, offset))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(at(bytes, offset))
}

fn user_at(bytes: &[u8], offset: usize) -> Option<UserId> {
    Some(UserId(u64_at(bytes, offset))).filter(|user| user.0 != 0)
}
