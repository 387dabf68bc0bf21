//! Requests a minute that all sidecars of a fleet share.
//!
//! The quotas are token buckets in the directory. Each sidecar draws some requests from them at a time, in the
//! background, and lets callers through with those; no request ever waits for it. When more come than have been drawn,
//! they are let through on credit, as long as the quota had something left when it was last heard of, and paid at the
//! next draw: so what a fleet lets through beyond the limit is what comes in between two draws, and is missing after.
//! While the directory is away, all is credit: each sidecar goes on with what it knows, and fills it up by itself.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Exhausted, Left};
use crate::{
    directory::{Caller, Directory, Draw, Drawn, Quota},
    identity::{AccountId, KeyId},
};

/// Between two draws, at least.
const PACE: Duration = Duration::from_millis(20);
/// Before drawing again from a directory that is away.
const PAUSE: Duration = Duration::from_millis(250);
/// What has been drawn goes back when nobody has come for it for so long.
const IDLE: Duration = Duration::from_secs(1);
/// A quota that nobody has drawn from for so long is full again.
const MINUTE: Duration = Duration::from_secs(60);
/// How much of a quota one sidecar holds at most: one part in so many.
const PART: u32 = 10;
/// Millionths of a request: what time is turned into.
const ONE: i64 = 1_000_000;

/// The sidecar's part of the fleet's quotas.
#[derive(Debug)]
pub(super) struct Fleet {
    per_minute: NonZeroU32,
    /// Held for a look into two maps, never across a wait.
    pockets: Mutex<Pockets>,
    touched: Notify,
    shared: AtomicBool,
    drawn: AtomicU64,
    failed: AtomicU64,
}

/// How the counting goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetStats {
    /// Whether the last draw was answered: while it was not, each sidecar counts alone.
    pub shared: bool,
    /// Times that quotas were drawn from.
    pub drawn: u64,
    /// Times that it failed.
    pub failed: u64,
}

#[derive(Debug, Default)]
struct Pockets {
    accounts: HashMap<AccountId, Pocket>,
    keys: HashMap<KeyId, Pocket>,
    /// Those to draw for.
    due: Vec<Quota>,
}

/// What this sidecar has, and knows, of one quota.
#[derive(Debug, Clone)]
struct Pocket {
    /// Drawn, and not used yet.
    held: u32,
    /// Let through on credit since the last draw.
    owed: u32,
    /// What the quota has left as far as is known here, in millionths of a request, as of `at`.
    left: i64,
    at: Instant,
    /// Requests since the last draw.
    used: u32,
    used_at: Instant,
    due: bool,
}

// ===== impl Fleet =====

