//! Who may sign in, and how: DESIGN §4.1, on raw bytes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use support::{Answer, Call, Key, Sidecar, Upstream, client::exchange, eventually};

const PATH: &str = "/user/2/Ac1";

/// Many refusals come from one address here, on purpose.
fn behind(upstream: &Upstream) -> Sidecar {
    plain(upstream).start()
}

fn plain(upstream: &Upstream) -> support::sidecar::Builder {
    Sidecar::behind(upstream).set("limits", "{failed_sign_ins_per_minute: 100000}")
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn get(key: &Key) -> Call {
    Call::get(PATH).with(key)
}

fn pair(id: &str, secret: &str) -> Call {
    Call::get(PATH).header("X-Access-Key-Id", id).header("X-Access-Key-Secret", secret)
}

// ===== what is taken =====

#[test]
fn a_key_pair_is_taken_in_two_headers_or_as_basic() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let key = sidecar.app();
    for call in [
        get(key),
        Call::get(PATH).header("x-access-key-id", &key.id).header("X-ACCESS-KEY-SECRET", &key.secret),
        Call::get(PATH).header("Authorization", &basic(&key.id, &key.secret)),
        Call::get(PATH).header("authorization", &basic(&key.id, &key.secret).replace("Basic", "bAsIc")),
        get(key).header("Authorization", "Bearer of another system"),
    ] {
        let answer = sidecar.send(&call);
        answer.expect_status(200);
        assert_eq!(sidecar.record(&answer.request_id())["key"], key.id.as_str());
    }
    // None of it reaches the service, in whatever form it came.
    for seen in upstream.seen() {
        let head = String::from_utf8_lossy(&seen.head).into_owned();
        assert!(!head.contains("vsk_") && !head.contains(&key.id) && !head.to_ascii_lowercase().contains("authorization"), "{head}");
    }
}

#[test]
fn names_of_the_credential_headers_are_a_setting_and_basic_can_be_off() {
    let upstream = Upstream::start();
    let sidecar = plain(&upstream).set("credentials", "{id_header: X-Key, secret_header: X-Pass, basic: false}").start();
    let key = sidecar.app();
    let call = Call::get(PATH).header("X-Key", &key.id).header("X-Pass", &key.secret);
    sidecar.send(&call).expect_status(200);
    assert!(!upstream.last().has_folded("x-key") && !upstream.last().has_folded("x-pass"));
    sidecar.send(&get(key)).expect(401, "credentials-missing");
    sidecar.send(&Call::get(PATH).header("Authorization", &basic(&key.id, &key.secret))).expect(401, "credentials-missing");
    let answer = sidecar.send(&Call::get(PATH));
    assert!(answer.text().to_ascii_lowercase().contains("x-key"), "the answer names the headers: {}", answer.text());
}

// ===== what is not =====

