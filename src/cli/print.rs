//! What goes to standard output and standard error.

use std::{
    io::{self, Write as _},
    path::Path,
};

use serde::Serialize;

use super::Failure;
use crate::{
    source::{Complaint, Complaints},
    terminal::{Colours, printable},
};

/// A line for whoever is at the terminal; standard error, so that it is in no pipe. Nobody there is no failure.
pub(super) fn tell(message: &str) {
    let _ = writeln!(io::stderr().lock(), "{message}");
}

/// Complaints for whoever is at the terminal.
pub(super) fn complain(complaints: &Complaints) {
    if !complaints.is_empty() {
        tell(&rendered(complaints));
    }
}

pub(super) fn rendered(complaints: &Complaints) -> String {
    near(complaints).map(|complaint| printable_lines(&complaint.to_string())).collect::<Vec<_>>().join("\n\n")
}

/// Complaints with their files named as seen from here.
pub(super) fn near(complaints: &Complaints) -> impl Iterator<Item = Complaint> {
    complaints.iter().cloned().map(|complaint| Complaint { file: nearby(&complaint.file), ..complaint })
}

/// A path as seen from the working directory, where it lies below it.
pub(super) fn nearby(file: &str) -> String {
    let here = std::env::current_dir().ok();
    let below = here.as_deref().and_then(|here| Path::new(file).strip_prefix(here).ok());
    below.map_or_else(|| file.to_owned(), |below| below.display().to_string())
}

/// A text on standard output, with a newline after it.
///
/// # Errors
/// When nobody takes it.
pub(super) fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(Failure::output)
}

/// A document for programs: on one line, or indented where a person looks on.
///
/// # Errors
/// When nobody takes it.
pub(super) fn say_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = if Colours::of_output().are_on() { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    say(&text.map_err(Failure::failed)?)
}

/// Every line of a text made printable, the line ends kept.
pub(super) fn printable_lines(text: &str) -> String {
    text.split('\n').map(|line| line.split('\t').map(printable).collect::<Vec<_>>().join("\t")).collect::<Vec<_>>().join("\n")
}
