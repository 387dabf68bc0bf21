//! Asking before something is stopped or deleted: what will stop then, and a yes that holds for what was looked at.

use axum::extract::{Path, State};
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    accounts::named,
    keys::held,
    layout::{self, Place, heading, page, signature},
    seat::Seat,
    trouble::Trouble,
};
use crate::{
    admin::{
        Desk, changes,
        refusal::Refusal,
        roles::{Right, Scope, permit},
        views::KeyState,
    },
    identity::{Account, Key},
};

/// A yes to a question.
#[derive(Debug, Deserialize)]
pub(super) struct Yes {
    revision: u64,
}

impl Yes {
    /// The revision that was looked at.
    pub(super) const fn revision(&self) -> u64 {
        self.revision
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy)]
enum Stop {
    Disable,
    Delete,
}

/// A question about one thing.
struct Question<'q> {
    stop: Stop,
    /// `account` or `key`.
    what: &'static str,
    trail: &'q [(&'q str, &'q str)],
    /// Its page.
    here: &'q str,
    revision: u64,
    /// What will stop.
    stops: Markup,
}

// ===== accounts =====

pub(super) async fn disable_account(desk: State<Desk>, seat: Seat, id: Path<String>) -> Result<Markup, Trouble> {
    about_account(desk, seat, id, Stop::Disable).await
}

pub(super) async fn delete_account(desk: State<Desk>, seat: Seat, id: Path<String>) -> Result<Markup, Trouble> {
    about_account(desk, seat, id, Stop::Delete).await
}

async fn about_account(State(desk): State<Desk>, seat: Seat, Path(id): Path<String>, stop: Stop) -> Result<Markup, Trouble> {
    let account = changes::known_account(&desk, &seat.who, &named(&id)?).await?;
    let (right, after) = match stop {
        Stop::Disable => (Right::ChangeAccount, "None of its keys signs in until the account is enabled again."),
        Stop::Delete => (Right::DeleteAccount, "The account and its keys are gone for good. Its audit records stay."),
    };
    permit(&seat.who.admin, right, Scope::Account(&account.id)).map_err(Refusal::from)?;
    let keys = desk.shared.backend.keys(&account.id).await.map_err(Refusal::from)?;
    let home = format!("/console/accounts/{}", account.id);
    let stops = html! { p { (after) } (stops_with_account(&desk, &account, &keys)) };
    let trail = [("/console", "Accounts"), (&*home, &*account.name)];
    Ok(ask(&seat, Question { stop, what: "account", trail: &trail, here: &home, revision: account.revision, stops }))
}

/// What an account does today, and will not do then.
fn stops_with_account(desk: &Desk, account: &Account, keys: &[Key]) -> Markup {
    let now = Timestamp::now();
    let live: Vec<&Key> = keys.iter().filter(|key| signs_in(key, now)).collect();
    let rules = desk.shared.rules.load();
    let shares = rules.policy.shares(&account.id);
    html! {
        @if live.is_empty() && shares.is_empty() { p.muted { "Nothing: it has no key that signs in, and nothing is shared with it." } }
        @if !live.is_empty() {
            h3 { (counted(live.len(), "working key")) }
            ul.plain { @for key in live { li { strong { (key.name) } " " code { (key.id) } ", last used " (layout::moment_or(key.last_used, now, "never")) } } }
        }
        @if !shares.is_empty() {
            h3 { (counted(shares.len(), "share")) }
            ul.plain { @for share in &shares { li { (share.actions.join(", ")) " on " (share.resources.join(", "))
                @if share.impersonate.is_some() { " " span.pill.acts { "on behalf of users" } } } } }
        }
    }
}

// ===== keys =====

pub(super) async fn disable_key(desk: State<Desk>, seat: Seat, id: Path<String>) -> Result<Markup, Trouble> {
    about_key(desk, seat, id, Stop::Disable).await
}

pub(super) async fn delete_key(desk: State<Desk>, seat: Seat, id: Path<String>) -> Result<Markup, Trouble> {
    about_key(desk, seat, id, Stop::Delete).await
}

async fn about_key(State(desk): State<Desk>, seat: Seat, Path(id): Path<String>, stop: Stop) -> Result<Markup, Trouble> {
    let (account, key) = held(&desk, &seat, &id).await?;
    let right = match stop {
        Stop::Disable => Right::ChangeKey,
        Stop::Delete => Right::DeleteKey,
    };
    permit(&seat.who.admin, right, Scope::Account(&account.id)).map_err(Refusal::from)?;
    let others = desk.shared.backend.keys(&account.id).await.map_err(Refusal::from)?;
    let (home, here) = (format!("/console/accounts/{}", account.id), format!("/console/keys/{}", key.id));
    let stops = stops_with_key(&account, &key, &others);
    let trail = [("/console", "Accounts"), (&*home, &*account.name), (&*here, &*key.name)];
    Ok(ask(&seat, Question { stop, what: "key", trail: &trail, here: &here, revision: key.revision, stops }))
}

fn stops_with_key(account: &Account, key: &Key, all: &[Key]) -> Markup {
    let now = Timestamp::now();
    let left = all.iter().filter(|other| other.id != key.id && signs_in(other, now)).count();
    html! {
        @if signs_in(key, now) {
            p { "Whatever signs in with " code { (key.id) } ", at once, on every sidecar. It was last used " strong { (layout::moment_or(key.last_used, now, "never")) } "." }
            @if left == 0 {
                (layout::note("warn", html! { "This is the last working key of " strong { (account.name) } ": all that the account does stops with it." }))
            } @else {
                p { (counted(left, "other key")) " of " (account.name) " go" @if left == 1 { "es" } " on working." }
            }
        } @else { p { "Nothing: this key does not sign in as it is." } }
    }
}

// ===== asking =====

fn ask(seat: &Seat, question: Question<'_>) -> Markup {
    let Question { stop, what, trail, here, revision, stops } = question;
    let (verb, path) = match stop {
        Stop::Disable => ("Disable", "disable"),
        Stop::Delete => ("Delete", "delete"),
    };
    let title = format!("{verb} this {what}?");
    let body = html! {
        (heading(trail, html! { (title) }, html! {}))
        section.card.narrow {
            h2 { "What will stop" }
            (stops)
            form method="post" action={ (here) "/" (path) } {
                (signature(seat)) input type="hidden" name="revision" value=(revision);
                div.actions { button.danger type="submit" { (verb) " " (what) } a.button href=(here) { "Keep it" } }
            }
        }
    };
    page(seat, Place::Accounts, &title, body)
}

fn signs_in(key: &Key, now: Timestamp) -> bool {
    matches!(KeyState::of(key, now), KeyState::Active | KeyState::Expiring { .. })
}

fn counted(number: usize, what: &str) -> String {
    layout::count(i64::try_from(number).unwrap_or(i64::MAX), what)
}
