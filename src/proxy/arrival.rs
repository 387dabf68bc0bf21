//! Where a request came from, as far as it can be believed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;

use super::{
    guard::is_host,
    rewrite::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO},
};
use crate::identity::Fingerprint;

/// The other end of a connection, known once for all its requests.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address; for a Unix socket the loopback address.
    pub address: IpAddr,
    /// The address as a header value.
    pub header: HeaderValue,
    /// `http` or `https`.
    pub proto: &'static str,
    /// The certificate that it showed, if it did.
    pub certificate: Option<Fingerprint>,
}

/// One request's origin.
#[derive(Debug)]
pub struct Origin {
    /// The client's address.
    pub client: IpAddr,
    /// The address as a header value.
    pub header: HeaderValue,
    /// `http` or `https`.
    pub proto: &'static str,
    /// The host that was asked for, where a trusted peer says so; else it is the request's own.
    pub host: Option<HeaderValue>,
}

impl Peer {
    /// A peer at `address`.
    #[must_use]
    pub fn new(address: IpAddr, proto: &'static str) -> Self {
        let address = address.to_canonical();
        Self { address, header: value(address), proto, certificate: None }
    }

    /// A peer on a Unix socket.
    #[must_use]
    pub fn local(proto: &'static str) -> Self {
        Self::new(IpAddr::V4(Ipv4Addr::LOCALHOST), proto)
    }

    /// The origin of a request: the peer itself, or what a trusted peer says about it.
    #[must_use]
    pub fn origin(&self, headers: &HeaderMap, trusted: &[IpNet]) -> Origin {
        let mut origin = Origin { client: self.address, header: self.header.clone(), proto: self.proto, host: None };
        let trusts = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
        if trusted.is_empty() || !trusts(self.address) {
            return origin;
        }
        // Who sets one kind may pass the caller's other kind on unseen: `Forwarded` counts only where it stands alone.
        let claims = if [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST].iter().any(|name| headers.contains_key(name)) {
            Claims::de_facto(headers)
        } else {
            Claims::standard(headers)
        };
        for hop in claims.nearest_first {
            let Some(address) = hop else { break };
            origin.client = address;
            if !trusts(address) {
                break;
            }
        }
        if origin.client != self.address {
            origin.header = value(origin.client);
        }
        if let Some(proto) = claims.proto {
            origin.proto = proto;
        }
        origin.host = claims.host;
        origin
    }
}

/// What a trusted peer says of a request.
#[derive(Debug, Default)]
struct Claims {
    /// From the nearest hop outwards, as far as hops are trusted; the first that is not is the client. `None` is a hop
    /// that is no address: nothing beyond it can be believed.
    nearest_first: Vec<Option<IpAddr>>,
    proto: Option<&'static str>,
    host: Option<HeaderValue>,
}

impl Claims {
    /// `X-Forwarded-For`, `-Proto` and `-Host`.
    fn de_facto(headers: &HeaderMap) -> Self {
        let lines: Vec<&HeaderValue> = headers.get_all(X_FORWARDED_FOR).iter().collect();
        let hops = lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|b| *b == b','));
        Self {
            nearest_first: hops.map(|hop| text(hop).and_then(address)).collect(),
            proto: headers.get(X_FORWARDED_PROTO).and_then(|value| proto(value.as_bytes())),
            host: one(headers, &X_FORWARDED_HOST).and_then(|value| host(value.as_bytes())),
        }
    }

    /// `Forwarded` (RFC 7239). A quoted comma or semicolon is in nothing that is looked for here, and makes its hop unreadable.
    fn standard(headers: &HeaderMap) -> Self {
        let lines: Vec<&HeaderValue> = headers.get_all(header::FORWARDED).iter().collect();
        let hops: Vec<&[u8]> = lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|b| *b == b',')).collect();
        let said = |hop: &[u8], wanted: &str| {
            hop.split(|b| *b == b';').find_map(|pair| {
                let (name, value) = text(pair)?.split_once('=')?;
                name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().trim_matches('"').to_owned())
            })
        };
        // The nearest hop is the trusted peer's own word on how it was asked.
        let nearest = hops.first().copied().unwrap_or_default();
        Self {
            nearest_first: hops.iter().map(|hop| said(hop, "for").as_deref().and_then(address)).collect(),
            proto: said(nearest, "proto").and_then(|value| proto(value.as_bytes())),
            host: said(nearest, "host").and_then(|value| host(value.as_bytes())),
        }
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes.trim_ascii()).ok()
}

/// `192.0.2.1`, `2001:db8::1`, and both with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))?;
    Some(IpAddr::to_canonical(&address))
}

fn proto(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        b"https" => Some("https"),
        b"http" => Some("http"),
        _ => None,
    }
}

/// A name or address, perhaps with a port, and nothing else.
fn host(bytes: &[u8]) -> Option<HeaderValue> {
    is_host(bytes).then(|| HeaderValue::from_bytes(bytes).ok()).flatten()
}

fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut all = headers.get_all(name).iter();
    all.next().filter(|_| all.next().is_none())
}

fn value(address: IpAddr) -> HeaderValue {
    HeaderValue::try_from(address.to_string()).unwrap_or(HeaderValue::from_static("unknown"))
}
