//! Ed25519 keys in PEM files, as `openssl genpkey -algorithm ed25519` writes them: for the log's checkpoints and for assertions.
//!
//! By the TLS library's cryptography, so that there is one of it in the program.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer, pem::PemObject as _};

/// What stands before the 32 bytes of a public key in its DER form (RFC 8410 section 4; nothing in it varies).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The private half: signs.
pub(crate) struct PrivateKey(Ed25519KeyPair);

/// The public half: tells whether the private one has signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PublicKey([u8; 32]);

/// A file that is no key of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoKey {
    #[error("there is no private key in it (`-----BEGIN PRIVATE KEY-----`)")]
    NoPrivateKey,
    #[error("there is no key in it (`-----BEGIN PUBLIC KEY-----`, or the private one)")]
    NoneAtAll,
    #[error("the private key in it is not an Ed25519 key, or is damaged")]
    NotEd25519,
    #[error("the public key in it is not an Ed25519 key")]
    PublicNotEd25519,
}

impl PrivateKey {
    /// Reads a private key: PEM, PKCS #8, not encrypted.
    pub(crate) fn from_pem(pem: &[u8]) -> Result<Self, NoKey> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| NoKey::NoPrivateKey)?;
        Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der()).map(Self).map_err(|_| NoKey::NotEd25519)
    }

    pub(crate) fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    /// The signature, of 64 bytes.
    pub(crate) fn sign(&self, message: &[u8]) -> impl AsRef<[u8]> + use<> {
        self.0.sign(message)
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PrivateKey").field(&self.public()).finish()
    }
}

impl PublicKey {
    /// Reads a public key in PEM, or takes the public half of a private one.
    pub(crate) fn from_pem(pem: &[u8]) -> Result<Self, NoKey> {
        match PrivateKey::from_pem(pem) {
            Ok(private) => return Ok(private.public()),
            Err(NoKey::NoPrivateKey) => {}
            Err(error) => return Err(error),
        }
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| NoKey::NoneAtAll)?;
        let key = der.strip_prefix(&SPKI).and_then(|key| <[u8; 32]>::try_from(key).ok());
        key.map(Self).ok_or(NoKey::PublicNotEd25519)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether the private half made `signature` of `message`.
    pub(crate) fn accepts(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

    use super::*;

    /// A private key as `openssl genpkey` writes it (RFC 8410 section 7).
    pub(crate) fn pem(seed: u8) -> String {
        let der = [&b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20"[..], &[seed; 32]].concat();
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64.encode(der))
    }

    fn public_pem(der: &[u8]) -> String {
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64.encode(der))
    }

    #[test]
    fn signatures_are_those_of_rfc_8032() {
        // Section 7.1, test 2.
        let seed = b"\x4c\xcd\x08\x9b\x28\xff\x96\xda\x9d\xb6\xc3\x46\xec\x11\x4e\x0f\x5b\x8a\x31\x9f\x35\xab\xa6\x24\xda\x8c\xf6\xed\x4f\xb8\xa6\xfb";
        let key = PrivateKey(Ed25519KeyPair::from_seed_unchecked(seed).unwrap());
        let signature = key.sign(b"\x72");
        assert_eq!(key.public().as_bytes()[..4], [0x3d, 0x40, 0x17, 0xc3]);
        assert_eq!(signature.as_ref()[..4], [0x92, 0xa0, 0x09, 0xa9]);
        assert!(key.public().accepts(b"\x72", signature.as_ref()));
        assert!(!key.public().accepts(b"\x73", signature.as_ref()));
        assert!(!key.public().accepts(b"\x72", &signature.as_ref()[..63]));
    }

    #[test]
    fn a_key_is_read_from_either_half_and_nothing_else_is_taken_for_one() {
        let private = PrivateKey::from_pem(pem(1).as_bytes()).unwrap();
        let der = [&SPKI[..], private.public().as_bytes()].concat();
        assert_eq!(PublicKey::from_pem(pem(1).as_bytes()), Ok(private.public()));
        assert_eq!(PublicKey::from_pem(public_pem(&der).as_bytes()), Ok(private.public()));
        assert_eq!(PublicKey::from_pem(public_pem(&der[..43]).as_bytes()), Err(NoKey::PublicNotEd25519));
        assert_eq!(PublicKey::from_pem(b"secret"), Err(NoKey::NoneAtAll));
        let public = PrivateKey::from_pem(public_pem(&der).as_bytes()).unwrap_err();
        assert_eq!(public, NoKey::NoPrivateKey);
        let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
        assert_eq!(PublicKey::from_pem(other.as_bytes()), Err(NoKey::NotEd25519));
        assert!(!format!("{private:?}").contains(&BASE64.encode([1; 32])));
    }
}
