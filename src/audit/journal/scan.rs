//! Reading segment files, whole ones and broken ones, while they are written to or not.
//!
//! Files are read, not mapped: whatever happens to a file meanwhile is an error or an end, never a signal.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use super::frame::{FRAME_HEAD, FrameKind, Head, Header, PAYLOAD_MAX, SEGMENT_HEAD, check_word, read_commit_word, span};
use crate::audit::error::AuditError;

const BUFFER: usize = 512 << 10;
/// How much is read at a time from the first frame to the last: what is taken from the buffer next is still near then.
const AHEAD: usize = 128 << 10;

/// A segment file, read from its first frame on.
#[derive(Debug)]
pub(in crate::audit) struct SegmentReader {
    pub(in crate::audit) header: Header,
    pub(in crate::audit) path: PathBuf,
    file: File,
    at: u64,
    /// Grows and is never cleared: zeroing it for each read would cost as much as the read.
    buffer: Vec<u8>,
    /// How much of the buffer was read, and where in the file it begins.
    filled: usize,
    begins: u64,
    /// Nothing is read from here on, where it is known that nothing is there yet.
    until: u64,
    backwards: bool,
}

/// What stands next in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::audit) enum Step<'s> {
    /// A frame.
    Frame {
        /// What it holds.
        kind: FrameKind,
        /// Its payload.
        payload: &'s [u8],
    },
    /// Bytes that are no frame, with frames after them: somebody or something damaged the file.
    Damage {
        /// Where they begin.
        at: u64,
        /// How many.
        bytes: u64,
    },
    /// Bytes that are no frame, and nothing after them: the writer died, or is writing this very frame.
    Torn {
        /// How many.
        bytes: u64,
    },
    /// Nothing more, so far.
    End,
}

/// What a segment file turned out to be.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one is made for each file, and taken apart at once")]
pub(in crate::audit) enum Opened {
    /// A segment, to be read.
    Begun(SegmentReader),
    /// It was prepared and never begun.
    Unused,
    /// It has been cut off within its head.
    Headless,
}

impl SegmentReader {
    /// Opens a segment file.
    pub(in crate::audit) fn open(path: &Path) -> Result<Opened, AuditError> {
        let io = |cause| AuditError::Io { path: path.to_owned(), cause };
        let file = File::open(path).map_err(io)?;
        let mut head = [0u8; SEGMENT_HEAD];
        let got = read_at(&file, &mut head, 0).map_err(io)?;
        match Head::read(head.get(..got).unwrap_or_default()) {
            Head::Ours(header) => Ok(Opened::Begun(Self {
                header,
                path: path.to_owned(),
                file,
                at: SEGMENT_HEAD as u64,
                buffer: Vec::new(),
                filled: 0,
                begins: 0,
                until: u64::MAX,
                backwards: false,
            })),
            Head::Unused => Ok(Opened::Unused),
            Head::Cut => Ok(Opened::Headless),
            Head::Newer(version) => Err(AuditError::Newer { path: path.to_owned(), version }),
            Head::Foreign(why) => Err(AuditError::Foreign { path: path.to_owned(), why: why.to_owned() }),
        }
    }

