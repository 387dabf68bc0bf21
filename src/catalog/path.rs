//! A path means one thing, or it is refused (DESIGN §4.3).
//!
//! [`CanonicalPath::parse`] is the only way to a path that the catalog classifies, and its text is,
//! byte for byte, what goes upstream. Two servers that read RFC 3986 loosely, each in its own way,
//! read a canonical path alike: nothing in it is decoded twice, folded, merged or cut off.
//!
//! What is done to a path, and nothing else: escapes of unreserved characters are decoded (`%7E` is
//! `~`), hex digits of the other escapes are put in upper case, and characters beyond ASCII that
//! came raw are escaped as UTF-8 (RFC 3987 §3.1), as every client ought to have done. A path that needs none
//! of this is borrowed.

use std::{borrow::Cow, fmt};

/// What a path may hold beyond the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathRules {
    /// Segments may carry `;` parameters. They go upstream as they came and count for nothing here. The
    /// upstream must read them so, too: a value behind `;` is a second name for the segment before it.
    pub allow_parameters: bool,
}

/// A path that has one reading. Holds the canonical text, borrowed where it came so.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CanonicalPath<'r> {
    text: Cow<'r, str>,
    /// It holds plain characters only, so that its segments are their values.
    plain: bool,
}

/// One segment of a canonical path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'p> {
    /// As it goes upstream, parameters left out.
    raw: &'p str,
    plain: bool,
}

/// Why a path is refused, and so what its sender has to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PathError {
    /// Empty, `*`, or a relative path.
    #[error("the path does not begin with /")]
    NotAbsolute,
    /// A `#`, which belongs to the client alone.
    #[error("the path holds a fragment: leave out # and what follows it, or write %23")]
    Fragment,
    /// `.` or `..`, plain or escaped, alone or before parameters.
    #[error("the path holds a . or .. segment: send the path that it leads to")]
    DotSegment,
    /// Two slashes with nothing between them, or a segment of nothing but parameters.
    #[error("the path holds an empty segment (//): leave it out")]
    EmptySegment,
    /// `%2F`, which some servers take for a slash and some do not.
    #[error("the path holds an escaped slash (%2F): no id may hold one")]
    EscapedSlash,
    /// `\` or `%5C`, which some servers take for a slash.
    #[error("the path holds a backslash: no id may hold one")]
    Backslash,
    /// A control character, raw or escaped: NUL, DEL and the C1 set included.
    #[error("the path holds a control character")]
    Control,
    /// A `%` without two hex digits.
    #[error("the path holds a % without two hex digits: write % itself as %25")]
    BadEscape,
    /// Bytes that are no UTF-8, or an overlong form of it.
    #[error("the path holds escapes that are not UTF-8")]
    NotUtf8,
    /// An escaped `%` that makes a further escape (`%252e`): a server that decodes twice would read another path.
    #[error("the path is escaped twice (%25 before two hex digits): escape it once")]
    DoubleEscape,
    /// A `;`, which some servers cut a segment at; `%3B` always, the plain one unless [`PathRules::allow_parameters`].
    #[error("the path holds ; parameters, which this server does not take")]
    Parameters,
    /// A character that no path may hold as it is (RFC 3986 §3.3).
    #[error("the path holds {0:?} as it is: write %{code:02X}", code = *.0 as u32)]
    Unescaped(char),
}

// ===== parsing =====

