//! What a refused caller gets: RFC 9457 problem documents, one table for all codes.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::{body::Body, request_id::RequestId};

/// Why a request was refused or failed. The table in [`Code::facts`] is the only place that turns one
/// into a status, a title and advice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is documented by its row in the table below")]
pub enum Code {
    CredentialsMissing,
    CredentialsInvalid,
    AmbiguousRequest,
    MethodNotAllowed,
    UnsupportedMediaType,
    QueryNotAllowed,
    EndpointUnknown,
    NotShared,
    DeniedByRule,
    ImpersonationNotAllowed,
    ImpersonationRequired,
    NeverImpersonate,
    SubjectMalformed,
    RateLimited,
    BodyTooLarge,
    HeadTooLarge,
    RequestTimeout,
    DirectoryUnavailable,
    AuditUnavailable,
    UpstreamUnreachable,
    UpstreamUnconnected,
    UpstreamShut,
    UpstreamTimeout,
    UpstreamSilent,
    UpgradeUnavailable,
    Draining,
}

struct Facts {
    code: &'static str,
    status: StatusCode,
    title: &'static str,
    advice: &'static str,
}

impl Code {
    /// Every code, for documentation and tests.
    pub const ALL: [Self; 26] = [
        Self::CredentialsMissing,
        Self::CredentialsInvalid,
        Self::AmbiguousRequest,
        Self::MethodNotAllowed,
        Self::UnsupportedMediaType,
        Self::QueryNotAllowed,
        Self::EndpointUnknown,
        Self::NotShared,
        Self::DeniedByRule,
        Self::ImpersonationNotAllowed,
        Self::ImpersonationRequired,
        Self::NeverImpersonate,
        Self::SubjectMalformed,
        Self::RateLimited,
        Self::BodyTooLarge,
        Self::HeadTooLarge,
        Self::RequestTimeout,
        Self::DirectoryUnavailable,
        Self::AuditUnavailable,
        Self::UpstreamUnreachable,
        Self::UpstreamUnconnected,
        Self::UpstreamShut,
        Self::UpstreamTimeout,
        Self::UpstreamSilent,
        Self::UpgradeUnavailable,
        Self::Draining,
    ];

    const fn facts(self) -> Facts {
        let (code, status, title, advice) = match self {
            Self::CredentialsMissing => (
                "credentials-missing",
                StatusCode::UNAUTHORIZED,
                "No access key",
                "Send the access-key id and secret in their two headers, or as HTTP Basic user and password.",
            ),
            Self::CredentialsInvalid => (
                "credentials-invalid",
                StatusCode::UNAUTHORIZED,
                "Access key not accepted",
                "Check that the id and the secret belong together and are sent once; if they are right, ask an administrator whether the key and its account are active, unexpired and allowed from this address with this client certificate.",
            ),
            Self::AmbiguousRequest => {
                ("ambiguous-request", StatusCode::BAD_REQUEST, "Request can be read in two ways", "Send the request in its plainest form.")
            }
            Self::MethodNotAllowed => (
                "method-not-allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                "Method not allowed",
                "CONNECT and TRACE are not served: send the request with the method that the API documents.",
            ),
            Self::UnsupportedMediaType => (
                "unsupported-media-type",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Body type not accepted here",
                "Send the body with a Content-Type that this endpoint takes.",
            ),
            Self::QueryNotAllowed => (
                "query-not-allowed",
                StatusCode::BAD_REQUEST,
                "Query parameter not allowed here",
                "Leave the parameter out: credentials and method overrides never go in the query.",
            ),
            Self::EndpointUnknown => (
                "endpoint-unknown",
                StatusCode::FORBIDDEN,
                "Endpoint not in the catalog",
                "Check the method and path; if the endpoint exists, ask the operators to add it to the catalog.",
            ),
            Self::NotShared => (
                "not-shared",
                StatusCode::FORBIDDEN,
                "Not shared with this service account",
                "Ask the operators for a share that covers this resource and action.",
            ),
            Self::DeniedByRule => (
                "denied-by-rule",
                StatusCode::FORBIDDEN,
                "Denied by a rule",
                "A deny rule of the policy covers this resource and action; ask the operators if that is meant.",
            ),
            Self::ImpersonationNotAllowed => (
                "impersonation-not-allowed",
                StatusCode::FORBIDDEN,
                "May not act for this user here",
                "No share lets this service account act for that user on this resource and action: ask the operators for one, or name a user whom a share covers.",
            ),
            Self::ImpersonationRequired => (
                "impersonation-required",
                StatusCode::FORBIDDEN,
                "Must act for a user here",
                "This resource is shared for acting on behalf of users only: name the user to act for in the header or field that the operators have set for it.",
            ),
            Self::NeverImpersonate => (
                "never-impersonate",
                StatusCode::FORBIDDEN,
                "Nobody may act for this user",
                "The policy protects this user from impersonation by any service account: act for another user, or as the account itself.",
            ),
            Self::SubjectMalformed => {
                ("subject-malformed", StatusCode::BAD_REQUEST, "User to act for is not one user", "Name exactly one user, once.")
            }
            Self::RateLimited => {
                ("rate-limited", StatusCode::TOO_MANY_REQUESTS, "Too many requests", "Wait as long as Retry-After says, then try again.")
            }
            Self::BodyTooLarge => ("body-too-large", StatusCode::PAYLOAD_TOO_LARGE, "Body too large", "Send less in one request."),
            Self::HeadTooLarge => (
                "head-too-large",
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "Request head too large",
                "Send fewer or shorter header fields, or a shorter target.",
            ),
            Self::RequestTimeout => (
                "request-timeout",
                StatusCode::REQUEST_TIMEOUT,
                "Request did not arrive in time",
                "Send it again, and its body without long pauses.",
            ),
            Self::DirectoryUnavailable => (
                "directory-unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "Access keys cannot be checked now",
                "The key directory cannot be reached; nothing is wrong with the request. Try again as Retry-After says.",
            ),
            Self::AuditUnavailable => (
                "audit-unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "Audit log cannot be written now",
                "No action goes through unaudited; nothing is wrong with the request. Try again as Retry-After says.",
            ),
            Self::UpstreamUnreachable => (
                "upstream-unreachable",
                StatusCode::BAD_GATEWAY,
                "Service behind cannot be reached",
                "The service gave no usable answer. Whether it acted on the request is not known: look before sending it again, and tell the operators if this goes on.",
            ),
            // The same code as the row above: to an integration it is the same trouble, only that nothing has happened.
            Self::UpstreamUnconnected => (
                "upstream-unreachable",
                StatusCode::BAD_GATEWAY,
                "Service behind cannot be reached",
                "No connection to it could be made, so this request was not sent: try again, and tell the operators if this goes on.",
            ),
            Self::UpstreamShut => (
                "upstream-unreachable",
                StatusCode::BAD_GATEWAY,
                "Service behind cannot be reached",
                "Connections to it have failed for a while, so this request was not sent. Try again as Retry-After says.",
            ),
            Self::UpstreamTimeout => (
                "upstream-timeout",
                StatusCode::GATEWAY_TIMEOUT,
                "Service behind did not answer in time",
                "Whether the service acted on the request is not known: look before sending it again.",
            ),
            Self::UpstreamSilent => (
                "upstream-timeout",
                StatusCode::GATEWAY_TIMEOUT,
                "Service behind did not answer in time",
                "No connection to it could be made in time, so this request was not sent: try again, and tell the operators if this goes on.",
            ),
            Self::UpgradeUnavailable => (
                "upgrade-unavailable",
                StatusCode::NOT_IMPLEMENTED,
                "No WebSocket to this service",
                "Vicar speaks HTTP/2 to the service, and carries WebSockets over HTTP/1.1 only: ask the operators for an upstream without `http2: true`.",
            ),
            Self::Draining => {
                ("draining", StatusCode::SERVICE_UNAVAILABLE, "Shutting down or overloaded", "Try again: another instance will answer.")
            }
        };
        Facts { code, status, title, advice }
    }

