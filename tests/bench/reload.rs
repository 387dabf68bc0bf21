//! Whether a reload lengthens requests: `cargo bench --bench reload [SECONDS]`, five a round unless said.
//!
//! Rounds of the same load on one sidecar, by turns without and with an edit of a policy of 10,000 shares every second.
//! Prints what its journal says of the requests of each kind of round: `total_us`, in microseconds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use support::{Call, Sidecar, eventually};
use vicar::audit::{self, Filter, LogSource, Page};

const SHARES: usize = 10_000;
const CLIENTS: usize = 4;
const ROUNDS: usize = 3;
/// So that the machine is busy and no queue grows.
const PAUSE: Duration = Duration::from_micros(500);

fn main() {
    let seconds: u64 = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(5);
    let sidecar = Sidecar::behind_url(&format!("http://{}", upstream())).policy(&policy(0)).start();
    let mut edition = 0;
    let mut rounds = [Vec::new(), Vec::new()];
    let mut reloads = 0;
    for round in 0..2 * ROUNDS {
        let edited = round % 2 == 1;
        // Records say when they began to the millisecond.
        let began = Timestamp::from_millisecond(Timestamp::now().as_millisecond()).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..CLIENTS).map(|_| client(&sidecar, over.clone())).collect();
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            if edited {
                edition += 1;
                sidecar.write_policy(&policy(edition));
            }
            thread::sleep(Duration::from_secs(1).min(end.saturating_duration_since(Instant::now())));
        }
        over.store(true, Ordering::SeqCst);
        let sent: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
        let ended = Timestamp::now();
        let (mut times, mut taken) = (Vec::new(), 0);
        eventually("every request has its record", || {
            (times, taken) = records(&sidecar, began, ended);
            (times.len() >= sent).then_some(())
        });
        reloads += taken;
        rounds[usize::from(edited)].extend(times);
    }
    println!("{reloads} reloads of {SHARES} shares");
    println!("{:<28}{:>10}{:>10}{:>10}{:>10}{:>10}", "total_us", "requests", "median", "p99", "p99.9", "worst");
    for (name, mut times) in ["without a reload", "with one every second"].into_iter().zip(rounds) {
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        println!("{name:<28}{:>10}{:>10}{:>10}{:>10}{:>10}", times.len(), at(0.5), at(0.99), at(0.999), at(1.0));
    }
}

fn policy(edition: usize) -> String {
    let mut text = format!("# edition {edition}\nversion: 1\nservice_accounts:\n  app:\n    shares:\n");
    for n in 0..SHARES {
        let _ =
            writeln!(text, "      - {{resource: \"dataset:D{n}\", actions: [list, read], impersonate: {{users: [\"*@acme.example\"]}}}}");
    }
    text
}

/// What the journal says of the requests of a round, and how many edits were taken meanwhile.
fn records(sidecar: &Sidecar, began: Timestamp, ended: Timestamp) -> (Vec<u64>, usize) {
    let (mut times, mut reloads) = (Vec::new(), 0);
    let source = LogSource::Journal(sidecar.folder().join("audit"));
    let filter = Filter { since: Some(began), until: Some(ended), ..Filter::default() };
    let mut each = |line: audit::Line<'_>| {
        match line.record.total_us {
            Some(total) if line.record.status == Some(200) => times.push(total),
            Some(_) => panic!("{}", line.raw),
            None => reloads += usize::from(line.record.action.as_deref() == Some("reload")),
        }
        ControlFlow::Continue(())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(audit::read(&source, &filter, Page::default(), &mut each)).unwrap();
    (times, reloads)
}

fn client(sidecar: &Sidecar, over: Arc<AtomicBool>) -> thread::JoinHandle<usize> {
    let call = Call::get("/dataset/2/Ac1/D7/list").with(sidecar.app()).bytes();
    let mut stream = TcpStream::connect(sidecar.address()).unwrap();
    // A refusal ends otherwise than an answer: it must not be waited for in vain.
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    thread::spawn(move || {
        let (mut sent, mut buffer) = (0, Vec::new());
        while !over.load(Ordering::SeqCst) {
            stream.write_all(&call).unwrap();
            assert!(until(&mut stream, &mut buffer, b"{}\n"), "no answer but {}", String::from_utf8_lossy(&buffer));
            sent += 1;
            thread::sleep(PAUSE);
        }
        sent
    })
}

/// A service that says the same to everybody at once.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let (mut stream, mut buffer) = (stream, Vec::new());
                let _ = stream.set_nodelay(true);
                while until(&mut stream, &mut buffer, b"\r\n\r\n") {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n{}\n";
                    if stream.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Reads until what was read ends so; `false` if the other side has gone or says no more.
fn until(stream: &mut TcpStream, buffer: &mut Vec<u8>, end: &[u8]) -> bool {
    buffer.clear();
    let mut piece = [0u8; 4096];
    while !buffer.ends_with(end) {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return false,
            Ok(read) => buffer.extend_from_slice(&piece[..read]),
        }
    }
    true
}
