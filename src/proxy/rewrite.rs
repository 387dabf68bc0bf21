//! Step 10: the headers the upstream gets, and those the caller gets back.
//!
//! Everything the caller said about who it is or how it came is gone by now ([`super::guard::Clean`] lists what
//! stays here); what is added is Vicar's word alone.

use std::{cell::RefCell, net::IpAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{
    guard::Clean,
    limits::{RATE_LIMIT, RATE_LIMIT_POLICY},
    names::{Names, guard_passes, may_trail},
    request_id::RequestId,
};
use crate::{
    directory::Caller,
    policy::Grant,
    settings::{Pass, Settings},
};

/// How requests and answers are rewritten. Made once from the settings.
#[derive(Debug)]
pub struct Rewriting {
    identity: Vec<(HeaderName, Template)>,
    fixed: Vec<(HeaderName, HeaderValue)>,
    host: Host,
    vary: HeaderValue,
    pass_set_cookie: bool,
}

/// Which `Host` the upstream gets.
#[derive(Debug)]
enum Host {
    Callers,
    Set(HeaderValue),
}

/// A header's value with placeholders.
#[derive(Debug)]
enum Template {
    /// `{user}` alone, the usual one.
    User,
    Pieces(Vec<Piece>),
}

#[derive(Debug)]
enum Piece {
    Text(String),
    User,
    UserLocal,
    UserDomain,
    Account,
    Key,
    RequestId,
}

/// How the request reached Vicar, as the upstream is told.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// `http` or `https`.
    pub proto: &'static str,
    /// `X-Forwarded-For` in whole, made once a connection where the client is the peer.
    pub forwarded_for: &'a HeaderValue,
    /// The host that was asked for.
    pub host: &'a HeaderValue,
    /// What was said of the connection's last request.
    pub forwarded: &'a LastForwarded,
}

/// The `Forwarded` (RFC 7239, one element: what came before is only a claim) of a connection's last request. The next one
/// has nearly always come the same way.
#[derive(Debug, Default)]
pub struct LastForwarded(RefCell<Option<HeaderValue>>);

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(super) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// The request id, both ways.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What Vicar alone says of an answer, beside what it adds to.
static SIGNED: [HeaderName; 3] = [X_REQUEST_ID, RATE_LIMIT, RATE_LIMIT_POLICY];
const PRIVATE: HeaderValue = HeaderValue::from_static("private");

/// How many headers of an answer are about the upstream connection only (RFC 9110 §7.6.1).
const HOPS: usize = 6;

/// Whether a header of an answer is one of those. Compared as texts, which are told apart by their lengths for the most part.
fn is_hop(name: &HeaderName) -> bool {
    matches!(name.as_str(), "connection" | "keep-alive" | "proxy-connection" | "proxy-authenticate" | "transfer-encoding" | "upgrade")
}

impl Rewriting {
    /// The rewriting that `settings` put in force; `authority` is the upstream's own name.
    #[must_use]
    pub fn new(settings: &Settings, names: &Names, authority: &str) -> Self {
        let identity = settings
            .impersonation
            .upstream_headers
            .iter()
            .filter_map(|(name, template)| Some((HeaderName::try_from(name).ok()?, Template::parse(template))))
            .collect();
        let fixed = settings
            .upstream
            .headers
            .iter()
            .filter_map(|(name, value)| {
                let mut value = HeaderValue::try_from(value.as_str()).ok()?;
                value.set_sensitive(true);
                Some((HeaderName::try_from(name).ok()?, value))
            })
            .collect();
        let host = match &settings.upstream.host {
            _ if settings.upstream.preserve_host => Host::Callers,
            Some(host) => Host::Set(HeaderValue::try_from(host.as_str()).unwrap_or(HeaderValue::from_static("localhost"))),
            None => Host::Set(HeaderValue::try_from(authority).unwrap_or(HeaderValue::from_static("localhost"))),
        };
        let basic = if names.basic { ", authorization" } else { "" };
        let vary = format!("{}, {}, {}{basic}", names.id, names.secret, names.subject);
        Self {
            identity,
            fixed,
            host,
            vary: HeaderValue::try_from(vary).unwrap_or(HeaderValue::from_static("*")),
            pass_set_cookie: guard_passes(&settings.guard, Pass::SetCookie),
        }
    }

    /// Turns the caller's headers into the upstream's. Only a granted request gets this far.
    pub fn request(
        &self,
        headers: &mut HeaderMap,
        clean: &Clean<'_>,
        caller: &Caller,
        grant: &Grant<'_>,
        arrival: &Arrival<'_>,
        id: &RequestId,
    ) {
        let trailers = headers
            .get(header::TE)
            .is_some_and(|te| te.as_bytes().split(|b| *b == b',').any(|t| t.trim_ascii().eq_ignore_ascii_case(b"trailers")));
        for name in &clean.stripped {
            headers.remove(&**name);
        }
        if trailers {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        headers.insert(
            header::HOST,
            match &self.host {
                Host::Callers => clean.host.clone(),
                Host::Set(host) => host.clone(),
            },
        );
        headers.insert(X_FORWARDED_FOR, arrival.forwarded_for.clone());
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(arrival.proto));
        headers.insert(X_FORWARDED_HOST, arrival.host.clone());
        if let Some(forwarded) = arrival.forwarded.value(arrival) {
            headers.insert(header::FORWARDED, forwarded);
        }
        headers.insert(X_REQUEST_ID, id.header());
        for (name, value) in &self.fixed {
            headers.insert(name.clone(), value.clone());
        }
        for (name, template) in &self.identity {
            if let Some(value) = template.fill(caller, grant, id) {
                headers.insert(name.clone(), value);
            }
        }
    }

