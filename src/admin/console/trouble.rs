//! What the console shows when something cannot be done.

use axum::{
    http::{Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Redirect, Response},
};
use maud::html;

use super::{encoded, layout};
use crate::admin::refusal::{Refusal, capitalised};

/// Why a page is not shown.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Nobody has signed in here; they may, and come back.
    SignedOut { back_to: Option<String> },
    /// It cannot be done.
    Refused(Refusal),
}

impl Trouble {
    /// For a request without a session. A form's page is come back to by nobody: what it did must not be done again.
    pub(super) fn signed_out(parts: &Parts) -> Self {
        let back_to = (parts.method == Method::GET).then(|| parts.uri.to_string());
        Self::SignedOut { back_to }
    }
}

impl<R: Into<Refusal>> From<R> for Trouble {
    fn from(refusal: R) -> Self {
        Self::Refused(refusal.into())
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        match self {
            Self::SignedOut { back_to } => {
                let target = match back_to {
                    Some(path) if path != "/console" => format!("/console/sign-in?next={}", encoded(&path)),
                    Some(_) | None => "/console/sign-in".to_owned(),
                };
                Redirect::to(&target).into_response()
            }
            Self::Refused(refusal) => {
                let status = refusal.status();
                let words = capitalised(&refusal.to_string());
                let page = layout::bare(
                    refusal.title(),
                    html! {
                        h1 { (refusal.title()) }
                        p { (words) }
                        p { a href="/console" { "Back to the accounts" } }
                    },
                );
                let mut response = (status, page).into_response();
                if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS {
                    response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
                }
                response
            }
        }
    }
}
