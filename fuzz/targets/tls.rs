//! A script of records, damaged and cut, to a server in rustls' hands and to one in compact form: the same text or the same alert.
#![no_main]

#[path = "../../wire/tests/tls/differential.rs"]
mod differential;
#[path = "../../wire/tests/tls/peer.rs"]
#[allow(dead_code, clippy::unwrap_used)] // the tests use all of it
mod peer;

libfuzzer_sys::fuzz_target!(|script: &[u8]| differential::run(script));
