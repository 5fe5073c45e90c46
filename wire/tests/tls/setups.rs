//! What a server or a client cannot be made with, and what is said about it.

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use throng_wire::tls::{self, SetupError, Trust, Versions};

use crate::peer::{NAME, NOW, pair};

fn refused(certificate: &str, key: &str, now: u64) -> SetupError {
    tls::server(certificate.as_bytes(), key.as_bytes(), Versions::Both, None, now)
        .expect_err("it cannot be used")
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let other = KeyPair::generate().unwrap();
    let error = refused(&pair().certificate, &other.serialize_pem(), NOW);
    assert_eq!(error, SetupError::Mismatch);
    assert!(error.to_string().contains("not that of the certificate"));
}

#[test]
fn files_that_have_nothing_of_the_kind_are_refused_by_what_they_lack() {
    let pair = pair();
    assert_eq!(refused("", &pair.key, NOW), SetupError::NoCertificate);
    assert_eq!(refused(&pair.key, &pair.key, NOW), SetupError::NoCertificate);
    assert_eq!(refused(&pair.certificate, "", NOW), SetupError::NoKey);
    assert_eq!(refused(&pair.certificate, &pair.certificate, NOW), SetupError::NoKey);
    let cut = &pair.certificate[..pair.certificate.len() - 40];
    assert!(matches!(refused(cut, &pair.key, NOW), SetupError::Pem(_) | SetupError::NoCertificate));
    let garbage = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    assert!(matches!(refused(garbage, &pair.key, NOW), SetupError::Unreadable(_)));
}

#[test]
fn a_certificate_out_of_its_time_is_refused_with_whose_it_is_and_when() {
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "an old phone");
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2025, 1, 1);
    let key = KeyPair::generate().unwrap();
    let (certificate, key) = (params.self_signed(&key).unwrap().pem(), key.serialize_pem());
    let year = |year: u64| (year - 1970) * 31_557_600;
    let error = refused(&certificate, &key, year(2026)).to_string();
    assert!(error.contains("an old phone") && error.contains("2025") && error.contains("renew"), "{error}");
    let error = refused(&certificate, &key, year(2019)).to_string();
    assert!(error.contains("an old phone") && error.contains("2020"), "{error}");
    assert!(tls::server(certificate.as_bytes(), key.as_bytes(), Versions::Both, None, year(2022)).is_ok());
}

#[test]
fn a_client_needs_a_name_and_somebody_to_trust() {
    let of = |name: &str, trust| tls::client(name, trust, Versions::Both, false, true);
    assert!(
        of("no name at all", Trust::Anybody).expect_err("a name").to_string().contains("`no name at all`")
    );
    assert!(of("127.0.0.1", Trust::Anybody).is_ok() && of("::1", Trust::Anybody).is_ok());
    assert!(of(NAME, Trust::Roots(vec![])).is_err());
    assert!(of(NAME, Trust::Roots(vec![vec![1, 2, 3].into()])).is_err());
}

#[test]
fn keys_are_gone_when_they_are_dropped_and_never_printed() {
    let text = format!(
        "{:?}",
        tls::server(pair().certificate.as_bytes(), pair().key.as_bytes(), Versions::Both, None, NOW)
    );
    let key: String = pair().key.lines().filter(|line| !line.starts_with('-')).collect();
    assert!(!text.contains(&key[..20]));
}
