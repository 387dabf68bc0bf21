//! What a caller and the service see of the request's way: answers, ids, headers, subjects, limits.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "proxy/fleet.rs"]
mod fleet;
mod support;

use serde_json::{Value, json};
use support::{Answer, Call, Connection, Key, Redis, Reply, Sidecar, Upstream, eventually};

const CATALOG: &str = r#"version: 1
kinds: {process: {title: Processes}, dataset: {title: Datasets}, user: {title: Users}}
endpoints:
  - {request: "GET /process/{id}/item", resource: "process:{id}", action: read}
  - {request: "POST /process/{id}", resource: "process:{id}", action: create}
  - {request: "PUT /process/{id}", resource: "process:{id}", action: update, body: 100B}
  - {request: "GET /dataset/{id}/list", resource: "dataset:{id}", action: list, query: [q, page]}
  - {request: "POST /dataset/{id}/file", resource: "dataset:{id}", action: update, content_types: [text/csv]}
  - {request: "GET /user", resource: user, action: list}
"#;

const POLICY: &str = r#"version: 1
groups:
  finance: ["*@finance.acme.example", "zoe@acme.example"]
never_impersonate: ["ceo@acme.example"]
service_accounts:
  app:
    shares:
      - {resource: "process:Order", actions: [read, create, update], impersonate: {users: ["@finance", "Us8KMQzGHIbZ"]}}
      - resource: "process:Purchase"
        actions: [create]
        impersonate: {users: ["*@acme.example"], required: true, from: {json: /_created_by/Email}}
      - {resource: "dataset:*", actions: "*"}
    deny:
      - {resource: "dataset:Salaries", actions: "*"}
  other:
    shares:
      - {resource: user, actions: [list]}
"#;

fn behind(upstream: &Upstream) -> Sidecar {
    Sidecar::behind(upstream).catalog(CATALOG).policy(POLICY).accounts(&["app", "other"]).start()
}

fn order(key: &Key) -> Call {
    Call::get("/process/Order/item").with(key)
}

// ===== problem documents =====

/// DESIGN §4.7, to the letter.
#[track_caller]
fn is_a_problem(answer: &Answer) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let document = answer.json();
    let mut members: Vec<&str> = document.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["code", "detail", "request_id", "status", "title", "type"]);
    assert_eq!(document["status"], answer.status);
    assert_eq!(document["request_id"], answer.request_id());
    assert!(document["type"].as_str().unwrap().ends_with(document["code"].as_str().unwrap()));
    assert!(document["detail"].as_str().unwrap().len() > 20, "{document}");
    assert_eq!(answer.request_id().len(), 26);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[test]
fn every_refusal_is_a_problem_document_with_its_code_and_a_record() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let app = sidecar.app();
    let json = json!({});
    let refused: Vec<(Call, u16, &str)> = vec![
        (Call::get("/process/Order/item"), 401, "credentials-missing"),
        (Call::get("/process/Order/item").with(&Key { secret: "vsk_wrong".into(), ..app.clone() }), 401, "credentials-invalid"),
        (Call::get("/process/Order/item?api_key=x").with(app), 400, "query-not-allowed"),
        (Call::get("/dataset/Vendors/list?sort=up").with(app), 400, "query-not-allowed"),
        (Call::get("/nowhere").with(app), 403, "endpoint-unknown"),
        (Call::get("/nowhere?api_key=x").with(app), 403, "endpoint-unknown"),
        (Call::get("/nowhere").with(app).on_behalf_of("a,b"), 403, "endpoint-unknown"),
        (Call::new("PATCH", "/process/Order").with(app), 403, "endpoint-unknown"),
        (Call::new("OPTIONS", "/process/Order").with(app), 403, "endpoint-unknown"),
        (Call::new("BREW", "/process/Order").with(app), 403, "endpoint-unknown"),
        (Call::get("/user").with(app), 403, "not-shared"),
        (Call::get("/process/Leave/item").with(app), 403, "not-shared"),
        (Call::get("/dataset/Salaries/list").with(app), 403, "denied-by-rule"),
        (order(app).on_behalf_of("zoe@elsewhere.example"), 403, "impersonation-not-allowed"),
        (Call::get("/dataset/Vendors/list").with(app).on_behalf_of("zoe@acme.example"), 403, "impersonation-not-allowed"),
        (Call::post("/process/Purchase").with(app), 403, "impersonation-required"),
        (Call::post("/process/Purchase").with(app).json(&json), 403, "impersonation-required"),
        (order(app).on_behalf_of("ceo@acme.example"), 403, "never-impersonate"),
        (order(app).on_behalf_of("a@b.example, c@d.example"), 400, "subject-malformed"),
        (Call::post("/process/Order").with(app).header("Content-Type", "text/plain").body("x"), 415, "unsupported-media-type"),
        (Call::post("/process/Order").with(app).body("{}"), 415, "unsupported-media-type"),
        (Call::post("/dataset/Vendors/file").with(app).json(&json), 415, "unsupported-media-type"),
        (Call::new("PUT", "/process/Order").with(app).json(&json!("x".repeat(100))), 413, "body-too-large"),
    ];
    for (call, status, code) in refused {
        let answer = sidecar.send(&call);
        answer.expect(status, code);
        is_a_problem(&answer);
        let record = sidecar.record(&answer.request_id());
        assert_eq!(
            (&record["outcome"], &record["decision"], &record["status"]),
            (&json!("refused"), &json!("deny"), &json!(status)),
            "{code}"
        );
        if status == 403 {
            assert_eq!((&record["reason"], &record["account"]), (&json!(code), &json!("app")));
        }
    }
    upstream.saw_nothing();
}

