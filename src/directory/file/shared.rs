//! What of the keys file is in force, and how it is replaced: by changes made here, by what others write, and never by
//! what somebody has read before.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak, atomic::AtomicBool},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;

use super::{document::Contents, store::Store};
use crate::{
    directory::{Change, DirectoryError, Health, Holder, Listener, Lookup, News, Stamp, record::Rules},
    identity::{Key, KeyId},
    source::Look,
};

/// How long a file that is written in place must hold still.
const SETTLE: Duration = Duration::from_millis(30);
/// A file has one order of changes for as long as the process runs.
pub(super) const GENERATION: u32 = 1;

/// The keys file, and what of it is in force.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) rules: Rules,
    pub(super) snapshot: ArcSwap<Snapshot>,
    /// Held while a snapshot replaces another, so that changes are told in order.
    pub(super) publishing: Mutex<Publishing>,
    pub(super) health: ArcSwap<Health>,
    pub(super) watched: AtomicBool,
}

/// What a file said, ready to be asked.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) contents: Contents,
    pub(super) index: HashMap<KeyId, Holder, foldhash::quality::RandomState>,
    pub(super) stamp: Stamp,
}

/// How what is in force is replaced.
#[derive(Debug, Default)]
pub(super) struct Publishing {
    /// What the file looked like when it was last taken in.
    pub(super) taken: Option<Look>,
    /// What it looks like while it says something that cannot be taken in, so that it is read once.
    pub(super) refused: Option<Option<Look>>,
    pub(super) listeners: Vec<Weak<dyn Listener>>,
}

// ===== impl Publishing =====

impl Publishing {
    /// Whether what a file says that looks like `look` has yet to be read.
    pub(super) fn is_news(&self, look: Option<Look>) -> bool {
        self.taken != look && self.refused != Some(look)
    }
}

// ===== impl Shared =====

impl Shared {
    pub(super) fn publishing(&self) -> std::sync::MutexGuard<'_, Publishing> {
        self.publishing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the file says now; what is in force while it says nothing that can be taken. May wait for the disk.
    pub(super) fn current(&self) -> Arc<Snapshot> {
        if let Ok(look) = self.store.look()
            && look.is_some_and(|look| !look.is_empty())
            && self.publishing().is_news(look)
        {
            self.take(look);
        }
        self.snapshot.load_full()
    }

    /// Reads the file, which looks like `look`, and puts in force what it says, or says why not. Nothing happens when it
    /// is still being written. May wait for the disk.
    pub(super) fn take(&self, look: Option<Look>) {
        let in_place = matches!((look, self.publishing().taken), (Some(new), Some(old)) if old.same_file(&new));
        if in_place {
            std::thread::sleep(SETTLE);
            if !self.looks_like(look) {
                return;
            }
        }
        match self.store.read() {
            Ok(contents) => self.publish(contents, look),
            Err(error) if self.looks_like(look) => {
                // What could not be read now may be readable a moment later, and nobody need touch the file for that.
                if !matches!(error, DirectoryError::File { .. }) {
                    self.publishing().refused = Some(look);
                }
                self.freeze(error.to_string());
            }
            Err(_) => {}
        }
    }

    pub(super) fn freeze(&self, problem: String) {
        let frozen = Health::Frozen(problem.clone());
        if **self.health.load() != frozen {
            tracing::error!(problem, "an edit of the keys file was not taken; what was in force stays in force");
            self.health.store(Arc::new(frozen));
        }
    }

    /// The file looks as it did when it was read: whatever else was wrong with it is over.
    pub(super) fn seen_again(&self, look: Option<Look>) {
        let mut publishing = self.publishing();
        if publishing.taken == look {
            self.agree(&mut publishing, look);
        }
    }

    /// What is in force is what a file that looks like `look` says.
    fn agree(&self, publishing: &mut Publishing, look: Option<Look>) {
        (publishing.taken, publishing.refused) = (look, None);
        if **self.health.load() != Health::Good {
            tracing::info!(file = %self.store.path().display(), "the keys file can be taken again, and is in force");
            self.health.store(Arc::new(Health::Good));
        }
    }

    fn looks_like(&self, look: Option<Look>) -> bool {
        self.store.look().is_ok_and(|now| now == look)
    }

    pub(super) fn lookup(&self, id: KeyId) -> Lookup {
        let snapshot = self.snapshot.load();
        Lookup { stamp: snapshot.stamp, holder: snapshot.index.get(&id).cloned() }
    }

    /// Puts `contents` in force, which a file that looks like `look` says, and tells what differs.
    ///
    /// Nothing happens when the file looks different by now: somebody has written to it since, and others may have taken
    /// that in already. A key that was deleted must not come back because this thread was held up.
    pub(super) fn publish(&self, contents: Contents, look: Option<Look>) {
        let mut publishing = self.publishing();
        if !self.looks_like(look) {
            return;
        }
        self.agree(&mut publishing, look);
        let old = self.snapshot.load_full();
        if old.contents == contents {
            return;
        }
        if look.is_none_or(|look| look.is_empty()) {
            tracing::warn!(file = %self.store.path().display(), "the keys file has gone: no key signs in until it is back");
        }
        let stamp = Stamp::new(GENERATION, old.stamp.version().saturating_add(1));
        let changes = differences(&old.contents, &contents);
        // First in force, then told: whoever asks because it was told finds the new state.
        self.snapshot.store(Arc::new(Snapshot { index: contents.index(), contents, stamp }));
        for what in changes {
            tell(&mut publishing.listeners, &News::Changed { stamp, what });
        }
    }

    /// Tells listeners that all changes up to `at` were told, unless there is no one left to tell.
    pub(super) fn vouch(&self, at: Instant) -> bool {
        let mut publishing = self.publishing();
        tell(&mut publishing.listeners, &News::Vouched { generation: GENERATION, at });
        !publishing.listeners.is_empty()
    }
}

fn tell(listeners: &mut Vec<Weak<dyn Listener>>, news: &News) {
    listeners.retain(|listener| match listener.upgrade() {
        Some(listener) => {
            listener.hear(news.clone());
            true
        }
        None => false,
    });
}

/// What has to be asked again after `new` replaced `old`.
fn differences(old: &Contents, new: &Contents) -> Vec<Change> {
    let mut changes = Vec::new();
    let added = new.accounts.keys().filter(|id| !old.accounts.contains_key(*id));
    for id in old.accounts.keys().chain(added) {
        if old.accounts.get(id) != new.accounts.get(id) {
            changes.push(Change::Account(id.clone()));
        }
    }
    let (was, is) = (keys(old), keys(new));
    let added = is.keys().filter(|id| !was.contains_key(*id));
    for id in was.keys().chain(added) {
        if was.get(id) != is.get(id) {
            changes.push(Change::Key(*id));
        }
    }
    changes
}

fn keys(contents: &Contents) -> HashMap<KeyId, &Arc<Key>> {
    contents.keys.values().flatten().map(|key| (key.id, key)).collect()
}
