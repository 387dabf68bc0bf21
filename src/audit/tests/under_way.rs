//! Entries while they are open: where they stand, and what a crash at any instant makes of them.

use super::*;

fn interrupted(ground: &Ground) -> Vec<String> {
    ground.records().into_iter().filter(|r| r.outcome == Outcome::Interrupted).map(|r| r.id).collect()
}

fn slots(ground: &Ground) -> std::path::PathBuf {
    ground.journal().join("open")
}

fn long(n: u64) -> Opening<'static> {
    Opening { user_agent: Some(&[b'x'; 1000]), ..opening(n) }
}

#[test]
fn an_open_entry_is_on_file_before_anything_leaves_and_not_in_the_log() {
    let ground = Ground::new();
    let audit = ground.open();
    let entry = now(audit.open_entry(opening(1))).unwrap();
    assert_eq!(audit.stats().open_entries, 1);
    assert!(fs::read(slots(&ground)).unwrap().windows(26).any(|w| w == id(1).as_bytes()));
    entry.complete();
    assert_eq!((audit.stats().open_entries, ground.records().len()), (0, 1));
}

#[test]
fn a_crash_between_a_record_and_the_end_of_its_entry_makes_no_second_record() {
    let ground = Ground::new();
    let audit = ground.open();
    write(&audit, 0..3);
    let entry = now(audit.open_entry(opening(3))).unwrap();
    let still_open = fs::read(slots(&ground)).unwrap();
    entry.complete();
    let crashed = ground.crashed();
    fs::write(slots(&crashed), still_open).unwrap();
    for _ in 0..2 {
        let audit = crashed.open();
        assert_eq!((audit.stats().open_entries, crashed.records().len()), (0, 4));
        assert_eq!(interrupted(&crashed), Vec::<String>::new());
    }
}

#[test]
fn entries_that_ended_together_are_open_until_their_records_are_written() {
    let ground = Ground::new();
    let audit = ground.open();
    let mut closings = Closings::new();
    let some = |n: u64| match n {
        3 => Opening { path: "/", query: None, user_agent: None, ..opening(n) },
        5 => long(n),
        _ => opening(n),
    };
    for n in 0..11 {
        let mut entry = now(audit.open_entry(some(n))).unwrap();
        entry.status(200);
        closings.complete(entry);
    }
    assert_eq!((audit.stats().open_entries, ground.records().len()), (3, 8));
    let crashed = ground.crashed();
    drop(crashed.open());
    assert_eq!(interrupted(&crashed), (8..11).map(id).collect::<Vec<_>>());
    closings.write();
    assert_eq!(audit.stats().open_entries, 0);
    let records = ground.records();
    assert_eq!(records.iter().map(|r| r.id.clone()).collect::<Vec<_>>(), (0..11).map(id).collect::<Vec<_>>());
    assert!(records.iter().all(|r| r.outcome == Outcome::Completed) && ground.verified().ok);
    closings.complete(now(audit.open_entry(opening(11))).unwrap());
    drop(closings);
    assert_eq!((audit.stats().open_entries, ground.records().len()), (0, 12));
}

#[test]
fn a_crash_while_a_crash_is_mended_makes_no_second_record() {
    let ground = Ground::new();
    let audit = ground.open();
    let open: Vec<_> = (0..5).map(|n| now(audit.open_entry(opening(n))).unwrap()).collect();
    let crashed = ground.crashed();
    drop(open);
    let still_open = fs::read(slots(&crashed)).unwrap();
    drop(crashed.open());
    assert_eq!(interrupted(&crashed), (0..5).map(id).collect::<Vec<_>>());
    // As if it had died before it freed any of them.
    fs::write(slots(&crashed), still_open).unwrap();
    drop(crashed.open());
    assert_eq!(interrupted(&crashed).len(), 5);
    assert!(crashed.verified().ok);
}

#[test]
fn what_finds_no_slot_stands_in_the_journal() {
    let ground = Ground::new();
    let audit = ground.open();
    let mut entries: Vec<_> = (0..300).map(|n| now(audit.open_entry(opening(n))).unwrap()).collect();
    entries.push(now(audit.open_entry(long(300))).unwrap());
    assert_eq!(audit.stats().open_entries, 301);
    let crashed = ground.crashed();
    drop(crashed.open());
    assert_eq!(interrupted(&crashed), (0..301).map(id).collect::<Vec<_>>(), "each once, oldest first");
    entries.into_iter().for_each(Entry::complete);
    assert_eq!(audit.stats().open_entries, 0);
    // The slots are there for others again.
    write(&audit, 2000..2100);
    let crashed = ground.crashed();
    drop(crashed.open());
    assert_eq!(interrupted(&crashed), Vec::<String>::new());
    assert!(crashed.verified().ok && ground.verified().ok);
}

