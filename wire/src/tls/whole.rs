//! A connection in rustls' own hands: while it shakes hands, and afterwards for as long as the compact form cannot serve.

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ExtractedSecrets, HandshakeKind, ProtocolVersion};

use super::Error;
use super::half::{Half, Secret};
use super::header::{self, HEADER_BYTES};
use super::limits::{KEPT_BYTES_MAX, RECORDS_MAX};
use super::records::{Opened, Records, Side};
use super::secrets::{self, Traffic};
use super::setup::Setup;
use super::suite::{self, Suite, Version};

enum Connection {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// See the module's text.
pub(super) struct Whole {
    connection: Connection,
    /// Sealed bytes that are to be sent.
    out: Vec<u8>,
    traffic: Option<Traffic>,
    /// The handshake is over.
    is_established: bool,
    /// Records that rustls holds on to by their place: those with a part of a handshake message. While it does, nobody else can read
    /// on.
    kept: Vec<u8>,
    /// The server's ticket is worth waiting for. It comes before its first data, if it comes.
    awaits_ticket: bool,
    /// Records so far.
    records: u32,
    /// What came since the handshake may have changed the keys, which nobody else would know then.
    stays: bool,
    has_failed: bool,
    is_closing: bool,
}

/// What to do next.
enum Next {
    /// Ask rustls again.
    Again,
    /// There is nothing more to do with what is there.
    Wait,
    /// The same, and both may send.
    Traffic,
    /// The peer sends no more.
    PeerClosed,
}

impl Whole {
    /// Begins a handshake; a client has something to say already.
    pub(super) fn new(setup: &Setup) -> Result<Whole, Error> {
        let (connection, awaits_ticket) = match setup {
            Setup::Server(config) => {
                (UnbufferedServerConnection::new(Arc::clone(config)).map(Connection::Server), false)
            }
            Setup::Client { config, name, resumes } => {
                let connection = UnbufferedClientConnection::new(Arc::clone(config), name.clone());
                (connection.map(Connection::Client), *resumes)
            }
        };
        let mut whole = Whole {
            connection: connection.map_err(Error::handshake)?,
            out: Vec::new(),
            traffic: None,
            is_established: false,
            kept: Vec::new(),
            awaits_ticket,
            records: 0,
            stays: false,
            has_failed: false,
            is_closing: false,
        };
        whole.feed(&mut Vec::new())?;
        Ok(whole)
    }

    pub(super) fn is_established(&self) -> bool {
        self.is_established
    }

    /// Whether the handshake went on from an earlier connection's.
    pub(super) fn is_resumed(&self) -> bool {
        self.common().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The version, once it is established.
    pub(super) fn version(&self) -> Version {
        match self.common().protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => Version::Tls12,
            _ => Version::Tls13,
        }
    }

    /// The suite's name, once it is established.
    pub(super) fn suite(&self) -> &'static str {
        self.common().negotiated_cipher_suite().map_or("none", |one| suite::name(one.suite()))
    }

    fn common(&self) -> &rustls::CommonState {
        match &self.connection {
            Connection::Client(client) => client,
            Connection::Server(server) => server,
        }
    }

    pub(super) fn wants_to_send(&self) -> bool {
        !self.out.is_empty() || self.is_closing
    }

    /// Says goodbye with the next seal; before the handshake is over there is nobody to say it to.
    pub(super) fn close(&mut self) {
        self.is_closing = self.is_established && !self.has_failed;
    }

    /// What is to be sent before anything else.
    pub(super) fn take_out(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Hands rustls the first record in `bytes`; `None` while it has not arrived whole. Its text is moved to the front of the record.
    pub(super) fn open(&mut self, bytes: &mut [u8]) -> Result<Option<Opened>, Error> {
        let length = match header::read(bytes) {
            Ok(None) => return Ok(None),
            Ok(Some((_, length))) => length,
            // rustls says so, too, and to the peer.
            Err(_) => bytes.len() - HEADER_BYTES.min(bytes.len()),
        };
        let used = (HEADER_BYTES + length).min(bytes.len());
        if used < HEADER_BYTES + length {
            return Ok(None);
        }
        self.records = self.records.saturating_add(1);
        let has_too_many = !self.is_established && self.records > RECORDS_MAX;
        if self.has_failed || has_too_many || self.kept.len() + used > KEPT_BYTES_MAX {
            self.has_failed = true;
            self.kept = Vec::new();
            return Err(Error::endless());
        }
        let mut text = Vec::new();
        let (was_established, tickets) = (self.is_established, self.tickets_received());
        self.kept.extend_from_slice(&bytes[..used]);
        let closed = self.feed(&mut text)?;
        let is_harmless = closed || !text.is_empty() || self.tickets_received() > tickets;
        self.stays |= was_established && !is_harmless;
        if !text.is_empty() || self.tickets_received() > 0 {
            self.awaits_ticket = false;
        }
        bytes[..text.len()].copy_from_slice(&text);
        Ok(Some(Opened { used, text: 0..text.len(), closed }))
    }

    fn tickets_received(&self) -> u32 {
        match &self.connection {
            Connection::Client(client) => client.tls13_tickets_received(),
            Connection::Server(_) => 0,
        }
    }

    /// Lets rustls act on what is kept. True: the peer sends no more.
    fn feed(&mut self, text: &mut Vec<u8>) -> Result<bool, Error> {
        let result = loop {
            match self.step(text) {
                Ok(Next::Again) => {}
                Ok(Next::Wait) => break Ok(false),
                Ok(Next::Traffic) => {
                    self.is_established = true;
                    break Ok(false);
                }
                Ok(Next::PeerClosed) => break Ok(true),
                Err(error) => {
                    // What it tells the peer; whatever else it were asked now, it would go on where it cannot.
                    while self.common().wants_write() && matches!(self.step(text), Ok(Next::Again)) {}
                    self.has_failed = true;
                    break Err(Error::handshake(error));
                }
            }
        };
        self.traffic = secrets::take().or(self.traffic.take());
        result
    }

    fn step(&mut self, text: &mut Vec<u8>) -> Result<Next, rustls::Error> {
        let (kept, out) = (&mut self.kept, &mut self.out);
        let (used, next) = match &mut self.connection {
            Connection::Client(client) => act(client.process_tls_records(kept), out, text),
            Connection::Server(server) => act(server.process_tls_records(kept), out, text),
        };
        kept.drain(..used);
        next
    }

    /// Seals all of `text`, behind what TLS has to say.
    pub(super) fn seal(&mut self, text: &mut Vec<u8>) -> Result<(), Error> {
        let mut out = self.take_out();
        let mut sealed = Ok(());
        if self.is_established && !self.has_failed && (!text.is_empty() || self.is_closing) {
            let result = match &mut self.connection {
                Connection::Client(client) => {
                    encrypt(client.process_tls_records(&mut self.kept), text, self.is_closing, &mut out)
                }
                Connection::Server(server) => {
                    encrypt(server.process_tls_records(&mut self.kept), text, self.is_closing, &mut out)
                }
            };
            sealed = result.map_err(|_| Error::exhausted());
        }
        self.is_closing = false;
        *text = out;
        sealed
    }

    /// Whether the compact form can serve: the handshake is over, nothing is kept here, and what keys come from is known.
    pub(super) fn may_be_compact(&self) -> bool {
        let is_known = match self.common().protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => true,
            Some(ProtocolVersion::TLSv1_3) => self.traffic.is_some(),
            _ => false,
        };
        let is_ours = self.kept.is_empty() && !self.awaits_ticket && !self.stays && !self.is_closing;
        is_known && is_ours && self.is_established && !self.has_failed
    }

