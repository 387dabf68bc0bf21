//! A segment file, mapped and written to.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    num::NonZeroU64,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use memmap2::{Advice, MmapRaw, UncheckedAdvice};
use rustix::fs::FallocateFlags;

use super::frame::{FRAME_HEAD, FrameKind, Header, SEGMENT_HEAD, check_word, commit_word, span};
use crate::private;

/// Size of a page, for touching; larger ones are touched more often than needed.
const PAGE: usize = 4096;
/// What a writer takes when nobody has prepared anything for it.
const STEP: usize = 64 << 10;
/// How long a writer that caught up with the preparing sleeps between looks.
const CAUGHT_UP: Duration = Duration::from_micros(20);
/// Zeros are written so many at a time: the larger, the fewer and larger are the parts of memory that the file gets.
pub(super) const ZEROS: usize = 256 << 10;

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
    /// Frames may be written up to here. Between this and [`SegmentWriter::claimed`] somebody is preparing pages.
    ready: AtomicUsize,
}

/// The one right to write to a segment. There is one for each mapping, and it is not cloned.
#[derive(Debug)]
pub(super) struct SegmentWriter {
    mapped: Arc<Mapped>,
    at: usize,
    /// Up to here pages are prepared, or being prepared by who has the last [`Claim`].
    claimed: usize,
}

/// The one right to prepare a part of a segment, in which nobody writes until it is prepared.
#[derive(Debug)]
#[must_use = "writers wait for what was claimed"]
pub(super) struct Claim {
    mapped: Arc<Mapped>,
    from: usize,
    to: usize,
}

