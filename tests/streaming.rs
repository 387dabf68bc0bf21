//! Bodies on their way through: both directions, every framing, and every way to break off.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::json;
use support::{Call, Connection, Reply, Sidecar, Upstream, eventually, sidecar::free_port};

const GIB: u64 = 1 << 30;
/// What one sidecar may grow by while a gibibyte goes through it. A body that is held would take sixteen times that.
const GROWTH_KIB: u64 = 64 << 10;

const CATALOG: &str = r#"version: 1
kinds: {thing: {title: Things}}
endpoints:
  - {request: "GET /things", resource: thing, action: list}
  - {request: "GET /things/{id}", resource: "thing:{id}", action: read}
  - {request: "POST /things", resource: thing, action: create}
  - {request: "PUT /things/{id}", resource: "thing:{id}", action: update, content_types: [application/json, application/octet-stream]}
  - {request: "DELETE /things/{id}", resource: "thing:{id}", action: delete}
"#;

fn behind(upstream: &Upstream) -> Sidecar {
    Sidecar::behind(upstream).catalog(CATALOG).set("limits", "{body: 2GiB}").start()
}

/// The most memory a sidecar has ever had, in KiB.
fn peak_kib(sidecar: &Sidecar) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", sidecar.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells the peak");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn signed(sidecar: &Sidecar) -> String {
    let key = sidecar.app();
    format!("Host: vicar.test\r\nX-Access-Key-Id: {}\r\nX-Access-Key-Secret: {}\r\n", key.id, key.secret)
}

// ===== a gibibyte =====

#[test]
fn a_gibibyte_comes_down_in_constant_memory() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    sidecar.send(&Call::get("/things").with(sidecar.app())).expect_status(200);
    let before = peak_kib(&sidecar);
    upstream.next(Reply::status(200).header("Content-Type", "application/octet-stream").long(GIB));
    let mut connection = Connection::open(sidecar.address());
    connection.send(Call::get("/things/big").with(sidecar.app()).bytes());
    let head = connection.read_some(1);
    let head_length = head.windows(4).position(|w| w == b"\r\n\r\n").expect("the head comes first") as u64 + 4;
    let mut got = head.len() as u64 - head_length;
    while got < GIB {
        let piece = connection.read_some(1);
        assert!(!piece.is_empty(), "the answer ended after {got} bytes");
        got += piece.len() as u64;
    }
    let grown = peak_kib(&sidecar) - before;
    assert!(grown < GROWTH_KIB, "grew by {grown} KiB");
    let record = sidecar.records().into_iter().rev().find(|r| r["path"] == "/things/big").unwrap();
    assert_eq!(record["bytes_out"], GIB);
}

#[test]
fn a_gibibyte_goes_up_in_constant_memory() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    sidecar.send(&Call::get("/things").with(sidecar.app())).expect_status(200);
    let before = peak_kib(&sidecar);
    let mut connection = Connection::open(sidecar.address());
    let head =
        format!("PUT /things/big HTTP/1.1\r\n{}Content-Type: application/octet-stream\r\nContent-Length: {GIB}\r\n\r\n", signed(&sidecar));
    connection.send(head);
    let piece = vec![b'y'; 1 << 20];
    for _ in 0..GIB / piece.len() as u64 {
        connection.send(&piece);
    }
    let answer = connection.answer();
    answer.expect_status(200);
    let grown = peak_kib(&sidecar) - before;
    assert!(grown < GROWTH_KIB, "grew by {grown} KiB");
    assert_eq!(upstream.last().body_len, GIB);
    assert_eq!(sidecar.record(&answer.request_id())["bytes_in"], GIB);
}

// ===== as it comes =====

#[test]
fn an_answer_reaches_the_caller_before_the_service_has_finished_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (go_on, told) = mpsc::channel::<()>();
    let service = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_head(&mut stream);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nevent 1\r\n")
            .unwrap();
        told.recv().unwrap();
        stream.write_all(b"7\r\nevent 2\r\n0\r\n\r\n").unwrap();
    });
    let sidecar = Sidecar::behind_url(&url).catalog(CATALOG).start();
    let mut connection = Connection::open(sidecar.address());
    connection.send(Call::get("/things").with(sidecar.app()).bytes());
    let mut so_far = Vec::new();
    while !so_far.windows(7).any(|w| w == b"event 1") {
        so_far.extend(connection.read_some(1));
    }
    go_on.send(()).unwrap();
    while !so_far.ends_with(b"event 2\r\n0\r\n\r\n") {
        let more = connection.read_some(1);
        assert!(!more.is_empty());
        so_far.extend(more);
    }
    service.join().unwrap();
}

