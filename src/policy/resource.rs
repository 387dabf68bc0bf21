//! Resource patterns, and whether any endpoint can reach what they name.

use std::collections::{HashMap, HashSet};

use super::{
    index::{ANY, ActionCode, KindCode},
    pattern::Glob,
};
use crate::catalog::{CanonicalPath, Catalog, Endpoint, Part, PathRules, ResourceId, fold, holds_escape};

/// Which resources a rule concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResourcePattern {
    /// The kind, or [`ANY`].
    pub(super) kind: KindCode,
    pub(super) ids: Ids,
}

/// Which of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ids {
    /// `kind`.
    Whole,
    /// `kind:*`.
    Every,
    /// `kind:id`, with stars or without.
    Named(Glob),
}

/// Why a text is no resource pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ResourcePatternError<'t> {
    /// No kind of the catalog has this name.
    Kind(&'t str),
    /// A star in place of the kind, with an id behind it.
    AnyKind,
    /// Nothing behind the colon.
    Id,
    /// No path can hold this character in an id.
    Character(char),
    /// An escape, as URLs have it: ids are written as they read.
    Escape,
}

impl ResourcePattern {
    pub(super) fn parse<'t>(text: &'t str, catalog: &Catalog) -> Result<Self, ResourcePatternError<'t>> {
        if text == "*" {
            return Ok(Self { kind: ANY, ids: Ids::Every });
        }
        let (name, id) = text.split_once(':').map_or((text, None), |(name, id)| (name, Some(id)));
        if name.contains('*') {
            return Err(ResourcePatternError::AnyKind);
        }
        let kind = catalog.kind(name).ok_or(ResourcePatternError::Kind(name))?;
        let ids = match id {
            None => Ids::Whole,
            Some("") => return Err(ResourcePatternError::Id),
            Some(id) => {
                let glob = Glob::parse(id);
                for text in glob.literals() {
                    // What the guard lets through holds neither: a backslash is refused, and a segment ends at its first `;`.
                    if let Some(odd) = text.chars().find(|c| c.is_control() || matches!(c, '\\' | ';')) {
                        return Err(ResourcePatternError::Character(odd));
                    }
                    if holds_escape(text.as_bytes()) {
                        return Err(ResourcePatternError::Escape);
                    }
                }
                if glob.is_everything() { Ids::Every } else { Ids::Named(glob) }
            }
        };
        Ok(Self { kind: code(kind.index()), ids })
    }

    /// Whether it holds for a resource.
    pub(super) fn matches(&self, kind: KindCode, id: Option<&str>) -> bool {
        (self.kind == ANY || self.kind == kind)
            && match (&self.ids, id) {
                (Ids::Every, _) | (Ids::Whole, None) => true,
                (Ids::Named(glob), Some(id)) => glob.matches(id),
                (Ids::Whole, Some(_)) | (Ids::Named(_), None) => false,
            }
    }

    /// Whether it holds for everything that `other` holds for.
    pub(super) fn covers(&self, other: &Self) -> bool {
        (self.kind == ANY || self.kind == other.kind)
            && match (&self.ids, &other.ids) {
                (Ids::Every, _) | (Ids::Whole, Ids::Whole) => true,
                (Ids::Named(own), Ids::Named(narrow)) => own.covers(narrow),
                (Ids::Whole, _) | (Ids::Named(_), Ids::Whole | Ids::Every) => false,
            }
    }
}

/// The number of a kind or action in the index.
pub(super) fn code(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(ANY - 1)
}

/// What endpoints reach, by kind and action.
#[derive(Debug)]
pub(super) struct Reach<'c> {
    catalog: &'c Catalog,
    ends: HashMap<(KindCode, ActionCode), Vec<&'c ResourceId>, foldhash::fast::RandomState>,
    /// Those that one segment names.
    singles: HashMap<(KindCode, ActionCode), Vec<(&'c Endpoint, usize)>, foldhash::fast::RandomState>,
    /// The catalog's words, letter case aside. Where one of them may stand, it is no id.
    words: HashSet<String>,
}

