//! HTTP/2 from callers.

use http::{Method, Request};

use crate::{
    ORDERS, USERS,
    http2::{self, CONTINUATION, END_HEADERS, END_STREAM, Frames, HEADERS, Http2, Outcome, RST_STREAM},
    support::{Reply, Sidecar, Upstream},
};

#[test]
fn many_requests_go_at_once_over_one_connection() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let mut caller = Http2::clear(sidecar.address());
    let answers = caller.send_all((0..50).map(|_| http2::get(USERS, sidecar.app())).collect());
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    assert_eq!(upstream.seen().len(), 50);
    let ids: std::collections::HashSet<_> = answers.iter().map(|answer| answer.request_id()).collect();
    assert_eq!(ids.len(), 50);
}

#[test]
fn a_body_goes_up_and_an_answer_comes_down_whole() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    upstream.next(Reply::status(200).long(3 << 20));
    let mut caller = Http2::clear(sidecar.address());
    let request = Request::post(format!("http://vicar.test{ORDERS}"))
        .header("x-access-key-id", &sidecar.app().id)
        .header("x-access-key-secret", &sidecar.app().secret)
        .header("content-type", "application/json")
        .header("trailer", "x-after")
        .body(http2::with_trailer("{\"a\": 1}", "x-after", "word"))
        .unwrap();
    assert_eq!(caller.send(request).expect_status(200).body.len(), 3 << 20);
    let seen = upstream.only();
    assert_eq!(seen.text(), "{\"a\": 1}");
    assert_eq!(seen.header("host"), Some(upstream.address().to_string().as_str()));
    assert_eq!(seen.trailers, [("x-after".to_owned(), "word".to_owned())]);
}

#[test]
fn a_refusal_over_http_2_says_why() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let mut caller = Http2::clear(sidecar.address());
    let request = Request::get(format!("http://vicar.test{USERS}")).body(http2::empty()).unwrap();
    caller.send(request).expect(401, "credentials-missing");
    let mut many = http2::get(USERS, sidecar.app());
    for number in 0..200 {
        many.headers_mut().append("x-many", number.into());
    }
    caller.send(many).expect(431, "head-too-large");
    // To HEAD it says how long that would be, and no more: what came behind would be an error of the stream.
    let mut tall = http2::get(USERS, sidecar.app());
    *tall.method_mut() = Method::HEAD;
    let keyless = Request::head(format!("http://vicar.test{USERS}")).body(http2::empty()).unwrap();
    let answer = caller.try_send(keyless).unwrap();
    assert!(answer.status == 401 && answer.body.is_empty(), "{answer:?}");
    assert!(answer.header("content-length").is_some_and(|length| length != "0"), "{answer:?}");
    for number in 0..200 {
        tall.headers_mut().append("x-many", number.into());
    }
    let answer = caller.try_send(tall).unwrap();
    assert!(answer.status == 431 && answer.body.is_empty(), "{answer:?}");
    let mut long = http2::get(USERS, sidecar.app());
    long.headers_mut().insert("x-long", "x".repeat(100 << 10).parse().unwrap());
    caller.send(long).expect(431, "head-too-large");
    upstream.saw_nothing();
}

/// The HTTP library drops a fragment of an HTTP/2 `:path` before anybody sees it. What is left is what is decided, and
/// what the service gets; the record says the same.
#[test]
fn a_fragment_over_http_2_goes_nowhere() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let mut frames = Frames::open(sidecar.address());
    for (stream, path) in [(1, "/user/2/Ac1#top"), (3, "/user/2/Ac1#/../admin"), (5, "/user/2/Ac1?a=b#?c=d")] {
        frames.request(stream, &http2::fields(path, sidecar.app()));
        assert_eq!(frames.outcome(stream), Outcome::Answered(Some(200)), "{path}");
        assert_eq!(upstream.last().target, path.split('#').next().unwrap());
    }
    assert!(sidecar.records().iter().filter(|record| record["kind"] == "access").all(|record| record["path"] == USERS));
}

