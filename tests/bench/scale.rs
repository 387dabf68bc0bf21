//! What one Redis carries: `cargo bench --bench scale`.
//!
//! Prints how many look-ups of keys it answers a second, how long a revocation takes to reach ever more sidecars, and how many
//! audit records a second one sidecar ships into its stream. Redis, the sidecars and the load share this machine's cores.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

use std::{
    net::IpAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use support::{
    Redis,
    access::opening,
    directory::{account, block_on, key},
};
use tokio::task::JoinSet;
use vicar::{
    audit::{Audit, Writer},
    directory::{self, DirectoryCache, KeyChange, Presented, sign_in},
    identity::Status,
    settings::{self, DirectoryBackend, Limits},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const SIDECARS: [usize; 4] = [10, 100, 500, 1000];
const REVOCATIONS: usize = 20;
const RECORDS: u64 = 200_000;

fn main() {
    // `cargo test --benches` runs this too; it has nothing to say then.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let redis = Redis::start();
    let backend = DirectoryBackend { redis: Some(redis.url().into()), ..DirectoryBackend::default() };
    block_on(look_ups(&backend));
    for sidecars in SIDECARS {
        block_on(fan_out(&backend, sidecars));
    }
    shipping(&redis);
}

/// Keys that no cache has, asked for by eight sidecars at once.
async fn look_ups(backend: &DirectoryBackend) {
    let admin = directory::open(backend, &Limits::default()).await.unwrap();
    account(&admin, "lookups").await;
    let mut keys = Vec::new();
    for _ in 0..50 {
        keys.push(key(&admin, "lookups").await.key.id);
    }
    let (keys, done) = (Arc::new(keys), Arc::new(AtomicU64::new(0)));
    let end = Instant::now() + Duration::from_secs(3);
    let mut tasks = JoinSet::new();
    for sidecar in 0..8 {
        let directory = directory::open(backend, &Limits::default()).await.unwrap();
        for lane in 0..16 {
            let (keys, done, directory) = (keys.clone(), done.clone(), directory.clone());
            tasks.spawn(async move {
                let mut n = sidecar + lane;
                while Instant::now() < end {
                    n += 1;
                    let found = directory.find(keys[n % keys.len()]).await.unwrap();
                    assert!(std::hint::black_box(found).holder.is_some());
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    }
    while tasks.join_next().await.is_some() {}
    println!("look-ups of keys: {} a second", done.load(Ordering::Relaxed) / 3);
    admin.delete_account(&"lookups".parse().unwrap(), None).await.unwrap();
}

/// A key that all of them know is disabled; the time until the last of them refuses it.
async fn fan_out(backend: &DirectoryBackend, sidecars: usize) {
    let admin = directory::open(backend, &Limits::default()).await.unwrap();
    account(&admin, "fleet").await;
    let mut caches = Vec::new();
    for _ in 0..sidecars {
        let directory = directory::open(backend, &Limits::default()).await.unwrap();
        caches.push(DirectoryCache::start(directory, backend));
    }
    let mut took = Vec::new();
    for _ in 0..REVOCATIONS {
        let created = key(&admin, "fleet").await;
        let presented = Presented { id: created.key.id, secret: created.secret };
        let mut waiting = JoinSet::new();
        for cache in &caches {
            let caller = loop {
                if let Ok(caller) = sign_in(cache, &presented, HERE, Timestamp::now()).await {
                    break caller;
                }
            };
            waiting.spawn(cache.revoked(&caller));
        }
        let disable = KeyChange { status: Some(Status::Disabled), ..KeyChange::default() };
        admin.change_key(created.key.id, disable, None).await.unwrap();
        let acknowledged = Instant::now();
        while waiting.join_next().await.is_some() {}
        took.push(acknowledged.elapsed());
        admin.delete_key(created.key.id, None).await.unwrap();
    }
    took.sort_unstable();
    let ms = |at: usize| took[at].as_secs_f64() * 1000.0;
    println!(
        "a revocation, until the last of {sidecars:>4} sidecars refuses: median {:.1} ms, longest {:.1} ms",
        ms(took.len() / 2),
        ms(took.len() - 1)
    );
    admin.delete_account(&"fleet".parse().unwrap(), None).await.unwrap();
}

/// Records written as fast as they go, until all are in the stream.
fn shipping(redis: &Redis) {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "{{journal: {{path: {:?}, max_size: 8GiB}}, stream: {{redis: {:?}, keep: 1d, backlog: 4GiB}}}}",
        folder.path().join("audit"),
        redis.url()
    );
    let settings: settings::Audit = serde_yaml::from_str(&text).unwrap();
    let audit = Audit::open(&settings, "bench", Writer::Sidecar).unwrap();
    let began = Instant::now();
    for n in 0..RECORDS {
        record(&audit, n);
    }
    let written = began.elapsed();
    loop {
        let stats = audit.stats();
        if stats.shipping.is_some_and(|shipping| shipping.shipped >= RECORDS) {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let shipped = began.elapsed();
    let per = |took: Duration| RECORDS as f64 / took.as_secs_f64();
    println!("audit records: {:.0} a second into the journal by one thread, {:.0} a second into the stream", per(written), per(shipped));
    let used: u64 = redis.command(&["MEMORY", "USAGE", "vicar:audit", "SAMPLES", "0"]).trim().trim_start_matches(':').parse().unwrap_or(0);
    println!("a record takes {} bytes of Redis' memory", used / RECORDS);
}

fn record(audit: &Audit, n: u64) {
    let mut future = pin!(audit.open_entry(opening(n)));
    let Poll::Ready(Ok(mut entry)) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) else { panic!("no entry") };
    entry.status(200);
    entry.upstream_us(850);
    entry.sent(1024);
    entry.complete();
}
