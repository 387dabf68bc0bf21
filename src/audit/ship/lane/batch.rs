//! Records that go to the stream together.

use std::path::Path;

use crate::audit::{
    chain::{Seal, text},
    error::AuditError,
    journal::{
        End, FrameKind, folder,
        scan::{SegmentReader, Step},
    },
    stream::Cursor,
};

/// Most records in one batch.
const RECORDS: usize = 400;
/// Most bytes in one batch, but for one long record. A batch is copied a few times on its way, and what does not fit
/// into a processor's nearer memory pushes out of it what the serving threads work with.
const BYTES: usize = 128 << 10;

#[derive(Default)]
pub(super) struct Batch {
    /// The records, one after the other.
    pub(super) bytes: Vec<u8>,
    pub(super) ends: Vec<usize>,
    pub(super) first: u64,
    pub(super) last: Option<Cursor>,
    /// Bytes of the journal that it came from, open frames included.
    pub(super) passed: u64,
}

impl Batch {
    pub(super) fn is_full(&self) -> bool {
        self.ends.len() >= RECORDS || self.bytes.len() >= BYTES
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.last = None;
        self.passed = 0;
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(self.ends.iter().copied()).map(|(begin, end)| self.bytes.get(begin..end).unwrap_or_default())
    }

    /// Takes records that follow each other by number, up to `end` where it is known.
    pub(super) fn fill(&mut self, reader: &mut SegmentReader, folder: &Path, end: Option<End>) -> Result<(), AuditError> {
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
                    let Some(seal) = Seal::read(payload) else {
                        self.passed += reader.at() - at;
                        continue;
                    };
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
fn following(folder: &Path, ordinal: u64) -> Result<Option<SegmentReader>, AuditError> {
    for (_, path) in folder::segments(folder)?.into_iter().filter(|(other, _)| *other > ordinal) {
        if let Some(reader) = SegmentReader::open_begun(&path)? {
            return Ok(Some(reader));
        }
    }
    Ok(None)
}
