//! TLS towards callers.

use rustls::{HandshakeKind, NamedGroup, ProtocolVersion};

use crate::{
    USERS,
    certificates::{Authority, Identity, Versions},
    http2::{self, Http2},
    support::{Answer, Call, Connection, Key, Reply, Sidecar, Upstream, eventually, sidecar::Builder},
};

/// A sidecar that serves `identity`, its files still to be written.
fn sidecar(upstream: &Upstream, more: &str) -> Builder {
    Sidecar::behind(upstream).listener(&format!("tls: {{certificate: tls.crt, key: tls.key{more}}}"))
}

fn write(sidecar: &Sidecar, identity: &Identity) {
    sidecar.write("tls.key", &identity.key);
    sidecar.write("tls.crt", &identity.certificate);
}

fn start(upstream: &Upstream, ca: &Authority, clients: Option<&Authority>) -> Sidecar {
    let more = if clients.is_some() { ", client_ca: clients.crt" } else { "" };
    let mut sidecar = sidecar(upstream, more).prepare();
    write(&sidecar, &ca.issue(&["localhost"]));
    if let Some(clients) = clients {
        sidecar.write("clients.crt", &clients.pem);
    }
    sidecar.serve();
    sidecar
}

#[test]
fn callers_come_by_tls_1_2_and_1_3_and_the_service_is_told_https() {
    let (upstream, ca) = (Upstream::start(), Authority::new());
    let sidecar = start(&upstream, &ca, None);
    for (versions, spoken) in [(Versions::Tls12, ProtocolVersion::TLSv1_2), (Versions::Tls13, ProtocolVersion::TLSv1_3)] {
        let mut connection = Connection::tls(sidecar.address(), ca.client(versions, None, &[])).unwrap();
        assert_eq!(connection.session().protocol_version(), Some(spoken));
        Call::get(USERS).with(sidecar.app()).send_on(&mut connection).expect_status(200);
        assert_eq!(upstream.last().header("x-forwarded-proto"), Some("https"));
    }
}