#[test]
fn refusals_before_anybody_signs_in_are_problems_too() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let app = sidecar.app();
    for (call, status, code) in [
        (Call::get("/process/../Order/item").with(app), 400, "ambiguous-request"),
        (Call::new("TRACE", "/process/Order/item").with(app), 405, "method-not-allowed"),
        (order(app).header("X-Long", &"x".repeat(100 << 10)), 431, "head-too-large"),
        (order(app).header("Bad Name", "x"), 400, "ambiguous-request"),
    ] {
        let answer = sidecar.send(&call);
        answer.expect(status, code);
        is_a_problem(&answer);
    }
    upstream.saw_nothing();
}

#[test]
fn a_refusal_says_what_was_asked_and_nothing_of_what_else_there_is() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let answer = sidecar.send(&Call::get("/process/Leave/item").with(sidecar.app()));
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("read") && detail.contains("process:Leave"), "{detail}");
    for other in ["Order", "Purchase", "dataset", "Salaries", "finance"] {
        assert!(!answer.text().contains(other), "{other} in {}", answer.text());
    }
}

#[test]
fn a_directory_that_cannot_be_asked_is_a_503_and_never_a_401() {
    let upstream = Upstream::start();
    let mut redis = Redis::start();
    let sidecar = Sidecar::behind(&upstream).catalog(CATALOG).policy(POLICY).redis(&redis.url()).start();
    redis.kill();
    let answer = sidecar.send(&order(sidecar.app()));
    answer.expect(503, "directory-unavailable");
    is_a_problem(&answer);
    assert!(answer.header("retry-after").is_some());
    assert_eq!(sidecar.send(&order(&Key { id: "VKAAAAAAAAAAAAAAAAAAAA".into(), ..sidecar.app().clone() })).status, 503);
    upstream.saw_nothing();
    redis.launch();
    eventually("the key works again", || (sidecar.send(&order(sidecar.app())).status == 200).then_some(()));
}

// ===== ids and caching =====

#[test]
fn one_request_id_stands_upstream_downstream_and_in_the_record() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    upstream.next(Reply::json(&json!({})).header("X-Request-Id", "the service's own"));
    let answer = sidecar.send(&order(sidecar.app()).header("X-Request-Id", "the caller's own").header("x_request_id", "another"));
    let seen = upstream.only();
    assert_eq!(seen.header("x-request-id"), Some(answer.request_id().as_str()));
    assert_eq!(seen.headers.iter().filter(|(name, _)| name.replace('_', "-").eq_ignore_ascii_case("x-request-id")).count(), 1);
    assert_eq!(sidecar.record(&answer.request_id())["path"], "/process/Order/item");
    assert_ne!(sidecar.send(&order(sidecar.app())).request_id(), answer.request_id());
}

#[test]
fn no_shared_cache_may_serve_an_answer_to_another_caller() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let vary = |answer: &Answer| answer.headers("vary").join(", ").to_ascii_lowercase();
    let names = ["x-access-key-id", "x-access-key-secret", "x-impersonate-user", "authorization"];
    let plain = sidecar.send(&order(sidecar.app()));
    assert_eq!(plain.header("cache-control"), Some("private"));
    assert!(names.iter().all(|name| vary(&plain).contains(name)), "{}", vary(&plain));
    upstream.next(Reply::json(&json!({})).header("Cache-Control", "no-cache").header("Vary", "Accept"));
    let said = sidecar.send(&order(sidecar.app()));
    assert_eq!(said.header("cache-control"), Some("no-cache"));
    assert!(vary(&said).contains("accept") && names.iter().all(|name| vary(&said).contains(name)));
}

// ===== what passes =====

#[test]
fn what_the_policy_matched_is_what_goes_upstream_byte_for_byte() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    for (sent, upstream_gets) in [
        ("/dataset/Vendors/list", "/dataset/Vendors/list"),
        ("/dataset/Vendors/list/", "/dataset/Vendors/list/"),
        ("/dataset/%56endors/list", "/dataset/Vendors/list"),
        ("/%64ataset/a%2db%7e/list", "/dataset/a-b~/list"),
        ("/dataset/a%20b%3f%2b/list", "/dataset/a%20b%3F%2B/list"),
        ("/dataset/M%c3%bcller/list", "/dataset/M%C3%BCller/list"),
        ("/dataset/a+b@c:d!$&'()*,=/list", "/dataset/a+b@c:d!$&'()*,=/list"),
        ("/dataset/100%25/list", "/dataset/100%25/list"),
        ("/dataset/Vendors/list?q=%2e%2E%2f&page=a%26b=+;", "/dataset/Vendors/list?q=%2e%2E%2f&page=a%26b=+;"),
        ("/dataset/Vendors/list?", "/dataset/Vendors/list?"),
        ("http://vicar.test/dataset/Vendors/list?q=1", "/dataset/Vendors/list?q=1"),
    ] {
        upstream.forget();
        sidecar.send(&Call::get(sent).with(sidecar.app())).expect_status(200);
        assert_eq!(upstream.only().target, upstream_gets, "{sent}");
    }
    let raw = [b"GET /dataset/M\xc3\xbcller/list HTTP/1.1\r\nHost: h\r\n".as_slice(), &credentials(sidecar.app()), b"\r\n"].concat();
    upstream.forget();
    support::client::exchange(sidecar.address(), raw).expect_status(200);
    assert_eq!(upstream.only().target, "/dataset/M%C3%BCller/list");
}

