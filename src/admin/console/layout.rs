//! The frame of every page, and the small parts that pages are made of.

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};

use super::{assets, seat::Seat};
use crate::admin::{
    refusal::capitalised,
    roles::{Right, Scope, may},
    views::{KeyState, KeyStates, URGENT_DAYS, written},
};

/// Which part of the console a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Accounts,
    Log,
    Explain,
    Policy,
}

/// A page for somebody who has signed in.
pub(super) fn page(seat: &Seat, place: Place, title: &str, body: Markup) -> Markup {
    let admin = &seat.who.admin;
    let link = |to: Place, href: &str, text: &str| {
        html! { a href=(href) aria-current=[(place == to).then_some("page")] { (text) } }
    };
    let head = html! {
        header.bar {
            a.brand href="/console" { (mark()) span { "Vicar" } }
            nav aria-label="Console" {
                (link(Place::Accounts, "/console", "Accounts"))
                @if may(admin, Right::ReadAudit, Scope::Visible) { (link(Place::Log, "/console/log", "Audit log")) }
                @if may(admin, Right::Explain, Scope::Visible) { (link(Place::Explain, "/console/explain", "Explain")) }
                @if may(admin, Right::ReadPolicy, Scope::Whole) { (link(Place::Policy, "/console/policy", "Policy")) }
            }
            div.me {
                span.who { span.name { (admin.name) } span.role { (admin.role.as_str()) } }
                form method="post" action="/console/sign-out" { (signature(seat)) button.quiet type="submit" { "Sign out" } }
            }
        }
    };
    frame(title, &head, &body)
}

/// A page for nobody in particular.
pub(super) fn bare(title: &str, body: Markup) -> Markup {
    frame(title, &html! {}, &html! { div.gate { div.brand { (mark()) span { "Vicar" } } section.card { (body) } } })
}

fn frame(title: &str, head: &Markup, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Vicar" }
                link rel="icon" type="image/svg+xml" href=(assets::ICON.href());
                link rel="stylesheet" href=(assets::STYLE.href());
                script src=(assets::SCRIPT.href()) defer {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                (head)
                main #main tabindex="-1" { (body) }
            }
        }
    }
}

/// The hidden fields that prove a form comes from this session's pages.
pub(super) fn signature(seat: &Seat) -> Markup {
    html! { input type="hidden" name="form_token" value=(seat.ticket.form_token()); }
}

/// Our mark: a key that stands in for another.
fn mark() -> Markup {
    html! {
        svg.mark viewBox="0 0 32 32" width="26" height="26" aria-hidden="true" focusable="false" {
            rect.tile x="1" y="1" width="30" height="30" rx="8" {}
            path.stroke d="M8.5 9.5 16 23l7.5-13.5" {}
            circle.dot cx="16" cy="11" r="2.6" {}
        }
    }
}

/// A heading, what belongs beside it, and where it stands.
pub(super) fn heading(trail: &[(&str, &str)], title: Markup, actions: Markup) -> Markup {
    html! {
        @if !trail.is_empty() {
            nav.trail aria-label="Where this is" { @for (place, (href, text)) in trail.iter().enumerate() { @if place > 0 { span aria-hidden="true" { "/" } } a href=(href) { (text) } } }
        }
        div.heading { h1 { (title) } div.actions { (actions) } }
    }
}

/// `active` or `disabled`.
pub(super) fn status(word: &str) -> Markup {
    let class = if word == "active" { "pill good" } else { "pill off" };
    html! { span class=(class) { (word) } }
}

/// What a key is good for now.
pub(super) fn key_state(state: KeyState) -> Markup {
    match state {
        KeyState::Active => html! { span.pill.good { "active" } },
        KeyState::Expiring { days } if days < URGENT_DAYS => html! { span.pill.bad { "ends in " (count(days, "day")) } },
        KeyState::Expiring { days } => html! { span.pill.warn { "ends in " (count(days, "day")) } },
        KeyState::Disabled => html! { span.pill.off { "disabled" } },
        KeyState::Expired => html! { span.pill.bad { "expired" } },
    }
}

/// How an account's keys are, in short.
pub(super) fn key_states(states: KeyStates) -> Markup {
    html! {
        @if states == KeyStates::default() { span.muted { "none" } }
        @if states.active > 0 { span.pill.good { (states.active) " active" } " " }
        @if states.expiring > 0 { span.pill.warn { (states.expiring) " ending soon" } " " }
        @if states.disabled > 0 { span.pill.off { (states.disabled) " disabled" } " " }
        @if states.expired > 0 { span.pill.bad { (states.expired) " expired" } }
    }
}

/// A moment: how long ago or how soon, and when exactly.
pub(super) fn moment(time: Timestamp, now: Timestamp) -> Markup {
    let exact = written(time);
    html! { time datetime=(exact) title=(exact) { (apart(time, now)) } }
}

/// A moment, or a word where there is none.
pub(super) fn moment_or(time: Option<Timestamp>, now: Timestamp, otherwise: &str) -> Markup {
    match time {
        Some(time) => moment(time, now),
        None => html! { span.muted { (otherwise) } },
    }
}

/// A box with something to know.
pub(super) fn note(kind: &str, body: Markup) -> Markup {
    html! { div class={ "note " (kind) } role="note" { (body) } }
}

/// A message with what stands between backticks set apart.
pub(super) fn ticked(text: &str) -> Markup {
    html! { @for (place, part) in text.split('`').enumerate() { @if place % 2 == 1 { code { (part) } } @else { (part) } } }
}

/// How long ago, or how soon.
pub(super) fn apart(time: Timestamp, now: Timestamp) -> String {
    let seconds = time.as_second() - now.as_second();
    let amount = match seconds.abs() {
        0..60 => return if seconds > 0 { "in a moment" } else { "just now" }.to_owned(),
        s @ 60..3_600 => count(s / 60, "minute"),
        s @ 3_600..86_400 => count(s / 3_600, "hour"),
        s => count(s / 86_400, "day"),
    };
    if seconds > 0 { format!("in {amount}") } else { format!("{amount} ago") }
}

/// `1 day`, `2 days`.
pub(super) fn count(number: i64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// A problem with what was typed, above the form.
pub(super) fn complaint(words: Option<&str>) -> Markup {
    html! { @if let Some(words) = words { div.note.bad role="alert" { (capitalised(words)) } } }
}
