//! *Explain*: the way to a decision. *Policy*: its source with what is wrong with it, and what an edit would change.

use std::collections::HashMap;

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    layout::{self, Place, heading, page, signature},
    seat::{Seat, Signed},
    trouble::Trouble,
};
use crate::{
    admin::{
        Desk,
        input::{self, Asked},
        refusal::Refusal,
        roles::{Right, Scope, may, permit},
        trials::{self, Question, Trial},
        views::holdings,
    },
    policy::{Change, Enforcement, Expect, Explanation},
    source::{Complaint, Severity},
};

/// Changes that are listed; further ones are counted.
const LISTED: usize = 200;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ExplainQuery {
    account: String,
    subject: String,
    method: String,
    path: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct TryForm {
    policy: String,
    since: String,
}

// ===== explain =====

pub(super) async fn explain(State(desk): State<Desk>, seat: Seat, Asked(asked): Asked<ExplainQuery>) -> Result<Response, Trouble> {
    let permitted = permit(&seat.who.admin, Right::Explain, Scope::Visible).map_err(Refusal::from)?;
    let accounts = desk.shared.backend.accounts().await.map_err(Refusal::from)?;
    let ids: Vec<String> = accounts.iter().filter(|account| permitted.covers(&account.id)).map(|account| account.id.to_string()).collect();
    let question = Question {
        account: asked.account.clone(),
        subject: Some(asked.subject.clone()),
        method: asked.method.clone(),
        path: asked.path.clone(),
    };
    let answered = (!asked.path.is_empty()).then(|| trials::explain(&desk, &seat.who, &question));
    let (answer, problem) = match answered {
        None => (None, None),
        Some(Ok(explanation)) => (Some(explanation), None),
        Some(Err(refusal @ Refusal::Invalid(_))) => (None, Some(refusal.to_string())),
        Some(Err(refusal)) => return Err(refusal.into()),
    };
    let body = html! {
        (heading(&[], html! { "Explain" }, html! {}))
        p.lead.muted { "What would be decided about a request, and why. Nothing is sent." }
        section.card {
            (layout::complaint(problem.as_deref()))
            form.filter method="get" action="/console/explain" {
                div.field { label for="account" { "Service account" } select #account name="account" required {
                    @for id in &ids { option value=(id) selected[*id == asked.account] { (id) } } } }
                div.field { label for="subject" { "On behalf of" } input #subject name="subject" value=(asked.subject) placeholder="nobody" autocomplete="off" spellcheck="false"; }
                div.field { label for="method" { "Method" } select #method name="method" {
                    @for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] { option selected[method == asked.method] { (method) } } } }
                div.field.wide { label for="path" { "Path" } input #path name="path" value=(asked.path) required placeholder="/process/2/Ac1/Purchase_Order" autocomplete="off" spellcheck="false"; }
                div.field.go { button.primary type="submit" { "Explain" } }
            }
        }
        @if let Some(answer) = &answer { (explanation(answer)) }
    };
    Ok(page(&seat, Place::Explain, "Explain", body).into_response())
}

fn explanation(answer: &Explanation) -> Markup {
    let (class, word) = match answer.decision {
        Expect::Allow => ("verdict good", "Allowed"),
        Expect::Deny => ("verdict bad", "Refused"),
    };
    let facts = [
        ("Resource", answer.resource.as_deref()),
        ("Action", answer.action.as_deref()),
        ("Endpoint", answer.endpoint.as_deref()),
        ("On behalf of", Some(answer.subject.as_deref().unwrap_or("itself"))),
        ("Share or rule", answer.share.as_deref()),
        ("Policy", Some(answer.policy.as_str())),
    ];
    html! {
        div class=(class) role="status" { strong { (word) } code { (answer.reason) }
            @if answer.enforcement == Enforcement::Observe && answer.decision == Expect::Deny { span { "but the policy only observes: it would go through" } } }
        div.columns {
            section.card { h2 { "The way to it" } ol.steps { @for step in &answer.steps { li { span { (layout::ticked(step)) } } } } }
            section.card { h2 { "In short" } dl.facts { @for (name, value) in facts { @if let Some(value) = value { dt { (name) } dd { code { (value) } } } } } }
        }
    }
}

