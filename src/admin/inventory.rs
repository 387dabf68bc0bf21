//! How many keys there are in which state, for metrics: asked of the directory now and then, not at every scrape.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::Mutex;

use super::views::{KeyStates, holdings};
use crate::directory::{Directory, Health};

/// How old the count may be.
const FRESH: Duration = Duration::from_secs(30);
/// How long a scrape waits for a new one; the old one is given then.
const PATIENCE: Duration = Duration::from_secs(2);

/// The last count.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    counted: Mutex<Option<Counted>>,
}

#[derive(Debug, Clone)]
struct Counted {
    at: Instant,
    accounts: Arc<Vec<(String, KeyStates)>>,
}

impl Inventory {
    /// The accounts and how their keys are; `None` while the directory has never answered.
    pub(super) async fn accounts(&self, directory: &dyn Directory) -> Option<Arc<Vec<(String, KeyStates)>>> {
        let mut counted = self.counted.lock().await;
        // An admin's question waits for a directory that is away; no scrape does.
        let there = !matches!(directory.health(), Health::Away(_));
        if there && counted.as_ref().is_none_or(|counted| counted.at.elapsed() > FRESH) {
            let now = Timestamp::now();
            if let Ok(Ok(found)) = tokio::time::timeout(PATIENCE, holdings(directory, |_| true)).await {
                let accounts = found.iter().map(|holding| (holding.account.id.to_string(), KeyStates::of(&holding.keys, now))).collect();
                *counted = Some(Counted { at: Instant::now(), accounts: Arc::new(accounts) });
            }
        }
        counted.as_ref().map(|counted| counted.accounts.clone())
    }
}
