//! Why an admin does not get what was asked for; told as RFC 9457 problem documents by the API, in words by the console.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::roles::Forbidden;
use crate::{
    audit::{AuditError, AuditUnavailable},
    directory::DirectoryError,
};

/// Why an admin does not get what was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("Send an admin token as `Authorization: Bearer vat_…`; `vicar admin create` makes one.")]
    NoToken,
    #[error("The admin token is not good (any more). `vicar admin list` shows those that are; `vicar admin create` makes one.")]
    BadToken,
    #[error("{0}.")]
    Forbidden(#[from] Forbidden),
    #[error("There is no such {0}, or you may not see it.")]
    NoSuch(&'static str),
    #[error("This cannot be done here by {method}.")]
    Method { method: String },
    #[error("{0}")]
    Invalid(String),
    #[error("Send the body as JSON, with Content-Type: application/json.")]
    MediaType,
    #[error("The body is larger than {limit} bytes.")]
    TooLarge { limit: usize },
    #[error("{0}.")]
    Taken(String),
    #[error("{0}.")]
    Limit(String),
    #[error("{0}.")]
    Changed(String),
    #[error("{0}.")]
    Disabled(String),
    #[error("This was sent by a page of another site, or with a form that has expired. Load the page anew and try again.")]
    CrossSite,
    #[error("Too many requests. Try again in {seconds} seconds.")]
    TooMany { seconds: u64 },
    #[error("{0}. Nothing was changed.")]
    Directory(String),
    #[error("{0}. No change is made that cannot be recorded.")]
    Audit(#[from] AuditUnavailable),
    #[error("The audit log cannot be read: {0}")]
    Log(#[from] AuditError),
}

struct Facts {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
}

impl Refusal {
    const fn facts(&self) -> Facts {
        let (status, code, title) = match self {
            Self::NoToken => (StatusCode::UNAUTHORIZED, "token-missing", "No admin token"),
            Self::BadToken => (StatusCode::UNAUTHORIZED, "token-invalid", "Admin token not accepted"),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "not-permitted", "Not permitted"),
            Self::NoSuch(_) => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            Self::Method { .. } => (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed"),
            Self::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid", "Cannot be taken as it is"),
            Self::MediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Not JSON"),
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "Body too large"),
            Self::Taken(_) => (StatusCode::CONFLICT, "already-exists", "Exists already"),
            Self::Limit(_) => (StatusCode::CONFLICT, "limit-reached", "Limit reached"),
            Self::Changed(_) => (StatusCode::PRECONDITION_FAILED, "changed", "Changed in the meantime"),
            Self::Disabled(_) => (StatusCode::CONFLICT, "account-disabled", "Account is disabled"),
            Self::CrossSite => (StatusCode::FORBIDDEN, "cross-site", "Not from this console"),
            Self::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, "rate-limited", "Too many requests"),
            Self::Directory(_) => (StatusCode::SERVICE_UNAVAILABLE, "directory-unavailable", "Directory cannot be used now"),
            Self::Audit(_) => (StatusCode::SERVICE_UNAVAILABLE, "audit-unavailable", "Audit log cannot be written now"),
            Self::Log(_) => (StatusCode::SERVICE_UNAVAILABLE, "audit-unreadable", "Audit log cannot be read now"),
        };
        Facts { status, code, title }
    }

    pub(super) const fn status(&self) -> StatusCode {
        self.facts().status
    }

    pub(super) const fn title(&self) -> &'static str {
        self.facts().title
    }

    /// Seconds after which trying again makes sense.
    const fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooMany { seconds } => Some(*seconds),
            Self::Directory(_) | Self::Audit(_) | Self::Log(_) => Some(5),
            Self::NoToken
            | Self::BadToken
            | Self::Forbidden(_)
            | Self::NoSuch(_)
            | Self::Method { .. }
            | Self::Invalid(_)
            | Self::MediaType
            | Self::TooLarge { .. }
            | Self::Taken(_)
            | Self::Limit(_)
            | Self::Changed(_)
            | Self::Disabled(_)
            | Self::CrossSite => None,
        }
    }
}

impl From<DirectoryError> for Refusal {
    fn from(error: DirectoryError) -> Self {
        let text = error.to_string();
        match error {
            DirectoryError::NoSuchAccount(_) => Self::NoSuch("service account"),
            DirectoryError::NoSuchKey(_) => Self::NoSuch("access key"),
            DirectoryError::NoSuchAdmin(_) => Self::NoSuch("admin"),
            DirectoryError::AccountExists(_) | DirectoryError::AdminExists(_) => Self::Taken(text),
            DirectoryError::TooManyAccounts { .. } | DirectoryError::TooManyKeys { .. } | DirectoryError::TooManyAdmins { .. } => {
                Self::Limit(text)
            }
            DirectoryError::Changed { .. } | DirectoryError::Superseded(_) => Self::Changed(text),
            DirectoryError::Disabled(_) => Self::Disabled(text),
            DirectoryError::Name(_)
            | DirectoryError::Description { .. }
            | DirectoryError::BoundTo { .. }
            | DirectoryError::Past
            | DirectoryError::Far
            | DirectoryError::Lifetime { .. }
            | DirectoryError::RoleAccounts => Self::Invalid(format!("{text}.")),
            DirectoryError::NotSet
            | DirectoryError::Random(_)
            | DirectoryError::File { .. }
            | DirectoryError::Nonsense { .. }
            | DirectoryError::Address(_)
            | DirectoryError::NotShared
            | DirectoryError::Unavailable { .. }
            | DirectoryError::Foreign { .. }
            | DirectoryError::Refused { .. } => Self::Directory(text),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Facts { status, code, title } = self.facts();
        let document = json!({
            "type": format!("urn:vicar:problem:{code}"),
            "title": title,
            "status": status.as_u16(),
            "detail": capitalised(&self.to_string()),
            "code": code,
        });
        let mut response = (status, Json(document)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"vicar-admin\""));
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// `text` as a sentence begins.
pub(super) fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
