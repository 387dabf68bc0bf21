//! One journal on its way to the stream.
//!
//! How far a sidecar has shipped stands in Redis, beside the stream, and moves in the same script that adds the
//! records. So whatever dies in between, the sender asks where it stands and goes on from there: nothing is sent
//! twice, nothing is left out.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use redis::Value;

use super::script::{self, Taken};
use crate::{
    audit::{
        chain::{Seal, text},
        error::AuditError,
        event::Event,
        journal::{
            End, FrameKind, Journal, folder,
            scan::{SegmentReader, Step},
        },
        mark::{self, Mark},
        read::stream::entries,
        stream::{Cursor, Keys, Layouts, Link},
    },
    settings,
};

/// Most records in one batch.
const RECORDS: usize = 400;
/// Most bytes in one batch, but for one long record. A batch is copied a few times on its way, and what does not fit
/// into a processor's nearer memory pushes out of it what the serving threads work with.
const BYTES: usize = 128 << 10;
/// How often Redis is asked whether it still stands where it stood, while there is nothing to ship: a flush, or a replica
/// that took over and had not everything yet, is made good without waiting for the next record.
const CONFIRM: Duration = Duration::from_secs(1);
/// How often it is noted down beside the journal how far it has been shipped, while there is more to ship. Whoever dies in
/// between is told by Redis.
const MARK: Duration = Duration::from_millis(100);
/// Entries looked through at a time for our last one.
const PAGE: usize = 1000;

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

#[derive(Default)]
struct Batch {
    /// The records, one after the other.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    first: u64,
    last: Option<Cursor>,
    /// Bytes of the journal that it came from, open frames included.
    passed: u64,
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

    /// Asks Redis where this sidecar stands, and goes there in the journal.
    async fn find_place(&mut self, link: &mut Link, say: &mut (dyn FnMut(Event) + Send)) -> Result<(), Stuck> {
        self.mark();
        let layouts = Layouts::join(link, &self.stream).await?;
        self.homes = layouts.homes(&self.sidecar).collect();
        let raw: Option<String> = link.ask(redis::cmd("HGET").arg(&self.keys.cursors).arg(&self.sidecar)).await?;
        let noted = layouts.reached(link, &self.sidecar).await?;
        self.batch.clear();
        self.place = None;
        self.unsure = false;
        let cursor = raw.clone().unwrap_or_default();
        let shipped_before = self.shipped_before();
        let known = |cursor: &Cursor| shipped_before.as_ref().is_none_or(|before| before.seq <= cursor.seq);
        let reached = if raw.is_some() || noted.as_ref().is_some_and(known) {
            noted
        } else {
            // Never shipped, or the cursor has gone: the stream itself may know.
            self.last_in_stream(link).await?.or(noted)
        };
        if raw.is_none() && reached.is_none() && shipped_before.is_some() {
            let detail =
                "Redis has lost the audit stream and how far this sidecar had shipped; what the journal still holds is shipped again";
            tracing::warn!(sidecar = self.sidecar, detail);
            say(Event::system("stream-lost").detail(detail));
        }
        let from = match reached {
            None => self.oldest()?,
            Some(reached) => match self.after(&reached)? {
                Some(reader) => Some(reader),
                None => self.elsewhere(&reached, shipped_before.as_ref(), say)?,
            },
        };
        let Some(reader) = from else { return Ok(()) };
        if let Some(journal) = &self.journal {
            journal.shipping_stands_at((reader.header.ordinal, reader.at()));
        }
        self.place = Some(Place { reader, cursor });
        Ok(())
    }

    /// Where to begin when the record that Redis names is not in this journal.
    fn elsewhere(
        &mut self,
        reached: &Cursor,
        shipped_before: Option<&Cursor>,
        say: &mut (dyn FnMut(Event) + Send),
    ) -> Result<Option<SegmentReader>, Stuck> {
        // The journal begins behind it: what lay between is gone.
        if let Some(oldest) = self.oldest()?
            && oldest.header.first_seq > reached.seq.saturating_add(1)
        {
            let detail = format!(
                "records {} to {} were removed from the journal before the stream had them",
                reached.seq + 1,
                oldest.header.first_seq - 1
            );
            tracing::error!(sidecar = self.sidecar, detail);
            say(Event::system("stream-gap").detail(detail));
            return Ok(Some(oldest));
        }
        // The stream has records of this name that this journal has not: it was lost, or two sidecars have one name.
        let from = self.after_or_oldest(shipped_before)?;
        let detail = format!(
            "the stream holds record {} of this sidecar, and the journal holds another or none under that number: a journal was lost, or two sidecars share the name {} (`sidecar` in the settings gives each its own)",
            reached.seq, self.sidecar
        );
        if self.conflict.as_ref() != Some(reached) {
            self.conflict = Some(reached.clone());
            self.conflicts += 1;
        }
        tracing::error!(sidecar = self.sidecar, detail);
        say(Event::system("stream-conflict").detail(detail));
        Ok(from)
    }

    /// The last record that Redis took, as this side noted it down.
    fn shipped_before(&self) -> Option<Cursor> {
        mark::read(&self.folder, Mark::Shipped).map(|(seq, hash)| Cursor { seq, hash })
    }

    /// Behind that record if this journal has it, else at the beginning.
    fn after_or_oldest(&self, before: Option<&Cursor>) -> Result<Option<SegmentReader>, AuditError> {
        if let Some(before) = before
            && let Some(reader) = self.after(before)?
        {
            return Ok(Some(reader));
        }
        self.oldest()
    }

