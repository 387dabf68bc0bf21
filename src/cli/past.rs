//! What was done, for the commands that ask it again.

use std::ops::ControlFlow;

use clap::Args;

use super::{Failure, audit::unread, options::now, progress::Progress, when::point};
use crate::{
    audit::{Filter, Kind, LogSource, Page, read},
    policy::Past,
    settings::Loaded,
};

/// Which part of the log.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which past")]
pub(super) struct PastArgs {
    /// From then on: a time back from now (7d, 12h), a day, or a moment.
    #[arg(long, value_name = "TIME", default_value = "7d")]
    since: String,
    /// Before then.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Of this account only.
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Read journal, stream, or an exported FILE [default: the stream where one is set, else the journal].
    #[arg(long, value_name = "journal|stream|FILE")]
    from: Option<String>,
}

/// How often progress is shown, in records.
const STEP: u64 = 4096;

impl PastArgs {
    /// Gives `each` every request of the past, oldest first, and says where it was read.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(super) async fn replay(
        self,
        loaded: &Loaded,
        doing: &'static str,
        mut each: impl FnMut(&Past<'_>) + Send,
    ) -> Result<LogSource, Failure> {
        let now = now();
        let source = LogSource::choose(&loaded.settings.audit, self.from.as_deref()).map_err(Failure::failed)?;
        let filter = Filter {
            since: Some(point("since", &self.since, now)?),
            until: self.until.map(|until| point("until", &until, now)).transpose()?,
            account: self.account,
            kind: Some(Kind::Access),
            ..Filter::default()
        };
        let progress = Progress::start(doing);
        let mut done = 0u64;
        let mut take = |line: crate::audit::Line<'_>| {
            each(&Past::from(line.record));
            done += 1;
            if done.is_multiple_of(STEP) {
                progress.at(done);
            }
            ControlFlow::Continue(())
        };
        read(&source, &filter, Page::default(), &mut take).await.map_err(unread)?;
        Ok(source)
    }
}
