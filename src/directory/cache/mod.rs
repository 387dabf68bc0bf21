//! The cache in front of a backend: what makes signing in cost a look into memory.
//!
//! An entry is served as fresh while the backend vouches that every change up to now has been told (and for
//! `fresh_for` after it last did), and as stale up to `stale_for` while the backend is away. What a heard change has
//! voided is never served again, not even when it is put in late: [`fence`] compares stamps on every hit.
//!
//! A hit takes no lock and waits for nobody. A miss asks the backend once, however many requests wait for the answer.

mod counters;
mod fence;
mod flight;
mod upkeep;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::{Caller, Directory, Health, Holder, Listener, Lookup, News, Refused, SignInReason, Stamp, sign_in};
use crate::{
    identity::{Account, Key, KeyId},
    settings::DirectoryBackend,
};
use counters::{Count, Counters};
use fence::{Fence, Place};
use flight::Flights;
use upkeep::Overhaul;

type Map<V> = moka::sync::Cache<KeyId, V, foldhash::quality::RandomState>;

/// What the cache knows of keys, in front of a backend. Cheap to clone; all clones are one cache.
#[derive(Debug, Clone)]
pub struct DirectoryCache {
    inner: Arc<Inner>,
}

/// How the cache is doing.
#[derive(Debug, Clone)]
pub struct CacheStats {
    /// Sign-ins answered from memory, key known.
    pub hits: u64,
    /// Sign-ins answered from memory, key known not to exist.
    pub negative_hits: u64,
    /// Sign-ins that had to wait for the backend.
    pub misses: u64,
    /// Sign-ins answered from memory while the backend was away.
    pub stale: u64,
    /// Sign-ins that nobody could answer.
    pub unavailable: u64,
    /// Questions to the backend, refreshes included.
    pub questions: u64,
    /// Changes heard.
    pub changes: u64,
    /// Times that everything had to be asked again.
    pub resyncs: u64,
    /// Keys in memory.
    pub entries: u64,
    /// Whether the backend vouches for what is in memory.
    pub connected: bool,
    /// How long ago it last did; `None` if it never has.
    pub vouched: Option<Duration>,
    /// How the backend is.
    pub backend: Health,
}

/// What the cache has to say of a key id.
#[derive(Debug)]
pub(super) enum Known {
    /// The key and its account, vouched for.
    Fresh(Arc<Entry>),
    /// The same, from before the backend went away.
    Stale(Arc<Entry>),
    /// There is no such key.
    Unknown,
    /// Nobody can say.
    Unavailable,
}

/// One key and its account in memory.
#[derive(Debug)]
pub(super) struct Entry {
    holder: Holder,
    stamp: Stamp,
    place: Place,
    /// Until when it is known to have held, apart from what the current generation vouches for; in the fence's time.
    confirmed: AtomicU64,
    /// The minute it last signed in.
    noted: AtomicI64,
}

/// A key id that no key has.
#[derive(Debug, Clone, Copy)]
struct Absent {
    stamp: Stamp,
}

#[derive(Debug)]
struct Inner {
    backend: Arc<dyn Directory>,
    known: Map<Arc<Entry>>,
    unknown: Map<Absent>,
    fence: Fence,
    fresh_for: u64,
    stale_for: u64,
    patience: Duration,
    flights: Flights,
    counters: Counters,
    used: Mutex<Vec<(KeyId, Timestamp)>>,
    /// What in memory has to be asked again.
    overhaul: Overhaul,
    /// Moves with every change, for those who hold a connection open.
    moved: watch::Sender<u64>,
    runtime: tokio::runtime::Handle,
}

impl DirectoryCache {
    /// Puts a cache in front of `backend`. Its upkeep runs on the runtime this is called on, and ends with the last clone.
    #[must_use]
    pub fn start(backend: Arc<dyn Directory>, settings: &DirectoryBackend) -> Self {
        let inner = Arc::new(Inner {
            backend: backend.clone(),
            known: moka::sync::Cache::builder().max_capacity(settings.cache).build_with_hasher(Default::default()),
            unknown: moka::sync::Cache::builder()
                .max_capacity(settings.cache)
                .time_to_live(settings.negative_for.0)
                .build_with_hasher(Default::default()),
            fence: Fence::new(),
            fresh_for: fence::millis(settings.fresh_for.0),
            stale_for: fence::millis(settings.stale_for.0),
            // The backend's own time-out comes first; this one holds if it does not.
            patience: settings.timeout.0.saturating_mul(4),
            flights: Flights::default(),
            counters: Counters::default(),
            used: Mutex::default(),
            overhaul: Overhaul::default(),
            moved: watch::channel(0).0,
            runtime: tokio::runtime::Handle::current(),
        });
        backend.changes(inner.clone());
        upkeep::start(&inner);
        Self { inner }
    }

