//! Charts as inline SVG: lines over an axis of time or of percentiles, and bars. Drawn by plotters; what they say stands beside the
//! drawing, for whoever does not see it.
//!
//! plotters draws on whole units, so a pixel of the drawing is [`UNIT`] of them: lines stay smooth when a page is wide. Its colours are
//! turned into variables of the page by the rules of [`super::palette`], and texts have the page's font.

mod bars;
mod lines;
mod ranges;
mod rows;

use maud::{Markup, PreEscaped, html};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::palette::Ink;

pub(super) use bars::{Bar, Bars};
pub(super) use lines::{Band, Chart, Line};
pub(super) use ranges::{Range, Ranges};

/// plotters' units for a pixel of the drawing.
pub(super) const UNIT: u32 = 4;

/// Of a drawing, in pixels.
const WIDTH: u32 = 560;
/// Of a text, in pixels. On a phone, where the whole drawing is smaller, the style has [`PHONE_TEXT`].
const TEXT: f64 = 14.0;
/// What there must be room for: the size on a phone, which `style.css` has in units.
pub(super) const PHONE_TEXT: f64 = 17.0;
/// Of the names of parts, which are not shown on a phone.
const SMALL_TEXT: f64 = 12.0;
/// A letter of a text, by the text's size: about the mean of a font without serifs.
const LETTER: f64 = 0.56;
/// plotters makes a text's size smaller by this.
const PLOTTERS_TEXT: f64 = 1.24;

/// What can go wrong in plotters: nothing that drawing to a string knows of.
type Failed = Box<dyn std::error::Error>;

/// Pixels as units.
const fn units(pixels: u32) -> i32 {
    (pixels * UNIT) as i32
}

/// The width in pixels that a text needs, on a phone, too.
fn width_of(text: &str) -> f64 {
    text.chars().count() as f64 * LETTER * PHONE_TEXT
}

/// The width in pixels of a text that a phone does not show.
fn small_width_of(text: &str) -> f64 {
    text.chars().count() as f64 * LETTER * SMALL_TEXT
}

fn text_style(ink: Ink, horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    style_of(TEXT, ink, horizontal, vertical)
}

/// Of the names of parts.
fn small_style(horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    style_of(SMALL_TEXT, Ink::Small, horizontal, vertical)
}

fn style_of(size: f64, ink: Ink, horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    let size = size * f64::from(UNIT) * PLOTTERS_TEXT;
    let font = FontDesc::new(FontFamily::Name("inherit"), size, FontStyle::Normal);
    font.color(&ink.rgb()).pos(Pos::new(horizontal, vertical))
}

/// A drawing of this height in pixels, as SVG without its outermost element.
fn drawing(
    height: u32,
    draw: impl FnOnce(&DrawingArea<SVGBackend<'_>, plotters::coord::Shift>) -> Result<(), Failed>,
) -> Result<String, Failed> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH * UNIT, height * UNIT)).into_drawing_area();
        draw(&area)?;
        area.present()?;
    }
    let inside = svg.split_once(">\n").and_then(|(_, rest)| rest.rsplit_once("</svg>"));
    let (inside, _) = inside.ok_or("plotters draws one svg element")?;
    Ok(inside.replace(" opacity=\"1\"", "").replace("\">\n", "\">").replace("\n</text>", "</text>"))
}

/// What belongs to every figure.
struct Frame<'a> {
    /// Of the element; those of title and description begin with it.
    id: &'a str,
    title: &'a str,
    /// The essential figures, for whoever does not see the drawing.
    says: &'a str,
    height: u32,
}

impl Frame<'_> {
    /// The figure around a drawing, with a caption.
    fn around(&self, drawn: Result<String, Failed>, caption: &Markup) -> Markup {
        let (title, says) = (format!("{}-title", self.id), format!("{}-says", self.id));
        let scale = format!("scale({})", 1.0 / f64::from(UNIT));
        html! {
            figure id=(self.id) {
                h3 { (self.title) }
                @match drawn {
                    Ok(drawn) => {
                        svg.drawn viewBox={ "0 0 " (WIDTH) " " (self.height) } role="img" aria-labelledby={ (title) " " (says) } {
                            title id=(title) { (self.title) }
                            desc id=(says) { (self.says) }
                            g transform=(scale) { (PreEscaped(drawn)) }
                        }
                        figcaption { (caption) }
                    }
                    Err(error) => p { "This chart could not be drawn: " (error) "." },
                }
            }
        }
    }
}
