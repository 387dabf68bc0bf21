//! What a journal needs done beside the requests: segments prepared, pages touched, old segments cut and removed.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use jiff::Timestamp;

use super::{
    AHEAD, AHEAD_FOR, AuditUnavailable, Journal,
    behind::Behind,
    folder,
    scan::SegmentReader,
    segment::{Mapped, ZEROS},
    slots,
    tail::trouble_of,
};
use crate::settings::Durability;

/// How often it looks without being woken.
const LOOK: Duration = Duration::from_millis(200);
/// How often old segments are looked for.
const RETENTION: Duration = Duration::from_secs(5);
/// Segments smaller than this are prepared two ahead.
const SMALL: usize = 8 << 20;

/// The keeper's thread.
#[derive(Debug)]
pub(in crate::audit) struct Keeper(JoinHandle<()>);

/// What the keeper tells the log's owner, on its own thread.
#[derive(Debug)]
pub(in crate::audit) enum Notice {
    /// A moment has passed: time for whatever is done now and then.
    Tick,
    /// Records were turned away from `since` on, and are taken again.
    TakenAgain {
        /// Since when.
        since: Timestamp,
        /// Why they were.
        trouble: AuditUnavailable,
    },
    /// Old segments are about to be removed.
    Trimming {
        /// How many.
        segments: usize,
        /// How large they are.
        bytes: u64,
        /// Number of the last record in them.
        to: u64,
    },
}

/// What the disk said when it was last tried.
#[derive(Debug, Default)]
struct Disk {
    /// How much had been written then: where nothing is written, nothing is lost.
    written: u64,
    /// Since when it takes nothing.
    failing: Option<Timestamp>,
}

/// How fast the journal grows.
#[derive(Debug, Default)]
struct Pace {
    last: Option<(Instant, u64)>,
}

impl Pace {
    /// How far ahead pages should be there, when so many bytes have been written by now.
    fn ahead(&mut self, written: u64) -> usize {
        let now = Instant::now();
        let ahead = self.last.map_or(0, |(then, before)| {
            let micros = now.duration_since(then).as_micros().max(1);
            let bytes = u128::from(written.saturating_sub(before)) * AHEAD_FOR.as_micros() / micros;
            usize::try_from(bytes).unwrap_or(usize::MAX)
        });
        self.last = Some((now, written));
        ahead.clamp(AHEAD.0, AHEAD.1)
    }
}

impl Keeper {
    pub(in crate::audit) fn start(journal: Arc<Journal>, mut tell: Box<dyn FnMut(Notice) + Send>) -> std::io::Result<Self> {
        let mut behind = Behind::start()?;
        let thread = std::thread::Builder::new().name("audit-keep".into()).spawn({
            let journal = journal.clone();
            move || {
                let (mut trimmed, mut looked) = (Instant::now(), Instant::now());
                let mut told: Option<AuditUnavailable> = None;
                let (mut pace, mut disk, mut told_to) = (Pace::default(), Disk::default(), 0);
                // Only ever read: it takes address space, no memory.
                let zeros = vec![0; ZEROS];
                while !journal.stop.load(Ordering::Acquire) {
                    let grown = journal.cut_retired(Some(&mut behind));
                    journal.make_ready(&zeros, &mut told, &mut *tell);
                    journal.prepare_ahead(&mut pace, &zeros, &mut behind);
                    tell(Notice::Tick);
                    if looked.elapsed() >= LOOK {
                        looked = Instant::now();
                        journal.look_after_files();
                        journal.look_after_disk(&mut disk, &mut *tell);
                    }
                    if grown || trimmed.elapsed() >= RETENTION {
                        trimmed = Instant::now();
                        journal.trim(&mut told_to, &mut *tell);
                    }
                    std::thread::park_timeout(LOOK);
                }
            }
        })?;
        let _ = journal.keeper.set(thread.thread().clone());
        // What was written before is not ahead of anything: have the pages behind it touched now.
        thread.thread().unpark();
        Ok(Self(thread))
    }

    /// Waits for the end, which [`Journal::seal`] brings about.
    pub(in crate::audit) fn join(self) {
        self.0.thread().unpark();
        let _ = self.0.join();
    }
}

