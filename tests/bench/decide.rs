//! What a decision costs, by the size of the policy and of the catalog: `cargo bench --bench decide`.
//!
//! Prints nanoseconds for reading the path of one request, classifying and deciding it, as the middle of several rounds over
//! requests in random order, half of which hit a share. The shapes are those that a plain list of rules would be slow at.
//! Times are those the processor spent on it, so that a busy machine makes less of a difference.

use std::{fmt::Write as _, hint::black_box, time::Duration};

use jiff::Timestamp;
use vicar::{
    catalog::{self, CanonicalPath, Catalog, PathRules},
    identity::{AccountId, Subject},
    policy::{self, Policy, Verdict},
    source::{Complaints, Source},
};

const SIZES: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];
const REQUESTS: usize = 4_096;
const ROUNDS: usize = 5;
/// Some machines count a thread's time in steps of several milliseconds.
const ROUND: Duration = Duration::from_millis(80);

struct Request {
    account: AccountId,
    subject: Option<Subject>,
    method: &'static str,
    path: String,
}

struct Shape {
    name: &'static str,
    policy: fn(usize) -> String,
    request: fn(usize, usize) -> Request,
}

const SHAPES: [Shape; 6] = [
    Shape { name: "ids, 25 accounts", policy: ids, request: by_id },
    Shape { name: "ids, 1 account", policy: ids_of_one, request: by_id_of_one },
    Shape { name: "globs PO_n_*, 1 account", policy: globs, request: by_glob },
    Shape { name: "users of one process", policy: users, request: by_user },
    Shape { name: "groups of one process", policy: groups, request: by_user },
    Shape { name: "denials, 1 account", policy: denials, request: by_id_of_one },
];

fn main() {
    let small = load_catalog(100);
    let now = Timestamp::now();
    println!("{:<26}{:>10}{:>14}{:>12}", "policy", "shares", "compiled in", "a decision");
    for shape in &SHAPES {
        for size in SIZES {
            let text = (shape.policy)(size);
            let began = spent();
            let policy = load_policy(&small, text);
            let compiled = spent() - began;
            let requests: Vec<Request> = (0..REQUESTS).map(|n| (shape.request)(shuffled(n), size)).collect();
            let ns = measure(&small, &policy, &requests, now);
            println!("{:<26}{size:>10}{:>11.1} ms{:>9.0} ns", shape.name, compiled.as_secs_f64() * 1e3, ns);
        }
    }
    println!("\n{:<26}{:>10}{:>14}{:>12}", "catalog", "endpoints", "compiled in", "a decision");
    for size in [10, 100, 1_000, 10_000] {
        let began = spent();
        let catalog = load_catalog(size);
        let compiled = spent() - began;
        let policy = load_policy(&catalog, ids_of_one(1_000));
        let requests: Vec<Request> = (0..REQUESTS).map(|n| by_endpoint(shuffled(n), size)).collect();
        let ns = measure(&catalog, &policy, &requests, now);
        println!("{:<26}{size:>10}{:>11.1} ms{:>9.0} ns", "ids, 1 account", compiled.as_secs_f64() * 1e3, ns);
    }
}