fn read_head(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    head
}

#[test]
fn an_upload_reaches_the_service_before_the_caller_has_finished_it() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let mut connection = Connection::open(sidecar.address());
    let head = format!("POST /things HTTP/1.1\r\n{}Content-Type: application/json\r\nContent-Length: 10\r\n\r\n", signed(&sidecar));
    connection.send(head).send("12345");
    eventually("half of the body is at the service", || (upstream.arrived() == 5).then_some(()));
    connection.send("67890").answer().expect_status(200);
    assert_eq!(upstream.only().text(), "1234567890");
}

#[test]
fn chunks_go_up_and_down_as_chunks() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    upstream.next(Reply::status(200).chunked(["one", "two", "three"]));
    let mut connection = Connection::open(sidecar.address());
    let head = format!("POST /things HTTP/1.1\r\n{}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n", signed(&sidecar));
    let answer = connection.send(head).send("3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n").answer();
    assert_eq!(answer.text(), "onetwothree");
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    let seen = upstream.only();
    assert_eq!((seen.text().as_str(), seen.header("transfer-encoding"), seen.header("content-length")), ("[1,2]", Some("chunked"), None));
}

#[test]
fn trailers_go_both_ways_but_carry_no_identity() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    upstream.next(
        Reply::status(200)
            .header("Trailer", "X-Sum, X-Request-Id")
            .chunked(["abc"])
            .trailer("X-Sum", "6")
            .trailer("X-Request-Id", "forged"),
    );
    let mut connection = Connection::open(sidecar.address());
    let head = format!(
        "POST /things HTTP/1.1\r\n{}Content-Type: application/json\r\nTE: trailers\r\nTrailer: X-Check, X-Forwarded-User, x_forwarded_user, X-Access-Key-Id\r\n\
         Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\nX-Check: ok\r\nX-Forwarded-User: ceo@acme.example\r\nx_forwarded_user: ceo@acme.example\r\n\
         X-Access-Key-Id: VKAAAAAAAAAAAAAAAAAAAA\r\nAuthorization: Basic eA==\r\n\r\n",
        signed(&sidecar)
    );
    let answer = connection.send(head).answer();
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "6".to_owned())]);
    assert_eq!(sidecar.record(&answer.request_id())["outcome"], "completed");
    let seen = upstream.only();
    assert_eq!(seen.trailers, [("x-check".to_owned(), "ok".to_owned())]);
    // Trailers that nobody announced, or may be sent, leave the body whole and the connection usable.
    upstream.forget();
    for (announced, asked) in [("", "TE: trailers\r\n"), ("Trailer: X-Request-Id\r\n", "TE: trailers\r\n"), ("Trailer: X-Sum\r\n", "")] {
        let mut reply = Reply::status(200).chunked(["abc"]).trailer("X-Sum", "6").trailer("X-Request-Id", "forged");
        if let Some(name) = announced.trim().strip_prefix("Trailer: ") {
            reply = reply.header("Trailer", name);
        }
        upstream.next(reply);
        let head = format!(
            "POST /things HTTP/1.1\r\n{}Content-Type: application/json\r\n{asked}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\nX-Unannounced: 1\r\n\r\n",
            signed(&sidecar)
        );
        let answer = connection.send(head).answer();
        assert_eq!((answer.text().as_str(), answer.trailers.len()), ("abc", 0));
        assert_eq!(sidecar.record(&answer.request_id())["outcome"], "completed");
        assert_eq!((upstream.last().text().as_str(), upstream.last().trailers.len()), ("{}", 0));
    }
}

#[test]
fn a_body_goes_up_whatever_the_method() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    for (method, path) in [("GET", "/things"), ("DELETE", "/things/1"), ("PUT", "/things/1"), ("POST", "/things")] {
        let sized = Call::new(method, path).with(sidecar.app()).json(&json!({"a": 1}));
        sidecar.send(&sized).expect_status(200);
        assert_eq!(upstream.last().text(), r#"{"a":1}"#, "{method}, sized");
        let chunked = sized.header("Transfer-Encoding", "chunked").body("7\r\n{\"a\":2}\r\n0\r\n\r\n");
        sidecar.send(&chunked).expect_status(200);
        assert_eq!(upstream.last().text(), r#"{"a":2}"#, "{method}, chunked");
    }
}

#[test]
fn a_delete_is_not_made_again_where_a_get_is() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).catalog(CATALOG).set("workers", "1").start();
    // The second of two would get another answer than the first, and the record would tell of that alone.
    for (method, status, seen) in [("GET", 200, 2), ("DELETE", 502, 1)] {
        sidecar.send(&Call::get("/things").with(sidecar.app())).expect_status(200);
        thread::sleep(Duration::from_millis(300));
        upstream.forget();
        upstream.next(Reply::nothing());
        sidecar.send(&Call::new(method, "/things/1").with(sidecar.app())).expect_status(status);
        assert_eq!(upstream.seen().len(), seen, "{method}");
    }
}