// ===== policy =====

pub(super) async fn policy(State(desk): State<Desk>, seat: Seat) -> Result<Markup, Trouble> {
    permit(&seat.who.admin, Right::ReadPolicy, Scope::Whole).map_err(Refusal::from)?;
    let text = desk.status.in_force().policy.text.clone();
    shown(&desk, &seat, &text, "7d", None, None).await
}

pub(super) async fn try_policy(State(desk): State<Desk>, Signed(seat, form): Signed<TryForm>) -> Result<Response, Trouble> {
    let tried = match input::moment(&form.since, Timestamp::now()) {
        // Browsers send lines of a form with CR LF.
        Ok(since) => trials::simulate(&desk, &seat.who, form.policy.replace("\r\n", "\n"), Some(since)).await,
        Err(refusal) => Err(refusal),
    };
    match tried {
        Ok(trial) => Ok(shown(&desk, &seat, &form.policy, &form.since, Some(&trial), None).await?.into_response()),
        Err(refusal @ (Refusal::Invalid(_) | Refusal::Log(_))) => {
            let page = shown(&desk, &seat, &form.policy, &form.since, None, Some(&refusal.to_string())).await?;
            Ok((refusal.status(), page).into_response())
        }
        Err(refusal) => Err(refusal.into()),
    }
}

async fn shown(desk: &Desk, seat: &Seat, text: &str, since: &str, trial: Option<&Trial>, problem: Option<&str>) -> Result<Markup, Trouble> {
    let (in_force, reloads) = (desk.status.in_force(), desk.status.reloads());
    let warnings = trials::warnings(desk).await?;
    let now = Timestamp::now();
    let simulates = may(&seat.who.admin, Right::Simulate, Scope::Whole);
    let rules = desk.shared.rules.load_full();
    let held = holdings(&*desk.shared.backend, |_| true).await.map_or(0, |held| held.len());
    let body = html! {
        (heading(&[], html! { "Policy" }, html! {}))
        p.lead { "In force since " (layout::moment(in_force.since, now)) span.muted { " · digest " code { (rules.policy.digest()) } " · " code { (in_force.policy.name) } } }
        @if let Some(edit) = &reloads.pending {
            (layout::note("bad", html! { strong { "An edit was refused " (layout::moment(edit.at, now)) "." } " What is shown below stays in force until the file holds."
                (complaints(edit.complaints.iter())) }))
        }
        @if simulates {
            section.card { details.try open[trial.is_some() || problem.is_some()] {
                summary { "What would an edit change?" }
                p.muted { "Edit the text and try it: it is checked, its own tests run, and past requests are asked again. Nothing is put in force here; that is done in the file." }
                (layout::complaint(problem))
                form.stack method="post" action="/console/policy" {
                    (signature(seat))
                    label.hidden for="policy" { "Policy to try" }
                    textarea #policy name="policy" rows="16" spellcheck="false" { "\n" (text) }
                    div.actions {
                        label for="since" { "against requests of" }
                        select #since name="since" { @for (value, words) in [("24h", "the last day"), ("7d", "the last 7 days"), ("30d", "the last 30 days"), ("90d", "the last 90 days")] {
                            option value=(value) selected[value == since] { (words) } } }
                        button.primary type="submit" { "Try it" }
                    }
                }
            } }
            @if let Some(trial) = trial { (tried(trial)) }
        }
        section.plain {
            h2 { "In force" }
            @if warnings.is_empty() { p.muted { "No warnings. " (counted(rules.policy.accounts().count())) " in the policy, " (held) " in the directory." } }
            @else { (layout::note("warn", html! { strong { (layout::count(i64::try_from(warnings.len()).unwrap_or(0), "thing")) " to look at" } (complaints(warnings.iter())) })) }
            div.card { (source(&in_force.policy.text, &warnings)) }
        }
    };
    Ok(page(seat, Place::Policy, "Policy", body))
}

