//! Timestamps as files write them, read as event time in UTC. What is finer than a millisecond is cut off.

use merit_core::{EventTime, Fixed};

/// How a column writes its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeFormat {
    /// `2025-01-17T18:00:00Z`, with any fraction and offset.
    Rfc3339,
    /// Whole milliseconds since 1970.
    UnixMilliseconds,
    /// Seconds since 1970, with a fraction or without.
    UnixSeconds,
    /// A strftime pattern; without an offset in it, the time is UTC.
    Pattern(String),
}

impl TimeFormat {
    /// Reads `rfc3339`, `unix_ms`, `unix_s`, or a strftime pattern that gives at least a date. `None` for anything else.
    pub fn parse(text: &str) -> Option<TimeFormat> {
        match text {
            "rfc3339" => Some(TimeFormat::Rfc3339),
            "unix_ms" => Some(TimeFormat::UnixMilliseconds),
            "unix_s" => Some(TimeFormat::UnixSeconds),
            pattern => {
                // A pattern that cannot read back what it wrote would refuse every row.
                let sample = jiff::civil::date(2024, 11, 15).at(16, 57, 50, 0).to_zoned(jiff::tz::TimeZone::UTC).ok()?;
                let written = jiff::fmt::strtime::format(pattern, &sample).ok()?;
                read_pattern(pattern, &written)?;
                Some(TimeFormat::Pattern(pattern.into()))
            }
        }
    }

    /// Reads a time within 1970 to 9999. `None` for anything else.
    pub fn read(&self, text: &str) -> Option<EventTime> {
        match self {
            TimeFormat::Rfc3339 => rfc3339(text),
            TimeFormat::UnixMilliseconds => in_range(text.parse().ok()?),
            TimeFormat::UnixSeconds => in_range(Fixed::parse(text)?.0.div_euclid(1_000)),
            TimeFormat::Pattern(pattern) => read_pattern(pattern, text),
        }
    }
}

fn read_pattern(pattern: &str, text: &str) -> Option<EventTime> {
    let time = jiff::fmt::strtime::parse(pattern, text).ok()?;
    let timestamp = match time.offset() {
        Some(_) => time.to_timestamp().ok()?,
        None => jiff::tz::Offset::UTC.to_timestamp(time.to_datetime().ok()?).ok()?,
    };
    in_range(timestamp.as_millisecond())
}

/// Reads RFC 3339 within 1970 to 9999. A leap second counts as the second before it.
pub fn rfc3339(text: &str) -> Option<EventTime> {
    let (head, rest) = text.as_bytes().split_first_chunk::<19>()?;
    let seconds = date_and_time(head)?;
    let (millis, rest) = fraction(rest)?;
    in_range((seconds - offset(rest)?) * 1_000 + millis)
}

fn in_range(millis: i64) -> Option<EventTime> {
    let time = EventTime(millis);
    (EventTime::EPOCH <= time && time <= EventTime::LATEST).then_some(time)
}

/// `2025-01-17T18:00:00` as seconds since 1970.
fn date_and_time(text: &[u8; 19]) -> Option<i64> {
    let separated = text[4] == b'-' && text[7] == b'-' && matches!(text[10], b'T' | b't' | b' ') && text[13] == b':' && text[16] == b':';
    if !separated {
        return None;
    }
    let (year, month, day) = (number(&text[..4])?, number(&text[5..7])?, number(&text[8..10])?);
    let (hour, minute, second) = (number(&text[11..13])?, number(&text[14..16])?, number(&text[17..])?);
    let dated = (1..=12).contains(&month) && 1 <= day && day <= days_in_month(year, month);
    let timed = hour <= 23 && minute <= 59 && second <= 60;
    (dated && timed).then(|| ((days_from_civil(year, month, day) * 24 + hour) * 60 + minute) * 60 + second.min(59))
}

