//! The keys file as text.
//!
//! It is read by people and compared by git: one line a fact, accounts by id, keys by age, hashes and no secret. What
//! is read is checked whole, so that a hand edit either means something or changes nothing. Comments are not kept when
//! the file is written again; its first lines say so.

mod lines;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
    sync::Arc,
};

use ipnet::IpNet;
use jiff::Timestamp;
use serde::Deserialize;

use crate::{
    directory::Holder,
    identity::{Account, AccountId, Admin, AdminId, Fingerprint, Key, KeyId, NameError, PreviousSecrets, SecretHash, Status, display_name},
};

/// All that a keys file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) accounts: BTreeMap<AccountId, Arc<Account>>,
    /// By account, in the order of the file.
    pub(super) keys: BTreeMap<AccountId, Vec<Arc<Key>>>,
    pub(super) admins: BTreeMap<AdminId, Admin>,
}

const HEAD: &str = "\
# Service accounts, access keys and admins of Vicar. Hashes only: there is no secret in here.
# Written by `vicar account`, `vicar key` and `vicar admin`, which keep no comments. An edit by hand is taken within a
# second, or refused whole and said so.
version: 1
";

impl Contents {
    /// Where each key is, for signing in.
    pub(super) fn index(&self) -> HashMap<KeyId, Holder, foldhash::quality::RandomState> {
        let holder = |key: &Arc<Key>| {
            let account = self.accounts.get(&key.account)?.clone();
            Some((key.id, Holder { account, key: key.clone() }))
        };
        self.keys.values().flatten().filter_map(holder).collect()
    }

    pub(super) fn key(&self, id: KeyId) -> Option<&Arc<Key>> {
        self.keys.values().flatten().find(|key| key.id == id)
    }
}

// ===== reading =====

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    #[serde(default)]
    accounts: Vec<AccountEntry>,
    #[serde(default)]
    admins: Vec<Admin>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountEntry {
    id: AccountId,
    name: String,
    #[serde(default)]
    description: Option<String>,
    status: Status,
    created: Timestamp,
    #[serde(default)]
    revision: u64,
    #[serde(default)]
    keys: Vec<KeyEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    id: KeyId,
    name: String,
    status: Status,
    created: Timestamp,
    #[serde(default)]
    expires: Option<Timestamp>,
    #[serde(default, deserialize_with = "crate::identity::networks")]
    from: Vec<IpNet>,
    #[serde(default)]
    client_certs: Vec<Fingerprint>,
    hash: SecretHash,
    #[serde(default)]
    previous: PreviousSecrets,
    #[serde(default)]
    revision: u64,
}

/// Reads a keys file, or says what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Contents, String> {
    // Whatever is written reads back, so what writes back to this text is what this text says.
    let own = lines::read(text).and_then(|document| contents(document).ok()).filter(|contents| print(contents) == text);
    own.map_or_else(|| contents(yaml(text)?), Ok)
}

fn yaml(text: &str) -> Result<Document, String> {
    let mut options = serde_yaml::Options::default();
    if let Some(budget) = &mut options.budget {
        // A directory may be as large as its limits; aliases and depth stay bounded as they are.
        budget.max_nodes = 10_000_000;
        budget.max_events = 40_000_000;
    }
    options.with_snippet = false;
    serde_yaml::from_str_with_options(text, options).map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
}

/// What a document says, if it does not contradict itself.
fn contents(document: Document) -> Result<Contents, String> {
    if document.version != 1 {
        return Err(format!("version {} is not known here: this Vicar writes version 1", document.version));
    }
    let mut contents = Contents::default();
    let mut ids = BTreeSet::new();
    for entry in document.accounts {
        let id = entry.id;
        let name = name(&entry.name).map_err(|error| format!("account {id}: {error}"))?;
        let AccountEntry { description, status, created, revision, keys, .. } = entry;
        let mut under = Vec::with_capacity(keys.len());
        for key in keys {
            let KeyEntry { id: key_id, name: key_name, status, created, expires, from, client_certs, hash, previous, revision } = key;
            if !ids.insert(key_id) {
                return Err(format!("key {key_id} stands there twice"));
            }
            let key_name = self::name(&key_name).map_err(|error| format!("key {key_id}: {error}"))?;
            under.push(Arc::new(Key {
                id: key_id,
                account: id.clone(),
                name: key_name,
                hash,
                previous,
                status,
                created,
                expires,
                sources: from,
                client_certs,
                last_used: None,
                revision,
            }));
        }
        let account = Account { id: id.clone(), name, description, status, created, revision };
        if contents.accounts.insert(id.clone(), Arc::new(account)).is_some() {
            return Err(format!("account {id} stands there twice"));
        }
        contents.keys.insert(id, under);
    }
    for admin in document.admins {
        let id = admin.id.clone();
        if contents.admins.insert(id.clone(), admin).is_some() {
            return Err(format!("admin {id} stands there twice"));
        }
    }
    Ok(contents)
}

