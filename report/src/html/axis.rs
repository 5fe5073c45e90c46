//! Axes: what they are called, how far they go, and where their marks are. plotters takes an [`Axis`] for a coordinate of its own.

use std::ops::Range;

use plotters::coord::ranged1d::{BoldPoints, KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;

use super::numbers::{mark, plain, time_mark};

/// Marks of an axis, at most. On a phone there is no room for more.
const MARKS_MAX: usize = 7;
/// How far a linear axis goes, by its largest value.
const HEADROOM: f64 = 1.06;

/// An axis.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// What it shows, with the unit.
    pub(super) label: String,
    /// Its first and its last value.
    ends: Range<f64>,
    /// Its marks, by their values.
    marks: Vec<(f64, String)>,
    is_logarithmic: bool,
}

impl Axis {
    /// From nought to a little above the largest value.
    pub(super) fn linear(label: &str, max: f64) -> Axis {
        let end = if max > 0.0 { max * HEADROOM } else { 1.0 };
        Axis::evenly(label, end, mark)
    }

    /// Seconds from nought to `max`, to the end.
    pub(super) fn seconds(label: &str, max: f64) -> Axis {
        Axis::evenly(label, if max > 0.0 { max } else { 1.0 }, plain)
    }

    /// Around these values, with a little room on either side.
    pub(super) fn around(label: &str, values: impl Iterator<Item = f64>) -> Axis {
        let known = values.filter(|value| value.is_finite());
        let (least, most) = known.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| {
            (least.min(value), most.max(value))
        });
        let room = if most > least { (most - least) * (HEADROOM - 1.0) } else { 0.1 };
        let ends = if least <= most { least - room..most + room } else { 0.0..1.0 };
        let marks = RangedCoordf64::from(ends.clone()).key_points(BoldPoints(MARKS_MAX));
        let marks = marks.into_iter().map(|value| (value, plain(value))).collect();
        Axis { label: label.to_owned(), ends, marks, is_logarithmic: false }
    }

    fn evenly(label: &str, end: f64, show: fn(f64) -> String) -> Axis {
        let marks = RangedCoordf64::from(0.0..end).key_points(BoldPoints(MARKS_MAX));
        let marks = marks.into_iter().map(|value| (value, show(value))).collect();
        Axis { label: label.to_owned(), ends: 0.0..end, marks, is_logarithmic: false }
    }

    /// Times in microseconds, logarithmic: whole decades around the values, at least two of them.
    pub(super) fn times(label: &str, values: impl Iterator<Item = f64>) -> Axis {
        let (least, most) = values
            .filter(|value| *value > 0.0 && value.is_finite())
            .fold((f64::INFINITY, 0.0f64), |(least, most), value| (least.min(value), most.max(value)));
        let decades = |least: f64, most: f64| (least.log10().floor() as i32, most.log10().ceil() as i32);
        let (first, last) = if least <= most { decades(least, most) } else { (0, 2) };
        let last = last.max(first + 2);
        let marks =
            (first..=last).map(|decade| (10f64.powi(decade), time_mark(10f64.powi(decade)))).collect();
        let ends = 10f64.powi(first)..10f64.powi(last);
        Axis { label: label.to_owned(), ends, marks, is_logarithmic: true }
    }

    /// Percentiles on HdrHistogram's scale: each mark has a tenth of the samples of the one before it beyond itself. Values are
    /// 1 / (1 - p), up to `one_in`.
    pub(super) fn percentiles(label: &str, one_in: f64) -> Axis {
        let last = one_in.max(10.0);
        // Beyond six of them, each second text has no room.
        let is_crowded = last >= 1e6;
        let nines = |decade: i32| match decade {
            0 => "0".to_owned(),
            1 => "90".to_owned(),
            2 => "99".to_owned(),
            even if even >= 4 && even % 2 == 0 && is_crowded => String::new(),
            more => format!("99.{}", "9".repeat(more as usize - 2)),
        };
        let marks = (0..).map(|decade| (10f64.powi(decade), nines(decade)));
        let marks = marks.take_while(|(value, _)| *value <= last).collect();
        Axis { label: label.to_owned(), ends: 1.0..last, marks, is_logarithmic: true }
    }

    /// Where a value lies: as far as it is from the beginning, linear.
    fn place(&self, value: f64) -> f64 {
        let value = value.clamp(self.ends.start, self.ends.end);
        if self.is_logarithmic { value.log10() } else { value }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    /// Values beyond an end are drawn there: nothing leaves the chart.
    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let places = self.place(self.ends.start)..self.place(self.ends.end);
        RangedCoordf64::from(places).map(&self.place(*value), limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match hint.weight().allow_light_points() {
            true => Vec::new(),
            false => self.marks.iter().map(|(value, _)| *value).collect(),
        }
    }

    fn range(&self) -> Range<f64> {
        self.ends.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        let mark = self.marks.iter().find(|(at, _)| at == value);
        mark.map(|(_, text)| text.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(axis: &Axis) -> Vec<&str> {
        axis.marks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn marks_are_round_and_few() {
        assert_eq!(
            marks(&Axis::linear("users", 10_000.0)),
            ["0", "2\u{a0}k", "4\u{a0}k", "6\u{a0}k", "8\u{a0}k", "10\u{a0}k"]
        );
        assert_eq!(marks(&Axis::seconds("s", 45.0)), ["0", "10", "20", "30", "40"]);
        for max in [0.0, 1e-9, 0.37, 1.0, 86_400.0, 5e6, 1e15] {
            let axis = Axis::linear("x", max);
            assert!((1..=MARKS_MAX).contains(&axis.marks.len()), "{max}: {:?}", axis.marks);
        }
    }

    #[test]
    fn times_are_marked_by_decades() {
        let axis = Axis::times("latency", [12.0, 0.0, f64::NAN, 8_730.0].into_iter());
        assert_eq!(marks(&axis), ["10\u{a0}µs", "100\u{a0}µs", "1\u{a0}ms", "10\u{a0}ms"]);
        assert_eq!(
            [0.0, 1.0, 10.0, 100.0, 10_000.0, 1e9].map(|us| axis.map(&us, (0, 300))),
            [0, 0, 0, 100, 300, 300]
        );
        assert_eq!(axis.format_ext(&1000.0), "1\u{a0}ms");
        assert_eq!(Axis::times("latency", std::iter::empty()).marks.len(), 3);
        assert_eq!(Axis::times("latency", [10.0].into_iter()).marks.len(), 3);
    }

    #[test]
    fn percentiles_are_marked_by_their_nines() {
        let axis = Axis::percentiles("percentile (%)", 250_000.0);
        assert_eq!(marks(&axis), ["0", "90", "99", "99.9", "99.99", "99.999"]);
        let crowded = Axis::percentiles("percentile (%)", 5e7);
        assert_eq!(marks(&crowded), ["0", "90", "99", "99.9", "", "99.999", "", "99.99999"]);
        assert_eq!([1.0, 10.0, 100_000.0].map(|one_in| axis.map(&one_in, (0, 10_000))), [0, 1852, 9262]);
    }
}
