//! Which header names mean something to Vicar, and what becomes of a header by its name.
//!
//! An upstream may fold names together: CGI and WSGI turn `-` into `_`, some servers turn every
//! character that is neither letter nor digit into `_` (oauth2-proxy CVE-2025-64484 is what follows when
//! a proxy does not think of that). So a name is looked up as it came and, when it holds anything but
//! letters, digits and `-`, folded too.

use std::collections::HashMap;

use http::{HeaderName, header};

use crate::settings::{Guard, Pass, Settings};

/// What becomes of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes upstream.
    Keep,
    /// It stays here: a credential, an identity, a claim about the way the request came.
    Strip,
    /// The request is refused: the header could make the upstream read another request.
    Refuse,
    /// It is about this connection only (RFC 9110 §7.6.1).
    Hop,
}

/// The names in force. Made once from the settings.
#[derive(Debug, Clone)]
pub struct Names {
    /// Header with the key id.
    pub id: HeaderName,
    /// Header with the secret.
    pub secret: HeaderName,
    /// Header that names the user to act for.
    pub subject: HeaderName,
    /// Whether HTTP Basic is taken.
    pub basic: bool,
    fates: HashMap<Box<str>, Fate, foldhash::fast::FixedState>,
}

/// Method and path overrides: they make one request look like another to the upstream.
const REFUSED: &[&str] = &[
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "http-method-override",
    "x-http-verb-override",
    "x-method",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "x-override-url",
];
/// Claims about the caller or the way the request came, which others believe too readily, and credentials of other
/// systems that would let somebody in beside the identity Vicar vouches for.
const CLAIMS: &[&str] = &[
    "forwarded",
    "x-forwarded",
    "forwarded-for",
    "x-forward-for",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    "x-envoy-external-address",
    "x-envoy-original-path",
    "x-envoy-internal",
    "x-remote-user",
    "remote-user",
    "x-remote-group",
    "x-remote-addr",
    "remote-addr",
    "x-user",
    "x-username",
    "x-user-id",
    "x-user-email",
    "x-email",
    "x-authenticated-user",
    "x-authenticated-userid",
    "x-webauth-user",
    "x-original-host",
    "x-original-forwarded-for",
    "x-original-method",
    "x-host",
    "x-proxy-user",
    "x-scheme",
    "front-end-https",
    "x-request-id",
    "x-vicar-assertion",
    "proxy-authorization",
    "x-client-cert",
    // Becomes HTTP_PROXY in a CGI environment (httpoxy, CVE-2016-5385).
    "proxy",
    // Tells Next.js to leave its own authorization out (CVE-2025-29927).
    "x-middleware-subrequest",
    "x-api-key",
    "api-key",
    "x-auth-token",
    "x-access-token",
    "cookie2",
];
/// Families of claims, by their beginning.
const CLAIM_FAMILIES: &[&str] = &[
    "x-forwarded-",
    "x-auth-request-",
    "impersonate-",
    "x-impersonate-",
    "x-ssl-client-",
    "ssl-client-",
    "x-remote-",
    "x-authenticated-",
    "x-goog-authenticated-",
    "x-goog-iap-",
    "x-ms-client-principal",
    "x-amzn-oidc-",
    "cf-access-",
    "x-pomerium-",
    "x-appengine-",
];
const HOP: [&str; 8] =
    ["connection", "keep-alive", "proxy-connection", "proxy-authenticate", "transfer-encoding", "upgrade", "te", "expect"];
/// What a `Connection` header cannot take away: without these the request would read differently.
const ESSENTIAL: [HeaderName; 6] =
    [header::HOST, header::CONTENT_LENGTH, header::CONTENT_TYPE, header::CONTENT_ENCODING, header::TRANSFER_ENCODING, header::RANGE];

/// What is read before a body or not at all (RFC 9110 §6.5.1): where the message goes and ends, who asks, on which condition,
/// what becomes of the answer, and how the body is read.
static NEVER_TRAILING: [HeaderName; 29] = [
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TRAILER,
    header::TE,
    header::CONNECTION,
    header::UPGRADE,
    header::HOST,
    header::MAX_FORWARDS,
    header::EXPECT,
    header::RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::WWW_AUTHENTICATE,
    header::COOKIE,
    header::SET_COOKIE,
    header::CACHE_CONTROL,
    header::AGE,
    header::EXPIRES,
    header::VARY,
    header::LOCATION,
    header::RETRY_AFTER,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
];