fn credentials(key: &Key) -> Vec<u8> {
    format!("X-Access-Key-Id: {}\r\nX-Access-Key-Secret: {}\r\n", key.id, key.secret).into_bytes()
}

#[test]
fn a_path_that_outgrows_a_target_by_escaping_is_refused_and_goes_nowhere() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let id = "\u{fc}".repeat(16 << 10);
    let raw = [format!("GET /dataset/{id}/list HTTP/1.1\r\nHost: h\r\n").as_bytes(), &credentials(sidecar.app()), b"\r\n"].concat();
    support::client::exchange(sidecar.address(), raw).expect(400, "ambiguous-request");
    upstream.saw_nothing();
}

#[test]
fn an_ordinary_header_passes_and_one_about_the_connection_does_not() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    upstream.next(
        Reply::json(&json!({}))
            .header("X-Plain", "kept")
            .header("Keep-Alive", "timeout=5")
            .header("X-Hop", "1")
            .header("Connection", "X-Hop"),
    );
    let call = order(sidecar.app())
        .header("Accept-Language", "de")
        .header("X-Custom", "1")
        .header("x-custom", "2")
        .header("Connection", "X-Mine, keep-alive")
        .header("X-Mine", "hop")
        .header("Keep-Alive", "timeout=5")
        .header("Upgrade", "h2c")
        .header("TE", "gzip");
    let answer = sidecar.send(&call);
    let seen = upstream.only();
    assert_eq!((seen.header("accept-language"), seen.headers("x-custom")), (Some("de"), vec!["1", "2"]));
    for hop in ["x-mine", "keep-alive", "upgrade", "te", "connection"] {
        assert_eq!(seen.headers(hop), Vec::<&str>::new(), "{hop}");
    }
    assert_eq!((answer.header("x-plain"), answer.header("x-hop"), answer.header("keep-alive")), (Some("kept"), None, None));
}

#[test]
fn the_way_a_request_came_is_told_anew() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let forged = order(sidecar.app())
        .header("X-Forwarded-For", "6.6.6.6")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "evil.example")
        .header("X-Forwarded-Port", "443")
        .header("X-Forwarded-Uri", "/health")
        .header("X_Forwarded_For", "6.6.6.6")
        .header("Forwarded", "for=6.6.6.6")
        .header("X-Real-IP", "6.6.6.6")
        .header("True-Client-IP", "6.6.6.6");
    sidecar.send(&forged).expect_status(200);
    let seen = upstream.only();
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!((seen.header("x-forwarded-proto"), seen.header("x-forwarded-host")), (Some("http"), Some("vicar.test")));
    assert_eq!(seen.header("host"), Some(upstream.address().to_string().as_str()));
    assert!(!String::from_utf8_lossy(&seen.head).contains("6.6.6.6") && !String::from_utf8_lossy(&seen.head).contains("evil"));
    for gone in ["x-forwarded-port", "x-forwarded-uri", "x-real-ip", "true-client-ip"] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
    assert_eq!(sidecar.records().last().unwrap()["client"], "127.0.0.1");
}

/// What a trusted proxy sends, and what the upstream is told of client, scheme and host.
type Told = (&'static [(&'static str, &'static str)], [&'static str; 3]);

#[test]
fn a_trusted_proxy_is_believed_about_how_it_was_asked_and_nothing_else() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).catalog(CATALOG).policy(POLICY).set("trusted_proxies", "[127.0.0.0/8]").start();
    let told: [Told; 8] = [
        (
            &[
                ("X-Forwarded-For", "6.6.6.6, 203.0.113.9, 127.0.0.7"),
                ("X-Forwarded-Proto", "https"),
                ("X-Forwarded-Host", "api.example:8443"),
            ],
            ["203.0.113.9", "https", "api.example:8443"],
        ),
        (&[("Forwarded", "for=6.6.6.6, for=203.0.113.9;proto=https;host=api.example")], ["203.0.113.9", "https", "api.example"]),
        (&[("Forwarded", "For=\"[2001:db8::7]:4711\";Proto=https")], ["2001:db8::7", "https", "vicar.test"]),
        // A proxy that sets the one kind may pass the caller's other kind on unseen.
        (&[("X-Forwarded-For", "203.0.113.9"), ("Forwarded", "for=6.6.6.6;proto=https;host=evil")], ["203.0.113.9", "http", "vicar.test"]),
        (&[("X-Forwarded-Host", "a.example"), ("X-Forwarded-Host", "b.example")], ["127.0.0.1", "http", "vicar.test"]),
        (&[("X-Forwarded-Host", "a.example, b.example"), ("X-Forwarded-Proto", "gopher")], ["127.0.0.1", "http", "vicar.test"]),
        (&[("Forwarded", "for=unknown, for=_hidden;host=\"a b\";proto=ftp")], ["127.0.0.1", "http", "vicar.test"]),
        (&[("Forwarded", ";;=,\"")], ["127.0.0.1", "http", "vicar.test"]),
    ];
    for (claims, [client, proto, host]) in told {
        let mut call = order(sidecar.app()).header("X-Forwarded-User", "ceo@acme.example").header("X-Forwarded-Uri", "/health");
        for (name, value) in claims {
            call = call.header(name, value);
        }
        let answer = sidecar.send(&call);
        answer.expect_status(200);
        let seen = upstream.last();
        let got = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"].map(|name| seen.header(name));
        assert_eq!(got, [Some(client), Some(proto), Some(host)], "{claims:?}");
        let node = if client.contains(':') { format!("\"[{client}]\"") } else { client.to_owned() };
        assert_eq!(seen.header("forwarded"), Some(format!("for={node};host=\"{host}\";proto={proto}").as_str()), "{claims:?}");
        assert_eq!((seen.header("x-forwarded-user"), seen.header("x-forwarded-uri")), (None, None), "{claims:?}");
        assert_eq!(sidecar.record(&answer.request_id())["client"], client, "{claims:?}");
    }
}

