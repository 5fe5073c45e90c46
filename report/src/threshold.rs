//! Thresholds: `p99<50ms`, `send_lag.p99<=1ms`, `lost==0`, `rate>=19000`.
//!
//! ```text
//!   threshold = metric comparison value                                      for metrics see [`crate::metric`]
//!   value     = number with us, ms, s for a latency; with k, m for anything else
//! ```

use std::fmt;
use std::str::FromStr;

use crate::histogram::samples_needed;
use crate::metric::{Kind, Metric, UnknownMetric};
use crate::schema::{Outcome, Summary, ThresholdResult};

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
        let metric: Metric =
            text[..at].trim().parse().map_err(|error: UnknownMetric| ThresholdError(error.to_string()))?;
        let value = value(text[at + sign.len()..].trim(), metric)
            .ok_or_else(|| ThresholdError(bad_value(text, metric)))?;
        Ok(Threshold { text: text.to_owned(), metric, comparison, value })
    }
}

fn value(text: &str, metric: Metric) -> Option<f64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let factor = match (metric.is_latency(), &text[digits..]) {
        (true, "us") => 1.0,
        (true, "ms") => 1e3,
        (true, "s") => 1e6,
        (false, "") => 1.0,
        (false, "k" | "K") => 1e3,
        (false, "m" | "M") => 1e6,
        _ => return None,
    };
    Some(number * factor)
}

fn bad_value(text: &str, metric: Metric) -> String {
    if metric.is_latency() {
        format!("threshold `{text}`: a latency is compared with a time such as 500us, 50ms or 1.5s")
    } else {
        format!("threshold `{text}`: this metric is compared with a number such as 0, 19000 or 250k")
    }
}

/// As the user wrote it.
impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Threshold {
    /// How it comes out for this run.
    pub fn evaluate(&self, summary: &Summary) -> ThresholdResult {
        let measured = self.metric.of(summary);
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
        let Kind::Latency(distribution, statistic) = self.metric.0 else { return false };
        let planned = match distribution.name {
            "planned_to_delivered" | "written_to_delivered" => summary.messages.window.planned,
            "connect" | "handshake" | "login" => summary.connections.target,
            "reconnect" | "handshake_again" | "login_again" => {
                summary.storm.as_ref().map_or(0, |storm| storm.users)
            }
            _ => return false, // the generator's own
        };
        let share = statistic.share;
        let arrived = (distribution.of)(summary).count;
        // With too few planned there would be no figure from the best server either.
        let enough = planned > 0 && (share == 1.0 || planned >= samples_needed(share));
        enough && (arrived as f64) < share * planned as f64
    }

    /// The generator's own lateness that belongs to this threshold, when it is more than is allowed where the server's figure is
    /// `measured`: its name and its microseconds. For a latency it is taken at the same statistic.
    pub fn own_lateness(&self, summary: &Summary, measured: f64) -> Option<(&'static str, f64)> {
        let validity = &summary.validity;
        let connecting = (validity.connect_lag_p99_us_floor, validity.connect_lag_p99_share_max);
        let latencies = &summary.latency_us;
        let (distribution, statistic) = match self.metric.0 {
            Kind::Latency(distribution, statistic) => (distribution, statistic),
            Kind::Scalar(scalar) => {
                let (name, lag, connect_us) = match scalar.name {
                    "connect_rate" => {
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
        let (name, lag, (floor, share)) = match distribution.name {
            // A closed loop's planned instant is the attempt.
            "planned_to_delivered" | "written_to_delivered" if !summary.plan.is_closed_loop() => {
                let allowed = (validity.send_lag_p99_us_floor, validity.send_lag_p99_share_max);
                ("send_lag", &latencies.send_lag, allowed)
            }
            "connect" | "handshake" | "login" => ("connect_lag", &latencies.connect_lag, connecting),
            "reconnect" | "handshake_again" | "login_again" => {
                ("reconnect_lag", &summary.storm.as_ref()?.connect_lag_us, connecting)
            }
            _ => return None,
        };
        let lag = (statistic.of)(lag)?;
        (lag > floor.max(share * measured)).then_some((name, lag))
    }

    /// Whether the figure is a latency, and so in microseconds.
    pub fn is_latency(&self) -> bool {
        self.metric.is_latency()
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
