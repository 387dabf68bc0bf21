//! The end of a journal: where the next frame goes, what it is chained to, and what waits for space.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use jiff::Timestamp;

use super::{
    Journal, OPEN_WORD, Place, SEGMENT_MIN,
    frame::{FrameKind, Header, span},
    segment::{self, Mapped, SegmentWriter},
    slots::Slots,
};
use crate::{
    audit::{chain, digest::Begun, error::AuditUnavailable},
    settings::Durability,
};

/// Where the next frame goes, and what it is chained to.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) current: SegmentWriter,
    pub(super) ready: VecDeque<SegmentWriter>,
    pub(super) next_ordinal: u64,
    /// Full segments that the keeper has to cut.
    pub(super) retired: Vec<(Arc<Mapped>, usize)>,
    /// Full segments that have not been flushed.
    pub(super) unsynced: Vec<Arc<Mapped>>,
    pub(super) seq: u64,
    pub(super) prev: [u8; 64],
    pub(super) opens: Opens,
    /// Where entries stand while they are open, if they have a place of their own.
    pub(super) slots: Option<Slots>,
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) waiting_events: usize,
    /// Bytes of frames since this process opened the journal.
    pub(super) written: u64,
    pub(super) records: u64,
    /// The keeper is woken when the next frame goes beyond this.
    pub(super) wake_at: usize,
    /// Why there is no further segment.
    pub(super) trouble: Option<AuditUnavailable>,
    /// Since when frames have been turned away for that.
    pub(super) stuck_since: Option<Timestamp>,
    /// Why nothing is taken any more.
    pub(super) ended: Option<AuditUnavailable>,
}

/// A record that found no space.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) line: Vec<u8>,
    pub(super) closes: Option<Place>,
}

/// How many open frames each segment holds, oldest segment first.
#[derive(Debug, Default)]
pub(super) struct Opens(pub(super) VecDeque<(u64, u64)>);

/// What a record is written in spite of.
#[derive(Debug, Clone, Copy)]
pub(in crate::audit) enum Takes {
    /// Not if too much waits for shipping.
    WithinBacklog,
    /// However much waits.
    Always,
    /// However much waits; it closes the entry that stands there.
    Closing(Place),
}

impl Journal {
    /// What found no space earlier comes first.
    pub(super) fn flush_waiting(&self, tail: &mut Tail) -> Result<(), AuditUnavailable> {
        while let Some(mut waiting) = tail.waiting.pop_front() {
            let begun = Begun::of(fields(&waiting.line));
            if let Err(stuck) = self.seal_and_put(tail, &mut waiting.line, begun, waiting.closes) {
                tail.waiting.push_front(waiting);
                return Err(stuck);
            }
            if waiting.closes.is_none() {
                tail.waiting_events = tail.waiting_events.saturating_sub(1);
            }
        }
        Ok(())
    }

    pub(super) fn seal_and_put(
        &self,
        tail: &mut Tail,
        line: &mut Vec<u8>,
        begun: Begun,
        closes: Option<Place>,
    ) -> Result<(), AuditUnavailable> {
        let unsealed = line.len();
        let from = unsealed - fields(line).len();
        let hash = chain::seal(line, from, begun, tail.seq + 1, &tail.prev);
        if let Err(stuck) = self.put(tail, FrameKind::Record, fields(line)) {
            line.truncate(unsealed);
            return Err(stuck);
        }
        tail.seq += 1;
        tail.prev = hash;
        tail.records += 1;
        // Whoever dies before this leaves an open entry beside its record, the journal's last.
        match closes {
            Some(Place::Slot(slot)) => tail.slots.iter_mut().for_each(|slots| slots.free(slot)),
            Some(Place::Segment(segment)) => tail.opens.closed(segment),
            None => {}
        }
        Ok(())
    }

    /// Sees to it that a frame of such a payload can be written next.
    pub(super) fn make_room(&self, tail: &mut Tail, payload: usize) -> Result<(), AuditUnavailable> {
        if let Some(why) = tail.ended {
            return Err(why);
        }
        if tail.current.fits(payload) { Ok(()) } else { self.next_segment(tail) }
    }

    pub(super) fn put(&self, tail: &mut Tail, kind: FrameKind, payload: &[u8]) -> Result<(), AuditUnavailable> {
        self.make_room(tail, payload.len())?;
        if !tail.current.put(kind, payload) {
            tracing::error!(bytes = payload.len(), "an audit record is longer than a segment");
            return Err(AuditUnavailable::Broken);
        }
        tail.written += span(payload.len()) as u64;
        if tail.current.at() > tail.wake_at {
            tail.wake_at = usize::MAX;
            self.wake_keeper();
        }
        Ok(())
    }

    pub(super) fn next_segment(&self, tail: &mut Tail) -> Result<(), AuditUnavailable> {
        let next = match tail.ready.pop_front() {
            Some(next) => next,
            None => match tail.trouble {
                Some(trouble) => return Err(self.turned_away(tail, trouble)),
                // The keeper was overtaken: better one slow request than one refused.
                None => match self.prepare(tail.next_ordinal) {
                    Ok(next) => {
                        tail.next_ordinal += 1;
                        next
                    }
                    Err(error) => return Err(self.turned_away(tail, trouble_of(&error))),
                },
            },
        };
        tail.begin(next, &self.keeping.sidecar);
        self.segments.fetch_add(1, Ordering::Relaxed);
        self.wake_keeper();
        Ok(())
    }

    pub(super) fn turned_away(&self, tail: &mut Tail, trouble: AuditUnavailable) -> AuditUnavailable {
        tail.trouble = Some(trouble);
        tail.stuck_since.get_or_insert_with(Timestamp::now);
        self.wake_keeper();
        trouble
    }

