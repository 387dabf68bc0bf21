//! One journal on its way to the stream.
//!
//! How far a sidecar has shipped stands in Redis, beside the stream, and moves in the same script that adds the
//! records. So whatever dies in between, the sender asks where it stands and goes on from there: nothing is sent
//! twice, nothing is left out.

mod batch;
mod place;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use batch::Batch;

use super::script::{self, Taken};
use crate::{
    audit::{
        error::AuditError,
        event::Event,
        journal::{End, Journal, scan::SegmentReader},
        mark::{self, Mark},
        stream::{Cursor, Keys, Link},
    },
    settings,
};

/// How often Redis is asked whether it still stands where it stood, while there is nothing to ship: a flush, or a replica
/// that took over and had not everything yet, is made good without waiting for the next record.
const CONFIRM: Duration = Duration::from_secs(1);
/// How often it is noted down beside the journal how far it has been shipped, while there is more to ship. Whoever dies in
/// between is told by Redis.
const MARK: Duration = Duration::from_millis(100);

/// One journal on its way to the stream.
pub(in crate::audit) struct Lane {
    folder: PathBuf,
    sidecar: String,
    stream: settings::Stream,
    keys: Keys,
    /// Where its records may stand: there, and where it shipped to under other numbers of partitions.
    homes: Vec<Keys>,
    /// Where this process writes it.
    journal: Option<Arc<Journal>>,
    place: Option<Place>,
    /// Redis has to be asked whether it stands where we think.
    unsure: bool,
    batch: Batch,
    /// Whether the last batch took all that was there.
    emptied: bool,
    /// When Redis last said where it stands.
    confirmed: Instant,
    /// The last record that was shipped, if that is still to be noted down.
    unmarked: Option<Cursor>,
    marked: Instant,
    conflicts: u64,
    /// The record that the last of them was about: until something was shipped behind it, it is met again.
    conflict: Option<Cursor>,
}

/// Where the lane stands.
struct Place {
    reader: SegmentReader,
    /// The cursor in Redis, as it stands there.
    cursor: String,
}

/// What a step has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::audit) enum Moved {
    /// So many records were taken.
    Shipped(u64),
    /// Everything that is there has been shipped.
    UpToDate,
}

