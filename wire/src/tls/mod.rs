//! TLS, without socket or clock: what arrives goes in, what is to be sent comes out.
//!
//! ```text
//!                 put()                 step()                      open(), seal()
//!   [new] ──────────────> bytes wait ──────────> rustls' handshake ────────────────> compact records
//!                                                        │
//!                                                        └── where they cannot serve: rustls for good
//! ```
//!
//! A handshake costs thousands of times as much as a record, so its work is done only when somebody has the time: [`Tls::put`] keeps
//! bytes, [`Tls::step`] acts on them. Afterwards a connection is 240 bytes: [`Tls::open`] opens records where they arrived, and
//! [`Tls::seal`] seals text where it stands. The handshake is rustls', the ciphers are ring's.
//!
//! The order of calls:
//!
//! 1. [`Tls::new`]; a client steps at once, a server when bytes came.
//! 2. Until [`Tls::is_established`]: `put` what arrives, `step`, and send what `seal` makes of nothing, as long as
//!    [`Tls::wants_to_send`].
//! 3. From then on: `open` record for record, first what the step left over; `seal` whatever is sent, all of it, in the order in which it
//!    is sent.
//! 4. After an error, and after [`Tls::close`]: once more `seal` and send, then the connection is over.

mod error;
mod half;
mod header;
mod limits;
mod records;
mod resume;
mod secrets;
mod setup;
mod suite;
mod table;
mod whole;

pub use error::Error;
pub use records::{Opened, Side};
pub use setup::{PROTOCOL, Setup, SetupError, Tickets, Trust, Versions, certificates, client, server};
pub use suite::{Cipher, Suite, Version};
pub use table::Table;

use records::Records;
use whole::Whole;

/// One connection's TLS. 240 bytes once it is established.
pub struct Tls(State);
const _: () = assert!(size_of::<Tls>() <= 240);

#[expect(clippy::large_enum_variant, reason = "nearly all are the large one, and it is to be nowhere else")]
enum State {
    /// Nobody had the time yet: what has arrived.
    Fresh(Vec<u8>),
    /// Shakes hands, or stays with rustls; and what has arrived.
    Whole(Box<(Whole, Vec<u8>)>),
    /// Established, and rustls' last words are to be sent before anything else.
    Parting(Box<(Records, Vec<u8>)>),
    /// Established.
    Compact(Records),
    /// It never began.
    Failed,
}

/// How far a step came.
#[derive(Debug)]
pub enum Step {
    /// More must arrive.
    Waiting,
    /// The handshake is over.
    Established(Established),
}

/// What a handshake led to.
#[derive(Debug)]
pub struct Established {
    /// Bytes that came behind it, to be opened.
    pub rest: Vec<u8>,
    /// It went on from an earlier connection's, without a certificate.
    pub is_resumed: bool,
    /// What both agreed on.
    pub version: Version,
    /// The suite, as IANA names it.
    pub suite: &'static str,
}

impl Default for Tls {
    fn default() -> Tls {
        Tls::new()
    }
}

impl Tls {
    /// A connection that has done nothing yet.
    pub fn new() -> Tls {
        Tls(State::Fresh(Vec::new()))
    }

    /// Whether the handshake is over.
    pub fn is_established(&self) -> bool {
        match &self.0 {
            State::Fresh(_) | State::Failed => false,
            State::Whole(both) => both.0.is_established(),
            State::Parting(_) | State::Compact(_) => true,
        }
    }

    /// Whether rustls has it whole, after the handshake: the compact form cannot serve.
    pub fn is_whole(&self) -> bool {
        matches!(&self.0, State::Whole(both) if both.0.is_established())
    }

    /// Whether a handshake is under way, and takes memory for it.
    pub fn is_shaking_hands(&self) -> bool {
        matches!(&self.0, State::Whole(both) if !both.0.is_established())
    }

    /// What records are sealed with; `None` while that is not known here.
    pub fn suite(&self) -> Option<Suite> {
        match &self.0 {
            State::Compact(records) => Some(records.suite()),
            State::Parting(both) => Some(both.0.suite()),
            _ => None,
        }
    }

    /// Keeps bytes for the next [`Tls::step`]. Returns how many are kept now.
    pub fn put(&mut self, bytes: &[u8]) -> usize {
        match &mut self.0 {
            State::Fresh(kept) => {
                kept.extend_from_slice(bytes);
                kept.len()
            }
            State::Whole(both) => {
                both.1.extend_from_slice(bytes);
                both.1.len()
            }
            State::Parting(_) | State::Compact(_) | State::Failed => {
                debug_assert!(false, "the handshake is over: records are opened");
                0
            }
        }
    }

