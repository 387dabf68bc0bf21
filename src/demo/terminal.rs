//! What people see: 100 columns at most, colours on a terminal only.

use std::io::{self, Write as _};

use super::DemoError;
pub(super) use crate::terminal::Ink;
use crate::terminal::{Colours, columns, printable};

/// Columns used at most.
const WIDTH: usize = 100;
/// Columns of the label before each part of a scene.
const LABEL: usize = 10;

/// Standard output.
#[derive(Debug)]
pub(super) struct Terminal {
    colours: Colours,
    width: usize,
}

impl Terminal {
    pub(super) fn of_this_process() -> Self {
        Self { colours: Colours::of_output(), width: columns().map_or(WIDTH, |columns| columns.clamp(40, WIDTH)) }
    }

    #[cfg(test)]
    pub(super) fn plain(width: usize) -> Self {
        Self { colours: Colours::Off, width }
    }

    pub(super) fn line(&self, text: &str) -> Result<(), DemoError> {
        self.print(&format!("{text}\n"))
    }

    /// A chapter of the tour.
    pub(super) fn heading(&self, text: &str) -> Result<(), DemoError> {
        let rule = "─".repeat(self.width.saturating_sub(text.chars().count() + 4));
        self.print(&format!("\n{}\n", self.paint(Ink::Bold, &format!("── {text} {rule}"))))
    }

    /// Running text.
    pub(super) fn paragraph(&self, text: &str) -> Result<(), DemoError> {
        let lines = wrap(text, self.width);
        self.print(&format!("{}\n", lines.join("\n")))
    }

    /// A labelled part of a scene, wrapped under itself.
    pub(super) fn part(&self, label: &str, ink: Ink, text: &str) -> Result<(), DemoError> {
        self.labelled(label, ink, &wrap(&printable(text), self.room()))
    }

    /// A command to paste, wrapped so that a shell takes it as it stands.
    pub(super) fn command(&self, line: &str) -> Result<(), DemoError> {
        self.labelled("$", Ink::Cyan, &wrap_command(&printable(line), self.room()))
    }

    fn room(&self) -> usize {
        self.width.saturating_sub(LABEL + 2).max(20)
    }

    fn labelled(&self, label: &str, ink: Ink, lines: &[String]) -> Result<(), DemoError> {
        let mut out = String::new();
        for (i, line) in lines.iter().enumerate() {
            let label = if i == 0 { label } else { "" };
            let whole = format!("  {} {}", self.paint(Ink::Dim, &format!("{label:<w$}", w = LABEL - 1)), self.paint(ink, line));
            out.push_str(whole.trim_end());
            out.push('\n');
        }
        self.print(&out)
    }

    fn paint(&self, ink: Ink, text: &str) -> String {
        self.colours.paint(ink, text)
    }

    fn print(&self, text: &str) -> Result<(), DemoError> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(DemoError::Print)
    }
}

/// Breaks a text at spaces, or after a comma of JSON, or where it must.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut rest: Vec<char> = paragraph.chars().collect();
        while rest.len() > width {
            let fits = rest.get(..width).unwrap_or_default();
            // The space at which a line ends needs no room on it.
            let space = rest.get(..=width).unwrap_or(fits).iter().rposition(|c| *c == ' ');
            let comma = fits.iter().rposition(|c| *c == ',').map(|at| at + 1);
            // Between fields rather than within one, where there is a line's worth of fields.
            let field = comma.filter(|at| *at > width / 2 && rest.get(*at).is_some_and(|next| *next == '"'));
            let at = field.or(space.into_iter().chain(comma).max()).filter(|at| *at > 0).unwrap_or(width);
            let tail = rest.split_off(at);
            lines.push(rest.into_iter().collect::<String>().trim_end().to_owned());
            rest = tail.into_iter().skip_while(|c| *c == ' ').collect();
        }
        lines.push(rest.into_iter().collect());
    }
    lines
}

/// A piece of a command, and whether a space goes before it.
#[derive(Debug, Default)]
struct Piece {
    text: String,
    spaced: bool,
}

/// Breaks a command between its words, and a JSON body in single quotes after its commas, where a shell needs no `\\`
/// and JSON takes the new line. Nothing else is broken, however long it is.
fn wrap_command(line: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut open = String::new();
    for piece in pieces(line) {
        let space = if piece.spaced && !open.is_empty() { " " } else { "" };
        let end = if piece.spaced { " \\" } else { "" };
        // Room is kept for the ` \` that may have to follow.
        if open.is_empty() || open.chars().count() + space.len() + piece.text.chars().count() + 2 <= width {
            open.push_str(space);
        } else {
            lines.push(std::mem::take(&mut open) + end);
        }
        open.push_str(&piece.text);
    }
    lines.push(open);
    lines
}

fn pieces(line: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut piece = Piece::default();
    let (mut shell, mut json) = (None, false);
    for c in line.chars() {
        match (shell, c) {
            (None, ' ') => {
                pieces.push(std::mem::replace(&mut piece, Piece { spaced: true, ..Piece::default() }));
                continue;
            }
            (None, '"' | '\'') => shell = Some(c),
            (Some('\''), '"') => json = !json,
            (Some(quote), c) if c == quote => (shell, json) = (None, false),
            (_, _) => {}
        }
        piece.text.push(c);
        if c == ',' && shell == Some('\'') && !json {
            pieces.push(std::mem::take(&mut piece));
        }
    }
    pieces.push(piece);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_then_commas_and_never_overrun() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap(r#"{"a":1,"b":2}"#, 8), [r#"{"a":1,"#, r#""b":2}"#]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("", 3), [""]);
        assert_eq!(wrap(r#"{"a":1,"b":"c d"}"#, 13), [r#"{"a":1,"#, r#""b":"c d"}"#]);
    }

    #[test]
    fn a_command_that_is_broken_is_still_the_same_command() {
        let line = r#"echo -u "$A" -H 'X: a b, c' "$B/path" --json '{"Item":"a, b","Amount":2400,"by":{"Email":"z@e"}}'"#;
        let run = |text: &str| {
            let out = std::process::Command::new("sh").args(["-c", text]).env("A", "k").env("B", "http://x").output().unwrap();
            String::from_utf8(out.stdout).unwrap().replace("\n", "")
        };
        for width in [20, 30, 40, 60, 200] {
            let wrapped = wrap_command(line, width).join("\n");
            assert_eq!(run(&wrapped), run(line), "{wrapped}");
        }
        assert!(wrap_command(line, 40).iter().all(|line| line.chars().count() <= 40));
    }

    #[test]
    fn without_a_terminal_there_are_no_colours() {
        assert_eq!(Terminal::plain(100).paint(Ink::Red, "x"), "x");
    }
}
