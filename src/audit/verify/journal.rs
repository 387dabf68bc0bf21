//! A journal's folder: its frames, its segments' heads, and how far it says it had got.

use std::path::{Path, PathBuf};

use super::{Chains, breathe};
use crate::audit::{
    chain::{Seal, text},
    error::AuditError,
    journal::{
        FrameKind, folder,
        scan::{Opened, SegmentReader, Step},
        slots,
    },
    mark::{self, Mark},
};

pub(super) async fn verify(path: &Path, chains: &mut Chains<'_>, progress: &mut (dyn FnMut(u64) + Send)) -> Result<(), AuditError> {
    if !path.is_dir() {
        return Err(AuditError::NoJournal { path: path.to_owned() });
    }
    one(path, chains, progress).await?;
    let operators = path.join(folder::OPERATORS);
    if operators.is_dir() {
        one(&operators, chains, progress).await?;
    }
    Ok(())
}

/// What is expected next in a folder.
struct Expected {
    ordinal: Option<u64>,
    /// Of the last record met.
    last: Option<(u64, [u8; 64])>,
    sidecar: String,
}

async fn one(path: &Path, chains: &mut Chains<'_>, progress: &mut (dyn FnMut(u64) + Send)) -> Result<(), AuditError> {
    // Read first: the journal may grow meanwhile, but it was no shorter than this.
    let marked = mark::read(path, Mark::Written);
    let shipped = mark::read(path, Mark::Shipped);
    let live = folder::in_use(path);
    let mut expected = Expected { ordinal: None, last: None, sidecar: String::new() };
    let files = folder::segments(path)?;
    let last_written = if live { None } else { last_written(&files) };
    let mut open: Option<Segment> = None;
    let mut first: Option<(String, u64)> = None;
    for (ordinal, file) in files {
        let reader = match SegmentReader::open(&file) {
            Ok(Opened::Begun(reader)) => reader,
            Ok(Opened::Unused) if last_written.is_none_or(|last| ordinal > last) => continue,
            Ok(Opened::Unused | Opened::Headless) => {
                chains.complain(None, &expected.sidecar, format!("segment {ordinal} has lost its head, and with it its records"));
                continue;
            }
            // Retention removed it while we were on our way.
            Err(AuditError::Io { cause, .. }) if cause.kind() == std::io::ErrorKind::NotFound && live => continue,
            Err(AuditError::Foreign { why, .. }) => {
                chains.complain(None, &expected.sidecar, format!("segment {ordinal} is no segment of a journal: {why}"));
                continue;
            }
            Err(other) => return Err(other),
        };
        // Its writer may have gone on in the one before after we had come to its end, and before it began this one.
        if let Some(mut before) = open.take().filter(|_| live) {
            before.walk(live, &mut expected, chains, progress).await?;
        }
        first.get_or_insert_with(|| (reader.header.sidecar.clone(), reader.header.first_seq));
        begins(&reader, ordinal, &mut expected, chains);
        let mut segment = Segment { reader, ordinal, met: Met::Nothing };
        segment.walk(live, &mut expected, chains, progress).await?;
        open = Some(segment);
    }
    if let Some((sidecar, seq)) = first.filter(|(sidecar, seq)| !chains.may_begin_at(sidecar, *seq)) {
        let problem = format!(
            "the journal begins with record {seq}, and no record says that those before it were removed for their age or size: its beginning was cut off"
        );
        chains.complain(Some(seq.saturating_sub(1)), &sidecar, problem);
    }
    let reached = expected.last.map_or(0, |(seq, _)| seq);
    if let Some((seq, _)) = shipped.filter(|(seq, _)| reached < *seq) {
        let problem = format!("record {seq} was shipped and the journal now ends with {reached}: its end was cut off");
        chains.complain(Some(reached.saturating_add(1)), &expected.sidecar, problem);
    }
    if let Some((seq, hash)) = marked {
        let same = expected.last.is_some_and(|(last, found)| last != seq || text(&found) == hash);
        if reached < seq {
            chains.complain(
                Some(reached.saturating_add(1)),
                &expected.sidecar,
                format!("the journal once reached record {seq} and now ends with {reached}: its end was cut off"),
            );
        } else if !same {
            chains.complain(Some(seq), &expected.sidecar, "is not the record that the journal's mark names: the end was rewritten");
        }
    }
    if !live && expected.ordinal.is_some() {
        for damage in slots::damage(path, &expected.sidecar) {
            chains.complain(None, &expected.sidecar, damage);
        }
    }
    Ok(())
}