    /// Opens a segment file that is there and has been begun; one that has no head held nothing when its writer died.
    pub(in crate::audit) fn open_begun(path: &Path) -> Result<Option<Self>, AuditError> {
        match Self::open(path) {
            Ok(Opened::Begun(reader)) => Ok(Some(reader)),
            Ok(Opened::Unused | Opened::Headless) => Ok(None),
            Err(AuditError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// The file's bytes from `at` on, as many as there are and fit.
    pub(super) fn read_bytes(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        read_at(&self.file, buffer, at)
    }

    /// Where the next frame stands.
    pub(in crate::audit) fn at(&self) -> u64 {
        self.at
    }

    /// Goes to where a frame begins.
    pub(in crate::audit) fn seek(&mut self, at: u64) {
        self.at = at.max(SEGMENT_HEAD as u64);
    }

    /// Reads nothing from `until` on.
    pub(in crate::audit) fn read_until(&mut self, until: u64) {
        self.until = until;
    }

    /// The next frame. After [`Step::Torn`] and [`Step::End`] it stands where it stood, and can be asked again later.
    pub(in crate::audit) fn next(&mut self) -> io::Result<Step<'_>> {
        let at = self.at;
        let mut probe = self.probe(at)?;
        if !matches!(probe, Probe::Frame { .. }) {
            // What was read ahead may be older than what has been committed since.
            self.filled = 0;
            probe = self.probe(at)?;
        }
        match probe {
            Probe::Frame { kind, payload } => {
                self.at = at + span(payload) as u64;
                Ok(Step::Frame { kind, payload: self.payload(at, payload) })
            }
            Probe::End => {
                self.filled = 0;
                Ok(Step::End)
            }
            Probe::Nothing => self.look_beyond(at),
        }
    }

    /// After [`Step::End`]: whether anything stands beyond, which is a hole that a power cut left.
    pub(in crate::audit) fn beyond_end(&mut self) -> io::Result<Step<'_>> {
        self.filled = 0;
        self.look_beyond(self.at)
    }

    /// From now on frames are asked for from the last to the first: reads ahead end where the frame ends.
    pub(in crate::audit) fn read_backwards(&mut self) {
        self.backwards = true;
    }

    fn look_beyond(&mut self, at: u64) -> io::Result<Step<'_>> {
        let mut next = at;
        let mut last_byte = at;
        loop {
            next += 8;
            self.fill(next, 8)?;
            let Some(window) = self.window(next).filter(|window| !window.is_empty()) else { break };
            // Zeros are skipped in bulk: a prepared segment is mostly that.
            if let Some(skip) = zeros(window).filter(|skip| *skip >= 8) {
                next += (skip / 8 * 8) as u64 - 8;
                continue;
            }
            last_byte = next + window.iter().take(8).rposition(|b| *b != 0).map_or(0, |at| at as u64 + 1);
            if let Probe::Frame { .. } = self.probe(next)? {
                self.at = next;
                return Ok(Step::Damage { at, bytes: next - at });
            }
        }
        // The first word itself.
        self.fill(at, 8)?;
        let first = self.window(at).unwrap_or_default();
        let own = first.iter().take(8).rposition(|b| *b != 0).map_or(0, |at| at as u64 + 1);
        match (last_byte - at).max(own) {
            0 => Ok(Step::End),
            bytes => Ok(Step::Torn { bytes }),
        }
    }

    fn probe(&mut self, at: u64) -> io::Result<Probe> {
        self.fill(at, FRAME_HEAD)?;
        let Some(word) = self.window(at).and_then(|window| window.first_chunk::<8>()) else {
            return Ok(if self.window(at).is_none_or(<[u8]>::is_empty) { Probe::End } else { Probe::Nothing });
        };
        let word = u64::from_le_bytes(*word);
        if word == 0 {
            return Ok(Probe::End);
        }
        let Some((kind, len)) = read_commit_word(word) else { return Ok(Probe::Nothing) };
        self.fill(at, span(len))?;
        let ordinal = self.header.ordinal;
        let Some(frame) = self.window(at) else { return Ok(Probe::Nothing) };
        let (Some(check), Some(payload)) =
            (frame.get(8..16).and_then(|check| check.first_chunk::<8>()), frame.get(FRAME_HEAD..FRAME_HEAD + len))
        else {
            return Ok(Probe::Nothing);
        };
        if u64::from_le_bytes(*check) != check_word(ordinal, at, kind, payload) {
            return Ok(Probe::Nothing);
        }
        Ok(Probe::Frame { kind, payload: len })
    }

    fn payload(&self, at: u64, len: usize) -> &[u8] {
        self.window(at).and_then(|window| window.get(FRAME_HEAD..FRAME_HEAD + len)).unwrap_or_default()
    }

    /// What is in the buffer from `at` on.
    fn window(&self, at: u64) -> Option<&[u8]> {
        let from = usize::try_from(at.checked_sub(self.begins)?).ok()?;
        self.buffer.get(from..self.filled)
    }

    /// Sees to it that `need` bytes from `at` on are in the buffer, if the file has them.
    fn fill(&mut self, at: u64, need: usize) -> io::Result<()> {
        debug_assert!(need <= BUFFER && span(PAYLOAD_MAX) <= BUFFER);
        if self.window(at).is_some_and(|window| window.len() >= need) {
            return Ok(());
        }
        let end = if self.backwards { at + span(PAYLOAD_MAX) as u64 } else { at + need.max(AHEAD) as u64 };
        let begin = if self.backwards { end.saturating_sub(BUFFER as u64).min(at) } else { at };
        let most = usize::try_from(self.until.min(end).saturating_sub(begin)).unwrap_or(BUFFER);
        if self.buffer.len() < most {
            self.buffer.resize(most, 0);
        }
        self.begins = begin;
        self.filled = 0;
        self.filled = read_at(&self.file, self.buffer.get_mut(..most).unwrap_or_default(), begin)?;
        Ok(())
    }
}

enum Probe {
    Frame { kind: FrameKind, payload: usize },
    Nothing,
    End,
}

/// How many zeros `bytes` begins with.
fn zeros(bytes: &[u8]) -> Option<usize> {
    let (words, _) = bytes.as_chunks::<8>();
    let whole = words.iter().take_while(|word| **word == [0; 8]).count();
    (whole > 0).then_some(whole * 8)
}

/// Reads as much as there is.
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = buffer.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}
