//! The program as its users meet it: real processes, real sockets on loopback, real run folders.
#![allow(clippy::unwrap_used)] // in tests a panic with its line is the message

mod bottlenecks;
mod capacity;
mod fault;
mod faults;
mod foreign;
mod harness;
mod invalid;
mod lab;
mod memory;
mod merge;
mod metrics;
mod page;
mod screen;
mod series;
mod storm;
mod tls;
mod tune;
mod users;
mod whole;
