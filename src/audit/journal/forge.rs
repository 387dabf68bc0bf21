//! For tests: a segment whose frames are whole, whatever they say. This is what somebody writes who knows the format.

use std::{path::Path, time::Duration};

use super::{
    Keeping, SEGMENT_MIN,
    frame::{FrameKind, OPEN_WORD},
    scan::{Opened, SegmentReader, Step},
    segment::SegmentWriter,
};
use crate::settings::Durability;

/// The record lines of a segment.
pub(in crate::audit) fn lines(path: &Path) -> Vec<Vec<u8>> {
    let Opened::Begun(mut reader) = SegmentReader::open(path).unwrap() else { panic!("not begun") };
    let mut lines = Vec::new();
    loop {
        match reader.next().unwrap() {
            Step::Frame { kind: FrameKind::Record, payload } => lines.push(payload.to_vec()),
            Step::Frame { kind: FrameKind::Open, .. } => {}
            other => {
                assert_eq!(other, Step::End);
                return lines;
            }
        }
    }
}

/// Writes a segment anew, with these lines, under the head it had; those that begin as open frames do are such.
pub(in crate::audit) fn rewrite(path: &Path, lines: &[Vec<u8>]) {
    let Opened::Begun(reader) = SegmentReader::open(path).unwrap() else { panic!("not begun") };
    std::fs::remove_file(path).unwrap();
    let mut writer = SegmentWriter::create(path.to_owned(), reader.header.ordinal, 4 << 20).unwrap();
    writer.begin(&reader.header);
    for line in lines {
        let kind = if line.starts_with(OPEN_WORD) { FrameKind::Open } else { FrameKind::Record };
        assert!(writer.put(kind, line));
    }
    let used = writer.at();
    writer.mapped().cut(used).unwrap();
}

/// A journal of small segments.
pub(super) fn keeping(folder: &Path) -> Keeping {
    Keeping {
        folder: folder.to_owned(),
        sidecar: "one".to_owned(),
        segment: SEGMENT_MIN,
        keep: Duration::from_secs(3600),
        max_size: u64::MAX,
        durability: Durability::Process,
        entries: true,
        backlog: None,
        patience: Duration::ZERO,
    }
}
