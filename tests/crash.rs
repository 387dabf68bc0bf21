//! Kills: of the sidecar at random instants, of Redis at others. In the end every request that the upstream saw has
//! exactly one record in the stream.
//!
//! `tests/run crash --cycles 100` kills more often than the suite does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use support::{
    Key, Redis, Sidecar, Upstream,
    books::{Dice, each_record, stream, verified},
    eventually,
};
use vicar::audit::{LogSource, Outcome, Record};

/// Requests, one after the other, each with a number of its own, whatever becomes of them.
struct Traffic {
    over: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
    answered: Arc<AtomicU64>,
}

impl Traffic {
    fn start(address: SocketAddr, key: &Key, threads: u64) -> Self {
        let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let number = Arc::new(AtomicU64::new(0));
        let threads = (0..threads)
            .map(|_| {
                let (over, answered, number, key) = (over.clone(), answered.clone(), number.clone(), key.clone());
                thread::spawn(move || {
                    while !over.load(Ordering::SeqCst) {
                        let n = number.fetch_add(1, Ordering::SeqCst);
                        match request(address, &key, n) {
                            Ok(answer) if answer.starts_with(b"HTTP/1.1 200") => {
                                answered.fetch_add(1, Ordering::SeqCst);
                            }
                            Ok(_) | Err(_) => thread::sleep(Duration::from_millis(2)),
                        }
                    }
                })
            })
            .collect();
        Self { over, threads, answered }
    }

    fn end(self) -> u64 {
        self.over.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.answered.load(Ordering::SeqCst)
    }
}

fn request(address: SocketAddr, key: &Key, number: u64) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "GET /dataset/2/Ac1/Vendors/list?n={number} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Access-Key-Id: {}\r\nX-Access-Key-Secret: {}\r\n\r\n",
        key.id, key.secret
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

fn records(source: &LogSource) -> Vec<Record> {
    let mut all = Vec::new();
    each_record(source, |record| all.push(record.clone()));
    all
}

#[test]
fn every_request_that_the_upstream_saw_has_one_record_whatever_is_killed() {
    let cycles: u64 = std::env::var("VICAR_TEST_CYCLES").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    let seed = std::env::var("VICAR_TEST_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("{cycles} cycles, VICAR_TEST_SEED={seed}");
    let mut dice = Dice(seed);
    let mut redis = Redis::start();
    let upstream = Upstream::start();
    let mut sidecar = Sidecar::behind(&upstream)
        .set("audit", &format!("{{journal: {{path: audit, segment: 1MiB}}, stream: {{redis: \"{}\"}}}}", redis.url()))
        .start();
    let key = sidecar.app().clone();
    let traffic = Traffic::start(sidecar.address(), &key, 12);
    let (mut sidecars, mut servers) = (0, 0);
    for cycle in 0..cycles {
        thread::sleep(Duration::from_millis(20 + dice.below(250)));
        match cycle % 3 {
            0 | 1 => {
                sidecar.kill();
                sidecars += 1;
                sidecar.serve();
            }
            _ => {
                redis.kill();
                servers += 1;
                thread::sleep(Duration::from_millis(dice.below(150)));
                if dice.below(2) == 0 {
                    // Both at once, and the sidecar back before Redis is.
                    sidecar.kill();
                    sidecars += 1;
                    sidecar.launch();
                    thread::sleep(Duration::from_millis(dice.below(150)));
                }
                redis.launch();
            }
        }
    }
    thread::sleep(Duration::from_millis(100));
    let answered = traffic.end();
    eventually("the sidecar serves again", || request(sidecar.address(), &key, 0).ok().filter(|a| a.starts_with(b"HTTP/1.1 200")));
    let saw: Vec<String> = upstream.seen().iter().map(|seen| seen.header("X-Request-Id").unwrap().to_owned()).collect();
    assert_eq!(sidecar.stop(), Some(0));

    let log = stream(&redis.url());
    let records = records(&log);
    let mut times: HashMap<&str, u64> = HashMap::new();
    for record in records.iter().filter(|record| record.path.is_some()) {
        *times.entry(&record.id).or_default() += 1;
    }
    let missing: Vec<_> = saw.iter().filter(|id| !times.contains_key(id.as_str())).collect();
    let doubled: Vec<_> = times.iter().filter(|(_, n)| **n > 1).collect();
    let found = verified(&log);
    let journal = verified(&LogSource::Journal(sidecar.folder().join("audit")));
    eprintln!(
        "killed the sidecar {sidecars} and Redis {servers} times; {answered} answers, the upstream saw {}, the stream has {} records ({} of requests, {} of them interrupted)",
        saw.len(),
        records.len(),
        times.len(),
        records.iter().filter(|r| r.outcome == Outcome::Interrupted).count(),
    );
    if !missing.is_empty() {
        let held = self::records(&LogSource::Journal(sidecar.folder().join("audit")));
        for id in &missing {
            eprintln!("{id} in the journal: {:?}", held.iter().find(|record| record.id == **id).map(|record| (record.seq, record.outcome)));
        }
        for record in held.iter().filter(|record| record.path.is_none()) {
            eprintln!("{} {} {:?} {:?}", record.seq, record.time, record.action, record.detail);
        }
    }
    assert!(missing.is_empty(), "{} of {} have no record: {:?}", missing.len(), saw.len(), missing.first());
    assert!(doubled.is_empty(), "{doubled:?}");
    assert!(found.ok, "{:?}", found.broken);
    assert!(journal.ok, "{:?}", journal.broken);
    assert!(saw.len() as u64 >= answered && answered > 0);
}
