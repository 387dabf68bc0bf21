//! `/audit` and `/usage`.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    admin::{
        Desk,
        input::{self, Asked},
        records::{self, RecordQuery},
        refusal::Refusal,
        sign_in::Who,
    },
    audit::Order,
};

const DEFAULT: usize = 100;
const MOST: usize = 1000;

/// Which records, and which page of them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AuditQuery {
    /// Of this service account.
    account: Option<String>,
    /// With this access key.
    key: Option<String>,
    /// On behalf of this user.
    subject: Option<String>,
    /// On this resource; a `*` at its end stands for any rest.
    resource: Option<String>,
    /// With this action.
    action: Option<String>,
    /// `allow` or `deny`.
    decision: Option<String>,
    /// `completed`, `refused`, `upstream_error` or `interrupted`.
    outcome: Option<String>,
    /// `access`, `admin` or `system`.
    kind: Option<String>,
    /// This request.
    request_id: Option<String>,
    /// Written by this sidecar.
    sidecar: Option<String>,
    /// Not before: a moment, a day, or how long ago (`7d`).
    since: Option<String>,
    /// Before: a moment, a day, or how long ago.
    until: Option<String>,
    /// Which come first; `newest` unless said.
    order: Option<OrderWord>,
    /// How many to give; 100 unless said.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Which records come first.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum OrderWord {
    /// The latest.
    #[default]
    Newest,
    /// As they happened.
    Oldest,
}

/// Of which time, and of whom.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UsageQuery {
    /// Of this service account alone.
    account: Option<String>,
    /// Not before: a moment, a day, or how long ago; `30d` unless said.
    since: Option<String>,
}

#[derive(Serialize)]
struct Records<'r> {
    items: Vec<&'r RawValue>,
    next_cursor: Option<&'r str>,
}

/// Records, each exactly as it stands in the log, so that its hash can be checked.
pub(super) async fn audit(State(desk): State<Desk>, who: Who, Asked(asked): Asked<AuditQuery>) -> Result<Response, Refusal> {
    let limit = match asked.limit {
        None => DEFAULT,
        Some(limit @ 1..=MOST) => limit,
        Some(_) => return Err(Refusal::Invalid(format!("limit is a number from 1 to {MOST}."))),
    };
    let order = match asked.order.unwrap_or_default() {
        OrderWord::Newest => Order::NewestFirst,
        OrderWord::Oldest => Order::OldestFirst,
    };
    let query = RecordQuery {
        account: asked.account,
        key: asked.key,
        subject: asked.subject,
        resource: asked.resource,
        action: asked.action,
        decision: asked.decision,
        outcome: asked.outcome,
        kind: asked.kind,
        request_id: asked.request_id,
        sidecar: asked.sidecar,
        since: asked.since,
        until: asked.until,
    };
    let found = records::read(&desk, query.filter(&who, Timestamp::now())?, order, limit, asked.cursor.as_deref()).await?;
    let items = found.records.iter().filter_map(|found| serde_json::from_str(&found.raw).ok()).collect();
    Ok(Json(Records { items, next_cursor: found.next.as_deref() }).into_response())
}

pub(super) async fn usage(State(desk): State<Desk>, who: Who, Asked(asked): Asked<UsageQuery>) -> Result<Response, Refusal> {
    let since = input::moment(asked.since.as_deref().unwrap_or("30d"), Timestamp::now())?;
    let account = asked.account.as_deref().map(super::accounts::named).transpose()?;
    Ok(Json(records::usage(&desk, &who, account.as_ref(), Some(since)).await?).into_response())
}
