//! One account: its access keys, its associated resources, its audit log.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    accounts::named,
    layout::{self, Place, heading, page, signature},
    log::{self, LogQuery},
    seat::Seat,
    trouble::Trouble,
};
use crate::{
    admin::{
        Desk, changes,
        input::Asked,
        refusal::Refusal,
        roles::{Right, Scope, may, permit},
        views::KeyState,
    },
    identity::{Account, Key, Status},
    policy::{DenialView, ShareView},
};

/// The three tabs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tab {
    Keys,
    Resources,
    Log,
}

#[derive(Debug, Deserialize)]
pub(super) struct KindQuery {
    #[serde(default)]
    kind: Option<String>,
}

pub(super) async fn keys(State(desk): State<Desk>, seat: Seat, Path(id): Path<String>) -> Result<Markup, Trouble> {
    let account = changes::known_account(&desk, &seat.who, &named(&id)?).await?;
    let admin = &seat.who.admin;
    permit(admin, Right::ReadKeys, Scope::Account(&account.id)).map_err(Refusal::from)?;
    let mut keys = desk.shared.backend.keys(&account.id).await.map_err(Refusal::from)?;
    keys.sort_by_key(|key| std::cmp::Reverse(key.created));
    let limit = desk.status.in_force().settings.limits.keys_per_account;
    let creates = may(admin, Right::CreateKey, Scope::Account(&account.id)) && account.status == Status::Active;
    let now = Timestamp::now();
    let tab = html! {
        div.toolbar {
            p.muted { (keys.len()) " of " (limit) " keys" }
            @if creates { a.button.primary href={ "/console/accounts/" (account.id) "/keys/new" } { "New key" } }
        }
        @if keys.is_empty() {
            section.card.empty {
                h2 { "No keys yet" }
                p { "An integration signs in with an access key: an id, and a secret that is shown once." }
            }
        } @else {
            div.card.scroll { table.stacked {
                caption.hidden { "Access keys of " (account.name) }
                thead { tr { th scope="col" { "Key" } th scope="col" { "State" } th scope="col" { "Ends" } th scope="col" { "Last used" } th scope="col" { "From" } } }
                tbody { @for key in &keys { (key_row(key, now)) } }
            } }
        }
    };
    Ok(frame(&seat, &account, Tab::Keys, tab))
}

fn key_row(key: &Key, now: Timestamp) -> Markup {
    html! {
        tr {
            th scope="row" { a.strong href={ "/console/keys/" (key.id) } { (key.name) } span.sub { code { (key.id) } } }
            td data-label="State" { (layout::key_state(KeyState::of(key, now)))
                @if key.previous.until().is_some_and(|until| until > now) { " " span.pill.warn { "rotating" } } }
            td data-label="Ends" { (layout::moment_or(key.expires, now, "never")) }
            td data-label="Last used" { (layout::moment_or(key.last_used, now, "never")) }
            td data-label="From" { @if key.sources.is_empty() { span.muted { "anywhere" } } @else { @for source in &key.sources { code { (source) } " " } }
                @if !key.client_certs.is_empty() { span.sub { "with its client certificate" } } }
        }
    }
}

pub(super) async fn resources(
    State(desk): State<Desk>,
    seat: Seat,
    Path(id): Path<String>,
    Asked(KindQuery { kind }): Asked<KindQuery>,
) -> Result<Markup, Trouble> {
    let account = changes::known_account(&desk, &seat.who, &named(&id)?).await?;
    permit(&seat.who.admin, Right::ReadShares, Scope::Account(&account.id)).map_err(Refusal::from)?;
    let rules = desk.shared.rules.load_full();
    let kind = kind.filter(|kind| !kind.is_empty());
    let (shares, denials) = (rules.policy.shares(&account.id), rules.policy.denials(&account.id));
    let kinds: BTreeSet<&str> = shares.iter().flat_map(|share| &share.resources).map(|resource| kind_of(resource)).collect();
    let shown: Vec<&ShareView> = shares.iter().filter(|share| concerns(&share.resources, kind.as_deref())).collect();
    let denied: Vec<&DenialView> = denials.iter().filter(|denial| concerns(&denial.resources, kind.as_deref())).collect();
    let used = log::share_use(&desk, &seat, &account.id).await;
    let now = Timestamp::now();
    let title =
        |name: &str| rules.catalog.kinds().find(|kind| *kind.name == *name).map_or_else(|| name.to_owned(), |kind| kind.title.clone());
    let tab = html! {
        div.toolbar {
            form.inline method="get" action={ "/console/accounts/" (account.id) "/resources" } {
                label for="kind" { "Kind" }
                select #kind name="kind" {
                    option value="" { "all" }
                    @for name in &kinds { option value=(name) selected[kind.as_deref() == Some(name)] { (if *name == "*" { "everything".to_owned() } else { title(name) }) } }
                }
                button type="submit" { "Show" }
            }
            p.muted { "Shares stand in the policy file alone, and are changed there." }
        }
        @if shown.is_empty() {
            section.card.empty { h2 { "Nothing shared" }
                p { @if kind.is_some() { "The policy in force shares nothing of this kind with this account." } @else {
                    "The policy in force shares nothing with this account: every request of it is refused." } } }
        } @else {
            div.card.scroll { table.stacked {
                caption.hidden { "What is shared with " (account.name) }
                thead { tr { th scope="col" { "Resource" } th scope="col" { "Actions" } th scope="col" { "On behalf of" } th scope="col" { "Used" } th scope="col" { "Until" } } }
                tbody { @for share in shown { tr {
                    th scope="row" { @for resource in &share.resources { code.resource { (resource) } " " } span.sub { (share.share) @if let Some(note) = &share.note { " · " (note) } } }
                    td data-label="Actions" { @for action in &share.actions { span.tag { (if action == "*" { "all" } else { action }) } " " } }
                    td data-label="On behalf of" { (behalf(share)) }
                    td data-label="Used" { @match &used {
                        Some(used) => @match used.shares.iter().find(|seen| seen.share == share.share) {
                            Some(seen) if seen.used > 0 => { (seen.used) " ×" span.sub { (layout::moment_or(seen.last_used, now, "")) } }
                            _ => { span.pill.warn { "unused" } }
                        },
                        None => { span.muted { "unknown" } }
                    } }
                    td data-label="Until" { (share.until.as_deref().unwrap_or("open")) }
                } } }
            } }
        }
        @if !denied.is_empty() {
            h2 { "Denied by rule" }
            div.card.scroll { table.stacked {
                caption.hidden { "What a rule denies to " (account.name) }
                thead { tr { th scope="col" { "Resource" } th scope="col" { "Actions" } th scope="col" { "Until" } } }
                tbody { @for denial in denied { tr {
                    th scope="row" { @for resource in &denial.resources { code.resource { (resource) } " " } span.sub { (denial.rule) @if let Some(note) = &denial.note { " · " (note) } } }
                    td data-label="Actions" { @for action in &denial.actions { span.tag { (if action == "*" { "all" } else { action }) } " " } }
                    td data-label="Until" { (denial.until.as_deref().unwrap_or("open")) }
                } } }
            } }
        }
        @if used.is_some() { p.muted { "“Used” counts what the audit log holds of the last " (log::USE_DAYS) " days." } }
    };
    Ok(frame(&seat, &account, Tab::Resources, tab))
}