// ===== answers without a body =====

#[test]
fn head_204_and_304_have_no_body_and_leave_the_connection_usable() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let mut connection = Connection::open(sidecar.address());
    upstream.next(Reply::status(200).body("ten bytes."));
    let head = Call::new("HEAD", "/things").with(sidecar.app()).send_on(&mut connection);
    assert_eq!((head.status, head.header("content-length")), (200, Some("10")));
    assert_eq!(upstream.last().method, "HEAD");
    for status in [204, 304] {
        upstream.next(Reply::status(status).header("ETag", "\"1\""));
        let answer = Call::get("/things").with(sidecar.app()).header("If-None-Match", "\"1\"").send_on(&mut connection);
        assert_eq!((answer.status, answer.header("etag")), (status, Some("\"1\"")));
    }
    Call::get("/things").with(sidecar.app()).send_on(&mut connection).expect_status(200);
    assert_eq!(upstream.connections(), 1);
    for record in sidecar.records().iter().filter(|record| record["kind"] == "access") {
        assert_eq!(record["outcome"], "completed");
    }
}

#[test]
fn a_connection_is_kept_on_both_sides() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let mut connection = Connection::open(sidecar.address());
    for _ in 0..5 {
        Call::get("/things").with(sidecar.app()).send_on(&mut connection).expect_status(200);
        Call::post("/things").with(sidecar.app()).json(&json!([])).send_on(&mut connection).expect_status(200);
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    for n in 0..5 {
        upstream.next(Reply::json(&json!(n)));
    }
    let all: Vec<u8> = (0..5).flat_map(|n| Call::get(&format!("/things/{n}")).with(sidecar.app()).bytes()).collect();
    let mut connection = Connection::open(sidecar.address());
    connection.send(all);
    for n in 0..5 {
        assert_eq!(connection.answer().json(), json!(n));
    }
    assert_eq!(
        upstream.seen().iter().map(|seen| seen.target.clone()).collect::<Vec<_>>(),
        (0..5).map(|n| format!("/things/{n}")).collect::<Vec<_>>()
    );
}

#[test]
fn a_caller_that_says_close_is_closed_on() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let mut connection = Connection::open(sidecar.address());
    Call::get("/things").with(sidecar.app()).header("Connection", "close").send_on(&mut connection).expect_status(200);
    assert!(connection.is_closed());
    assert!(!upstream.only().headers("connection").contains(&"close"));
}

#[test]
fn an_http_1_0_caller_gets_an_answer_it_can_read() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    upstream.next(Reply::status(200).chunked(["one", "two"]));
    let mut connection = Connection::open(sidecar.address());
    connection.send(format!("GET /things HTTP/1.0\r\n{}\r\n", signed(&sidecar)));
    let answer = connection.answer();
    assert_eq!((answer.status, answer.header("transfer-encoding"), answer.text().as_str()), (200, None, "onetwo"));
    assert!(upstream.only().head.starts_with(b"GET /things HTTP/1.1\r\n"));
}

// ===== 100-continue =====

