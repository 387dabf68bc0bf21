//! Texts in which `${env:NAME}` and `${file:PATH}` stand for what is kept elsewhere, secrets first of all.

use std::{
    borrow::Cow,
    fmt,
    io::Read as _,
    ops::Deref,
    path::{Path, PathBuf},
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Largest file that `${file:PATH}` reads, in bytes. A secret has a few hundred.
const FILE_MAX: u64 = 64 << 10;

/// A text that may hold `${env:NAME}` and `${file:PATH}`. Derefs to the value; what it prints as, and what logs see, is
/// the text as it was written, with the password of a URL masked.
#[derive(Clone, PartialEq, Eq)]
pub struct Text {
    written: String,
    value: String,
}

/// Why a reference has no value.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReferenceError {
    /// No closing brace.
    #[error("`${{` is not closed")]
    Open,
    /// Neither `env:` nor `file:`.
    #[error("`${{{0}}}` is no reference")]
    Unknown(String),
    /// No such variable.
    #[error("the environment variable {0} is not set")]
    NotSet(String),
    /// A variable that says nothing.
    #[error("the environment variable {0} is empty")]
    Empty(String),
    /// A variable that is no text.
    #[error("the environment variable {0} is not UTF-8 text")]
    NotText(String),
    /// A file that cannot be read.
    #[error("{path} cannot be read: {cause}", path = path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A file that holds nothing, too much, or no text.
    #[error("{path} holds no secret: {why}", path = path.display())]
    Unfit {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
}

impl Text {
    /// The value, references resolved.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.value
    }

    /// Whether a part of the value stands outside the settings file.
    #[must_use]
    pub fn is_reference(&self) -> bool {
        self.written.contains("${")
    }

    /// Replaces references by what they stand for. Files that were named are added to `files`, read or not.
    pub(super) fn resolve(&mut self, folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), ReferenceError> {
        let mut value = String::new();
        let mut rest = self.written.as_str();
        while let Some(at) = rest.find("${") {
            let (before, reference) = rest.split_at(at);
            let (reference, after) = reference.get(2..).and_then(|r| r.split_once('}')).ok_or(ReferenceError::Open)?;
            value.push_str(before);
            let found = look_up(reference, folder, files)?;
            if value.contains("://") && after.contains('@') {
                // A user or a password of a URL: it is taken as it is, whatever a URL would take its characters for.
                value.extend(escaped(&found));
            } else {
                value.push_str(&found);
            }
            rest = after;
        }
        value.push_str(rest);
        self.value = value;
        Ok(())
    }

    /// Puts another value in place of this one.
    pub(super) fn set(&mut self, value: String) {
        self.written.clone_from(&value);
        self.value = value;
    }

    /// As it was written; what stands for a password in a URL is masked.
    fn shown(&self) -> Cow<'_, str> {
        let Some((scheme, rest)) = self.written.split_once("://") else { return Cow::Borrowed(&self.written) };
        // The last @, wherever it stands: a password that holds a slash is no URL's, and still a password.
        match rest.rsplit_once('@').map(|(user, host)| (user.split_once(':'), host)) {
            Some((Some((user, password)), host)) if !is_one_reference(password) => Cow::Owned(format!("{scheme}://{user}:{MASK}@{host}")),
            _ => Cow::Borrowed(&self.written),
        }
    }
}

/// `text` with everything escaped that may mean something in a URL (RFC 3986 section 2.3).
fn escaped(text: &str) -> impl Iterator<Item = char> {
    text.bytes().flat_map(|byte| {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase();
        let escaped = [Some('%'), Some(digit(byte >> 4)), Some(digit(byte & 15))];
        if plain { [Some(char::from(byte)), None, None] } else { escaped }.into_iter().flatten()
    })
}

/// What stands in place of a secret.
pub(super) const MASK: &str = "***";

fn is_one_reference(text: &str) -> bool {
    text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).is_some_and(|name| !name.contains('}'))
}

fn look_up(reference: &str, folder: &Path, files: &mut Vec<PathBuf>) -> Result<String, ReferenceError> {
    match reference.split_once(':') {
        Some(("env" | "file", "")) => Err(ReferenceError::Unknown(reference.to_owned())),
        Some(("env", name)) => match std::env::var(name) {
            Ok(value) if !value.is_empty() => Ok(value),
            Err(std::env::VarError::NotUnicode(_)) => Err(ReferenceError::NotText(name.to_owned())),
            Ok(_) => Err(ReferenceError::Empty(name.to_owned())),
            Err(std::env::VarError::NotPresent) => Err(ReferenceError::NotSet(name.to_owned())),
        },
        Some(("file", path)) => {
            let path = folder.join(path);
            files.push(path.clone());
            read(path)
        }
        _ => Err(ReferenceError::Unknown(reference.to_owned())),
    }
}

