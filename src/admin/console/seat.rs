//! Who sits at the console: the cookie, the form token, and where a form came from.

use std::time::Instant;

use axum::{
    Form,
    body::{Body, Bytes},
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, HeaderValue, Method, header, request::Parts},
};
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::admin::{
    Desk,
    input::BODY_MAX,
    refusal::Refusal,
    sessions::{Activity, Ticket},
    sign_in::{Who, client},
};

use super::trouble::Trouble;

/// Under TLS, a name that browsers let no other host or path set.
const COOKIE_TLS: &str = "__Host-vicar";
const COOKIE: &str = "vicar";

/// An admin at the console.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    pub(super) who: Who,
    pub(super) ticket: Ticket,
}

/// A form that was sent from a page of this very session.
#[derive(Debug)]
pub(super) struct Signed<T>(pub(super) Seat, pub(super) T);

/// What every form carries.
#[derive(Debug, serde::Deserialize)]
struct Token {
    #[serde(default)]
    form_token: String,
}

impl Seat {
    /// Who holds the ticket of this request.
    async fn find(desk: &Desk, parts: &Parts, activity: Activity) -> Result<Self, Trouble> {
        let ticket = ticket(&parts.headers, desk).ok_or_else(|| Trouble::signed_out(parts))?;
        let holder = desk.sessions.holder(&ticket, activity, Instant::now()).ok_or_else(|| Trouble::signed_out(parts))?;
        let admins = desk.shared.backend.admins().await.map_err(Refusal::from)?;
        let good =
            |admin: &crate::identity::Admin| admin.id == holder.admin && admin.hash == holder.hash && !admin.expired(Timestamp::now());
        let Some(admin) = admins.into_iter().find(good) else {
            desk.sessions.close(&ticket);
            return Err(Trouble::signed_out(parts));
        };
        if activity == Activity::Person {
            desk.throttle.request(&admin.id)?;
        }
        Ok(Self { who: Who { admin, client: client(parts) }, ticket })
    }
}

impl FromRequestParts<Desk> for Seat {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Result<Self, Trouble> {
        let by_itself = parts.headers.get("x-vicar-follow").is_some();
        Self::find(desk, parts, if by_itself { Activity::Page } else { Activity::Person }).await
    }
}

impl<T: DeserializeOwned> FromRequest<Desk> for Signed<T> {
    type Rejection = Trouble;

    async fn from_request(request: Request, desk: &Desk) -> Result<Self, Trouble> {
        let (mut parts, body) = request.into_parts();
        same_site(&parts.headers)?;
        let seat = Seat::from_request_parts(&mut parts, desk).await?;
        let form = read(Request::from_parts(parts, body), desk).await?;
        let Token { form_token } = decode(&form, desk).await?;
        let wanted = blake3::hash(seat.ticket.form_token().as_bytes());
        if wanted != blake3::hash(form_token.as_bytes()) {
            return Err(Refusal::CrossSite.into());
        }
        Ok(Self(seat, decode(&form, desk).await?))
    }
}

/// A form sent from a page of this host, by somebody who has not signed in.
#[derive(Debug)]
pub(super) struct Unsigned<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Desk> for Unsigned<T> {
    type Rejection = Trouble;

    async fn from_request(request: Request, desk: &Desk) -> Result<Self, Trouble> {
        same_site(request.headers())?;
        let form = read(request, desk).await?;
        Ok(Self(decode(&form, desk).await?))
    }
}

async fn read(request: Request, desk: &Desk) -> Result<Bytes, Refusal> {
    let media = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(Refusal::Invalid("The form was sent in another shape than a browser does.".to_owned()));
    }
    Bytes::from_request(request, desk).await.map_err(|_| Refusal::TooLarge { limit: BODY_MAX })
}

async fn decode<T: DeserializeOwned>(form: &Bytes, desk: &Desk) -> Result<T, Refusal> {
    let mut request = Request::new(Body::from(form.clone()));
    *request.method_mut() = Method::POST;
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    let read = Form::<T>::from_request(request, desk).await;
    read.map(|Form(value)| value).map_err(|error| Refusal::Invalid(format!("The form: {}.", error.body_text())))
}

/// Whether a form comes from a page of this host. Browsers say so in one of two headers; programs in neither, and they
/// have no cookie that another site could use.
fn same_site(headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if text("sec-fetch-site").is_some_and(|site| site != "same-origin") {
        return Err(Refusal::CrossSite);
    }
    if let Some(origin) = text("origin") {
        let host = origin.split_once("://").map(|(_, host)| host);
        if host.is_none() || host != text("host") {
            return Err(Refusal::CrossSite);
        }
    }
    Ok(())
}

/// The ticket in a request's cookies. Two of one name are none: one of them came from elsewhere.
pub(super) fn ticket(headers: &HeaderMap, desk: &Desk) -> Option<Ticket> {
    let name = cookie_name(desk);
    let mut found = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(given, _)| *given == name)
        .map(|(_, value)| value);
    match (found.next(), found.next()) {
        (Some(value), None) => Ticket::parse(value),
        _ => None,
    }
}

/// `Set-Cookie` for a session that begins, or (without a ticket) ends.
pub(super) fn set_cookie(desk: &Desk, ticket: Option<&Ticket>) -> String {
    let (value, age) = match ticket {
        Some(ticket) => (ticket.as_str(), crate::admin::sessions::LIFE.as_secs()),
        None => ("", 0),
    };
    // The name under TLS is good for the whole host or not at all.
    let place = if desk.secure { "/; Secure" } else { "/console" };
    format!("{}={value}; Path={place}; Max-Age={age}; HttpOnly; SameSite=Strict", cookie_name(desk))
}

const fn cookie_name(desk: &Desk) -> &'static str {
    if desk.secure { COOKIE_TLS } else { COOKIE }
}