fn name(raw: &str) -> Result<String, NameError> {
    display_name(raw)
}

// ===== writing =====

/// The text that reads as `contents`.
pub(super) fn print(contents: &Contents) -> String {
    let mut out = String::from(HEAD);
    let mut line = |indent: usize, text: std::fmt::Arguments<'_>| {
        let _ = writeln!(out, "{:indent$}{text}", "");
    };
    if !contents.accounts.is_empty() {
        line(0, format_args!("accounts:"));
    }
    for account in contents.accounts.values() {
        line(2, format_args!("- id: {}", Quoted(account.id.as_str())));
        line(4, format_args!("name: {}", Quoted(&account.name)));
        if let Some(description) = &account.description {
            line(4, format_args!("description: {}", Quoted(description)));
        }
        line(4, format_args!("status: {}", account.status));
        line(4, format_args!("created: {}", account.created));
        line(4, format_args!("revision: {}", account.revision));
        let keys = contents.keys.get(&account.id).map_or(&[][..], Vec::as_slice);
        if !keys.is_empty() {
            line(4, format_args!("keys:"));
        }
        for key in keys {
            line(6, format_args!("- id: {}", key.id));
            line(8, format_args!("name: {}", Quoted(&key.name)));
            line(8, format_args!("status: {}", key.status));
            line(8, format_args!("created: {}", key.created));
            if let Some(expires) = key.expires {
                line(8, format_args!("expires: {expires}"));
            }
            if !key.sources.is_empty() {
                let sources = key.sources.iter().map(|net| Quoted(&net.to_string()).to_string()).collect::<Vec<_>>();
                line(8, format_args!("from: [{}]", sources.join(", ")));
            }
            if !key.client_certs.is_empty() {
                let certs = key.client_certs.iter().map(|cert| Quoted(&cert.to_string()).to_string()).collect::<Vec<_>>();
                line(8, format_args!("client_certs: [{}]", certs.join(", ")));
            }
            line(8, format_args!("hash: {}", Quoted(&String::from(key.hash))));
            let previous = key.previous.iter().map(|old| format!("{{hash: {}, until: {}}}", Quoted(&String::from(old.hash)), old.until));
            match previous.collect::<Vec<_>>().as_slice() {
                [] => {}
                [one] => line(8, format_args!("previous: {one}")),
                all => line(8, format_args!("previous: [{}]", all.join(", "))),
            }
            line(8, format_args!("revision: {}", key.revision));
        }
    }
    if !contents.admins.is_empty() {
        line(0, format_args!("admins:"));
    }
    for admin in contents.admins.values() {
        line(2, format_args!("- id: {}", Quoted(admin.id.as_str())));
        line(4, format_args!("name: {}", Quoted(&admin.name)));
        line(4, format_args!("role: {}", admin.role));
        if !admin.accounts.is_empty() {
            let accounts = admin.accounts.iter().map(|id| Quoted(id.as_str()).to_string()).collect::<Vec<_>>();
            line(4, format_args!("accounts: [{}]", accounts.join(", ")));
        }
        line(4, format_args!("created: {}", admin.created));
        if let Some(expires) = admin.expires {
            line(4, format_args!("expires: {expires}"));
        }
        line(4, format_args!("hash: {}", Quoted(&String::from(admin.hash))));
    }
    out
}

/// A text as a double-quoted YAML scalar, which no content can end or turn into another type.
struct Quoted<'a>(&'a str);

impl std::fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                // Controls, what YAML takes for a line break, and what it does not call printable.
                c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') => {
                    write!(f, "\\u{:04X}", u32::from(c))?;
                }
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests;
