//! The compact form of a connection after its handshake: the keys of both directions, and what the RFCs want counted.
//!
//! ```text
//!   open:   header │ sealed  ──>  the text, where it was sealed: data, or what TLS says to itself
//!   seal:   text             ──>  [KeyUpdate] header │ sealed, header │ sealed, .. [alert]
//! ```
//!
//! What TLS says to itself after a handshake: alerts, in TLS 1.3 key updates and tickets (which are not used here), in TLS 1.2
//! requests for another handshake, which are declined. Everything else ends the connection, with the alert that RFC 8446 and RFC
//! 5246 want. How much fruitless traffic is borne is bounded as in rustls and BoringSSL.

use std::ops::Range;

use rustls::AlertDescription;

use super::Error;
use super::half::Half;
use super::header::{self, Content, FRAGMENT_BYTES_MAX, HEADER_BYTES};
use super::limits::{EMPTY_MAX, MESSAGE_BYTES_MAX, RENEGOTIATIONS_MAX, UPDATES_MAX, WARNINGS_MAX};
use super::suite::{Suite, Version};

/// Types of handshake messages.
const HELLO_REQUEST: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// Levels of alerts.
const WARNING: u8 = 1;
const FATAL: u8 = 2;

/// Which side of a connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Began it.
    Client,
    /// Accepted it.
    Server,
}

/// What a record held. All positions are in the bytes that were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Bytes of the record.
    pub used: usize,
    /// Where its text is; empty for what TLS says to itself.
    pub text: Range<usize>,
    /// The peer sends no more (close_notify).
    pub closed: bool,
}

/// How far the receiving direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inbound {
    Open,
    /// The peer has said that it sends no more, or has done what ends a connection: whatever comes is not looked at.
    Ended,
}

/// What is said last, behind whatever waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outbound {
    Open,
    /// This alert is to be sent, and is the last record.
    Ending(u8, AlertDescription),
    /// It was.
    Ended,
}

/// A handshake message of which a part has arrived. Bodies are not kept: only the last byte of one counts.
#[derive(Clone, Copy, Debug, Default)]
struct Message {
    head: [u8; 4],
    head_bytes: u8,
    /// Bytes of its body that are still to come.
    body_left: u16,
    last: u8,
}

/// The compact form. 240 bytes.
pub(super) struct Records {
    receive: Half,
    send: Half,
    suite: Suite,
    side: Side,
    inbound: Inbound,
    outbound: Outbound,
    message: Message,
    /// The peer asked for new keys of this direction: they are announced before the next record.
    owes_update: bool,
    /// A handshake was declined, and the peer must hear of it.
    declines: bool,
    empty: u8,
    updates: u8,
    warnings: u8,
    renegotiations: u8,
}
const _: () = assert!(size_of::<Records>() <= 240);

impl Records {
    /// A connection whose handshake is over.
    pub(super) fn new(side: Side, suite: Suite, receive: Half, send: Half) -> Records {
        Records {
            receive,
            send,
            suite,
            side,
            inbound: Inbound::Open,
            outbound: Outbound::Open,
            message: Message::default(),
            owes_update: false,
            declines: false,
            empty: 0,
            updates: 0,
            warnings: 0,
            renegotiations: 0,
        }
    }

    pub(super) fn suite(&self) -> Suite {
        self.suite
    }

    /// Opens the first record in `bytes`, in place; `None` while it has not arrived whole.
    ///
    /// # Errors
    /// What ends the connection; its alert goes out with the next [`Records::seal`].
    pub(super) fn open(&mut self, bytes: &mut [u8]) -> Result<Option<Opened>, Error> {
        if self.inbound == Inbound::Ended {
            return Ok(Some(Opened { used: bytes.len(), ..Opened::default() }));
        }
        let opened = self.record(bytes);
        if let Err(error) = &opened {
            self.inbound = Inbound::Ended;
            self.outbound = match (error.alert(), self.outbound) {
                (Some(alert), Outbound::Open) => Outbound::Ending(FATAL, alert),
                // Who gave up hears nothing more, and nobody is told twice.
                _ => Outbound::Ended,
            };
        }
        opened
    }

