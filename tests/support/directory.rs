//! Both backends of the directory, for tests that hold for either.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use vicar::{
    directory::{self, Caller, Created, Directory, Expiry, NewAccount, NewKey, Refused},
    identity::Account,
    settings::{DirectoryBackend, Limits, Span},
};

use super::Redis;

/// Where a test keeps its directory.
#[derive(Debug)]
pub enum Backend {
    File(tempfile::TempDir),
    Redis(Redis),
}

/// Runs a test on the keys file, then on Redis.
pub fn on_both(test: impl AsyncFn(&Backend)) {
    for make in [|| Backend::File(tempfile::tempdir().unwrap()), || Backend::Redis(Redis::start())] {
        let backend = make();
        block_on(test(&backend));
    }
}

/// Runs a test on a runtime with threads enough for what races.
pub fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap().block_on(test)
}

impl Backend {
    pub fn settings(&self) -> DirectoryBackend {
        // A loaded machine answers late.
        let mut settings = DirectoryBackend { timeout: Span::seconds(5), ..DirectoryBackend::default() };
        match self {
            Self::File(folder) => settings.file = Some(folder.path().join("keys.yaml").into()),
            Self::Redis(redis) => settings.redis = Some(redis.url().into()),
        }
        settings
    }

    /// Opens it as a further process would.
    pub async fn open(&self) -> Arc<dyn Directory> {
        directory::open(&self.settings(), &Limits::default()).await.unwrap()
    }

    /// The same, with a `limits:` section.
    pub async fn open_with(&self, limits: &str) -> Arc<dyn Directory> {
        directory::open(&self.settings(), &serde_yaml::from_str::<Limits>(limits).unwrap()).await.unwrap()
    }
}

/// Asks again until it is so.
pub async fn eventually(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + super::PATIENCE;
    while !ask().await {
        assert!(tokio::time::Instant::now() < end, "not within {:?}: {what}", super::PATIENCE);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub async fn account(directory: &Arc<dyn Directory>, id: &str) -> Account {
    let new = NewAccount { id: id.parse().unwrap(), name: id.to_owned(), description: None };
    directory.create_account(new, Timestamp::now()).await.unwrap()
}

pub async fn key(directory: &Arc<dyn Directory>, account: &str) -> Created {
    let new = NewKey {
        account: account.parse().unwrap(),
        name: "test".to_owned(),
        expires: Expiry::In(Span::days(90)),
        sources: Vec::new(),
        client_certs: Vec::new(),
    };
    directory.create_key(new, Timestamp::now()).await.unwrap()
}

/// The reason of a refusal, and the account it was pinned on.
pub fn reason(signed: Result<Caller, Refused>) -> (&'static str, Option<String>) {
    match signed {
        Ok(caller) => panic!("{caller:?} was let in"),
        Err(Refused::Unavailable { .. }) => ("unavailable", None),
        Err(Refused::NotKnown { reason, account, .. }) => (reason.as_str(), account.map(String::from)),
    }
}
