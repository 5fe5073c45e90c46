//! Thresholds: `p99<50ms`, `send_lag.p99<=1ms`, `lost==0`, `rate>=19000`.
//!
//! ```text
//!   threshold = metric comparison value
//!   metric    = [latency "."] statistic | scalar      a bare statistic is planned_to_delivered
//!   latency   = planned_to_delivered | written_to_delivered | send_lag | connect_lag | connect | login
//!             | reconnect_lag | reconnect | login_again                       of those who come back in a storm
//!   statistic = min | mean | p50 | p90 | p95 | p99 | p999 | p9999 | max      also as p99.9, p99.99
//!   value     = number with us, ms, s for a latency; with k, m for anything else
//! ```

use std::fmt;
use std::str::FromStr;

use crate::histogram::samples_needed;
use crate::schema::{Latency, Outcome, Summary, ThresholdResult};

type Scalar = (&'static str, fn(&Summary) -> Option<f64>);
type LatencyOf = (&'static str, fn(&Summary) -> &Latency);
/// Its name, its figure, and the share of the samples that must have arrived for it to be known.
type Statistic = (&'static str, fn(&Latency) -> Option<f64>, f64);

/// A distribution that was not measured.
static NOTHING: Latency = Latency {
    count: 0,
    min: None,
    mean: None,
    p50: None,
    p90: None,
    p95: None,
    p99: None,
    p999: None,
    p9999: None,
    max: None,
};

const LATENCIES: [LatencyOf; 9] = [
    ("planned_to_delivered", |s| &s.latency_us.planned_to_delivered),
    ("written_to_delivered", |s| &s.latency_us.written_to_delivered),
    ("send_lag", |s| &s.latency_us.send_lag),
    ("connect_lag", |s| &s.latency_us.connect_lag),
    ("connect", |s| &s.latency_us.connect),
    ("login", |s| &s.latency_us.login),
    ("reconnect_lag", |s| s.storm.as_ref().map_or(&NOTHING, |storm| &storm.connect_lag_us)),
    ("reconnect", |s| s.storm.as_ref().map_or(&NOTHING, |storm| &storm.connect_us)),
    ("login_again", |s| s.storm.as_ref().map_or(&NOTHING, |storm| &storm.login_us)),
];

const STATISTICS: [Statistic; 9] = [
    ("min", |l| l.min, 0.0),
    ("mean", |l| l.mean, 1.0),
    ("p50", |l| l.p50, 0.5),
    ("p90", |l| l.p90, 0.9),
    ("p95", |l| l.p95, 0.95),
    ("p99", |l| l.p99, 0.99),
    ("p999", |l| l.p999, 0.999),
    ("p9999", |l| l.p9999, 0.9999),
    ("max", |l| l.max, 1.0),
];

const SCALARS: [Scalar; 22] = [
    ("rate", |s| s.messages.rate_per_s),
    ("accepted_rate", |s| s.messages.accepted_rate_per_s),
    ("lost", |s| Some(s.messages.lost as f64)),
    ("duplicated", |s| Some(s.messages.duplicated as f64)),
    ("reordered", |s| Some(s.messages.reordered as f64)),
    ("corrupted", |s| Some(s.messages.corrupted as f64)),
    ("accepted", |s| Some(s.messages.accepted as f64)),
    ("delivered", |s| Some(s.messages.delivered as f64)),
    ("refused", |s| Some(s.messages.refused as f64)),
    ("unknown", |s| Some(s.messages.unknown as f64)),
    ("failed_connections", |s| Some(s.connections.failed as f64)),
    ("lost_connections", |s| Some(s.connections.lost as f64)),
    ("established", |s| Some(s.connections.established as f64)),
    ("connect_rate", |s| s.connections.connect_rate_per_s),
    ("storm_last_back_s", |s| s.storm.as_ref()?.last_back_after_s),
    ("storm_never_back", |s| Some(s.storm.as_ref()?.never_back as f64)),
    ("messages_per_cpu_s", |s| s.server.as_ref()?.messages_per_cpu_s),
    ("server_user_bytes_per_connection", |s| s.server.as_ref()?.user_bytes_per_connection),
    ("kernel_bytes_per_connection", |s| s.kernel.bytes_per_connection),
    ("kernel_extra_bytes_per_connection", |s| s.kernel.extra_bytes_per_connection),
    ("generator_user_bytes_per_user", |s| s.generator.user_bytes_per_user),
    ("cpu_us_per_message", |s| s.machine.cpu_us_per_message),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Metric {
    Latency { latency: usize, statistic: usize },
    Scalar(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    LessOrEqual,
    GreaterOrEqual,
    Equal,
    Less,
    Greater,
}

/// The two-character signs stand first, since they begin like the others.
const COMPARISONS: [(&str, Comparison); 5] = [
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("==", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

/// A condition on one figure of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    text: String,
    metric: Metric,
    comparison: Comparison,
    /// Microseconds for a latency, else as the field of the schema.
    value: f64,
}

/// Why a text is no threshold, in one sentence with the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThresholdError(String);

impl fmt::Display for ThresholdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ThresholdError {}

impl FromStr for Threshold {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Threshold, ThresholdError> {
        let sign = |(sign, comparison)| text.find(sign).map(|at| (at, sign, comparison));
        // The sign that begins first; of those that begin there, the longest stands first in the table.
        let Some((at, sign, comparison)) =
            COMPARISONS.into_iter().filter_map(sign).min_by_key(|found| found.0)
        else {
            let text = format!("threshold `{text}` has no comparison: write it like 'p99<50ms' or 'lost==0'");
            return Err(ThresholdError(text));
        };
        let metric = metric(text[..at].trim())?;
        let value = value(text[at + sign.len()..].trim(), metric)
            .ok_or_else(|| ThresholdError(bad_value(text, metric)))?;
        Ok(Threshold { text: text.to_owned(), metric, comparison, value })
    }
}

fn metric(name: &str) -> Result<Metric, ThresholdError> {
    if let Some(scalar) = SCALARS.iter().position(|(known, _)| *known == name) {
        return Ok(Metric::Scalar(scalar));
    }
    // `p99.9` has a dot of its own.
    let (latency, statistic) = match name.split_once('.') {
        Some((latency, statistic)) if !latency.starts_with('p') || latency.len() > 3 => (latency, statistic),
        _ => (LATENCIES[0].0, name),
    };
    // Nothing else may carry a dot: `p9.9` is not the p99.
    let statistic = match statistic {
        "p99.9" => "p999",
        "p99.99" => "p9999",
        other => other,
    };
    let latency = LATENCIES.iter().position(|(known, _)| *known == latency);
    let statistic = STATISTICS.iter().position(|(known, ..)| *known == statistic);
    match (latency, statistic) {
        (Some(latency), Some(statistic)) => Ok(Metric::Latency { latency, statistic }),
        _ => Err(ThresholdError(format!(
            "unknown metric `{name}`: use {}; or a latency ({}) with a statistic ({}), as in send_lag.p99",
            SCALARS.map(|known| known.0).join(", "),
            LATENCIES.map(|known| known.0).join(", "),
            STATISTICS.map(|known| known.0).join(", "),
        ))),
    }
}

fn value(text: &str, metric: Metric) -> Option<f64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let factor = match (metric, &text[digits..]) {
        (Metric::Latency { .. }, "us") => 1.0,
        (Metric::Latency { .. }, "ms") => 1e3,
        (Metric::Latency { .. }, "s") => 1e6,
        (Metric::Scalar(_), "") => 1.0,
        (Metric::Scalar(_), "k" | "K") => 1e3,
        (Metric::Scalar(_), "m" | "M") => 1e6,
        _ => return None,
    };
    Some(number * factor)
}

fn bad_value(text: &str, metric: Metric) -> String {
    match metric {
        Metric::Latency { .. } => {
            format!("threshold `{text}`: a latency is compared with a time such as 500us, 50ms or 1.5s")
        }
        Metric::Scalar(_) => {
            format!("threshold `{text}`: this metric is compared with a number such as 0, 19000 or 250k")
        }
    }
}

impl Threshold {
    /// How it comes out for this run.
    pub fn evaluate(&self, summary: &Summary) -> ThresholdResult {
        let measured = match self.metric {
            Metric::Latency { latency, statistic } => STATISTICS[statistic].1(LATENCIES[latency].1(summary)),
            Metric::Scalar(scalar) => SCALARS[scalar].1(summary),
        };
        let outcome = match measured {
            _ if self.is_hidden(summary) => Outcome::Broken,
            None => Outcome::NoData,
            Some(measured) if self.holds(measured) => Outcome::Holds,
            Some(_) => Outcome::Broken,
        };
        ThresholdResult { text: self.text.clone(), outcome, measured }
    }

    /// Whether so many of the planned messages (or connections) never arrived that the figure would lie among them:
    /// what did arrive says nothing then, and it is the server that kept the rest.
    pub fn is_hidden(&self, summary: &Summary) -> bool {
        let Metric::Latency { latency, statistic } = self.metric else { return false };
        let planned = match LATENCIES[latency].0 {
            "planned_to_delivered" | "written_to_delivered" => summary.messages.window.planned,
            "connect" | "login" => summary.connections.target,
            "reconnect" | "login_again" => summary.storm.as_ref().map_or(0, |storm| storm.users),
            _ => return false, // the generator's own
        };
        let share = STATISTICS[statistic].2;
        let arrived = LATENCIES[latency].1(summary).count;
        // With too few planned there would be no figure from the best server either.
        let enough = planned > 0 && (share == 1.0 || planned >= samples_needed(share));
        enough && (arrived as f64) < share * planned as f64
    }

    /// The generator's own lateness that belongs to this threshold, when it is more than is allowed where the server's figure is
    /// `measured`: its name and its microseconds. For a latency it is taken at the same statistic.
    pub fn own_lateness(&self, summary: &Summary, measured: f64) -> Option<(&'static str, f64)> {
        let validity = &summary.validity;
        let connecting = (validity.connect_lag_p99_us_floor, validity.connect_lag_p99_share_max);
        let (latency, statistic) = match self.metric {
            Metric::Latency { latency, statistic } => (latency, statistic),
            Metric::Scalar(scalar) => {
                let (name, lag, connect_us) = match SCALARS[scalar].0 {
                    "connect_rate" => {
                        let latencies = &summary.latency_us;
                        ("connect_lag", &latencies.connect_lag, latencies.connect.p99.unwrap_or(0.0))
                    }
                    // A share of the whole time, not of the p99 of connecting: who came back long after the
                    // others was kept by the server, however little the generator was late.
                    "storm_last_back_s" => {
                        ("reconnect_lag", &summary.storm.as_ref()?.connect_lag_us, measured * 1e6)
                    }
                    _ => return None,
                };
                let (_, lag) = lag.highest_percentile()?;
                return (lag > connecting.0.max(connecting.1 * connect_us)).then_some((name, lag));
            }
        };
        let (name, (floor, share)) = match LATENCIES[latency].0 {
            // A closed loop's planned instant is the attempt.
            "planned_to_delivered" | "written_to_delivered" if !summary.plan.is_closed_loop() => {
                ("send_lag", (validity.send_lag_p99_us_floor, validity.send_lag_p99_share_max))
            }
            "connect" | "login" => ("connect_lag", connecting),
            "reconnect" | "login_again" => ("reconnect_lag", connecting),
            _ => return None,
        };
        let (_, lag) = LATENCIES.iter().find(|(known, _)| *known == name)?;
        let lag = STATISTICS[statistic].1(lag(summary))?;
        (lag > floor.max(share * measured)).then_some((name, lag))
    }

    /// Whether the figure is a latency, and so in microseconds.
    pub fn is_latency(&self) -> bool {
        matches!(self.metric, Metric::Latency { .. })
    }

    fn holds(&self, measured: f64) -> bool {
        match self.comparison {
            Comparison::Less => measured < self.value,
            Comparison::LessOrEqual => measured <= self.value,
            Comparison::Greater => measured > self.value,
            Comparison::GreaterOrEqual => measured >= self.value,
            Comparison::Equal => measured == self.value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Summary {
        let mut summary = Summary::default();
        summary.latency_us.planned_to_delivered.p99 = Some(49_000.0);
        summary.latency_us.send_lag.p999 = Some(1_000.0);
        summary.messages.rate_per_s = Some(19_500.0);
        summary
    }

    #[test]
    fn thresholds_compare_in_the_units_that_people_write() {
        for (text, outcome) in [
            ("p99<50ms", Outcome::Holds),
            ("p99 < 49ms", Outcome::Broken),
            ("p99<=49ms", Outcome::Holds),
            ("p99>0.01s", Outcome::Holds),
            ("send_lag.p99.9<=1000us", Outcome::Holds),
            ("send_lag.p999<1ms", Outcome::Broken),
            ("rate>=19.5k", Outcome::Holds),
            ("lost==0", Outcome::Holds),
            ("p50<1s", Outcome::NoData),
            ("messages_per_cpu_s>1", Outcome::NoData),
        ] {
            let threshold: Threshold = text.parse().unwrap();
            assert_eq!(threshold.evaluate(&run()).outcome, outcome, "{text}");
        }
    }

    #[test]
    fn every_budget_of_bytes_has_a_threshold_of_its_own() {
        let mut summary = Summary::default();
        let budgets = [
            "server_user_bytes_per_connection",
            "kernel_bytes_per_connection",
            "kernel_extra_bytes_per_connection",
            "generator_user_bytes_per_user",
        ];
        let outcomes = |summary: &Summary, comparison: &str| {
            budgets.map(|name| {
                let threshold: Threshold = format!("{name}{comparison}").parse().unwrap();
                threshold.evaluate(summary).outcome
            })
        };
        assert_eq!(outcomes(&summary, "<=4k"), [Outcome::NoData; 4]);
        let server = crate::schema::Server { user_bytes_per_connection: Some(1.0), ..Default::default() };
        summary.server = Some(server);
        summary.kernel.bytes_per_connection = Some(2.0);
        summary.kernel.extra_bytes_per_connection = Some(3.0);
        summary.generator.user_bytes_per_user = Some(4.0);
        for (at, value) in [1, 2, 3, 4].into_iter().enumerate() {
            assert_eq!(outcomes(&summary, &format!("=={value}"))[at], Outcome::Holds, "{}", budgets[at]);
        }
    }

    #[test]
    fn what_is_no_threshold_is_told_with_the_remedy() {
        for (text, part) in [
            ("p99", "no comparison"),
            ("p98<1ms", "unknown metric `p98`"),
            ("p9.9<1ms", "unknown metric `p9.9`"),
            ("lost=0", "no comparison"),
            ("<1ms", "unknown metric"),
            ("lost==-1", "number"),
            ("latency.p99<1ms", "send_lag"),
            ("p99<50", "50ms"),
            ("lost==none", "250k"),
            ("rate>5ms", "number"),
        ] {
            let error = text.parse::<Threshold>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
