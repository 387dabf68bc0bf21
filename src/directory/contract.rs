//! The trait that both backends keep, and what goes in and comes out.

use std::{fmt::Debug, num::NonZeroU32, pin::Pin, sync::Arc, time::Duration, time::Instant};

use ipnet::IpNet;
use jiff::Timestamp;

use super::{DirectoryError, Stamp};
use crate::{
    identity::{Account, AccountId, Admin, AdminId, AdminToken, Fingerprint, Key, KeyId, Role, Secret, SecretHash, Status},
    settings::Span,
};

/// What a backend answers, once it has.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, DirectoryError>> + Send + 'a>>;

/// Accounts, keys and admins, wherever they live.
///
/// Every change is atomic where the data is: the limits hold, and a change that was made on an older revision than
/// the one in force is refused with [`DirectoryError::Changed`].
pub trait Directory: Send + Sync + Debug {
    /// Every account, by id.
    fn accounts(&self) -> Answer<'_, Vec<Account>>;
    /// One account.
    fn account<'a>(&'a self, id: &'a AccountId) -> Answer<'a, Option<Account>>;
    /// The keys of one account, oldest first. An account that is not there is an error.
    fn keys<'a>(&'a self, account: &'a AccountId) -> Answer<'a, Vec<Key>>;
    /// One key, whatever its account.
    fn key(&self, id: KeyId) -> Answer<'_, Option<Key>>;

    /// What signing in needs, in one round trip: the key, its account, and how new both are.
    fn find(&self, id: KeyId) -> Answer<'_, Lookup>;
    /// The same, where the backend has it in memory.
    fn find_now(&self, _id: KeyId) -> Option<Lookup> {
        None
    }
    /// Looks whether anything has changed that nobody was told of yet, and tells it; gives whether it could look. A backend
    /// that would have to travel for that does not.
    fn catch_up(&self) -> Answer<'_, bool> {
        Box::pin(std::future::ready(Ok(false)))
    }

    /// Makes an account.
    fn create_account(&self, new: NewAccount, now: Timestamp) -> Answer<'_, Account>;
    /// Changes an account. One that is disabled takes no change but being enabled.
    fn change_account<'a>(&'a self, id: &'a AccountId, change: AccountChange, revision: Option<u64>) -> Answer<'a, Account>;
    /// Deletes an account and its keys; gives what was deleted.
    fn delete_account<'a>(&'a self, id: &'a AccountId, revision: Option<u64>) -> Answer<'a, Account>;

    /// Makes a key under an active account.
    fn create_key(&self, new: NewKey, now: Timestamp) -> Answer<'_, Created>;
    /// Changes a key. Under a disabled account a key can only be disabled.
    fn change_key(&self, id: KeyId, change: KeyChange, revision: Option<u64>) -> Answer<'_, Key>;
    /// Gives a key a new secret; the old one is still taken for `overlap`, and any before it no more.
    fn rotate_key(&self, id: KeyId, by: RotatedBy, overlap: Duration, now: Timestamp) -> Answer<'_, Rotated>;
    /// Deletes a key; gives what was deleted.
    fn delete_key(&self, id: KeyId, revision: Option<u64>) -> Answer<'_, Key>;
    /// Notes when keys last signed in. No change of theirs: nobody is told, no revision moves.
    fn note_used<'a>(&'a self, used: &'a [(KeyId, Timestamp)]) -> Answer<'a, ()>;

    /// Draws from quotas of so many requests a minute that all sidecars share; gives what there is, in the order of
    /// `draws`. A backend that no fleet shares has none.
    fn draw<'a>(&'a self, _per_minute: NonZeroU32, _draws: &'a [Draw]) -> Answer<'a, Vec<Drawn>> {
        Box::pin(std::future::ready(Err(DirectoryError::NotShared)))
    }

    /// Every admin, by id.
    fn admins(&self) -> Answer<'_, Vec<Admin>>;
    /// Makes an admin and the token they sign in with.
    fn create_admin(&self, new: NewAdmin, now: Timestamp) -> Answer<'_, CreatedAdmin>;
    /// Takes an admin's token back, and forgets them.
    fn revoke_admin<'a>(&'a self, id: &'a AdminId) -> Answer<'a, Admin>;
    /// Whose token this is, if it is anybody's and still good at `now`.
    fn admin_of<'a>(&'a self, token: &'a AdminToken, now: Timestamp) -> Answer<'a, Option<Admin>>;

    /// Tells `listener` of every change from now on, for as long as anybody else holds it.
    fn changes(&self, listener: Arc<dyn Listener>);
    /// What somebody should know before relying on this backend: a Redis that may evict, or keeps nothing on disk.
    fn warnings(&self) -> Answer<'_, Vec<String>>;
    /// How the backend is.
    fn health(&self) -> Health;
}

/// How a backend is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    Good,
    /// It serves what it had: its source has become unreadable or nonsense. Says what is wrong.
    Frozen(String),
    /// It cannot be reached. Says why.
    Away(String),
}

/// What signing in needs to know of one key id.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// How new this is.
    pub stamp: Stamp,
    /// The key and its account, if there is such a key.
    pub holder: Option<Holder>,
}

/// A key and the account it belongs to.
#[derive(Debug, Clone)]
pub struct Holder {
    /// The account.
    pub account: Arc<Account>,
    /// The key.
    pub key: Arc<Key>,
}

