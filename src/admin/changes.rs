//! What admins change, for API and console alike: asked of the roles table, written down, then done.
//!
//! What is about to change is in the journal before it changes; what cannot be written down is not done. A change that can
//! be seen to fail is written down as refused alone; one that fails all the same, as refused behind that. A key's id is
//! known only once it is made, so a new key is written down before anybody sees its secret, and taken back if that fails.
//! A change that has begun goes on when the one who asked for it has gone.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    Desk,
    refusal::Refusal,
    roles::{Right, Scope, permit},
    sign_in::Who,
};
use crate::{
    audit::Event,
    directory::{
        AccountChange, Created, Directory, DirectoryError, KeyChange, NewAccount, NewKey, Rotated, RotatedBy, account_as_seen, key_as_seen,
    },
    identity::{Account, AccountId, Key, KeyId, Status},
};

/// Makes an account.
pub(super) async fn create_account(desk: &Desk, who: &Who, new: NewAccount) -> Result<Account, Refusal> {
    let event = about_account(who, "account.create", &new.id).detail(format!("named {}", new.name.trim()));
    allowed(desk, who, Right::CreateAccount, Scope::Whole, &event)?;
    let taken = desk.shared.backend.account(&new.id).await.and_then(|known| match known {
        Some(known) => Err(DirectoryError::AccountExists(known.id)),
        None => Ok(()),
    });
    recorded(desk, event, taken, move |directory| async move { directory.create_account(new, Timestamp::now()).await }).await
}

/// Renames, describes, disables or enables an account.
pub(super) async fn change_account(
    desk: &Desk,
    who: &Who,
    id: &AccountId,
    change: AccountChange,
    revision: Option<u64>,
) -> Result<Account, Refusal> {
    let verb = match (&change.status, &change.name, &change.description) {
        (Some(Status::Disabled), None, None) => "account.disable",
        (Some(Status::Active), None, None) => "account.enable",
        (None, Some(_), None) => "account.rename",
        (None | Some(_), _, _) => "account.change",
    };
    let told = [
        change.name.as_ref().map(|name| format!("name is now {}", name.trim())),
        change.description.as_ref().map(|_| "description changed".to_owned()),
        change.status.map(|status| format!("status is now {status}")),
    ];
    let event = about_account(who, verb, id).detail(list(told));
    allowed(desk, who, Right::ChangeAccount, Scope::Account(id), &event)?;
    let (id, as_seen) = (id.clone(), known_as_seen(desk, id, revision).await);
    recorded(desk, event, as_seen, move |directory| async move { directory.change_account(&id, change, revision).await }).await
}

/// Deletes an account and its keys.
pub(super) async fn delete_account(desk: &Desk, who: &Who, id: &AccountId, revision: Option<u64>) -> Result<Account, Refusal> {
    let event = about_account(who, "account.delete", id);
    allowed(desk, who, Right::DeleteAccount, Scope::Account(id), &event)?;
    let (id, as_seen) = (id.clone(), known_as_seen(desk, id, revision).await);
    recorded(desk, event, as_seen, move |directory| async move { directory.delete_account(&id, revision).await }).await
}

/// Makes a key.
pub(super) async fn create_key(desk: &Desk, who: &Who, new: NewKey) -> Result<Created, Refusal> {
    let attempt = about_account(who, "key.create", &new.account).detail(format!("named {}", new.name.trim()));
    allowed(desk, who, Right::CreateKey, Scope::Account(&new.account), &attempt)?;
    let (desk, who) = (desk.clone(), who.clone());
    detached(async move {
        let (directory, audit) = (&desk.shared.backend, &desk.shared.audit);
        let made = match directory.create_key(new, Timestamp::now()).await {
            Ok(made) => made,
            Err(error) => {
                audit.record_event(attempt.refused().detail(error.to_string()));
                return Err(error.into());
            }
        };
        let event = about_key(&who, "key.create", &made.key).detail(format!("named {}", made.key.name));
        if let Err(unavailable) = audit.record(event).await {
            if let Err(error) = directory.delete_key(made.key.id, None).await {
                tracing::error!(%error, key = %made.key.id, "a key that could not be recorded could not be taken back; nobody has its secret");
            }
            return Err(unavailable.into());
        }
        Ok(made)
    })
    .await
}

/// Renames, disables, enables a key, changes its expiry or what it is bound to.
pub(super) async fn change_key(desk: &Desk, who: &Who, id: KeyId, change: KeyChange, revision: Option<u64>) -> Result<Key, Refusal> {
    let key = known_key(desk, who, id).await?;
    let KeyChange { status, name, sources, client_certs, expires } = &change;
    let verb = match (status, name, sources.is_some() || client_certs.is_some() || expires.is_some()) {
        (Some(Status::Disabled), None, false) => "key.disable",
        (Some(Status::Active), None, false) => "key.enable",
        (None, Some(_), false) => "key.rename",
        (None | Some(_), _, _) => "key.change",
    };
    let event = about_key(who, verb, &key).detail(change.told(&key));
    allowed(desk, who, Right::ChangeKey, Scope::Account(&key.account), &event)?;
    recorded(desk, event, key_as_seen(&key, revision), move |directory| async move { directory.change_key(id, change, revision).await })
        .await
}

