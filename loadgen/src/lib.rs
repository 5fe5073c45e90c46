//! Plays the users: who connects when, who writes to whom when, and what became of it.
//!
//! ```text
//!  scenario (TOML) + overrides + seed  ──> plan ──> load: one worker per thread ──> outcome
//!                                                      │
//!    ramp       when each user connects                │  shared: gates that all workers pass together
//!    storm      who connects again, and when           │
//!    schedule   when each message is due               │
//!    user       one person as a small state machine    │
//!    crowd      everybody whom one worker plays        │
//!    ledger     what became of every message           │
//! ```
//!
//! The schedule decides when things should happen, and the server never slows it down. What cannot go out yet waits with
//! the instant at which it was due, so the wait is part of what is measured. Nothing here knows the server: both meet in
//! `throng-wire` alone, else they would share their mistakes.

pub mod address;
mod crowd;
pub mod engine;
pub mod gate;
pub mod ledger;
pub mod limits;
pub mod load;
pub mod outcome;
pub mod plan;
mod queue;
pub mod ramp;
pub mod scenario;
pub mod schedule;
pub mod search;
pub mod stamp;
mod user;
pub mod worker;

pub use address::{Network, PortRange, Sources};
pub use engine::{Devices, Engine};
pub use gate::{EarlyEnd, Interval, Phase};
pub use load::{Load, Options, Progress};
pub use outcome::Outcome;
pub use plan::{Overrides, Part, Plan, PlanError, Reconnect, Storm};
pub use ramp::{Ramp, Stage};
pub use scenario::{Kind, Protocol, Scenario};
pub use search::{Bounds, Found, Search};
