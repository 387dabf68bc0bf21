//! What a change makes of a record, the same on every backend. Pure: the backend reads, calls, and writes.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{AccountChange, Created, CreatedAdmin, DirectoryError, Expiry, KeyChange, NewAccount, NewAdmin, NewKey, Rotated, RotatedBy};
use crate::{
    identity::{Account, Admin, AdminToken, BOUND_TO_MAX, Key, KeyId, PreviousSecrets, Role, Secret, Status, display_name},
    settings::{Limits, Span},
};

/// Most characters of a description.
pub(crate) const DESCRIPTION_MAX_CHARS: usize = 1000;
/// Most admins. No limit of the product: a bound on what signing an admin in has to look through.
pub(super) const ADMINS: u32 = 1000;

/// The numbers that bound a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) accounts: u32,
    pub(super) keys_per_account: u32,
    pub(super) key_lifetime: Option<Span>,
}

impl Rules {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { accounts: limits.accounts, keys_per_account: limits.keys_per_account, key_lifetime: limits.key_lifetime }
    }
}

// ===== accounts =====

pub(super) fn new_account(new: NewAccount, now: Timestamp) -> Result<Account, DirectoryError> {
    let description = new.description.map(|text| description(&text)).transpose()?.flatten();
    Ok(Account { id: new.id, name: display_name(&new.name)?, description, status: Status::Active, created: whole_second(now), revision: 0 })
}

pub(super) fn change_account(old: &Account, change: &AccountChange, revision: Option<u64>) -> Result<Account, DirectoryError> {
    account_as_seen(old, revision)?;
    let mut new = old.clone();
    if let Some(status) = change.status {
        new.status = status;
    }
    if let Some(name) = &change.name {
        new.name = display_name(name)?;
    }
    if let Some(text) = &change.description {
        new.description = description(text)?;
    }
    let differs = new.name != old.name || new.description != old.description;
    if differs && new.status == Status::Disabled && old.status == Status::Disabled {
        return Err(DirectoryError::Disabled(old.id.clone()));
    }
    if new != *old {
        new.revision = old.revision.saturating_add(1);
    }
    Ok(new)
}

/// Whether an account is still what somebody has seen: of `revision`, where that was said. So it may be deleted.
///
/// # Errors
/// [`DirectoryError::Changed`].
pub(crate) fn account_as_seen(old: &Account, revision: Option<u64>) -> Result<(), DirectoryError> {
    as_seen(old.revision, revision, || format!("the service account {}", old.id))
}

// ===== keys =====

pub(super) fn new_key(account: &Account, new: NewKey, rules: &Rules, now: Timestamp) -> Result<Created, DirectoryError> {
    active(account)?;
    let (id, secret) = (KeyId::random()?, Secret::random()?);
    let key = Key {
        id,
        account: new.account,
        name: display_name(&new.name)?,
        hash: secret.hash_for(&id),
        previous: PreviousSecrets::none(),
        status: Status::Active,
        created: whole_second(now),
        expires: end(new.expires, rules.key_lifetime, now)?,
        sources: bound_to("networks", new.sources)?,
        client_certs: bound_to("client certificates", new.client_certs)?,
        last_used: None,
        revision: 0,
    };
    Ok(Created { key, secret })
}

pub(super) fn change_key(
    account: &Account,
    old: &Key,
    change: &KeyChange,
    rules: &Rules,
    revision: Option<u64>,
    now: Timestamp,
) -> Result<Key, DirectoryError> {
    key_as_seen(old, revision)?;
    let mut new = old.clone();
    if let Some(name) = &change.name {
        new.name = display_name(name)?;
    }
    if let Some(sources) = &change.sources {
        new.sources = bound_to("networks", sources.clone())?;
    }
    if let Some(client_certs) = &change.client_certs {
        new.client_certs = bound_to("client certificates", client_certs.clone())?;
    }
    if let Some(expires) = change.expires {
        new.expires = end(expires, rules.key_lifetime, now)?;
    }
    if let Some(status) = change.status {
        new.status = status;
    }
    if new == *old {
        return Ok(new);
    }
    let only_disabled = new == Key { status: Status::Disabled, ..old.clone() };
    if !only_disabled {
        active(account)?;
    }
    new.revision = old.revision.saturating_add(1);
    Ok(new)
}

fn bound_to<T>(what: &'static str, all: Vec<T>) -> Result<Vec<T>, DirectoryError> {
    if all.len() > BOUND_TO_MAX {
        return Err(DirectoryError::BoundTo { what, given: all.len(), most: BOUND_TO_MAX });
    }
    Ok(all)
}