impl Mapped {
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// Gives back the memory of `from..to`, where nobody writes any more. What is not on disk yet is sent there, and
    /// keeps its memory until then.
    pub(super) fn forget(&self, from: usize, to: usize) {
        let (from, to) = (from.next_multiple_of(PAGE), to.min(self.len()) / PAGE * PAGE);
        let Some(len) = to.checked_sub(from).and_then(|len| NonZeroU64::new(len as u64)) else { return };
        // SAFETY: for a shared mapping of a file this takes the pages out of the mapping and changes no byte: whoever
        // looks there again finds in the file what was stored. No reference to the mapping's memory is ever made.
        let unmapped = unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, from, to - from) };
        if unmapped.is_ok() {
            let _ = rustix::fs::fadvise(&self.file, from as u64, Some(len), rustix::fs::Advice::DontNeed);
        }
    }

    /// Whether the file no longer stands under its name: somebody has removed, moved or replaced it.
    pub(super) fn is_gone(&self) -> bool {
        is_gone(&self.file, &self.path)
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

impl Claim {
    /// Makes the pages present and writable, and lets the writer go there. Writing zeros first, in large parts, costs a
    /// third of having each page made by itself.
    pub(super) fn prepare(self, zeros: &[u8]) {
        // The end may lie within a page: of the last one, at the end of the file.
        let mut at = self.from;
        while at < self.to {
            let part = zeros.get(..zeros.len().min(self.to - at)).unwrap_or(zeros);
            match self.mapped.file.write_at(part, at as u64) {
                Ok(written) if written > 0 => at += written,
                // Zeros are what stands there already; what is wrong with the disk shows when it matters.
                Ok(_) | Err(_) => break,
            }
        }
        // Kernels before 5.14 do not know this; there, `map` has touched all pages once.
        let _ = self.mapped.map.advise_range(Advice::PopulateWrite, self.from, self.to - self.from);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.mapped.ready.store(self.to, Ordering::Release);
    }
}

impl SegmentWriter {
    /// Prepares a new segment file of `size` bytes; it counts once [`SegmentWriter::begin`] has been called.
    pub(super) fn create(path: PathBuf, ordinal: u64, size: usize) -> io::Result<Self> {
        let file = private::create(&path)?;
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
        // Nothing is read through the mapping; else the fault of one page would bring in megabytes behind it.
        let _ = map.advise(Advice::Random);
        let claimed = used.next_multiple_of(PAGE).min(size);
        let mapped = Mapped { ordinal, path, file, map, ready: AtomicUsize::new(claimed) };
        if mapped.map.advise_range(Advice::PopulateWrite, used / PAGE * PAGE, PAGE).is_err() {
            mapped.touch_all(used);
        }
        Ok(Self { mapped: Arc::new(mapped), at: used, claimed })
    }

    pub(super) fn mapped(&self) -> &Arc<Mapped> {
        &self.mapped
    }

    /// Where the next frame goes.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Up to where pages are prepared, or being prepared.
    pub(super) fn claimed(&self) -> usize {
        self.claimed
    }

    /// The right to prepare all up to `to`, if there is anything left to prepare.
    pub(super) fn claim(&mut self, to: usize) -> Option<Claim> {
        let (from, to) = (self.claimed, to.next_multiple_of(PAGE).min(self.mapped.len()));
        if to <= from {
            return None;
        }
        self.settle();
        self.claimed = to;
        Some(Claim { mapped: self.mapped.clone(), from, to })
    }

    /// Waits until nobody is preparing pages of this segment.
    pub(super) fn settle(&self) {
        while self.mapped.ready.load(Ordering::Acquire) < self.claimed {
            std::thread::sleep(CAUGHT_UP);
        }
    }

    /// Sees to it that frames may be written up to `end`.
    fn make_way(&mut self, end: usize) {
        if end <= self.mapped.ready.load(Ordering::Acquire) {
            return;
        }
        self.settle();
        if end > self.claimed {
            // Nobody has prepared it: the stores take the faults.
            self.claimed = (end + STEP).next_multiple_of(PAGE).min(self.mapped.len());
            self.mapped.ready.store(self.claimed, Ordering::Release);
        }
    }

    /// Whether a frame of such a payload fits.
    pub(super) fn fits(&self, payload: usize) -> bool {
        self.at + span(payload) <= self.mapped.len()
    }

    /// Writes the head: from now on this segment is part of the journal.
    pub(super) fn begin(&mut self, header: &Header) {
        self.make_way(SEGMENT_HEAD);
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
        self.put_at(self.at, kind, payload);
        self.at += span(payload.len());
        true
    }

    /// Writes a frame where the caller keeps a place for it.
    pub(super) fn put_at(&mut self, at: usize, kind: FrameKind, payload: &[u8]) {
        self.make_way(at + span(payload.len()));
        let check = check_word(self.mapped.ordinal, at as u64, kind, payload);
        self.store(at + 8, &check.to_le_bytes());
        self.store(at + FRAME_HEAD, payload);
        self.store(at + FRAME_HEAD + payload.len(), b"\n");
        self.publish(at, commit_word(kind, payload.len()));
    }

    /// Makes a frame that was put at a place of its own be there no more.
    pub(super) fn erase(&mut self, at: usize) {
        self.publish(at, 0);
    }

    fn store(&mut self, at: usize, bytes: &[u8]) {
        if at + bytes.len() > self.mapped.len() {
            return;
        }
        // SAFETY: the range lies within the mapping (checked above), whose blocks are allocated, so the store cannot
        // fault for want of space. `&mut self` is the only writer of this mapping, and no reference to its memory is
        // ever made: readers go through the file. Pages are prepared where `make_way` lets no store go.
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

/// Whether an open file no longer stands under this name: somebody has removed, moved or replaced it, or a folder above.
pub(super) fn is_gone(file: &File, path: &Path) -> bool {
    let same = |here: &Metadata, there: &Metadata| (here.dev(), here.ino()) == (there.dev(), there.ino());
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(here), Ok(there)) => !same(&here, &there),
        (_, Err(error)) => matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        (Err(_), Ok(_)) => false,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_that_catches_up_with_the_preparing_of_pages_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = file_name(folder.path(), 1);
        let mut writer = SegmentWriter::create(path.clone(), 1, 1 << 20).unwrap();
        let first = writer.claim(8 * PAGE).unwrap();
        let frame = [b'x'; PAGE - FRAME_HEAD - 8];
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(50));
                first.prepare(&[0; 3 * PAGE]);
            });
            // The last goes beyond what anybody has claimed, and beyond the step that a writer takes.
            for _ in 0..40 {
                assert!(writer.put(FrameKind::Record, &frame));
            }
        });
        // What comes after is prepared behind the frames, not over them.
        writer.claim(100 * PAGE).unwrap().prepare(&[0; 3 * PAGE]);
        let bytes = std::fs::read(&path).unwrap();
        for at in (0..40).map(|n| n * span(frame.len())) {
            assert_eq!(&bytes[at + FRAME_HEAD..][..frame.len()], &frame, "the frame at {at}");
        }
        assert_eq!(bytes.len(), 1 << 20, "preparing makes no file longer");
        assert!(writer.claim(100 * PAGE).is_none(), "nothing is prepared twice");
    }
}
