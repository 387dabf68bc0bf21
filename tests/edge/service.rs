//! The service behind: TLS, HTTP/2, sockets, several addresses, and what becomes of failures.

use std::{fs, net::SocketAddr, process::Command, time::Duration};

use http::Request;
use serde_json::json;

use crate::{
    ORDERS, USERS,
    certificates::Authority,
    front::Front,
    http2::{self, Http2, Service},
    support::{
        Call, Connection, Reply, Sidecar, Upstream, eventually,
        sidecar::{VICAR, free_port},
    },
};

#[test]
fn the_service_is_reached_by_tls_with_a_given_ca_and_a_client_certificate() {
    let (upstream, ca, clients) = (Upstream::start(), Authority::new(), Authority::new());
    let front = Front::tls(ca.issue(&["workflow.test"]).server(Some(&clients), &["http/1.1"]), upstream.address());
    let tls = "tls: {ca: ca.crt, certificate: robot.crt, key: robot.key, server_name: workflow.test}";
    let mut sidecar = Sidecar::behind(&upstream)
        .set("upstream", &format!("{{url: \"https://127.0.0.1:{}\", {tls}}}", front.port()))
        .set("workers", "1")
        .prepare();
    let robot = clients.issue(&["robot"]);
    sidecar.write("ca.crt", &ca.pem);
    sidecar.write("robot.crt", &robot.certificate);
    sidecar.write("robot.key", &robot.key);
    sidecar.serve();
    let call = Call::get(USERS).with(sidecar.app());
    sidecar.send(&call).expect_status(200);
    sidecar.send(&call).expect_status(200);
    assert_eq!(upstream.connections(), 1, "the connection is used again");
}

#[test]
fn a_service_with_a_certificate_that_does_not_hold_is_not_spoken_to() {
    let (upstream, ca) = (Upstream::start(), Authority::new());
    let front = Front::tls(ca.issue(&["elsewhere.test"]).server(None, &[]), upstream.address());
    for tls in ["{ca: ca.crt, server_name: workflow.test}", "{server_name: elsewhere.test}"] {
        let mut sidecar =
            Sidecar::behind(&upstream).set("upstream", &format!("{{url: \"https://127.0.0.1:{}\", tls: {tls}}}", front.port())).prepare();
        sidecar.write("ca.crt", &ca.pem);
        sidecar.serve();
        sidecar.send(&Call::get(USERS).with(sidecar.app())).expect(502, "upstream-unreachable");
    }
    upstream.saw_nothing();
}

#[test]
fn a_service_that_shows_a_cas_own_certificate_is_told_of_with_the_remedy() {
    let upstream = Upstream::start();
    let (ca, identity) = Authority::and_server("workflow.test");
    let front = Front::tls(identity.server(None, &[]), upstream.address());
    let tls = "{ca: ca.crt, server_name: workflow.test}";
    let mut sidecar =
        Sidecar::behind(&upstream).set("upstream", &format!("{{url: \"https://127.0.0.1:{}\", tls: {tls}}}", front.port())).prepare();
    sidecar.write("ca.crt", &ca.pem);
    sidecar.serve();
    sidecar.send(&Call::get(USERS).with(sidecar.app())).expect(502, "upstream-unreachable");
    assert!(sidecar.log().contains("CA:FALSE"), "{}", sidecar.log());
}

#[test]
fn the_service_is_reached_by_a_unix_socket() {
    let upstream = Upstream::start();
    let mut sidecar = Sidecar::behind(&upstream).prepare();
    let path = sidecar.folder().join("service.sock");
    let _front = Front::unix(&path, upstream.address());
    let settings = std::fs::read_to_string(sidecar.folder().join("vicar.yaml")).unwrap();
    sidecar.write("vicar.yaml", &settings.replace(&upstream.url(), &format!("unix:{}", path.display())));
    sidecar.serve();
    sidecar.send(&Call::get(USERS).with(sidecar.app())).expect_status(200);
    assert_eq!(upstream.only().header("host"), Some("localhost"));
}

