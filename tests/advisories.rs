//! What went wrong in other people's proxies, tried on this one: a class of failure a test.
//!
//! `advisories.md` lists the advisories, what Vicar does about each, and the test that shows it.

#![allow(unreachable_pub, dead_code, missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

#[path = "advisories/framing.rs"]
mod framing;
#[path = "edge/http2.rs"]
mod http2;
#[path = "advisories/identity.rs"]
mod identity;
#[path = "advisories/load.rs"]
mod load;
#[path = "advisories/paths.rs"]
mod paths;

use std::collections::BTreeSet;

use support::{Answer, Connection, Key, Sidecar, Upstream, shown};

/// An endpoint of the shipped catalog that takes a GET.
const USERS: &str = "/user/2/Ac1";

fn signed(key: &Key) -> String {
    format!("Host: vicar.test\r\nX-Access-Key-Id: {}\r\nX-Access-Key-Secret: {}\r\n", key.id, key.secret)
}

/// Sends raw bytes and gives the first answer, or nothing where the connection just closed.
fn raw(sidecar: &Sidecar, bytes: impl AsRef<[u8]>) -> Option<Answer> {
    Connection::open(sidecar.address()).send(bytes).try_answer().ok()
}

/// Fails unless these bytes were refused as ambiguous, or not answered at all, and reached nobody.
#[track_caller]
fn goes_nowhere(sidecar: &Sidecar, upstream: &Upstream, bytes: &[u8]) {
    if let Some(answer) = raw(sidecar, bytes) {
        assert!((400..500).contains(&answer.status), "{} to {}", answer.status, shown(bytes));
    }
    let seen = upstream.seen();
    assert!(seen.is_empty(), "{} reached the service as {seen:?}", shown(bytes));
}

#[test]
fn every_advisory_of_the_table_has_a_test_and_every_test_its_place_in_the_table() {
    let table = include_str!("advisories.md");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains('`'))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let mut advisories = BTreeSet::new();
    let mut tests = BTreeSet::new();
    for row in &rows {
        assert_eq!(row.len(), 4, "{row:?}");
        for advisory in row[0].split(", ") {
            assert!(advisories.insert(advisory), "{advisory} is there twice");
        }
        tests.insert(row[3].trim_matches('`'));
    }
    let sources = [
        include_str!("advisories/framing.rs"),
        include_str!("advisories/identity.rs"),
        include_str!("advisories/load.rs"),
        include_str!("advisories/paths.rs"),
    ];
    let written: BTreeSet<&str> =
        sources.iter().flat_map(|source| source.split("#[test]\nfn ").skip(1)).map(|rest| rest.split('(').next().unwrap()).collect();
    assert_eq!(tests, written);
    assert!(advisories.len() >= 40, "{}", advisories.len());
}
