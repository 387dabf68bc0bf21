//! `/accounts/{id}/keys` and `/keys`.

use std::{fmt, str::FromStr, time::Duration};

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    accounts::{StatusWord, named},
    page::{Page, PageQuery, Revised},
};
use crate::{
    admin::{
        Desk, changes,
        input::{self, Asked, IfMatch, Sent},
        refusal::Refusal,
        roles::{Right, Scope, permit},
        sign_in::Who,
        views::{KeyView, SecretView, holdings},
    },
    directory::{Expiry, KeyChange, NewKey},
    identity::{AccountId, BOUND_TO_MAX, Key, KeyId, Status},
    settings::Span,
};

/// How long a key lives unless said.
const LIFE: Span = Span::days(90);

/// A key to be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyBody {
    /// What people call it; under 80 characters.
    name: String,
    /// A length of time (`90d`, which it is unless said), a day in UTC, a moment, or `never`.
    expires: Option<String>,
    /// Networks that it may come from, at most 64; anywhere unless said.
    #[serde(default)]
    #[schemars(length(max = BOUND_TO_MAX))]
    from: Vec<String>,
    /// Client certificates it is bound to, as SHA-256 fingerprints or PEM, at most 64; none unless said.
    #[serde(default)]
    #[schemars(length(max = BOUND_TO_MAX))]
    client_certs: Vec<String>,
}

/// What to change; what is left out stays.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyPatch {
    /// What people call it.
    name: Option<String>,
    /// Whether it signs in.
    status: Option<StatusWord>,
    /// A length of time from now, a day in UTC, a moment, or `never`.
    expires: Option<String>,
    /// Networks that it may come from, at most 64; none is anywhere.
    #[schemars(length(max = BOUND_TO_MAX))]
    from: Option<Vec<String>>,
    /// Client certificates it is bound to, as SHA-256 fingerprints or PEM, at most 64; an empty list is none.
    #[schemars(length(max = BOUND_TO_MAX))]
    client_certs: Option<Vec<String>>,
}

/// How to rotate.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RotateBody {
    /// How long the old secret is taken yet; the settings' `limits.rotate_overlap` unless said, `0s` for not at all.
    overlap: Option<String>,
}

/// Which keys.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeysQuery {
    /// Of this account only.
    account: Option<String>,
    /// How many to give; 50 unless said.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Where a key stands in a list: by account, then by age. Keys of one second stand by their ids.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    account: AccountId,
    created: Timestamp,
    id: KeyId,
}

impl Place {
    fn of(key: &Key) -> Self {
        Self { account: key.account.clone(), created: key.created, id: key.id }
    }
}

/// As a cursor: nothing in it has to be escaped in a query.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_{}", self.account, self.created.as_nanosecond(), self.id)
    }
}

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(raw: &str) -> Result<Self, Self::Err> {
        let read = || {
            let mut parts = raw.split('_');
            let (account, created, id) = (parts.next()?, parts.next()?, parts.next()?);
            let created = Timestamp::from_nanosecond(created.parse().ok()?).ok()?;
            parts.next().is_none().then_some(Self { account: account.parse().ok()?, created, id: id.parse().ok()? })
        };
        read().ok_or(NoPlace)
    }
}

/// A text that is no cursor of keys.
#[derive(Debug)]
struct NoPlace;

/// Of every account that the admin may see.
pub(super) async fn all(State(desk): State<Desk>, who: Who, Asked(asked): Asked<KeysQuery>) -> Result<Page<KeyView>, Refusal> {
    let permitted = permit(&who.admin, Right::ReadKeys, Scope::Visible)?;
    let only = match &asked.account {
        Some(id) => Some(changes::known_account(&desk, &who, &named(id)?).await?.id),
        None => None,
    };
    let wanted = |id: &AccountId| permitted.covers(id) && only.as_ref().is_none_or(|only| only == id);
    let now = Timestamp::now();
    let seen = holdings(&*desk.shared.backend, wanted).await?;
    let keys = seen.into_iter().flat_map(|holding| holding.keys).collect();
    Ok(PageQuery::new(asked.limit, asked.cursor).cut(keys, Place::of)?.map(|key| KeyView::of(&key, now)))
}

