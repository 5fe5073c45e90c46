//! `timeseries.csv`: one row per second of the run.

use std::fmt::Write;

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
}