#[test]
fn cookies_and_authorization_stay_on_their_side() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    upstream.next(Reply::json(&json!({})).header("Set-Cookie", "session=theirs"));
    let call = order(sidecar.app())
        .header("Cookie", "session=mine")
        .header("Authorization", "Bearer mine")
        .header("Proxy-Authorization", "Basic bWluZTo=");
    let answer = sidecar.send(&call);
    answer.expect_status(200);
    assert_eq!(answer.header("set-cookie"), None);
    let head = String::from_utf8_lossy(&upstream.only().head).to_ascii_lowercase();
    assert!(!head.contains("mine") && !head.contains("cookie") && !head.contains("authorization"), "{head}");
}

#[test]
fn settings_may_pass_cookies_and_authorization_but_never_a_key_pair() {
    let upstream = Upstream::start();
    let sidecar =
        Sidecar::behind(&upstream).catalog(CATALOG).policy(POLICY).set("guard", "{pass: [authorization, cookie, set_cookie]}").start();
    upstream.next(Reply::json(&json!({})).header("Set-Cookie", "a=1").header("Set-Cookie", "b=2"));
    let answer = sidecar.send(&order(sidecar.app()).header("Cookie", "session=mine").header("Authorization", "Bearer mine"));
    assert_eq!(answer.headers("set-cookie"), ["a=1", "b=2"]);
    let seen = upstream.last();
    assert_eq!((seen.header("cookie"), seen.header("authorization")), (Some("session=mine"), Some("Bearer mine")));
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", sidecar.app().id, sidecar.app().secret));
    sidecar.send(&Call::get("/process/Order/item").header("Authorization", &format!("Basic {pair}"))).expect_status(200);
    assert_eq!(upstream.last().header("authorization"), None);
}

// ===== subjects =====

#[test]
fn the_service_is_told_who_acts_and_for_whom() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream)
        .catalog(CATALOG)
        .policy(POLICY)
        .set("impersonation", r#"{upstream_headers: {X-User: "{user}", X-Local: "{user.local}", X-Domain: "{user.domain}", X-By: "{account}/{key}", X-Trace: "{request_id}"}}"#)
        .start();
    let answer = sidecar.send(&order(sidecar.app()).on_behalf_of(" Zoe@ACME.example\t"));
    answer.expect_status(200);
    let seen = upstream.last();
    assert_eq!(
        (seen.header("x-user"), seen.header("x-local"), seen.header("x-domain")),
        (Some("zoe@acme.example"), Some("zoe"), Some("acme.example"))
    );
    assert_eq!(seen.header("x-by"), Some(format!("app/{}", sidecar.app().id).as_str()));
    assert_eq!(seen.header("x-trace"), Some(answer.request_id().as_str()));
    assert_eq!(seen.header("x-impersonate-user"), None);
    assert_eq!(sidecar.record(&answer.request_id())["subject"], "zoe@acme.example");
    // An opaque id has no domain, and is taken as it is.
    sidecar.send(&order(sidecar.app()).on_behalf_of("Us8KMQzGHIbZ")).expect_status(200);
    assert_eq!((upstream.last().header("x-user"), upstream.last().header("x-domain")), (Some("Us8KMQzGHIbZ"), None));
    sidecar.send(&order(sidecar.app()).on_behalf_of("us8kmqzghibz")).expect(403, "impersonation-not-allowed");
    // Nobody: the account acts as itself, and no header says otherwise, whatever the caller claims.
    sidecar.send(&order(sidecar.app()).header("X-User", "ceo@acme.example").header("x_user", "ceo@acme.example")).expect_status(200);
    assert!(!upstream.last().has_folded("x-user") && upstream.last().header("x-by").is_some());
}

