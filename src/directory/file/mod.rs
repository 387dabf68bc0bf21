//! The keys file: accounts and keys in a YAML file that people can read and keep in git.
//!
//! Questions are answered from memory. A change is made on what the file says at that moment, under a lock, so that
//! two processes cannot make one account too many between them; the file is then replaced whole. [`watch`] takes in
//! what other processes and editors write.

mod document;
mod shared;
mod store;
mod watch;

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, atomic::AtomicBool, atomic::Ordering},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use jiff::Timestamp;

use super::{
    AccountChange, Answer, Created, CreatedAdmin, Directory, DirectoryError, Health, KeyChange, Listener, Lookup, NewAccount, NewAdmin,
    NewKey, News, Rotated, RotatedBy, Stamp,
    record::{self, Rules},
};
use crate::identity::{Account, AccountId, Admin, AdminId, AdminToken, Key, KeyId};
use document::Contents;
use shared::{GENERATION, Publishing, Shared, Snapshot};
use store::Store;

/// The directory in a keys file.
#[derive(Debug, Clone)]
pub(super) struct FileDirectory {
    shared: Arc<Shared>,
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
            Ok(keys.iter().map(|key| with_use(Key::clone(key), used)).collect())
        })
    }

    fn key(&self, id: KeyId) -> Answer<'_, Option<Key>> {
        self.with_last_use(move |contents, used| Ok(contents.key(id).map(|key| with_use(Key::clone(key), used))))
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
            record::account_as_seen(account, revision)?;
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
        let shared = self.shared.clone();
        self.change(move |contents, rules| {
            let (account, slot) = slot(contents, id)?;
            let key = record::change_key(&account, slot, &change, rules, revision, Timestamp::now())?;
            *slot = Arc::new(key.clone());
            Ok(with_use(key, &shared.store.last_used()))
        })
    }

    fn rotate_key(&self, id: KeyId, by: RotatedBy, overlap: Duration, now: Timestamp) -> Answer<'_, Rotated> {
        let shared = self.shared.clone();
        self.change(move |contents, _| {
            let (account, slot) = slot(contents, id)?;
            let Rotated { key, secret } = record::rotate_key(&account, slot, by, overlap, now)?;
            *slot = Arc::new(key.clone());
            Ok(Rotated { key: with_use(key, &shared.store.last_used()), secret })
        })
    }

    fn delete_key(&self, id: KeyId, revision: Option<u64>) -> Answer<'_, Key> {
        let shared = self.shared.clone();
        self.change(move |contents, _| {
            let (_, slot) = slot(contents, id)?;
            record::key_as_seen(slot, revision)?;
            let key = Key::clone(slot);
            for keys in contents.keys.values_mut() {
                keys.retain(|key| key.id != id);
            }
            Ok(with_use(key, &shared.store.last_used()))
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

/// The key, with when it was last used: that stands beside the keys file.
fn with_use(key: Key, used: &HashMap<KeyId, Timestamp>) -> Key {
    Key { last_used: used.get(&key.id).copied(), ..key }
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
