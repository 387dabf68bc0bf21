//! Lines of the log, one after the other, from wherever they are.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use super::{
    LogSource, Order,
    journal::JournalFeed,
    position::{Position, Spot},
    stream::StreamFeed,
};
use crate::audit::{error::AuditError, journal::folder};

/// Longest line of a file that is read; a longer one is no record.
const LINE_MAX: u64 = 1 << 20;
const BLOCK: usize = 256 << 10;
/// After so many lines of others a feed that had nothing is asked again.
const ASK_AGAIN: u32 = 1000;

/// A way to get at lines.
#[derive(Debug)]
pub(in crate::audit) enum Feed {
    Journal(Box<JournalFeed>),
    Stream(StreamFeed),
    File(FileFeed),
    Backwards(BackwardsFeed),
    Merged(Merged),
}

/// Several feeds as one, by the time of their records.
#[derive(Debug)]
pub(in crate::audit) struct Merged {
    feeds: Vec<Side>,
    order: Order,
    /// Which of them gave the last line, and where that stood.
    given: Option<(usize, Spot)>,
    /// Lines since a feed that had nothing was asked again.
    lines: u32,
}

/// One of several feeds.
#[derive(Debug)]
struct Side {
    feed: Feed,
    /// The line that it gives next, if it is known.
    head: Option<Vec<u8>>,
}

/// A file, line by line.
#[derive(Debug)]
pub(in crate::audit) struct FileFeed {
    path: PathBuf,
    reader: BufReader<File>,
}

/// A file, line by line from its end.
#[derive(Debug)]
pub(in crate::audit) struct BackwardsFeed {
    path: PathBuf,
    file: File,
    /// What lies before this has not been read.
    at: u64,
    held: Vec<u8>,
}

impl Feed {
    /// All lines of `source`; those before `since_ms` may be left out.
    pub(in crate::audit) async fn open(source: &LogSource, order: Order, since_ms: Option<i64>) -> Result<Self, AuditError> {
        Self::open_at(source, order, since_ms, None).await
    }

    /// The same, from a position on.
    pub(super) async fn open_at(
        source: &LogSource,
        order: Order,
        since_ms: Option<i64>,
        from: Option<&Position>,
    ) -> Result<Self, AuditError> {
        if from.is_some_and(|from| !from.is_in(source)) {
            return Err(AuditError::Elsewhere);
        }
        // A feed that was not there when the position was noted is all new.
        let missing = if order == Order::NewestFirst { Spot::End } else { Spot::Start };
        let spot = |feed: usize| from.map_or(Spot::Start, |from| from.of(feed).unwrap_or(missing));
        let feeds = match source {
            LogSource::Journal(path) => {
                if !path.is_dir() {
                    return Err(AuditError::NoJournal { path: path.clone() });
                }
                let operators = path.join(folder::OPERATORS);
                let mut feeds = vec![Self::Journal(Box::new(JournalFeed::open(path, order, since_ms, spot(0))?))];
                if operators.is_dir() {
                    feeds.push(Self::Journal(Box::new(JournalFeed::open(&operators, order, since_ms, spot(1))?)));
                }
                feeds
            }
            LogSource::Stream(stream) => {
                let mut feeds = StreamFeed::all(stream, order, since_ms).await?;
                feeds.iter_mut().enumerate().try_for_each(|(number, feed)| feed.begin(spot(number)))?;
                feeds.into_iter().map(Self::Stream).collect()
            }
            LogSource::File(path) => vec![match order {
                Order::OldestFirst => Self::File(FileFeed::open(path)?),
                Order::NewestFirst => Self::Backwards(BackwardsFeed::open(path)?),
            }],
        };
        Self::merged(feeds, order).await
    }

    /// Where to go on with the line that [`Self::next`] gave last, in each of the feeds.
    pub(super) fn spots(&self) -> Vec<Spot> {
        match self {
            Self::Merged(merged) => {
                let spot = |(number, side): (usize, &Side)| match (merged.given, &side.head) {
                    (Some((last, spot)), _) if last == number => spot,
                    (_, Some(_)) => side.feed.spot(),
                    // Nothing more, so far: what is newest may get newer.
                    (_, None) if merged.order == Order::NewestFirst => Spot::End,
                    (_, None) => match side.feed.spot() {
                        Spot::At(last) => Spot::After(last),
                        other => other,
                    },
                };
                merged.feeds.iter().enumerate().map(spot).collect()
            }
            only => vec![only.spot()],
        }
    }

    /// Where the line stands that this one feed gave last.
    fn spot(&self) -> Spot {
        match self {
            Self::Journal(feed) => feed.spot(),
            Self::Stream(feed) => feed.spot(),
            Self::File(_) | Self::Backwards(_) | Self::Merged(_) => Spot::Start,
        }
    }

