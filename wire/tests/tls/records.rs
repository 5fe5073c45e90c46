//! Records after the handshake: what is borne, what is answered, and what ends a connection.

use rustls::{AlertDescription, SupportedCipherSuite};
use throng_wire::tls::{self, Step, Tickets, Tls, Versions};

use crate::peer::{
    Peer, alerts, can_update, handed, opened, sealed, server, shake_stranger, stranger, suites, written,
};

const CHANGE: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

/// A connection of ours and the keys of its client.
fn pair(suite: SupportedCipherSuite) -> (Tls, Peer) {
    let setup = server(Versions::Both, None);
    let (strange, log) = stranger(suite);
    let (mut strange, mut ours) = (rustls::Connection::from(strange), Tls::new());
    shake_stranger(&mut strange, &mut ours, &setup);
    (ours, Peer::of(strange, &log, suite))
}

/// The error that bytes cause, and the alert that goes out for it.
fn refused(ours: &mut Tls, peer: &mut Peer, bytes: &[u8]) -> (tls::Error, Option<AlertDescription>) {
    let (text, closed, error) = opened(ours, bytes);
    assert_eq!((text, closed), (vec![], false));
    let error = error.expect("it ends the connection");
    let told = alerts(&peer.open(&sealed(ours, b"not sent any more")));
    assert!(told.len() <= 1 && sealed(ours, b"nor this").is_empty());
    assert_eq!(error.alert(), told.first().copied());
    // Whatever comes then is not looked at.
    let late = peer.seal(DATA, b"late");
    assert_eq!(opened(ours, &late), (vec![], false, None));
    (error, told.first().copied())
}

#[test]
fn records_are_split_and_coalesced_at_every_byte() {
    for suite in suites() {
        let (mut ours, mut peer) = pair(suite);
        let mut bytes = peer.seal(DATA, b"one");
        bytes.extend(peer.seal(DATA, b""));
        bytes.extend(peer.seal(DATA, b"two"));
        let whole = bytes.len();
        for end in 0..whole {
            let (mut ours, mut peer) = pair(suite);
            let mut all = peer.seal(DATA, b"one");
            all.extend(peer.seal(DATA, b""));
            all.extend(peer.seal(DATA, b"two"));
            let mut held = Vec::new();
            let mut text = Vec::new();
            for part in [&all[..end], &all[end..]] {
                held.extend_from_slice(part);
                let mut at = 0;
                while let Some(opened) = ours.open(&mut held[at..]).unwrap() {
                    text.extend_from_slice(&held[at..][opened.text]);
                    at += opened.used;
                    if at == held.len() {
                        break;
                    }
                }
                held.drain(..at);
            }
            assert_eq!((text, held.len()), (b"onetwo".to_vec(), 0), "{suite:?} cut at {end}");
            if end > 60 {
                break; // Handshakes are slow; the cuts within the first record and its neighbour say it all.
            }
        }
        assert_eq!(opened(&mut ours, &bytes), (b"onetwo".to_vec(), false, None));
    }
}

#[test]
fn what_was_not_sealed_for_this_place_is_refused_as_such() {
    for suite in suites() {
        type Change = fn(&mut Vec<Vec<u8>>);
        let cases: [(&str, Change); 5] = [
            ("flipped", |records| *records[0].last_mut().unwrap() ^= 1),
            ("flipped in its text", |records| records[0][14] ^= 0x80),
            ("replayed", |records| records.insert(1, records[0].clone())),
            ("reordered", |records| records.swap(0, 1)),
            ("cut", |records| {
                let length = records[0].len() - 6;
                records[0].truncate(length + 5);
                records[0][4] -= 1;
            }),
        ];
        for (name, change) in cases {
            let (mut ours, mut peer) = pair(suite);
            let mut records = vec![peer.seal(DATA, b"a first text"), peer.seal(DATA, b"a second text")];
            change(&mut records);
            if name == "replayed" {
                assert_eq!(opened(&mut ours, &records.remove(0)).0, b"a first text");
            }
            let (_, alert) = refused(&mut ours, &mut peer, &records.concat());
            assert_eq!(alert, Some(AlertDescription::BadRecordMac), "{name}, {suite:?}");
        }
    }
}