fn behalf(share: &ShareView) -> Markup {
    html! {
        @match &share.impersonate {
            None => span.muted { "itself only" },
            Some(behalf) => {
                span.pill.acts { @if behalf.required { "must impersonate" } @else { "may impersonate" } } " "
                span.sub { (behalf.users.join(", ")) @if let Some(json) = &behalf.json { " · from " code { (json) } } }
            }
        }
    }
}

fn kind_of(resource: &str) -> &str {
    resource.split(':').next().unwrap_or(resource)
}

fn concerns(resources: &[String], kind: Option<&str>) -> bool {
    kind.is_none_or(|kind| resources.iter().any(|resource| kind_of(resource) == kind))
}

pub(super) async fn audit(
    State(desk): State<Desk>,
    seat: Seat,
    Path(id): Path<String>,
    Asked(query): Asked<LogQuery>,
) -> Result<Markup, Trouble> {
    let account = changes::known_account(&desk, &seat.who, &named(&id)?).await?;
    let path = format!("/console/accounts/{}/audit", account.id);
    let tab = log::panel(&desk, &seat, &path, Some(&account.id), &query).await?;
    Ok(frame(&seat, &account, Tab::Log, tab))
}

fn frame(seat: &Seat, account: &Account, tab: Tab, body: Markup) -> Markup {
    let now = Timestamp::now();
    let home = format!("/console/accounts/{}", account.id);
    let admin = &seat.who.admin;
    let changes = may(admin, Right::ChangeAccount, Scope::Account(&account.id));
    let deletes = may(admin, Right::DeleteAccount, Scope::Account(&account.id));
    let link = |to: Tab, path: &str, text: &str| {
        html! { a href={ (home) (path) } aria-current=[(to == tab).then_some("page")] { (text) } }
    };
    let actions = html! {
        @if changes && account.status == Status::Active {
            a.button href={ (home) "/edit" } { "Edit" }
            a.button href={ (home) "/disable" } { "Disable" }
        }
        @if changes && account.status == Status::Disabled {
            form method="post" action={ (home) "/enable" } {
                (signature(seat)) input type="hidden" name="revision" value=(account.revision);
                button.primary type="submit" { "Enable" }
            }
        }
        @if deletes { a.button.danger href={ (home) "/delete" } { "Delete" } }
    };
    let body = html! {
        (heading(&[("/console", "Accounts")], html! { (account.name) " " (layout::status(account.status.as_str())) }, actions))
        p.lead { code { (account.id) } @if let Some(text) = &account.description { " · " (text) } span.muted { " · created " (layout::moment(account.created, now)) } }
        @if account.status == Status::Disabled { (layout::note("off", html! { "This account is disabled: none of its keys signs in, and it cannot be changed until it is enabled." })) }
        nav.tabs aria-label="This account" {
            (link(Tab::Keys, "", "Access keys"))
            @if may(admin, Right::ReadShares, Scope::Account(&account.id)) { (link(Tab::Resources, "/resources", "Associated resources")) }
            @if may(admin, Right::ReadAudit, Scope::Account(&account.id)) { (link(Tab::Log, "/audit", "Audit log")) }
        }
        (body)
    };
    page(seat, Place::Accounts, &account.name, body)
}
