//! The messaging server: delivery between connected users, made for density.
//!
//! A server is a number of shards ([`shard::Shard`]), each a state machine over the events of one reactor. They share
//! nothing but mailboxes. [`Server`] runs them on threads; a test runs them over a simulator in one.

mod conduct;
mod config;
mod deadlines;
mod delivery;
mod directory;
mod drain;
mod figures;
mod home;
pub mod limits;
#[doc(hidden)] // for the benchmark
pub mod mailbox;
mod outbox;
mod session;
mod shard;
mod spare;
mod threads;
mod tls;
mod upkeep;

pub use config::Config;
pub use figures::{Description, Figures, ShardFigures};
pub use mailbox::Mailboxes;
pub use shard::{Progress, Shard, Shared};
pub use threads::Server;
