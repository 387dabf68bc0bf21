//! The ground under the other tests: the recording upstream and the raw client, with nothing between them.

mod support;

use std::time::Duration;

use support::{Call, Connection, Reply, Upstream, client::exchange};

#[test]
fn the_upstream_records_bytes_as_they_came() {
    let upstream = Upstream::start();
    let answer = exchange(upstream.address(), "POST /a%2fb?x=1 HTTP/1.1\r\nhOsT: h\r\nX_a:  1 \r\nContent-Length: 3\r\n\r\nabc");
    answer.expect_status(200);
    let seen = upstream.only();
    assert_eq!((seen.method.as_str(), seen.target.as_str(), seen.text().as_str()), ("POST", "/a%2fb?x=1", "abc"));
    assert_eq!(seen.headers[1], ("X_a".to_owned(), "1".to_owned()));
    assert!(seen.has_folded("x-A") && seen.whole);
}

#[test]
fn chunks_and_trailers_go_both_ways() {
    let upstream = Upstream::start();
    upstream.next(Reply::status(200).chunked(["one", "two"]).trailer("X-Sum", "6"));
    let mut connection = Connection::open(upstream.address());
    connection.send("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-T: v\r\n\r\n");
    let answer = connection.answer();
    assert_eq!((answer.text().as_str(), answer.trailers.as_slice()), ("onetwo", [("X-Sum".to_owned(), "6".to_owned())].as_slice()));
    let seen = upstream.only();
    assert_eq!((seen.text().as_str(), seen.trailers.as_slice()), ("abcde", [("X-T".to_owned(), "v".to_owned())].as_slice()));
    Call::get("/again").send_on(&mut connection).expect_status(200);
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn answers_can_be_cut_short_late_early_raw_or_missing() {
    let upstream = Upstream::start();
    let one = || Connection::open(upstream.address());
    upstream.next(Reply::status(200).cut_short(10, "abc"));
    assert!(one().send(Call::get("/").bytes()).try_answer().unwrap_err().ends_with(b"abc"));
    upstream.next(Reply::raw("nonsense"));
    assert_eq!(one().send(Call::get("/").bytes()).read_some(100), b"nonsense");
    upstream.next(Reply::nothing());
    assert!(one().send(Call::get("/").bytes()).is_closed());
    upstream.next(Reply::status(413).early().then_close());
    assert_eq!(one().send("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n").answer().status, 413);
    upstream.next(Reply::status(200).after(Duration::from_millis(5)).long(3 << 20));
    assert_eq!(one().send(Call::get("/").bytes()).answer().body.len(), 3 << 20);
    upstream.next(Reply::status(204));
    assert_eq!(one().send(Call::get("/").bytes()).answer().status, 204);
    upstream.next(Reply::status(200).body("never sent"));
    assert_eq!(Call::new("HEAD", "/").send(upstream.address()).header("content-length"), Some("10"));
}

#[test]
fn expect_continue_is_answered_before_the_body() {
    let upstream = Upstream::start();
    let mut connection = Connection::open(upstream.address());
    connection.send("PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    let interim = connection.read_some(25);
    assert!(interim.starts_with(b"HTTP/1.1 100"));
    assert_eq!(connection.send("ok").answer().status, 200);
    assert_eq!(upstream.only().text(), "ok");
}

#[test]
fn a_redis_comes_back_with_what_it_held() {
    let mut redis = support::Redis::start();
    redis.command(&["SET", "a", "1"]);
    redis.kill();
    redis.launch();
    assert_eq!(redis.command(&["GET", "a"]), "$1\r\n1\r\n");
}