fn counted(accounts: usize) -> String {
    layout::count(i64::try_from(accounts).unwrap_or(0), "account")
}

fn tried(trial: &Trial) -> Markup {
    html! {
        section.card #outcome {
            h2 { "What it comes to" }
            @if trial.holds { (layout::note("good", html! { "This policy holds, and its own tests pass." })) }
            @else { (layout::note("bad", html! { strong { "This policy would not be taken." } })) }
            @if !trial.diagnostics.is_empty() { (complaints(trial.diagnostics.iter())) }
            @if let Some(outcome) = &trial.outcome {
                p { "Of " strong { (layout::count(i64::try_from(outcome.replayed).unwrap_or(0), "past request")) } ", " strong { (outcome.unchanged) } " would fare as before." }
                (changes("Would be refused from now on", "bad", &outcome.now_denied))
                (changes("Would go through from now on", "warn", &outcome.now_allowed))
                (changes("May be made for another, or for nobody, from now on", "warn", &outcome.now_for_others))
            }
        }
    }
}

fn changes(title: &str, kind: &str, changes: &[Change]) -> Markup {
    let total: u64 = changes.iter().map(|change| change.count).sum();
    html! { @if !changes.is_empty() {
        h3 { (title) " " span class={ "pill " (kind) } { (total) } }
        div.scroll { table.stacked {
            thead { tr { th scope="col" { "Account" } th scope="col" { "Requests" } th scope="col" { "What" } th scope="col" { "On behalf of" } th scope="col" { "Reason" } th scope="col" { "Latest" } } }
            tbody { @for change in changes.iter().take(LISTED) { tr {
                th scope="row" { (change.account) }
                td data-label="Requests" { (change.count) }
                td data-label="What" { (change.action.as_deref().unwrap_or("?")) " " code.resource { (change.resource.as_deref().unwrap_or("unknown endpoint")) } }
                td data-label="On behalf of" { (change.subject.as_deref().unwrap_or("itself")) }
                td data-label="Reason" { (change.was.as_str()) " → " (change.reason.as_str()) }
                td data-label="Latest" { code { (change.example.method) " " (change.example.path) } }
            } } }
        } }
        @if changes.len() > LISTED { p.muted { "and " (changes.len() - LISTED) " further groups" } }
    } }
}

fn complaints<'c>(list: impl Iterator<Item = &'c Complaint>) -> Markup {
    html! { ul.plain.complaints { @for complaint in list { li {
        @match complaint.severity { Severity::Error => span.pill.bad { "error" }, Severity::Warning => span.pill.warn { "warning" } } " "
        (layout::ticked(&complaint.message))
        @if complaint.line > 0 { span.sub { (complaint.file) ":" (complaint.line) ":" (complaint.column) }
            pre.excerpt tabindex="0" { (complaint.excerpt) "\n" (" ".repeat(complaint.column.saturating_sub(1))) ("^".repeat(complaint.width.max(1))) } }
        @if let Some(help) = &complaint.help { span.sub { (layout::ticked(help)) } }
    } } } }
}

fn source(text: &str, complaints: &[Complaint]) -> Markup {
    let mut marks: HashMap<usize, Severity> = HashMap::new();
    for Complaint { line, severity, .. } in complaints {
        marks.entry(*line).and_modify(|mark| *mark = (*mark).min(*severity)).or_insert(*severity);
    }
    html! { pre.source tabindex="0" aria-label="The policy in force" { @for (place, line) in text.lines().enumerate() {
        span class=[marks.get(&(place + 1)).map(|severity| match severity { Severity::Error => "bad", Severity::Warning => "warn" })] { (line) }
    } } }
}
