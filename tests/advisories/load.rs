//! What costs the attacker little must cost Vicar little.

use std::{thread, time::Duration};

use serde_json::json;

use super::{USERS, signed};
use crate::{
    http2::{self, CONTINUATION, Frames, HEADERS, RST_STREAM},
    support::{Call, Connection, Reply, Sidecar, Upstream},
};

#[test]
fn streams_that_are_opened_and_reset_end_the_connection() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let fields = http2::fields(USERS, sidecar.app());
    let mut frames = Frames::open(sidecar.address());
    for stream in (1..100_000).step_by(2) {
        if !frames.request(stream, &fields) || !frames.send(RST_STREAM, 0, stream, &[0, 0, 0, 8]) {
            break;
        }
    }
    assert!(frames.is_closed());
    sidecar.send(&Call::get(USERS).with(sidecar.app())).expect_status(200);
}

#[test]
fn continuations_without_end_end_the_connection() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let mut frames = Frames::open(sidecar.address());
    frames.send(HEADERS, 0, 1, &http2::block(&[(":method", "GET")]));
    for _ in 0..100_000 {
        if !frames.send(CONTINUATION, 0, 1, &http2::block(&[("x", "y")])) {
            break;
        }
    }
    assert!(frames.is_closed());
    upstream.saw_nothing();
    sidecar.send(&Call::get(USERS).with(sidecar.app())).expect_status(200);
}

#[test]
fn a_head_that_drips_does_not_hold_a_connection() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).set("limits", "{timeouts: {head: 300ms}}").start();
    let mut connection = Connection::open(sidecar.address());
    connection.send(format!("GET {USERS} HTTP/1.1\r\n{}", signed(sidecar.app())));
    for n in 0..50 {
        connection.send(format!("X-{n}: y\r\n"));
        thread::sleep(Duration::from_millis(20));
    }
    connection.send("\r\n");
    let _ = connection.try_answer();
    assert!(connection.is_closed());
    upstream.saw_nothing();
}

#[test]
fn a_compressed_body_is_never_inflated() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    // The beginning of a gzip stream that would inflate without end, and no more: whoever inflated it would fail.
    let bomb: Vec<u8> = [b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03".as_slice(), &[0xff; 1000]].concat();
    upstream.next(Reply::status(200).header("Content-Encoding", "gzip").body(bomb.clone()));
    let answer = sidecar.send(&Call::get(USERS).with(sidecar.app()).header("Accept-Encoding", "gzip"));
    assert_eq!((answer.header("content-encoding"), &answer.body), (Some("gzip"), &bomb));
    let call = Call::post("/process/2/Ac1/Order")
        .with(sidecar.app())
        .header("Content-Encoding", "gzip")
        .header("Content-Type", "application/json");
    sidecar.send(&call.body(bomb.clone())).expect_status(200);
    assert_eq!(upstream.last().body, bomb);
}

#[test]
fn a_head_of_ten_thousand_headers_is_refused() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let many = "X-A: b\r\n".repeat(10_000);
    let answer = Connection::open(sidecar.address()).send(format!("GET {USERS} HTTP/1.1\r\n{}{many}\r\n", signed(sidecar.app()))).answer();
    answer.expect(431, "head-too-large");
    let crumbs: Vec<(String, String)> = (0..10_000).map(|n| (format!("x-{n}"), "y".to_owned())).collect();
    let mut fields = http2::fields(USERS, sidecar.app());
    fields.extend(crumbs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let mut frames = Frames::open(sidecar.address());
    let block = http2::block(&fields);
    for (at, piece) in block.chunks(16_000).enumerate() {
        let last = (at + 1) * 16_000 >= block.len();
        let (kind, flags) = (if at == 0 { HEADERS } else { CONTINUATION }, u8::from(at == 0) | if last { 4 } else { 0 });
        if !frames.send(kind, flags, 1, piece) {
            break;
        }
    }
    assert_ne!(frames.outcome(1), http2::Outcome::Answered(Some(200)));
    upstream.saw_nothing();
    sidecar.send(&Call::post("/process/2/Ac1/Order").with(sidecar.app()).json(&json!({}))).expect_status(200);
}
