//! Signed checkpoints: who holds no private key cannot write a whole new chain that verifies.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};

use super::error::AuditError;
use crate::signing::{PrivateKey, PublicKey};

/// What is signed begins with this, so that the signature can be taken for nothing else.
const CONTEXT: &str = "vicar 2026-11 audit checkpoint v1";

/// A signature over the chain up to one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointMark {
    /// Number of the last record that it covers.
    pub seq: u64,
    /// That record's hash.
    pub hash: String,
    /// Seconds until the next checkpoint was due.
    pub every: u64,
    /// Ed25519, in base64.
    pub signature: String,
}

/// The private half: signs.
pub(super) struct Sealer {
    key: PrivateKey,
    every: u64,
}

/// The public half, for [`verify`](super::verify).
#[derive(Debug, Clone)]
pub struct CheckpointKey(PublicKey);

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

impl Sealer {
    pub(super) fn load(path: &Path, every: std::time::Duration) -> Result<Self, AuditError> {
        let unusable = |why: String| AuditError::CheckpointKey { path: path.to_owned(), why };
        let pem = std::fs::read(path).map_err(|cause| unusable(cause.to_string()))?;
        let key = PrivateKey::from_pem(&pem).map_err(|cause| unusable(cause.to_string()))?;
        Ok(Self { key, every: every.as_secs() })
    }

    pub(super) fn every(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.every.max(1))
    }

    pub(super) fn seal(&self, sidecar: &str, seq: u64, hash: &str) -> CheckpointMark {
        let signature = self.key.sign(message(sidecar, seq, hash, self.every).as_bytes());
        CheckpointMark { seq, hash: hash.to_owned(), every: self.every, signature: BASE64.encode(signature) }
    }
}

impl CheckpointKey {
    /// Reads a public key: PEM (SPKI), or the private key's PEM file, whose public half is taken.
    ///
    /// # Errors
    /// [`AuditError::CheckpointKey`] when it is neither.
    pub fn load(path: &Path) -> Result<Self, AuditError> {
        let unusable = |why: String| AuditError::CheckpointKey { path: path.to_owned(), why };
        let pem = std::fs::read(path).map_err(|cause| unusable(cause.to_string()))?;
        PublicKey::from_pem(&pem).map(Self).map_err(|cause| unusable(cause.to_string()))
    }

    /// Whether a sidecar could sign with the key in this file.
    ///
    /// # Errors
    /// [`AuditError::CheckpointKey`] when it could not.
    pub fn load_private(path: &Path) -> Result<(), AuditError> {
        Sealer::load(path, std::time::Duration::ZERO).map(drop)
    }

    /// Whether `mark` was signed with the private half, for this sidecar.
    #[must_use]
    pub fn accepts(&self, sidecar: &str, mark: &CheckpointMark) -> bool {
        let Ok(signature) = BASE64.decode(&mark.signature) else { return false };
        self.0.accepts(message(sidecar, mark.seq, &mark.hash, mark.every).as_bytes(), &signature)
    }
}

fn message(sidecar: &str, seq: u64, hash: &str, every: u64) -> String {
    // The name comes last: nothing that stands in it can pass for another field.
    format!("{CONTEXT}\n{seq}\n{hash}\n{every}\n{sidecar}")
}
