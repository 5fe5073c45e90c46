//! TLS of ours with ourselves and with other people's, and what becomes of everything that goes wrong.

mod differential;
mod handshakes;
mod peer;
mod records;
mod setups;
