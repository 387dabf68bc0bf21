//! Durations and sizes as people write them.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::identity::network;

/// A length of time: a number and a unit of `ms`, `s`, `m`, `h`, `d`, `w`, `mo` (30 days) or `y` (365 days);
/// several may follow each other (`1h30m`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A number of bytes: a whole number, alone or with `B`, `KiB`, `MiB`, `GiB`, `KB`, `MB` or `GB`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A text that is no length of time or size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a duration.
    #[error("{0:?} is not a length of time: write a number and a unit, such as 500ms, 30s, 5m, 24h, 90d, 6mo or 2y")]
    Span(String),
    /// Not a size.
    #[error("{0:?} is not a size: write a number of bytes, or one with KiB, MiB or GiB")]
    Size(String),
}

const SECOND: u64 = 1_000;
const DAY: u64 = 24 * 60 * 60 * SECOND;
/// Unit and its milliseconds, longest first so that printing takes the largest that fits.
const SPAN_UNITS: [(&str, u64); 8] =
    [("y", 365 * DAY), ("mo", 30 * DAY), ("w", 7 * DAY), ("d", DAY), ("h", 60 * 60 * SECOND), ("m", 60 * SECOND), ("s", SECOND), ("ms", 1)];
const SIZE_UNITS: [(&str, u64); 7] =
    [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("GB", 1_000_000_000), ("MB", 1_000_000), ("KB", 1_000), ("B", 1)];

impl Span {
    /// From whole milliseconds.
    #[must_use]
    pub const fn millis(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    /// From whole seconds.
    #[must_use]
    pub const fn seconds(s: u64) -> Self {
        Self(Duration::from_secs(s))
    }

    /// From days of 24 hours.
    #[must_use]
    pub const fn days(d: u64) -> Self {
        Self(Duration::from_millis(d * DAY))
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(raw: &str) -> Result<Self, Self::Err> {
        let wrong = || UnitError::Span(raw.chars().take(40).collect());
        let mut rest = raw.trim();
        if rest.is_empty() {
            return Err(wrong());
        }
        let mut total = 0u64;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let (number, tail) = rest.split_at(digits);
            let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let (_, ms) = SPAN_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
            let number: u64 = number.parse().map_err(|_| wrong())?;
            total = number.checked_mul(*ms).and_then(|add| total.checked_add(add)).ok_or_else(wrong)?;
            rest = tail;
        }
        Ok(Self::millis(total))
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(raw: &str) -> Result<Self, Self::Err> {
        let wrong = || UnitError::Size(raw.chars().take(40).collect());
        let raw = raw.trim();
        let digits = raw.find(|c: char| !c.is_ascii_digit()).unwrap_or(raw.len());
        let (number, unit) = raw.split_at(digits);
        let unit = unit.trim();
        let factor = if unit.is_empty() { 1 } else { SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1 };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        number.checked_mul(factor).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let (unit, size) = SPAN_UNITS
            .iter()
            .filter(|(unit, _)| !matches!(*unit, "mo" | "y" | "w"))
            .find(|(_, size)| ms >= *size && ms.is_multiple_of(*size))
            .unwrap_or(&("ms", 1));
        write!(f, "{}{unit}", ms / size)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, size) = SIZE_UNITS.iter().take(3).find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size)).unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / size)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^([0-9]+(ms|s|m|h|d|w|mo|y))+$", "description": "A length of time, such as 500ms, 30s, 5m, 24h, 90d, 6mo or 2y"})
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "integer"], "pattern": "^[0-9]+ ?(B|KiB|MiB|GiB|KB|MB|GB)?$", "minimum": 0, "description": "A number of bytes, such as 65536, 64KiB or 50MiB"})
    }
}

/// Reads networks; an address alone is the network that holds just it.
pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    struct Network(IpNet);

    impl<'de> Deserialize<'de> for Network {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = String::deserialize(deserializer)?;
            let wrong = || serde::de::Error::custom(format!("{text:?} is no network: write one such as 10.0.0.0/8, or an address"));
            network(&text).map(Self).ok_or_else(wrong)
        }
    }

    Ok(Vec::<Network>::deserialize(deserializer)?.into_iter().map(|network| network.0).collect())
}
