//! `/console`: for people. Pages are made here and work without scripts; a script of our own adds copying and following.
//!
//! Nothing is loaded from elsewhere and nothing stands inline: the content security policy allows neither.

mod account;
mod accounts;
mod assets;
mod chart;
mod entrance;
mod keys;
mod layout;
mod log;
mod rules;
mod seat;
mod stopping;
mod trouble;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{Next, from_fn},
    response::Response,
    routing::{get, post},
};
use http::{HeaderName, HeaderValue, header};

use super::{Desk, input::BODY_MAX, refusal::Refusal};
use trouble::Trouble;

/// Everything under `/console`.
pub(super) fn routes() -> Router<Desk> {
    let account = "/console/accounts/{id}";
    let key = "/console/keys/{id}";
    let at = |base: &str, rest: &str| format!("{base}{rest}");
    Router::new()
        .route("/console", get(accounts::list))
        .route("/console/", get(accounts::list))
        .route("/console/sign-in", get(entrance::show).post(entrance::sign_in_here))
        .route("/console/sign-out", post(entrance::sign_out))
        .route("/console/assets/{version}/{name}", get(assets::serve))
        .route("/console/new-account", get(accounts::new).post(accounts::create))
        .route(account, get(account::keys))
        .route(&at(account, "/edit"), get(accounts::edit).post(accounts::save))
        .route(&at(account, "/disable"), get(stopping::disable_account).post(accounts::disable))
        .route(&at(account, "/enable"), post(accounts::enable))
        .route(&at(account, "/delete"), get(stopping::delete_account).post(accounts::delete))
        .route(&at(account, "/keys/new"), get(keys::new).post(keys::create))
        .route(&at(account, "/resources"), get(account::resources))
        .route(&at(account, "/audit"), get(account::audit))
        .route(&at(account, "/audit/rows"), get(log::account_rows))
        .route(key, get(keys::show))
        .route(&at(key, "/rotate"), post(keys::rotate))
        .route(&at(key, "/rename"), post(keys::rename))
        .route(&at(key, "/enable"), post(keys::enable))
        .route(&at(key, "/disable"), get(stopping::disable_key).post(keys::disable))
        .route(&at(key, "/delete"), get(stopping::delete_key).post(keys::delete))
        .route("/console/log", get(log::everything))
        .route("/console/log/rows", get(log::rows))
        .route("/console/explain", get(rules::explain))
        .route("/console/policy", get(rules::policy).post(rules::try_policy))
        .route("/console/{*rest}", get(async || Trouble::from(Refusal::NoSuch("page"))))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn(guarded))
}

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// What browsers are told of every page.
async fn guarded(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let told = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ];
    for (name, value) in told {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Pages may hold a secret; what they load may be kept.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Text as a value in a query.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' | b'@' | b'*' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}
