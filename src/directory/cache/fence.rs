//! What keeps an old answer from being served after a change has been heard.
//!
//! Each change raises a mark in one of a fixed number of places, chosen by the key id or the account id it concerns;
//! an entry is admitted while its stamp is no lower than both its marks. Two ids may share a place: that costs a
//! question that was not needed, and nothing else. All of it is atomics: a hit reads four of them.

use std::{
    hash::{BuildHasher as _, Hash},
    sync::{
        LazyLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::Entry;
use crate::{
    directory::{Change, Stamp},
    identity::{AccountId, KeyId},
};

/// A power of two, well above the number of keys that change at the same time.
const PLACES: usize = 4096;

/// Where an entry's two marks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    key: u16,
    account: u16,
}

#[derive(Debug)]
pub(super) struct Fence {
    keys: Box<[AtomicU64]>,
    accounts: Box<[AtomicU64]>,
    /// The generation that vouches, and until when, in milliseconds since `origin`; packed as a [`Stamp`].
    vouched: AtomicU64,
    connected: AtomicBool,
    origin: Instant,
}

static PLACING: LazyLock<foldhash::quality::RandomState> = LazyLock::new(Default::default);

fn place(of: impl Hash) -> u16 {
    // PLACES fits.
    (PLACING.hash_one(of) as usize % PLACES) as u16
}

/// Milliseconds, as the fence counts.
pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl Place {
    pub(super) fn of(key: &KeyId, account: &AccountId) -> Self {
        Self { key: place(key), account: place(account) }
    }
}

impl Fence {
    pub(super) fn new() -> Self {
        let marks = || std::iter::repeat_with(AtomicU64::default).take(PLACES).collect();
        Self {
            keys: marks(),
            accounts: marks(),
            vouched: AtomicU64::new(0),
            connected: AtomicBool::new(false),
            // A second back, so that zero is "never" and not "just now".
            origin: Instant::now().checked_sub(Duration::from_secs(1)).unwrap_or_else(Instant::now),
        }
    }

    /// Voids every answer about `what` that is older than `stamp`.
    pub(super) fn raise(&self, stamp: Stamp, what: &Change) {
        let mark = match what {
            Change::Key(id) => self.keys.get(usize::from(place(id))),
            Change::Account(id) => self.accounts.get(usize::from(place(id))),
        };
        if let Some(mark) = mark {
            mark.fetch_max(stamp.bits(), Ordering::AcqRel);
        }
    }

    /// Whether no heard change voids an answer of `stamp` about a key and account of `place`.
    pub(super) fn admits(&self, stamp: Stamp, place: Place) -> bool {
        let since = |marks: &[AtomicU64], at: u16| marks.get(usize::from(at)).map_or(u64::MAX, |mark| mark.load(Ordering::Acquire));
        stamp.bits() >= since(&self.keys, place.key) && stamp.bits() >= since(&self.accounts, place.account)
    }

    /// The same for an answer that there is no such key.
    pub(super) fn admits_key(&self, stamp: Stamp, id: &KeyId) -> bool {
        self.keys.get(usize::from(place(id))).is_some_and(|mark| stamp.bits() >= mark.load(Ordering::Acquire))
    }

    /// Whether it may still be said that there is no such key: only while somebody would tell if there were.
    pub(super) fn still_absent(&self, stamp: Stamp, id: &KeyId) -> bool {
        self.connected() && self.vouched().generation() == stamp.generation() && self.admits_key(stamp, id)
    }

    /// Milliseconds since `entry` was last known to hold.
    pub(super) fn age(&self, entry: &Entry) -> u64 {
        let own = entry.confirmed.load(Ordering::Relaxed);
        let vouched = self.vouched();
        let confirmed = if vouched.generation() == entry.stamp.generation() { own.max(vouched.version()) } else { own };
        self.now().saturating_sub(confirmed)
    }

    /// Whether `entry` may be served as if it had just been asked.
    pub(super) fn fresh(&self, entry: &Entry, fresh_for: u64) -> bool {
        // While changes are told again, only what was asked since then is trusted.
        let resynced = !self.connected() || self.vouched().generation() <= entry.stamp.generation();
        resynced && self.age(entry) < fresh_for
    }

    /// Writes down, in the entry, what its generation has vouched for so far.
    pub(super) fn settle(&self, entry: &Entry) {
        let vouched = self.vouched();
        if vouched.generation() == entry.stamp.generation() {
            entry.confirmed.fetch_max(vouched.version(), Ordering::Relaxed);
        }
    }

    /// Takes the backend's word that all changes up to `at` were told. Says whether a new time of trust begins.
    pub(super) fn vouch(&self, generation: u32, at: Instant) -> bool {
        let at = millis(at.saturating_duration_since(self.origin));
        let before = Stamp::from_bits(self.vouched.fetch_max(Stamp::new(generation, at).bits(), Ordering::AcqRel));
        let connected = self.connected.swap(true, Ordering::AcqRel);
        !connected || before.generation() != generation
    }

    /// Changes are no longer told. Says whether that is new.
    pub(super) fn lose(&self) -> bool {
        self.connected.swap(false, Ordering::AcqRel)
    }

    pub(super) fn connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    /// The generation in force, and until when it vouches.
    pub(super) fn vouched(&self) -> Stamp {
        Stamp::from_bits(self.vouched.load(Ordering::Acquire))
    }

    pub(super) fn vouched_ago(&self) -> Option<Duration> {
        let at = self.vouched().version();
        (at > 0).then(|| Duration::from_millis(self.now().saturating_sub(at)))
    }

    pub(super) fn now(&self) -> u64 {
        millis(self.origin.elapsed())
    }
}
