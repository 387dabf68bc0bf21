//! Who a request is from, and what the service is told about it.

use serde_json::json;

use super::{USERS, raw, signed};
use crate::support::{Call, Connection, Key, Reply, Sidecar, Upstream};

#[test]
fn an_underscore_does_not_make_another_header() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let call = Call::get(USERS)
        .with(sidecar.app())
        .on_behalf_of("zoe@acme.example")
        .header("X_Forwarded_User", "admin@acme.example")
        .header("X-Forwarded_User", "admin@acme.example")
        .header("X_FORWARDED-EMAIL", "admin@acme.example")
        .header("X_Auth_User", "admin");
    sidecar.send(&call).expect_status(200);
    let seen = upstream.only();
    let users: Vec<&str> = seen
        .headers
        .iter()
        .filter(|(name, _)| name.replace('_', "-").eq_ignore_ascii_case("x-forwarded-user"))
        .map(|(_, v)| v.as_str())
        .collect();
    assert_eq!(users, ["zoe@acme.example"]);
    assert!(!seen.has_folded("x-forwarded-email"));
}

#[test]
fn an_identity_header_set_in_an_odd_spelling_replaces_the_callers() {
    let upstream = Upstream::start();
    let sidecar =
        Sidecar::behind(&upstream).set("impersonation", r#"{upstream_headers: {x-aUTH-uSER: "{user}", X-Acting: "{account}"}}"#).start();
    for name in ["X-Auth-User", "x-auth-user", "X_Auth_User", "x-acting", "X_ACTING"] {
        upstream.forget();
        let call = Call::get(USERS).with(sidecar.app()).on_behalf_of("zoe@acme.example").header(name, "admin");
        sidecar.send(&call).expect_status(200);
        let seen = upstream.only();
        assert_eq!((seen.header("x-auth-user"), seen.header("x-acting")), (Some("zoe@acme.example"), Some("app")));
        assert!(!String::from_utf8_lossy(&seen.head).contains("admin"), "{name}");
    }
}

#[test]
fn a_connection_header_cannot_drop_what_the_proxy_adds() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let call = Call::get(USERS).with(sidecar.app()).on_behalf_of("zoe@acme.example").header(
        "Connection",
        "close, X-Forwarded-User, X-Forwarded-Account, X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto, Forwarded, X-Request-Id",
    );
    sidecar.send(&call).expect_status(200);
    let seen = upstream.only();
    for name in
        ["x-forwarded-user", "x-forwarded-account", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "forwarded", "x-request-id"]
    {
        assert!(seen.header(name).is_some(), "{name} is gone");
    }
    let connection = seen.headers("connection").join(",").to_ascii_lowercase();
    assert!(!connection.contains("forwarded"), "the service might drop what this names: {connection}");
}

#[test]
fn a_subject_that_is_called_hop_by_hop_does_not_make_the_account_act_as_itself() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let call =
        Call::get(USERS).with(sidecar.app()).on_behalf_of("zoe@acme.example").header("Connection", "X-Impersonate-User, X-Access-Key-Id");
    let answer = sidecar.send(&call);
    answer.expect_status(200);
    assert_eq!(upstream.only().header("x-forwarded-user"), Some("zoe@acme.example"));
    assert_eq!(sidecar.record(&answer.request_id())["subject"], "zoe@acme.example");
    // And one who may not be acted for is refused, not left out.
    sidecar
        .send(&Call::get(USERS).with(sidecar.app()).on_behalf_of("zoe@elsewhere.example").header("Connection", "X-Impersonate-User"))
        .expect(403, "impersonation-not-allowed");
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn headers_that_only_a_front_proxy_may_set_decide_nothing() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let names = [
        ("X-Forwarded-Uri", "/livez"),
        ("X-Forwarded-Path", "/livez"),
        ("X-Forwarded-Prefix", "/public"),
        ("X-Forwarded-Method", "OPTIONS"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X_Forwarded_Uri", "/livez"),
        ("X-Auth-Request-Redirect", "/livez"),
        ("X-Envoy-Original-Path", "/livez"),
        ("X-Envoy-Internal", "true"),
        ("X-Original-Method", "OPTIONS"),
    ];
    for (name, value) in names {
        sidecar.send(&Call::get(USERS).header(name, value)).expect(401, "credentials-missing");
        upstream.saw_nothing();
        sidecar.send(&Call::get("/not/in/the/catalog").with(sidecar.app()).header(name, USERS)).expect(403, "endpoint-unknown");
        upstream.saw_nothing();
        sidecar.send(&Call::get(USERS).with(sidecar.app()).header(name, value)).expect_status(200);
        let seen = upstream.only();
        let expected = match name {
            "X-Forwarded-Proto" => Some("http"),
            "X-Forwarded-For" => Some("127.0.0.1"),
            _ => None,
        };
        assert_eq!((seen.target.as_str(), seen.header(name)), (USERS, expected));
        upstream.forget();
    }
}

