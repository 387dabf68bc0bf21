//! A signed statement of who is acting, for upstreams that do not want to trust a header (DESIGN §4.5).
//!
//! A JWT (RFC 7519) signed with Ed25519 (RFC 8037), good for one minute at most. Who acts for a user stands in `act`, as
//! in RFC 8693 §4.1; without a user there is no `act`, and `sub` is the service account itself. The admin listener
//! publishes the keys ([`Signer::jwks`]).

use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::Serialize;

use super::request_id::RequestId;
use crate::{
    identity::Subject,
    settings,
    signing::{PrivateKey, PublicKey},
};

/// Longest life of an assertion, in seconds.
const LONGEST_LIFE: u64 = 60;

/// What makes assertions, and publishes how to check them.
pub struct Signer {
    header: HeaderName,
    key: PrivateKey,
    /// The JOSE header, encoded, with its dot.
    head: String,
    issuer: String,
    audience: String,
    valid_for: u64,
    published: Vec<Published>,
}

/// Who is acting.
#[derive(Debug, Clone, Copy)]
pub struct Acting<'a> {
    /// The service account.
    pub account: &'a str,
    /// Its key's id.
    pub key: &'a str,
    /// The user it acts for.
    pub user: Option<&'a Subject>,
}

/// A key that assertions cannot be signed with.
#[derive(Debug, thiserror::Error)]
pub enum AssertionError {
    /// Not there, or no Ed25519 key.
    #[error(
        "impersonation.assertion: {file}: {why}: it must be an Ed25519 key in PEM (openssl genpkey -algorithm ed25519)",
        file = file.display()
    )]
    Key {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No header could be called that.
    #[error("impersonation.assertion.header: {0:?} is no header name")]
    Header(String),
    /// It would hold for too long.
    #[error("impersonation.assertion.valid_for: an assertion holds from 1s to {LONGEST_LIFE}s")]
    Life,
}

/// A public key and its name.
#[derive(Debug, Serialize)]
struct Published {
    kty: &'static str,
    crv: &'static str,
    #[serde(rename = "use")]
    purpose: &'static str,
    alg: &'static str,
    kid: String,
    x: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<Act<'a>>,
    account: &'a str,
    key: &'a str,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: &'a str,
}

#[derive(Serialize)]
struct Act<'a> {
    sub: &'a str,
}

impl Signer {
    /// Reads the keys that `settings` name.
    ///
    /// # Errors
    /// [`AssertionError`] when assertions cannot be made as they say.
    pub fn load(settings: &settings::Assertion) -> Result<Self, AssertionError> {
        let wrong = |file: &PathBuf, why: String| AssertionError::Key { file: file.clone(), why };
        let read = |file: &PathBuf| std::fs::read(file).map_err(|cause| wrong(file, cause.to_string()));
        let key = PrivateKey::from_pem(&read(&settings.key)?).map_err(|cause| wrong(&settings.key, cause.to_string()))?;
        let own = Published::of(key.public());
        let head = format!("{{\"alg\":\"EdDSA\",\"typ\":\"JWT\",\"kid\":\"{}\"}}", own.kid);
        let mut published = vec![own];
        if let Some(file) = &settings.previous {
            // Of a key that signs no more the public half is enough.
            let public = PublicKey::from_pem(&read(file)?).map_err(|cause| wrong(file, cause.to_string()))?;
            published.push(Published::of(public));
        }
        let valid_for = settings.valid_for.0.as_secs();
        if !(1..=LONGEST_LIFE).contains(&valid_for) {
            return Err(AssertionError::Life);
        }
        Ok(Self {
            header: HeaderName::try_from(settings.header.as_str()).map_err(|_| AssertionError::Header(settings.header.value.clone()))?,
            key,
            head: format!("{}.", BASE64.encode(head)),
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            valid_for,
            published,
        })
    }

    /// Puts the assertion into the upstream's headers.
    pub fn sign(&self, headers: &mut HeaderMap, acting: Acting<'_>, id: &RequestId, now: Timestamp) {
        // An empty header convinces nobody: should the token be no header value after all, the upstream refuses.
        let token = HeaderValue::try_from(self.token(acting, id.as_str(), now)).unwrap_or(HeaderValue::from_static(""));
        headers.insert(self.header.clone(), token);
    }

