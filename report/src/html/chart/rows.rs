//! A level axis with rows above it, one below the other: what bars and ranges stand in.

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::{Failed, UNIT, text_style, units};
use crate::html::axis::Axis;
use crate::html::palette::Ink;

/// Of the axis, in pixels.
pub(super) const BOTTOM: u32 = 50;
/// Right and left, so that the texts of the axis are inside.
const MARGIN: u32 = 22;

/// What the rows are drawn on: row `n` from `n` to `n + 1`.
pub(super) type Plot<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, RangedCoordf64>>;

/// The axis and its grid.
pub(super) fn plot<'a, 'b>(
    area: &'a DrawingArea<SVGBackend<'b>, Shift>,
    axis: Axis,
    rows: usize,
) -> Result<Plot<'a, 'b>, Failed> {
    let label = axis.label.clone();
    let mut chart = ChartBuilder::on(area)
        .margin_left(units(MARGIN))
        .margin_right(units(MARGIN))
        .x_label_area_size(units(BOTTOM))
        .build_cartesian_2d(axis, rows as f64..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .bold_line_style(Ink::Grid.rgb().stroke_width(UNIT))
        .light_line_style(TRANSPARENT)
        .axis_style(Ink::Faint.rgb().stroke_width(UNIT))
        .label_style(text_style(Ink::Text, HPos::Left, VPos::Top))
        .x_desc(&label)
        .set_all_tick_mark_size(units(4))
        .draw()?;
    Ok(chart)
}