/// `.123` or nothing, as milliseconds, and what follows.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits) = text.strip_prefix(b".") else { return Some((0, text)) };
    let length = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(length);
    let kept = number(&digits[..length.min(3)])?;
    match length {
        0 => None,
        1 => Some((kept * 100, rest)),
        2 => Some((kept * 10, rest)),
        _ => Some((kept, rest)),
    }
}

/// `Z` or `+01:00`, as seconds ahead of UTC, with nothing behind it.
fn offset(text: &[u8]) -> Option<i64> {
    match text {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            let seconds = (hours * 60 + minutes) * 60;
            (hours <= 23 && minutes <= 59).then_some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + i64::from(digit - b'0')))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// (year, month, day) of the proleptic Gregorian calendar to days since 1970-01-01.
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_read_in_every_format() {
        let pattern = "%Y-%m-%d %H:%M:%S";
        for (format, text, millis) in [
            ("rfc3339", "2025-01-17T18:00:00Z", Some(1_737_136_800_000)),
            ("rfc3339", "2025-01-17T18:00:00.1239Z", Some(1_737_136_800_123)),
            ("rfc3339", "2025-01-17T18:00:00.5Z", Some(1_737_136_800_500)),
            ("rfc3339", "2025-01-17t19:30:00+01:30", Some(1_737_136_800_000)),
            ("rfc3339", "2025-01-17 18:00:00-00:00", Some(1_737_136_800_000)),
            ("rfc3339", "2016-12-31T23:59:60Z", Some(1_483_228_799_000)), // a leap second
            ("rfc3339", "9999-12-31T23:59:59.999Z", Some(EventTime::LATEST.0)),
            ("rfc3339", "9999-12-31T23:59:59.999-00:01", None),
            ("rfc3339", "1970-01-01T00:00:00Z", Some(0)),
            ("rfc3339", "1969-12-31T23:59:59.999Z", None),
            ("rfc3339", "1970-01-01T00:00:00+00:01", None),
            ("rfc3339", "2025-02-29T00:00:00Z", None),
            ("rfc3339", "2025-13-01T00:00:00Z", None),
            ("rfc3339", "2025-01-17T24:00:00Z", None),
            ("rfc3339", "2025-01-17T18:00:00.Z", None),
            ("rfc3339", "2025-01-17T18:00:00", None), // no offset: a guess would move the report
            ("rfc3339", "2025-01-17T18:00:00Zz", None),
            ("rfc3339", "2025-01-17", None),
            ("rfc3339", "", None),
            ("unix_ms", "1737136800123", Some(1_737_136_800_123)),
            ("unix_ms", "-1", None),
            ("unix_ms", "1737136800.5", None),
            ("unix_s", "1737136800", Some(1_737_136_800_000)),
            ("unix_s", "1737136800.1239", Some(1_737_136_800_123)),
            ("unix_s", "1e999", None),
            (pattern, "2024-11-15 16:57:50", Some(1_731_689_870_000)),
            (pattern, "2024-11-15T16:57:50", None),
            ("%d/%m/%Y", "15/11/2024", Some(1_731_628_800_000)),
            ("%Y-%m-%d %H:%M:%S %z", "2024-11-15 17:57:50 +0100", Some(1_731_689_870_000)),
        ] {
            let read = TimeFormat::parse(format).expect(format).read(text);
            assert_eq!(read.map(|time| time.0), millis, "{format} {text}");
        }
    }

    #[test]
    fn patterns_that_give_no_date_are_refused() {
        for pattern in ["", "%H:%M", "%Q!", "%", "iso", "%Y"] {
            assert_eq!(TimeFormat::parse(pattern), None, "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn rfc_3339_agrees_with_jiff(millis in 0..=EventTime::LATEST.0 - 86_400_000, minutes in -1439..=1439_i32) {
            let timestamp = jiff::Timestamp::from_millisecond(millis).expect("in range");
            let offset = jiff::tz::Offset::from_seconds(minutes * 60).expect("in range");
            let text = timestamp.display_with_offset(offset).to_string();
            prop_assert_eq!(rfc3339(&text), Some(EventTime(millis)), "{}", text);
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = rfc3339(&text);
        }
    }
}
