//! Client certificates, as far as a key can be bound to one.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest;
use rustls::{pki_types::CertificateDer, server::ParsedCertificate};
use serde::{Deserialize, Serialize};

/// Which certificate: the SHA-256 of its DER form, as RFC 8705 §3.1 (`x5t#S256`) and `openssl x509 -fingerprint -sha256`
/// have it. A certificate is public, so this is no secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate in DER.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
        Self(hash)
    }

    /// The fingerprint of a certificate that a client is to sign in with.
    ///
    /// # Errors
    /// When no handshake would take it: the TLS library reads version 3 of X.509 alone, and `openssl x509 -req` writes
    /// version 1 where no extension is asked for.
    pub fn of_client(certificate: &CertificateDer<'_>) -> Result<Self, UnusableCertificate> {
        ParsedCertificate::try_from(certificate).map_err(|_| UnusableCertificate)?;
        Ok(Self::of(certificate))
    }
}

// ===== parsing and printing =====

/// A certificate that no client could show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no TLS handshake takes this certificate: it must be X.509 version 3 (`openssl x509 -in FILE -noout -text` says which it is; signed with `-extfile`, even of one line, it becomes 3)"
)]
pub struct UnusableCertificate;

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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    /// As `openssl x509 -req` writes it where no extension is asked for.
    const VERSION_1: &str = "-----BEGIN CERTIFICATE-----
MIIBEzCBugIUesVk46qF4IRG3FXLtbV5IKTGEH4wCgYIKoZIzj0EAwIwDTELMAkG
A1UEAwwCY2EwHhcNMjYxMTI3MjMxNDM1WhcNMjYxMTI4MjMxNDM1WjAMMQowCAYD
VQQDDAFjMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEpTBmkcM5IyYQL0Y8dPsS
j9QR8UXyrQE9McOIxMWEyMaet8SMgezpFBoCLZIhLmUsOoagmus54HHhxCdvGyS2
KTAKBggqhkjOPQQDAgNIADBFAiA6uDqZZ7749UQu7li9N5AN3+B05j6XcjcTT9yh
pmwz2wIhALxBhrtsZ1YJo3JvkdeHTbuPiZ2Fj6aDDx6BwEKMGSLc
-----END CERTIFICATE-----
";

    #[test]
    fn a_certificate_that_no_handshake_takes_is_told_of_before_a_key_is_bound_to_it() {
        let old = CertificateDer::from_pem_slice(VERSION_1.as_bytes()).unwrap();
        assert_eq!(Fingerprint::of_client(&old), Err(UnusableCertificate));
        let key = rcgen::KeyPair::generate().unwrap();
        let new = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        assert_eq!(Fingerprint::of_client(new.der()), Ok(Fingerprint::of(new.der())));
    }
}
