//! Signing in: from what a request presents to whose it is.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    RotatedBy,
    cache::{DirectoryCache, Entry, Known},
};
use crate::identity::{Account, AccountId, Fingerprint, Key, KeyId, Secret, SecretHash, Status};

/// The key pair that a request presents.
#[derive(Debug, Clone)]
pub struct Presented {
    /// The public half.
    pub id: KeyId,
    /// The secret half.
    pub secret: Secret,
}

/// Where a request comes from, as far as a key may be bound to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// The certificate that it showed under TLS, if it did.
    pub certificate: Option<Fingerprint>,
}

/// Somebody who has signed in. Only [`recognise`] and [`Unsettled::settle`] make one.
#[derive(Debug, Clone)]
pub struct Caller {
    entry: Arc<Entry>,
    stale: bool,
    hash: SecretHash,
    client: Client,
}

/// Why somebody was not signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The pair is not one that may be used. The caller is told no more than that; the rest is for the record.
    NotKnown {
        /// Why.
        reason: SignInReason,
        /// The key id that was presented.
        key: KeyId,
        /// The account it belongs to, where the secret was right or the key is known.
        account: Option<AccountId>,
    },
    /// Nobody can say: the directory is away, and this key is not known here (any more).
    Unavailable {
        /// When to try again.
        retry_after: Duration,
    },
}

/// Why a key pair may not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignInReason {
    /// No key has this id.
    KeyUnknown,
    /// The secret is not the key's, or no longer.
    SecretWrong,
    /// The secret is not one that Vicar made: it was mistyped.
    SecretMalformed,
    /// The key is turned off.
    KeyDisabled,
    /// The key's time is over.
    KeyExpired,
    /// The account is turned off.
    AccountDisabled,
    /// The key may not be used from this address.
    SourceNotAllowed,
    /// The key is bound to another client certificate than the one shown, if one was.
    CertificateNotAllowed,
}

/// Signs a request in, or says why not.
///
/// A known key is answered from memory without waiting for anything. An unknown id costs what a wrong secret costs.
///
/// # Errors
/// [`Refused`]
pub async fn sign_in(cache: &DirectoryCache, presented: &Presented, client: impl Into<Client>, now: Timestamp) -> Result<Caller, Refused> {
    match recognise(cache, presented, client, now) {
        Ok(caller) => Ok(caller),
        Err(unsettled) => unsettled.settle(cache).await,
    }
}

/// Signs a request in where memory says that it may come in, as it does of nearly all.
///
/// # Errors
/// [`Unsettled`] is to be settled, which may have to wait.
pub fn recognise(
    cache: &DirectoryCache,
    presented: &Presented,
    client: impl Into<Client>,
    now: Timestamp,
) -> Result<Caller, Box<Unsettled>> {
    let client = client.into();
    let hash = presented.secret.hash_for(&presented.id);
    let attempt = match cache.recall(&presented.id) {
        Some(known) => match attempt(known, &hash, &client, now) {
            Attempt::Made { entry, stale } => {
                cache.used(&entry, now);
                return Ok(Caller { entry, stale, hash, client });
            }
            other => Some(other),
        },
        None => None,
    };
    Err(Box::new(Unsettled { presented: presented.clone(), hash, client, now, attempt }))
}

/// A sign-in that memory does not let in: somebody may have to be asked.
#[must_use = "whoever presented the pair has to be told"]
pub struct Unsettled {
    presented: Presented,
    hash: SecretHash,
    client: Client,
    now: Timestamp,
    /// What memory said, where it said anything.
    attempt: Option<Attempt>,
}

impl Unsettled {
    /// Asks whom there is to ask.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn settle(self, cache: &DirectoryCache) -> Result<Caller, Refused> {
        let Self { presented, hash, client, now, attempt } = self;
        // Asked for where something is wrong, and then up to three times.
        let checked = OnceLock::new();
        let well_formed = || *checked.get_or_init(|| presented.secret.checksum_holds());
        let mut attempt = match attempt {
            Some(attempt) => attempt,
            None => look(cache, &presented, &hash, &client, now, &well_formed).await,
        };
        // A pair that could be right may have been made this very moment, by the command line beside us.
        if matches!(attempt, Attempt::Failed(..)) && well_formed() && cache.caught_up().await {
            attempt = look(cache, &presented, &hash, &client, now, &well_formed).await;
        }
        match attempt {
            Attempt::Made { entry, stale } => {
                cache.used(&entry, now);
                Ok(Caller { entry, stale, hash, client })
            }
            Attempt::Failed(reason, account) => {
                let (reason, account) = if well_formed() { (reason, account) } else { (SignInReason::SecretMalformed, None) };
                Err(Refused::NotKnown { reason, key: presented.id, account })
            }
            Attempt::Unanswered => Err(Refused::Unavailable { retry_after: RETRY_AFTER }),
        }
    }
}