impl Journal {
    /// Prepares the segments that come next.
    fn make_ready(&self, zeros: &[u8], told: &mut Option<AuditUnavailable>, tell: &mut dyn FnMut(Notice)) {
        let want = if self.keeping.segment < SMALL { 2 } else { 1 };
        loop {
            let ordinal = {
                let mut tail = self.tail();
                // A record that waited may have missed the moment in which there was space again.
                let _ = self.flush_waiting(&mut tail);
                if tail.ended.is_some() || tail.ready.len() >= want {
                    break;
                }
                tail.next_ordinal += 1;
                tail.next_ordinal - 1
            };
            match self.prepare(ordinal) {
                Ok(mut segment) => {
                    if let Some(claim) = segment.claim(AHEAD.0) {
                        claim.prepare(zeros);
                    }
                    let mut tail = self.tail();
                    if let Err(unwanted) = tail.offer(segment) {
                        drop(tail);
                        let _ = std::fs::remove_file(&unwanted.mapped().path);
                        continue;
                    }
                    tail.trouble = None;
                    let since = match self.flush_waiting(&mut tail) {
                        Ok(()) => tail.stuck_since.take(),
                        Err(_) => None,
                    };
                    drop(tail);
                    if told.take().is_some() {
                        tracing::info!("the audit journal has space again");
                    }
                    if let Some(since) = since {
                        tell(Notice::TakenAgain { since, trouble: AuditUnavailable::Full });
                    }
                }
                Err(error) => {
                    let trouble = trouble_of(&error);
                    if told.replace(trouble) != Some(trouble) {
                        tracing::error!(%error, folder = %self.keeping.folder.display(), "the audit journal gets no further segment; requests are refused when the last one is full");
                    }
                    self.tail().trouble = Some(trouble);
                    break;
                }
            }
        }
    }

    /// Makes the pages present that frames will come to next.
    fn prepare_ahead(&self, pace: &mut Pace, zeros: &[u8], behind: &mut Behind) {
        let (mapped, at, claim, ahead) = {
            let mut tail = self.tail();
            let ahead = pace.ahead(tail.written);
            let at = tail.current.at();
            let claim = if tail.ended.is_some() { None } else { tail.current.claim(at + ahead) };
            (tail.current.mapped().clone(), at, claim, ahead)
        };
        behind.written(&mapped, at);
        if let Some(claim) = claim {
            claim.prepare(zeros);
        }
        let mut tail = self.tail();
        if tail.current.mapped().ordinal == mapped.ordinal {
            let claimed = tail.current.claimed();
            tail.wake_at = if claimed == mapped.len() { usize::MAX } else { claimed.saturating_sub(ahead / 2) };
        }
    }

    /// What is written to a file that somebody has removed is gone with the process: nothing goes through on that.
    fn look_after_files(&self) {
        let files = {
            let tail = self.tail();
            let slots = tail.slots.as_ref().map(|slots| slots.mapped().clone());
            std::iter::once(tail.current.mapped().clone()).chain(slots).collect::<Vec<_>>()
        };
        let lock = self.lock.is_gone().then(|| self.lock.path());
        let mapped = files.iter().find(|mapped| mapped.is_gone());
        if lock.is_none() && mapped.is_none() {
            return;
        }
        let mut tail = self.tail();
        // A segment that is full by now may have gone for its age.
        let in_use = |gone: &&Arc<Mapped>| gone.ordinal == tail.current.mapped().ordinal || gone.ordinal == slots::ORDINAL;
        let Some(gone) = lock.or(mapped.filter(in_use).map(|gone| gone.path.as_path())) else { return };
        if tail.ended.is_none() {
            tail.ended = Some(AuditUnavailable::Removed);
            tracing::error!(
                file = %gone.display(),
                "a file of the audit journal was removed or replaced while it was in use; every request is refused until the sidecar is started again"
            );
        }
    }

