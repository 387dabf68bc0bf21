//! What admins send, read with care: query strings, JSON bodies, revisions, expiries.

use axum::{
    body::{Bytes, HttpBody},
    extract::{FromRequest, FromRequestParts, OptionalFromRequest, Query, Request},
    http::{HeaderMap, header, request::Parts},
};
use ipnet::IpNet;
use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde::de::DeserializeOwned;

use super::{
    Desk,
    refusal::{Refusal, capitalised},
};
use crate::{
    directory::Expiry,
    identity::{Fingerprint, network},
    settings::Span,
};

/// Largest body of a request to the API or the console, in bytes; a policy of 20,000 shares fits.
pub(super) const BODY_MAX: usize = 4 << 20;

/// A query string; unknown names are refused.
#[derive(Debug)]
pub(super) struct Asked<T>(pub(super) T);

/// A JSON body; unknown fields are refused.
#[derive(Debug)]
pub(super) struct Sent<T>(pub(super) T);

/// The revision that a change is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IfMatch(pub(super) Option<u64>);

impl<T: DeserializeOwned> FromRequestParts<Desk> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Desk) -> Result<Self, Refusal> {
        let Query(value) = Query::try_from_uri(&parts.uri).map_err(|error| Refusal::Invalid(format!("The query: {}.", source(&error))))?;
        Ok(Self(value))
    }
}

impl<T: DeserializeOwned> FromRequest<Desk> for Sent<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, desk: &Desk) -> Result<Self, Refusal> {
        if !is_json(request.headers()) {
            return Err(Refusal::MediaType);
        }
        let bytes = Bytes::from_request(request, desk).await.map_err(|_| Refusal::TooLarge { limit: BODY_MAX })?;
        // A list would be taken for the fields in their order.
        if bytes.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
            return Err(Refusal::Invalid("The body: a JSON object is expected.".to_owned()));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| Refusal::Invalid("The body: it is not UTF-8.".to_owned()))?;
        serde_json::from_str(text).map(Self).map_err(|error| Refusal::Invalid(format!("The body: {error}.")))
    }
}

/// No body at all, where one may be left out.
impl<T: DeserializeOwned> OptionalFromRequest<Desk> for Sent<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, desk: &Desk) -> Result<Option<Self>, Refusal> {
        let empty = HttpBody::size_hint(request.body()).exact() == Some(0);
        if empty && !request.headers().contains_key(header::CONTENT_TYPE) {
            return Ok(None);
        }
        <Self as FromRequest<Desk>>::from_request(request, desk).await.map(Some)
    }
}

impl FromRequestParts<Desk> for IfMatch {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Desk) -> Result<Self, Refusal> {
        let wrong = || Refusal::Invalid("If-Match takes one ETag as it was given, or *.".to_owned());
        let mut given = parts.headers.get_all(header::IF_MATCH).iter();
        let value = match (given.next(), given.next()) {
            (None, _) => return Ok(Self(None)),
            (Some(value), None) => value.to_str().map_err(|_| wrong())?.trim(),
            (Some(_), Some(_)) => return Err(wrong()),
        };
        if value == "*" {
            return Ok(Self(None));
        }
        let revision = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).and_then(|value| value.parse().ok());
        revision.map(|revision| Self(Some(revision))).ok_or_else(wrong)
    }
}

/// When a key ends: a length of time (`90d`), a day in UTC (the key lives through it), a moment, or `never`.
pub(super) fn expiry(raw: &str) -> Result<Expiry, Refusal> {
    let raw = raw.trim();
    if raw == "never" {
        return Ok(Expiry::Never);
    }
    if let Ok(span) = raw.parse::<Span>() {
        return Ok(Expiry::In(span));
    }
    if let Ok(moment) = raw.parse::<Timestamp>() {
        return Ok(Expiry::At(moment));
    }
    let end_of = |day: Date| TimeZone::UTC.to_timestamp(day.checked_add(1.day()).ok()?.at(0, 0, 0, 0)).ok();
    let end = raw.parse::<Date>().ok().and_then(end_of);
    end.map(Expiry::At).ok_or_else(|| {
        let shown: String = raw.chars().take(40).collect();
        Refusal::Invalid(format!("{shown:?} is no expiry: write a length of time (90d, 6mo, 2y), a day (2027-01-31), a moment, or never."))
    })
}