    /// The compact form, once it [may be](Whole::may_be_compact).
    pub(super) fn compact(self) -> Records {
        let version = self.common().protocol_version().expect("both agreed on it in the handshake");
        let Whole { connection, traffic, .. } = self;
        let traffic = traffic.unwrap_or(Traffic { client: Secret::NONE, server: Secret::NONE });
        let (side, secrets, receive, send) = match connection {
            Connection::Client(client) => (
                Side::Client,
                client.dangerous_into_kernel_connection().map(|(secrets, _)| secrets),
                traffic.server,
                traffic.client,
            ),
            Connection::Server(server) => (
                Side::Server,
                server.dangerous_into_kernel_connection().map(|(secrets, _)| secrets),
                traffic.client,
                traffic.server,
            ),
        };
        records(version, side, secrets, receive, send)
    }
}

fn records(
    version: ProtocolVersion,
    side: Side,
    secrets: Result<ExtractedSecrets, rustls::Error>,
    receive: Secret,
    send: Secret,
) -> Records {
    let ExtractedSecrets { tx, rx } =
        secrets.expect("the handshake is over, and every suite of the provider tells its keys");
    let suite = Suite::of(version, &tx.1).expect("the provider has no other suites");
    let half = |(number, secrets), secret| {
        Half::new(number, &secrets, secret).expect("the provider has no other keys")
    };
    let (receive, send) = (half(rx, receive), half(tx, send));
    debug_assert!(
        version != ProtocolVersion::TLSv1_3
            || (receive.is_from_its_secret(suite) && send.is_from_its_secret(suite)),
        "rustls told the secrets of another connection"
    );
    Records::new(side, suite, receive, send)
}

fn act<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    out: &mut Vec<u8>,
    text: &mut Vec<u8>,
) -> (usize, Result<Next, rustls::Error>) {
    let UnbufferedStatus { discard, state } = status;
    let next = state.map(|state| match state {
        ConnectionState::EncodeTlsData(mut data) => {
            let at = out.len();
            if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
                out.resize(at + size.required_size, 0);
                data.encode(&mut out[at..]).expect("it has the room that it asked for");
            }
            Next::Again
        }
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Next::Again
        }
        ConnectionState::ReadTraffic(mut data) => {
            while let Some(Ok(record)) = data.next_record() {
                text.extend_from_slice(record.payload);
            }
            Next::Again
        }
        ConnectionState::PeerClosed => Next::PeerClosed,
        ConnectionState::WriteTraffic(_) => Next::Traffic,
        // Blocked, closed, and early data, which no setup of ours allows.
        _ => Next::Wait,
    });
    (discard, next)
}

/// Seals what there is to be said into `out`, and says goodbye if that is asked for.
fn encrypt<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    text: &[u8],
    closes: bool,
    out: &mut Vec<u8>,
) -> Result<(), EncryptError> {
    // Whatever else rustls wants first was done when it came; a text is never dropped without a word.
    let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state else {
        return Err(EncryptError::EncryptExhausted);
    };
    let mut append = |write: &mut dyn FnMut(&mut [u8]) -> Result<usize, EncryptError>| {
        let at = out.len();
        match write(&mut []) {
            Err(EncryptError::InsufficientSize(size)) => {
                out.resize(at + size.required_size, 0);
                let length = write(&mut out[at..])?;
                out.truncate(at + length);
                Ok(())
            }
            other => other.map(drop),
        }
    };
    if !text.is_empty() {
        append(&mut |to| traffic.encrypt(text, to))?;
    }
    if closes {
        append(&mut |to| traffic.queue_close_notify(to))?;
    }
    Ok(())
}
