//! DESIGN §4.3 line by line, on raw bytes: a request that could mean two things goes nowhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use serde_json::json;
use support::{Answer, Call, Connection, Key, Sidecar, Upstream, shown};

fn behind(upstream: &Upstream) -> Sidecar {
    Sidecar::behind(upstream).start()
}

fn signed(key: &Key) -> Vec<u8> {
    format!("X-Access-Key-Id: {}\r\nX-Access-Key-Secret: {}\r\n", key.id, key.secret).into_bytes()
}

/// A request with a good key, and these bytes as its target.
fn with_target(sidecar: &Sidecar, target: &[u8]) -> Vec<u8> {
    [b"GET ", target, b" HTTP/1.1\r\nHost: vicar.test\r\n", &signed(sidecar.app()), b"\r\n"].concat()
}

/// A request with a good key, and these bytes among its header lines.
fn with_lines(sidecar: &Sidecar, lines: &[u8]) -> Vec<u8> {
    [b"GET /user/2/Ac1 HTTP/1.1\r\n", lines, &signed(sidecar.app()), b"\r\n"].concat()
}

/// Sends it with a second, plain request right behind: the first must be refused with this code, and the second never
/// be read.
#[track_caller]
fn refused(sidecar: &Sidecar, upstream: &Upstream, request: &[u8], status: u16, code: &str) -> Answer {
    let behind = Call::get("/user/2/behind").with(sidecar.app()).bytes();
    let mut connection = Connection::open(sidecar.address());
    let answer = connection.send([request, &behind].concat()).answer();
    let got = (answer.status, answer.code());
    assert_eq!(got, (status, code.to_owned()), "{}", shown(request));
    assert_eq!(answer.header("connection"), Some("close"), "{}", shown(request));
    assert!(connection.is_closed(), "{}", shown(request));
    let seen = upstream.seen();
    assert!(seen.is_empty(), "{} sent {seen:?}", shown(request));
    answer
}

#[track_caller]
fn ambiguous(sidecar: &Sidecar, upstream: &Upstream, request: &[u8]) -> Answer {
    refused(sidecar, upstream, request, 400, "ambiguous-request")
}

fn all_targets_are_ambiguous(targets: &[&[u8]]) {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    sidecar.send(&Call::get("/user/2/Ac1").with(sidecar.app())).expect_status(200);
    upstream.forget();
    for target in targets {
        ambiguous(&sidecar, &upstream, &with_target(&sidecar, target));
    }
}

// ===== paths =====

#[test]
fn dot_segments_are_refused_in_any_encoding() {
    all_targets_are_ambiguous(&[
        b"/.",
        b"/..",
        b"/./user/2/Ac1",
        b"/user/./2/Ac1",
        b"/user/2/Ac1/.",
        b"/user/2/Ac1/..",
        b"/process/../user/2/Ac1",
        b"/process/..",
        b"/process/%2e%2e/user/2/Ac1",
        b"/process/%2E%2E/user/2/Ac1",
        b"/process/.%2e/user/2/Ac1",
        b"/process/%2e./user/2/Ac1",
        b"/user/%2e/2/Ac1",
        b"/user/2/%2e%2e",
        b"/user/2/..?x=1",
    ]);
}

#[test]
fn empty_segments_are_refused() {
    all_targets_are_ambiguous(&[
        b"//",
        b"//user/2/Ac1",
        b"/user//2/Ac1",
        b"/user/2//Ac1",
        b"/user/2/Ac1//",
        b"///",
        b"//vicar.test/user/2/Ac1",
    ]);
}

#[test]
fn escaped_slashes_and_backslashes_are_refused() {
    all_targets_are_ambiguous(&[
        b"/user%2F2/Ac1",
        b"/user%2f2/Ac1",
        b"/user/2/Ac1%2f..%2fAc2",
        b"/user/2/Ac1%5c",
        b"/user%5C2/Ac1",
        b"/user\\2/Ac1",
        b"\\user\\2\\Ac1",
        b"/user/2/..\\Ac1",
        b"/user/2/..%5cAc1",
    ]);
}

