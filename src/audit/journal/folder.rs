//! The journal's folder: its files, its lock, and what a crash left in it.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::FlockOperation;

use super::{
    Place,
    frame::{FrameKind, OPEN_WORD},
    scan::{Opened, SegmentReader, Step},
    slots,
};
use crate::{
    audit::{
        chain::{Seal, id_of},
        error::AuditError,
        line::Ending,
        record::{Outcome, Record},
    },
    private,
};

/// The highest segment there can be: its file's name has twelve digits.
const ORDINAL_MAX: u64 = 999_999_999_999;
/// No sidecar has ever written so many records; a number beyond was forged, and the next one must not overflow.
const SEQ_MAX: u64 = u64::MAX / 2;

/// Folder, in a journal's folder, of the operators' journal.
pub(in crate::audit) const OPERATORS: &str = "operator";

/// The right to write to a journal, given back when dropped.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    path: PathBuf,
}

/// What a journal looked like when it was opened.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Number of the last record.
    pub(super) seq: u64,
    /// Hash of the last record, in hexadecimal.
    pub(super) prev: Option<[u8; 64]>,
    /// Open entries without a record, oldest first: where each stands, and its line.
    pub(super) unfinished: Vec<(Place, Vec<u8>)>,
    /// The slots that held anything, if there are slots.
    pub(super) slots: Option<Vec<u16>>,
    /// Segment in which the oldest of them may stand.
    pub(super) oldest_open: u64,
    /// Bytes of torn frames that were cut off.
    pub(super) cut: u64,
    /// What is damaged and was left as it is, for people.
    pub(super) damage: Vec<String>,
    /// The last segment and how much of it is used, if more can be written to it.
    pub(super) reusable: Option<(u64, PathBuf, usize)>,
    /// Ordinal that the next new segment gets.
    pub(super) next: u64,
    /// Bytes of all segments, by ordinal, oldest first.
    pub(super) sizes: Vec<(u64, u64)>,
}

/// The segment files of a journal, oldest first.
pub(in crate::audit) fn segments(folder: &Path) -> Result<Vec<(u64, PathBuf)>, AuditError> {
    let io = |cause| AuditError::Io { path: folder.to_owned(), cause };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let named = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".journal"));
        if let Some(ordinal) = named.and_then(|stem| stem.parse().ok()).filter(|ordinal| *ordinal <= ORDINAL_MAX) {
            found.push((ordinal, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// How large a file is; 0 if it has gone.
pub(in crate::audit) fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}

/// Whether a file holds nothing but zeros.
pub(in crate::audit) fn is_blank(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        let got = file.read(&mut buffer)?;
        if got == 0 {
            return Ok(true);
        }
        if buffer.iter().take(got).any(|b| *b != 0) {
            return Ok(false);
        }
    }
}

impl Lock {
    /// Takes the lock, waiting `patience` for another process to be done.
    pub(super) fn take(folder: &Path, patience: Duration) -> Result<Self, AuditError> {
        let path = folder.join("lock");
        let io = |cause| AuditError::Io { path: path.clone(), cause };
        let mut file = private::open_or_create(&path).map_err(io)?;
        let end = Instant::now() + patience;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < end => std::thread::sleep(Duration::from_millis(10)),
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let mut holder = String::new();
                    let _ = (&file).take(20).read_to_string(&mut holder);
                    let holder = holder.trim().parse::<u32>().map_or_else(|_| String::new(), |pid| format!(" (process {pid})"));
                    return Err(AuditError::InUse { path: folder.to_owned(), holder });
                }
                Err(error) => return Err(io(error.into())),
            }
        }
        file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).map_err(io)?;
        Ok(Self { file, path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its file no longer stands under its name: then another process may take the lock as well.
    pub(super) fn is_gone(&self) -> bool {
        super::segment::is_gone(&self.file, &self.path)
    }

    /// Whether the disk still takes what is written. A store into a mapping does not tell.
    pub(super) fn try_disk(&self) -> io::Result<()> {
        self.file.write_all_at(std::process::id().to_string().as_bytes(), 0)
    }
}

/// Whether somebody writes to this journal now.
pub(in crate::audit) fn in_use(folder: &Path) -> bool {
    let Ok(file) = File::open(folder.join("lock")) else { return false };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => false,
        Err(error) => error == rustix::io::Errno::WOULDBLOCK,
    }
}

