//! Where entries stand while they are open: a file of slots that are used again and again.
//!
//! An entry is open for the milliseconds of its request. In the journal it would be half of all that is written there,
//! pages that have to be prepared, sent to disk and read past; here it goes where the one before has just been, which
//! the processor still holds. The file, `open`, is a segment with the number 0 and a frame at each multiple of [`SLOT`].
//! What finds no slot, because too many are open or because it is long, is an open frame in the journal, and so is
//! everything under `durability: disk`, where one flush has to tell what is open from what is closed.
//!
//! A slot is freed behind the entry's record, under the same lock: so at a crash there is at most one entry that has
//! both, and its record is the journal's last.

use std::{io, path::Path, sync::Arc};

use jiff::Timestamp;

use super::{
    frame::{FrameKind, Header, span},
    scan::{SegmentReader, Step},
    segment::{Mapped, SegmentWriter},
    tail::trouble_of,
};
use crate::audit::error::{AuditError, AuditUnavailable};

/// Bytes of a slot, head of the frame included. The file's own head has the place of the first.
const SLOT: usize = 1 << 10;
/// How many there are: as much as is open at once on a busy sidecar, in a file that is small beside a segment.
const SLOTS: u16 = 255;
const SIZE: usize = (SLOTS as usize + 1) * SLOT;
/// Memory that is there before it is needed: as much as is used at once by most sidecars.
const READY: usize = 64 << 10;
const NAME: &str = "open";
/// What stands where a segment has its number.
pub(super) const ORDINAL: u64 = 0;

/// The slots, and which of them are free.
#[derive(Debug)]
pub(super) struct Slots {
    file: SegmentWriter,
    /// The one that was used last is on top.
    free: Vec<u16>,
}

fn place(slot: u16) -> usize {
    (usize::from(slot) + 1) * SLOT
}

impl Slots {
    /// Opens the slots of a journal's folder. Of those that were `filled`, `taken` have entries that are still to be
    /// closed. `None` where the disk has no room for them.
    pub(super) fn open(folder: &Path, sidecar: &str, filled: Option<&[u16]>, taken: &[u16]) -> Result<Option<Self>, AuditError> {
        let path = folder.join(NAME);
        let io = |cause| AuditError::Io { path: path.clone(), cause };
        let opened = if filled.is_some() {
            SegmentWriter::reopen(path.clone(), ORDINAL, SIZE, SIZE)
        } else {
            let _ = std::fs::remove_file(&path);
            SegmentWriter::create(path.clone(), ORDINAL, SIZE)
        };
        let mut file = match opened {
            Ok(file) => file,
            Err(error) if trouble_of(&error) == AuditUnavailable::Full && taken.is_empty() => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        if filled.is_none() {
            if let Some(claim) = file.claim(READY) {
                claim.prepare(&[0; READY]);
            }
            file.begin(&Header {
                ordinal: ORDINAL,
                first_seq: 0,
                oldest_open: 0,
                created_ms: u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0),
                prev: [b'0'; 64],
                sidecar: sidecar.to_owned(),
            });
        }
        // What has its record, or was damaged, is not asked for again.
        for slot in filled.unwrap_or_default().iter().filter(|slot| !taken.contains(slot)) {
            file.erase(place(*slot));
        }
        Ok(Some(Self { file, free: (0..SLOTS).rev().filter(|slot| !taken.contains(slot)).collect() }))
    }

    /// Writes an open entry to a free slot, if there is one and it fits.
    pub(super) fn put(&mut self, payload: &[u8]) -> Option<u16> {
        if span(payload.len()) > SLOT {
            return None;
        }
        let slot = self.free.pop()?;
        self.file.put_at(place(slot), FrameKind::Open, payload);
        Some(slot)
    }

    /// The entry has its record.
    pub(super) fn free(&mut self, slot: u16) {
        self.file.erase(place(slot));
        self.free.push(slot);
    }

    pub(super) fn mapped(&self) -> &Arc<Mapped> {
        self.file.mapped()
    }

    /// How many entries are open.
    pub(super) fn taken(&self) -> u64 {
        u64::from(SLOTS).saturating_sub(self.free.len() as u64)
    }
}

/// Tells `found` of every open entry in the slots of a journal's folder, and `damage` of what is none. Gives the slots
/// in which there is anything; `None` where there are no slots yet.
pub(super) fn read(
    folder: &Path,
    sidecar: &str,
    damage: &mut Vec<String>,
    mut found: impl FnMut(u16, &[u8]),
) -> Result<Option<Vec<u16>>, AuditError> {
    let path = folder.join(NAME);
    let io = |cause| AuditError::Io { path: path.clone(), cause };
    let Some(mut reader) = SegmentReader::open_begun(&path)? else { return Ok(None) };
    if reader.header.sidecar != sidecar {
        return Err(AuditError::OtherSidecar { path: folder.to_owned(), found: reader.header.sidecar, wanted: sidecar.to_owned() });
    }
    if reader.header.ordinal != ORDINAL {
        return Err(AuditError::Foreign { path, why: format!("by its head it is segment {}", reader.header.ordinal) });
    }
    let filled = filled(&reader).map_err(io)?;
    let mut lost = 0;
    for slot in &filled {
        let at = place(*slot) as u64;
        reader.seek(at);
        reader.read_until(at + SLOT as u64);
        match reader.next().map_err(io)? {
            Step::Frame { kind: FrameKind::Open, payload } => found(*slot, payload),
            Step::Frame { kind: FrameKind::Record, .. } | Step::Damage { .. } | Step::Torn { .. } | Step::End => lost += 1,
        }
    }
    if lost > 0 {
        damage.push(format!("{lost} actions under way are damaged, and have no record"));
    }
    Ok(Some(filled))
}

/// What is damaged in the slots of a journal's folder that nobody writes to.
pub(in crate::audit) fn damage(folder: &Path, sidecar: &str) -> Vec<String> {
    let mut damage = Vec::new();
    if let Err(error) = read(folder, sidecar, &mut damage, |_, _| {}) {
        damage.push(error.to_string());
    }
    damage
}

/// The slots that do not begin with zeros.
fn filled(reader: &SegmentReader) -> io::Result<Vec<u16>> {
    let mut part = vec![0; READY];
    let mut slots = Vec::new();
    for at in (0..SIZE).step_by(READY) {
        let got = reader.read_bytes(&mut part, at as u64)?;
        let begins = part.get(..got).unwrap_or_default().chunks(SLOT).map(|slot| slot.iter().take(8).all(|b| *b == 0));
        let places = (at / SLOT) as u16..;
        slots.extend(begins.zip(places).filter(|(empty, place)| !empty && *place > 0).map(|(_, place)| place - 1));
    }
    Ok(slots)
}
