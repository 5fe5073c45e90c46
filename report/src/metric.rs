//! Figures of a run by name: what thresholds ask for, and what comparisons compare.
//!
//! ```text
//!   metric    = [latency "."] statistic | scalar      a bare statistic is planned_to_delivered
//!   latency   = planned_to_delivered | written_to_delivered | send_lag | connect_lag | connect | handshake | login
//!             | reconnect_lag | reconnect | handshake_again | login_again                       of those who come back in a storm
//!   statistic = min | mean | p50 | p90 | p95 | p99 | p999 | p9999 | max      also as p99.9, p99.99
//! ```

use std::fmt;
use std::str::FromStr;

use crate::schema::{Latency, Summary};
use crate::text;

/// A distribution of a run: its name, and where it stands.
pub(crate) struct Distribution {
    pub(crate) name: &'static str,
    pub(crate) of: fn(&Summary) -> &Latency,
}

/// A figure of a distribution.
pub(crate) struct Statistic {
    pub(crate) name: &'static str,
    pub(crate) of: fn(&Latency) -> Option<f64>,
    /// The share of the samples that must have arrived for it to be known.
    pub(crate) share: f64,
}

/// A figure that stands for itself.
pub(crate) struct Scalar {
    pub(crate) name: &'static str,
    of: fn(&Summary) -> Option<f64>,
    unit: Unit,
    better: Better,
}

/// Which way a figure wants to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// More of it is better.
    Higher,
    /// Less of it is better.
    Lower,
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Microseconds.
    Us,
    /// Seconds.
    S,
    /// Things per second, also of CPU time.
    PerS,
    /// Bytes.
    Bytes,
    /// Things.
    Count,
}

impl Unit {
    /// A figure of this unit as people read it.
    pub fn show(self, value: f64) -> String {
        match self {
            Unit::Us => text::time(value),
            Unit::S => text::time(value * 1e6),
            Unit::PerS => format!("{}/s", text::count(value)),
            Unit::Bytes => text::bytes(value),
            Unit::Count => text::count(value),
        }
    }
}

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

static DISTRIBUTIONS: [Distribution; 11] = [
    Distribution { name: "planned_to_delivered", of: |s| &s.latency_us.planned_to_delivered },
    Distribution { name: "written_to_delivered", of: |s| &s.latency_us.written_to_delivered },
    Distribution { name: "send_lag", of: |s| &s.latency_us.send_lag },
    Distribution { name: "connect_lag", of: |s| &s.latency_us.connect_lag },
    Distribution { name: "connect", of: |s| &s.latency_us.connect },
    Distribution { name: "handshake", of: |s| &s.latency_us.handshake },
    Distribution { name: "login", of: |s| &s.latency_us.login },
    Distribution {
        name: "reconnect_lag",
        of: |s| s.storm.as_ref().map_or(&NOTHING, |storm| &storm.connect_lag_us),
    },
    Distribution { name: "reconnect", of: |s| s.storm.as_ref().map_or(&NOTHING, |storm| &storm.connect_us) },
    Distribution {
        name: "handshake_again",
        of: |s| s.storm.as_ref().map_or(&NOTHING, |storm| &storm.handshake_us),
    },
    Distribution { name: "login_again", of: |s| s.storm.as_ref().map_or(&NOTHING, |storm| &storm.login_us) },
];

static STATISTICS: [Statistic; 9] = [
    Statistic { name: "min", of: |l| l.min, share: 0.0 },
    Statistic { name: "mean", of: |l| l.mean, share: 1.0 },
    Statistic { name: "p50", of: |l| l.p50, share: 0.5 },
    Statistic { name: "p90", of: |l| l.p90, share: 0.9 },
    Statistic { name: "p95", of: |l| l.p95, share: 0.95 },
    Statistic { name: "p99", of: |l| l.p99, share: 0.99 },
    Statistic { name: "p999", of: |l| l.p999, share: 0.999 },
    Statistic { name: "p9999", of: |l| l.p9999, share: 0.9999 },
    Statistic { name: "max", of: |l| l.max, share: 1.0 },
];

/// One line of the table of scalars.
const fn scalar(name: &'static str, unit: Unit, better: Better, of: fn(&Summary) -> Option<f64>) -> Scalar {
    Scalar { name, of, unit, better }
}

