//! The stream: its entries, whose fields have to say what their records say, and how far each sidecar had shipped.

use std::{
    collections::{BTreeMap, HashMap},
    ops::ControlFlow,
    time::Duration,
};

use jiff::Timestamp;
use redis::{FromRedisValue as _, Value};

use super::{Broken, ChainSummary, Chains, Verification, breathe};
use crate::{
    audit::{
        error::AuditError,
        read::{
            Filter, LogSource, Order, Page, read,
            stream::{StreamEntry, StreamFeed},
        },
        stream::{Cursor, Keys, Layouts, Link, cursors},
    },
    settings,
};

pub(super) async fn verify(
    settings: &settings::Stream,
    chains: &mut Chains<'_>,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<(), AuditError> {
    // Asked first: the stream may grow meanwhile, but it was no shorter than this.
    let mut link = Link::connect(settings).await?;
    let unasked = |error: redis::RedisError| AuditError::Stream { why: error.to_string() };
    let layouts = Layouts::ask(&mut link, settings).await.map_err(unasked)?;
    let mut reached: BTreeMap<String, (Cursor, Keys)> = BTreeMap::new();
    for keys in layouts.partitions() {
        for (sidecar, cursor) in cursors(&mut link, &keys).await.map_err(unasked)? {
            // Where it shipped to under another number of partitions, an older one stays.
            if reached.get(&sidecar).is_none_or(|(furthest, _)| furthest.seq < cursor.seq) {
                reached.insert(sidecar, (cursor, keys.clone()));
            }
        }
    }
    chains.had_shipped(reached.iter().map(|(sidecar, (cursor, _))| (sidecar.clone(), cursor.seq)).collect());
    in_their_order(settings, &layouts, chains, progress).await?;
    for keys in layouts.partitions() {
        deletions(&mut link, &keys, chains).await;
    }
    for (sidecar, (cursor, keys)) in reached {
        match chains.last_of(&sidecar) {
            // All of it may have been trimmed by age; that leaves an empty stream behind, and not none.
            None if cursor.seq > 0 && is_gone(&mut link, &keys).await => {
                let problem = format!("{sidecar} had shipped up to record {} and there is no stream: it was deleted", cursor.seq);
                chains.complain(Some(cursor.seq), &sidecar, problem);
            }
            None => {}
            Some((last, _)) if last < cursor.seq => {
                let problem =
                    format!("{sidecar} had shipped up to record {} and the stream ends with {last}: its end was removed", cursor.seq);
                chains.complain(Some(last.saturating_add(1)), &sidecar, problem);
            }
            Some((last, hash)) if last == cursor.seq && hash != cursor.hash => {
                chains.complain(Some(last), &sidecar, "is not the record that was shipped last: the end was rewritten");
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Looks at every entry, in the order in which they came: a sidecar whose partition has changed goes on in another.
async fn in_their_order(
    settings: &settings::Stream,
    layouts: &Layouts,
    chains: &mut Chains<'_>,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<(), AuditError> {
    let mut feeds = StreamFeed::all(settings, Order::OldestFirst, None).await?;
    let mut heads = BTreeMap::new();
    for (number, feed) in feeds.iter_mut().enumerate() {
        if let Some(entry) = feed.next_entry().await? {
            heads.insert((entry.place(), number), entry);
        }
    }
    while let Some(((_, number), entry)) = heads.pop_first() {
        let Some(feed) = feeds.get_mut(number) else { continue };
        one(&entry, layouts, &feed.keys, chains);
        if let Some(next) = feed.next_entry().await? {
            heads.insert((next.place(), number), next);
        }
        breathe(chains, progress).await;
    }
    Ok(())
}

/// Vicar trims and never deletes. The server notes down what was deleted (Redis 7 and later), where it may be asked.
async fn deletions(link: &mut Link, keys: &Keys, chains: &mut Chains<'_>) {
    let told = link.ask::<HashMap<String, Value>>(redis::cmd("XINFO").arg("STREAM").arg(&keys.stream)).await;
    let latest = told.ok().and_then(|mut told| told.remove("max-deleted-entry-id")).and_then(|id| String::from_redis_value(id).ok());
    if let Some(id) = latest.filter(|id| id != "0-0") {
        chains.complain(None, "", format!("entries were deleted from {}, the last of them {id}", keys.stream));
    }
}

async fn is_gone(link: &mut Link, keys: &Keys) -> bool {
    link.ask::<u64>(redis::cmd("EXISTS").arg(&keys.stream)).await.is_ok_and(|there| there == 0)
}

/// What one of the two holds and the other should. From the journal nothing goes off the end, and what is missing at the
/// beginning of the stream may have been taken by nothing but age.
pub(super) async fn differences(
    settings: &settings::Stream,
    of_stream: &Verification,
    journal: &LogSource,
    of_journal: &Verification,
) -> Result<Vec<Broken>, AuditError> {
    let unasked = |error: redis::RedisError| AuditError::Stream { why: error.to_string() };
    let mut link = Link::connect(settings).await?;
    let layouts = Layouts::ask(&mut link, settings).await.map_err(unasked)?;
    let mut broken = Vec::new();
    for chain in &of_journal.chains {
        let Some((_, shipped)) = of_stream.shipped.iter().find(|(sidecar, _)| *sidecar == chain.sidecar) else { continue };
        if let Some(last) = ends_before(*shipped, chain, journal).await? {
            let problem = format!(
                "record {shipped} of this sidecar was shipped and the journal ends with {last}: its end was removed, or the sidecar went on elsewhere under this name"
            );
            broken.push(Broken { seq: Some(last.saturating_add(1)), sidecar: chain.sidecar.clone(), problem });
        }
        let there = of_stream.chains.iter().find(|other| other.sidecar == chain.sidecar);
        let last_lacking = there.map_or(*shipped, |there| there.first.saturating_sub(1)).min(*shipped).min(chain.last);
        if last_lacking < chain.first {
            continue;
        }
        let mut began = None;
        let filter = Filter { sidecar: Some(chain.sidecar.clone()), ..Filter::default() };
        read(journal, &filter, Page { order: Order::NewestFirst, limit: None }, &mut |line| {
            if line.record.seq > last_lacking {
                return ControlFlow::Continue(());
            }
            began = Some(line.record.time);
            ControlFlow::Break(())
        })
        .await?;
        let mut note: Option<i64> = None;
        for home in layouts.homes(&chain.sidecar) {
            note = note.max(link.ask(redis::cmd("HGET").arg(&home.cursors).arg("")).await.map_err(unasked)?);
        }
        let trimmed = match note {
            Some(ms) => Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX),
            None => Timestamp::now().checked_sub(settings.keep.0).unwrap_or(Timestamp::MIN),
        };
        // An entry is no older than its action.
        if began.is_some_and(|began| began.checked_sub(CLOCKS).is_ok_and(|began| began > trimmed)) {
            let problem = format!(
                "the journal has record {last_lacking}, which was shipped and was not old enough to be trimmed, and the stream has it not: its beginning was removed"
            );
            broken.push(Broken { seq: Some(last_lacking), sidecar: chain.sidecar.clone(), problem });
        }
    }
    Ok(broken)
}

/// Where a sidecar's journal ends, if that is before the last record that was shipped from it.
async fn ends_before(shipped: u64, chain: &ChainSummary, journal: &LogSource) -> Result<Option<u64>, AuditError> {
    // Operators' commands may be given on several machines, each with a journal of its own.
    if shipped <= chain.last || chain.sidecar.ends_with(".operator") {
        return Ok(None);
    }
    // It may have grown since it was verified.
    let mut last = chain.last;
    let filter = Filter { sidecar: Some(chain.sidecar.clone()), ..Filter::default() };
    read(journal, &filter, Page { order: Order::NewestFirst, limit: Some(1) }, &mut |line| {
        last = last.max(line.record.seq);
        ControlFlow::Continue(())
    })
    .await?;
    Ok(Some(last).filter(|last| *last < shipped))
}

/// By how much the clocks of a sidecar and of Redis may differ.
const CLOCKS: Duration = Duration::from_secs(10 * 60);

fn one(entry: &StreamEntry, layouts: &Layouts, keys: &Keys, chains: &mut Chains<'_>) {
    let Some(record) = &entry.record else {
        chains.complain(None, "", format!("the stream's entry {} is none of Vicar's: somebody else wrote it", entry.id));
        return;
    };
    let Some((sidecar, seq)) = chains.meet(record) else { return };
    let named = entry.sidecar.as_deref() == Some(sidecar.as_bytes());
    let numbered = entry.seq.as_deref() == Some(seq.to_string().as_bytes());
    if !named || !numbered || entry.foreign {
        chains.complain(Some(seq), &sidecar, format!("the fields of the stream's entry {} are not those of its record", entry.id));
    }
    if !layouts.homes(&sidecar).any(|home| home == *keys) {
        chains.complain(
            Some(seq),
            &sidecar,
            format!(
                "stands in {}, where this sidecar does not write, and did not under another number of partitions: it was inserted",
                keys.stream
            ),
        );
    }
}
