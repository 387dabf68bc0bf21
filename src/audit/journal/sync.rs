//! `durability: disk`: one flush for all the entries that wait for it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{JoinHandle, Thread},
    time::Duration,
};

use tokio::sync::watch;

use super::Journal;
use crate::audit::error::AuditUnavailable;

/// How long after a failed flush the next one is tried.
const AGAIN: Duration = Duration::from_millis(500);

/// The flushing thread.
#[derive(Debug)]
pub(in crate::audit) struct Syncer {
    thread: Mutex<Option<JoinHandle<()>>>,
    waker: Thread,
    wanted: Arc<AtomicU64>,
    synced: watch::Receiver<Synced>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Synced {
    /// What was written up to here is on disk.
    to: u64,
    broken: bool,
}

impl Syncer {
    pub(in crate::audit) fn start(journal: Arc<Journal>) -> std::io::Result<Self> {
        let wanted = Arc::new(AtomicU64::new(0));
        let (tell, synced) = watch::channel(Synced::default());
        let thread = std::thread::Builder::new().name("audit-sync".into()).spawn({
            let wanted = wanted.clone();
            move || run(&journal, &wanted, &tell)
        })?;
        let waker = thread.thread().clone();
        Ok(Self { thread: Mutex::new(Some(thread)), waker, wanted, synced })
    }

    /// Returns when what was written up to `written` is on disk.
    pub(in crate::audit) async fn wait(&self, written: u64) -> Result<(), AuditUnavailable> {
        self.wanted.fetch_max(written, Ordering::AcqRel);
        self.waker.unpark();
        let mut synced = self.synced.clone();
        match synced.wait_for(|synced| synced.broken || synced.to >= written).await {
            Ok(synced) if synced.to >= written => Ok(()),
            Ok(_) => Err(AuditUnavailable::Broken),
            Err(_) => Err(AuditUnavailable::Closed),
        }
    }

    /// Whether the disk did not take what was last flushed.
    pub(in crate::audit) fn is_broken(&self) -> bool {
        self.synced.borrow().broken
    }

    /// Waits for the end, which [`Journal::seal`] brings about.
    pub(in crate::audit) fn join(&self) {
        self.waker.unpark();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

fn run(journal: &Journal, wanted: &AtomicU64, tell: &watch::Sender<Synced>) {
    let mut done = Synced::default();
    while !journal.stop.load(Ordering::Acquire) {
        if !done.broken && wanted.load(Ordering::Acquire) <= done.to {
            std::thread::park_timeout(Duration::from_secs(1));
            continue;
        }
        match journal.flush(done.broken) {
            Ok(to) => {
                if done.broken {
                    tracing::info!("the audit journal's disk takes data again");
                }
                done = Synced { to, broken: false };
                tell.send_replace(done);
            }
            Err(error) => {
                if !done.broken {
                    tracing::error!(%error, "the audit journal could not be flushed to its disk; requests are refused until it can");
                }
                done.broken = true;
                tell.send_replace(done);
                std::thread::park_timeout(AGAIN);
            }
        }
    }
}

impl Journal {
    /// Flushes all that has been written, and says how much that was. After a failed flush the system may have
    /// dropped what it could not write, so the next try begins a new segment (`afresh`).
    fn flush(&self, afresh: bool) -> std::io::Result<u64> {
        let (written, mut pending) = {
            let mut tail = self.tail();
            if afresh && let Err(stuck) = self.next_segment(&mut tail) {
                return Err(std::io::Error::other(stuck));
            }
            let mut pending = std::mem::take(&mut tail.unsynced);
            pending.push(tail.current.mapped().clone());
            (tail.written, pending)
        };
        while let Some(mapped) = pending.first() {
            if let Err(error) = mapped.sync() {
                if !afresh {
                    // The one that is written to comes back by itself.
                    pending.pop();
                    let mut tail = self.tail();
                    pending.append(&mut tail.unsynced);
                    tail.unsynced = pending;
                    return Err(error);
                }
                tracing::error!(%error, segment = mapped.ordinal, "an audit segment may not be whole on its disk");
                if pending.len() == 1 {
                    return Err(error);
                }
            }
            pending.remove(0);
        }
        Ok(written)
    }
}