#[test]
fn control_characters_are_refused_raw_and_escaped() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    for byte in (0..0x20).chain([0x7f]) {
        ambiguous(&sidecar, &upstream, &with_target(&sidecar, format!("/user/2/A%{byte:02x}c1").as_bytes()));
        ambiguous(&sidecar, &upstream, &with_target(&sidecar, &[b"/user/2/A", &[byte][..], b"c1"].concat()));
        ambiguous(&sidecar, &upstream, &with_target(&sidecar, &[b"/user/2/Ac1?q=", &[byte][..], b"x"].concat()));
    }
    // The C1 set, as UTF-8.
    for byte in [0x80, 0x85, 0x9f] {
        ambiguous(&sidecar, &upstream, &with_target(&sidecar, format!("/user/2/A%c2%{byte:02x}").as_bytes()));
        ambiguous(&sidecar, &upstream, &with_target(&sidecar, &[b"/user/2/A\xc2", &[byte][..]].concat()));
    }
}

#[test]
fn escapes_that_are_no_utf_8_are_refused() {
    all_targets_are_ambiguous(&[
        b"/user/2/%ff",
        b"/user/2/%80",
        b"/user/2/%c3",
        b"/user/2/%c3/%bc",
        b"/user/2/%c3%28",
        b"/user/2/%c0%af",
        b"/user/2/%c0%ae%c0%ae",
        b"/user/2/%c1%9c",
        b"/user/2/%e0%80%af",
        b"/user/2/%e0%9f%bf",
        b"/user/2/%f0%80%80%af",
        b"/user/2/%ed%a0%80",
        b"/user/2/%f4%90%80%80",
        b"/user/2/%f8%88%80%80%80",
        b"/user/2/%fe",
        b"/user/2/\xff",
        b"/user/2/\xc0\xaf",
        b"/user/2/\xed\xa0\x80",
    ]);
}

#[test]
fn double_escapes_are_refused() {
    all_targets_are_ambiguous(&[
        b"/process/%252e%252e/user",
        b"/process/%252E./user",
        b"/user%252f2/Ac1",
        b"/user%255c2/Ac1",
        b"/user/2/Ac1%2500",
        b"/user/2/Ac1%250d%250a",
        b"/user/2/%25c0%25af",
        b"/user/2/%25252e",
        b"/user/2/%25u002e",
        b"/user/2/%253b",
        b"/user/2/%2541",
    ]);
}

#[test]
fn escapes_that_are_none_are_refused() {
    all_targets_are_ambiguous(&[
        b"/user/2/%",
        b"/user/2/%4",
        b"/user/2/%zz",
        b"/user/2/%4g",
        b"/user/2/%-1",
        b"/user/2/% 41",
        b"/user/2/%u002e",
        b"/user/2/%%32%65",
    ]);
}

#[test]
fn path_parameters_are_refused_unless_a_setting_lets_them_through() {
    let parameters: [&[u8]; 7] = [
        b"/user/2/Ac1;x=1",
        b"/user;/2/Ac1",
        b"/user/2/;",
        b"/user/2/..;/Ac1",
        b"/user/2/.;x/Ac1",
        b"/user/2/Ac1%3Bx=1",
        b"/user/2/Ac1%3bx=1",
    ];
    all_targets_are_ambiguous(&parameters);
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).set("guard", "{pass: [path_parameters]}").start();
    for still in &parameters[2..] {
        ambiguous(&sidecar, &upstream, &with_target(&sidecar, still));
    }
    sidecar.send(&Call::get("/user/2/Ac1;x=1").with(sidecar.app())).expect_status(200);
    assert_eq!(upstream.only().target, "/user/2/Ac1;x=1");
}

#[test]
fn fragments_are_refused() {
    all_targets_are_ambiguous(&[
        b"/user/2/Ac1#",
        b"/user/2/Ac1#top",
        b"/user/2/Ac1?a=b#top",
        b"/user/2/Ac1#/../x",
        b"/#",
        b"#",
        b"http://vicar.test/user/2/Ac1#x",
        b"HTTP://vicar.test/user/2/Ac1#x",
        b"http://vicar.test#x",
        b"http://vicar.test#/user/2/Ac1",
    ]);
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    // As the second on a connection, and cut in two in the middle.
    let mut connection = Connection::open(sidecar.address());
    Call::get("/user/2/Ac1").with(sidecar.app()).send_on(&mut connection).expect_status(200);
    connection.send("GET /user/2/Ac1#t");
    std::thread::sleep(std::time::Duration::from_millis(20));
    connection.send([b"op HTTP/1.1\r\nHost: vicar.test\r\n", signed(sidecar.app()).as_slice(), b"\r\n"].concat());
    connection.answer().expect(400, "ambiguous-request");
    assert!(connection.is_closed());
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn characters_that_no_path_may_hold_are_refused() {
    all_targets_are_ambiguous(&[
        b"/user/2/A\"c1",
        b"/user/2/A<c1",
        b"/user/2/A>c1",
        b"/user/2/A^c1",
        b"/user/2/A`c1",
        b"/user/2/A{c1",
        b"/user/2/A|c1",
        b"/user/2/A}c1",
        b"/user/2/A[c1",
        b"/user/2/A]c1",
        b"/user/2/A c1",
        b"/user/2/A\tc1",
    ]);
}

#[test]
fn a_value_that_is_a_literal_elsewhere_is_no_value_in_any_letter_case() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    for path in [
        "/process/2/Ac1/admin",
        "/process/2/Ac1/ADMIN",
        "/process/2/Ac1/Admin/",
        "/process/2/Ac1/%61dmin",
        "/PROCESS/2/Ac1/Order",
        "/User/2/Ac1",
        "/.VICAR/whoami",
    ] {
        let answer = sidecar.send(&Call::post(path).with(sidecar.app()).json(&json!({})));
        answer.expect(403, "endpoint-unknown");
    }
    upstream.saw_nothing();
}