#[test]
fn a_header_that_names_no_single_user_is_refused() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let long = format!("{}@acme.example", "a".repeat(10 << 10));
    for bad in [
        "",
        " ",
        "a@acme.example,b@acme.example",
        "a@acme.example b@acme.example",
        "a@acme.example;b",
        "@finance",
        "*",
        "*@acme.example",
        "zoe@",
        "zoe@acme@example",
        "z\u{f6}e@acme.example",
        "zoe@acme.\u{212a}",
        "\u{202e}zoe@acme.example",
        "<zoe@acme.example>",
        "\"zoe\"@acme.example",
        "zoe@acme.example\tx",
        &long,
    ] {
        sidecar.send(&order(sidecar.app()).on_behalf_of(bad)).expect(400, "subject-malformed");
    }
    for raw in [&b"zoe@acme.example\x80"[..], b"\xff\xfe", b"zoe\x7f@acme.example", b"zoe\xc3\x28@acme.example"] {
        let request =
            [b"GET /process/Order/item HTTP/1.1\r\nHost: h\r\nX-Impersonate-User: ", raw, b"\r\n", &credentials(sidecar.app()), b"\r\n"]
                .concat();
        let answer = support::client::exchange(sidecar.address(), request);
        assert_eq!(answer.status, 400, "{raw:?}");
    }
    for raw in [
        "zoe\0@acme.example",
        "zoe@acme.example\nX-Forwarded-User: ceo@acme.example",
        "zoe@acme.example\rX: y",
        "zoe@acme.example\r\n folded",
    ] {
        let request = [
            format!("GET /process/Order/item HTTP/1.1\r\nHost: h\r\nX-Impersonate-User: {raw}\r\n").as_bytes(),
            &credentials(sidecar.app()),
            b"\r\n",
        ]
        .concat();
        let answer = support::client::exchange(sidecar.address(), request);
        if answer.status == 200 {
            // A bare LF ends a line (RFC 9112 §2.2); what stood behind it is a header, and is gone like any other.
            assert_eq!(upstream.last().header("x-forwarded-user"), Some("zoe@acme.example"));
            upstream.forget();
        } else {
            answer.expect(400, "ambiguous-request");
        }
    }
    sidecar.send(&order(sidecar.app()).on_behalf_of("zoe@acme.example").on_behalf_of("zoe@acme.example")).expect(400, "subject-malformed");
    upstream.saw_nothing();
}

#[test]
fn a_subject_in_the_body_is_found_and_the_body_goes_up_untouched() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let body = "{ \"a\" : 1.0, \"_created_by\":{\"Email\":\"Zoe\\u0040acme.example\"} }\n";
    for framing in ["sized", "chunked"] {
        upstream.forget();
        let call = Call::post("/process/Purchase").with(sidecar.app()).header("Content-Type", "application/json; charset=utf-8");
        let call = match framing {
            "sized" => call.body(body),
            _ => call.header("Transfer-Encoding", "chunked").body(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())),
        };
        let answer = sidecar.send(&call);
        answer.expect_status(200);
        let seen = upstream.only();
        assert_eq!((seen.text().as_str(), seen.header("x-forwarded-user")), (body, Some("zoe@acme.example")), "{framing}");
        let record = sidecar.record(&answer.request_id());
        assert_eq!((&record["subject"], &record["bytes_in"]), (&json!("zoe@acme.example"), &json!(body.len())));
    }
}

#[test]
fn header_and_body_may_name_one_user_together_but_not_two() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let purchase = |user: Value| Call::post("/process/Purchase").with(sidecar.app()).json(&json!({"_created_by": {"Email": user}}));
    sidecar.send(&purchase(json!("ZOE@acme.example")).on_behalf_of("zoe@acme.example")).expect_status(200);
    sidecar.send(&purchase(json!(null)).on_behalf_of("zoe@acme.example")).expect_status(200);
    upstream.forget();
    sidecar.send(&purchase(json!("max@acme.example")).on_behalf_of("zoe@acme.example")).expect(400, "subject-malformed");
    for bad in [json!(""), json!(7), json!(["zoe@acme.example"]), json!({"a": "b"}), json!("a@acme.example, b@acme.example"), json!(true)] {
        sidecar.send(&purchase(bad)).expect(400, "subject-malformed");
    }
    sidecar.send(&purchase(json!("ceo@acme.example"))).expect(403, "never-impersonate");
    sidecar.send(&purchase(json!("zoe@elsewhere.example"))).expect(403, "impersonation-not-allowed");
    for body in [
        r#"{"_created_by":{"Email":"zoe@acme.example"},"_created_by":{"Email":"ceo@acme.example"}}"#,
        r#"{"_created_by":{"Email":"zoe@acme.example","Email":"ceo@acme.example"}}"#,
        r#"{"_created_by":{"Email":"zoe@acme.example","\u0045mail":"ceo@acme.example"}}"#,
        r#"{"_created_by":{"Email":"zoe@acme.example","email":"ceo@acme.example"}}"#,
        r#"{"_created_by":{"Email":"zoe@acme.example"}} {}"#,
        r#"{"_created_by":{"Email":"zoe@acme.example"}"#,
        "\u{feff}{\"_created_by\":{\"Email\":\"zoe@acme.example\"}}",
        "nonsense",
    ] {
        let call = Call::post("/process/Purchase").with(sidecar.app()).header("Content-Type", "application/json").body(body);
        sidecar.send(&call).expect(400, "subject-malformed");
    }
    upstream.saw_nothing();
}

#[test]
fn a_body_that_the_service_might_read_in_another_way_names_nobody() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let body = r#"{"_created_by":{"Email":"zoe@acme.example"}}"#;
    for (name, value) in [
        ("Content-Type", "application/json; charset=utf-7"),
        ("Content-Type", "application/json; charset=\"utf-16\""),
        ("Content-Encoding", "gzip"),
    ] {
        let mut call = Call::post("/process/Purchase").with(sidecar.app()).header(name, value).body(body);
        if name != "Content-Type" {
            call = call.header("Content-Type", "application/json");
        }
        sidecar.send(&call).expect(400, "subject-malformed");
    }
    upstream.saw_nothing();
}

