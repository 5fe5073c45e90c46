//! The same records to two servers, one in rustls' hands and one in compact form: the same text must come out, or the same alert.
//!
//! A script of bytes says which records the client sends, how they are damaged and cut, and when the server answers. `fuzz/` runs it,
//! too.

use rustls::{AlertDescription, SupportedCipherSuite};
use throng_wire::tls::{Tls, Versions};

use crate::peer::{
    Peer, alerts, can_update, handed, sealed, server, shake_stranger, shake_strangers, strange_server,
    stranger, suites, written,
};

/// Operations of one script, at most: each costs a seal and two opens.
const STEPS_MAX: usize = 64;

/// Reads numbers off a script.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn number(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = usize::from(self.number()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes.to_vec()
    }
}

/// One server with its client's keys.
struct Side<S> {
    server: S,
    peer: Peer,
    /// Records that wait to be delivered.
    records: Vec<Vec<u8>>,
    /// What a server of ours has not taken yet.
    held: Vec<u8>,
    text: Vec<u8>,
    failed: bool,
    told: Vec<(u8, Vec<u8>)>,
}

impl<S> Side<S> {
    fn new(server: S, peer: Peer) -> Side<S> {
        Side {
            server,
            peer,
            records: Vec::new(),
            held: Vec::new(),
            text: Vec::new(),
            failed: false,
            told: Vec::new(),
        }
    }
}

fn theirs(suite: SupportedCipherSuite) -> Side<rustls::Connection> {
    let setup = server(Versions::Both, None);
    let (client, log) = stranger(suite);
    let (mut client, mut server) = (rustls::Connection::from(client), strange_server(&setup));
    shake_strangers(&mut client, &mut server);
    Side::new(server, Peer::of(client, &log, suite))
}

fn ours(suite: SupportedCipherSuite) -> Side<Tls> {
    let setup = server(Versions::Both, None);
    let (client, log) = stranger(suite);
    let (mut client, mut server) = (rustls::Connection::from(client), Tls::new());
    shake_stranger(&mut client, &mut server, &setup);
    Side::new(server, Peer::of(client, &log, suite))
}

/// Applies one operation of the client's to both.
fn both(
    a: &mut Side<rustls::Connection>,
    b: &mut Side<Tls>,
    mut act: impl FnMut(&mut Peer, &mut Vec<Vec<u8>>),
) {
    act(&mut a.peer, &mut a.records);
    act(&mut b.peer, &mut b.records);
}

/// Runs a script.
///
/// # Panics
/// When the two differ.
pub(crate) fn run(script: &[u8]) {
    let mut script = Script(script);
    let suites = suites();
    let suite = suites[usize::from(script.number()) % suites.len()];
    let (mut a, mut b) = (theirs(suite), ours(suite));
    for _ in 0..STEPS_MAX {
        let Some(operation) = script.next() else { break };
        match operation % 14 {
            0 => {
                let text = script.bytes();
                both(&mut a, &mut b, |peer, records| records.push(peer.seal(23, &text)));
            }
            1 => {
                let length = 16_380 + usize::from(script.number() % 8);
                both(&mut a, &mut b, |peer, records| records.push(peer.seal(23, &vec![1; length])));
            }
            2 => {
                let (content, text) = (script.number(), script.bytes());
                both(&mut a, &mut b, |peer, records| records.push(peer.seal(content, &text)));
            }
            3 if can_update(suite) => {
                let request = script.number() % 3;
                both(&mut a, &mut b, |peer, records| records.push(peer.update(request)));
            }
            4 => {
                let text = [script.number() % 4, script.number()];
                both(&mut a, &mut b, |peer, records| records.push(peer.seal(21, &text)));
            }
            5 => {
                // A key update in pieces, or several in one record: the keys do not change, so what follows fails.
                let text = script.bytes();
                both(&mut a, &mut b, |peer, records| records.push(peer.seal(22, &text)));
            }
            6 => {
                let text =
                    [script.bytes(), vec![script.number()], vec![0; usize::from(script.number())]].concat();
                both(&mut a, &mut b, |peer, records| records.push(peer.seal(0, &text)));
            }
            7 => {
                let (at, bit) = (usize::from(script.number()), script.number() % 8);
                both(&mut a, &mut b, |_, records| {
                    if let Some(record) = records.last_mut().filter(|record| !record.is_empty()) {
                        let at = at % record.len();
                        record[at] ^= 1 << bit;
                    }
                });
            }
            8 => both(&mut a, &mut b, |_, records| drop(records.pop())),
            9 => both(&mut a, &mut b, |_, records| records.extend(records.last().cloned())),
            10 => both(&mut a, &mut b, |_, records| {
                if let [.., before, last] = &mut records[..] {
                    std::mem::swap(before, last);
                }
            }),
            11 => {
                let bytes = script.bytes();
                both(&mut a, &mut b, |_, records| records.push(bytes.clone()));
            }
            12 => {
                deliver(&mut a, &mut b, &mut script);
                if a.failed {
                    break;
                }
                let text = script.bytes();
                std::io::Write::write_all(&mut a.server.writer(), &text).unwrap();
                let bytes = written(&mut a.server);
                a.told.extend(a.peer.open(&bytes));
                let bytes = sealed(&mut b.server, &text);
                b.told.extend(b.peer.open(&bytes));
                compare(&mut a, &mut b);
            }
            _ => deliver(&mut a, &mut b, &mut script),
        }
        if a.failed {
            break;
        }
    }
    deliver(&mut a, &mut b, &mut Script(&[]));
}