impl Fleet {
    pub(super) fn new(per_minute: NonZeroU32) -> Self {
        Self {
            per_minute,
            pockets: Mutex::default(),
            touched: Notify::new(),
            shared: AtomicBool::new(false),
            drawn: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// One request of this caller's; a refused one takes nothing.
    pub(super) fn take(&self, caller: &Caller, now: Instant) -> Result<Left, Exhausted> {
        self.take_from(caller.account_id(), caller.key_id(), now)
    }

    fn take_from(&self, account: &AccountId, key: KeyId, now: Instant) -> Result<Left, Exhausted> {
        let most = self.per_minute;
        let mut pockets = self.pockets();
        let Pockets { accounts, keys, due } = &mut *pockets;
        let of_key = keys.entry(key).or_insert_with(|| Pocket::full(most, now));
        // Without a copy of the id where there is a pocket, as there nearly always is.
        if !accounts.contains_key(account) {
            accounts.insert(account.clone(), Pocket::full(most, now));
        }
        let Some(of_account) = accounts.get_mut(account) else { return Ok(Left::of(most, most.get())) };
        let mut touch = false;
        for (pocket, quota) in [(&mut *of_key, Quota::Key(key)), (&mut *of_account, Quota::Account(account.clone()))] {
            pocket.fill(most, now);
            pocket.used_at = now;
            if !std::mem::replace(&mut pocket.due, true) {
                due.push(quota);
                touch = true;
            }
        }
        let wait = of_key.wait(most).max(of_account.wait(most));
        let left = if wait.is_zero() {
            of_key.take();
            of_account.take();
            Ok(Left::of(most, of_key.has().min(of_account.has())))
        } else {
            Err(Exhausted::Requests { wait, left: Left::of(most, 0) })
        };
        drop(pockets);
        if touch {
            self.touched.notify_one();
        }
        left
    }

    /// Draws in the background until `stop`.
    pub(super) async fn keep(&self, directory: &dyn Directory, stop: &CancellationToken) {
        loop {
            let touched = stop.run_until_cancelled(tokio::time::timeout(IDLE, self.touched.notified())).await;
            if touched.is_none() {
                return;
            }
            let draws = self.begin(Instant::now());
            if draws.is_empty() {
                continue;
            }
            let pause = match directory.draw(self.per_minute, &draws).await {
                Ok(drawn) => {
                    self.end(&draws, &drawn, Instant::now());
                    self.drawn.fetch_add(1, Ordering::Relaxed);
                    if !self.shared.swap(true, Ordering::Relaxed) {
                        tracing::info!("requests a minute are counted with the whole fleet");
                    }
                    PACE
                }
                Err(error) => {
                    self.take_back(&draws);
                    let first = self.failed.fetch_add(1, Ordering::Relaxed) == 0;
                    if self.shared.swap(false, Ordering::Relaxed) || first {
                        tracing::warn!(%error, "requests a minute are counted by this sidecar alone until the directory answers");
                    }
                    PAUSE
                }
            };
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// What to draw now: for those who have come, and what lies about unused goes back.
    fn begin(&self, now: Instant) -> Vec<Draw> {
        let mut pockets = self.pockets();
        let Pockets { accounts, keys, due } = &mut *pockets;
        let mut draws = Vec::with_capacity(due.len());
        for quota in due.drain(..) {
            if let Some(pocket) = pocket(accounts, keys, &quota) {
                draws.push(pocket.draw(quota, self.per_minute, now));
            }
        }
        let idle = |pocket: &Pocket| pocket.held > 0 && !pocket.due && now.saturating_duration_since(pocket.used_at) >= IDLE;
        for (id, pocket) in accounts.iter_mut().filter(|(_, pocket)| idle(pocket)) {
            draws.push(pocket.give_back(Quota::Account(id.clone())));
        }
        for (id, pocket) in keys.iter_mut().filter(|(_, pocket)| idle(pocket)) {
            draws.push(pocket.give_back(Quota::Key(*id)));
        }
        draws
    }

    fn end(&self, draws: &[Draw], drawn: &[Drawn], now: Instant) {
        let mut pockets = self.pockets();
        let Pockets { accounts, keys, .. } = &mut *pockets;
        for (draw, drawn) in draws.iter().zip(drawn) {
            if let Some(pocket) = pocket(accounts, keys, &draw.quota) {
                pocket.held = pocket.held.saturating_add(drawn.requests);
                // What was let through since is owed, and the quota does not know of it yet.
                pocket.left = drawn.left.saturating_mul(ONE / 1000).saturating_sub(i64::from(pocket.owed) * ONE);
                pocket.at = now;
            }
        }
    }

    /// The draw was not made, or nobody knows: it is owed still, and those concerned are due again.
    fn take_back(&self, draws: &[Draw]) {
        let mut pockets = self.pockets();
        let Pockets { accounts, keys, due } = &mut *pockets;
        for draw in draws {
            if let Some(pocket) = pocket(accounts, keys, &draw.quota) {
                pocket.owed = pocket.owed.saturating_add(draw.owed);
                if !std::mem::replace(&mut pocket.due, true) {
                    due.push(draw.quota.clone());
                }
            }
        }
        drop(pockets);
        self.touched.notify_one();
    }

    /// Forgets quotas that are full again.
    pub(super) fn sweep(&self, now: Instant) {
        let mut pockets = self.pockets();
        let lives = |pocket: &Pocket| pocket.held > 0 || pocket.due || now.saturating_duration_since(pocket.used_at) < 2 * MINUTE;
        pockets.accounts.retain(|_, pocket| lives(pocket));
        pockets.keys.retain(|_, pocket| lives(pocket));
    }

    pub(super) fn stats(&self) -> FleetStats {
        FleetStats {
            shared: self.shared.load(Ordering::Relaxed),
            drawn: self.drawn.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    fn pockets(&self) -> MutexGuard<'_, Pockets> {
        self.pockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pocket<'p>(accounts: &'p mut HashMap<AccountId, Pocket>, keys: &'p mut HashMap<KeyId, Pocket>, quota: &Quota) -> Option<&'p mut Pocket> {
    match quota {
        Quota::Account(id) => accounts.get_mut(id),
        Quota::Key(id) => keys.get_mut(id),
    }
}

// ===== impl Pocket =====

impl Pocket {
    /// Of a quota that nothing is known of.
    fn full(most: NonZeroU32, now: Instant) -> Self {
        Self { held: 0, owed: 0, left: i64::from(most.get()) * ONE, at: now, used: 0, used_at: now, due: false }
    }

    /// What has come in since it was last looked at.
    fn fill(&mut self, most: NonZeroU32, now: Instant) {
        // Twice a minute's worth fills even a quota that was overdrawn by all it has.
        let micros = now.saturating_duration_since(self.at).min(2 * MINUTE).as_micros();
        let gain = i64::try_from(micros * u128::from(most.get()) / 60).unwrap_or(i64::MAX);
        self.left = self.left.saturating_add(gain).min(i64::from(most.get()) * ONE);
        self.at = self.at.max(now);
    }

    /// How long until there is a request to be had.
    fn wait(&self, most: NonZeroU32) -> Duration {
        if self.held > 0 || self.left >= ONE {
            return Duration::ZERO;
        }
        let missing = u64::try_from(ONE.saturating_sub(self.left)).unwrap_or(0);
        Duration::from_micros(missing.saturating_mul(60).div_ceil(u64::from(most.get())))
    }

    fn take(&mut self) {
        self.used = self.used.saturating_add(1);
        match self.held.checked_sub(1) {
            Some(held) => self.held = held,
            None => {
                self.left -= ONE;
                self.owed = self.owed.saturating_add(1);
            }
        }
    }

    /// Requests there are, here and in the quota.
    fn has(&self) -> u32 {
        self.held.saturating_add(u32::try_from(self.left.max(0) / ONE).unwrap_or(u32::MAX))
    }

    fn draw(&mut self, quota: Quota, most: NonZeroU32, now: Instant) -> Draw {
        self.fill(most, now);
        // After a long absence, only what is missing here is missing there: the rest has come in again.
        let missing = i64::from(most.get()).saturating_mul(ONE).saturating_sub(self.left).saturating_add(ONE - 1) / ONE;
        let missing = u32::try_from(missing.max(0)).unwrap_or(u32::MAX);
        let owed = std::mem::take(&mut self.owed).min(missing);
        // As many as came since the last draw, and as many again.
        let wanted = std::mem::take(&mut self.used).saturating_mul(2).min(most.get() / PART).saturating_sub(self.held);
        self.due = false;
        Draw { quota, owed, unused: 0, wanted }
    }

    fn give_back(&mut self, quota: Quota) -> Draw {
        Draw { quota, owed: 0, unused: std::mem::take(&mut self.held), wanted: 0 }
    }
}

#[cfg(test)]
#[path = "fleet/tests.rs"]
mod tests;
