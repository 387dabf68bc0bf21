//! What was done, asked again.
//!
//! The audit log says who did what for whom, and whether it went through. [`Simulation`] asks another policy the same and
//! tells what would change; [`super::Suggestion`] writes a policy that would not. Both read a log of any length record by record.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::Serialize;

use super::{Policy, Reason, Verdict};
use crate::{
    audit,
    catalog::{CanonicalPath, Catalog, Operation, PathRules},
    identity::{AccountId, Subject},
};

/// One request of the past, as its record has it.
#[derive(Debug, Clone, Copy)]
pub struct Past<'r> {
    /// The id of the record.
    pub id: &'r str,
    /// When it was.
    pub time: Timestamp,
    /// Who asked.
    pub account: &'r str,
    /// For whom.
    pub subject: Option<&'r str>,
    /// How.
    pub method: &'r str,
    /// For what.
    pub path: &'r str,
    /// The record's reason code.
    pub reason: &'r str,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It went upstream: the record's `outcome` is anything but `refused`, whatever its `decision` (a policy that only
    /// observes refuses nothing).
    Passed,
    /// It was refused.
    Refused,
}

/// A replay under way.
#[derive(Debug)]
pub struct Simulation<'p> {
    policy: &'p Policy,
    /// The policy in force, which says where in a body users are named: no record does.
    in_force: Option<&'p Policy>,
    catalog: &'p Catalog,
    paths: PathRules,
    now: Timestamp,
    accounts: HashMap<String, AccountId>,
    changes: HashMap<Key, Change>,
    replayed: u64,
    unchanged: u64,
    skipped: u64,
    ungrouped: u64,
}

/// What would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Requests that were asked again.
    pub replayed: u64,
    /// Of these, those that fare as they did.
    pub unchanged: u64,
    /// Records that no policy decided: wrong keys, limits, self-service, the log's own.
    pub skipped: u64,
    /// Changed requests beyond the number of groups that is kept.
    #[serde(skip_serializing_if = "is_zero")]
    pub ungrouped: u64,
    /// What went through and would be refused, most frequent first.
    pub now_denied: Vec<Change>,
    /// What was refused and would go through, most frequent first.
    pub now_allowed: Vec<Change>,
    /// What went through and would again, but for another user than then or for none: as far as can be told, where the
    /// user may have been named in the body. Most frequent first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub now_for_others: Vec<Change>,
}

/// Requests that would fare differently, and alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Who asked.
    pub account: String,
    /// `kind:id`, `kind`, or nothing for an endpoint the catalog does not have.
    pub resource: Option<String>,
    /// What it did to it.
    pub action: Option<String>,
    /// For whom.
    pub subject: Option<String>,
    /// The reason now.
    pub reason: Reason,
    /// The reason then.
    pub was: Reason,
    /// The share or denial that decides now.
    pub share: Option<String>,
    /// How many there were.
    pub count: u64,
    /// The latest of them.
    pub example: Example,
    /// What would change about them.
    #[serde(skip)]
    turn: Turn,
}

/// What changes about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Turn {
    Denied,
    Allowed,
    ForAnother,
}

/// One request of several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Example {
    /// The id of its record.
    pub id: String,
    /// When it was.
    pub time: String,
    /// How it asked.
    pub method: String,
    /// For what.
    pub path: String,
    #[serde(skip)]
    when: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    account: String,
    /// The path, where there is no resource.
    resource: String,
    action: Option<String>,
    subject: Option<String>,
    reason: Reason,
    was: Reason,
    turn: Turn,
}

/// A record that a policy can be asked about.
struct Question<'r> {
    was: Reason,
    account: AccountId,
    subject: Option<Subject>,
    path: CanonicalPath<'r>,
}

/// How many groups of changes are kept: a log that a caller fills with made-up paths must not fill the memory.
const MAX_CHANGES: usize = 20_000;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

// ===== impl Past =====

impl<'r> From<&'r audit::Record> for Past<'r> {
    fn from(record: &'r audit::Record) -> Self {
        Self {
            id: &record.id,
            time: record.time,
            account: record.account.as_deref().unwrap_or_default(),
            subject: record.subject.as_deref(),
            method: record.method.as_deref().unwrap_or_default(),
            path: record.path.as_deref().unwrap_or_default(),
            reason: record.reason.as_deref().unwrap_or_default(),
            fate: match record.outcome {
                audit::Outcome::Refused => Fate::Refused,
                audit::Outcome::Completed | audit::Outcome::UpstreamError | audit::Outcome::Interrupted => Fate::Passed,
            },
        }
    }
}

// ===== impl Simulation =====

impl<'p> Simulation<'p> {
    /// Begins a replay against `policy`, as if it were in force at `now`: shares that have ended by then count no more.
    #[must_use]
    pub fn new(policy: &'p Policy, catalog: &'p Catalog, paths: PathRules, now: Timestamp) -> Self {
        Self {
            policy,
            in_force: None,
            catalog,
            paths,
            now,
            accounts: HashMap::new(),
            changes: HashMap::new(),
            replayed: 0,
            unchanged: 0,
            skipped: 0,
            ungrouped: 0,
        }
    }

