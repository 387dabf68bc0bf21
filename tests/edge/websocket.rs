//! Requests that leave HTTP.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use http::{Request, header};

use crate::{
    USERS,
    http2::{self, Http2},
    support::{Call, Connection, Reply, Sidecar, Upstream, eventually},
};

/// A service that agrees to every WebSocket and sends back what it gets.
struct Echo {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Echo {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let hears = heads.clone();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let hears = hears.clone();
                thread::spawn(move || {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let mut byte = [0];
                        if stream.read(&mut byte).unwrap_or(0) == 0 {
                            return;
                        }
                        head.push(byte[0]);
                    }
                    hears.lock().unwrap().push(String::from_utf8_lossy(&head).to_lowercase());
                    let agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSet-Cookie: a=b\r\n\r\nhello ";
                    let _ = stream.write_all(agreed.as_bytes());
                    let mut buffer = [0; 4096];
                    while let Ok(count @ 1..) = stream.read(&mut buffer) {
                        let _ = stream.write_all(&buffer[..count]);
                    }
                });
            }
        });
        Self { address, heads }
    }

    fn head(&self) -> String {
        self.heads.lock().unwrap().last().cloned().unwrap()
    }
}

fn call(sidecar: &Sidecar) -> Call {
    Call::get(USERS)
        .with(sidecar.app())
        .header("Connection", "keep-alive, Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

#[test]
fn a_websocket_is_carried_both_ways_until_it_ends() {
    let echo = Echo::start();
    let sidecar = Sidecar::behind_url(&format!("http://{}", echo.address)).start();
    let mut connection = Connection::open(sidecar.address());
    let answer = call(&sidecar).send_on(&mut connection);
    answer.expect_status(101);
    assert!(sidecar.records().iter().all(|record| record["request_id"] != answer.request_id() || record["outcome"].is_null()));
    assert_eq!(answer.header("upgrade").map(str::to_lowercase).as_deref(), Some("websocket"));
    assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(answer.header("set-cookie"), None);
    assert_eq!(connection.read_some(6), b"hello ");
    for word in ["GET /a#b HTTP/1.1\r\n", "two", "three"] {
        connection.send(word);
        assert_eq!(connection.read_some(word.len()), word.as_bytes());
    }
    connection.finish_sending();
    assert!(connection.is_closed());
    let head = echo.head();
    assert!(head.contains("sec-websocket-key: dghlihnhbxbszsbub25jzq==") && head.contains("upgrade: websocket"), "{head}");
    assert!(!head.contains("x-access-key"), "{head}");
    let record = sidecar.record(&answer.request_id());
    assert_eq!((record["outcome"].as_str(), record["status"].as_u64()), (Some("completed"), Some(101)), "{record}");
    assert_eq!((record["bytes_in"].as_u64(), record["bytes_out"].as_u64()), (Some(27), Some(33)), "{record}");
    assert_eq!((record["action"].as_str(), record["resource"].as_str()), (Some("list"), Some("user")), "{record}");
}

#[test]
fn a_websocket_is_one_action_of_its_key_and_a_revoked_key_cuts_it() {
    let echo = Echo::start();
    let sidecar = Sidecar::behind_url(&format!("http://{}", echo.address)).start();
    let mut connection = Connection::open(sidecar.address());
    let answer = call(&sidecar).send_on(&mut connection);
    answer.expect_status(101);
    connection.read_some(6);
    connection.send("before");
    assert_eq!(connection.read_some(6), b"before");
    sidecar.vicar(&["key", "disable", &sidecar.app().id, "--yes"]).succeeded();
    assert!(connection.is_closed());
    let record = sidecar.record(&answer.request_id());
    assert_eq!((record["outcome"].as_str(), record["bytes_in"].as_u64()), (Some("interrupted"), Some(6)), "{record}");
}

#[test]
fn a_websocket_is_refused_like_any_other_request() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let unknown = Call::get("/no/such/socket").with(sidecar.app()).header("Connection", "Upgrade").header("Upgrade", "websocket");
    sidecar.send(&unknown.header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")).expect(403, "endpoint-unknown");
    upstream.saw_nothing();
    // One that the service declines is an ordinary answer, and the connection goes on.
    upstream.next(Reply::status(426).body("no"));
    let mut connection = Connection::open(sidecar.address());
    call(&sidecar).send_on(&mut connection).expect_status(426);
    Call::get(USERS).with(sidecar.app()).send_on(&mut connection).expect_status(200);
}

#[test]
fn a_websocket_to_a_service_over_http_2_is_refused_and_not_sent_as_something_else() {
    let service = http2::Service::start();
    let upstream = format!("{{url: \"http://{}\", http2: true}}", service.address);
    let sidecar = Sidecar::behind_url("http://unset.test").set("upstream", &upstream).start();
    let answer = sidecar.send(&call(&sidecar));
    answer.expect(501, "upgrade-unavailable");
    assert_eq!(sidecar.record(&answer.request_id())["reason"], "upgrade-unavailable");
    let mut caller = Http2::clear(sidecar.address());
    caller.send(http2::get("/.vicar/whoami", sidecar.app())).expect_status(200);
    assert_eq!(caller.begin(extended(&sidecar)).status(), 501);
    assert!(service.heard().is_empty(), "{:?}", service.heard());
    // Whoever may not have it at all is told that instead.
    let denied = Call::get("/no/such/socket").with(sidecar.app()).header("Connection", "Upgrade").header("Upgrade", "websocket");
    sidecar.send(&denied.header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")).expect(403, "endpoint-unknown");
}

/// Over HTTP/2 every 2xx to a `CONNECT` is an agreement, and a service that only answers has agreed to nothing.
#[test]
fn a_plain_answer_is_no_agreement_to_a_websocket_over_http_2() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let mut caller = Http2::clear(sidecar.address());
    caller.send(http2::get("/.vicar/whoami", sidecar.app())).expect_status(200);
    assert_eq!(caller.begin(extended(&sidecar)).status(), 502);
    upstream.next(Reply::status(426).body("no"));
    assert_eq!(caller.begin(extended(&sidecar)).status(), 426);
}

fn extended(sidecar: &Sidecar) -> Request<http2::Body> {
    Request::connect(format!("http://vicar.test{USERS}"))
        .extension(hyper::ext::Protocol::from_static("websocket"))
        .header("x-access-key-id", &sidecar.app().id)
        .header("x-access-key-secret", &sidecar.app().secret)
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .body(http2::empty())
        .unwrap()
}

#[test]
fn nothing_but_websocket_can_be_upgraded_to() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    for protocol in ["h2c", "TLS/1.0", "websocket2"] {
        let call = Call::get(USERS).with(sidecar.app()).header("Connection", "Upgrade, HTTP2-Settings").header("Upgrade", protocol);
        let call = call.header("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA").header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        sidecar.send(&call).expect_status(200);
        let seen = upstream.last();
        assert_eq!((seen.header("upgrade"), seen.header("http2-settings")), (None, None), "{protocol}");
    }
    // And a service that switches unasked is not followed.
    upstream.next(Reply::raw("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"));
    sidecar.send(&Call::get(USERS).with(sidecar.app())).expect(502, "upstream-unreachable");
}

#[test]
fn a_websocket_comes_as_a_stream_of_http_2_too() {
    let echo = Echo::start();
    let sidecar = Sidecar::behind_url(&format!("http://{}", echo.address)).start();
    let mut caller = Http2::clear(sidecar.address());
    // The settings that allow it have to arrive first.
    caller.send(http2::get("/.vicar/whoami", sidecar.app())).expect_status(200);
    let answer = caller.begin(extended(&sidecar));
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers().get(header::SEC_WEBSOCKET_ACCEPT), None);
    let said = caller.wait(async {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut socket = hyper_util::rt::TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
        socket.write_all(b"over two").await.unwrap();
        let mut said = vec![0; 14];
        socket.read_exact(&mut said).await.unwrap();
        said
    });
    assert_eq!(said, b"hello over two");
    let head = echo.head();
    assert!(head.starts_with("get ") && head.contains("sec-websocket-key: "), "{head}");
    // The connection carries other requests beside it.
    caller.send(http2::get("/.vicar/whoami", sidecar.app())).expect_status(200);
    let connect = Request::connect("http://vicar.test:80").body(http2::empty()).unwrap();
    let plain = caller.try_send(connect);
    assert!(plain.map_or(true, |answer| answer.status >= 400), "a plain CONNECT");
    eventually("one WebSocket was made", || (echo.heads.lock().unwrap().len() == 1).then_some(()));
}

/// A WebSocket has a time-out of its own, and no other requests need to keep its connection busy.
#[test]
fn a_websocket_over_http_2_outlives_the_time_a_connection_may_idle() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let echo = Echo::start();
    let sidecar = Sidecar::behind_url(&format!("http://{}", echo.address)).set("limits", "{timeouts: {keep_alive: 300ms}}").start();
    let mut caller = Http2::clear(sidecar.address());
    caller.send(http2::get("/.vicar/whoami", sidecar.app())).expect_status(200);
    let answer = caller.begin(extended(&sidecar));
    assert_eq!(answer.status(), 200);
    let said = caller.wait(async {
        let mut socket = hyper_util::rt::TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
        tokio::time::sleep(Duration::from_secs(9)).await;
        socket.write_all(b"over two").await.unwrap();
        let mut said = vec![0; 14];
        socket.read_exact(&mut said).await.unwrap();
        said
    });
    assert_eq!(said, b"hello over two");
}
