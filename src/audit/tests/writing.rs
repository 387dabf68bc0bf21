//! What is written, by whom, and what a crash leaves of it.

use super::*;

#[test]
fn an_action_is_one_record_with_what_became_of_it() {
    let ground = Ground::new();
    let audit = ground.open();
    let mut entry = now(audit.open_entry(opening(1))).unwrap();
    assert_eq!(ground.records().len(), 0, "an open entry is no record yet");
    entry.status(201);
    let passed = std::sync::Arc::<Passed>::default();
    entry.counted_by(passed.clone());
    assert_eq!((passed.receive(4), passed.receive(6)), (4, 10));
    entry.sent(20);
    entry.sent(5);
    entry.upstream_us(7);
    entry.complete();
    now(audit.open_entry(opening(2))).unwrap().fail();
    drop(now(audit.open_entry(opening(3))).unwrap());
    audit.refuse(opening(4), 403).unwrap();
    let records = ground.records();
    assert_eq!(records.iter().map(|r| r.seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(records.iter().map(|r| r.outcome.as_str()).collect::<Vec<_>>(), ["completed", "upstream_error", "interrupted", "refused"]);
    let first = &records[0];
    assert_eq!((first.status, first.bytes_in, first.bytes_out, first.upstream_us), (Some(201), 10, 25, Some(7)));
    assert_eq!((first.id.as_str(), first.request_id.as_deref()), (id(1).as_str(), Some(id(1).as_str())));
    assert_eq!(records[1].prev, records[0].hash);
    assert!(ground.verified().ok, "{:?}", ground.verified());
}

#[test]
fn what_was_under_way_at_a_crash_reads_as_interrupted_once() {
    let ground = Ground::new();
    let audit = ground.open();
    write(&audit, 0..5);
    let open = now(audit.open_entry(opening(5))).unwrap();
    let also = now(audit.open_entry(opening(6))).unwrap();
    write(&audit, 7..10);
    let crashed = ground.crashed();
    drop((open, also));
    for _ in 0..3 {
        let mended = crashed.open();
        let of = |n: u64| crashed.records().into_iter().filter(|r| r.id == id(n)).collect::<Vec<_>>();
        for n in 0..10 {
            assert_eq!(of(n).len(), 1, "request {n}");
        }
        assert_eq!(
            (of(5)[0].outcome, of(6)[0].outcome, of(7)[0].outcome),
            (Outcome::Interrupted, Outcome::Interrupted, Outcome::Completed)
        );
        assert_eq!(crashed.records().iter().filter(|r| r.action.as_deref() == Some("recovery")).count(), 1);
        assert!(crashed.verified().ok, "{:?}", crashed.verified());
        drop(mended);
    }
}

#[test]
fn segments_follow_each_other_and_readers_see_one_log() {
    let ground = Ground::new();
    let audit = ground.open();
    write(&audit, 0..4000);
    assert!(journal::folder::segments(ground.journal()).unwrap().len() > 3);
    let verified = ground.verified();
    assert!(verified.ok && verified.records == 4000, "{verified:?}");
    now(audit.close());
    assert!(matches!(now(audit.open_entry(opening(1))), Err(AuditUnavailable::Closed)));
    drop(audit);
    let again = ground.open();
    write(&again, 4000..4010);
    let mut newest = Vec::new();
    now(read(&ground.source(), &Filter::default(), Page { order: Order::NewestFirst, limit: Some(4010) }, &mut |line| {
        newest.push(line.record.seq);
        ControlFlow::Continue(())
    }))
    .unwrap();
    assert!(newest.iter().rev().copied().eq(1..=4010));
    assert!(ground.verified().ok);
}

#[test]
fn a_second_sidecar_on_the_same_journal_is_told_so() {
    let ground = Ground::new();
    let _audit = ground.open();
    let error = Audit::open(&ground.settings, "one", Writer::Sidecar).unwrap_err();
    assert!(matches!(error, AuditError::InUse { .. }));
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
}

#[test]
fn another_sidecars_journal_is_left_alone() {
    let ground = Ground::new();
    write(&ground.open(), 0..3);
    let before = fs::read(ground.last_segment()).unwrap();
    let error = Audit::open(&ground.settings, "two", Writer::Sidecar).unwrap_err();
    assert!(matches!(error, AuditError::OtherSidecar { .. }), "{error}");
    assert_eq!(fs::read(ground.last_segment()).unwrap(), before);
}

#[test]
fn a_newer_format_and_foreign_files_are_left_alone() {
    for (at, byte) in [(8, 9u8), (0, b'X'), (20, 77)] {
        let ground = Ground::new();
        write(&ground.open(), 0..3);
        let mut bytes = fs::read(ground.last_segment()).unwrap();
        bytes[at] = byte;
        fs::write(ground.last_segment(), &bytes).unwrap();
        let error = Audit::open(&ground.settings, "one", Writer::Sidecar).unwrap_err();
        assert!(matches!(error, AuditError::Newer { version: 9, .. } | AuditError::Foreign { .. }), "{error}");
        assert_eq!(fs::read(ground.last_segment()).unwrap(), bytes);
    }
}

#[test]
fn operators_write_beside_a_running_sidecar() {
    let ground = Ground::new();
    let audit = ground.open();
    write(&audit, 0..2);
    for n in 0..3 {
        let operator = Audit::open(&ground.settings, "one", Writer::Operator).unwrap();
        now(operator.record(Event::admin("root", "account.create", "account:app").account("app").detail(format!("change {n}")))).unwrap();
        now(operator.close());
    }
    write(&audit, 2..4);
    let records = ground.records();
    let admin: Vec<_> = records.iter().filter(|r| r.kind == Kind::Admin).collect();
    assert_eq!(
        admin.iter().map(|r| (r.seq, r.sidecar.as_str())).collect::<Vec<_>>(),
        [(1, "one.operator"), (2, "one.operator"), (3, "one.operator")]
    );
    assert_eq!(admin[0].operator.as_deref(), Some("root"));
    assert_eq!(records.len(), 7);
    assert!(ground.verified().ok, "{:?}", ground.verified());
    assert_eq!(journal::folder::segments(&ground.journal().join("operator")).unwrap().len(), 1, "one file for all of them");
}

#[test]
fn threads_write_at_once_and_the_chain_holds() {
    let ground = Ground::new();
    let audit = ground.open();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let audit = &audit;
            scope.spawn(move || write(audit, thread * 10_000..thread * 10_000 + 1000));
        }
    });
    let verified = ground.verified();
    assert!(verified.ok && verified.records == 4000, "{verified:?}");
}