/// Somebody who hears what a backend has to tell. Called in the order of the changes, and must not wait.
pub trait Listener: Send + Sync + Debug {
    /// Hears it.
    fn hear(&self, news: News);
}

/// What a backend tells its listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Something changed. Answers older than `stamp` are void for what it concerns.
    Changed {
        /// The change's place in the order.
        stamp: Stamp,
        /// What it concerns.
        what: Change,
    },
    /// A new generation begins: changes may have been missed, and everything must be asked again.
    Generation(u32),
    /// Every change up to `at` has been told, in this generation.
    Vouched {
        /// The generation.
        generation: u32,
        /// Until when.
        at: Instant,
    },
    /// Changes no longer come through. Says why.
    Lost(String),
}

/// What a change concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// One key.
    Key(KeyId),
    /// An account, and so every key of it.
    Account(AccountId),
}

/// Whose requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Quota {
    /// Those of an account.
    Account(AccountId),
    /// Those of a key.
    Key(KeyId),
}

/// What one sidecar asks of a quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draw {
    /// Which.
    pub quota: Quota,
    /// Requests it has let through without having drawn them.
    pub owed: u32,
    /// Requests it has drawn, and gives back.
    pub unused: u32,
    /// Requests it would like to have at hand.
    pub wanted: u32,
}

/// What a quota gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drawn {
    /// Requests, for this sidecar alone.
    pub requests: u32,
    /// What is left, in thousandths of a request; below zero where more was let through than there was.
    pub left: i64,
}

/// An account to be.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// Its slug.
    pub id: AccountId,
    /// What people call it; under 80 characters.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
}

/// What to change about an account; `None` leaves a thing as it is.
#[derive(Debug, Clone, Default)]
pub struct AccountChange {
    /// What people call it.
    pub name: Option<String>,
    /// What it is for; an empty text takes the description away.
    pub description: Option<String>,
    /// Whether its keys sign in.
    pub status: Option<Status>,
}

/// When a key or token ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// So long after now.
    In(Span),
    /// At this instant.
    At(Timestamp),
    /// Never; somebody said so.
    Never,
}

/// A key to be.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// The account it will sign in as.
    pub account: AccountId,
    /// What people call it; under 80 characters.
    pub name: String,
    /// When it ends.
    pub expires: Expiry,
    /// Where it may come from; empty is anywhere.
    pub sources: Vec<IpNet>,
    /// Client certificates it is bound to; empty is none.
    pub client_certs: Vec<Fingerprint>,
}

/// What to change about a key; `None` leaves a thing as it is.
#[derive(Debug, Clone, Default)]
pub struct KeyChange {
    /// What people call it.
    pub name: Option<String>,
    /// Whether it signs in.
    pub status: Option<Status>,
    /// Where it may come from; empty is anywhere.
    pub sources: Option<Vec<IpNet>>,
    /// Client certificates it is bound to; empty is none.
    pub client_certs: Option<Vec<Fingerprint>>,
    /// When it ends.
    pub expires: Option<Expiry>,
}

impl KeyChange {
    /// What it changes about `key`, for the audit log.
    #[must_use]
    pub fn told(&self, key: &Key) -> String {
        let all = |list: Vec<String>, none: &str| if list.is_empty() { none.to_owned() } else { list.join(", ") };
        let told = [
            self.name.as_ref().map(|name| format!("{} is now {}", key.name, name.trim())),
            self.status.map(|status| format!("status is now {status}")),
            self.sources.as_ref().map(|nets| format!("from {}", all(nets.iter().map(IpNet::to_string).collect(), "anywhere"))),
            self.client_certs
                .as_ref()
                .map(|certs| format!("client certificate {}", all(certs.iter().map(Fingerprint::to_string).collect(), "none"))),
            self.expires.map(|_| "expiry changed".to_owned()),
        ];
        told.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

/// A new key, and the one moment its secret is to be had.
#[derive(Debug, Clone)]
pub struct Created {
    /// The key.
    pub key: Key,
    /// Its secret, to be shown once.
    pub secret: Secret,
}

/// Who has a key rotated.
#[derive(Debug, Clone, Copy)]
pub enum RotatedBy {
    /// Somebody who governs.
    Operator,
    /// Whoever presented the secret of this hash. It has to be the one in force: a secret that was replaced ends with its
    /// overlap, and could otherwise have another made in its place.
    Holder(SecretHash),
}

/// A rotated key, and the one moment its new secret is to be had.
#[derive(Debug, Clone)]
pub struct Rotated {
    /// The key; [`Key::previous`] says until when the old secret is taken.
    pub key: Key,
    /// Its new secret, to be shown once.
    pub secret: Secret,
}

/// An admin to be.
#[derive(Debug, Clone)]
pub struct NewAdmin {
    /// Their slug.
    pub id: AdminId,
    /// What people call them; under 80 characters.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// The accounts an account admin is for; none for any other role.
    pub accounts: Vec<AccountId>,
    /// When the token ends.
    pub expires: Expiry,
}

/// A new admin, and the one moment their token is to be had.
#[derive(Debug, Clone)]
pub struct CreatedAdmin {
    /// The admin.
    pub admin: Admin,
    /// Their token, to be shown once.
    pub token: AdminToken,
}