// ===== targets and hosts =====

#[test]
fn targets_in_other_forms_are_refused() {
    all_targets_are_ambiguous(&[
        b"http://other.test/user/2/Ac1",
        b"http://vicar.test:81/user/2/Ac1",
        b"http://vicar.test:80/user/2/Ac1",
        b"http://user@vicar.test/user/2/Ac1",
        b"http://vicar.test@other.test/user/2/Ac1",
        b"http://vicar.test.other.test/user/2/Ac1",
        b"ftp://vicar.test/user/2/Ac1",
        b"file:///user/2/Ac1",
        b"http:///user/2/Ac1",
        b"http:/user/2/Ac1",
        b"http://",
        b"vicar.test",
        b"vicar.test:80",
        b"user/2/Ac1",
        b"*",
        b"?x=1",
        b"",
        b"http://vicar.test/user/2/../Ac1",
    ]);
}

#[test]
fn a_host_is_there_once_and_is_a_host() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    for lines in [
        &b""[..],
        b"Host: vicar.test\r\nHost: vicar.test\r\n",
        b"Host: vicar.test\r\nHost: other.test\r\n",
        b"Host: vicar.test\r\nhost: vicar.test\r\n",
        b"Host:\r\n",
        b"Host: \r\n",
        b"Host: a b\r\n",
        b"Host: a,b\r\n",
        b"Host: a/b\r\n",
        b"Host: a@b\r\n",
        b"Host: a#b\r\n",
        b"Host: a?b\r\n",
        b"Host: a\\b\r\n",
        b"Host: a;b\r\n",
        b"Host: a\"b\r\n",
        b"Host: http://vicar.test\r\n",
        b"Host: vicar\xff.test\r\n",
        b"Host: a\x00b\r\n",
        b"Host: a:b\r\n",
        b"Host: a:65536\r\n",
        b"Host: a:80:80\r\n",
        b"Host: :80\r\n",
        b"Host: %zz\r\n",
        b"Host: [::1\r\n",
        b"Host: [a.test]\r\n",
        b"Host: [::1]80\r\n",
        b"Host : vicar.test\r\n",
        b"X: y\r\n Host: vicar.test\r\n",
    ] {
        ambiguous(&sidecar, &upstream, &with_lines(&sidecar, lines));
    }
    for host in ["vicar.test", "vicar.test:8080", "127.0.0.1:80", "[::1]:80", "a_b.test"] {
        sidecar.send(&Call::get("/user/2/Ac1").with(sidecar.app()).header("Host", host)).expect_status(200);
        assert_eq!(upstream.last().header("x-forwarded-host"), Some(host));
    }
}

// ===== framing =====

#[test]
fn of_length_and_chunks_only_one_reading_goes_on_and_the_connection_closes() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    for lines in ["Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"] {
        upstream.forget();
        let request = [
            b"POST /process/2/Ac1/Order HTTP/1.1\r\nHost: vicar.test\r\nContent-Type: application/json\r\n",
            lines.as_bytes(),
            &signed(sidecar.app()),
            b"\r\n2\r\n{}\r\n0\r\n\r\n",
            &Call::get("/user/2/behind").with(sidecar.app()).bytes(),
        ]
        .concat();
        let mut connection = Connection::open(sidecar.address());
        connection.send(request).answer();
        assert!(connection.is_closed());
        for seen in upstream.seen() {
            assert_eq!(
                (seen.text().as_str(), seen.header("content-length"), seen.headers("transfer-encoding")),
                ("{}", None, vec!["chunked"])
            );
            assert_ne!(seen.target, "/user/2/behind");
        }
    }
}

