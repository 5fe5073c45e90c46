//! What Throng's server is held against, and the benches of its parts.
//!
//! ```text
//!  throng-floor     relay         the cheapest relay there is: recv, send, nothing in between
//!                   closed_loop   a generator with W messages in flight per pair, for the relay and for Redis
//!                   redis         PUBLISH and SUBSCRIBE, with the same batches
//!                   connect       the cheapest loop that accepts, connects and keeps
//!                   tls           the cheapest loop that shakes hands, and what a TLS library keeps of it
//!                   accounts      CPU time of a server that is not ours to ask
//!  throng-compare   compare       floor, Redis and `throng run` in turn, and the table of their ratios
//!  benches/         criterion     framing, records of TLS, slots, timer wheel, histogram
//! ```
//!
//! The measure is *messages per second of the server's CPU*. Generator and server share a machine, so messages per
//! second of the clock would measure both, and the slower of them twice. Connecting is measured by the clock: both sides of
//! Throng and both of the floor have the same two cores.

pub mod accounts;
pub mod closed_loop;
pub mod compare;
pub mod connect;
pub mod floor;
pub mod packets;
pub mod redis;
pub mod relay;
pub mod tls;

use std::time::Duration;

/// How long each criterion bench warms up: the caches are warm and the clock is up after that.
pub const BENCH_WARM_UP: Duration = Duration::from_millis(200);
/// How long each is measured. All of them together stay below a minute.
pub const BENCH_MEASUREMENT: Duration = Duration::from_millis(600);
/// Into how many samples that is cut: enough for an interval, few enough for the time.
pub const BENCH_SAMPLES: usize = 30;
