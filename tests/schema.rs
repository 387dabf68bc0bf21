//! JSON Schemas: what they say of the shipped files, and that they refuse what Vicar refuses.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::{fs, path::Path};

use serde_json::Value;
use vicar::schema::{Document, schema};

fn config() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

/// What a schema has against a value. Knows the words that our schemas use, and fails on any other.
fn problems(root: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let Some(schema) = schema.as_object() else { return Vec::new() };
    let mut found = Vec::new();
    for (word, rule) in schema {
        let inner = |schema: &Value| problems(root, schema, value, at);
        let number = |rule: &Value| rule.as_f64().unwrap();
        let holds = match word.as_str() {
            "$schema" | "$defs" | "title" | "description" | "default" | "examples" | "format" => true,
            "$ref" => {
                found.extend(inner(root.pointer(rule.as_str().unwrap().strip_prefix('#').unwrap()).expect("a $ref that leads somewhere")));
                true
            }
            "type" => match rule {
                Value::Array(types) => types.iter().any(|t| is(t.as_str().unwrap(), value)),
                one => is(one.as_str().unwrap(), value),
            },
            "const" => rule == value,
            "enum" => rule.as_array().unwrap().contains(value),
            "anyOf" => rule.as_array().unwrap().iter().any(|schema| inner(schema).is_empty()),
            "oneOf" => rule.as_array().unwrap().iter().filter(|schema| inner(schema).is_empty()).count() == 1,
            "allOf" => {
                found.extend(rule.as_array().unwrap().iter().flat_map(inner));
                true
            }
            "required" => match value.as_object() {
                Some(fields) => rule.as_array().unwrap().iter().all(|name| fields.contains_key(name.as_str().unwrap())),
                None => true,
            },
            "properties" => {
                for (name, schema) in rule.as_object().unwrap() {
                    found.extend(value.get(name).into_iter().flat_map(|value| problems(root, schema, value, &format!("{at}/{name}"))));
                }
                true
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                let further = value.as_object().into_iter().flatten().filter(|(name, _)| known.is_none_or(|k| !k.contains_key(*name)));
                for (name, value) in further {
                    match rule {
                        Value::Bool(false) => found.push(format!("{at}/{name} is not known")),
                        schema => found.extend(problems(root, schema, value, &format!("{at}/{name}"))),
                    }
                }
                true
            }
            "items" => {
                let items = value.as_array().into_iter().flatten().enumerate();
                found.extend(items.flat_map(|(number, item)| problems(root, rule, item, &format!("{at}/{number}"))));
                true
            }
            "minItems" => value.as_array().is_none_or(|items| items.len() as f64 >= number(rule)),
            "minLength" => value.as_str().is_none_or(|text| text.len() as f64 >= number(rule)),
            "maxLength" => value.as_str().is_none_or(|text| text.len() as f64 <= number(rule)),
            "minimum" => value.as_f64().is_none_or(|value| value >= number(rule)),
            "maximum" => value.as_f64().is_none_or(|value| value <= number(rule)),
            // Patterns are for editors: what they mean is checked by the reader.
            "pattern" => true,
            other => panic!("this test does not know the word {other}"),
        };
        if !holds {
            found.push(format!("{at}: {value} does not hold {word}: {rule}"));
        }
    }
    found
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type {other}"),
    }
}

fn refusals(of: Document, text: &str) -> Vec<String> {
    let schema = schema(of);
    problems(&schema, &schema, &yaml(text), "")
}

