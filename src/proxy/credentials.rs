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
    let basic = if names.basic { basic(headers)? } else { None };
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

fn basic(headers: &HeaderMap) -> Result<Option<Vec<u8>>, Unread> {
    let mut found = None;
    for value in headers.get_all(header::AUTHORIZATION) {
        let Some(rest) = basic_pair(value) else { continue };
        if found.is_some() {
            return Err(invalid("credentials-repeated"));
        }
        found = Some(STANDARD.decode(rest.trim_ascii()).map_err(|_| invalid("basic-malformed"))?);
    }
    Ok(found)
}

/// What stands behind `Basic`, if that is the scheme.
fn basic_pair(value: &HeaderValue) -> Option<&[u8]> {
    let bytes = value.as_bytes();
    let (scheme, rest) = bytes.split_at(bytes.iter().position(|b| matches!(b, b' ' | b'\t')).unwrap_or(bytes.len()));
    scheme.eq_ignore_ascii_case(b"basic").then_some(rest)
}

/// Whether `Authorization` holds a key pair, which must go no further even where the settings let that header pass.
pub(super) fn hold_basic(headers: &HeaderMap, names: &Names) -> bool {
    names.basic && headers.get_all(header::AUTHORIZATION).iter().any(|value| basic_pair(value).is_some())
}

const fn invalid(reason: &'static str) -> Unread {
    Unread { code: Code::CredentialsInvalid, reason, key: None }
}

#[cfg(test)]
mod tests;
