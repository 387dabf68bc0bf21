//! Lines from the stream in Redis, page by page.

use std::{collections::VecDeque, sync::Arc};

use redis::Value;
use tokio::sync::Mutex;

use super::{
    Order,
    position::{Place, Spot},
};
use crate::{
    audit::{
        error::AuditError,
        stream::{Keys, Layouts, Link},
    },
    settings,
};

/// Entries in a page, over all partitions.
const PAGE: usize = 4000;
/// How far the clock of Redis may be behind a sidecar's, in milliseconds, without a record being missed.
const SLACK_MS: i64 = 10 * 60 * 1000;

/// One entry of the stream, as it stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::audit) struct StreamEntry {
    pub(in crate::audit) id: String,
    pub(in crate::audit) sidecar: Option<Vec<u8>>,
    pub(in crate::audit) seq: Option<Vec<u8>>,
    pub(in crate::audit) record: Option<Vec<u8>>,
    /// Fields that no entry of ours has.
    pub(in crate::audit) foreign: bool,
}

/// Records of one partition.
#[derive(Debug)]
pub(in crate::audit) struct StreamFeed {
    link: Arc<Mutex<Link>>,
    pub(in crate::audit) keys: Keys,
    order: Order,
    page: usize,
    /// Where the next page begins, as Redis is asked for it.
    next: Option<String>,
    /// All was given before this began.
    ended: bool,
    /// The last entry that was given; where this was to begin, while there was none.
    spot: Spot,
    since: Option<String>,
    held: VecDeque<StreamEntry>,
}

impl StreamEntry {
    /// The two numbers of its id, by which entries sort.
    pub(in crate::audit) fn place(&self) -> Option<(u64, u64)> {
        place(&self.id)
    }
}

impl StreamFeed {
    pub(in crate::audit) async fn all(stream: &settings::Stream, order: Order, since_ms: Option<i64>) -> Result<Vec<Self>, AuditError> {
        let mut link = Link::connect(stream).await?;
        let layouts = Layouts::ask(&mut link, stream).await.map_err(|error| AuditError::Stream { why: error.to_string() })?;
        let partitions: Vec<_> = layouts.partitions().collect();
        let link = Arc::new(Mutex::new(link));
        let page = (PAGE / partitions.len().max(1)).max(50);
        let since = since_ms.map(|ms| ms.saturating_sub(SLACK_MS).max(0).to_string());
        let mut feeds = Vec::new();
        for keys in partitions {
            // In a cluster each partition may be on another node, and a connection is to one of them.
            let link = if link.lock().await.is_cluster() && !feeds.is_empty() {
                Arc::new(Mutex::new(Link::connect(stream).await?))
            } else {
                link.clone()
            };
            let (next, ended, spot) = (None, false, Spot::Start);
            feeds.push(Self { link, keys, order, page, next, ended, spot, since: since.clone(), held: VecDeque::new() });
        }
        Ok(feeds)
    }

    /// Begins there. Before anything is asked for.
    pub(super) fn begin(&mut self, from: Spot) -> Result<(), AuditError> {
        self.spot = from;
        match (self.order, from) {
            (_, Spot::Start) => {}
            (_, Spot::At((ms, number))) => self.next = Some(format!("{ms}-{number}")),
            // Nothing comes after the last id there can be.
            (Order::OldestFirst, Spot::After((ms, number))) if (ms, number) < (u64::MAX, u64::MAX) => {
                self.next = Some(format!("({ms}-{number}"));
            }
            (_, Spot::After(_)) => return Err(AuditError::Elsewhere),
            (_, Spot::End) => self.ended = true,
        }
        Ok(())
    }

    /// Where the last line stands.
    pub(super) fn spot(&self) -> Spot {
        self.spot
    }

    pub(super) async fn next(&mut self, line: &mut Vec<u8>) -> Result<bool, AuditError> {
        while let Some(entry) = self.next_entry().await? {
            if let Some(record) = entry.record {
                line.extend_from_slice(&record);
                if let Some(place) = place(&entry.id) {
                    self.spot = Spot::At(place);
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The next entry, ours or not.
    pub(in crate::audit) async fn next_entry(&mut self) -> Result<Option<StreamEntry>, AuditError> {
        if self.held.is_empty() {
            self.fetch().await?;
        }
        Ok(self.held.pop_front())
    }

    async fn fetch(&mut self) -> Result<(), AuditError> {
        if self.ended {
            return Ok(());
        }
        let since = self.since.as_deref();
        let mut command = match self.order {
            Order::OldestFirst => redis::cmd("XRANGE"),
            Order::NewestFirst => redis::cmd("XREVRANGE"),
        };
        command.arg(&self.keys.stream);
        match (self.order, self.next.as_deref()) {
            (Order::OldestFirst, next) => command.arg(next.or(since).unwrap_or("-")).arg("+"),
            (Order::NewestFirst, next) => command.arg(next.unwrap_or("+")).arg(since.unwrap_or("-")),
        };
        command.arg("COUNT").arg(self.page);
        let reply: Value = self.link.lock().await.ask(&command).await.map_err(|error| AuditError::Stream { why: error.to_string() })?;
        self.held = entries(reply);
        if let Some(entry) = self.held.back() {
            self.next = Some(format!("({}", entry.id));
        }
        Ok(())
    }
}

fn place(id: &str) -> Option<Place> {
    let (ms, number) = id.split_once('-')?;
    Some((ms.parse().ok()?, number.parse().ok()?))
}

/// The entries of a reply to `XRANGE`; what has not that shape is left out.
pub(in crate::audit) fn entries(reply: Value) -> VecDeque<StreamEntry> {
    let Value::Array(items) = reply else { return VecDeque::new() };
    items.into_iter().filter_map(entry).collect()
}

fn entry(value: Value) -> Option<StreamEntry> {
    let Value::Array(parts) = value else { return None };
    let [id, fields] = <[Value; 2]>::try_from(parts).ok()?;
    let id = String::from_utf8(bytes(id)?).ok()?;
    let Value::Array(fields) = fields else { return None };
    let mut entry = StreamEntry { id, sidecar: None, seq: None, record: None, foreign: false };
    let mut fields = fields.into_iter();
    while let (Some(name), Some(value)) = (fields.next().and_then(bytes), fields.next().and_then(bytes)) {
        let slot = match name.as_slice() {
            b"sidecar" => &mut entry.sidecar,
            b"seq" => &mut entry.seq,
            b"record" => &mut entry.record,
            _ => {
                entry.foreign = true;
                continue;
            }
        };
        entry.foreign |= slot.replace(value).is_some();
    }
    Some(entry)
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        Value::Int(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}
