//! What reading a long log takes: `cargo bench --bench log [RECORDS]`, a million unless said.
//!
//! Writes a journal of so many records as a sidecar writes it, and has the program verify, replay, query, count and
//! export it. Prints the time by the clock and the most memory each held, for the whole log and for a tenth of it: what
//! streams holds as much for both.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    fs,
    path::Path,
    pin::pin,
    process::{Command, Stdio},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use ulid::Ulid;
use vicar::{
    audit::{Audit, Concerned, Decision, Opening, Standing, Writer},
    settings,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Names another build of the program to measure.
const PROGRAM: &str = "VICAR_BENCH_PROGRAM";
const ACCOUNTS: [&str; 4] = ["procure-to-pay", "reporting", "approvals", "chat-bot"];
const SETTINGS: &str = "version: 1\nlisten: [{address: \"127.0.0.1:8080\"}]\nupstream: {url: \"http://127.0.0.1:3000\"}\ndirectory: {file: keys.yaml}\npolicy: policy.yaml\ncatalog: [kissflow.yaml]\naudit: {journal: {path: audit}}\n";

fn main() {
    let asked: Option<u64> = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let records = asked.unwrap_or(1_000_000);
    let folder = tempfile::tempdir().unwrap();
    let (small, large) = (folder.path().join("small"), folder.path().join("large"));
    write(&small, records / 10);
    write(&large, records);
    let denied: &[&str] = &["audit", "query", "--decision", "deny", "--output", "json"];
    let commands: [(&str, &[&str]); 9] = [
        ("audit verify", &["audit", "verify"]),
        ("simulate", &["simulate", "--policy", "edited.yaml"]),
        ("suggest", &["suggest"]),
        ("audit query, a hundredth", denied),
        ("audit query, newest 10", &["audit", "query", "--newest-first", "--limit", "10"]),
        ("audit usage", &["audit", "usage"]),
        ("audit export jsonl", &["audit", "export"]),
        ("audit export csv", &["audit", "export", "--format", "csv"]),
        ("audit export ocsf", &["audit", "export", "--format", "ocsf"]),
    ];
    println!("{records} records, {} MiB of journal", size(&large.join("audit")) >> 20);
    println!("{:<26}{:>10}{:>16}{:>18}{:>18}", "", "time", "records/s", "memory, all", "memory, a tenth");
    for (name, words) in commands {
        let ((took, peak), (_, peak_of_small)) = (run(&large, words), run(&small, words));
        let rate = records as f64 / took.as_secs_f64();
        println!("{name:<26}{:>8.2} s{rate:>16.0}{:>14} MiB{:>14} MiB", took.as_secs_f64(), peak >> 10, peak_of_small >> 10);
    }
}

/// A folder with settings and a journal of so many requests, one in a hundred refused, over the last days.
fn write(folder: &Path, records: u64) {
    fs::create_dir(folder).unwrap();
    let policy: String = ACCOUNTS
        .iter()
        .map(|account| {
            format!(
                "  {account}:\n    shares:\n      - {{resource: \"dataset:*\", actions: [list, read], impersonate: {{users: [\"*@acme.example\"]}}}}\n"
            )
        })
        .collect();
    let policy = format!("version: 1\nservice_accounts:\n{policy}");
    fs::write(folder.join("vicar.yaml"), SETTINGS).unwrap();
    fs::write(folder.join("edited.yaml"), policy.replacen("dataset:*", "dataset:Vendors", 1)).unwrap();
    fs::write(folder.join("policy.yaml"), policy).unwrap();
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/catalog/kissflow.yaml"), folder.join("kissflow.yaml")).unwrap();
    let mut settings = settings::Audit::default();
    settings.journal.path = folder.join("audit");
    settings.journal.max_size = settings::Size(u64::MAX);
    let audit = Audit::open(&settings, "bench", Writer::Sidecar).unwrap();
    let now = Timestamp::now();
    for n in 0..records {
        let before = SignedDuration::from_millis(i64::try_from((records - n) * 500 % (6 * 24 * 3600 * 1000)).unwrap());
        one(&audit, n, now - before);
    }
    drop(audit);
}

fn one(audit: &Audit, n: u64, time: Timestamp) {
    let nth = usize::try_from(n).unwrap();
    let account = ACCOUNTS.get(nth % ACCOUNTS.len()).unwrap();
    let dataset = *["Vendors", "Rates", "Countries"].get(nth / 7 % 3).unwrap();
    let path = format!("/dataset/2/Ac1/{dataset}/list");
    let subject = format!("user{}@acme.example", n % 500);
    let denied = n % 100 == 99;
    let began = Instant::now();
    let opening = Opening {
        id: Ulid::from_parts(u64::try_from(time.as_millisecond()).unwrap(), u128::from(n).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C)),
        time,
        began,
        standing: Standing::SignedIn,
        account: Some(account),
        key: Some("VKAAAAAAAAAAAAAAAAAAAA"),
        subject: n.is_multiple_of(3).then_some(subject.as_str()),
        method: "GET",
        path: if denied { "/user/2/Ac1" } else { &path },
        query: Some("page_number&page_size"),
        resource: Some(if denied { Concerned { kind: "user", id: None } } else { Concerned { kind: "dataset", id: Some(dataset) } }),
        action: Some("list"),
        decision: if denied { Decision::Deny } else { Decision::Allow },
        reason: if denied { "not-shared" } else { "shared" },
        share: (!denied).then_some("procure-to-pay/shares/1"),
        policy: "0123456789abcdef",
        stale: false,
        client: "10.20.30.40".parse().unwrap(),
        user_agent: Some(b"integration/1.0 (+https://example.com)"),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736"),
    };
    if denied {
        return audit.refuse(opening, 403).unwrap();
    }
    let mut future = pin!(audit.open_entry(opening));
    let Poll::Ready(Ok(mut entry)) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) else { panic!("no entry") };
    entry.status(200);
    entry.upstream_us(850);
    entry.sent(1024);
    entry.complete();
}

/// How long a command took, and the most memory it held, in KiB.
fn run(folder: &Path, words: &[&str]) -> (Duration, u64) {
    let began = Instant::now();
    let program = std::env::var_os(PROGRAM).unwrap_or_else(|| env!("CARGO_BIN_EXE_vicar").into());
    let mut child = Command::new(program)
        .current_dir(folder)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut peak = 0;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        peak = peak.max(high_water(child.id()).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(2));
    };
    let took = began.elapsed();
    if !status.success() {
        let mut told = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut told).unwrap();
        panic!("{words:?}: {status}\n{told}");
    }
    (took, peak)
}

/// `VmHWM` of proc(5).
fn high_water(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn size(folder: &Path) -> u64 {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}
