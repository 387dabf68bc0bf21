//! `/livez` and `/readyz`: for orchestrators, and for `vicar health`.

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};

use super::{Desk, views::written};
use crate::{
    audit::AuditStats,
    directory::{CacheStats, Health},
};

/// The process runs and this listener answers; nothing more, so that no outage elsewhere gets it restarted.
pub(super) async fn livez() -> Response {
    answer(StatusCode::OK, json!({"status": "alive"}))
}

/// Whether requests should be sent here, and how things are.
pub(super) async fn readyz(State(desk): State<Desk>) -> Response {
    // What is answered is what is told.
    let (keys, log) = (desk.shared.directory.stats(), desk.shared.audit.stats());
    let (status, word) = match readiness(&desk, &keys, &log) {
        Readiness::Ready => (StatusCode::OK, "ready"),
        Readiness::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        Readiness::AuditUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "audit-unavailable"),
        Readiness::DirectoryUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "directory-unavailable"),
    };
    answer(
        status,
        json!({"status": word, "policy": policy(&desk), "reload": reload(&desk), "directory": directory(&keys), "audit": audit(&log)}),
    )
}

/// Why requests should or should not be sent here. A directory that has gone away is no reason: known keys go on working.
enum Readiness {
    Ready,
    Draining,
    /// No action goes through unaudited, so none would.
    AuditUnavailable,
    /// It has not been reached since the start, so no key is known: a wrong address does not replace sidecars that work.
    DirectoryUnavailable,
}

fn readiness(desk: &Desk, keys: &CacheStats, log: &AuditStats) -> Readiness {
    if desk.status.draining() {
        Readiness::Draining
    } else if log.unavailable.is_some() {
        Readiness::AuditUnavailable
    } else if keys.vouched.is_none() {
        Readiness::DirectoryUnavailable
    } else {
        Readiness::Ready
    }
}

fn policy(desk: &Desk) -> Value {
    let rules = desk.shared.rules.load();
    json!({"digest": rules.policy.digest(), "since": written(desk.status.in_force().since)})
}

fn reload(desk: &Desk) -> Value {
    let reloads = desk.status.reloads();
    let refused = reloads.pending.as_ref().map(|edit| {
        let first = edit.complaints.iter().next().map(|first| format!("{}:{}:{}: {}", first.file, first.line, first.column, first.message));
        json!({"time": written(edit.at), "mistakes": edit.complaints.len(), "first": first})
    });
    let next_start = &desk.status.in_force().next_start;
    json!({"taken": reloads.taken, "refused": reloads.refused, "last_error": refused, "at_next_start": next_start})
}

fn directory(stats: &CacheStats) -> Value {
    let (state, problem) = match &stats.backend {
        Health::Good => ("good", None),
        Health::Frozen(why) => ("frozen", Some(why)),
        Health::Away(why) => ("away", Some(why)),
    };
    json!({
        "state": state,
        "problem": problem,
        "push_connected": stats.connected,
        "push_lag_seconds": stats.vouched.map(|ago| ago.as_secs_f64()),
        "stale_answers": stats.stale,
    })
}

fn audit(stats: &AuditStats) -> Value {
    let shipping = stats.shipping.as_ref().map(|shipping| {
        json!({
            "connected": shipping.connected,
            "backlog_records": shipping.backlog_records,
            "backlog_bytes": shipping.backlog_bytes,
            "backlog_limit": shipping.backlog_limit,
            "lag_seconds": shipping.lag.as_secs(),
            "conflicts": shipping.conflicts,
            "last_error": shipping.last_error,
        })
    });
    json!({
        "journal": stats.unavailable.as_ref().map_or_else(|| "writable".to_owned(), ToString::to_string),
        "journal_bytes": stats.journal_bytes,
        "shipping": shipping,
    })
}

fn answer(status: StatusCode, document: Value) -> Response {
    let mut response = (status, Json(document)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
