//! The audit log under faults: kills of either side, cut replies, floods, full disks, tampering.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use support::{Call, Redis, Sidecar, Upstream, access::opening, eventually};
use tempfile::TempDir;
use ulid::Ulid;
use vicar::{
    audit::{self, Audit, AuditUnavailable, Event, Filter, LogSource, Page, Record, Verification, Writer},
    settings,
};

// ===== a log without a program around it =====

struct Log {
    folder: TempDir,
    settings: settings::Audit,
}

fn to_stream(url: &str) -> settings::Stream {
    settings::Stream {
        redis: url.to_owned().into(),
        name: "vicar:audit".to_owned(),
        keep: settings::Span::days(90),
        partitions: 1,
        tls: settings::UpstreamTls::default(),
        backlog: settings::Size(1 << 30),
    }
}

impl Log {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings::Audit::default();
        settings.journal.path = folder.path().join("audit");
        settings.journal.segment = settings::Size(1 << 20);
        Self { folder, settings }
    }

    fn shipping_to(url: &str) -> Self {
        let mut log = Self::new();
        log.settings.stream = Some(to_stream(url));
        log
    }

    fn open(&self) -> Audit {
        Audit::open(&self.settings, "one", Writer::Sidecar).unwrap()
    }

    fn journal(&self) -> LogSource {
        LogSource::Journal(self.settings.journal.path.clone())
    }

    fn stream(&self) -> LogSource {
        LogSource::choose(&self.settings, Some("stream")).unwrap()
    }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn records(source: &LogSource) -> Vec<Record> {
    let mut all = Vec::new();
    now(audit::read(source, &Filter::default(), Page::default(), &mut |line| {
        all.push(line.record.clone());
        ControlFlow::Continue(())
    }))
    .unwrap();
    all
}

fn verified(source: &LogSource) -> Verification {
    now(audit::verify(source, None, &mut |_| {})).unwrap()
}

fn try_write(audit: &Audit, n: u64) -> Result<(), AuditUnavailable> {
    let mut entry = now(audit.open_entry(opening(n)))?;
    entry.status(200);
    entry.complete();
    Ok(())
}

fn write(audit: &Audit, numbers: std::ops::Range<u64>) {
    for n in numbers {
        try_write(audit, n).unwrap();
    }
}

/// Waits until Redis has everything, and says what the stream then holds.
fn shipped(audit: &Audit, log: &Log) -> Vec<Record> {
    let all = records(&log.journal()).len();
    eventually("everything is shipped", || {
        (records(&log.stream()).len() >= all && audit.stats().shipping.unwrap().backlog_records == 0).then_some(())
    });
    records(&log.stream())
}

fn accesses(records: &[Record]) -> Vec<&str> {
    records.iter().filter(|r| r.path.is_some()).map(|r| r.id.as_str()).collect()
}

fn ids(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|n| Ulid::from_parts(1_764_000_000_000 + n, u128::from(n)).to_string()).collect()
}

// ===== shipping =====

#[test]
fn records_reach_the_stream_once_and_in_order() {
    let redis = Redis::start();
    let log = Log::shipping_to(&redis.url());
    let audit = log.open();
    write(&audit, 0..3000);
    let stream = shipped(&audit, &log);
    assert_eq!(accesses(&stream), ids(0..3000));
    assert_eq!(stream, records(&log.journal()));
    assert!(verified(&log.stream()).ok);
    now(audit.close());
}

#[test]
fn closing_ships_what_is_left() {
    let redis = Redis::start();
    let log = Log::shipping_to(&redis.url());
    let audit = log.open();
    write(&audit, 0..500);
    audit.record_event(Event::system("stop"));
    now(audit.close());
    assert_eq!(records(&log.stream()).last().unwrap().action.as_deref(), Some("stop"));
    assert_eq!(accesses(&records(&log.stream())), ids(0..500));
}

#[test]
fn a_redis_that_dies_and_hangs_gets_everything_once() {
    let mut redis = Redis::start();
    let log = Log::shipping_to(&redis.url());
    let audit = log.open();
    for round in 0..6u64 {
        let begin = round * 200;
        write(&audit, begin..begin + 100);
        if round % 2 == 0 {
            redis.kill();
            write(&audit, begin + 100..begin + 200);
            redis.launch();
        } else {
            redis.freeze();
            write(&audit, begin + 100..begin + 200);
            std::thread::sleep(Duration::from_millis(50));
            redis.thaw();
        }
    }
    let stream = shipped(&audit, &log);
    assert_eq!(accesses(&stream), ids(0..1200));
    assert!(verified(&log.stream()).ok);
}

