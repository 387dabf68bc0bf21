//! Access keys: making one, its page, and what can be done to it.

use axum::{
    extract::{Path, State},
    response::{IntoResponse as _, Redirect, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    accounts::named,
    layout::{self, Place, heading, page, signature},
    seat::{Seat, Signed},
    stopping::Yes,
    trouble::Trouble,
};
use crate::{
    admin::{
        Desk, changes, input,
        refusal::Refusal,
        roles::{Right, Scope, may, permit},
        views::{KeyState, written},
    },
    directory::{KeyChange, NewKey},
    identity::{Account, BOUND_TO_MAX, Key, KeyId, Secret, Status},
    settings::Span,
};

#[derive(Debug, Default, Deserialize)]
pub(super) struct NewForm {
    #[serde(default)]
    name: String,
    #[serde(default)]
    expires: String,
    #[serde(default)]
    other: String,
    #[serde(default)]
    from: String,
    #[serde(default)]
    client_certs: String,
    /// Sent a second time, it makes no second key.
    #[serde(default)]
    once: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct RotateForm {
    overlap: String,
    #[serde(default)]
    once: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct RenameForm {
    name: String,
    revision: u64,
}

const LIVES: [(&str, &str); 6] =
    [("30d", "30 days"), ("90d", "90 days"), ("180d", "180 days"), ("1y", "1 year"), ("never", "never"), ("other", "on …")];

// ===== making one =====

pub(super) async fn new(State(desk): State<Desk>, seat: Seat, Path(id): Path<String>) -> Result<Markup, Trouble> {
    let account = changes::known_account(&desk, &seat.who, &named(&id)?).await?;
    permit(&seat.who.admin, Right::CreateKey, Scope::Account(&account.id)).map_err(Refusal::from)?;
    let form = NewForm { expires: "90d".to_owned(), ..NewForm::default() };
    new_page(&seat, &account, &form, None)
}

pub(super) async fn create(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    Signed(seat, form): Signed<NewForm>,
) -> Result<Response, Trouble> {
    let account = changes::known_account(&desk, &seat.who, &named(&id)?).await?;
    let read = || -> Result<NewKey, Refusal> {
        let expires = input::expiry(if form.expires == "other" { &form.other } else { &form.expires })?;
        let sources = input::sources(form.from.split([',', ' ', '\n', '\r']))?;
        let client_certs = if form.client_certs.contains("-----BEGIN") {
            input::certificates([form.client_certs.as_str()])?
        } else {
            input::certificates(form.client_certs.split([',', ' ', '\n', '\r']))?
        };
        Ok(NewKey { account: account.id.clone(), name: form.name.clone(), expires, sources, client_certs })
    };
    let made = match read() {
        Ok(_) if !desk.sessions.first_time(&seat.ticket, &form.once) => return Ok(again(&account).into_response()),
        Ok(new) => changes::create_key(&desk, &seat.who, new).await,
        Err(refusal) => Err(refusal),
    };
    match made {
        Ok(made) => Ok(secret_page(&seat, &account, &made.key, &made.secret, "Key created").into_response()),
        Err(refusal @ (Refusal::Invalid(_) | Refusal::Limit(_) | Refusal::Disabled(_))) => {
            Ok((refusal.status(), new_page(&seat, &account, &form, Some(&refusal.to_string()))?).into_response())
        }
        Err(refusal) => Err(refusal.into()),
    }
}

fn new_page(seat: &Seat, account: &Account, form: &NewForm, problem: Option<&str>) -> Result<Markup, Trouble> {
    let home = format!("/console/accounts/{}", account.id);
    let body = html! {
        (heading(&[("/console", "Accounts"), (&home, &account.name)], html! { "New key" }, html! {}))
        section.card.narrow {
            (layout::complaint(problem))
            form.stack method="post" action={ (home) "/keys/new" } {
                (signature(seat))
                (once()?)
                label for="name" { "Name" }
                input #name name="name" value=(form.name) required maxlength="79" autofocus autocomplete="off" aria-describedby="name-help";
                p.help #name-help { "Where it is used, for example " q { "nightly report, production" } "." }
                fieldset {
                    legend { "Ends after" }
                    div.choices { @for (value, text) in LIVES { label { input type="radio" name="expires" value=(value) checked[form.expires == value]; " " (text) } } }
                    label.hidden for="other" { "Last day" }
                    input #other type="date" name="other" value=(form.other);
                }
                label for="from" { "Networks it may come from" span.muted { " (" (BOUND_TO_MAX) " at most; anywhere if empty)" } }
                input #from name="from" value=(form.from) placeholder="10.0.0.0/8, 2001:db8::/32" autocomplete="off" spellcheck="false";
                label for="client_certs" { "Client certificate it is bound to" span.muted { " (none if empty)" } }
                textarea #client_certs name="client_certs" rows="2" autocomplete="off" spellcheck="false" aria-describedby="certs-help" { (form.client_certs) }
                p.help #certs-help { "PEM, or a SHA-256 fingerprint; two while certificates change, " (BOUND_TO_MAX) " at most." }
                div.actions { button.primary type="submit" { "Create key" } a.button href=(home) { "Cancel" } }
            }
        }
    };
    Ok(page(seat, Place::Accounts, "New key", body))
}

/// The one page that shows a secret. It is the answer to the form itself: there is no address to come back to.
fn secret_page(seat: &Seat, account: &Account, key: &Key, secret: &Secret, title: &str) -> Markup {
    let home = format!("/console/accounts/{}", account.id);
    let file = format!(
        "# Vicar access key \"{}\" of the service account {}\nVICAR_ACCESS_KEY_ID={}\nVICAR_ACCESS_KEY_SECRET={}\n",
        key.name.replace('"', "'"),
        account.id,
        key.id,
        secret.reveal()
    );
    let data = format!("data:text/plain;base64,{}", STANDARD.encode(file));
    let body = html! {
        (heading(&[("/console", "Accounts"), (&home, &account.name)], html! { (title) }, html! {}))
        section.card.narrow {
            (layout::note("warn", html! { strong { "This is the only time the secret is shown." } " It is kept nowhere: copy or download it before you leave this page." }))
            dl.facts {
                dt { "Name" } dd { (key.name) }
                dt { "Key id" } dd.copy { code #key-id { (key.id) } button.quiet type="button" data-copy="key-id" hidden { "Copy" } }
                dt { "Secret" } dd.copy.wide { code #key-secret { (secret.reveal()) } button.quiet type="button" data-copy="key-secret" hidden { "Copy" } }
                dt { "Ends" } dd { (key.expires.map_or_else(|| "never".to_owned(), written)) }
                @if let Some(until) = key.previous.until() { dt { "Old secret" } dd { "is taken until " (written(until)) } }
            }
            div.actions {
                a.button.primary href=(data) download={ (account.id) "-" (key.id) ".env" } { "Download as a file" }
                a.button href=(home) { "I have it: go on" }
            }
            p.muted aria-live="polite" #copied {}
        }
    };
    page(seat, Place::Accounts, title, body)
}

fn again(account: &Account) -> Redirect {
    Redirect::to(&format!("/console/accounts/{}", account.id))
}

/// A field that tells a form that was sent before.
fn once() -> Result<Markup, Refusal> {
    let mut bits = [0u8; 16];
    getrandom::fill(&mut bits).map_err(|error| Refusal::Directory(format!("The system gives no random numbers ({error})")))?;
    Ok(html! { input type="hidden" name="once" value={ (format!("{:032x}", u128::from_ne_bytes(bits))) }; })
}

// ===== the page of one =====

pub(super) async fn show(State(desk): State<Desk>, seat: Seat, Path(id): Path<String>) -> Result<Markup, Trouble> {
    let (account, key) = held(&desk, &seat, &id).await?;
    let now = Timestamp::now();
    let (admin, scope) = (&seat.who.admin, Scope::Account(&account.id));
    let (changes, rotates, deletes) =
        (may(admin, Right::ChangeKey, scope), may(admin, Right::RotateKey, scope), may(admin, Right::DeleteKey, scope));
    let state = KeyState::of(&key, now);
    let (home, here) = (format!("/console/accounts/{}", account.id), format!("/console/keys/{}", key.id));
    let overlap = Span(desk.shared.rotate_overlap).to_string();
    let live = account.status == Status::Active;
    let body = html! {
        (heading(&[("/console", "Accounts"), (&home, &account.name)], html! { (key.name) " " (layout::key_state(state)) }, html! {
            @if changes && key.status == Status::Active { a.button href={ (here) "/disable" } { "Disable" } }
            @if changes && live && key.status == Status::Disabled {
                form method="post" action={ (here) "/enable" } { (signature(&seat)) input type="hidden" name="revision" value=(key.revision); button.primary type="submit" { "Enable" } }
            }
            @if deletes && live { a.button.danger href={ (here) "/delete" } { "Delete" } }
        }))
        div.columns {
            section.card {
                h2 { "Key" }
                dl.facts {
                    dt { "Key id" } dd.copy { code #key-id { (key.id) } button.quiet type="button" data-copy="key-id" hidden { "Copy" } }
                    dt { "Account" } dd { a href=(home) { (account.name) } }
                    dt { "Created" } dd { (layout::moment(key.created, now)) }
                    dt { "Ends" } dd { (layout::moment_or(key.expires, now, "never")) }
                    dt { "Last used" } dd { (layout::moment_or(key.last_used, now, "never")) }
                    dt { "From" } dd { @if key.sources.is_empty() { "anywhere" } @else { @for source in &key.sources { code { (source) } " " } } }
                    @if !key.client_certs.is_empty() { dt { "Client certificate" } dd { @for cert in &key.client_certs { code.resource { (cert) } " " } } }
                    @if let Some(until) = key.previous.until().filter(|until| *until > now) { dt { "Old secret" } dd { "is taken too, and ends " (layout::moment(until, now)) } }
                }
                p { a href={ (home) "/audit?key=" (key.id) } { "What this key did" } }
                p.muted aria-live="polite" #copied {}
            }
            @if live && (changes || rotates) { section.card {
                @if rotates {
                    h2 { "Rotate" }
                    p { "A new secret, shown once. The old one goes on for the overlap, so that integrations can change over in peace." }
                    form.stack method="post" action={ (here) "/rotate" } {
                        (signature(&seat)) (once()?)
                        label for="overlap" { "The old secret lives for" }
                        input #overlap name="overlap" value=(overlap) required autocomplete="off" aria-describedby="overlap-help";
                        p.help #overlap-help { "For example " code { "24h" } ", " code { "7d" } ", or " code { "0s" } " when it has leaked." }
                        div.actions { button.primary type="submit" { "Rotate" } }
                    }
                }
                @if changes {
                    h2 { "Rename" }
                    form.inline method="post" action={ (here) "/rename" } {
                        (signature(&seat)) input type="hidden" name="revision" value=(key.revision);
                        label.hidden for="name" { "Name" }
                        input #name name="name" value=(key.name) required maxlength="79" autocomplete="off";
                        button type="submit" { "Rename" }
                    }
                }
            } }
        }
    };
    Ok(page(&seat, Place::Accounts, &key.name, body))
}

/// A key that this admin may see, and its account.
pub(super) async fn held(desk: &Desk, seat: &Seat, id: &str) -> Result<(Account, Key), Trouble> {
    let key = changes::known_key(desk, &seat.who, key_named(id)?).await?;
    let account = changes::known_account(desk, &seat.who, &key.account).await?;
    Ok((account, key))
}

/// What is no key id names no key.
fn key_named(id: &str) -> Result<KeyId, Refusal> {
    id.parse().map_err(|_| Refusal::NoSuch("access key"))
}

// ===== what can be done to one =====

pub(super) async fn rotate(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    Signed(seat, form): Signed<RotateForm>,
) -> Result<Response, Trouble> {
    let (account, key) = held(&desk, &seat, &id).await?;
    let overlap = form.overlap.trim().parse::<Span>().map_err(|error| Refusal::Invalid(format!("{error}.")))?;
    if !desk.sessions.first_time(&seat.ticket, &form.once) {
        return Ok(Redirect::to(&format!("/console/keys/{}", key.id)).into_response());
    }
    let rotated = changes::rotate_key(&desk, &seat.who, key.id, overlap.0).await?;
    Ok(secret_page(&seat, &account, &rotated.key, &rotated.secret, "Key rotated").into_response())
}

pub(super) async fn rename(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    Signed(seat, form): Signed<RenameForm>,
) -> Result<Redirect, Trouble> {
    let change = KeyChange { name: Some(form.name), ..KeyChange::default() };
    let key = changes::change_key(&desk, &seat.who, key_named(&id)?, change, Some(form.revision)).await?;
    Ok(Redirect::to(&format!("/console/keys/{}", key.id)))
}

pub(super) async fn enable(State(desk): State<Desk>, Path(id): Path<String>, Signed(seat, yes): Signed<Yes>) -> Result<Redirect, Trouble> {
    set_status(&desk, &seat, &id, Status::Active, yes).await
}

pub(super) async fn disable(State(desk): State<Desk>, Path(id): Path<String>, Signed(seat, yes): Signed<Yes>) -> Result<Redirect, Trouble> {
    set_status(&desk, &seat, &id, Status::Disabled, yes).await
}

async fn set_status(desk: &Desk, seat: &Seat, id: &str, status: Status, yes: Yes) -> Result<Redirect, Trouble> {
    let change = KeyChange { status: Some(status), ..KeyChange::default() };
    let key = changes::change_key(desk, &seat.who, key_named(id)?, change, Some(yes.revision())).await?;
    Ok(Redirect::to(&format!("/console/keys/{}", key.id)))
}

pub(super) async fn delete(State(desk): State<Desk>, Path(id): Path<String>, Signed(seat, yes): Signed<Yes>) -> Result<Redirect, Trouble> {
    let key = changes::delete_key(&desk, &seat.who, key_named(&id)?, Some(yes.revision())).await?;
    Ok(Redirect::to(&format!("/console/accounts/{}", key.account)))
}