impl<'c> Reach<'c> {
    pub(super) fn new(catalog: &'c Catalog) -> Self {
        let words = |endpoint: &'c Endpoint| endpoint.template.parts().iter();
        let words = catalog.endpoints().iter().flat_map(words).filter_map(|part| match part {
            Part::Literal(word) => Some(fold(word)),
            Part::Parameter(_) => None,
        });
        let mut reach = Self { catalog, ends: HashMap::default(), singles: HashMap::default(), words: words.collect() };
        for endpoint in catalog.endpoints() {
            let Endpoint { kind, action, id, .. } = endpoint;
            let (kind, action) = (code(kind.index()), code(action.index()));
            for cell in [(kind, action), (kind, ANY), (ANY, action), (ANY, ANY)] {
                let ends = reach.ends.entry(cell).or_default();
                let known = ends.iter().any(|end| *end == id || matches!((end, id), (ResourceId::Segment(_), ResourceId::Segment(_))));
                if !known {
                    ends.push(id);
                }
                if let ResourceId::Segment(place) = id {
                    reach.singles.entry(cell).or_default().push((endpoint, *place));
                }
            }
        }
        reach
    }

    /// Whether an endpoint concerns single ones of a kind.
    pub(super) fn has_ids(&self, kind: KindCode) -> bool {
        self.ends.get(&(kind, ANY)).is_some_and(|ends| ends.iter().any(|end| !matches!(end, ResourceId::Whole)))
    }

    /// Whether an endpoint does `action` to something that `pattern` holds for.
    pub(super) fn any(&self, pattern: &ResourcePattern, action: ActionCode) -> bool {
        let Some(ends) = self.ends.get(&(pattern.kind, action)) else { return false };
        match &pattern.ids {
            Ids::Every => true,
            Ids::Whole => ends.iter().any(|end| matches!(end, ResourceId::Whole)),
            Ids::Named(Glob::Exact(id)) if self.words.contains(&fold(id)) => {
                let singles = self.singles.get(&(pattern.kind, action)).into_iter().flatten();
                let by_one = |end: &&&ResourceId| matches!(end, ResourceId::Segment(_));
                let glob = Glob::Exact(id.clone());
                ends.iter().filter(|end| !by_one(end)).any(|end| names(end, &glob))
                    || singles.into_iter().any(|(endpoint, place)| self.takes(endpoint, *place, id))
            }
            Ids::Named(glob) => ends.iter().any(|end| names(end, glob)),
        }
    }

    /// Whether this endpoint takes a path with `id` at that place, and no other does.
    fn takes(&self, endpoint: &Endpoint, place: usize, id: &str) -> bool {
        let parts = endpoint.template.parts().iter().enumerate().map(|(at, part)| match part {
            Part::Literal(word) => word,
            Part::Parameter(_) if at == place => id,
            // No word of a catalog.
            Part::Parameter(_) => "0~0",
        });
        let path = format!("/{}", parts.collect::<Vec<_>>().join("/"));
        // What would have to be escaped is not worth it.
        let Ok(path) = CanonicalPath::parse(&path, PathRules::default()) else { return true };
        self.catalog.classify(endpoint.method, &path).is_ok_and(|operation| std::ptr::eq(operation.endpoint, endpoint))
    }
}

/// Whether an endpoint can concern an id that `glob` matches. Segments hold no slash, and none is empty, `.` or `..`.
fn names(end: &ResourceId, glob: &Glob) -> bool {
    match (end, glob) {
        (ResourceId::Whole, _) => false,
        (ResourceId::Fixed(id), glob) => glob.matches(id),
        (ResourceId::Segment(_), Glob::Exact(id)) => !id.contains('/') && is_name(id),
        (ResourceId::Segments(places), Glob::Exact(id)) => id.split('/').count() == places.len() && id.split('/').all(is_name),
        (ResourceId::Segment(_), Glob::Stars { head, middle, tail }) => {
            ![head, tail].into_iter().chain(middle.iter()).any(|part| part.contains('/'))
        }
        (ResourceId::Segments(_), Glob::Stars { head, middle, tail }) => {
            let no_gap = ![head, tail].into_iter().chain(middle.iter()).any(|part| part.contains("//"));
            no_gap && !head.starts_with('/') && !tail.ends_with('/')
        }
    }
}

fn is_name(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
}
