//! A keys file just as Vicar writes it, read line by line: a tenth of the time that YAML takes, which is most of a start.
//!
//! Nothing is decided here. What does not look like Vicar's own writing gives nothing, and what does counts only if it
//! writes back to the same text ([`super::parse`]); all else is for the YAML reader, which also says what is wrong.

use serde::de::{
    DeserializeOwned,
    value::{Error, StrDeserializer},
};

use super::{AccountEntry, Document, HEAD, KeyEntry};
use crate::identity::{Admin, PreviousSecret, PreviousSecrets};

/// What `text` says, if it looks like what [`super::print`] writes.
pub(super) fn read(text: &str) -> Option<Document> {
    let mut lines = Lines { rest: text.strip_prefix(HEAD)? };
    let mut document = Document { version: 1, accounts: Vec::new(), admins: Vec::new() };
    lines.field("accounts:");
    while let Some(id) = lines.field("  - id: ") {
        document.accounts.push(account(id, &mut lines)?);
    }
    lines.field("admins:");
    while let Some(id) = lines.field("  - id: ") {
        document.admins.push(admin(id, &mut lines)?);
    }
    lines.rest.is_empty().then_some(document)
}

fn account(id: &str, lines: &mut Lines<'_>) -> Option<AccountEntry> {
    Some(AccountEntry {
        id: quoted(id)?,
        name: quoted(lines.field("    name: ")?)?,
        description: lines.perhaps("    description: ", quoted)?,
        status: word(lines.field("    status: ")?)?,
        created: word(lines.field("    created: ")?)?,
        revision: lines.field("    revision: ")?.parse().ok()?,
        keys: {
            let mut keys = Vec::new();
            lines.field("    keys:");
            while let Some(id) = lines.field("      - id: ") {
                keys.push(key(id, lines)?);
            }
            keys
        },
    })
}

fn key(id: &str, lines: &mut Lines<'_>) -> Option<KeyEntry> {
    Some(KeyEntry {
        id: word(id)?,
        name: quoted(lines.field("        name: ")?)?,
        status: word(lines.field("        status: ")?)?,
        created: word(lines.field("        created: ")?)?,
        expires: lines.perhaps("        expires: ", word)?,
        from: lines.perhaps("        from: ", quoted)?.unwrap_or_default(),
        client_certs: lines.perhaps("        client_certs: ", quoted)?.unwrap_or_default(),
        hash: quoted(lines.field("        hash: ")?)?,
        previous: lines.perhaps("        previous: ", previous)?.unwrap_or_default(),
        revision: lines.field("        revision: ")?.parse().ok()?,
    })
}

fn previous(raw: &str) -> Option<PreviousSecrets> {
    let all = raw.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(raw);
    let one = |raw: &str| {
        let (hash, until) = raw.split_once(", until: ")?;
        Some(PreviousSecret { hash: quoted(hash)?, until: word(until)? })
    };
    let all = all.strip_prefix("{hash: ")?.strip_suffix('}')?.split("}, {hash: ").map(one);
    all.collect::<Option<Vec<_>>>().map(PreviousSecrets::from)
}

fn admin(id: &str, lines: &mut Lines<'_>) -> Option<Admin> {
    Some(Admin {
        id: quoted(id)?,
        name: quoted(lines.field("    name: ")?)?,
        role: word(lines.field("    role: ")?)?,
        accounts: lines.perhaps("    accounts: ", quoted)?.unwrap_or_default(),
        created: word(lines.field("    created: ")?)?,
        expires: lines.perhaps("    expires: ", word)?,
        hash: quoted(lines.field("    hash: ")?)?,
    })
}

struct Lines<'t> {
    rest: &'t str,
}

impl<'t> Lines<'t> {
    /// The rest of the next line, if it begins with `lead`.
    fn field(&mut self, lead: &str) -> Option<&'t str> {
        let (value, rest) = self.rest.strip_prefix(lead)?.split_once('\n')?;
        self.rest = rest;
        Some(value)
    }

    /// A field that need not be there; nothing only if it is there and cannot be read.
    fn perhaps<T>(&mut self, lead: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
        match self.field(lead) {
            None => Some(None),
            Some(raw) => read(raw).map(Some),
        }
    }
}

/// What stands there without quotes.
fn word<T: DeserializeOwned>(raw: &str) -> Option<T> {
    T::deserialize(StrDeserializer::<Error>::new(raw)).ok()
}

/// What [`super::Quoted`] writes, alone or in a list, JSON reads.
fn quoted<T: DeserializeOwned>(raw: &str) -> Option<T> {
    serde_json::from_str(raw).ok()
}
