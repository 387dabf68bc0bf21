//! The keys file: accounts and keys in a YAML file that people can read and keep in git.
//!
//! Questions are answered from memory. A change is made on what the file says at that moment, under a lock, so that
//! two processes cannot make one account too many between them; the file is then replaced whole. [`watch`] takes in
//! what other processes and editors write.

mod document;
mod store;
mod watch;

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak, atomic::AtomicBool, atomic::Ordering},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use jiff::Timestamp;

use super::{
    AccountChange, Answer, Change, Created, CreatedAdmin, Directory, DirectoryError, Health, Holder, KeyChange, Listener, Lookup,
    NewAccount, NewAdmin, NewKey, News, Rotated, RotatedBy, Stamp,
    record::{self, Rules},
};
use crate::{
    identity::{Account, AccountId, Admin, AdminId, AdminToken, Key, KeyId},
    source::Look,
};
use document::Contents;
use store::Store;

/// How long a file that is written in place must hold still.
const SETTLE: Duration = Duration::from_millis(30);
/// A file has one order of changes for as long as the process runs.
const GENERATION: u32 = 1;

/// The directory in a keys file.
#[derive(Debug, Clone)]
pub(super) struct FileDirectory {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    rules: Rules,
    snapshot: ArcSwap<Snapshot>,
    /// Held while a snapshot replaces another, so that changes are told in order.
    publishing: Mutex<Publishing>,
    health: ArcSwap<Health>,
    watched: AtomicBool,
}

#[derive(Debug)]
struct Snapshot {
    contents: Contents,
    index: HashMap<KeyId, Holder, foldhash::quality::RandomState>,
    stamp: Stamp,
}

#[derive(Debug, Default)]
struct Publishing {
    /// What the file looked like when it was last taken in.
    taken: Option<Look>,
    /// What it looks like while it says something that cannot be taken in, so that it is read once.
    refused: Option<Option<Look>>,
    listeners: Vec<Weak<dyn Listener>>,
}

impl FileDirectory {
    /// Reads the keys file at `path`; there may be none yet.
    pub(super) async fn open(path: &Path, rules: Rules) -> Result<Arc<Self>, DirectoryError> {
        let store = Store::new(path);
        let shared = blocking(move || {
            let taken = store.look().unwrap_or_default();
            let contents = store.read()?;
            let snapshot = Snapshot { index: contents.index(), contents, stamp: Stamp::new(GENERATION, 1) };
            Ok(Shared {
                store,
                rules,
                snapshot: ArcSwap::from_pointee(snapshot),
                publishing: Mutex::new(Publishing { taken, ..Publishing::default() }),
                health: ArcSwap::from_pointee(Health::Good),
                watched: AtomicBool::new(false),
            })
        })
        .await?;
        Ok(Arc::new(Self { shared: Arc::new(shared) }))
    }

    /// Makes a change on what the file says now, and writes it.
    fn change<'a, T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Contents, &Rules) -> Result<T, DirectoryError> + Send + 'static,
    ) -> Answer<'a, T> {
        let shared = self.shared.clone();
        Box::pin(blocking(move || {
            let locked = shared.store.lock()?;
            // Looked at before it is read: an editor that comes in between is then seen by the watch.
            let look = shared.store.look().unwrap_or_default();
            let mut contents = locked.read()?;
            let before = contents.clone();
            let done = change(&mut contents, &shared.rules)?;
            let look = if contents == before { look } else { Some(locked.write(&contents)?) };
            shared.publish(contents, look);
            Ok(done)
        }))
    }

    /// Answers with what the file says by now, whoever has written it.
    fn answer<'a, T: Send + 'static>(&self, of: impl FnOnce(&Contents) -> T + Send + 'static) -> Answer<'a, T> {
        let shared = self.shared.clone();
        Box::pin(blocking(move || Ok(of(&shared.current().contents))))
    }

    /// The same, with what was written down of last use.
    fn with_last_use<'a, T: Send + 'static>(
        &self,
        of: impl FnOnce(&Contents, &HashMap<KeyId, Timestamp>) -> Result<T, DirectoryError> + Send + 'static,
    ) -> Answer<'a, T> {
        let shared = self.shared.clone();
        Box::pin(blocking(move || of(&shared.current().contents, &shared.store.last_used())))
    }
}

