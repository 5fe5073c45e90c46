//! TCP in user space for many clients, on one thread, over whatever carries packets.
//!
//! A kernel's socket costs four kilobytes; a load generator needs one per user, beside the server's. Here a connection is 24
//! bytes and its name 8, while nothing is under way on it. The peers are kernels: it is their sockets that a load test is about.
//!
//! ```text
//!   Users (a Reactor) ──> Stack ──> segments ──> Link ──> reactor's TUN device ──> the kernel's TCP
//! ```
//!
//! [`segment`] turns bytes into headers and back, [`stack`] is the state machine; neither does any I/O or reads a clock. [`users`]
//! puts them behind the contract of [`throng_reactor::Reactor`], over a [`Link`], and [`capture`] writes down what passes there.

pub mod addresses;
mod busy;
pub mod capture;
mod conn;
pub mod counters;
pub mod limits;
pub mod segment;
pub mod stack;
pub mod users;

pub use addresses::Addresses;
pub use capture::{Captured, Pcap};
pub use counters::Counters;
pub use stack::{Cause, Notice, Stack};
pub use users::{Link, Users};