#[test]
fn records_that_wait_have_an_age_whatever_was_shipped_when_redis_went_away() {
    let mut redis = Redis::start();
    let log = Log::shipping_to(&redis.url());
    let shipping = |audit: &Audit| audit.stats().shipping.unwrap();
    let aged = |audit: &Audit| eventually("the age of what waits", || (shipping(audit).lag > Duration::from_millis(20)).then_some(()));
    let audit = log.open();
    write(&audit, 0..5);
    shipped(&audit, &log);
    redis.kill();
    eventually("it is noticed", || (!shipping(&audit).connected).then_some(()));
    write(&audit, 5..10);
    aged(&audit);
    drop(audit);
    // Begun while Redis is away.
    let audit = log.open();
    write(&audit, 10..15);
    aged(&audit);
    redis.launch();
    assert_eq!(accesses(&shipped(&audit, &log)), ids(0..15));
    eventually("nothing waits", || shipping(&audit).lag.is_zero().then_some(()));
    assert!(verified(&log.stream()).ok);
}

/// Passes bytes between Vicar and Redis, and cuts the connection in the middle of a reply when told to.
struct Cutter {
    address: SocketAddr,
    cut: Arc<AtomicBool>,
    cuts: Arc<AtomicUsize>,
}

impl Cutter {
    fn before(redis: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let to = SocketAddr::from(([127, 0, 0, 1], redis.port()));
        let (cut, cuts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (asked, done) = (cut.clone(), cuts.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let Ok(server) = TcpStream::connect(to) else { continue };
                let (mut up, mut down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut up, &mut down);
                    let _ = down.shutdown(std::net::Shutdown::Both);
                });
                let (asked, done) = (asked.clone(), done.clone());
                std::thread::spawn(move || {
                    let (mut server, mut client) = (server, client);
                    let mut buffer = [0u8; 4096];
                    while let Ok(got @ 1..) = server.read(&mut buffer) {
                        // The batch has been taken; its answer gets no further than its first byte.
                        if buffer[..got].windows(5).any(|w| w == b"taken") && asked.swap(false, Ordering::SeqCst) {
                            let _ = client.write_all(&buffer[..1]);
                            let _ = client.shutdown(std::net::Shutdown::Both);
                            done.fetch_add(1, Ordering::SeqCst);
                            return;
                        }
                        if client.write_all(&buffer[..got]).is_err() {
                            return;
                        }
                    }
                    let _ = client.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        Self { address, cut, cuts }
    }
}

#[test]
fn an_answer_that_is_cut_off_doubles_nothing() {
    let redis = Redis::start();
    let cutter = Cutter::before(&redis);
    let log = Log::shipping_to(&format!("redis://{}", cutter.address));
    let audit = log.open();
    for round in 0..5 {
        cutter.cut.store(true, Ordering::SeqCst);
        write(&audit, round * 50..round * 50 + 50);
        eventually("an answer is cut", || (cutter.cuts.load(Ordering::SeqCst) > usize::try_from(round).unwrap()).then_some(()));
    }
    assert_eq!(accesses(&shipped(&audit, &log)), ids(0..250));
    assert!(verified(&log.stream()).ok);
}

#[test]
fn a_flushed_redis_is_noticed_and_filled_again() {
    let redis = Redis::start();
    let log = Log::shipping_to(&redis.url());
    let audit = log.open();
    write(&audit, 0..300);
    shipped(&audit, &log);
    redis.command(&["FLUSHALL"]);
    write(&audit, 300..310);
    let stream = shipped(&audit, &log);
    assert_eq!(accesses(&stream), ids(0..310));
    assert_eq!(stream.iter().filter(|r| r.action.as_deref() == Some("stream-lost")).count(), 1);
    assert!(verified(&log.stream()).ok);
}

#[test]
fn a_lost_cursor_alone_doubles_nothing() {
    let redis = Redis::start();
    let log = Log::shipping_to(&redis.url());
    let audit = log.open();
    write(&audit, 0..300);
    shipped(&audit, &log);
    redis.command(&["DEL", "vicar:audit:cursors:{vicar:audit}"]);
    write(&audit, 300..310);
    assert_eq!(accesses(&shipped(&audit, &log)), ids(0..310));
    assert!(verified(&log.stream()).ok);
}

#[test]
fn a_failover_to_a_replica_that_lags_leaves_no_gap() {
    let redis = Redis::start();
    let log = Log::shipping_to(&redis.url());
    let audit = log.open();
    write(&audit, 0..200);
    shipped(&audit, &log);
    // What the replica has not seen yet: the stream and the cursor are older, and fit each other.
    let dump = |key: &str| redis.command(&["COPY", key, &format!("{key}:then"), "REPLACE"]);
    dump("vicar:audit");
    dump("vicar:audit:cursors:{vicar:audit}");
    write(&audit, 200..400);
    shipped(&audit, &log);
    redis.command(&["RENAME", "vicar:audit:then", "vicar:audit"]);
    redis.command(&["RENAME", "vicar:audit:cursors:{vicar:audit}:then", "vicar:audit:cursors:{vicar:audit}"]);
    write(&audit, 400..410);
    assert_eq!(accesses(&shipped(&audit, &log)), ids(0..410));
    assert!(verified(&log.stream()).ok);
}

#[test]
fn a_lost_journal_goes_on_behind_the_stream() {
    let redis = Redis::start();
    let log = Log::shipping_to(&redis.url());
    let audit = log.open();
    write(&audit, 0..50);
    now(audit.close());
    drop(audit);
    fs::remove_dir_all(&log.settings.journal.path).unwrap();
    let audit = log.open();
    write(&audit, 50..60);
    now(audit.close());
    assert_eq!(accesses(&records(&log.stream())), ids(0..60));
    assert!(verified(&log.stream()).ok, "{:?}", verified(&log.stream()));
    assert!(verified(&log.journal()).ok, "{:?}", verified(&log.journal()));
}

#[test]
fn an_end_that_was_taken_off_the_journal_is_missed_for_what_was_shipped() {
    let redis = Redis::start();
    let (log, other) = (Log::shipping_to(&redis.url()), Log::shipping_to(&redis.url()));
    // Its journal is on another machine.
    let elsewhere = Audit::open(&other.settings, "two", Writer::Sidecar).unwrap();
    write(&elsewhere, 0..2000);
    now(elsewhere.close());
    let audit = log.open();
    let differences = |log: &Log, meanwhile: &dyn Fn()| {
        let journal = verified(&log.journal());
        meanwhile();
        let stream = verified(&log.stream());
        assert!(journal.ok && stream.ok, "{:?} {:?}", journal.broken, stream.broken);
        now(audit::compare((&log.stream(), &stream), (&log.journal(), &journal))).unwrap()
    };
    write(&audit, 0..1000);
    let growing = || {
        write(&audit, 1000..4000);
        eventually("all is shipped", || (audit.stats().shipping.unwrap().backlog_records == 0).then_some(()));
    };
    assert_eq!(differences(&log, &growing), []);
    now(audit.close());
    drop(audit);
    let path = &log.settings.journal.path;
    let mut segments: Vec<_> = fs::read_dir(path).unwrap().map(|file| file.unwrap().path()).collect();
    segments.retain(|file| file.extension().is_some_and(|end| end == "journal"));
    segments.sort();
    assert!(segments.len() > 1);
    fs::remove_file(segments.last().unwrap()).unwrap();
    fs::remove_file(path.join("mark")).unwrap();
    let found = verified(&log.journal());
    assert!(found.broken.iter().any(|broken| broken.problem.contains("record 4000 was shipped")), "{found:?}");
    fs::remove_file(path.join("shipped")).unwrap();
    let found = differences(&log, &|| {});
    assert!(matches!(found.as_slice(), [one] if one.sidecar == "one" && one.problem.contains("its end was removed")), "{found:?}");
}

#[test]
fn sidecars_that_share_a_name_are_told_from_a_journal_that_was_lost() {
    let redis = Redis::start();
    let conflicts = |audit: &Audit| audit.stats().shipping.unwrap().conflicts;
    let (log, copy) = (Log::shipping_to(&redis.url()), Log::shipping_to(&redis.url()));
    let audit = log.open();
    write(&audit, 0..5);
    shipped(&audit, &log);
    assert_eq!(conflicts(&audit), 0);
    // Begun before it could ask the stream how far the name has got, and so from the first number.
    redis.freeze();
    let other = copy.open();
    redis.thaw();
    write(&other, 5..10);
    eventually("the other finds a record that is not its own", || (conflicts(&other) == 1).then_some(()));
    let mut n = 10;
    eventually("both find each other's again and again", || {
        write(&audit, n..n + 1);
        write(&other, n + 1..n + 2);
        n += 2;
        (conflicts(&audit) > 1 && conflicts(&other) > 1).then_some(())
    });
}

#[test]
fn too_much_waiting_refuses_requests_until_redis_is_back() {
    let mut redis = Redis::start();
    let mut log = Log::shipping_to(&redis.url());
    log.settings.stream.as_mut().unwrap().backlog = settings::Size(64 << 10);
    let audit = log.open();
    write(&audit, 0..5);
    redis.kill();
    let taken = (5..).take_while(|n| try_write(&audit, *n).is_ok()).count() as u64;
    assert!((20..200).contains(&taken), "{taken}");
    assert_eq!(audit.stats().unavailable, Some(AuditUnavailable::Backlog));
    redis.launch();
    eventually("records are taken again", || try_write(&audit, 1000).ok());
    let mut wanted = ids(0..5 + taken);
    wanted.extend(ids(1000..1001));
    assert_eq!(accesses(&shipped(&audit, &log)), wanted);
}

#[test]
fn operators_records_get_to_the_stream_with_and_without_a_sidecar() {
    let redis = Redis::start();
    let log = Log::shipping_to(&redis.url());
    let by_operator = || {
        let operator = Audit::open(&log.settings, "one", Writer::Operator).unwrap();
        now(operator.record(Event::admin("root", "account.create", "account:app"))).unwrap();
        now(operator.close());
    };
    by_operator();
    assert_eq!(records(&log.stream()).len(), 1, "shipped before the command ends");
    let audit = log.open();
    write(&audit, 0..3);
    by_operator();
    let count = || records(&log.stream()).len();
    eventually("both journals are shipped", || (count() == 5).then_some(()));
    assert!(verified(&log.stream()).ok);
    assert_eq!(verified(&log.stream()).chains.len(), 2);
}

#[test]
fn partitions_spread_sidecars_and_read_as_one_log() {
    let redis = Redis::start();
    let mut log = Log::shipping_to(&redis.url());
    log.settings.stream.as_mut().unwrap().partitions = 4;
    for name in ["a", "b", "c", "d", "e", "f"] {
        log.settings.journal.path = log.folder.path().join(name);
        let audit = Audit::open(&log.settings, name, Writer::Sidecar).unwrap();
        write(&audit, 0..20);
        now(audit.close());
    }
    assert_eq!(records(&log.stream()).len(), 120);
    assert!(verified(&log.stream()).ok);
    let used = (0..4).filter(|n| redis.command(&["EXISTS", &format!("vicar:audit:{n}")]).contains(":1")).count();
    assert!(used > 1);
}

#[test]
fn another_number_of_partitions_doubles_nothing_and_hides_nothing() {
    let redis = Redis::start();
    let mut log = Log::shipping_to(&redis.url());
    let mut written = 0;
    for (round, partitions) in [2, 4, 1, 3, 2, 5].into_iter().enumerate() {
        log.settings.stream.as_mut().unwrap().partitions = partitions;
        for name in ["a", "b", "c", "d", "e", "f"] {
            log.settings.journal.path = log.folder.path().join(name);
            if round == 3 && name == "b" {
                fs::remove_dir_all(&log.settings.journal.path).unwrap();
            }
            let audit = Audit::open(&log.settings, name, Writer::Sidecar).unwrap();
            write(&audit, written..written + 5);
            written += 5;
            now(audit.close());
        }
        let all = records(&log.stream());
        let mut seen = accesses(&all);
        seen.sort_unstable();
        assert_eq!(seen, ids(0..written), "now {partitions}");
        let found = verified(&log.stream());
        assert!(found.ok && found.chains.iter().all(|chain| chain.first == 1), "now {partitions}: {:?}", found.broken);
    }
}

#[test]
fn a_record_in_a_partition_that_was_never_its_sidecars_is_named() {
    let redis = Redis::start();
    let mut log = Log::shipping_to(&redis.url());
    log.settings.stream.as_mut().unwrap().partitions = 2;
    let audit = log.open();
    write(&audit, 0..3);
    shipped(&audit, &log);
    let mut raw = String::new();
    let mut second = |line: audit::Line<'_>| {
        line.raw.clone_into(&mut raw);
        if line.record.seq == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    now(audit::read(&log.stream(), &Filter::default(), Page::default(), &mut second)).unwrap();
    for partition in ["vicar:audit:0", "vicar:audit:1"] {
        redis.command(&["XADD", partition, "*", "sidecar", "one", "seq", "2", "record", &raw]);
    }
    let found = verified(&log.stream());
    assert!(found.broken.iter().any(|broken| broken.problem.contains("where this sidecar does not write")), "{found:?}");
}

#[test]
fn old_entries_are_trimmed_and_no_young_ones() {
    let redis = Redis::start();
    let old = Timestamp::now().as_millisecond() - 100 * 24 * 60 * 60 * 1000;
    for n in 0..1000 {
        redis.command(&["XADD", "vicar:audit", &format!("{}-0", old + n), "sidecar", "gone", "seq", "1", "record", "{}"]);
    }
    let log = Log::shipping_to(&redis.url());
    let audit = log.open();
    write(&audit, 0..10);
    eventually("old entries are trimmed", || {
        redis.command(&["XRANGE", "vicar:audit", "-", "+", "COUNT", "1"]).contains("one").then_some(())
    });
    assert_eq!(accesses(&shipped(&audit, &log)), ids(0..10));
}

#[test]
fn what_somebody_else_wrote_into_the_stream_is_named() {
    let redis = Redis::start();
    let log = Log::shipping_to(&redis.url());
    let audit = log.open();
    write(&audit, 0..5);
    let stream = shipped(&audit, &log);
    let raw = serde_json::to_string(&stream[2]).unwrap();
    redis.command(&["XADD", "vicar:audit", "*", "sidecar", "one", "seq", "6", "record", &raw]);
    redis.command(&["XADD", "vicar:audit", "*", "hello", "world"]);
    redis.command(&["XADD", "vicar:audit", "*", "sidecar", "one", "seq", "6", "record", "\u{1b}[2J{\"a\":1}"]);
    let found = verified(&log.stream());
    assert!(!found.ok && found.broken.len() >= 3, "{found:?}");
    write(&audit, 5..8);
    eventually("shipping goes on", || accesses(&records(&log.stream())).contains(&ids(7..8)[0].as_str()).then_some(()));
}

// ===== a full disk =====

/// A small file system in memory; gone when dropped. `None` where mounting is not allowed.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder.path()).output();
        if mounted.is_ok_and(|out| out.status.success()) {
            return Some(Self(folder));
        }
        eprintln!("skipped: a file system cannot be mounted here");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the space that is left.
    fn fill(&self) {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.path().join("ballast")).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
    }

