//! Shipping: the journal's records into the Redis stream, exactly once and in order, on a thread of its own.

mod lane;
mod script;

pub(super) use lane::{Lane, Moved};

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::{
    error::AuditError,
    event::Event,
    journal::{End, Syncer, folder},
    stats::ShippingStats,
    stream::{Cursor, Layouts, Link},
    writer::Inner,
};
use crate::settings;

/// How often the journal is looked at when there was nothing.
const LOOK: Duration = Duration::from_millis(25);
/// How long records gather after a batch that took all there were: each batch costs a journey to Redis and a mark on disk,
/// however few records it has.
const GATHER: Duration = Duration::from_millis(5);
/// How often the operators' journal is looked at.
const LOOK_OPERATORS: Duration = Duration::from_millis(500);
/// How often the stream is trimmed.
const TRIM: Duration = Duration::from_secs(60);
/// Between attempts to reach Redis, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How long Redis may be away before the log says so.
const AWAY: Duration = Duration::from_secs(5);
/// How long one attempt may take in all.
const ATTEMPT: Duration = Duration::from_secs(10);

/// The shipping thread.
#[derive(Debug)]
pub(super) struct Shipper {
    thread: Mutex<Option<JoinHandle<()>>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Ship what is there, then end.
    finish: AtomicBool,
    /// End now.
    stop: AtomicBool,
    wake: Notify,
    /// All was shipped, after `finish`.
    done: Notify,
    connected: AtomicBool,
    shipped: AtomicU64,
    shipped_seq: AtomicU64,
    conflicts: AtomicU64,
    /// Time of the oldest record that waits, in milliseconds; 0 for none.
    oldest_ms: AtomicU64,
    error: Mutex<Option<String>>,
}

impl Shipper {
    pub(super) fn start(inner: Arc<Inner>, stream: settings::Stream, syncer: Option<Arc<Syncer>>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("audit-ship".into()).spawn({
            let shared = shared.clone();
            move || runtime.block_on(run(inner, stream, syncer, shared))
        })?;
        Ok(Self { thread: Mutex::new(Some(thread)), shared })
    }

    /// Ships what is there, waiting no longer than `patience`. Whether it all went.
    pub(super) async fn finish(&self, patience: Duration) -> bool {
        let done = self.shared.done.notified();
        self.shared.finish.store(true, Ordering::Release);
        self.shared.wake.notify_one();
        tokio::time::timeout(patience, done).await.is_ok()
    }

