//! How people write counts, times and pairs on a command line.

use std::time::{Duration, SystemTime};

use throng_loadgen::{Network, Protocol, Reconnect};
use throng_reactor::Requested;
use throng_report::Metric;
use throng_report::metric::UnknownMetric;
use throng_report::threshold::{Threshold, ThresholdError};

use crate::utc;

/// A count: digits, optionally a fraction, optionally one of k, K (thousand), m, M (million), g, G (thousand million).
pub(crate) fn count(text: &str) -> Result<u64, String> {
    let number = decimal(text)?;
    if number.fract() != 0.0 {
        return Err(format!("`{text}` is not a whole number"));
    }
    // 2^53: every whole number below it is exact in an f64.
    if number > 9_007_199_254_740_992.0 {
        return Err(format!("`{text}` is more than this can count"));
    }
    Ok(number as u64)
}

/// A count of at least one.
pub(crate) fn positive(text: &str) -> Result<u64, String> {
    match count(text)? {
        0 => Err("0 is too few: at least 1".to_owned()),
        count => Ok(count),
    }
}

/// Bytes of a socket's queue.
pub(crate) fn socket_bytes(text: &str) -> Result<u32, String> {
    let bytes = positive(text)?;
    u32::try_from(bytes)
        .ok()
        .filter(|bytes| i32::try_from(*bytes).is_ok())
        .ok_or_else(|| format!("{bytes} bytes are more than a socket takes: at most {}", i32::MAX))
}

/// A sysctl and its value, as `net.core.somaxconn=1024`.
pub(crate) fn sysctl(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it wants NAME=VALUE, as net.core.somaxconn=1024")?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !name.starts_with("net.") || !name.bytes().all(is_plain) || name.contains("..") {
        return Err(format!("`{name}` is no setting of a network namespace: those begin with net."));
    }
    Ok((name.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" ")))
}

/// A knob and a value of it, as `tcp_rmem=4096 16384 262144` or `backend=epoll`.
pub(crate) fn knob(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it wants NAME=VALUE, as backend=epoll")?;
    match (name.trim(), value.trim()) {
        ("", _) | (_, "") => Err("it wants NAME=VALUE, as backend=epoll".to_owned()),
        (name, value) => Ok((name.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" "))),
    }
}

/// A rate per second: as a count, but any fraction may remain; 0 is none.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    decimal(text)
}

fn decimal(text: &str) -> Result<f64, String> {
    let (digits, scale) = match text.char_indices().last() {
        Some((end, 'k' | 'K')) => (&text[..end], 1e3),
        Some((end, 'm' | 'M')) => (&text[..end], 1e6),
        Some((end, 'g' | 'G')) => (&text[..end], 1e9),
        _ => (text, 1.0),
    };
    let bad = || format!("`{text}` is not a count: digits, then perhaps k, m or g, as 1500, 1.5k, 2M");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(bad());
    }
    let number: f64 = digits.parse().map_err(|_| bad())?;
    // Rounded to a millionth, so that 1.1k is 1100 and not a hair above it.
    Ok((number * scale * 1e6).round() / 1e6)
}

/// A time: digits, optionally a fraction, and one of us, ms, s, m, h.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is not a time: digits and a unit, as 500us, 20ms, 1.5s, 10m, 1h");
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "" if !digits.is_empty() => {
            return Err(format!("`{text}` has no unit: us, ms, s, m or h, as {text}s"));
        }
        _ => return Err(bad()),
    };
    let number: f64 = digits.parse().map_err(|_| bad())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| format!("`{text}` is too long"))
}

/// A share in percent, above 0 and below 100.
pub(crate) fn percent(text: &str) -> Result<f64, String> {
    let digits = text.strip_suffix('%').unwrap_or(text).trim();
    let percent = decimal(digits)?;
    let fits = percent > 0.0 && percent < 100.0;
    fits.then_some(percent / 100.0).ok_or_else(|| format!("`{text}` is not above 0 and below 100 percent"))
}

/// A time above zero.
pub(crate) fn time_above_zero(text: &str) -> Result<Duration, String> {
    match time(text)? {
        Duration::ZERO => Err("must be longer than zero".to_owned()),
        time => Ok(time),
    }
}

/// A moment, RFC 3339 in UTC.
pub(crate) fn moment(text: &str) -> Result<SystemTime, String> {
    utc::from_rfc3339(text)
        .ok_or_else(|| format!("`{text}` is not a moment: UTC, as 2026-01-31T09:30:00Z (date -u +%FT%TZ)"))
}

/// One point of a ramp, `TIME:CONNECTIONS`.
pub(crate) fn stage(text: &str) -> Result<(Duration, u64), String> {
    let (after, connections) = text
        .split_once(':')
        .ok_or_else(|| format!("`{text}` is not a stage: TIME:CONNECTIONS, as 30s:100k"))?;
    Ok((time_above_zero(after)?, count(connections)?))
}

