//! `/.vicar/…`: what a key may ask about itself, and do to itself (DESIGN §4.8).
//!
//! A key can neither delete nor lengthen itself, and sees nothing of any other. No catalog can name a path
//! under `/.vicar/`, and nothing under it goes upstream.

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::json;

use super::{
    admission::Head,
    body::Body,
    limits::Permit,
    pipeline::Way,
    problem::{Code, Problem},
    record::Known,
};
use crate::{
    audit::Decision,
    catalog::CanonicalPath,
    directory::{Caller, DirectoryError},
    settings::SelfService,
};

const PREFIX: &str = "/.vicar";
/// More of a body is not waited for; what it says is not looked at.
const BODY: u64 = 64 << 10;
/// The reason code of what is answered here.
pub(super) const REASON: &str = "self-service";

/// Whether a request is for Vicar itself.
#[must_use]
pub(super) fn concerns(path: &CanonicalPath<'_>) -> bool {
    path.as_str().strip_prefix(PREFIX).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What a request for Vicar itself asks, if there is such a thing.
#[must_use]
pub(super) fn wanted(method: &str, path: &str) -> Option<SelfService> {
    match (method, path.strip_prefix(PREFIX).unwrap_or_default().trim_end_matches('/')) {
        ("GET" | "HEAD", "/whoami") => Some(SelfService::Whoami),
        ("POST", "/rotate") => Some(SelfService::Rotate),
        _ => None,
    }
}

/// Answers it. Only a caller who was let in and has a permit gets here.
pub(super) async fn answer(way: &Way, head: &Head<'_>, caller: &Caller, _permit: Permit) -> Result<Response<Body>, Problem> {
    let known = Known { caller: Some(caller), ..Known::default() };
    let path = head.clean.path.as_str();
    let Some(wanted) = wanted(head.method.as_str(), path) else {
        return Err(way.refused(head, &known, Code::EndpointUnknown.into()));
    };
    if !way.rules.self_service.contains(&wanted) {
        let detail = format!("{path} is not switched on here: ask the operators for it (self_service in the settings).");
        return Err(way.refused(head, &known, Problem::instead(Code::EndpointUnknown, detail)));
    }
    if wanted == SelfService::Rotate && !caller.secret_in_force() {
        return Err(way.refused(head, &known, superseded()));
    }
    if wanted == SelfService::Rotate {
        // Whoever went away in the middle of asking would not get the new secret.
        way.read_body(BODY).await.map_err(|problem| way.refused(head, &known, problem))?;
    }
    let opening = way.opening(head, &known, Decision::Allow, REASON);
    let audit = &way.worker.shared.audit;
    let mut entry = audit.open_entry(opening).await.map_err(|_| Problem::from(Code::AuditUnavailable).retry_after(5))?;
    let document = match wanted {
        SelfService::Whoami => whoami(way, caller),
        SelfService::Rotate => match rotate(way, caller).await {
            Ok(document) => document,
            Err(problem) => {
                entry.status(problem.code.status().as_u16());
                entry.fail();
                return Err(problem);
            }
        },
    };
    let text = document.to_string();
    entry.status(StatusCode::OK.as_u16());
    entry.sent(text.len() as u64);
    entry.complete();
    let mut response = Response::new(if head.method == Method::HEAD { Body::Empty } else { Body::full(Bytes::from(text)) });
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    way.rules.rewriting.sign(response.headers_mut(), &way.id);
    Ok(response)
}

/// A secret that a rotation has replaced lives until its overlap ends, and cannot make itself another life.
fn superseded() -> Problem {
    Problem::instead(
        Code::DeniedByRule,
        "This secret has been replaced by a rotation. Rotate with the one that replaced it, or have an admin rotate the key.",
    )
}

fn whoami(way: &Way, caller: &Caller) -> serde_json::Value {
    let (account, key) = (caller.account(), caller.key());
    json!({
        "account": account.id,
        "account_name": account.name,
        "id": key.id,
        "name": key.name,
        "expires": key.expires.map(|end| end.to_string()),
        "shares": way.rules.policy.shares(&account.id),
    })
}

async fn rotate(way: &Way, caller: &Caller) -> Result<serde_json::Value, Problem> {
    let shared = &way.worker.shared;
    let rotated =
        shared.backend.rotate_key(caller.key_id(), caller.as_rotator(), shared.rotate_overlap, way.time).await.map_err(|error| {
            if matches!(error, DirectoryError::Superseded(_)) {
                return superseded();
            }
            tracing::warn!(%error, "a key could not be rotated");
            Problem::from(Code::DirectoryUnavailable).retry_after(5)
        })?;
    Ok(json!({
        "account": rotated.key.account,
        "id": rotated.key.id,
        "secret": rotated.secret.reveal(),
        "name": rotated.key.name,
        "expires": rotated.key.expires.map(|end| end.to_string()),
        "previous_until": rotated.key.previous.until().map(|until| until.to_string()),
    }))
}
