//! Everything at once, for as long as one likes: load over HTTP/1, HTTP/2 and WebSocket, callers and a service that break
//! off wherever they can, a Redis that freezes and dies, edits good and bad, revocations.
//!
//! In the end memory and descriptors are where they were, nothing has panicked, and every request that the service saw, or
//! that was answered, has exactly one record. `tests/run soak --cycles 600` does it for ten minutes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

#[path = "soak/callers.rs"]
mod callers;
#[path = "soak/service.rs"]
mod service;

use std::{
    collections::HashMap,
    fs, thread,
    time::{Duration, Instant},
};

use callers::Callers;
use jiff::Timestamp;
use service::Service;
use support::{
    Key, Redis, Sidecar,
    books::{Dice, stream, times, verified},
    eventually,
    sidecar::OPEN_POLICY,
};
use vicar::{
    audit::LogSource,
    directory::{self, Directory, Expiry, NewKey},
    settings::{DirectoryBackend, Limits},
};

/// What a process uses.
#[derive(Debug, Clone, Copy)]
struct Usage {
    /// Proportional set size, in KiB.
    pss: u64,
    rss: u64,
    fds: usize,
    threads: usize,
}

fn usage(pid: u32) -> Usage {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let kib = |name: &str| {
        let line = rollup.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
    };
    let entries = |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).map_or(0, Iterator::count);
    Usage { pss: kib("Pss:"), rss: kib("Rss:"), fds: entries("fd"), threads: entries("task") }
}

