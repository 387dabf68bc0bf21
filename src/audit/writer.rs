//! The log's writing side: what `proxy`, `lifecycle`, `admin` and `cli` hold.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use ulid::Ulid;

use super::{
    chain,
    checkpoint::Sealer,
    entry::Entry,
    error::{AuditError, AuditUnavailable},
    event::Event,
    flood::{self, Flood, Fold},
    journal::{Journal, Keeper, Keeping, NAME_MAX, OPEN_WORD, Syncer, Takes, folder},
    line::{Ending, Template},
    record::{Opening, Outcome, Standing},
    ship::{self, Lane, Shipper},
    stats::AuditStats,
    upkeep::keep,
};
use crate::settings::{self, Durability};

/// For measuring what auditing costs: a build that leaves out the records of requests
/// (`RUSTFLAGS="--cfg bench_without_audit"`). No setting does that.
const WITHOUT: bool = cfg!(bench_without_audit);
/// Room for a usual record, so that its buffer does not grow; beyond this, the allocator takes a longer way.
const LINE: usize = 1 << 10;
/// How long the command line waits for another command to be done with the operators' journal.
const OPERATOR_PATIENCE: Duration = Duration::from_secs(10);
/// How long the start waits for the stream to say how far it is.
const ASK_PATIENCE: Duration = Duration::from_millis(1500);
/// How long the end waits for what is not shipped yet.
const FINISH_PATIENCE: Duration = Duration::from_secs(5);
/// Operators write little.
const OPERATOR_SEGMENT: usize = 512 << 10;

/// The log's writing side.
#[derive(Debug)]
pub struct Audit {
    inner: Arc<Inner>,
    keeper: Mutex<Option<Keeper>>,
    syncer: Option<Arc<Syncer>>,
    shipper: Option<Shipper>,
    stream: Option<settings::Stream>,
}

/// Who writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// A sidecar: it keeps the journal, ships it, and holds it for itself.
    Sidecar,
    /// The command line, beside a sidecar that may be running: a journal of its own within, `NAME.operator` in the
    /// log, held for a moment.
    Operator,
}

/// An entry that is in the journal, and not yet one that a request may be forwarded on: the disk may have to take it first.
#[must_use = "an entry that is dropped says that the request was interrupted"]
#[derive(Debug)]
pub struct Opened {
    entry: Entry,
    waits: Option<Box<Unsynced>>,
}

/// How far the disk must have come.
#[derive(Debug)]
struct Unsynced {
    inner: Arc<Inner>,
    syncer: Arc<Syncer>,
    written: u64,
}

/// What entries and the background share.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) journal: Arc<Journal>,
    template: Template,
    pub(super) sidecar: String,
    pub(super) flood: Flood,
    pub(super) sealer: Option<Sealer>,
    closed: AtomicBool,
    refused: AtomicU64,
    folded: AtomicU64,
    cut: u64,
}

