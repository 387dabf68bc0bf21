//! What a failover of Redis costs, under Sentinel, while keys sign in.
//!
//! A master with two replicas and three sentinels; the master is killed under a sidecar's cache that is asked for known
//! keys all the time, and while an admin goes on making changes. Told are: sign-ins that were refused (none may be), for
//! how long sign-ins were answered from memory without anybody vouching for them, for how long of that they were marked
//! stale, and for how long no change could be made. Most of it is the sentinels' own `down-after-milliseconds`.
//!
//!     cargo bench --bench failover

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use support::{
    Sentinels,
    directory::{account, block_on, eventually, key},
};
use vicar::{
    directory::{self, Created, DirectoryCache, KeyChange, Presented, sign_in},
    settings::{DirectoryBackend, Limits, Span},
};

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const ROUNDS: usize = 3;
/// Callers at once, each with a key of its own.
const CALLERS: usize = 8;
/// When the sentinels take a master for dead.
const DOWN_AFTER: Duration = Duration::from_secs(1);

/// What one caller saw.
#[derive(Default)]
struct Seen {
    signed_in: u64,
    refused: u64,
    /// From the first to the last answer that was marked stale.
    stale: Option<(Instant, Instant)>,
}

fn main() {
    // `cargo test --benches` runs this too; it has nothing to say then.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!("a master killed under {CALLERS} callers and an admin; the sentinels wait {} ms", DOWN_AFTER.as_millis());
    // Trusted for as long as is the default, and for hardly any time: how long the outage itself is.
    for (what, fresh_for) in [("fresh_for 5s (default)", Span::seconds(5)), ("fresh_for 100ms", Span::millis(100))] {
        println!("{what}:");
        for round in 1..=ROUNDS {
            block_on(failover(round, fresh_for));
        }
    }
}

async fn failover(round: usize, fresh_for: Span) {
    let mut sentinels = Sentinels::that_wait(DOWN_AFTER);
    let settings = DirectoryBackend { redis: Some(sentinels.url().into()), fresh_for, ..DirectoryBackend::default() };
    let admin = directory::open(&settings, &Limits::default()).await.unwrap();
    account(&admin, "app").await;
    let cache = DirectoryCache::start(directory::open(&settings, &Limits::default()).await.unwrap(), &settings);
    let mut keys = Vec::new();
    for _ in 0..CALLERS {
        let created = key(&admin, "app").await;
        eventually("it signs in", async || sign_in(&cache, &presented(&created), HERE, Timestamp::now()).await.is_ok()).await;
        keys.push(created);
    }
    sentinels.replicated();

    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = keys.iter().map(|created| tokio::spawn(call(cache.clone(), presented(created), stop.clone()))).collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    sentinels.kill_master();
    let killed = Instant::now();
    let mut lost = None;
    let watched = tokio::spawn({
        let (cache, stop) = (cache.clone(), stop.clone());
        async move {
            while !stop.load(Ordering::Relaxed) {
                if !cache.stats().connected {
                    lost.get_or_insert_with(Instant::now);
                } else if let Some(lost) = lost {
                    return Some(lost.elapsed());
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            None
        }
    });
    let mut tries = 0u32;
    loop {
        let rename = KeyChange { name: Some(format!("after {tries}")), ..KeyChange::default() };
        tries += 1;
        match admin.change_key(keys[0].key.id, rename, None).await {
            Ok(_) => break,
            Err(error) => assert!(error.is_unavailable(), "{error}"),
        }
    }
    let changes = killed.elapsed();
    let unvouched = tokio::time::timeout(Duration::from_secs(30), watched).await.unwrap().unwrap();
    stop.store(true, Ordering::Relaxed);
    let mut all = Seen::default();
    for caller in callers {
        let seen = caller.await.unwrap();
        all.signed_in += seen.signed_in;
        all.refused += seen.refused;
        all.stale = match (all.stale, seen.stale) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (one, other) => one.or(other),
        };
    }
    let stale = all.stale.map_or(Duration::ZERO, |(from, to)| to - from);
    println!(
        "  {round}  refused {} of {} sign-ins   nobody vouched for {} ms, of which marked stale {} ms   no changes for {} ms ({} failed)",
        all.refused,
        all.signed_in + all.refused,
        unvouched.unwrap_or_default().as_millis(),
        stale.as_millis(),
        changes.as_millis(),
        tries - 1,
    );
}

/// Signs in all the time, and counts.
async fn call(cache: DirectoryCache, presented: Presented, stop: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        match sign_in(&cache, &presented, HERE, Timestamp::now()).await {
            Ok(caller) => {
                seen.signed_in += 1;
                if caller.stale() {
                    let now = Instant::now();
                    seen.stale = Some((seen.stale.map_or(now, |(from, _)| from), now));
                }
            }
            Err(_) => seen.refused += 1,
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    seen
}

fn presented(created: &Created) -> Presented {
    Presented { id: created.key.id, secret: created.secret.clone() }
}
