//! `/accounts/{id}/shares`, `/shares`, `/policy`, `/explain` and `/simulate`.

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::accounts::named;
use crate::{
    admin::{
        Desk, changes,
        input::{self, Asked, Sent},
        refusal::Refusal,
        roles::{Right, Scope, permit},
        sign_in::Who,
        trials::{self, Question},
        views::written,
    },
    identity::AccountId,
};

/// Another policy, to try.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SimulateBody {
    /// Its text, as the file would have it.
    policy: String,
    /// Requests from then on: a moment, a day, or how long ago; `7d` unless said.
    since: Option<String>,
}

/// What is shared with an account, and what is denied to it, by the policy in force. It is changed in the file alone.
pub(super) async fn shares(State(desk): State<Desk>, who: Who, Path(id): Path<String>) -> Result<Response, Refusal> {
    let account = changes::known_account(&desk, &who, &named(&id)?).await?;
    permit(&who.admin, Right::ReadShares, Scope::Account(&account.id))?;
    let rules = desk.shared.rules.load_full();
    let policy = &rules.policy;
    let (shares, denials) = (policy.shares(&account.id), policy.denials(&account.id));
    Ok(Json(json!({"policy": policy.digest(), "enforcement": policy.enforcement(&account.id), "shares": shares, "denials": denials}))
        .into_response())
}

/// Which shares.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SharesQuery {
    /// Of this account only.
    account: Option<String>,
}

/// The same, of every account that the admin may see.
pub(super) async fn all_shares(State(desk): State<Desk>, who: Who, Asked(asked): Asked<SharesQuery>) -> Result<Response, Refusal> {
    let permitted = permit(&who.admin, Right::ReadShares, Scope::Visible)?;
    let accounts: Vec<AccountId> = match &asked.account {
        Some(id) => vec![changes::known_account(&desk, &who, &named(id)?).await?.id],
        None => desk.shared.backend.accounts().await?.into_iter().map(|account| account.id).collect(),
    };
    let rules = desk.shared.rules.load_full();
    let policy = &rules.policy;
    let of = |id: &AccountId| json!({"account": id, "enforcement": policy.enforcement(id), "shares": policy.shares(id), "denials": policy.denials(id)});
    let items: Vec<_> = accounts.iter().filter(|id| permitted.covers(id)).map(of).collect();
    Ok(Json(json!({"policy": policy.digest(), "items": items})).into_response())
}

pub(super) async fn policy(State(desk): State<Desk>, who: Who) -> Result<Response, Refusal> {
    permit(&who.admin, Right::ReadPolicy, Scope::Whole)?;
    let (in_force, reloads) = (desk.status.in_force(), desk.status.reloads());
    let pending = reloads.pending.as_ref().map(|edit| json!({"time": written(edit.at), "diagnostics": edit.complaints}));
    Ok(Json(json!({
        "digest": desk.shared.rules.load().policy.digest(),
        "since": written(in_force.since),
        "file": in_force.policy.name,
        "source": in_force.policy.text,
        "diagnostics": trials::warnings(&desk).await?,
        "refused_edit": pending,
    }))
    .into_response())
}

pub(super) async fn explain(State(desk): State<Desk>, who: Who, Sent(question): Sent<Question>) -> Result<Response, Refusal> {
    Ok(Json(trials::explain(&desk, &who, &question)?).into_response())
}

pub(super) async fn simulate(State(desk): State<Desk>, who: Who, Sent(body): Sent<SimulateBody>) -> Result<Response, Refusal> {
    let since = input::moment(body.since.as_deref().unwrap_or("7d"), Timestamp::now())?;
    Ok(Json(trials::simulate(&desk, &who, body.policy, Some(since)).await?).into_response())
}
