//! The server from outside: real sockets, both backends, one shard and several.

mod common;
mod conduct;
mod delivery;