#[test]
fn a_coding_other_than_chunked_once_is_refused() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    for coding in [
        "gzip, chunked",
        "identity, chunked",
        "chunked, chunked",
        "chunked, identity",
        "identity",
        "gzip",
        "x",
        "",
        ",chunked",
        "chunked,",
        "chunked;q=1",
        "\"chunked\"",
        "chunked\r\nTransfer-Encoding: chunked",
        "identity\r\nTransfer-Encoding: chunked",
        "chunked\r\nTransfer-Encoding: identity",
    ] {
        let lines = format!("Host: vicar.test\r\nContent-Type: application/json\r\nTransfer-Encoding: {coding}\r\n");
        let request = [with_lines(&sidecar, lines.as_bytes()), b"2\r\n{}\r\n0\r\n\r\n".to_vec()].concat();
        ambiguous(&sidecar, &upstream, &request);
    }
}

#[test]
fn a_length_that_is_no_number_is_refused() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    for length in [
        "+2",
        "-2",
        "2x",
        "0x2",
        "2, 2",
        "2,3",
        "2 2",
        "",
        "2.0",
        "1e1",
        "\u{662}",
        "18446744073709551616",
        "99999999999999999999",
        "2\r\nContent-Length: 3",
    ] {
        let lines = format!("Host: vicar.test\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n");
        ambiguous(&sidecar, &upstream, &[with_lines(&sidecar, lines.as_bytes()), b"{}".to_vec()].concat());
    }
}

// ===== methods and overrides =====

#[test]
fn connect_and_trace_are_not_served() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    for line in ["CONNECT vicar.test:443", "CONNECT /user/2/Ac1", "TRACE /user/2/Ac1"] {
        let request = [format!("{line} HTTP/1.1\r\nHost: vicar.test:443\r\n").as_bytes(), &signed(sidecar.app()), b"\r\n"].concat();
        let answer = refused(&sidecar, &upstream, &request, 405, "method-not-allowed");
        let allow = answer.header("allow").unwrap();
        assert!(allow.contains("GET") && !allow.contains("TRACE") && !allow.contains("CONNECT"));
        assert!(!answer.text().contains(&sidecar.app().secret));
    }
}

#[test]
fn headers_that_override_method_or_path_are_refused_in_any_spelling() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    for name in [
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "HTTP-Method-Override",
        "X_HTTP_Method_Override",
        "x-http_method-override",
        "X.HTTP.Method.Override",
        "X-Original-URL",
        "X-Original-URI",
        "X-Rewrite-URL",
        "X_Rewrite_URL",
        "x_original-url",
    ] {
        ambiguous(&sidecar, &upstream, &with_lines(&sidecar, format!("Host: vicar.test\r\n{name}: /process/2/Ac1/Order\r\n").as_bytes()));
    }
}

#[test]
fn names_in_the_query_that_override_are_refused_in_any_spelling() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    for query in [
        "_method=DELETE",
        "_METHOD=DELETE",
        "%5fmethod=DELETE",
        "a=1&_method=DELETE",
        "a=1;_method=DELETE",
        "_method",
        "_method[]=x",
        "_method%5B%5D=x",
        "_method%00=x",
        "+_method=x",
        "api_key=x",
        "API-KEY=x",
        "api.key=x",
        "key=x",
        "token=x",
        "access_token=x",
        "Access%20Token=x",
    ] {
        let answer = sidecar.send(&Call::get(&format!("/user/2/Ac1?{query}")).with(sidecar.app()));
        assert_eq!((answer.status, answer.code().as_str()), (400, "query-not-allowed"), "{query}");
    }
    upstream.saw_nothing();
    for query in ["page_number=1&page_size=50", "q=_method", "q=a%26_method%3Dx", "monkey=1", "%zz=1", "="] {
        sidecar.send(&Call::get(&format!("/user/2/Ac1?{query}")).with(sidecar.app())).expect_status(200);
        assert_eq!(upstream.last().target, format!("/user/2/Ac1?{query}"));
    }
}

#[test]
fn a_body_of_a_type_that_carries_form_fields_is_refused() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    for kind in [
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "application/json, text/plain",
        "application/jsonx",
        "json",
        "",
    ] {
        let call = Call::post("/process/2/Ac1/Order").with(sidecar.app()).header("Content-Type", kind).body("_method=DELETE");
        sidecar.send(&call).expect(415, "unsupported-media-type");
    }
    let twice = Call::post("/process/2/Ac1/Order").with(sidecar.app()).header("Content-Type", "application/json").json(&json!({}));
    sidecar.send(&twice).expect(400, "ambiguous-request");
    upstream.saw_nothing();
    let call = Call::post("/process/2/Ac1/Order").with(sidecar.app()).header("Content-Type", "Application/JSON ; charset=utf-8").body("{}");
    sidecar.send(&call).expect_status(200);
}