impl Audit {
    /// Opens the journal, mends what a crash left, and starts what works in the background.
    ///
    /// # Errors
    /// [`AuditError`] when the journal is not ours or cannot be written.
    pub fn open(settings: &settings::Audit, sidecar: &str, writer: Writer) -> Result<Self, AuditError> {
        if sidecar.is_empty() || sidecar.len() > NAME_MAX - 20 || sidecar.chars().any(char::is_control) {
            return Err(AuditError::Name(sidecar.chars().take(80).collect()));
        }
        let path = settings.journal.path.clone();
        let keeping = Keeping {
            sidecar: match writer {
                Writer::Sidecar => sidecar.to_owned(),
                Writer::Operator => format!("{sidecar}.operator"),
            },
            segment: match writer {
                Writer::Sidecar => usize::try_from(settings.journal.segment.0).unwrap_or(usize::MAX),
                Writer::Operator => OPERATOR_SEGMENT,
            },
            folder: match writer {
                Writer::Sidecar => path,
                Writer::Operator => path.join(folder::OPERATORS),
            },
            durability: settings.journal.durability,
            entries: writer == Writer::Sidecar,
            keep: settings.journal.keep.0,
            max_size: settings.journal.max_size.0,
            backlog: settings.stream.as_ref().map(|stream| stream.backlog.0),
            patience: match writer {
                Writer::Sidecar => Duration::ZERO,
                Writer::Operator => OPERATOR_PATIENCE,
            },
        };
        let sealer = match (&settings.checkpoint, writer) {
            (Some(checkpoint), Writer::Sidecar) => Some(Sealer::load(&checkpoint.key, checkpoint.every.0)?),
            _ => None,
        };
        if WITHOUT {
            tracing::error!("this build is for measuring alone: requests are not recorded");
        }
        let name = keeping.sidecar.clone();
        let beyond = settings.stream.as_ref().and_then(|stream| ship::consult(stream, &name, ASK_PATIENCE));
        let beyond = beyond.and_then(|cursor| Some((cursor.seq, chain::hash_from(&cursor.hash)?)));
        let (journal, recovery) = Journal::open(keeping, beyond)?;
        let inner = Arc::new(Inner {
            journal: Arc::new(journal),
            template: Template::new(&name, &settings.query_values),
            sidecar: name,
            flood: Flood::new(settings.refusals_per_minute.unwrap_or(flood::USUAL), Instant::now()),
            sealer,
            closed: AtomicBool::new(false),
            refused: AtomicU64::new(0),
            folded: AtomicU64::new(0),
            cut: recovery.cut,
        });
        inner.recover(recovery);
        let syncer = match settings.journal.durability {
            Durability::Process => None,
            Durability::Disk => Some(Arc::new(Syncer::start(inner.journal.clone()).map_err(AuditError::Thread)?)),
        };
        let keeper = match writer {
            Writer::Sidecar => Some(Keeper::start(inner.journal.clone(), keep(inner.clone())).map_err(AuditError::Thread)?),
            Writer::Operator => None,
        };
        let shipper = match (&settings.stream, writer) {
            (Some(stream), Writer::Sidecar) => {
                Some(Shipper::start(inner.clone(), stream.clone(), syncer.clone()).map_err(AuditError::Thread)?)
            }
            (Some(_) | None, _) => None,
        };
        Ok(Self { inner, keeper: Mutex::new(keeper), syncer, shipper, stream: settings.stream.clone() })
    }

    /// Writes down that a request is let through; it may go upstream when this returns.
    ///
    /// # Errors
    /// When it cannot be written down: the request must not be forwarded then.
    pub async fn open_entry(&self, opening: Opening<'_>) -> Result<Entry, AuditUnavailable> {
        self.enter(opening)?.settle().await
    }

    /// The same without waiting for the disk, where that is to be waited for.
    ///
    /// # Errors
    /// When it cannot be written down: the request must not be forwarded then.
    pub fn enter(&self, opening: Opening<'_>) -> Result<Opened, AuditUnavailable> {
        let inner = &self.inner;
        if WITHOUT {
            return Ok(Opened { entry: Entry::of_nothing(), waits: None });
        }
        inner.open()?;
        let mut line = Vec::with_capacity(LINE);
        line.extend_from_slice(OPEN_WORD);
        inner.template.opening(&mut line, &opening);
        let (place, written) = inner.journal.open_entry(&line).inspect_err(|_| inner.count_refused())?;
        let entry = Entry::new(inner, line, place, &opening);
        let waits = self.syncer.as_ref().map(|syncer| Box::new(Unsynced { inner: inner.clone(), syncer: syncer.clone(), written }));
        Ok(Opened { entry, waits })
    }

    /// Writes down that a request was refused with `status`.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn refuse(&self, opening: Opening<'_>, status: u16) -> Result<(), AuditUnavailable> {
        let inner = &self.inner;
        inner.open()?;
        if opening.standing == Standing::Claimed && inner.flood.meets(opening.client, opening.time, opening.began) == Fold::Counted {
            inner.folded.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        let mut line = Vec::with_capacity(LINE);
        inner.template.opening(&mut line, &opening);
        let ending = Ending {
            status: Some(status),
            outcome: Outcome::Refused,
            bytes_in: 0,
            bytes_out: 0,
            upstream_us: None,
            total_us: Some(u64::try_from(opening.began.elapsed().as_micros()).unwrap_or(u64::MAX)),
        };
        ending.write(&mut line);
        inner.journal.record(&mut line, Takes::WithinBacklog).inspect_err(|_| inner.count_refused())?;
        Ok(())
    }

    /// Writes down what has happened. If it cannot be written down now, it is as soon as that is possible again.
    pub fn record_event(&self, event: Event) {
        self.inner.event(event);
    }

    /// Writes down what is about to be changed.
    ///
    /// # Errors
    /// When it cannot be written down: the change must not be made then.
    pub async fn record(&self, event: Event) -> Result<(), AuditUnavailable> {
        self.inner.open()?;
        let mut line = self.inner.line_of(&event);
        let written = self.inner.journal.record(&mut line, Takes::WithinBacklog)?;
        match &self.syncer {
            Some(syncer) => syncer.wait(written).await,
            None => Ok(()),
        }
    }