    /// Ends at once.
    pub(super) fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }

    pub(super) fn stats(&self, backlog_bytes: u64, backlog_limit: u64, last_seq: u64) -> ShippingStats {
        let shared = &self.shared;
        let oldest = shared.oldest_ms.load(Ordering::Relaxed);
        let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
        ShippingStats {
            connected: shared.connected.load(Ordering::Relaxed),
            shipped: shared.shipped.load(Ordering::Relaxed),
            backlog_records: last_seq.saturating_sub(shared.shipped_seq.load(Ordering::Relaxed)),
            backlog_bytes,
            backlog_limit,
            lag: if oldest == 0 { Duration::ZERO } else { Duration::from_millis(now.saturating_sub(oldest)) },
            conflicts: shared.conflicts.load(Ordering::Relaxed),
            last_error: shared.error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl Shared {
    /// Waits, but not if it is time to end.
    async fn rest(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.wake.notified() => {}
        }
    }

    fn waits_since(&self, oldest: Option<Timestamp>) {
        self.oldest_ms.store(oldest.map_or(0, |time| u64::try_from(time.as_millisecond()).unwrap_or(0)), Ordering::Relaxed);
    }

    fn failed(&self, why: String) {
        self.connected.store(false, Ordering::Relaxed);
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    fn went_well(&self) {
        if !self.connected.swap(true, Ordering::Relaxed) {
            *self.error.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

/// What one sidecar ships: its own journal, and what operators have left.
struct Work {
    stream: settings::Stream,
    own: Lane,
    operators: Option<Lane>,
    operators_folder: PathBuf,
    operators_name: String,
    looked: Option<Instant>,
    trimmed: Option<Instant>,
}

async fn run(inner: Arc<Inner>, stream: settings::Stream, syncer: Option<Arc<Syncer>>, shared: Arc<Shared>) {
    let folder = inner.journal.keeping.folder.clone();
    let name = inner.journal.keeping.sidecar.clone();
    let mut work = Work {
        own: Lane::new(folder.clone(), name.clone(), &stream, Some(inner.journal.clone())),
        operators: None,
        operators_folder: folder.join(folder::OPERATORS),
        operators_name: format!("{name}.operator"),
        stream,
        looked: None,
        trimmed: None,
    };
    let mut away = Away::default();
    let mut backoff = BACKOFF.0;
    while !shared.stop.load(Ordering::Acquire) {
        let ended = tokio::select! {
            ended = connected(&mut work, &inner, syncer.as_deref(), &shared, &mut away, &mut backoff) => ended,
            () = stopped(&shared) => return,
        };
        match ended {
            Ok(()) => {
                shared.done.notify_waiters();
                shared.done.notify_one();
                return;
            }
            Err(why) => {
                shared.failed(why.clone());
                away.note(&inner, &why);
                work.lose_places();
                // How long records have been waiting is what an alert is set on.
                if work.own.look_for_waiting().is_ok() {
                    shared.waits_since(work.own.oldest_waiting());
                }
                shared.rest(backoff).await;
                backoff = (backoff * 2).min(BACKOFF.1);
            }
        }
    }
}

async fn stopped(shared: &Shared) {
    loop {
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Ships over one connection until it fails, or until all is shipped and it is time to finish.
async fn connected(
    work: &mut Work,
    inner: &Arc<Inner>,
    syncer: Option<&Syncer>,
    shared: &Shared,
    away: &mut Away,
    backoff: &mut Duration,
) -> Result<(), String> {
    let attempt = tokio::time::timeout(ATTEMPT, Link::connect(&work.stream)).await;
    let mut link = attempt.map_err(|_| "no connection in time".to_owned())?.map_err(|error| error.to_string())?;
    loop {
        let end = inner.journal.end();
        if let Some(syncer) = syncer
            && syncer.wait(end.written).await.is_err()
        {
            // What a power cut could take back must not be in the stream already.
            return Err("the journal cannot be flushed to its disk".to_owned());
        }
        let finishing = shared.finish.load(Ordering::Acquire);
        let moved = work.step(&mut link, inner, end).await;
        shared.waits_since(work.own.oldest_waiting());
        shared.conflicts.store(work.own.conflicts(), Ordering::Relaxed);
        if let Some(seq) = work.own.shipped_to() {
            shared.shipped_seq.store(seq, Ordering::Relaxed);
        }
        match moved? {
            Moved::Shipped(count) => {
                shared.shipped.fetch_add(count, Ordering::Relaxed);
                shared.went_well();
                away.over(inner);
                *backoff = BACKOFF.0;
                if !finishing && work.own.emptied() {
                    shared.rest(GATHER).await;
                }
            }
            Moved::UpToDate => {
                shared.went_well();
                away.over(inner);
                if finishing {
                    return Ok(());
                }
                work.trim(&mut link).await?;
                shared.rest(LOOK).await;
            }
        }
    }
}

impl Work {
    /// Ships what stands before `end` in the own journal, and what operators have left.
    async fn step(&mut self, link: &mut Link, inner: &Arc<Inner>, end: End) -> Result<Moved, String> {
        let mut say = |event| inner.event(event);
        let moved = self.own.step(link, Some(end), &mut say).await.map_err(|stuck| stuck.to_string())?;
        if moved != Moved::UpToDate || self.looked.is_some_and(|at| at.elapsed() < LOOK_OPERATORS) {
            return Ok(moved);
        }
        self.looked = Some(Instant::now());
        if self.operators.is_none() && self.operators_folder.is_dir() {
            self.operators = Some(Lane::new(self.operators_folder.clone(), self.operators_name.clone(), &self.stream, None));
        }
        let Some(operators) = &mut self.operators else { return Ok(moved) };
        match operators.step(link, None, &mut say).await.map_err(|stuck| stuck.to_string())? {
            Moved::Shipped(count) => {
                self.looked = None;
                Ok(Moved::Shipped(count))
            }
            Moved::UpToDate => {
                // Another process writes there, and may begin anew at any time.
                operators.lose_place();
                Ok(moved)
            }
        }
    }

    async fn trim(&mut self, link: &mut Link) -> Result<(), String> {
        if self.trimmed.is_some_and(|at| at.elapsed() < TRIM) {
            return Ok(());
        }
        self.trimmed = Some(Instant::now());
        let keep = u64::try_from(self.stream.keep.0.as_millis()).unwrap_or(u64::MAX);
        for lane in std::iter::once(&self.own).chain(&self.operators) {
            for home in lane.homes() {
                script::trim(link, home, keep).await.map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    fn lose_places(&mut self) {
        self.own.doubt_place();
        if let Some(operators) = &mut self.operators {
            operators.lose_place();
        }
    }
}

/// Whether Redis is away, and whether the log says so already.
#[derive(Default)]
struct Away {
    since: Option<(Instant, Timestamp)>,
    said: bool,
}

impl Away {
    fn note(&mut self, inner: &Inner, why: &str) {
        let (since, _) = *self.since.get_or_insert_with(|| (Instant::now(), Timestamp::now()));
        if since.elapsed() >= AWAY && !self.said {
            self.said = true;
            tracing::warn!(why, "the audit stream cannot be reached; records wait in the journal");
            inner.event(Event::system("stream-away").detail(format!("records wait in the journal: {why}")));
        }
    }

    fn over(&mut self, inner: &Inner) {
        let since = self.since.take();
        if std::mem::take(&mut self.said)
            && let Some((_, since)) = since
        {
            tracing::info!("the audit stream is reached again");
            inner.event(Event::system("stream-back").detail(format!("it had been away since {since:.0}")));
        }
    }
}

/// How far the stream says this sidecar had shipped; `None` if it has nothing, or cannot be asked in time.
pub(super) fn consult(stream: &settings::Stream, sidecar: &str, patience: Duration) -> Option<Cursor> {
    let (tell, told) = std::sync::mpsc::channel();
    let (stream, sidecar) = (stream.clone(), sidecar.to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    std::thread::Builder::new()
        .name("audit-ask".into())
        .spawn(move || {
            let ask = async {
                let mut link = Link::connect(&stream).await.ok()?;
                let layouts = Layouts::ask(&mut link, &stream).await.ok()?;
                layouts.reached(&mut link, &sidecar).await.ok()?
            };
            let _ = tell.send(runtime.block_on(async { tokio::time::timeout(patience, ask).await.ok().flatten() }));
        })
        .ok()?;
    told.recv_timeout(patience + Duration::from_millis(200)).ok().flatten()
}

/// Ships one journal that nobody writes to, for the command line: until all is shipped, or `patience` is over.
pub(super) async fn ship_out(stream: &settings::Stream, mut lane: Lane, patience: Duration) -> Result<(), AuditError> {
    let shipping = async {
        let mut link = Link::connect(stream).await?;
        let mut say = |event: Event| tracing::warn!(?event, "shipping the operators' journal");
        loop {
            match lane.step(&mut link, None, &mut say).await {
                Ok(Moved::Shipped(_)) => {}
                Ok(Moved::UpToDate) => return Ok(()),
                Err(stuck) => return Err(AuditError::Stream { why: stuck.to_string() }),
            }
        }
    };
    tokio::time::timeout(patience, shipping).await.unwrap_or_else(|_| Err(AuditError::Stream { why: "it took too long".to_owned() }))
}