/// A moment: RFC 3339, a day in UTC, or a length of time before `now`.
pub(super) fn moment(raw: &str, now: Timestamp) -> Result<Timestamp, Refusal> {
    let raw = raw.trim();
    let back = || raw.parse::<Span>().ok().and_then(|span| now.checked_sub(span.0).ok());
    let day = || raw.parse::<Date>().ok().and_then(|day| TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).ok());
    raw.parse::<Timestamp>().ok().or_else(back).or_else(day).ok_or_else(|| {
        let shown: String = raw.chars().take(40).collect();
        Refusal::Invalid(format!("{shown:?} is no time: write a moment (2026-11-24T10:00:00Z), a day (2026-11-24), or how long ago (7d)."))
    })
}

/// Networks that a key may come from; a bare address is a network of one.
pub(super) fn sources<'r>(raw: impl IntoIterator<Item = &'r str>) -> Result<Vec<IpNet>, Refusal> {
    raw.into_iter()
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(|text| {
            network(text).ok_or_else(|| {
                let shown: String = text.chars().take(60).collect();
                Refusal::Invalid(format!("{shown:?} is no network: write 10.0.0.0/8, 2001:db8::/32, or one address."))
            })
        })
        .collect()
}

/// Certificates that a key is bound to: fingerprints, or PEM with one certificate or several.
pub(super) fn certificates<'r>(raw: impl IntoIterator<Item = &'r str>) -> Result<Vec<Fingerprint>, Refusal> {
    let wrong = |text: &str| {
        let shown: String = text.chars().take(60).collect();
        Refusal::Invalid(format!("{shown:?} is no certificate: write its SHA-256 fingerprint (64 hexadecimal digits), or paste it as PEM."))
    };
    let mut found = Vec::new();
    for text in raw.into_iter().map(str::trim).filter(|text| !text.is_empty()) {
        if !text.contains("-----BEGIN") {
            found.push(text.parse().map_err(|_| wrong(text))?);
            continue;
        }
        let pasted: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>().map_err(|_| wrong(text))?;
        if pasted.is_empty() {
            return Err(wrong(text));
        }
        for certificate in &pasted {
            found.push(
                Fingerprint::of_client(certificate).map_err(|error| Refusal::Invalid(format!("{}.", capitalised(&error.to_string()))))?,
            );
        }
    }
    Ok(found)
}

fn is_json(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(|value| value.split(';').next());
    media.is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
}

/// The innermost cause: what the outer ones say is about the library.
fn source(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(inner) = error.source() {
        error = inner;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_length_a_day_a_moment_or_never() {
        assert_eq!(expiry("90d").unwrap(), Expiry::In(Span::days(90)));
        assert_eq!(expiry(" never ").unwrap(), Expiry::Never);
        assert_eq!(expiry("2027-01-31").unwrap(), Expiry::At("2027-02-01T00:00:00Z".parse().unwrap()));
        assert_eq!(expiry("2027-01-31T10:00:00Z").unwrap(), Expiry::At("2027-01-31T10:00:00Z".parse().unwrap()));
        for wrong in ["", "90", "forever", "2027-02-30", "-1d"] {
            assert!(expiry(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_source_is_a_network_or_an_address() {
        let read = sources(["10.0.0.0/8", " 192.0.2.7 ", "", "2001:db8::/32"]).unwrap();
        assert_eq!(read.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]);
        assert!(sources(["10.0.0.0/33"]).is_err());
    }
}
