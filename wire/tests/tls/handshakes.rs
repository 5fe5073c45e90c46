//! Handshakes: who gets in, how, and what is left of a connection afterwards.

use rustls::AlertDescription;
use throng_wire::tls::{self, Cipher, Setup, Step, Tickets, Tls, Trust, Version, Versions};

use crate::peer::{
    NAME, client, handed, opened, pair, sealed, server, shake, shake_stranger, strange_server, stranger,
    stranger_in_pieces, suites, written,
};

/// A client and a server of ours, each after its first flight, the server's with the client; and why the server refused, if it did.
fn half_way(ours: &Setup, theirs: &Setup) -> (Tls, Tls, Option<tls::Error>) {
    let (mut client, mut server) = (Tls::new(), Tls::new());
    client.step(ours).unwrap();
    server.put(&sealed(&mut client, &[]));
    let refused = server.step(theirs).err();
    client.put(&sealed(&mut server, &[]));
    (client, server, refused)
}

#[test]
fn two_of_ours_meet_and_talk_and_are_compact() {
    for (versions, version) in [(Versions::Tls12, Version::Tls12), (Versions::Tls13, Version::Tls13)] {
        let (ours, theirs) = (client(versions, false), server(Versions::Both, None));
        let (mut a, mut b) = (Tls::new(), Tls::new());
        let (at_a, at_b) = shake((&mut a, &ours), (&mut b, &theirs));
        assert!(!at_a.is_resumed && !at_b.is_resumed);
        for round in 0..100 {
            let text = vec![round; 300 * usize::from(round)];
            assert_eq!(opened(&mut b, &sealed(&mut a, &text)), (text.clone(), false, None));
            assert_eq!(opened(&mut a, &sealed(&mut b, &text)), (text, false, None));
        }
        for one in [&a, &b] {
            assert!(!one.is_whole() && !one.is_shaking_hands());
            assert_eq!(one.suite().expect("it is compact").version, version);
        }
        a.close();
        assert!(a.wants_to_send());
        assert_eq!(opened(&mut b, &sealed(&mut a, b"bye")), (b"bye".to_vec(), true, None));
        assert_eq!(sealed(&mut a, b"more"), b"", "nothing follows a goodbye");
    }
}

#[test]
fn every_suite_serves_a_client_of_somebody_elses() {
    let setup = server(Versions::Both, None);
    for suite in suites() {
        let (strange, _) = stranger(suite);
        let (mut strange, mut ours) = (rustls::Connection::from(strange), Tls::new());
        let established = shake_stranger(&mut strange, &mut ours, &setup);
        for length in [0, 1, 100, 16_384, 16_385, 50_000] {
            let text = vec![7; length];
            std::io::Write::write_all(&mut strange.writer(), &text).unwrap();
            assert_eq!(opened(&mut ours, &written(&mut strange)), (text.clone(), false, None), "{suite:?}");
            assert_eq!(handed(&mut strange, &sealed(&mut ours, &text)), (text, None), "{suite:?}");
        }
        let found = ours.suite().unwrap();
        assert_eq!(established.suite.contains("AES_128"), found.cipher == Cipher::Aes128Gcm);
        assert_eq!(
            (established.version, established.suite.contains("ECDHE")),
            match found.version {
                Version::Tls12 => (Version::Tls12, true),
                Version::Tls13 => (Version::Tls13, false),
            }
        );
        let theirs = format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
        assert_eq!(established.suite, theirs);
        strange.send_close_notify();
        assert_eq!(opened(&mut ours, &written(&mut strange)), (vec![], true, None));
    }
}

#[test]
fn a_handshake_may_stop_at_every_byte_and_come_one_by_one() {
    let setup = server(Versions::Both, None);
    for suite in suites() {
        let (strange, _) = stranger(suite);
        let mut strange = rustls::Connection::from(strange);
        let hello = written(&mut strange);
        for end in 0..hello.len() {
            let mut ours = Tls::new();
            assert_eq!(ours.put(&hello[..end]), end);
            assert!(matches!(ours.step(&setup), Ok(Step::Waiting)));
            assert!(!ours.wants_to_send() && !ours.is_established());
        }
        // Byte for byte, with text that hurries behind the handshake.
        let mut ours = Tls::new();
        let mut rest = None;
        for round in 0..4 {
            let bytes = if round == 0 { hello.clone() } else { written(&mut strange) };
            for byte in bytes {
                if ours.is_established() {
                    rest.get_or_insert_with(Vec::new).push(byte);
                    continue;
                }
                ours.put(&[byte]);
                if let Step::Established(established) = ours.step(&setup).unwrap() {
                    rest = Some(established.rest);
                }
            }
            assert_eq!(handed(&mut strange, &sealed(&mut ours, &[])), (vec![], None));
            if !strange.is_handshaking() && round < 3 {
                std::io::Write::write_all(&mut strange.writer(), b"hurry").unwrap();
            }
        }
        let (text, ..) = opened(&mut ours, &rest.expect("it is established"));
        assert!(text.starts_with(b"hurry"), "{suite:?}");
    }
}