impl<'r> CanonicalPath<'r> {
    /// Reads the path of a request: what stands before `?`.
    ///
    /// # Errors
    /// [`PathError`] when two servers could read the path in two ways.
    pub fn parse(raw: &'r str, rules: PathRules) -> Result<Self, PathError> {
        let segments = raw.strip_prefix('/').ok_or(PathError::NotAbsolute)?;
        if all_plain(raw) {
            return Ok(Self { text: Cow::Borrowed(raw), plain: true });
        }
        let mut rewritten: Option<String> = None;
        let mut start = 1;
        for segment in segments.split('/') {
            let end = start + segment.len();
            if segment.is_empty() {
                if end < raw.len() {
                    return Err(PathError::EmptySegment);
                }
            } else if segment.bytes().all(is_plain) {
                if is_dots(segment) {
                    return Err(PathError::DotSegment);
                }
                if let Some(text) = &mut rewritten {
                    text.push_str(segment);
                }
            } else {
                let canonical = canonical_segment(segment, rules)?;
                match &mut rewritten {
                    Some(text) => text.push_str(&canonical),
                    None if canonical != segment => {
                        let mut text = String::with_capacity(raw.len() + 8);
                        text.push_str(raw.get(..start).unwrap_or_default());
                        text.push_str(&canonical);
                        rewritten = Some(text);
                    }
                    None => {}
                }
            }
            if let Some(text) = &mut rewritten
                && end < raw.len()
            {
                text.push('/');
            }
            start = end + 1;
        }
        let plain = rewritten.as_deref().is_some_and(all_plain);
        Ok(Self { text: rewritten.map_or(Cow::Borrowed(raw), Cow::Owned), plain })
    }

    /// Reads the path of a request from bytes that may not be text.
    ///
    /// # Errors
    /// As [`CanonicalPath::parse`]; [`PathError::NotUtf8`] for raw bytes that are not UTF-8.
    pub fn parse_bytes(raw: &'r [u8], rules: PathRules) -> Result<Self, PathError> {
        Self::parse(std::str::from_utf8(raw).map_err(|_| PathError::NotUtf8)?, rules)
    }

    /// The text that goes upstream.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the text is what the request held, byte for byte.
    #[must_use]
    pub fn is_as_sent(&self) -> bool {
        matches!(self.text, Cow::Borrowed(_))
    }

    /// The segments, without the nothing behind a trailing slash.
    #[must_use]
    pub fn segments(&self) -> Segments<'_> {
        let inner = self.text.strip_prefix('/').unwrap_or_default();
        Segments { rest: inner.strip_suffix('/').unwrap_or(inner), plain: self.plain }
    }
}

/// The segments of a path that are still to come.
#[derive(Debug, Clone)]
pub struct Segments<'p> {
    rest: &'p str,
    plain: bool,
}

impl<'p> Iterator for Segments<'p> {
    type Item = Segment<'p>;

    fn next(&mut self) -> Option<Segment<'p>> {
        // No segment is empty, so nothing left is the end.
        if self.rest.is_empty() {
            return None;
        }
        let (segment, rest) = before(b'/', self.rest);
        self.rest = rest;
        let raw = if self.plain { segment } else { before(b';', segment).0 };
        Some(Segment { raw, plain: self.plain })
    }
}

/// What stands before the first `mark`, and what behind it. Segments are short: a plain loop is quicker than a search.
fn before(mark: u8, text: &str) -> (&str, &str) {
    match text.bytes().position(|b| b == mark) {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default()),
        None => (text, ""),
    }
}

impl<'p> Segment<'p> {
    /// The value; borrowed unless something in it is escaped.
    #[must_use]
    pub fn decode(self) -> Cow<'p, str> {
        if self.plain || !self.raw.contains('%') {
            return Cow::Borrowed(self.raw);
        }
        let mut value = Vec::with_capacity(self.raw.len());
        let mut rest = self.raw.as_bytes();
        while let [first, tail @ ..] = rest {
            match (first, tail) {
                (b'%', [high, low, after @ ..]) => {
                    value.push(hex(*high).unwrap_or(0) << 4 | hex(*low).unwrap_or(0));
                    rest = after;
                }
                _ => {
                    value.push(*first);
                    rest = tail;
                }
            }
        }
        // Parsing has seen that it is UTF-8.
        Cow::Owned(String::from_utf8(value).unwrap_or_else(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned()))
    }
}

/// What a character may be in a path that holds plain ones only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    /// Plain, and perhaps the whole of a segment that means another.
    Dot,
    Slash,
    Other,
}

impl Class {
    const fn of(byte: u8) -> Self {
        match byte {
            b'.' => Self::Dot,
            b'/' => Self::Slash,
            byte if is_plain(byte) => Self::Plain,
            _ => Self::Other,
        }
    }
}

/// The class of each character, which is asked for every one of every path.
static CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0;
    while byte < classes.len() {
        #[expect(clippy::indexing_slicing, reason = "below the length, and at compile time")]
        let class = &mut classes[byte];
        *class = Class::of(byte as u8);
        byte += 1;
    }
    classes
};