#[test]
fn expect_100_continue_asks_for_the_body_only_once_it_is_wanted() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let expect = |key: &str| {
        format!("POST /things HTTP/1.1\r\n{key}Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    };
    let mut connection = Connection::open(sidecar.address());
    let interim = connection.send(expect(&signed(&sidecar))).read_some(25);
    assert!(interim.starts_with(b"HTTP/1.1 100 "), "{}", support::shown(&interim));
    connection.send("{}").answer().expect_status(200);
    let seen = upstream.only();
    assert_eq!((seen.text().as_str(), seen.header("expect")), ("{}", None));

    let mut connection = Connection::open(sidecar.address());
    let answer = connection.send(expect("Host: vicar.test\r\n")).answer();
    answer.expect(401, "credentials-missing");
    assert_eq!(answer.interim, [0_u16; 0], "a refused caller is not asked for its body");
}

// ===== what breaks off =====

#[test]
fn an_answer_before_the_body_is_read_reaches_the_caller_and_ends_both_connections() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    upstream.next(Reply::status(409).body("no").early());
    let mut connection = Connection::open(sidecar.address());
    let head = format!("PUT /things/1 HTTP/1.1\r\n{}Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n[", signed(&sidecar));
    let answer = connection.send(head).answer();
    assert_eq!((answer.status, answer.text().as_str()), (409, "no"));
    // What comes now is the rest of the body, and must never be read as a request.
    connection.send(Call::get("/things/smuggled").with(sidecar.app()).bytes());
    assert!(connection.is_closed());
    Call::get("/things").with(sidecar.app()).send(sidecar.address()).expect_status(200);
    assert!(upstream.seen().iter().all(|seen| seen.target != "/things/smuggled"));
    assert_ne!(
        upstream.seen().iter().find(|seen| seen.target == "/things").unwrap().connection,
        0,
        "the first upstream connection is not used again"
    );
}

/// RFC 9112 §6.3: with both, the coding says where the answer ends, and the length goes no further.
#[test]
fn an_answer_with_a_length_and_a_coding_goes_on_with_one_of_them() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    for length in [0, 1, 5, 9] {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n");
        upstream.next(Reply::raw(head + "2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"));
        let answer = sidecar.send(&Call::get("/things").with(sidecar.app()));
        assert_eq!((answer.header("content-length"), answer.text().as_str()), (None, "abcde"), "a length of {length}");
        assert_eq!(sidecar.record(&answer.request_id())["outcome"], "completed");
    }
}

#[test]
fn a_service_that_is_down_is_a_502_and_in_the_log() {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let sidecar = Sidecar::behind_url(&format!("http://{address}")).catalog(CATALOG).start();
    let answer = sidecar.send(&Call::get("/things").with(sidecar.app()));
    answer.expect(502, "upstream-unreachable");
    let record = sidecar.record(&answer.request_id());
    assert_eq!((&record["outcome"], &record["status"], &record["decision"]), (&json!("upstream_error"), &json!(502), &json!("allow")));
    // It comes back, and nobody has to do anything.
    let upstream = Upstream::on(address);
    sidecar.send(&Call::get("/things").with(sidecar.app())).expect_status(200);
    upstream.only();
}

#[test]
fn a_service_that_is_silent_is_a_504() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).catalog(CATALOG).set("limits", "{timeouts: {first_byte: 200ms}}").start();
    upstream.next(Reply::hang());
    let answer = sidecar.send(&Call::get("/things").with(sidecar.app()));
    answer.expect(504, "upstream-timeout");
    assert_eq!(sidecar.record(&answer.request_id())["outcome"], "upstream_error");
    sidecar.send(&Call::get("/things").with(sidecar.app())).expect_status(200);
}

#[test]
fn an_answer_that_falls_silent_is_cut_and_recorded() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).catalog(CATALOG).set("limits", "{timeouts: {idle: 200ms}}").start();
    upstream.next(Reply::status(200).cut_short(10, "abc").then_hang());
    let mut connection = Connection::open(sidecar.address());
    let cut = connection.send(Call::get("/things/slow").with(sidecar.app()).bytes()).try_answer().unwrap_err();
    assert!(cut.ends_with(b"abc"));
    let record = eventually("its record", || closed(&sidecar, "/things/slow"));
    assert_eq!((&record["outcome"], &record["bytes_out"]), (&json!("upstream_error"), &json!(3)));
}

fn closed(sidecar: &Sidecar, path: &str) -> Option<serde_json::Value> {
    sidecar.records().into_iter().find(|record| record["path"] == path && !record["outcome"].is_null())
}

#[test]
fn a_stream_of_events_ends_with_its_key_and_what_has_an_end_goes_on() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    let begin = |media: &str, path: &str| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {media}\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nevent 1\r\n");
        upstream.next(Reply::raw(head).then_hang());
        let mut connection = Connection::open(sidecar.address());
        connection.send(Call::get(path).with(sidecar.app()).bytes());
        let mut so_far = Vec::new();
        while !so_far.ends_with(b"event 1\r\n") {
            so_far.extend(connection.read_some(1));
        }
        connection
    };
    let download = begin("text/csv", "/things/export");
    let mut events = begin("text/event-stream; charset=utf-8", "/things/events");
    sidecar.vicar(&["key", "disable", &sidecar.app().id, "--yes"]).succeeded();
    assert!(events.is_closed(), "it goes on without its key");
    let record = eventually("its record", || closed(&sidecar, "/things/events"));
    assert_eq!((&record["outcome"], &record["bytes_out"]), (&json!("interrupted"), &json!(7)));
    assert!(closed(&sidecar, "/things/export").is_none(), "what was under way was cut off");
    upstream.cut();
    assert!(!download.rest().ends_with(b"0\r\n\r\n"));
}

