//! Policies on the shipped catalog: the one of the design, the shipped one, and large ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

#[path = "policy/reload.rs"]
mod reload;

use std::path::Path;

use jiff::Timestamp;
use vicar::{
    catalog::{self, CanonicalPath, Catalog, PathRules},
    identity::{AccountId, Subject},
    policy::{self, Policy, Verdict},
    source::{Complaints, Source},
};

fn shipped(file: &str) -> Source {
    Source::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(file)).unwrap()
}

fn kissflow() -> Catalog {
    let mut complaints = Complaints::default();
    catalog::load(&[shipped("catalog/kissflow.yaml")], &mut complaints).unwrap_or_else(|| panic!("{complaints}"))
}

fn load(catalog: &Catalog, source: &Source) -> Policy {
    let mut complaints = Complaints::default();
    policy::load(source, catalog, &mut complaints).unwrap_or_else(|| panic!("{complaints}"))
}

/// `allow SHARE`, or the reason code.
fn ask(policy: &Policy, catalog: &Catalog, account: &str, subject: Option<&str>, method: &str, path: &str) -> String {
    let path = CanonicalPath::parse(path, PathRules::default()).unwrap();
    let operation = catalog.classify(method, &path).ok();
    let account: AccountId = account.parse().unwrap();
    let subject = subject.map(|subject| Subject::parse(subject.as_bytes()).unwrap());
    match policy.decide(&account, operation.as_ref(), subject, Timestamp::now()) {
        Verdict::Allowed(grant) => format!("allow {}", grant.share().unwrap_or_default()),
        Verdict::Denied(denial) | Verdict::Observed(_, denial) => denial.reason().to_string(),
    }
}

/// The policy of the design, word for word.
const DESIGN: &str = include_str!("data/design.policy.yaml");

#[test]
fn the_policy_of_the_design_holds_on_the_shipped_catalog() {
    let catalog = kissflow();
    let policy = load(&catalog, &Source::new("policy.yaml", DESIGN));
    let report = policy::verify(&policy, &catalog, &PathRules::default(), Timestamp::now());
    assert_eq!((report.passed, report.failed), (3, 0), "{report:#?}");
}

#[test]
fn the_shipped_policy_holds_and_nothing_in_it_is_warned_of() {
    let catalog = kissflow();
    let source = shipped("policy.yaml");
    let policy = load(&catalog, &source);
    let mut complaints = Complaints::default();
    let written: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
    let report = policy::verify(&policy, &catalog, &PathRules::default(), written);
    report.complain(&source, &mut complaints);
    policy::lint(&policy, &catalog, &source, None, written, &mut complaints);
    assert!(complaints.is_empty(), "{complaints}");
    assert!(report.passed > 5, "{report:#?}");
}

#[test]
fn a_policy_of_a_hundred_thousand_shares_is_taken_and_decides_as_a_small_one() {
    let catalog = kissflow();
    let mut text = String::from(DESIGN.split("tests:").next().unwrap());
    text.push_str("  large:\n    shares:\n");
    for n in 0..100_000 {
        text.push_str(&format!("      - {{resource: \"dataset:D{n}_*\", actions: [list, read]}}\n"));
    }
    let policy = load(&catalog, &Source::new("policy.yaml", text));
    let list = |id: &str| ask(&policy, &catalog, "large", None, "GET", &format!("/dataset/2/Ac1/{id}/list"));
    assert_eq!(list("D7_x"), "allow large/shares/8");
    assert_eq!(list("D99999_"), "allow large/shares/100000");
    assert_eq!(list("D100000_"), "not-shared");
    assert_eq!(ask(&policy, &catalog, "procure-to-pay", None, "POST", "/process/2/Ac1/Purchase_Order"), "impersonation-required");
}

#[test]
fn a_policy_that_spells_out_to_too_much_is_refused_and_says_what_to_write() {
    let catalog = kissflow();
    let users: Vec<String> = (0..20_000).map(|n| format!("u{n}@acme.example")).collect();
    let mut text = String::from("version: 1\nservice_accounts:\n  large:\n    shares:\n");
    for n in 0..500 {
        let users = if n == 0 { format!("&users {}", serde_json::to_string(&users).unwrap()) } else { "*users".to_owned() };
        text.push_str(&format!("      - {{resource: process:P{n}, actions: [create], impersonate: {{users: {users}}}}}\n"));
    }
    let mut complaints = Complaints::default();
    assert!(policy::load(&Source::new("policy.yaml", text), &catalog, &mut complaints).is_none());
    let told = complaints.to_string();
    assert!(told.contains("aliases of this file spell out to far more") || told.contains("spells out to more than 8 million"), "{told}");
}

#[test]
fn of_a_hundred_thousand_mistakes_the_first_are_told_in_reasonable_time() {
    let catalog = kissflow();
    let mut text = String::from("version: 1\ngroups:\n");
    for n in 0..20_000 {
        text.push_str(&format!("  g{n}: []\n"));
    }
    text.push_str("service_accounts:\n  large:\n    shares:\n");
    for n in 0..100_000 {
        text.push_str(&format!("      - {{resource: \"datasets:D{n}\", actions: [lst], impersonate: {{users: \"@h{n}\"}}}}\n"));
    }
    let mut complaints = Complaints::default();
    assert!(policy::load(&Source::new("policy.yaml", text), &catalog, &mut complaints).is_none());
    assert_eq!(complaints.len(), 500);
    assert!(complaints.to_string().ends_with("… and 299500 more"));
}
