//! Resource and action of an operation, by the rules at the head of [`super`].

use std::collections::{BTreeMap, HashSet};

use super::document::Operation;
use crate::catalog::{
    load::is_slug,
    template::{Part, Template},
};

/// Words that say where an API begins, and nothing of what is in it.
const PREFIXES: [&str; 6] = ["api", "apis", "rest", "services", "public", "latest"];
/// How a word begins that is done to something, rather than a collection of things: `addMembers`.
const VERBS: [&str; 14] =
    ["add", "remove", "set", "unset", "move", "copy", "duplicate", "merge", "instantiate", "cancel", "submit", "start", "stop", "reset"];
/// How an `operationId` begins that gives several things.
const LISTING: [&str; 4] = ["list", "search", "find", "query"];

/// What was seen in all paths together.
#[derive(Debug)]
pub(super) struct Naming {
    /// How many literals all paths begin with.
    common: usize,
    /// The beginnings of paths that some path puts a parameter behind; `None` is a parameter.
    collections: HashSet<Vec<Option<String>>>,
}

/// What an operation does to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) kind: String,
    /// The kind's word as the document has it, for its title.
    pub(super) word: String,
    /// `kind:{…}`, or `kind`.
    pub(super) resource: String,
    pub(super) action: String,
}

/// Where in a path the kind and the id are.
#[derive(Debug)]
struct Places {
    /// The kind's word.
    word: String,
    /// The parameters that are the id.
    id: Vec<String>,
    /// Where what goes with the action begins.
    rest: usize,
}

