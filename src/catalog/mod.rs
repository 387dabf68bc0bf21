//! What the service behind has: METHOD and path in, resource and action out.
//!
//! [`load`] reads catalog files; [`Catalog::classify`] tells what a request concerns, and is the only
//! maker of an [`Operation`]. An endpoint that no catalog names has none, and is refused. The path
//! comes as a [`CanonicalPath`], which has one reading only. `policy` takes the vocabulary of kinds and actions
//! from here; `proxy`, `cli` and `admin` classify. This room does no I/O and knows no HTTP library.
//!
//! How a request finds its endpoint:
//! - A literal segment wins over a parameter, and a parameter never takes a value that is a literal in
//!   its place in another template, whatever the method and the letter case. So no request has two readings, not
//!   even for a service that prefers parameters to literals.
//! - One trailing slash more or less makes no difference.
//! - `HEAD` is what `GET` is; `OPTIONS` is refused unless named; methods and segments are matched by case.

mod document;
mod load;
mod matcher;
pub mod openapi;
pub mod path;
mod template;

pub use document::{CatalogDocument, EndpointEntry, KindEntry};
pub use load::load;
pub(crate) use path::holds_escape;
pub use path::{CanonicalPath, PathError, PathRules};
pub use template::{Part, Template, TemplateError};

use std::{borrow::Cow, collections::HashMap, fmt, sync::Arc};

use matcher::Matcher;
pub(crate) use matcher::fold;

use crate::settings::Size;

/// All endpoints of the service. Immutable: an edit makes a new one.
#[derive(Debug)]
pub struct Catalog {
    kinds: Vec<Kind>,
    kind_ids: HashMap<Arc<str>, KindId>,
    actions: Vec<Arc<str>>,
    action_ids: HashMap<Arc<str>, ActionId>,
    endpoints: Vec<Endpoint>,
    matcher: Matcher,
    digest: String,
}

/// A kind of resources, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KindId(u16);

/// An action, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActionId(u16);

/// A kind of resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// Its number in this catalog.
    pub id: KindId,
    /// What policies call it.
    pub name: Arc<str>,
    /// What people call it.
    pub title: String,
}

/// One endpoint of the service.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// `GET`, which is `HEAD` too, or another.
    pub method: &'static str,
    /// Its path.
    pub template: Template,
    /// The kind of what it concerns.
    pub kind: KindId,
    /// The name of that kind.
    pub kind_name: Arc<str>,
    /// Which one of the kind.
    pub id: ResourceId,
    /// What it does.
    pub action: ActionId,
    /// The name of that.
    pub action_name: Arc<str>,
    /// The query parameters it takes; the guard's rule when `None`.
    pub query: Option<Vec<Box<str>>>,
    /// The media types it takes, in lower case and without parameters; the guard's list when `None`.
    pub content_types: Option<Vec<Box<str>>>,
    /// The largest body it takes; the general limit when `None`.
    pub body: Option<Size>,
    /// What it is for.
    pub summary: Option<Box<str>>,
}

/// Which resource of its kind an endpoint concerns.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ResourceId {
    /// The kind as a whole.
    Whole,
    /// The one that the segment at this place, from 0, names.
    Segment(usize),
    /// The one that the segments at these places name together, `/` between them.
    Segments(Box<[usize]>),
    /// Always this one.
    Fixed(Box<str>),
}

/// What a request does to what. [`Catalog::classify`] alone makes one.
#[derive(Debug, Clone)]
pub struct Operation<'c, 'p> {
    /// The endpoint that takes it.
    pub endpoint: &'c Endpoint,
    /// The kind of what it concerns.
    pub kind: KindId,
    /// Which one, decoded; `None` for the kind as a whole.
    pub id: Option<Cow<'p, str>>,
    /// What it does.
    pub action: ActionId,
    _classified: Classified,
}

#[derive(Debug, Clone, Copy)]
struct Classified;

