//! Where Vicar listens, and who says who is calling.

use std::{
    os::{fd::AsRawFd as _, unix::fs::PermissionsExt as _},
    process::Command,
};

use crate::{
    USERS,
    certificates::{Authority, Versions},
    support::{Call, Connection, Sidecar, Upstream, sidecar::free_port},
};

#[test]
fn several_listeners_serve_at_once_over_ipv4_ipv6_and_a_unix_socket() {
    let upstream = Upstream::start();
    let (four, six) = (free_port(), free_port());
    let listen =
        format!("[{{address: \"127.0.0.1:{four}\"}}, {{address: \"[::1]:{six}\"}}, {{address: \"unix:data.sock\", mode: \"0600\"}}]");
    let sidecar = Sidecar::behind(&upstream).set("listen", &listen).start();
    let call = Call::get(USERS).with(sidecar.app());
    call.send(format!("127.0.0.1:{four}").parse().unwrap()).expect_status(200);
    assert_eq!(upstream.last().header("x-forwarded-for"), Some("127.0.0.1"));
    call.send(format!("[::1]:{six}").parse().unwrap()).expect_status(200);
    assert_eq!(upstream.last().header("x-forwarded-for"), Some("::1"));
    let path = sidecar.folder().join("data.sock");
    call.send_on(&mut Connection::unix(&path)).expect_status(200);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_socket_file_left_behind_is_replaced_and_anything_else_is_not() {
    let upstream = Upstream::start();
    let mut sidecar = Sidecar::behind(&upstream).set("listen", "[{address: \"unix:data.sock\"}]").start();
    let path = sidecar.folder().join("data.sock");
    sidecar.kill();
    assert!(path.exists(), "a killed sidecar leaves its socket");
    sidecar.serve();
    Call::get(USERS).with(sidecar.app()).send_on(&mut Connection::unix(&path)).expect_status(200);
    assert_eq!(sidecar.stop(), Some(0));
    assert!(!path.exists(), "one that ends removes it");
    sidecar.write("data.sock", "precious");
    let ran = sidecar.vicar(&["serve"]).exited(1);
    assert!(ran.stderr.contains("no socket"), "{}", ran.stderr);
    assert_eq!(std::fs::read_to_string(path).unwrap(), "precious");
}

#[test]
fn a_trusted_balancer_says_who_calls_and_nobody_else_may() {
    let upstream = Upstream::start();
    let port = free_port();
    let listen = format!("[{{address: \"127.0.0.1:{port}\", proxy_protocol: true}}]");
    let address = format!("127.0.0.1:{port}").parse().unwrap();
    let sidecar = Sidecar::behind(&upstream).set("listen", &listen).set("trusted_proxies", "[127.0.0.1/32]").start();
    let call = Call::get(USERS).with(sidecar.app()).header("X-Forwarded-For", "203.0.113.9");
    let second = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"[..], &[192, 0, 2, 8, 10, 0, 0, 1, 1, 2, 3, 4]].concat();
    for (header, client) in [(&b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 443\r\n"[..], "192.0.2.7"), (&second, "192.0.2.8")] {
        let mut connection = Connection::open(address);
        connection.send(header);
        // The address it names is not trusted itself: what it claims about others does not count.
        call.send_on(&mut connection).expect_status(200);
        assert_eq!(upstream.last().header("x-forwarded-for"), Some(client));
    }
    upstream.forget();
    assert!(Connection::open(address).send(call.bytes()).is_closed(), "a connection without the header");
    upstream.saw_nothing();

    let other = free_port();
    let listen = format!("[{{address: \"127.0.0.1:{other}\", proxy_protocol: true}}]");
    let sidecar = Sidecar::behind(&upstream).set("listen", &listen).set("trusted_proxies", "[192.0.2.0/24]").start();
    let mut connection = Connection::open(format!("127.0.0.1:{other}").parse().unwrap());
    connection.send(b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 443\r\n").send(Call::get(USERS).with(sidecar.app()).bytes());
    assert!(connection.is_closed(), "a peer that is not in trusted_proxies");
    upstream.saw_nothing();
}

#[test]
fn the_proxy_header_comes_before_tls() {
    let (upstream, ca) = (Upstream::start(), Authority::new());
    let port = free_port();
    let listen = format!("[{{address: \"127.0.0.1:{port}\", proxy_protocol: true, tls: {{certificate: tls.crt, key: tls.key}}}}]");
    let mut sidecar = Sidecar::behind(&upstream).set("listen", &listen).set("trusted_proxies", "[127.0.0.1/32]").prepare();
    let identity = ca.issue(&["localhost"]);
    sidecar.write("tls.crt", &identity.certificate);
    sidecar.write("tls.key", &identity.key);
    sidecar.serve();
    let address = format!("127.0.0.1:{port}").parse().unwrap();
    let header = b"PROXY TCP6 2001:db8::7 ::1 5000 443\r\n";
    let mut connection = Connection::tls_after(address, header, ca.client(Versions::Both, None, &[])).unwrap();
    Call::get(USERS).with(sidecar.app()).send_on(&mut connection).expect_status(200);
    assert_eq!(upstream.last().header("x-forwarded-for"), Some("2001:db8::7"));
    assert_eq!(upstream.last().header("x-forwarded-proto"), Some("https"));
}

/// Starts a sidecar as systemd would: the socket is there before the program.
#[test]
fn a_socket_of_systemd_is_served_and_the_manager_is_told() {
    let upstream = Upstream::start();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut sidecar = Sidecar::behind(&upstream).set("listen", &format!("[{{address: \"{address}\"}}]")).prepare();
    let manager = std::os::unix::net::UnixDatagram::bind(sidecar.folder().join("notify")).unwrap();
    manager.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    // A request that comes before the program is there waits for it.
    let mut early = Connection::open(address);
    early.send(Call::get(USERS).with(sidecar.app()).bytes());

    let script = format!("exec 3<&{}; export LISTEN_PID=$$ LISTEN_FDS=1 NOTIFY_SOCKET=$PWD/notify; exec \"$0\" \"$@\"", socket.as_raw_fd());
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::empty()).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(crate::support::sidecar::VICAR);
    sidecar.serve_as(command);
    assert_eq!(early.answer().status, 200);

    let mut told = [0; 200];
    let mut next = || {
        let count = manager.recv(&mut told).unwrap();
        String::from_utf8_lossy(&told[..count]).into_owned()
    };
    assert_eq!(next(), "READY=1");
    assert_eq!(sidecar.stop(), Some(0));
    assert_eq!(next(), "STOPPING=1");
    // The socket outlives the program, and whoever connects now waits for the next one.
    drop(Connection::open(address));
}
