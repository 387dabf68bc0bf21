//! Shares as `whoami`, the console and listings show them.

use serde::Serialize;

use super::{
    Account, Policy,
    document::{AccountEntry, DenyEntry, ShareEntry},
};
use crate::{identity::AccountId, source::OneOrMany};

/// One share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShareView {
    /// What records call it.
    pub share: String,
    /// The resource patterns.
    pub resources: Vec<String>,
    /// The actions.
    pub actions: Vec<String>,
    /// On whose behalf, if anybody's.
    pub impersonate: Option<ImpersonationView>,
    /// The last day or moment on which it counts.
    pub until: Option<String>,
    /// Who granted it, and why.
    pub note: Option<String>,
}

/// Acting on behalf of users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImpersonationView {
    /// The user patterns.
    pub users: Vec<String>,
    /// Whether it may not act as itself.
    pub required: bool,
    /// The JSON pointer at which the body names the user.
    pub json: Option<String>,
}

/// One denial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DenialView {
    /// What records call it.
    pub rule: String,
    /// The resource patterns.
    pub resources: Vec<String>,
    /// The actions.
    pub actions: Vec<String>,
    /// The last day or moment on which it counts.
    pub until: Option<String>,
    /// Who asked for it, and why.
    pub note: Option<String>,
}

/// An account as it was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written<'p> {
    entry: &'p AccountEntry,
    account: &'p Account,
}

impl<'p> Written<'p> {
    /// Its shares, each with its name.
    pub(super) fn shares(self) -> impl ExactSizeIterator<Item = (&'p str, &'p ShareEntry)> {
        self.account.shares.iter().map(|name| &**name).zip(self.entry.shares.iter().map(|share| &share.value))
    }

    /// Its denials, each with its name.
    pub(super) fn denials(self) -> impl ExactSizeIterator<Item = (&'p str, &'p DenyEntry)> {
        self.account.denials.iter().map(|name| &**name).zip(self.entry.deny.iter().map(|denial| &denial.value))
    }
}

impl Policy {
    /// The shares of `account`, in the order of the file.
    #[must_use]
    pub fn shares(&self, account: &AccountId) -> Vec<ShareView> {
        self.written(account).into_iter().flat_map(|written| written.shares()).map(|(name, share)| ShareView::of(name, share)).collect()
    }

    /// The denials of `account`, in the order of the file.
    #[must_use]
    pub fn denials(&self, account: &AccountId) -> Vec<DenialView> {
        self.written(account).into_iter().flat_map(|written| written.denials()).map(|(name, denial)| DenialView::of(name, denial)).collect()
    }

    /// What the file says of an account, and the names of its rules.
    pub(super) fn written(&self, account: &AccountId) -> Option<Written<'_>> {
        let account = self.accounts.get(account.as_str())?;
        let (_, entry) = self.document.service_accounts.0.get(account.entry)?;
        Some(Written { entry, account })
    }
}

impl ShareView {
    fn of(name: &str, share: &ShareEntry) -> Self {
        Self {
            share: name.to_owned(),
            resources: texts(&share.resource),
            actions: texts(&share.actions),
            impersonate: share.impersonate.as_ref().map(|behalf| ImpersonationView {
                users: texts(&behalf.users),
                required: behalf.required,
                json: behalf.from.as_ref().map(|from| from.json.value.clone()),
            }),
            until: share.until.as_ref().map(|until| until.value.clone()),
            note: share.note.clone(),
        }
    }
}

impl DenialView {
    fn of(name: &str, denial: &DenyEntry) -> Self {
        Self {
            rule: name.to_owned(),
            resources: texts(&denial.resource),
            actions: texts(&denial.actions),
            until: denial.until.as_ref().map(|until| until.value.clone()),
            note: denial.note.clone(),
        }
    }
}

fn texts(list: &OneOrMany) -> Vec<String> {
    list.iter().map(|text| text.value.clone()).collect()
}