    /// Takes from the policy in force where users were named in bodies, to see whether they would still be looked for there.
    #[must_use]
    pub fn beside(mut self, in_force: &'p Policy) -> Self {
        self.in_force = Some(in_force);
        self
    }

    /// Asks one request again.
    pub fn replay(&mut self, past: &Past<'_>) {
        let Some(Question { was, account, subject, path }) = self.read(past) else {
            self.skipped += 1;
            return;
        };
        self.replayed += 1;
        let operation = self.catalog.classify(past.method, &path).ok();
        let mut verdict = self.policy.decide(&account, operation.as_ref(), subject, self.now);
        let overlooked = self.overlooks(&account, operation.as_ref(), past);
        if overlooked && matches!(verdict, Verdict::Denied(_)) {
            // Where nobody looks for the user any more, it would go through as the account itself.
            let alone = self.policy.decide(&account, operation.as_ref(), None, self.now);
            if matches!(alone, Verdict::Allowed(_)) {
                verdict = alone;
            }
        }
        let (fate, now_for) = match &verdict {
            Verdict::Allowed(grant) => (Fate::Passed, grant.subject().map(Subject::as_str)),
            Verdict::Observed(..) => (Fate::Passed, None),
            Verdict::Denied(_) => (Fate::Refused, None),
        };
        // Who only observed passed on no user that was not allowed.
        let for_whom_before = now_for == past.subject.filter(|_| was == Reason::Shared);
        let turn = match (past.fate, fate) {
            (Fate::Passed, Fate::Refused) => Turn::Denied,
            (Fate::Refused, Fate::Passed) => Turn::Allowed,
            (Fate::Passed, Fate::Passed) if !for_whom_before || overlooked => Turn::ForAnother,
            (Fate::Passed, Fate::Passed) | (Fate::Refused, Fate::Refused) => {
                self.unchanged += 1;
                return;
            }
        };
        let resource = operation.as_ref().map(ToString::to_string);
        let key = Key {
            account: past.account.to_owned(),
            resource: resource.clone().unwrap_or_else(|| past.path.to_owned()),
            action: operation.as_ref().map(|operation| operation.action_name().to_owned()),
            subject: past.subject.map(ToOwned::to_owned),
            reason: verdict.reason(),
            was,
            turn,
        };
        let example = || Example {
            id: past.id.to_owned(),
            time: past.time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            method: past.method.to_owned(),
            path: past.path.to_owned(),
            when: past.time,
        };
        if let Some(change) = self.changes.get_mut(&key) {
            change.count += 1;
            if change.example.when < past.time {
                change.example = example();
            }
        } else if self.changes.len() < MAX_CHANGES {
            let change = Change {
                account: key.account.clone(),
                resource,
                action: key.action.clone(),
                subject: key.subject.clone(),
                reason: key.reason,
                was,
                share: verdict.rule().map(ToOwned::to_owned),
                count: 1,
                example: example(),
                turn,
            };
            self.changes.insert(key, change);
        } else {
            self.ungrouped += 1;
        }
    }

    /// Whether the user that a request may have named in its body would no longer be looked for there.
    fn overlooks(&self, account: &AccountId, operation: Option<&Operation<'_, '_>>, past: &Past<'_>) -> bool {
        let (Some(in_force), Some(operation), Some(_)) = (self.in_force, operation, past.subject) else { return false };
        let now = self.policy.subject_sources(account, operation, self.now);
        in_force.subject_sources(account, operation, self.now).iter().any(|pointer| now.iter().all(|other| other != pointer))
    }

    fn read<'r>(&mut self, past: &Past<'r>) -> Option<Question<'r>> {
        let was = Reason::parse(past.reason)?;
        let account = match self.accounts.get(past.account) {
            Some(account) => account.clone(),
            None => {
                let account: AccountId = past.account.parse().ok()?;
                if self.accounts.len() < MAX_CHANGES {
                    self.accounts.insert(past.account.to_owned(), account.clone());
                }
                account
            }
        };
        let subject = past.subject.map(|subject| Subject::parse(subject.as_bytes())).transpose().ok()?;
        let path = CanonicalPath::parse(past.path, self.paths).ok()?;
        Some(Question { was, account, subject, path })
    }

    /// What would change, by all that was replayed.
    #[must_use]
    pub fn finish(self) -> Outcome {
        let mut outcome = Outcome {
            replayed: self.replayed,
            unchanged: self.unchanged,
            skipped: self.skipped,
            ungrouped: self.ungrouped,
            now_denied: Vec::new(),
            now_allowed: Vec::new(),
            now_for_others: Vec::new(),
        };
        for change in self.changes.into_values() {
            match change.turn {
                Turn::Allowed => outcome.now_allowed.push(change),
                Turn::Denied => outcome.now_denied.push(change),
                Turn::ForAnother => outcome.now_for_others.push(change),
            }
        }
        for list in [&mut outcome.now_denied, &mut outcome.now_allowed, &mut outcome.now_for_others] {
            list.sort_by(|a, b| {
                let names = |change: &Change| {
                    (change.account.clone(), change.resource.clone(), change.action.clone(), change.subject.clone(), change.reason)
                };
                b.count.cmp(&a.count).then_with(|| names(a).cmp(&names(b)))
            });
        }
        outcome
    }
}
