//! Why a command did not do what it was asked, as it is told.

use std::{fmt::Display, io, process::ExitCode};

use super::print::{printable_lines, rendered, tell};
use crate::source::Complaints;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// It could not be done (exit 1).
    pub fn failed(message: impl Display) -> Self {
        Self { message: format!("vicar: {message}"), code: 1 }
    }

    /// It was asked wrongly (exit 2).
    pub fn usage(message: impl Display) -> Self {
        Self { message: format!("vicar: {message}"), code: 2 }
    }

    /// Documents do not hold (exit 1). Each complaint begins with its `file:line:column`, for editors.
    #[must_use]
    pub fn documents(complaints: &Complaints) -> Self {
        Self { message: rendered(complaints), code: 1 }
    }

    /// Standard output takes no more. A reader that has seen enough (`| head`) is no failure.
    #[must_use]
    pub fn output(cause: io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::BrokenPipe => Self { message: String::new(), code: 0 },
            _ => Self::failed(format!("cannot print: {cause}")),
        }
    }

    /// Tells it on standard error.
    #[must_use]
    pub fn report(self) -> ExitCode {
        if !self.message.is_empty() {
            tell(&printable_lines(&self.message));
        }
        ExitCode::from(self.code)
    }
}
