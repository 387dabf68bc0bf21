//! Whoever is slow, on either side, in any phase: somebody else's time is not theirs to take.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    ORDERS, USERS,
    certificates::{Authority, Versions},
    http2::{self, Frames, Http2, Outcome, PING, WINDOW_UPDATE},
    support::{Call, Connection, Reply, Sidecar, Upstream, eventually},
};

fn impatient(upstream: &Upstream, timeouts: &str) -> Sidecar {
    Sidecar::behind(upstream).set("limits", &format!("{{timeouts: {{{timeouts}}}}}")).start()
}

#[test]
fn a_head_that_dribbles_is_cut_off() {
    let upstream = Upstream::start();
    let sidecar = impatient(&upstream, "head: 300ms");
    for start in ["", "G", "GET /user/2/Ac1 HTTP/1.1\r\nHost: vicar.test\r\nX-Slow: ", "PRI * HTTP/2.0\r\n"] {
        let mut connection = Connection::open(sidecar.address());
        connection.send(start);
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(100));
            connection.send("a");
        }
        let _ = connection.rest();
    }
    upstream.saw_nothing();
}

#[test]
fn a_kept_alive_connection_without_a_request_is_closed() {
    let upstream = Upstream::start();
    let sidecar = impatient(&upstream, "keep_alive: 300ms");
    let mut first = Connection::open(sidecar.address());
    Call::get(USERS).with(sidecar.app()).send_on(&mut first).expect_status(200);
    assert!(first.is_closed());
    let mut second = Http2::clear(sidecar.address());
    second.send(http2::get(USERS, sidecar.app())).expect_status(200);
    assert!(second.is_closed());
    assert!(Frames::open(sidecar.address()).is_closed(), "one that never asked anything");
}

#[test]
fn a_body_that_stops_coming_is_given_up() {
    let upstream = Upstream::start();
    let sidecar = impatient(&upstream, "body: 300ms");
    let mut connection = Connection::open(sidecar.address());
    let call = Call::post(ORDERS).with(sidecar.app()).header("Content-Type", "application/json").header("Content-Length", "100");
    connection.send(call.bytes()).send("{\"a\":");
    let answer = connection.answer();
    answer.expect(408, "request-timeout");
    assert!(connection.is_closed());
    let record = sidecar.record(&answer.request_id());
    assert_eq!((&record["outcome"], &record["status"]), (&json!("interrupted"), &json!(408)), "{record}");
    assert!(eventually("the upstream sees the end", || upstream.seen().pop()).body_len < 100);
}

#[test]
fn a_caller_that_takes_nothing_of_its_answer_is_cut_off() {
    let upstream = Upstream::start();
    upstream.always(Reply::status(200).long(64 << 20));
    let sidecar = impatient(&upstream, "body: 300ms");
    let mut first = Connection::open(sidecar.address());
    first.send(Call::get(USERS).with(sidecar.app()).bytes());
    std::thread::sleep(Duration::from_secs(2));
    assert!(first.rest().len() < 64 << 20);

    // Over HTTP/2 it goes on answering pings.
    let mut second = Http2::clear(sidecar.address());
    let answer = second.begin(http2::get(USERS, sidecar.app()));
    std::thread::sleep(Duration::from_secs(3));
    let taken = second.wait(http_body_util::BodyExt::collect(answer.into_body()));
    assert!(taken.is_err(), "the answer was let go");
    upstream.always(Reply::default());
    second.send(http2::get(USERS, sidecar.app())).expect_status(200);
}

/// Less than an HTTP/2 caller has to answer a ping; these here answer none.
const SOON: Duration = Duration::from_secs(30);

/// Waits until the sidecar has no connection left, and fails when that was not soon.
#[track_caller]
fn all_are_let_go_of(sidecar: &Sidecar, what: &str) {
    let begin = Instant::now();
    eventually(what, || Call::get("/metrics").send(sidecar.admin()).text().contains("\nvicar_connections 0\n").then_some(()));
    assert!(begin.elapsed() < SOON, "{what} held its connection for {:?}", begin.elapsed());
}