#[test]
fn a_service_that_closes_mid_body_never_looks_like_a_whole_answer() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    upstream.next(Reply::status(200).cut_short(10, "abc"));
    let mut connection = Connection::open(sidecar.address());
    assert!(connection.send(Call::get("/things/sized").with(sidecar.app()).bytes()).try_answer().unwrap_err().ends_with(b"abc"));
    upstream.next(Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"));
    let mut connection = Connection::open(sidecar.address());
    let cut = connection.send(Call::get("/things/chunked").with(sidecar.app()).bytes()).try_answer().unwrap_err();
    assert!(!cut.ends_with(b"0\r\n\r\n"));
    for path in ["/things/sized", "/things/chunked"] {
        assert_eq!(eventually("its record", || closed(&sidecar, path))["outcome"], "upstream_error");
    }
}

#[test]
fn nonsense_from_the_service_is_a_502() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    for nonsense in [
        "nonsense",
        "",
        "HTTP/1.1 2xx OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "\x16\x03\x01\x02",
    ] {
        upstream.next(Reply::raw(nonsense));
        let answer = sidecar.send(&Call::get("/things").with(sidecar.app()));
        assert_eq!((answer.status, answer.code().as_str()), (502, "upstream-unreachable"), "{nonsense:?}");
        assert_eq!(sidecar.record(&answer.request_id())["outcome"], "upstream_error");
    }
}

#[test]
fn an_answer_without_a_body_tells_one_length_or_none() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    for (lengths, status) in
        [("Content-Length: 5\r\nContent-Length: 5\r\n", 502), ("Content-Length: -5\r\n", 502), ("Content-Length: 5\r\n", 200), ("", 200)]
    {
        upstream.next(Reply::raw(format!("HTTP/1.1 200 OK\r\n{lengths}\r\n")));
        let mut connection = Connection::open(sidecar.address());
        let answer = connection.send(Call::new("HEAD", "/things").with(sidecar.app()).bytes()).answer_to_head();
        assert_eq!(answer.status, status, "{lengths:?}");
        assert_eq!(sidecar.record(&answer.request_id())["status"], status, "{lengths:?}");
    }
}

#[test]
fn what_breaks_off_before_the_first_byte_of_its_body_is_a_502() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    for broken in ["Transfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n"] {
        upstream.next(Reply::raw(format!("HTTP/1.1 200 OK\r\n{broken}")));
        let answer = sidecar.send(&Call::get("/things").with(sidecar.app()));
        answer.expect(502, "upstream-unreachable");
        let record = sidecar.record(&answer.request_id());
        assert_eq!((&record["outcome"], &record["status"], &record["bytes_out"]), (&json!("upstream_error"), &json!(502), &json!(0)));
    }
    // What has no body but says that one may come is no failure.
    upstream.next(Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"));
    let answer = sidecar.send(&Call::get("/things").with(sidecar.app()));
    assert_eq!((answer.expect_status(200).text().as_str(), &sidecar.record(&answer.request_id())["outcome"]), ("", &json!("completed")));
}

#[test]
fn a_head_does_not_wait_for_its_body() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    upstream.next(Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").then_hang());
    let mut connection = Connection::open(sidecar.address());
    assert!(connection.send(Call::get("/things").with(sidecar.app()).bytes()).read_some(15).starts_with(b"HTTP/1.1 200 OK"));
}

