//! `latency.hlog`: a HdrHistogram log, version 1.3, V2 with deflate, one line per metric, told apart by tags.
//!
//! Stamps are absolute seconds of the Unix epoch. There is no BaseTime: readers disagree on what it means. Values are
//! nanoseconds; the column of the largest value is in milliseconds, as readers expect.

use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::Histogram;

/// The text of a log with these histograms, each over the whole of the measured time.
///
/// # Errors
/// A tag with a comma, blank or line break, which the format cannot hold.
pub fn to_log(
    histograms: &[(&str, &Histogram)],
    start: SystemTime,
    duration: Duration,
) -> Result<Vec<u8>, String> {
    let since_epoch = start.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut text = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .add_comment("[Throng: values in nanoseconds; stamps in seconds of the Unix epoch]")
        .with_start_time(start)
        .with_max_value_divisor(1_000_000.0)
        .begin_log_with(&mut text, &mut serializer)
        .map_err(|error| error.to_string())?;
    for (name, histogram) in histograms {
        let tag = Tag::new(name).ok_or_else(|| format!("`{name}` cannot be a tag"))?;
        log.write_histogram(&histogram.hdr(), since_epoch, duration, Some(tag))
            .map_err(|error| format!("{error:?}"))?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;

    #[test]
    fn a_log_reads_back_with_every_value() {
        let mut histogram = Histogram::new();
        (1..=1000).for_each(|value| histogram.record(value * 1000));
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let text = to_log(&[("send_lag", &histogram)], start, Duration::from_secs(10)).unwrap();
        let head = String::from_utf8_lossy(&text).into_owned();
        assert!(head.contains("#[StartTime: 1800000000.000"), "{head}");
        assert!(head.starts_with("#[Histogram log format version 1.3]\n"), "{head}");
        assert!(!head.contains("BaseTime"));
        let mut found = 0;
        for entry in IntervalLogIterator::new(&text) {
            if let LogEntry::Interval(interval) = entry.unwrap() {
                assert_eq!(interval.tag().unwrap().as_str(), "send_lag");
                assert_eq!(interval.start_timestamp().as_secs(), 1_800_000_000);
                let bytes = decode_base64(interval.encoded_histogram());
                let read = Deserializer::new().deserialize::<u64, _>(&mut bytes.as_slice()).unwrap();
                assert_eq!(read, histogram.hdr());
                found += 1;
            }
        }
        assert_eq!(found, 1);
    }

    fn decode_base64(text: &str) -> Vec<u8> {
        let value = |c: u8| match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        let sextets: Vec<u32> = text.bytes().filter(|c| *c != b'=').map(|c| u32::from(value(c))).collect();
        let mut bytes = Vec::new();
        for chunk in sextets.chunks(4) {
            let word = chunk.iter().fold(0, |word, sextet| word << 6 | sextet) << (6 * (4 - chunk.len()));
            bytes.extend_from_slice(&word.to_be_bytes()[1..chunk.len()]);
        }
        bytes
    }
}
