//! `report.html`: a run as one file that needs nothing else, neither script nor font nor network.
//!
//! ```text
//!   run/      what the page of a run says, section by section
//!   page      the document: head, style, sections, tables          (any page)
//!   chart     lines and bars as inline SVG, with what they say     (any page)
//!   palette   colours, by day and by night, each with a dash of its own
//! ```
//!
//! Markup is made by `maud`, which escapes whatever is not marked as markup already. Only `page` (the style) and `chart` (the SVG that
//! plotters drew, which escapes its own texts) mark something so.

mod axis;
mod chart;
mod numbers;
mod page;
mod palette;
mod run;
mod thin;

use crate::Run;

/// The page of a run: the verdict and why, what was run, the figures, charts over time and by percentile, where the memory is, the
/// counters that moved, the plan and the host. Whatever is not known is left out, or told in a sentence.
pub fn run_page(run: &Run) -> String {
    run::page(run)
}
