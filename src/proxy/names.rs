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

/// A name that means something, and what.
#[derive(Debug, Clone)]
struct Known {
    fate: Fate,
    name: HeaderName,
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
    fates: HashMap<Box<str>, Known, foldhash::fast::FixedState>,
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
        let mut put = |name: &str, fate: Fate| {
            let folded = fold(name);
            if let Ok(name) = HeaderName::try_from(&*folded) {
                fates.insert(folded, Known { fate, name });
            }
        };
        for claim in CLAIMS {
            put(claim, Fate::Strip);
        }
        let passes = |pass: Pass| guard_passes(&settings.guard, pass);
        if !passes(Pass::Authorization) {
            put(header::AUTHORIZATION.as_str(), Fate::Strip);
        }
        if !passes(Pass::Cookie) {
            put(header::COOKIE.as_str(), Fate::Strip);
        }
        let assertion = settings.impersonation.assertion.as_ref().map(|assertion| assertion.header.as_str());
        let ours = settings.impersonation.upstream_headers.keys().chain(settings.upstream.headers.keys()).map(String::as_str);
        for own in [id.as_str(), secret.as_str(), subject.as_str()].into_iter().chain(ours).chain(assertion) {
            put(own, Fate::Strip);
        }
        for hop in HOP {
            put(hop, Fate::Hop);
        }
        for refused in REFUSED {
            put(refused, Fate::Refuse);
        }
        Self { id, secret, subject, basic: settings.credentials.basic, fates }
    }

    /// What becomes of a header of this name.
    #[must_use]
    pub fn fate(&self, name: &HeaderName) -> Fate {
        self.sort(name).0
    }

    /// The same, and the name where it is held here, so that nobody has to copy it.
    #[must_use]
    pub(super) fn sort(&self, name: &HeaderName) -> (Fate, Option<&HeaderName>) {
        // Names are in lower case by now, and those held here are plain.
        let text = name.as_str();
        if let Some(known) = self.fates.get(text) {
            return (known.fate, Some(&known.name));
        }
        if text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return (family(text), None);
        }
        let folded = fold(text);
        let fate = match self.fates.get(&folded).map_or_else(|| family(&folded), |known| known.fate) {
            // Only the name itself is about the connection; a look-alike is nothing we know, and no upstream should.
            Fate::Hop => Fate::Strip,
            // Nor may one stand beside the header that says where the request goes or where it ends.
            Fate::Keep if ESSENTIAL.iter().any(|essential| *essential == *folded) => Fate::Strip,
            fate => fate,
        };
        (fate, None)
    }

    /// Whether a `Connection` header may take a header of this name away.
    #[must_use]
    pub fn connection_may_drop(name: &HeaderName) -> bool {
        !ESSENTIAL.contains(name)
    }
}

/// What becomes of a name that is not held, by its family. Most names do not get past their first letter.
fn family(folded: &str) -> Fate {
    let may_be = matches!(folded.as_bytes().first(), Some(b'x' | b'i' | b's' | b'c'));
    if may_be && CLAIM_FAMILIES.iter().any(|family| folded.starts_with(family)) { Fate::Strip } else { Fate::Keep }
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