#[test]
fn callers_that_let_no_refusal_through_make_place_for_others() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).set("limits", "{connections: 20, timeouts: {body: 300ms}}").start();
    let mut callers: Vec<_> = (0..20).map(|_| Frames::with_window(sidecar.address(), 0)).collect();
    for caller in &mut callers {
        caller.request(1, &http2::keyless(USERS));
        assert!(matches!(caller.outcome(1), Outcome::Answered(_)));
    }
    let get = Call::get(USERS).with(sidecar.app());
    let begin = Instant::now();
    eventually("a place is free", || (sidecar.send(&get).status == 200).then_some(()));
    assert!(begin.elapsed() < SOON, "a place was free after {:?}", begin.elapsed());
    all_are_let_go_of(&sidecar, "a refusal that was not let through");
}

#[test]
fn a_refusal_that_is_not_let_through_disturbs_no_other_stream() {
    let upstream = Upstream::start();
    upstream.next(Reply::status(204).after(Duration::from_secs(3)));
    let sidecar = impatient(&upstream, "body: 300ms");
    let mut caller = Frames::with_window(sidecar.address(), 0);
    caller.request(1, &http2::keyless(USERS));
    caller.request(3, &http2::fields(USERS, sidecar.app()));
    assert_eq!(caller.outcome(3), Outcome::Answered(Some(204)));
}

#[test]
fn a_caller_that_opens_no_window_holds_no_connection() {
    let upstream = Upstream::start();
    let sidecar = impatient(&upstream, "body: 300ms, keep_alive: 300ms");
    let mut of_a_stream = Vec::new();
    for window in [0, 1] {
        let mut caller = Frames::with_window(sidecar.address(), window);
        caller.request(1, &http2::keyless(USERS));
        caller.request(3, &http2::fields(USERS, sidecar.app()));
        assert_eq!(caller.outcome(3), Outcome::Answered(Some(200)));
        of_a_stream.push(caller);
    }
    all_are_let_go_of(&sidecar, "an answer that was not let through");

    // The connection's own window takes more than a hundred of these, and is never opened again.
    let mut of_the_connection = Frames::open(sidecar.address());
    for stream in 0..300 {
        of_the_connection.request(stream * 2 + 1, &http2::keyless(USERS));
    }
    all_are_let_go_of(&sidecar, "a connection without a window");
}

#[test]
fn an_http_2_caller_that_reads_nothing_holds_no_connection() {
    let upstream = Upstream::start();
    upstream.always(Reply::status(200).long(64 << 20));
    let sidecar = impatient(&upstream, "body: 300ms");
    let mut of_an_answer = Frames::with_window(sidecar.address(), i32::MAX.unsigned_abs());
    of_an_answer.send(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes());
    of_an_answer.request(1, &http2::fields(USERS, sidecar.app()));
    eventually("the request arrives", || upstream.seen().pop());
    all_are_let_go_of(&sidecar, "an answer that was not read");

    // Nor does one that goes on asking, or only greets.
    let mut asking = Frames::open(sidecar.address());
    asking.send_until_stuck(|caller, stream| caller.request(stream, &http2::keyless(USERS)));
    all_are_let_go_of(&sidecar, "refusals that were not read");
    let mut greeting = Frames::open(sidecar.address());
    greeting.send_until_stuck(|caller, _| caller.send(PING, 0, 0, b"12345678"));
    all_are_let_go_of(&sidecar, "answers to pings that were not read");
}

#[test]
fn a_service_that_says_nothing_in_time_is_given_up() {
    let upstream = Upstream::start();
    upstream.always(Reply::hang());
    let sidecar = impatient(&upstream, "first_byte: 300ms");
    let get = Call::get(USERS).with(sidecar.app());
    sidecar.send(&get).expect(504, "upstream-timeout");
    sidecar.send(&Call::post(ORDERS).with(sidecar.app()).json(&json!({"a": 1}))).expect(504, "upstream-timeout");
    Http2::clear(sidecar.address()).send(http2::get(USERS, sidecar.app())).expect(504, "upstream-timeout");
    assert_eq!(upstream.seen().len(), 3, "none is tried again");
}

#[test]
fn a_service_that_falls_silent_in_its_answer_is_given_up() {
    let upstream = Upstream::start();
    upstream.always(Reply::status(200).cut_short(100, "beginning").then_hang());
    let sidecar = impatient(&upstream, "idle: 300ms");
    let mut connection = Connection::open(sidecar.address());
    connection.send(Call::get(USERS).with(sidecar.app()).bytes());
    let got = connection.rest();
    let text = String::from_utf8_lossy(&got);
    assert!(text.ends_with("beginning"), "{text}");
}