    /// The stable word that stands in `code`, in the audit record and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.facts().code
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.facts().status
    }

    /// The stable URI of this problem type.
    #[must_use]
    pub fn type_uri(self) -> String {
        format!("urn:vicar:problem:{}", self.as_str())
    }
}

/// A refusal on its way to the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which one.
    pub code: Code,
    /// What is particular to this request, put before the general advice. Never a secret.
    pub detail: Option<String>,
    /// Whether the general advice would mislead here, so that the detail stands alone.
    pub alone: bool,
    /// Seconds after which trying again makes sense.
    pub retry_after: Option<u64>,
    /// Whether the connection may carry another request after this one.
    pub connection: Afterwards,
}

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    /// It goes on.
    KeepOpen,
    /// It ends: what follows on it cannot be trusted to be a request.
    Close,
}

// ===== impl Problem =====

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self { code, detail: None, alone: false, retry_after: None, connection: Afterwards::KeepOpen }
    }
}

impl Problem {
    /// With words about this request.
    pub fn because(code: Code, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..code.into() }
    }

    /// With words about this request in place of the general advice.
    pub fn instead(code: Code, detail: impl Into<String>) -> Self {
        Self { alone: true, ..Self::because(code, detail) }
    }

    /// A request that could be read in two ways: the connection closes behind it.
    pub fn ambiguous(detail: impl Into<String>) -> Self {
        Self { connection: Afterwards::Close, ..Self::because(Code::AmbiguousRequest, detail) }
    }

    /// A body that did not come: where the next request on the connection would begin is not known.
    pub fn late() -> Self {
        Self { connection: Afterwards::Close, ..Code::RequestTimeout.into() }
    }

    /// With a time to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds.max(1));
        self
    }

    /// The answer itself.
    #[must_use]
    pub fn into_response(self, id: &RequestId) -> Response<Body> {
        let facts = self.code.facts();
        let detail = match &self.detail {
            Some(detail) if self.alone => detail.clone(),
            Some(detail) => format!("{detail} {}", facts.advice),
            None => facts.advice.to_owned(),
        };
        let document = serde_json::json!({
            "type": self.code.type_uri(),
            "title": facts.title,
            "status": facts.status.as_u16(),
            "detail": detail,
            "code": facts.code,
            "request_id": id.as_str(),
        });
        let mut response = Response::new(Body::full(Bytes::from(document.to_string())));
        *response.status_mut() = facts.status;
        let headers: &mut HeaderMap = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self.code {
            Code::CredentialsMissing | Code::CredentialsInvalid => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"vicar\", charset=\"UTF-8\""));
            }
            Code::MethodNotAllowed => {
                headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE"));
            }
            _ => {}
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.connection == Afterwards::Close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
