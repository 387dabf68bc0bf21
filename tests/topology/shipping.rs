//! The audit log on its way to a Redis that is more than one server, or speaks TLS.

use std::{
    ops::ControlFlow,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use tempfile::TempDir;
use vicar::{
    audit::{self, Audit, Filter, LogSource, Opening, Page, Record, Writer},
    settings::{self, UpstreamTls},
};

use super::{
    Papers,
    support::{self, Cluster, Sentinels, access::opening, eventually},
};

/// Logs of several sidecars that ship to one stream.
struct Logs {
    folder: TempDir,
    stream: settings::Stream,
}

impl Logs {
    fn to(url: &str) -> Self {
        let stream = settings::Stream {
            redis: url.to_owned().into(),
            name: "vicar:audit".to_owned(),
            keep: settings::Span::days(90),
            partitions: 1,
            tls: UpstreamTls::default(),
            backlog: settings::Size(1 << 30),
        };
        Self { folder: tempfile::tempdir().unwrap(), stream }
    }

    fn open(&self, sidecar: &str) -> Audit {
        let mut settings = settings::Audit { stream: Some(self.stream.clone()), ..settings::Audit::default() };
        settings.journal.path = self.folder.path().join(sidecar);
        Audit::open(&settings, sidecar, Writer::Sidecar).unwrap()
    }

    fn journal(&self, sidecar: &str) -> LogSource {
        LogSource::Journal(self.folder.path().join(sidecar))
    }

    fn in_stream(&self) -> LogSource {
        LogSource::Stream(Box::new(self.stream.clone()))
    }

    /// Waits until all that these sidecars have written is in the stream, once and in order; gives how much that is.
    fn arrived(&self, sidecars: &[(&str, &Audit)]) -> usize {
        let wanted: Vec<(&str, Vec<Record>)> = sidecars.iter().map(|(name, _)| (*name, records(&self.journal(name)).unwrap())).collect();
        let all: usize = wanted.iter().map(|(_, records)| records.len()).sum();
        let stream = eventually("everything is shipped", || records(&self.in_stream()).filter(|stream| stream.len() >= all));
        for (name, wanted) in wanted {
            let of_one: Vec<&Record> = stream.iter().filter(|record| record.sidecar == name).collect();
            assert!(wanted.iter().zip(&of_one).all(|(wanted, found)| wanted == *found), "{name}: not in order, or not the same");
            let seqs: Vec<u64> = of_one.iter().map(|record| record.seq).collect();
            assert!(seqs.iter().copied().eq(1..=seqs.len() as u64), "{name}: {seqs:?}");
        }
        let verified = now(audit::verify(&self.in_stream(), None, &mut |_| {})).unwrap();
        assert!(verified.ok, "{:?}", verified.broken);
        all
    }
}

/// Somebody who writes all the time.
struct Writing {
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Writing {
    fn to(audit: &Arc<Audit>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (audit, stop) = (audit.clone(), over.clone());
        let thread = std::thread::spawn(move || {
            for n in 0.. {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                write(&audit, n);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { over, thread }
    }

    fn end(self) {
        self.over.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
    }
}

fn write(audit: &Audit, n: u64) {
    let opening = Opening { subject: None, user_agent: None, ..opening(n) };
    let mut entry = now(audit.open_entry(opening)).unwrap();
    entry.status(200);
    entry.complete();
}

fn now<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// `None` while whoever holds them cannot be reached.
fn records(source: &LogSource) -> Option<Vec<Record>> {
    let mut all = Vec::new();
    let mut each = |line: audit::Line<'_>| {
        all.push(line.record.clone());
        ControlFlow::Continue(())
    };
    now(audit::read(source, &Filter::default(), Page::default(), &mut each)).ok()?;
    Some(all)
}

fn shipped(audit: &Audit) -> u64 {
    audit.stats().shipping.unwrap().shipped
}

fn shipped_beyond(audit: &Audit, count: u64) -> u64 {
    eventually("more is shipped", || Some(shipped(audit)).filter(|shipped| *shipped > count))
}

#[test]
fn what_the_old_master_had_not_replicated_is_shipped_again() {
    let mut sentinels = Sentinels::start();
    let logs = Logs::to(&sentinels.url());
    let audit = Arc::new(logs.open("one"));
    let writing = Writing::to(&audit);
    shipped_beyond(&audit, 100);
    sentinels.cut_replication();
    let had = shipped(&audit);
    // These are acknowledged by a master that nobody will hear of again.
    shipped_beyond(&audit, had + 200);
    sentinels.kill_master();
    let lost = shipped(&audit) - had;
    shipped_beyond(&audit, had + lost + 400);
    writing.end();
    let all = logs.arrived(&[("one", &audit)]) as u64;
    assert!(shipped(&audit) >= all + 200, "nothing was shipped twice, so nothing had been lost");
}

#[test]
fn what_a_failover_loses_while_nobody_writes_is_shipped_again() {
    let mut sentinels = Sentinels::start();
    let logs = Logs::to(&sentinels.url());
    let audit = logs.open("one");
    write(&audit, 0);
    logs.arrived(&[("one", &audit)]);
    sentinels.replicated();
    sentinels.cut_replication();
    (1..20).for_each(|n| write(&audit, n));
    logs.arrived(&[("one", &audit)]);
    sentinels.kill_master();
    assert_eq!(logs.arrived(&[("one", &audit)]), 20);
}

#[test]
fn partitions_of_a_cluster_are_shipped_to_while_a_node_of_it_goes() {
    let mut cluster = Cluster::start();
    let mut logs = Logs::to(&cluster.url());
    logs.stream.partitions = 4;
    let names = ["a", "b", "c", "d", "e", "f"];
    let audits: Vec<Arc<Audit>> = names.iter().map(|name| Arc::new(logs.open(name))).collect();
    let writing: Vec<Writing> = audits.iter().map(Writing::to).collect();
    for audit in &audits {
        shipped_beyond(audit, 20);
    }
    let used: Vec<String> = (0..4)
        .map(|number| format!("vicar:audit:{number}"))
        .filter(|key| support::redis::ask(cluster.port(cluster.owner_of(key)), &["EXISTS", key]).is_some_and(|reply| reply.contains(":1")))
        .collect();
    let owners: std::collections::BTreeSet<usize> = used.iter().map(|key| cluster.owner_of(key)).collect();
    assert!(owners.len() > 1, "the partitions {used:?} are all on {owners:?}");
    cluster.kill_owner_of(&used[0]);
    let had: Vec<u64> = audits.iter().map(|audit| shipped(audit)).collect();
    for (audit, had) in audits.iter().zip(had) {
        shipped_beyond(audit, had + 50);
    }
    writing.into_iter().for_each(Writing::end);
    let all: Vec<(&str, &Audit)> = names.iter().copied().zip(audits.iter().map(|audit| &**audit)).collect();
    assert!(logs.arrived(&all) > 6 * 50);
}

#[test]
fn records_are_shipped_over_tls_to_whom_the_ca_vouches_for() {
    let papers = Papers::new("127.0.0.1");
    let redis = papers.redis("yes");
    let mut logs = Logs::to(&format!("rediss://127.0.0.1:{}", redis.option("--tls-port")));
    let tls = |of: &Papers, to: &Path| UpstreamTls {
        ca: Some(of.path("ca.pem")),
        certificate: Some(to.join("client.pem")),
        key: Some(to.join("client.key")),
        ..UpstreamTls::default()
    };
    let folder = papers.path("");
    logs.stream.tls = tls(&papers, &folder);
    let audit = logs.open("one");
    (0..200).for_each(|n| write(&audit, n));
    assert_eq!(logs.arrived(&[("one", &audit)]), 200);
    // A server that another CA vouches for gets nothing.
    let stranger = Papers::new("127.0.0.1");
    logs.stream.tls = tls(&stranger, &folder);
    let other = logs.open("two");
    write(&other, 0);
    eventually("it is told", || other.stats().shipping.unwrap().last_error);
    assert_eq!(shipped(&other), 0);
}