#[test]
fn credentials_that_do_not_hold_are_refused_and_recorded_with_the_true_reason() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let key = sidecar.app();
    let second = sidecar.new_key("app", &["--name", "second"]);
    let (id, secret) = (key.id.as_str(), key.secret.as_str());
    let mut mistyped = secret.to_owned();
    mistyped.replace_range(10..11, if secret.as_bytes()[10] == b'a' { "b" } else { "a" });
    let long = "a".repeat(64 << 10);
    let missing = [
        Call::get(PATH),
        Call::get(PATH).header("Authorization", "Bearer x"),
        Call::get(&format!("{PATH}?id={id}")),
        Call::get(PATH).header("X_Access_Key_Id", id).header("X_Access_Key_Secret", secret),
        Call::get(PATH).header("X.Access.Key.Id", id).header("X-Access-Key.Secret", secret),
        Call::get(PATH).header("Proxy-Authorization", &basic(id, secret)),
        Call::get(PATH).header("Cookie", &format!("X-Access-Key-Id={id}; X-Access-Key-Secret={secret}")),
    ];
    let invalid = [
        Call::get(PATH).header("X-Access-Key-Id", id),
        Call::get(PATH).header("X-Access-Key-Secret", secret),
        Call::get(PATH).header("X-Access-Key-Id", id).header("X_Access_Key_Secret", secret),
        get(key).header("X-Access-Key-Id", id),
        get(key).header("x-access-key-secret", secret),
        get(key).with(key),
        get(key).with(&second),
        get(key).header("Authorization", &basic(id, secret)),
        get(key).header("Authorization", &basic(&second.id, &second.secret)),
        Call::get(PATH).header("Authorization", &basic(id, secret)).header("Authorization", &basic(id, secret)),
        Call::get(PATH).header("X-Access-Key-Id", id).header("Authorization", &basic(id, secret)),
        Call::get(PATH).header("Authorization", "Basic"),
        Call::get(PATH).header("Authorization", "Basic !"),
        Call::get(PATH).header("Authorization", &format!("Basic {}", STANDARD.encode(id))),
        Call::get(PATH).header("Authorization", &format!("Basic {}", STANDARD.encode([0xff, b':', 0xfe]))),
        Call::get(PATH).header("Authorization", &basic("", "")),
        Call::get(PATH).header("Authorization", &basic(id, &format!("{secret}:"))),
        pair(id, &second.secret),
        pair(&second.id, secret),
        pair(id, &mistyped),
        pair(id, ""),
        pair("", secret),
        pair(id, &secret.to_ascii_uppercase()),
        pair(&id.to_ascii_lowercase(), secret),
        pair(id, &format!("{secret}x")),
        pair(id, &format!("{secret}, {secret}")),
        pair(id, &secret[..secret.len() - 1]),
        pair(id, &format!("{secret}\u{a0}")),
        pair("VKAAAAAAAAAAAAAAAAAAAA", secret),
        pair("admin", "admin"),
        pair("' OR 1=1 --", "*"),
        pair("*", secret),
        pair(&format!("vicar:{id}"), secret),
        pair(id, &long),
        Call::get(PATH).header("Authorization", &basic(id, &long[..40 << 10])),
    ];
    for (calls, code) in [(&missing[..], "credentials-missing"), (&invalid[..], "credentials-invalid")] {
        for call in calls {
            let answer = sidecar.send(call);
            answer.expect(401, code);
            assert!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Basic ")));
            let record = sidecar.record(&answer.request_id());
            assert_eq!((&record["outcome"], &record["decision"], &record["status"]), (&json!("refused"), &json!("deny"), &json!(401)));
        }
    }
    upstream.saw_nothing();
}

#[test]
fn credentials_in_the_query_are_never_taken() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let key = sidecar.app();
    for query in [
        format!("X-Access-Key-Id={}&X-Access-Key-Secret={}", key.id, key.secret),
        format!("key={}&token={}", key.id, key.secret),
        format!("access_token={}", key.secret),
    ] {
        sidecar.send(&Call::get(&format!("{PATH}?{query}"))).expect(401, "credentials-missing");
    }
    // Not even beside good ones, where the service might take them for its own.
    sidecar.send(&Call::get(&format!("{PATH}?access_token=x")).with(key)).expect(400, "query-not-allowed");
    upstream.saw_nothing();
}

