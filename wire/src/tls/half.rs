//! One direction of a connection: a key, and how many records it has sealed.

use std::ops::Range;

use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::Prk;
use rustls::ConnectionTrafficSecrets;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::header::{self, Content, HEADER_BYTES, VERSION};
use super::suite::{Suite, TAG_BYTES, Version};

/// Bytes of the longest key.
const KEY_BYTES_MAX: usize = 32;
/// Bytes of the longest traffic secret.
pub(super) const SECRET_BYTES_MAX: usize = 48;

/// How every sealed record of TLS 1.3 begins.
const SEALED: [u8; 3] = [Content::Data as u8, VERSION[0], VERSION[1]];

/// A traffic secret of TLS 1.3, zeros behind its end. Its bytes are gone when it is dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct Secret(pub(super) [u8; SECRET_BYTES_MAX]);

impl Secret {
    /// For TLS 1.2, which has none.
    pub(super) const NONE: Secret = Secret([0; SECRET_BYTES_MAX]);
}

/// One direction. The key's bytes are kept, not what a cipher makes of them, which is five times as long: it is made for each record.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Half {
    /// Records sealed, or opened, with this key.
    pub(super) records: u64,
    /// What the next key comes from (TLS 1.3).
    secret: Secret,
    key: [u8; KEY_BYTES_MAX],
    iv: [u8; NONCE_LEN],
}
const _: () = assert!(size_of::<Half>() == 104);

impl Half {
    /// As a handshake left it, after so many records.
    pub(super) fn new(records: u64, secrets: &ConnectionTrafficSecrets, secret: Secret) -> Option<Half> {
        let (from, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv }
            | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
            | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key.as_ref(), iv.as_ref()),
            _ => return None,
        };
        let mut half = Half { records, secret, key: [0; KEY_BYTES_MAX], iv: [0; NONCE_LEN] };
        half.key.get_mut(..from.len())?.copy_from_slice(from);
        half.iv.copy_from_slice(iv);
        Some(half)
    }

    fn cipher(&self, suite: Suite) -> LessSafeKey {
        let algorithm = suite.aead();
        let key = UnboundKey::new(algorithm, &self.key[..algorithm.key_len()]);
        LessSafeKey::new(key.expect("the key is as long as the cipher wants it"))
    }

    /// The nonce of the next record: its number, laid over the initialization vector.
    fn nonce(&self) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        for (byte, number) in nonce[NONCE_LEN - 8..].iter_mut().zip(self.records.to_be_bytes()) {
            *byte ^= number;
        }
        nonce
    }

    /// What is authenticated and not sealed: the record's header, with the length of what it seals, in TLS 1.2 behind its number.
    fn authenticated(&self, suite: Suite, header: [u8; 3], length: usize) -> ([u8; 13], usize) {
        let mut bytes = [0; 13];
        bytes[..8].copy_from_slice(&self.records.to_be_bytes());
        bytes[8..11].copy_from_slice(&header);
        bytes[11..].copy_from_slice(&(length as u16).to_be_bytes());
        match suite.version {
            Version::Tls12 => (bytes, 0),
            Version::Tls13 => (bytes, 8),
        }
    }

    /// Opens a record in place. Returns where in it the text is, in TLS 1.3 with its hidden type; `None` when it is not what the peer
    /// sealed.
    pub(super) fn open(&mut self, suite: Suite, record: &mut [u8]) -> Option<Range<usize>> {
        let (header, payload) = record.split_first_chunk_mut::<HEADER_BYTES>()?;
        let prefix = suite.prefix_bytes();
        let sealed = payload.len().checked_sub(prefix + TAG_BYTES)?;
        let mut nonce = self.nonce();
        if prefix > 0 {
            nonce[NONCE_LEN - 8..].copy_from_slice(&payload[..prefix]);
            nonce[..NONCE_LEN - 8].copy_from_slice(&self.iv[..NONCE_LEN - 8]);
        }
        let (bytes, from) = match suite.version {
            Version::Tls12 => self.authenticated(suite, [header[0], header[1], header[2]], sealed),
            // Type and version say nothing any more: what every honest peer writes (as rustls has it).
            Version::Tls13 => self.authenticated(suite, SEALED, payload.len()),
        };
        let nonce = Nonce::assume_unique_for_key(nonce);
        let text = self.cipher(suite).open_in_place(nonce, Aad::from(&bytes[from..]), &mut payload[prefix..]);
        let (from, length) = (HEADER_BYTES + prefix, text.ok()?.len());
        self.records += 1;
        Some(from..from + length)
    }

    /// Seals a record in place: its text stands where [`Suite::prefix_bytes`] and a header leave it, with room for
    /// [`Suite::suffix_bytes`] behind.
    pub(super) fn seal(&mut self, suite: Suite, content: Content, record: &mut [u8]) {
        let (prefix, suffix) = (suite.prefix_bytes(), suite.suffix_bytes());
        let payload = record.len() - HEADER_BYTES;
        let text = HEADER_BYTES + prefix..record.len() - suffix;
        let nonce = self.nonce();
        let (outer, end, (bytes, from)) = match suite.version {
            Version::Tls12 => {
                let header = [content as u8, VERSION[0], VERSION[1]];
                (content, text.end, self.authenticated(suite, header, text.len()))
            }
            Version::Tls13 => {
                record[text.end] = content as u8;
                (Content::Data, text.end + 1, self.authenticated(suite, SEALED, payload))
            }
        };
        header::write(outer, payload, record);
        record[HEADER_BYTES..HEADER_BYTES + prefix].copy_from_slice(&nonce[NONCE_LEN - prefix..]);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .cipher(suite)
            .seal_in_place_separate_tag(nonce, Aad::from(&bytes[from..]), &mut record[text.start..end])
            .expect("a record is far shorter than what a cipher takes");
        record[end..].copy_from_slice(tag.as_ref());
        self.records += 1;
    }

    /// Takes the next key of TLS 1.3 (RFC 8446, 7.2 and 7.3).
    pub(super) fn update(&mut self, suite: Suite) {
        let length = suite.secret_bytes();
        let mut secret = Secret::NONE;
        expand(suite, &self.secret.0[..length], "traffic upd", &mut secret.0[..length]);
        self.secret = secret;
        expand(suite, &self.secret.0[..length], "key", &mut self.key[..suite.aead().key_len()]);
        expand(suite, &self.secret.0[..length], "iv", &mut self.iv);
        self.records = 0;
    }

    /// Whether the key and the initialization vector are those that come from the secret.
    pub(super) fn is_from_its_secret(&self, suite: Suite) -> bool {
        let secret = &self.secret.0[..suite.secret_bytes()];
        let (mut key, mut iv) = ([0; KEY_BYTES_MAX], [0; NONCE_LEN]);
        expand(suite, secret, "key", &mut key[..suite.aead().key_len()]);
        expand(suite, secret, "iv", &mut iv);
        let same = key == self.key && iv == self.iv;
        key.zeroize();
        same
    }
}

/// HKDF-Expand-Label with an empty context (RFC 8446, 7.1).
fn expand(suite: Suite, secret: &[u8], label: &str, out: &mut [u8]) {
    struct Length(usize);
    impl ring::hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let length = (out.len() as u16).to_be_bytes();
    let prefixed = [(b"tls13 ".len() + label.len()) as u8];
    let info = [&length[..], &prefixed, b"tls13 ", label.as_bytes(), &[0]];
    Prk::new_less_safe(suite.hkdf(), secret)
        .expand(&info, Length(out.len()))
        .and_then(|okm| okm.fill(out))
        .expect("a hash gives that many bytes");
}