#[test]
fn what_was_under_way_is_known_when_the_durability_was_changed_meanwhile() {
    let ground = Ground::new();
    let audit = ground.open();
    let entry = now(audit.open_entry(opening(1))).unwrap();
    let mut crashed = ground.crashed();
    entry.complete();
    crashed.settings.journal.durability = settings::Durability::Disk;
    let audit = crashed.open();
    let entry = now(audit.open_entry(opening(2))).unwrap();
    let mut again = crashed.crashed();
    entry.complete();
    again.settings.journal.durability = settings::Durability::Process;
    drop(again.open());
    assert_eq!(interrupted(&again), [id(1), id(2)]);
}

#[test]
fn a_damaged_entry_is_told_and_the_others_are_closed() {
    let ground = Ground::new();
    let audit = ground.open();
    let open: Vec<_> = (0..3).map(|n| now(audit.open_entry(opening(n))).unwrap()).collect();
    let crashed = ground.crashed();
    drop(open);
    let mut bytes = fs::read(slots(&crashed)).unwrap();
    let at = bytes.windows(26).position(|w| w == id(1).as_bytes()).unwrap();
    bytes[at] ^= 1;
    fs::write(slots(&crashed), &bytes).unwrap();
    let named = |when: &str| {
        let found = crashed.verified();
        let named = found.broken.iter().any(|broken| broken.problem.contains("1 actions under way are damaged"));
        assert!(!found.ok && named, "{when}: {found:?}");
    };
    named("before the next start");
    drop(crashed.open());
    named("after it");
    assert_eq!(interrupted(&crashed), [id(0), id(2)]);
    let said = crashed.records().into_iter().find(|r| r.action.as_deref() == Some("recovery")).unwrap();
    assert!(said.detail.unwrap().contains("1 actions under way are damaged"));
    // It is told once.
    drop(crashed.open());
    assert_eq!(crashed.records().iter().filter(|r| r.action.as_deref() == Some("recovery")).count(), 1);
}

#[test]
fn slots_that_are_not_this_sidecars_are_left_alone() {
    let ground = Ground::new();
    drop(ground.open());
    let ours = fs::read(slots(&ground)).unwrap();
    let other = Ground::new();
    drop(Audit::open(&other.settings, "two", Writer::Sidecar).unwrap());
    for (foreign, opens) in [
        (fs::read(slots(&other)).unwrap(), false),
        (fs::read(ground.last_segment()).unwrap(), false),
        (b"somebody's notes".repeat(100), false),
        (vec![], true),
        (vec![0; 5000], true),
        (ours[..300].to_vec(), true),
        (ours, true),
    ] {
        fs::write(slots(&ground), &foreign).unwrap();
        let opened = Audit::open(&ground.settings, "one", Writer::Sidecar);
        assert_eq!(opened.is_ok(), opens, "{opened:?}");
        if !opens {
            assert_eq!(fs::read(slots(&ground)).unwrap(), foreign, "it was changed");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_bytes_in_the_slots_keep_a_journal_from_opening(noise in proptest::collection::vec(any::<u8>(), 1..400), at in 512usize..9000) {
        let ground = Ground::new();
        let audit = ground.open();
        let open: Vec<_> = (0..4).map(|n| now(audit.open_entry(opening(n))).unwrap()).collect();
        let crashed = ground.crashed();
        drop(open);
        let mut bytes = fs::read(slots(&crashed)).unwrap();
        bytes[at..at + noise.len()].copy_from_slice(&noise);
        fs::write(slots(&crashed), &bytes).unwrap();
        drop(crashed.open());
        let lost = crashed.records().iter().any(|r| r.detail.as_deref().is_some_and(|detail| detail.contains("have no record")));
        prop_assert_eq!(crashed.verified().ok, !lost, "{:?}", crashed.verified());
        prop_assert!(interrupted(&crashed).len() <= 4);
    }
}
