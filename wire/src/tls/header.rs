//! The five bytes before every record.
//!
//! ```text
//!   type 1 │ version 2 │ length 2 │ length bytes
//! ```

use rustls::AlertDescription;

use super::Error;

/// Bytes of a header.
pub(super) const HEADER_BYTES: usize = 5;
/// Bytes of text in one record, at most (RFC 8446, 5.1).
pub(super) const FRAGMENT_BYTES_MAX: usize = 16_384;
/// What may follow a header: a text with all that a sealed record of TLS 1.2 may have around it (RFC 5246, 6.2.3).
const PAYLOAD_BYTES_MAX: usize = FRAGMENT_BYTES_MAX + 2_048;
/// The version in every header since TLS 1.2.
pub(super) const VERSION: [u8; 2] = [3, 3];

/// What a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Content {
    ChangeCipherSpec = 20,
    Alert = 21,
    Handshake = 22,
    Data = 23,
    /// RFC 6520, which nobody here speaks.
    Heartbeat = 24,
}

impl Content {
    pub(super) fn of(byte: u8) -> Option<Content> {
        match byte {
            20 => Some(Content::ChangeCipherSpec),
            21 => Some(Content::Alert),
            22 => Some(Content::Handshake),
            23 => Some(Content::Data),
            24 => Some(Content::Heartbeat),
            _ => None,
        }
    }
}

/// The header of the first record in `bytes`, and how many bytes follow it; `None` while it has not arrived whole.
///
/// # Errors
/// What no record begins with.
pub(super) fn read(bytes: &[u8]) -> Result<Option<(Content, usize)>, Error> {
    let bad = |why| Error::new(AlertDescription::DecodeError, why);
    let Some(&first) = bytes.first() else { return Ok(None) };
    let content = Content::of(first).ok_or_else(|| bad("bytes that are no TLS"))?;
    if bytes.get(1..3).is_some_and(|version| version[0] != VERSION[0]) {
        return Err(bad("a record of no version of TLS"));
    }
    let Some(&[_, _, _, high, low]) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length == 0 && content != Content::Data {
        return Err(bad("an empty record"));
    }
    if length >= PAYLOAD_BYTES_MAX {
        return Err(bad("a record beyond the longest"));
    }
    Ok(Some((content, length)))
}

/// Writes a header.
pub(super) fn write(content: Content, length: usize, header: &mut [u8]) {
    let length = u16::try_from(length).expect("a record has at most 16 KiB and what is around it");
    header[0] = content as u8;
    header[1..3].copy_from_slice(&VERSION);
    header[3..HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written_and_not_before_it_is_whole() {
        let mut bytes = [0; HEADER_BYTES];
        write(Content::Handshake, 300, &mut bytes);
        assert_eq!(bytes, [22, 3, 3, 1, 44]);
        assert_eq!(read(&bytes), Ok(Some((Content::Handshake, 300))));
        for end in 0..HEADER_BYTES {
            assert_eq!(read(&bytes[..end]), Ok(None));
        }
    }

    #[test]
    fn what_is_no_record_is_told_at_its_first_bytes() {
        for bytes in [b"GET / H".as_slice(), &[23, 4, 0], &[22, 3, 3, 0, 0], &[23, 3, 3, 0x48, 0]] {
            assert_eq!(read(bytes).map_err(|error| error.alert()), Err(Some(AlertDescription::DecodeError)));
        }
        assert_eq!(read(&[23, 3, 3, 0x47, 0xff]), Ok(Some((Content::Data, 0x47ff))));
        assert_eq!(read(&[23, 3, 3, 0, 0]), Ok(Some((Content::Data, 0))), "data may be empty");
    }
}