    /// The first segment, before its first frame.
    fn oldest(&self) -> Result<Option<SegmentReader>, AuditError> {
        for (_, path) in folder::segments(&self.folder)? {
            if let Some(reader) = SegmentReader::open_begun(&path)? {
                return Ok(Some(reader));
            }
        }
        Ok(None)
    }

    /// A reader behind a record of this journal; `None` if it has no such record.
    fn after(&self, reached: &Cursor) -> Result<Option<SegmentReader>, AuditError> {
        let mut found = None;
        for (_, path) in folder::segments(&self.folder)?.into_iter().rev() {
            let Some(reader) = SegmentReader::open_begun(&path)? else { continue };
            if reader.header.first_seq <= reached.seq.saturating_add(1) {
                found = Some(reader);
                break;
            }
        }
        let Some(mut reader) = found else { return Ok(None) };
        if reader.header.first_seq == reached.seq.saturating_add(1) {
            return Ok((text(&reader.header.prev) == reached.hash).then_some(reader));
        }
        loop {
            match reader.next().map_err(|cause| AuditError::Io { path: self.folder.clone(), cause })? {
                Step::Frame { kind: FrameKind::Record, payload } => match Seal::read(payload) {
                    Some(seal) if seal.seq == reached.seq => return Ok((text(seal.hash) == reached.hash).then_some(reader)),
                    Some(_) | None => {}
                },
                Step::Frame { kind: FrameKind::Open, .. } | Step::Damage { .. } => {}
                Step::Torn { .. } | Step::End => return Ok(None),
            }
        }
    }

    /// This sidecar's last record in the stream, for when the cursor has gone and the stream has not.
    async fn last_in_stream(&self, link: &mut Link) -> Result<Option<Cursor>, Stuck> {
        let mut last: Option<Cursor> = None;
        for home in &self.homes {
            let found = self.last_in(link, home).await?;
            last = last.into_iter().chain(found).max_by_key(|cursor| cursor.seq);
        }
        Ok(last)
    }

    async fn last_in(&self, link: &mut Link, home: &Keys) -> Result<Option<Cursor>, Stuck> {
        let mut end = "+".to_owned();
        loop {
            let mut command = redis::cmd("XREVRANGE");
            command.arg(&home.stream).arg(&end).arg("-").arg("COUNT").arg(PAGE);
            let page = entries(link.ask::<Value>(&command).await?);
            let Some(last) = page.back() else { return Ok(None) };
            end = format!("({}", last.id);
            for entry in page.iter().filter(|entry| entry.sidecar.as_deref() == Some(self.sidecar.as_bytes())) {
                if let Some(seal) = entry.record.as_deref().and_then(Seal::read) {
                    return Ok(Some(Cursor { seq: seal.seq, hash: text(seal.hash).to_owned() }));
                }
            }
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.mark();
    }
}

impl Batch {
    fn is_full(&self) -> bool {
        self.ends.len() >= RECORDS || self.bytes.len() >= BYTES
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.last = None;
        self.passed = 0;
    }

    fn records(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(self.ends.iter().copied()).map(|(begin, end)| self.bytes.get(begin..end).unwrap_or_default())
    }

    /// Takes records that follow each other by number, up to `end` where it is known.
    fn fill(&mut self, reader: &mut SegmentReader, folder: &std::path::Path, end: Option<End>) -> Result<(), AuditError> {
        let io = |cause| AuditError::Io { path: folder.to_owned(), cause };
        let mut looked_again = false;
        while !self.is_full() {
            if end.is_some_and(|end| end.segment < reader.header.ordinal) {
                return Ok(());
            }
            let is_current = end.is_some_and(|end| end.segment == reader.header.ordinal);
            reader.read_until(end.filter(|_| is_current).map_or(u64::MAX, |end| end.at));
            let at = reader.at();
            match reader.next().map_err(io)? {
                Step::Frame { kind: FrameKind::Open, .. } => {}
                Step::Frame { kind: FrameKind::Record, payload } => {
                    let Some(seal) = Seal::read(payload) else { continue };
                    let next = self.last.as_ref().map(|last| last.seq.saturating_add(1));
                    if next.is_some_and(|next| next != seal.seq) {
                        // What is missing between is for `verify` to say; the next batch begins here.
                        reader.seek(at);
                        return Ok(());
                    }
                    if next.is_none() {
                        self.first = seal.seq;
                    }
                    let last = self.last.get_or_insert_with(|| Cursor { seq: 0, hash: String::with_capacity(seal.hash.len()) });
                    last.seq = seal.seq;
                    last.hash.clear();
                    last.hash.push_str(text(seal.hash));
                    self.bytes.extend_from_slice(payload);
                    self.ends.push(self.bytes.len());
                }
                Step::Damage { .. } => {}
                Step::Torn { .. } | Step::End => {
                    let Some(next) = (if is_current { None } else { following(folder, reader.header.ordinal)? }) else { return Ok(()) };
                    // Another process may have written here once more before it went there.
                    if end.is_none() && !std::mem::replace(&mut looked_again, true) {
                        continue;
                    }
                    looked_again = false;
                    *reader = next;
                    continue;
                }
            }
            self.passed += reader.at() - at;
        }
        Ok(())
    }
}

/// The segment after this one, if it has been begun.
fn following(folder: &std::path::Path, ordinal: u64) -> Result<Option<SegmentReader>, AuditError> {
    for (_, path) in folder::segments(folder)?.into_iter().filter(|(other, _)| *other > ordinal) {
        if let Some(reader) = SegmentReader::open_begun(&path)? {
            return Ok(Some(reader));
        }
    }
    Ok(None)
}
