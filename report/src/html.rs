//! `report.html`: a run as one file that needs nothing else, neither script nor font nor network.
//!
//! ```text
//!   run/      what the page of a run says, section by section; comparison and capacity have pages, too
//!   page      the document: head, style, sections, tables          (any page)
//!   chart     lines and bars as inline SVG, with what they say     (any page)
//!   palette   colours, by day and by night, each with a dash of its own
//! ```
//!
//! Markup is made by `maud`, which escapes whatever is not marked as markup already. Only `page` (the style) and `chart` (the SVG that
//! plotters drew, which escapes its own texts) mark something so.

mod axis;
mod capacity;
mod chart;
mod comparison;
mod curve;
mod numbers;
mod page;
mod palette;
mod run;
mod thin;

use crate::Run;
use crate::capacity::Capacity;
use crate::compare::Comparison;

/// The page of a run: the verdict and why, what was run, the figures, charts over time and by percentile, where the memory is, the
/// counters that moved, the plan and the host. Whatever is not known is left out, or told in a sentence.
pub fn run_page(run: &Run) -> String {
    run::page(run)
}

/// The page of a comparison: what may be said, the ratios with their intervals, every run's figures, and the distributions of both
/// arms, whose runs are in `arms` as far as they could be read: first the baseline's.
pub fn comparison_page(comparison: &Comparison, arms: [&[Run]; 2]) -> String {
    comparison::page(comparison, arms)
}

/// The page of a search: the answer, its interval, what gave out, and every trial.
pub fn capacity_page(capacity: &Capacity) -> String {
    capacity::page(capacity)
}