#[test]
fn no_answer_tells_apart_why_a_key_was_refused_but_the_record_does() {
    let upstream = Upstream::start();
    let sidecar = plain(&upstream).accounts(&["app", "asleep"]).start();
    let app = sidecar.app();
    let disabled = sidecar.new_key("app", &["--name", "disabled"]);
    sidecar.vicar(&["key", "disable", &disabled.id, "--yes"]).succeeded();
    let elsewhere = sidecar.new_key("app", &["--name", "elsewhere", "--from", "203.0.113.0/24"]);
    let expired = sidecar.new_key("app", &["--name", "expired", "--expires", "1s"]);
    let deleted = sidecar.new_key("app", &["--name", "deleted"]);
    sidecar.vicar(&["key", "delete", &deleted.id, "--yes"]).succeeded();
    sidecar.vicar(&["account", "disable", "asleep", "--yes"]).succeeded();
    let asleep = sidecar.key("asleep");
    eventually("the key expires", || (sidecar.send(&get(&expired)).status == 401).then_some(()));
    eventually("the changes are known", || {
        [&disabled, &deleted, asleep].iter().all(|key| sidecar.send(&get(key)).status == 401).then_some(())
    });

    upstream.forget();
    let unknown = Key { id: "VKAAAAAAAAAAAAAAAAAAAA".into(), ..app.clone() };
    let wrong = Key { secret: elsewhere.secret.clone(), ..app.clone() };
    let malformed = Key { secret: "vsk_short".into(), ..app.clone() };
    let refused = [&unknown, &wrong, &malformed, &disabled, &deleted, &expired, asleep, &elsewhere];
    let answers: Vec<Answer> = refused.iter().map(|key| sidecar.send(&get(key))).collect();
    let looks: BTreeSet<String> = answers.iter().map(without_id).collect();
    assert_eq!(looks.len(), 1, "{looks:#?}");

    let reasons: Vec<String> =
        answers.iter().map(|answer| sidecar.record(&answer.request_id())["reason"].as_str().unwrap().to_owned()).collect();
    let distinct: BTreeSet<&String> = reasons.iter().collect();
    // Deleted is unknown; every other cause has a word of its own.
    assert_eq!(distinct.len(), refused.len() - 1, "{reasons:?}");
    upstream.saw_nothing();
}

/// An answer with everything taken out that may differ between two of them.
fn without_id(answer: &Answer) -> String {
    let head: Vec<String> = String::from_utf8_lossy(&answer.head)
        .lines()
        .filter(|line| !line.to_ascii_lowercase().starts_with("x-request-id:") && !line.to_ascii_lowercase().starts_with("date:"))
        .map(str::to_owned)
        .collect();
    format!("{}\n{}", head.join("\n"), answer.text().replace(&answer.request_id(), "ID"))
}

#[test]
fn a_refused_key_looks_the_same_on_a_page_that_does_not_exist() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let wrong = Key { id: "VKAAAAAAAAAAAAAAAAAAAA".into(), ..sidecar.app().clone() };
    let looks: BTreeSet<String> = [PATH, "/nowhere", "/.vicar/whoami", "/process/2/Ac1/admin"]
        .iter()
        .map(|path| without_id(&sidecar.send(&Call::get(path).with(&wrong))))
        .collect();
    assert_eq!(looks.len(), 1, "{looks:#?}");
}

#[test]
fn a_key_with_sources_is_taken_from_them_and_from_nowhere_else() {
    let upstream = Upstream::start();
    let sidecar = plain(&upstream).set("trusted_proxies", "[127.0.0.1/32]").start();
    let key = sidecar.new_key("app", &["--name", "office", "--from", "203.0.113.0/24"]);
    let from = |address: &str| sidecar.send(&get(&key).header("X-Forwarded-For", address)).status;
    assert_eq!((from("203.0.113.7"), from("198.51.100.7"), from("6.6.6.6, 203.0.113.7")), (200, 401, 200));
    assert_eq!((from("203.0.113.7, 198.51.100.7"), from("203.0.113.7, nonsense"), from("::ffff:203.0.113.7")), (401, 401, 200));
}

#[test]
fn a_claimed_client_address_counts_only_from_a_trusted_proxy() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let key = sidecar.new_key("app", &["--name", "office", "--from", "203.0.113.0/24"]);
    for name in ["X-Forwarded-For", "Forwarded", "X-Real-IP", "True-Client-IP", "X-Client-IP", "X_Forwarded_For"] {
        let value = if name == "Forwarded" { "for=203.0.113.7" } else { "203.0.113.7" };
        sidecar.send(&get(&key).header(name, value)).expect(401, "credentials-invalid");
    }
    upstream.saw_nothing();
}

// ===== hygiene =====