    fn make_space(&self) {
        fs::remove_file(self.path().join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

#[test]
fn a_full_disk_refuses_and_recovers_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount("8m") else { return };
    let mut log = Log::new();
    log.settings.journal.path = disk.path().join("audit");
    let audit = log.open();
    let mut under_way = now(audit.open_entry(opening(1_000_000))).unwrap();
    disk.fill();
    let taken = (0..100_000).take_while(|n| try_write(&audit, *n).is_ok()).count() as u64;
    assert!((100..20_000).contains(&taken), "{taken}");
    assert_eq!(try_write(&audit, 2_000_000), Err(AuditUnavailable::Full));
    assert_eq!(audit.stats().unavailable, Some(AuditUnavailable::Full));
    // What was let through while there was space can end when there is none.
    under_way.status(200);
    under_way.complete();
    disk.make_space();
    eventually("records are taken again", || try_write(&audit, 3_000_000).ok());
    assert_eq!(audit.stats().unavailable, None);
    now(audit.close());
    let records = records(&log.journal());
    let ids_of = accesses(&records);
    for id in ids(0..taken) {
        assert_eq!(ids_of.iter().filter(|found| **found == id).count(), 1, "{id}");
    }
    assert_eq!(ids_of.iter().filter(|found| **found == ids(1_000_000..1_000_001)[0]).count(), 1);
    assert_eq!(ids_of.iter().filter(|found| **found == ids(2_000_000..2_000_001)[0]).count(), 0);
    assert!(records.iter().any(|r| r.action.as_deref() == Some("degraded")));
    assert!(verified(&log.journal()).ok);
}

#[test]
fn nothing_is_forwarded_that_the_journal_cannot_hold() {
    let Some(disk) = SmallDisk::mount("3m") else { return };
    let upstream = Upstream::start();
    let journal = format!("{{journal: {{path: \"{}\", segment: 512KiB}}}}", disk.path().join("audit").display());
    let sidecar = Sidecar::behind(&upstream).set("audit", &journal).start();
    // Long records fill it sooner.
    let target = format!("/dataset/2/Ac1/Vendors/list?{}", "n".repeat(12 << 10));
    let call = || sidecar.send(&Call::get(&target).with(sidecar.app()));
    disk.fill();
    let mut forwarded = 0;
    let refused = loop {
        let answer = call();
        if answer.status != 200 {
            break answer;
        }
        forwarded += 1;
    };
    assert_eq!(refused.status, 503);
    assert_eq!(refused.json()["code"], "audit-unavailable");
    assert_eq!(upstream.seen().len(), forwarded, "what was refused was not forwarded");
    disk.make_space();
    eventually("requests go through again", || (call().status == 200).then_some(()));
}

/// A disk whose file system finds itself broken when told to; gone when dropped. `None` where mounting is not allowed.
struct FrailDisk(TempDir);

impl FrailDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (image, at) = (folder.path().join("image"), folder.path().join("disk"));
        fs::create_dir(&at).unwrap();
        fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        let done = |command: &mut Command| command.output().is_ok_and(|out| out.status.success());
        if done(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))
            && done(Command::new("mount").args(["-t", "ext4", "-o", "loop,errors=remount-ro"]).arg(&image).arg(&at))
        {
            return Some(Self(folder));
        }
        eprintln!("skipped: a file system in a file cannot be mounted here");
        None
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("disk")
    }

    fn break_down(&self) {
        let source = Command::new("findmnt").args(["-n", "-o", "SOURCE"]).arg(self.path()).output().unwrap();
        let source = String::from_utf8(source.stdout).unwrap();
        let device = Path::new(source.trim()).file_name().unwrap();
        fs::write(Path::new("/sys/fs/ext4").join(device).join("trigger_fs_error"), "1").unwrap();
    }
}