    pub(super) fn wake_keeper(&self) {
        if let Some(thread) = self.keeper.get() {
            thread.unpark();
        }
    }

    /// A new segment. Where its full size is not to be had, a smaller one.
    pub(super) fn prepare(&self, ordinal: u64) -> std::io::Result<SegmentWriter> {
        let path = segment::file_name(&self.keeping.folder, ordinal);
        let segment = create_fitting(path, ordinal, self.keeping.segment)?;
        if self.keeping.durability == Durability::Disk {
            // The name has to survive a power cut as well as what is written under it.
            rustix::fs::fsync(std::fs::File::open(&self.keeping.folder)?)?;
        }
        Ok(segment)
    }
}

impl Tail {
    /// Takes a segment that was prepared for later; gives it back when nothing is written any more, or when the requests,
    /// which do not wait, have gone on to one with a higher number: readers go by the numbers.
    pub(super) fn offer(&mut self, segment: SegmentWriter) -> Result<(), SegmentWriter> {
        if self.ended.is_some() || segment.mapped().ordinal < self.current.mapped().ordinal {
            return Err(segment);
        }
        self.ready.push_back(segment);
        Ok(())
    }

    /// Makes `next` the segment that is written to.
    pub(super) fn begin(&mut self, mut next: SegmentWriter, sidecar: &str) {
        let ordinal = next.mapped().ordinal;
        next.begin(&Header {
            ordinal,
            first_seq: self.seq + 1,
            oldest_open: self.opens.oldest().unwrap_or(ordinal),
            created_ms: u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0),
            prev: self.prev,
            sidecar: sidecar.to_owned(),
        });
        self.wake_at = 0;
        let full = std::mem::replace(&mut self.current, next);
        // It is about to be cut where it ends.
        full.settle();
        self.retired.push((full.mapped().clone(), full.at()));
        self.unsynced.push(full.mapped().clone());
    }
}

impl Takes {
    pub(super) const fn closes(self) -> Option<Place> {
        match self {
            Self::Closing(place) => Some(place),
            Self::WithinBacklog | Self::Always => None,
        }
    }
}

impl Opens {
    pub(super) fn opened(&mut self, segment: u64) {
        match self.0.back_mut() {
            Some((last, count)) if *last == segment => *count += 1,
            Some(_) | None => self.0.push_back((segment, 1)),
        }
    }

    pub(super) fn closed(&mut self, segment: u64) {
        if let Some((_, count)) = self.0.iter_mut().rev().find(|(ordinal, _)| *ordinal == segment) {
            *count = count.saturating_sub(1);
        }
        while self.0.front().is_some_and(|(_, count)| *count == 0) {
            self.0.pop_front();
        }
    }

    pub(super) fn oldest(&self) -> Option<u64> {
        self.0.front().map(|(segment, _)| *segment)
    }

    pub(super) fn total(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }
}

/// The JSON of a line that may still have the word of an open frame before it.
pub(super) fn fields(line: &[u8]) -> &[u8] {
    line.strip_prefix(OPEN_WORD).unwrap_or(line)
}

pub(super) fn trouble_of(error: &std::io::Error) -> AuditUnavailable {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => AuditUnavailable::Full,
        _ => AuditUnavailable::Broken,
    }
}

pub(super) fn create_fitting(path: PathBuf, ordinal: u64, size: usize) -> std::io::Result<SegmentWriter> {
    let mut size = size;
    loop {
        match SegmentWriter::create(path.clone(), ordinal, size) {
            Err(error) if trouble_of(&error) == AuditUnavailable::Full && size / 2 >= SEGMENT_MIN => size /= 2,
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::journal::{Closing, folder, forge};

    #[test]
    fn entries_that_end_together_on_a_full_disk_wait_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(forge::keeping(folder.path()), None).unwrap();
        let line = |n: u64| format!("open {{\"id\":\"{n}\",\"text\":\"{}\"", "x".repeat(900)).into_bytes();
        let mut ended: Vec<_> = (0..5).map(|n| Closing { place: journal.open_entry(&line(n)).unwrap().0, line: line(n) }).collect();
        let left = |journal: &Journal| {
            let open = journal.counts().1;
            (journal.tail().waiting.len() as u64, open)
        };
        let room = |tail: &Tail, records: usize| tail.current.fits(records * span(line(0).len() + 200));
        while room(&journal.tail(), 3) {
            journal.record(&mut line(99), Takes::Always).unwrap();
        }
        {
            let mut tail = journal.tail();
            tail.ready.clear();
            tail.trouble = Some(AuditUnavailable::Full);
        }
        journal.close_all(&mut ended);
        assert!(ended.is_empty());
        let (waiting, open) = left(&journal);
        assert!((1..5).contains(&waiting) && open == waiting, "{waiting} wait, {open} are open");
        journal.tail().trouble = None;
        journal.record(&mut line(5), Takes::Always).unwrap();
        assert_eq!(left(&journal), (0, 0));
        let lines = folder::segments(folder.path()).unwrap().into_iter().flat_map(|(_, path)| forge::lines(&path));
        let seals: Vec<_> = lines.collect();
        let mut prev = chain::GENESIS;
        for line in &seals {
            let seal = chain::Seal::read(line).unwrap();
            assert!(seal.holds() && *seal.prev == prev);
            prev = *seal.hash;
        }
        let ids: Vec<_> = seals.iter().map(|line| serde_json::from_slice::<serde_json::Value>(line).unwrap()["id"].clone()).collect();
        assert_eq!(ids[ids.len() - 6..], ["0", "1", "2", "3", "4", "5"]);
    }
}