    fn record(&mut self, bytes: &mut [u8]) -> Result<Option<Opened>, Error> {
        let Some((outer, length)) = header::read(bytes)? else { return Ok(None) };
        let used = HEADER_BYTES + length;
        let Some(record) = bytes.get_mut(..used) else { return Ok(None) };
        if outer == Content::ChangeCipherSpec && self.message.head_bytes == 0 {
            return Err(unexpected("a change of ciphers after the handshake"));
        }
        let text = self.receive.open(self.suite, record).ok_or_else(|| {
            Error::new(AlertDescription::BadRecordMac, "a record that was not sealed for this connection")
        })?;
        let (content, text) = match self.suite.version {
            Version::Tls12 => (outer, text),
            Version::Tls13 => hidden(record, text)?,
        };
        if text.len() > FRAGMENT_BYTES_MAX {
            return Err(overlong());
        }
        if self.message.head_bytes > 0 && content != Content::Handshake {
            return Err(unexpected("a record within a handshake message"));
        }
        if !text.is_empty() {
            self.empty = 0;
        } else if self.empty == EMPTY_MAX {
            return Err(unexpected("empty records without end"));
        } else {
            self.empty += 1;
        }
        let mut opened = Opened { used, ..Opened::default() };
        match content {
            Content::Data => {
                self.updates = 0;
                opened.text = text;
            }
            Content::Alert => opened.closed = self.alert(&record[text])?,
            Content::Handshake => self.handshake(&record[text])?,
            Content::ChangeCipherSpec => return Err(unexpected("a change of ciphers after the handshake")),
            Content::Heartbeat => return Err(unknown()),
        }
        Ok(Some(opened))
    }

    /// True: the peer sends no more.
    fn alert(&mut self, text: &[u8]) -> Result<bool, Error> {
        let &[level, description] = text else {
            return Err(Error::new(AlertDescription::DecodeError, "an alert that is none"));
        };
        let description = AlertDescription::from(description);
        if level != WARNING && level != FATAL {
            return Err(Error::new(AlertDescription::IllegalParameter, "an alert of no level"));
        }
        if description == AlertDescription::CloseNotify {
            self.inbound = Inbound::Ended;
            return Ok(true);
        }
        if level == FATAL {
            return Err(Error::received(description));
        }
        if self.warnings == WARNINGS_MAX {
            return Err(unexpected("warnings without end"));
        }
        self.warnings += 1;
        if self.suite.version == Version::Tls13 && description != AlertDescription::UserCanceled {
            return Err(Error::new(AlertDescription::DecodeError, "a warning, which TLS 1.3 does not know"));
        }
        Ok(false)
    }

    /// Takes the bytes of a handshake record.
    fn handshake(&mut self, mut text: &[u8]) -> Result<(), Error> {
        while let Some((&byte, rest)) = text.split_first() {
            let message = &mut self.message;
            if usize::from(message.head_bytes) < message.head.len() {
                message.head[usize::from(message.head_bytes)] = byte;
                message.head_bytes += 1;
                text = rest;
                if usize::from(message.head_bytes) < message.head.len() {
                    continue;
                }
                let [_, high, middle, low] = message.head;
                let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                if length > MESSAGE_BYTES_MAX {
                    return Err(Error::new(
                        AlertDescription::DecodeError,
                        "a handshake message beyond the longest",
                    ));
                }
                message.body_left = length as u16;
            } else {
                let (body, rest) = text.split_at(text.len().min(usize::from(message.body_left)));
                message.body_left -= body.len() as u16;
                message.last = *body.last().unwrap_or(&0);
                text = rest;
            }
            if self.message.body_left == 0 {
                let message = std::mem::take(&mut self.message);
                self.message(message, text.is_empty())?;
            }
        }
        Ok(())
    }

    /// A handshake message is whole; `is_last` of its record.
    fn message(&mut self, message: Message, is_last: bool) -> Result<(), Error> {
        let [kind, length @ ..] = message.head;
        match (self.suite.version, self.side, kind) {
            (Version::Tls13, _, KEY_UPDATE) => self.update(length, message.last, is_last),
            (Version::Tls13, Side::Client, NEW_SESSION_TICKET) => Ok(()),
            (Version::Tls12, Side::Client, HELLO_REQUEST) | (Version::Tls12, Side::Server, CLIENT_HELLO) => {
                if self.renegotiations == RENEGOTIATIONS_MAX {
                    return Err(unexpected("another handshake, though it was declined"));
                }
                self.renegotiations += 1;
                self.declines = true;
                Ok(())
            }
            _ => Err(unexpected("a handshake message after the handshake")),
        }
    }

