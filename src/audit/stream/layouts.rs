//! Into how many partitions the stream is divided, and was before.
//!
//! Records stay where they were shipped to when `partitions` is changed. So each number that was ever set is noted down in
//! Redis before anything is shipped under it: whoever ships goes on behind what stands elsewhere, and whoever reads knows
//! where else to look.

use std::collections::{HashMap, HashSet};

use super::{Cursor, Keys, Link};
use crate::settings;

/// As many as the settings allow.
const PARTITIONS_MAX: u32 = 1024;

/// Each number of partitions that records were shipped under, the one that is set first.
#[derive(Debug, Clone)]
pub(in crate::audit) struct Layouts {
    name: String,
    counts: Vec<u32>,
}

impl Layouts {
    /// Asks which there are.
    pub(in crate::audit) async fn ask(link: &mut Link, stream: &settings::Stream) -> redis::RedisResult<Self> {
        let noted: HashMap<String, String> = link.ask(redis::cmd("HGETALL").arg(note(stream))).await?;
        let set = stream.partitions.max(1);
        let mut before: Vec<u32> = noted.keys().filter_map(|count| count.parse().ok()).collect();
        before.retain(|count| *count != set && (1..=PARTITIONS_MAX).contains(count));
        before.sort_unstable();
        let counts = std::iter::once(set).chain(before).collect();
        Ok(Self { name: stream.name.clone(), counts })
    }

    /// The same for somebody who is about to ship: the number that is set is noted down.
    pub(in crate::audit) async fn join(link: &mut Link, stream: &settings::Stream) -> redis::RedisResult<Self> {
        let set = stream.partitions.max(1);
        let noted: Option<String> = link.ask(redis::cmd("HGET").arg(note(stream)).arg(set)).await?;
        if noted.is_none() {
            link.ask::<redis::Value>(redis::cmd("HSET").arg(note(stream)).arg(set).arg("")).await?;
        }
        Self::ask(link, stream).await
    }

    /// Every partition, those that are written to now first.
    pub(in crate::audit) fn partitions(&self) -> impl Iterator<Item = Keys> {
        let mut met = HashSet::new();
        let all = self.counts.iter().flat_map(|count| (0..*count).map(|number| Keys::partition(&self.name, number, *count)));
        all.filter(move |keys| met.insert(keys.stream.clone()))
    }

    /// Where records of this sidecar may stand; first where it ships to now.
    pub(in crate::audit) fn homes(&self, sidecar: &str) -> impl Iterator<Item = Keys> {
        self.counts.iter().map(move |count| Keys::among(&self.name, sidecar, *count))
    }

    /// How far a sidecar has shipped, wherever to.
    pub(in crate::audit) async fn reached(&self, link: &mut Link, sidecar: &str) -> redis::RedisResult<Option<Cursor>> {
        let mut furthest: Option<Cursor> = None;
        for keys in self.homes(sidecar) {
            let text: Option<String> = link.ask(redis::cmd("HGET").arg(&keys.cursors).arg(sidecar)).await?;
            if let Some(cursor) = text.as_deref().and_then(Cursor::parse)
                && furthest.as_ref().is_none_or(|furthest| furthest.seq < cursor.seq)
            {
                furthest = Some(cursor);
            }
        }
        Ok(furthest)
    }
}

/// Where the numbers stand.
fn note(stream: &settings::Stream) -> String {
    format!("{}:layouts", stream.name)
}