const GRPC: &str = "
version: 1
kinds: {echo: {title: Echo}}
endpoints:
  - {request: \"POST /echo.Echo/Say\", resource: echo, action: create, content_types: [application/grpc]}
  - {request: \"GET /echo\", resource: echo, action: read}
";

#[test]
fn a_grpc_call_passes_with_its_trailers_both_ways() {
    let service = Service::start();
    let sidecar = Sidecar::behind_url("http://unused")
        .set("upstream", &format!("{{url: \"http://{}\", http2: true}}", service.address))
        .catalog(GRPC)
        .start();
    let request = Request::post("http://vicar.test/echo.Echo/Say")
        .header("x-access-key-id", &sidecar.app().id)
        .header("x-access-key-secret", &sidecar.app().secret)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(http2::with_trailer("question", "x-checksum", "7"))
        .unwrap();
    let answer = Http2::clear(sidecar.address()).send(request);
    answer.expect_status(200);
    assert_eq!(answer.text(), "message");
    assert_eq!(answer.trailers, [("grpc-status".to_owned(), "0".to_owned())]);
    let heard = service.heard().pop().unwrap();
    assert_eq!((heard.version, heard.method.as_str()), (http::Version::HTTP_2, "POST"));
    assert_eq!(heard.body, b"question");
    assert_eq!(heard.trailers, [("x-checksum".to_owned(), "7".to_owned())]);
    assert!(heard.headers.contains(&("te".to_owned(), "trailers".to_owned())));
    assert_eq!(heard.uri, format!("http://{}/echo.Echo/Say", service.address));
}

/// What may not stand behind a body (RFC 9110 §6.5.1), and is nothing that an HTTP/2 library holds back by itself.
const NEVER_TRAILING: &[(&str, &str)] = &[
    ("content-length", "99"),
    ("trailer", "x-more"),
    ("host", "elsewhere.test"),
    ("max-forwards", "1"),
    ("range", "bytes=0-1"),
    ("if-match", "*"),
    ("authorization", "Basic eA=="),
    ("cookie", "a=b"),
    ("set-cookie", "a=b"),
    ("www-authenticate", "Basic"),
    ("content-type", "text/html"),
    ("content-encoding", "gzip"),
    ("content-range", "bytes 0-1/2"),
    ("cache-control", "public"),
    ("age", "1"),
    ("expires", "0"),
    ("vary", "accept"),
    ("location", "/elsewhere"),
    ("retry-after", "1"),
    ("te", "trailers"),
];

#[test]
fn a_trailer_frames_nothing_and_names_nobody_over_http_2() {
    let service = Service::start();
    let sidecar = Sidecar::behind_url("http://unused")
        .set("upstream", &format!("{{url: \"http://{}\", http2: true}}", service.address))
        .set("guard", "{pass: [authorization, cookie, set_cookie]}")
        .catalog(GRPC)
        .start();
    let mut fields = NEVER_TRAILING.to_vec();
    fields.push(("x-checksum", "7"));
    let request = Request::post("http://vicar.test/echo.Echo/Say")
        .header("x-access-key-id", &sidecar.app().id)
        .header("x-access-key-secret", &sidecar.app().secret)
        .header("content-type", "application/grpc")
        .body(http2::with_trailers("question", &fields))
        .unwrap();
    Http2::clear(sidecar.address()).send(request).expect_status(200);
    assert_eq!(service.heard().pop().unwrap().trailers, [("x-checksum".to_owned(), "7".to_owned())]);
}

#[test]
fn trailers_of_an_answer_frame_nothing_and_speak_for_nobody() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let about_the_connection = [
        ("connection", "close"),
        ("keep-alive", "timeout=1"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("expect", "100-continue"),
    ];
    let vicars = [("x-request-id", "forged"), ("ratelimit", "forged"), ("ratelimit-policy", "forged")];
    let mut names = "x-sum".to_owned();
    let mut reply = Reply::status(200).chunked(["abc"]).trailer("x-sum", "6");
    for &(name, value) in NEVER_TRAILING.iter().chain(&about_the_connection).chain(&vicars) {
        reply = reply.trailer(name, value);
        names = format!("{names}, {name}");
    }
    upstream.always(reply.header("Trailer", &names));
    let sum = [("x-sum".to_owned(), "6".to_owned())];
    let answer = Http2::clear(sidecar.address()).send(http2::get(USERS, sidecar.app()));
    assert_eq!((answer.text().as_str(), answer.trailers.as_slice()), ("abc", sum.as_slice()));
    let answer = sidecar.send(&Call::get(USERS).with(sidecar.app()).header("TE", "trailers"));
    assert_eq!((answer.text().as_str(), answer.trailers.as_slice()), ("abc", sum.as_slice()));
}

#[test]
fn requests_share_one_connection_to_a_service_that_speaks_http_2() {
    let service = Service::start();
    let sidecar = Sidecar::behind_url("http://unused")
        .set("upstream", &format!("{{url: \"http://{}\", http2: true}}", service.address))
        .set("workers", "1")
        .catalog(GRPC)
        .start();
    let answers = Http2::clear(sidecar.address()).send_all((0..40).map(|_| http2::get("/echo", sidecar.app())).collect());
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    sidecar.send(&Call::get("/echo").with(sidecar.app())).expect_status(200);
    assert_eq!((service.heard().len(), service.connections()), (41, 1));
}

fn several(upstreams: &[&Upstream], more: &str) -> Sidecar {
    let also: String = upstreams[1..].iter().map(|upstream| format!("\"{}\", ", upstream.url())).collect();
    let settings = format!("{{url: \"{}\", also: [{also}]{more}}}", upstreams[0].url());
    Sidecar::behind(upstreams[0]).set("upstream", &settings).set("workers", "1").start()
}

#[test]
fn requests_go_to_the_least_loaded_address() {
    let (busy, free) = (Upstream::start(), Upstream::start());
    busy.always(Reply::hang());
    free.always(Reply::hang());
    let sidecar = several(&[&busy, &free], "");
    let call = Call::get(USERS).with(sidecar.app());
    let mut hanging = Vec::new();
    for count in 1..=10 {
        let mut connection = Connection::open(sidecar.address());
        connection.send(call.bytes());
        hanging.push(connection);
        eventually("the request arrives", || (busy.seen().len() + free.seen().len() == count).then_some(()));
    }
    assert_eq!((busy.seen().len(), free.seen().len()), (5, 5));
}

#[test]
fn a_sick_address_is_left_out_until_it_is_well_again() {
    let (sick, well) = (Upstream::start(), Upstream::start());
    sick.always(Reply::status(503));
    let sidecar = several(&[&sick, &well], ", health: {path: /health, every: 100ms}");
    eventually("the checks have found out", || sidecar.log().contains("unhealthy").then_some(()));
    let call = Call::get(USERS).with(sidecar.app());
    for _ in 0..10 {
        sidecar.send(&call).expect_status(200);
    }
    assert!(sick.seen().iter().all(|seen| seen.target == "/health"));
    sick.always(Reply::default());
    eventually("it is asked again", || {
        sidecar.send(&call).expect_status(200);
        sick.seen().iter().any(|seen| seen.target == USERS).then_some(())
    });
}

#[test]
fn an_address_that_cannot_be_reached_costs_no_request() {
    let dead = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let upstream = Upstream::start();
    let settings = format!("{{url: \"http://{dead}\", also: [\"{}\"]}}", upstream.url());
    let sidecar = Sidecar::behind(&upstream).set("upstream", &settings).start();
    for _ in 0..20 {
        sidecar.send(&Call::post(ORDERS).with(sidecar.app()).json(&json!({"a": 1}))).expect_status(200);
    }
    assert_eq!(upstream.seen().len(), 20);
}

#[test]
fn a_service_that_cannot_be_reached_is_left_alone_and_found_again() {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let sidecar = Sidecar::behind_url(&format!("http://{address}")).start();
    let call = Call::get(USERS).with(sidecar.app());
    let first = sidecar.send(&call);
    first.expect(502, "upstream-unreachable");
    assert!(first.json()["detail"].as_str().unwrap().contains("was not sent"), "{:?}", first.json());
    assert!(sidecar.log().contains("Connection refused"), "{}", sidecar.log());
    let wait = eventually("the circuit opens", || {
        let answer = sidecar.send(&call);
        answer.expect(502, "upstream-unreachable");
        answer.header("retry-after").map(str::to_owned)
    });
    assert!(["1", "2"].contains(&wait.as_str()), "nobody else could answer meanwhile, so it is tried again soon; {wait}");
    // However long it has been away.
    for _ in 0..30 {
        std::thread::sleep(Duration::from_millis(50));
        sidecar.send(&call).expect(502, "upstream-unreachable");
    }
    let _upstream = Upstream::on(address);
    eventually("the service is found again", || (sidecar.send(&call).status == 200).then_some(()));
}

#[test]
fn a_get_is_made_again_when_its_rested_connection_was_gone_and_a_post_is_not() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).set("workers", "1").start();
    let get = Call::get(USERS).with(sidecar.app());
    let post = Call::post(ORDERS).with(sidecar.app()).json(&json!({"a": 1}));
    sidecar.send(&get).expect_status(200);
    // Longer than a connection counts as just used: what follows goes out on it and finds it closed.
    std::thread::sleep(Duration::from_millis(300));
    upstream.next(Reply::nothing());
    sidecar.send(&get).expect_status(200);
    assert_eq!(upstream.seen().len(), 3, "once before, once in vain, once again");
    std::thread::sleep(Duration::from_millis(300));
    upstream.next(Reply::nothing());
    sidecar.send(&post).expect(502, "upstream-unreachable");
    assert_eq!(upstream.seen().len(), 4);
}

