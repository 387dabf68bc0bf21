//! Lines from a journal's segments, while it is written to or not.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
};

use super::{
    Order,
    position::{Place, Spot},
};
use crate::audit::{
    error::AuditError,
    journal::{
        FrameKind,
        folder::{segments, size},
        scan::{SegmentReader, Step},
    },
};

/// How far clocks may have gone back between records, in milliseconds, without one being missed.
const SLACK_MS: i64 = 60 * 60 * 1000;

/// Records of one journal. What is damaged is passed over.
#[derive(Debug)]
pub(in crate::audit) struct JournalFeed {
    folder: PathBuf,
    order: Order,
    waiting: VecDeque<(u64, PathBuf)>,
    current: Option<SegmentReader>,
    /// The segment after it, once that is known to have been begun.
    ahead: Option<SegmentReader>,
    ordinal: u64,
    /// Where the records of the current segment stand, for reading them backwards.
    places: Vec<u64>,
    /// Where to begin, until that segment has been opened.
    from: Spot,
    /// Where the last line stands.
    given: Option<Place>,
}

impl JournalFeed {
    pub(super) fn open(folder: &Path, order: Order, since_ms: Option<i64>, from: Spot) -> Result<Self, AuditError> {
        let mut waiting: VecDeque<_> = segments(folder)?.into();
        if let Some(since) = since_ms {
            skip_before(&mut waiting, since.saturating_sub(SLACK_MS));
        }
        let mut ordinal = 0;
        match (order, from) {
            (_, Spot::Start) => {}
            (_, Spot::End) => waiting.clear(),
            (Order::OldestFirst, Spot::At((first, _)) | Spot::After((first, _))) => {
                waiting.retain(|(ordinal, _)| *ordinal >= first);
                ordinal = first.saturating_sub(1);
            }
            (Order::NewestFirst, Spot::At((last, _))) => waiting.retain(|(ordinal, _)| *ordinal <= last),
            (Order::NewestFirst, Spot::After(_)) => return Err(AuditError::Elsewhere),
        }
        if order == Order::NewestFirst {
            waiting = waiting.into_iter().rev().collect();
        }
        let folder = folder.to_owned();
        Ok(Self { folder, order, waiting, current: None, ahead: None, ordinal, places: Vec::new(), from, given: None })
    }

    /// Where the last line stands; where this was to begin, while there was none.
    pub(super) fn spot(&self) -> Spot {
        self.given.map_or(self.from, Spot::At)
    }

    pub(super) fn next(&mut self, line: &mut Vec<u8>) -> Result<bool, AuditError> {
        match self.order {
            Order::OldestFirst => self.forwards(line),
            Order::NewestFirst => self.backwards(line),
        }
    }

    fn forwards(&mut self, line: &mut Vec<u8>) -> Result<bool, AuditError> {
        loop {
            if self.next_of_current(line)? {
                return Ok(true);
            }
            // Nothing more here, unless the writer still is: then there is no later segment that has been begun.
            let before = self.current.take();
            if !self.next_segment()? {
                self.current = before;
                return Ok(false);
            }
            // It may have written here once more before it went there.
            let next = std::mem::replace(&mut self.current, before);
            if self.next_of_current(line)? {
                self.ahead = next;
                return Ok(true);
            }
            self.current = next;
        }
    }

    fn next_of_current(&mut self, line: &mut Vec<u8>) -> Result<bool, AuditError> {
        loop {
            if let Some(reader) = &mut self.current {
                loop {
                    let at = reader.at();
                    let ordinal = reader.header.ordinal;
                    match reader.next() {
                        Ok(Step::Frame { kind: FrameKind::Record, payload }) => {
                            line.extend_from_slice(payload);
                            self.given = Some((ordinal, at));
                            return Ok(true);
                        }
                        Ok(Step::Frame { kind: FrameKind::Open, .. } | Step::Damage { .. }) => {}
                        Ok(Step::Torn { .. } | Step::End) => break,
                        Err(cause) => return Err(AuditError::Io { path: reader.path.clone(), cause }),
                    }
                }
            }
            match self.ahead.take() {
                Some(next) => self.current = Some(next),
                None => return Ok(false),
            }
        }
    }

    fn backwards(&mut self, line: &mut Vec<u8>) -> Result<bool, AuditError> {
        loop {
            if let (Some(reader), Some(place)) = (&mut self.current, self.places.pop()) {
                reader.seek(place);
                let path = reader.path.clone();
                let ordinal = reader.header.ordinal;
                if let Step::Frame { payload, .. } = reader.next().map_err(|cause| AuditError::Io { path, cause })? {
                    line.extend_from_slice(payload);
                    self.given = Some((ordinal, place));
                    return Ok(true);
                }
                continue;
            }
            if !self.next_segment()? {
                return Ok(false);
            }
            let Some(reader) = &mut self.current else { continue };
            let path = reader.path.clone();
            let last = match self.from {
                Spot::At((ordinal, last)) if ordinal == reader.header.ordinal => last,
                _ => u64::MAX,
            };
            while reader.at() <= last {
                let at = reader.at();
                match reader.next().map_err(|cause| AuditError::Io { path: path.clone(), cause })? {
                    Step::Frame { kind: FrameKind::Record, .. } => self.places.push(at),
                    Step::Frame { kind: FrameKind::Open, .. } | Step::Damage { .. } => {}
                    Step::Torn { .. } | Step::End => break,
                }
            }
            reader.read_backwards();
        }
    }

    /// Goes to the next segment that has been begun. One that has gone meanwhile was old.
    fn next_segment(&mut self) -> Result<bool, AuditError> {
        if self.waiting.is_empty() && self.order == Order::OldestFirst {
            self.waiting = segments(&self.folder)?.into_iter().filter(|(ordinal, _)| *ordinal > self.ordinal).collect();
        }
        while let Some((ordinal, path)) = self.waiting.pop_front() {
            if let Some(mut reader) = SegmentReader::open_begun(&path)? {
                if self.order == Order::OldestFirst {
                    go_to(&mut reader, self.from)?;
                }
                self.ordinal = ordinal;
                self.current = Some(reader);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Goes to where this segment is to be read from, if the position is in it.
fn go_to(reader: &mut SegmentReader, from: Spot) -> Result<(), AuditError> {
    let (Spot::At((ordinal, at)) | Spot::After((ordinal, at))) = from else { return Ok(()) };
    if ordinal == reader.header.ordinal {
        if at > size(&reader.path) {
            return Err(AuditError::Elsewhere);
        }
        reader.seek(at);
        if matches!(from, Spot::After(_)) {
            let path = reader.path.clone();
            reader.next().map(drop).map_err(|cause| AuditError::Io { path, cause })?;
        }
    }
    Ok(())
}

/// Drops the segments at the front whose every record began before `since_ms`: the one after them was begun before it.
fn skip_before(files: &mut VecDeque<(u64, PathBuf)>, since_ms: i64) {
    while let Some((_, second)) = files.get(1) {
        let Ok(Some(reader)) = SegmentReader::open_begun(second) else { return };
        if i64::try_from(reader.header.created_ms).unwrap_or(i64::MAX) >= since_ms {
            return;
        }
        files.pop_front();
    }
}
