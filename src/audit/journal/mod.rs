//! The journal on disk: segments that are ready before they are needed, frames that are whole or not there.
//!
//! [`Journal::open_entry`], [`Journal::record`] and [`Journal::close_all`] are called by serving threads and do no I/O:
//! under one short lock they number, chain and copy. The [`keeper`] prepares segments, touches pages ahead, lets go of those [`behind`], cuts
//! and removes old segments; the [`sync`] thread flushes for `durability: disk`.

mod behind;
pub(super) mod folder;
#[cfg(test)]
pub(super) mod forge;
mod frame;
mod keeper;
mod open;
pub(super) mod scan;
mod segment;
pub(super) mod slots;
mod sync;
mod tail;

pub(super) use frame::{FrameKind, NAME_MAX, OPEN_WORD};
pub(super) use keeper::{Keeper, Notice};
pub(super) use open::Recovery;
pub(super) use sync::Syncer;
pub(super) use tail::Takes;
use tail::{Tail, Waiting, fields};

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    thread::Thread,
    time::Duration,
};

use super::{
    digest::{Begun, LANES},
    error::AuditUnavailable,
};
use crate::settings::Durability;
use behind::Behind;
use folder::Lock;
use slots::Slots;

/// How far ahead of the next frame pages are made present, in bytes: at least, and at most. An idle sidecar holds few;
/// a busy one has what it writes in [`AHEAD_FOR`], which at 50,000 requests a second is all of it.
const AHEAD: (usize, usize) = (256 << 10, 4 << 20);
const AHEAD_FOR: Duration = Duration::from_millis(50);
/// A segment is no smaller than this: the longest frame must fit.
const SEGMENT_MIN: usize = 512 << 10;
/// Longer than what a record has beyond what its open entry has.
const ENDING: usize = 512;
/// Longer than most frames.
const USUAL: usize = 2 << 10;
/// Events that may wait for space. Closings wait without a bound of their own: there are no more than requests.
const WAITING_EVENTS: usize = 10_000;

/// How a journal is kept.
#[derive(Debug, Clone)]
pub(super) struct Keeping {
    pub(super) folder: PathBuf,
    pub(super) sidecar: String,
    pub(super) segment: usize,
    pub(super) keep: Duration,
    pub(super) max_size: u64,
    pub(super) durability: Durability,
    /// Whether entries are opened here; operators record what they have done.
    pub(super) entries: bool,
    /// How many bytes may be there that nobody has shipped; `None` where nobody ships.
    pub(super) backlog: Option<u64>,
    /// How long to wait for another process to let go of it.
    pub(super) patience: Duration,
}

/// A journal, open for writing.
#[derive(Debug)]
pub(super) struct Journal {
    pub(super) keeping: Keeping,
    tail: Mutex<Tail>,
    keeper: std::sync::OnceLock<Thread>,
    /// Where in [`Tail::written`]'s count shipping has got to.
    shipped_to: AtomicI64,
    /// Oldest segment that shipping still needs; `u64::MAX` where nobody ships.
    pub(super) shipping_from: AtomicU64,
    /// Of the segments before the one that is written to.
    pub(super) bytes: AtomicU64,
    /// That one included.
    pub(super) segments: AtomicU64,
    stop: AtomicBool,
    lock: Lock,
}

/// An entry that has ended, and has no record yet.
#[derive(Debug)]
pub(super) struct Closing {
    /// All fields, no closing brace.
    pub(super) line: Vec<u8>,
    /// Where it stands while it is open.
    pub(super) place: Place,
}

/// Where an open entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In this one of the [`slots`].
    Slot(u16),
    /// In an open frame of this segment.
    Segment(u64),
}

/// Where the journal ends.
#[derive(Debug, Clone, Copy)]
pub(in crate::audit) struct End {
    pub(in crate::audit) segment: u64,
    pub(in crate::audit) at: u64,
    pub(in crate::audit) written: u64,
    pub(in crate::audit) seq: u64,
}

