//! From a file's bytes to a typed value.

use std::{io::Read as _, path::Path};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use serde_yaml::{DeserializeError, DuplicateKeyPolicy, MergeKeyPolicy};

use super::{
    Complaints, Span, forms,
    shape::{self, Cut, Within},
    tree::{self, NoTree},
    wording::{self, Words},
};

/// Largest document that is read, in bytes. A policy of 100,000 shares has about 12 MB.
pub const MAX_BYTES: u64 = 64 << 20;

/// One document as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// How the user named the file, for complaints.
    pub name: String,
    /// The text, without a byte-order mark.
    pub text: String,
}

/// A file that could not be read as text at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not there, not a file, not permitted.
    #[error("{file}: cannot be read: {cause}")]
    Io {
        /// The file as named.
        file: String,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Larger than [`MAX_BYTES`].
    #[error("{file}: is larger than {} MiB", MAX_BYTES >> 20)]
    Large {
        /// The file as named.
        file: String,
    },
    /// Not UTF-8.
    #[error("{file}:{line}:{column}: this is not UTF-8 text")]
    Encoding {
        /// The file as named.
        file: String,
        /// The line of the first byte that does not fit.
        line: usize,
        /// Its place there, in characters from 1.
        column: usize,
        /// The line, with what is no text marked.
        excerpt: String,
    },
}

impl ReadError {
    /// Whether there is no such file.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { cause, .. } if cause.kind() == std::io::ErrorKind::NotFound)
    }

    /// What is wrong, without the file's name.
    #[must_use]
    pub fn about(&self) -> String {
        match self {
            Self::Io { cause, .. } => format!("cannot be read: {cause}"),
            Self::Large { .. } => format!("is larger than {} MiB", MAX_BYTES >> 20),
            Self::Encoding { .. } => "this is not UTF-8 text".to_owned(),
        }
    }
}

/// Where a span stands, for people.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) width: usize,
    pub(super) excerpt: String,
}

impl Source {
    /// A document from memory.
    #[must_use]
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.starts_with('\u{feff}') {
            text.remove(0);
        }
        Self { name: name.into(), text }
    }

    /// Reads a document from disk.
    ///
    /// # Errors
    /// [`ReadError`] when there is no such text file.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let name = path.display().to_string();
        let io = |cause| ReadError::Io { file: name.clone(), cause };
        let file = std::fs::File::open(path).map_err(io)?;
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(ReadError::Large { file: name });
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(name, text)),
            Err(error) => {
                let (before, rest) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
                let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                let (begun, ended) =
                    (before.get(start..).unwrap_or_default(), rest.split(|byte| *byte == b'\n').next().unwrap_or_default());
                let text = String::from_utf8_lossy(begun);
                let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
                let excerpt = format!("{text}{}", String::from_utf8_lossy(ended).trim_end_matches('\r'));
                Err(ReadError::Encoding { file: name, line, column: 1 + text.chars().count(), excerpt })
            }
        }
    }

    /// Where `part` stands within `span`, for the caret; the whole when it is written otherwise there.
    #[must_use]
    pub fn within(&self, span: Span, part: &str) -> Span {
        let text = self.text.get(span.start..span.end).unwrap_or_default();
        match text.find(part) {
            Some(at) if !part.is_empty() => Span { start: span.start + at, end: span.start + at + part.len() },
            _ => span,
        }
    }

    pub(super) fn place(&self, span: Span) -> Place {
        if span == Span::default() {
            return Place { line: 0, column: 0, width: 0, excerpt: String::new() };
        }
        let start = floor(&self.text, span.start);
        let end = floor(&self.text, span.end.max(start));
        let before = self.text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = self.text.get(line_start..).unwrap_or_default();
        let excerpt = rest.split('\n').next().unwrap_or_default().trim_end_matches('\r');
        let column = 1 + self.text.get(line_start..start).unwrap_or_default().chars().count();
        let width = self.text.get(start..end).unwrap_or_default().split('\n').next().unwrap_or_default().trim_end().chars().count();
        Place { line: 1 + memchr::memchr_iter(b'\n', before.as_bytes()).count(), column, width, excerpt: excerpt.to_owned() }
    }
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at.min(text.len()))
}

/// How many mistakes that only reading itself can see are looked for, each with a reading of its own.
const ATTEMPTS: usize = 24;

/// Reads `source` as a `T`. What is wrong goes to `complaints`, all of it; then there is no value.
pub fn parse<T: DeserializeOwned + JsonSchema>(source: &Source, complaints: &mut Complaints) -> Option<T> {
    match typed(&source.text) {
        Ok(value) => Some(value),
        Err(error) => {
            diagnose::<T>(source, &error, complaints);
            None
        }
    }
}

/// Reads `source` as a `T` even where there are mistakes, if the rest makes one without them. The caller can go on to look
/// for more, and must not take the value when `complaints` has errors.
pub fn salvage<T: DeserializeOwned + JsonSchema>(source: &Source, complaints: &mut Complaints) -> Option<T> {
    match typed(&source.text) {
        Ok(value) => Some(value),
        Err(error) => diagnose(source, &error, complaints),
    }
}

