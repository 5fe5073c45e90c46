//! Every bound of the protocols, with its reason.

/// Bytes of one frame, header included. Media travel by link, so a chat message is small; 64 KiB leaves room for long
/// texts and bounds what a half-sent frame can hold of a server's memory.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;

/// Bytes of one frame before login. Nothing but `Hello` is allowed there, which is 32.
pub const FRAME_BYTES_MAX_BEFORE_LOGIN: usize = 1024;
const _: () = assert!(crate::native::HELLO_BYTES <= FRAME_BYTES_MAX_BEFORE_LOGIN);
const _: () = assert!(FRAME_BYTES_MAX_BEFORE_LOGIN < FRAME_BYTES_MAX);

/// Messages of one sender that are neither accepted nor refused yet. It bounds what the server keeps per sender, and fits the
/// 64-bit maps in which recipients remember what they have seen.
pub const OUTSTANDING_MAX: u16 = 64;

/// Bytes of the text in an `Error` frame: one sentence.
pub const ERROR_TEXT_BYTES_MAX: usize = 200;

/// Bytes of a message's body: the frame less the larger of the two headers that carry it.
pub const BODY_BYTES_MAX: usize = FRAME_BYTES_MAX - crate::native::DELIVER_BYTES;
