//! Every mistake of shape in a document at once: unknown and missing fields, keys that stand twice, values of the wrong type.
//!
//! The document's tree is walked along the JSON Schema of its type, which comes from the same declaration as the reader
//! itself. So what is told here is what the reader would have refused one by one.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{
    Complaints, Source, Span, nearest,
    tree::{Node, Shape},
};

/// Something wrong, and what can be cut out so that the rest can be read.
#[derive(Debug)]
pub(super) struct Mistake {
    pub(super) span: Span,
    pub(super) message: String,
    pub(super) help: Option<String>,
    pub(super) cut: Option<Cut>,
}

/// An entry of a map, or an item of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) span: Span,
    pub(super) within: Within,
}

/// What is cut from, which decides what goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    /// Lines of their own.
    Block,
    /// A list on lines of its own: the dash goes too.
    BlockList,
    /// `{…}` or `[…]`: a comma goes too.
    Flow,
}

impl Mistake {
    pub(super) fn tell(&self, source: &Source, complaints: &mut Complaints) {
        let complaint = complaints.error(source, self.span, &self.message);
        if let Some(help) = &self.help {
            complaint.help(help);
        }
    }
}

/// The mistakes of `root` against `schema`.
pub(super) fn mistakes(root: &Node, schema: &Value) -> Vec<Mistake> {
    let mut walk = Walk { definitions: schema.get("$defs").and_then(Value::as_object), found: Vec::new() };
    walk.node(root, schema, None);
    walk.found
}

struct Walk<'s> {
    definitions: Option<&'s Map<String, Value>>,
    found: Vec<Mistake>,
}

impl<'s> Walk<'s> {
    fn node(&mut self, node: &Node, schema: &'s Value, cut: Option<Cut>) {
        let alternatives = self.alternatives(schema);
        // What an alias stands for is looked at where it stands itself.
        if matches!(node.shape, Shape::Alias)
            || alternatives.is_empty()
            || node.is_nothing() && alternatives.iter().any(|one| takes_nothing(one))
        {
            return;
        }
        let fitting: Vec<&'s Value> = alternatives.iter().copied().filter(|one| fits(node, one)).collect();
        match fitting.as_slice() {
            [] => self.mismatch(node, &alternatives, cut),
            [one] => self.inside(node, one, cut),
            several => {
                // The alternative with the fewest mistakes is the one that was meant.
                let outcomes = several.iter().map(|one| {
                    let mut walk = Walk { definitions: self.definitions, found: Vec::new() };
                    walk.inside(node, one, cut);
                    walk.found
                });
                if let Some(found) = outcomes.min_by_key(Vec::len) {
                    self.found.extend(found);
                }
            }
        }
    }

    /// The schemas of which one has to hold, references followed.
    fn alternatives(&self, schema: &'s Value) -> Vec<&'s Value> {
        let mut ahead = vec![schema];
        let mut found = Vec::new();
        // References go round in no schema of ours, yet a bound costs nothing.
        for _ in 0..64 {
            let Some(one) = ahead.pop() else { break };
            let reference = one.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix("#/$defs/"));
            if let Some(target) = reference.and_then(|name| self.definitions?.get(name)) {
                ahead.push(target);
            } else if let Some(several) = one.get("anyOf").or_else(|| one.get("oneOf")).and_then(Value::as_array) {
                ahead.extend(several.iter().rev());
            } else {
                found.push(one);
            }
        }
        found
    }

    fn inside(&mut self, node: &Node, schema: &'s Value, own: Option<Cut>) {
        match &node.shape {
            Shape::Map { entries, flow } => self.map(node, entries, *flow, schema, own),
            Shape::List { items, flow } => {
                let Some(item_schema) = schema.get("items") else { return };
                let within = if *flow { Within::Flow } else { Within::BlockList };
                for item in items {
                    self.node(item, item_schema, Some(Cut { span: item.span, within }));
                }
            }
            Shape::Scalar { .. } | Shape::Alias => {}
        }
    }

