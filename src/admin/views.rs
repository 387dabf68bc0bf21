//! What API and console show of accounts and keys: everything but what proves them.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    directory::{Directory, DirectoryError},
    identity::{Account, AccountId, Key, Status},
};

/// Keys that end within this many days are called expiring.
pub(super) const EXPIRING_DAYS: i64 = 30;
/// Of those, these are urgent.
pub(super) const URGENT_DAYS: i64 = 7;
const DAY_SECONDS: i64 = 24 * 60 * 60;

/// A service account.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Account")]
pub(super) struct AccountView {
    /// The slug that policy, log and commands call it by.
    pub(super) id: String,
    /// What people call it.
    pub(super) name: String,
    /// What it is for.
    pub(super) description: Option<String>,
    /// `active` or `disabled`.
    pub(super) status: &'static str,
    /// When it was made.
    pub(super) created: String,
    /// How many keys it has.
    pub(super) keys: usize,
    /// How they are.
    pub(super) key_states: KeyStates,
    /// When any of them last signed in, to the minute.
    pub(super) last_used: Option<String>,
    /// How often it was changed; the `ETag` is this.
    pub(super) revision: u64,
}

/// How many keys are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct KeyStates {
    /// They sign in.
    pub(super) active: usize,
    /// Turned off.
    pub(super) disabled: usize,
    /// Their time is over.
    pub(super) expired: usize,
    /// Of the active ones, those that end within 30 days.
    pub(super) expiring: usize,
    /// Of those, the ones that end within 7 days.
    pub(super) urgent: usize,
}

/// An access key; never its secret.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Key")]
pub(super) struct KeyView {
    /// Whose it is.
    pub(super) account: String,
    /// The public half.
    pub(super) id: String,
    /// What people call it.
    pub(super) name: String,
    /// `active` or `disabled`.
    pub(super) status: &'static str,
    /// When it was made.
    pub(super) created: String,
    /// From when on it no longer signs in; `null` is never.
    pub(super) expires: Option<String>,
    /// Whole days until then; 0 when it is over.
    pub(super) days_left: Option<i64>,
    /// When it last signed in, to the minute.
    pub(super) last_used: Option<String>,
    /// Networks that it may come from; empty is anywhere.
    pub(super) from: Vec<String>,
    /// Client certificates it is bound to, by SHA-256 fingerprint; empty is none.
    pub(super) client_certs: Vec<String>,
    /// Until when a secret before a rotation is taken too.
    pub(super) previous_until: Option<String>,
    /// How often it was changed; the `ETag` is this.
    pub(super) revision: u64,
}

/// A new or rotated key with its secret, which is told this once.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "KeyWithSecret")]
pub(super) struct SecretView {
    /// Whose it is.
    pub(super) account: String,
    /// The public half.
    pub(super) id: String,
    /// The secret half. It is kept nowhere and cannot be shown again.
    pub(super) secret: String,
    /// What people call it.
    pub(super) name: String,
    /// From when on it no longer signs in; `null` is never.
    pub(super) expires: Option<String>,
    /// Until when the secret before is taken too, after a rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) previous_until: Option<String>,
}

/// What a key is good for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyState {
    /// It signs in.
    Active,
    /// It signs in, for this many days yet.
    Expiring { days: i64 },
    /// It was turned off.
    Disabled,
    /// Its time is over.
    Expired,
}

/// An account and its keys, as the directory has them.
#[derive(Debug, Clone)]
pub(super) struct Holding {
    pub(super) account: Account,
    pub(super) keys: Vec<Key>,
}

/// Every account that `wanted` takes, with its keys.
pub(super) async fn holdings(directory: &dyn Directory, wanted: impl Fn(&AccountId) -> bool) -> Result<Vec<Holding>, DirectoryError> {
    let mut holdings = Vec::new();
    for account in directory.accounts().await?.into_iter().filter(|account| wanted(&account.id)) {
        match directory.keys(&account.id).await {
            Ok(keys) => holdings.push(Holding { account, keys }),
            // Deleted since the list was made.
            Err(DirectoryError::NoSuchAccount(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(holdings)
}

// ===== making them =====

impl KeyState {
    pub(super) fn of(key: &Key, now: Timestamp) -> Self {
        match (key.status, days_left(key, now)) {
            (Status::Disabled, _) => Self::Disabled,
            (Status::Active, _) if key.expired(now) => Self::Expired,
            (Status::Active, Some(days)) if days < EXPIRING_DAYS => Self::Expiring { days },
            (Status::Active, _) => Self::Active,
        }
    }
}

impl KeyStates {
    pub(super) fn of(keys: &[Key], now: Timestamp) -> Self {
        let mut states = Self::default();
        for key in keys {
            match KeyState::of(key, now) {
                KeyState::Active => states.active += 1,
                KeyState::Expiring { days } => {
                    states.active += 1;
                    states.expiring += 1;
                    states.urgent += usize::from(days < URGENT_DAYS);
                }
                KeyState::Disabled => states.disabled += 1,
                KeyState::Expired => states.expired += 1,
            }
        }
        states
    }
}

impl AccountView {
    pub(super) fn of(holding: &Holding, now: Timestamp) -> Self {
        let Holding { account, keys } = holding;
        Self {
            id: account.id.to_string(),
            name: account.name.clone(),
            description: account.description.clone(),
            status: account.status.as_str(),
            created: written(account.created),
            keys: keys.len(),
            key_states: KeyStates::of(keys, now),
            last_used: last_used(keys).map(written),
            revision: account.revision,
        }
    }
}

impl KeyView {
    pub(super) fn of(key: &Key, now: Timestamp) -> Self {
        Self {
            account: key.account.to_string(),
            id: key.id.to_string(),
            name: key.name.clone(),
            status: key.status.as_str(),
            created: written(key.created),
            expires: key.expires.map(written),
            days_left: days_left(key, now),
            last_used: key.last_used.map(written),
            from: key.sources.iter().map(ToString::to_string).collect(),
            client_certs: key.client_certs.iter().map(ToString::to_string).collect(),
            previous_until: key.previous.until().map(written),
            revision: key.revision,
        }
    }
}

impl SecretView {
    pub(super) fn of(key: &Key, secret: &crate::identity::Secret) -> Self {
        Self {
            account: key.account.to_string(),
            id: key.id.to_string(),
            secret: secret.reveal().to_owned(),
            name: key.name.clone(),
            expires: key.expires.map(written),
            previous_until: key.previous.until().map(written),
        }
    }
}

/// When any of `keys` last signed in.
pub(super) fn last_used(keys: &[Key]) -> Option<Timestamp> {
    keys.iter().filter_map(|key| key.last_used).max()
}

/// Whole days that a key has yet.
pub(super) fn days_left(key: &Key, now: Timestamp) -> Option<i64> {
    key.expires.map(|end| (end.as_second() - now.as_second()).max(0) / DAY_SECONDS)
}

/// RFC 3339, to the second.
pub(super) fn written(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
