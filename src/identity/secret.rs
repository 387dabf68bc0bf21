//! Secrets and their hashes.
//!
//! A secret is `vsk_`, 52 base32 characters (256 random bits, and four bits of padding) and a
//! checksum of seven more. The fixed shape lets a scanner find one in a repository, and lets a
//! mistyped one be refused without asking the directory.

use std::{fmt, sync::LazyLock};

use blake3::hazmat::{ContextKey, HasherExt as _, hash_derive_key_context};
use serde::{Deserialize, Serialize};

use super::{
    KeyId,
    shape::{self, SHAPED},
};

/// Domain of the derived-key hash; changing it voids every stored hash.
const HASH_CONTEXT: &str = "vicar 2026-11 access-key secret v1";

/// Deriving the context key costs a compression, and is done once.
static CONTEXT: LazyLock<ContextKey> = LazyLock::new(|| hash_derive_key_context(HASH_CONTEXT));

/// The secret half of an access key. It prints as `vsk_…`: only [`Secret::reveal`] shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; Secret::LEN]);

/// What is kept of a secret: a blake3 hash in derived-key mode, bound to the key's id, so that a
/// hash copied from one key's record to another's is worth nothing. Equality is constant-time.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretHash(blake3::Hash);

impl Secret {
    /// Length in bytes.
    pub const LEN: usize = SHAPED;

    /// A new secret from the system's random numbers.
    ///
    /// # Errors
    /// When the system has no random numbers to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        shape::random(shape::SECRET).map(Self)
    }

    /// Reads a secret off the wire, checksum included.
    ///
    /// # Errors
    /// [`SecretError`] when the shape or the checksum is wrong; it never repeats the input.
    pub fn parse(raw: &[u8]) -> Result<Self, SecretError> {
        shape::parse(shape::SECRET, raw).map(Self).ok_or(SecretError)
    }

    /// Reads what has the shape of a secret, its checksum unseen. Where the hash turns out to be the one that is stored,
    /// the checksum holds, too; only where it does not, it is worth [looking at](Secret::checksum_holds).
    ///
    /// # Errors
    /// [`SecretError`] when the shape is wrong; it never repeats the input.
    pub fn shaped(raw: &[u8]) -> Result<Self, SecretError> {
        shape::shaped(shape::SECRET, raw).map(Self).ok_or(SecretError)
    }

    /// Whether it may be a secret of Vicar's at all: a mistyped one is not.
    #[must_use]
    pub fn checksum_holds(&self) -> bool {
        shape::parse(shape::SECRET, &self.0).is_some()
    }

    /// The hash that is stored for `key`, and compared with what is stored.
    #[must_use]
    pub fn hash_for(&self, key: &KeyId) -> SecretHash {
        let mut hasher = blake3::Hasher::new_from_context_key(&CONTEXT);
        hasher.update(key.as_str().as_bytes()).update(&self.0);
        SecretHash(hasher.finalize())
    }

    /// The secret itself, for the one moment it is shown to its owner.
    #[must_use]
    pub fn reveal(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl SecretHash {
    /// A hash that no secret has, for the comparison that an unknown key id must cost too.
    #[must_use]
    pub fn of_nothing() -> Self {
        Self(blake3::Hash::from_bytes([0; 32]))
    }

    /// What is kept of an admin token.
    pub(super) const fn of(hash: blake3::Hash) -> Self {
        Self(hash)
    }
}

// ===== parsing and printing =====

/// A text that is no secret of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an access-key secret")]
pub struct SecretError;

/// A text that is no stored hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a secret's hash: it is 64 hexadecimal digits")]
pub struct SecretHashError;

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("vsk_…")
    }
}

impl TryFrom<String> for SecretHash {
    type Error = SecretHashError;

    fn try_from(raw: String) -> Result<Self, Self::Error> {
        blake3::Hash::from_hex(raw).map(Self).map_err(|_| SecretHashError)
    }
}

impl From<SecretHash> for String {
    fn from(hash: SecretHash) -> Self {
        hash.0.to_hex().to_string()
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}
