//! What two sides agreed on, as far as records go: the version, and the cipher with its hash.

use ring::{aead, hkdf};
use rustls::{CipherSuite, ConnectionTrafficSecrets, ProtocolVersion};

/// Bytes of the tag that closes a sealed record.
pub(super) const TAG_BYTES: usize = 16;
/// Bytes of the nonce that a TLS 1.2 record of AES-GCM carries.
const EXPLICIT_NONCE_BYTES: usize = 8;

/// The version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// What seals the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// AES-128-GCM, in TLS 1.3 with SHA-256.
    Aes128Gcm,
    /// AES-256-GCM, in TLS 1.3 with SHA-384.
    Aes256Gcm,
    /// ChaCha20-Poly1305, in TLS 1.3 with SHA-256.
    Chacha20Poly1305,
}

/// Both together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suite {
    /// The version.
    pub version: Version,
    /// The cipher.
    pub cipher: Cipher,
}

impl Suite {
    /// What a handshake led to; `None` for what the compact records do not know.
    pub(super) fn of(version: ProtocolVersion, secrets: &ConnectionTrafficSecrets) -> Option<Suite> {
        let version = match version {
            ProtocolVersion::TLSv1_2 => Version::Tls12,
            ProtocolVersion::TLSv1_3 => Version::Tls13,
            _ => return None,
        };
        let cipher = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { .. } => Cipher::Aes128Gcm,
            ConnectionTrafficSecrets::Aes256Gcm { .. } => Cipher::Aes256Gcm,
            ConnectionTrafficSecrets::Chacha20Poly1305 { .. } => Cipher::Chacha20Poly1305,
            _ => return None,
        };
        Some(Suite { version, cipher })
    }

    /// The provider's cipher.
    pub(super) fn aead(self) -> &'static aead::Algorithm {
        match self.cipher {
            Cipher::Aes128Gcm => &aead::AES_128_GCM,
            Cipher::Aes256Gcm => &aead::AES_256_GCM,
            Cipher::Chacha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }

    /// How TLS 1.3 makes keys from secrets.
    pub(super) fn hkdf(self) -> hkdf::Algorithm {
        match self.cipher {
            Cipher::Aes128Gcm | Cipher::Chacha20Poly1305 => hkdf::HKDF_SHA256,
            Cipher::Aes256Gcm => hkdf::HKDF_SHA384,
        }
    }

    /// Bytes of a traffic secret of TLS 1.3.
    pub(super) fn secret_bytes(self) -> usize {
        match self.cipher {
            Cipher::Aes128Gcm | Cipher::Chacha20Poly1305 => 32,
            Cipher::Aes256Gcm => 48,
        }
    }

    /// Records that one key may seal. For AES-GCM it holds an attacker's chance at 2^-60
    /// (draft-irtf-cfrg-aead-limits, for records of 16 KiB; rustls has the same); ChaCha20-Poly1305 has no limit before its
    /// sequence numbers end.
    pub(super) fn records_max(self) -> u64 {
        match self.cipher {
            Cipher::Aes128Gcm | Cipher::Aes256Gcm => 1 << 24,
            Cipher::Chacha20Poly1305 => u64::MAX - 0xffff,
        }
    }

    /// Bytes of a sealed record between its header and its text.
    pub(super) fn prefix_bytes(self) -> usize {
        match (self.version, self.cipher) {
            (Version::Tls12, Cipher::Aes128Gcm | Cipher::Aes256Gcm) => EXPLICIT_NONCE_BYTES,
            _ => 0,
        }
    }

    /// Bytes of a sealed record behind its text: the tag, and the type that TLS 1.3 hides.
    pub(super) fn suffix_bytes(self) -> usize {
        match self.version {
            Version::Tls12 => TAG_BYTES,
            Version::Tls13 => 1 + TAG_BYTES,
        }
    }
}

/// The name by which IANA registers a suite.
pub(super) fn name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        // rustls names those of TLS 1.2 as IANA does.
        other => other.as_str().unwrap_or("an unknown suite"),
    }
}
