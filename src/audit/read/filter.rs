//! Which records are wanted.

use jiff::Timestamp;

use crate::audit::record::{Decision, Kind, Outcome, Record};

/// Which records are wanted: all that have each of the fields that are set.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Of this kind.
    pub kind: Option<Kind>,
    /// Of this account.
    pub account: Option<String>,
    /// One of these accounts, if any are named: what an account admin may see.
    pub accounts: Vec<String>,
    /// With this key.
    pub key: Option<String>,
    /// On behalf of this user.
    pub subject: Option<String>,
    /// On this resource; a `*` at its end stands for any rest.
    pub resource: Option<String>,
    /// With this action.
    pub action: Option<String>,
    /// Decided so.
    pub decision: Option<Decision>,
    /// Ended so.
    pub outcome: Option<Outcome>,
    /// This request.
    pub request_id: Option<String>,
    /// Written by this sidecar.
    pub sidecar: Option<String>,
}

/// In which order, and how many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Page {
    /// Which come first.
    pub order: Order,
    /// No more than this.
    pub limit: Option<u64>,
}

/// Which records come first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// As they happened.
    #[default]
    OldestFirst,
    /// The latest at the top.
    NewestFirst,
}

impl Filter {
    /// A user as records have it: mail addresses stand there in lower case.
    #[must_use]
    pub fn subject_as_recorded(raw: String) -> String {
        if raw.contains('@') { raw.to_ascii_lowercase() } else { raw }
    }

    /// Whether `record` is wanted.
    #[must_use]
    pub fn takes(&self, record: &Record) -> bool {
        let same = |wanted: &Option<String>, has: &Option<String>| wanted.is_none() || wanted == has;
        self.since.is_none_or(|since| record.time >= since)
            && self.until.is_none_or(|until| record.time < until)
            && self.kind.is_none_or(|kind| record.kind == kind)
            && same(&self.account, &record.account)
            && (self.accounts.is_empty() || record.account.as_ref().is_some_and(|account| self.accounts.contains(account)))
            && same(&self.key, &record.key)
            && same(&self.subject, &record.subject)
            && self.resource.as_deref().is_none_or(|wanted| matches(wanted, record.resource.as_deref()))
            && same(&self.action, &record.action)
            && self.decision.is_none_or(|decision| record.decision == Some(decision))
            && self.outcome.is_none_or(|outcome| record.outcome == outcome)
            && (self.request_id.is_none() || self.request_id == record.request_id || self.request_id.as_ref() == Some(&record.id))
            && self.sidecar.as_ref().is_none_or(|sidecar| *sidecar == record.sidecar)
    }
}

fn matches(wanted: &str, has: Option<&str>) -> bool {
    let Some(has) = has else { return false };
    match wanted.strip_suffix('*') {
        Some(head) => has.starts_with(head),
        None => has == wanted,
    }
}
