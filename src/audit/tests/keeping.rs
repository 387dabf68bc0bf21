//! Time, space and what a flood may take of it.

use super::*;

#[test]
fn a_clock_that_jumps_back_changes_no_order() {
    let ground = Ground::new();
    let audit = ground.open();
    for n in [5000u64, 4000, 3000, 1_000_000, 1] {
        write(&audit, n..n + 1);
    }
    let records = ground.records();
    assert_eq!(records.iter().map(|r| r.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(records[0].id, id(5000));
    assert!(ground.verified().ok);
}

#[test]
fn an_entry_with_durability_disk_is_flushed_first() {
    let mut ground = Ground::new();
    ground.settings.journal.durability = settings::Durability::Disk;
    let audit = ground.open();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let audit = &audit;
            scope.spawn(move || write(audit, thread * 1000..thread * 1000 + 50));
        }
    });
    now(audit.record(Event::admin("root", "key.create", "key:x"))).unwrap();
    now(audit.close());
    assert_eq!(ground.records().len(), 201);
    assert!(ground.verified().ok);
}

#[test]
fn old_segments_go_when_there_are_too_many_and_the_chain_still_holds() {
    let mut ground = Ground::new();
    ground.settings.journal.max_size = settings::Size(3 << 20);
    let audit = ground.open();
    write(&audit, 0..20_000);
    let trimmed = |ground: &Ground| journal::folder::segments(ground.journal()).unwrap()[0].0 > 3;
    for _ in 0..400 {
        if trimmed(&ground) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    assert!(trimmed(&ground));
    let found = ground.verified();
    assert!(found.ok && found.chains[0].first > 1 && found.chains[0].last >= 20_000, "{found:?}");
    assert!(ground.records().iter().any(|r| r.action.as_deref() == Some("retention")));
    assert!(audit.stats().journal_bytes < 8 << 20);
}

#[test]
fn a_flood_without_a_key_is_counted_not_written() {
    let mut ground = Ground::new();
    ground.settings.refusals_per_minute = Some(10);
    let audit = ground.open();
    for n in 0..5000 {
        audit.refuse(Opening { standing: Standing::Claimed, decision: Decision::Deny, ..opening(n) }, 401).unwrap();
    }
    audit.refuse(opening(9999), 403).unwrap();
    now(audit.close());
    let records = ground.records();
    assert_eq!(records.iter().filter(|r| r.kind == Kind::Access).count(), 11);
    let folded = records.iter().find(|r| r.action.as_deref() == Some("refusals-folded")).unwrap();
    assert!(folded.detail.as_deref().unwrap().starts_with("4990 refusals"), "{folded:?}");
    assert_eq!(folded.client.as_deref(), Some("192.0.2.1"));
    assert_eq!(audit.stats().folded, 4990);
}

/// With either durability; without one that flushes, nobody else would.
#[test]
fn a_full_segment_is_closed_and_no_longer_mapped() {
    for durability in [settings::Durability::Process, settings::Durability::Disk] {
        let mut ground = Ground::new();
        ground.settings.journal.durability = durability;
        let audit = ground.open();
        let folder = ground.journal().to_str().unwrap().to_owned();
        let mapped = || fs::read_to_string("/proc/self/maps").unwrap().lines().filter(|line| line.contains(&folder)).count();
        let open = || {
            let links = fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|link| fs::read_link(link.path()).ok());
            links.filter(|target| target.starts_with(&folder)).count()
        };
        write(&audit, 0..20_000);
        let segments = journal::folder::segments(ground.journal()).unwrap().len();
        assert!(segments > 10, "{segments}");
        // The one that is written to, those that are ready, and the lock.
        let end = Instant::now() + std::time::Duration::from_secs(20);
        while (mapped() > 4 || open() > 5) && Instant::now() < end {
            write(&audit, 0..1);
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert!(mapped() <= 4 && open() <= 5, "{} mapped and {} open of {segments}: {durability:?}", mapped(), open());
    }
}
