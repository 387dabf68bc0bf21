//! A segment file, mapped and written to.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use memmap2::{Advice, MmapRaw};
use rustix::fs::FallocateFlags;

use super::frame::{FRAME_HEAD, FrameKind, Header, SEGMENT_HEAD, check_word, commit_word, span};

/// Size of a page, for touching; larger ones are touched more often than needed.
const PAGE: usize = 4096;

/// The file and its mapping, shared with whoever touches pages ahead or flushes them.
///
/// All of the file's blocks are there before it is mapped ([`allocate`]), so that a store into the mapping never has
/// to find space: a full disk shows when a segment is prepared, as an error, and never as SIGBUS. What remains is a
/// file that somebody else makes shorter while it is in use; the journal's folder is ours alone.
#[derive(Debug)]
pub(super) struct Mapped {
    pub(super) ordinal: u64,
    pub(super) path: PathBuf,
    file: File,
    map: MmapRaw,
}

/// The one right to write to a segment. There is one for each mapping, and it is not cloned.
#[derive(Debug)]
pub(super) struct SegmentWriter {
    mapped: Arc<Mapped>,
    at: usize,
}

impl Mapped {
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// Makes the pages of `from..to` present and writable, so that a store there takes no fault.
    pub(super) fn touch(&self, from: usize, to: usize) {
        let from = from / PAGE * PAGE;
        let to = to.min(self.len());
        if from < to {
            // Kernels before 5.14 do not know this; there, `create` has touched all pages once.
            let _ = self.map.advise_range(Advice::PopulateWrite, from, to - from);
        }
    }

    /// Returns when all that was stored is on disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.file)?)
    }

    /// Cuts the file to what was used of it. Nothing may write or touch beyond that any more.
    pub(super) fn cut(&self, used: usize) -> io::Result<()> {
        self.file.set_len(used as u64)
    }
}

impl SegmentWriter {
    /// Prepares a new segment file of `size` bytes; it counts once [`SegmentWriter::begin`] has been called.
    pub(super) fn create(path: PathBuf, ordinal: u64, size: usize) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        Self::map(file, path.clone(), ordinal, size, 0).inspect_err(|_| {
            let _ = std::fs::remove_file(&path);
        })
    }

    /// Goes on in a segment that has been used up to `used`, after it was cut there.
    pub(super) fn reopen(path: PathBuf, ordinal: u64, size: usize, used: usize) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        Self::map(file, path, ordinal, size.max(used), used)
    }

    fn map(file: File, path: PathBuf, ordinal: u64, size: usize, used: usize) -> io::Result<Self> {
        allocate(&file, used, size)?;
        let map = MmapRaw::map_raw(&file)?;
        let mapped = Mapped { ordinal, path, file, map };
        if mapped.map.advise_range(Advice::PopulateWrite, used / PAGE * PAGE, PAGE).is_err() {
            mapped.touch_all(used);
        }
        Ok(Self { mapped: Arc::new(mapped), at: used })
    }

    pub(super) fn mapped(&self) -> &Arc<Mapped> {
        &self.mapped
    }

    /// Where the next frame goes.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Whether a frame of such a payload fits.
    pub(super) fn fits(&self, payload: usize) -> bool {
        self.at + span(payload) <= self.mapped.len()
    }

    /// Writes the head: from now on this segment is part of the journal.
    pub(super) fn begin(&mut self, header: &Header) {
        let bytes = header.to_bytes();
        let (first, rest) = bytes.split_at(8);
        self.store(8, rest);
        self.publish(0, first.first_chunk().map_or(0, |word| u64::from_le_bytes(*word)));
        self.at = SEGMENT_HEAD;
    }

    /// Writes a frame; whoever dies within this leaves the whole frame or none. `false` if it does not fit.
    pub(super) fn put(&mut self, kind: FrameKind, payload: &[u8]) -> bool {
        if !self.fits(payload.len()) {
            return false;
        }
        let check = check_word(self.mapped.ordinal, self.at as u64, kind, payload);
        self.store(self.at + 8, &check.to_le_bytes());
        self.store(self.at + FRAME_HEAD, payload);
        self.store(self.at + FRAME_HEAD + payload.len(), b"\n");
        self.publish(self.at, commit_word(kind, payload.len()));
        self.at += span(payload.len());
        true
    }

    fn store(&mut self, at: usize, bytes: &[u8]) {
        if at + bytes.len() > self.mapped.len() {
            return;
        }
        // SAFETY: the range lies within the mapping (checked above), whose blocks are allocated, so the store cannot
        // fault for want of space. `&mut self` is the only writer of this mapping, and no reference to its memory is
        // ever made: readers go through the file. Touching pages ahead changes no byte.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.mapped.map.as_mut_ptr().add(at), bytes.len()) };
    }

    /// Stores a word after everything that was stored before it.
    fn publish(&mut self, at: usize, word: u64) {
        if !at.is_multiple_of(8) || at + 8 > self.mapped.len() {
            return;
        }
        // SAFETY: within the mapping and aligned (checked above; a mapping begins on a page), and accessed by nobody
        // else in this process while `&mut self` lives.
        let slot = unsafe { AtomicU64::from_ptr(self.mapped.map.as_mut_ptr().add(at).cast()) };
        slot.store(word.to_le(), Ordering::Release);
    }
}

impl Mapped {
    /// Touches every page from `used` on, for kernels that cannot be asked to. Only before anybody writes.
    fn touch_all(&self, used: usize) {
        for at in (used.next_multiple_of(PAGE)..self.len()).step_by(PAGE) {
            // SAFETY: within the mapping, whose blocks are allocated; the writer of this mapping is not handed out
            // yet, and the byte is zero and stays so.
            unsafe { self.map.as_mut_ptr().add(at).write_volatile(0) };
        }
    }
}

/// Gives the file all its blocks from `used` to `size`.
fn allocate(file: &File, used: usize, size: usize) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size as u64) {
        Ok(()) => return Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    // A file system that cannot promise space: write the zeros instead.
    let zeros = vec![0u8; 1 << 20];
    let mut at = used;
    while at < size {
        let part = zeros.get(..(size - at).min(zeros.len())).unwrap_or_default();
        file.write_all_at(part, at as u64)?;
        at += part.len();
    }
    rustix::fs::fdatasync(file)?;
    Ok(())
}

/// The name of a segment's file.
pub(super) fn file_name(folder: &Path, ordinal: u64) -> PathBuf {
    folder.join(format!("{ordinal:012}.journal"))
}
