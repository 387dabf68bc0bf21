//! Step 2: a request means one thing only, or it goes no further.
//!
//! [`clean`] is the only maker of [`Clean`], and the steps behind it take nothing else: what they match
//! is what the upstream gets.

use std::{borrow::Cow, net::Ipv6Addr};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};

use super::{
    credentials,
    names::{Fate, Names},
    problem::{Afterwards, Code, Problem},
    rewrite,
};
use crate::catalog::path::{CanonicalPath, PathRules};

/// A request head with one reading.
#[derive(Debug)]
pub struct Clean<'r> {
    /// The path, canonical.
    pub path: CanonicalPath<'r>,
    /// The query as it came.
    pub query: Option<&'r str>,
    /// What the upstream is asked for: the canonical path, and the query as it came.
    pub target: Uri,
    /// The authority the caller asked for.
    pub host: HeaderValue,
    /// Whether a body follows.
    pub body: BodyAhead,
    /// Headers that stay here.
    pub stripped: Vec<Cow<'r, HeaderName>>,
    _checked: Checked,
}

/// Only this file makes one.
#[derive(Debug)]
struct Checked;

/// What the head says about the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyAhead {
    /// None.
    Absent,
    /// This many bytes.
    Sized(u64),
    /// Some, in chunks.
    Chunked,
}

/// Checks a request head; `ended` where nothing follows it.
///
/// # Errors
/// The problem to answer with: 400 for a second reading, 405 for a method nobody may use.
pub fn clean<'r>(
    method: &Method,
    uri: &'r Uri,
    version: Version,
    headers: &HeaderMap,
    ended: bool,
    names: &'r Names,
    rules: PathRules,
) -> Result<Clean<'r>, Problem> {
    if never_passes(method.as_str()) {
        // What follows a CONNECT is no request to this server.
        return Err(Problem { connection: Afterwards::Close, ..Code::MethodNotAllowed.into() });
    }
    let host = authority(uri, version, headers)?;
    let path = CanonicalPath::parse(uri.path(), rules).map_err(|error| Problem::ambiguous(format!("{error}.")))?;
    let query = uri.query();
    if let Some(query) = query
        && holds_controls(query)
    {
        return Err(Problem::ambiguous("The query holds a control character."));
    }
    let target = target(uri, &path)?;
    let stripped = sort_headers(headers, names)?;
    let body = body_ahead(version, headers, ended)?;
    Ok(Clean { path, query, target, host, body, stripped, _checked: Checked })
}

/// Whether nobody may use `method`.
pub(super) fn never_passes(method: &str) -> bool {
    matches!(method, "CONNECT" | "TRACE")
}

/// Whether a query holds what no query may.
pub(super) fn holds_controls(query: &str) -> bool {
    query.bytes().any(|b| b < 0x20 || b == 0x7f)
}

/// The target for the upstream. Escaping makes a path longer than it came, so it may be too long only now.
fn target(uri: &Uri, path: &CanonicalPath<'_>) -> Result<Uri, Problem> {
    if path.is_as_sent()
        && let Some(as_it_came) = uri.path_and_query()
    {
        let target = Uri::from(as_it_came.clone());
        // `http://host#` has an empty path by itself, and the path `/` only while its host stands before it.
        if !target.path().is_empty() {
            return Ok(target);
        }
    }
    let text = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.as_str().to_owned(),
    };
    Uri::try_from(text).map_err(|_| Problem::ambiguous("The request target is too long once escaped."))
}

/// The one authority of the request: `Host`, or what HTTP/2 and absolute-form targets say, and never two that differ.
fn authority(uri: &Uri, version: Version, headers: &HeaderMap) -> Result<HeaderValue, Problem> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Problem::ambiguous("The request has more than one Host."));
    }
    if let Some(scheme) = uri.scheme_str()
        && !scheme.eq_ignore_ascii_case("http")
        && !scheme.eq_ignore_ascii_case("https")
    {
        return Err(Problem::ambiguous("The request target has a scheme other than http or https."));
    }
    match (uri.authority(), host) {
        (Some(target), Some(host)) if target.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes()) => one_host(host),
        (Some(_), Some(_)) => Err(Problem::ambiguous("The request target names another host than the Host header.")),
        (Some(target), None) if version == Version::HTTP_2 => {
            one_host(&HeaderValue::from_str(target.as_str()).map_err(|_| Problem::ambiguous("The authority is not a host."))?)
        }
        (None, Some(host)) => one_host(host),
        (_, None) => Err(Problem::ambiguous("The request has no Host.")),
    }
}