/// What a process holds open, counted by kind.
fn open(pid: u32) -> std::collections::BTreeMap<String, u64> {
    let mut kinds = std::collections::BTreeMap::new();
    for link in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
        let target = fs::read_link(link.path()).unwrap_or_default().to_string_lossy().into_owned();
        let kind = target.split([':', '[']).next().unwrap_or_default().to_owned();
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

/// A key that will not live long, made where the sidecar finds it.
async fn doomed(directory: &dyn Directory) -> Option<Key> {
    let new = NewKey {
        account: "app".parse().unwrap(),
        name: "doomed".to_owned(),
        expires: Expiry::Never,
        sources: Vec::new(),
        client_certs: Vec::new(),
    };
    let made = directory.create_key(new, Timestamp::now()).await.ok()?;
    Some(Key { account: "app".to_owned(), id: made.key.id.to_string(), secret: made.secret.reveal().to_owned() })
}

#[test]
fn nothing_is_lost_and_nothing_grows_however_much_breaks() {
    let seconds: u64 = std::env::var("VICAR_TEST_CYCLES").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let seed = std::env::var("VICAR_TEST_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("{seconds} seconds, VICAR_TEST_SEED={seed}");
    let mut dice = Dice(seed);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // Nothing that Redis has said is lost when it is killed: what was written is the system's.
    let mut redis = Redis::with(&["--appendonly", "yes", "--appendfsync", "no"]);
    let service = Service::start(&runtime, seed);
    let mut sidecar = Sidecar::behind_url(&service.url())
        .redis(&redis.url())
        .set(
            "limits",
            "{failed_sign_ins_per_minute: 1000000, timeouts: {head: 2s, body: 2s, keep_alive: 2s, first_byte: 5s, idle: 5s, drain: 5s}}",
        )
        .start();
    let before = usage(sidecar.pid());
    let directory = DirectoryBackend { redis: Some(redis.url().into()), ..DirectoryBackend::default() };
    let directory = runtime.block_on(directory::open(&directory, &Limits::default())).unwrap();
    let callers = Callers::start(&runtime, sidecar.address(), sidecar.app(), seed);

    let (began, mut samples, mut faults) = (Instant::now(), Vec::new(), HashMap::<&str, u64>::new());
    let mut dead: Option<Key> = None;
    let mut next_sample = Duration::ZERO;
    while began.elapsed() < Duration::from_secs(seconds) {
        thread::sleep(Duration::from_millis(50 + dice.below(200)));
        let fault = match dice.below(24) {
            0..=5 => {
                let key = runtime.block_on(doomed(&*directory));
                let made = key.is_some();
                callers.doom(key.clone());
                if let Some(old) = std::mem::replace(&mut dead, key) {
                    let _ = runtime.block_on(directory.delete_key(old.id.parse().unwrap(), None));
                }
                if made { "revocations" } else { "revocations that Redis was not there for" }
            }
            6..=10 => {
                sidecar.write_policy(&format!("{OPEN_POLICY}# {}\n", dice.below(1 << 30)));
                "good policies"
            }
            11 | 12 => {
                sidecar.write_policy("version: 1\nservice_accounts: {app: {shares: [{resource: \"nothing:*\", actions: fly}]}}\n");
                "broken policies"
            }
            13 | 14 => {
                sidecar.signal(rustix::process::Signal::HUP);
                "reloads by signal"
            }
            15..=18 => {
                redis.freeze();
                thread::sleep(Duration::from_millis(20 + dice.below(300)));
                redis.thaw();
                "freezes of Redis"
            }
            // A Redis with much in it takes its time to start.
            19 if faults.get("kills of Redis").copied().unwrap_or(0) < 1 + began.elapsed().as_secs() / 60 => {
                redis.kill();
                thread::sleep(Duration::from_millis(dice.below(500)));
                redis.launch();
                "kills of Redis"
            }
            _ => {
                service.cut();
                "cuts of every connection to the service"
            }
        };
        *faults.entry(fault).or_default() += 1;
        if began.elapsed() >= next_sample {
            next_sample += Duration::from_secs(seconds.div_ceil(60).max(1));
            samples.push(usage(sidecar.pid()));
        }
        assert_eq!(samples.last().map_or(1, |usage| usage.fds.min(1)), 1, "the sidecar is gone");
    }
    let tally = callers.end(&runtime);
    // Connections that wait in the pool would be kept for a while yet.
    service.cut();
    let (pid, loaded) = (sidecar.pid(), began.elapsed());
    let settled = (0..600).any(|_| {
        thread::sleep(Duration::from_millis(100));
        usage(pid).fds <= before.fds + 8
    });
    let after = usage(pid);
    if !settled {
        eprintln!("descriptors that stay open: {:#?}", open(pid));
    }
    eventually("the sidecar is ready", || (support::Call::get("/readyz").send(sidecar.admin()).status == 200).then_some(()));
    assert_eq!(sidecar.stop(), Some(0));
    let seen = service.seen();

    let log = stream(&redis.url());
    let times = times(&log);
    let missing = |ids: &[String]| ids.iter().filter(|id| !times.contains_key(*id)).cloned().collect::<Vec<_>>();
    let (unseen, unanswered) = (missing(&seen), missing(&tally.answered));
    let doubled: Vec<_> = times.iter().filter(|(_, count)| **count > 1).collect();
    let mib = |kib: u64| format!("{}.{} MiB", kib / 1024, kib % 1024 * 10 / 1024);
    let third = samples.len().div_ceil(3);
    let average = |part: &[Usage]| part.iter().map(|usage| usage.pss).sum::<u64>() / part.len().max(1) as u64;
    // The first samples are of a process that has not touched all of its memory yet.
    let (early, late) = (average(&samples[third.min(samples.len() / 6)..third]), average(&samples[samples.len() - third..]));
    let most = samples.iter().map(|usage| usage.pss).max().unwrap_or(0);
    let faults: std::collections::BTreeMap<_, _> = faults.into_iter().collect();
    eprintln!("faults in {} s: {faults:?}", loaded.as_secs());
    eprintln!("callers: {tally}");
    eprintln!(
        "the service saw {} requests and did wrong by {}; the stream has records of {} requests",
        seen.len(),
        service.wrongs(),
        times.len()
    );
    eprintln!(
        "PSS: {} at the start, {} on average in the first third, {} in the last, {} at most, {} after; RSS after {}",
        mib(before.pss),
        mib(early),
        mib(late),
        mib(most),
        mib(after.pss),
        mib(after.rss)
    );
    let fds: Vec<_> = samples.iter().map(|usage| usage.fds).collect();
    eprintln!(
        "descriptors: {} at the start, {} at most, {} after; threads {} and {}",
        before.fds,
        fds.iter().max().unwrap_or(&0),
        after.fds,
        before.threads,
        after.threads
    );
    eprintln!("PSS in MiB: {:?}", samples.iter().map(|usage| usage.pss / 1024).collect::<Vec<_>>());

    assert!(unseen.is_empty(), "{} of {} that the service saw have no record: {:?}", unseen.len(), seen.len(), unseen.first());
    assert!(
        unanswered.is_empty(),
        "{} of {} that were answered have no record: {:?}",
        unanswered.len(),
        tally.answered.len(),
        unanswered.first()
    );
    assert!(doubled.is_empty(), "{doubled:?}");
    for source in [log, LogSource::Journal(sidecar.folder().join("audit"))] {
        let found = verified(&source);
        assert!(found.ok, "{:?}", found.broken);
    }
    assert!(!sidecar.log().contains("panicked"), "{}", sidecar.log());
    assert!(settled, "{} descriptors at the start and {} after", before.fds, after.fds);
    assert!(tally.good > 0 && tally.conversations > 0);
    // Threads for files come and go.
    assert!(after.threads <= before.threads + 4, "{before:?} {after:?}");
    if seconds >= 60 {
        assert!(late <= early + early / 5 + (8 << 10), "memory grows: {} and then {}", mib(early), mib(late));
    }
}
