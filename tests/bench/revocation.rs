//! How long a revocation takes to be in force everywhere.
//!
//! Ten sidecars' caches on one Redis, each with its own connection on a thread of its own, as in ten processes; a
//! thousand keys, disabled one after the other. For each, and for each sidecar: from the moment the admin's change is
//! acknowledged to the moment the sidecar refuses the key, having looked for itself; and the same for the slowest.
//!
//!     cargo bench --bench revocation

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use support::{
    Redis,
    directory::{account, block_on, key},
};
use tokio::sync::mpsc;
use vicar::{
    directory::{self, Created, DirectoryCache, KeyChange, Presented, sign_in},
    identity::Status,
    settings::{DirectoryBackend, Limits},
};

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const SIDECARS: usize = 10;
const REVOCATIONS: usize = 1000;
const ACCOUNTS: usize = 21;

fn main() {
    // `cargo test --benches` runs this too; it has nothing to say then.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let redis = Redis::start();
    let settings = DirectoryBackend { redis: Some(redis.url().into()), ..DirectoryBackend::default() };
    block_on(async {
        let admin = directory::open(&settings, &Limits::default()).await.unwrap();
        for n in 0..ACCOUNTS {
            account(&admin, &format!("a{n}")).await;
        }
        let mut keys = Vec::new();
        for n in 0..REVOCATIONS {
            keys.push(key(&admin, &format!("a{}", n % ACCOUNTS)).await);
        }
        let keys = Arc::new(keys);
        let (tell, mut told) = mpsc::unbounded_channel();
        let sidecars: Vec<_> = (0..SIDECARS).map(|_| sidecar(settings.clone(), keys.clone(), tell.clone())).collect();
        for _ in &sidecars {
            told.recv().await.unwrap();
        }
        let mut each = Vec::with_capacity(REVOCATIONS * SIDECARS);
        let mut slowest = Vec::with_capacity(REVOCATIONS);
        let disable = KeyChange { status: Some(Status::Disabled), ..KeyChange::default() };
        for (n, created) in keys.iter().enumerate() {
            for sidecar in &sidecars {
                sidecar.send(n).unwrap();
            }
            for _ in &sidecars {
                told.recv().await.unwrap();
            }
            admin.change_key(created.key.id, disable.clone(), None).await.unwrap();
            let acknowledged = Instant::now();
            let mut worst = Duration::ZERO;
            for _ in &sidecars {
                // Whoever refuses it before the change is acknowledged took no time at all.
                let took = told.recv().await.unwrap().saturating_duration_since(acknowledged);
                worst = worst.max(took);
                each.push(took);
            }
            slowest.push(worst);
        }
        println!("{REVOCATIONS} revocations, {SIDECARS} sidecars, one Redis; from acknowledged to refused:");
        show("one sidecar", each);
        show("all sidecars", slowest);

        let fresh = key(&admin, "a20").await;
        let cache = DirectoryCache::start(admin, &settings);
        let rounds = 200_000u32;
        assert!(let_in(&cache, &fresh).await);
        let started = Instant::now();
        for _ in 0..rounds {
            assert!(let_in(&cache, &fresh).await);
        }
        println!("a sign-in from memory, hash included: {} ns", (started.elapsed() / rounds).as_nanos());
    });
}

/// A sidecar on a thread of its own. It says when it has signed every key in; then, for each number it is sent, when
/// it is ready, and when it refuses that key.
fn sidecar(settings: DirectoryBackend, keys: Arc<Vec<Created>>, tell: mpsc::UnboundedSender<Instant>) -> mpsc::UnboundedSender<usize> {
    let (send, mut sent) = mpsc::unbounded_channel::<usize>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let directory = directory::open(&settings, &Limits::default()).await.unwrap();
            let cache = DirectoryCache::start(directory, &settings);
            for created in keys.iter() {
                assert!(let_in(&cache, created).await);
            }
            tell.send(Instant::now()).unwrap();
            while let Some(n) = sent.recv().await {
                let caller = sign_in(&cache, &presented(&keys[n]), HERE, Timestamp::now()).await.unwrap();
                let revoked = cache.revoked(&caller);
                tell.send(Instant::now()).unwrap();
                revoked.await;
                assert!(!let_in(&cache, &keys[n]).await);
                let _ = tell.send(Instant::now());
            }
        });
    });
    send
}

fn presented(created: &Created) -> Presented {
    Presented { id: created.key.id, secret: created.secret.clone() }
}

async fn let_in(cache: &DirectoryCache, created: &Created) -> bool {
    sign_in(cache, &presented(created), HERE, Timestamp::now()).await.is_ok()
}

fn show(what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1000.0;
    println!("  {what:<13} p50 {:>7.3} ms   p99 {:>7.3} ms   max {:>7.3} ms", at(0.5), at(0.99), at(1.0));
}
