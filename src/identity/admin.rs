//! The people who govern: their roles and tokens.

use std::{fmt, str::FromStr, sync::Arc, sync::LazyLock};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    AccountId, SecretHash,
    account::slug,
    shape::{self, SHAPED},
};

/// What an admin may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Everything.
    SuperAdmin,
    /// Accounts, keys and the audit log.
    IamAdmin,
    /// Keys and the audit log of named accounts.
    AccountAdmin,
    /// Reads everything, changes nothing.
    Auditor,
}

/// Somebody who may use the admin API and the console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// The slug that the audit log calls them by.
    pub id: AdminId,
    /// What people call them; under 80 characters.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// The accounts an account admin is for; empty for every other role.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<AccountId>,
    /// Hash of the token.
    pub hash: SecretHash,
    /// When it was made.
    pub created: Timestamp,
    /// From when on the token is refused; `None` is never, which somebody had to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// The id of an admin: a slug, as an account's.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AdminId(Arc<str>);

/// What an admin signs in with. It prints as `vat_…`: only [`AdminToken::reveal`] shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken([u8; SHAPED]);

/// Domain of the derived-key hash; changing it voids every stored hash.
static HASHER: LazyLock<blake3::Hasher> = LazyLock::new(|| blake3::Hasher::new_derive_key("vicar 2026-11 admin token v1"));

impl Role {
    /// All of them, the mightiest first.
    pub const ALL: [Self; 4] = [Self::SuperAdmin, Self::IamAdmin, Self::AccountAdmin, Self::Auditor];

    /// The word that stands in files, JSON and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SuperAdmin => "super-admin",
            Self::IamAdmin => "iam-admin",
            Self::AccountAdmin => "account-admin",
            Self::Auditor => "auditor",
        }
    }
}

impl Admin {
    /// Whether the token's time is over at `now`.
    #[must_use]
    pub fn expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| now >= end)
    }
}

impl AdminId {
    /// The slug.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AdminToken {
    /// Length in bytes.
    pub const LEN: usize = SHAPED;

    /// A new token from the system's random numbers.
    ///
    /// # Errors
    /// When the system has no random numbers to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        shape::random(shape::TOKEN).map(Self)
    }

    /// Reads a token off the wire, checksum included.
    ///
    /// # Errors
    /// [`AdminTokenError`] when the shape or the checksum is wrong; it never repeats the input.
    pub fn parse(raw: &[u8]) -> Result<Self, AdminTokenError> {
        shape::parse(shape::TOKEN, raw).map(Self).ok_or(AdminTokenError)
    }

    /// The hash that is stored, and compared with what is stored.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        let mut hasher = HASHER.clone();
        hasher.update(&self.0);
        SecretHash::of(hasher.finalize())
    }

    /// The token itself, for the one moment it is shown to its owner.
    #[must_use]
    pub fn reveal(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

// ===== parsing and printing =====

/// A text that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a role: use super-admin, iam-admin, account-admin or auditor")]
pub struct RoleError(String);

/// A text that is no admin id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an admin id: use 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit (for example zoe-miller)")]
pub struct AdminIdError(String);

/// A text that is no admin token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an admin token: it is vat_ and 59 characters, as `vicar admin create` showed it once")]
pub struct AdminTokenError;

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(raw: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|role| role.as_str() == raw).ok_or_else(|| RoleError(raw.chars().take(80).collect()))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AdminId {
    type Err = AdminIdError;

    fn from_str(raw: &str) -> Result<Self, Self::Err> {
        if slug(raw) { Ok(Self(raw.into())) } else { Err(AdminIdError(raw.chars().take(80).collect())) }
    }
}

impl TryFrom<String> for AdminId {
    type Error = AdminIdError;

    fn try_from(raw: String) -> Result<Self, Self::Error> {
        raw.parse()
    }
}

impl From<AdminId> for String {
    fn from(id: AdminId) -> Self {
        id.as_str().to_owned()
    }
}

impl fmt::Display for AdminId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for AdminId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("vat_…")
    }
}
