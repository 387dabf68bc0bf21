//! Journals that are cut, damaged, foreign, or no journals at all.

use super::*;

/// A small journal, with one entry left open at a crash.
fn small() -> Ground {
    let ground = Ground::new();
    let audit = ground.open();
    write(&audit, 0..1);
    let open = now(audit.open_entry(opening(3))).unwrap();
    write(&audit, 4..5);
    let crashed = ground.crashed();
    drop(open);
    crashed
}

/// Bytes of a segment that are in use.
fn used(path: &Path) -> usize {
    fs::read(path).unwrap().iter().rposition(|b| *b != 0).unwrap() + 1
}

#[test]
fn a_journal_cut_anywhere_opens_with_every_whole_record() {
    let ground = Ground::new();
    // Operators' journals are the same but for the thread that keeps a sidecar's, and so opened faster.
    let open = |ground: &Ground| Audit::open(&ground.settings, "one", Writer::Operator);
    let audit = open(&ground).unwrap();
    write(&audit, 0..1);
    let under_way = now(audit.open_entry(opening(3))).unwrap();
    write(&audit, 4..5);
    let path = ground.journal().join("operator/000000000001.journal");
    let whole = fs::read(&path).unwrap();
    drop((under_way, audit));
    let used = whole.iter().rposition(|b| *b != 0).unwrap() + 1;
    let lines: Vec<String> = journal::forge::lines(&path).into_iter().take(2).map(|line| String::from_utf8(line).unwrap()).collect();
    for cut in 0..=used {
        let _ = fs::remove_file(ground.journal().join("operator/mark"));
        for (_, file) in journal::folder::segments(&ground.journal().join("operator")).unwrap() {
            fs::remove_file(file).unwrap();
        }
        fs::write(&path, &whole[..cut]).unwrap();
        let audit = open(&ground).unwrap_or_else(|e| panic!("cut at {cut}: {e}"));
        write(&audit, 100..101);
        drop(audit);
        let after = ground.records();
        let kept = after.iter().zip(&lines).take_while(|(record, line)| line.contains(&record.hash)).count();
        let said = after.iter().filter(|r| r.action.as_deref() == Some("recovery")).count();
        let interrupted = after.iter().filter(|r| r.outcome == Outcome::Interrupted).count();
        assert!(after.len() == kept + interrupted + said + 1, "cut at {cut}: {after:#?}");
        let put_aside = after.iter().any(|r| r.detail.as_deref().is_some_and(|detail| detail.contains("was put aside")));
        assert_eq!(ground.verified().ok, !put_aside, "cut at {cut}: {:?}", ground.verified());
        assert!(!put_aside || cut < 512, "cut at {cut}: its head is whole");
        // A record's last bytes are its end of line and padding.
        assert!(kept < 2 || cut >= used - 16, "cut at {cut}");
    }
}

#[test]
fn journals_of_zeros_and_noise_are_answered_not_followed() {
    for (bytes, opens) in [(vec![0u8; 4096], true), (vec![], true), ((0..9000u32).map(|n| (n * 7 % 251) as u8).collect(), false)] {
        let ground = Ground::new();
        fs::create_dir_all(ground.journal()).unwrap();
        let path = ground.journal().join("000000000001.journal");
        fs::write(&path, &bytes).unwrap();
        let opened = Audit::open(&ground.settings, "one", Writer::Sidecar);
        assert_eq!(opened.is_ok(), opens, "{opened:?}");
        if !opens {
            assert_eq!(fs::read(&path).unwrap(), bytes, "it was changed");
            assert!(!ground.verified().ok);
        }
    }
}

