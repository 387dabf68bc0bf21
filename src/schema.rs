//! JSON Schemas of the documents that people edit, for editors and for CI.
//!
//! They are made from the same types that are read, so they cannot disagree. `cli` prints them; the copies in
//! `config/schema/` are what the shipped files point their editors at, and a test keeps them fresh.

use serde_json::{Map, Value};

use crate::{catalog::CatalogDocument, policy::PolicyDocument, settings::Settings, source};

/// A document that people edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// `vicar.yaml`.
    Settings,
    /// `policy.yaml`.
    Policy,
    /// A file of `catalog/`.
    Catalog,
}

impl Document {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Settings, Self::Policy, Self::Catalog];

    /// What it is called on the command line, and its schema's file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Policy => "policy",
            Self::Catalog => "catalog",
        }
    }
}

/// The JSON Schema (2020-12) of a document.
#[must_use]
pub fn schema(of: Document) -> Value {
    let mut schema = match of {
        Document::Settings => source::schema::<Settings>(),
        Document::Policy => source::schema::<PolicyDocument>(),
        Document::Catalog => source::schema::<CatalogDocument>(),
    };
    tidy(&mut schema);
    schema
}

/// Leaves out what says nothing to a person: that a field without a value is null, how wide a number is in memory, and the
/// defaults of a section as a whole, which an editor would write out in full.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("default").is_some_and(|default| default.is_null() || default.is_object()) {
                fields.remove("default");
            }
            if fields.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint") || format.starts_with("int")) {
                fields.remove("format");
            }
            one_line(fields);
            fields.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Doc comments are broken where the source is; editors break lines themselves.
fn one_line(fields: &mut Map<String, Value>) {
    if let Some(Value::String(text)) = fields.get_mut("description") {
        *text = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("\n\n");
    }
}