/// Time that the processor has spent on this thread.
fn spent() -> Duration {
    Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// Nanoseconds a request: the middle of the rounds.
fn measure(catalog: &Catalog, policy: &Policy, requests: &[Request], now: Timestamp) -> f64 {
    let pass = || {
        let mut allowed = 0_u32;
        for request in requests {
            let Ok(path) = CanonicalPath::parse(&request.path, PathRules::default()) else { continue };
            let operation = catalog.classify(request.method, &path).ok();
            let verdict = policy.decide(&request.account, operation.as_ref(), request.subject.clone(), now);
            allowed += u32::from(matches!(verdict, Verdict::Allowed(_)));
        }
        black_box(allowed);
    };
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let (began, mut passes) = (spent(), 0);
            while spent() - began < ROUND {
                pass();
                passes += 1;
            }
            (spent() - began).as_secs_f64() * 1e9 / f64::from(passes) / requests.len() as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds.get(ROUNDS / 2).copied().unwrap_or_default()
}

/// A number that looks random, the same each time.
fn shuffled(n: usize) -> usize {
    (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) as usize >> 8
}

fn load_catalog(endpoints: usize) -> Catalog {
    let mut text = String::from("version: 1\nkinds: {process: {title: Processes}, other: {title: Others}}\nendpoints:\n");
    text.push_str("  - {request: \"GET /process/2/{a}/{p}\", resource: \"process:{p}\", action: read}\n");
    text.push_str("  - {request: \"POST /process/2/{a}/{p}\", resource: \"process:{p}\", action: create}\n");
    for n in 2..endpoints {
        let _ = writeln!(text, "  - {{request: \"GET /other{n}/2/{{a}}/{{o}}/x\", resource: \"other:{{o}}\", action: read}}");
    }
    let mut complaints = Complaints::default();
    match catalog::load(&[Source::new("catalog.yaml", text)], &mut complaints) {
        Some(catalog) => catalog,
        None => panic!("{complaints}"),
    }
}

fn load_policy(catalog: &Catalog, text: String) -> Policy {
    let mut complaints = Complaints::default();
    match policy::load(&Source::new("policy.yaml", text), catalog, &mut complaints) {
        Some(policy) => policy,
        None => panic!("{complaints}"),
    }
}

// ===== policies =====

fn ids(size: usize) -> String {
    spread(size, 25)
}

fn ids_of_one(size: usize) -> String {
    spread(size, 1)
}

fn spread(size: usize, accounts: usize) -> String {
    let mut text = String::from("version: 1\nservice_accounts:\n");
    for account in 0..accounts {
        let _ = writeln!(text, "  bot-{account}:\n    shares:");
        for n in (account..size).step_by(accounts) {
            let _ = writeln!(text, "      - {{resource: process:P{n}, actions: [read, create]}}");
        }
        if account >= size {
            text.push_str("      - {resource: \"process:none\", actions: [read]}\n");
        }
    }
    text
}

fn globs(size: usize) -> String {
    let mut text = String::from("version: 1\nservice_accounts:\n  bot-0:\n    shares:\n");
    for n in 0..size {
        let _ = writeln!(text, "      - {{resource: \"process:PO_{n}_*\", actions: [read]}}");
    }
    text
}

fn users(size: usize) -> String {
    let mut text = String::from("version: 1\nservice_accounts:\n  bot-0:\n    shares:\n");
    for n in 0..size {
        let _ = writeln!(
            text,
            "      - {{resource: process:P0, actions: [read], impersonate: {{users: \"user{n}@acme.example\", required: true}}}}"
        );
    }
    text
}

fn groups(size: usize) -> String {
    let mut text = String::from("version: 1\ngroups:\n");
    for n in 0..size {
        let _ = writeln!(text, "  g{n}: [user{n}@acme.example, lead{n}@acme.example]");
    }
    text.push_str("service_accounts:\n  bot-0:\n    shares:\n");
    for n in 0..size {
        let _ = writeln!(text, "      - {{resource: process:P0, actions: [read], impersonate: {{users: \"@g{n}\", required: true}}}}");
    }
    text
}

fn denials(size: usize) -> String {
    let mut text = String::from(
        "version: 1\nservice_accounts:\n  bot-0:\n    shares:\n      - {resource: \"process:*\", actions: \"*\"}\n    deny:\n",
    );
    for n in 0..size {
        let _ = writeln!(text, "      - {{resource: process:P{n}, actions: [create]}}");
    }
    text
}

// ===== requests, half of which hit =====

fn request(account: usize, method: &'static str, path: String, subject: Option<String>) -> Request {
    let account = format!("bot-{account}").parse().unwrap_or_else(|error| panic!("{error}"));
    let subject = subject.map(|subject| Subject::parse(subject.as_bytes()).unwrap_or_else(|error| panic!("{error}")));
    Request { account, subject, method, path }
}

fn by_id(n: usize, size: usize) -> Request {
    let id = n % (2 * size);
    request(id % 25, "GET", format!("/process/2/Ac1/P{id}"), None)
}

fn by_id_of_one(n: usize, size: usize) -> Request {
    request(0, if n.is_multiple_of(2) { "GET" } else { "POST" }, format!("/process/2/Ac1/P{}", n / 2 % (2 * size)), None)
}

fn by_glob(n: usize, size: usize) -> Request {
    request(0, "GET", format!("/process/2/Ac1/PO_{}_{n}", n % (2 * size)), None)
}

fn by_user(n: usize, size: usize) -> Request {
    request(0, "GET", "/process/2/Ac1/P0".to_owned(), Some(format!("user{}@acme.example", n % (2 * size))))
}

fn by_endpoint(n: usize, size: usize) -> Request {
    match n % size {
        0 => request(0, "GET", format!("/process/2/Ac1/P{}", n % 2_000), None),
        1 => request(0, "POST", format!("/process/2/Ac1/P{}", n % 2_000), None),
        endpoint => request(0, "GET", format!("/other{endpoint}/2/Ac1/O{n}/x"), None),
    }
}