    /// How it is doing.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        let inner = &self.inner;
        let count = |what| inner.counters.read(what);
        CacheStats {
            hits: count(Count::Hit),
            negative_hits: count(Count::NegativeHit),
            misses: count(Count::Miss),
            stale: count(Count::Stale),
            unavailable: count(Count::Unavailable),
            questions: count(Count::Question),
            changes: count(Count::Change),
            resyncs: count(Count::Resync),
            entries: inner.known.entry_count(),
            connected: inner.fence.connected(),
            vouched: inner.fence.vouched_ago(),
            backend: inner.backend.health(),
        }
    }

    /// Resolves when `caller` would no longer be let in: for whoever keeps a connection open on a sign-in.
    pub fn revoked(&self, caller: &Caller) -> impl Future<Output = Refused> + Send + 'static {
        let (cache, caller) = (self.clone(), caller.clone());
        async move {
            let mut moved = cache.inner.moved.subscribe();
            loop {
                moved.mark_unchanged();
                let now = Timestamp::now();
                let entry = match cache.judge_again(&caller, now).await {
                    Ok(entry) => entry,
                    Err(refused) => return refused,
                };
                let _ = tokio::time::timeout(until_next(&entry, now), moved.changed()).await;
            }
        }
    }

    /// Whether `caller` would still be let in: for whoever has waited since its sign-in.
    ///
    /// # Errors
    /// Why not.
    pub async fn still_allows(&self, caller: &Caller) -> Result<(), Refused> {
        self.judge_again(caller, Timestamp::now()).await.map(drop)
    }

    async fn judge_again(&self, caller: &Caller, now: Timestamp) -> Result<Arc<Entry>, Refused> {
        let known = match self.recall(&caller.key_id()) {
            Some(known) => known,
            None => self.inner.ask(caller.key_id()).await,
        };
        let refused = |reason, account| Refused::NotKnown { reason, key: caller.key_id(), account };
        let entry = match known {
            Known::Fresh(entry) | Known::Stale(entry) => entry,
            Known::Unknown => return Err(refused(SignInReason::KeyUnknown, None)),
            Known::Unavailable => return Err(Refused::Unavailable { retry_after: Duration::from_secs(1) }),
        };
        match sign_in::judge(&entry, caller.hash(), caller.client(), now) {
            Ok(()) => Ok(entry),
            Err(reason) => Err(refused(reason, Some(entry.account().id.clone()))),
        }
    }

    /// Writes down what is known of last use. For the end of a process; otherwise it happens by itself.
    pub async fn flush(&self) {
        upkeep::note_used(&self.inner).await;
    }

    /// What is in memory, if that may be relied on.
    pub(super) fn recall(&self, id: &KeyId) -> Option<Known> {
        self.inner.recall(id)
    }

    /// Asks the backend.
    pub(super) async fn ask(&self, id: KeyId) -> Known {
        self.inner.counters.add(Count::Miss);
        let known = self.inner.ask(id).await;
        match &known {
            Known::Stale(_) => self.inner.counters.add(Count::Stale),
            Known::Unavailable => self.inner.counters.add(Count::Unavailable),
            Known::Fresh(_) | Known::Unknown => {}
        }
        known
    }

    /// Has the backend tell what it has not told yet; whether it could look for that.
    pub(super) async fn caught_up(&self) -> bool {
        let backend = self.inner.backend.clone();
        let looked = self.inner.runtime.spawn(async move { backend.catch_up().await });
        matches!(looked.await, Ok(Ok(true)))
    }

    /// Notes that a key has signed in, at most once a minute.
    pub(super) fn used(&self, entry: &Entry, now: Timestamp) {
        let minute = now.as_second().div_euclid(60);
        if entry.noted.load(Ordering::Relaxed) < minute && entry.noted.swap(minute, Ordering::Relaxed) < minute {
            let at = Timestamp::from_second(minute.saturating_mul(60)).unwrap_or(now);
            self.inner.used().push((entry.key().id, at));
        }
    }
}

