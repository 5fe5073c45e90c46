//! Other people's side of a connection: rustls shakes hands, and its provider seals whatever record a test wants.

use std::io::Read;
use std::sync::{Arc, Mutex, OnceLock};

use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, Iv, MessageDecrypter, MessageEncrypter, OutboundChunks,
    OutboundPlainMessage,
};
use rustls::crypto::tls13::OkmBlock;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, KeyLog,
    ProtocolVersion, RootCertStore, ServerConnection, SupportedCipherSuite,
};
use throng_wire::tls::{self, Established, Setup, Step, Tickets, Tls, Versions};

pub(crate) const NAME: &str = "chat.example";
/// 2030, when every certificate of these tests holds.
pub(crate) const NOW: u64 = 1_893_456_000;

/// A certificate and its key, PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// For [`NAME`], signed by itself.
pub(crate) fn pair() -> Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
        Pair { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
    })
    .clone()
}

/// A server of ours.
pub(crate) fn server(versions: Versions, tickets: Option<&Tickets>) -> Setup {
    let pair = pair();
    tls::server(pair.certificate.as_bytes(), pair.key.as_bytes(), versions, tickets, NOW).unwrap()
}

/// A client of ours that trusts it.
pub(crate) fn client(versions: Versions, resumes: bool) -> Setup {
    let roots = tls::certificates(pair().certificate.as_bytes()).unwrap();
    tls::client(NAME, tls::Trust::Roots(roots), versions, resumes, true).unwrap()
}

/// The suites that the certificate serves.
pub(crate) fn suites() -> [SupportedCipherSuite; 6] {
    use ring::cipher_suite as all;
    [
        all::TLS13_AES_128_GCM_SHA256,
        all::TLS13_AES_256_GCM_SHA384,
        all::TLS13_CHACHA20_POLY1305_SHA256,
        all::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        all::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        all::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ]
}

/// Keeps the traffic secrets, so that a peer can change its keys.
#[derive(Debug, Default)]
pub(crate) struct Log(Mutex<Vec<(String, Vec<u8>)>>);

impl KeyLog for Log {
    fn log(&self, label: &str, _random: &[u8], secret: &[u8]) {
        self.0.lock().unwrap().push((label.to_owned(), secret.to_vec()));
    }
}

impl Log {
    fn of(&self, label: &str) -> Vec<u8> {
        let told = self.0.lock().unwrap();
        told.iter().find(|(name, _)| name == label).map(|(_, secret)| secret.clone()).unwrap_or_default()
    }
}

/// A client of rustls' own, with one suite alone.
pub(crate) fn stranger(suite: SupportedCipherSuite) -> (ClientConnection, Arc<Log>) {
    stranger_in_pieces(suite, None)
}

/// The same, whose records are no longer than this.
pub(crate) fn stranger_in_pieces(
    suite: SupportedCipherSuite,
    record_bytes_max: Option<usize>,
) -> (ClientConnection, Arc<Log>) {
    let provider = CryptoProvider { cipher_suites: vec![suite], ..ring::default_provider() };
    let mut roots = RootCertStore::empty();
    for root in tls::certificates(pair().certificate.as_bytes()).unwrap() {
        roots.add(root).unwrap();
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[suite.version()])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let log = Arc::new(Log::default());
    config.max_fragment_size = record_bytes_max;
    config.enable_secret_extraction = true;
    config.key_log = Arc::clone(&log) as Arc<dyn KeyLog>;
    (ClientConnection::new(Arc::new(config), ServerName::try_from(NAME).unwrap()).unwrap(), log)
}

