//! Request smuggling: either both sides of Vicar read the same one request, or nothing goes upstream and the
//! connection closes.
//!
//! The corpus goes through Vicar twice over: to the recording upstream, whose every request must have its audit record
//! and Vicar's identity; and to real servers of other makes, which must not see a request more than that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

#[path = "smuggling/corpus.rs"]
mod corpus;
#[path = "smuggling/servers.rs"]
mod servers;

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use corpus::{HIDDEN, Hidden, Mutant, corpus};
use serde_json::Value;
use servers::{Arrived, Server};
use support::{Answer, Call, Connection, Sidecar, Upstream, eventually, shown};

/// Connections at once. Each mutant waits until Vicar closes its connection.
const ABREAST: usize = 16;

fn behind(url: &str) -> Sidecar {
    Sidecar::behind_url(url)
        .set(
            "limits",
            "{failed_sign_ins_per_minute: 1000000, timeouts: {head: 300ms, body: 300ms, keep_alive: 200ms, first_byte: 2s, idle: 2s}}",
        )
        .set("audit", "{journal: {path: audit}, refusals_per_minute: 1000000}")
        .start()
}

/// Sends every mutant on a connection of its own, and gives all that came back on each, in the same order.
fn send_all(sidecar: &Sidecar, mutants: &[Mutant]) -> Vec<Vec<u8>> {
    let (next, address) = (AtomicUsize::new(0), sidecar.address());
    let mut back: Vec<(usize, Vec<u8>)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..ABREAST)
            .map(|_| {
                scope.spawn(|| {
                    let mut mine = Vec::new();
                    loop {
                        let at = next.fetch_add(1, Ordering::SeqCst);
                        let Some(mutant) = mutants.get(at) else { return mine };
                        let mut connection = Connection::open(address);
                        connection.send(&mutant.bytes);
                        mine.push((at, connection.rest()));
                    }
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    back.sort_by_key(|(at, _)| *at);
    back.into_iter().map(|(_, bytes)| bytes).collect()
}

/// The records of requests that went upstream, by request id; all closed.
fn forwarded(sidecar: &Sidecar) -> HashMap<String, Value> {
    eventually("every record is closed", || {
        let records = sidecar.records();
        let open = records.iter().any(|record| record["kind"] == "access" && record["outcome"].is_null());
        (!open).then_some(records)
    })
    .into_iter()
    .filter(|record| {
        record["kind"] == "access" && record["outcome"] != "refused" && !record["path"].as_str().unwrap().starts_with("/.vicar")
    })
    .map(|record| (record["request_id"].as_str().unwrap().to_owned(), record))
    .collect()
}

/// Fails unless what arrived is what the records say, and who they say.
fn check(arrived: &[Arrived], records: &HashMap<String, Value>, server: &str) {
    let mut met = HashMap::new();
    for request in arrived {
        let id = request.request_id.as_str();
        let record = records.get(id).unwrap_or_else(|| panic!("{server} saw a request without a record: {request:?}"));
        assert_eq!(met.insert(id, ()), None, "{server} saw one request twice: {request:?}");
        let path = request.target.split('?').next().unwrap();
        assert_eq!(
            (request.method.as_str(), path),
            (record["method"].as_str().unwrap(), record["path"].as_str().unwrap()),
            "{server}: {request:?}"
        );
        assert_eq!(request.accounts, ["app"], "{server}: {request:?}");
        assert!(request.users.is_empty(), "{server} saw a user that Vicar did not set: {request:?}");
    }
}

#[test]
fn nothing_reaches_the_service_that_vicar_did_not_read_and_record_as_one_request() {
    let upstream = Upstream::start();
    let sidecar = behind(&upstream.url());
    let mutants = corpus(sidecar.app());
    assert!(mutants.len() > 900, "{}", mutants.len());
    let back = send_all(&sidecar, &mutants);
    let records = forwarded(&sidecar);
    let seen = upstream.seen();
    let arrived: Vec<Arrived> = seen.iter().map(Arrived::of).collect();
    check(&arrived, &records, "the recording upstream");
    for request in &seen {
        let record = &records[request.header("x-request-id").unwrap()];
        if record["outcome"] == "completed" {
            assert!(request.whole, "{request:?}");
            assert_eq!(record["bytes_in"], request.body_len, "one body, one length: {request:?}");
        }
        let head = String::from_utf8_lossy(&request.head);
        assert!(!head.contains("ceo@") && !head.contains("root") && !head.contains("vsk_"), "{head}");
        assert!(request.trailers.iter().all(|(name, _)| !name.to_ascii_lowercase().contains("forwarded")), "{request:?}");
    }
    let (mut carried, mut refused, mut cut) = (0, 0, 0);
    for (mutant, back) in mutants.iter().zip(&back) {
        assert!(!String::from_utf8_lossy(back).contains("panicked"));
        match first_status(back) {
            Some(200..=299) => carried += 1,
            Some(400..=499) => refused += 1,
            Some(status) => panic!("{status} to {} {}: {}", mutant.name, shown(&mutant.bytes), shown(back)),
            None => cut += 1,
        }
        if mutant.hidden == Hidden::Forged {
            let hidden = seen.iter().filter(|seen| seen.target == HIDDEN && seen.header("x-request-id").is_none());
            assert_eq!(hidden.count(), 0, "{}", mutant.name);
        }
        if mutant.name.starts_with("behind ") {
            assert_eq!(answers(back), 1, "nothing behind a bad request is answered: {}: {}", mutant.name, shown(back));
        }
    }
    println!(
        "{} mutants: {carried} carried as one request, {refused} refused, {cut} cut; {} requests upstream, each with its record",
        mutants.len(),
        seen.len()
    );
    sidecar.send(&Call::get("/user/2/Ac1").with(sidecar.app())).expect_status(200);
}

fn first_status(back: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(back.get(9..12)?).ok()?;
    match text.parse().ok()? {
        // An interim answer is followed by the real one.
        100 => first_status(back.get(back.windows(4).position(|w| w == b"\r\n\r\n")? + 4..)?),
        status => Some(status),
    }
}

fn answers(back: &[u8]) -> usize {
    back.windows(10).filter(|window| window.starts_with(b"HTTP/1.1 ") && window[9].is_ascii_digit()).count()
}

/// A generator of our own, so that a failure can be had again from the seed it prints.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below.max(1) as u64).unwrap()
    }
}

/// What is put into requests at random: what separates, and what names.
const SPLINTERS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"\r\n\r\n",
    b"\r\n ",
    b"0\r\n\r\n",
    b"\x0b",
    b"\xff",
    b"#",
    b"?",
    b"/",
    b"//",
    b"..",
    b"%2e",
    b"5\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
    b"Host: other.test\r\n",
    b"X-Forwarded-User: ceo@acme.example\r\n",
    b"HTTP/1.0",
    b"HTTP/1.1",
    b"GET ",
    b"POST ",
    b"http://other.test",
    b"1",
    b"9",
    b"f",
];