/// How long nothing can change about `entry` by the mere passing of time.
fn until_next(entry: &Entry, now: Timestamp) -> Duration {
    /// Bounds what a lost wake-up could cost.
    const AT_MOST: Duration = Duration::from_secs(30);
    let ends = entry.key().expires.into_iter().chain(entry.key().previous.iter().map(|old| old.until));
    let next = ends.map(|end| now.duration_until(end)).filter(SignedDuration::is_positive).min();
    next.and_then(|next| Duration::try_from(next).ok()).map_or(AT_MOST, |next| next.min(AT_MOST))
}

// ===== impl Inner =====

impl Inner {
    fn recall(&self, id: &KeyId) -> Option<Known> {
        if let Some(entry) = self.known.get(id) {
            if self.fence.admits(entry.stamp, entry.place) {
                if self.fence.fresh(&entry, self.fresh_for) {
                    self.counters.add(Count::Hit);
                    return Some(Known::Fresh(entry));
                }
                // Nobody is there to be asked.
                if !self.fence.connected() && self.fence.age(&entry) < self.stale_for {
                    self.counters.add(Count::Stale);
                    return Some(Known::Stale(entry));
                }
            }
        } else if let Some(absent) = self.unknown.get(id)
            && self.fence.still_absent(absent.stamp, id)
        {
            self.counters.add(Count::NegativeHit);
            return Some(Known::Unknown);
        }
        self.backend.find_now(*id).and_then(|lookup| self.put(*id, lookup))
    }

    async fn ask(self: &Arc<Self>, id: KeyId) -> Known {
        match self.fly(id).await {
            Known::Unavailable => match self.known.get(&id) {
                Some(entry) if self.fence.admits(entry.stamp, entry.place) && self.fence.age(&entry) < self.stale_for => {
                    Known::Stale(entry)
                }
                Some(_) | None => Known::Unavailable,
            },
            known => known,
        }
    }

    /// Takes an answer of the backend into memory; `None` when a change was heard that it does not know of.
    fn put(&self, id: KeyId, lookup: Lookup) -> Option<Known> {
        if lookup.stamp.generation() < self.fence.vouched().generation() {
            return None;
        }
        let Some(holder) = lookup.holder else {
            if !self.fence.admits_key(lookup.stamp, &id) {
                return None;
            }
            self.known.invalidate(&id);
            self.unknown.insert(id, Absent { stamp: lookup.stamp });
            return Some(Known::Unknown);
        };
        let place = Place::of(&id, &holder.account.id);
        let old = self.known.get(&id);
        let noted = old.as_ref().map_or(i64::MIN, |old| old.noted.load(Ordering::Relaxed));
        let confirmed = AtomicU64::new(self.fence.now());
        let entry = Arc::new(Entry { holder, stamp: lookup.stamp, place, confirmed, noted: AtomicI64::new(noted) });
        // Whether this comes too late is checked again at every hit, so nothing needs to be held still meanwhile.
        if !self.fence.admits(entry.stamp, place) || old.is_some_and(|old| old.stamp > entry.stamp) {
            return None;
        }
        self.unknown.invalidate(&id);
        self.known.insert(id, entry.clone());
        Some(Known::Fresh(entry))
    }

    fn used(&self) -> std::sync::MutexGuard<'_, Vec<(KeyId, Timestamp)>> {
        self.used.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Listener for Inner {
    fn hear(&self, news: News) {
        match news {
            News::Changed { stamp, what } => {
                self.counters.add(Count::Change);
                self.fence.raise(stamp, &what);
                self.overhaul.of(&what);
                self.moved.send_modify(|moved| *moved = moved.wrapping_add(1));
            }
            News::Generation(_) => {
                self.counters.add(Count::Resync);
                // What the generation that ends vouched for is written down, before its word is forgotten.
                for (_, entry) in &self.known {
                    self.fence.settle(&entry);
                }
            }
            News::Vouched { generation, at } => {
                if self.fence.vouch(generation, at) {
                    self.overhaul.of_everything();
                    self.moved.send_modify(|moved| *moved = moved.wrapping_add(1));
                }
            }
            News::Lost(cause) => {
                if self.fence.lose() {
                    tracing::warn!(cause, "the directory no longer tells of changes; keys in memory are used with care until it does");
                }
            }
        }
    }
}

// ===== impl Entry =====

impl Entry {
    pub(super) fn account(&self) -> &Account {
        &self.holder.account
    }

    pub(super) fn key(&self) -> &Key {
        &self.holder.key
    }
}
