//! `timeseries.csv`: one row per second of the run.

use std::fmt::{self, Write};
use std::str::FromStr;

/// The header, with units. A figure that is not known is empty.
pub const HEADER: &str = "time_s,phase,connections,planned,sent,accepted,delivered,planned_to_delivered_p50_us,\
     planned_to_delivered_p99_us,planned_to_delivered_max_us,send_lag_p99_us,server_cpu_s,generator_cpu_s";

/// One second. Counts are of this second alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// The second's end, counted from the first connect.
    pub time_s: f64,
    /// What the users were doing at the second's end: `connect`, `warmup`, `measure` (for idle users: the hold), `storm`, `rollcall`,
    /// `drain`, `leave`.
    pub phase: String,
    /// Connections established at the second's end.
    pub connections: u64,
    /// Messages that the plan has in it.
    pub planned: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages accepted.
    pub accepted: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Median of planned-to-delivered, in microseconds.
    pub p50_us: Option<f64>,
    /// 99th percentile of it.
    pub p99_us: Option<f64>,
    /// Largest of it.
    pub max_us: Option<f64>,
    /// 99th percentile of the send lag, in microseconds.
    pub send_lag_p99_us: Option<f64>,
    /// CPU time of the server in this second.
    pub server_cpu_s: Option<f64>,
    /// CPU time of the generator in this second.
    pub generator_cpu_s: Option<f64>,
}

/// The whole file.
pub fn to_csv(rows: &[Row]) -> String {
    let mut text = String::from(HEADER);
    text.push('\n');
    for row in rows {
        let number = |value: Option<f64>| value.map(|value| format!("{value:.3}")).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:.3},{},{},{},{},{},{},{},{},{},{},{},{}",
            row.time_s,
            row.phase,
            row.connections,
            row.planned,
            row.sent,
            row.accepted,
            row.delivered,
            number(row.p50_us),
            number(row.p99_us),
            number(row.max_us),
            number(row.send_lag_p99_us),
            number(row.server_cpu_s),
            number(row.generator_cpu_s),
        );
    }
    text
}

/// Columns that a file must have; the others may be missing, and are not known then.
const NEEDED: [&str; 7] = ["time_s", "phase", "connections", "planned", "sent", "accepted", "delivered"];

/// The rows of a file that [`to_csv`] wrote, or an earlier or later version of it: columns are found by their names, and those that
/// are not known here are passed over.
///
/// # Errors
/// The first line that is damaged or cut off, and what is wrong with it.
pub fn from_csv(text: &str) -> Result<Vec<Row>, CsvError> {
    let mut lines =
        text.split_inclusive('\n').enumerate().map(|(before, line)| Line { number: before + 1, line });
    let header = lines.next().ok_or_else(|| Line { number: 1, line: "" }.error("the file is empty"))?;
    let names = header.fields()?;
    if let Some(missing) = NEEDED.iter().find(|needed| !names.contains(needed)) {
        return Err(header.error(format!("there is no column `{missing}`")));
    }
    lines.map(|line| line.row(&names)).collect()
}

/// Which line of a file cannot be read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvError {
    /// Counted from 1, which is the header.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for CsvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for CsvError {}

/// A line of a file, with its end.
struct Line<'a> {
    number: usize,
    line: &'a str,
}

impl<'a> Line<'a> {
    fn error(&self, what: impl Into<String>) -> CsvError {
        CsvError { line: self.number, what: what.into() }
    }