/// Gives a key a new secret; the old one is taken for `overlap` yet.
pub(super) async fn rotate_key(desk: &Desk, who: &Who, id: KeyId, overlap: Duration) -> Result<Rotated, Refusal> {
    let key = known_key(desk, who, id).await?;
    let event = about_key(who, "key.rotate", &key).detail(format!("the old secret lives for {}", crate::settings::Span(overlap)));
    allowed(desk, who, Right::RotateKey, Scope::Account(&key.account), &event)?;
    let rotate =
        move |directory: Arc<dyn Directory>| async move { directory.rotate_key(id, RotatedBy::Operator, overlap, Timestamp::now()).await };
    recorded(desk, event, Ok(()), rotate).await
}

/// Deletes a key.
pub(super) async fn delete_key(desk: &Desk, who: &Who, id: KeyId, revision: Option<u64>) -> Result<Key, Refusal> {
    let key = known_key(desk, who, id).await?;
    let event = about_key(who, "key.delete", &key).detail(format!("named {}", key.name));
    allowed(desk, who, Right::DeleteKey, Scope::Account(&key.account), &event)?;
    recorded(desk, event, key_as_seen(&key, revision), move |directory| async move { directory.delete_key(id, revision).await }).await
}

/// A key that the admin may see. One of an account they may not see is as good as none.
pub(super) async fn known_key(desk: &Desk, who: &Who, id: KeyId) -> Result<Key, Refusal> {
    let permitted = permit(&who.admin, Right::ReadKeys, Scope::Visible)?;
    let key = desk.shared.backend.key(id).await?;
    key.filter(|key| permitted.covers(&key.account)).ok_or(Refusal::NoSuch("access key"))
}

/// An account that the admin may see.
pub(super) async fn known_account(desk: &Desk, who: &Who, id: &AccountId) -> Result<Account, Refusal> {
    let permitted = permit(&who.admin, Right::ReadAccounts, Scope::Visible)?;
    if !permitted.covers(id) {
        return Err(Refusal::NoSuch("service account"));
    }
    desk.shared.backend.account(id).await?.ok_or(Refusal::NoSuch("service account"))
}

/// Asks the roles table; a refusal is written down too.
fn allowed(desk: &Desk, who: &Who, right: Right, scope: Scope<'_>, event: &Event) -> Result<(), Refusal> {
    match permit(&who.admin, right, scope) {
        Ok(_) => Ok(()),
        Err(forbidden) => {
            desk.shared.audit.record_event(event.clone().refused().detail(forbidden.to_string()));
            Err(forbidden.into())
        }
    }
}

/// Whether an account is there, and what the admin has seen.
async fn known_as_seen(desk: &Desk, id: &AccountId, revision: Option<u64>) -> Result<(), DirectoryError> {
    let known = desk.shared.backend.account(id).await?.ok_or_else(|| DirectoryError::NoSuchAccount(id.clone()))?;
    account_as_seen(&known, revision)
}

/// Writes `event` down, then makes the change, if it is `foreseen` to be possible. A change that cannot be made is written
/// down as refused.
async fn recorded<T, F>(
    desk: &Desk,
    event: Event,
    foreseen: Result<(), DirectoryError>,
    change: impl FnOnce(Arc<dyn Directory>) -> F + Send + 'static,
) -> Result<T, Refusal>
where
    T: Send + 'static,
    F: Future<Output = Result<T, DirectoryError>> + Send,
{
    let shared = desk.shared.clone();
    if let Err(error) = foreseen {
        shared.audit.record_event(event.refused().detail(error.to_string()));
        return Err(error.into());
    }
    detached(async move {
        shared.audit.record(event.clone()).await?;
        change(shared.backend.clone()).await.map_err(|error| {
            shared.audit.record_event(event.refused().detail(error.to_string()));
            error.into()
        })
    })
    .await
}

/// Runs to its end even when whoever waits for it goes away.
async fn detached<T: Send + 'static>(work: impl Future<Output = Result<T, Refusal>> + Send + 'static) -> Result<T, Refusal> {
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(error) => {
            tracing::error!(%error, "a change was broken off");
            Err(Refusal::Directory("The change was broken off; look at what there is now".to_owned()))
        }
    }
}

/// That somebody has come to the console.
pub(super) fn signed_in(who: &Who) -> Event {
    with_client(Event::admin(who.admin.id.as_str(), "console.sign-in", &format!("admin:{}", who.admin.id)), who)
}

fn about_account(who: &Who, verb: &str, id: &AccountId) -> Event {
    with_client(Event::admin(who.admin.id.as_str(), verb, &format!("account:{id}")).account(id.as_str()), who)
}

fn about_key(who: &Who, verb: &str, key: &Key) -> Event {
    let event = Event::admin(who.admin.id.as_str(), verb, &format!("key:{}", key.id));
    with_client(event.account(key.account.as_str()).key(key.id.as_str()), who)
}

fn with_client(event: Event, who: &Who) -> Event {
    match who.client {
        Some(client) => event.client(client),
        None => event,
    }
}

fn list<const N: usize>(told: [Option<String>; N]) -> String {
    told.into_iter().flatten().collect::<Vec<_>>().join("; ")
}