#[test]
fn a_get_that_the_service_had_begun_to_answer_is_not_made_again() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).set("workers", "1").start();
    let get = Call::get(USERS).with(sidecar.app());
    for begun in ["HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "H"] {
        sidecar.send(&get).expect_status(200);
        std::thread::sleep(Duration::from_millis(300));
        upstream.forget();
        upstream.next(Reply::raw(begun));
        sidecar.send(&get).expect(502, "upstream-unreachable");
        assert_eq!(upstream.seen().len(), 1, "{begun:?}");
    }
}

#[test]
fn nothing_is_lost_when_the_service_closes_its_idle_connections() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).set("workers", "1").start();
    let post = Call::post(ORDERS).with(sidecar.app()).json(&json!({"a": 1}));
    for _ in 0..20 {
        sidecar.send(&post).expect_status(200);
        upstream.cut();
        // The close has to arrive; what is sent into the gap may be lost to any client.
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(upstream.seen().len(), 20);
}

#[test]
fn the_services_own_answer_to_too_many_requests_passes_as_it_is() {
    let upstream = Upstream::start();
    upstream.next(Reply::status(429).header("Retry-After", "17"));
    let sidecar = Sidecar::behind(&upstream).start();
    let answer = sidecar.send(&Call::get(USERS).with(sidecar.app()));
    assert_eq!((answer.status, answer.header("retry-after"), answer.code()), (429, Some("17"), String::new()));
}