impl Journal {
    /// Writes what is known of a request that is about to be forwarded. `line` begins with [`OPEN_WORD`]. Gives where it
    /// stands; when as much of the journal as is given beside that is on disk, so is the entry.
    pub(super) fn open_entry(&self, line: &[u8]) -> Result<(Place, u64), AuditUnavailable> {
        let mut tail = self.tail();
        self.flush_waiting(&mut tail)?;
        self.check_backlog(&tail)?;
        if self.keeping.durability == Durability::Process {
            // Nothing is let through whose record would find no space.
            self.make_room(&mut tail, line.len() + ENDING)?;
            if let Some(slot) = tail.slots.as_mut().and_then(|slots| slots.put(line)) {
                return Ok((Place::Slot(slot), tail.written));
            }
        }
        self.put(&mut tail, FrameKind::Open, line)?;
        let segment = tail.current.mapped().ordinal;
        tail.opens.opened(segment);
        Ok((Place::Segment(segment), tail.written))
    }

    /// Numbers, chains and writes a record. `line` has all its fields and no closing brace; on failure it is as it was.
    pub(super) fn record(&self, line: &mut Vec<u8>, takes: Takes) -> Result<u64, AuditUnavailable> {
        let begun = Begun::of(fields(line));
        let mut tail = self.tail();
        self.flush_waiting(&mut tail)?;
        match takes {
            Takes::WithinBacklog => self.check_backlog(&tail)?,
            Takes::Always | Takes::Closing(_) => {}
        }
        self.seal_and_put(&mut tail, line, begun, takes.closes())?;
        Ok(tail.written)
    }

    /// The same, for a record that has to be written whenever that is possible again.
    pub(super) fn record_or_wait(&self, mut line: Vec<u8>, takes: Takes) {
        if self.record(&mut line, takes).is_ok() {
            return;
        }
        self.wait(&mut self.tail(), line, takes.closes());
    }

    /// The same for entries that have ended about the same time.
    pub(super) fn close_all(&self, ended: &mut Vec<Closing>) {
        for some in ended.chunks_mut(LANES) {
            let mut lines = [&[][..]; LANES];
            for (line, closing) in lines.iter_mut().zip(some.iter()) {
                *line = fields(&closing.line);
            }
            let begun = Begun::of_all(lines);
            let mut tail = self.tail();
            let mut room = self.flush_waiting(&mut tail).is_ok();
            for (Closing { line, place }, begun) in some.iter_mut().zip(begun) {
                room = room && self.seal_and_put(&mut tail, line, begun, Some(*place)).is_ok();
                if !room {
                    // Those behind it wait as well: records keep their order.
                    self.wait(&mut tail, std::mem::take(line), Some(*place));
                }
            }
        }
        ended.clear();
    }

    fn wait(&self, tail: &mut Tail, line: Vec<u8>, closes: Option<Place>) {
        if closes.is_none() {
            if tail.waiting_events >= WAITING_EVENTS {
                tracing::error!("too many events wait for space in the audit journal; one was dropped");
                return;
            }
            tail.waiting_events += 1;
        }
        tail.waiting.push_back(Waiting { line, closes });
    }

    /// Where the journal ends now.
    pub(super) fn end(&self) -> End {
        let tail = self.tail();
        End { segment: tail.current.mapped().ordinal, at: tail.current.at() as u64, written: tail.written, seq: tail.seq }
    }

    /// Number and hash of the last record.
    pub(super) fn last(&self) -> (u64, [u8; 64]) {
        let tail = self.tail();
        (tail.seq, tail.prev)
    }

    /// Records written by this process, entries open, and why there is no space, if there is none.
    pub(super) fn counts(&self) -> (u64, u64, Option<AuditUnavailable>) {
        let tail = self.tail();
        let room = tail.current.fits(USUAL) || !tail.ready.is_empty();
        let stuck = tail.ended.or_else(|| tail.trouble.filter(|_| !room));
        let stuck = stuck.or_else(|| self.check_backlog(&tail).err());
        (tail.records, tail.opens.total() + tail.slots.as_ref().map_or(0, Slots::taken), stuck)
    }

