//! Step 3: the key pair that a request presents.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header};

use super::{names::Names, problem::Code};
use crate::{
    directory::Presented,
    identity::{KeyId, Secret},
};

/// Why no key pair could be read, for the record. The caller is told [`Unread::code`] only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// What the caller is told.
    pub code: Code,
    /// What the record says.
    pub reason: &'static str,
    /// The key id, where one could be read.
    pub key: Option<KeyId>,
}

/// Reads the one key pair of a request: the two headers, or HTTP Basic.
///
/// # Errors
/// [`Unread`]: none at all is `credentials-missing`; anything else that does not hold is `credentials-invalid`.
pub fn read(headers: &HeaderMap, names: &Names) -> Result<Presented, Unread> {
    let id = single(headers, &names.id)?;
    let secret = single(headers, &names.secret)?;
    // No list (RFC 9110 section 11.6.2): of two, the service might take the other.
    let authorization = single(headers, &header::AUTHORIZATION)?;
    let basic = authorization.filter(|_| names.basic).and_then(basic_pair).map(decoded).transpose()?;
    match (id, secret, basic) {
        (None, None, None) => Err(Unread { code: Code::CredentialsMissing, reason: "credentials-missing", key: None }),
        (Some(id), Some(secret), None) => pair(id.as_bytes(), secret.as_bytes()),
        (None, None, Some(decoded)) => {
            let colon = memchr::memchr(b':', &decoded).ok_or_else(|| invalid("basic-malformed"))?;
            let (id, secret) = decoded.split_at(colon);
            pair(id, secret.get(1..).unwrap_or_default())
        }
        (_, _, Some(_)) => Err(invalid("credentials-twice")),
        (Some(_), None, None) | (None, Some(_), None) => Err(invalid("credentials-half")),
    }
}

fn pair(id: &[u8], secret: &[u8]) -> Result<Presented, Unread> {
    let id = KeyId::parse(id).map_err(|_| invalid("key-id-malformed"))?;
    let secret = Secret::shaped(secret).map_err(|_| Unread { key: Some(id), ..invalid("secret-malformed") })?;
    Ok(Presented { id, secret })
}

fn single<'h>(headers: &'h HeaderMap, name: &http::HeaderName) -> Result<Option<&'h HeaderValue>, Unread> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() { Err(invalid("credentials-repeated")) } else { Ok(first) }
}

fn decoded(pair: &[u8]) -> Result<Vec<u8>, Unread> {
    STANDARD.decode(pair.trim_ascii()).map_err(|_| invalid("basic-malformed"))
}

/// What stands behind `Basic`, if that is the scheme.
fn basic_pair(value: &HeaderValue) -> Option<&[u8]> {
    let bytes = value.as_bytes();
    let (scheme, rest) = bytes.split_at(bytes.iter().position(|b| matches!(b, b' ' | b'\t')).unwrap_or(bytes.len()));
    scheme.eq_ignore_ascii_case(b"basic").then_some(rest)
}

/// Whether `Authorization` holds a key pair, which must go no further even where the settings let that header pass. Where
/// HTTP Basic is not taken, it may be another's; what begins with a key id is not.
pub(super) fn hold_basic(headers: &HeaderMap, names: &Names) -> bool {
    let ours = |pair: &[u8]| decoded(pair).is_ok_and(|pair| KeyId::parse(pair.split(|b| *b == b':').next().unwrap_or_default()).is_ok());
    headers.get_all(header::AUTHORIZATION).iter().filter_map(basic_pair).any(|pair| names.basic || ours(pair))
}

const fn invalid(reason: &'static str) -> Unread {
    Unread { code: Code::CredentialsInvalid, reason, key: None }
}

#[cfg(test)]
mod tests;
