//! `latency.hlog`: a HdrHistogram log, version 1.3, V2 with deflate, one line per metric, told apart by tags.
//!
//! Stamps are absolute seconds of the Unix epoch. There is no BaseTime: readers disagree on what it means. Values are
//! nanoseconds; the column of the largest value is in milliseconds, as readers expect.

use std::fmt;
use std::io::Read;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use hdrhistogram::serialization::interval_log::{
    IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag,
};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};

use crate::Histogram;

/// The first four bytes of a compressed histogram, V2.
const COMPRESSED: u32 = 0x1c84_9314;
/// Cookie, length, offset, digits, bounds and ratio, before the counts.
const HEADER_BYTES: usize = 40;
/// Bytes of a histogram that was inflated, at most: several times what one with five digits has, and few enough for any machine.
const INFLATED_MAX: u64 = 256 << 20;

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

/// The histograms of a log by their tags, in the order of the file, with every value that [`to_log`] wrote. Those of one tag are
/// merged; one without a tag stands under the empty name. [`Histogram::clamped`] counts what the file holds above the largest
/// value; what was clamped before it was written is not told apart any more.
///
/// # Errors
/// The first line that is damaged or cut off, and what is wrong with it.
pub fn from_log(text: &[u8]) -> Result<Vec<(String, Histogram)>, HlogError> {
    let mut found: Vec<(String, Histogram)> = Vec::new();
    if text.is_empty() {
        return Err(HlogError { line: 1, what: "the log is empty".to_owned() });
    }
    for (before, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let histogram = histogram_in(line).map_err(|what| HlogError { line: before + 1, what })?;
        let Some((tag, histogram)) = histogram else { continue };
        match found.iter_mut().find(|(known, _)| *known == tag) {
            Some((_, known)) => known.merge(&histogram),
            None => found.push((tag, histogram)),
        }
    }
    Ok(found)
}

/// Which line of a log cannot be read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HlogError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for HlogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for HlogError {}

/// What one line holds, with its tag; nothing for comments and stamps.
fn histogram_in(line: &[u8]) -> Result<Option<(String, Histogram)>, String> {
    if !line.ends_with(b"\n") {
        return Err("it has no end: the log was cut off".to_owned());
    }
    match IntervalLogIterator::new(line).next() {
        None | Some(Ok(LogEntry::StartTime(_) | LogEntry::BaseTime(_))) => Ok(None),
        Some(Err(_)) => Err("this is no line of a histogram log".to_owned()),
        Some(Ok(LogEntry::Interval(interval))) => {
            let tag = interval.tag().map_or("", |tag| tag.as_str());
            let histogram = decode(interval.encoded_histogram())
                .map_err(|what| format!("the histogram `{tag}` is damaged: {what}"))?;
            Ok(Some((tag.to_owned(), histogram)))
        }
    }
}

fn decode(text: &str) -> Result<Histogram, String> {
    let bytes = STANDARD.decode(text).map_err(|error| format!("no base64: {error}"))?;
    let counts = inflate(&bytes)?;
    let hdr = Deserializer::new().deserialize(&mut counts.as_slice());
    hdr.map(|hdr| Histogram::from_hdr(&hdr)).map_err(|error| error.to_string())
}