    /// The peer has new keys, from the next record on.
    fn update(&mut self, length: [u8; 3], request: u8, is_last: bool) -> Result<(), Error> {
        if length != [0, 0, 1] {
            return Err(Error::new(AlertDescription::DecodeError, "a key update that is none"));
        }
        if !is_last {
            return Err(unexpected("a change of keys within a record"));
        }
        if self.updates == UPDATES_MAX {
            return Err(unexpected("key updates without end"));
        }
        self.updates += 1;
        match request {
            0 => {}
            1 => self.owes_update = true,
            _ => return Err(Error::new(AlertDescription::IllegalParameter, "a key update that is none")),
        }
        self.receive.update(self.suite);
        Ok(())
    }

    /// Whether something is to be sent though nobody has anything to say.
    pub(super) fn wants_to_send(&self) -> bool {
        self.declines || matches!(self.outbound, Outbound::Ending(..))
    }

    /// Nothing is sent after what waits: the next [`Records::seal`] ends with close_notify.
    pub(super) fn close(&mut self) {
        if self.outbound == Outbound::Open {
            self.outbound = Outbound::Ending(WARNING, AlertDescription::CloseNotify);
        }
    }

    /// Seals all of `text`, in place, with what TLS has to say before and behind it.
    ///
    /// # Errors
    /// No key of TLS 1.2 may seal so many records: nothing of the text is sent, and close_notify is.
    pub(super) fn seal(&mut self, text: &mut Vec<u8>) -> Result<(), Error> {
        if self.outbound == Outbound::Ended {
            text.clear();
            return Ok(());
        }
        let (prefix, suffix) = (HEADER_BYTES + self.suite.prefix_bytes(), self.suite.suffix_bytes());
        let around = prefix + suffix;
        let records = text.len().div_ceil(FRAGMENT_BYTES_MAX);
        // One more for what is said last.
        let is_used_up = self.send.records + records as u64 + 1 >= self.suite.records_max();
        let is_exhausted = is_used_up && records > 0 && self.suite.version == Version::Tls12;
        if is_exhausted {
            text.clear();
            self.close();
        }
        let renews = records > 0 && self.suite.version == Version::Tls13 && (self.owes_update || is_used_up);
        let mut at = text.len();
        let head = if renews { around + KEY_UPDATE_MESSAGE.len() } else { 0 };
        let mut end = head + at + at.div_ceil(FRAGMENT_BYTES_MAX) * around;
        text.resize(end, 0);
        // To their places, the last first, since each moves back.
        while at > 0 {
            let length = (at - 1) % FRAGMENT_BYTES_MAX + 1;
            at -= length;
            end -= length + around;
            text.copy_within(at..at + length, end + prefix);
        }
        if renews {
            text[prefix..][..KEY_UPDATE_MESSAGE.len()].copy_from_slice(&KEY_UPDATE_MESSAGE);
            self.send.seal(self.suite, Content::Handshake, &mut text[..head]);
            self.send.update(self.suite);
            self.owes_update = false;
        }
        for record in text[head..].chunks_mut(FRAGMENT_BYTES_MAX + around) {
            self.send.seal(self.suite, Content::Data, record);
        }
        if std::mem::take(&mut self.declines) {
            self.say(WARNING, AlertDescription::NoRenegotiation, text);
        }
        if let Outbound::Ending(level, alert) = self.outbound {
            self.say(level, alert, text);
            self.outbound = Outbound::Ended;
        }
        if is_exhausted { Err(Error::exhausted()) } else { Ok(()) }
    }

    /// Appends an alert.
    fn say(&mut self, level: u8, alert: AlertDescription, out: &mut Vec<u8>) {
        let (from, prefix) = (out.len(), HEADER_BYTES + self.suite.prefix_bytes());
        out.resize(from + prefix, 0);
        out.extend([level, u8::from(alert)]);
        out.resize(out.len() + self.suite.suffix_bytes(), 0);
        self.send.seal(self.suite, Content::Alert, &mut out[from..]);
    }
}

/// A key update that asks for none in return.
const KEY_UPDATE_MESSAGE: [u8; 5] = [KEY_UPDATE, 0, 0, 1, 0];

fn unexpected(why: &'static str) -> Error {
    Error::new(AlertDescription::UnexpectedMessage, why)
}

fn unknown() -> Error {
    Error::new(AlertDescription::DecodeError, "a record of no known content")
}

fn overlong() -> Error {
    Error::new(AlertDescription::RecordOverflow, "a record with more text than one may have")
}

