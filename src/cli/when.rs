//! Times: as people read them in tables, and as they write them in options.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::Failure;
use crate::{directory::Expiry, settings::Span};

/// `2026-11-24 14:55`, in UTC.
pub(super) fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M").to_string()
}

/// How long ago, or how soon: `3 hours ago`, `in 90 days`.
pub(super) fn apart(at: Timestamp, now: Timestamp) -> String {
    let seconds = at.as_second() - now.as_second();
    let amount = match seconds.unsigned_abs() {
        0..60 => return if seconds > 0 { "in a moment" } else { "just now" }.to_owned(),
        s @ 60..3_600 => count(s / 60, "minute"),
        s @ 3_600..86_400 => count(s / 3_600, "hour"),
        // Ninety days less a second are ninety to whoever has just asked for them.
        s if seconds > 0 => count((s + 43_200) / 86_400, "day"),
        s => count(s / 86_400, "day"),
    };
    if seconds > 0 { format!("in {amount}") } else { format!("{amount} ago") }
}

/// Whole days that are left until `end`; below zero when it is past.
pub(super) fn days_left(end: Timestamp, now: Timestamp) -> i64 {
    (end.as_second() - now.as_second()).div_euclid(86_400)
}

/// `1 key`, `2 keys`.
pub(super) fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// A point in the past, as `--since` and `--until` take it: a length of time back from `now` (`7d`), a day in UTC
/// (`2026-11-24`), or a moment (`2026-11-24T10:00:00Z`).
pub(super) fn point(option: &str, raw: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    if let Ok(span) = raw.parse::<Span>() {
        return now.checked_sub(span.0).map_err(|_| Failure::usage(format!("--{option} {raw}: that is before there were dates")));
    }
    moment(raw).ok_or_else(|| {
        Failure::usage(format!(
            "--{option} {raw:?}: write a length of time back from now (7d, 12h), a day (2026-11-24) or a moment (2026-11-24T10:00:00Z)"
        ))
    })
}

/// A moment, or the beginning of a day in UTC.
fn moment(raw: &str) -> Option<Timestamp> {
    if let Ok(moment) = raw.parse::<Timestamp>() {
        return Some(moment);
    }
    let day = raw.parse::<Date>().ok()?;
    TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).ok()
}

/// When a key or token ends, as `--expires` takes it.
///
/// # Errors
/// What could be written instead.
pub(super) fn expiry(raw: &str) -> Result<Expiry, String> {
    if raw == "never" {
        return Ok(Expiry::Never);
    }
    if let Ok(span) = raw.parse::<Span>() {
        return Ok(Expiry::In(span));
    }
    ending(raw).map(Expiry::At).ok_or_else(|| "write a time (90d, 6mo, 2y), a day (2027-01-31) or never".to_owned())
}

/// A moment, or the end of a day in UTC: what ends with a day holds through it, as `until` in the policy does.
fn ending(raw: &str) -> Option<Timestamp> {
    if let Ok(moment) = raw.parse::<Timestamp>() {
        return Some(moment);
    }
    let day = raw.parse::<Date>().ok()?;
    TimeZone::UTC.to_timestamp(day.at(23, 59, 59, 0)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(raw: &str) -> Timestamp {
        raw.parse().unwrap()
    }

    #[test]
    fn times_read_as_people_say_them() {
        let now = at("2026-11-24T12:00:00Z");
        assert_eq!(apart(at("2026-11-24T11:59:30Z"), now), "just now");
        assert_eq!(apart(at("2026-11-24T11:59:00Z"), now), "1 minute ago");
        assert_eq!(apart(at("2026-11-21T12:00:00Z"), now), "3 days ago");
        assert_eq!(apart(at("2027-02-22T12:00:00Z"), now), "in 90 days");
        assert_eq!(apart(at("2027-02-22T11:59:59Z"), now), "in 90 days");
        assert_eq!(days_left(at("2026-11-24T11:00:00Z"), now), -1);
        assert_eq!(days_left(at("2026-11-25T11:00:00Z"), now), 0);
    }

    #[test]
    fn a_point_is_a_span_a_day_or_a_moment() {
        let now = at("2026-11-24T12:00:00Z");
        assert_eq!(point("since", "7d", now).unwrap(), at("2026-11-17T12:00:00Z"));
        assert_eq!(point("since", "2026-11-01", now).unwrap(), at("2026-11-01T00:00:00Z"));
        assert_eq!(point("since", "2026-11-01T10:00:00+01:00", now).unwrap(), at("2026-11-01T09:00:00Z"));
        for wrong in ["", "yesterday", "7", "2026-13-01", "99999999y"] {
            assert!(point("since", wrong, now).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_expiry_is_a_time_a_day_a_moment_or_never() {
        assert!(matches!(expiry("90d"), Ok(Expiry::In(span)) if span == Span::days(90)));
        assert!(matches!(expiry("6mo"), Ok(Expiry::In(span)) if span == Span::days(180)));
        assert!(matches!(expiry("never"), Ok(Expiry::Never)));
        assert!(matches!(expiry("2027-01-31"), Ok(Expiry::At(end)) if end.to_string() == "2027-01-31T23:59:59Z"));
        for wrong in ["", "soon", "90", "-1d", "2027-02-30"] {
            assert!(expiry(wrong).is_err(), "{wrong}");
        }
    }
}