    /// Acts on what was put, for as long as the handshake lasts.
    ///
    /// # Errors
    /// What ends the connection; what the peer is told goes out with the next [`Tls::seal`].
    pub fn step(&mut self, setup: &Setup) -> Result<Step, Error> {
        if let State::Fresh(kept) = &mut self.0 {
            let kept = std::mem::take(kept);
            self.0 = State::Failed;
            self.0 = State::Whole(Box::new((Whole::new(setup)?, kept)));
        }
        let State::Whole(both) = &mut self.0 else { return Ok(Step::Waiting) };
        let (whole, kept) = &mut **both;
        let mut used = 0;
        while !whole.is_established() {
            match whole.open(&mut kept[used..]) {
                Ok(None) => break,
                Ok(Some(opened)) => used += opened.used,
                Err(error) => {
                    kept.clear();
                    return Err(error);
                }
            }
        }
        kept.drain(..used);
        if !whole.is_established() {
            return Ok(Step::Waiting);
        }
        let established = Established {
            rest: std::mem::take(kept),
            is_resumed: whole.is_resumed(),
            version: whole.version(),
            suite: whole.suite(),
        };
        // Before anything else is read: what comes behind a handshake may change the keys.
        self.compact();
        Ok(Step::Established(established))
    }

    /// Opens the first record in `bytes`, in place; `None` while it has not arrived whole. Call it for an established connection.
    ///
    /// # Errors
    /// What ends the connection; what the peer is told goes out with the next [`Tls::seal`].
    pub fn open(&mut self, bytes: &mut [u8]) -> Result<Option<Opened>, Error> {
        self.compact();
        match &mut self.0 {
            State::Compact(records) => records.open(bytes),
            State::Parting(both) => both.0.open(bytes),
            State::Whole(both) => both.0.open(bytes),
            State::Fresh(_) | State::Failed => Ok(None),
        }
    }

    /// Whether something is to be sent though nobody has anything to say.
    pub fn wants_to_send(&self) -> bool {
        match &self.0 {
            State::Compact(records) => records.wants_to_send(),
            State::Parting(_) => true,
            State::Whole(both) => both.0.wants_to_send(),
            State::Fresh(_) | State::Failed => false,
        }
    }

    /// Makes of `text` what is to be sent: sealed, with what TLS has to say before and behind it. Before the handshake is over there can
    /// be no text.
    ///
    /// # Errors
    /// No key may seal as much; what is then in `text` is to be sent nevertheless, and ends the connection.
    pub fn seal(&mut self, text: &mut Vec<u8>) -> Result<(), Error> {
        self.compact();
        if let State::Parting(both) = &mut self.0 {
            let result = both.0.seal(text);
            let mut words = std::mem::take(&mut both.1);
            words.append(text);
            *text = words;
            if let State::Parting(both) = std::mem::replace(&mut self.0, State::Failed) {
                self.0 = State::Compact(both.0);
            }
            return result;
        }
        match &mut self.0 {
            State::Compact(records) => records.seal(text),
            State::Whole(both) => {
                debug_assert!(
                    text.is_empty() || both.0.is_established(),
                    "a text before the handshake is over"
                );
                both.0.seal(text)
            }
            State::Fresh(_) | State::Failed | State::Parting(_) => {
                text.clear();
                Ok(())
            }
        }
    }

    /// Nothing is sent any more: the next [`Tls::seal`] ends with a goodbye (close_notify).
    pub fn close(&mut self) {
        match &mut self.0 {
            State::Compact(records) => records.close(),
            State::Parting(both) => both.0.close(),
            State::Whole(both) => both.0.close(),
            State::Fresh(_) | State::Failed => {}
        }
    }

    /// Takes the compact form as soon as it can serve.
    fn compact(&mut self) {
        let State::Whole(both) = &mut self.0 else { return };
        if !both.0.may_be_compact() {
            return;
        }
        if let State::Whole(both) = std::mem::replace(&mut self.0, State::Failed) {
            let (mut whole, _) = *both;
            let words = whole.take_out();
            let records = whole.compact();
            self.0 = match words.is_empty() {
                true => State::Compact(records),
                false => State::Parting(Box::new((records, words))),
            };
        }
    }
}
