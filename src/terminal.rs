//! What people see on a terminal: colours only where they are wanted, and nothing that moves the cursor.
//!
//! `cli`, `demo` and `telemetry` print through here. Whatever came from a file, a wire or a directory goes through
//! [`printable`] first: a name or a user agent must not be able to redraw the screen of whoever reads it.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, IsTerminal},
};

/// How a text is set off, where there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// Not at all.
    Plain,
    /// Bold.
    Bold,
    /// Faint.
    Dim,
    /// As something that went well.
    Green,
    /// As something that did not.
    Red,
    /// As something to look at.
    Yellow,
    /// As something to type or to click.
    Cyan,
}

/// Whether texts are set off, decided once for a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colours {
    /// A terminal that wants them.
    On,
    /// A file, a pipe, or somebody who said no.
    Off,
}

impl Colours {
    /// Of a stream: on for a terminal, unless `NO_COLOR` is set (<https://no-color.org>) or the terminal is dumb.
    #[must_use]
    pub fn of(stream: &impl IsTerminal) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if stream.is_terminal() && !refused && !dumb { Self::On } else { Self::Off }
    }

    /// Of standard output.
    #[must_use]
    pub fn of_output() -> Self {
        Self::of(&io::stdout())
    }

    /// Of standard error.
    #[must_use]
    pub fn of_error() -> Self {
        Self::of(&io::stderr())
    }

    /// Whether there are any.
    #[must_use]
    pub const fn are_on(self) -> bool {
        matches!(self, Self::On)
    }

    /// `text` in `ink`. The text must have been made [`printable`] already.
    #[must_use]
    pub fn paint(self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Plain => return text.to_owned(),
            Ink::Bold => "1",
            Ink::Dim => "2",
            Ink::Green => "32",
            Ink::Red => "31",
            Ink::Yellow => "33",
            Ink::Cyan => "36",
        };
        match self {
            Self::On => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Off => text.to_owned(),
        }
    }
}

/// Columns of standard output, if it is a terminal that tells.
#[must_use]
pub fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

// ===== what callers chose =====

/// `text` with everything escaped that a terminal would act on or that would mislead a reader: control characters
/// (C0, DEL, C1), line and paragraph separators, and marks that turn the direction of writing.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(misleads) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            c if misleads(c) => {
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(c));
            }
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// Whether `c` does something other than stand in its place.
pub(crate) fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_came_over_a_wire_moves_the_cursor() {
        assert_eq!(printable("a\x1b[2Jb\u{9b}c\r\n"), "a\\u{1b}[2Jb\\u{9b}c\\r\\n");
        assert_eq!(printable("a\u{202e}b\u{200b}"), "a\\u{202e}b\\u{200b}");
        assert_eq!(printable("Jürgen → 日本"), "Jürgen → 日本");
    }

    #[test]
    fn a_file_gets_no_colours() {
        assert_eq!(Colours::of(&tempfile::tempfile().unwrap()), Colours::Off);
        assert_eq!(Colours::Off.paint(Ink::Red, "x"), "x");
        assert_eq!(Colours::On.paint(Ink::Red, "x"), "\x1b[31mx\x1b[0m");
    }
}
