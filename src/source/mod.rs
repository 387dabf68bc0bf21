//! Documents that people edit: YAML in, a typed value with the place of each word out, and
//! complaints that show the line.
//!
//! `settings`, `catalog` and `policy` read their files through here and nowhere else, so there is
//! one YAML parser and one way to say what is wrong. This room knows no other.

mod complaint;
mod forms;
mod look;
mod read;
mod shape;
mod tree;
mod wording;

pub use complaint::{Complaint, Complaints, Severity, nearest};
pub use forms::{Entries, OneOrMany, filled, schema};
pub use look::Look;
pub use read::{MAX_BYTES, ReadError, Source, parse, salvage};

use std::{borrow::Cow, ops::Deref};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A stretch of a source, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// A value and where it stands. Compares and derefs as the value alone.
#[derive(Debug, Clone)]
pub struct At<T> {
    /// What was written.
    pub value: T,
    /// Where.
    pub span: Span,
}

// ===== impl At =====

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// A value that was written in no file (a default, a test): complaints about it show no line.
impl<T> From<T> for At<T> {
    fn from(value: T) -> Self {
        Self { value, span: Span::default() }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = serde_yaml::Spanned::<T>::deserialize(deserializer)?;
        let place = spanned.referenced.span();
        let start = usize::try_from(place.byte_offset().unwrap_or_default()).unwrap_or(0);
        let len = usize::try_from(place.byte_len().unwrap_or_default()).unwrap_or(0);
        Ok(Self { value: spanned.value, span: Span { start, end: start.saturating_add(len) } })
    }
}

impl<T: Serialize> Serialize for At<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

#[cfg(test)]
mod tests;
