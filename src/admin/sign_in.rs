//! Who asks: from a bearer token to an admin, and how often they may.

use std::{
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU32,
};

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};
use jiff::Timestamp;

use super::{Desk, listener::Peer, refusal::Refusal};
use crate::identity::{Admin, AdminId, AdminToken};

/// Requests a minute of one admin. Well above what a console or a script needs, well below what hurts.
const REQUESTS_PER_MINUTE: u32 = 600;
/// Failed sign-ins a minute from one address.
const FAILURES_PER_MINUTE: u32 = 30;

/// An admin who has signed in, and from where.
#[derive(Debug, Clone)]
pub(super) struct Who {
    /// Who.
    pub(super) admin: Admin,
    /// From where; `None` on a Unix socket.
    pub(super) client: Option<IpAddr>,
}

/// How often anybody may ask.
#[derive(Debug)]
pub(super) struct Throttle {
    clock: DefaultClock,
    requests: DefaultKeyedRateLimiter<AdminId>,
    failures: DefaultKeyedRateLimiter<IpAddr>,
}

impl Default for Throttle {
    fn default() -> Self {
        let quota = |per_minute| Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN));
        Self {
            clock: DefaultClock::default(),
            requests: RateLimiter::keyed(quota(REQUESTS_PER_MINUTE)),
            failures: RateLimiter::keyed(quota(FAILURES_PER_MINUTE)),
        }
    }
}

impl Throttle {
    /// Takes one request out of the admin's bucket.
    pub(super) fn request(&self, admin: &AdminId) -> Result<(), Refusal> {
        self.requests.check_key(admin).map_err(|until| Refusal::TooMany { seconds: until.wait_time_from(self.clock.now()).as_secs() + 1 })
    }

    /// Counts a failed sign-in. A good token is never asked for this, so nobody can lock an admin out.
    pub(super) fn failure(&self, client: Option<IpAddr>) -> Refusal {
        // All who come through the Unix socket are one.
        let client = client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        match self.failures.check_key(&client) {
            Ok(()) => Refusal::BadToken,
            Err(until) => Refusal::TooMany { seconds: until.wait_time_from(self.clock.now()).as_secs() + 1 },
        }
    }

    /// Forgets buckets that are full again.
    pub(super) fn sweep(&self) {
        self.requests.retain_recent();
        self.failures.retain_recent();
    }
}

/// Whose token `raw` is.
///
/// # Errors
/// When it is nobody's, or the directory cannot tell.
pub(super) async fn sign_in(desk: &Desk, raw: &str, client: Option<IpAddr>) -> Result<Who, Refusal> {
    let failed = || {
        desk.throttle.sweep();
        desk.throttle.failure(client)
    };
    let token = AdminToken::parse(raw.as_bytes()).map_err(|_| failed())?;
    match desk.shared.backend.admin_of(&token, Timestamp::now()).await? {
        Some(admin) => {
            desk.throttle.request(&admin.id)?;
            Ok(Who { admin, client })
        }
        None => Err(failed()),
    }
}

/// The API takes a bearer token and nothing else: a browser never sends one by itself, so no other site can.
impl FromRequestParts<Desk> for Who {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Result<Self, Refusal> {
        let mut given = parts.headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (given.next(), given.next()) else { return Err(Refusal::NoToken) };
        let text = value.to_str().map_err(|_| Refusal::NoToken)?;
        let (scheme, token) = text.split_once(' ').ok_or(Refusal::NoToken)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Refusal::NoToken);
        }
        sign_in(desk, token.trim(), client(parts)).await
    }
}

/// Where a request came from; `None` on a Unix socket.
pub(super) fn client(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<Peer>().and_then(|peer| peer.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_who_asks_without_end_is_slowed_down_and_nobody_else() {
        let throttle = Throttle::default();
        let (busy, other) = ("busy".parse().unwrap(), "other".parse().unwrap());
        let refused = (0..10 * REQUESTS_PER_MINUTE).find_map(|_| throttle.request(&busy).err()).expect("no end to it");
        assert!(matches!(refused, Refusal::TooMany { seconds: 1.. }), "{refused:?}");
        throttle.request(&other).unwrap();
        // Failing from one address is nobody else's loss, either.
        let (bad, good) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let slowed = (0..10 * FAILURES_PER_MINUTE).any(|_| matches!(throttle.failure(Some(bad)), Refusal::TooMany { .. }));
        assert!(slowed && matches!(throttle.failure(Some(good)), Refusal::BadToken));
    }
}
