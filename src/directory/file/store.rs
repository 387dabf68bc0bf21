//! The keys file on disk: read whole, changed under a lock, replaced by a rename.
//!
//! The lock is a file of its own beside the keys file, as the keys file is replaced and a lock on it would go with the
//! old one. Reading takes no lock: what is there is always whole.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};

use super::document::{self, Contents};
use crate::{directory::DirectoryError, identity::KeyId, private, source::Look};

/// How long somebody else may hold the lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// Largest keys file that is read, in bytes.
const MAX_BYTES: u64 = 256 << 20;

/// Where the keys file is.
#[derive(Debug, Clone)]
pub(super) struct Store {
    path: PathBuf,
}

/// The right to change the file, until dropped.
#[derive(Debug)]
pub(super) struct Locked<'s> {
    store: &'s Store,
    /// Where the file really is: a rename over a symlink would replace the symlink.
    real: PathBuf,
    _lock: File,
}

impl Store {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What the file looks like from outside; `None` when there is none.
    pub(super) fn look(&self) -> io::Result<Option<Look>> {
        Look::at(&self.path)
    }

    /// What the file says. No file, and one that nobody has written anything into, is an empty directory.
    pub(super) fn read(&self) -> Result<Contents, DirectoryError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contents::default()),
            Err(error) => return Err(self.failed("read", error)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| self.failed("read", error))?;
        if bytes.is_empty() {
            return Ok(Contents::default());
        }
        if bytes.len() as u64 > MAX_BYTES {
            return Err(self.nonsense(format!("it is larger than {} MiB", MAX_BYTES >> 20)));
        }
        let text = String::from_utf8(bytes).map_err(|_| self.nonsense("it is not UTF-8 text".to_owned()))?;
        document::parse(&text).map_err(|problem| self.nonsense(problem))
    }

    /// Waits for the right to change the file.
    pub(super) fn lock(&self) -> Result<Locked<'_>, DirectoryError> {
        let real = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let lock = private::open_or_create(&beside(&real, ".lock")).map_err(|error| self.failed("locked", error))?;
        let end = Instant::now() + LOCK_PATIENCE;
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Locked { store: self, real, _lock: lock }),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let held = io::Error::new(io::ErrorKind::WouldBlock, "another process has been changing it for seconds; try again");
                    return Err(self.failed("locked", held));
                }
                Err(error) => return Err(self.failed("locked", error.into())),
            }
        }
    }

    /// When keys were last used.
    pub(super) fn last_used(&self) -> HashMap<KeyId, Timestamp> {
        let real = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        read_used(&real)
    }

    fn failed(&self, doing: &'static str, error: io::Error) -> DirectoryError {
        DirectoryError::File { path: self.path.clone(), doing, cause: Arc::new(error) }
    }

    fn nonsense(&self, problem: String) -> DirectoryError {
        DirectoryError::Nonsense { path: self.path.clone(), problem }
    }
}

impl Locked<'_> {
    /// What the file says now.
    pub(super) fn read(&self) -> Result<Contents, DirectoryError> {
        self.store.read()
    }

    /// Replaces the file; once this returns, the new one survives a power cut. Gives what the new one looks like.
    pub(super) fn write(&self, contents: &Contents) -> Result<Look, DirectoryError> {
        self.replace(&self.real, &document::print(contents)).map_err(|error| self.store.failed("written", error))
    }

    /// Adds to when keys were last used, and forgets those of keys that are gone.
    ///
    /// They stand in a file of their own: the keys file changes when somebody decides something, not when a key is used.
    pub(super) fn note_used(&self, used: &[(KeyId, Timestamp)], known: impl Fn(&KeyId) -> bool) -> Result<(), DirectoryError> {
        let mut all = read_used(&self.real);
        for (id, at) in used {
            let last = all.entry(*id).or_insert(*at);
            *last = (*last).max(*at);
        }
        let mut lines = all.into_iter().filter(|(id, _)| known(id)).collect::<Vec<_>>();
        lines.sort_unstable();
        let mut text = String::with_capacity(lines.len() * 48);
        for (id, at) in lines {
            let _ = writeln!(text, "{id} {at}");
        }
        self.replace(&beside(&self.real, ".used"), &text).map(drop).map_err(|error| self.store.failed("written (last use)", error))
    }

    fn replace(&self, target: &Path, text: &str) -> io::Result<Look> {
        let new = beside(target, ".new");
        let written = Self::write_new(target, &new, text);
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written
    }

    fn write_new(target: &Path, new: &Path, text: &str) -> io::Result<Look> {
        // Nobody else uses this name while the lock is held; what lies there is from a crash.
        let _ = fs::remove_file(new);
        let mut file = private::create(new)?;
        if let Ok(old) = fs::metadata(target) {
            // Whoever was let in to read it stays let in.
            file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o666))?;
            let _ = std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()));
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // Opened first: once the new file is in place, nothing may say that the change was not made.
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let folder = File::open(folder)?;
        fs::rename(new, target)?;
        if let Err(error) = folder.sync_all() {
            tracing::warn!(%error, file = %target.display(), "the new file is in place, and a power cut may take it back");
        }
        // A new name is a change, too.
        Ok(Look::of(&file.metadata()?))
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A line that cannot be read is a key that was never used: nothing is decided by this.
fn read_used(real: &Path) -> HashMap<KeyId, Timestamp> {
    let text = fs::read_to_string(beside(real, ".used")).unwrap_or_default();
    text.lines().filter_map(|line| line.split_once(' ')).filter_map(|(id, at)| Some((id.parse().ok()?, at.parse().ok()?))).collect()
}
