//! Colours. A chart is drawn with those of the day; the page's style has a variable for each, so that the night has others. Lines differ
//! in their dashes, too.

use std::fmt::Write;

use plotters::style::RGBColor;

use super::chart::UNIT;

/// What a line or a bar is drawn with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    Blue,
    Vermilion,
    Green,
    Purple,
    Grey,
    /// Texts and axes.
    Text,
    /// Texts of less weight.
    Faint,
    /// Texts that are not shown on a phone.
    Small,
    /// The grid.
    Grid,
    /// A phase of little interest, as an area.
    Shade,
    /// The phase that counts, as an area.
    Measured,
}

/// All of them.
const ALL: [Ink; 11] = [
    Ink::Blue,
    Ink::Vermilion,
    Ink::Green,
    Ink::Purple,
    Ink::Grey,
    Ink::Text,
    Ink::Faint,
    Ink::Small,
    Ink::Grid,
    Ink::Shade,
    Ink::Measured,
];

/// How an ink looks: its variable, by day, by night, and the lengths of its dashes and gaps in pixels.
struct Look {
    name: &'static str,
    day: (u8, u8, u8),
    night: (u8, u8, u8),
    dashes: &'static [u32],
}

impl Ink {
    fn look(self) -> Look {
        let look = |name, day, night, dashes| Look { name, day, night, dashes };
        match self {
            Ink::Blue => look("blue", (0x00, 0x5F, 0xA3), (0x6C, 0xB6, 0xF2), &[]),
            Ink::Vermilion => look("vermilion", (0xC0, 0x4A, 0x00), (0xF7, 0x95, 0x5C), &[9, 3]),
            Ink::Green => look("green", (0x00, 0x7A, 0x5A), (0x4C, 0xCB, 0xA6), &[2, 3]),
            Ink::Purple => look("purple", (0x96, 0x3C, 0x8C), (0xE0, 0x94, 0xD6), &[9, 3, 2, 3]),
            Ink::Grey => look("grey", (0x6A, 0x72, 0x7C), (0x9A, 0xA4, 0xAF), &[4, 4]),
            Ink::Text => look("text", (0x1D, 0x22, 0x28), (0xE4, 0xE7, 0xEA), &[]),
            Ink::Faint => look("faint", (0x57, 0x60, 0x6A), (0xA3, 0xAC, 0xB5), &[]),
            Ink::Small => look("small", (0x1D, 0x22, 0x29), (0xE4, 0xE7, 0xEB), &[]),
            Ink::Grid => look("grid", (0xDD, 0xE1, 0xE5), (0x32, 0x39, 0x41), &[]),
            Ink::Shade => look("shade", (0xF3, 0xF4, 0xF6), (0x1E, 0x23, 0x28), &[]),
            Ink::Measured => look("measured", (0xE3, 0xEE, 0xF8), (0x1C, 0x2C, 0x3C), &[]),
        }
    }

    /// As plotters wants it.
    pub(super) fn rgb(self) -> RGBColor {
        let (red, green, blue) = self.look().day;
        RGBColor(red, green, blue)
    }

    /// As it stands in the attributes `stroke` and `fill`.
    pub(super) fn hex(self) -> String {
        hex(self.look().day)
    }
}

fn hex((red, green, blue): (u8, u8, u8)) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

/// The rules of the style that tie the colours of the drawings to the variables, and give the variables their values. Paper has
/// no night.
pub(super) fn style() -> String {
    let (mut day, mut night, mut rules) = (String::new(), String::new(), String::new());
    for ink in ALL {
        let look = ink.look();
        let (name, drawn) = (look.name, ink.hex());
        let dashes: Vec<String> = look.dashes.iter().map(|length| (length * UNIT).to_string()).collect();
        let dashes = match dashes.as_slice() {
            [] => String::new(),
            dashes => format!(";stroke-dasharray:{}", dashes.join(" ")),
        };
        // Writing to a string cannot fail.
        let _ = write!(day, "--{name}:{drawn};");
        let _ = write!(night, "--{name}:{};", hex(look.night));
        let _ = writeln!(rules, ".drawn [stroke=\"{drawn}\"]{{stroke:var(--{name}){dashes}}}");
        let _ = writeln!(rules, ".drawn [fill=\"{drawn}\"]{{fill:var(--{name})}}");
    }
    let small = Ink::Small.hex();
    format!(
        ":root{{{day}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{night}}}}}\n{rules}\
         @media (max-width:40rem){{.drawn [fill=\"{small}\"]{{display:none}}}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ink_differs_by_day_and_by_night_and_every_line_in_its_dashes() {
        for (at, ink) in ALL.into_iter().enumerate() {
            for other in ALL.into_iter().skip(at + 1) {
                assert_ne!(ink.look().day, other.look().day, "{ink:?} {other:?}");
                assert_ne!(ink.look().night, other.look().night, "{ink:?} {other:?}");
            }
        }
        let lines =
            [Ink::Blue, Ink::Vermilion, Ink::Green, Ink::Purple, Ink::Grey].map(|ink| ink.look().dashes);
        for (at, dashes) in lines.iter().enumerate() {
            assert!(!lines[at + 1..].contains(dashes), "{dashes:?}");
        }
        assert!(
            style().contains(".drawn [stroke=\"#C04A00\"]{stroke:var(--vermilion);stroke-dasharray:36 12}")
        );
    }
}