#[test]
fn a_second_answer_to_one_request_is_nobodys() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    for round in 0..20 {
        upstream.next(Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirstHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret"));
        let mut connection = Connection::open(sidecar.address());
        assert_eq!(Call::get("/things").with(sidecar.app()).send_on(&mut connection).text(), "first");
        let next = Call::get("/things").with(sidecar.app()).send_on(&mut connection);
        assert_eq!(next.text(), r#"{"ok":true}"#, "round {round}");
    }
}

#[test]
fn a_caller_that_goes_away_mid_body_is_recorded_as_interrupted() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    for framing in ["Content-Length: 100\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n64\r\n"] {
        upstream.forget();
        let mut connection = Connection::open(sidecar.address());
        connection.send(format!("PUT /things/gone HTTP/1.1\r\n{}Content-Type: application/json\r\n{framing}[1,", signed(&sidecar)));
        let before = upstream.arrived();
        eventually("the service has the beginning", || (upstream.arrived() >= before.min(3)).then_some(()));
        drop(connection);
        let seen = upstream.wait_for(1);
        assert!(!seen[0].whole, "a cut body must not look whole");
        let record = eventually("its record", || closed(&sidecar, "/things/gone"));
        assert_eq!(record["outcome"], "interrupted");
    }
    sidecar.send(&Call::get("/things").with(sidecar.app())).expect_status(200);
}

#[test]
fn a_caller_that_goes_away_mid_answer_is_recorded_as_interrupted() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    upstream.next(Reply::status(200).long(64 << 20));
    let mut connection = Connection::open(sidecar.address());
    connection.send(Call::get("/things/gone").with(sidecar.app()).bytes()).read_some(1000);
    drop(connection);
    assert_eq!(eventually("its record", || closed(&sidecar, "/things/gone"))["outcome"], "interrupted");
}

#[test]
fn a_caller_that_goes_away_before_the_answer_is_recorded_as_interrupted() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream);
    upstream.next(Reply::hang());
    let mut connection = Connection::open(sidecar.address());
    connection.send(Call::get("/things/gone").with(sidecar.app()).bytes());
    upstream.wait_for(1);
    drop(connection);
    assert_eq!(eventually("its record", || closed(&sidecar, "/things/gone"))["outcome"], "interrupted");
}

#[test]
fn a_caller_that_stalls_in_its_body_holds_nothing_for_ever() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).catalog(CATALOG).set("limits", "{timeouts: {body: 200ms}}").start();
    let mut connection = Connection::open(sidecar.address());
    connection
        .send(format!("PUT /things/stall HTTP/1.1\r\n{}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n[", signed(&sidecar)));
    let _ = connection.try_answer();
    assert!(connection.is_closed());
    let record = eventually("its record", || closed(&sidecar, "/things/stall"));
    assert_eq!(record["outcome"], "interrupted");
    assert!(!upstream.wait_for(1)[0].whole);
}

#[test]
fn a_caller_that_stalls_in_its_head_or_between_requests_is_closed_on() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).catalog(CATALOG).set("limits", "{timeouts: {head: 200ms, keep_alive: 200ms}}").start();
    let mut silent = Connection::open(sidecar.address());
    assert!(silent.is_closed());
    let mut slow = Connection::open(sidecar.address());
    slow.send("GET /things HTTP/1.1\r\nHost: vi");
    let _ = slow.try_answer();
    assert!(slow.is_closed());
    let mut idle = Connection::open(sidecar.address());
    Call::get("/things").with(sidecar.app()).send_on(&mut idle).expect_status(200);
    assert!(idle.is_closed());
    // Byte by byte is no way round it: the deadline is for the head as a whole.
    let mut drip = Connection::open(sidecar.address());
    for byte in b"GET /things HTTP/1.1\r\nHost: vicar.test\r\nX-Slow: " {
        drip.send([*byte]);
        thread::sleep(Duration::from_millis(20));
    }
    let _ = drip.try_answer();
    assert!(drip.is_closed());
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn a_caller_that_takes_nothing_is_let_go_of() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).catalog(CATALOG).set("limits", "{timeouts: {body: 300ms, keep_alive: 2s}}").start();
    upstream.next(Reply::status(200).long(256 << 20));
    let mut connection = Connection::open(sidecar.address());
    connection.send(Call::get("/things/unread").with(sidecar.app()).bytes());
    let record = eventually("its record", || closed(&sidecar, "/things/unread"));
    assert_eq!(record["outcome"], "interrupted");
    // Nor is it if the answers are small and many, and it goes on asking.
    let mut asking = std::net::TcpStream::connect(sidecar.address()).unwrap();
    asking.set_nonblocking(true).unwrap();
    let calls = Call::get("/things").bytes().repeat(100);
    while std::io::Write::write(&mut asking, &calls).is_ok() {}
    eventually("it to be let go of", || {
        let _ = std::io::Write::write(&mut asking, &calls);
        let metrics = Call::get("/metrics").send(sidecar.admin()).text();
        metrics.contains("\nvicar_connections 0\n").then_some(())
    });
}