/// A label, `KEY=VALUE`.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not a label: KEY=VALUE, as build=abc123")),
    }
}

/// Messages in flight: a count of at least one.
pub(crate) fn window(text: &str) -> Result<u32, String> {
    u32::try_from(positive(text)?).map_err(|_| format!("`{text}` is more than this can count"))
}

/// A protocol's name.
pub(crate) fn protocol(text: &str) -> Result<Protocol, String> {
    text.parse()
}

/// How users come back in a storm.
pub(crate) fn reconnect(text: &str) -> Result<Reconnect, String> {
    text.parse()
}

/// Addresses, as 10.0.0.0/24.
pub(crate) fn network(text: &str) -> Result<Network, String> {
    text.parse()
}

/// A condition on a figure.
pub(crate) fn threshold(text: &str) -> Result<Threshold, String> {
    text.parse().map_err(|error: ThresholdError| error.to_string())
}

/// The name of a figure.
pub(crate) fn metric(text: &str) -> Result<Metric, String> {
    text.parse().map_err(|error: UnknownMetric| error.to_string())
}

/// A backend's name.
pub(crate) fn backend(text: &str) -> Result<Requested, String> {
    text.parse()
}

/// A list of cores as the kernel writes it: `0-3,8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cores(pub(crate) Vec<usize>);

impl std::fmt::Display for Cores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, core) in self.0.iter().enumerate() {
            write!(f, "{}{core}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// A list of cores; ascending, each once.
pub(crate) fn cores(text: &str) -> Result<Cores, String> {
    // What a cpu_set_t can name; it also bounds what `0-99999999999` may allocate.
    const CORES_MAX: usize = 1024;
    let bad = || format!("`{text}` is not a list of cores: numbers below {CORES_MAX} and ranges, as 0-3,8");
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let (low, high): (usize, usize) = (low.parse().map_err(|_| bad())?, high.parse().map_err(|_| bad())?);
        if low > high || high >= CORES_MAX {
            return Err(bad());
        }
        cores.extend(low..=high);
    }
    cores.sort_unstable();
    cores.dedup();
    Ok(Cores(cores))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_take_thousands_and_millions() {
        let cases =
            [("0", 0), ("1500", 1500), ("1.5k", 1500), ("2K", 2000), ("1.1k", 1100), ("2m", 2_000_000)];
        for (text, value) in cases.into_iter().chain([("5M", 5_000_000), ("2g", 2_000_000_000)]) {
            assert_eq!(count(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_count_is_refused_in_a_sentence() {
        for text in ["", "k", "-1", "+1", "1e3", "1.2", "1kk", "10 k", "inf", "nan", "1_000", "é", "1é"] {
            let error = count(text).unwrap_err();
            assert!(error.contains(text) && error.contains('`'), "{text}: {error}");
        }
        assert!(count("99999999999M").unwrap_err().contains("more than"));
        assert!(positive("0").unwrap_err().contains("at least 1"));
    }

    #[test]
    fn rates_keep_their_fractions() {
        assert_eq!(rate("0.1"), Ok(0.1));
        assert_eq!(rate("2.5k"), Ok(2500.0));
        assert!(rate("-1").is_err());
    }

    #[test]
    fn times_have_a_unit() {
        let cases = [
            ("500us", 500),
            ("20ms", 20_000),
            ("1.5s", 1_500_000),
            ("2m", 120_000_000),
            ("1h", 3_600_000_000),
        ];
        for (text, micros) in cases {
            assert_eq!(time(text), Ok(Duration::from_micros(micros)), "{text}");
        }
        assert!(time("10").unwrap_err().contains("10s"));
        for text in ["", "s", "-1s", "1.2.3s", "1d", "1 s", "1e3s"] {
            assert!(time(text).is_err(), "{text}");
        }
        assert!(time("99999999999999999999h").unwrap_err().contains("too long"));
        assert!(time_above_zero("0s").is_err());
    }

    #[test]
    fn a_stage_is_a_time_and_a_count() {
        assert_eq!(stage("30s:100k"), Ok((Duration::from_secs(30), 100_000)));
        for text in ["30s", "100k:30s", "0s:1k", ":"] {
            assert!(stage(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cores_are_numbers_and_ranges() {
        assert_eq!(cores("8,0-2,2"), Ok(Cores(vec![0, 1, 2, 8])));
        for text in ["", "a", "3-1", "0-", "5000", "0-99999999999"] {
            assert!(cores(text).is_err(), "{text}");
        }
        assert_eq!(cores("1-3").unwrap().to_string(), "1,2,3");
    }

    #[test]
    fn a_label_has_a_key() {
        assert_eq!(label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(label("=b").is_err() && label("a").is_err());
    }
}
