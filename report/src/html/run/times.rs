//! The run over time: connections, rates, latency, CPU; with its phases behind each.

use std::ops::Range;

use maud::{Markup, html};

use crate::folder::Run;
use crate::html::axis::Axis;
use crate::html::chart::{Band, Chart, Line};
use crate::html::numbers::{exact, mark, per_second, plain, seconds, time};
use crate::html::palette::Ink;
use crate::html::thin::{POINTS_MAX, Point};
use crate::timeseries::Row;

/// What the rows' axis shows.
const TIME: &str = "time since the first connect (s)";
/// Rows that last less say nothing of a rate: the last one is what was left of its second.
const RATE_LEAST_S: f64 = 0.2;

/// The charts; without rows, a sentence.
pub(super) fn body(run: &Run) -> Markup {
    let Some(last) = run.rows.last() else {
        return html! { p.none { "There is no time series: the run left no timeseries.csv, or ended before its first second." } };
    };
    let bands = phases(&run.rows);
    let charts = Charts { rows: &run.rows, bands: &bands, end_s: last.time_s };
    let target = run.summary.connections.target;
    let has_messages = run.summary.plan.has_messages();
    let phases: Vec<String> = bands
        .iter()
        .map(|band| format!("{} {}–{}\u{a0}s", band.name, plain(tenths(band.from)), plain(tenths(band.to))))
        .collect();
    html! {
        p { "One point a second; a line of more than " (POINTS_MAX) " keeps its extremes. Phases: " (phases.join(", ")) "." }
        div.charts {
            (charts.connections(target).figure())
            (charts.rates(has_messages).figure())
            (charts.latency(has_messages).figure())
            (charts.cpu().figure())
        }
    }
}

fn tenths(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}

/// The phases in turn. The phase of a row is the one at its end; what comes again begins a band of its own.
fn phases(rows: &[Row]) -> Vec<Band> {
    let mut bands: Vec<Band> = Vec::new();
    let mut from = 0.0;
    for row in rows {
        let (name, ink) = look(&row.phase);
        match bands.last_mut().filter(|band| band.name == name) {
            Some(band) => band.to = row.time_s,
            None => bands.push(Band { name: name.to_owned(), from, to: row.time_s, ink }),
        }
        from = row.time_s;
    }
    bands
}

/// As people call a phase, and how it is shaded.
fn look(phase: &str) -> (&str, Option<Ink>) {
    match phase {
        "measure" => ("measure", Some(Ink::Measured)),
        "warmup" => ("warm-up", Some(Ink::Shade)),
        "rollcall" => ("roll call", Some(Ink::Shade)),
        "connect" | "leave" => (phase, None),
        other => (other, Some(Ink::Shade)),
    }
}

struct Charts<'a> {
    rows: &'a [Row],
    bands: &'a [Band],
    end_s: f64,
}

impl<'a> Charts<'a> {
    /// A chart over the time of the run.
    fn over_time(
        &self,
        id: &'a str,
        title: &'a str,
        y: Axis,
        lines: Vec<Line>,
        show: fn(f64) -> String,
    ) -> Chart<'a> {
        let measured = self.bands.iter().find(|band| band.name == "measure").map(|band| band.from..band.to);
        let says: Vec<String> = lines.iter().filter_map(|line| told(line, measured.as_ref(), show)).collect();
        let x = Axis::seconds(TIME, self.end_s);
        Chart {
            id,
            title,
            says: format!("{}.", says.join("; ")),
            x,
            y,
            bands: self.bands,
            lines,
            note: "",
            none: "Nobody connected.",
        }
    }

    fn connections(&self, target: u64) -> Chart<'a> {
        let begin = std::iter::once((0.0, Some(0.0)));
        let points = self.rows.iter().map(|row| (row.time_s, Some(row.connections as f64)));
        let planned = vec![(0.0, Some(target as f64)), (self.end_s, Some(target as f64))];
        let lines = vec![
            Line { name: "planned at the height", ink: Ink::Grey, points: planned, dot: None },
            Line { name: "connected", ink: Ink::Blue, points: begin.chain(points).collect(), dot: None },
        ];
        let y = Axis::linear("connections", highest(&lines));
        self.over_time("connections", "Connections", y, lines, |value| exact(value as u64))
    }

    fn rates(&self, has_messages: bool) -> Chart<'a> {
        let any = self.rows.iter().any(|row| row.planned + row.sent + row.delivered > 0);
        let line = |name, ink, of: fn(&Row) -> f64| {
            let points = if any { self.per_second(|row| Some(of(row))) } else { Vec::new() };
            Line { name, ink, points, dot: None }
        };
        let lines = vec![
            line("delivered", Ink::Blue, |row| row.delivered as f64),
            line("sent", Ink::Vermilion, |row| row.sent as f64),
            line("planned", Ink::Grey, |row| row.planned as f64),
        ];
        let y = Axis::linear("messages/s", highest(&lines));
        let chart = self.over_time("rates", "Messages per second", y, lines, per_second);
        Chart { none: no_messages(has_messages), ..chart }
    }

    fn latency(&self, has_messages: bool) -> Chart<'a> {
        let line = |name, ink, of: fn(&Row) -> Option<f64>| {
            let points = self.rows.iter().map(|row| (row.time_s, of(row)));
            Line { name, ink, points: points.collect(), dot: None }
        };
        let lines = vec![
            line("p50", Ink::Blue, |row| row.p50_us),
            line("p99", Ink::Vermilion, |row| row.p99_us),
            line("max", Ink::Purple, |row| row.max_us),
            line("send lag, p99", Ink::Grey, |row| row.send_lag_p99_us),
        ];
        let values = lines.iter().flat_map(|line| &line.points).filter_map(|(_, value)| *value);
        let y = Axis::times("planned to delivered, logarithmic (µs, ms, s)", values);
        let chart = self.over_time("latency-time", "Latency", y, lines, time);
        let note =
            "Of the messages of each second; a percentile with too few samples in its second is left out.";
        Chart { note, none: no_messages(has_messages), ..chart }
    }

    fn cpu(&self) -> Chart<'a> {
        let line = |name, ink, of: fn(&Row) -> Option<f64>| Line {
            name,
            ink,
            points: self.per_second(of),
            dot: None,
        };
        let lines = vec![
            line("server", Ink::Blue, |row| row.server_cpu_s),
            line("generator", Ink::Vermilion, |row| row.generator_cpu_s),
        ];
        let y = Axis::linear("CPU time per second (cores)", highest(&lines));
        let chart = self.over_time("cpu", "CPU time", y, lines, |cores| format!("{} cores", mark(cores)));
        let note = "User and system time of all threads of either side.";
        Chart { note, none: "The CPU time of neither side is known.", ..chart }
    }

    /// A figure of each row by the row's length.
    fn per_second(&self, of: impl Fn(&Row) -> Option<f64>) -> Vec<Point> {
        let mut before = 0.0;
        let mut points = Vec::new();
        for row in self.rows {
            let lasted = row.time_s - before;
            before = row.time_s;
            if lasted >= RATE_LEAST_S {
                points.push((row.time_s, of(row).map(|value| value / lasted)));
            }
        }
        points
    }
}

