//! What other processes and editors write into the keys file is taken in, or refused whole and said so.
//!
//! The folder is watched, since the file is replaced by a rename; a lost notice costs a quarter of a second. A file
//! that was replaced is whole and is read at once. One that is being written in place is waited for until it holds
//! still, and one that has gone is given a second to come back: until then, what was in force stays in force.

use std::{
    path::Path,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::{Shared, store::Look};
use crate::directory::Health;

/// How often the file is looked at without a notice; also how often it is vouched for.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a file that is written in place must hold still.
const SETTLE: Duration = Duration::from_millis(30);
/// How long a file may be gone, or empty, before that is what it says.
const GONE: Duration = Duration::from_secs(1);

pub(super) fn start(shared: &Arc<Shared>) {
    tokio::spawn(run(Arc::downgrade(shared)));
}

async fn run(directory: Weak<Shared>) {
    let notice = Arc::new(Notify::new());
    let _watcher = directory.upgrade().and_then(|shared| watcher(shared.store.path(), notice.clone()));
    let mut gone_since = None;
    let mut refused = None;
    loop {
        let Some(shared) = directory.upgrade() else { return };
        let at = Instant::now();
        let looked = shared.store.look();
        let nothing = matches!(looked, Ok(look) if look.is_none_or(|look| look.size == 0));
        let gone_for = at.duration_since(*gone_since.get_or_insert(at));
        if !nothing {
            gone_since = None;
        }
        match looked {
            Ok(look) if look == shared.publishing().taken => refused = None,
            Ok(_) if nothing && gone_for < GONE => {}
            Ok(look) => {
                let settled = whole(&shared, look).await;
                if let Some(look) = settled
                    && refused != Some(look)
                {
                    refused = take(&shared, look).await.err().map(|NotTaken| look);
                }
            }
            Err(error) => {
                let problem = format!("{}: cannot be looked at: {error}", shared.store.path().display());
                freeze(&shared, problem);
            }
        }
        if !shared.vouch(at) {
            shared.watched.store(false, std::sync::atomic::Ordering::Release);
            return;
        }
        drop(shared);
        let _ = tokio::time::timeout(LOOK_EVERY, notice.notified()).await;
    }
}

fn watcher(path: &Path, notice: Arc<Notify>) -> Option<notify::RecommendedWatcher> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let watch = || {
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading it is no reason to read it again.
            if event.map_or(true, |event| !event.kind.is_access()) {
                notice.notify_one();
            }
        })?;
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok::<_, notify::Error>(watcher)
    };
    watch().map_err(|error| tracing::warn!(%error, "the keys file is not watched, only looked at four times a second")).ok()
}

/// The look of the file once it is whole, or nothing if it is still moving.
async fn whole(shared: &Shared, look: Option<Look>) -> Option<Option<Look>> {
    let taken = shared.publishing().taken;
    let in_place = matches!((look, taken), (Some(new), Some(old)) if new.inode == old.inode);
    if !in_place {
        return Some(look);
    }
    tokio::time::sleep(SETTLE).await;
    (shared.store.look().ok()? == look).then_some(look)
}

struct NotTaken;

async fn take(shared: &Arc<Shared>, look: Option<Look>) -> Result<(), NotTaken> {
    let reading = shared.clone();
    let read = tokio::task::spawn_blocking(move || {
        let contents = reading.store.read();
        // What was read belongs to this look only if it still looks so.
        let same = reading.store.look().is_ok_and(|now| now == look);
        (contents, same)
    });
    match read.await {
        Ok((Ok(contents), true)) => {
            shared.publish(contents, look);
            Ok(())
        }
        // It moved on; the next look sees the rest.
        Ok((_, false)) | Err(_) => Ok(()),
        Ok((Err(error), true)) => {
            freeze(shared, error.to_string());
            Err(NotTaken)
        }
    }
}

fn freeze(shared: &Shared, problem: String) {
    let frozen = Health::Frozen(problem);
    if **shared.health.load() != frozen {
        tracing::error!(problem = ?frozen, "an edit of the keys file was not taken; what was in force stays in force");
        shared.health.store(Arc::new(frozen));
    }
}
