//! `/api/v1`: for programs. [`openapi`] describes it, and a test holds it to that.
//!
//! Signed in by bearer token only, so that no browser can be made to speak to it. Lists come in pages, changes take
//! `If-Match`, refusals are problem documents.

mod accounts;
mod keys;
mod log;
mod openapi;
mod page;
mod rules;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{Next, from_fn},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use http::{HeaderValue, header};

use super::{Desk, input::BODY_MAX, refusal::Refusal};

/// Everything under `/api/v1`.
pub(super) fn routes() -> Router<Desk> {
    let routes = Router::new()
        .route("/openapi.json", get(openapi::openapi))
        .route("/accounts", get(accounts::list).post(accounts::create))
        .route("/accounts/{id}", get(accounts::show).patch(accounts::change).delete(accounts::delete))
        .route("/accounts/{id}/shares", get(rules::shares))
        .route("/audit", get(log::audit))
        .route("/usage", get(log::usage))
        .route("/policy", get(rules::policy))
        .route("/explain", post(rules::explain))
        .route("/simulate", post(rules::simulate))
        .route("/accounts/{id}/keys", get(keys::list).post(keys::create))
        .route("/keys", get(keys::all))
        .route("/shares", get(rules::all_shares))
        .route("/keys/{id}", get(keys::show).patch(keys::change).delete(keys::delete))
        .route("/keys/{id}/rotate", post(keys::rotate))
        .fallback(async || Refusal::NoSuch("endpoint"))
        .method_not_allowed_fallback(async |request: Request| Refusal::Method { method: request.method().to_string() })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn(private));
    Router::new().nest("/api/v1", routes)
}

/// What is answered here is for the one who asked.
async fn private(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