impl std::fmt::Debug for Unsettled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unsettled").field("key", &self.presented.id).finish_non_exhaustive()
    }
}

/// What came of looking a key up and judging it.
enum Attempt {
    Made { entry: Arc<Entry>, stale: bool },
    Failed(SignInReason, Option<AccountId>),
    Unanswered,
}

async fn look(
    cache: &DirectoryCache,
    presented: &Presented,
    hash: &SecretHash,
    client: &Client,
    now: Timestamp,
    well_formed: &(impl Fn() -> bool + Sync),
) -> Attempt {
    let known = match cache.recall(&presented.id) {
        Some(known) => known,
        // Nobody needs to be asked about what cannot be right.
        None if !well_formed() => return Attempt::Failed(SignInReason::SecretMalformed, None),
        None => cache.ask(presented.id).await,
    };
    attempt(known, hash, client, now)
}

/// What is to be said of a pair, where so much is known of the key.
fn attempt(known: Known, hash: &SecretHash, client: &Client, now: Timestamp) -> Attempt {
    let (entry, stale) = match known {
        Known::Fresh(entry) => (entry, false),
        Known::Stale(entry) => (entry, true),
        Known::Unknown => {
            // The comparison that a wrong secret costs; its outcome is known.
            std::hint::black_box(*hash == SecretHash::of_nothing());
            return Attempt::Failed(SignInReason::KeyUnknown, None);
        }
        Known::Unavailable => return Attempt::Unanswered,
    };
    match judge(&entry, hash, client, now) {
        Ok(()) => Attempt::Made { entry, stale },
        Err(reason) => Attempt::Failed(reason, Some(entry.account().id.clone())),
    }
}

/// A backend that is away is asked again about as often as it is looked for.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Whether the holder of the secret behind `hash` may come in. The secret is judged first: whoever has it not learns
/// nothing else, and costs the same whatever else is wrong.
pub(super) fn judge(entry: &Entry, hash: &SecretHash, client: &Client, now: Timestamp) -> Result<(), SignInReason> {
    let (account, key) = (entry.account(), entry.key());
    if !key.accepts(hash, now) {
        return Err(SignInReason::SecretWrong);
    }
    match (account.status, key.status) {
        (Status::Disabled, _) => Err(SignInReason::AccountDisabled),
        (Status::Active, Status::Disabled) => Err(SignInReason::KeyDisabled),
        (Status::Active, Status::Active) if key.expired(now) => Err(SignInReason::KeyExpired),
        (Status::Active, Status::Active) if !key.allows_source(client.address) => Err(SignInReason::SourceNotAllowed),
        (Status::Active, Status::Active) if !key.allows_certificate(client.certificate.as_ref()) => {
            Err(SignInReason::CertificateNotAllowed)
        }
        (Status::Active, Status::Active) => Ok(()),
    }
}

// ===== impl Client =====

/// One that showed no certificate.
impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        Self { address, certificate: None }
    }
}

// ===== impl Caller =====

impl Caller {
    /// The account's slug.
    #[must_use]
    pub fn account_id(&self) -> &AccountId {
        &self.entry.account().id
    }

    /// The key's id.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.entry.key().id
    }

    /// The key's id as text.
    #[must_use]
    pub fn key_id_str(&self) -> &str {
        self.entry.key().id.as_str()
    }

    /// The account.
    #[must_use]
    pub fn account(&self) -> &Account {
        self.entry.account()
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        self.entry.key()
    }

    /// Whether the secret that was presented is the key's own, and not one that a rotation has replaced.
    #[must_use]
    pub fn secret_in_force(&self) -> bool {
        self.key().hash == self.hash
    }

    /// Who has the key rotated, if this caller does.
    #[must_use]
    pub const fn as_rotator(&self) -> RotatedBy {
        RotatedBy::Holder(self.hash)
    }

    /// Whether this comes from memory while the directory is away.
    #[must_use]
    pub const fn stale(&self) -> bool {
        self.stale
    }

    pub(super) const fn hash(&self) -> &SecretHash {
        &self.hash
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }
}

impl SignInReason {
    /// The word that stands in the record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeyUnknown => "key-unknown",
            Self::SecretWrong => "secret-wrong",
            Self::SecretMalformed => "secret-malformed",
            Self::KeyDisabled => "key-disabled",
            Self::KeyExpired => "key-expired",
            Self::AccountDisabled => "account-disabled",
            Self::SourceNotAllowed => "source-not-allowed",
            Self::CertificateNotAllowed => "certificate-not-allowed",
        }
    }
}
