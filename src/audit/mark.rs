//! How far a journal had got, and how far it had been shipped: small files beside it, rewritten in place. By the first
//! a log that was made shorter is found out even where no stream and no checkpoint tells; by the second, that Redis has
//! lost what it had.

use std::{fs, os::unix::fs::FileExt as _, path::Path};

use crate::private;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// The last record.
    Written,
    /// The last record that Redis has taken.
    Shipped,
}

impl Mark {
    const fn file(self) -> &'static str {
        match self {
            Self::Written => "mark",
            Self::Shipped => "shipped",
        }
    }
}

/// Always the same length, so that it can be written in place.
const LENGTH: usize = 20 + 1 + 64 + 1;

/// Number and hash of the last record that was seen there.
pub(super) fn read(folder: &Path, mark: Mark) -> Option<(u64, String)> {
    let text = fs::read_to_string(folder.join(mark.file())).ok()?;
    let (seq, hash) = text.trim_end().split_once(' ')?;
    Some((seq.parse().ok()?, hash.to_owned()))
}

pub(super) fn write(folder: &Path, mark: Mark, seq: u64, hash: &str) {
    let text = format!("{seq:020} {hash}\n");
    debug_assert_eq!(text.len(), LENGTH);
    let written = private::open_or_create(&folder.join(mark.file())).and_then(|file| file.write_all_at(text.as_bytes(), 0));
    if let Err(error) = written {
        tracing::debug!(%error, "the journal's mark could not be written");
    }
}

/// The number that the journal had reached, if it is beyond `seq`.
pub(super) fn ahead_of(folder: &Path, seq: u64) -> Option<u64> {
    read(folder, Mark::Written).map(|(marked, _)| marked).filter(|marked| *marked > seq)
}
