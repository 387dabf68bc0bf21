//! Files and folders that nobody else may read, made for whoever the folder around them belongs to.
//!
//! An administrator who runs a command as root beside a sidecar that runs as somebody else must not lock that sidecar
//! out: what root makes anew is given to the owner of the folder. What was there is left as it is; a link in its place
//! is not followed, since the folder's owner could let it lead anywhere.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::fs::OFlags;

const FILE: u32 = 0o600;
const FOLDER: u32 = 0o700;

/// Makes a new file, to read and to write.
///
/// # Errors
/// When something stands there already, or the system says no.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(FILE).open(path)?;
    hand_over(&file, path);
    Ok(file)
}

/// Opens a file to read and to write, and makes it if there is none.
///
/// # Errors
/// What the system says; a link is none of ours.
pub(crate) fn open_or_create(path: &Path) -> io::Result<File> {
    match create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().read(true).write(true).custom_flags(no_follow()).open(path)
        }
        made => made,
    }
}

/// Makes a folder and those above it, where there are none.
///
/// # Errors
/// What the system says.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = above(path) {
        create_folder(above)?;
    }
    match DirBuilder::new().mode(FOLDER).create(path) {
        // Somebody else was quicker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            if let Ok(folder) = OpenOptions::new().read(true).custom_flags(no_follow() | only_folders()).open(path) {
                hand_over(&folder, path);
            }
            Ok(())
        }
    }
}

fn no_follow() -> i32 {
    // The flags of open(2) fit.
    OFlags::NOFOLLOW.bits().cast_signed()
}

/// Nothing else is opened, whatever has been put in the new folder's place.
fn only_folders() -> i32 {
    OFlags::DIRECTORY.bits().cast_signed()
}

fn above(path: &Path) -> Option<&Path> {
    path.parent().filter(|folder| !folder.as_os_str().is_empty())
}

/// Gives what root has just made to whoever the folder belongs to. Where that cannot be, the sidecar says so when it
/// cannot read it.
fn hand_over(made: &File, path: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    if let Ok(folder) = fs::metadata(above(path).unwrap_or_else(|| Path::new(".")))
        && folder.uid() != 0
    {
        let _ = std::os::unix::fs::fchown(made, Some(folder.uid()), Some(folder.gid()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_for_the_folders_owner_alone_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let root = rustix::process::geteuid().is_root();
        if root {
            std::os::unix::fs::chown(folder.path(), Some(65_532), Some(65_533)).unwrap();
        }
        let deep = folder.path().join("a/b");
        create_folder(&deep).unwrap();
        create_folder(&deep).unwrap();
        create(&deep.join("made")).unwrap();
        open_or_create(&deep.join("opened")).unwrap();
        open_or_create(&deep.join("opened")).unwrap();
        for (path, mode) in
            [(folder.path().join("a"), FOLDER), (deep.clone(), FOLDER), (deep.join("made"), FILE), (deep.join("opened"), FILE)]
        {
            let meta = fs::metadata(&path).unwrap();
            assert_eq!(meta.mode() & 0o777, mode, "{}", path.display());
            if root {
                assert_eq!((meta.uid(), meta.gid()), (65_532, 65_533), "{}", path.display());
            }
        }
        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, "untouched").unwrap();
        std::os::unix::fs::symlink(&elsewhere, deep.join("link")).unwrap();
        assert!(create(&deep.join("link")).is_err());
        assert!(open_or_create(&deep.join("link")).is_err());
    }
}