// ===== heads =====

#[test]
fn a_head_that_is_no_http_1_1_is_refused() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let keys = signed(sidecar.app());
    for line in [
        "GET  /user/2/Ac1 HTTP/1.1",
        "GET /user/2/Ac1  HTTP/1.1",
        "GET\t/user/2/Ac1 HTTP/1.1",
        " GET /user/2/Ac1 HTTP/1.1",
        "GET /user/2/Ac1 HTTP/1.1 ",
        "GET /user/2/Ac1 HTTP/1.1 x",
        "GET /user/2/Ac1",
        "GET /user/2/Ac1 ",
        "/user/2/Ac1 HTTP/1.1",
        "GET /user/2/Ac1 http/1.1",
        "GET /user/2/Ac1 HTTP/1.2",
        "GET /user/2/Ac1 HTTP/2.0",
        "GET /user/2/Ac1 HTTP/0.9",
        "GET /user/2/Ac1 HTTP/1",
        "GET /user/2/Ac1 HTTP/1.1.1",
        "GET /user/2/Ac1 HTTPS/1.1",
        "GET /user/2/Ac1 HTTP/1.1\rX",
        "G\0T /user/2/Ac1 HTTP/1.1",
        "G@T /user/2/Ac1 HTTP/1.1",
        "GET,POST /user/2/Ac1 HTTP/1.1",
        "GET: /user/2/Ac1 HTTP/1.1",
    ] {
        ambiguous(&sidecar, &upstream, &[format!("{line}\r\nHost: vicar.test\r\n").as_bytes(), &keys, b"\r\n"].concat());
    }
    for lines in [
        &b"X-Folded: a\r\n b\r\n"[..],
        b"X-Folded: a\r\n\tb\r\n",
        b" X-First: a\r\n",
        b"X-Space : a\r\n",
        b"X-Tab\t: a\r\n",
        b"X Space: a\r\n",
        b"NoColon\r\n",
        b": no name\r\n",
        b"X-Bare-CR: a\rb\r\n",
        b"X-Bare-CR: a\r\r\n",
        b"X-NUL: a\0b\r\n",
        b"X-NUL\0: a\r\n",
        b"X-Bell: a\x07b\r\n",
        b"X-DEL: a\x7fb\r\n",
        b"X-\xc3\xbc: a\r\n",
        b"X(Comment): a\r\n",
        b"X\"Quote: a\r\n",
        b"X[0]: a\r\n",
        b"X,Y: a\r\n",
        b"X;Y: a\r\n",
        b"X/Y: a\r\n",
        b"X@Y: a\r\n",
    ] {
        ambiguous(&sidecar, &upstream, &with_lines(&sidecar, &[b"Host: vicar.test\r\n", lines].concat()));
    }
}

#[test]
fn a_head_over_its_limits_is_refused() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let many = format!("Host: vicar.test\r\n{}", "X: y\r\n".repeat(200));
    refused(&sidecar, &upstream, &with_lines(&sidecar, many.as_bytes()), 431, "head-too-large");
    let long = format!("Host: vicar.test\r\nX: {}\r\n", "y".repeat(200 << 10));
    refused(&sidecar, &upstream, &with_lines(&sidecar, long.as_bytes()), 431, "head-too-large");
    let far = format!("/user/2/{}", "a".repeat(80 << 10));
    refused(&sidecar, &upstream, &with_target(&sidecar, far.as_bytes()), 431, "head-too-large");
}

#[test]
fn a_line_may_end_in_a_bare_lf_and_then_does_so_for_both_sides() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let request = String::from_utf8(with_lines(&sidecar, b"Host: vicar.test\r\nX-One: 1\r\n")).unwrap().replace("\r\n", "\n");
    let answer = support::client::exchange(sidecar.address(), request);
    if answer.status == 200 {
        let seen = upstream.only();
        assert_eq!(seen.header("x-one"), Some("1"));
        let lines = seen.head.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(lines, seen.head.windows(2).filter(|pair| pair == b"\r\n").count(), "every line upstream ends in CRLF");
    } else {
        answer.expect(400, "ambiguous-request");
        upstream.saw_nothing();
    }
}
