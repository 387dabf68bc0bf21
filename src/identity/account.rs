//! Service accounts.

use std::{fmt, str::FromStr, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A service account: a non-user identity that owns access keys and is given shares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// The slug that the policy, the log and the command line call it by.
    pub id: AccountId,
    /// What people call it; under 80 characters.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether its keys sign in.
    pub status: Status,
    /// When it was made.
    pub created: Timestamp,
    /// How often it was changed, so that two admins notice each other.
    #[serde(default)]
    pub revision: u64,
}

/// Whether an account or key may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// In use.
    Active,
    /// Turned off until somebody turns it on again.
    Disabled,
}

impl Status {
    /// The word that stands in files, JSON and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The id of a service account: a slug of `a`-`z`, `0`-`9` and inner `-`, 1 to 63 characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountId(Arc<str>);

impl AccountId {
    /// The slug.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// ===== parsing and printing =====

/// A text that is no account id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an account id: use 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit (for example procure-to-pay)"
)]
pub struct AccountIdError(String);

impl FromStr for AccountId {
    type Err = AccountIdError;

    fn from_str(raw: &str) -> Result<Self, Self::Err> {
        if slug(raw) { Ok(Self(raw.into())) } else { Err(AccountIdError(raw.chars().take(80).collect())) }
    }
}

/// Whether a text is 1 to 63 of `a`-`z`, `0`-`9` and inner `-`.
pub(super) fn slug(raw: &str) -> bool {
    let bytes = raw.as_bytes();
    let body = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let edges = bytes.first().is_some_and(body) && bytes.last().is_some_and(body);
    edges && bytes.len() <= 63 && bytes.iter().all(|b| body(b) || *b == b'-')
}

impl TryFrom<String> for AccountId {
    type Error = AccountIdError;

    fn try_from(raw: String) -> Result<Self, Self::Error> {
        raw.parse()
    }
}

impl From<AccountId> for String {
    fn from(id: AccountId) -> Self {
        id.as_str().to_owned()
    }
}

impl std::borrow::Borrow<str> for AccountId {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
