//! What a run needs from the machine, and what stands in its way.
//!
//! [`check`] compares a [`Target`] with a [`Machine`] and touches neither: the same two values give the same findings
//! everywhere, so a refusal can be tested without the machine that would refuse. [`Machine::read`] and
//! [`Available`] are all that reads /proc here. Nothing is changed by this crate.
//!
//! A run that is too big for its machine must end before it starts, by the name of the setting that forbids it, with
//! the value that is needed. Found in the middle, the same fact looks like a slow server.

mod available;
mod check;
pub mod lab;
pub mod limits;
mod machine;
mod sizing;
mod target;

pub use available::Available;
pub use check::{Finding, Severity, check};
pub use machine::{Conntrack, Machine};
pub use sizing::{Memory, fullest_thread, reserve_bytes, tables_needed};
pub use target::{Backend, Side, Sources, Target};
