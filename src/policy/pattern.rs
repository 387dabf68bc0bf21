//! Patterns: one star or several in an id, users by address, id, group or star.

use std::fmt;

use crate::identity::Subject;

/// A text in which `*` stands for any run of characters, none included. `\*` is a star itself, `\\` a backslash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Glob {
    /// No star: this text and no other.
    Exact(Box<str>),
    /// Stars.
    Stars {
        /// What stands before the first one.
        head: Box<str>,
        /// What stands between two, where that is something.
        middle: Box<[Box<str>]>,
        /// What stands behind the last one.
        tail: Box<str>,
    },
}

impl Glob {
    pub(super) fn parse(text: &str) -> Self {
        if !text.contains(['*', '\\']) {
            return Self::Exact(text.into());
        }
        let mut parts = vec![String::new()];
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let c = match c {
                '*' => {
                    parts.push(String::new());
                    continue;
                }
                '\\' => match chars.next() {
                    Some(escaped @ ('*' | '\\')) => escaped,
                    Some(other) => {
                        push(&mut parts, '\\');
                        other
                    }
                    None => '\\',
                },
                c => c,
            };
            push(&mut parts, c);
        }
        let tail = parts.pop().unwrap_or_default().into_boxed_str();
        if parts.is_empty() {
            return Self::Exact(tail);
        }
        let head = parts.remove(0).into_boxed_str();
        let middle = parts.into_iter().filter(|part| !part.is_empty()).map(String::into_boxed_str).collect();
        Self::Stars { head, middle, tail }
    }

    /// The texts between its stars.
    pub(super) fn literals(&self) -> impl Iterator<Item = &str> {
        let (ends, middle) = match self {
            Self::Exact(text) => ([&**text, ""], &[][..]),
            Self::Stars { head, middle, tail } => ([&**head, &**tail], &**middle),
        };
        ends.into_iter().chain(middle.iter().map(|part| &**part))
    }

    /// Whether it is nothing but stars.
    pub(super) fn is_everything(&self) -> bool {
        matches!(self, Self::Stars { head, middle, tail } if head.is_empty() && middle.is_empty() && tail.is_empty())
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(own) => **own == *text,
            Self::Stars { head, middle, tail } => text
                .strip_prefix(&**head)
                .and_then(|rest| rest.strip_suffix(&**tail))
                .is_some_and(|between| holds_in_order(between.as_bytes(), middle)),
        }
    }

    /// Whether everything that `other` matches, this matches too. May say no where it is so, never yes where it is not.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (own, Self::Exact(text)) => own.matches(text),
            (Self::Exact(_), Self::Stars { .. }) => false,
            (own @ Self::Stars { head, middle, tail }, Self::Stars { head: narrow_head, tail: narrow_tail, .. }) => {
                own == other || middle.is_empty() && narrow_head.starts_with(&**head) && narrow_tail.ends_with(&**tail)
            }
        }
    }

    /// The text that matches this and nothing else.
    pub(super) fn escape(text: &str) -> String {
        text.replace('\\', r"\\").replace('*', r"\*")
    }
}

fn push(parts: &mut [String], c: char) {
    if let Some(last) = parts.last_mut() {
        last.push(c);
    }
}

/// Whether `between` holds each of `parts`, one behind the other. Taking the first place each time misses none.
pub(super) fn holds_in_order(between: &[u8], parts: &[Box<str>]) -> bool {
    let mut rest = between;
    for part in parts {
        match memchr::memmem::find(rest, part.as_bytes()) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    true
}

/// Which users.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum UserPattern<'t> {
    /// `*`.
    Everybody,
    /// `@name`.
    Group(&'t str),
    /// An address or id as [`Subject`] has it.
    Exact(Box<str>),
    /// `*@domain`.
    Domain(Box<str>),
    /// An address with stars. It has one `@` and so has every address: no star gets across it.
    Mail(Glob),
    /// An opaque id with stars; never an address.
    Opaque(Glob),
}

/// Why a text is no user pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum UserPatternError {
    #[error("names nobody")]
    Empty,
    #[error("has more than one @")]
    Ats,
    #[error("has nothing on one side of the @")]
    Side,
    #[error("holds {0:?}, which no user's name can hold")]
    Character(char),
    #[error("is longer than 254 bytes, and so is no user's name")]
    Long,
}

impl<'t> UserPattern<'t> {
    pub(super) fn parse(text: &'t str) -> Result<Self, UserPatternError> {
        if text.is_empty() {
            return Err(UserPatternError::Empty);
        }
        if text == "*" {
            return Ok(Self::Everybody);
        }
        if let Some(group) = text.strip_prefix('@') {
            return if group.is_empty() { Err(UserPatternError::Side) } else { Ok(Self::Group(group)) };
        }
        if let Some(odd) = text.chars().find(|c| *c != '*' && !Subject::can_hold(*c)) {
            return Err(UserPatternError::Character(odd));
        }
        if text.len() > 254 {
            return Err(UserPatternError::Long);
        }
        let Some((local, domain)) = text.split_once('@') else {
            return Ok(if text.contains('*') { Self::Opaque(Glob::parse(text)) } else { Self::Exact(text.into()) });
        };
        if domain.contains('@') {
            return Err(UserPatternError::Ats);
        }
        if local.is_empty() || domain.is_empty() {
            return Err(UserPatternError::Side);
        }
        let text = text.to_ascii_lowercase();
        Ok(match (local.contains('*'), domain.contains('*')) {
            (false, false) => Self::Exact(text.into()),
            (_, false) if local == "*" => Self::Domain(domain.to_ascii_lowercase().into()),
            (true, _) | (_, true) => Self::Mail(Glob::parse(&text)),
        })
    }

    /// Whether it holds for `subject`; groups are the caller's to look up.
    pub(super) fn matches(&self, subject: &str) -> bool {
        let domain = subject.split_once('@').map(|(_, domain)| domain);
        match self {
            Self::Everybody => true,
            Self::Group(_) => false,
            Self::Exact(own) => **own == *subject,
            Self::Domain(own) => domain == Some(own),
            Self::Mail(glob) => domain.is_some() && glob.matches(subject),
            Self::Opaque(glob) => domain.is_none() && glob.matches(subject),
        }
    }
}

impl UserPattern<'_> {
    /// Whether it holds for everybody that `other` holds for. May say no where it is so, never yes where it is not.
    pub(super) fn covers(&self, other: &UserPattern<'_>) -> bool {
        match (self, other) {
            (Self::Everybody, _) => true,
            (own, UserPattern::Exact(user)) => own.matches(user),
            (Self::Mail(own), UserPattern::Mail(narrow)) | (Self::Opaque(own), UserPattern::Opaque(narrow)) => own.covers(narrow),
            (Self::Mail(own), UserPattern::Domain(domain)) => own.covers(&Glob::parse(&format!("*@{domain}"))),
            (Self::Domain(own), UserPattern::Domain(narrow)) => own == narrow,
            (Self::Domain(own), UserPattern::Mail(Glob::Stars { tail, .. })) => **tail == *format!("@{own}"),
            (Self::Group(_) | Self::Exact(_) | Self::Domain(_) | Self::Mail(_) | Self::Opaque(_), _) => false,
        }
    }
}

/// Whether `name` can be a group's.
pub(super) fn is_group_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 100 && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => f.write_str(&Self::escape(text)),
            Self::Stars { head, middle, tail } => {
                write!(f, "{}*", Self::escape(head))?;
                for part in middle {
                    write!(f, "{}*", Self::escape(part))?;
                }
                f.write_str(&Self::escape(tail))
            }
        }
    }
}
