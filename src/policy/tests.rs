//! What policies mean, on the compiled policy.

use super::*;
use crate::{
    catalog::{self, CanonicalPath, Catalog, PathRules},
    identity::Subject,
    source::{Complaints, Source},
};
use jiff::Timestamp;

mod mangled;
mod meaning;
mod mistakes;
mod naive;
mod telling;

/// A catalog in the manner of the shipped one, small enough to read.
pub(super) const CATALOG: &str = r#"
version: 1
kinds: {process: {title: Processes}, dataset: {title: Datasets}, user: {title: Users}, folder: {title: Folders}}
endpoints:
  - {request: "POST /process/2/{a}/{p}", resource: "process:{p}", action: create}
  - {request: "GET /process/2/{a}/{p}", resource: "process:{p}", action: list}
  - {request: "GET /process/2/{a}/{p}/{i}", resource: "process:{p}", action: read}
  - {request: "POST /process/2/{a}/{p}/{i}/submit", resource: "process:{p}", action: submit}
  - {request: "GET /dataset/2/{a}/{d}/list", resource: "dataset:{d}", action: list}
  - {request: "GET /dataset/2/{a}/{d}/{i}", resource: "dataset:{d}", action: read}
  - {request: "DELETE /dataset/2/{a}/{d}/{i}", resource: "dataset:{d}", action: delete}
  - {request: "GET /user/2/{a}", resource: user, action: list}
  - {request: "GET /user/2/{a}/{u}", resource: "user:{u}", action: read}
  - {request: "GET /folder/{f}/{g}", resource: "folder:{f}/{g}", action: read}
  - {request: "GET /root", resource: "folder:root", action: read}
"#;

/// The policy of the design, word for word.
pub(super) const DESIGN: &str = include_str!("../../tests/data/design.policy.yaml");

pub(super) fn catalog() -> Catalog {
    let mut complaints = Complaints::default();
    catalog::load(&[Source::new("catalog.yaml", CATALOG)], &mut complaints).unwrap_or_else(|| panic!("{complaints}"))
}

pub(super) fn now() -> Timestamp {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

/// A policy and its catalog, to ask.
pub(super) struct Asked {
    pub(super) catalog: Catalog,
    pub(super) policy: Policy,
}

pub(super) fn policy(text: &str) -> Asked {
    let catalog = catalog();
    let mut complaints = Complaints::default();
    let policy = load(&Source::new("policy.yaml", text), &catalog, &mut complaints).unwrap_or_else(|| panic!("{complaints}"));
    Asked { catalog, policy }
}

/// All complaints of a policy that is not taken.
pub(super) fn refused(text: &str) -> String {
    let mut complaints = Complaints::default();
    assert!(load(&Source::new("policy.yaml", text), &catalog(), &mut complaints).is_none(), "the policy was taken");
    complaints.to_string()
}

impl Asked {
    /// `allow SHARE`, or the reason and the rule.
    pub(super) fn ask(&self, account: &str, subject: &str, request: &str) -> String {
        self.ask_at(account, subject, request, now())
    }

    pub(super) fn ask_at(&self, account: &str, subject: &str, request: &str, now: Timestamp) -> String {
        let (method, path) = request.split_once(' ').unwrap();
        let path = CanonicalPath::parse(path, PathRules::default()).unwrap();
        let operation = self.catalog.classify(method, &path).ok();
        let subject = (!subject.is_empty()).then(|| Subject::parse(subject.as_bytes()).unwrap());
        let verdict = self.policy.decide(&account.parse().unwrap(), operation.as_ref(), subject, now);
        match &verdict {
            Verdict::Allowed(grant) => format!("allow {}", grant.share().unwrap_or("-")),
            Verdict::Denied(denial) => format!("{} {}", denial.reason(), denial.rule().unwrap_or("-")),
            Verdict::Observed(grant, denial) => {
                assert!(grant.subject().is_none(), "an observed request carries a subject");
                format!("observed {} {}", denial.reason(), denial.rule().unwrap_or("-"))
            }
        }
    }
}
