//! Why a directory could not do what it was asked, and what to do about it.

use std::{path::PathBuf, sync::Arc};

use crate::{
    identity::{AccountId, AdminId, KeyId, NameError},
    settings::Span,
};

/// Why a directory could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DirectoryError {
    /// Neither a file nor a Redis is set.
    #[error("no directory is set: give `directory:` a `file:` or a `redis:` in the settings")]
    NotSet,
    /// No account of this id.
    #[error("there is no service account {0}: `vicar account list` shows those there are")]
    NoSuchAccount(AccountId),
    /// No key of this id.
    #[error("there is no access key {0}: `vicar key list ACCOUNT` shows those of an account")]
    NoSuchKey(KeyId),
    /// No admin of this id.
    #[error("there is no admin {0}: `vicar admin list` shows those there are")]
    NoSuchAdmin(AdminId),
    /// The id is taken.
    #[error("there is a service account {0} already: choose another id")]
    AccountExists(AccountId),
    /// The id is taken.
    #[error("there is an admin {0} already: choose another id, or revoke that one first")]
    AdminExists(AdminId),
    /// As many accounts as the settings allow.
    #[error("there are {limit} service accounts, which is the limit: delete one that is no longer used, or raise limits.accounts")]
    TooManyAccounts {
        /// The limit.
        limit: u32,
    },
    /// As many keys of one account as the settings allow.
    #[error(
        "the account {account} has {limit} access keys, which is the limit: delete one that is no longer used, or raise limits.keys_per_account"
    )]
    TooManyKeys {
        /// The account.
        account: AccountId,
        /// The limit.
        limit: u32,
    },
    /// More admins than a directory keeps.
    #[error("there are {limit} admins, which is the limit: revoke some that are no longer needed")]
    TooManyAdmins {
        /// The limit.
        limit: u32,
    },
    /// Somebody else changed it in between.
    #[error("{what} has been changed by somebody else in the meantime: look at it again, then repeat the change")]
    Changed {
        /// What was changed.
        what: String,
    },
    /// The secret that was to rotate the key is no longer the key's own.
    #[error("the secret of {0} has been rotated already: use the one that replaced it")]
    Superseded(KeyId),
    /// A disabled account takes no change.
    #[error("the account {0} is disabled, and a disabled account cannot be changed: enable it first (`vicar account enable {0}`)")]
    Disabled(AccountId),
    /// The name cannot be taken.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The description cannot be taken.
    #[error("a description has at most {longest} characters and no control characters but line breaks")]
    Description {
        /// Most characters.
        longest: usize,
    },
    /// A key is bound to more than each sign-in should look through.
    #[error("a key takes {most} {what} at most; this one would have {given}: join networks, or make a further key")]
    BoundTo {
        /// Networks, or client certificates.
        what: &'static str,
        /// How many it would have.
        given: usize,
        /// [`BOUND_TO_MAX`](crate::identity::BOUND_TO_MAX).
        most: usize,
    },
    /// The expiry lies in the past.
    #[error("the expiry lies in the past: give a time to come, a length of time such as 90d, or never")]
    Past,
    /// The expiry lies beyond what can be written down.
    #[error("the expiry lies too far in the future: give a nearer one, or never")]
    Far,
    /// The expiry lies beyond what the settings allow.
    #[error("a key may live {longest} at most here (limits.key_lifetime): give an expiry within that")]
    Lifetime {
        /// The longest life.
        longest: Span,
    },
    /// A role that needs accounts has none, or one that takes none has some.
    #[error("accounts are named for the role account-admin, at least one of them, and for no other role")]
    RoleAccounts,
    /// The system has no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
    /// The keys file cannot be read or written.
    #[error("{}: cannot be {doing}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried: `read`, `written`, `locked`, …
        doing: &'static str,
        /// What the system said.
        cause: Arc<std::io::Error>,
    },
    /// The keys file is not one.
    #[error("{}: not a keys file as it stands, so nothing was changed: {problem}", path.display())]
    Nonsense {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, with the line where there is one.
        problem: String,
    },
    /// The address of Redis means nothing.
    #[error("directory.redis: {0}")]
    Address(String),
    /// Nothing is shared by way of this backend.
    #[error("no fleet shares a keys file: set directory.redis, or leave limits.requests_counted_by out")]
    NotShared,
    /// The backend cannot be asked just now.
    #[error("the directory at {place} cannot be reached: {cause}")]
    Unavailable {
        /// Where it was looked for; never with a password.
        place: String,
        /// What went wrong, and what to try.
        cause: String,
    },
    /// Something of the backend is not ours.
    #[error(
        "{place} holds something that Vicar did not write ({what}): give Vicar a prefix of its own (directory.prefix), or move the other data away"
    )]
    Foreign {
        /// Where.
        place: String,
        /// What is odd about it.
        what: String,
    },
    /// The server refuses us.
    #[error("the directory at {place} refuses: {cause}")]
    Refused {
        /// Where.
        place: String,
        /// What it said, and what to try.
        cause: String,
    },
}

impl DirectoryError {
    /// Whether the same may succeed later, without anybody changing anything.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

impl From<getrandom::Error> for DirectoryError {
    fn from(error: getrandom::Error) -> Self {
        Self::Random(error.to_string())
    }
}
