//! One question at a time for each key id.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use super::{Count, Inner, Known};
use crate::identity::KeyId;

/// Most questions at once. Beyond it there is no answer, so that a flood of made-up ids cannot take all memory.
const MOST: usize = 4096;
/// How often an answer may be overtaken by changes before there is none.
const ATTEMPTS: u32 = 8;

/// The questions under way.
#[derive(Debug, Default)]
pub(super) struct Flights {
    under_way: Mutex<HashMap<KeyId, watch::Receiver<Landing>>>,
}

type Landing = Option<Landed>;

#[derive(Debug, Clone)]
enum Landed {
    Found(Arc<super::Entry>),
    Unknown,
    Unavailable,
}

enum Boarded {
    Waiting(watch::Receiver<Landing>),
    Landed(Known),
    Full,
}

impl Inner {
    /// Asks the backend about `id`, or waits for whoever is asking already. The question goes on when its first asker
    /// goes away.
    pub(super) async fn fly(self: &Arc<Self>, id: KeyId) -> Known {
        let mut landing = match self.board(id) {
            Boarded::Waiting(landing) => landing,
            Boarded::Landed(known) => return known,
            Boarded::Full => return Known::Unavailable,
        };
        let landed = tokio::time::timeout(self.patience, landing.wait_for(Option::is_some)).await;
        let landed = match landed {
            Ok(Ok(landed)) => landed.clone(),
            Ok(Err(_)) | Err(_) => None,
        };
        match landed {
            Some(Landed::Found(entry)) => Known::Fresh(entry),
            Some(Landed::Unknown) => Known::Unknown,
            Some(Landed::Unavailable) | None => Known::Unavailable,
        }
    }

    fn board(self: &Arc<Self>, id: KeyId) -> Boarded {
        // Held for a look into a map, never across a wait.
        let mut under_way = self.flights.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(landing) = under_way.get(&id) {
            return Boarded::Waiting(landing.clone());
        }
        // One that landed since the caller looked into memory has left its answer there.
        if let Some(known) = self.recall(&id) {
            return Boarded::Landed(known);
        }
        if under_way.len() >= MOST {
            return Boarded::Full;
        }
        let (land, landing) = watch::channel(None);
        under_way.insert(id, landing.clone());
        let seat = Seat { inner: self.clone(), id };
        self.runtime.spawn(async move {
            let landed = seat.inner.question(id).await;
            // Off the map first: whoever comes now must ask anew, as a change may have been heard since.
            drop(seat);
            let _ = land.send(Some(landed));
        });
        Boarded::Waiting(landing)
    }

    async fn question(&self, id: KeyId) -> Landed {
        for _ in 0..ATTEMPTS {
            self.counters.add(Count::Question);
            match self.backend.find(id).await {
                Ok(lookup) => match self.put(id, lookup) {
                    Some(Known::Fresh(entry) | Known::Stale(entry)) => return Landed::Found(entry),
                    Some(Known::Unknown) => return Landed::Unknown,
                    Some(Known::Unavailable) | None => {}
                },
                Err(error) => {
                    if error.is_unavailable() {
                        tracing::debug!(%error, key = %id, "a key could not be looked up");
                    } else {
                        tracing::error!(%error, key = %id, "a key could not be looked up");
                    }
                    return Landed::Unavailable;
                }
            }
        }
        Landed::Unavailable
    }
}

/// A place on the map that is given up however the question ends.
struct Seat {
    inner: Arc<Inner>,
    id: KeyId,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.inner.flights.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}
