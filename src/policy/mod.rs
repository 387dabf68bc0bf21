//! May this account do this to that, and for whom? Pure: no I/O, no clock, no HTTP.
//!
//! [`load`] compiles a policy file against a catalog; [`Policy::decide`] answers, and is the only maker of a [`Grant`]. Time is
//! a parameter. Called by `proxy` for each request, by `lifecycle` for each edit, and by `cli` and `admin` to explain, to
//! replay ([`Simulation`]) and to write a policy from what was done ([`Suggestion`]).
//!
//! # What a policy means
//!
//! - **Deny by default.** A request of an account is allowed when one share of that account covers its resource, its
//!   action and its subject, and no `deny` of that account covers its resource and its action. The order of rules never matters.
//! - **Resources.** `kind:id` is that one; in an id `*` stands for any run of characters (`\*` for a star); `kind:*` is the
//!   kind as a whole and every one of it; `kind` alone is only what concerns the kind as a whole (a list of all users); `*` is
//!   everything. Ids are compared letter for letter, decoded.
//! - **Actions** are the catalog's; `"*"` is all.
//! - **Subjects.** Without `impersonate` a share covers the account acting as itself. With it, it covers acting for `users`,
//!   and acting as itself too unless `required`. A pattern is an address or id; `*` within one side of the `@`, or within an id; a
//!   group; or `*` for everybody. Addresses are compared in lower case, ids letter for letter; a pattern without `@` never holds
//!   for an address. Nobody acts for a user of `never_impersonate`.
//! - **Ends.** `until: 2026-12-31` counts through that day (UTC), a time until that moment. An ended rule is as good as gone.
//! - **Reasons.** Where several reasons hold for a refusal, [`Reason`] says which is given.
//! - **Observing.** Under `enforcement: observe` (of the policy, or of one account in its place) nothing is refused:
//!   [`Verdict::Observed`] has what would have been, and a grant without a subject.
//!
//! # What a decision costs
//!
//! It does not grow with the number of accounts, shares, denials, groups, members or endpoints: rules are found by hash of
//! (kind, action, id), and all rules that meet there are one entry. It grows with the length of the id (globs are looked up by
//! the lengths that their heads and tails have), with the number of groups the subject is in, and with the number of globs
//! of two stars or more that begin and end alike. Nothing is allocated but the list of JSON pointers of
//! [`Policy::subject_sources`], where there are any.

mod beforehand;
mod compile;
mod decide;
mod document;
mod explain;
mod globs;
mod groups;
mod index;
mod lint;
mod pattern;
mod replay;
mod resource;
mod suggest;
mod verify;
mod views;
mod who;

pub use beforehand::{BEFOREHAND, Foretold, Judge};
pub use compile::load;
pub use decide::{Denial, Grant, Leave, Reason, Sources, Verdict};
pub use document::{
    AccountEntry, DenyEntry, Enforcement, Expect, FromEntry, ImpersonateEntry, PolicyDocument, ShareEntry, TestEntry, TestsDocument,
};
pub use explain::{Asked, Explanation, explain};
pub use lint::lint;
pub use replay::{Change, Example, Fate, Outcome, Past, Simulation};
pub use suggest::{FoldError, Suggestion};
pub use verify::{Case, Report, Tests, load_tests, verify};
pub use views::{DenialView, ImpersonationView, ShareView};

use std::collections::HashMap;

use crate::identity::AccountId;
use index::{Index, Pick, Shared};
use who::Who;

/// A policy in force. Immutable: an edit makes a new one.
#[derive(Debug)]
pub struct Policy {
    digest: String,
    enforcement: Enforcement,
    accounts: HashMap<AccountId, Account, foldhash::fast::RandomState>,
    /// Numbers of the ids that rules name without a star.
    ids: HashMap<Box<str>, u32, foldhash::fast::RandomState>,
    /// JSON pointers at which users are named in bodies.
    pointers: Vec<Box<str>>,
    who: Who,
    tests: Tests,
    /// As it was written, for explaining.
    document: PolicyDocument,
}

/// The rules of one account.
#[derive(Debug)]
struct Account {
    /// Its place in the document.
    entry: usize,
    enforcement: Enforcement,
    allow: Index<Shared>,
    deny: Index<Pick>,
    /// The names of its shares, in the order of the file.
    shares: Vec<Box<str>>,
    /// The names of its denials, in the order of the file.
    denials: Vec<Box<str>>,
    /// Whether a share names users in the body.
    names_in_body: bool,
}

impl Policy {
    /// What this policy and its catalog were made of, as 16 hex digits.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The accounts that the policy names, in the order of the file.
    pub fn accounts(&self) -> impl Iterator<Item = &str> {
        self.document.service_accounts.iter().map(|(name, _)| name.as_str())
    }

    /// The document it was compiled from.
    #[must_use]
    pub fn document(&self) -> &PolicyDocument {
        &self.document
    }

    /// Whose refusals are only recorded, in words; `None` where all are carried out. For whoever should not miss it.
    #[must_use]
    pub fn observes(&self) -> Option<String> {
        if self.enforcement == Enforcement::Observe {
            return Some("the policy observes only: what it would refuse is let through, and recorded".to_owned());
        }
        let observed = |account: &&str| self.accounts.get(*account).is_some_and(|account| account.enforcement == Enforcement::Observe);
        let accounts: Vec<_> = self.accounts().filter(observed).collect();
        (!accounts.is_empty()).then(|| format!("what the policy would refuse to {} is let through, and recorded", accounts.join(", ")))
    }

    /// Whether refusals of `account` are carried out.
    #[must_use]
    pub fn enforcement(&self, account: &AccountId) -> Enforcement {
        self.accounts.get(account.as_str()).map_or(self.enforcement, |account| account.enforcement)
    }
}

#[cfg(test)]
mod tests;