    /// How the log is doing.
    #[must_use]
    pub fn stats(&self) -> AuditStats {
        let inner = &self.inner;
        let (records, open_entries, unavailable) = inner.journal.counts();
        let broken = self.syncer.as_ref().is_some_and(|syncer| syncer.is_broken());
        let end = inner.journal.end();
        AuditStats {
            records,
            open_entries,
            journal_bytes: inner.journal.bytes.load(Ordering::Relaxed) + end.at,
            segments: inner.journal.segments.load(Ordering::Relaxed),
            unavailable: unavailable.or_else(|| broken.then_some(AuditUnavailable::Broken)),
            refused: inner.refused.load(Ordering::Relaxed),
            folded: inner.folded.load(Ordering::Relaxed),
            cut_bytes: inner.cut,
            shipping: self
                .shipper
                .as_ref()
                .map(|shipper| shipper.stats(inner.journal.backlog(), inner.journal.keeping.backlog.unwrap_or(0), end.seq)),
        }
    }

    /// Ships what can be shipped within a few seconds, signs the end of the chain, and ends. Nothing is taken after.
    pub async fn close(&self) {
        if self.inner.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.inner.last_words();
        if let Some(shipper) = &self.shipper {
            if !shipper.finish(FINISH_PATIENCE).await {
                tracing::warn!("not all audit records could be shipped; the next start ships the rest");
            }
        } else if let Some(stream) = &self.stream {
            let keeping = &self.inner.journal.keeping;
            let lane = Lane::new(keeping.folder.clone(), keeping.sidecar.clone(), stream, Some(self.inner.journal.clone()));
            if let Err(error) = ship::ship_out(stream, lane, FINISH_PATIENCE).await {
                tracing::debug!(%error, "the record stays in the journal; a sidecar ships it");
            }
        }
        self.end();
    }

    fn end(&self) {
        if let Some(shipper) = &self.shipper {
            shipper.stop();
        }
        self.inner.journal.seal();
        if let Some(keeper) = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take() {
            keeper.join();
        }
        if let Some(syncer) = &self.syncer {
            syncer.join();
        }
        self.inner.mark();
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        if !self.inner.closed.swap(true, Ordering::AcqRel) {
            self.inner.last_words();
        }
        self.end();
    }
}

// ===== impl Opened, Inner =====

impl Opened {
    /// The entry, where nothing has to be waited for.
    ///
    /// # Errors
    /// Itself, where it is to be [settled](Self::settle).
    pub fn at_once(self) -> Result<Entry, Self> {
        if self.waits.is_none() { Ok(self.entry) } else { Err(self) }
    }

    /// Waits until the entry is as safe as the settings want it.
    ///
    /// # Errors
    /// When the disk does not take it: the request must not be forwarded then.
    pub async fn settle(self) -> Result<Entry, AuditUnavailable> {
        if let Some(unsynced) = self.waits
            && let Err(stuck) = unsynced.syncer.wait(unsynced.written).await
        {
            unsynced.inner.count_refused();
            self.entry.refuse(503);
            return Err(stuck);
        }
        Ok(self.entry)
    }
}

impl Inner {
    fn open(&self) -> Result<(), AuditUnavailable> {
        if self.closed.load(Ordering::Relaxed) { Err(AuditUnavailable::Closed) } else { Ok(()) }
    }

    fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn event(&self, event: Event) {
        let line = self.line_of(&event);
        self.journal.record_or_wait(line, Takes::Always);
    }

    fn line_of(&self, event: &Event) -> Vec<u8> {
        let now = Timestamp::now();
        let id = random_id(now);
        let mut line = Vec::with_capacity(LINE);
        self.template.event(&mut line, id, now, event);
        line
    }
}

fn random_id(now: Timestamp) -> Ulid {
    let mut random = [0u8; 16];
    // An id that is not random would still be a record; the sequence number tells records apart.
    let _ = getrandom::fill(&mut random);
    Ulid::from_parts(u64::try_from(now.as_millisecond()).unwrap_or(0), u128::from_ne_bytes(random) & ((1 << 80) - 1))
}

/// Whether a sidecar is writing to the journal in `folder` now.
#[must_use]
pub fn in_use(folder: &Path) -> bool {
    folder::in_use(folder)
}