#[test]
fn a_body_with_a_subject_in_it_is_bounded() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let big = json!({"_created_by": {"Email": "zoe@acme.example"}, "x": "x".repeat(64 << 10)}).to_string();
    let call = Call::post("/process/Purchase").with(sidecar.app()).header("Content-Type", "application/json");
    sidecar.send(&call.clone().body(big.clone())).expect(413, "body-too-large");
    sidecar
        .send(&call.header("Transfer-Encoding", "chunked").body(format!("{:x}\r\n{big}\r\n0\r\n\r\n", big.len())))
        .expect(413, "body-too-large");
    upstream.saw_nothing();
    // Nor may it be longer than other bodies.
    let sidecar = Sidecar::behind(&upstream).catalog(CATALOG).policy(POLICY).set("limits", "{body: 1KiB}").start();
    let some = json!({"_created_by": {"Email": "zoe@acme.example"}, "x": "x".repeat(2 << 10)}).to_string();
    Call::post("/process/Purchase")
        .with(sidecar.app())
        .header("Content-Type", "application/json")
        .header("Transfer-Encoding", "chunked")
        .body(format!("{:x}\r\n{some}\r\n0\r\n\r\n", some.len()))
        .send_on(&mut Connection::open(sidecar.address()))
        .expect(413, "body-too-large");
    upstream.saw_nothing();
}

// ===== limits =====

#[test]
fn a_body_over_the_limit_is_a_413_whether_it_says_so_or_not() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).catalog(CATALOG).policy(POLICY).set("limits", "{body: 1KiB}").start();
    let call = Call::post("/process/Order").with(sidecar.app()).header("Content-Type", "application/json");
    sidecar.send(&call.clone().body(vec![b'1'; 1024])).expect_status(200);
    upstream.forget();
    sidecar.send(&call.clone().body(vec![b'1'; 1025])).expect(413, "body-too-large");
    upstream.saw_nothing();
    let chunks = format!("400\r\n{}\r\n1\r\n1\r\n0\r\n\r\n", "1".repeat(1024));
    let answer = sidecar.send(&call.header("Transfer-Encoding", "chunked").body(chunks));
    answer.expect(413, "body-too-large");
    assert!(upstream.wait_for(1).iter().all(|seen| !seen.whole), "what was too large must not look whole");
    // The smaller limit of an endpoint counts, chunked as well.
    let put = Call::new("PUT", "/process/Order").with(sidecar.app()).header("Content-Type", "application/json");
    let chunks = format!("65\r\n{}\r\n0\r\n\r\n", "1".repeat(101));
    let answer = sidecar.send(&put.header("Transfer-Encoding", "chunked").body(chunks));
    answer.expect(413, "body-too-large");
    assert!(answer.text().contains("The limit here is 100 bytes"), "{}", answer.text());
    assert_eq!(sidecar.record(&answer.request_id())["outcome"], "refused", "the service did nothing wrong");
}

/// What a caller goes on sending when its answer is there already must cost it neither the answer nor the connection.
#[test]
fn a_caller_that_is_answered_before_it_has_sent_its_body_gets_the_answer_and_goes_on() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let dead = Sidecar::behind_url("http://127.0.0.1:1").catalog(CATALOG).policy(POLICY).start();
    let post =
        |path: &str, key: &Key, size: usize| Call::post(path).with(key).header("Content-Type", "application/json").body(vec![b' '; size]);
    let goes_on = |sidecar: &Sidecar, call: &Call, status: u16, what: &str| {
        let mut connection = Connection::open(sidecar.address());
        for _ in 0..2 {
            let answer = connection.send(call.bytes()).answer();
            assert_eq!(answer.status, status, "{what}: {}", answer.text());
            assert_eq!(answer.header("connection"), None, "{what}");
        }
    };
    for size in [10, 100 << 10, 5 << 20] {
        goes_on(&sidecar, &post("/process/Secret", sidecar.app(), size), 403, "not shared");
        goes_on(&sidecar, &post("/process/Order", &Key { secret: "vsk_x".into(), ..sidecar.app().clone() }, size), 401, "no key");
        goes_on(&dead, &post("/process/Order", dead.app(), size), 502, "no service");
    }
    upstream.saw_nothing();
    let chunked = Call::post("/process/Secret").with(sidecar.app()).header("Content-Type", "application/json");
    let chunked = chunked.header("Transfer-Encoding", "chunked").body(format!("{:x}\r\n{}\r\n0\r\n\r\n", 200 << 10, " ".repeat(200 << 10)));
    goes_on(&sidecar, &chunked, 403, "chunked");
    upstream.always(Reply::status(409).early());
    goes_on(&sidecar, &post("/process/Order", sidecar.app(), 5 << 20), 409, "answered early by the service");
    // Who waits for a word to go on is not asked for what nobody wants.
    let mut waiting = Connection::open(sidecar.address());
    let head = post("/process/Secret", sidecar.app(), 10).header("Expect", "100-continue").bytes();
    let answer = waiting.send(&head[..head.len() - 10]).answer();
    answer.expect(403, "not-shared");
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(waiting.is_closed());
    // What is never all sent is not waited for without end.
    for (sidecar, path, status) in [(&sidecar, "/process/Secret", 403), (&dead, "/process/Order", 502)] {
        let answer = Connection::open(sidecar.address()).send(post(path, sidecar.app(), 9 << 20).bytes()).answer();
        assert_eq!((answer.status, answer.header("connection")), (status, Some("close")));
    }
}

