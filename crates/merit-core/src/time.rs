//! Event time and spans of it, in whole milliseconds.

use alloc::string::String;
use core::fmt::{self, Write};
use core::ops::{Add, Sub};

/// Milliseconds since 1970-01-01T00:00:00Z, as a producer or the log wrote them. Never a clock reading of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventTime(pub i64);

/// A span of event time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub i64);

impl EventTime {
    /// Before any record.
    pub const MIN: EventTime = EventTime(i64::MIN);
    /// The earliest time a report may carry: 1970-01-01.
    pub const EPOCH: EventTime = EventTime(0);
    /// The latest time a report may carry: 9999-12-31T23:59:59.999Z, the last that RFC 3339 can write.
    pub const LATEST: EventTime = EventTime(253_402_300_799_999);

    /// The number of the pane of `width` that holds this time.
    #[inline]
    pub fn pane(self, width: Duration) -> i64 {
        self.0.div_euclid(width.0)
    }

    /// This time less `span`, or [`EventTime::MIN`] where that does not exist.
    #[inline]
    pub fn before(self, span: Duration) -> EventTime {
        EventTime(self.0.saturating_sub(span.0))
    }
}

impl Add<Duration> for EventTime {
    type Output = EventTime;
    fn add(self, span: Duration) -> EventTime {
        EventTime(self.0.saturating_add(span.0))
    }
}

impl Sub for EventTime {
    type Output = Duration;
    fn sub(self, earlier: EventTime) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
}

/// RFC 3339 in UTC with milliseconds: `2025-01-17T18:00:00.000Z`.
impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, millis) = (self.0.div_euclid(86_400_000), self.0.rem_euclid(86_400_000));
        let (year, month, day) = civil_from_days(days);
        let (hour, minute) = (millis / 3_600_000, millis / 60_000 % 60);
        let (second, milli) = (millis / 1_000 % 60, millis % 1_000);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

/// Days since 1970-01-01 to (year, month, day) of the proleptic Gregorian calendar.
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days.saturating_add(719_468);
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

impl Duration {
    /// One minute.
    pub const MINUTE: Duration = Duration(60_000);
    /// One hour.
    pub const HOUR: Duration = Duration(3_600_000);

    /// Reads `500ms`, `10s`, `10m`, `24h` or `7d`.
    pub fn parse(text: &str) -> Option<Duration> {
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let unit = match &text[digits..] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        text[..digits].parse::<i64>().ok()?.checked_mul(unit).map(Duration)
    }
}

/// The largest unit that divides the span: `10m`, `36h`, `7d`.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
        let (size, name) = units.into_iter().find(|(size, _)| self.0 % size == 0 && self.0 != 0).unwrap_or((1, "ms"));
        write!(f, "{}{name}", self.0 / size)
    }
}

/// RFC 3339 text of a time.
pub fn rfc3339(time: EventTime) -> String {
    let mut text = String::with_capacity(24);
    // Writing to a String cannot fail.
    let _ = write!(text, "{time}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_737_136_800_123, "2025-01-17T18:00:00.123Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (EventTime::LATEST.0, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(EventTime(millis)), text);
        }
    }

    #[test]
    fn durations_are_read_and_written() {
        for (text, millis) in [("500ms", 500), ("10m", 600_000), ("36h", 129_600_000), ("7d", 604_800_000)] {
            assert_eq!(Duration::parse(text), Some(Duration(millis)));
            assert_eq!(std::format!("{}", Duration(millis)), text);
        }
        for text in ["", "10", "m", "-1s", "1w", "99999999999999999999d"] {
            assert_eq!(Duration::parse(text), None, "{text}");
        }
    }
}