#[test]
fn no_user_agent_and_no_health_path_gets_in_without_a_key() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    for agent in ["GoogleHC/1.0", "kube-probe/1.31", "ELB-HealthChecker/2.0", "vicar"] {
        for path in [USERS, "/ping", "/healthz", "/livez", "/readyz", "/robots.txt", "/.well-known/jwks.json", "/oauth2/auth"] {
            sidecar.send(&Call::get(path).header("User-Agent", agent)).expect(401, "credentials-missing");
        }
    }
    upstream.saw_nothing();
}

#[test]
fn a_header_that_is_there_twice_is_not_read_as_one_of_its_values() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let key = sidecar.app();
    sidecar
        .send(&Call::get(USERS).with(key).on_behalf_of("zoe@acme.example").on_behalf_of("max@acme.example"))
        .expect(400, "subject-malformed");
    let twice = Call::get(USERS).with(key).header("X-Access-Key-Id", "VKAAAAAAAAAAAAAAAAAAAA");
    sidecar.send(&twice).expect(401, "credentials-invalid");
    sidecar.send(&Call::get(USERS).with(key).header("Host", "a.test").header("Host", "b.test")).expect(400, "ambiguous-request");
    upstream.saw_nothing();
}

#[test]
fn a_zero_byte_in_a_header_ends_nothing() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    for line in ["X-Impersonate-User: zoe@acme.example\0@elsewhere.example", "X-A: b\0", "X-Access-Key-Id\0: x", "X-A: \0\r\nX-B: c"] {
        super::goes_nowhere(&sidecar, &upstream, format!("GET {USERS} HTTP/1.1\r\n{}{line}\r\n\r\n", signed(sidecar.app())).as_bytes());
    }
}

#[test]
fn the_case_of_a_host_and_the_host_itself_decide_nothing() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    for host in ["vicar.test", "VICAR.test", "elsewhere.test", "localhost", "127.0.0.1:9090"] {
        sidecar.send(&Call::get(USERS).with(sidecar.app()).header("Host", host)).expect_status(200);
        sidecar.send(&Call::get("/livez").with(sidecar.app()).header("Host", host)).expect(403, "endpoint-unknown");
        sidecar.send(&Call::get(USERS).header("Host", host)).expect(401, "credentials-missing");
    }
}

#[test]
fn a_decision_for_one_caller_is_never_anothers() {
    let policy = "version: 1\nservice_accounts:\n  app:\n    shares: [{resource: user, actions: [list]}]\n  other:\n    shares: [{resource: \"dataset:*\", actions: \"*\"}]\n";
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).policy(policy).accounts(&["app", "other"]).start();
    let (app, other) = (sidecar.app(), sidecar.key("other"));
    let mut connection = Connection::open(sidecar.address());
    for _ in 0..3 {
        Call::get(USERS).with(app).send_on(&mut connection).expect_status(200);
        Call::get(USERS).with(other).send_on(&mut connection).expect(403, "not-shared");
        Call::get(USERS)
            .with(&Key { secret: other.secret.clone(), ..app.clone() })
            .send_on(&mut connection)
            .expect(401, "credentials-invalid");
        Call::get(USERS).send_on(&mut connection).expect(401, "credentials-missing");
    }
    assert!(upstream.seen().iter().all(|seen| seen.header("x-forwarded-account") == Some("app")));
}

#[test]
fn headers_that_steer_frameworks_from_inside_do_not_come_from_outside() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    for (name, value) in [
        ("X-Middleware-Subrequest", "middleware:middleware"),
        ("x_middleware_subrequest", "src/middleware"),
        ("Proxy", "http://evil.example:8080"),
    ] {
        sidecar.send(&Call::get(USERS).with(sidecar.app()).header(name, value)).expect_status(200);
        assert!(!upstream.last().has_folded(name), "{name}");
    }
}

#[test]
fn trailers_carry_no_identity_and_no_framing() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let head = format!(
        "POST /process/2/Ac1/Order HTTP/1.1\r\n{}Content-Type: application/json\r\nTrailer: X-Forwarded-User, Content-Length, Authorization, X-Check\r\n\
         Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\nX-Forwarded-User: ceo@acme.example\r\nx_forwarded_user: ceo@acme.example\r\nContent-Length: 99\r\n\
         Authorization: Bearer x\r\nX-Check: 1\r\n\r\n",
        signed(sidecar.app())
    );
    raw(&sidecar, head).unwrap().expect_status(200);
    assert_eq!(upstream.only().trailers, [("x-check".to_owned(), "1".to_owned())]);
}

#[test]
fn what_the_caller_holds_for_another_system_stays_with_the_caller() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    upstream.next(Reply::json(&json!({})).header("Set-Cookie", "session=theirs"));
    let call = Call::get(USERS)
        .with(sidecar.app())
        .header("Authorization", "Bearer mine")
        .header("Cookie", "session=mine")
        .header("Proxy-Authorization", "Bearer mine")
        .header("X-Api-Key", "mine")
        .header("X-Auth-Token", "mine");
    let answer = sidecar.send(&call);
    assert_eq!((answer.status, answer.header("set-cookie")), (200, None));
    assert!(!String::from_utf8_lossy(&upstream.only().head).contains("mine"));
}