fn one_host(host: &HeaderValue) -> Result<HeaderValue, Problem> {
    if !is_host(host.as_bytes()) {
        return Err(Problem::ambiguous("The Host is not a host name with an optional port."));
    }
    Ok(host.clone())
}

/// Whether it is a name or address with an optional port, and nothing else (RFC 9110 section 7.2). A name has the
/// characters that names have in practice: no escapes.
pub(super) fn is_host(bytes: &[u8]) -> bool {
    let (name, port) = match bytes.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = rest.iter().position(|b| *b == b']') else { return false };
            let (address, port) = rest.split_at(end);
            if !std::str::from_utf8(address).is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok()) {
                return false;
            }
            (&b"v6"[..], port.get(1..).unwrap_or_default())
        }
        None => bytes.split_at(bytes.iter().position(|b| *b == b':').unwrap_or(bytes.len())),
    };
    let port = match port.split_first() {
        None => true,
        Some((b':', digits)) => {
            digits.len() <= 5 && digits.iter().try_fold(0u32, |port, b| digit(*b).map(|n| port * 10 + n)).is_some_and(|n| n < 1 << 16)
        }
        Some(_) => false,
    };
    port && !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'~'))
}

fn digit(byte: u8) -> Option<u32> {
    char::from(byte).to_digit(10)
}

/// Finds the headers that stay here, and refuses those that override the request.
fn sort_headers<'n>(headers: &HeaderMap, names: &'n Names) -> Result<Vec<Cow<'n, HeaderName>>, Problem> {
    let mut stripped = Vec::with_capacity(8);
    for name in headers.keys() {
        match names.sort(name) {
            (Fate::Keep, _) if *name == header::AUTHORIZATION && credentials::hold_basic(headers, names) => {
                stripped.push(Cow::Owned(name.clone()));
            }
            (Fate::Keep, _) => {}
            (Fate::Strip | Fate::Hop, Some(known)) => stripped.push(Cow::Borrowed(known)),
            (Fate::Strip | Fate::Hop, None) => stripped.push(Cow::Owned(name.clone())),
            (Fate::Refuse, _) => {
                return Err(Problem::ambiguous(format!("The header {name} overrides the method or path of the request.")));
            }
        }
    }
    for value in headers.get_all(header::CONNECTION).iter().filter(|options| !rewrite::is_usual(options)) {
        for option in value.as_bytes().split(|b| *b == b',') {
            if let Ok(name) = HeaderName::from_bytes(option.trim_ascii())
                && Names::connection_may_drop(&name)
                && headers.contains_key(&name)
                && !stripped.iter().any(|known| **known == name)
            {
                stripped.push(Cow::Owned(name));
            }
        }
    }
    Ok(stripped)
}

fn body_ahead(version: Version, headers: &HeaderMap, ended: bool) -> Result<BodyAhead, Problem> {
    if headers.get_all(header::CONTENT_TYPE).iter().nth(1).is_some() {
        return Err(Problem::ambiguous("The request has more than one Content-Type."));
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err(Problem::ambiguous("The request has more than one Content-Length."));
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        // The HTTP library has taken Transfer-Encoding alone where both stood there, and closes the connection behind it.
        if length.is_some() || version == Version::HTTP_2 {
            return Err(Problem::ambiguous("The request has both Content-Length and Transfer-Encoding."));
        }
        // The library undoes `chunked` and no other coding, and the header stays here: the upstream would not know of one.
        if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(Problem::ambiguous("The Transfer-Encoding is something else than chunked, once."));
        }
        return Ok(BodyAhead::Chunked);
    }
    match length {
        // HTTP/2 says by a flag whether a body follows.
        None if version == Version::HTTP_2 && !ended => Ok(BodyAhead::Chunked),
        None => Ok(BodyAhead::Absent),
        Some(value) => {
            let digits = value.to_str().ok().filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
            let bytes =
                digits.and_then(|text| text.parse().ok()).ok_or_else(|| Problem::ambiguous("The Content-Length is not a number."))?;
            Ok(if bytes == 0 { BodyAhead::Absent } else { BodyAhead::Sized(bytes) })
        }
    }
}

#[cfg(test)]
mod tests;
