//! The event loop under Throng, over `io-uring`, `epoll`, or a simulator.
//!
//! The contract that every backend keeps stands in [`contract`]; one test suite (`tests/contract.rs`) runs over
//! all of them. A reactor knows connections and bytes; what a message is, it never learns.
//!
//! This is the only crate with `unsafe`: everything that needs the kernel's interface below the standard library
//! lives here (sockets, file tables, affinity, rings, timers), behind safe functions.
#![allow(unsafe_code)]

pub mod backend;
pub mod contract;
pub mod epoll;
pub mod limits;
mod poller;
pub mod pool;
pub mod sim;
pub mod slot;
pub mod sys;
pub mod time;
pub mod tun;
pub mod uring;
pub mod wake;
pub mod wheel;

pub use backend::{Backend, Requested, Selected};
pub use contract::{AcceptPause, Close, Config, Event, Gauges, Reactor, SocketOptions};
pub use pool::{Buffer, Lease, Pool};
pub use slot::{Slot, SlotMap, Slots};
pub use time::Nanos;
pub use tun::Tun;
pub use wake::Waker;
pub use wheel::Wheel;
