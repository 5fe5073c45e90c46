//! The machine's knobs: what a target needs of each, and what stands in its way.
//!
//! ```text
//!   knobs/      one unit for each setting: where it is, whose it is, its rule, and why
//!   audit       a target and a machine as values  ──>  what is to be said of each knob
//!   detect      a run's counters  ──>  the knobs that held it back
//!   plan        what an audit would have set, as a file
//!   sweep/      which value of a knob helps: what to run next, and what came of it
//!   change/     sets some of them, with a journal, and puts them back
//! ```
//!
//! A rule is a function of a [`Target`] and a [`Machine`] and touches neither: the same two values give the same lines
//! everywhere, so a refusal can be tested without the machine that would refuse. [`Machine::read`],
//! [`Available`] and [`other_tuners`] are all that reads /proc here, and [`change`] is all that writes.
//!
//! A run that is too big for its machine must end before it starts, by the name of the setting that forbids it, with
//! the value that is needed. Found in the middle, the same fact looks like a slow server.

mod audit;
mod available;
pub mod change;
mod detect;
mod knob;
mod knobs;
pub mod lab;
pub mod limits;
mod machine;
mod others;
mod plan;
mod sizing;
pub mod sweep;
mod target;
mod text;

pub use audit::{Line, audit, check};
pub use available::Available;
pub use detect::{Seen, detect};
pub use knob::{Knob, Place, Scope, Verdict};
pub use knobs::KNOBS;
pub use machine::{Card, Machine, Settings, sysctl_path};
pub use others::{Tuner, running as other_tuners};
pub use plan::{Plan, Setting, wanted};
pub use sizing::{Memory, fullest_thread, reserve_bytes, tables_needed};
pub use target::{Backend, Side, Sockets, Sources, Target};
pub use text::{describe, render};