    fn fields(&self) -> Result<Vec<&'a str>, CsvError> {
        let whole =
            self.line.strip_suffix('\n').ok_or_else(|| self.error("it has no end: the file was cut off"))?;
        Ok(whole.trim_end_matches('\r').split(',').collect())
    }

    fn row(&self, names: &[&str]) -> Result<Row, CsvError> {
        let fields = self.fields()?;
        if fields.len() != names.len() {
            return Err(self.error(format!("{} fields instead of {}", fields.len(), names.len())));
        }
        let field = |name: &str| names.iter().position(|known| *known == name).map(|at| fields[at]);
        let needed = |name: &str| field(name).unwrap_or_default();
        let count = |name: &str| self.parsed::<u64>(name, needed(name));
        let figure = |name: &str| match field(name).filter(|text| !text.is_empty()) {
            Some(text) => self.finite(name, text).map(Some),
            None => Ok(None),
        };
        Ok(Row {
            time_s: self.finite("time_s", needed("time_s"))?,
            phase: needed("phase").to_owned(),
            connections: count("connections")?,
            planned: count("planned")?,
            sent: count("sent")?,
            accepted: count("accepted")?,
            delivered: count("delivered")?,
            p50_us: figure("planned_to_delivered_p50_us")?,
            p99_us: figure("planned_to_delivered_p99_us")?,
            max_us: figure("planned_to_delivered_max_us")?,
            send_lag_p99_us: figure("send_lag_p99_us")?,
            server_cpu_s: figure("server_cpu_s")?,
            generator_cpu_s: figure("generator_cpu_s")?,
        })
    }

    fn parsed<T: FromStr>(&self, name: &str, text: &str) -> Result<T, CsvError> {
        text.parse().map_err(|_| self.error(format!("`{text}` is no number for `{name}`")))
    }

    fn finite(&self, name: &str, text: &str) -> Result<f64, CsvError> {
        self.parsed(name, text).and_then(|number: f64| match number.is_finite() {
            true => Ok(number),
            false => Err(self.error(format!("`{text}` is no number for `{name}`"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_as_many_columns_as_the_header() {
        let known = Row { time_s: 1.0, phase: "measure".into(), p50_us: Some(1.5), ..Row::default() };
        let text = to_csv(&[known, Row::default()]);
        let columns = |line: &str| line.split(',').count();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| columns(line) == columns(HEADER)), "{text}");
        assert!(lines[1].starts_with("1.000,measure,0,0,0,0,0,1.500,,"), "{text}");
    }
    #[test]
    fn what_was_written_reads_back() {
        let known = Row {
            time_s: 1.0,
            phase: "measure".into(),
            connections: 1,
            planned: 2,
            sent: 3,
            accepted: 4,
            delivered: 5,
            p50_us: Some(1.5),
            p99_us: Some(2.5),
            max_us: Some(3.5),
            send_lag_p99_us: Some(0.25),
            server_cpu_s: Some(0.5),
            generator_cpu_s: Some(0.75),
        };
        let rows = [known, Row::default()];
        assert_eq!(from_csv(&to_csv(&rows)).unwrap(), rows);
        assert_eq!(from_csv(&to_csv(&rows).replace('\n', "\r\n")).unwrap(), rows);
        assert_eq!(from_csv(&to_csv(&[])).unwrap(), []);
    }

    #[test]
    fn columns_are_known_by_their_names() {
        let text =
            "colour,phase,time_s,connections,planned,sent,accepted,delivered\nred,drain,2.5,1,2,3,4,5\n";
        let rows = from_csv(text).unwrap();
        let expected = Row {
            time_s: 2.5,
            phase: "drain".into(),
            connections: 1,
            planned: 2,
            sent: 3,
            accepted: 4,
            delivered: 5,
            ..Row::default()
        };
        assert_eq!(rows, [expected]);
    }

    #[test]
    fn what_is_damaged_is_told_with_its_line() {
        let whole = to_csv(&[Row::default(), Row { time_s: 1.0, p50_us: Some(2.0), ..Row::default() }]);
        let refused = |text: &str| from_csv(text).unwrap_err().to_string();
        assert_eq!(refused(""), "line 1: the file is empty");
        assert_eq!(refused(&whole[..whole.len() - 2]), "line 3: it has no end: the file was cut off");
        assert_eq!(refused(&whole.replace("1.000,", "1.000\n")), "line 3: 1 fields instead of 13");
        assert_eq!(
            refused(&whole.replace("2.000", "NaN")),
            "line 3: `NaN` is no number for `planned_to_delivered_p50_us`"
        );
        assert_eq!(refused(&whole.replacen(",0,", ",-1,", 1)), "line 2: `-1` is no number for `connections`");
        assert_eq!(refused(&whole.replace(",sent,", ",send,")), "line 1: there is no column `sent`");
    }
}
