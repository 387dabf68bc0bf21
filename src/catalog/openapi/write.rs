//! The catalog as a file that a person goes on with.

use std::fmt::Write as _;

use super::{
    LeftOut,
    document::{Document, one_line},
    naming::{self, Named},
};
use crate::catalog::template::Template;

/// An endpoint to write.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) method: &'static str,
    pub(super) template: Template,
    pub(super) named: Named,
    pub(super) takes: Vec<String>,
    pub(super) summary: Option<String>,
}

/// A kind to declare.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: String,
    title: String,
}

/// How many operations that were left out are listed in the file; the rest is counted.
const LISTED_MAX: usize = 200;

pub(super) fn kinds(endpoints: &[Endpoint]) -> Vec<Kind> {
    let kinds = naming::kinds(endpoints.iter().map(|endpoint| &endpoint.named));
    kinds.into_iter().map(|(name, word)| Kind { title: title(&word), name }).collect()
}

pub(super) fn catalog(document: &Document, kinds: &[Kind], endpoints: &[Endpoint], left_out: &[LeftOut]) -> String {
    let mut out = format!(
        "# The endpoints of {}, from its OpenAPI document.\n#\n# Resource and action of each were chosen by rule: `vicar catalog import --help` says by which. Put right here what you read\n# otherwise; policies use these words. A request that no line names is refused.\n\nversion: 1\n\nkinds:\n",
        document.title()
    );
    for kind in kinds {
        let _ = writeln!(out, "  {}: {{title: {}}}", kind.name, quoted(&kind.title));
    }
    out.push_str("\nendpoints:\n");
    for kind in kinds {
        out.push('\n');
        let _ = writeln!(out, "  # {}", kind.title);
        for endpoint in endpoints.iter().filter(|endpoint| endpoint.named.kind == kind.name) {
            write_endpoint(&mut out, endpoint);
        }
    }
    if !left_out.is_empty() {
        out.push_str("\n# Left out, and so refused:\n");
        for one in left_out.iter().take(LISTED_MAX) {
            let _ = writeln!(out, "#   {}: {}", one.request, one_line(&one.because));
        }
        if left_out.len() > LISTED_MAX {
            let _ = writeln!(out, "#   … and {} more", left_out.len() - LISTED_MAX);
        }
    }
    out
}

fn write_endpoint(out: &mut String, endpoint: &Endpoint) {
    if let Some(summary) = &endpoint.summary {
        let _ = writeln!(out, "  # {summary}");
    }
    let request = format!("{} {}", endpoint.method, endpoint.template);
    let _ = write!(
        out,
        "  - {{request: {}, resource: {}, action: {}",
        quoted(&request),
        if endpoint.named.resource == endpoint.named.kind { endpoint.named.kind.clone() } else { quoted(&endpoint.named.resource) },
        endpoint.named.action
    );
    // A wildcard says nothing; the settings' list holds then.
    let named: Vec<&String> = endpoint.takes.iter().filter(|media| is_media_type(media)).collect();
    if !named.is_empty() && named.iter().any(|media| *media != "application/json") {
        let _ = write!(out, ", content_types: [{}]", named.into_iter().map(|media| quoted(media)).collect::<Vec<_>>().join(", "));
    }
    out.push_str("}\n");
}

fn is_media_type(text: &str) -> bool {
    let token = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    text.split_once('/').is_some_and(|(kind, sub)| token(kind) && token(sub))
}

/// A text in double quotes, as JSON and YAML have it in common.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// `pull-requests` as people write it: `Pull requests`.
fn title(word: &str) -> String {
    let spaced = naming::slug(word).map_or_else(|| word.to_owned(), |slug| slug.replace(['-', '_'], " "));
    let mut chars = spaced.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
