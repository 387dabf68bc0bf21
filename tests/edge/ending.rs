//! How it ends: too many callers, and the drain.

use std::{
    io::Read as _,
    net::{SocketAddr, TcpListener},
    os::fd::AsRawFd as _,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::json;

use crate::{
    ORDERS, USERS,
    http2::{self, Http2},
    support::{Call, Connection, Reply, Sidecar, Upstream, eventually, sidecar::VICAR},
};

#[test]
fn a_caller_too_many_is_told_so_at_once() {
    let upstream = Upstream::start();
    let sidecar = Sidecar::behind(&upstream).set("limits", "{connections: 2}").start();
    let call = Call::get(USERS).with(sidecar.app());
    let mut kept: Vec<_> = (0..2).map(|_| Connection::open(sidecar.address())).collect();
    for connection in &mut kept {
        call.send_on(connection).expect_status(200);
    }
    let answer = sidecar.send(&call);
    answer.expect(503, "draining");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.json()["request_id"], answer.request_id());
    kept.pop();
    eventually("there is room again", || (sidecar.send(&call).status == 200).then_some(()));
}

#[test]
fn running_requests_finish_and_connections_end_with_a_notice() {
    let upstream = Upstream::start();
    let mut sidecar = Sidecar::behind(&upstream).start();
    let call = Call::get(USERS).with(sidecar.app());
    let mut idle = Connection::open(sidecar.address());
    call.send_on(&mut idle).expect_status(200);
    let mut second = Http2::clear(sidecar.address());
    second.send(http2::get(USERS, sidecar.app())).expect_status(200);
    upstream.always(Reply::default().after(Duration::from_millis(700)));
    let mut running = Connection::open(sidecar.address());
    running.send(call.bytes());
    upstream.wait_for(3);
    sidecar.signal(Signal::TERM);
    // A request that was on its way when the end began is served, and told that it was the last.
    idle.send(call.bytes());
    for connection in [&mut running, &mut idle] {
        let answer = connection.answer();
        answer.expect_status(200);
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(connection.is_closed());
    }
    assert!(second.is_closed());
    assert_eq!(sidecar.wait(), Some(0));
}

#[test]
fn connections_that_say_nothing_do_not_hold_up_the_end() {
    let upstream = Upstream::start();
    let mut sidecar = Sidecar::behind(&upstream).set("limits", "{timeouts: {head: 1h, keep_alive: 1h, drain: 1h}}").start();
    let mut silent = Connection::open(sidecar.address());
    let mut begun = Connection::open(sidecar.address());
    begun.send("GET /");
    let mut idle = Connection::open(sidecar.address());
    Call::get(USERS).with(sidecar.app()).send_on(&mut idle).expect_status(200);
    assert_eq!(sidecar.stop(), Some(0));
    assert!(silent.is_closed() && begun.is_closed() && idle.is_closed());
}

#[test]
fn a_request_that_outlasts_the_grace_time_is_cut_off() {
    let upstream = Upstream::start();
    upstream.always(Reply::hang());
    let mut sidecar = Sidecar::behind(&upstream).set("limits", "{timeouts: {drain: 500ms}}").start();
    let mut running = Connection::open(sidecar.address());
    running.send(Call::get(USERS).with(sidecar.app()).bytes());
    upstream.wait_for(1);
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.wait(), Some(0));
    assert!(running.try_answer().is_err());
    let record = sidecar.records().into_iter().find(|record| record["path"] == USERS).unwrap();
    assert_eq!(record["outcome"], "interrupted", "{record}");
}

#[test]
fn what_is_cut_off_is_recorded_with_the_bytes_that_had_passed() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", service.local_addr().unwrap());
    let mut sidecar = Sidecar::behind_url(&url).set("limits", "{timeouts: {drain: 500ms}}").start();
    let mut upload = Connection::open(sidecar.address());
    let call = Call::post(ORDERS).with(sidecar.app()).header("Content-Type", "application/json").header("Content-Length", "1000");
    upload.send(call.bytes()).send("[".repeat(600));
    let (mut taken, _) = service.accept().unwrap();
    let mut came: Vec<u8> = Vec::new();
    while came.iter().filter(|byte| **byte == b'[').count() < 600 {
        let mut part = [0; 1024];
        let count = taken.read(&mut part).unwrap();
        assert!(count > 0);
        came.extend(&part[..count]);
    }
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.wait(), Some(0));
    let record = sidecar.records().into_iter().find(|record| record["path"] == ORDERS).unwrap();
    assert_eq!((&record["outcome"], &record["bytes_in"]), (&json!("interrupted"), &json!(600)), "{record}");
}