    fn map(&mut self, node: &Node, entries: &[(Node, Node)], flow: bool, schema: &'s Value, own: Option<Cut>) {
        let fields = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties");
        let needed = || schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let within = if flow { Within::Flow } else { Within::Block };
        let mut seen: HashMap<&str, Span> = HashMap::new();
        for (key, value) in entries {
            let cut = Some(Cut { span: Span { start: key.span.start, end: value.span.end.max(key.span.end + 1) }, within });
            let Some(name) = key.text() else {
                self.add(key.span, "a key has to be a name", None, cut);
                continue;
            };
            if name == "<<" && key.is_plain() {
                let help = "YAML 1.2 has no merge keys: write the fields out";
                self.add(key.span, "a merge key (`<<`) is not taken", Some(help.to_owned()), cut);
                continue;
            }
            if seen.insert(name, key.span).is_some() {
                self.add(key.span, format!("`{name}` stands here twice"), Some("leave one of the two out".to_owned()), cut);
                continue;
            }
            match (fields.and_then(|fields| fields.get(name)), others) {
                (Some(field), _) => {
                    let told = self.found.len();
                    self.node(value, field, cut);
                    if value.is_nothing()
                        && let Some(blank) =
                            self.found.get_mut(told).filter(|blank| blank.help.is_none() && !needed().any(|own| own == name))
                    {
                        blank.help = Some(format!("leave `{name}` out, or say what it is"));
                    }
                }
                (None, Some(Value::Bool(false))) => self.unknown(key, name, fields, cut),
                (None, Some(other)) => self.node(value, other, cut),
                (None, None) => {}
            }
        }
        for name in needed() {
            if !seen.contains_key(name) {
                let span = entries.first().map_or(node.span, |(key, _)| key.span);
                let help = fields.and_then(|fields| fields.get(name)?.get("description")?.as_str()).map(|text| format!("`{name}`: {text}"));
                // What lacks a field is of no use without it.
                self.add(span, format!("the field `{name}` is missing here"), help, own);
            }
        }
    }

    fn unknown(&mut self, key: &Node, name: &str, fields: Option<&'s Map<String, Value>>, cut: Option<Cut>) {
        let names = || fields.into_iter().flat_map(Map::keys).map(String::as_str);
        let help = match nearest(name, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the fields here are {}", names().collect::<Vec<_>>().join(", ")),
        };
        self.add(key.span, format!("no field is called `{name}` here"), Some(help), cut);
    }

    fn mismatch(&mut self, node: &Node, alternatives: &[&'s Value], cut: Option<Cut>) {
        let words: Vec<&str> = alternatives.iter().flat_map(|one| constant(one).into_iter().chain(listed(one))).collect();
        if let (Some(text), false) = (node.text(), words.is_empty()) {
            let help = match nearest(text, words.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("write one of {}", words.join(", ")),
            };
            let message = if node.is_nothing() {
                "a word is missing here".to_owned()
            } else {
                format!("`{text}` is none of the words that can stand here")
            };
            self.add(node.span, message, Some(help), cut);
            return;
        }
        let mut wanted: Vec<String> =
            alternatives.iter().filter(|one| types(one).any(|name| name != "null")).map(|one| wanted(one)).collect();
        wanted.dedup();
        let stands = match &node.shape {
            Shape::Scalar { .. } if node.is_nothing() => "nothing stands".to_owned(),
            Shape::Scalar { text, .. } => format!("`{}` stands", shortened(text)),
            Shape::List { .. } => "a list stands".to_owned(),
            Shape::Map { .. } => "fields stand".to_owned(),
            Shape::Alias => "an alias stands".to_owned(),
        };
        let help = match node.text() {
            Some("yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y") if accepts(alternatives, "boolean") => Some("write `true`".to_owned()),
            Some("no" | "No" | "NO" | "off" | "Off" | "OFF" | "n") if accepts(alternatives, "boolean") => Some("write `false`".to_owned()),
            _ => None,
        };
        self.add(node.span, format!("{stands} where {} belongs", wanted.join(" or ")), help, cut);
    }

    fn add(&mut self, span: Span, message: impl Into<String>, help: Option<String>, cut: Option<Cut>) {
        self.found.push(Mistake { span, message: message.into(), help, cut });
    }
}

impl Node {
    fn is_plain(&self) -> bool {
        matches!(self.shape, Shape::Scalar { plain: true, .. })
    }
}

/// The type names of a schema.
fn types(schema: &Value) -> impl Iterator<Item = &str> {
    let written = schema.get("type");
    let one = written.and_then(Value::as_str);
    one.into_iter().chain(written.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str))
}