/// Whether a field of this name may stand behind a body.
pub(super) fn may_trail(name: &HeaderName) -> bool {
    !NEVER_TRAILING.contains(name)
}

impl Names {
    /// The names that `settings` put in force.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let name = |text: &str, default: HeaderName| HeaderName::try_from(text).unwrap_or(default);
        let id = name(&settings.credentials.id_header, HeaderName::from_static("x-access-key-id"));
        let secret = name(&settings.credentials.secret_header, HeaderName::from_static("x-access-key-secret"));
        let subject = name(&settings.impersonation.subject_header, HeaderName::from_static("x-impersonate-user"));
        let mut fates = HashMap::default();
        for &claim in CLAIMS {
            fates.insert(fold(claim), Fate::Strip);
        }
        let passes = |pass: Pass| guard_passes(&settings.guard, pass);
        if !passes(Pass::Authorization) {
            fates.insert(fold(header::AUTHORIZATION.as_str()), Fate::Strip);
        }
        if !passes(Pass::Cookie) {
            fates.insert(fold(header::COOKIE.as_str()), Fate::Strip);
        }
        let assertion = settings.impersonation.assertion.as_ref().map(|assertion| assertion.header.as_str());
        let ours = settings.impersonation.upstream_headers.keys().chain(settings.upstream.headers.keys()).map(String::as_str);
        for own in [id.as_str(), secret.as_str(), subject.as_str()].into_iter().chain(ours).chain(assertion) {
            fates.insert(fold(own), Fate::Strip);
        }
        for hop in HOP {
            fates.insert(fold(hop), Fate::Hop);
        }
        for &refused in REFUSED {
            fates.insert(fold(refused), Fate::Refuse);
        }
        Self { id, secret, subject, basic: settings.credentials.basic, fates }
    }

    /// What becomes of a header of this name.
    #[must_use]
    pub fn fate(&self, name: &HeaderName) -> Fate {
        let text = name.as_str();
        // Names are in lower case by now. Without a branch inside, so that it is vectorised.
        let plain = text.bytes().fold(true, |plain, b| plain & (b.is_ascii_lowercase() | b.is_ascii_digit() | (b == b'-')));
        if plain {
            return self.look_up(text);
        }
        let folded = fold(text);
        match self.look_up(&folded) {
            // Only the name itself is about the connection; a look-alike is nothing we know, and no upstream should.
            Fate::Hop => Fate::Strip,
            // Nor may one stand beside the header that says where the request goes or where it ends.
            Fate::Keep if ESSENTIAL.iter().any(|essential| *essential == *folded) => Fate::Strip,
            fate => fate,
        }
    }

    fn look_up(&self, folded: &str) -> Fate {
        match self.fates.get(folded) {
            Some(fate) => *fate,
            None if matches!(folded.as_bytes().first(), Some(b'x' | b'i' | b's' | b'c')) && is_claim(folded) => Fate::Strip,
            None => Fate::Keep,
        }
    }

    /// Whether a `Connection` header may take a header of this name away.
    #[must_use]
    pub fn connection_may_drop(name: &HeaderName) -> bool {
        !ESSENTIAL.contains(name)
    }
}

/// Whether a name is of a family of claims. The callers look at its first letter, which most names do not get past.
fn is_claim(folded: &str) -> bool {
    CLAIM_FAMILIES.iter().any(|family| folded.starts_with(family))
}

/// Whether the settings let something through that is held back by default.
#[must_use]
pub fn guard_passes(guard: &Guard, pass: Pass) -> bool {
    guard.pass.contains(&pass)
}

/// The name with everything that an upstream may take for `-` turned into one.
fn fold(name: &str) -> Box<str> {
    name.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b.to_ascii_lowercase()) } else { '-' })
        .collect::<String>()
        .into_boxed_str()
}
