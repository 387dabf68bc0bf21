//! One request for both sides.

use super::{USERS, goes_nowhere, raw, signed};
use crate::{
    http2::{self, Frames, Outcome},
    support::{Call, Connection, Reply, Sidecar, Upstream},
};

/// A request hidden in another's body; it must never be read as one.
const HIDDEN: &str = "GET /user/2/SMUGGLED HTTP/1.1\r\nHost: vicar.test\r\nX-Forwarded-User: ceo@acme.example\r\n\r\n";

fn post(sidecar: &Sidecar, lines: &str, body: &str) -> Vec<u8> {
    format!("POST /process/2/Ac1/Order HTTP/1.1\r\n{}Content-Type: application/json\r\n{lines}\r\n{body}", signed(sidecar.app()))
        .into_bytes()
}

fn all_go_nowhere(requests: &[(&str, &str)]) {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    for (lines, body) in requests {
        goes_nowhere(&sidecar, &upstream, &post(&sidecar, lines, &format!("{body}{HIDDEN}")));
    }
}

#[test]
fn a_coding_that_is_almost_chunked_is_refused() {
    let body = "0\r\n\r\n";
    all_go_nowhere(&[
        ("Transfer-Encoding: chunked, identity\r\n", body),
        ("Transfer-Encoding: identity, chunked\r\n", body),
        ("Transfer-Encoding: chunkedchunked\r\n", body),
        ("Transfer-Encoding: \"chunked\"\r\n", body),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", body),
        ("Transfer-Encoding:\r\n chunked\r\n", body),
        ("Transfer-Encoding:\r\n\tchunked\r\nContent-Length: 5\r\n", body),
        ("Transfer-Encoding : chunked\r\n", body),
        ("Transfer-Encoding: x, chunked\r\nContent-Length: 5\r\n", body),
    ]);
}

#[test]
fn a_length_is_digits_and_there() {
    all_go_nowhere(&[
        ("Content-Length: +2\r\n", "{}"),
        ("Content-Length: -2\r\n", "{}"),
        ("Content-Length: 0x2\r\n", "{}"),
        ("Content-Length:\r\n", "{}"),
        ("Content-Length: \r\nContent-Length: 2\r\n", "{}"),
        ("Content-Length: 2,\r\n", "{}"),
        ("Content-Length: 18446744073709551618\r\n", "{}"),
        ("Content-Length : 2\r\n", "{}"),
    ]);
}

#[test]
fn a_chunk_that_is_larger_than_any_number_is_no_chunk() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    for size in ["f0000000000000003", "10000000000000002", "ffffffffffffffff2", "FFFFFFFFFFFFFFFFF", "-2", "+2", "0x2", "2 2"] {
        raw(&sidecar, post(&sidecar, "Transfer-Encoding: chunked\r\n", &format!("{size}\r\n{{}}\r\n0\r\n\r\n{HIDDEN}")));
        assert!(upstream.seen().iter().all(|seen| !seen.whole && !seen.target.contains("SMUGGLED")), "{size}");
    }
}

#[test]
fn a_bare_line_feed_in_chunks_is_refused() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    for body in ["2\n{}\r\n0\r\n\r\n", "2\r\n{}\n0\r\n\r\n", "2;a\nb\r\n{}\r\n0\r\n\r\n", "2\r\n{}\r\n0\n\n"] {
        raw(&sidecar, post(&sidecar, "Transfer-Encoding: chunked\r\n", &format!("{body}{HIDDEN}")));
        assert!(upstream.seen().iter().all(|seen| !seen.whole && !seen.target.contains("SMUGGLED")), "{body:?}");
    }
    // Behind the last chunk it begins a trailer field, which is no field: what follows is gone, and the one request whole.
    upstream.forget();
    raw(&sidecar, post(&sidecar, "Transfer-Encoding: chunked\r\n", &format!("2\r\n{{}}\r\n0\r\n\n{HIDDEN}")));
    assert!(upstream.seen().iter().all(|seen| seen.text() == "{}" && !seen.target.contains("SMUGGLED")));
}

