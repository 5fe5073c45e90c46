//! Lines over an axis, with the phases of a run behind them.

use std::ops::Range;

use maud::{Markup, html};
use plotters::coord::Shift;
use plotters::coord::ranged1d::Ranged;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::{Failed, Frame, UNIT, drawing, text_style, units, width_of};
use crate::html::axis::Axis;
use crate::html::palette::Ink;
use crate::html::thin::{Point, pieces};

/// In pixels. Left and below, there is room for the axes.
const HEIGHT: u32 = 340;
const LEFT: u32 = 74;
const BOTTOM: u32 = 50;
const RIGHT: u32 = 36;
/// The line for what the upright axis shows, and that of the phases.
const LABEL_LINE: u32 = 26;
const BAND_LINE: u32 = 24;
/// Where there are no phases.
const GAP: u32 = 10;
const LINE_WIDTH: u32 = 2 * UNIT;
const DOT_RADIUS: u32 = 4 * UNIT;

/// A line, by what it is called.
pub(in crate::html) struct Line {
    pub(in crate::html) name: &'static str,
    pub(in crate::html) ink: Ink,
    pub(in crate::html) points: Vec<Point>,
    /// A point apart from the line, drawn as a dot.
    pub(in crate::html) dot: Option<(f64, f64)>,
}

impl Line {
    fn is_empty(&self) -> bool {
        self.points.iter().all(|(_, value)| value.is_none()) && self.dot.is_none()
    }
}

/// A part of the level axis, shaded.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::html) struct Band {
    pub(in crate::html) name: String,
    pub(in crate::html) from: f64,
    pub(in crate::html) to: f64,
    /// `None` for the page's own colour.
    pub(in crate::html) ink: Option<Ink>,
}

/// A chart of lines.
pub(in crate::html) struct Chart<'a> {
    /// Of its element; one page has it once.
    pub(in crate::html) id: &'a str,
    pub(in crate::html) title: &'a str,
    /// The essential figures in words.
    pub(in crate::html) says: String,
    pub(in crate::html) x: Axis,
    pub(in crate::html) y: Axis,
    pub(in crate::html) bands: &'a [Band],
    pub(in crate::html) lines: Vec<Line>,
    /// What else there is to say about it.
    pub(in crate::html) note: &'a str,
    /// The sentence where there is nothing to show.
    pub(in crate::html) none: &'a str,
}

impl Chart<'_> {
    /// The chart; where no line has a point, a sentence.
    pub(in crate::html) fn figure(&self) -> Markup {
        if self.lines.iter().all(Line::is_empty) {
            return html! { figure id=(self.id) { h3 { (self.title) } p.none { (self.none) } } };
        }
        let frame = Frame { id: self.id, title: self.title, says: &self.says, height: HEIGHT };
        let caption = html! {
            ul.key {
                @for line in self.lines.iter().filter(|line| !line.is_empty()) { li { (swatch(line)) (line.name) } }
            }
            @if !self.note.is_empty() { p { (self.note) } }
        };
        frame.around(drawing(HEIGHT, |area| self.draw(area)), &caption)
    }

    fn draw(&self, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), Failed> {
        let above = LABEL_LINE + if self.bands.is_empty() { GAP } else { BAND_LINE };
        let mut chart = ChartBuilder::on(area)
            .margin_top(units(above))
            .margin_right(units(RIGHT))
            .x_label_area_size(units(BOTTOM))
            .y_label_area_size(units(LEFT))
            .build_cartesian_2d(self.x.clone(), self.y.clone())?;
        self.shade(area, &chart)?;
        let mut mesh = chart.configure_mesh();
        if !self.bands.is_empty() {
            mesh.disable_x_mesh();
        }
        mesh.bold_line_style(Ink::Grid.rgb().stroke_width(UNIT))
            .light_line_style(TRANSPARENT)
            .axis_style(Ink::Faint.rgb().stroke_width(UNIT))
            .label_style(text_style(Ink::Text, HPos::Left, VPos::Top))
            .x_desc(&self.x.label)
            .set_all_tick_mark_size(units(4))
            .draw()?;
        area.draw_text(&self.y.label, &text_style(Ink::Text, HPos::Left, VPos::Top), (units(2), units(4)))?;
        for line in &self.lines {
            trace(&mut chart, line)?;
        }
        Ok(())
    }

    /// The phases, each with its name above where there is room for it.
    fn shade(&self, area: &DrawingArea<SVGBackend<'_>, Shift>, chart: &Plot<'_, '_>) -> Result<(), Failed> {
        for band in self.bands {
            let Range { start: bottom, end: top } = self.y.range();
            let corners = [(band.from, bottom), (band.to, top)];
            if let Some(ink) = band.ink {
                chart.plotting_area().draw(&Rectangle::new(corners, ink.rgb().filled()))?;
            }
            let (left, right) =
                (chart.backend_coord(&(band.from, top)), chart.backend_coord(&(band.to, top)));
            if f64::from(right.0 - left.0) >= (width_of(&band.name) + 4.0) * f64::from(UNIT) {
                let at = ((left.0 + right.0) / 2, left.1 - units(3));
                area.draw_text(&band.name, &text_style(Ink::Faint, HPos::Center, VPos::Bottom), at)?;
            }
        }
        Ok(())
    }
}

