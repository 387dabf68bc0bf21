//! Who may sign in: service accounts and their access keys, and the admins who govern them.
//!
//! Two backends stand behind one trait, [`Directory`]: a keys file that people can read and keep in git, and a Redis
//! that a fleet of sidecars shares. [`open`] makes the one that the settings name; `cli` and `admin` change things
//! through it. `proxy` asks nothing of a backend: it calls [`sign_in`] with the [`DirectoryCache`] in front of it,
//! which hears of every revocation and answers without waiting for anybody.
//!
//! This room knows `identity` and its own I/O.

mod cache;
mod contract;
mod error;
mod file;
mod record;
pub(crate) mod redis;
mod sign_in;
mod stamp;

pub use cache::{CacheStats, DirectoryCache};
pub use contract::{
    AccountChange, Answer, Change, Created, CreatedAdmin, Directory, Draw, Drawn, Expiry, Health, Holder, KeyChange, Listener, Lookup,
    NewAccount, NewAdmin, NewKey, News, Quota, Rotated, RotatedBy,
};
pub use error::DirectoryError;
pub(crate) use record::{DESCRIPTION_MAX_CHARS, account_as_seen, key_as_seen};
pub use redis::LEAST_ACL;
pub use sign_in::{Caller, Client, Presented, Refused, SignInReason, Unsettled, recognise, sign_in};
pub use stamp::Stamp;

use std::sync::Arc;

use crate::settings::{DirectoryBackend, Limits};

/// Opens the directory that the settings name.
///
/// A Redis that is away is no error here: every question says so until it is back, and no restart is needed then.
///
/// # Errors
/// [`DirectoryError`] when the keys file cannot be taken as it is, or the address of Redis means nothing.
pub async fn open(backend: &DirectoryBackend, limits: &Limits) -> Result<Arc<dyn Directory>, DirectoryError> {
    let rules = record::Rules::new(limits);
    match (&backend.file, &backend.redis) {
        (_, Some(url)) => Ok(redis::RedisDirectory::open(url.as_str(), backend, rules).await?),
        (Some(path), None) => Ok(file::FileDirectory::open(&path.value, rules).await?),
        (None, None) => Err(DirectoryError::NotSet),
    }
}
