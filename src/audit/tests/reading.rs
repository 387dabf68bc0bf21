//! What readers make of it.

use super::*;

#[test]
fn filters_take_what_has_all_of_them() {
    let ground = Ground::new();
    let audit = ground.open();
    write(&audit, 0..5);
    audit.refuse(Opening { account: Some("other"), decision: Decision::Deny, ..opening(5) }, 403).unwrap();
    audit.record_event(Event::system("start"));
    let count = |filter: Filter| {
        let mut n = 0;
        now(read(&ground.source(), &filter, Page::default(), &mut |_| {
            n += 1;
            ControlFlow::Continue(())
        }))
        .unwrap();
        n
    };
    assert_eq!(count(Filter::default()), 7);
    assert_eq!(count(Filter { account: Some("app".into()), ..Filter::default() }), 5);
    assert_eq!(count(Filter { accounts: vec!["other".into()], ..Filter::default() }), 1);
    assert_eq!(count(Filter { decision: Some(Decision::Deny), ..Filter::default() }), 1);
    assert_eq!(count(Filter { resource: Some("dataset:*".into()), ..Filter::default() }), 6);
    assert_eq!(count(Filter { request_id: Some(id(3)), ..Filter::default() }), 1);
    assert_eq!(count(Filter { kind: Some(Kind::System), ..Filter::default() }), 1);
    let at = |n: i64| Some(Timestamp::from_millisecond(1_764_000_000_000 + n).unwrap());
    assert_eq!(count(Filter { since: at(2), until: at(4), ..Filter::default() }), 2);
}

#[test]
fn following_shows_the_last_ones_and_then_each_new_one_once() {
    let ground = Ground::new();
    let audit = ground.open();
    write(&audit, 0..30);
    let source = ground.source();
    let seen = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let follower = scope.spawn(|| {
            let mut each = |line: Line<'_>| {
                let mut seen = seen.lock().unwrap();
                seen.push(line.record.seq);
                if line.record.seq == 3000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            now(follow(&source, &Filter::default(), 5, &mut each)).unwrap();
        });
        while seen.lock().unwrap().is_empty() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        write(&audit, 30..3000);
        follower.join().unwrap();
    });
    let seen = seen.into_inner().unwrap();
    assert!(seen.iter().copied().eq(seen[0]..=3000) && seen[0] >= 26, "{:?}", &seen[..10]);
}

#[test]
fn exports_hold_every_record_in_each_format() {
    let ground = Ground::new();
    let audit = ground.open();
    write(&audit, 0..3);
    audit.refuse(Opening { user_agent: Some(b"=cmd|' /C calc'!A0"), decision: Decision::Deny, subject: None, ..opening(3) }, 403).unwrap();
    audit.record_event(Event::system("start"));
    audit.record_event(Event::admin("root", "account.create", "account:app").account("app"));
    let export_as = |format| {
        let mut out = Vec::new();
        assert_eq!(now(export(&ground.source(), &Filter::default(), format, &mut out, &mut |_| {})).unwrap(), 6);
        String::from_utf8(out).unwrap()
    };
    let jsonl = export_as(Format::Jsonl);
    let file = ground._folder.path().join("log.jsonl");
    fs::write(&file, &jsonl).unwrap();
    assert!(now(verify(&LogSource::File(file), None, &mut |_| {})).unwrap().ok, "an export verifies");
    let csv = export_as(Format::Csv);
    assert_eq!(csv.lines().count(), 7);
    assert!(csv.contains("\"'=cmd") && !csv.contains(",=cmd"));
    let events: Vec<serde_json::Value> = export_as(Format::Ocsf).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for event in &events {
        assert_eq!((&event["class_uid"], &event["category_uid"]), (&6003.into(), &6.into()));
        assert_eq!(event["type_uid"].as_u64().unwrap(), 600_300 + event["activity_id"].as_u64().unwrap());
        for required in ["time", "severity_id", "metadata", "actor", "api", "src_endpoint"] {
            assert!(!event[required].is_null(), "{required} in {event}");
        }
        assert!(event["api"]["operation"].is_string() && event["metadata"]["product"]["vendor_name"].is_string());
    }
    assert_eq!(events[0]["actor"]["user"]["email_addr"], "zoe@acme.example");
    assert_eq!(events[0]["actor"]["app_uid"], "app");
    assert_eq!((&events[3]["status_id"], &events[3]["actor"]["user"]["type"]), (&2.into(), &"Service".into()));
    assert_eq!(events[5]["activity_id"], 1);
}

