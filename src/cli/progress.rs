//! How far a long reading has come: on a terminal only, on standard error, gone when it is done.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A count that moves.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// `doing` says what: `verifying`.
    pub(super) fn start(doing: &'static str) -> Self {
        // Hidden by the crate itself where standard error is no terminal.
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}: {human_pos} records, {per_sec}") {
            bar.set_style(style);
        }
        bar.set_message(doing);
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(bar)
    }

    /// So many are done.
    pub(super) fn at(&self, done: u64) {
        self.0.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
