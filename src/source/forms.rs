//! Shapes that several documents have: entries by name, one word or a list of them, fields that may be left out.

use std::{borrow::Cow, collections::BTreeMap, fmt, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use super::{At, Span};

/// Entries by name in the order of the file, each with the place of its name. An entry with nothing in it is the default one.
#[derive(Debug, Clone)]
pub struct Entries<T>(pub Vec<(At<String>, T)>);

/// One text, or a list of them.
#[derive(Debug, Clone, Default)]
pub struct OneOrMany {
    /// The texts.
    pub texts: Vec<At<String>>,
    /// Where all of it stands.
    pub span: Span,
}

/// Reads a field that may be left out, yet not be blank: whoever has taken out all lines below `impersonate:` has not said
/// that the account may act as itself. To be named in `deserialize_with`; [`schema`] says the same.
///
/// # Errors
/// When nothing stands there, or not what belongs there.
pub fn filled<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// The JSON Schema of a document (2020-12). A field that may be left out does not take null for it.
#[must_use]
pub fn schema<T: JsonSchema>() -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value();
    fill(&mut schema);
    schema
}

fn fill(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Object(fields)) = fields.get_mut("properties") {
                fields.values_mut().filter_map(Value::as_object_mut).for_each(take_no_null);
            }
            fields.values_mut().for_each(fill);
        }
        Value::Array(items) => items.iter_mut().for_each(fill),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Undoes what `Option` adds to the schema of a type.
fn take_no_null(field: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = field.get_mut("type") {
        types.retain(|name| name != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            field.insert("type".to_owned(), one);
        }
    }
    if let Some(Value::Array(several)) = field.get_mut("anyOf") {
        several.retain(|one| one.get("type").is_none_or(|name| name != "null"));
        if let [Value::Object(one)] = several.as_slice() {
            let one = one.clone();
            field.shift_remove("anyOf");
            one.into_iter().for_each(|(name, rule)| _ = field.entry(name).or_insert(rule));
        }
    }
}

// ===== Entries =====

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Entries<T> {
    /// The entries, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, (At<String>, T)> {
        self.0.iter()
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByName<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for ByName<T> {
            type Value = Entries<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("entries by name (`name: …`)")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some((name, entry)) = map.next_entry::<At<String>, Option<T>>()? {
                    entries.push((name, entry.unwrap_or_default()));
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(ByName(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Entries<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("By_name_{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<String, Option<T>>::json_schema(generator)
    }
}

// ===== OneOrMany =====

impl std::ops::Deref for OneOrMany {
    type Target = [At<String>];

    fn deref(&self) -> &Self::Target {
        &self.texts
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The place of a single text is the place of the whole.
        enum Written {
            One(String),
            Many(Vec<At<String>>),
        }

        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Written, E> {
                Ok(Written::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Written, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Written::Many(texts))
            }
        }

        impl<'de> Deserialize<'de> for Written {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Either)
            }
        }

        let At { value, span } = At::<Written>::deserialize(deserializer)?;
        let texts = match value {
            Written::One(value) => vec![At { value, span }],
            Written::Many(texts) => texts,
        };
        Ok(Self { texts, span })
    }
}

impl JsonSchema for OneOrMany {
    fn schema_name() -> Cow<'static, str> {
        "OneOrMany".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ]
        })
    }
}