    fn token(&self, acting: Acting<'_>, id: &str, now: Timestamp) -> String {
        let iat = now.as_second();
        let claims = Claims {
            iss: &self.issuer,
            aud: &self.audience,
            sub: acting.user.map_or(acting.account, Subject::as_str),
            act: acting.user.map(|_| Act { sub: acting.account }),
            account: acting.account,
            key: acting.key,
            iat,
            nbf: iat,
            exp: iat.saturating_add_unsigned(self.valid_for),
            jti: id,
        };
        let mut token = self.head.clone();
        BASE64.encode_string(serde_json::to_vec(&claims).unwrap_or_default(), &mut token);
        let signature = self.key.sign(token.as_bytes());
        token.push('.');
        BASE64.encode_string(signature, &mut token);
        token
    }

    /// The public keys, as a JWK set (RFC 7517).
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        serde_json::json!({ "keys": self.published })
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("audience", &self.audience).field("published", &self.published).finish_non_exhaustive()
    }
}

impl Published {
    fn of(key: PublicKey) -> Self {
        let bytes = key.as_bytes();
        let name = blake3::hash(bytes);
        let kid = BASE64.encode(name.as_bytes().first_chunk::<16>().unwrap_or(&[0; 16]));
        Self { kty: "OKP", crv: "Ed25519", purpose: "sig", alg: "EdDSA", kid, x: BASE64.encode(bytes) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    use serde_json::Value;

    use super::*;
    use crate::signing::tests::pem;

    fn key(folder: &std::path::Path, name: &str, seed: u8) -> PathBuf {
        let file = folder.join(name);
        std::fs::write(&file, pem(seed)).unwrap();
        file
    }

    fn signer(more: &str) -> Result<Signer, AssertionError> {
        let folder = tempfile::tempdir().unwrap();
        let (now, before) = (key(folder.path(), "now.pem", 1), key(folder.path(), "before.pem", 2));
        let text = format!("{{key: {now:?}, previous: {before:?}, audience: workflow{more}}}");
        Signer::load(&serde_yaml::from_str(&text).unwrap())
    }

    fn decoded(part: &str) -> Value {
        serde_json::from_slice(&BASE64.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn an_assertion_verifies_with_the_published_key_and_says_who_acts_for_whom() {
        let signer = signer("").unwrap();
        let user = Subject::parse(b"zoe@acme.example").unwrap();
        let acting = Acting { account: "approver", key: "VKAAAA", user: Some(&user) };
        let token = signer.token(acting, "01J", Timestamp::from_second(1_000_000).unwrap());
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (head, claims) = signed.split_once('.').unwrap();
        let keys = signer.jwks();
        let published = keys["keys"].as_array().unwrap();
        assert_eq!(published.len(), 2, "the previous key is published too");
        assert_eq!(decoded(head)["kid"], published[0]["kid"]);
        let public = BASE64.decode(published[0]["x"].as_str().unwrap()).unwrap();
        let signature = BASE64.decode(signature).unwrap();
        UnparsedPublicKey::new(&ED25519, public).verify(signed.as_bytes(), &signature).unwrap();
        let expected = serde_json::json!({
            "iss": "vicar", "aud": "workflow", "sub": "zoe@acme.example", "act": {"sub": "approver"}, "account": "approver",
            "key": "VKAAAA", "iat": 1_000_000, "nbf": 1_000_000, "exp": 1_000_030, "jti": "01J",
        });
        assert_eq!(decoded(claims), expected);
    }

    #[test]
    fn an_account_that_acts_as_itself_is_the_subject() {
        let token = signer("").unwrap().token(Acting { account: "reporting", key: "VKAAAA", user: None }, "01J", Timestamp::UNIX_EPOCH);
        let claims = decoded(token.split('.').nth(1).unwrap());
        assert_eq!((&claims["sub"], &claims["act"]), (&Value::from("reporting"), &Value::Null));
    }

    #[test]
    fn an_assertion_never_holds_longer_than_a_minute() {
        assert!(signer(", valid_for: 60s").is_ok());
        for life in ["61s", "1h", "0s", "500ms"] {
            assert!(matches!(signer(&format!(", valid_for: {life}")), Err(AssertionError::Life)), "{life}");
        }
    }
}