/// Delivers what waits, in pieces that are the same for both, and compares what came of it.
fn deliver(a: &mut Side<rustls::Connection>, b: &mut Side<Tls>, script: &mut Script<'_>) {
    let cut = usize::from(script.number());
    let (to_a, to_b) = (
        a.records.drain(..).flatten().collect::<Vec<u8>>(),
        b.records.drain(..).flatten().collect::<Vec<u8>>(),
    );
    assert_eq!(to_a.len(), to_b.len());
    let length = if cut == 0 { to_a.len().max(1) } else { cut };
    for (to_a, to_b) in to_a.chunks(length).zip(to_b.chunks(length)) {
        if a.failed {
            return;
        }
        let (text, error) = handed(&mut a.server, to_a);
        a.text.extend(text);
        a.failed = error.is_some();
        b.held.extend_from_slice(to_b);
        let mut at = 0;
        while at < b.held.len() {
            match b.server.open(&mut b.held[at..]) {
                Ok(None) => break,
                Ok(Some(opened)) => {
                    b.text.extend_from_slice(&b.held[at..][opened.text]);
                    at += opened.used;
                }
                Err(_) => {
                    b.failed = true;
                    break;
                }
            }
        }
        b.held.drain(..at);
        if a.failed || b.failed {
            let bytes = written(&mut a.server);
            a.told.extend(a.peer.open(&bytes));
            let bytes = sealed(&mut b.server, &[]);
            b.told.extend(b.peer.open(&bytes));
            if a.failed && is_declined_unread(a, b) {
                return;
            }
            assert_eq!(a.failed, b.failed, "{error:?}; told {:?} and {:?}", alerts(&a.told), alerts(&b.told));
        }
        compare(a, b);
    }
}

/// A ClientHello after the handshake is declined by ours without a look at its body, which rustls found wrong.
fn is_declined_unread(a: &Side<rustls::Connection>, b: &Side<Tls>) -> bool {
    alerts(&a.told).last() == Some(&AlertDescription::DecodeError)
        && alerts(&b.told).contains(&AlertDescription::NoRenegotiation)
}

fn compare(a: &mut Side<rustls::Connection>, b: &mut Side<Tls>) {
    assert!(a.text == b.text, "{} bytes of text and {}", a.text.len(), b.text.len());
    let spoken = |told: &[(u8, Vec<u8>)]| -> Vec<u8> {
        told.iter().filter(|(content, _)| *content == 23).flat_map(|(_, text)| text.clone()).collect()
    };
    assert!(spoken(&a.told) == spoken(&b.told));
    if a.failed {
        let (theirs, ours) = (alerts(&a.told), alerts(&b.told));
        // Where rustls says nothing, ours says what the RFC has for it; and a handshake message that nobody reads is not parsed.
        let is_parsed = |alert: &AlertDescription| {
            matches!(
                alert,
                AlertDescription::DecodeError
                    | AlertDescription::UnexpectedMessage
                    | AlertDescription::IllegalParameter
            )
        };
        let same = theirs.is_empty()
            || theirs == ours
            || (theirs.iter().all(is_parsed) && ours.iter().all(is_parsed));
        assert!(same, "{theirs:?} and {ours:?}");
    }
}
