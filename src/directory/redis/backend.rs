//! What a directory has to answer, in terms of scripts and records.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    FORMAT, KeyRecord, RedisDirectory, account_field, admin_field, advice, json, key_field, keys_field,
    link::Patience,
    script::{Commit, FIND, NOTE},
    used_field, with_last_use,
};
use crate::{
    directory::{
        AccountChange, Answer, Created, CreatedAdmin, Directory, DirectoryError, Draw, Drawn, Health, Holder, KeyChange, Listener, Lookup,
        NewAccount, NewAdmin, NewKey, Rotated, RotatedBy, Stamp, record,
    },
    identity::{Account, AccountId, Admin, AdminId, AdminToken, Key, KeyId},
};

impl Directory for RedisDirectory {
    fn accounts(&self) -> Answer<'_, Vec<Account>> {
        Box::pin(async {
            let listed = self.list(["accounts", "account:", "", ""]).await?.unwrap_or_default();
            let mut accounts = listed.into_iter().map(|(account, _)| account).collect::<Vec<Account>>();
            accounts.sort_by(|a, b| a.id.cmp(&b.id));
            Ok(accounts)
        })
    }

    fn account<'a>(&'a self, id: &'a AccountId) -> Answer<'a, Option<Account>> {
        Box::pin(async {
            let field = account_field(id);
            let raw = self.field(field.clone()).await?;
            raw.map(|raw| self.read(&field, &raw)).transpose()
        })
    }

    fn keys<'a>(&'a self, account: &'a AccountId) -> Answer<'a, Vec<Key>> {
        Box::pin(async {
            let listed = self.list([&keys_field(account), "key:", "used:", &account_field(account)]).await?;
            let listed = listed.ok_or_else(|| DirectoryError::NoSuchAccount(account.clone()))?;
            Ok(listed.into_iter().map(with_last_use).collect())
        })
    }

    fn key(&self, id: KeyId) -> Answer<'_, Option<Key>> {
        Box::pin(async move {
            let mut fields = self.fields(&[key_field(id), used_field(id)]).await?.into_iter();
            let (raw, used) = (fields.next().flatten(), fields.next().flatten());
            raw.map(|raw| Ok(with_last_use((self.read(&key_field(id), &raw)?, used)))).transpose()
        })
    }

    fn find(&self, id: KeyId) -> Answer<'_, Lookup> {
        Box::pin(async move {
            // A request waits for this.
            let patience = Patience::of_a_request(self.link.shared().timeout);
            let (parts, generation) = self.ask_within(&FIND, &[FORMAT, id.as_str()], patience).await?.unwrap_or_default();
            let (version, key, account) = self.found(parts)?;
            let stamp = Stamp::new(generation, version);
            let Some(raw) = key else { return Ok(Lookup { stamp, holder: None }) };
            let key: Key = self.read(&key_field(id), &raw)?;
            let raw = account.ok_or_else(|| self.foreign(&key_field(id), "a key without its account"))?;
            let account: Account = self.read(&account_field(&key.account), &raw)?;
            if key.id != id || account.id != key.account {
                return Err(self.foreign(&key_field(id), "a record of another key or account"));
            }
            Ok(Lookup { stamp, holder: Some(Holder { account: Arc::new(account), key: Arc::new(key) }) })
        })
    }

    fn create_account(&self, new: NewAccount, now: Timestamp) -> Answer<'_, Account> {
        Box::pin(async move {
            let account = record::new_account(new, now)?;
            self.change(async || {
                let field = account_field(&account.id);
                if self.field(field.clone()).await?.is_some() {
                    return Err(DirectoryError::AccountExists(account.id.clone()));
                }
                let commit = Commit::default()
                    .expect(field.clone(), None)
                    .set(field, json(&account)?)
                    .grow("accounts".to_owned(), account.id.to_string(), self.rules.accounts)
                    .tell(format!("account {}", account.id));
                Ok((account.clone(), commit))
            })
            .await
        })
    }

    fn change_account<'a>(&'a self, id: &'a AccountId, change: AccountChange, revision: Option<u64>) -> Answer<'a, Account> {
        Box::pin(async move {
            self.change(async || {
                let (raw, old) = self.account_record(id).await?;
                let account = record::change_account(&old, &change, revision)?;
                if account == old {
                    return Ok((account, Commit::default()));
                }
                let field = account_field(id);
                let commit = Commit::default().expect(field.clone(), Some(raw)).set(field, json(&account)?).tell(format!("account {id}"));
                Ok((account, commit))
            })
            .await
        })
    }

    fn delete_account<'a>(&'a self, id: &'a AccountId, revision: Option<u64>) -> Answer<'a, Account> {
        Box::pin(async move {
            self.change(async || {
                let (raw, account) = self.account_record(id).await?;
                record::account_as_seen(&account, revision)?;
                let index = keys_field(id);
                let keys = self.field(index.clone()).await?;
                let mut commit = Commit::default()
                    .expect(account_field(id), Some(raw))
                    .expect(index.clone(), keys.clone())
                    .del(account_field(id))
                    .del(index)
                    .shrink("accounts".to_owned(), id.to_string())
                    .tell(format!("account {id}"));
                for key in keys.as_deref().unwrap_or_default().split_whitespace() {
                    commit = commit.del(format!("key:{key}")).del(format!("used:{key}")).tell(format!("key {key}"));
                }
                // Whoever was let see to it is not let see to another that is made under its id.
                let admins = self.field("admins".to_owned()).await?.unwrap_or_default();
                let fields = admins.split_whitespace().map(|admin| format!("admin:{admin}")).collect::<Vec<_>>();
                let found = if fields.is_empty() { Vec::new() } else { self.fields(&fields).await? };
                for (field, raw) in fields.into_iter().zip(found) {
                    let Some(raw) = raw else { continue };
                    let mut admin: Admin = self.read(&field, &raw)?;
                    if admin.accounts.contains(id) {
                        admin.accounts.retain(|account| account != id);
                        commit = commit.expect(field.clone(), Some(raw)).set(field, json(&admin)?);
                    }
                }
                Ok((account, commit))
            })
            .await
        })
    }

    fn create_key(&self, new: NewKey, now: Timestamp) -> Answer<'_, Created> {
        Box::pin(async move {
            let id = new.account.clone();
            self.change(async || {
                let (raw, account) = self.account_record(&id).await?;
                let created = record::new_key(&account, new.clone(), &self.rules, now)?;
                let commit = Commit::default()
                    .expect(account_field(&id), Some(raw))
                    .expect(key_field(created.key.id), None)
                    .set(key_field(created.key.id), json(&created.key)?)
                    .grow(keys_field(&id), created.key.id.to_string(), self.rules.keys_per_account)
                    .of(&id)
                    .tell(format!("key {}", created.key.id));
                Ok((created, commit))
            })
            .await
        })
    }

    fn change_key(&self, id: KeyId, change: KeyChange, revision: Option<u64>) -> Answer<'_, Key> {
        Box::pin(async move {
            self.change(async || {
                let record = self.key_record(id).await?;
                let key = record::change_key(&record.account, &record.key, &change, &self.rules, revision, Timestamp::now())?;
                let commit = if key == record.key { Commit::default() } else { record.replaced_by(&key)? };
                Ok((with_last_use((key, record.used)), commit))
            })
            .await
        })
    }

    fn rotate_key(&self, id: KeyId, by: RotatedBy, overlap: Duration, now: Timestamp) -> Answer<'_, Rotated> {
        Box::pin(async move {
            self.change(async || {
                let record = self.key_record(id).await?;
                let Rotated { key, secret } = record::rotate_key(&record.account, &record.key, by, overlap, now)?;
                let commit = record.replaced_by(&key)?;
                Ok((Rotated { key: with_last_use((key, record.used)), secret }, commit))
            })
            .await
        })
    }

    fn delete_key(&self, id: KeyId, revision: Option<u64>) -> Answer<'_, Key> {
        Box::pin(async move {
            self.change(async || {
                let KeyRecord { raw, key, used, .. } = self.key_record(id).await?;
                record::key_as_seen(&key, revision)?;
                let commit = Commit::default()
                    .expect(key_field(id), Some(raw))
                    .del(key_field(id))
                    .del(used_field(id))
                    .shrink(keys_field(&key.account), id.to_string())
                    .tell(format!("key {id}"));
                Ok((with_last_use((key, used)), commit))
            })
            .await
        })
    }

    fn note_used<'a>(&'a self, used: &'a [(KeyId, Timestamp)]) -> Answer<'a, ()> {
        Box::pin(async move {
            // A few thousand words are as many as a script takes at once.
            for batch in used.chunks(1000) {
                let seconds = |at: Timestamp| Timestamp::from_second(at.as_second()).unwrap_or(at).to_string();
                let words = batch.iter().flat_map(|(id, at)| [id.to_string(), seconds(*at)]).collect::<Vec<_>>();
                let mut arguments = vec![FORMAT];
                arguments.extend(words.iter().map(String::as_str));
                self.ask(&NOTE, &arguments).await?;
            }
            Ok(())
        })
    }

    fn draw<'a>(&'a self, per_minute: NonZeroU32, draws: &'a [Draw]) -> Answer<'a, Vec<Drawn>> {
        Box::pin(self.draw_all(per_minute, draws))
    }

    fn admins(&self) -> Answer<'_, Vec<Admin>> {
        Box::pin(async {
            let listed = self.list(["admins", "admin:", "", ""]).await?.unwrap_or_default();
            let mut admins = listed.into_iter().map(|(admin, _)| admin).collect::<Vec<Admin>>();
            admins.sort_by(|a, b| a.id.cmp(&b.id));
            Ok(admins)
        })
    }

    fn create_admin(&self, new: NewAdmin, now: Timestamp) -> Answer<'_, CreatedAdmin> {
        Box::pin(async move {
            let created = record::new_admin(new, now)?;
            self.change(async || {
                let id = &created.admin.id;
                let accounts = created.admin.accounts.iter().map(account_field).collect::<Vec<_>>();
                let fields = [&[admin_field(id)], accounts.as_slice()].concat();
                let mut found = self.fields(&fields).await?.into_iter();
                if found.next().flatten().is_some() {
                    return Err(DirectoryError::AdminExists(id.clone()));
                }
                for (account, there) in created.admin.accounts.iter().zip(found) {
                    if there.is_none() {
                        return Err(DirectoryError::NoSuchAccount(account.clone()));
                    }
                }
                let commit = Commit::default().expect(admin_field(id), None).set(admin_field(id), json(&created.admin)?).grow(
                    "admins".to_owned(),
                    id.to_string(),
                    record::ADMINS,
                );
                Ok((created.clone(), commit))
            })
            .await
        })
    }

    fn revoke_admin<'a>(&'a self, id: &'a AdminId) -> Answer<'a, Admin> {
        Box::pin(async move {
            self.change(async || {
                let field = admin_field(id);
                let raw = self.field(field.clone()).await?.ok_or_else(|| DirectoryError::NoSuchAdmin(id.clone()))?;
                let admin = self.read(&field, &raw)?;
                let commit = Commit::default().expect(field.clone(), Some(raw)).del(field).shrink("admins".to_owned(), id.to_string());
                Ok((admin, commit))
            })
            .await
        })
    }

    fn admin_of<'a>(&'a self, token: &'a AdminToken, now: Timestamp) -> Answer<'a, Option<Admin>> {
        Box::pin(async move { Ok(record::admin_of(&self.admins().await?, token, now).cloned()) })
    }

    fn changes(&self, listener: Arc<dyn Listener>) {
        self.link.listen(&listener);
    }

    fn warnings(&self) -> Answer<'_, Vec<String>> {
        Box::pin(advice::warnings(&self.link))
    }

    fn health(&self) -> Health {
        self.link.health()
    }
}
