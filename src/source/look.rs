//! What tells a changed file from outside, for whoever reads it again when it has changed.

use std::{fs::Metadata, io, os::unix::fs::MetadataExt as _, path::Path};

/// How a file looks. Two looks are the same while nobody has written to it, replaced it, moved something else into its
/// place or changed who may read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// Of what is said about it: its owner, its mode, its name.
    changed: (i64, i64),
}

impl Look {
    /// How the file at `path` looks, a link followed; `None` when there is none.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn at(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::metadata(path) {
            Ok(meta) => Ok(Some(Self::of(&meta))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The same of a file that is open.
    #[must_use]
    pub fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// Whether nothing stands in the file.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// Whether a file as a whole was put in the place of what looked like `before`: another one, and moved here since it was
    /// last written to. One that was only made here may still be written to.
    #[must_use]
    pub fn was_moved_over(&self, before: &Self) -> bool {
        !self.same_file(before) && self.changed > self.modified
    }

    /// Whether `later` is of the same file, whatever was written to it since: not of one put in its place.
    #[must_use]
    pub const fn same_file(&self, later: &Self) -> bool {
        self.device == later.device && self.inode == later.inode
    }
}