#[test]
fn an_exchange_that_takes_too_long_in_all_is_given_up() {
    let upstream = Upstream::start();
    upstream.always(Reply::status(200).chunked(["drop"; 200]).slowly(Duration::from_millis(50)));
    let sidecar = impatient(&upstream, "total: 500ms, idle: 10s");
    let mut connection = Connection::open(sidecar.address());
    connection.send(Call::get(USERS).with(sidecar.app()).bytes());
    let text = String::from_utf8_lossy(&connection.rest()).into_owned();
    assert!(text.contains("drop") && !text.ends_with("0\r\n\r\n"), "{text}");

    // A body on its way, taken or not, makes it no longer.
    upstream.always(Reply::hang());
    let sidecar = impatient(&upstream, "total: 500ms, first_byte: 10m, body: 10m");
    sidecar.send(&Call::post(ORDERS).with(sidecar.app()).json(&json!({"a": 1}))).expect(504, "upstream-timeout");
    let mut connection = Connection::open(sidecar.address());
    let call = Call::post(ORDERS).with(sidecar.app()).header("Content-Type", "application/json").header("Content-Length", "9").bytes();
    connection.send(call).send("{");
    connection.answer().expect(504, "upstream-timeout");
}

/// Longer than a connection is kept ready.
const A_WHILE: Duration = Duration::from_millis(1500);

#[test]
fn a_connection_that_has_rested_takes_requests_again() {
    let (upstream, ca) = (Upstream::start(), Authority::new());
    let mut sidecar = Sidecar::behind(&upstream).listener("tls: {certificate: tls.crt, key: tls.key}").prepare();
    let identity = ca.issue(&["localhost"]);
    sidecar.write("tls.crt", &identity.certificate);
    sidecar.write("tls.key", &identity.key);
    sidecar.serve();
    let plain = Sidecar::behind(&upstream).set("limits", "{timeouts: {keep_alive: 3s}}").start();
    let under_tls = Connection::tls(sidecar.address(), ca.client(Versions::Both, None, &[])).unwrap();
    for (sidecar, mut connection) in [(&sidecar, under_tls), (&plain, Connection::open(plain.address()))] {
        for _ in 0..2 {
            Call::get(USERS).with(sidecar.app()).send_on(&mut connection).expect_status(200);
            std::thread::sleep(A_WHILE);
            // What comes first after the rest is looked at like anything else.
            Call::post(ORDERS).with(sidecar.app()).json(&json!({"a": 1})).send_on(&mut connection).expect_status(200);
            Call::get(USERS).with(sidecar.app()).send_on(&mut connection).expect_status(200);
        }
        std::thread::sleep(A_WHILE);
        Call::get(&format!("{USERS}#fragment")).with(sidecar.app()).send_on(&mut connection).expect(400, "ambiguous-request");
    }
    let mut idle = Connection::open(plain.address());
    Call::get(USERS).with(plain.app()).send_on(&mut idle).expect_status(200);
    assert!(idle.is_closed(), "and ends when nothing more comes");
}

/// A body that is still to come when its request has been answered stays a body, however long the connection is silent.
#[test]
fn the_rest_of_a_body_never_becomes_a_request() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let hidden = Call::get("/hidden").with(sidecar.app()).bytes();
    let length = (hidden.len() + 1).to_string();
    let post = |path: &str| Call::post(path).header("Content-Type", "application/json").header("Content-Length", &length);
    upstream.next(Reply::status(200).body("early").early());
    for (call, status) in
        [(post(ORDERS).with(sidecar.app()), 200), (post(ORDERS), 401), (post("/no/such/endpoint").with(sidecar.app()), 403)]
    {
        let mut connection = Connection::open(sidecar.address());
        connection.send(call.bytes()).send("{");
        connection.answer().expect_status(status);
        std::thread::sleep(A_WHILE);
        connection.send(&hidden);
        std::thread::sleep(Duration::from_millis(200));
        assert!(upstream.seen().iter().all(|seen| seen.target == ORDERS), "{status}");
        assert!(sidecar.records().iter().all(|record| record["path"] != "/hidden"), "{status}");
    }
}