/// Looks at what is there, and cuts off a torn end. Needs the lock. Changes nothing that it cannot read.
pub(super) fn mend(folder: &Path, sidecar: &str) -> Result<Found, AuditError> {
    let mut found = Found { next: 1, ..Found::default() };
    let mut begun = Vec::new();
    for (ordinal, path) in segments(folder)? {
        found.next = found.next.max(ordinal + 1);
        match SegmentReader::open(&path)? {
            Opened::Begun(reader) if reader.header.ordinal != ordinal => {
                let why = format!("by its head it is segment {}", reader.header.ordinal);
                return Err(AuditError::Foreign { path, why });
            }
            Opened::Begun(reader) if reader.header.sidecar != sidecar => {
                let (found, wanted) = (reader.header.sidecar, sidecar.to_owned());
                return Err(AuditError::OtherSidecar { path: folder.to_owned(), found, wanted });
            }
            Opened::Begun(reader) => begun.push(reader),
            Opened::Unused | Opened::Headless => set_aside_unused(&path, &mut found)?,
        }
    }
    let mut unfinished = Unfinished::default();
    found.slots = slots::read(folder, sidecar, &mut found.damage, |slot, payload| unfinished.opened(Place::Slot(slot), payload))?;
    let Some(last) = begun.last().map(|reader| (reader.header.ordinal, reader.header.oldest_open)) else {
        // Its segments have gone, and what was under way has no other trace.
        found.unfinished = unfinished.readable(sidecar, &mut found.damage);
        return Ok(found);
    };
    found.sizes = begun.iter().map(|reader| (reader.header.ordinal, size(&reader.path))).collect();
    found.oldest_open = last.1.min(last.0);
    let from = found.oldest_open;
    for mut reader in begun.into_iter().filter(|reader| reader.header.ordinal >= from) {
        let io = |cause| AuditError::Io { path: folder.to_owned(), cause };
        if found.prev.is_none() {
            found.prev = Some(reader.header.prev);
            found.seq = reader.header.first_seq.saturating_sub(1);
        }
        let damage_before = found.damage.len();
        let is_last = reader.header.ordinal == last.0;
        walk(&mut reader, is_last, &mut found, &mut unfinished).map_err(io)?;
        if is_last {
            let used = reader.at();
            OpenOptions::new().write(true).open(&reader.path).and_then(|file| file.set_len(used)).map_err(io)?;
            if let Some((_, size)) = found.sizes.last_mut() {
                *size = used;
            }
            if found.damage.len() == damage_before {
                found.reusable = Some((last.0, reader.path, usize::try_from(used).unwrap_or(usize::MAX)));
            }
        }
    }
    if found.seq > SEQ_MAX {
        return Err(AuditError::Foreign { path: folder.to_owned(), why: format!("no sidecar counts to {}", found.seq) });
    }
    found.unfinished = unfinished.readable(sidecar, &mut found.damage);
    Ok(found)
}

/// Whether what stands in an open entry becomes a record of this sidecar when it is closed. What does not was forged, and
/// closing it would put a line into the chain that nobody can read.
fn can_be_closed(line: &[u8], sidecar: &str) -> bool {
    let mut closed = line.to_vec();
    let ending = Ending { status: None, outcome: Outcome::Interrupted, bytes_in: 0, bytes_out: 0, upstream_us: None, total_us: None };
    ending.write(&mut closed);
    closed.extend_from_slice(b",\"seq\":1,\"prev\":\"\",\"hash\":\"\"}");
    let record = std::str::from_utf8(&closed).ok().and_then(|line| serde_json::from_str::<Record>(line).ok());
    record.is_some_and(|record| record.sidecar == sidecar)
}

/// Open entries whose record has not been met, by their ids.
#[derive(Default)]
struct Unfinished(HashMap<String, (Place, Vec<u8>)>);

impl Unfinished {
    fn opened(&mut self, place: Place, payload: &[u8]) {
        let line = payload.strip_prefix(OPEN_WORD).unwrap_or(payload);
        if let Some(id) = id_of(line) {
            self.0.insert(id.to_owned(), (place, line.to_vec()));
        }
    }

    fn closed(&mut self, line: &[u8]) {
        if let Some(id) = id_of(line) {
            self.0.remove(id);
        }
    }

    /// Those of which a record can be made, oldest first: such ids sort by time.
    fn readable(self, sidecar: &str, damage: &mut Vec<String>) -> Vec<(Place, Vec<u8>)> {
        let mut open: Vec<_> = self.0.into_iter().collect();
        open.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let all = open.len();
        open.retain(|(_, (_, line))| can_be_closed(line, sidecar));
        if open.len() < all {
            damage.push(format!("{} actions under way cannot be read, and have no record", all - open.len()));
        }
        open.into_iter().map(|(_, entry)| entry).collect()
    }
}

/// Reads one segment to its end.
fn walk(reader: &mut SegmentReader, is_last: bool, found: &mut Found, unfinished: &mut Unfinished) -> std::io::Result<()> {
    let ordinal = reader.header.ordinal;
    let damaged = |at: u64, bytes: u64| format!("{bytes} bytes at {at} of segment {ordinal} are no record");
    loop {
        let at = reader.at();
        let mut step = reader.next()?;
        if step == Step::End && is_last {
            step = reader.beyond_end()?;
        }
        match step {
            Step::Frame { kind: FrameKind::Open, payload } => unfinished.opened(Place::Segment(ordinal), payload),
            Step::Frame { kind: FrameKind::Record, payload } => {
                unfinished.closed(payload);
                if let Some(seal) = Seal::read(payload) {
                    found.seq = seal.seq;
                    found.prev = Some(*seal.hash);
                }
            }
            Step::Damage { at, bytes } => found.damage.push(damaged(at, bytes)),
            Step::Torn { bytes } if is_last => {
                found.cut += bytes;
                return Ok(());
            }
            Step::Torn { bytes } => {
                found.damage.push(damaged(at, bytes));
                return Ok(());
            }
            Step::End => return Ok(()),
        }
    }
}

/// Removes a segment that was prepared and never begun. One that begins with zeros and goes on with something has
/// lost its head (a power cut can do that): it is put aside under another name.
fn set_aside_unused(path: &Path, found: &mut Found) -> Result<(), AuditError> {
    let io = |cause| AuditError::Io { path: path.to_owned(), cause };
    if is_blank(path).map_err(io)? {
        return fs::remove_file(path).map_err(io);
    }
    let aside = path.with_extension("damaged");
    found.damage.push(format!("{} has lost its head and was put aside as {}", path.display(), aside.display()));
    fs::rename(path, &aside).map_err(io)
}
