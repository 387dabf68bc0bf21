//! Step 5: how much one caller may ask for.
//!
//! Requests a minute for each account and each key (token buckets), requests of one account under way at once, and
//! failed sign-ins of one address. All of it is this sidecar's own count, but requests a minute may be counted for the
//! whole [`fleet`].

mod fleet;

use std::{
    collections::HashMap,
    net::IpAddr,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DefaultKeyedStateStore,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio_util::sync::CancellationToken;

use crate::{
    directory::{Caller, Directory},
    identity::{AccountId, KeyId},
    settings::{self, Counting},
};
use fleet::Fleet;
pub use fleet::FleetStats;

/// What a caller has left of its requests, and of how many (draft-ietf-httpapi-ratelimit-headers).
pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(super) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

type Buckets<K> = RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// What all serving threads share of the limits.
#[derive(Debug)]
pub struct Limits {
    clock: DefaultClock,
    requests: Option<Requests>,
    under_way: Option<Arc<UnderWay>>,
    failures: Option<governor::DefaultKeyedRateLimiter<IpAddr>>,
}

/// Requests a minute.
#[derive(Debug)]
enum Requests {
    /// Of this sidecar.
    Here(Here),
    /// Of all sidecars.
    Fleet(Fleet),
}

#[derive(Debug)]
struct Here {
    per_minute: NonZeroU32,
    accounts: Buckets<AccountId>,
    keys: Buckets<KeyId>,
}

/// Requests of each account that have not been answered yet. The lock is held for one look into a map of at most as
/// many accounts as there are; nothing waits under it.
#[derive(Debug)]
struct UnderWay {
    most: u32,
    accounts: Mutex<HashMap<AccountId, u32>>,
}

/// Leave to go on with one request. It is given back when dropped, so it lives as long as the answer.
#[derive(Debug)]
#[must_use = "dropping a permit gives it back"]
pub struct Permit {
    left: Option<Left>,
    _slot: Option<Slot>,
}

#[derive(Debug)]
struct Slot {
    under_way: Arc<UnderWay>,
    account: AccountId,
}

/// What is left of a caller's requests, for the `RateLimit` fields of an answer
/// (draft-ietf-httpapi-ratelimit-headers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    per_minute: u32,
    requests: u32,
    /// Seconds until the bucket is full again.
    full_in: u64,
}

/// Why there is no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    /// Too many requests in the last minute.
    Requests {
        /// How long until there is one again.
        wait: Duration,
        /// What the caller is told about its bucket.
        left: Left,
    },
    /// Too many at once.
    AtOnce,
}

/// How long to wait before trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait(pub Duration);

// ===== impl Limits =====

impl Limits {
    /// The limits that the settings put in force.
    #[must_use]
    pub fn new(limits: &settings::Limits) -> Self {
        let requests = limits.requests_per_minute.and_then(NonZeroU32::new).map(|per_minute| match limits.requests_counted_by {
            Counting::Sidecar => Requests::Here(Here {
                per_minute,
                accounts: RateLimiter::keyed(Quota::per_minute(per_minute)).with_middleware(),
                keys: RateLimiter::keyed(Quota::per_minute(per_minute)).with_middleware(),
            }),
            Counting::Fleet => Requests::Fleet(Fleet::new(per_minute)),
        });
        let under_way = limits.concurrency.map(|most| Arc::new(UnderWay { most, accounts: Mutex::default() }));
        let failures = NonZeroU32::new(limits.failed_sign_ins_per_minute).map(|n| RateLimiter::keyed(Quota::per_minute(n)));
        Self { clock: DefaultClock::default(), requests, under_way, failures }
    }

    /// Takes one request out of the caller's buckets.
    ///
    /// # Errors
    /// [`Exhausted`] says what there is too much of.
    pub fn permit(&self, caller: &Caller) -> Result<Permit, Exhausted> {
        let slot = match &self.under_way {
            Some(under_way) => Some(under_way.enter(caller.account_id()).ok_or(Exhausted::AtOnce)?),
            None => None,
        };
        let left = match &self.requests {
            Some(Requests::Here(here)) => Some(here.take(&self.clock, caller)?),
            Some(Requests::Fleet(fleet)) => Some(fleet.take(caller, Instant::now())?),
            None => None,
        };
        Ok(Permit { left, _slot: slot })
    }

    /// Counts a failed sign-in. A good key is never asked for this, so nobody can lock one out.
    ///
    /// # Errors
    /// How long this address should wait before it tries again.
    pub fn failed_sign_in(&self, client: IpAddr) -> Result<(), Wait> {
        match &self.failures {
            None => Ok(()),
            Some(failures) => failures.check_key(&client).map_err(|until| Wait(until.wait_time_from(self.clock.now()))),
        }
    }

    /// Forgets buckets that are full again; called now and then so that many addresses leave no trace.
    pub fn sweep(&self) {
        match &self.requests {
            Some(Requests::Here(here)) => {
                here.accounts.retain_recent();
                here.keys.retain_recent();
            }
            Some(Requests::Fleet(fleet)) => fleet.sweep(Instant::now()),
            None => {}
        }
        if let Some(failures) = &self.failures {
            failures.retain_recent();
        }
    }

    /// Counts with the rest of the fleet until `stop`; returns at once where this sidecar counts alone.
    pub async fn share(&self, directory: &dyn Directory, stop: &CancellationToken) {
        if let Some(Requests::Fleet(fleet)) = &self.requests {
            fleet.keep(directory, stop).await;
        }
    }

    /// How counting with the fleet goes, where that is set.
    #[must_use]
    pub fn fleet(&self) -> Option<FleetStats> {
        match &self.requests {
            Some(Requests::Fleet(fleet)) => Some(fleet.stats()),
            Some(Requests::Here(_)) | None => None,
        }
    }
}

impl Here {
    fn take(&self, clock: &DefaultClock, caller: &Caller) -> Result<Left, Exhausted> {
        let most = self.per_minute;
        let exhausted =
            |until: governor::NotUntil<_>| Exhausted::Requests { wait: until.wait_time_from(clock.now()), left: Left::of(most, 0) };
        let key = self.keys.check_key(&caller.key_id()).map_err(exhausted)?.remaining_burst_capacity();
        let account = self.accounts.check_key(caller.account_id()).map_err(exhausted)?.remaining_burst_capacity();
        Ok(Left::of(most, key.min(account)))
    }
}

impl UnderWay {
    fn enter(self: &Arc<Self>, account: &AccountId) -> Option<Slot> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = accounts.entry(account.clone()).or_insert(0);
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Slot { under_way: self.clone(), account: account.clone() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut accounts = self.under_way.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = accounts.get_mut(&self.account) {
            *count -= 1;
            if *count == 0 {
                accounts.remove(&self.account);
            }
        }
    }
}

// ===== impl Permit, Left =====

impl Permit {
    /// What is left, where requests are counted at all.
    #[must_use]
    pub const fn left(&self) -> Option<Left> {
        self.left
    }
}

impl Left {
    fn of(most: NonZeroU32, requests: u32) -> Self {
        let per_minute = most.get();
        let gone = u64::from(per_minute.saturating_sub(requests));
        Self { per_minute, requests: requests.min(per_minute), full_in: (gone * 60).div_ceil(u64::from(per_minute)) }
    }

    /// Writes the `RateLimit-Policy` and `RateLimit` fields.
    pub fn sign(self, headers: &mut HeaderMap) {
        let policy = format!("\"minute\";q={};w=60", self.per_minute);
        let left = format!("\"minute\";r={};t={}", self.requests, self.full_in);
        for (name, value) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, left)] {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }
}