#[test]
fn a_caller_over_its_rate_is_told_when_to_come_back() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream)
        .catalog(CATALOG)
        .policy(POLICY)
        .accounts(&["app", "other"])
        .set("limits", "{requests_per_minute: 3}")
        .start();
    for _ in 0..3 {
        sidecar.send(&order(sidecar.app())).expect_status(200);
    }
    let answer = sidecar.send(&order(sidecar.app()));
    answer.expect(429, "rate-limited");
    is_a_problem(&answer);
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let record = sidecar.record(&answer.request_id());
    assert_eq!((&record["account"], &record["outcome"], &record["reason"]), (&json!("app"), &json!("refused"), &json!("rate-limited")));
    // A second key is no second rate, and another account has its own.
    let second = sidecar.new_key("app", &["--name", "second"]);
    eventually("the new key is known", || (sidecar.send(&order(&second)).status == 429).then_some(()));
    sidecar.send(&Call::get("/user").with(sidecar.key("other"))).expect_status(200);
}

#[test]
fn an_account_has_no_more_requests_under_way_than_it_may() {
    let upstream = Upstream::start();
    let sidecar =
        Sidecar::behind(&upstream).catalog(CATALOG).policy(POLICY).accounts(&["app", "other"]).set("limits", "{concurrency: 2}").start();
    let second = sidecar.new_key("app", &["--name", "second"]);
    let mut under_way = Vec::new();
    for key in [sidecar.app(), &second] {
        upstream.next(Reply::status(200).cut_short(10, "abc").then_hang());
        let mut connection = Connection::open(sidecar.address());
        let head = connection.send(order(key).bytes()).answer_to_head();
        head.expect_status(200);
        under_way.push(connection);
    }
    let answer = sidecar.send(&order(sidecar.app()));
    answer.expect(429, "rate-limited");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(answer.text().contains("under way"), "{}", answer.text());
    sidecar.send(&Call::get("/user").with(sidecar.key("other"))).expect_status(200);
    // One ends, and another may begin.
    under_way.pop();
    eventually("there is room again", || (sidecar.send(&order(sidecar.app())).status == 200).then_some(()));
}

#[test]
fn failed_sign_ins_slow_their_address_down_but_lock_nobody_out() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).catalog(CATALOG).policy(POLICY).set("limits", "{failed_sign_ins_per_minute: 3}").start();
    let wrong = order(&Key { id: "VKAAAAAAAAAAAAAAAAAAAA".into(), ..sidecar.app().clone() });
    for _ in 0..3 {
        sidecar.send(&wrong).expect(401, "credentials-invalid");
    }
    let slowed = sidecar.send(&wrong);
    slowed.expect(429, "rate-limited");
    assert!(slowed.header("retry-after").is_some());
    sidecar.send(&order(sidecar.app())).expect_status(200);
}

// ===== self-service =====

#[test]
fn a_key_learns_who_it_is_and_nothing_of_others() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let answer = sidecar.send(&Call::get("/.vicar/whoami").with(sidecar.app()));
    answer.expect_status(200);
    let me = answer.json();
    assert_eq!((&me["account"], &me["id"], &me["name"]), (&json!("app"), &json!(sidecar.app().id), &json!("test")));
    assert!(me["expires"].is_string());
    assert!(
        answer.text().contains("process:Order") && !answer.text().contains("other") && !answer.text().contains("vsk_"),
        "{}",
        answer.text()
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let record = sidecar.record(&answer.request_id());
    assert_eq!((&record["account"], &record["outcome"], &record["status"]), (&json!("app"), &json!("completed"), &json!(200)));
    sidecar.send(&Call::get("/.vicar/whoami")).expect(401, "credentials-missing");
    for unknown in ["/.vicar", "/.vicar/", "/.vicar/keys", "/.vicar/whoami/x"] {
        sidecar.send(&Call::get(unknown).with(sidecar.app())).expect(403, "endpoint-unknown");
    }
    sidecar.send(&Call::post("/.vicar/rotate").with(sidecar.app())).expect(403, "endpoint-unknown");
    upstream.saw_nothing();
}

#[test]
fn a_key_that_may_gives_itself_a_new_secret_and_both_work_for_a_while() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).catalog(CATALOG).policy(POLICY).set("self_service", "[whoami, rotate]").start();
    let old = sidecar.app().clone();
    let before = sidecar.send(&Call::get("/.vicar/whoami").with(&old)).json();
    let answer = sidecar.send(&Call::post("/.vicar/rotate").with(&old));
    answer.expect_status(200);
    let made = answer.json();
    let new = Key { secret: made["secret"].as_str().unwrap().to_owned(), ..old.clone() };
    assert_ne!(new.secret, old.secret);
    // Whoever goes away while asking does not get the answer, and so nothing is done.
    let mut gone = Connection::open(sidecar.address());
    gone.send(Call::post("/.vicar/rotate").with(&new).header("Content-Length", "10").bytes()).send("{}");
    drop(gone);
    let huge = Call::post("/.vicar/rotate").with(&new).header("Content-Length", "60000000");
    Connection::open(sidecar.address()).send(huge.bytes()).answer().expect(413, "body-too-large");
    assert_eq!((&made["id"], &made["expires"]), (&json!(old.id), &before["expires"]), "a key cannot lengthen itself");
    eventually("the new secret works", || (sidecar.send(&order(&new)).status == 200).then_some(()));
    sidecar.send(&order(&old)).expect_status(200);
    // What was replaced ends with its overlap: it cannot have itself replaced again.
    let refused = sidecar.send(&Call::post("/.vicar/rotate").with(&old));
    refused.expect(403, "denied-by-rule");
    assert_eq!(sidecar.record(&refused.request_id())["decision"], "deny");
    sidecar.send(&order(&new)).expect_status(200);
    assert!(sidecar.records().iter().any(|record| record["path"] == "/.vicar/rotate" && record["account"] == "app"));
    assert!(!sidecar.log().contains(&new.secret) && !format!("{:?}", sidecar.records()).contains(&new.secret));
    sidecar.send(&Call::get("/.vicar/rotate").with(&new)).expect(403, "endpoint-unknown");
    assert!(upstream.seen().iter().all(|seen| !seen.target.starts_with("/.vicar")));
}