pub(super) fn rotate_key(
    account: &Account,
    old: &Key,
    by: RotatedBy,
    overlap: Duration,
    now: Timestamp,
) -> Result<Rotated, DirectoryError> {
    active(account)?;
    match by {
        RotatedBy::Holder(hash) if hash != old.hash => return Err(DirectoryError::Superseded(old.id)),
        RotatedBy::Holder(_) | RotatedBy::Operator => {}
    }
    let secret = Secret::random()?;
    let until = SignedDuration::try_from(overlap).ok().and_then(|overlap| now.checked_add(overlap).ok()).ok_or(DirectoryError::Far)?;
    // Without an overlap the old secret ends now, not with this second.
    let until = if until > now { next_second(until) } else { until };
    // With the key both secrets end.
    let until = old.expires.map_or(until, |end| until.min(end));
    let key = Key {
        hash: secret.hash_for(&old.id),
        previous: old.previous.and(old.hash, until, now),
        revision: old.revision.saturating_add(1),
        ..old.clone()
    };
    Ok(Rotated { key, secret })
}

/// The same for a key.
///
/// # Errors
/// [`DirectoryError::Changed`].
pub(crate) fn key_as_seen(old: &Key, revision: Option<u64>) -> Result<(), DirectoryError> {
    as_seen(old.revision, revision, || format!("the access key {}", old.id))
}

// ===== admins =====

pub(super) fn new_admin(new: NewAdmin, now: Timestamp) -> Result<CreatedAdmin, DirectoryError> {
    if (new.role == Role::AccountAdmin) == new.accounts.is_empty() {
        return Err(DirectoryError::RoleAccounts);
    }
    let token = AdminToken::random()?;
    let admin = Admin {
        id: new.id,
        name: display_name(&new.name)?,
        role: new.role,
        accounts: new.accounts,
        hash: token.hash(),
        created: whole_second(now),
        expires: end(new.expires, None, now)?,
    };
    Ok(CreatedAdmin { admin, token })
}

/// Whose token has this hash. Every admin is compared, in constant time, whoever matches.
pub(super) fn admin_of<'a>(admins: impl IntoIterator<Item = &'a Admin>, token: &AdminToken, now: Timestamp) -> Option<&'a Admin> {
    let hash = token.hash();
    let mut found = None;
    for admin in admins {
        if admin.hash == hash {
            found = Some(admin);
        }
    }
    found.filter(|admin| !admin.expired(now))
}

// ===== parts =====

fn active(account: &Account) -> Result<(), DirectoryError> {
    match account.status {
        Status::Active => Ok(()),
        Status::Disabled => Err(DirectoryError::Disabled(account.id.clone())),
    }
}

fn as_seen(is: u64, was: Option<u64>, what: impl FnOnce() -> String) -> Result<(), DirectoryError> {
    if was.is_none_or(|was| was == is) { Ok(()) } else { Err(DirectoryError::Changed { what: what() }) }
}

fn description(raw: &str) -> Result<Option<String>, DirectoryError> {
    let text = raw.trim();
    if text.chars().count() > DESCRIPTION_MAX_CHARS || text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(DirectoryError::Description { longest: DESCRIPTION_MAX_CHARS });
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

fn end(expiry: Expiry, longest: Option<Span>, now: Timestamp) -> Result<Option<Timestamp>, DirectoryError> {
    let after = |span: Span| {
        let span = SignedDuration::try_from(span.0).map_err(|_| DirectoryError::Far)?;
        now.checked_add(span).map_err(|_| DirectoryError::Far)
    };
    let exact = match expiry {
        Expiry::In(span) => Some(after(span)?),
        Expiry::At(end) => Some(end),
        Expiry::Never => None,
    };
    if exact.is_some_and(|end| end <= now) {
        return Err(DirectoryError::Past);
    }
    if let Some(longest) = longest {
        let last = after(longest)?;
        if exact.is_none_or(|end| end > last) {
            return Err(DirectoryError::Lifetime { longest });
        }
    }
    Ok(exact.map(next_second))
}

/// Up, not down: a second asked for is a second given.
fn next_second(at: Timestamp) -> Timestamp {
    if whole_second(at) < at { whole_second(at).checked_add(SignedDuration::from_secs(1)).unwrap_or(at) } else { at }
}

/// Files and tables read better without fractions of a second.
fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
