//! The wall clock as people and file names write it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// RFC 3339 in UTC, to the second: `2026-01-31T09:30:00Z`.
pub(crate) fn rfc3339(at: SystemTime) -> String {
    let (date, time) = parts(at);
    format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", date.0, date.1, date.2, time.0, time.1, time.2)
}

/// The moment that [`rfc3339`] writes; seconds may have a fraction. `None` for anything else, and before 1970.
pub(crate) fn from_rfc3339(text: &str) -> Option<SystemTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers =
        |text: &str, between| text.split(between).map(str::parse).collect::<Result<Vec<u64>, _>>().ok();
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let (&[year, month, day], &[hour, minute, second]) = (&*numbers(date, '-')?, &*numbers(time, ':')?)
    else {
        return None;
    };
    let fits = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !fits || hour > 23 || minute > 59 || second > 59 || fraction.len() > 9 {
        return None;
    }
    // The inverse of `parts`.
    let shifted = year - u64::from(month <= 2);
    let (era, year) = (shifted / 400, shifted % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + year * 365 + year / 4 - year / 100 + day_of_year - 719_468;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
    let nanos = format!("{fraction:0<9}").parse().ok()?;
    let moment = UNIX_EPOCH + Duration::new(seconds, nanos);
    // 31 February is no day.
    (parts(moment).0 == (year + era * 400 + u64::from(month <= 2), month, day)).then_some(moment)
}

/// As part of a file's name, in the order of time: `20260131T093000.123Z`.
pub(crate) fn file_name(at: SystemTime) -> String {
    let (date, time) = parts(at);
    let millis = at.duration_since(UNIX_EPOCH).unwrap_or_default().subsec_millis();
    format!("{:04}{:02}{:02}T{:02}{:02}{:02}.{millis:03}Z", date.0, date.1, date.2, time.0, time.1, time.2)
}

type Parts = ((u64, u64, u64), (u64, u64, u64));

/// (year, month, day) and (hour, minute, second); an instant before 1970 counts as 1970.
fn parts(at: SystemTime) -> Parts {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Counted from 1 March 0000, so that the leap day is the last of its year (Howard Hinnant's civil_from_days).
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = (
        year + era * 400 + u64::from(month >= 10),
        if month < 10 { month + 3 } else { month - 9 },
        day - (153 * month + 2) / 5 + 1,
    );
    (date, (rest / 3_600, rest / 60 % 60, rest % 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_fall_where_the_calendar_has_them() {
        let at = |seconds| rfc3339(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_709_251_199), "2024-02-29T23:59:59Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn file_names_sort_by_time() {
        let at = |millis| file_name(UNIX_EPOCH + Duration::from_millis(millis));
        assert_eq!(at(1_234), "19700101T000001.234Z");
        assert!(at(1_999) < at(2_000));
    }

    #[test]
    fn a_moment_is_read_as_it_is_written() {
        for seconds in [0, 951_782_400, 951_868_799, 1_709_164_800, 1_769_851_800, 4_107_542_399] {
            let moment = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(from_rfc3339(&rfc3339(moment)), Some(moment), "{seconds}");
        }
        let moment = UNIX_EPOCH + Duration::from_millis(1_769_851_800_250);
        assert_eq!(from_rfc3339("2026-01-31T09:30:00.25Z"), Some(moment));
        for text in [
            "",
            "2026-01-31",
            "2026-02-31T00:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T09:30:00",
            "1969-12-31T00:00:00Z",
        ] {
            assert_eq!(from_rfc3339(text), None, "{text}");
        }
    }
}