impl Drop for FrailDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

#[test]
fn a_sidecar_whose_disk_takes_no_flush_is_not_ready() {
    let Some(disk) = FrailDisk::mount() else { return };
    let upstream = Upstream::start();
    let journal = format!("{{journal: {{path: \"{}\", segment: 1MiB, durability: disk}}}}", disk.path().join("audit").display());
    let sidecar = Sidecar::behind(&upstream).set("audit", &journal).start();
    let call = Call::get("/user/2/Ac1/list").with(sidecar.app());
    sidecar.send(&call).expect_status(200);
    Call::get("/readyz").send(sidecar.admin()).expect_status(200);
    disk.break_down();
    let refused = eventually("it is noticed", || Some(sidecar.send(&call)).filter(|answer| answer.status != 200));
    refused.expect(503, "audit-unavailable");
    let ready = Call::get("/readyz").send(sidecar.admin());
    ready.expect_status(503);
    assert!(ready.json()["audit"]["journal"].as_str().unwrap().contains("does not work"), "{:?}", ready.json());
    let metrics = Call::get("/metrics").send(sidecar.admin());
    assert!(metrics.text().contains("\nvicar_audit_writable 0\n"), "{}", metrics.text());
}

#[test]
fn nothing_goes_through_while_the_disk_takes_nothing() {
    let Some(disk) = FrailDisk::mount() else { return };
    let upstream = Upstream::start();
    let journal = format!("{{journal: {{path: \"{}\"}}}}", disk.path().join("audit").display());
    let sidecar = Sidecar::behind(&upstream).set("audit", &journal).start();
    let call = Call::get("/user/2/Ac1/list").with(sidecar.app());
    sidecar.send(&call).expect_status(200);
    let lock = disk.path().join("audit/lock");
    let refused = || eventually("it is noticed", || Some(sidecar.send(&call)).filter(|answer| answer.status != 200));
    // A file that takes nothing stands for a disk that does so for a while.
    let immutable = |how: &str| Command::new("chattr").arg(how).arg(&lock).output().is_ok_and(|out| out.status.success());
    assert!(immutable("+i"));
    refused().expect(503, "audit-unavailable");
    Call::get("/readyz").send(sidecar.admin()).expect_status(503);
    assert!(immutable("-i"));
    eventually("requests go through again", || (sidecar.send(&call).status == 200).then_some(()));
    eventually("the log says so", || sidecar.records().iter().any(|record| record["action"] == "degraded-end").then_some(()));
    disk.break_down();
    refused().expect(503, "audit-unavailable");
    assert!(sidecar.log().contains("takes nothing any more"), "{}", sidecar.log());
    let forwarded = upstream.seen().len();
    sidecar.send(&call).expect(503, "audit-unavailable");
    assert_eq!(upstream.seen().len(), forwarded);
}