impl Naming {
    pub(super) fn of<'t>(templates: impl Iterator<Item = &'t Template>) -> Self {
        let mut common: Option<Vec<&str>> = None;
        let mut collections = HashSet::new();
        for template in templates {
            let head: Vec<&str> = template.parts().iter().map_while(literal).collect();
            for (at, part) in template.parts().iter().enumerate() {
                if matches!(part, Part::Parameter(_)) {
                    collections.insert(shape(template.parts().get(..at).unwrap_or_default()));
                }
            }
            // The last word of a path is never part of what all have in common.
            let whole = if head.len() == template.parts().len() { head.len().saturating_sub(1) } else { head.len() };
            let head = head.get(..whole).unwrap_or_default();
            common = Some(match common {
                None => head.to_vec(),
                Some(before) => before.iter().zip(head).take_while(|(a, b)| a == b).map(|(a, _)| *a).collect(),
            });
        }
        let mut common = common.map_or(0, |words| words.len());
        // A word before a parameter is what the parameter is one of, even if all paths share it.
        let is_collection = |length: usize| collections.iter().any(|head| head.len() == length && head.iter().all(Option::is_some));
        while common > 0 && is_collection(common) {
            common -= 1;
        }
        Self { common, collections }
    }

    /// Names an operation; the reason why not, otherwise.
    pub(super) fn name(&self, operation: &Operation, template: &Template) -> Result<Named, String> {
        let places = self.places(operation, template);
        let action = match &operation.action {
            Some(action) if is_slug(action) => action.clone(),
            Some(action) => return Err(format!("x-vicar-action: `{action}` is no name of an action: use a-z, 0-9, _ and -")),
            None => self.action(operation, template, places.as_ref().map_or(0, |places| places.rest)),
        };
        if let Some(resource) = &operation.resource {
            return stated(resource, template).map(|(kind, resource)| Named { word: kind.clone(), kind, resource, action });
        }
        let places = places.ok_or("nothing in its path says what it concerns, and it has no tag: name it with x-vicar-resource")?;
        let kind = slug(&singular(&places.word))
            .ok_or_else(|| format!("`{}` makes no name of a kind: name it with x-vicar-resource", places.word))?;
        let id: Vec<String> = places.id.iter().map(|name| format!("{{{name}}}")).collect();
        let resource = if id.is_empty() { kind.clone() } else { format!("{kind}:{}", id.join("/")) };
        Ok(Named { kind, word: places.word, resource, action })
    }

    fn places(&self, operation: &Operation, template: &Template) -> Option<Places> {
        let parts = template.parts();
        let run = |from: usize| parts.iter().skip(from).map_while(parameter).map(str::to_owned);
        let Some(first) = parts.iter().position(|part| matches!(part, Part::Parameter(_))) else {
            return self.whole(operation, parts);
        };
        let words = parts.get(..first).unwrap_or_default();
        if let Some(word) =
            words.iter().enumerate().skip(self.common).rev().filter_map(|(_, part)| literal(part)).find(|word| !is_prefix(word))
        {
            let id: Vec<String> = run(first).collect();
            return Some(Places { word: word.to_owned(), rest: first + id.len(), id });
        }
        // The path begins with its parameters: the word behind them is the kind.
        let leading: Vec<String> = run(first).collect();
        let at = first + leading.len();
        match parts.get(at).and_then(literal) {
            Some(word) => {
                let own: Vec<String> = run(at + 1).collect();
                let rest = at + 1 + own.len();
                Some(Places { word: word.to_owned(), id: leading.into_iter().chain(own).collect(), rest })
            }
            None => operation.tag.clone().map(|word| Places { word, id: leading, rest: at }),
        }
    }

    /// What is done: a verb, and the words behind the id.
    fn action(&self, operation: &Operation, template: &Template, rest: usize) -> String {
        let parts = template.parts();
        let mut words: Vec<&str> = parts.iter().skip(rest).filter_map(literal).filter(|word| !is_version(word)).collect();
        let last = parts.last().and_then(literal);
        let several = |word: &str| is_plural(word) || self.collections.contains(&shape(parts));
        let behind_parameter = parts.len() >= 2 && parts.iter().rev().nth(1).is_some_and(|part| matches!(part, Part::Parameter(_)));
        let listing = operation.id.as_deref().map(str::to_ascii_lowercase).is_some_and(|id| {
            let verb = id.rsplit(['/', '.']).next().unwrap_or(&id);
            LISTING.iter().any(|word| verb.starts_with(word))
        });
        let verb = match operation.method {
            "GET" if last.is_some_and(|word| several(word) || listing) => "list",
            "GET" => "read",
            "QUERY" => "list",
            "POST" => match last {
                Some(word) if behind_parameter && (is_verb(word) || !several(word)) && slug(word).is_some() => {
                    words.pop();
                    word
                }
                _ if listing => "list",
                _ => "create",
            },
            "PUT" | "PATCH" => "update",
            "DELETE" => "delete",
            _ => "options",
        };
        let action = std::iter::once(verb).chain(words).filter_map(slug).collect::<Vec<_>>().join("-");
        if action.is_empty() { "call".to_owned() } else { action }
    }

    /// A path without parameters.
    fn whole(&self, operation: &Operation, parts: &[Part]) -> Option<Places> {
        let words: Vec<&str> = parts.iter().filter_map(literal).collect();
        let collection = (1..=words.len()).rev().find(|length| {
            let known = parts.get(..*length).is_some_and(|head| self.collections.contains(&shape(head)));
            known && words.get(length - 1).is_some_and(|word| !is_prefix(word))
        });
        let first = || words.iter().enumerate().skip(self.common).find(|(_, word)| !is_prefix(word)).map(|(at, _)| at + 1);
        match collection.or_else(first) {
            Some(rest) => words.get(rest - 1).map(|word| Places { word: (*word).to_owned(), id: Vec::new(), rest }),
            None => operation.tag.clone().map(|word| Places { word, id: Vec::new(), rest: words.len() }),
        }
    }
}