    /// Shipping stands at `place`, a segment and where in it.
    pub(super) fn shipping_stands_at(&self, place: (u64, u64)) {
        let end = self.end();
        let left = bytes_between(&self.keeping.folder, place, end);
        let to = i64::try_from(end.written).unwrap_or(i64::MAX).saturating_sub(i64::try_from(left).unwrap_or(i64::MAX));
        self.shipped_to.store(to, Ordering::Relaxed);
    }

    /// Shipping has got further by so many bytes of frames.
    pub(super) fn shipped_further(&self, bytes: u64) {
        self.shipped_to.fetch_add(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Bytes that wait for shipping.
    pub(super) fn backlog(&self) -> u64 {
        let tail = self.tail();
        self.backlog_of(&tail)
    }

    /// Writes no more, and cuts the last segment to what was used of it.
    pub(super) fn seal(&self) {
        self.stop.store(true, Ordering::Release);
        let mut tail = self.tail();
        if tail.ended == Some(AuditUnavailable::Closed) {
            return;
        }
        if let Err(stuck) = self.flush_waiting(&mut tail) {
            tracing::error!(%stuck, records = tail.waiting.len(), "audit records that found no space are lost; requests among them read as interrupted");
        }
        let removed = tail.ended.replace(AuditUnavailable::Closed) == Some(AuditUnavailable::Removed);
        tail.current.settle();
        if removed {
            // What stands under these names now may be another sidecar's; the next start mends what is ours.
            return;
        }
        for unused in tail.ready.drain(..) {
            let _ = std::fs::remove_file(&unused.mapped().path);
        }
        let used = tail.current.at();
        let mapped = tail.current.mapped().clone();
        drop(tail);
        self.cut_retired(None);
        if let Err(error) = mapped.cut(used).and_then(|()| mapped.sync()) {
            tracing::warn!(%error, "the audit journal's last segment could not be flushed");
        }
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_backlog(&self, tail: &Tail) -> Result<(), AuditUnavailable> {
        match self.keeping.backlog {
            Some(limit) if self.backlog_of(tail) > limit => Err(AuditUnavailable::Backlog),
            Some(_) | None => Ok(()),
        }
    }

    fn backlog_of(&self, tail: &Tail) -> u64 {
        let written = i64::try_from(tail.written).unwrap_or(i64::MAX);
        u64::try_from(written.saturating_sub(self.shipped_to.load(Ordering::Relaxed))).unwrap_or(0)
    }

    /// Cuts the segments that are full to what was used of them; whether there were any.
    fn cut_retired(&self, mut behind: Option<&mut Behind>) -> bool {
        let (retired, _let_go) = {
            let mut tail = self.tail();
            let unsynced = match self.keeping.durability {
                // Nobody flushes: what waits for it here would stay mapped and open for ever.
                Durability::Process => std::mem::take(&mut tail.unsynced),
                Durability::Disk => Vec::new(),
            };
            (std::mem::take(&mut tail.retired), unsynced)
        };
        let any = !retired.is_empty();
        for (mapped, used) in retired {
            if let Err(error) = mapped.cut(used) {
                tracing::warn!(%error, segment = mapped.ordinal, "an audit segment could not be cut to its length");
            }
            if let Some(behind) = &mut behind {
                behind.full(&mapped, used);
            }
            self.bytes.fetch_add(used as u64, Ordering::Relaxed);
        }
        any
    }
}

/// What waits at `folder` for shipping behind a place, in bytes: from `at` of segment `segment` to `end`.
pub(super) fn bytes_between(folder: &Path, (segment, at): (u64, u64), end: End) -> u64 {
    if segment == end.segment {
        return end.at.saturating_sub(at);
    }
    let Ok(files) = folder::segments(folder) else { return 0 };
    let between: u64 =
        files.iter().filter(|(ordinal, _)| *ordinal >= segment && *ordinal < end.segment).map(|(_, path)| folder::size(path)).sum();
    (between + end.at).saturating_sub(at)
}