#[test]
fn nothing_goes_through_once_the_journal_was_removed() {
    let upstream = Upstream::start();
    for gone in ["audit", "audit/000000000001.journal", "audit/open", "audit/lock"] {
        let mut sidecar = Sidecar::behind(&upstream).start();
        let call = Call::get("/user/2/Ac1/list").with(sidecar.app());
        sidecar.send(&call).expect_status(200);
        let path = sidecar.folder().join(gone);
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.unwrap();
        let refused = eventually("it is noticed", || Some(sidecar.send(&call)).filter(|answer| answer.status != 200));
        refused.expect(503, "audit-unavailable");
        let forwarded = upstream.seen().len();
        sidecar.send(&call).expect(503, "audit-unavailable");
        assert_eq!(upstream.seen().len(), forwarded, "nothing is forwarded that no record outlives");
        let ready = Call::get("/readyz").send(sidecar.admin());
        ready.expect_status(503);
        assert!(ready.json()["audit"]["journal"].as_str().unwrap().contains("removed"), "{:?}", ready.json());
        assert!(sidecar.log().contains("was removed or replaced"), "{}", sidecar.log());
        sidecar.stop();
        sidecar.serve();
        sidecar.send(&call).expect_status(200);
    }
}

#[test]
fn nothing_goes_through_once_a_file_has_the_place_of_the_journal() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let call = Call::get("/user/2/Ac1/list").with(sidecar.app());
    sidecar.send(&call).expect_status(200);
    let path = sidecar.folder().join("audit");
    fs::rename(&path, sidecar.folder().join("audit.old")).unwrap();
    fs::write(&path, "").unwrap();
    let refused = eventually("it is noticed", || Some(sidecar.send(&call)).filter(|answer| answer.status != 200));
    refused.expect(503, "audit-unavailable");
}

// ===== what callers choose =====

#[test]
fn hostile_texts_stay_in_their_fields() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let long = "A".repeat(8 << 10);
    for agent in ["=cmd|' /C calc'!A0", "\"},{\"outcome\":\"completed\"", "a\tb", "\u{202e}gnp.exe", &long] {
        let id = sidecar
            .send(&Call::get("/dataset/2/Ac1/Vendors/list?a%22=1&%1b=2").with(sidecar.app()).header("User-Agent", agent))
            .request_id();
        let record = sidecar.record(&id);
        let shown = record["user_agent"].as_str().unwrap();
        assert!(shown.starts_with(&agent.chars().take(4).collect::<String>()), "{shown:?}");
        assert!(shown.len() <= 1100);
    }
    let verified = sidecar.vicar(&["audit", "verify", "--output", "json"]).succeeded().json();
    assert_eq!(verified["ok"], true, "{verified}");
    let csv = sidecar.vicar(&["audit", "export", "--format", "csv"]).succeeded().stdout;
    assert!(!csv.lines().any(|line| line.split(',').any(|cell| cell.starts_with("=cmd"))), "{csv}");
}
