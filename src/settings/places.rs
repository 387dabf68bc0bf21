//! Where each field of a settings file stands, so that a check can point at it.
//!
//! The typed [`Settings`](super::Settings) know values only; this is the same document read once more as a bare tree
//! of places. A field that is not written has the place of what it would stand in.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

use crate::source::{At, Source, Span};

/// The places of one document.
#[derive(Debug, Default)]
pub(super) struct Places {
    root: Option<Place>,
}

/// The way to a field: `limits`, `timeouts`, `head`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Way(Vec<String>);

#[derive(Debug)]
struct Place {
    span: Span,
    inside: Inside,
}

#[derive(Debug)]
enum Inside {
    Nothing,
    Fields(Vec<(At<String>, Place)>),
    Items(Vec<Place>),
}

impl Places {
    /// Reads the places of a document that has been read as settings before, so that it is known to hold.
    pub(super) fn read(source: &Source) -> Self {
        Self { root: serde_yaml::from_str(&source.text).ok() }
    }

    /// Where the value of a field stands, or what it would stand in.
    pub(super) fn value(&self, way: &Way) -> Span {
        self.find(way).map_or_else(Span::default, |(_, place)| place.span)
    }

    /// Where the name of a field stands, or what it would stand in.
    pub(super) fn name(&self, way: &Way) -> Span {
        self.find(way).map_or_else(Span::default, |(name, place)| name.unwrap_or(place.span))
    }

    /// The nearest of a field and those it stands in, with its name.
    fn find(&self, way: &Way) -> Option<(Option<Span>, &Place)> {
        let mut at = (None, self.root.as_ref()?);
        for step in &way.0 {
            let next = match &at.1.inside {
                Inside::Fields(fields) => fields.iter().find(|(name, _)| name.value == *step).map(|(name, place)| (Some(name.span), place)),
                Inside::Items(items) => step.parse::<usize>().ok().and_then(|number| items.get(number)).map(|place| (None, place)),
                Inside::Nothing => None,
            };
            match next {
                Some(next) => at = next,
                None => break,
            }
        }
        Some(at)
    }
}

impl Way {
    /// To a field of the top level, or of what stands in it: `limits.timeouts`.
    pub(super) fn to(dotted: &str) -> Self {
        Self(dotted.split('.').map(str::to_owned).collect())
    }

    /// On to a field of it.
    pub(super) fn field(&self, name: impl Into<String>) -> Self {
        let mut way = self.clone();
        way.0.push(name.into());
        way
    }

    /// Whether it leads to `other`, or into it.
    pub(super) fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// Whether it leads to the field `dotted`, or into it.
    pub(super) fn is_within(&self, dotted: &str) -> bool {
        self.starts_with(&Self::to(dotted))
    }

    /// On to an item of it, from 0.
    pub(super) fn item(&self, number: usize) -> Self {
        self.field(number.to_string())
    }
}

/// `limits.timeouts.head`, as people name a field.
impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

// ===== reading =====

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let at = At::<Inside>::deserialize(deserializer)?;
        Ok(Self { span: at.span, inside: at.value })
    }
}

impl<'de> Deserialize<'de> for Inside {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Anything;

        impl<'de> Visitor<'de> for Anything {
            type Value = Inside;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Inside, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Inside::Fields(fields))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Inside, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Inside::Items(items))
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Inside, D::Error> {
                Inside::deserialize(deserializer)
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Inside, D::Error> {
                Inside::deserialize(deserializer)
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<Inside, E> {
                Ok(Inside::Nothing)
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Inside, E> {
                Ok(Inside::Nothing)
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<Inside, E> {
                Ok(Inside::Nothing)
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Inside, E> {
                Ok(Inside::Nothing)
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Inside, E> {
                Ok(Inside::Nothing)
            }

            fn visit_unit<E: Error>(self) -> Result<Inside, E> {
                Ok(Inside::Nothing)
            }

            fn visit_none<E: Error>(self) -> Result<Inside, E> {
                Ok(Inside::Nothing)
            }
        }

        deserializer.deserialize_any(Anything)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_found_where_it_stands() {
        let text =
            "version: 1\nlisten:\n  - {address: a, tls: {key: k}}\n  - address: 'bcd'\nlimits: {timeouts: {head: 5s, odd: [1, true, ~]}}\n";
        let source = Source::new("vicar.yaml", text);
        let places = Places::read(&source);
        let word = |span: Span| text.get(span.start..span.end).unwrap_or_default();
        assert_eq!(word(places.value(&Way::to("version"))), "1");
        assert_eq!(word(places.name(&Way::to("version"))), "version");
        assert_eq!(word(places.value(&Way::to("listen.0.tls.key"))), "k");
        assert_eq!(word(places.value(&Way::to("listen").item(1).field("address"))), "'bcd'");
        assert_eq!(word(places.value(&Way::to("limits.timeouts.head"))), "5s");
        assert_eq!(word(places.value(&Way::to("limits.timeouts.odd.1"))), "true");
        // What is not written has the place of what it would stand in.
        assert_eq!(places.name(&Way::to("limits.timeouts.total")), places.name(&Way::to("limits.timeouts")));
        assert_eq!(word(places.name(&Way::to("limits.timeouts.total"))), "timeouts");
    }
}
