//! What a side brings along: a certificate and its key, or whom it trusts; and which versions it speaks.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, ProducesTickets};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, InconsistentKeys, RootCertStore, ServerConfig,
    SignatureScheme, SupportedProtocolVersion,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::resume::Memory;
use super::secrets::Catch;

/// How both name Throng's protocol when they agree on what to speak (ALPN). A client that names nothing is welcome, too.
pub const PROTOCOL: &[u8] = b"throng/1";

/// Tickets that a server gives with each handshake. Each serves one resumption.
const TICKETS: usize = 1;

/// What connections are made with. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Setup {
    /// For a server.
    Server(Arc<ServerConfig>),
    /// For a client.
    Client {
        /// Whom it trusts, and what it remembers.
        config: Arc<ClientConfig>,
        /// Whom it asks for (SNI), and whose certificate it wants.
        name: ServerName<'static>,
        /// It goes on from earlier connections where it may.
        resumes: bool,
    },
}

/// The versions that a side speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    /// TLS 1.3, and TLS 1.2 with who has no better.
    #[default]
    Both,
    /// TLS 1.2 alone.
    Tls12,
    /// TLS 1.3 alone.
    Tls13,
}

impl Versions {
    fn list(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Versions::Both => vec![&TLS13, &TLS12],
            Versions::Tls12 => vec![&TLS12],
            Versions::Tls13 => vec![&TLS13],
        }
    }
}

/// What seals the tickets of a server. Servers that share one resume each other's sessions, and so do the setups before and after a
/// certificate was changed.
#[derive(Clone, Debug)]
pub struct Tickets(Arc<dyn ProducesTickets>);

impl Tickets {
    /// With keys of its own, which change by themselves every six hours.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new() -> Result<Tickets, SetupError> {
        ring::Ticketer::new().map(Tickets).map_err(SetupError::Tls)
    }
}

/// Whom a client trusts.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Who has a certificate from one of these (DER), or one of these itself.
    Roots(Vec<CertificateDer<'static>>),
    /// Everybody: signatures are checked, and nothing else.
    Anybody,
}

/// Why a setup cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub enum SetupError {
    /// A file of certificates has none.
    NoCertificate,
    /// A file with a key has none.
    NoKey,
    /// A file of certificates is no PEM.
    Pem(String),
    /// A file with a key is no PEM.
    BadKey(String),
    /// A certificate that nobody can read.
    Unreadable(String),
    /// The key belongs to another certificate.
    Mismatch,
    /// The certificate is over: whose, and since when.
    Expired(String, String),
    /// The certificate's time has not come: whose, and when it does.
    Early(String, String),
    /// No name of a server.
    Name(String),
    /// What rustls refuses.
    Tls(rustls::Error),
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetupError::NoCertificate => {
                f.write_str("no certificate in it: it takes a PEM file with -----BEGIN CERTIFICATE-----")
            }
            SetupError::NoKey => {
                f.write_str("no private key in it: it takes a PEM file with -----BEGIN PRIVATE KEY-----")
            }
            SetupError::Pem(error) | SetupError::BadKey(error) => write!(f, "no PEM file: {error}"),
            SetupError::Unreadable(error) => write!(f, "a certificate that cannot be read: {error}"),
            SetupError::Mismatch => f.write_str(
                "the private key is not that of the certificate: give the pair that belongs together",
            ),
            SetupError::Expired(who, when) => {
                write!(f, "the certificate of {who} expired at {when}: renew it")
            }
            SetupError::Early(who, when) => {
                write!(f, "the certificate of {who} holds from {when} on: wait, or set the machine's clock")
            }
            SetupError::Name(name) => {
                write!(f, "`{name}` is no name of a server: a host name or an IP address")
            }
            SetupError::Tls(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SetupError {}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The certificates of a PEM file.
///
/// # Errors
/// No PEM, or no certificate in it.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|error| SetupError::Pem(error.to_string()))?;
    if all.is_empty() { Err(SetupError::NoCertificate) } else { Ok(all) }
}