#[test]
fn handshake_messages_may_come_in_many_records() {
    let setup = server(Versions::Both, None);
    for suite in suites() {
        let (strange, _) = stranger_in_pieces(suite, Some(40));
        let (mut strange, mut ours) = (rustls::Connection::from(strange), Tls::new());
        shake_stranger(&mut strange, &mut ours, &setup);
        std::io::Write::write_all(&mut strange.writer(), &[7; 1_000]).unwrap();
        assert_eq!(opened(&mut ours, &written(&mut strange)), (vec![7; 1_000], false, None));
        // And a server's to a client of ours.
        let Setup::Server(config) = &setup else { panic!("a client's") };
        let mut config = (**config).clone();
        config.max_fragment_size = Some(40);
        let (client, theirs) = (client(Versions::Both, false), Setup::Server(config.into()));
        let (mut a, mut b) = (Tls::new(), Tls::new());
        shake((&mut a, &client), (&mut b, &theirs));
        assert_eq!(opened(&mut a, &sealed(&mut b, &[7; 1_000])), (vec![7; 1_000], false, None));
    }
}

#[test]
fn text_behind_a_handshake_in_the_same_bytes_is_left_over() {
    let (ours, theirs) = (client(Versions::Tls13, false), server(Versions::Both, None));
    let (mut a, mut b, _) = half_way(&ours, &theirs);
    assert!(matches!(a.step(&ours), Ok(Step::Established(_))));
    let mut bytes = sealed(&mut a, b"first");
    bytes.extend(sealed(&mut a, b"second"));
    b.put(&bytes);
    let Ok(Step::Established(established)) = b.step(&theirs) else { panic!("it is not established") };
    assert_eq!(opened(&mut b, &established.rest), (b"firstsecond".to_vec(), false, None));
}

#[test]
fn who_comes_back_with_a_ticket_resumes_and_without_it_does_not() {
    for versions in [Versions::Tls12, Versions::Tls13] {
        let tickets = Tickets::new().unwrap();
        let (ours, theirs) = (client(versions, true), server(Versions::Both, Some(&tickets)));
        let again = server(Versions::Both, Some(&tickets));
        let none = server(Versions::Both, None);
        let resumes = |setup: &Setup, theirs: &Setup| {
            let (mut a, mut b) = (Tls::new(), Tls::new());
            let (at_a, at_b) = shake((&mut a, setup), (&mut b, theirs));
            assert_eq!(opened(&mut a, &sealed(&mut b, b"welcome")), (b"welcome".to_vec(), false, None));
            assert_eq!(opened(&mut b, &sealed(&mut a, b"thanks")), (b"thanks".to_vec(), false, None));
            assert!(a.suite().is_some() && b.suite().is_some(), "compact");
            assert_eq!(at_a.is_resumed, at_b.is_resumed);
            at_a.is_resumed
        };
        assert!(!resumes(&ours, &theirs));
        assert!(
            resumes(&ours, &theirs) && resumes(&ours, &theirs),
            "each handshake gives a ticket for the next"
        );
        assert!(resumes(&ours, &again), "the setup may change under the same tickets");
        assert!(!resumes(&ours, &none) && !resumes(&client(versions, false), &theirs));
    }
}

#[test]
fn a_client_waits_for_its_ticket_in_rustls_hands_and_no_longer() {
    let tickets = Tickets::new().unwrap();
    for (theirs, waits) in
        [(server(Versions::Both, Some(&tickets)), false), (server(Versions::Both, None), true)]
    {
        let ours = client(Versions::Tls13, true);
        let (mut a, mut b) = (Tls::new(), Tls::new());
        shake((&mut a, &ours), (&mut b, &theirs));
        let text = sealed(&mut a, b"question");
        assert_eq!(a.is_whole(), waits, "a server that gives none is waited for until it speaks");
        assert_eq!(opened(&mut b, &text), (b"question".to_vec(), false, None));
        assert_eq!(opened(&mut a, &sealed(&mut b, b"answer")), (b"answer".to_vec(), false, None));
        assert_eq!(opened(&mut b, &sealed(&mut a, b"more")), (b"more".to_vec(), false, None));
        assert!(!a.is_whole());
    }
}

#[test]
fn whoever_is_not_trusted_or_not_asked_for_is_named() {
    let theirs = server(Versions::Both, None);
    let other = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
    let stranger = tls::certificates(other.cert.pem().as_bytes()).unwrap();
    let known = tls::certificates(pair().certificate.as_bytes()).unwrap();
    let attempt = |name: &str, trust: Trust| {
        let ours = tls::client(name, trust, Versions::Both, false, true).unwrap();
        let (mut a, mut b, _) = half_way(&ours, &theirs);
        let error = a.step(&ours).err();
        b.put(&sealed(&mut a, &[]));
        (error.map(|error| error.to_string()), b.step(&theirs).err().and_then(|error| error.alert_received()))
    };
    let (error, alert) = attempt(NAME, Trust::Roots(stranger.clone()));
    assert!(error.is_some_and(|error| error.contains("UnknownIssuer") || error.contains("BadSignature")));
    assert!(alert.is_some(), "the server hears of it");
    let (error, alert) = attempt("other.example", Trust::Roots(known.clone()));
    assert!(error.is_some_and(|error| error.contains("other.example")));
    assert_eq!(alert, Some(AlertDescription::BadCertificate));
    assert_eq!(attempt("other.example", Trust::Anybody), (None, None));
    assert_eq!(attempt(NAME, Trust::Roots(known)), (None, None));
}