#[test]
fn a_bare_carriage_return_ends_no_line() {
    all_go_nowhere(&[
        ("X-A: b\rContent-Length: 2\r\n", "{}"),
        ("X-A: b\r\rTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Content-Length: 2\r\r\n", "{}"),
        ("X-A: b\r X: y\r\n", ""),
    ]);
}

#[test]
fn a_header_without_a_name_hides_none_of_the_others() {
    all_go_nowhere(&[
        (": x\r\nContent-Length: 2\r\n", "{}"),
        ("Content-Length: 2\r\n: \r\n", "{}"),
        (":\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    ]);
}

#[test]
fn a_very_long_header_name_is_no_other_header() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let name = format!("Content-Length0{}", "a".repeat(255));
    raw(&sidecar, post(&sidecar, &format!("{name}:\r\nContent-Length: {}\r\n", HIDDEN.len()), HIDDEN));
    for seen in upstream.seen() {
        assert_eq!(seen.text(), HIDDEN, "the whole body belongs to the one request");
        assert!(!seen.target.contains("SMUGGLED"));
    }
}

#[test]
fn a_body_that_an_early_answer_left_unread_is_not_the_next_request() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let length = format!("Content-Length: {}\r\n", HIDDEN.len());
    // Answered by Vicar itself, by its guard, and early by the service.
    for line in ["GET /.vicar/whoami", "GET /user/2/../x", "GET /not/in/the/catalog", "POST /process/2/Ac1/Order", "HEAD /user/2/Ac1"] {
        upstream.next(Reply::status(200).body("early").early());
        let request = format!("{line} HTTP/1.1\r\n{}Content-Type: application/json\r\n{length}\r\n{HIDDEN}", signed(sidecar.app()));
        let mut connection = Connection::open(sidecar.address());
        connection.send(request).send(Call::get("/user/2/after").with(sidecar.app()).bytes());
        let _ = connection.read_some(12);
        drop(connection);
    }
    sidecar.send(&Call::get("/user/2/last").with(sidecar.app())).expect_status(200);
    assert!(upstream.seen().iter().all(|seen| !seen.target.contains("SMUGGLED")));
}

#[test]
fn bytes_behind_an_upgrade_that_was_not_agreed_to_are_not_passed_on() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let upgrade =
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for reply in [
        Reply::status(200).body("no"),
        Reply::status(200).header("Upgrade", "websocket").header("Connection", "Upgrade").body("no"),
        Reply::status(403),
    ] {
        upstream.forget();
        upstream.next(reply);
        raw(&sidecar, format!("GET {USERS} HTTP/1.1\r\n{}{upgrade}\r\n{HIDDEN}", signed(sidecar.app())));
        let seen = upstream.seen();
        assert!(seen.iter().all(|seen| seen.target == USERS && seen.header("x-request-id").is_some()), "{seen:?}");
    }
}

#[test]
fn http_1_0_with_chunks_is_refused() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let request = format!(
        "POST /process/2/Ac1/Order HTTP/1.0\r\n{}Content-Type: application/json\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}",
        signed(sidecar.app())
    );
    goes_nowhere(&sidecar, &upstream, request.as_bytes());
}

#[test]
fn what_http_2_may_not_hold_does_not_become_http_1() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let good = http2::fields(USERS, sidecar.app());
    for (name, value) in [
        ("x-a", "b\r\nX-Forwarded-User: ceo@acme.example"),
        ("x-a", "b\nx: y"),
        ("x-a", "b\0"),
        ("x-a\r\nx-b", "c"),
        ("x-a: b", "c"),
        ("transfer-encoding", "chunked"),
        ("connection", "x-forwarded-user"),
        ("upgrade", "h2c"),
        ("content-length", "7"),
        ("host", "elsewhere.test"),
        (":path", "/other"),
        (":method", "POST"),
    ] {
        let mut frames = Frames::open(sidecar.address());
        let fields: Vec<_> = good.iter().copied().chain([(name, value)]).collect();
        frames.request(1, &fields);
        assert_ne!(frames.outcome(1), Outcome::Answered(Some(200)), "{name:?}: {value:?}");
        upstream.saw_nothing();
    }
}