/// What `x-vicar-resource` says.
fn stated(resource: &str, template: &Template) -> Result<(String, String), String> {
    let (kind, id) = resource.split_once(':').map_or((resource, None), |(kind, id)| (kind, Some(id)));
    if !is_slug(kind) {
        return Err(format!("x-vicar-resource: `{kind}` is no name of a kind: use a-z, 0-9, _ and -"));
    }
    let names = id.into_iter().filter(|id| id.contains(['{', '}'])).flat_map(|id| id.split('/'));
    for name in names {
        let name = name.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        if name.and_then(|name| template.place(name)).is_none() {
            return Err(format!("x-vicar-resource: `{resource}` names what is no parameter of the path"));
        }
    }
    if id.is_some_and(|id| id.is_empty() || id == "*" || id.chars().any(char::is_control)) {
        return Err(format!("x-vicar-resource: `{resource}` names no one resource"));
    }
    Ok((kind.to_owned(), resource.to_owned()))
}

/// The words of a path, with its parameters left blank.
fn shape(parts: &[Part]) -> Vec<Option<String>> {
    parts.iter().map(|part| literal(part).map(str::to_owned)).collect()
}

fn literal(part: &Part) -> Option<&str> {
    match part {
        Part::Literal(text) => Some(text),
        Part::Parameter(_) => None,
    }
}

fn parameter(part: &Part) -> Option<&str> {
    match part {
        Part::Parameter(name) => Some(name),
        Part::Literal(_) => None,
    }
}

/// `v1`, `v1beta2`, `2`, `1.0`, `2024-10`.
fn is_version(word: &str) -> bool {
    let digits = word.strip_prefix(['v', 'V']).unwrap_or(word);
    let tail = digits.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'));
    digits.starts_with(|c: char| c.is_ascii_digit())
        && (tail.is_empty() || (digits.len() < word.len() && ["alpha", "beta", "rc"].iter().any(|stage| tail.starts_with(stage))))
}

fn is_prefix(word: &str) -> bool {
    is_version(word) || PREFIXES.contains(&word)
}

/// Whether a word says what is done.
fn is_verb(word: &str) -> bool {
    slug(word).is_some_and(|slug| slug.split(['-', '_']).next().is_some_and(|first| VERBS.contains(&first)))
}

/// Whether an English word is most likely a plural.
fn is_plural(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    word.len() > 2 && word.ends_with('s') && !["ss", "us", "is"].iter().any(|end| word.ends_with(end))
        || ["people", "children", "data"].contains(&word.as_str())
}

/// The singular of an English word, as far as its ending tells.
fn singular(word: &str) -> String {
    if !is_plural(word) || !word.ends_with(['s', 'S']) {
        return word.to_owned();
    }
    let cut = |n: usize| word.get(..word.len() - n).unwrap_or_default();
    let lower = word.to_ascii_lowercase();
    if lower.ends_with("ies") && word.len() > 4 {
        format!("{}y", cut(3))
    } else if ["sses", "ches", "shes", "xes", "zes", "uses"].iter().any(|end| lower.ends_with(end)) {
        cut(2).to_owned()
    } else {
        cut(1).to_owned()
    }
}

/// A word as a kind or an action: `pullRequests` is `pull-requests`.
pub(super) fn slug(word: &str) -> Option<String> {
    let mut slug = String::with_capacity(word.len());
    let mut lower_before = false;
    for c in word.chars() {
        match c {
            'A'..='Z' => {
                if lower_before {
                    slug.push('-');
                }
                slug.push(c.to_ascii_lowercase());
            }
            'a'..='z' | '0'..='9' | '_' => slug.push(c),
            _ if !slug.ends_with('-') => slug.push('-'),
            _ => {}
        }
        lower_before = c.is_ascii_lowercase() || c.is_ascii_digit();
    }
    let slug = slug.trim_matches(['-', '_']).trim_start_matches(|c: char| !c.is_ascii_lowercase());
    is_slug(slug).then(|| slug.to_owned())
}

/// The kinds of what was named, each with the word that it came from, by name.
pub(super) fn kinds<'n>(named: impl Iterator<Item = &'n Named>) -> BTreeMap<String, String> {
    let mut kinds = BTreeMap::new();
    for one in named {
        kinds.entry(one.kind.clone()).or_insert_with(|| one.word.clone());
    }
    kinds
}