#[test]
fn a_second_signal_ends_it_now() {
    let upstream = Upstream::start();
    upstream.always(Reply::hang());
    let mut sidecar = Sidecar::behind(&upstream).start();
    let mut running = Connection::open(sidecar.address());
    running.send(Call::get(USERS).with(sidecar.app()).bytes());
    upstream.wait_for(1);
    sidecar.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(200));
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.wait(), Some(0));
}

/// As under systemd: the socket is held by somebody else, and one sidecar after the other serves it. Some callers keep
/// their connections, some make one for each request; who comes while nobody serves waits.
#[test]
fn no_request_fails_over_restarts_on_a_socket_that_is_handed_over() {
    let upstream = Upstream::start();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut sidecar = Sidecar::behind(&upstream).set("listen", &format!("[{{address: \"{address}\"}}]")).prepare();
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::empty()).unwrap();
    let handed = || {
        let script = format!("exec 3<&{}; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" \"$@\"", socket.as_raw_fd());
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(VICAR);
        command
    };
    sidecar.serve_as(handed());
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let call = Call::get(USERS).with(sidecar.app());
    let callers: Vec<_> = (0..6)
        .map(|number| caller(address, &call, if number % 2 == 0 { Keeps::Nothing } else { Keeps::Connection }, &stop, &sent))
        .collect();
    for _ in 0..3 {
        let before = sent.load(Ordering::Relaxed);
        eventually("the load goes on", || (sent.load(Ordering::Relaxed) > before + 50).then_some(()));
        assert_eq!(sidecar.stop(), Some(0));
        sidecar.serve_as(handed());
    }
    let before = sent.load(Ordering::Relaxed);
    eventually("the last one carries the load", || (sent.load(Ordering::Relaxed) > before + 50).then_some(()));
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.join().expect("a request failed");
    }
    let interrupted = sidecar.records().iter().filter(|record| record["outcome"] == "interrupted").count();
    assert_eq!((interrupted, upstream.seen().len()), (0, sent.load(Ordering::Relaxed)));
}

/// Whether a caller goes on with the connection it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeps {
    Connection,
    Nothing,
}

/// Sends one request after the other until it is told to stop, and counts them; none may fail.
fn caller(address: SocketAddr, call: &Call, keeps: Keeps, stop: &Arc<AtomicBool>, sent: &Arc<AtomicUsize>) -> JoinHandle<()> {
    let (stop, sent, call) = (stop.clone(), sent.clone(), call.clone());
    thread::spawn(move || {
        let mut connection = Connection::open(address);
        while !stop.load(Ordering::Relaxed) {
            let answer = call.send_on(&mut connection);
            answer.expect_status(200);
            sent.fetch_add(1, Ordering::Relaxed);
            if keeps == Keeps::Nothing || answer.header("connection") == Some("close") {
                connection = Connection::open(address);
            }
        }
    })
}

/// Callers keep connections and lose none of their requests while one sidecar takes over from another on the same address.
#[test]
fn no_request_fails_while_one_sidecar_takes_over_from_another() {
    let upstream = Upstream::start();
    let mut old = Sidecar::behind(&upstream).set("workers", "1").start();
    let key = old.app().clone();
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let address = old.address();
    let call = Call::get(USERS).with(&key);
    let callers: Vec<_> = (0..4).map(|_| caller(address, &call, Keeps::Connection, &stop, &sent)).collect();
    eventually("the load has begun", || (sent.load(Ordering::Relaxed) > 50).then_some(()));
    let mut new = old.twin();
    new.serve();
    assert_eq!(old.stop(), Some(0));
    let before = sent.load(Ordering::Relaxed);
    eventually("the new one carries the load", || (sent.load(Ordering::Relaxed) > before + 50).then_some(()));
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.join().expect("a request failed");
    }
}