#[test]
fn no_spelling_of_an_identity_header_passes() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    for name in [
        "X-Forwarded-User",
        "x-forwarded-user",
        "X_Forwarded_User",
        "x_forwarded-user",
        "X-Forwarded_User",
        "X.Forwarded.User",
        "X-Forwarded!User",
        "X-FORWARDED-ACCOUNT",
        "x_forwarded_account",
        "X_Access_Key_Id",
        "x-access-key_secret",
        "X_Impersonate_User",
        "X-Forwarded-Email",
        "X-Forwarded-Groups",
        "X-Forwarded-Preferred-Username",
        "X-Auth-Request-User",
        "X_Auth_Request_User",
        "Impersonate-User",
        "Impersonate-Group",
        "X-Remote-User",
        "Remote_User",
        "X-WebAuth-User",
        "X-User",
        "X-SSL-Client-CN",
        "X-Api-Key",
        "Proxy",
    ] {
        upstream.forget();
        let forged = get(sidecar.app()).header(name, "forged-ceo").header(name, "forged-cfo");
        let answer = sidecar.send(&forged);
        answer.expect_status(200);
        let head = String::from_utf8_lossy(&upstream.only().head).into_owned();
        assert!(!head.contains("forged"), "{name} passes: {head}");
        assert_eq!(upstream.only().header("x-forwarded-account"), Some("app"));
    }
}

#[test]
fn a_connection_header_cannot_take_away_what_vicar_says() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    for options in [
        "X-Forwarded-User",
        "close, X-Forwarded-User, X-Forwarded-Account, X-Request-Id, X-Forwarded-For, Host",
        "x-forwarded-account\r\nConnection: X-Forwarded-User, Forwarded",
        "X_Forwarded_User, Content-Type, Content-Length, Transfer-Encoding",
        "Connection, Keep-Alive, TE",
    ] {
        upstream.forget();
        let call = Call::post("/process/2/Ac1/Order").with(sidecar.app()).on_behalf_of("zoe@acme.example").json(&json!({"a": 1}));
        let answer = sidecar.send(&call.header("Connection", options));
        answer.expect_status(200);
        let seen = upstream.only();
        assert_eq!(
            (seen.header("x-forwarded-user"), seen.header("x-forwarded-account")),
            (Some("zoe@acme.example"), Some("app")),
            "{options}"
        );
        assert_eq!((seen.text().as_str(), seen.header("content-type")), (r#"{"a":1}"#, Some("application/json")));
        assert_eq!(seen.header("x-request-id"), Some(answer.request_id().as_str()));
        assert!(seen.headers("connection").iter().all(|value| !value.to_ascii_lowercase().contains("forwarded")));
    }
}

#[test]
fn a_look_alike_of_a_framing_header_does_not_reach_the_service() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let call = Call::post("/process/2/Ac1/Order")
        .with(sidecar.app())
        .json(&json!({"a": 1}))
        .header("Transfer_Encoding", "chunked")
        .header("Content_Length", "0")
        .header("Content_Type", "text/html")
        .header("content.type", "text/html");
    sidecar.send(&call).expect_status(200);
    let seen = upstream.only();
    for name in ["transfer-encoding", "content-length", "content-type"] {
        let look_alikes =
            seen.headers.iter().filter(|(n, _)| !n.eq_ignore_ascii_case(name) && n.replace(['_', '.'], "-").eq_ignore_ascii_case(name));
        assert_eq!(look_alikes.count(), 0, "{name}: {:?}", seen.headers);
    }
    assert_eq!(seen.text(), r#"{"a":1}"#);
}

#[test]
fn no_secret_stands_in_any_output() {
    let upstream = Upstream::start();
    let sidecar =
        plain(&upstream).set("log", "{format: json, level: \"vicar=trace,hyper=trace\"}").set("self_service", "[whoami, rotate]").start();
    let key = sidecar.app();
    let pasted = sidecar.new_key("app", &["--name", "pasted"]);
    sidecar.send(&get(key)).expect_status(200);
    sidecar.send(&Call::get(PATH).header("Authorization", &basic(&key.id, &key.secret))).expect_status(200);
    sidecar.send(&pair("VKAAAAAAAAAAAAAAAAAAAA", &key.secret)).expect(401, "credentials-invalid");
    sidecar.send(&get(key).header("X-Access-Key-Secret", &key.secret)).expect(401, "credentials-invalid");
    let rotated = sidecar.send(&Call::post("/.vicar/rotate").with(&pasted)).json()["secret"].as_str().unwrap().to_owned();
    // Where people paste one by mistake.
    let s = &pasted.secret;
    sidecar.send(&get(key).header("User-Agent", &format!("curl -H X-Access-Key-Secret:{s}")));
    sidecar.send(&Call::get(&format!("{PATH}?{s}=1")).with(key));
    sidecar.send(&Call::get(&format!("{PATH}?token={s}")).with(key));
    sidecar.send(&Call::get(&format!("/dataset/2/Ac1/{s}/list")).with(key));
    sidecar.send(&get(key).on_behalf_of(s));
    exchange(sidecar.address(), format!("GET {PATH} HTTP/1.1\r\nHost: {s}\r\n\r\n"));
    exchange(sidecar.address(), format!("GET {PATH} HTTP/1.1\r\nHost: h\r\n{s} : {s}\r\n\r\n"));

    let records = sidecar.vicar(&["audit", "query", "--output", "json"]).succeeded().stdout;
    let metrics = Call::get("/metrics").send(sidecar.admin()).text();
    let mut journal = String::new();
    for entry in std::fs::read_dir(sidecar.folder().join("audit")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            journal.push_str(&String::from_utf8_lossy(&std::fs::read(path).unwrap()));
        }
    }
    let keys = std::fs::read_to_string(sidecar.folder().join("keys.yaml")).unwrap();
    let outputs = [("records", records), ("metrics", metrics), ("log", sidecar.log()), ("journal", journal), ("keys file", keys)];
    for (output, text) in &outputs {
        assert!(!text.is_empty(), "{output}");
        for (what, secret) in [("a secret", &key.secret), ("a rotated secret", &rotated), ("a Basic pair", &basic(&key.id, &key.secret))] {
            assert!(!text.contains(secret.as_str()), "{what} stands in the {output}");
        }
        assert!(!text.contains(s), "a pasted secret stands in the {output}: {}", around(text, s));
    }
}