#[test]
fn segments_that_were_prepared_ahead_are_no_damage_and_one_without_its_head_is() {
    let ground = Ground::new();
    let audit = ground.open();
    write(&audit, 0..5);
    let files = |ground: &Ground| journal::folder::segments(ground.journal()).unwrap();
    let end = Instant::now() + std::time::Duration::from_secs(20);
    while files(&ground).len() < 3 && Instant::now() < end {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let killed = ground.crashed();
    drop(audit);
    assert_eq!(files(&killed).len(), 3, "two were to be ready");
    let found = killed.verified();
    assert!(found.ok && found.records == 5, "{found:?}");
    let (_, written) = &files(&killed)[0];
    let mut bytes = fs::read(written).unwrap();
    bytes[..512].fill(0);
    fs::write(written, bytes).unwrap();
    let _ = fs::remove_file(killed.journal().join("mark"));
    assert!(!killed.verified().ok);
}

#[test]
fn damage_in_the_middle_is_told_and_what_follows_is_kept() {
    let ground = Ground::new();
    let audit = ground.open();
    write(&audit, 0..20);
    drop(audit);
    let segment = ground.last_segment();
    let mut bytes = fs::read(&segment).unwrap();
    let of_a_record = bytes.windows(9).position(|w| w == b"\"seq\":10,").unwrap();
    bytes[of_a_record] ^= 0x40;
    fs::write(&segment, &bytes).unwrap();
    let verified = ground.verified();
    assert!(!verified.ok && verified.broken.iter().any(|b| b.problem.contains("damaged")), "{verified:?}");
    let audit = ground.open();
    write(&audit, 20..21);
    let records = ground.records();
    assert!(records.iter().any(|r| r.action.as_deref() == Some("recovery")));
    assert_eq!(records.iter().filter(|r| r.kind == Kind::Access).count(), 20, "one is damaged, one came after");
    assert!(!ground.verified().ok, "what is lost stays visible");
}

#[test]
fn an_end_that_was_cut_off_stays_visible_behind_what_came_after_it() {
    let ground = Ground::new();
    let audit = ground.open();
    write(&audit, 0..9);
    now(audit.close());
    drop(audit);
    let mut lines = journal::forge::lines(&ground.last_segment());
    lines.truncate(4);
    journal::forge::rewrite(&ground.last_segment(), &lines);
    assert!(!ground.verified().ok);
    let audit = ground.open();
    write(&audit, 20..40);
    now(audit.close());
    drop(audit);
    let found = ground.verified();
    assert!(found.broken.iter().any(|b| b.problem.contains("once reached record 9")), "{found:?}");
}

#[test]
fn a_forged_action_under_way_never_becomes_a_record_that_nobody_can_read() {
    let ground = Ground::new();
    let audit = ground.open();
    write(&audit, 0..2);
    drop(audit);
    let lines = journal::forge::lines(&ground.last_segment());
    let good = String::from_utf8(lines[0].clone()).unwrap();
    let good = good.split_once(",\"status\"").unwrap().0.replace(&id(0), &id(7));
    let forged = [
        format!("open {{\"id\":\"{}\",\"kind\":\"system\",\"hash\u{1}", id(8)),
        format!("open {}", good.replace(&id(7), &id(9)).replace("\"sidecar\":\"one\"", "\"sidecar\":\"two\"")),
    ];
    let frames: Vec<Vec<u8>> =
        lines.into_iter().chain([format!("open {good}")].into_iter().chain(forged).map(String::into_bytes)).collect();
    journal::forge::rewrite(&ground.last_segment(), &frames);
    assert!(ground.verified().ok);
    drop(ground.open());
    let found = ground.verified();
    assert!(matches!(found.broken.as_slice(), [one] if one.problem.contains("2 actions under way cannot be read")), "{found:?}");
    let records = ground.records();
    assert_eq!(records.iter().filter(|r| r.kind == Kind::Access).map(|r| r.id.clone()).collect::<Vec<_>>(), [id(0), id(1), id(7)]);
    let told = records.iter().find(|r| r.action.as_deref() == Some("recovery")).unwrap();
    assert!(told.detail.as_deref().unwrap().contains("2 actions under way cannot be read"), "{told:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn no_bytes_in_a_segment_make_a_reader_fail(noise in proptest::collection::vec(any::<u8>(), 1..400), at in 0usize..4000) {
        let ground = small();
        let segment = ground.last_segment();
        let mut bytes = fs::read(&segment).unwrap();
        let used = used(&segment);
        bytes.truncate(used.max(at + noise.len()));
        let at = at % used;
        for (slot, b) in bytes.iter_mut().skip(at).zip(&noise) { *slot = *b; }
        fs::write(&segment, &bytes).unwrap();
        let _ = now(verify(&ground.source(), None, &mut |_| {}));
        let _ = now(read(&ground.source(), &Filter::default(), Page::default(), &mut |_| ControlFlow::Continue(())));
        if let Ok(audit) = Audit::open(&ground.settings, "one", Writer::Sidecar) {
            write(&audit, 50..51);
            drop(audit);
            prop_assert!(ground.records().iter().any(|r| r.id == id(50)));
        }
    }
}
