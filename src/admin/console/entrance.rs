//! Signing in and out.

use std::time::Instant;

use axum::{
    Extension,
    extract::{Query, State},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse as _, Redirect, Response},
};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    layout,
    seat::{Signed, Unsigned, set_cookie, ticket},
    trouble::Trouble,
};
use crate::admin::{Desk, changes, listener::Peer, refusal::Refusal, sessions::Activity, sign_in::sign_in};

#[derive(Debug, Deserialize)]
pub(super) struct Next {
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Token {
    token: String,
    next: Option<String>,
}

/// A form without fields of its own.
#[derive(Debug, Deserialize)]
pub(super) struct Nothing {}

pub(super) async fn show(State(desk): State<Desk>, headers: HeaderMap, Query(Next { next }): Query<Next>) -> Response {
    let signed_in = ticket(&headers, &desk).and_then(|ticket| desk.sessions.holder(&ticket, Activity::Page, Instant::now()));
    match signed_in {
        Some(_) => Redirect::to(inside(next.as_deref())).into_response(),
        None => form(None, next.as_deref()).into_response(),
    }
}

pub(super) async fn sign_in_here(
    State(desk): State<Desk>,
    Extension(Peer(client)): Extension<Peer>,
    Unsigned(Token { token, next }): Unsigned<Token>,
) -> Result<Response, Trouble> {
    let who = match sign_in(&desk, token.trim(), client).await {
        Ok(who) => who,
        Err(refusal @ (Refusal::BadToken | Refusal::TooMany { .. })) => {
            let status = refusal.status();
            return Ok((status, form(Some(&refusal.to_string()), next.as_deref())).into_response());
        }
        Err(refusal) => return Err(refusal.into()),
    };
    let ticket = desk
        .sessions
        .open(&who.admin, Instant::now())
        .map_err(|error| Refusal::Directory(format!("The system gives no random numbers ({error})")))?;
    desk.shared.audit.record_event(changes::signed_in(&who));
    let mut response = Redirect::to(inside(next.as_deref())).into_response();
    keep(&mut response, &set_cookie(&desk, Some(&ticket)));
    Ok(response)
}

pub(super) async fn sign_out(State(desk): State<Desk>, Signed(seat, Nothing {}): Signed<Nothing>) -> Response {
    desk.sessions.close(&seat.ticket);
    let mut response = Redirect::to("/console/sign-in").into_response();
    keep(&mut response, &set_cookie(&desk, None));
    response
}

fn keep(response: &mut Response, cookie: &str) {
    if let Ok(value) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
}

/// Where to go on: a page of the console, never another site.
fn inside(next: Option<&str>) -> &str {
    let safe = |next: &&str| {
        let plain = next.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
        plain && (*next == "/console" || next.starts_with("/console/") || next.starts_with("/console?"))
    };
    next.filter(safe).unwrap_or("/console")
}

fn form(problem: Option<&str>, next: Option<&str>) -> Markup {
    layout::bare(
        "Sign in",
        html! {
            h1 { "Sign in" }
            p.muted { "With an admin token. Whoever runs Vicar makes one with " code { "vicar admin create" } "." }
            (layout::complaint(problem))
            form.stack method="post" action="/console/sign-in" {
                @if let Some(next) = next { input type="hidden" name="next" value=(next); }
                label for="token" { "Admin token" }
                input #token type="password" name="token" placeholder="vat_…" required autofocus autocomplete="current-password"
                    spellcheck="false" autocapitalize="off";
                button.primary type="submit" { "Sign in" }
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::inside;

    #[test]
    fn signing_in_leads_nowhere_but_into_the_console() {
        assert_eq!(inside(Some("/console/accounts/a?x=1")), "/console/accounts/a?x=1");
        for elsewhere in
            ["https://evil.example/", "//evil.example", "/\\evil.example", "/consolex", "/console/\\\\evil", "/console/\r\nX: y", ""]
        {
            assert_eq!(inside(Some(elsewhere)), "/console", "{elsewhere}");
        }
        assert_eq!(inside(None), "/console");
    }
}
