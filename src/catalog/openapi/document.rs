//! The document: its syntax, its references, and its operations one by one.

use std::collections::{BTreeSet, HashSet};

use serde_json::{Map, Value};

use super::{ImportError, LeftOut, OPERATIONS_MAX};
use crate::source::{Source, nearest};

/// How many references may lead from one to the next. Real documents have two or three.
const HOPS_MAX: usize = 32;
/// Deepest nesting of a document in YAML. GitHub's has 20 levels.
const DEPTH_MAX: usize = 48;
/// Longest path, in bytes.
const PATH_MAX: usize = 2_000;

/// An OpenAPI document.
#[derive(Debug)]
pub(super) struct Document {
    root: Value,
}

/// An operation, references resolved.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    /// With what the server's URL begins with.
    pub(super) path: String,
    pub(super) id: Option<String>,
    pub(super) tag: Option<String>,
    pub(super) summary: Option<String>,
    /// The media types of its bodies; empty when it has none, or says nothing of them.
    pub(super) takes: Vec<String>,
    /// The names of its query parameters.
    pub(super) query: BTreeSet<String>,
    /// `x-vicar-resource`.
    pub(super) resource: Option<String>,
    /// `x-vicar-action`.
    pub(super) action: Option<String>,
}

/// The methods of a path item that can be endpoints. `head` is `get`; `trace` never passes, and is left out.
const METHODS: [(&str, &str); 7] = [
    ("get", "GET"),
    ("post", "POST"),
    ("put", "PUT"),
    ("patch", "PATCH"),
    ("delete", "DELETE"),
    ("options", "OPTIONS"),
    ("query", "QUERY"),
];
/// What a document can say of Vicar, on an operation or on its path.
const RESOURCE: &str = "x-vicar-resource";
const ACTION: &str = "x-vicar-action";
/// Query names that the guard refuses unless an endpoint names them (`guard.reserved_query` as it is unless set).
const RESERVED: [&str; 6] = ["key", "api_key", "apikey", "access_token", "token", "_method"];

/// Why something is not there: a reason for one operation, or an error of the whole.
enum Lost {
    Elsewhere(String),
    Broken(ImportError),
}

impl Document {
    /// Reads a document that Vicar can make a catalog of.
    pub(super) fn read(source: &Source) -> Result<Self, ImportError> {
        let root = parse(&source.text)?;
        let Some(fields) = root.as_object() else { return Err(ImportError::Foreign) };
        if let Some(version) = fields.get("swagger") {
            return Err(ImportError::Swagger(text_of(version)));
        }
        let version = fields.get("openapi").map(text_of).ok_or(ImportError::Foreign)?;
        if version != "3" && !version.starts_with("3.") {
            return Err(ImportError::Version(version));
        }
        Ok(Self { root })
    }

    /// What the service is called.
    pub(super) fn title(&self) -> String {
        let info = |field: &str| self.root.pointer(&format!("/info/{field}")).map(text_of).unwrap_or_default();
        let title = format!("{} {}", info("title"), info("version"));
        let title = one_line(&title);
        if title.is_empty() { "a service".to_owned() } else { title }
    }

    /// Every operation, in the order of the document.
    pub(super) fn operations(&self, left_out: &mut Vec<LeftOut>, notes: &mut BTreeSet<String>) -> Result<Vec<Operation>, ImportError> {
        let mut operations = Vec::new();
        let paths = self.root.get("paths").and_then(Value::as_object).ok_or(ImportError::Empty)?;
        notes.extend(self.root.as_object().into_iter().flat_map(|root| misplaced(root, "the document as a whole")));
        notes.extend(misplaced(paths, "the paths as a whole"));
        for (path, item) in paths.iter().filter(|(path, _)| !path.starts_with("x-")) {
            let item = match self.resolve(item) {
                Ok(item) => item,
                Err(Lost::Broken(error)) => return Err(error),
                Err(Lost::Elsewhere(because)) => {
                    left_out.push(LeftOut { request: one_line(path), because });
                    continue;
                }
            };
            let Some(item) = item.as_object() else { continue };
            if item.contains_key("head") && !item.contains_key("get") {
                let because = "HEAD goes where GET goes, and there is no GET".to_owned();
                left_out.push(LeftOut { request: format!("HEAD {}", one_line(path)), because });
            }
            if item.contains_key("trace") {
                let because = "TRACE never passes Vicar".to_owned();
                left_out.push(LeftOut { request: format!("TRACE {}", one_line(path)), because });
            }
            for method in item.get("additionalOperations").and_then(Value::as_object).into_iter().flat_map(Map::keys) {
                let because = "it stands under additionalOperations, which is not read: name it in the catalog by hand".to_owned();
                left_out.push(LeftOut { request: format!("{} {}", one_line(method), one_line(path)), because });
            }
            notes.extend(unknown(item, &one_line(path)));
            for (word, method) in METHODS {
                let Some(operation) = item.get(word).and_then(Value::as_object) else { continue };
                if operations.len() >= OPERATIONS_MAX {
                    return Err(ImportError::Large { what: "operations", limit: OPERATIONS_MAX });
                }
                notes.extend(unknown(operation, &format!("{method} {}", one_line(path))));
                match self.operation(method, path, item, operation) {
                    Ok(operation) => operations.push(operation),
                    Err(Lost::Broken(error)) => return Err(error),
                    Err(Lost::Elsewhere(because)) => left_out.push(LeftOut { request: format!("{method} {}", one_line(path)), because }),
                }
            }
        }
        Ok(operations)
    }