// ===== what changes while a request arrives =====

#[test]
fn what_ends_while_a_body_arrives_does_not_reach_the_service() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let body = json!({"_created_by": {"Email": "zoe@acme.example"}}).to_string();
    let begun = |key: &Key| {
        let mut connection = Connection::open(sidecar.address());
        let head = format!(
            "POST /process/Purchase HTTP/1.1\r\nHost: x\r\nX-Access-Key-Id: {}\r\nX-Access-Key-Secret: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            key.id,
            key.secret,
            body.len()
        );
        connection.send(head).send(&body.as_bytes()[..10]);
        connection
    };
    // Nothing outside tells that a head has been read; were it read later, these would be refused at the head.
    let heads_are_read = || std::thread::sleep(std::time::Duration::from_millis(200));
    let key = sidecar.new_key("app", &["--name", "doomed"]);
    let (mut revoked, mut whole) = (begun(&key), begun(sidecar.app()));
    heads_are_read();
    sidecar.vicar(&["key", "delete", &key.id, "--yes"]).succeeded();
    eventually("the key is dead", || (sidecar.send(&order(&key)).status == 401).then_some(()));
    revoked.send(&body.as_bytes()[10..]);
    revoked.answer().expect(401, "credentials-invalid");
    upstream.saw_nothing();
    whole.send(&body.as_bytes()[10..]);
    whole.answer().expect_status(200);
    upstream.forget();

    // Where a head is read after the edit only, its request is one under the new rules.
    let refused = (1..=20).find_map(|round| {
        upstream.forget();
        let mut overtaken = begun(sidecar.app());
        heads_are_read();
        let edits = || sidecar.log().matches("an edit is in force").count();
        let before = edits();
        sidecar.write_policy(&format!(
            "# Edit {round}.\n{}",
            POLICY.replace("actions: [create]\n", &format!("actions: [create]\n        note: edit {round}\n"))
        ));
        eventually("the edit is in force", || (edits() > before).then_some(()));
        overtaken.send(&body.as_bytes()[10..]);
        Some(overtaken.answer()).filter(|answer| answer.status != 200)
    });
    let answer = refused.expect("a request under the rules before an edit");
    answer.expect(503, "draining");
    assert!(answer.json()["detail"].as_str().unwrap().contains("rules were edited"), "{:?}", answer.json());
    upstream.saw_nothing();
}

// ===== observing =====

#[test]
fn while_observing_the_policy_refuses_nothing_and_records_everything() {
    let upstream = Upstream::start();
    let policy = POLICY.replacen("version: 1\n", "version: 1\nenforcement: observe\n", 1);
    let sidecar = Sidecar::behind(&upstream).catalog(CATALOG).policy(&policy).start();
    for (call, reason, status) in [
        (Call::get("/user").with(sidecar.app()), "not-shared", 200),
        (Call::get("/dataset/Salaries/list").with(sidecar.app()), "denied-by-rule", 200),
        (Call::get("/nowhere").with(sidecar.app()), "endpoint-unknown", 200),
        (order(sidecar.app()).on_behalf_of("ceo@acme.example"), "never-impersonate", 200),
        (order(sidecar.app()).on_behalf_of("max@elsewhere.example"), "impersonation-not-allowed", 200),
    ] {
        upstream.forget();
        let answer = sidecar.send(&call);
        answer.expect_status(status);
        let seen = upstream.only();
        assert_eq!(seen.header("x-forwarded-user"), None, "a subject that is not allowed is not passed on");
        let record = sidecar.record(&answer.request_id());
        assert_eq!((&record["decision"], &record["reason"], &record["outcome"]), (&json!("deny"), &json!(reason), &json!("completed")));
    }
    sidecar.send(&order(sidecar.app()).on_behalf_of("zoe@acme.example")).expect_status(200);
    assert_eq!(upstream.last().header("x-forwarded-user"), Some("zoe@acme.example"));
    // A user that is looked for in the body, and cannot be found there.
    let upload = |body: String| Call::post("/process/Purchase").with(sidecar.app()).header("Content-Type", "application/json").body(body);
    for body in ["{\"by\":".to_owned(), "{\"_created_by\": {\"Email\": 7}}".to_owned(), format!("[\"{}\"]", "x".repeat(70 << 10))] {
        sidecar.send(&upload(body.clone())).expect_status(200);
        assert_eq!((upstream.last().body_len, upstream.last().header("x-forwarded-user")), (body.len() as u64, None));
    }
    upstream.forget();
    sidecar.send(&Call::get("/user")).expect(401, "credentials-missing");
    sidecar.send(&Call::get("/x/../y").with(sidecar.app())).expect(400, "ambiguous-request");
    sidecar.send(&order(sidecar.app()).on_behalf_of("a,b")).expect(400, "subject-malformed");
    assert!(sidecar.log().contains("observes only"), "{}", sidecar.log());
    sidecar
        .send(&Call::post("/nowhere").with(sidecar.app()).header("Content-Type", "text/html").body("x"))
        .expect(415, "unsupported-media-type");
    upstream.saw_nothing();
}