#[test]
fn an_ocsf_event_has_no_word_that_its_version_does_not_know() {
    // The attributes of https://schema.ocsf.io/1.3.0/classes/api_activity, of its objects as far as they are used.
    let known = [
        (
            "",
            "activity_id activity_name actor api category_name category_uid class_name class_uid count dst_endpoint duration end_time enrichments \
             http_request message metadata observables raw_data resources severity severity_id src_endpoint start_time status status_code status_detail \
             status_id time timezone_offset type_name type_uid unmapped",
        ),
        ("/metadata", "version product uid correlation_uid log_name log_provider sequence original_time"),
        ("/actor", "app_uid app_name user process session authorizations idp invoked_by"),
        ("/actor/user", "name type domain uid org groups type_id full_name account credential_uid email_addr"),
        ("/api", "operation request response service version group"),
        ("/api/response", "code error error_message message flags data"),
        ("/http_request", "args http_headers http_method length referrer uid url user_agent version x_forwarded_for"),
    ];
    let ground = Ground::new();
    let audit = ground.open();
    write(&audit, 0..2);
    for method in ["PATCH", "GET"] {
        audit.refuse(Opening { method, subject: None, decision: Decision::Deny, ..opening(3) }, 403).unwrap();
    }
    audit.record_event(Event::system("start"));
    audit.record_event(Event::admin("root", "key.create", "key:x").account("app").detail("named x"));
    let mut out = Vec::new();
    now(export(&ground.source(), &Filter::default(), Format::Ocsf, &mut out, &mut |_| {})).unwrap();
    let events: Vec<serde_json::Value> = out.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert_eq!(events.len(), 6);
    for event in &events {
        for (place, words) in known {
            let Some(object) = event.pointer(place) else { continue };
            for name in object.as_object().unwrap().keys() {
                assert!(words.split_whitespace().any(|word| word == name), "{place}/{name} in {event}");
            }
        }
        assert!(event["actor"]["user"]["type_id"].as_u64().is_none_or(|kind| [0, 1, 2, 3, 99].contains(&kind)), "{event}");
    }
    assert_eq!((&events[2]["http_request"]["http_method"], &events[2]["unmapped"]["method"]), (&serde_json::Value::Null, &"PATCH".into()));
    assert_eq!(events[3]["http_request"]["http_method"], "GET");
}

#[test]
fn usage_tells_what_nobody_uses() {
    let ground = Ground::new();
    let audit = ground.open();
    write(&audit, 0..4);
    audit.refuse(Opening { decision: Decision::Deny, ..opening(5) }, 403).unwrap();
    audit.refuse(Opening { standing: Standing::Claimed, account: Some("idle"), ..opening(6) }, 401).unwrap();
    let soon = Timestamp::from_millisecond(1_764_000_000_000).unwrap();
    let key =
        |account: &str, id: &str, expires| KnownKey { account: account.into(), id: id.into(), name: "k".into(), expires, last_used: None };
    let share = |name: &str| KnownShare { account: "app".into(), name: name.into(), title: "t".into() };
    let question = UsageQuestion {
        filter: Filter::default(),
        accounts: vec!["app".into(), "idle".into()],
        shares: vec![share("app/1"), share("app/2")],
        keys: vec![key("app", "VKAAAAAAAAAAAAAAAAAAAA", None), key("app", "VKB", Some(soon))],
        expiring_before: soon.checked_add(jiff::SignedDuration::from_hours(1)).unwrap(),
    };
    let told = now(usage(&ground.source(), &question, &mut |_| {})).unwrap();
    let app = &told.accounts[0];
    assert_eq!((app.allowed, app.denied), (4, 1));
    assert_eq!(app.shares.iter().map(|s| (s.share.as_str(), s.used)).collect::<Vec<_>>(), [("app/1", 4), ("app/2", 0)]);
    assert_eq!(app.keys.iter().map(|k| (k.used, k.expiring)).collect::<Vec<_>>(), [(5, false), (0, true)]);
    assert_eq!(app.subjects[0].used, 4);
    let idle = &told.accounts[1];
    assert_eq!((idle.allowed, idle.denied, idle.last_seen), (0, 0, None), "a wrong secret is no use of the account");
}

#[test]
fn a_file_that_is_no_log_is_not_taken_for_an_empty_one() {
    let folder = folder();
    let path = folder.path().join("notes.txt");
    let ask = |text: &str| {
        fs::write(&path, text).unwrap();
        now(read(&LogSource::File(path.clone()), &Filter::default(), Page::default(), &mut |_| ControlFlow::Continue(())))
    };
    assert!(matches!(ask("milk\neggs\n"), Err(AuditError::NoLog { .. })));
    assert!(ask("").is_ok(), "an export of nothing");
    let ground = Ground::new();
    write(&ground.open(), 0..1);
    let mut export = String::from("a line that somebody put there\n");
    now(read(&ground.source(), &Filter::default(), Page::default(), &mut |line| {
        export.push_str(line.raw);
        export.push('\n');
        ControlFlow::Continue(())
    }))
    .unwrap();
    assert!(ask(&export).is_ok());
}
