//! The nouns of Vicar: who signs in, with what, and on whose behalf.
//!
//! This room parses and holds identities and does nothing else; it knows no other room, and every
//! other room may call it. A value of one of these types has been checked: code that holds a
//! [`KeyId`], a [`Secret`] or a [`Subject`] never has to look at its bytes again.

mod account;
mod admin;
mod certificate;
mod key;
mod network;
mod scan;
mod secret;
mod shape;
mod subject;

pub use account::{Account, AccountId, AccountIdError, Status};
pub use admin::{Admin, AdminId, AdminIdError, AdminToken, AdminTokenError, Role, RoleError};
pub use certificate::{Fingerprint, FingerprintError, UnusableCertificate};
pub use key::{Key, KeyId, KeyIdError, PreviousSecret, PreviousSecrets};
pub use network::network;
pub(crate) use network::networks;
pub use scan::{Found, SecretKind, scan, scan_reader};
pub use secret::{Secret, SecretError, SecretHash};
pub use subject::{Subject, SubjectError};

/// Most networks that a key may come from, and most client certificates it is bound to: each sign-in may look through all.
pub const BOUND_TO_MAX: usize = 64;

/// Longest display name of an account or a key, in characters.
pub const NAME_MAX_CHARS: usize = 79;

/// A display name of an account or key that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing but white space.
    #[error("a name cannot be empty")]
    Empty,
    /// Longer than [`NAME_MAX_CHARS`].
    #[error("a name must be shorter than 80 characters; this one has {0}")]
    Long(usize),
    /// Holds a control character, which terminals and logs would act on.
    #[error("a name cannot hold control characters")]
    Control,
}

/// Checks a display name: trimmed, not empty, under 80 characters, nothing that a terminal acts on.
///
/// # Errors
/// [`NameError`] says which of these does not hold.
pub fn display_name(raw: &str) -> Result<String, NameError> {
    let name = raw.trim();
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    let chars = name.chars().count();
    if chars > NAME_MAX_CHARS {
        return Err(NameError::Long(chars));
    }
    if name.chars().any(char::is_control) {
        return Err(NameError::Control);
    }
    Ok(name.to_owned())
}

/// The number of the character at `index` in the RFC 4648 base32 alphabet, upper case.
const BASE32_UPPER: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE32_LOWER: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Writes `out.len()` base32 characters from the bits of `bytes`, most significant first.
/// Bits past the end of `bytes` read as zero.
fn base32(bytes: &[u8], alphabet: &[u8; 32], out: &mut [u8]) {
    let mut bits = 0u32;
    let mut held = 0u32;
    let mut next = bytes.iter();
    for slot in out {
        while held < 5 {
            bits = (bits << 8) | u32::from(next.next().copied().unwrap_or(0));
            held += 8;
        }
        held -= 5;
        let index = ((bits >> held) & 31) as usize;
        *slot = alphabet.get(index).copied().unwrap_or(b'A');
    }
}

#[cfg(test)]
mod tests;
