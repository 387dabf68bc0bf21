//! Logs on standard error: for people on a terminal, JSON elsewhere; and [`spans`] for a collector.
//!
//! At `info` stands only what an operator acts on; what callers do is the audit log's business.

pub mod spans;

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::{filter::Targets, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    settings::{Log, LogFormat},
    terminal::Colours,
};

/// Turns logging on, once, for `serve`.
pub fn start(log: &Log) {
    let level = std::env::var("VICAR_LOG").ok().or_else(|| log.level.clone()).unwrap_or_else(|| "info".to_owned());
    let filter: Targets = quiet_libraries(&level).parse().unwrap_or_else(|_| Targets::new().with_default(tracing::Level::INFO));
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Human => false,
        LogFormat::Auto => !stderr().is_terminal(),
    };
    let registry = tracing_subscriber::registry().with(filter);
    // A second call (tests, the demo inside a test) leaves the first in place.
    let _ = if json {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(stderr)).try_init()
    } else {
        registry.with(fmt::layer().with_target(false).with_ansi(Colours::of_error().are_on()).with_writer(stderr)).try_init()
    };
}

/// The level, but for libraries that say too much. The watcher of files logs each event at `trace`, and where the log
/// stands beside the settings each such line is an event; what the verifier of certificates says, we say with the remedy.
/// Who asks for one by name gets it.
fn quiet_libraries(level: &str) -> String {
    let usual = [("notify", "info"), ("rustls_platform_verifier", "off")];
    let quiet = usual.iter().filter(|(library, _)| !level.contains(library));
    quiet.fold(level.to_owned(), |words, (library, level)| format!("{words},{library}={level}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_are_quiet_unless_asked_for() {
        for (level, says, hears) in [("trace", true, false), ("vicar=debug", false, false), ("trace,notify=trace", true, true)] {
            let filter: Targets = quiet_libraries(level).parse().unwrap();
            assert_eq!(filter.would_enable("vicar::proxy", &tracing::Level::TRACE), says, "{level}");
            assert_eq!(filter.would_enable("notify::inotify", &tracing::Level::TRACE), hears, "{level}");
        }
    }
}
