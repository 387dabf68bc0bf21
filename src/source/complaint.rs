//! What is wrong with a document, where, and what was probably meant.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Source, Span};

/// How bad a complaint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The document is not taken.
    Error,
    /// The document is taken; somebody should look.
    Warning,
}

/// One thing that is wrong with one word of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Complaint {
    /// Whether the document is still taken.
    pub severity: Severity,
    /// The file as the user named it.
    pub file: String,
    /// Line, from 1; 0 when the complaint is about the file as a whole.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The line the word stands on.
    #[serde(skip)]
    pub excerpt: String,
    /// Length of the word in characters, within the line.
    #[serde(skip)]
    pub width: usize,
}

/// All that is wrong with a set of documents, in the order it was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Complaints {
    list: Vec<Complaint>,
    /// What is beyond those that are kept.
    #[serde(skip)]
    beyond: Option<Box<Beyond>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Beyond {
    count: usize,
    errors: bool,
    latest: Complaint,
}

/// How many complaints are kept. Nobody reads on, and each needs its line found.
const MAX: usize = 500;
/// Of a line that is longer, so many characters are shown.
const EXCERPT: usize = 160;

impl Complaints {
    /// Adds an error about `span` of `source`; the returned complaint takes a `help`.
    pub fn error(&mut self, source: &Source, span: Span, message: impl Into<String>) -> &mut Complaint {
        self.add(Severity::Error, source, span, message.into())
    }

    /// Adds a warning about `span` of `source`; the returned complaint takes a `help`.
    pub fn warning(&mut self, source: &Source, span: Span, message: impl Into<String>) -> &mut Complaint {
        self.add(Severity::Warning, source, span, message.into())
    }

    /// Adds an error about a file that could not be read at all; the returned complaint takes a `help`.
    pub fn unreadable(&mut self, file: &str, error: &super::ReadError) -> &mut Complaint {
        let (line, column, excerpt, help) = match error {
            super::ReadError::Encoding { line, column, excerpt, .. } => {
                (*line, *column, excerpt.clone(), Some("save it as UTF-8".to_owned()))
            }
            super::ReadError::Io { .. } | super::ReadError::Large { .. } => (0, 0, String::new(), None),
        };
        let (file, message) = (file.to_owned(), error.about());
        self.list.push_mut(Complaint { severity: Severity::Error, file, line, column, message, help, excerpt, width: 1 })
    }

    fn add(&mut self, severity: Severity, source: &Source, span: Span, message: String) -> &mut Complaint {
        if self.list.len() >= MAX {
            return self.go_beyond(severity, source, message);
        }
        let place = source.place(span);
        self.list.push_mut(Complaint {
            severity,
            file: source.name.clone(),
            line: place.line,
            column: place.column,
            message,
            help: None,
            excerpt: place.excerpt,
            width: place.width,
        })
    }

    fn go_beyond(&mut self, severity: Severity, source: &Source, message: String) -> &mut Complaint {
        let (file, excerpt) = (source.name.clone(), String::new());
        let latest = Complaint { severity, file, line: 0, column: 0, message, help: None, excerpt, width: 0 };
        let (count, errors) = self.beyond.take().map_or((0, false), |beyond| (beyond.count, beyond.errors));
        let errors = errors || severity == Severity::Error;
        &mut self.beyond.insert(Box::new(Beyond { count: count + 1, errors, latest })).latest
    }

    /// Whether further complaints are only counted, so that nobody need think about help for them.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.list.len() >= MAX
    }

    /// Adds everything of `other`.
    pub fn extend(&mut self, other: Self) {
        self.list.extend(other.list);
        if let Some(theirs) = other.beyond {
            match &mut self.beyond {
                Some(own) => {
                    own.count += theirs.count;
                    own.errors |= theirs.errors;
                }
                None => self.beyond = Some(theirs),
            }
        }
    }

    /// Whether the documents cannot be taken.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|c| c.severity == Severity::Error) || self.beyond.as_ref().is_some_and(|beyond| beyond.errors)
    }

    /// What keeps the documents from being taken, without what somebody should only look at.
    #[must_use]
    pub fn errors(&self) -> Self {
        let list = self.list.iter().filter(|c| c.severity == Severity::Error).cloned().collect();
        Self { list, beyond: self.beyond.clone().filter(|beyond| beyond.errors) }
    }

    /// Whether nothing at all was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The complaints, in the order they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Complaint> {
        self.list.iter()
    }
}

impl Complaint {
    /// Says what to write instead.
    pub fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// Proposes the nearest of `names` to `wrong`, if one is near enough to have been meant.
    pub fn suggest<'n>(&mut self, wrong: &str, names: impl IntoIterator<Item = &'n str>) -> &mut Self {
        if let Some(name) = nearest(wrong, names) {
            self.help = Some(format!("did you mean `{name}`?"));
        }
        self
    }
}

impl Complaint {
    /// The line, and how much of it stands before the word. Of a long one, as machines write them, the part around the word.
    fn clipped(&self) -> (std::borrow::Cow<'_, str>, usize) {
        let before = self.column.saturating_sub(1);
        if self.excerpt.chars().nth(EXCERPT).is_none() {
            return (self.excerpt.as_str().into(), before);
        }
        let from = before.saturating_sub(EXCERPT / 4);
        let ahead = if from > 0 { "…" } else { "" };
        let mut rest = self.excerpt.chars().skip(from);
        let mut part: String = rest.by_ref().take(EXCERPT).collect();
        if rest.next().is_some() {
            part.push('…');
        }
        (format!("{ahead}{part}").into(), before - from + ahead.chars().count())
    }
}

impl std::fmt::Display for Complaint {
    /// `file:line:column: error: message`, the line, a caret under the word, and the help.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        if self.line == 0 {
            write!(f, "{}: {word}: {}", self.file, self.message)?;
        } else {
            let gutter = self.line.to_string();
            let pad = " ".repeat(gutter.len());
            let (excerpt, before) = self.clipped();
            let mut under: String = excerpt.chars().take(before).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let width = self.width.min(excerpt.chars().count().saturating_sub(before)).max(1);
            let _ = write!(under, "{}", "^".repeat(width));
            write!(
                f,
                "{}:{}:{}: {word}: {}\n{pad} |\n{gutter} | {excerpt}\n{pad} | {under}",
                self.file, self.line, self.column, self.message
            )?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  = help: {help}")?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Complaints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, complaint) in self.list.iter().enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            complaint.fmt(f)?;
        }
        match &self.beyond {
            Some(beyond) => write!(f, "\n\n… and {} more", beyond.count),
            None => Ok(()),
        }
    }
}

/// The name most like `wrong`, if it is like it at all.
#[must_use]
pub fn nearest<'n>(wrong: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let folded = wrong.to_lowercase();
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&folded, &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