#[test]
fn a_handshake_that_fails_is_counted() {
    let (upstream, ca) = (Upstream::start(), Authority::new());
    let sidecar = start(&upstream, &ca, None);
    // Plain HTTP.
    assert!(Connection::open(sidecar.address()).send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").try_answer().is_err());
    eventually("it is counted", || {
        let metrics = Call::get("/metrics").send(sidecar.admin()).text();
        metrics.contains("vicar_tls_handshakes_failed_total 1\n").then_some(())
    });
}

#[test]
fn the_key_exchange_withstands_a_quantum_computer_where_both_can() {
    let (upstream, ca) = (Upstream::start(), Authority::new());
    let sidecar = start(&upstream, &ca, None);
    let connection = Connection::tls(sidecar.address(), ca.client(Versions::Both, None, &[])).unwrap();
    let group = connection.session().negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
}

#[test]
fn http_1_and_http_2_are_agreed_on_by_alpn() {
    let (upstream, ca) = (Upstream::start(), Authority::new());
    let sidecar = start(&upstream, &ca, None);
    let mut first = Connection::tls(sidecar.address(), ca.client(Versions::Both, None, &["http/1.1"])).unwrap();
    assert_eq!(first.session().alpn_protocol(), Some(&b"http/1.1"[..]));
    Call::get(USERS).with(sidecar.app()).send_on(&mut first).expect_status(200);
    let mut second = Http2::tls(sidecar.address(), ca.client(Versions::Both, None, &["h2", "http/1.1"]));
    second.send(http2::get(USERS, sidecar.app())).expect_status(200);
    assert!(Connection::tls(sidecar.address(), ca.client(Versions::Both, None, &["spdy/3"])).is_err());
}

#[test]
fn a_plain_request_to_a_tls_port_gets_no_answer() {
    let (upstream, ca) = (Upstream::start(), Authority::new());
    let sidecar = start(&upstream, &ca, None);
    let mut plain = Connection::open(sidecar.address());
    plain.send(Call::get(USERS).with(sidecar.app()).bytes());
    let got = plain.rest();
    assert!(!got.windows(4).any(|w| w == b"HTTP"), "{got:?}");
    upstream.saw_nothing();
}

#[test]
fn with_a_client_ca_only_its_clients_get_in() {
    let (upstream, ca, clients) = (Upstream::start(), Authority::new(), Authority::new());
    let sidecar = start(&upstream, &ca, Some(&clients));
    let call = Call::get(USERS).with(sidecar.app());
    let refused = |identity: Option<&Identity>| {
        // Under TLS 1.3 a client learns of it only when it reads.
        match Connection::tls(sidecar.address(), ca.client(Versions::Both, identity, &[])) {
            Err(_) => true,
            Ok(mut connection) => connection.send(call.bytes()).try_answer().is_err(),
        }
    };
    assert!(refused(None));
    assert!(refused(Some(&Authority::new().issue(&["stranger"]))));
    upstream.saw_nothing();
    let mut connection = Connection::tls(sidecar.address(), ca.client(Versions::Both, Some(&clients.issue(&["robot"])), &[])).unwrap();
    call.send_on(&mut connection).expect_status(200);
}

#[test]
fn a_key_bound_to_a_certificate_is_taken_from_its_holder_alone() {
    let (upstream, ca, clients) = (Upstream::start(), Authority::new(), Authority::new());
    let sidecar = start(&upstream, &ca, Some(&clients));
    let (own, other) = (clients.issue(&["robot"]), clients.issue(&["robot"]));
    let by = |identity: &Identity| Connection::tls(sidecar.address(), ca.client(Versions::Both, Some(identity), &[])).unwrap();
    sidecar.write("own.pem", &own.certificate);
    let key = sidecar.new_key("app", &["--name", "bound", "--client-cert", "own.pem"]);
    let call = Call::get(USERS).with(&key);
    eventually("the new key is known", || (call.send_on(&mut by(&own)).status == 200).then_some(()));
    let mut second = Http2::tls(sidecar.address(), ca.client(Versions::Both, Some(&own), &["h2"]));
    second.send(http2::get(USERS, &key)).expect_status(200);

    // Whoever holds another certificate of the same CA, and the same name, is told what a wrong secret is told.
    let refused = call.send_on(&mut by(&other));
    let record = sidecar.record(&refused.request_id());
    assert_eq!((record["reason"].as_str(), record["account"].as_str()), (Some("certificate-not-allowed"), Some("app")));
    let wrong = call_with_wrong_secret(&key).send_on(&mut by(&own));
    assert_eq!(without_id(&refused), without_id(&wrong));
    let mut second = Http2::tls(sidecar.address(), ca.client(Versions::Both, Some(&other), &["h2"]));
    second.send(http2::get(USERS, &key)).expect(401, "credentials-invalid");
    // A key that is bound to nothing needs none in particular.
    Call::get(USERS).with(sidecar.app()).send_on(&mut by(&other)).expect_status(200);

    // Taken up again by ticket, a session is still its holder's.
    for (identity, status) in [(&own, 200), (&other, 401)] {
        let config = ca.client(Versions::Both, Some(identity), &[]);
        for resumed in [false, true] {
            let mut connection = Connection::tls(sidecar.address(), config.clone()).unwrap();
            call.send_on(&mut connection).expect_status(status);
            assert_eq!(connection.session().handshake_kind() == Some(HandshakeKind::Resumed), resumed);
        }
    }
}

#[test]
fn a_bound_key_is_refused_where_no_certificate_is_asked_for_and_what_it_opened_is_cut() {
    let (upstream, ca, clients) = (Upstream::start(), Authority::new(), Authority::new());
    let sidecar = start(&upstream, &ca, Some(&clients));
    let own = clients.issue(&["robot"]);
    sidecar.write("own.pem", &own.certificate);
    let key = sidecar.new_key("app", &["--name", "bound", "--client-cert", "own.pem"]);
    let by_own = || Connection::tls(sidecar.address(), ca.client(Versions::Both, Some(&own), &[])).unwrap();
    eventually("the new key is known", || (Call::get(USERS).with(&key).send_on(&mut by_own()).status == 200).then_some(()));
    upstream.next(Reply::raw("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").then_hang());
    let mut open = by_own();
    open.send(
        Call::get(USERS)
            .with(&key)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .bytes(),
    );
    let request = open.answer().expect_status(101).request_id();
    sidecar.vicar(&["key", "change", &key.id, "--client-cert", &"0a".repeat(32)]).succeeded();
    assert!(open.is_closed());
    assert_eq!(sidecar.record(&request)["outcome"], "interrupted");

    let plain = start(&upstream, &ca, None);
    let key = plain.new_key("app", &["--name", "bound", "--client-cert", &"0a".repeat(32)]);
    let mut connection = Connection::tls(plain.address(), ca.client(Versions::Both, Some(&own), &[])).unwrap();
    Call::get(USERS).with(&key).send_on(&mut connection).expect(401, "credentials-invalid");
}

fn call_with_wrong_secret(key: &Key) -> Call {
    let other = vicar::identity::Secret::random().unwrap();
    Call::get(USERS).with(&Key { secret: other.reveal().to_owned(), ..key.clone() })
}

/// An answer, less its date and what tells one request from another.
fn without_id(answer: &Answer) -> String {
    let (id, mut headers) = (answer.request_id(), answer.headers.clone());
    headers.retain(|(name, _)| name != "date");
    format!("{} {headers:?} {}", answer.status, answer.text()).replace(&id, "ID")
}

#[test]
fn a_new_certificate_is_taken_without_a_restart_and_a_broken_one_is_not() {
    let (upstream, old, new) = (Upstream::start(), Authority::new(), Authority::new());
    let sidecar = start(&upstream, &old, None);
    let call = Call::get(USERS).with(sidecar.app());
    let mut open = Connection::tls(sidecar.address(), old.client(Versions::Both, None, &[])).unwrap();
    call.send_on(&mut open).expect_status(200);

    sidecar.write("tls.crt", "not a certificate");
    eventually("the broken file is spoken of", || sidecar.log().contains("was not taken").then_some(()));
    Connection::tls(sidecar.address(), old.client(Versions::Both, None, &[])).unwrap();

    sidecar.write("tls.crt", &new.issue(&["localhost"]).certificate);
    eventually("a certificate without its key is spoken of", || (sidecar.log().matches("was not taken").count() > 1).then_some(()));
    Connection::tls(sidecar.address(), old.client(Versions::Both, None, &[])).unwrap();

    write(&sidecar, &new.issue(&["localhost"]));
    eventually("the new certificate is served", || Connection::tls(sidecar.address(), new.client(Versions::Both, None, &[])).ok());
    assert!(Connection::tls(sidecar.address(), old.client(Versions::Both, None, &[])).is_err());
    call.send_on(&mut open).expect_status(200);
}

#[test]
fn a_certificate_that_does_not_hold_keeps_the_sidecar_from_starting() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream, "").prepare();
    sidecar.write("tls.crt", &Authority::new().issue(&["localhost"]).certificate);
    sidecar.write("tls.key", &Authority::new().issue(&["localhost"]).key);
    let ran = sidecar.vicar(&["serve"]).exited(1);
    assert!(ran.stderr.contains("tls.crt"), "{}", ran.stderr);
}