fn no_messages(has_messages: bool) -> &'static str {
    if has_messages { "No message came to be." } else { "The plan has no messages." }
}

fn highest(lines: &[Line]) -> f64 {
    let values = lines.iter().flat_map(|line| &line.points).filter_map(|(_, value)| *value);
    values.filter(|value| value.is_finite()).fold(0.0, f64::max)
}

/// A line in words: its height, and between what it was while measured.
fn told(line: &Line, measured: Option<&Range<f64>>, show: fn(f64) -> String) -> Option<String> {
    let known: Vec<(f64, f64)> =
        line.points.iter().filter_map(|(at, value)| Some((*at, (*value)?))).collect();
    let (at, height) = known.iter().copied().max_by(|one, other| one.1.total_cmp(&other.1))?;
    let within =
        known.iter().filter(|(at, _)| measured.is_some_and(|span| *at > span.start && *at <= span.end));
    let (low, high) = within
        .map(|(_, value)| *value)
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    let while_measured =
        if low <= high { format!("{} to {} while measured, ", show(low), show(high)) } else { String::new() };
    Some(format!("{}: {while_measured}{} at most, at {}", line.name, show(height), seconds(tenths(at))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(time_s: f64, phase: &str, delivered: u64) -> Row {
        Row { time_s, phase: phase.into(), delivered, ..Row::default() }
    }

    #[test]
    fn phases_follow_each_other_without_gaps() {
        let rows =
            [row(1.0, "connect", 0), row(2.0, "connect", 0), row(3.0, "measure", 0), row(3.5, "leave", 0)];
        let bands = phases(&rows);
        let told: Vec<_> =
            bands.iter().map(|band| (band.name.as_str(), band.from, band.to, band.ink)).collect();
        let expected = [
            ("connect", 0.0, 2.0, None),
            ("measure", 2.0, 3.0, Some(Ink::Measured)),
            ("leave", 3.0, 3.5, None),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_rate_is_by_the_second_whatever_a_row_lasts() {
        let rows = [row(1.0, "measure", 100), row(3.0, "measure", 300), row(3.1, "leave", 9)];
        let charts = Charts { rows: &rows, bands: &[], end_s: 3.1 };
        assert_eq!(
            charts.per_second(|row| Some(row.delivered as f64)),
            [(1.0, Some(100.0)), (3.0, Some(150.0))]
        );
    }

    #[test]
    fn a_line_is_told_by_its_height_and_by_the_window() {
        let points = vec![(1.0, Some(9.0)), (2.0, Some(4.0)), (3.0, None), (4.0, Some(5.0))];
        let line = Line { name: "sent", ink: Ink::Blue, points, dot: None };
        let window = 1.0..4.0;
        let told_within = told(&line, Some(&window), plain).unwrap();
        assert_eq!(told_within, "sent: 4 to 5 while measured, 9 at most, at 1\u{a0}s");
        assert_eq!(told(&line, None, plain).unwrap(), "sent: 9 at most, at 1\u{a0}s");
        assert_eq!(told(&Line { points: vec![], ..line }, None, plain), None);
    }
}
