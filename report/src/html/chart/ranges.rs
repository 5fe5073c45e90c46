//! Ratios with their intervals, one below the other, beside the line at which nothing differs.

use maud::{Markup, html};
use plotters::coord::Shift;
use plotters::coord::ranged1d::Ranged;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::rows::{self, BOTTOM};
use super::{Failed, Frame, UNIT, drawing, text_style, units};
use crate::html::axis::Axis;
use crate::html::palette::Ink;

/// In pixels: a range with the line of its name.
const ROW: u32 = 52;
/// Where in its row the range lies.
const MIDDLE: f64 = 0.7;
const CAP: f64 = 0.14;

/// One figure's ratio.
pub(in crate::html) struct Range {
    /// What it is, with what may be said of it.
    pub(in crate::html) name: String,
    pub(in crate::html) ink: Ink,
    pub(in crate::html) low: f64,
    pub(in crate::html) middle: f64,
    pub(in crate::html) high: f64,
}

/// A chart of ranges.
pub(in crate::html) struct Ranges<'a> {
    /// Of its element; one page has it once.
    pub(in crate::html) id: &'a str,
    pub(in crate::html) title: &'a str,
    /// The essential figures in words.
    pub(in crate::html) says: String,
    pub(in crate::html) label: &'a str,
    pub(in crate::html) ranges: Vec<Range>,
    pub(in crate::html) note: &'a str,
    /// The sentence where there is nothing to show.
    pub(in crate::html) none: &'a str,
}

impl Ranges<'_> {
    /// The chart; without ranges, a sentence.
    pub(in crate::html) fn figure(&self) -> Markup {
        if self.ranges.is_empty() {
            return html! { figure id=(self.id) { h3 { (self.title) } p.none { (self.none) } } };
        }
        let height = self.ranges.len() as u32 * ROW + BOTTOM;
        let frame = Frame { id: self.id, title: self.title, says: &self.says, height };
        let caption = html! { @if !self.note.is_empty() { p { (self.note) } } };
        frame.around(drawing(height, |area| self.draw(area)), &caption)
    }

    fn draw(&self, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), Failed> {
        let ends = self.ranges.iter().flat_map(|range| [range.low, range.high]).chain([1.0]);
        let axis = Axis::around(self.label, ends);
        let begin = axis.range().start;
        let mut chart = rows::plot(area, axis, self.ranges.len())?;
        let same = [(1.0, 0.0), (1.0, self.ranges.len() as f64)];
        chart.draw_series(LineSeries::new(same, Ink::Faint.rgb().stroke_width(2 * UNIT)))?;
        for (row, range) in self.ranges.iter().enumerate() {
            let (row, middle) = (row as f64, row as f64 + MIDDLE);
            let style = range.ink.rgb().stroke_width(2 * UNIT);
            let caps = [range.low, range.high].map(|end| [(end, middle - CAP), (end, middle + CAP)]);
            for line in [[(range.low, middle), (range.high, middle)]].into_iter().chain(caps) {
                chart.draw_series(LineSeries::new(line, style))?;
            }
            let dot = Circle::new((range.middle, middle), 5 * UNIT, range.ink.rgb().filled());
            chart.draw_series([dot])?;
            let (left, top) = (chart.backend_coord(&(begin, row)).0, chart.backend_coord(&(1.0, row)).1);
            area.draw_text(
                &range.name,
                &text_style(Ink::Text, HPos::Left, VPos::Top),
                (left, top + units(6)),
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_stand_beside_the_line_of_no_difference() {
        let range = |name: &str, middle: f64| Range {
            name: name.into(),
            ink: Ink::Blue,
            low: middle - 0.05,
            middle,
            high: middle + 0.05,
        };
        let chart = Ranges {
            id: "ratios",
            title: "Ratios",
            says: "rate: 0.9".into(),
            label: "candidate / baseline",
            ranges: vec![range("rate <1>", 0.9), range("p99", 1.2)],
            note: "95 %",
            none: "Nothing.",
        };
        let html = chart.figure().into_string();
        for part in [
            "rate &lt;1&gt;</text>",
            ">p99</text>",
            ">candidate / baseline</text>",
            ">1</text>",
            "role=\"img\"",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
        assert_eq!(html.matches("<circle").count(), 2);
        let none = Ranges { ranges: vec![], ..chart };
        assert!(none.figure().into_string().contains("Nothing."));
    }
}
