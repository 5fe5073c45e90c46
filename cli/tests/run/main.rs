//! The program as its users meet it: real processes, real sockets on loopback, real run folders.
#![allow(clippy::unwrap_used)] // in tests a panic with its line is the message

mod faults;
mod foreign;
mod harness;
mod lab;
mod memory;
mod metrics;
mod screen;
mod storm;
mod users;
mod whole;