static SCALARS: [Scalar; 22] = {
    use Better::{Higher, Lower};
    use Unit::{Bytes, Count, PerS, S, Us};
    [
        scalar("rate", PerS, Higher, |s| s.messages.rate_per_s),
        scalar("accepted_rate", PerS, Higher, |s| s.messages.accepted_rate_per_s),
        scalar("lost", Count, Lower, |s| Some(s.messages.lost as f64)),
        scalar("duplicated", Count, Lower, |s| Some(s.messages.duplicated as f64)),
        scalar("reordered", Count, Lower, |s| Some(s.messages.reordered as f64)),
        scalar("corrupted", Count, Lower, |s| Some(s.messages.corrupted as f64)),
        scalar("accepted", Count, Higher, |s| Some(s.messages.accepted as f64)),
        scalar("delivered", Count, Higher, |s| Some(s.messages.delivered as f64)),
        scalar("refused", Count, Lower, |s| Some(s.messages.refused as f64)),
        scalar("unknown", Count, Lower, |s| Some(s.messages.unknown as f64)),
        scalar("failed_connections", Count, Lower, |s| Some(s.connections.failed as f64)),
        scalar("lost_connections", Count, Lower, |s| Some(s.connections.lost as f64)),
        scalar("established", Count, Higher, |s| Some(s.connections.established as f64)),
        scalar("connect_rate", PerS, Higher, |s| s.connections.connect_rate_per_s),
        scalar("storm_last_back_s", S, Lower, |s| s.storm.as_ref()?.last_back_after_s),
        scalar("storm_never_back", Count, Lower, |s| Some(s.storm.as_ref()?.never_back as f64)),
        scalar("messages_per_cpu_s", PerS, Higher, |s| s.server.as_ref()?.messages_per_cpu_s),
        scalar("server_user_bytes_per_connection", Bytes, Lower, |s| {
            s.server.as_ref()?.user_bytes_per_connection
        }),
        scalar("kernel_bytes_per_connection", Bytes, Lower, |s| s.kernel.bytes_per_connection),
        scalar("kernel_extra_bytes_per_connection", Bytes, Lower, |s| s.kernel.extra_bytes_per_connection),
        scalar("generator_user_bytes_per_user", Bytes, Lower, |s| s.generator.user_bytes_per_user),
        scalar("cpu_us_per_message", Us, Lower, |s| s.machine.cpu_us_per_message),
    ]
};

/// One figure of a run.
#[derive(Clone, Copy)]
pub struct Metric(pub(crate) Kind);

/// How it is found.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Latency(&'static Distribution, &'static Statistic),
    Scalar(&'static Scalar),
}

impl Metric {
    /// The figure in [`Metric::unit`]; `None` where the run did not measure it.
    pub fn of(self, summary: &Summary) -> Option<f64> {
        match self.0 {
            Kind::Latency(distribution, statistic) => (statistic.of)((distribution.of)(summary)),
            Kind::Scalar(scalar) => (scalar.of)(summary),
        }
    }

    /// What it counts.
    pub fn unit(self) -> Unit {
        match self.0 {
            Kind::Latency(..) => Unit::Us,
            Kind::Scalar(scalar) => scalar.unit,
        }
    }

    /// Which way it wants to go.
    pub fn better(self) -> Better {
        match self.0 {
            Kind::Latency(..) => Better::Lower,
            Kind::Scalar(scalar) => scalar.better,
        }
    }

    /// Whether it is a latency, and so in microseconds of somebody's waiting.
    pub fn is_latency(self) -> bool {
        matches!(self.0, Kind::Latency(..))
    }
}

/// As it is parsed.
impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::Latency(distribution, statistic) => write!(f, "{}.{}", distribution.name, statistic.name),
            Kind::Scalar(scalar) => f.write_str(scalar.name),
        }
    }
}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for Metric {
    fn eq(&self, other: &Metric) -> bool {
        self.to_string() == other.to_string()
    }
}

/// There is no metric of this name; says which there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownMetric(String);

impl fmt::Display for UnknownMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[&str]| names.join(", ");
        write!(
            f,
            "unknown metric `{}`: use {}; or a latency ({}) with a statistic ({}), as in send_lag.p99",
            self.0,
            list(&SCALARS.each_ref().map(|known| known.name)),
            list(&DISTRIBUTIONS.each_ref().map(|known| known.name)),
            list(&STATISTICS.each_ref().map(|known| known.name)),
        )
    }
}

impl std::error::Error for UnknownMetric {}

impl FromStr for Metric {
    type Err = UnknownMetric;

    fn from_str(name: &str) -> Result<Metric, UnknownMetric> {
        if let Some(scalar) = SCALARS.iter().find(|known| known.name == name) {
            return Ok(Metric(Kind::Scalar(scalar)));
        }
        // `p99.9` has a dot of its own.
        let (distribution, statistic) = match name.split_once('.') {
            Some((latency, statistic)) if !latency.starts_with('p') || latency.len() > 3 => {
                (latency, statistic)
            }
            _ => (DISTRIBUTIONS[0].name, name),
        };
        // Nothing else may carry a dot: `p9.9` is not the p99.
        let statistic = match statistic {
            "p99.9" => "p999",
            "p99.99" => "p9999",
            other => other,
        };
        let distribution = DISTRIBUTIONS.iter().find(|known| known.name == distribution);
        let statistic = STATISTICS.iter().find(|known| known.name == statistic);
        match (distribution, statistic) {
            (Some(distribution), Some(statistic)) => Ok(Metric(Kind::Latency(distribution, statistic))),
            _ => Err(UnknownMetric(name.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_it_is_written() {
        let names = SCALARS.iter().map(|scalar| scalar.name.to_owned());
        let latencies = DISTRIBUTIONS.iter().flat_map(|distribution| {
            STATISTICS.iter().map(|statistic| format!("{}.{}", distribution.name, statistic.name))
        });
        for name in names.chain(latencies) {
            assert_eq!(name.parse::<Metric>().unwrap().to_string(), name);
        }
        assert_eq!("p99.9".parse::<Metric>(), "planned_to_delivered.p999".parse());
    }

    #[test]
    fn what_is_unknown_is_told_with_what_is_known() {
        for name in ["p98", "p9.9", "", "latency.p99", "connect."] {
            let error = name.parse::<Metric>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{name}`")) && error.contains("send_lag.p99"), "{error}");
        }
    }
}
