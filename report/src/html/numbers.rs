//! Figures as the page shows them: those of the terminal, with signs that a terminal may not have. A blank inside of a figure never
//! breaks a line.

use crate::text;

/// What stands where nothing is known.
pub(super) const UNKNOWN: &str = "–";

fn typeset(text: &str) -> String {
    text.replace(" us", " µs").replace(' ', "\u{a0}")
}

/// A count as people read it: `12.3 k`.
pub(super) fn count(value: f64) -> String {
    typeset(&text::count(value))
}

/// A rate: `12.3 k/s`.
pub(super) fn per_second(value: f64) -> String {
    format!("{}/s", count(value))
}

/// A time given in microseconds: `85.0 µs`.
pub(super) fn time(us: f64) -> String {
    typeset(&text::time(us))
}

/// A time given in seconds, without needless digits: `20 s`, `0.5 s`.
pub(super) fn seconds(value: f64) -> String {
    format!("{}\u{a0}s", plain(value))
}

/// A long time given in seconds: `45 s`, `12.5 min`, `6.3 h`, `4.1 d`.
pub(super) fn lasting(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if s >= 2.0 * 86_400.0 => (s / 86_400.0, "d"),
        s if s >= 2.0 * 3600.0 => (s / 3600.0, "h"),
        s if s >= 120.0 => (s / 60.0, "min"),
        s => (s, "s"),
    };
    format!("{value:.1}\u{a0}{unit}")
}

/// An instant as RFC 3339 has it in UTC, for people: `2026-11-28 12:49:47 UTC`.
pub(super) fn instant(text: &str) -> String {
    match text.split_once('T').zip(text.strip_suffix('Z')) {
        Some(((date, _), _)) => format!("{date}\u{a0}{}\u{a0}UTC", &text[date.len() + 1..text.len() - 1]),
        None => text.to_owned(),
    }
}

/// A size in bytes: `4.07 kB`; below a kilobyte in tenths of a byte.
pub(super) fn bytes(value: f64) -> String {
    if value.abs() < 1e3 && value.fract() != 0.0 {
        return format!("{value:.1}\u{a0}B");
    }
    typeset(&text::bytes(value))
}

/// A share as per cent: `64.5 %`.
pub(super) fn share(value: f64) -> String {
    format!("{:.1}\u{a0}%", value * 100.0)
}

/// Every digit, in groups of three: `400,335`.
pub(super) fn exact(value: impl Into<i128>) -> String {
    let value: i128 = value.into();
    let digits = value.unsigned_abs().to_string();
    let mut text = String::from(if value < 0 { "−" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of at most three decimals, without needless noughts.
pub(super) fn plain(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A figure that may not be known.
pub(super) fn known(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    value.filter(|value| value.is_finite()).map_or_else(|| UNKNOWN.to_owned(), show)
}

/// The mark of an axis: as short as it can be.
pub(super) fn mark(value: f64) -> String {
    let (value, unit) = match value.abs() {
        v if v >= 1e9 => (value / 1e9, "\u{a0}G"),
        v if v >= 1e6 => (value / 1e6, "\u{a0}M"),
        v if v >= 1e3 => (value / 1e3, "\u{a0}k"),
        _ => (value, ""),
    };
    format!("{}{unit}", plain(value))
}

/// The mark of an axis of times, given in microseconds.
pub(super) fn time_mark(us: f64) -> String {
    let (value, unit) = match us {
        us if us >= 1e6 => (us / 1e6, "s"),
        us if us >= 1e3 => (us / 1e3, "ms"),
        us if us >= 1.0 => (us, "µs"),
        us => (us * 1e3, "ns"),
    };
    format!("{}\u{a0}{unit}", plain(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_shown_as_people_read_them() {
        assert_eq!([0, 999, 1000, 1_234_567, -1234].map(exact), ["0", "999", "1,000", "1,234,567", "−1,234"]);
        assert_eq!(
            [118.44, 4070.0, 118.0, 0.25].map(bytes),
            ["118.4\u{a0}B", "4.07\u{a0}kB", "118\u{a0}B", "0.2\u{a0}B"]
        );
        assert_eq!((time(85.0), seconds(0.5)), ("85.0\u{a0}µs".into(), "0.5\u{a0}s".into()));
        assert_eq!([0.0, 0.25, 20_000.0, 2_500.0].map(mark), ["0", "0.25", "20\u{a0}k", "2.5\u{a0}k"]);
        assert_eq!(
            [0.1, 10.0, 100_000.0, 1e7].map(time_mark),
            ["100\u{a0}ns", "10\u{a0}µs", "100\u{a0}ms", "10\u{a0}s"]
        );
    }

    #[test]
    fn times_of_day_and_long_ones_read_well() {
        assert_eq!(instant("2026-11-28T12:49:47Z"), "2026-11-28\u{a0}12:49:47\u{a0}UTC");
        assert_eq!(["", "yesterday", "T", "Z"].map(instant), ["", "yesterday", "T", "Z"]);
        let told = [45.0, 750.0, 22_673.65, 1e6].map(lasting);
        assert_eq!(told, ["45.0\u{a0}s", "12.5\u{a0}min", "6.3\u{a0}h", "11.6\u{a0}d"]);
    }

    #[test]
    fn what_is_no_number_is_not_known() {
        assert_eq!(
            [None, Some(f64::NAN), Some(f64::INFINITY)].map(|value| known(value, count)),
            [UNKNOWN; 3]
        );
        assert_eq!(known(Some(950.0), count), "950");
    }
}