    fn operation(&self, method: &'static str, path: &str, item: &Map<String, Value>, own: &Map<String, Value>) -> Result<Operation, Lost> {
        if path.len() > PATH_MAX {
            return Err(Lost::Elsewhere(format!("the path is longer than {PATH_MAX} bytes")));
        }
        let either = |field: &str| own.get(field).or_else(|| item.get(field));
        let text = |field: &str| own.get(field).and_then(Value::as_str).map(one_line).filter(|text| !text.is_empty());
        // Whoever says it means it: what cannot be read is not decided by rule instead.
        let said = |field: &str, advice: &str| match either(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(Lost::Elsewhere(format!("{field}: `{}` is no text: write {advice}", one_line(&other.to_string())))),
        };
        let (resource, action) = (said(RESOURCE, "kind, or kind:{parameter}")?, said(ACTION, "one action")?);
        let mut takes = Vec::new();
        if let Some(body) = own.get("requestBody") {
            let body = self.resolve(body)?;
            let types = body.get("content").and_then(Value::as_object).into_iter().flatten();
            for (media, _) in types {
                let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
                if !takes.contains(&media) {
                    takes.push(media);
                }
            }
        }
        let mut query = BTreeSet::new();
        for parameter in [item, own].iter().filter_map(|of| of.get("parameters")?.as_array()).flatten() {
            let parameter = match self.resolve(parameter) {
                Ok(parameter) => parameter,
                Err(Lost::Broken(error)) => return Err(Lost::Broken(error)),
                // It is not needed to name the endpoint.
                Err(Lost::Elsewhere(_)) => continue,
            };
            if parameter.get("in").and_then(Value::as_str) == Some("query") {
                query.extend(parameter.get("name").and_then(Value::as_str).map(str::to_owned));
            }
        }
        let deprecated = own.get("deprecated").and_then(Value::as_bool) == Some(true);
        let summary = text("summary").or_else(|| text("description").map(|d| d.split(". ").next().unwrap_or_default().to_owned()));
        let summary = match (summary, deprecated) {
            (Some(summary), true) => Some(format!("{summary} (deprecated)")),
            (None, true) => Some("Deprecated".to_owned()),
            (summary, false) => summary,
        };
        Ok(Operation {
            method,
            path: format!("{}{path}", self.base(either("servers"))),
            id: text("operationId"),
            tag: own.get("tags").and_then(|tags| tags.get(0)?.as_str()).map(one_line),
            summary,
            takes,
            query,
            resource,
            action,
        })
    }

    /// What the first server's URL puts before each path: `/api/v2` of `https://host/api/v2/`.
    fn base(&self, servers: Option<&Value>) -> String {
        let Some(server) = servers.or_else(|| self.root.get("servers")).and_then(|servers| servers.get(0)) else { return String::new() };
        let mut url = server.get("url").and_then(Value::as_str).unwrap_or_default().to_owned();
        for (name, variable) in server.get("variables").and_then(Value::as_object).into_iter().flatten() {
            url = url.replace(&format!("{{{name}}}"), &variable.get("default").map(text_of).unwrap_or_default());
        }
        let path = match url.split_once("://") {
            Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default(),
            None if url.starts_with("//") => url.trim_start_matches('/').find('/').and_then(|at| url.get(at + 2..)).unwrap_or_default(),
            None => url.as_str(),
        };
        let path = path.split(['?', '#']).next().unwrap_or_default().trim_matches('/');
        if path.is_empty() { String::new() } else { format!("/{path}") }
    }