#[test]
fn a_certificate_that_is_trusted_itself_may_call_itself_an_authority() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new([NAME.to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    (params.not_before, params.not_after) =
        (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2100, 1, 1));
    let attempt = |params: &rcgen::CertificateParams, name: &str| {
        let made = params.self_signed(&key).unwrap().pem();
        let at = 1_735_689_600; // 2025
        let theirs =
            tls::server(made.as_bytes(), key.serialize_pem().as_bytes(), Versions::Both, None, at).unwrap();
        let trust = Trust::Roots(tls::certificates(made.as_bytes()).unwrap());
        let ours = tls::client(name, trust, Versions::Both, false, true).unwrap();
        let (mut a, ..) = half_way(&ours, &theirs);
        a.step(&ours).err().map(|error| error.to_string())
    };
    assert_eq!(attempt(&params, NAME), None);
    assert!(attempt(&params, "other.example").is_some_and(|error| error.contains("not valid for name")));
    params.not_after = rcgen::date_time_ymd(2025, 6, 1);
    assert!(attempt(&params, NAME).is_some_and(|error| error.to_lowercase().contains("expired")));
}

#[test]
fn a_handshake_without_end_ends_before_it_takes_memory() {
    let setup = server(Versions::Both, None);
    // The beginning of a ClientHello of 65,535 bytes, and then a byte in each record.
    let record = |text: &[u8]| [&[22, 3, 1, 0, text.len() as u8], text].concat();
    let mut ours = Tls::new();
    ours.put(&record(&[1, 0, 0xff, 0xff, 3, 3]));
    let mut records = 0;
    let error = loop {
        ours.put(&record(&[0]));
        match ours.step(&setup) {
            Ok(_) => records += 1,
            Err(error) => break error,
        }
    };
    assert!(records < 1_000 && error.to_string().contains("without end"), "{records} records: {error}");
    // As many bytes as records may have, which rustls keeps until the message is whole.
    let mut ours = Tls::new();
    let full = |text: &[u8]| [&[22, 3, 1, 0x40, 0][..], text, &vec![0; 16_384 - text.len()]].concat();
    ours.put(&full(&[1, 0, 0xff, 0xff, 3, 3]));
    let ended = (0..10).any(|_| {
        ours.put(&full(&[]));
        ours.step(&setup).is_err()
    });
    assert!(ended);
}

#[test]
fn a_client_whose_server_gives_up_right_behind_the_handshake_hears_why() {
    let setup = server(Versions::Both, None);
    let mut theirs = strange_server(&setup);
    let ours = client(Versions::Tls13, false);
    let mut a = Tls::new();
    a.step(&ours).unwrap();
    assert_eq!(handed(&mut theirs, &sealed(&mut a, &[])), (vec![], None));
    a.put(&written(&mut theirs));
    assert!(matches!(a.step(&ours), Ok(Step::Established(_))));
    // What the client answers is damaged, so the server gives up.
    let mut finished = sealed(&mut a, &[]);
    *finished.last_mut().unwrap() ^= 1;
    assert!(handed(&mut theirs, &finished).1.is_some());
    let (_, _, error) = opened(&mut a, &written(&mut theirs));
    assert!(error.is_some());
    a.close();
    assert_eq!(sealed(&mut a, b"nothing"), b"");
}

#[test]
fn what_is_no_handshake_is_refused_with_an_alert() {
    let setup = server(Versions::Both, None);
    for bytes in [
        b"GET / HTTP/1.1\r\n\r\n".as_slice(),
        &[0; 100],
        &[22, 3, 1, 0, 5, 1, 0, 0, 1, 9],
        &[23, 3, 3, 0, 1, 0],
    ] {
        let mut ours = Tls::new();
        ours.put(bytes);
        let error = ours.step(&setup).expect_err("no handshake");
        assert!(!error.to_string().is_empty() && ours.wants_to_send());
        let alert = sealed(&mut ours, &[]);
        assert_eq!((alert[0], alert.len()), (21, 7), "an alert in the clear: {alert:?}");
        assert!(!ours.wants_to_send() && !ours.is_established());
    }
}

#[test]
fn those_without_a_common_version_are_told() {
    let (ours, theirs) = (client(Versions::Tls12, false), server(Versions::Tls13, None));
    let (mut a, _, refused) = half_way(&ours, &theirs);
    assert!(refused.is_some());
    let error = a.step(&ours).expect_err("refused");
    assert_eq!(error.alert_received(), Some(AlertDescription::ProtocolVersion));
}