impl Directory for FileDirectory {
    fn accounts(&self) -> Answer<'_, Vec<Account>> {
        self.answer(|contents| contents.accounts.values().map(|account| Account::clone(account)).collect())
    }

    fn account<'a>(&'a self, id: &'a AccountId) -> Answer<'a, Option<Account>> {
        let id = id.clone();
        self.answer(move |contents| contents.accounts.get(&id).map(|account| Account::clone(account)))
    }

    fn keys<'a>(&'a self, account: &'a AccountId) -> Answer<'a, Vec<Key>> {
        let account = account.clone();
        self.with_last_use(move |contents, used| {
            let keys = contents.keys.get(&account).ok_or(DirectoryError::NoSuchAccount(account))?;
            Ok(keys.iter().map(|key| Key { last_used: used.get(&key.id).copied(), ..Key::clone(key) }).collect())
        })
    }

    fn key(&self, id: KeyId) -> Answer<'_, Option<Key>> {
        self.with_last_use(move |contents, used| {
            Ok(contents.key(id).map(|key| Key { last_used: used.get(&id).copied(), ..Key::clone(key) }))
        })
    }

    fn find(&self, id: KeyId) -> Answer<'_, Lookup> {
        let lookup = self.shared.lookup(id);
        Box::pin(std::future::ready(Ok(lookup)))
    }

    fn find_now(&self, id: KeyId) -> Option<Lookup> {
        Some(self.shared.lookup(id))
    }

    fn catch_up(&self) -> Answer<'_, bool> {
        self.answer(|_| true)
    }

    fn create_account(&self, new: NewAccount, now: Timestamp) -> Answer<'_, Account> {
        self.change(move |contents, rules| {
            let account = record::new_account(new, now)?;
            if contents.accounts.contains_key(&account.id) {
                return Err(DirectoryError::AccountExists(account.id));
            }
            if contents.accounts.len() >= rules.accounts as usize {
                return Err(DirectoryError::TooManyAccounts { limit: rules.accounts });
            }
            contents.accounts.insert(account.id.clone(), Arc::new(account.clone()));
            contents.keys.insert(account.id.clone(), Vec::new());
            Ok(account)
        })
    }

    fn change_account<'a>(&'a self, id: &'a AccountId, change: AccountChange, revision: Option<u64>) -> Answer<'a, Account> {
        let id = id.clone();
        self.change(move |contents, _| {
            let slot = contents.accounts.get_mut(&id).ok_or(DirectoryError::NoSuchAccount(id))?;
            let account = record::change_account(slot, &change, revision)?;
            *slot = Arc::new(account.clone());
            Ok(account)
        })
    }

    fn delete_account<'a>(&'a self, id: &'a AccountId, revision: Option<u64>) -> Answer<'a, Account> {
        let id = id.clone();
        self.change(move |contents, _| {
            let account = contents.accounts.get(&id).ok_or_else(|| DirectoryError::NoSuchAccount(id.clone()))?;
            record::may_delete_account(account, revision)?;
            let account = Account::clone(account);
            contents.accounts.remove(&id);
            contents.keys.remove(&id);
            // Whoever was let see to it is not let see to another that is made under its id.
            contents.admins.values_mut().for_each(|admin| admin.accounts.retain(|account| *account != id));
            Ok(account)
        })
    }

    fn create_key(&self, new: NewKey, now: Timestamp) -> Answer<'_, Created> {
        self.change(move |contents, rules| {
            let id = new.account.clone();
            let account = contents.accounts.get(&id).ok_or_else(|| DirectoryError::NoSuchAccount(id.clone()))?;
            let created = record::new_key(account, new, rules, now)?;
            let keys = contents.keys.entry(id.clone()).or_default();
            if keys.len() >= rules.keys_per_account as usize {
                return Err(DirectoryError::TooManyKeys { account: id, limit: rules.keys_per_account });
            }
            keys.push(Arc::new(created.key.clone()));
            Ok(created)
        })
    }

    fn change_key(&self, id: KeyId, change: KeyChange, revision: Option<u64>) -> Answer<'_, Key> {
        self.change(move |contents, rules| {
            let (account, slot) = slot(contents, id)?;
            let key = record::change_key(&account, slot, &change, rules, revision, Timestamp::now())?;
            *slot = Arc::new(key.clone());
            Ok(key)
        })
    }

    fn rotate_key(&self, id: KeyId, by: RotatedBy, overlap: Duration, now: Timestamp) -> Answer<'_, Rotated> {
        self.change(move |contents, _| {
            let (account, slot) = slot(contents, id)?;
            let rotated = record::rotate_key(&account, slot, by, overlap, now)?;
            *slot = Arc::new(rotated.key.clone());
            Ok(rotated)
        })
    }

    fn delete_key(&self, id: KeyId, revision: Option<u64>) -> Answer<'_, Key> {
        self.change(move |contents, _| {
            let (_, slot) = slot(contents, id)?;
            record::may_delete_key(slot, revision)?;
            let key = Key::clone(slot);
            for keys in contents.keys.values_mut() {
                keys.retain(|key| key.id != id);
            }
            Ok(key)
        })
    }

    fn note_used<'a>(&'a self, used: &'a [(KeyId, Timestamp)]) -> Answer<'a, ()> {
        let (shared, used) = (self.shared.clone(), used.to_vec());
        Box::pin(blocking(move || {
            let known = shared.snapshot.load();
            shared.store.lock()?.note_used(&used, |id| known.index.contains_key(id))
        }))
    }

    fn admins(&self) -> Answer<'_, Vec<Admin>> {
        self.answer(|contents| contents.admins.values().cloned().collect())
    }

    fn create_admin(&self, new: NewAdmin, now: Timestamp) -> Answer<'_, CreatedAdmin> {
        self.change(move |contents, _| {
            let created = record::new_admin(new, now)?;
            let id = created.admin.id.clone();
            if contents.admins.contains_key(&id) {
                return Err(DirectoryError::AdminExists(id));
            }
            if let Some(missing) = created.admin.accounts.iter().find(|account| !contents.accounts.contains_key(*account)) {
                return Err(DirectoryError::NoSuchAccount(missing.clone()));
            }
            if contents.admins.len() >= record::ADMINS as usize {
                return Err(DirectoryError::TooManyAdmins { limit: record::ADMINS });
            }
            contents.admins.insert(id, created.admin.clone());
            Ok(created)
        })
    }

    fn revoke_admin<'a>(&'a self, id: &'a AdminId) -> Answer<'a, Admin> {
        let id = id.clone();
        self.change(move |contents, _| contents.admins.remove(&id).ok_or(DirectoryError::NoSuchAdmin(id)))
    }

    fn admin_of<'a>(&'a self, token: &'a AdminToken, now: Timestamp) -> Answer<'a, Option<Admin>> {
        let token = token.clone();
        self.answer(move |contents| record::admin_of(contents.admins.values(), &token, now).cloned())
    }

    fn changes(&self, listener: Arc<dyn Listener>) {
        listener.hear(News::Vouched { generation: GENERATION, at: Instant::now() });
        self.shared.publishing().listeners.push(Arc::downgrade(&listener));
        if matches!(self.shared.store.look(), Ok(None)) {
            let file = self.shared.store.path().display();
            tracing::warn!(%file, "there is no keys file yet: no key signs in until an account and a key are made");
        }
        if !self.shared.watched.swap(true, Ordering::AcqRel) {
            watch::start(&self.shared);
        }
    }

    fn warnings(&self) -> Answer<'_, Vec<String>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn health(&self) -> Health {
        Health::clone(&self.shared.health.load())
    }
}

