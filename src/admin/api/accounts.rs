//! `/accounts`.

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use super::page::{Page, PageQuery, Revised};
use crate::{
    admin::{
        Desk, changes,
        input::{Asked, IfMatch, Sent},
        refusal::Refusal,
        roles::{Right, Scope, permit},
        sign_in::Who,
        views::{AccountView, Holding, holdings},
    },
    directory::{AccountChange, DESCRIPTION_MAX_CHARS, NewAccount},
    identity::{Account, AccountId, Status},
};

/// An account to be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountBody {
    /// A slug of `a`-`z`, `0`-`9` and inner `-`, 1 to 63 characters.
    id: String,
    /// What people call it; under 80 characters.
    name: String,
    /// What it is for; 1000 characters at most.
    #[schemars(length(max = DESCRIPTION_MAX_CHARS))]
    description: Option<String>,
}

/// What to change; what is left out stays.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountPatch {
    /// What people call it.
    name: Option<String>,
    /// What it is for, 1000 characters at most; an empty text takes the description away.
    #[schemars(length(max = DESCRIPTION_MAX_CHARS))]
    description: Option<String>,
    /// Whether its keys sign in.
    status: Option<StatusWord>,
}

/// Whether an account or key may be used.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum StatusWord {
    /// In use.
    Active,
    /// Turned off.
    Disabled,
}

impl From<StatusWord> for Status {
    fn from(word: StatusWord) -> Self {
        match word {
            StatusWord::Active => Self::Active,
            StatusWord::Disabled => Self::Disabled,
        }
    }
}

pub(super) async fn list(State(desk): State<Desk>, who: Who, Asked(page): Asked<PageQuery>) -> Result<Page<AccountView>, Refusal> {
    let permitted = permit(&who.admin, Right::ReadAccounts, Scope::Visible)?;
    let now = Timestamp::now();
    let seen = holdings(&*desk.shared.backend, |id| permitted.covers(id)).await?;
    Ok(page.cut(seen, |holding| holding.account.id.clone())?.map(|holding| AccountView::of(&holding, now)))
}

pub(super) async fn create(State(desk): State<Desk>, who: Who, Sent(body): Sent<AccountBody>) -> Result<Revised<AccountView>, Refusal> {
    let id = body.id.parse().map_err(|error| Refusal::Invalid(format!("{error}.")))?;
    let account = changes::create_account(&desk, &who, NewAccount { id, name: body.name, description: body.description }).await?;
    Ok(view(StatusCode::CREATED, Holding { account, keys: Vec::new() }))
}

pub(super) async fn show(State(desk): State<Desk>, who: Who, Path(id): Path<String>) -> Result<Revised<AccountView>, Refusal> {
    let account = changes::known_account(&desk, &who, &named(&id)?).await?;
    with_keys(&desk, account).await
}

pub(super) async fn change(
    State(desk): State<Desk>,
    who: Who,
    Path(id): Path<String>,
    IfMatch(revision): IfMatch,
    Sent(patch): Sent<AccountPatch>,
) -> Result<Revised<AccountView>, Refusal> {
    let change = AccountChange { name: patch.name, description: patch.description, status: patch.status.map(Status::from) };
    let account = changes::change_account(&desk, &who, &named(&id)?, change, revision).await?;
    with_keys(&desk, account).await
}

pub(super) async fn delete(
    State(desk): State<Desk>,
    who: Who,
    Path(id): Path<String>,
    IfMatch(revision): IfMatch,
) -> Result<StatusCode, Refusal> {
    changes::delete_account(&desk, &who, &named(&id)?, revision).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What is no account id names no account.
pub(super) fn named(id: &str) -> Result<AccountId, Refusal> {
    id.parse().map_err(|_| Refusal::NoSuch("service account"))
}

async fn with_keys(desk: &Desk, account: Account) -> Result<Revised<AccountView>, Refusal> {
    let keys = desk.shared.backend.keys(&account.id).await?;
    Ok(view(StatusCode::OK, Holding { account, keys }))
}

fn view(status: StatusCode, holding: Holding) -> Revised<AccountView> {
    Revised { status, revision: holding.account.revision, thing: AccountView::of(&holding, Timestamp::now()) }
}