/// The histogram without its compression. `Deserializer` could do that, too, but it stops before the stream's checksum and would take
/// other counts for those that were written; and it reserves as much memory as a damaged header says.
fn inflate(bytes: &[u8]) -> Result<Vec<u8>, String> {
    if word(bytes, 0) != Some(COMPRESSED) {
        return Err("it is not compressed as V2 has it".to_owned());
    }
    let (said, stream) = (word(bytes, 4).unwrap_or(0) as usize, bytes.get(8..).unwrap_or_default());
    if stream.len() != said {
        return Err(format!("{} bytes instead of {said}", stream.len()));
    }
    let mut counts = Vec::new();
    ZlibDecoder::new(stream)
        .take(INFLATED_MAX)
        .read_to_end(&mut counts)
        .map_err(|error| format!("its checksum or compression is wrong: {error}"))?;
    let said = word(&counts, 4).unwrap_or(0) as usize;
    match counts.len().checked_sub(HEADER_BYTES) {
        Some(found) if found == said => Ok(counts),
        _ => Err("its length is not what its header says".to_owned()),
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at + 4)?;
    word.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::histogram::NANOS_MAX;

    fn log(histograms: &[(&str, &Histogram)]) -> Vec<u8> {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        to_log(histograms, start, Duration::from_secs(10)).unwrap()
    }

    fn of(values: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::new();
        values.into_iter().for_each(|nanos| histogram.record(nanos));
        histogram
    }

    #[test]
    fn a_log_says_what_it_is_and_whose_values_are_when() {
        let text = log(&[("send_lag", &of((1..=1000).map(|us| us * 1000)))]);
        let head = String::from_utf8_lossy(&text).into_owned();
        assert!(head.contains("#[StartTime: 1800000000.000"), "{head}");
        assert!(head.starts_with("#[Histogram log format version 1.3]\n"), "{head}");
        assert!(!head.contains("BaseTime"));
        let intervals = IntervalLogIterator::new(&text).filter_map(|entry| match entry.unwrap() {
            LogEntry::Interval(interval) => Some(interval),
            _ => None,
        });
        let intervals: Vec<_> = intervals.collect();
        assert_eq!(intervals.len(), 1);
        assert_eq!(intervals[0].tag().unwrap().as_str(), "send_lag");
        assert_eq!(intervals[0].start_timestamp().as_secs(), 1_800_000_000);
    }

    #[test]
    fn histograms_come_back_by_their_tags_and_those_of_one_tag_together() {
        let (few, many, none) = (of([0, 1, NANOS_MAX, NANOS_MAX + 1]), of(0..5000), Histogram::new());
        let read =
            from_log(&log(&[("few", &few), ("none", &none), ("many", &many), ("few", &many)])).unwrap();
        let names: Vec<&str> = read.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["few", "none", "many"]);
        let mut both = few.clone();
        both.merge(&many);
        assert_eq!(read[0].1.hdr(), both.hdr());
        assert_eq!(
            (read[0].1.count(), read[0].1.clamped()),
            (5004, 0),
            "the file holds nothing above the largest"
        );
        assert_eq!(read[2].1.summary(), many.summary());
        assert_eq!((read[1].1.count(), read[1].1.allocated_bytes()), (0, 0));
    }

    #[test]
    fn what_is_damaged_is_told_with_its_line() {
        let whole = String::from_utf8(log(&[("a", &of(0..1000)), ("b", &of(0..2000))])).unwrap();
        let refused = |text: &str| from_log(text.as_bytes()).unwrap_err().to_string();
        let lines: Vec<&str> = whole.split_inclusive('\n').collect();
        let last = lines.len();
        let cut = &whole[..whole.len() - 1];
        assert!(refused(cut).starts_with(&format!("line {last}: it has no end")), "{}", refused(cut));
        let short = format!("{}\n", &whole[..whole.len() - 9]);
        assert!(refused(&short).contains("`b` is damaged"), "{}", refused(&short));
        let nonsense = whole.replacen("Tag=a,", "Tag=a,then,", 1);
        assert_eq!(refused(&nonsense), format!("line {}: this is no line of a histogram log", last - 1));
        assert_eq!(refused(""), "line 1: the log is empty");
        let other = whole.replace(",HISTF", ",ABCDE");
        assert_ne!(other, whole, "each begins with the same cookie");
        assert!(refused(&other).contains("not compressed"), "{}", refused(&other));
    }

    /// Each byte of a histogram counts: a log never reads as another one.
    #[test]
    fn one_wrong_letter_is_found_wherever_it_is() {
        let histogram = of((0..500).map(|step| step * step * 1000));
        let whole = log(&[("a", &histogram)]);
        let begin = whole.windows(6).position(|part| part == b",HISTF").unwrap() + 1;
        for at in begin..whole.len() - 1 {
            let mut text = whole.clone();
            text[at] = if text[at] == b'A' { b'B' } else { b'A' };
            match from_log(&text) {
                Err(error) => assert!(error.to_string().contains("`a` is damaged"), "{at}: {error}"),
                // The last bits of base64 may belong to no byte.
                Ok(read) => assert_eq!(read[0].1.hdr(), histogram.hdr(), "{at}"),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn every_value_comes_back_with_its_count(
            values in prop::collection::vec(prop_oneof![0..5000u64, 0..2_000_000_000u64, 0..=NANOS_MAX], 0..200),
        ) {
            let histogram = of(values);
            let read = from_log(&log(&[("all", &histogram)])).unwrap();
            prop_assert_eq!(read[0].1.hdr(), histogram.hdr());
            prop_assert_eq!(read[0].1.count(), histogram.count());
            prop_assert_eq!(read[0].1.allocated_bytes(), histogram.allocated_bytes());
        }

        #[test]
        fn no_text_is_too_strange(text in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = from_log(&text);
        }
    }
}
