//! Level bars, each made of parts.

use maud::{Markup, html};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::rows::{self, BOTTOM, Plot};
use super::{Failed, Frame, UNIT, drawing, small_style, small_width_of, text_style, units};
use crate::html::axis::Axis;
use crate::html::palette::Ink;

/// In pixels: a bar with the line of its name.
const ROW: u32 = 62;
/// Where in its row a bar begins and ends.
const BAR: (f64, f64) = (0.45, 0.95);
/// Weights of the parts in turn, so that each differs from its neighbours.
const WEIGHTS: [f64; 2] = [0.42, 0.22];

/// A bar and what it is made of, in the axis' unit.
pub(in crate::html) struct Bar {
    /// What it is, with the sum.
    pub(in crate::html) name: String,
    pub(in crate::html) ink: Ink,
    pub(in crate::html) parts: Vec<(String, f64)>,
}

/// A chart of bars.
pub(in crate::html) struct Bars<'a> {
    /// Of its element; one page has it once.
    pub(in crate::html) id: &'a str,
    pub(in crate::html) title: &'a str,
    /// The essential figures in words.
    pub(in crate::html) says: String,
    /// What the axis shows, with the unit.
    pub(in crate::html) label: &'a str,
    pub(in crate::html) bars: Vec<Bar>,
    /// What else there is to say about it.
    pub(in crate::html) note: &'a str,
    /// The sentence where there is nothing to show.
    pub(in crate::html) none: &'a str,
}

impl Bars<'_> {
    /// The chart; without bars, a sentence.
    pub(in crate::html) fn figure(&self) -> Markup {
        if self.bars.is_empty() {
            return html! { figure id=(self.id) { h3 { (self.title) } p.none { (self.none) } } };
        }
        let height = self.bars.len() as u32 * ROW + BOTTOM;
        let frame = Frame { id: self.id, title: self.title, says: &self.says, height };
        let caption = html! { @if !self.note.is_empty() { p { (self.note) } } };
        frame.around(drawing(height, |area| self.draw(area)), &caption)
    }

    fn draw(&self, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), Failed> {
        let sum = |bar: &Bar| bar.parts.iter().map(|(_, value)| value.max(0.0)).sum::<f64>();
        let axis = Axis::linear(self.label, self.bars.iter().map(sum).fold(0.0, f64::max));
        let chart = rows::plot(area, axis, self.bars.len())?;
        for (row, bar) in self.bars.iter().enumerate() {
            bar.draw(area, &chart, row as f64)?;
        }
        Ok(())
    }
}

impl Bar {
    /// The bar in its row, with its name above it, and those of its parts where there is room.
    fn draw(
        &self,
        area: &DrawingArea<SVGBackend<'_>, Shift>,
        chart: &Plot<'_, '_>,
        row: f64,
    ) -> Result<(), Failed> {
        let (top, bottom) = (row + BAR.0, row + BAR.1);
        let (left, above) = chart.backend_coord(&(0.0, top));
        area.draw_text(
            &self.name,
            &text_style(Ink::Text, HPos::Left, VPos::Bottom),
            (left, above - units(3)),
        )?;
        let mut begin = 0.0;
        for (number, (part, value)) in self.parts.iter().enumerate().filter(|(_, (_, value))| *value > 0.0) {
            let end = begin + value;
            let colour = self.ink.rgb().mix(WEIGHTS[number % WEIGHTS.len()]);
            chart.plotting_area().draw(&Rectangle::new([(begin, top), (end, bottom)], colour.filled()))?;
            let (left, right) = (chart.backend_coord(&(begin, top)), chart.backend_coord(&(end, bottom)));
            if f64::from(right.0 - left.0) >= (small_width_of(part) + 6.0) * f64::from(UNIT) {
                let middle = ((left.0 + right.0) / 2, (left.1 + right.1) / 2);
                area.draw_text(part, &small_style(HPos::Center, VPos::Center), middle)?;
            }
            begin = end;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(bars: Vec<Bar>) -> String {
        let chart = Bars {
            id: "memory",
            title: "Memory",
            says: "the socket: 3 kB".into(),
            label: "bytes per end",
            bars,
            note: "each end",
            none: "Too few.",
        };
        chart.figure().into_string()
    }

    #[test]
    fn bars_are_made_of_parts_that_are_named_where_there_is_room() {
        let parts = vec![("TCP".to_owned(), 2500.0), ("dentry".to_owned(), 20.0), ("none".to_owned(), -5.0)];
        let html = bars(vec![Bar { name: "the <socket>".into(), ink: Ink::Blue, parts }]);
        assert_eq!(html.matches("fill=\"#005FA3\"").count(), 2, "{html}");
        assert!(html.contains(">TCP</text>") && !html.contains(">dentry</text>"), "{html}");
        assert!(
            html.contains("the &lt;socket&gt;</text>") && html.contains(">bytes per end</text>"),
            "{html}"
        );
        assert!(html.contains("<desc id=\"memory-says\">the socket: 3 kB</desc>"), "{html}");
    }

    #[test]
    fn without_bars_there_is_a_sentence() {
        assert!(bars(vec![]).contains("Too few."));
    }
}