#[test]
fn events_come_through_as_they_are_sent() {
    let upstream = Upstream::start();
    let events = ["data: one\n\n", "data: two\n\n"];
    upstream.next(Reply::status(200).header("Content-Type", "text/event-stream").chunked(events).then_hang());
    let sidecar = Sidecar::behind(&upstream).start();
    let mut connection = Connection::open(sidecar.address());
    connection.send(Call::get(USERS).with(sidecar.app()).bytes());
    let mut so_far = String::new();
    while !so_far.contains("data: two") {
        so_far.push_str(&String::from_utf8_lossy(&connection.read_some(1)));
    }
}

#[test]
fn expect_continue_is_answered_once_the_request_is_granted() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let call = |path: &str| {
        let call = Call::post(path).with(sidecar.app()).header("Content-Type", "application/json");
        call.header("Expect", "100-continue").header("Content-Length", "2")
    };
    let mut connection = Connection::open(sidecar.address());
    connection.send(call(ORDERS).bytes());
    assert!(connection.read_some(25).starts_with(b"HTTP/1.1 100"));
    connection.send("{}").answer().expect_status(200);
    assert_eq!(upstream.only().text(), "{}");
    let answer = Connection::open(sidecar.address()).send(call("/no/such/endpoint").bytes()).answer();
    answer.expect(403, "endpoint-unknown");
    assert!(answer.interim.is_empty());
}