#[test]
fn every_mistake_of_a_peer_has_its_alert() {
    use AlertDescription as A;
    for suite in suites() {
        let is_13 = suite.tls13().is_some();
        let cases: &[(&str, u8, &[u8], Option<A>)] = &[
            ("an alert of three bytes", ALERT, &[1, 0, 0], Some(A::DecodeError)),
            ("an alert of no level", ALERT, &[3, 10], Some(A::IllegalParameter)),
            ("the peer gave up", ALERT, &[2, 40], None),
            ("a change of ciphers", CHANGE, &[1], Some(A::UnexpectedMessage)),
            ("a handshake message", HANDSHAKE, &[11, 0, 0, 1, 0], Some(A::UnexpectedMessage)),
            ("an endless handshake message", HANDSHAKE, &[1, 1, 0, 0], Some(A::DecodeError)),
            ("no known content", 99, b"?", Some(A::DecodeError)),
        ];
        for &(name, content, text, expected) in cases {
            let (mut ours, mut peer) = pair(suite);
            let record = peer.seal(content, text);
            let (error, alert) = refused(&mut ours, &mut peer, &record);
            assert_eq!(alert, expected, "{name}, {suite:?}: {error}");
        }
        let (mut ours, mut peer) = pair(suite);
        let long = peer.seal(DATA, &vec![1; 16_385]);
        assert_eq!(refused(&mut ours, &mut peer, &long).1, Some(A::RecordOverflow), "{suite:?}");
        let (mut ours, mut peer) = pair(suite);
        let (_, alert) = refused(&mut ours, &mut peer, &[23, 3, 3, 0x48, 1]);
        assert_eq!(alert, Some(A::DecodeError), "longer than any record");
        let (mut ours, mut peer) = pair(suite);
        let mut parted = peer.seal(HANDSHAKE, &[1, 0, 0]);
        parted.extend(peer.seal(DATA, b"in between"));
        assert_eq!(refused(&mut ours, &mut peer, &parted).1, Some(A::UnexpectedMessage));
        if is_13 {
            for (text, expected) in [
                ([24, 0, 0, 1, 2].as_slice(), A::IllegalParameter),
                (&[24, 0, 0, 2, 0, 0], A::DecodeError),
                (&[24, 0, 0, 0], A::DecodeError),
                (&[24, 0, 0, 1, 0, 24], A::UnexpectedMessage),
                (&[4, 0, 0, 1, 0], A::UnexpectedMessage),
            ] {
                let (mut ours, mut peer) = pair(suite);
                let record = peer.seal(HANDSHAKE, text);
                assert_eq!(refused(&mut ours, &mut peer, &record).1, Some(expected), "{text:?}");
            }
            let (mut ours, mut peer) = pair(suite);
            let record = peer.seal(0, &[0; 10]);
            assert_eq!(
                refused(&mut ours, &mut peer, &record).1,
                Some(A::UnexpectedMessage),
                "nothing but padding"
            );
            // The type comes before the padding.
            let (mut ours, mut peer) = pair(suite);
            let record = peer.seal(0, &[b'h', b'i', DATA, 0, 0]);
            assert_eq!(opened(&mut ours, &record), (b"hi".to_vec(), false, None));
        }
    }
}

#[test]
fn fruitless_traffic_is_borne_up_to_a_bound() {
    for suite in suites() {
        let ended_after = |content: u8, text: &[u8]| {
            let (mut ours, mut peer) = pair(suite);
            let count = (0..).find(|_| opened(&mut ours, &peer.seal(content, text)).2.is_some());
            count.expect("it ends")
        };
        assert_eq!(ended_after(DATA, b""), 32);
        if suite.tls13().is_none() {
            assert_eq!(ended_after(ALERT, &[1, 90]), 4);
            assert_eq!(ended_after(HANDSHAKE, &[1, 0, 0, 3, 1, 2, 3]), 1, "a handshake is declined once");
        } else {
            assert_eq!(ended_after(ALERT, &[1, 90]), 4, "user_canceled");
            assert_eq!(ended_after(ALERT, &[1, 100]), 0, "no other warning");
        }
    }
}

#[test]
fn ten_thousand_key_updates_are_followed_when_text_comes_in_between_and_refused_when_not() {
    for suite in suites().into_iter().filter(|&suite| can_update(suite)) {
        let (mut ours, mut peer) = pair(suite);
        for round in 0..10_000_u32 {
            let asks = u8::from(round % 3 == 0);
            let mut bytes = peer.update(asks);
            bytes.extend(peer.seal(DATA, &round.to_be_bytes()));
            assert_eq!(opened(&mut ours, &bytes), (round.to_be_bytes().to_vec(), false, None));
            if round % 2 == 0 {
                let answer = peer.open(&sealed(&mut ours, b"yes"));
                assert_eq!(answer.last(), Some(&(DATA, b"yes".to_vec())));
                let updates = answer.iter().filter(|(content, _)| *content == HANDSHAKE).count();
                assert!(updates <= 1, "several requests have one answer");
                assert_eq!(updates > 0, asks == 1 || (round > 0 && (round - 1) % 3 == 0), "round {round}");
            }
        }
        let ended = (0..10_000).find(|_| opened(&mut ours, &peer.update(0)).2.is_some());
        assert_eq!(ended, Some(32));
    }
}

