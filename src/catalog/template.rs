//! A path template: `/process/2/{account_id}/{process_id}`.

use std::{collections::HashSet, fmt};

use super::path::{CanonicalPath, PathError, PathRules};

/// A path template that has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
    parts: Box<[Part]>,
}

/// What a segment of a path has to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Part {
    /// This, decoded, letter for letter.
    Literal(Box<str>),
    /// Anything that is no literal in its place.
    Parameter(Box<str>),
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Does not begin with `/`.
    #[error("a path template begins with /")]
    NotAbsolute,
    /// `{` and `}` that do not stand around a whole segment.
    #[error("`{0}` is no segment: a placeholder takes a whole segment, {{name}}")]
    Braces(String),
    /// A placeholder whose name is empty or holds something odd.
    #[error("`{{{0}}}` is no placeholder: a name has letters, digits, `_`, `-` and `.`")]
    Name(String),
    /// The same placeholder twice.
    #[error("the placeholder {{{0}}} stands here twice")]
    Repeated(String),
    /// A literal that no path can hold.
    #[error("`{0}` is no segment: {1}")]
    Literal(String, PathError),
    /// `//`.
    #[error("an empty segment (//)")]
    Empty,
    /// A `?`.
    #[error("a template ends before the query: what may stand there goes under `query:`")]
    Query,
}

impl Template {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What each segment has to be.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Which segment, from 0, the placeholder `name` takes.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<usize> {
        self.parts.iter().position(|part| matches!(part, Part::Parameter(own) if **own == *name))
    }

    /// The names of the placeholders, in order.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Parameter(name) => Some(&**name),
            Part::Literal(_) => None,
        })
    }
}

// ===== parsing =====

impl std::str::FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let inner = text.strip_prefix('/').ok_or(TemplateError::NotAbsolute)?;
        if text.contains('?') {
            return Err(TemplateError::Query);
        }
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        let mut names = HashSet::new();
        let mut parts = Vec::new();
        for segment in (!inner.is_empty()).then(|| inner.split('/')).into_iter().flatten() {
            let part = Part::parse(segment)?;
            if let Part::Parameter(name) = &part
                && !names.insert(name.clone())
            {
                return Err(TemplateError::Repeated(name.to_string()));
            }
            parts.push(part);
        }
        Ok(Self { text: text.into(), parts: parts.into() })
    }
}

impl Part {
    fn parse(segment: &str) -> Result<Self, TemplateError> {
        if segment.is_empty() {
            return Err(TemplateError::Empty);
        }
        if let Some(name) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'))
            && !name.contains(['{', '}'])
        {
            let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            return if !name.is_empty() && name.chars().all(good) {
                Ok(Self::Parameter(name.into()))
            } else {
                Err(TemplateError::Name(name.to_owned()))
            };
        }
        if segment.contains(['{', '}']) {
            return Err(TemplateError::Braces(segment.to_owned()));
        }
        let path = format!("/{segment}");
        let path = CanonicalPath::parse(&path, PathRules::default()).map_err(|error| TemplateError::Literal(segment.to_owned(), error))?;
        Ok(Self::Literal(path.segments().next().map(|literal| literal.decode().into()).unwrap_or_default()))
    }
}

// ===== printing =====

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
