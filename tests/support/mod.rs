//! What the area tests stand on: a real sidecar, a recording upstream, a raw client, a Redis.
//!
//! All of it is blocking and on real sockets, so that a test reads top to bottom and sends exactly
//! the bytes it says. Each test makes its own and drops it; nothing is shared between tests.

// Every area test compiles this and uses a part of it; a panic is how a test says no.
#![allow(dead_code, unreachable_pub, unused_imports, missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

pub mod access;
pub mod books;
pub mod browser;
pub mod client;
pub mod directory;
pub mod fleet;
pub mod gate;
pub mod redis;
pub mod sidecar;
pub mod upstream;

pub use client::{Answer, Call, Connection};
pub use fleet::{Cluster, Sentinels};
pub use gate::Gate;
pub use redis::Redis;
pub use sidecar::{Key, Ran, Sidecar};
pub use upstream::{Reply, Seen, Upstream};

use std::time::{Duration, Instant};

/// How long anything may take before a test calls it hung. Far above what a loaded machine needs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again until there is an answer, and fails with `what` after [`PATIENCE`].
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Bytes as a test failure shows them.
pub fn shown(bytes: &[u8]) -> String {
    let head: String = bytes.iter().take(2000).flat_map(|b| std::ascii::escape_default(*b)).map(char::from).collect();
    if bytes.len() > 2000 { format!("{head}… ({} bytes)", bytes.len()) } else { head }
}

/// Where the blank line after a head ends.
fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4)
}

/// The field lines of a head, names as they were sent.
fn fields(head: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(head);
    text.split("\r\n")
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
        .collect()
}

/// All values of a header.
fn named<'h>(headers: &'h [(String, String)], name: &str) -> Vec<&'h str> {
    headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
}
