//! Flags of encryption.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use throng_wire::tls::Versions;

/// What both sides agree on.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Encryption")]
pub(crate) struct TlsFlags {
    /// Speak TLS
    #[arg(long)]
    pub(crate) tls: bool,

    /// The versions to speak
    #[arg(long, value_name = "VERSION", default_value = "auto", requires = "tls")]
    pub(crate) tls_version: VersionName,

    /// Give tickets, and resume with them where there is one: all users share up to 32,768, and each handshake gives one
    #[arg(long, requires = "tls")]
    pub(crate) resumption: bool,
}

/// Versions by the names that people know.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum VersionName {
    /// TLS 1.3, and 1.2 with who has no better.
    #[default]
    Auto,
    /// TLS 1.2 alone.
    #[value(name = "1.2")]
    Tls12,
    /// TLS 1.3 alone.
    #[value(name = "1.3")]
    Tls13,
}

impl From<VersionName> for Versions {
    fn from(name: VersionName) -> Versions {
        match name {
            VersionName::Auto => Versions::Both,
            VersionName::Tls12 => Versions::Tls12,
            VersionName::Tls13 => Versions::Tls13,
        }
    }
}

/// What a server shows.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Encryption")]
pub(crate) struct CertificateFlags {
    /// The server's certificate, and those that lead to its root: a PEM file. Read again on SIGHUP
    #[arg(long, value_name = "FILE", requires = "tls", requires = "key")]
    pub(crate) cert: Option<PathBuf>,

    /// The certificate's private key: a PEM file. Read again on SIGHUP
    #[arg(long, value_name = "FILE", requires = "tls", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
}

/// What a client wants to be shown.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Encryption")]
pub(crate) struct TrustFlags {
    /// Trust who has a certificate from one of these: a PEM file [default: the system's roots]
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub(crate) cacert: Option<PathBuf>,

    /// Trust everybody: signatures are checked, whose they are is not
    #[arg(long, requires = "tls", conflicts_with = "cacert")]
    pub(crate) insecure: bool,

    /// The name to ask the server for, and to find in its certificate [default: the target's]
    #[arg(long, value_name = "NAME", requires = "tls")]
    pub(crate) sni: Option<String>,
}