/// The service's name is looked up anew for each new connection. The sidecar has a hosts file of its own, in a mount
/// namespace of its own; where that is not allowed there is nothing to see.
#[test]
fn a_service_that_moves_to_another_address_is_found_there() {
    let allowed = Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success());
    if !allowed {
        return println!("no mount namespaces here: the change of an address is not tried");
    }
    let here = Upstream::start();
    let port = here.address().port();
    let there = Upstream::on(format!("127.0.0.2:{port}").parse().unwrap());
    let mut sidecar = Sidecar::behind_url(&format!("http://service.vicar.test:{port}")).prepare();
    let hosts = sidecar.folder().join("hosts");
    fs::write(&hosts, "127.0.0.1 service.vicar.test\n").unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount --bind hosts /etc/hosts && exec \"$0\" \"$@\""]).arg(VICAR);
    sidecar.serve_as(command);
    let call = Call::get(USERS).with(sidecar.app());
    sidecar.send(&call).expect_status(200);
    assert_eq!((here.seen().len(), there.seen().len()), (1, 0));
    // In place: what is mounted is this very file.
    fs::write(&hosts, "127.0.0.2 service.vicar.test\n").unwrap();
    drop(here);
    eventually("it is found at its new address", || (sidecar.send(&call).status == 200).then_some(()));
    assert_eq!(there.last().header("host"), Some(format!("service.vicar.test:{port}").as_str()));
}

#[test]
fn early_hints_of_the_service_do_not_disturb_its_answer() {
    let upstream = Upstream::start();
    upstream.next(Reply::raw("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    let sidecar = Sidecar::behind(&upstream).start();
    assert_eq!(sidecar.send(&Call::get(USERS).with(sidecar.app())).expect_status(200).text(), "ok");
}

#[test]
fn an_answer_may_have_as_many_fields_as_a_request_may() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).set("limits", "{headers: 300}").start();
    upstream.next((0..200).fold(Reply::status(200), |reply, number| reply.header(&format!("x-field-{number}"), "a")));
    let call = (0..200).fold(Call::get(USERS).with(sidecar.app()), |call, number| call.header(&format!("x-field-{number}"), "a"));
    let answer = sidecar.send(&call);
    assert_eq!(answer.expect_status(200).header("x-field-199"), Some("a"));
    assert_eq!(upstream.only().header("x-field-199"), Some("a"));
}

#[test]
fn a_service_of_http_1_0_does_not_make_the_caller_one() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).start();
    let mut connection = Connection::open(sidecar.address());
    for body in ["Content-Length: 2\r\n\r\nok", "\r\nok"] {
        upstream.next(Reply::raw(format!("HTTP/1.0 200 OK\r\n{body}")));
        let answer = Call::get(USERS).with(sidecar.app()).send_on(&mut connection);
        assert_eq!(answer.expect_status(200).text(), "ok");
        assert!(answer.head.starts_with(b"HTTP/1.1 "));
    }
}

#[test]
fn an_edit_moves_the_service_without_a_restart() {
    let (old, new) = (Upstream::start(), Upstream::start());
    let sidecar = Sidecar::behind(&old).start();
    let call = Call::get(USERS).with(sidecar.app());
    sidecar.send(&call).expect_status(200);
    let settings = std::fs::read_to_string(sidecar.folder().join("vicar.yaml")).unwrap();
    sidecar.write("vicar.yaml", &settings.replace(&old.url(), &new.url()));
    eventually("the new service is asked", || {
        sidecar.send(&call).expect_status(200);
        (!new.seen().is_empty()).then_some(())
    });
}