    async fn merged(mut feeds: Vec<Self>, order: Order) -> Result<Self, AuditError> {
        if feeds.len() == 1
            && let Some(only) = feeds.pop()
        {
            return Ok(only);
        }
        let mut sides = Vec::with_capacity(feeds.len());
        for mut feed in feeds {
            let mut line = Vec::new();
            let head = Box::pin(feed.next(&mut line)).await?.then_some(line);
            sides.push(Side { feed, head });
        }
        Ok(Self::Merged(Merged { feeds: sides, order, given: None, lines: 0 }))
    }

    /// Puts the next line into `line`; `false` if there is none (yet).
    pub(in crate::audit) async fn next(&mut self, line: &mut Vec<u8>) -> Result<bool, AuditError> {
        line.clear();
        match self {
            Self::Journal(feed) => feed.next(line),
            Self::Stream(feed) => feed.next(line).await,
            Self::File(feed) => feed.next(line),
            Self::Backwards(feed) => feed.next(line),
            Self::Merged(merged) => Box::pin(merged.next(line)).await,
        }
    }
}

impl Merged {
    async fn next(&mut self, line: &mut Vec<u8>) -> Result<bool, AuditError> {
        let order = self.order;
        // A feed that had nothing may have something by now. Asking costs a look into its folder: not for each line.
        self.lines += 1;
        if self.lines >= ASK_AGAIN || self.feeds.iter().all(|side| side.head.is_none()) {
            self.lines = 0;
            for side in self.feeds.iter_mut().filter(|side| side.head.is_none()) {
                let mut fresh = Vec::new();
                if side.feed.next(&mut fresh).await? {
                    side.head = Some(fresh);
                }
            }
        }
        let with_head = self.feeds.iter_mut().enumerate().filter(|(_, side)| side.head.is_some());
        let time = |side: &Side| side.head.as_deref().and_then(time_of).map(<[u8]>::to_vec);
        let next = match order {
            Order::OldestFirst => with_head.min_by_key(|(_, side)| time(side)),
            Order::NewestFirst => with_head.max_by_key(|(_, side)| time(side)),
        };
        let Some((number, side)) = next else { return Ok(false) };
        self.given = Some((number, side.feed.spot()));
        if let Some(mut taken) = side.head.take() {
            std::mem::swap(line, &mut taken);
            if side.feed.next(&mut taken).await? {
                side.head = Some(taken);
            }
        }
        Ok(true)
    }
}

/// The time of a record, by its place in the line; such times sort as text.
fn time_of(line: &[u8]) -> Option<&[u8]> {
    line.get(33..)?.strip_prefix(b"\",\"time\":\"")?.get(..24)
}

impl FileFeed {
    fn open(path: &Path) -> Result<Self, AuditError> {
        let file = File::open(path).map_err(|cause| AuditError::Io { path: path.to_owned(), cause })?;
        Ok(Self { path: path.to_owned(), reader: BufReader::with_capacity(BLOCK, file) })
    }

    fn next(&mut self, line: &mut Vec<u8>) -> Result<bool, AuditError> {
        let io = |cause| AuditError::Io { path: self.path.clone(), cause };
        loop {
            let got = (&mut self.reader).take(LINE_MAX).read_until(b'\n', line).map_err(io)?;
            if got == 0 {
                return Ok(false);
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            if !line.is_empty() {
                return Ok(true);
            }
        }
    }
}

impl BackwardsFeed {
    fn open(path: &Path) -> Result<Self, AuditError> {
        let io = |cause| AuditError::Io { path: path.to_owned(), cause };
        let mut file = File::open(path).map_err(io)?;
        let at = file.seek(SeekFrom::End(0)).map_err(io)?;
        Ok(Self { path: path.to_owned(), file, at, held: Vec::new() })
    }

    fn next(&mut self, line: &mut Vec<u8>) -> Result<bool, AuditError> {
        let io = |cause| AuditError::Io { path: self.path.clone(), cause };
        loop {
            if self.held.last() == Some(&b'\n') {
                self.held.pop();
                continue;
            }
            if let Some(begin) = memchr::memrchr(b'\n', &self.held) {
                line.extend_from_slice(self.held.get(begin + 1..).unwrap_or_default());
                self.held.truncate(begin);
                return Ok(true);
            }
            if self.at == 0 || self.held.len() as u64 > LINE_MAX {
                std::mem::swap(line, &mut self.held);
                self.held.clear();
                return Ok(!line.is_empty());
            }
            let from = self.at.saturating_sub(BLOCK as u64);
            let mut block = vec![0u8; usize::try_from(self.at - from).unwrap_or(0)];
            self.file.seek(SeekFrom::Start(from)).and_then(|_| self.file.read_exact(&mut block)).map_err(io)?;
            block.extend_from_slice(&self.held);
            self.held = block;
            self.at = from;
        }
    }
}