    /// Turns the upstream's headers into the caller's.
    pub fn answer(&self, headers: &mut HeaderMap, id: &RequestId) {
        let named = headers.get(header::CONNECTION).filter(|options| !is_usual(options)).cloned();
        for option in named.iter().flat_map(|options| options.as_bytes().split(|b| *b == b',')) {
            if let Ok(name) = HeaderName::from_bytes(option.trim_ascii())
                && Names::connection_may_drop(&name)
            {
                headers.remove(name);
            }
        }
        // One look at the names there are costs less than a search for each that there might be.
        let (mut cached, mut coded) = (false, false);
        let mut gone = [const { None }; HOPS + 1];
        let mut free = gone.iter_mut();
        for name in headers.keys() {
            cached |= *name == header::CACHE_CONTROL;
            coded |= *name == header::TRANSFER_ENCODING;
            if (is_hop(name) || (*name == header::SET_COOKIE && !self.pass_set_cookie))
                && let Some(slot) = free.next()
            {
                *slot = Some(name.clone());
            }
        }
        for name in gone.iter().flatten() {
            headers.remove(name);
        }
        if coded {
            // It has overruled any Content-Length (RFC 9112 §6.3), which must not outlive it.
            headers.remove(header::CONTENT_LENGTH);
        }
        self.sign(headers, id);
        if !cached {
            headers.insert(header::CACHE_CONTROL, PRIVATE);
        }
    }

    /// Takes out of the upstream's trailers what must not stand there, and what would speak for Vicar.
    pub fn answer_trailers(trailers: &mut HeaderMap) {
        let stray = |name: &&HeaderName| !may_trail(name) || is_hop(name) || SIGNED.contains(name);
        let strays: Vec<HeaderName> = trailers.keys().filter(stray).cloned().collect();
        for name in strays {
            trailers.remove(name);
        }
    }

    /// What every answer carries, Vicar's own included.
    pub fn sign(&self, headers: &mut HeaderMap, id: &RequestId) {
        headers.insert(X_REQUEST_ID, id.header());
        headers.append(header::VARY, self.vary.clone());
    }
}

/// Whether a `Connection` header names no other header, as nearly all do.
pub(super) fn is_usual(options: &HeaderValue) -> bool {
    let options = options.as_bytes();
    options.eq_ignore_ascii_case(b"keep-alive") || options.eq_ignore_ascii_case(b"close")
}

// ===== impl LastForwarded =====

impl LastForwarded {
    fn value(&self, arrival: &Arrival<'_>) -> Option<HeaderValue> {
        let (begin, behind) = if arrival.client.is_ipv6() { ("for=\"[", "]\";host=\"") } else { ("for=", ";host=\"") };
        let (client, host) = (arrival.forwarded_for.as_bytes(), arrival.host.as_bytes());
        let pieces = [begin.as_bytes(), client, behind.as_bytes(), host, b"\";proto=", arrival.proto.as_bytes()];
        let mut last = self.0.borrow_mut();
        let is_same = |last: &&HeaderValue| {
            let rest = pieces.iter().try_fold(last.as_bytes(), |rest, piece| rest.strip_prefix(*piece));
            rest.is_some_and(<[u8]>::is_empty)
        };
        if let Some(same) = last.as_ref().filter(is_same) {
            return Some(same.clone());
        }
        *last = HeaderValue::from_maybe_shared(bytes::Bytes::from(pieces.concat())).ok();
        last.clone()
    }
}

// ===== impl Template =====

impl Template {
    /// Reads a template that the settings have checked; an unknown placeholder stands for itself.
    fn parse(text: &str) -> Self {
        if text == "{user}" {
            return Self::User;
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let (before, tail) = rest.split_at(open);
            let Some(close) = tail.find('}') else { break };
            let (placeholder, after) = tail.split_at(close + 1);
            let piece = match placeholder {
                "{user}" => Piece::User,
                "{user.local}" => Piece::UserLocal,
                "{user.domain}" => Piece::UserDomain,
                "{account}" => Piece::Account,
                "{key}" => Piece::Key,
                "{request_id}" => Piece::RequestId,
                other => Piece::Text(other.to_owned()),
            };
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(piece);
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Self::Pieces(pieces)
    }

    /// The header's value, or `None` when a placeholder has none.
    fn fill(&self, caller: &Caller, grant: &Grant<'_>, id: &RequestId) -> Option<HeaderValue> {
        match self {
            Self::User => HeaderValue::from_str(grant.subject()?.as_str()).ok(),
            Self::Pieces(pieces) => {
                let mut value = String::new();
                for piece in pieces {
                    value.push_str(match piece {
                        Piece::Text(text) => text,
                        Piece::User => grant.subject()?.as_str(),
                        Piece::UserLocal => grant.subject()?.local(),
                        Piece::UserDomain => grant.subject()?.domain()?,
                        Piece::Account => caller.account_id().as_str(),
                        Piece::Key => caller.key_id_str(),
                        Piece::RequestId => id.as_str(),
                    });
                }
                HeaderValue::try_from(value).ok()
            }
        }
    }
}