fn around(text: &str, needle: &str) -> String {
    let at = text.find(needle).unwrap_or(0);
    text.get(at.saturating_sub(200)..at).unwrap_or_default().to_owned()
}

// ===== in force =====

#[test]
fn a_key_that_is_disabled_deleted_or_rotated_stops_on_an_open_connection_too() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let change = |words: &[&str]| {
        let key = sidecar.new_key("app", &["--name", "k"]);
        let mut connection = support::Connection::open(sidecar.address());
        eventually("the key works", || (get(&key).send_on(&mut connection).status == 200).then_some(()));
        let words: Vec<&str> = words.iter().map(|word| if *word == "KEY" { key.id.as_str() } else { word }).collect();
        sidecar.vicar(&words).succeeded();
        eventually("the key stops", || (get(&key).send_on(&mut connection).status == 401).then_some(()));
    };
    change(&["key", "disable", "KEY", "--yes"]);
    change(&["key", "delete", "KEY", "--yes"]);
    change(&["key", "rotate", "KEY", "--overlap", "0s"]);
    change(&["account", "disable", "app", "--yes"]);
}

#[test]
fn where_basic_is_off_nobody_is_told_to_use_it_and_a_pair_in_it_goes_no_further() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).set("credentials", "{basic: false}").set("guard", "{pass: [authorization]}").start();
    let missing = sidecar.send(&Call::get(PATH));
    missing.expect(401, "credentials-missing");
    let asks = missing.header("www-authenticate").unwrap();
    assert!(!asks.contains("Basic") && !missing.text().contains("Basic"), "{asks} {}", missing.text());
    let key = sidecar.app();
    for (pair, passes) in [(basic(&key.id, &key.secret), false), (basic("zoe", "her own"), true)] {
        upstream.forget();
        sidecar.send(&Call::get(PATH).with(key).header("Authorization", &pair)).expect_status(200);
        assert_eq!(upstream.only().header("authorization").is_some(), passes, "{pair}");
    }
}
