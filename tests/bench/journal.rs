//! What the audit journal costs: nanoseconds of CPU for an entry opened and closed, and records verified in a second.
//!
//! `cargo bench --bench journal`

#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use ulid::Ulid;
use vicar::{
    audit::{self, Audit, Concerned, Decision, LogSource, Opening, Standing, Writer},
    settings,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ENTRIES: u64 = 400_000;
const FOLDER: &str = "VICAR_BENCH_FOLDER";

fn opening(n: u64, began: Instant) -> Opening<'static> {
    Opening {
        id: Ulid::from_parts(1_764_000_000_000 + n / 50, u128::from(n)),
        time: Timestamp::now(),
        began,
        standing: Standing::SignedIn,
        account: Some("procure-to-pay"),
        key: Some("VKAAAAAAAAAAAAAAAAAAAA"),
        subject: Some("zoe@acme.example"),
        method: "GET",
        path: "/process/2/Ac1234567/Purchase_Request/item/Pk0123456789",
        query: Some("page_number=1&page_size=50"),
        resource: Some(Concerned { kind: "process", id: Some("Purchase_Request") }),
        action: Some("read"),
        decision: Decision::Allow,
        reason: "shared",
        share: Some("procure-to-pay/1"),
        policy: "0123456789abcdef",
        stale: false,
        client: "10.20.30.40".parse().unwrap(),
        user_agent: Some(b"integration/1.0 (+https://example.com)"),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736"),
    }
}

/// An entry is ready at once where nothing is flushed.
fn entry(audit: &Audit, n: u64) {
    let mut future = pin!(audit.open_entry(opening(n, Instant::now())));
    let Poll::Ready(Ok(mut entry)) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) else { panic!("no entry") };
    entry.status(200);
    entry.upstream_us(850);
    entry.sent(1024);
    entry.complete();
}

fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap(), u32::try_from(now.tv_nsec).unwrap())
}

fn run(folder: &std::path::Path, threads: u64) -> (settings::Audit, Vec<Duration>) {
    let mut settings = settings::Audit::default();
    settings.journal.path = folder.join(format!("journal-{threads}"));
    let audit = Audit::open(&settings, "bench", Writer::Sidecar).unwrap();
    for n in 0..10_000 {
        entry(&audit, n);
    }
    std::thread::sleep(Duration::from_millis(300));
    let (wall, spent) = (Instant::now(), cpu());
    let mut all = Vec::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|thread| {
                let audit = &audit;
                scope.spawn(move || {
                    let mut took = Vec::with_capacity(ENTRIES as usize);
                    for n in 0..ENTRIES {
                        let began = Instant::now();
                        entry(audit, (thread + 1) << 32 | n);
                        took.push(began.elapsed());
                    }
                    took
                })
            })
            .collect();
        for thread in threads {
            all.extend(thread.join().unwrap());
        }
    });
    let (wall, spent) = (wall.elapsed(), cpu() - spent);
    all.sort_unstable();
    let at = |share: f64| all[((all.len() - 1) as f64 * share) as usize].as_nanos();
    println!(
        "{threads} thread(s): {} ns CPU an entry (open and close, the keeper's work included), {} ns by the clock; median {} ns, p99 {} ns, p99.9 {} ns, worst {} us",
        spent.as_nanos() / (ENTRIES * threads) as u128,
        wall.as_nanos() / (ENTRIES * threads) as u128,
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0) / 1000,
    );
    drop(audit);
    (settings, all)
}

fn main() {
    let folder = match std::env::var_os(FOLDER) {
        Some(folder) => tempfile::tempdir_in(folder).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    run(folder.path(), 1);
    let (settings, _) = run(folder.path(), 2);
    let source = LogSource::Journal(settings.journal.path);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let began = Instant::now();
    let found = runtime.block_on(audit::verify(&source, None, &mut |_| {})).unwrap();
    let took = began.elapsed();
    assert!(found.ok, "{:?}", found.broken.first());
    println!("verify: {} records in {took:.2?}, {:.0} a second", found.records, found.records as f64 / took.as_secs_f64());
}
