//! TLS of ours with ourselves and with other people's, and what becomes of everything that goes wrong.
#![allow(clippy::needless_pass_by_value, clippy::unwrap_used)] // in tests a panic with its line is the message

mod differential;
mod handshakes;
mod peer;
mod records;
mod scripts;
mod setups;
