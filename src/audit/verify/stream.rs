//! The stream: its entries, whose fields have to say what their records say, and how far each sidecar had shipped.

use super::{Chains, breathe};
use crate::{
    audit::{
        error::AuditError,
        read::{
            Order,
            stream::{StreamEntry, StreamFeed},
        },
        stream::{Keys, Link, cursors},
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
    let mut reached = Vec::new();
    for keys in Keys::all(settings) {
        reached.extend(cursors(&mut link, &keys).await.map_err(|error| AuditError::Stream { why: error.to_string() })?);
    }
    for mut feed in StreamFeed::all(settings, Order::OldestFirst, None).await? {
        while let Some(entry) = feed.next_entry().await? {
            one(&entry, settings, &feed.keys, chains);
            breathe(chains, progress).await;
        }
    }
    for (sidecar, cursor) in reached {
        match chains.last_of(&sidecar) {
            // All of it may have been trimmed by age.
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

fn one(entry: &StreamEntry, settings: &settings::Stream, keys: &Keys, chains: &mut Chains<'_>) {
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
    if Keys::of(settings, &sidecar) != *keys {
        chains.complain(Some(seq), &sidecar, format!("stands in {}, where this sidecar does not write: it was inserted", keys.stream));
    }
}