fn slot(contents: &mut Contents, id: KeyId) -> Result<(Arc<Account>, &mut Arc<Key>), DirectoryError> {
    let slot = contents.keys.values_mut().flatten().find(|key| key.id == id).ok_or(DirectoryError::NoSuchKey(id))?;
    let account = contents.accounts.get(&slot.account).ok_or_else(|| DirectoryError::NoSuchAccount(slot.account.clone()))?;
    Ok((account.clone(), slot))
}

/// Files are read and written on threads that may wait.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, DirectoryError> + Send + 'static) -> Result<T, DirectoryError> {
    let stopped = |_| DirectoryError::Unavailable { place: "the keys file".to_owned(), cause: "the process is ending".to_owned() };
    tokio::task::spawn_blocking(work).await.map_err(stopped)?
}

// ===== impl Publishing =====

impl Publishing {
    /// Whether what a file says that looks like `look` has yet to be read.
    fn is_news(&self, look: Option<Look>) -> bool {
        self.taken != look && self.refused != Some(look)
    }
}

// ===== impl Shared =====

impl Shared {
    fn publishing(&self) -> std::sync::MutexGuard<'_, Publishing> {
        self.publishing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the file says now; what is in force while it says nothing that can be taken. May wait for the disk.
    fn current(&self) -> Arc<Snapshot> {
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
    fn take(&self, look: Option<Look>) {
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

    fn freeze(&self, problem: String) {
        let frozen = Health::Frozen(problem.clone());
        if **self.health.load() != frozen {
            tracing::error!(problem, "an edit of the keys file was not taken; what was in force stays in force");
            self.health.store(Arc::new(frozen));
        }
    }

    /// The file looks as it did when it was read: whatever else was wrong with it is over.
    fn seen_again(&self, look: Option<Look>) {
        let mut publishing = self.publishing();
        if publishing.taken == look {
            self.agree(&mut publishing, look);
        }
    }

    /// What is in force is what a file that looks like `look` says.
    fn agree(&self, publishing: &mut Publishing, look: Option<Look>) {
        (publishing.taken, publishing.refused) = (look, None);
        self.health.store(Arc::new(Health::Good));
    }

    fn looks_like(&self, look: Option<Look>) -> bool {
        self.store.look().is_ok_and(|now| now == look)
    }

    fn lookup(&self, id: KeyId) -> Lookup {
        let snapshot = self.snapshot.load();
        Lookup { stamp: snapshot.stamp, holder: snapshot.index.get(&id).cloned() }
    }

    /// Puts `contents` in force, which a file that looks like `look` says, and tells what differs.
    ///
    /// Nothing happens when the file looks different by now: somebody has written to it since, and others may have taken
    /// that in already. A key that was deleted must not come back because this thread was held up.
    fn publish(&self, contents: Contents, look: Option<Look>) {
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
    fn vouch(&self, at: Instant) -> bool {
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