fn shipped() -> [(Document, &'static str); 3] {
    [(Document::Settings, "vicar.yaml"), (Document::Policy, "policy.yaml"), (Document::Catalog, "catalog/kissflow.yaml")]
}

#[test]
fn the_shipped_files_hold() {
    for (of, file) in shipped() {
        let text = fs::read_to_string(config().join(file)).unwrap();
        assert_eq!(refusals(of, &text), Vec::<String>::new(), "{file}");
    }
    for (of, file) in [(Document::Settings, "deploy/kubernetes/vicar.yaml"), (Document::Policy, "deploy/kubernetes/policy.yaml")] {
        let text = fs::read_to_string(config().join(file)).unwrap();
        assert_eq!(refusals(of, &text), Vec::<String>::new(), "{file}");
    }
}

#[test]
fn the_shipped_files_tell_editors_where_their_schema_is() {
    for (of, file) in shipped() {
        let text = fs::read_to_string(config().join(file)).unwrap();
        let line = text.lines().next().unwrap();
        let path = line.strip_prefix("# yaml-language-server: $schema=").unwrap_or_else(|| panic!("{file} begins with {line}"));
        let schema = config().join(file).parent().unwrap().join(path);
        assert_eq!(schema.file_name().unwrap().to_str().unwrap(), format!("{}.json", of.name()));
        assert!(schema.exists(), "{file} points at {}", schema.display());
    }
}

#[test]
fn the_schemas_beside_the_shipped_files_are_fresh() {
    for of in Document::ALL {
        let file = format!("schema/{}.json", of.name());
        let text = fs::read_to_string(config().join(&file)).unwrap_or_default();
        let fresh = format!("{}\n", serde_json::to_string_pretty(&schema(of)).unwrap());
        assert!(text == fresh, "run `vicar schema {} > config/{file}`", of.name());
    }
}

#[test]
fn a_mistake_is_seen_by_the_editor_too() {
    let settings = "version: 1\nlisten: [{address: a}]\nupstream: {url: b}\npolicy: p\ncatalog: [c]\n";
    assert_eq!(refusals(Document::Settings, settings), Vec::<String>::new());
    for (of, wrong) in [
        (Document::Settings, settings.replace("version: 1", "version: 2")),
        (Document::Settings, settings.replace("policy: p\n", "")),
        (Document::Settings, format!("{settings}limts: {{}}\n")),
        (Document::Settings, format!("{settings}limits: {{accounts: many}}\n")),
        (Document::Settings, format!("{settings}guard: {{pass: [cookies]}}\n")),
        (Document::Policy, "version: 1\nservice_acounts: {}\n".to_owned()),
        (Document::Policy, "version: 1\nenforcement: off\n".to_owned()),
        (Document::Settings, format!("{settings}limits: {{key_lifetime: }}\n")),
        (Document::Settings, format!("{settings}admin: {{tls: }}\n")),
        (Document::Policy, "version: 1\nservice_accounts: {bot: {deny: [{resource: user, actions: list, until: }]}}\n".to_owned()),
        (Document::Policy, "version: 1\nservice_accounts: {bot: {shares: [{resource: user, actions: list, impersonate: }]}}\n".to_owned()),
        (Document::Catalog, "version: 1\nendpoints: [{request: GET /, resource: user, action: list, query: }]\n".to_owned()),
        (Document::Catalog, "version: 1\nendpoints: [{request: GET /, resource: user}]\n".to_owned()),
        (Document::Catalog, "version: 1\nkinds: {user: {titel: Users}}\n".to_owned()),
    ] {
        assert_ne!(refusals(of, &wrong), Vec::<String>::new(), "{wrong}");
    }
}

#[test]
fn an_account_with_nothing_behind_it_is_one_without_shares() {
    assert_eq!(refusals(Document::Policy, "version: 1\nservice_accounts: {bot: }\n"), Vec::<String>::new());
}

#[test]
fn every_field_is_described() {
    for of in Document::ALL {
        let schema = schema(of);
        let types = schema["$defs"].as_object().into_iter().flatten().map(|(name, of)| (name.as_str(), of));
        for (name, one) in types.chain([("", &schema)]) {
            for (field, schema) in one["properties"].as_object().into_iter().flatten() {
                assert!(schema["description"].is_string(), "{} of {name} in {:?}", field, of);
            }
        }
    }
}
