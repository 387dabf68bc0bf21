//! Reading the log: from the journal, the stream, or a file that was exported. Nothing here holds the log in memory.

pub(super) mod feed;
mod filter;
pub(super) mod journal;
mod position;
pub(super) mod stream;

pub use filter::{Filter, Order, Page};
pub use position::{NoPosition, Position};

use std::{
    collections::VecDeque,
    fmt,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;

use feed::Feed;

use super::{error::AuditError, record::Record};
use crate::settings;

/// Where records are read from.
#[derive(Debug, Clone)]
pub enum LogSource {
    /// The journal's folder, the operators' journal within it included.
    Journal(PathBuf),
    /// The stream in Redis, all its partitions.
    Stream(Box<settings::Stream>),
    /// A file with one record a line.
    File(PathBuf),
}

/// One record that was read.
#[derive(Debug, Clone, Copy)]
pub struct Line<'l> {
    /// As it stands in the log, without its end of line.
    pub raw: &'l str,
    /// What it says.
    pub record: &'l Record,
}

impl LogSource {
    /// What `--from` says; without it the stream where one is set, else the journal.
    ///
    /// # Errors
    /// When it says `stream` and none is set, or names no file.
    pub fn choose(settings: &settings::Audit, from: Option<&str>) -> Result<Self, AuditError> {
        let journal = || Self::Journal(settings.journal.path.clone());
        match (from, &settings.stream) {
            (None | Some("stream"), Some(stream)) => Ok(Self::Stream(Box::new(stream.clone()))),
            (None | Some("journal"), _) => Ok(journal()),
            (Some("stream"), None) => Err(AuditError::NoStream),
            (Some(file), _) if Path::new(file).is_dir() => Ok(Self::Journal(file.into())),
            (Some(file), _) if Path::new(file).exists() => Ok(Self::File(file.into())),
            (Some(other), _) => Err(AuditError::Source { asked: other.to_owned() }),
        }
    }
}

impl fmt::Display for LogSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal(path) => write!(f, "journal {}", path.display()),
            Self::Stream(stream) => write!(f, "stream {}", stream.name),
            Self::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

/// Gives `each` the records that `filter` takes, until it has had enough. Lines that are no records are passed
/// over ([`verify`](super::verify) names them).
///
/// # Errors
/// When the source cannot be read.
pub async fn read(
    source: &LogSource,
    filter: &Filter,
    page: Page,
    each: &mut (dyn FnMut(Line<'_>) -> ControlFlow<()> + Send),
) -> Result<(), AuditError> {
    read_from(source, filter, page, None, each).await.map(drop)
}

/// The same, going on where another reading in that order has stopped. Gives where `each` had enough: the record that
/// it had last comes first the next time.
///
/// # Errors
/// When the source cannot be read, or `from` is a position in another.
pub async fn read_from(
    source: &LogSource,
    filter: &Filter,
    page: Page,
    from: Option<&Position>,
    each: &mut (dyn FnMut(Line<'_>) -> ControlFlow<()> + Send),
) -> Result<Option<Position>, AuditError> {
    let since = filter.since.map(|since| since.as_millisecond());
    let mut feed = Feed::open_at(source, page.order, since, from).await?;
    let mut left = page.limit.unwrap_or(u64::MAX);
    let mut line = Vec::new();
    let mut turns = 0u32;
    let (mut lines, mut records) = (false, false);
    while left > 0 && feed.next(&mut line).await? {
        turns = turns.wrapping_add(1);
        if turns.is_multiple_of(BREATH) {
            tokio::task::yield_now().await;
        }
        lines = true;
        let Some((raw, record)) = record_of(&line) else { continue };
        records = true;
        if filter.takes(&record) {
            left -= 1;
            if each(Line { raw, record: &record }).is_break() {
                return Ok(Position::new(source, feed.spots()));
            }
        }
    }
    match source {
        LogSource::File(path) if lines && !records => Err(AuditError::NoLog { path: path.clone() }),
        _ => Ok(None),
    }
}

/// Gives `each` the last `last` records that `filter` takes, then each further one as it is written, until it has had
/// enough or the future is dropped.
///
/// # Errors
/// When the source cannot be read.
pub async fn follow(
    source: &LogSource,
    filter: &Filter,
    last: usize,
    each: &mut (dyn FnMut(Line<'_>) -> ControlFlow<()> + Send),
) -> Result<(), AuditError> {
    // Reading backwards finds when the last ones began; what is shown comes from one reading forwards from there, so
    // that nothing is missed or shown twice however much is written meanwhile.
    let mut oldest = Timestamp::now();
    let mut older = |line: Line<'_>| {
        oldest = oldest.min(line.record.time);
        ControlFlow::Continue(())
    };
    if last > 0 {
        match read(source, filter, Page { order: Order::NewestFirst, limit: Some(last as u64) }, &mut older).await {
            Ok(()) | Err(AuditError::NoJournal { .. }) => {}
            Err(other) => return Err(other),
        }
    }
    let mut feed = loop {
        match Feed::open(source, Order::OldestFirst, Some(oldest.as_millisecond())).await {
            Ok(feed) => break feed,
            Err(AuditError::NoJournal { .. }) => tokio::time::sleep(AGAIN).await,
            Err(other) => return Err(other),
        }
    };
    let mut line = Vec::new();
    let mut before: VecDeque<Vec<u8>> = VecDeque::new();
    while feed.next(&mut line).await? {
        let mut wanted = false;
        let _ = show(&line, filter, &mut |_| {
            wanted = true;
            ControlFlow::Continue(())
        });
        if wanted && last > 0 {
            if before.len() == last {
                before.pop_front();
            }
            before.push_back(line.clone());
        }
    }
    for line in before {
        if show(&line, filter, each).is_some_and(|flow| flow.is_break()) {
            return Ok(());
        }
    }
    loop {
        while feed.next(&mut line).await? {
            if show(&line, filter, each).is_some_and(|flow| flow.is_break()) {
                return Ok(());
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// After so many lines others get a turn.
const BREATH: u32 = 512;
/// How often a followed log is looked at.
const AGAIN: Duration = Duration::from_millis(100);

fn show(line: &[u8], filter: &Filter, each: &mut (dyn FnMut(Line<'_>) -> ControlFlow<()> + Send)) -> Option<ControlFlow<()>> {
    let (raw, record) = record_of(line)?;
    filter.takes(&record).then(|| each(Line { raw, record: &record }))
}

fn record_of(line: &[u8]) -> Option<(&str, Record)> {
    let raw = std::str::from_utf8(line).ok()?;
    Some((raw, serde_json::from_str(raw).ok()?))
}