/// Why a step was not made.
#[derive(Debug, thiserror::Error)]
pub(in crate::audit) enum Stuck {
    /// Redis did not do it; another connection may help.
    #[error("{0}")]
    Redis(#[from] redis::RedisError),
    /// The journal cannot be read.
    #[error("{0}")]
    Journal(#[from] AuditError),
}

impl Lane {
    pub(in crate::audit) fn new(folder: PathBuf, sidecar: String, stream: &settings::Stream, journal: Option<Arc<Journal>>) -> Self {
        let keys = Keys::of(stream, &sidecar);
        Self {
            folder,
            sidecar,
            stream: stream.clone(),
            homes: vec![keys.clone()],
            keys,
            journal,
            place: None,
            unsure: false,
            batch: Batch::default(),
            emptied: false,
            confirmed: Instant::now(),
            unmarked: None,
            marked: Instant::now(),
            conflicts: 0,
            conflict: None,
        }
    }

    /// Where its records may stand.
    pub(super) fn homes(&self) -> &[Keys] {
        &self.homes
    }

    /// How often the stream had records under this sidecar's name that its journal has not.
    pub(super) fn conflicts(&self) -> u64 {
        self.conflicts
    }

    /// The journal may have begun anew: look for the place in it, and in Redis, before the next step.
    pub(in crate::audit) fn lose_place(&mut self) {
        self.place = None;
    }

    /// After anything went wrong: ask Redis where we stand before the next step.
    pub(super) fn doubt_place(&mut self) {
        self.unsure = true;
        self.mark();
    }

    /// Notes down how far it has been shipped.
    fn mark(&mut self) {
        if let Some(last) = self.unmarked.take() {
            self.marked = Instant::now();
            mark::write(&self.folder, Mark::Shipped, last.seq, &last.hash);
        }
    }

    /// While Redis cannot be asked: looks for the oldest record that waits, so that its age is known.
    pub(super) fn look_for_waiting(&mut self) -> Result<(), AuditError> {
        if !self.batch.ends.is_empty() {
            return Ok(());
        }
        if self.place.is_none() {
            let before = self.shipped_before();
            let reader = self.after_or_oldest(before.as_ref())?;
            self.place = reader.map(|reader| Place { reader, cursor: before.map(|before| before.to_string()).unwrap_or_default() });
            self.unsure = true;
        }
        match &mut self.place {
            Some(place) => self.batch.fill(&mut place.reader, &self.folder, self.journal.as_deref().map(Journal::end)),
            None => Ok(()),
        }
    }

    /// Whether the last batch took all that was there.
    pub(super) fn emptied(&self) -> bool {
        self.emptied
    }

    /// Time of the oldest record that is known to wait.
    pub(super) fn oldest_waiting(&self) -> Option<jiff::Timestamp> {
        let end = *self.batch.ends.first()?;
        let line = self.batch.bytes.get(..end)?;
        std::str::from_utf8(line.get(43..67)?).ok()?.parse().ok()
    }

    /// Number of the last record that was shipped.
    pub(super) fn shipped_to(&self) -> Option<u64> {
        let place = self.place.as_ref()?;
        Some(Cursor::parse(&place.cursor).map_or(0, |cursor| cursor.seq))
    }

    /// Ships one batch of what stands before `end`, if there is one; of all there is where no end is known. `say` hears what
    /// has to stand in the log.
    pub(in crate::audit) async fn step(
        &mut self,
        link: &mut Link,
        end: Option<End>,
        say: &mut (dyn FnMut(Event) + Send),
    ) -> Result<Moved, Stuck> {
        if self.place.is_none() || self.unsure {
            self.find_place(link, say).await?;
        }
        let Some(place) = &mut self.place else { return Ok(Moved::UpToDate) };
        let segment = place.reader.header.ordinal;
        if let Some(journal) = &self.journal {
            journal.shipping_from.store(segment, std::sync::atomic::Ordering::Release);
        }
        if self.batch.ends.is_empty() {
            self.batch.fill(&mut place.reader, &self.folder, end)?;
        }
        let Some(last) = self.batch.last.clone() else {
            if let Some(journal) = &self.journal {
                journal.shipped_further(std::mem::take(&mut self.batch.passed));
            }
            self.mark();
            return self.still_there(link).await;
        };
        let records = self.batch.records();
        self.confirmed = Instant::now();
        match script::take(link, &self.keys, &self.sidecar, &place.cursor, &last, self.batch.first, records).await? {
            Taken::Taken => {
                place.cursor = last.to_string();
                let shipped = self.batch.ends.len() as u64;
                if let Some(journal) = &self.journal {
                    journal.shipped_further(self.batch.passed);
                }
                self.emptied = !self.batch.is_full();
                self.batch.clear();
                self.unmarked = Some(last);
                if self.marked.elapsed() >= MARK {
                    self.mark();
                }
                Ok(Moved::Shipped(shipped))
            }
            // An answer that was lost, a failover, a flush: what Redis says is what holds.
            Taken::At(_) => {
                self.place = None;
                Ok(Moved::Shipped(0))
            }
        }
    }

    /// Everything has been shipped: does Redis still have it?
    async fn still_there(&mut self, link: &mut Link) -> Result<Moved, Stuck> {
        if self.confirmed.elapsed() < CONFIRM {
            return Ok(Moved::UpToDate);
        }
        self.confirmed = Instant::now();
        let raw: Option<String> = link.ask(redis::cmd("HGET").arg(&self.keys.cursors).arg(&self.sidecar)).await?;
        if self.place.as_ref().is_some_and(|place| place.cursor != raw.unwrap_or_default()) {
            self.place = None;
            return Ok(Moved::Shipped(0));
        }
        Ok(Moved::UpToDate)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.mark();
    }
}
