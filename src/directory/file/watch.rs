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

use super::shared::Shared;

/// How often the file is looked at without a notice; also how often it is vouched for.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a file may be gone, or empty, before that is what it says.
const GONE: Duration = Duration::from_secs(1);

pub(super) fn start(shared: &Arc<Shared>) {
    tokio::spawn(run(Arc::downgrade(shared)));
}

async fn run(directory: Weak<Shared>) {
    let notice = Arc::new(Notify::new());
    let _watcher = directory.upgrade().and_then(|shared| watcher(shared.store.path(), notice.clone()));
    let mut gone_since = None;
    loop {
        let Some(shared) = directory.upgrade() else { return };
        let at = Instant::now();
        let looked = shared.store.look();
        let nothing = matches!(looked, Ok(look) if look.is_none_or(|look| look.is_empty()));
        let gone_for = at.duration_since(*gone_since.get_or_insert(at));
        if !nothing {
            gone_since = None;
        }
        match looked {
            Ok(look) if !shared.publishing().is_news(look) => shared.seen_again(look),
            Ok(_) if nothing && gone_for < GONE => {}
            Ok(look) => {
                let shared = shared.clone();
                let _ = tokio::task::spawn_blocking(move || shared.take(look)).await;
            }
            Err(error) => shared.freeze(format!("{}: cannot be looked at: {error}", shared.store.path().display())),
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
    let folder = |path: &Path| path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new(".")).to_owned();
    let watch = || {
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading it is no reason to read it again.
            if event.map_or(true, |event| !event.kind.is_access()) {
                notice.notify_one();
            }
        })?;
        watcher.watch(&folder(path), RecursiveMode::NonRecursive)?;
        // Through a link, it is replaced where it really stands. One that leads elsewhere later is only looked at.
        if let Ok(real) = path.canonicalize()
            && folder(&real) != folder(path)
        {
            watcher.watch(&folder(&real), RecursiveMode::NonRecursive)?;
        }
        Ok::<_, notify::Error>(watcher)
    };
    watch().map_err(|error| tracing::warn!(%error, "the keys file is not watched, only looked at four times a second")).ok()
}