/// Whether a path holds plain characters only, and no segment that is empty or dots: what nearly all requests have.
fn all_plain(raw: &str) -> bool {
    let mut last = Class::Plain;
    for byte in raw.bytes() {
        let class = CLASSES.get(usize::from(byte)).copied().unwrap_or(Class::Other);
        // A dot behind a slash may be the whole segment; the long way tells.
        if class == Class::Other || (last == Class::Slash && class != Class::Plain) {
            return false;
        }
        last = class;
    }
    true
}

/// Checks a segment that holds more than plain characters, and writes it anew.
fn canonical_segment(segment: &str, rules: PathRules) -> Result<String, PathError> {
    let mut canonical = String::with_capacity(segment.len() + 8);
    let mut decoded = Vec::with_capacity(segment.len());
    let mut name_end = None;
    let mut rest = segment.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match *first {
            b'%' => {
                let [high, low, after @ ..] = tail else { return Err(PathError::BadEscape) };
                let (Some(high), Some(low)) = (hex(*high), hex(*low)) else { return Err(PathError::BadEscape) };
                rest = after;
                let byte = high << 4 | low;
                match byte {
                    b'/' => return Err(PathError::EscapedSlash),
                    b'\\' => return Err(PathError::Backslash),
                    // Servers that decode before they cut off parameters see one here, the others see a value.
                    b';' => return Err(PathError::Parameters),
                    byte if byte.is_ascii_control() => return Err(PathError::Control),
                    byte if is_unreserved(byte) => canonical.push(char::from(byte)),
                    byte => push_escape(&mut canonical, byte),
                }
                decoded.push(byte);
            }
            b'\\' => return Err(PathError::Backslash),
            b'#' => return Err(PathError::Fragment),
            b';' if !rules.allow_parameters => return Err(PathError::Parameters),
            b';' => {
                name_end.get_or_insert(decoded.len());
                canonical.push(';');
                decoded.push(b';');
            }
            byte if byte.is_ascii_control() => return Err(PathError::Control),
            byte if is_plain(byte) => {
                canonical.push(char::from(byte));
                decoded.push(byte);
            }
            byte if byte.is_ascii() => return Err(PathError::Unescaped(char::from(byte))),
            byte => {
                push_escape(&mut canonical, byte);
                decoded.push(byte);
            }
        }
    }
    let value = std::str::from_utf8(&decoded).map_err(|_| PathError::NotUtf8)?;
    if value.chars().any(char::is_control) {
        return Err(PathError::Control);
    }
    if holds_escape(&decoded) {
        return Err(PathError::DoubleEscape);
    }
    let name = name_end.map_or(value, |end| value.get(..end).unwrap_or_default());
    if name.is_empty() {
        return Err(PathError::EmptySegment);
    }
    if is_dots(name) { Err(PathError::DotSegment) } else { Ok(canonical) }
}

/// Whether decoding `decoded` once more would change it: `%2e`, or `%u002e` as some servers read it.
pub(crate) fn holds_escape(decoded: &[u8]) -> bool {
    let hex_digits = |bytes: &[u8], n: usize| bytes.get(..n).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    decoded.iter().enumerate().filter(|(_, byte)| **byte == b'%').any(|(at, _)| {
        let behind = decoded.get(at + 1..).unwrap_or_default();
        hex_digits(behind, 2) || matches!(behind, [b'u' | b'U', digits @ ..] if hex_digits(digits, 4))
    })
}

fn is_dots(name: &str) -> bool {
    matches!(name, "." | "..")
}

fn push_escape(text: &mut String, byte: u8) {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    text.push('%');
    for digit in [byte >> 4, byte & 15] {
        text.push(DIGITS.get(usize::from(digit)).copied().unwrap_or('0'));
    }
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// RFC 3986 §2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What stands for itself in a segment: `pchar` of RFC 3986 §3.3 without escapes and without `;`.
const fn is_plain(byte: u8) -> bool {
    is_unreserved(byte) || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@')
}

// ===== printing =====

impl fmt::Display for CanonicalPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for CanonicalPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}

#[cfg(test)]
mod tests;
