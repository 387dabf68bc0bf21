//! A catalog out of an OpenAPI document: 3.0 and later, JSON or YAML.
//!
//! [`import`] gives an account of every operation: it stands in the catalog, or in [`Imported::left_out`] with the
//! reason. What it decides follows these rules, so that an operator can tell beforehand, and put right what the rules get wrong
//! with `x-vicar-resource` and `x-vicar-action` on an operation (or on its path, for all of its operations):
//!
//! - **Resource.** The word before the first parameters of a path is the kind, in the singular, and those parameters are
//!   the id: `/repos/{owner}/{repo}/issues/{number}` concerns `repo:{owner}/{repo}`. Where a path begins with its parameters,
//!   the first word behind them is the kind, and all parameters up to those behind it are the id.
//! - A path without parameters concerns a kind as a whole: the word that elsewhere stands before a parameter
//!   (`/repos` is `repo`), else its first word. Words that only say where the API begins (`api`, `rest`, `v2`, `2`, what all
//!   paths have in common) are no kinds; where nothing else is left, the operation's first tag is the kind.
//! - **Action.** By the method: `GET` of one thing is `read`, of several `list` (a path that ends in the plural, or an
//!   `operationId` that begins with *list*, *search*, *find* or *query*); `POST` is `create`, `PUT` and `PATCH` `update`, `DELETE` `delete`. A
//!   `POST` to a word behind a parameter is that word, unless it is a plural, or something with parameters of its own:
//!   `POST /orders/{id}/cancel` is `cancel`.
//!   The words behind the id go with it, so that a share of the one is none of the other: `list-issues`, `lock-issues`.
//! - **Bodies.** An endpoint that takes anything but `application/json` names what it takes.
//!
//! Nothing is fetched: a `$ref` into another file is reported. Like the rest of the room this does no I/O.

mod document;
mod naming;
mod write;

use std::collections::BTreeSet;

use super::{
    load,
    matcher::{Builder, SELF_SERVICE, fold},
    template::{Part, Template, TemplateError},
};
use crate::source::{Complaints, Source};

use document::{Document, Operation};
use naming::Naming;

/// A catalog that was made, and what did not get into it.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The catalog, with comments, as a file of its own.
    pub yaml: String,
    /// How many endpoints it has.
    pub endpoints: usize,
    /// Its kinds.
    pub kinds: Vec<String>,
    /// The operations that have no place in it.
    pub left_out: Vec<LeftOut>,
    /// What an operator should look at.
    pub notes: Vec<String>,
}

/// An operation that is not in the catalog.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LeftOut {
    /// METHOD and path, as the document has them.
    pub request: String,
    /// Why.
    pub because: String,
}

/// A document that no catalog can be made of.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Neither JSON nor YAML.
    #[error("this is neither JSON nor YAML: {0}")]
    Syntax(String),
    /// Something else.
    #[error("this is no OpenAPI document: it has no `openapi: 3…` at its top")]
    Foreign,
    /// Swagger 2.
    #[error("this is Swagger {0}: convert it to OpenAPI 3 first, for example with `npx swagger2openapi`")]
    Swagger(String),
    /// OpenAPI of a later kind.
    #[error("this is OpenAPI {0}, and this Vicar reads 3.0 and later 3.x")]
    Version(String),
    /// No paths, or none with an operation.
    #[error("the document describes no operation")]
    Empty,
    /// Operations, and none that can be an endpoint.
    #[error("none of its {count} operations can be an endpoint; the first: {first}")]
    Nothing {
        /// How many there are.
        count: usize,
        /// The first one, and why.
        first: String,
    },
    /// References that lead to each other.
    #[error("the reference {0} leads back to itself")]
    Cycle(String),
    /// More than a service has.
    #[error("the document has more than {limit} {what}")]
    Large {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// A catalog came out that does not hold. That is a mistake of ours.
    #[error("the catalog that came out does not hold; please report this with the document:\n{0}")]
    Unfit(Complaints),
}

/// Most operations of a document. The largest public APIs have about 1,500.
const OPERATIONS_MAX: usize = 50_000;

/// Makes a catalog of an OpenAPI document.
///
/// # Errors
/// [`ImportError`] when the document as a whole cannot be used. What is wrong with one operation is in
/// [`Imported::left_out`].
pub fn import(source: &Source) -> Result<Imported, ImportError> {
    let document = Document::read(source)?;
    let mut left_out = Vec::new();
    let mut notes = BTreeSet::new();
    let operations = document.operations(&mut left_out, &mut notes)?;
    let mut templates = Vec::new();
    for operation in operations {
        match template(&operation) {
            Ok(template) => templates.push((operation, template)),
            Err(because) => left_out.push(operation.left_out(because)),
        }
    }
    let naming = Naming::of(templates.iter().map(|(_, template)| template));
    let mut placed = Vec::new();
    let mut matcher = Builder::default();
    for (operation, template) in templates {
        let named = match naming.name(&operation, &template) {
            Ok(named) => named,
            Err(because) => {
                left_out.push(operation.left_out(because));
                continue;
            }
        };
        if matcher.insert(operation.method, &template, placed.len()).is_err() {
            left_out.push(operation.left_out("no literal tells it from an operation before it"));
            continue;
        }
        notes.extend(document.about_query(&operation).into_iter().chain(document.about_body(&operation)));
        placed.push(write::Endpoint { method: operation.method, template, named, takes: operation.takes, summary: operation.summary });
    }
    if placed.is_empty() {
        return Err(if left_out.is_empty() { ImportError::Empty } else { nothing_placed(&left_out) });
    }
    let kinds = write::kinds(&placed);
    let yaml = write::catalog(&document, &kinds, &placed, &left_out);
    let mut complaints = Complaints::default();
    if load::load(&[Source::new("catalog.yaml", yaml.as_str())], &mut complaints).is_none() {
        return Err(ImportError::Unfit(complaints));
    }
    let kinds = kinds.into_iter().map(|kind| kind.name).collect();
    Ok(Imported { yaml, endpoints: placed.len(), kinds, left_out, notes: notes.into_iter().collect() })
}

/// Every operation was left out; the first reason stands for all.
fn nothing_placed(left_out: &[LeftOut]) -> ImportError {
    let first = left_out.first().map(|one| format!("{}: {}", one.request, one.because)).unwrap_or_default();
    ImportError::Nothing { count: left_out.len(), first }
}

fn template(operation: &Operation) -> Result<Template, String> {
    let path = document::one_name_each(&operation.path);
    let template: Template = path.parse().map_err(|error: TemplateError| match error {
        TemplateError::Braces(segment) => {
            format!("a parameter takes a whole segment of the path, and `{segment}` has other text beside it")
        }
        other => other.to_string(),
    })?;
    match template.parts().first() {
        Some(Part::Literal(first)) if fold(first) == SELF_SERVICE => Err("what is under /.vicar/ is answered by Vicar itself".to_owned()),
        Some(_) | None => Ok(template),
    }
}

#[cfg(test)]
mod tests;