/// The content of a record of TLS 1.3, and its text: the last byte that is not zero says what it is (RFC 8446, 5.2).
fn hidden(record: &[u8], text: Range<usize>) -> Result<(Content, Range<usize>), Error> {
    if text.len() > FRAGMENT_BYTES_MAX + 1 {
        return Err(overlong());
    }
    let last = record[text.clone()].iter().rposition(|&byte| byte != 0);
    let last = last.ok_or_else(|| unexpected("a record of nothing but padding"))?;
    let content = Content::of(record[text.start + last]);
    let content = content.ok_or_else(unknown)?;
    Ok((content, text.start..text.start + last))
}

#[cfg(test)]
mod tests {
    use rustls::ConnectionTrafficSecrets;

    use super::super::half::Secret;
    use super::super::suite::Cipher;
    use super::*;

    /// Both ends of a connection with keys that everybody knows, before the record that is numbered `records`.
    fn pair(version: Version, cipher: Cipher, records: u64) -> (Records, Records) {
        let secrets = |key: u8| {
            let (key, iv) = ([key; 32].into(), [9; 12].into());
            match cipher {
                Cipher::Chacha20Poly1305 => ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv },
                _ => ConnectionTrafficSecrets::Aes256Gcm { key, iv },
            }
        };
        let half = |key: u8| Half::new(records, &secrets(key), Secret([key; 48])).expect("a key of 32 bytes");
        let suite = Suite { version, cipher };
        (
            Records::new(Side::Client, suite, half(1), half(2)),
            Records::new(Side::Server, suite, half(2), half(1)),
        )
    }

    fn passes(from: &mut Records, to: &mut Records, text: &[u8]) -> bool {
        let mut bytes = text.to_vec();
        from.seal(&mut bytes).expect("keys are left");
        let (mut at, mut heard) = (0, Vec::new());
        while at < bytes.len() {
            let opened = to.open(&mut bytes[at..]).expect("they agree").expect("it is whole");
            heard.extend_from_slice(&bytes[at..][opened.text]);
            at += opened.used;
        }
        heard == text
    }

    #[test]
    fn a_key_of_tls_1_3_that_has_sealed_enough_is_changed_under_way() {
        let limit = Suite { version: Version::Tls13, cipher: Cipher::Aes256Gcm }.records_max();
        let (mut client, mut server) = pair(Version::Tls13, Cipher::Aes256Gcm, limit - 4);
        for round in 0..10_u64 {
            assert!(
                passes(&mut client, &mut server, &[7; 100]) && passes(&mut server, &mut client, &[8; 100])
            );
            let expected = if round < 2 { limit - 3 + round } else { round - 1 };
            assert_eq!((client.send.records, server.receive.records), (expected, expected), "round {round}");
        }
        // Many records at once, none of them beyond.
        let (mut client, mut server) = pair(Version::Tls13, Cipher::Aes256Gcm, limit - 10);
        assert!(passes(&mut client, &mut server, &vec![7; 20 * FRAGMENT_BYTES_MAX]));
        assert_eq!(client.send.records, 20);
    }

    #[test]
    fn a_key_of_tls_1_2_that_has_sealed_enough_ends_its_connection_with_a_goodbye() {
        let limit = Suite { version: Version::Tls12, cipher: Cipher::Aes256Gcm }.records_max();
        let (mut client, mut server) = pair(Version::Tls12, Cipher::Aes256Gcm, limit - 3);
        assert!(passes(&mut client, &mut server, b"one more"));
        let mut bytes = b"and not this".to_vec();
        let error = client.seal(&mut bytes).expect_err("the key is used up");
        assert!(error.to_string().contains("as many records as it may"));
        let opened = server.open(&mut bytes).expect("it is sealed").expect("it is whole");
        assert!(opened.closed && opened.used == bytes.len() && opened.text.is_empty());
        bytes = b"nor this".to_vec();
        client.seal(&mut bytes).expect("it is over");
        assert!(bytes.is_empty());
    }

    #[test]
    fn a_cipher_without_such_a_limit_goes_on() {
        for version in [Version::Tls12, Version::Tls13] {
            let (mut client, mut server) = pair(version, Cipher::Chacha20Poly1305, (1 << 24) - 2);
            assert!((0..10).all(|_| passes(&mut client, &mut server, b"text")));
            assert_eq!(client.send.records, (1 << 24) + 8);
        }
    }

    #[test]
    fn keys_are_zeros_once_they_are_dropped() {
        fn is_wiped<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        let (mut client, _) = pair(Version::Tls13, Cipher::Aes256Gcm, 0);
        is_wiped(&client.send);
        zeroize::Zeroize::zeroize(&mut client.send);
        assert!(!client.send.is_from_its_secret(client.suite) && client.send.records == 0);
    }
}