/// A server with a certificate (a PEM file, its own first and then those that lead to a root) and its key (another). `now` is in
/// seconds since 1970. Without tickets nobody resumes.
///
/// # Errors
/// What would keep clients from connecting: a file that has nothing of the kind, a key of another certificate, a certificate whose time
/// is over or has not come.
pub fn server(
    certificate: &[u8],
    key: &[u8],
    versions: Versions,
    tickets: Option<&Tickets>,
    now: u64,
) -> Result<Setup, SetupError> {
    let chain = certificates(certificate)?;
    for one in &chain {
        is_in_time(one, now)?;
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => SetupError::NoKey,
        error => SetupError::BadKey(error.to_string()),
    })?;
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&versions.list());
    let builder = builder.map_err(SetupError::Tls)?.with_no_client_auth();
    let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => SetupError::Mismatch,
        error => SetupError::Tls(error),
    })?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.enable_secret_extraction = true;
    config.key_log = Arc::new(Catch);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    if let Some(tickets) = tickets {
        config.ticketer = Arc::clone(&tickets.0);
        config.send_tls13_tickets = TICKETS;
    }
    Ok(Setup::Server(Arc::new(config)))
}

/// A client that connects to `name`. `speaks` names Throng's protocol to the server; others would refuse it.
///
/// # Errors
/// No name of a server, or no root that anybody could have a certificate from.
pub fn client(
    name: &str,
    trust: Trust,
    versions: Versions,
    resumes: bool,
    speaks: bool,
) -> Result<Setup, SetupError> {
    let provider = provider();
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&versions.list());
    let builder = builder.map_err(SetupError::Tls)?;
    let known = match trust {
        Trust::Anybody => None,
        Trust::Roots(itself) => {
            let unreadable = |error: String| SetupError::Unreadable(error);
            let mut store = RootCertStore::empty();
            for root in &itself {
                store.add(root.clone()).map_err(|error| unreadable(error.to_string()))?;
            }
            let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider));
            Some(Known { chains: chains.build().map_err(|error| unreadable(error.to_string()))?, itself })
        }
    };
    let verifier = Arc::new(Verifier { provider, known });
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    if speaks {
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
    }
    config.enable_secret_extraction = true;
    config.key_log = Arc::new(Catch);
    config.resumption =
        if resumes { Resumption::store(Arc::new(Memory::default())) } else { Resumption::disabled() };
    let name = ServerName::try_from(name.to_owned()).map_err(|_| SetupError::Name(name.to_owned()))?;
    Ok(Setup::Client { config: Arc::new(config), name, resumes })
}

fn is_in_time(certificate: &CertificateDer<'_>, now: u64) -> Result<(), SetupError> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|error| SetupError::Unreadable(error.to_string()))?;
    let (validity, who) = (parsed.validity(), || parsed.subject().to_string());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    if validity.not_after.timestamp() < now {
        return Err(SetupError::Expired(who(), validity.not_after.to_string()));
    }
    if now < validity.not_before.timestamp() {
        return Err(SetupError::Early(who(), validity.not_before.to_string()));
    }
    Ok(())
}

/// Checks whose certificate a server shows, and what it signs with it.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    /// `None`: every certificate will do.
    known: Option<Known>,
}

/// Who is trusted: who has a certificate from one of these, and who shows one of them itself. Most people make a certificate for trials
/// that calls itself an authority, and an authority's may not be a server's by the rules for chains.
#[derive(Debug)]
struct Known {
    chains: Arc<WebPkiServerVerifier>,
    itself: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(known) = &self.known else { return Ok(ServerCertVerified::assertion()) };
        let chain =
            known.chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        if chain.is_ok() || !known.itself.iter().any(|one| one == end_entity) {
            return chain;
        }
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        match is_in_time(end_entity, now.as_secs()) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(SetupError::Expired(..)) => Err(CertificateError::Expired.into()),
            Err(_) => Err(CertificateError::NotValidYet.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
