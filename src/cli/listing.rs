//! Tables for people: plain columns, as wide as the terminal, nothing in them that a terminal would act on.

use comfy_table::{Cell as Inner, Color, ColumnConstraint, ContentArrangement, presets};

use super::{Failure, print::say};
use crate::terminal::{Colours, Ink, columns, printable};

/// Narrowest width that a table is fitted to; below it, lines wrap.
const NARROWEST: usize = 60;

/// Rows under one heading.
#[derive(Debug)]
pub(super) struct Table {
    inner: comfy_table::Table,
}

/// One field of a row.
#[derive(Debug)]
pub(super) struct Cell {
    text: String,
    ink: Ink,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), ink: Ink::Plain }
    }
}

impl Cell {
    /// A field that is set off.
    pub(super) fn inked(ink: Ink, text: impl Into<String>) -> Self {
        Self { text: text.into(), ink }
    }
}

impl Table {
    pub(super) fn new<const N: usize>(heading: [&str; N]) -> Self {
        let mut inner = comfy_table::Table::new();
        inner.load_style(presets::NOTHING).set_header(heading.map(|name| Inner::new(name.to_uppercase())));
        if Colours::of_output().are_on() {
            inner.enforce_styling();
        } else {
            inner.force_no_tty();
        }
        if let Some(columns) = columns() {
            inner.set_content_arrangement(ContentArrangement::Dynamic);
            inner.set_width(u16::try_from(columns.max(NARROWEST)).unwrap_or(u16::MAX));
        }
        Self { inner }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.inner.add_row(cells.map(|cell| {
            let inner = Inner::new(printable(&cell.text));
            match cell.ink {
                Ink::Plain => inner,
                Ink::Bold => inner.add_attribute(comfy_table::Attribute::Bold),
                Ink::Dim => inner.add_attribute(comfy_table::Attribute::Dim),
                Ink::Green => inner.fg(Color::DarkGreen),
                Ink::Red => inner.fg(Color::DarkRed),
                Ink::Yellow => inner.fg(Color::DarkYellow),
                Ink::Cyan => inner.fg(Color::DarkCyan),
            }
        }));
    }

    pub(super) fn print(mut self) -> Result<(), Failure> {
        for column in self.inner.column_iter_mut() {
            column.set_padding((0, 2));
        }
        // The first is what is copied: it stays whole, however narrow the terminal is.
        if let Some(first) = self.inner.column_mut(0) {
            first.set_constraint(ColumnConstraint::ContentWidth);
        }
        say(&self.inner.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n"))
    }
}

/// A few named facts about one thing, one a line.
#[derive(Debug, Default)]
pub(super) struct Facts {
    lines: Vec<(String, Cell)>,
}

impl Facts {
    pub(super) fn add(&mut self, name: &str, fact: impl Into<Cell>) -> &mut Self {
        self.lines.push((name.to_owned(), fact.into()));
        self
    }

    pub(super) fn print(&self) -> Result<(), Failure> {
        let colours = Colours::of_output();
        let wide = self.lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
        let lines = self.lines.iter().map(|(name, fact)| {
            let name = colours.paint(Ink::Dim, &format!("{name:<wide$}"));
            format!("{name}  {}", colours.paint(fact.ink, &printable(&fact.text)))
        });
        say(&lines.collect::<Vec<_>>().join("\n"))
    }
}