/// Why a request has no operation. The caller is told no more than that there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unclassified {
    /// No template has this path.
    #[error("no endpoint of the catalog has this path")]
    Unknown,
    /// Templates have this path, none with this method.
    #[error("the catalog has this path, but not with this method")]
    Method,
    /// A segment stands where a parameter does, but is a word of the catalog there, letter case aside: it is no value.
    #[error("a segment of the path is a word of the catalog that stands in its place in another template, or one in all but letter case")]
    Parameter,
}

// ===== impl Catalog =====

impl Catalog {
    /// What `method` on `path` does to which resource.
    ///
    /// # Errors
    /// [`Unclassified`] when no endpoint takes it.
    pub fn classify<'c, 'p>(&'c self, method: &str, path: &'p CanonicalPath<'_>) -> Result<Operation<'c, 'p>, Unclassified> {
        let found = self.matcher.find(method, path)?;
        let endpoint = self.endpoints.get(found).ok_or(Unclassified::Unknown)?;
        let id = match &endpoint.id {
            ResourceId::Whole => None,
            ResourceId::Segment(place) => Some(path.segments().nth(*place).ok_or(Unclassified::Unknown)?.decode()),
            ResourceId::Segments(places) => {
                let values = places.iter().filter_map(|place| path.segments().nth(*place)).map(path::Segment::decode);
                Some(Cow::Owned(values.collect::<Vec<_>>().join("/")))
            }
            ResourceId::Fixed(id) => Some(Cow::Owned(id.to_string())),
        };
        Ok(Operation { endpoint, kind: endpoint.kind, id, action: endpoint.action, _classified: Classified })
    }

    /// The kinds, in the order of the files.
    pub fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.kinds.iter()
    }

    /// The kind of this name.
    #[must_use]
    pub fn kind(&self, name: &str) -> Option<KindId> {
        self.kind_ids.get(name).copied()
    }

    /// The name of a kind of this catalog; empty for one of another.
    #[must_use]
    pub fn kind_name(&self, kind: KindId) -> &str {
        self.kinds.get(kind.index()).map_or("", |kind| &kind.name)
    }

    /// The actions, in the order in which endpoints name them.
    pub fn actions(&self) -> impl Iterator<Item = (ActionId, &str)> {
        (0..).map(ActionId).zip(self.actions.iter().map(|name| &**name))
    }

    /// The action of this name, if an endpoint has it.
    #[must_use]
    pub fn action(&self, name: &str) -> Option<ActionId> {
        self.action_ids.get(name).copied()
    }

    /// The name of an action of this catalog; empty for one of another.
    #[must_use]
    pub fn action_name(&self, action: ActionId) -> &str {
        self.actions.get(action.index()).map_or("", |name| name)
    }

    /// The endpoints, in the order of the files.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// What this catalog was made of, as 16 hex digits.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

impl KindId {
    /// The number, from 0 and without gaps.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl ActionId {
    /// The number, from 0 and without gaps.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

// ===== impl Operation =====

impl<'c> Operation<'c, '_> {
    /// `kind:id`, or `kind` alone.
    #[must_use]
    pub fn resource(&self) -> impl fmt::Display + use<'_, 'c> {
        Resource { kind: self.kind_name(), id: self.id.as_deref() }
    }

    /// The name of the kind.
    #[must_use]
    pub fn kind_name(&self) -> &'c str {
        &self.endpoint.kind_name
    }

    /// The name of the action.
    #[must_use]
    pub fn action_name(&self) -> &'c str {
        &self.endpoint.action_name
    }
}

/// Prints as its resource, for whoever writes it down.
impl fmt::Display for Operation<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.resource().fmt(f)
    }
}

struct Resource<'a> {
    kind: &'a str,
    id: Option<&'a str>,
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)?;
        match self.id {
            Some(id) => write!(f, ":{id}"),
            None => Ok(()),
        }
    }
}

/// `METHOD /template`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.template)
    }
}

#[cfg(test)]
mod tests;