type Plot<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;

fn trace(chart: &mut Plot<'_, '_>, line: &Line) -> Result<(), Failed> {
    let style = line.ink.rgb().stroke_width(LINE_WIDTH);
    let mut dots: Vec<(f64, f64)> = line.dot.into_iter().collect();
    for piece in pieces(&line.points) {
        match piece.as_slice() {
            // A line of one point would not be seen.
            [alone] => dots.push(*alone),
            _ => {
                chart.draw_series(LineSeries::new(piece, style))?;
            }
        }
    }
    let dots = dots.into_iter().map(|dot| Circle::new(dot, DOT_RADIUS, line.ink.rgb().filled()));
    chart.draw_series(dots)?;
    Ok(())
}

/// A bit of the line, beside its name.
fn swatch(line: &Line) -> Markup {
    let (ink, middle) = (line.ink.hex(), 6 * UNIT);
    html! {
        svg.drawn.swatch viewBox={ "0 0 " (30 * UNIT) " " (12 * UNIT) } aria-hidden="true" {
            line x1="0" y1=(middle) x2=(30 * UNIT) y2=(middle) stroke=(ink) stroke-width=(LINE_WIDTH + UNIT) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn chart(lines: Vec<Line>, bands: &[Band]) -> Chart<'_> {
        Chart {
            id: "rate",
            title: "Messages < a second",
            says: "sent: 5 & more".into(),
            x: Axis::seconds("time (s)", 10.0),
            y: Axis::linear("messages/s", 7.0),
            bands,
            lines,
            note: "each second",
            none: "No messages.",
        }
    }

    fn line(points: Vec<Point>) -> Line {
        Line { name: "sent", ink: Ink::Blue, points, dot: None }
    }

    #[test]
    fn a_chart_says_in_words_what_it_shows() {
        let html = chart(vec![line(vec![(0.0, Some(1.0)), (10.0, Some(7.0))])], &[]).figure().into_string();
        for part in [
            "role=\"img\" aria-labelledby=\"rate-title rate-says\"",
            "<title id=\"rate-title\">Messages &lt; a second</title>",
            "<desc id=\"rate-says\">sent: 5 &amp; more</desc>",
            ">time (s)</text>",
            ">messages/s</text>",
            "stroke=\"#005FA3\"",
            "</svg>sent</li>",
            "font-family=\"inherit\"",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
        assert!(!html.contains("http") && !html.contains("NaN"), "{html}");
    }

    #[test]
    fn nothing_to_show_is_a_sentence() {
        for lines in [vec![], vec![line(vec![])], vec![line(vec![(0.0, None)])]] {
            let html = chart(lines, &[]).figure().into_string();
            assert!(html.contains("No messages.") && !html.contains("<svg"), "{html}");
        }
    }

    #[test]
    fn a_lonely_point_is_a_dot_and_a_gap_makes_two_lines() {
        let points = vec![
            (0.0, Some(1.0)),
            (1.0, Some(2.0)),
            (2.0, None),
            (3.0, Some(3.0)),
            (4.0, None),
            (5.0, Some(4.0)),
            (6.0, Some(4.0)),
        ];
        let html = chart(vec![line(points)], &[]).figure().into_string();
        assert_eq!(html.matches("<circle").count(), 1, "{html}");
        assert_eq!(html.matches("stroke=\"#005FA3\" stroke-width=\"8\" points").count(), 2, "{html}");
    }

    #[test]
    fn phases_are_shaded_and_named_where_there_is_room() {
        let bands = [("warm-up", 0.0, 1.0), ("measure", 1.0, 9.0)].map(|(name, from, to)| Band {
            name: name.into(),
            from,
            to,
            ink: Some(Ink::Measured),
        });
        let html =
            chart(vec![line(vec![(0.0, Some(1.0)), (10.0, Some(7.0))])], &bands).figure().into_string();
        assert_eq!(html.matches("fill=\"#E3EEF8\"").count(), 2, "{html}");
        assert!(html.contains(">measure</text>") && !html.contains(">warm-up</text>"), "{html}");
    }
}
