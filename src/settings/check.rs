//! Whether every field holds what it may hold, and the fields fit each other.

mod addresses;
mod headers;
mod numbers;
mod stores;

use std::fmt::Display;

use super::{
    Settings,
    places::{Places, Way},
};
use crate::source::{Complaint, Complaints, Source, Span};

/// Looks at everything. What is wrong goes to the desk.
pub(super) fn all(settings: &Settings, desk: &mut Desk<'_>) {
    if settings.version.value != 1 {
        desk.error(&Way::to("version"), format!("version {} is not known", settings.version.value)).help("this Vicar reads version 1");
    }
    addresses::check(settings, desk);
    headers::check(settings, desk);
    stores::check(settings, desk);
    numbers::check(settings, desk);
    log_level(settings, desk);
}

/// A level, or a filter of `target=level`. A word that is neither would be taken for the name of a target, and turn off all
/// else.
fn log_level(settings: &Settings, desk: &mut Desk<'_>) {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level =
        |word: &str| LEVELS.iter().any(|known| known.eq_ignore_ascii_case(word)) || matches!(word, "0" | "1" | "2" | "3" | "4" | "5");
    for part in settings.log.level.iter().flat_map(|level| level.split(',')) {
        let (target, level) = part.split_once('=').map_or((None, part), |(target, level)| (Some(target), level));
        if target == Some("") || !is_level(level) {
            desk.error(&Way::to("log.level"), format!("`{part}` is no level"))
                .help("write off, error, warn, info, debug or trace, or a filter such as vicar=debug,hyper=warn")
                .suggest(level, LEVELS);
        }
    }
}

/// Where complaints are taken: knows where each field stands, in the file or on the command line.
#[derive(Debug)]
pub(super) struct Desk<'s> {
    source: &'s Source,
    places: &'s Places,
    overridden: Vec<(Way, Source)>,
    complaints: Complaints,
}

impl<'s> Desk<'s> {
    pub(super) fn new(source: &'s Source, places: &'s Places) -> Self {
        Self { source, places, overridden: Vec::new(), complaints: Complaints::default() }
    }

    /// What stands under `way` came from an option of the command line.
    pub(super) fn overridden(&mut self, way: Way, option: &str, value: &str) {
        self.overridden.push((way, Source::new(option, value)));
    }

    /// Whether the command line has set this field.
    pub(super) fn is_overridden(&self, way: &Way) -> bool {
        self.overridden.iter().any(|(over, _)| way.starts_with(over))
    }

    /// Complains about the value of a field.
    pub(super) fn error(&mut self, way: &Way, message: impl Into<String>) -> &mut Complaint {
        match self.overridden.iter().find(|(over, _)| way.starts_with(over)) {
            Some((_, source)) => self.complaints.error(source, Span { start: 0, end: source.text.len() }, message),
            None => self.complaints.error(self.source, self.places.value(way), message),
        }
    }

    /// Takes the value of a field, but says that somebody should look.
    pub(super) fn warning(&mut self, way: &Way, message: impl Into<String>) -> &mut Complaint {
        self.complaints.warning(self.source, self.places.value(way), message)
    }

    /// Complains about the name of a field.
    pub(super) fn error_in_name(&mut self, way: &Way, message: impl Into<String>) -> &mut Complaint {
        self.complaints.error(self.source, self.places.name(way), message)
    }

    /// Complains unless `value` lies within what is sensible.
    pub(super) fn within<T: PartialOrd + Display>(&mut self, dotted: &str, value: &T, low: &T, high: &T) {
        if value < low || value > high {
            self.error(&Way::to(dotted), format!("{dotted} cannot be {value}")).help(format!("write something from {low} to {high}"));
        }
    }

    /// What was found.
    pub(super) fn close(self) -> Complaints {
        self.complaints
    }
}
