//! Client certificates, as far as a key can be bound to one.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Which certificate: the SHA-256 of its DER form, as RFC 8705 §3.1 (`x5t#S256`) and `openssl x509 -fingerprint -sha256`
/// have it. A certificate is public, so this is no secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate in DER.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

// ===== parsing and printing =====

/// A text that is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a certificate's SHA-256 fingerprint: it is 64 hexadecimal digits, with or without colons between the pairs")]
pub struct FingerprintError;

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// Takes what tools print: either case, colons between the pairs, `sha256 Fingerprint=` before them.
    fn from_str(raw: &str) -> Result<Self, Self::Err> {
        let raw = raw.trim();
        let digits = match raw.split_once('=') {
            Some((name, digits)) if name.trim().eq_ignore_ascii_case("sha256 fingerprint") => digits.trim(),
            Some(_) => return Err(FingerprintError),
            None => raw,
        };
        let bare = digits.len() == 64 && !digits.contains(':');
        let paired = digits.len() == 95 && digits.split(':').all(|pair| pair.len() == 2);
        if !bare && !paired {
            return Err(FingerprintError);
        }
        let mut digits = digits.bytes().filter(|byte| *byte != b':');
        let mut digit = || digits.next().and_then(|byte| char::from(byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
        let mut bytes = [0; 32];
        for byte in &mut bytes {
            let (high, low) = (digit().ok_or(FingerprintError)?, digit().ok_or(FingerprintError)?);
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = FingerprintError;

    fn try_from(raw: String) -> Result<Self, Self::Error> {
        raw.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