    /// Follows `$ref`s, within this document.
    fn resolve<'d>(&'d self, mut value: &'d Value) -> Result<&'d Value, Lost> {
        let mut seen = HashSet::new();
        while let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            if !seen.insert(reference) || seen.len() > HOPS_MAX {
                return Err(Lost::Broken(ImportError::Cycle(one_line(reference))));
            }
            let Some(pointer) = reference.strip_prefix('#') else {
                return Err(Lost::Elsewhere(format!("`{}` is another document: bundle them into one first", one_line(reference))));
            };
            let pointer = unescape(pointer);
            value = self.root.pointer(&pointer).ok_or_else(|| Lost::Elsewhere(format!("`{}` leads nowhere", one_line(reference))))?;
        }
        Ok(value)
    }

    /// What an operator should know of the bodies that an operation takes.
    pub(super) fn about_body(&self, operation: &Operation) -> Option<String> {
        let vague: Vec<&str> =
            operation.takes.iter().map(String::as_str).filter(|media| media.contains('*') || !media.contains('/')).collect();
        (!vague.is_empty()).then(|| {
            format!(
                "{} {} takes `{}`, which names no media type; write what its callers send under `content_types:`, else it takes what guard.content_types says",
                operation.method,
                operation.path,
                vague.join("`, `")
            )
        })
    }

    /// What an operator should know of an operation's query.
    pub(super) fn about_query(&self, operation: &Operation) -> Option<String> {
        let reserved: Vec<&str> = operation.query.iter().map(String::as_str).filter(|name| RESERVED.contains(name)).collect();
        (!reserved.is_empty()).then(|| {
            format!(
                "{} {} takes `{}` in its query, which guard.reserved_query refuses; if it is no credential, name what the endpoint takes under `query:`",
                operation.method,
                operation.path,
                reserved.join("`, `")
            )
        })
    }
}

impl Operation {
    pub(super) fn left_out(&self, because: impl Into<String>) -> LeftOut {
        LeftOut { request: format!("{} {}", self.method, one_line(&self.path)), because: because.into() }
    }
}

// ===== what is said of Vicar =====

/// Whether a field is meant for Vicar.
fn is_ours(field: &str) -> bool {
    field.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("x-vicar"))
}

/// The fields for Vicar on an operation, or on a path, that mean nothing.
fn unknown(fields: &Map<String, Value>, place: &str) -> Vec<String> {
    let ours = fields.keys().filter(|field| is_ours(field) && ![RESOURCE, ACTION].contains(&field.as_str()));
    ours.map(|field| nothing(field, place)).collect()
}

/// The fields for Vicar where none means anything.
fn misplaced(fields: &Map<String, Value>, place: &str) -> Vec<String> {
    let told = |field: &String| match field.as_str() {
        RESOURCE | ACTION => format!("{field} on {place} means nothing; it goes on an operation, or on its path"),
        _ => nothing(field, place),
    };
    fields.keys().filter(|field| is_ours(field)).map(told).collect()
}

fn nothing(field: &str, place: &str) -> String {
    let word = |field: &'static str| field.trim_start_matches("x-vicar-");
    let written = field.to_ascii_lowercase();
    let near = nearest(written.trim_start_matches("x-vicar").trim_start_matches(['-', '_']), [RESOURCE, ACTION].map(word));
    let advice = near.map_or_else(
        || format!("there are {RESOURCE} and {ACTION}, on an operation or on its path"),
        |near| format!("did you mean x-vicar-{near}?"),
    );
    format!("{} on {place} means nothing; {advice}", one_line(field))
}

// ===== syntax =====

fn parse(text: &str) -> Result<Value, ImportError> {
    // A JSON document is read as JSON: YAML gives the same, at many times the cost.
    if text.trim_start().starts_with('{')
        && let Ok(value) = serde_json::from_str(text)
    {
        return Ok(value);
    }
    let options = serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_events: 40_000_000,
            max_nodes: 20_000_000,
            max_depth: DEPTH_MAX,
        },
    };
    serde_yaml::from_str_with_options(text, options).map_err(|error| {
        let words = error.to_string();
        let first = words.lines().next().unwrap_or_default();
        // What follows is advice for users of the library.
        ImportError::Syntax(first.split(", set ").next().unwrap_or_default().to_owned())
    })
}

/// A scalar as text: `openapi: 3.0` is a number to YAML.
fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A pointer in a URL fragment: `%7B` is `{`.
fn unescape(pointer: &str) -> String {
    let mut out = Vec::with_capacity(pointer.len());
    let mut bytes = pointer.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let mut digit = || ahead.next().and_then(|b| char::from(b).to_digit(16));
        match (byte, digit(), digit()) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or(b'%'));
                bytes = ahead;
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| pointer.to_owned())
}

/// A text as it may stand in a comment or a message: on one line, without control characters, not too long.
pub(super) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    let line = words.join(" ");
    match line.char_indices().nth(160) {
        Some((at, _)) => format!("{}…", line.get(..at).unwrap_or_default()),
        None => line,
    }
}

/// A path whose parameters have one name each, made of the characters that a catalog allows.
pub(super) fn one_name_each(path: &str) -> String {
    let mut names: HashSet<String> = HashSet::new();
    let segments = path.split('/').map(|segment| {
        let inner = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).filter(|name| !name.contains(['{', '}']));
        let Some(name) = inner.filter(|name| !name.is_empty()) else { return segment.to_owned() };
        let good = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '_' };
        let name: String = name.chars().map(good).collect();
        let mut unique = name.clone();
        let mut number = 2;
        while !names.insert(unique.clone()) {
            unique = format!("{name}_{number}");
            number += 1;
        }
        format!("{{{unique}}}")
    });
    segments.collect::<Vec<_>>().join("/")
}
