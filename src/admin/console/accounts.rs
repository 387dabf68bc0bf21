//! The list of accounts, and making, describing, stopping and deleting one.

use axum::{
    extract::{Path, State},
    response::{IntoResponse as _, Redirect, Response},
};
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    layout::{self, Place, heading, page, signature},
    seat::{Seat, Signed},
    stopping::Yes,
    trouble::Trouble,
};
use crate::{
    admin::{
        Desk, changes,
        refusal::Refusal,
        roles::{Right, Scope, may, permit},
        views::{Holding, KeyStates, holdings, last_used},
    },
    directory::{AccountChange, NewAccount},
    identity::{AccountId, Admin, Status},
};

#[derive(Debug, Default, Deserialize)]
pub(super) struct NewForm {
    #[serde(default)]
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    description: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct EditForm {
    name: String,
    #[serde(default)]
    description: String,
    revision: u64,
}

// ===== the list =====

pub(super) async fn list(State(desk): State<Desk>, seat: Seat) -> Result<Markup, Trouble> {
    let admin = &seat.who.admin;
    let permitted = permit(admin, Right::ReadAccounts, Scope::Visible).map_err(Refusal::from)?;
    let now = Timestamp::now();
    let mut seen = holdings(&*desk.shared.backend, |id| permitted.covers(id)).await.map_err(Refusal::from)?;
    seen.sort_by_key(|holding| holding.account.name.to_lowercase());
    let admins =
        if may(admin, Right::ReadAdmins, Scope::Whole) { desk.shared.backend.admins().await.map_err(Refusal::from)? } else { Vec::new() };
    let limit = desk.status.in_force().settings.limits.accounts;
    let creates = may(admin, Right::CreateAccount, Scope::Whole);
    let body = html! {
        (heading(&[], html! { "Service accounts" }, html! {
            @if creates { a.button.primary href="/console/new-account" { "New account" } }
        }))
        (tiles(&seen, permitted.only().is_none().then_some(limit), now))
        @if seen.is_empty() {
            section.card.empty {
                h2 { "No accounts yet" }
                p { "A service account is who an integration signs in as. Make one, give it a key, and share something with it in the policy." }
                @if creates { a.button.primary href="/console/new-account" { "Make the first one" } }
            }
        } @else {
            div.card.scroll {
                table.stacked {
                    caption.hidden { "Service accounts" }
                    thead { tr {
                        th scope="col" { "Account" } th scope="col" { "Status" } th scope="col" { "Keys" } th scope="col" { "Last used" }
                        @if !admins.is_empty() { th scope="col" { "Admins" } }
                    } }
                    tbody {
                        @for holding in &seen {
                            @let account = &holding.account;
                            tr {
                                th scope="row" {
                                    a.strong href={ "/console/accounts/" (account.id) } { (account.name) }
                                    span.sub { code { (account.id) } @if let Some(text) = &account.description { " · " (text) } }
                                }
                                td data-label="Status" { (layout::status(account.status.as_str())) }
                                td data-label="Keys" { (layout::key_states(KeyStates::of(&holding.keys, now))) }
                                td data-label="Last used" { (layout::moment_or(last_used(&holding.keys), now, "never")) }
                                @if !admins.is_empty() { td data-label="Admins" { (named_for(&admins, &account.id)) } }
                            }
                        }
                    }
                }
            }
        }
    };
    Ok(page(&seat, Place::Accounts, "Service accounts", body))
}

fn tiles(seen: &[Holding], limit: Option<u32>, now: Timestamp) -> Markup {
    let states = seen.iter().map(|holding| KeyStates::of(&holding.keys, now));
    let (active, expiring, dead) = states.fold((0, 0, 0), |(active, expiring, dead), states| {
        (active + states.active, expiring + states.expiring, dead + states.disabled + states.expired)
    });
    let stopped = seen.iter().filter(|holding| holding.account.status == Status::Disabled).count();
    html! {
        dl.tiles {
            div { dt { "Accounts" } dd { (seen.len()) @if let Some(limit) = limit { small { " of " (limit) } } } @if stopped > 0 { dd.sub { (stopped) " disabled" } } }
            div { dt { "Active keys" } dd { (active) } }
            div { dt { "Ending within 30 days" } dd.warn[expiring > 0] { (expiring) } }
            div { dt { "Disabled or expired keys" } dd { (dead) } }
        }
    }
}

/// The account admins who were named for an account.
fn named_for(admins: &[Admin], account: &AccountId) -> Markup {
    let named: Vec<&str> = admins.iter().filter(|admin| admin.accounts.contains(account)).map(|admin| admin.name.as_str()).collect();
    html! { @if named.is_empty() { span.muted { "—" } } @else { (named.join(", ")) } }
}

// ===== making one =====

pub(super) async fn new(seat: Seat) -> Result<Markup, Trouble> {
    permit(&seat.who.admin, Right::CreateAccount, Scope::Whole).map_err(Refusal::from)?;
    Ok(new_page(&seat, &NewForm::default(), None))
}

pub(super) async fn create(State(desk): State<Desk>, Signed(seat, form): Signed<NewForm>) -> Result<Response, Trouble> {
    let id = match form.id.trim().parse::<AccountId>() {
        Ok(id) => id,
        Err(error) => return Ok(new_page(&seat, &form, Some(&error.to_string())).into_response()),
    };
    let description = Some(form.description.trim().to_owned()).filter(|text| !text.is_empty());
    match changes::create_account(&desk, &seat.who, NewAccount { id, name: form.name.clone(), description }).await {
        Ok(account) => Ok(Redirect::to(&format!("/console/accounts/{}", account.id)).into_response()),
        Err(refusal @ (Refusal::Invalid(_) | Refusal::Taken(_) | Refusal::Limit(_))) => {
            Ok((refusal.status(), new_page(&seat, &form, Some(&refusal.to_string()))).into_response())
        }
        Err(refusal) => Err(refusal.into()),
    }
}

fn new_page(seat: &Seat, form: &NewForm, problem: Option<&str>) -> Markup {
    let body = html! {
        (heading(&[("/console", "Accounts")], html! { "New account" }, html! {}))
        section.card.narrow {
            (layout::complaint(problem))
            form.stack method="post" action="/console/new-account" {
                (signature(seat))
                label for="name" { "Name" }
                input #name name="name" value=(form.name) required maxlength="79" autofocus autocomplete="off";
                label for="id" { "Id" }
                input #id name="id" value=(form.id) required maxlength="63" pattern=r"[a-z0-9]([a-z0-9\-]*[a-z0-9])?" autocomplete="off"
                    spellcheck="false" autocapitalize="off" aria-describedby="id-help";
                p.help #id-help { "What policy and log call it, for good: a–z, 0–9 and inner hyphens, for example " code { "procure-to-pay" } "." }
                label for="description" { "Description" span.muted { " (may be empty)" } }
                input #description name="description" value=(form.description) autocomplete="off" aria-describedby="description-help";
                p.help #description-help { "What it is for, so that nobody has to guess in two years." }
                div.actions { button.primary type="submit" { "Create account" } a.button href="/console" { "Cancel" } }
            }
        }
    };
    page(seat, Place::Accounts, "New account", body)
}

// ===== changing one =====

pub(super) async fn edit(State(desk): State<Desk>, seat: Seat, Path(id): Path<String>) -> Result<Markup, Trouble> {
    let account = changes::known_account(&desk, &seat.who, &named(&id)?).await?;
    permit(&seat.who.admin, Right::ChangeAccount, Scope::Account(&account.id)).map_err(Refusal::from)?;
    let description = account.description.clone().unwrap_or_default();
    let form = EditForm { name: account.name.clone(), description, revision: account.revision };
    Ok(edit_page(&seat, &account.id, &form, None))
}

pub(super) async fn save(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    Signed(seat, form): Signed<EditForm>,
) -> Result<Response, Trouble> {
    let id = named(&id)?;
    let change = AccountChange { name: Some(form.name.clone()), description: Some(form.description.trim().to_owned()), status: None };
    match changes::change_account(&desk, &seat.who, &id, change, Some(form.revision)).await {
        Ok(_) => Ok(Redirect::to(&format!("/console/accounts/{id}")).into_response()),
        Err(refusal @ (Refusal::Invalid(_) | Refusal::Disabled(_))) => {
            Ok((refusal.status(), edit_page(&seat, &id, &form, Some(&refusal.to_string()))).into_response())
        }
        Err(refusal) => Err(refusal.into()),
    }
}

fn edit_page(seat: &Seat, id: &AccountId, form: &EditForm, problem: Option<&str>) -> Markup {
    let home = format!("/console/accounts/{id}");
    let body = html! {
        (heading(&[("/console", "Accounts"), (&home, id.as_str())], html! { "Edit account" }, html! {}))
        section.card.narrow {
            (layout::complaint(problem))
            form.stack method="post" action={ (home) "/edit" } {
                (signature(seat))
                input type="hidden" name="revision" value=(form.revision);
                label for="name" { "Name" }
                input #name name="name" value=(form.name) required maxlength="79" autocomplete="off";
                label for="description" { "Description" }
                input #description name="description" value=(form.description) autocomplete="off";
                div.actions { button.primary type="submit" { "Save" } a.button href=(home) { "Cancel" } }
            }
        }
    };
    page(seat, Place::Accounts, "Edit account", body)
}

// ===== stopping one, once somebody has said yes =====

pub(super) async fn disable(State(desk): State<Desk>, Path(id): Path<String>, Signed(seat, yes): Signed<Yes>) -> Result<Redirect, Trouble> {
    set_status(&desk, &seat, &id, Status::Disabled, yes.revision()).await
}

pub(super) async fn enable(State(desk): State<Desk>, Path(id): Path<String>, Signed(seat, yes): Signed<Yes>) -> Result<Redirect, Trouble> {
    set_status(&desk, &seat, &id, Status::Active, yes.revision()).await
}

async fn set_status(desk: &Desk, seat: &Seat, id: &str, status: Status, revision: u64) -> Result<Redirect, Trouble> {
    let id = named(id)?;
    let change = AccountChange { status: Some(status), ..AccountChange::default() };
    changes::change_account(desk, &seat.who, &id, change, Some(revision)).await?;
    Ok(Redirect::to(&format!("/console/accounts/{id}")))
}

pub(super) async fn delete(State(desk): State<Desk>, Path(id): Path<String>, Signed(seat, yes): Signed<Yes>) -> Result<Redirect, Trouble> {
    changes::delete_account(&desk, &seat.who, &named(&id)?, Some(yes.revision())).await?;
    Ok(Redirect::to("/console"))
}

/// What is no account id names no account.
pub(super) fn named(id: &str) -> Result<AccountId, Refusal> {
    id.parse().map_err(|_| Refusal::NoSuch("service account"))
}