/// Each is malformed by RFC 9113 §8, or would be another request once written as HTTP/1 (Envoy CVE-2023-27491).
#[test]
fn what_http_2_forbids_does_not_reach_the_service() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let good = http2::fields(USERS, sidecar.app());
    let with = |more: &[(&'static str, &'static str)]| good.iter().copied().chain(more.iter().copied()).collect::<Vec<_>>();
    let instead = |name: &str, value: &'static str| {
        good.iter().map(|&(known, is)| (known, if known == name { value } else { is })).collect::<Vec<_>>()
    };
    let without = |name: &str| good.iter().copied().filter(|(known, _)| *known != name).collect::<Vec<_>>();
    let corpus = [
        ("two paths", with(&[(":path", "/other")])),
        ("a path after the fields", {
            let mut fields = without(":path");
            fields.push((":path", USERS));
            fields
        }),
        ("no path", without(":path")),
        ("no method", without(":method")),
        ("two methods", with(&[(":method", "POST")])),
        ("an unknown pseudo-header", with(&[(":user", "root")])),
        ("a line break in the path", instead(":path", "/user/2/Ac1 HTTP/1.1\r\nX-A: b")),
        ("a line break in a value", with(&[("x-a", "b\r\nX-C: d")])),
        ("a zero byte in a value", with(&[("x-a", "b\0c")])),
        ("a space in the method", instead(":method", "GET /a")),
        ("an upper-case name", with(&[("X-Upper", "a")])),
        ("a space in a name", with(&[("x a", "b")])),
        ("a colon in a name", with(&[("x:a", "b")])),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")])),
        ("connection", with(&[("connection", "close")])),
        ("upgrade", with(&[("upgrade", "h2c")])),
        ("another te", with(&[("te", "gzip")])),
        ("another host", with(&[("host", "elsewhere.test")])),
        ("user info in the authority", instead(":authority", "root@vicar.test")),
        ("an empty path", instead(":path", "")),
        ("a path with no slash", instead(":path", "user/2/Ac1")),
        ("dot segments", instead(":path", "/user/2/../2/Ac1")),
        ("a length that is not the body's", with(&[("content-length", "5")])),
    ];
    for (what, fields) in &corpus {
        let mut frames = Frames::open(sidecar.address());
        frames.request(1, fields);
        let outcome = frames.outcome(1);
        assert_ne!(outcome, Outcome::Answered(Some(200)), "{what}");
        assert!(upstream.seen().is_empty(), "{what} reached the service");
    }
    let mut frames = Frames::open(sidecar.address());
    frames.request(1, &good);
    assert_eq!(frames.outcome(1), Outcome::Answered(Some(200)), "the request itself is good");
}

#[test]
fn a_flood_of_requests_that_are_taken_back_closes_the_connection() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let mut frames = Frames::open(sidecar.address());
    let fields = http2::fields(USERS, sidecar.app());
    for stream in 0..100_000 {
        let stream = stream * 2 + 1;
        if !frames.request(stream, &fields) || !frames.send(RST_STREAM, 0, stream, &[0, 0, 0, 8]) {
            break;
        }
    }
    assert!(frames.is_closed());
    Http2::clear(sidecar.address()).send(http2::get(USERS, sidecar.app())).expect_status(200);
}

#[test]
fn a_head_without_end_closes_the_connection() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let mut frames = Frames::open(sidecar.address());
    frames.send(HEADERS, END_STREAM, 1, &http2::block(&[(":method", "GET")]));
    for _ in 0..100_000 {
        if !frames.send(CONTINUATION, 0, 1, &http2::block(&[("x-more", "and more")])) {
            break;
        }
    }
    assert!(frames.is_closed());
    frames.send(CONTINUATION, END_HEADERS, 1, &[]);
    upstream.saw_nothing();
}

#[test]
fn cookies_in_crumbs_become_one_cookie() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).set("guard", "{pass: [cookie]}").start();
    let mut request = http2::get(USERS, sidecar.app());
    for crumb in ["a=1", "b=2"] {
        request.headers_mut().append("cookie", http::HeaderValue::from_static(crumb));
    }
    Http2::clear(sidecar.address()).send(request).expect_status(200);
    assert_eq!(upstream.only().header("cookie"), Some("a=1; b=2"));
}