#[test]
fn keys_are_updated_with_a_client_of_somebody_elses() {
    let setup = server(Versions::Both, None);
    for suite in suites().into_iter().filter(|suite| suite.tls13().is_some()) {
        let (strange, _) = stranger(suite);
        let (mut strange, mut ours) = (rustls::Connection::from(strange), Tls::new());
        shake_stranger(&mut strange, &mut ours, &setup);
        for round in 0..5_u8 {
            strange.refresh_traffic_keys().unwrap();
            std::io::Write::write_all(&mut strange.writer(), &[round]).unwrap();
            assert_eq!(opened(&mut ours, &written(&mut strange)), (vec![round], false, None), "{suite:?}");
            assert_eq!(handed(&mut strange, &sealed(&mut ours, &[round])), (vec![round], None), "{suite:?}");
        }
    }
}

#[test]
fn keys_that_change_right_behind_the_handshake_are_followed() {
    let tickets = Tickets::new().unwrap();
    let setup = server(Versions::Both, Some(&tickets));
    for suite in suites().into_iter().filter(|suite| suite.tls13().is_some()) {
        let (strange, _) = stranger(suite);
        let (mut strange, mut ours) = (rustls::Connection::from(strange), Tls::new());
        ours.put(&written(&mut strange));
        assert!(matches!(ours.step(&setup), Ok(Step::Waiting)));
        assert_eq!(handed(&mut strange, &sealed(&mut ours, &[])), (vec![], None));
        // Finished, a key update that asks for one in return, and text: all at once.
        strange.refresh_traffic_keys().unwrap();
        std::io::Write::write_all(&mut strange.writer(), b"hello").unwrap();
        ours.put(&written(&mut strange));
        let Ok(Step::Established(established)) = ours.step(&setup) else { panic!("it is not established") };
        assert_eq!(opened(&mut ours, &established.rest), (b"hello".to_vec(), false, None));
        for round in 0..3_u8 {
            assert_eq!(handed(&mut strange, &sealed(&mut ours, &[round])), (vec![round], None), "{suite:?}");
            strange.refresh_traffic_keys().unwrap();
            std::io::Write::write_all(&mut strange.writer(), &[round]).unwrap();
            assert_eq!(opened(&mut ours, &written(&mut strange)), (vec![round], false, None), "{suite:?}");
        }
    }
}

#[test]
fn a_handshake_that_is_asked_for_again_is_declined() {
    for suite in suites().into_iter().filter(|suite| suite.tls13().is_none()) {
        let (mut ours, mut peer) = pair(suite);
        let mut bytes = peer.seal(HANDSHAKE, &[1, 0]);
        bytes.extend(peer.seal(HANDSHAKE, &[0, 3, 1, 2, 3]));
        assert_eq!(opened(&mut ours, &bytes), (vec![], false, None), "in two records");
        assert!(ours.wants_to_send());
        let told = peer.open(&sealed(&mut ours, b"text"));
        assert_eq!(told, [(DATA, b"text".to_vec()), (ALERT, vec![1, 100])]);
        assert!(!ours.wants_to_send());
        assert_eq!(opened(&mut ours, &peer.seal(DATA, b"well")), (b"well".to_vec(), false, None));
    }
}

#[test]
fn nothing_counts_that_comes_after_a_goodbye() {
    for suite in suites() {
        let (mut ours, mut peer) = pair(suite);
        let mut bytes = peer.seal(DATA, b"last");
        bytes.extend(peer.seal(ALERT, &[1, 0]));
        bytes.extend(peer.seal(DATA, b"late"));
        bytes.extend([1, 2, 3]);
        assert_eq!(opened(&mut ours, &bytes), (b"last".to_vec(), true, None));
        // The other direction goes on.
        assert_eq!(peer.open(&sealed(&mut ours, b"more")), [(DATA, b"more".to_vec())]);
        ours.close();
        assert_eq!(peer.open(&sealed(&mut ours, b"bye")), [(DATA, b"bye".to_vec()), (ALERT, vec![1, 0])]);
        assert_eq!(sealed(&mut ours, b"too late"), b"");
    }
}
