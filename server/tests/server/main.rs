//! The server from outside: real sockets, both backends, one shard and several.
#![allow(clippy::unwrap_used)] // in tests a panic with its line is the message

mod common;
mod conduct;
mod delivery;
mod tls;
