//! The audit log through the command line: found, followed, exported, checked, replayed; from the journal and the stream.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use support::{Call, Redis, Sidecar, Upstream, eventually, sidecar::VICAR};

const POLICY: &str = r#"version: 1
service_accounts:
  app:
    shares:
      - {resource: "dataset:*", actions: [list], impersonate: {users: ["*@acme.example"]}}
      - {resource: "board:*", actions: [list], note: nobody uses it}
  other:
    shares:
      - {resource: user, actions: [list]}
"#;

const VENDORS: &str = "/dataset/2/Ac1/Vendors/list";
const USERS: &str = "/user/2/Ac1";

/// Plays `scene` where the log is in the journal, and where it is in the stream.
fn on_both(scene: impl Fn(&Sidecar)) {
    let upstream = Upstream::start();
    let plain = || Sidecar::behind(&upstream).accounts(&["app", "other"]).policy(POLICY);
    scene(&plain().start());
    let redis = Redis::start();
    scene(&plain().redis(&redis.url()).start());
}

/// Two allowed (one for Zoe), one refused, one by another account; gives their ids.
fn traffic(vicar: &Sidecar) -> Vec<String> {
    let (app, other) = (vicar.key("app"), vicar.key("other"));
    let calls = [
        (Call::get(VENDORS).with(app), 200),
        (Call::get(VENDORS).with(app).header("X-Impersonate-User", "zoe@acme.example"), 200),
        (Call::get(USERS).with(app), 403),
        (Call::get(USERS).with(other), 200),
    ];
    let ids: Vec<String> = calls.iter().map(|(call, status)| vicar.send(call).expect_status(*status).request_id()).collect();
    for id in &ids {
        vicar.record(id);
    }
    ids
}

