//! The user on whose behalf a request is made.

use std::{fmt, sync::Arc};

/// Longest subject, in bytes (RFC 5321 leaves 254 for a mail address).
const MAX: usize = 254;

/// One user, by mail address (lower-cased) or by the API's own id (taken as it is).
///
/// What the policy matched is, byte for byte, what goes upstream: there is no other way to make one
/// than [`Subject::parse`], and nothing changes it afterwards.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    text: Arc<str>,
    /// Where the `@` of a mail address stands.
    at: Option<usize>,
}

impl Subject {
    /// Reads one user. Surrounding spaces and tabs are dropped; a mail address is lower-cased.
    ///
    /// # Errors
    /// [`SubjectError`] names what makes it no single user.
    pub fn parse(raw: &[u8]) -> Result<Self, SubjectError> {
        let text = std::str::from_utf8(raw).map_err(|_| SubjectError::NotAscii)?;
        let text = text.trim_matches([' ', '\t']);
        if text.is_empty() {
            return Err(SubjectError::Empty);
        }
        if text.len() > MAX {
            return Err(SubjectError::Long);
        }
        let seen = text.bytes().fold(0, |seen, byte| seen | class(byte));
        if seen & UNUSUAL != 0 {
            text.chars().try_for_each(allowed)?;
        }
        if seen & AT == 0 {
            return Ok(Self { text: text.into(), at: None });
        }
        let (local, domain) = text.split_once('@').unwrap_or_default();
        if local.is_empty() || domain.is_empty() || domain.contains('@') {
            return Err(SubjectError::Address);
        }
        let at = Some(local.len());
        Ok(Self { text: if seen & CAPITAL == 0 { text.into() } else { text.to_ascii_lowercase().into() }, at })
    }

    /// Whether there are users with this character in their name.
    #[must_use]
    pub fn can_hold(c: char) -> bool {
        allowed(c).is_ok()
    }

    /// The user as the policy compares it and the upstream gets it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What stands before the `@`; the whole of an opaque id.
    #[must_use]
    pub fn local(&self) -> &str {
        self.at.and_then(|at| self.text.get(..at)).unwrap_or(&self.text)
    }

    /// What stands after the `@`, for a mail address.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        self.text.get(self.at? + 1..)
    }
}

/// What there may be in a name beside small letters and what else mail addresses and ids are made of.
const CAPITAL: u8 = 1;
const AT: u8 = 1 << 1;
/// Looked at one by one.
const UNUSUAL: u8 = 1 << 2;

fn class(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'+' => 0,
        b'A'..=b'Z' => CAPITAL,
        b'@' => AT,
        _ => UNUSUAL,
    }
}

fn allowed(c: char) -> Result<(), SubjectError> {
    match c {
        c if c.is_control() => Err(SubjectError::Control),
        c if !c.is_ascii() => Err(SubjectError::NotAscii),
        ' ' | ',' | ';' => Err(SubjectError::Several),
        '*' | '"' | '<' | '>' | '(' | ')' | '\\' => Err(SubjectError::Character(c)),
        _ => Ok(()),
    }
}

/// Why a text does not name one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// Nothing there.
    #[error("the user to act for is empty; leave the header out to act as the service account itself")]
    Empty,
    /// Over 254 bytes.
    #[error("the user to act for is longer than 254 bytes")]
    Long,
    /// A control character.
    #[error("the user to act for holds a control character")]
    Control,
    /// Outside ASCII, where two systems can read the same bytes as two users.
    #[error("the user to act for holds a character outside ASCII")]
    NotAscii,
    /// A separator: it could be read as more than one user.
    #[error("the user to act for holds a space, comma or semicolon; name exactly one user")]
    Several,
    /// A character with a meaning in patterns or addresses.
    #[error("the user to act for holds {0:?}, which no user name may")]
    Character(char),
    /// An `@` that does not make a mail address.
    #[error("the user to act for has an @ but is no mail address (name@domain)")]
    Address,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}