fn accepts(alternatives: &[&Value], name: &str) -> bool {
    alternatives.iter().any(|one| types(one).any(|own| own == name))
}

fn takes_nothing(schema: &Value) -> bool {
    types(schema).any(|name| name == "null")
}

/// The word a schema stands for, if it stands for one.
fn constant(schema: &Value) -> Option<&str> {
    schema.get("const").and_then(Value::as_str)
}

/// The words a schema lists.
fn listed(schema: &Value) -> impl Iterator<Item = &str> {
    schema.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Whether a node can be what a schema says, not looking inside.
fn fits(node: &Node, schema: &Value) -> bool {
    let mut names = types(schema).peekable();
    if names.peek().is_none() && constant(schema).is_none() && listed(schema).next().is_none() {
        return true;
    }
    let of_type = |name: &str| types(schema).any(|own| own == name);
    match &node.shape {
        Shape::Map { .. } => of_type("object"),
        Shape::List { .. } => of_type("array"),
        Shape::Alias => true,
        Shape::Scalar { text, plain } => {
            if let Some(word) = constant(schema) {
                return text == word;
            }
            if listed(schema).next().is_some() {
                return listed(schema).any(|word| word == text);
            }
            if node.is_nothing() {
                return of_type("null");
            }
            let boolean = matches!(text.as_str(), "true" | "True" | "TRUE" | "false" | "False" | "FALSE");
            of_type("string")
                || *plain
                    && (of_type("boolean") && boolean
                        || of_type("integer") && whole(text, schema)
                        || of_type("number") && text.parse::<f64>().is_ok())
        }
    }
}

/// Whether a text is a whole number within the bounds of a schema.
fn whole(text: &str, schema: &Value) -> bool {
    // `01` is a text to the reader.
    let is_text = text.len() > 1 && text.trim_start_matches(['-', '+']).starts_with('0');
    let Some(number) = text.replace('_', "").parse::<i128>().ok().filter(|_| !is_text) else { return false };
    let bound = |name: &str| schema.get(name).and_then(Value::as_i64).map(i128::from);
    bound("minimum").is_none_or(|least| number >= least) && bound("maximum").is_none_or(|most| number <= most)
}

/// What a schema wants, in words.
fn wanted(schema: &Value) -> String {
    let bound = |name: &str| schema.get(name).and_then(Value::as_i64);
    match types(schema).find(|name| *name != "null") {
        Some("string") => "a text".to_owned(),
        Some("boolean") => "`true` or `false`".to_owned(),
        Some("integer") => match (bound("minimum"), bound("maximum")) {
            (Some(least), Some(most)) => format!("a whole number from {least} to {most}"),
            (Some(least), None) => format!("a whole number, {least} or more,"),
            (None, _) => "a whole number".to_owned(),
        },
        Some("number") => "a number".to_owned(),
        Some("array") => "a list".to_owned(),
        Some("object") => match schema.get("properties").and_then(Value::as_object) {
            Some(fields) => format!("{{{}: …}}", fields.keys().take(4).map(String::as_str).collect::<Vec<_>>().join(": …, ")),
            None => "entries by name (`name: …`)".to_owned(),
        },
        _ => "something else".to_owned(),
    }
}

fn shortened(text: &str) -> String {
    const SHOWN: usize = 60;
    if text.chars().count() <= SHOWN { text.to_owned() } else { text.chars().take(SHOWN).chain(['…']).collect() }
}
