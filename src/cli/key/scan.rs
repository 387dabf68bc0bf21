//! `vicar key scan`: secrets in files.

use std::{
    cell::RefCell,
    collections::VecDeque,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::{
    cli::{
        Done, Options, Output,
        print::{say, say_json, tell},
        when::count,
    },
    identity::scan_reader,
    terminal::{Colours, Ink, printable},
};

/// Find Vicar secrets in files, for CI and pre-commit hooks.
#[derive(Debug, Args)]
#[command(
    long_about = "Find Vicar secrets in files, by their shape and checksum, for CI and pre-commit hooks.\n\nEvery file below the paths is read, hidden and binary ones too; links are not followed. What is found is told by its place and never shown. Packed files (.git objects, archives) do not show their text: scan a checkout, or what `git diff` prints.\n\nExit 0 if there is none, 1 if there is one or a file could not be read.",
    after_help = "Example:\n  vicar key scan .\n  git diff --cached | vicar key scan -"
)]
pub(super) struct ScanArgs {
    /// Files and folders; - is standard input.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// A secret and where it stands.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct Place {
    file: String,
    line: u64,
    /// In bytes, from 1.
    column: u64,
    kind: &'static str,
}

/// What could not be looked at.
#[derive(Debug, Serialize)]
struct Unread {
    file: String,
    cause: String,
}

#[derive(Debug, Default)]
struct Found {
    files: u64,
    places: Vec<Place>,
    unread: Vec<Unread>,
}

/// How far back, in bytes, the line ends of what was read are kept; further than the scanner ever holds.
const KEPT: u64 = 1 << 20;

pub(super) fn run(args: &ScanArgs, options: &Options) -> Done {
    let mut found = Found::default();
    for path in &args.paths {
        if path.as_os_str() == "-" {
            found.read("-", io::stdin().lock());
        } else {
            found.walk(path);
        }
    }
    let clean = found.places.is_empty() && found.unread.is_empty();
    match options.output {
        Output::Json => say_json(&json!({"files": found.files, "found": found.places, "unread": found.unread}))?,
        Output::Table => {
            let colours = Colours::of_output();
            for place in &found.places {
                let at = format!("{}:{}:{}", printable(&place.file), place.line, place.column);
                say(&format!("{}: {}", colours.paint(Ink::Bold, &at), colours.paint(Ink::Red, place.kind)))?;
            }
            for unread in &found.unread {
                tell(&format!("vicar: {}: {}", printable(&unread.file), unread.cause));
            }
            let secrets = found.places.len() as u64;
            let advice = if secrets > 0 {
                "; what others have seen is theirs: vicar key rotate KEY_ID, or for an admin's token vicar admin revoke ID"
            } else {
                ""
            };
            tell(&format!("{} in {}{advice}", count(secrets, "secret"), count(found.files, "file")));
        }
    }
    Ok(ExitCode::from(u8::from(!clean)))
}

impl Found {
    fn walk(&mut self, root: &Path) {
        // A link that is named is meant; one that is met may lead anywhere.
        let meta = match std::fs::metadata(root) {
            Ok(meta) => meta,
            Err(cause) => return self.unread(root, &cause),
        };
        let mut waiting = Vec::new();
        self.visit(root.to_owned(), &meta, &mut waiting);
        while let Some(folder) = waiting.pop() {
            let entries = match std::fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(cause) => {
                    self.unread(&folder, &cause);
                    continue;
                }
            };
            let mut paths: Vec<PathBuf> = Vec::new();
            for entry in entries {
                match entry {
                    Ok(entry) => paths.push(entry.path()),
                    Err(cause) => self.unread(&folder, &cause),
                }
            }
            paths.sort_unstable();
            for path in paths {
                match std::fs::symlink_metadata(&path) {
                    Ok(meta) => self.visit(path, &meta, &mut waiting),
                    Err(cause) => self.unread(&path, &cause),
                }
            }
        }
        self.places.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    }

    /// Folders wait; devices, sockets and pipes hold no text and may never end.
    fn visit(&mut self, path: PathBuf, meta: &std::fs::Metadata, waiting: &mut Vec<PathBuf>) {
        if meta.is_dir() {
            waiting.push(path);
        } else if meta.is_file() {
            match File::open(&path) {
                Ok(file) => self.read(&path.display().to_string(), file),
                Err(cause) => self.unread(&path, &cause),
            }
        }
    }

    fn unread(&mut self, path: &Path, cause: &io::Error) {
        self.unread.push(Unread { file: path.display().to_string(), cause: format!("cannot be read: {cause}") });
    }

    fn read(&mut self, name: &str, from: impl Read) {
        self.files += 1;
        let lines = RefCell::new(Lines::default());
        let places = &mut self.places;
        let read = scan_reader(Watched { from, lines: &lines }, |found| {
            let (line, column) = lines.borrow().place(found.offset);
            places.push(Place { file: name.to_owned(), line, column, kind: found.kind.as_str() });
        });
        if let Err(cause) = read {
            self.unread(Path::new(name), &cause);
        }
    }
}

/// Where the lines of what has lately been read begin.
#[derive(Debug, Default)]
struct Lines {
    /// Bytes read so far.
    read: u64,
    /// Line ends before those that are kept.
    before: u64,
    /// The offsets of the line ends that are kept.
    ends: VecDeque<u64>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) {
        let start = self.read;
        self.ends.extend(memchr::memchr_iter(b'\n', bytes).map(|at| start + at as u64));
        self.read += bytes.len() as u64;
        // What is found lies within what was read last; the last end before that begins its line.
        while self.ends.get(1).is_some_and(|second| second + KEPT < self.read) {
            self.ends.pop_front();
            self.before += 1;
        }
    }

    /// Line and column, both from 1.
    fn place(&self, offset: u64) -> (u64, u64) {
        let ends = self.ends.partition_point(|end| *end < offset);
        let begin = ends.checked_sub(1).and_then(|last| self.ends.get(last)).map_or(0, |end| end + 1);
        (self.before + ends as u64 + 1, offset - begin + 1)
    }
}

struct Watched<'a, R> {
    from: R,
    lines: &'a RefCell<Lines>,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(into)?;
        self.lines.borrow_mut().take(into.get(..read).unwrap_or_default());
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Secret;

    #[test]
    fn a_place_is_told_by_line_and_column_however_the_file_comes_in() {
        let secret = Secret::random().unwrap();
        let padding = "x\n".repeat(700_000);
        let text = format!("one\n  key: {0}\n\nthree {0} four {0}\n{padding}{0}", secret.reveal());
        for piece in [64, 100_000, usize::MAX] {
            let mut found = Found::default();
            found.read("f", Dribble { text: text.as_bytes(), piece });
            let places: Vec<(u64, u64)> = found.places.iter().map(|place| (place.line, place.column)).collect();
            assert_eq!(places, [(2, 8), (4, 7), (4, 13 + Secret::LEN as u64), (700_005, 1)], "pieces of {piece}");
        }
    }

    struct Dribble<'a> {
        text: &'a [u8],
        piece: usize,
    }

    impl Read for Dribble<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let room = into.len().min(self.piece);
            self.text.read(&mut into[..room])
        }
    }
}