    /// A file system that has found an error takes nothing more, and a store into a mapping does not tell: what is written
    /// there would be gone with the machine.
    fn look_after_disk(&self, disk: &mut Disk, tell: &mut dyn FnMut(Notice)) {
        let written = self.tail().written;
        if disk.failing.is_none() && written == disk.written {
            return;
        }
        disk.written = written;
        match (self.lock.try_disk(), disk.failing) {
            // A full one is found where space is needed.
            (Err(error), None) if trouble_of(&error) == AuditUnavailable::Broken => {
                let mut tail = self.tail();
                if tail.ended.is_none() {
                    tail.ended = Some(AuditUnavailable::Broken);
                    disk.failing = Some(Timestamp::now());
                    tracing::error!(%error, folder = %self.keeping.folder.display(), "the audit journal's disk takes nothing any more; requests are refused until it does");
                }
            }
            (Ok(()), Some(since)) => {
                disk.failing = None;
                let mut tail = self.tail();
                if tail.ended == Some(AuditUnavailable::Broken) {
                    tail.ended = None;
                    drop(tail);
                    tracing::info!("the audit journal's disk works again");
                    tell(Notice::TakenAgain { since, trouble: AuditUnavailable::Broken });
                }
            }
            (Ok(()) | Err(_), _) => {}
        }
    }

    /// Removes segments that are too old, or too many; never one that is still needed. The log says so first, that it can
    /// be told from a beginning that somebody else has cut off.
    fn trim(&self, told_to: &mut u64, tell: &mut dyn FnMut(Notice)) {
        let Ok(files) = folder::segments(&self.keeping.folder) else { return };
        let (current, oldest_open) = {
            let tail = self.tail();
            let current = tail.current.mapped().clone();
            let oldest_open = tail.opens.oldest().unwrap_or(current.ordinal);
            (current, oldest_open)
        };
        let needed = current.ordinal.min(oldest_open).min(self.shipping_from.load(Ordering::Acquire));
        let sizes: Vec<u64> = files.iter().map(|(_, path)| folder::size(path)).collect();
        let mut total: u64 = sizes.iter().sum();
        let mut going = 0;
        for ((ordinal, path), size) in files.iter().zip(&sizes) {
            if *ordinal >= needed || !(total > self.keeping.max_size || older(path, self.keeping.keep)) {
                break;
            }
            total -= size;
            going += 1;
        }
        let (old, left) = files.split_at(going);
        let mut gone = 0;
        if let (false, Some(first)) = (old.is_empty(), first_record(left)) {
            let to = first.saturating_sub(1);
            if std::mem::replace(told_to, to) != to {
                tell(Notice::Trimming { segments: going, bytes: sizes.iter().take(going).sum(), to });
            }
            let told = self.keeping.durability == Durability::Process || current.sync().is_ok();
            gone = old.iter().take_while(|(_, path)| told && std::fs::remove_file(path).is_ok()).count();
        }
        let full = files.iter().zip(&sizes).skip(gone).filter(|((n, _), _)| *n < current.ordinal).map(|(_, size)| *size);
        let (segments, bytes) = full.fold((0, 0), |(segments, bytes), size| (segments + 1, bytes + size));
        self.bytes.store(bytes, Ordering::Relaxed);
        self.segments.store(segments + 1, Ordering::Relaxed);
    }
}

/// Number that the first record of these segments has, if it gets one.
fn first_record(segments: &[(u64, PathBuf)]) -> Option<u64> {
    let (_, path) = segments.first()?;
    Some(SegmentReader::open_begun(path).ok()??.header.first_seq)
}

/// Whether the file was last written to longer ago than `keep`. No clock that went back makes a file old.
fn older(path: &std::path::Path, keep: Duration) -> bool {
    let written = std::fs::metadata(path).and_then(|meta| meta.modified());
    written.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > keep))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::journal::{Takes, forge, scan::SegmentReader};

    #[test]
    fn a_segment_that_the_requests_have_overtaken_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(forge::keeping(folder.path()), None).unwrap();
        let fill = || {
            let before = journal.end().segment;
            while journal.end().segment == before {
                journal.record(&mut vec![b'x'; 8 << 10], Takes::Always).unwrap();
            }
        };
        // As the keeper does, whose disk is slow now.
        let number = {
            let mut tail = journal.tail();
            tail.next_ordinal += 1;
            tail.next_ordinal - 1
        };
        let slow = journal.prepare(number).unwrap();
        fill();
        assert!(journal.end().segment > number);
        let unwanted = journal.tail().offer(slow).unwrap_err();
        std::fs::remove_file(&unwanted.mapped().path).unwrap();
        fill();
        let segments = folder::segments(folder.path()).unwrap();
        let firsts: Vec<_> = segments.iter().map(|(_, path)| SegmentReader::open_begun(path).unwrap().unwrap().header.first_seq).collect();
        assert!(firsts.len() == 3 && firsts.is_sorted(), "{firsts:?}");
    }
}