/// The last segment that holds anything. What is behind it was prepared ahead, several at a time where segments are small, and a
/// writer that was killed leaves it there.
fn last_written(files: &[(u64, PathBuf)]) -> Option<u64> {
    let unused = |file: &Path| matches!(SegmentReader::open(file), Ok(Opened::Unused)) && folder::is_blank(file).unwrap_or(false);
    files.iter().rev().find(|(_, file)| !unused(file)).map(|(ordinal, _)| *ordinal)
}

/// A segment, and whether a record of it has been met.
struct Segment {
    reader: SegmentReader,
    ordinal: u64,
    met: Met,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Met {
    Nothing,
    Records,
}

impl Segment {
    /// Looks at what there is from where it stands.
    async fn walk(
        &mut self,
        live: bool,
        expected: &mut Expected,
        chains: &mut Chains<'_>,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), AuditError> {
        let ordinal = self.ordinal;
        let head = self.reader.header.clone();
        let io = |cause| AuditError::Io { path: PathBuf::from(format!("segment {ordinal}")), cause };
        loop {
            let at = self.reader.at();
            let mut step = self.reader.next().map_err(io)?;
            if step == Step::End && !live {
                step = self.reader.beyond_end().map_err(io)?;
            }
            match step {
                Step::Frame { kind: FrameKind::Open, .. } => {}
                Step::Frame { kind: FrameKind::Record, payload } => {
                    if let Some(seal) = Seal::read(payload) {
                        if self.met == Met::Nothing && (seal.seq != head.first_seq || *seal.prev != head.prev) {
                            let problem = format!(
                                "segment {ordinal} begins with record {}, not with {} as its head says: records were removed or replaced",
                                seal.seq, head.first_seq
                            );
                            chains.complain(Some(head.first_seq), &head.sidecar, problem);
                        }
                        expected.last = Some((seal.seq, *seal.hash));
                    }
                    self.met = Met::Records;
                    if let Some((sidecar, seq)) = chains.meet(payload)
                        && sidecar != head.sidecar
                    {
                        chains.complain(Some(seq), &sidecar, format!("stands in the journal of {}: it was inserted", head.sidecar));
                    }
                    breathe(chains, progress).await;
                }
                Step::Damage { at, bytes } => {
                    let problem = format!("{bytes} bytes at {at} of segment {ordinal} are no record: it was damaged or changed");
                    chains.complain(expected.last.map(|(seq, _)| seq.saturating_add(1)), &head.sidecar, problem);
                }
                Step::Torn { .. } if live => return Ok(()),
                Step::Torn { bytes } => {
                    let problem = format!(
                        "segment {ordinal} ends at {at} with {bytes} bytes of a record that is not whole: it was cut short, damaged, or its writer died (then the next start mends it)"
                    );
                    chains.complain(expected.last.map(|(seq, _)| seq.saturating_add(1)), &head.sidecar, problem);
                    return Ok(());
                }
                Step::End => return Ok(()),
            }
        }
    }
}

/// A segment has to go on where the one before it ended.
fn begins(reader: &SegmentReader, ordinal: u64, expected: &mut Expected, chains: &mut Chains<'_>) {
    let head = &reader.header;
    if head.ordinal != ordinal {
        chains.complain(
            Some(head.first_seq),
            &head.sidecar,
            format!("the file of segment {ordinal} is segment {} by its head: it was moved", head.ordinal),
        );
    }
    if let Some((seq, hash)) = expected.last
        && (head.first_seq != seq.saturating_add(1) || head.prev != hash)
    {
        let problem = if head.first_seq > seq.saturating_add(1) {
            format!(
                "records {} to {} are missing: segment {ordinal} begins with {}",
                seq.saturating_add(1),
                head.first_seq - 1,
                head.first_seq
            )
        } else {
            format!("segment {ordinal} does not go on where the one before it ends")
        };
        chains.complain(Some(seq.saturating_add(1)), &head.sidecar, problem);
    } else if let Some(before) = expected.ordinal
        && expected.last.is_none()
    {
        chains.complain(Some(head.first_seq), &head.sidecar, format!("segment {before} before this one has no record left"));
    }
    expected.ordinal = Some(ordinal);
    expected.sidecar.clone_from(&head.sidecar);
}
