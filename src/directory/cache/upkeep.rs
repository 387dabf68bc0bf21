//! What the cache does by itself: it asks again what changes have voided, and writes down when keys were used.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use futures_util::StreamExt as _;
use jiff::Timestamp;
use tokio::sync::Notify;

use super::{Entry, Inner};
use crate::{directory::Change, identity::KeyId};

/// How many keys are asked again at the same time.
const AT_ONCE: usize = 32;
/// Changes that are followed up one by one; beyond it, all of memory is looked through.
const SINGLY: usize = 256;
/// How long nothing may have changed before memory is looked through for what shared a place with a change.
const QUIET: Duration = Duration::from_secs(1);
/// How often last use is written down. Each key is in it once a minute at most.
const NOTE_EVERY: Duration = Duration::from_secs(5);
/// Most notes that wait for a backend that is away.
const NOTES: usize = 100_000;

pub(super) fn start(inner: &Arc<Inner>) {
    inner.runtime.spawn(overhaul(Arc::downgrade(inner)));
    inner.runtime.spawn(note(Arc::downgrade(inner)));
}

/// What in memory has to be asked again.
#[derive(Debug, Default)]
pub(super) struct Overhaul {
    due: Mutex<Due>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Due {
    keys: Vec<KeyId>,
    everything: bool,
}

impl Overhaul {
    pub(super) fn of(&self, what: &Change) {
        let mut due = self.due();
        match what {
            Change::Key(id) if due.keys.len() < SINGLY => due.keys.push(*id),
            Change::Key(_) | Change::Account(_) => due.everything = true,
        }
        self.wake.notify_one();
    }

    pub(super) fn of_everything(&self) {
        self.due().everything = true;
        self.wake.notify_one();
    }

    fn due(&self) -> std::sync::MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks again whatever the fence no longer lets through, so that requests rarely have to wait for it, and so that an
/// outage right after a change finds the new state in memory.
async fn overhaul(cache: Weak<Inner>) {
    // A change voids what shares its place, too; that is swept up after a quiet moment, not at each change.
    let mut sweep = false;
    loop {
        let due = {
            let Some(inner) = cache.upgrade() else { return };
            let told = tokio::time::timeout(QUIET, inner.overhaul.wake.notified()).await;
            let mut due = std::mem::take(&mut *inner.overhaul.due());
            if told.is_err() && !std::mem::take(&mut sweep) {
                continue;
            }
            due.everything |= told.is_err();
            due
        };
        let Some(inner) = cache.upgrade() else { return };
        if !inner.fence.connected() {
            continue;
        }
        let void = if due.everything {
            inner.void()
        } else {
            sweep = true;
            due.keys.into_iter().filter(|id| inner.known.contains_key(id)).collect()
        };
        futures_util::stream::iter(void).for_each_concurrent(AT_ONCE, |id| inner.refresh(id)).await;
    }
}

async fn note(cache: Weak<Inner>) {
    loop {
        tokio::time::sleep(NOTE_EVERY).await;
        let Some(inner) = cache.upgrade() else { return };
        note_used(&inner).await;
    }
}

/// Writes down what has been noted so far; what cannot be written waits for the next time.
pub(super) async fn note_used(inner: &Inner) {
    let taken = std::mem::take(&mut *inner.used());
    if taken.is_empty() {
        return;
    }
    let mut latest = HashMap::<KeyId, Timestamp>::with_capacity(taken.len());
    for (id, at) in taken {
        let last = latest.entry(id).or_insert(at);
        *last = at.max(*last);
    }
    let batch = latest.into_iter().collect::<Vec<_>>();
    if let Err(error) = inner.backend.note_used(&batch).await {
        tracing::debug!(%error, "when keys were last used is not written down yet");
        let mut waiting = inner.used();
        if waiting.len() < NOTES {
            waiting.extend(batch);
        }
    }
}

impl Inner {
    /// The keys in memory that the fence does not let through.
    fn void(&self) -> Vec<KeyId> {
        let generation = self.fence.vouched().generation();
        let void = |entry: &Entry| entry.stamp.generation() < generation || !self.fence.admits(entry.stamp, entry.place);
        self.known.iter().filter(|(_, entry)| void(entry)).map(|(id, _)| *id).collect()
    }

    async fn refresh(self: &Arc<Self>, id: KeyId) {
        let _ = self.fly(id).await;
    }
}