/// A file's text without the newline that editors put behind it.
fn read(path: PathBuf) -> Result<String, ReferenceError> {
    let mut bytes = Vec::new();
    if let Err(cause) = std::fs::File::open(&path).and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes)) {
        return Err(ReferenceError::Unreadable { path, cause });
    }
    if bytes.len() as u64 > FILE_MAX {
        return Err(ReferenceError::Unfit { path, why: "it is larger than 64 KiB" });
    }
    let Ok(text) = String::from_utf8(bytes) else { return Err(ReferenceError::Unfit { path, why: "it is not UTF-8 text" }) };
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() { Err(ReferenceError::Unfit { path, why: "it is empty" }) } else { Ok(text.to_owned()) }
}

impl ReferenceError {
    /// What to do about it.
    pub(super) fn help(&self) -> String {
        match self {
            Self::Open => "close it with }".to_owned(),
            Self::Unknown(_) => "write ${env:NAME} for an environment variable, or ${file:PATH} for a file".to_owned(),
            Self::NotSet(name) | Self::Empty(name) => {
                format!("set it where Vicar starts (`export {name}=…`), or keep the secret in a file and write ${{file:PATH}}")
            }
            Self::NotText(_) => "give it a value that is text".to_owned(),
            Self::Unreadable { .. } | Self::Unfit { .. } => {
                "write the secret alone into the file, readable for the user that Vicar runs as; a path is relative to the settings file"
                    .to_owned()
            }
        }
    }
}

// ===== as a value =====

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.value
    }
}

impl<T: Into<String>> From<T> for Text {
    fn from(text: T) -> Self {
        let value = text.into();
        Self { written: value.clone(), value }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.shown(), f)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Text {
    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "description": "A text. `${env:NAME}` and `${file:PATH}` stand for what is kept elsewhere."})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(written: &str) -> Result<String, String> {
        let mut text = Text::from(written);
        text.resolve(Path::new(env!("CARGO_MANIFEST_DIR")), &mut Vec::new()).map(|()| text.as_str().to_owned()).map_err(|e| e.to_string())
    }

    #[test]
    fn references_are_replaced_by_what_they_stand_for() {
        assert_eq!(resolved("plain $ {x} $x"), Ok("plain $ {x} $x".to_owned()));
        let name = env!("CARGO_PKG_NAME");
        // Cargo sets this for its tests.
        assert_eq!(resolved("<${env:CARGO_PKG_NAME}>"), Ok(format!("<{name}>")));
        assert_eq!(resolved("${env:VICAR_NO_SUCH}").unwrap_err(), "the environment variable VICAR_NO_SUCH is not set");
        assert_eq!(resolved("${env:").unwrap_err(), "`${` is not closed");
        assert_eq!(resolved("${env:}").unwrap_err(), "`${env:}` is no reference");
        assert_eq!(resolved("${vault:x}").unwrap_err(), "`${vault:x}` is no reference");
        assert!(resolved("${file:no/such}").unwrap_err().contains("no/such cannot be read"));
        assert!(resolved("${file:Cargo.lock}").unwrap_err().contains("larger than 64 KiB"));
        assert!(resolved("${file:.rustfmt.toml}").unwrap().ends_with(|c: char| c != '\n'));
    }

    #[test]
    fn a_password_in_a_url_is_taken_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), "a?b%41/@é\n").unwrap();
        for (written, value) in [
            ("redis://vicar:${file:password}@host/1", "redis://vicar:a%3Fb%2541%2F%40%C3%A9@host/1"),
            // No part of a URL that is read in any other way.
            ("${file:password}", "a?b%41/@é"),
            ("redis://${file:password}", "redis://a?b%41/@é"),
        ] {
            let mut text = Text::from(written);
            text.resolve(folder.path(), &mut Vec::new()).unwrap();
            assert_eq!(text.as_str(), value);
        }
    }

    #[test]
    fn a_text_prints_as_it_was_written_and_shows_no_password() {
        let mut text = Text::from("redis://vicar:${env:CARGO_PKG_NAME}@host/0");
        text.resolve(Path::new("/"), &mut Vec::new()).unwrap();
        assert_eq!(text.as_str(), "redis://vicar:vicar@host/0");
        assert_eq!(format!("{text} {text:?}"), "redis://vicar:${env:CARGO_PKG_NAME}@host/0 \"redis://vicar:${env:CARGO_PKG_NAME}@host/0\"");
        assert_eq!(Text::from("redis://:pa@ss@host:6379/0").to_string(), "redis://:***@host:6379/0");
        assert_eq!(Text::from("redis://u:pa/ss?@host/0").to_string(), "redis://u:***@host/0");
        assert_eq!(Text::from("redis://u:${env:A}ss@host").to_string(), "redis://u:***@host");
        assert_eq!(Text::from("redis://user@host").to_string(), "redis://user@host");
    }
}
