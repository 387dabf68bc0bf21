//! Opening a journal: what a crash left is mended, and a segment stands ready.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64},
    },
};

use jiff::Timestamp;

use super::{
    Journal, Keeping, Place, SEGMENT_MIN,
    folder::{self, Found, Lock},
    frame::Header,
    segment::{self, SegmentWriter},
    slots::Slots,
    tail::{Opens, Tail, create_fitting},
};
use crate::{
    audit::{chain::GENESIS, error::AuditError},
    private,
};

/// What was found when a journal was opened, for whoever has to say so.
#[derive(Debug)]
pub(in crate::audit) struct Recovery {
    pub(in crate::audit) unfinished: Vec<(Place, Vec<u8>)>,
    pub(in crate::audit) cut: u64,
    pub(in crate::audit) damage: Vec<String>,
    /// The last record that was there, and the later one that the numbers went on from.
    pub(in crate::audit) beyond: Option<(u64, u64)>,
}

impl Journal {
    /// Takes the lock, mends what a crash left, and stands ready behind the last record.
    /// `beyond` is the last record that the stream has: where this journal was lost and has it not, the numbers go on
    /// from there.
    pub(in crate::audit) fn open(mut keeping: Keeping, beyond: Option<(u64, [u8; 64])>) -> Result<(Self, Recovery), AuditError> {
        let folder = keeping.folder.clone();
        let io = |cause| AuditError::Io { path: folder.clone(), cause };
        private::create_folder(&folder).map_err(io)?;
        let lock = Lock::take(&folder, keeping.patience)?;
        keeping.segment = keeping.segment.max(SEGMENT_MIN);
        let mut found = folder::mend(&folder, &keeping.sidecar)?;
        let had = found.seq;
        let beyond = beyond.filter(|(seq, _)| *seq > had);
        let (seq, prev) = beyond.unwrap_or((had, found.prev.unwrap_or(GENESIS)));
        if beyond.is_some() {
            // The head of a segment says what it goes on from.
            found.reusable = None;
        }
        let mut opens = Opens::default();
        for (place, _) in &mut found.unfinished {
            if let Place::Segment(segment) = place {
                // They are closed before anything else is written; until then the oldest segment must stay.
                *segment = found.oldest_open;
                opens.opened(found.oldest_open);
            }
        }
        let in_slot = |(place, _): &(Place, Vec<u8>)| match place {
            Place::Slot(slot) => Some(*slot),
            Place::Segment(_) => None,
        };
        let taken: Vec<u16> = found.unfinished.iter().filter_map(in_slot).collect();
        let slots = if keeping.entries { Slots::open(&folder, &keeping.sidecar, found.slots.as_deref(), &taken)? } else { None };
        let (current, next_ordinal) = first_segment(&keeping, &found, seq, &prev).map_err(io)?;
        let full: Vec<u64> =
            found.sizes.iter().filter(|(ordinal, _)| *ordinal != current.mapped().ordinal).map(|(_, size)| *size).collect();
        let journal = Self {
            tail: Mutex::new(Tail {
                wake_at: 0,
                current,
                ready: VecDeque::new(),
                next_ordinal,
                retired: Vec::with_capacity(8),
                unsynced: Vec::with_capacity(8),
                seq,
                prev,
                opens,
                slots,
                waiting: VecDeque::new(),
                waiting_events: 0,
                written: 0,
                records: 0,
                trouble: None,
                stuck_since: None,
                ended: None,
            }),
            keeper: std::sync::OnceLock::new(),
            shipped_to: AtomicI64::new(0),
            // Until shipping has found its place, nothing may go.
            shipping_from: AtomicU64::new(if keeping.backlog.is_some() { 0 } else { u64::MAX }),
            bytes: AtomicU64::new(full.iter().sum()),
            segments: AtomicU64::new(full.len() as u64 + 1),
            stop: AtomicBool::new(false),
            lock,
            keeping,
        };
        let recovery =
            Recovery { unfinished: found.unfinished, cut: found.cut, damage: found.damage, beyond: beyond.map(|(seq, _)| (had, seq)) };
        Ok((journal, recovery))
    }
}

/// The last segment if there is much room in it, else a new one.
fn first_segment(keeping: &Keeping, found: &Found, seq: u64, prev: &[u8; 64]) -> std::io::Result<(SegmentWriter, u64)> {
    if let Some((ordinal, path, used)) = &found.reusable
        && *used < keeping.segment / 2
        && let Ok(writer) = SegmentWriter::reopen(path.clone(), *ordinal, keeping.segment, *used)
    {
        return Ok((writer, found.next));
    }
    let ordinal = found.next;
    let mut writer = create_fitting(segment::file_name(&keeping.folder, ordinal), ordinal, keeping.segment)?;
    writer.begin(&Header {
        ordinal,
        first_seq: seq + 1,
        oldest_open: if found.unfinished.is_empty() { ordinal } else { found.oldest_open },
        created_ms: u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0),
        prev: *prev,
        sidecar: keeping.sidecar.clone(),
    });
    Ok((writer, ordinal + 1))
}