/// One to four edits of a mutant.
fn edited(mutants: &[Mutant], dice: &mut Dice) -> Mutant {
    let mutant = &mutants[dice.roll(mutants.len())];
    let mut bytes = mutant.bytes.clone();
    for _ in 0..=dice.roll(4) {
        let (at, length) = (dice.roll(bytes.len()), dice.roll(12));
        let end = (at + length).min(bytes.len());
        match dice.roll(5) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, SPLINTERS[dice.roll(SPLINTERS.len())].iter().copied())),
            2 => drop(bytes.splice(at..end, SPLINTERS[dice.roll(SPLINTERS.len())].iter().copied())),
            3 => {
                let piece = bytes[at..end].to_vec();
                let to = dice.roll(bytes.len());
                drop(bytes.splice(to..to, piece));
            }
            _ => {
                let other = &mutants[dice.roll(mutants.len())].bytes;
                bytes.truncate(at);
                bytes.extend_from_slice(&other[dice.roll(other.len())..]);
            }
        }
        if bytes.is_empty() {
            bytes.push(b'\n');
        }
    }
    Mutant { name: format!("edited {}", mutant.name), bytes, hidden: mutant.hidden }
}

#[test]
fn nor_do_edits_at_random_find_a_way() {
    let cycles = std::env::var("VICAR_TEST_CYCLES").ok().and_then(|n| n.parse().ok()).unwrap_or(1500);
    let seed =
        std::env::var("VICAR_TEST_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or_else(|| u64::from(std::process::id()) << 20 | 1);
    println!("{cycles} edits, VICAR_TEST_SEED={seed}");
    let upstream = Upstream::start();
    let sidecar = behind(&upstream.url());
    let (corpus, mut dice) = (corpus(sidecar.app()), Dice(seed));
    let mutants: Vec<Mutant> = (0..cycles).map(|_| edited(&corpus, &mut dice)).collect();
    let back = send_all(&sidecar, &mutants);
    let records = forwarded(&sidecar);
    let seen = upstream.seen();
    check(&seen.iter().map(Arrived::of).collect::<Vec<_>>(), &records, "the recording upstream");
    for request in &seen {
        let record = &records[request.header("x-request-id").unwrap()];
        if record["outcome"] == "completed" {
            assert!(request.whole, "{request:?}");
            assert_eq!(record["bytes_in"], request.body_len, "one body, one length: {request:?}");
        }
    }
    let carried = back.iter().filter(|back| matches!(first_status(back), Some(200..=299))).count();
    println!("{carried} carried, {} requests upstream, each with its record", seen.len());
    sidecar.send(&Call::get("/user/2/Ac1").with(sidecar.app())).expect_status(200);
}

#[test]
fn servers_of_other_makes_see_no_more_than_the_records_say() {
    let mut tried = Vec::new();
    for make in Server::MAKES {
        let Some(server) = Server::start(make) else {
            println!("skipped: {make} is not on this machine");
            continue;
        };
        let sidecar = behind(&server.url());
        let mutants = corpus(sidecar.app());
        let back = send_all(&sidecar, &mutants);
        let records = forwarded(&sidecar);
        let arrived = server.arrived();
        assert!(arrived.len() > 100, "{make} saw {} requests only", arrived.len());
        check(&arrived, &records, make);
        let carried = back.iter().filter(|back| matches!(first_status(back), Some(200..=299))).count();
        println!(
            "{make}: {} mutants, {carried} carried, {} requests seen, each with its record and Vicar's identity",
            mutants.len(),
            arrived.len()
        );
        tried.push(make);
        // It still works, for the next caller, with the next identity.
        let answer: Answer = sidecar.send(&Call::get("/user/2/Ac1").with(sidecar.app()).on_behalf_of("zoe@acme.example"));
        answer.expect_status(200);
        let last =
            eventually("the last request is seen", || server.arrived().into_iter().find(|seen| seen.request_id == answer.request_id()));
        assert_eq!((last.accounts, last.users), (vec!["app".to_owned()], vec!["zoe@acme.example".to_owned()]));
    }
    println!("tried on {tried:?}");
}