/// What rustls wants to send.
pub(crate) fn written(connection: &mut rustls::Connection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// Hands bytes to rustls. Returns the text that they held, and the error that they caused.
pub(crate) fn handed(
    connection: &mut rustls::Connection,
    mut bytes: &[u8],
) -> (Vec<u8>, Option<rustls::Error>) {
    let mut text = Vec::new();
    while !bytes.is_empty() {
        // rustls reads no more after a goodbye, and says so by taking nothing.
        if !matches!(connection.read_tls(&mut bytes), Ok(taken) if taken > 0) {
            break;
        }
        let result = connection.process_new_packets();
        let _ = connection.reader().read_to_end(&mut text);
        if let Err(error) = result {
            return (text, Some(error));
        }
    }
    (text, None)
}

/// What a connection of ours has to send; `text` is sealed with it.
pub(crate) fn sealed(tls: &mut Tls, text: &[u8]) -> Vec<u8> {
    let mut out = text.to_vec();
    tls.seal(&mut out).unwrap();
    out
}

/// Opens every record. Returns their text, whether the peer said goodbye, and the error that ended it.
pub(crate) fn opened(tls: &mut Tls, bytes: &[u8]) -> (Vec<u8>, bool, Option<tls::Error>) {
    let (mut bytes, mut at) = (bytes.to_vec(), 0);
    let (mut text, mut closed) = (Vec::new(), false);
    while at < bytes.len() {
        match tls.open(&mut bytes[at..]) {
            Ok(None) => break,
            Ok(Some(opened)) => {
                text.extend_from_slice(&bytes[at..][opened.text]);
                closed |= opened.closed;
                at += opened.used;
            }
            Err(error) => return (text, closed, Some(error)),
        }
    }
    (text, closed, None)
}

/// Shakes hands between two of ours; what each came to.
pub(crate) fn shake(client: (&mut Tls, &Setup), server: (&mut Tls, &Setup)) -> (Established, Established) {
    let mut done = (None, None);
    for _ in 0..10 {
        step(client.0, client.1, &mut done.0);
        pass(client.0, server.0);
        step(server.0, server.1, &mut done.1);
        pass(server.0, client.0);
        if let (Some(_), Some(_)) = &done {
            break;
        }
    }
    (done.0.expect("the client is in"), done.1.expect("the server is in"))
}

fn step(tls: &mut Tls, setup: &Setup, done: &mut Option<Established>) {
    if !tls.is_established()
        && let Step::Established(established) = tls.step(setup).unwrap()
    {
        assert!(established.rest.is_empty());
        *done = Some(established);
    }
}

/// Passes on what one has to say while hands are shaken; a ticket for who is established already is opened.
fn pass(from: &mut Tls, to: &mut Tls) {
    let bytes = sealed(from, &[]);
    if to.is_established() {
        assert_eq!(opened(to, &bytes), (vec![], false, None));
    } else {
        to.put(&bytes);
    }
}

/// Shakes hands between rustls and a server of ours.
pub(crate) fn shake_stranger(
    client: &mut rustls::Connection,
    server: &mut Tls,
    setup: &Setup,
) -> Established {
    let mut done = None;
    for _ in 0..5 {
        server.put(&written(client));
        step(server, setup, &mut done);
        let (text, error) = handed(client, &sealed(server, &[]));
        assert_eq!((text, error), (vec![], None));
        if done.is_some() && !client.is_handshaking() {
            break;
        }
    }
    done.expect("the server is in")
}

/// Shakes hands between two of rustls'.
pub(crate) fn shake_strangers(client: &mut rustls::Connection, server: &mut rustls::Connection) {
    while client.is_handshaking() || server.is_handshaking() || client.wants_write() || server.wants_write() {
        let bytes = written(client);
        assert_eq!(handed(server, &bytes), (vec![], None));
        let bytes = written(server);
        assert_eq!(handed(client, &bytes), (vec![], None));
    }
}

/// A server of rustls' own, of a setup of ours.
pub(crate) fn strange_server(setup: &Setup) -> rustls::Connection {
    let Setup::Server(config) = setup else { panic!("a client's") };
    ServerConnection::new(Arc::clone(config)).unwrap().into()
}

/// One direction's keys, in the provider's hands.
struct Keys {
    suite: SupportedCipherSuite,
    /// TLS 1.3.
    secret: Vec<u8>,
    number: u64,
}

/// What is left of a client when its keys are taken out: it seals and opens single records.
pub(crate) struct Peer {
    send: Keys,
    encrypter: Box<dyn MessageEncrypter>,
    receive: Keys,
    decrypter: Box<dyn MessageDecrypter>,
    unread: Vec<u8>,
}

impl Peer {
    pub(crate) fn of(client: rustls::Connection, log: &Log, suite: SupportedCipherSuite) -> Peer {
        let secrets = client.dangerous_extract_secrets().unwrap();
        let keys = |number, label| Keys { suite, secret: log.of(label), number };
        Peer {
            send: keys(secrets.tx.0, "CLIENT_TRAFFIC_SECRET_0"),
            encrypter: encrypter(suite, secrets.tx.1),
            receive: keys(secrets.rx.0, "SERVER_TRAFFIC_SECRET_0"),
            decrypter: decrypter(suite, secrets.rx.1),
            unread: Vec::new(),
        }
    }

    /// A record of any content.
    pub(crate) fn seal(&mut self, content: u8, text: &[u8]) -> Vec<u8> {
        let message = OutboundPlainMessage {
            typ: ContentType::from(content),
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(text),
        };
        let sealed = self.encrypter.encrypt(message, self.send.number).unwrap();
        self.send.number += 1;
        sealed.encode()
    }

    /// A key update, and new keys from then on. TLS 1.3.
    pub(crate) fn update(&mut self, request: u8) -> Vec<u8> {
        let record = self.seal(22, &[24, 0, 0, 1, request]);
        self.encrypter = encrypter(self.send.suite, self.send.update());
        record
    }

    /// The records of a server, opened: their contents and texts. A key update is followed.
    pub(crate) fn open(&mut self, bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        self.unread.extend_from_slice(bytes);
        let mut records = Vec::new();
        while let Some(&[content, 3, 3, high, low]) = self.unread.first_chunk() {
            let end = 5 + usize::from(u16::from_be_bytes([high, low]));
            if self.unread.len() < end {
                break;
            }
            let mut record: Vec<u8> = self.unread.drain(..end).collect();
            let message = InboundOpaqueMessage::new(
                ContentType::from(content),
                ProtocolVersion::TLSv1_2,
                &mut record[5..],
            );
            let plain =
                self.decrypter.decrypt(message, self.receive.number).expect("the server's own record");
            self.receive.number += 1;
            let (content, text) = (u8::from(plain.typ), plain.payload.to_vec());
            if (content, text.first()) == (22, Some(&24)) {
                self.decrypter = decrypter(self.receive.suite, self.receive.update());
            }
            records.push((content, text));
        }
        records
    }
}

/// The alerts among records.
pub(crate) fn alerts(records: &[(u8, Vec<u8>)]) -> Vec<AlertDescription> {
    records
        .iter()
        .filter(|(content, _)| *content == 21)
        .map(|(_, text)| AlertDescription::from(text[1]))
        .collect()
}

impl Keys {
    fn update(&mut self) -> ConnectionTrafficSecrets {
        let suite = self.suite.tls13().expect("key updates are of TLS 1.3");
        let expand = |secret: &[u8], label: &[u8], length: usize| {
            let mut out = vec![0; length];
            let info: [&[u8]; 5] =
                [&(length as u16).to_be_bytes(), &[6 + label.len() as u8], b"tls13 ", label, &[0]];
            let expander = suite.hkdf_provider.expander_for_okm(&OkmBlock::new(secret));
            expander.expand_slice(&info, &mut out).unwrap();
            out
        };
        self.secret = expand(&self.secret, b"traffic upd", self.secret.len());
        self.number = 0;
        let mut key = [0; 32];
        let length = suite.aead_alg.key_len();
        key[..length].copy_from_slice(&expand(&self.secret, b"key", length));
        let iv: [u8; 12] = expand(&self.secret, b"iv", 12).try_into().unwrap();
        suite.aead_alg.extract_keys(key.into(), iv.into()).unwrap()
    }
}

/// Whether [`Peer::update`] can be made: rustls lets nobody else make keys of 16 bytes.
pub(crate) fn can_update(suite: SupportedCipherSuite) -> bool {
    suite.tls13().is_some_and(|suite| suite.aead_alg.key_len() == 32)
}

fn encrypter(suite: SupportedCipherSuite, secrets: ConnectionTrafficSecrets) -> Box<dyn MessageEncrypter> {
    let (key, iv) = parts(secrets);
    match suite {
        SupportedCipherSuite::Tls13(suite) => suite.aead_alg.encrypter(key, iv),
        SupportedCipherSuite::Tls12(suite) => {
            let (fixed, explicit) = iv.as_ref().split_at(suite.aead_alg.key_block_shape().fixed_iv_len);
            suite.aead_alg.encrypter(key, fixed, explicit)
        }
    }
}

fn decrypter(suite: SupportedCipherSuite, secrets: ConnectionTrafficSecrets) -> Box<dyn MessageDecrypter> {
    let (key, iv) = parts(secrets);
    match suite {
        SupportedCipherSuite::Tls13(suite) => suite.aead_alg.decrypter(key, iv),
        SupportedCipherSuite::Tls12(suite) => {
            let length = suite.aead_alg.key_block_shape().fixed_iv_len;
            suite.aead_alg.decrypter(key, &iv.as_ref()[..length])
        }
    }
}

fn parts(secrets: ConnectionTrafficSecrets) -> (AeadKey, Iv) {
    match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
        _ => panic!("the provider has no other keys"),
    }
}
