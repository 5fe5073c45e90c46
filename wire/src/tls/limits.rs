//! Every bound of TLS, with its reason. What fruitless traffic is borne is as in rustls and BoringSSL.

/// Records without text in a row.
pub(super) const EMPTY_MAX: u8 = 32;

/// Key updates without data in between.
pub(super) const UPDATES_MAX: u8 = 32;

/// Warnings.
pub(super) const WARNINGS_MAX: u8 = 4;

/// Handshakes that are declined.
pub(super) const RENEGOTIATIONS_MAX: u8 = 1;

/// Bytes of a handshake message, at most.
pub(super) const MESSAGE_BYTES_MAX: usize = 0xffff;

/// Records of one handshake, at most: 40 bytes in each are enough for a long chain of certificates.
pub(super) const RECORDS_MAX: u32 = 512;

/// Bytes that rustls may hold on to: the longest message of a handshake (64 KiB) and the record that it ends in.
pub(super) const KEPT_BYTES_MAX: usize = (64 << 10) + (18 << 10);

/// Tickets that are kept, of about a kilobyte each. A storm of more users than that resumes with so many, and with those that the first
/// of it get.
pub(super) const TICKETS_MAX: usize = 32_768;