/// The request ids of what `audit query` finds.
fn found(vicar: &Sidecar, words: &[&str]) -> Vec<String> {
    let ran = vicar.vicar(&[&["audit", "query", "--kind", "access", "--output", "json"], words].concat()).succeeded();
    ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["request_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn records_are_found_by_what_they_say() {
    on_both(|vicar| {
        let ids = traffic(vicar);
        let [plain, zoe, refused, other] = [0, 1, 2, 3].map(|at| ids[at].as_str());
        assert_eq!(found(vicar, &[]), ids);
        assert_eq!(found(vicar, &["--newest-first", "--limit", "2"]), [other, refused]);
        assert_eq!(found(vicar, &["--limit", "1"]), [plain]);
        assert_eq!(found(vicar, &["--account", "other"]), [other]);
        assert_eq!(found(vicar, &["--key", &vicar.key("other").id]), [other]);
        assert_eq!(found(vicar, &["--subject", "Zoe@Acme.Example"]), [zoe]);
        assert_eq!(found(vicar, &["--resource", "dataset:*"]), [plain, zoe]);
        assert_eq!(found(vicar, &["--resource", "user", "--action", "list", "--decision", "deny"]), [refused]);
        assert_eq!(found(vicar, &["--outcome", "refused"]), [refused]);
        assert_eq!(found(vicar, &["--request-id", zoe]), [zoe]);
        assert_eq!(found(vicar, &["--since", "1h", "--until", "2199-01-01"]), ids);
        assert_eq!(found(vicar, &["--until", "1h"]), [] as [&str; 0]);
        let told = vicar.vicar(&["audit", "query", "--since", "yesterday"]).exited(2);
        assert!(told.stderr.contains("7d"), "{}", told.stderr);
        let line = vicar.vicar(&["audit", "query", "--request-id", zoe]).succeeded().stdout;
        for part in ["allow", "200", "app", "list dataset:Vendors", "for zoe@acme.example", VENDORS] {
            assert!(line.contains(part), "no {part:?} in {line}");
        }
    });
}

#[test]
fn the_log_verifies_until_somebody_edits_it() {
    on_both(|vicar| {
        traffic(vicar);
        let verified = vicar.vicar(&["audit", "verify", "--output", "json"]).succeeded().json();
        assert_eq!((&verified["ok"], &verified["broken"]), (&json!(true), &json!([])));
        assert!(verified["records"].as_u64().unwrap() >= 4, "{verified}");
        let exported = vicar.vicar(&["audit", "export", "--format", "jsonl"]).succeeded().stdout;
        fs::write(vicar.folder().join("log.jsonl"), &exported).unwrap();
        vicar.vicar(&["audit", "verify", "--from", "log.jsonl"]).succeeded();
        fs::write(vicar.folder().join("log.jsonl"), exported.replacen("\"status\":403", "\"status\":200", 1)).unwrap();
        let broken = vicar.vicar(&["audit", "verify", "--from", "log.jsonl", "--output", "json"]).exited(1).json();
        let named = &broken["broken"][0];
        assert_eq!(broken["ok"], false);
        assert!(named["seq"].is_u64() && named["sidecar"].is_string() && named["problem"].is_string(), "{broken}");
        let told = vicar.vicar(&["audit", "verify", "--from", "log.jsonl"]).exited(1);
        assert!(told.stdout.contains("NOT as it was written"), "{}", told.stdout);
        assert!(vicar.vicar(&["audit", "verify", "--from", "nowhere.jsonl"]).exited(1).stderr.contains("nowhere.jsonl"));
    });
}

#[test]
fn a_log_without_a_record_is_not_said_to_be_as_it_was_written() {
    let mut vicar = Sidecar::behind(&Upstream::start()).prepare();
    // What operators have done is a log before a sidecar ever served.
    let verified = |vicar: &Sidecar, from: &[&str], code: i32| {
        vicar.vicar(&[&["audit", "verify", "--output", "json"], from].concat()).exited(code).json()
    };
    assert_eq!(verified(&vicar, &[], 0)["ok"], true);
    vicar.serve();
    verified(&vicar, &[], 0);
    vicar.stop();
    verified(&vicar, &[], 0);
    fs::create_dir(vicar.folder().join("nothing")).unwrap();
    vicar.write("empty.jsonl", "");
    fs::remove_dir_all(vicar.folder().join("audit")).unwrap();
    fs::create_dir(vicar.folder().join("audit")).unwrap();
    for from in [&[][..], &["--from", "nothing"], &["--from", "empty.jsonl"], &["--from", "journal"]] {
        let found = verified(&vicar, from, 1);
        assert_eq!((&found["ok"], &found["records"]), (&json!(false), &json!(0)), "{from:?}");
        assert!(found["broken"][0]["problem"].as_str().unwrap().contains("no record"), "{found}");
        let told = vicar.vicar(&[&["audit", "verify"], from].concat()).exited(1);
        assert!(told.stderr.contains("there is no record in the") && told.stdout.is_empty(), "{told:?}");
    }
}

#[test]
fn an_export_has_a_line_a_record_and_a_head_for_spreadsheets() {
    on_both(|vicar| {
        let ids = traffic(vicar);
        let lines = vicar.vicar(&["audit", "export", "--kind", "access"]).succeeded().stdout;
        let exported: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(exported.iter().map(|record| record["request_id"].as_str().unwrap()).collect::<Vec<_>>(), ids);
        let table = vicar.vicar(&["audit", "export", "--kind", "access", "--format", "csv"]).succeeded().stdout;
        assert_eq!(table.lines().count(), 1 + ids.len(), "{table}");
        let events = vicar.vicar(&["audit", "export", "--kind", "access", "--format", "ocsf"]).succeeded().stdout;
        assert!(events.lines().all(|line| serde_json::from_str::<Value>(line).unwrap()["class_uid"] == 6003), "{events}");
    });
}

#[test]
fn usage_names_what_nobody_uses() {
    on_both(|vicar| {
        let spare = vicar.new_key("app", &["--name", "spare", "--expires", "3d"]);
        traffic(vicar);
        let usage = vicar.vicar(&["audit", "usage", "--output", "json"]).succeeded().json();
        let app = usage["accounts"].as_array().unwrap().iter().find(|account| account["account"] == "app").unwrap();
        let share = |name: &str| app["shares"].as_array().unwrap().iter().find(|share| share["share"] == name).unwrap()["used"].clone();
        assert_eq!((share("app/shares/1"), share("app/shares/2")), (json!(2), json!(0)));
        let key = app["keys"].as_array().unwrap().iter().find(|key| key["key"] == spare.id.as_str()).unwrap();
        assert_eq!((&key["used"], &key["expiring"]), (&json!(0), &json!(true)));
        assert_eq!(app["subjects"][0]["subject"], "zoe@acme.example");
        let told = vicar.vicar(&["audit", "usage", "--account", "app"]).succeeded().stdout;
        assert!(told.contains("nobody uses it") && told.contains("never") && !told.contains("other"), "{told}");
    });
}

#[test]
fn a_simulation_shows_which_past_requests_an_edit_would_change() {
    on_both(|vicar| {
        traffic(vicar);
        let same = vicar.vicar(&["simulate", "--policy", "policy.yaml", "--output", "json"]).succeeded().json();
        assert_eq!((&same["replayed"], &same["unchanged"]), (&json!(4), &json!(4)));
        assert_eq!((&same["now_denied"], &same["now_allowed"]), (&json!([]), &json!([])));
        let edit = POLICY.replace("dataset:*", "user").replace("impersonate: {users: [\"*@acme.example\"]}", "note: x");
        vicar.write("new.yaml", &edit);
        let changed = vicar.vicar(&["simulate", "--policy", "new.yaml", "--output", "json"]).succeeded().json();
        assert_eq!(changed["unchanged"], 1);
        let denied = changed["now_denied"].as_array().unwrap();
        assert_eq!(denied.iter().map(|change| change["count"].as_u64().unwrap()).sum::<u64>(), 2);
        assert_eq!((&denied[0]["account"], &denied[0]["resource"]), (&json!("app"), &json!("dataset:Vendors")));
        assert_eq!(changed["now_allowed"][0]["resource"], "user");
        for (on, code) in [("denied", 1), ("allowed", 1), ("any", 1)] {
            vicar.vicar(&["simulate", "--policy", "new.yaml", "--fail-on", on]).exited(code);
        }
        vicar.vicar(&["simulate", "--policy", "policy.yaml", "--fail-on", "any"]).succeeded();
        let told = vicar.vicar(&["simulate", "--policy", "new.yaml"]).succeeded().stdout;
        assert!(told.contains("2 requests would be refused") && told.contains(VENDORS), "{told}");
        let other = vicar.vicar(&["simulate", "--policy", "new.yaml", "--account", "other", "--output", "json"]).succeeded().json();
        assert_eq!((&other["replayed"], &other["unchanged"]), (&json!(1), &json!(1)));
    });
}

#[test]
fn a_suggested_policy_holds_and_changes_nothing() {
    on_both(|vicar| {
        traffic(vicar);
        let suggested = vicar.vicar(&["suggest", "--since", "1d"]).succeeded().stdout;
        assert!(suggested.contains("dataset:Vendors") && suggested.contains("zoe@acme.example"), "{suggested}");
        vicar.write("suggested.yaml", &suggested);
        vicar.vicar(&["check", "--policy", "suggested.yaml"]).succeeded();
        let replayed = vicar.vicar(&["simulate", "--policy", "suggested.yaml", "--output", "json"]).succeeded().json();
        assert_eq!(replayed["unchanged"], replayed["replayed"]);
        let folded = vicar.vicar(&["suggest", "--fold", "dataset", "--account", "app"]).succeeded().stdout;
        assert!(folded.contains("dataset:*") && !folded.contains("other"), "{folded}");
        vicar.vicar(&["suggest", "--fold", "datset"]).exited(2);
    });
}

struct Tail(Child);

impl Tail {
    fn of(vicar: &Sidecar, words: &[&str]) -> Self {
        let mut command = Command::new(VICAR);
        command.current_dir(vicar.folder()).args(["-c", "vicar.yaml", "audit", "tail"]).args(words);
        Self(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap())
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn tail_shows_each_record_as_it_comes_and_ends_when_it_is_told_to() {
    on_both(|vicar| {
        traffic(vicar);
        let mut tail = Tail::of(vicar, &["--account", "app", "--denied", "-n", "5"]);
        let mut lines = BufReader::new(tail.0.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.next().unwrap().contains("not-shared"));
        vicar.send(&Call::get(VENDORS).with(vicar.key("app"))).expect_status(200);
        vicar.send(&Call::get("/board/nowhere").with(vicar.key("app"))).expect_status(403);
        assert!(lines.next().unwrap().contains("endpoint-unknown"), "only what was refused");
        let pid = rustix::process::Pid::from_raw(i32::try_from(tail.0.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        assert_eq!(eventually("tail ends", || tail.0.try_wait().unwrap()).code(), Some(0));
        assert_eq!(lines.next(), None);
    });
}

#[test]
fn tail_ends_when_nobody_reads_it_any_more() {
    on_both(|vicar| {
        traffic(vicar);
        let mut tail = Tail::of(vicar, &["--output", "json", "-n", "1"]);
        let mut out = BufReader::new(tail.0.stdout.take().unwrap());
        let mut first = String::new();
        out.read_line(&mut first).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&first).unwrap()["account"], "other");
        drop(out);
        assert_eq!(eventually("tail ends", || tail.0.try_wait().unwrap()).code(), Some(0));
    });
}

#[test]
fn a_reader_who_has_seen_enough_is_no_failure() {
    on_both(|vicar| {
        for _ in 0..3 {
            traffic(vicar);
        }
        for words in [["audit", "query", "--output", "json"].as_slice(), &["audit", "export"], &["account", "list"]] {
            let mut command = Command::new(VICAR);
            command.current_dir(vicar.folder()).args(["-c", "vicar.yaml"]).args(words).stdin(Stdio::null());
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            drop(child.stdout.take());
            let ended = child.wait_with_output().unwrap();
            assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
        }
    });
}

#[test]
fn what_was_taken_from_the_stream_is_missed_and_what_age_has_taken_is_not() {
    let upstream = Upstream::start();
    let redis = Redis::start();
    let sidecar = Sidecar::behind(&upstream).redis(&redis.url()).start();
    let verified = |from: &[&str], code: i32| {
        let words = [&["audit", "verify", "--output", "json"], from].concat();
        sidecar.vicar(&words).exited(code).json()["broken"].to_string()
    };
    let shipped = |many: u64| {
        let call = Call::get("/user/2/Ac1").with(sidecar.app());
        (0..many).for_each(|_| assert_eq!(sidecar.send(&call).status, 200));
        eventually("all is shipped", || {
            let ready = Call::get("/readyz").send(sidecar.admin()).json();
            (ready["audit"]["shipping"]["backlog_records"] == 0).then_some(())
        });
    };
    shipped(10);
    verified(&[], 0);
    // As if it had been older than the stream keeps: only the journal shows that it was not.
    redis.command(&["XTRIM", "vicar:audit", "MAXLEN", "4"]);
    verified(&["--from", "stream"], 0);
    let broken = verified(&[], 1);
    assert!(broken.contains("its beginning was removed"), "{broken}");
    // One by one: the server remembers.
    shipped(2);
    let entries = redis.command(&["XRANGE", "vicar:audit", "-", "+", "COUNT", "1"]);
    let first = entries.lines().find(|line| line.contains('-')).unwrap().trim().to_owned();
    redis.command(&["XDEL", "vicar:audit", &first]);
    let broken = verified(&["--from", "stream"], 1);
    assert!(broken.contains("entries were deleted"), "{broken}");
    // All of it.
    redis.command(&["DEL", "vicar:audit"]);
    let broken = verified(&["--from", "stream"], 1);
    assert!(broken.contains("there is no stream: it was deleted"), "{broken}");
    assert!(verified(&[], 1).contains("its beginning was removed"));
}

#[test]
fn a_careless_redis_for_the_stream_is_warned_of_and_one_that_is_away_leaves_the_journal() {
    let redis = Redis::with(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let vicar = Sidecar::behind(&Upstream::start())
        .set("audit", &format!("{{journal: {{path: audit}}, stream: {{redis: \"{}\"}}}}", redis.url()))
        .start();
    let said = eventually("warnings in the log", || Some(vicar.log()).filter(|log| log.contains("appendonly")));
    assert!(said.contains("maxmemory-policy allkeys-lru"), "{said}");
    let checked = vicar.vicar(&["check", "--output", "json"]).succeeded().json()["warnings"].to_string();
    assert!(checked.contains("maxmemory-policy allkeys-lru") && checked.contains("appendonly"), "{checked}");
    drop(redis);
    let away = vicar.vicar(&["audit", "query"]).exited(1).stderr;
    assert!(away.contains("--from journal"), "{away}");
    assert!(vicar.vicar(&["audit", "query", "--from", "journal"]).succeeded().stdout.contains("start"));
}
