//! What a frame means, whatever its bytes are.

use std::fmt;

/// A person. Zero is nobody and never valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(pub u64);

/// A message, as its sender numbers it: unique among the sender's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u64);

/// A place in a recipient's order of deliveries. It only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

/// To whom a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// One person.
    User(UserId),
}

/// A client's first frame: who it is, and which versions it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Lowest version spoken.
    pub version_min: u16,
    /// Highest version spoken.
    pub version_max: u16,
    /// The person.
    pub user: UserId,
    /// Which of the person's devices.
    pub device: u32,
}

/// The server's answer to a `Hello`: the rules of this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The version that is used from here on.
    pub version: u16,
    /// Sends without an outcome that the client may have.
    pub outstanding_max: u16,
    /// Longest frame, in bytes.
    pub frame_bytes_max: u32,
    /// Silence, in milliseconds, after which the server closes the connection.
    pub idle_timeout_ms: u32,
}

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$case_doc:meta])* $case:ident = $number:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum $name { $($(#[$case_doc])* $case = $number,)* }

        impl $name {
            /// The number on the wire.
            pub fn code(self) -> u16 {
                self as u16
            }

            pub(crate) fn from_code(code: u16) -> Option<$name> {
                match code {
                    $($number => Some($name::$case),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($name::$case => $text,)* })
            }
        }
    };
}

codes! {
    /// Why a message was not delivered and will not be.
    Refusal {
        /// The recipient has no connection.
        NotConnected = 1, "the recipient is not connected";
        /// The server keeps as much for this recipient as it may.
        RecipientBusy = 2, "the recipient has too many unacknowledged messages";
        /// The server is about to stop.
        Draining = 3, "the server is draining";
    }
}

codes! {
    /// Why it is not known whether a message arrived.
    Uncertainty {
        /// The recipient's connection ended between `Deliver` and `Ack`.
        ConnectionLost = 1, "the recipient's connection ended before it acknowledged";
    }
}

codes! {
    /// Why a connection ends politely.
    Bye {
        /// The client has had enough.
        Leaving = 1, "the client leaves";
        /// The server stops; come back after the wait.
        Draining = 2, "the server is draining";
        /// The same user logged in again elsewhere.
        Replaced = 3, "the user logged in on another connection";
        /// Nothing was heard for too long.
        Idle = 4, "nothing was heard from the client for too long";
    }
}

codes! {
    /// What a peer did wrong. A close follows.
    ErrorCode {
        /// The bytes are no frame: unknown kind, impossible length, nonzero where zero must be.
        BadFrame = 1, "the bytes are not a frame";
        /// The frame is longer than the limit.
        FrameTooLong = 2, "the frame is longer than the limit";
        /// A frame that only the other side may send.
        WrongDirection = 3, "only a server sends this frame";
        /// Something other than `Hello` came first.
        NotLoggedIn = 4, "a Hello must come first";
        /// A second `Hello`.
        AlreadyLoggedIn = 5, "the connection is already logged in";
        /// No common version.
        Version = 6, "no version in common";
        /// No `Hello` in time.
        LoginTimeout = 7, "no Hello came in time";
        /// More sends without an outcome than allowed.
        TooManyOutstanding = 8, "too many messages without an outcome";
        /// An `Ack` of what was never delivered.
        BadAck = 9, "the acknowledged sequence was never delivered";
        /// The client does not read what it is sent.
        SlowReader = 10, "the client reads too slowly";
        /// As many connections wait for their login as the server allows.
        TooManyLogins = 11, "too many connections are waiting to log in";
        /// The server has no room for the beginning of another frame.
        NoRoom = 12, "the server holds too many unfinished frames";
    }
}

/// One frame. Bodies and texts borrow from the bytes that they were read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The client's first frame.
    Hello(Hello),
    /// The server's answer to it.
    Welcome(Welcome),
    /// A message on its way to the server.
    Send {
        /// The sender's number for it.
        id: MessageId,
        /// To whom.
        to: Recipient,
        /// What.
        body: &'a [u8],
    },
    /// The recipient has the message.
    Accepted {
        /// Which.
        id: MessageId,
    },
    /// The message will not arrive.
    Refused {
        /// Which.
        id: MessageId,
        /// Why.
        why: Refusal,
    },
    /// The message may have arrived.
    Unknown {
        /// Which.
        id: MessageId,
        /// Why that is not known.
        why: Uncertainty,
    },
    /// A message on its way to its recipient.
    Deliver {
        /// Its place in the recipient's order.
        sequence: Sequence,
        /// From whom.
        from: UserId,
        /// The sender's number for it: with `from` it recognises repeats.
        id: MessageId,
        /// What.
        body: &'a [u8],
    },
    /// Everything up to and with this sequence has arrived.
    Ack {
        /// The highest that arrived.
        sequence: Sequence,
    },
    /// Are you there?
    Ping {
        /// Comes back in the `Pong`.
        token: u64,
    },
    /// I am.
    Pong {
        /// That of the `Ping`.
        token: u64,
    },
    /// The peer broke the rules; a close follows.
    Error {
        /// Which rule.
        code: ErrorCode,
        /// One sentence for a person.
        text: &'a str,
    },
    /// The connection ends politely.
    Bye {
        /// Why.
        why: Bye,
        /// How long the client should stay away, in milliseconds.
        wait_ms: u32,
    },
}