fn typed<T: DeserializeOwned>(text: &str) -> Result<T, DeserializeError> {
    let options = serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_events: 40_000_000,
            max_nodes: 16_000_000,
            max_depth: tree::MAX_DEPTH,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: 100_000, max_replay_stack_depth: 16 },
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    serde_yaml::from_str_with_options(text, options)
}

/// Tells every mistake of a document that could not be read, and reads what is left without them.
fn diagnose<T: DeserializeOwned + JsonSchema>(source: &Source, error: &DeserializeError, complaints: &mut Complaints) -> Option<T> {
    let tell = |complaints: &mut Complaints, span: Span, words: Words| {
        let complaint = complaints.error(source, span, words.message);
        if let Some(help) = words.help {
            complaint.help(help);
        }
    };
    let tree = match tree::build(&source.text) {
        Ok(tree) => tree,
        Err(NoTree::Scan(error)) => {
            let span = tree::place_of(&error);
            let span = if wording::is_tab(&error) { tab_from(&source.text, span) } else { span };
            tell(complaints, span, wording::scan(&error));
            return None;
        }
        Err(NoTree::Deep(span)) => {
            tell(complaints, span, wording::deep());
            return None;
        }
        Err(NoTree::Empty) => {
            complaints.error(source, Span::default(), "nothing stands in this file").help("a file begins with `version: 1`");
            return None;
        }
        Err(NoTree::Large) => {
            tell(complaints, place_of(error), wording::typed(error));
            return None;
        }
    };
    if let Some(span) = tree.second {
        tell(complaints, span, wording::second_document());
    }
    for span in &tree.unresolved {
        tell(complaints, *span, wording::unresolved());
    }
    let schema = forms::schema::<T>();
    let mistakes = shape::mistakes(&tree.root, &schema);
    let mut rest = source.text.clone().into_bytes();
    if let Some(second) = tree.second {
        blank(&mut rest, Span { start: second.start, end: source.text.len() });
    }
    for mistake in &mistakes {
        mistake.tell(source, complaints);
        if let Some(cut) = mistake.cut {
            cut_out(&mut rest, cut);
        }
    }
    let mut told: Vec<usize> =
        mistakes.iter().map(|mistake| mistake.span.start).chain(tree.unresolved.iter().map(|span| span.start)).collect();
    // Without what was told of, there may be more that only reading finds.
    for _ in 0..ATTEMPTS {
        let text = String::from_utf8(std::mem::take(&mut rest)).ok()?;
        let error = match typed(&text) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let span = place_of(&error);
        let cut = tree.root.entry_around(span.start);
        let fresh = cut.is_some_and(|cut| text.get(cut.span.start..cut.span.end).is_some_and(|rest| !rest.trim().is_empty()));
        // What was cut out leaves holes, of which nobody need hear.
        let follows = !told.is_empty() && wording::is_hole(&error);
        if told.is_empty() || fresh && !follows && !told.contains(&span.start) {
            tell(complaints, span, wording::typed(&error));
        }
        told.push(span.start);
        let cut = cut.filter(|_| fresh)?;
        rest = text.into_bytes();
        cut_out(&mut rest, cut);
    }
    None
}

fn place_of(error: &DeserializeError) -> Span {
    error.location().map_or_else(Span::default, |at| {
        let start = usize::try_from(at.span().byte_offset().unwrap_or_default()).unwrap_or(0);
        let len = usize::try_from(at.span().byte_len().unwrap_or_default()).unwrap_or(0);
        Span { start, end: start.saturating_add(len.max(1)) }
    })
}

/// The scanner stops before the tab, often in a line above, or behind it: meant is the next one that indents a line.
fn tab_from(text: &str, span: Span) -> Span {
    let indents = |at: usize| {
        let line = text.get(..at).unwrap_or_default().rsplit('\n').next().unwrap_or_default();
        line.chars().all(char::is_whitespace)
    };
    let start = text.get(..floor(text, span.start)).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let mut tabs = memchr::memchr_iter(b'\t', text.get(start..).unwrap_or_default().as_bytes()).map(|at| start + at);
    tabs.find(|at| indents(*at)).map_or(span, |at| Span { start: at, end: at + 1 })
}

/// Puts spaces in place of an entry and what goes with it, so that everything else stays where it stands.
fn cut_out(text: &mut [u8], cut: Cut) {
    let mut span = cut.span;
    match cut.within {
        Within::Block => {}
        Within::BlockList => {
            let before = text.get(..span.start).unwrap_or_default();
            if let Some(dash) = before.iter().rposition(|byte| !byte.is_ascii_whitespace())
                && before.get(dash) == Some(&b'-')
            {
                span.start = dash;
            }
        }
        Within::Flow => {
            let behind = text.get(span.end..).unwrap_or_default();
            if let Some(comma) = behind.iter().position(|byte| !byte.is_ascii_whitespace())
                && behind.get(comma) == Some(&b',')
            {
                span.end += comma + 1;
            }
        }
    }
    blank(text, span);
}

fn blank(text: &mut [u8], span: Span) {
    for byte in text.get_mut(span.start..span.end).into_iter().flatten() {
        if !matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}
