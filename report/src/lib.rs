//! What a run's numbers mean: schema, histograms, thresholds, verdict, run folder, terminal summary, page.
//!
//! This crate depends on no other of Throng's, opens no socket, and reads no clock and no /proc: whoever measured
//! brings the figures. Old results must still open, so the schema changes only by additions.

pub mod capacity;
pub mod compare;
pub mod folder;
pub mod histogram;
pub mod hlog;
pub mod html;
pub mod merge;
pub mod metric;
pub mod schema;
pub mod spread;
pub mod stats;
pub mod text;
pub mod threshold;
pub mod timeseries;
pub mod verdict;

pub use folder::{Run, RunFolder};
pub use histogram::{Histogram, IntervalHistogram};
pub use metric::Metric;
pub use schema::{Summary, Verdict};
pub use threshold::Threshold;
pub use verdict::judge;