pub(super) async fn list(
    State(desk): State<Desk>,
    who: Who,
    Path(id): Path<String>,
    Asked(page): Asked<PageQuery>,
) -> Result<Page<KeyView>, Refusal> {
    let account = changes::known_account(&desk, &who, &named(&id)?).await?;
    permit(&who.admin, Right::ReadKeys, Scope::Account(&account.id))?;
    let now = Timestamp::now();
    let keys = desk.shared.backend.keys(&account.id).await?;
    Ok(page.cut(keys, Place::of)?.map(|key| KeyView::of(&key, now)))
}

pub(super) async fn create(
    State(desk): State<Desk>,
    who: Who,
    Path(id): Path<String>,
    Sent(body): Sent<KeyBody>,
) -> Result<Revised<SecretView>, Refusal> {
    let expires = body.expires.as_deref().map_or(Ok(Expiry::In(LIFE)), input::expiry)?;
    let sources = input::sources(body.from.iter().map(String::as_str))?;
    let client_certs = input::certificates(body.client_certs.iter().map(String::as_str))?;
    let new = NewKey { account: named(&id)?, name: body.name, expires, sources, client_certs };
    let made = changes::create_key(&desk, &who, new).await?;
    Ok(Revised { status: StatusCode::CREATED, revision: made.key.revision, thing: SecretView::of(&made.key, &made.secret) })
}

pub(super) async fn show(State(desk): State<Desk>, who: Who, Path(id): Path<String>) -> Result<Revised<KeyView>, Refusal> {
    changes::known_key(&desk, &who, key_named(&id)?).await.map(|key| view(&key))
}

pub(super) async fn change(
    State(desk): State<Desk>,
    who: Who,
    Path(id): Path<String>,
    IfMatch(revision): IfMatch,
    Sent(patch): Sent<KeyPatch>,
) -> Result<Revised<KeyView>, Refusal> {
    let change = KeyChange {
        name: patch.name,
        status: patch.status.map(Status::from),
        sources: patch.from.as_ref().map(|from| input::sources(from.iter().map(String::as_str))).transpose()?,
        client_certs: patch.client_certs.as_ref().map(|certs| input::certificates(certs.iter().map(String::as_str))).transpose()?,
        expires: patch.expires.as_deref().map(input::expiry).transpose()?,
    };
    changes::change_key(&desk, &who, key_named(&id)?, change, revision).await.map(|key| view(&key))
}

pub(super) async fn rotate(
    State(desk): State<Desk>,
    who: Who,
    Path(id): Path<String>,
    body: Option<Sent<RotateBody>>,
) -> Result<Revised<SecretView>, Refusal> {
    let overlap = match body.and_then(|Sent(body)| body.overlap) {
        None => desk.shared.rotate_overlap,
        Some(text) => overlap(&text)?,
    };
    let rotated = changes::rotate_key(&desk, &who, key_named(&id)?, overlap).await?;
    Ok(Revised { status: StatusCode::OK, revision: rotated.key.revision, thing: SecretView::of(&rotated.key, &rotated.secret) })
}

pub(super) async fn delete(
    State(desk): State<Desk>,
    who: Who,
    Path(id): Path<String>,
    IfMatch(revision): IfMatch,
) -> Result<StatusCode, Refusal> {
    changes::delete_key(&desk, &who, key_named(&id)?, revision).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What is no key id names no key.
fn key_named(id: &str) -> Result<KeyId, Refusal> {
    id.parse().map_err(|_| Refusal::NoSuch("access key"))
}

fn overlap(text: &str) -> Result<Duration, Refusal> {
    text.parse::<Span>().map(|span| span.0).map_err(|error| Refusal::Invalid(format!("overlap: {error}.")))
}

fn view(key: &Key) -> Revised<KeyView> {
    Revised { status: StatusCode::OK, revision: key.revision, thing: KeyView::of(key, Timestamp::now()) }
}
