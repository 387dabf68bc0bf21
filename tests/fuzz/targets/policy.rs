//! Any bytes as a policy file: it is taken, or what is wrong with it is told.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use vicar::{
    catalog::{self, CanonicalPath, Catalog, PathRules},
    policy,
    source::{Complaints, Source},
};

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    let text = include_str!("../../../config/catalog/kissflow.yaml");
    match catalog::load(&[Source::new("kissflow.yaml", text)], &mut Complaints::default()) {
        Some(catalog) => catalog,
        None => panic!("the shipped catalog does not hold"),
    }
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let source = Source::new("policy.yaml", text);
    let mut complaints = Complaints::default();
    let policy = policy::load(&source, &CATALOG, &mut complaints);
    assert_eq!(policy.is_none(), complaints.has_errors());
    if let Some(policy) = policy {
        let now = jiff::Timestamp::UNIX_EPOCH;
        policy::verify(&policy, &CATALOG, &PathRules::default(), now).complain(&source, &mut complaints);
        policy::lint(&policy, &CATALOG, &source, None, now, &mut complaints);
        let path = CanonicalPath::parse("/process/2/Ac1/Purchase_Order", PathRules::default());
        if let Ok(path) = &path
            && let Ok(operation) = CATALOG.classify("POST", path)
        {
            for account in policy.accounts().filter_map(|account| account.parse().ok()) {
                let _ = policy.decide(&account, Some(&operation), None, now);
            }
        }
    }
    let _ = complaints.to_string();
});

