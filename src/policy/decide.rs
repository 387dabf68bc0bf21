//! The decision, and what it hands on.

use jiff::Timestamp;

use super::{
    Account, Policy,
    compile::until_of,
    document::Enforcement,
    index::{Pick, Place, Until},
    resource::code,
};
use crate::{
    catalog::Operation,
    identity::{AccountId, Subject},
};

/// The proof that a request may go on, and as whom. [`Policy::decide`] alone makes one, and the forwarder takes nothing without
/// the [`Leave`] of one.
#[derive(Debug)]
pub struct Grant<'p> {
    subject: Option<Subject>,
    share: Option<&'p str>,
}

/// The proof that there was a [`Grant`], for who comes after the policy that it refers to.
#[derive(Debug)]
pub struct Leave(());

/// Why a request may not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denial<'p> {
    reason: Reason,
    rule: Option<&'p str>,
}

/// What the policy says.
#[derive(Debug)]
pub enum Verdict<'p> {
    /// A share covers it and no denial does.
    Allowed(Grant<'p>),
    /// It would have been refused, were the policy enforced. The grant has no subject then.
    Observed(Grant<'p>, Denial<'p>),
    /// It is refused.
    Denied(Denial<'p>),
}

/// Reason codes, as records and answers have them. Where several hold, the first of this order is given:
/// `endpoint-unknown`, `denied-by-rule`, `not-shared`, `never-impersonate`, `impersonation-required`, `impersonation-not-allowed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// A share covers it.
    Shared,
    /// No catalog names the endpoint.
    EndpointUnknown,
    /// No share covers the resource and the action.
    NotShared,
    /// A denial covers them.
    DeniedByRule,
    /// Shares cover them, but none for this user.
    ImpersonationNotAllowed,
    /// Shares cover them, but only on behalf of a user.
    ImpersonationRequired,
    /// Nobody acts on behalf of this user.
    NeverImpersonate,
}

/// Where in a request's body users may be named.
#[derive(Debug, Clone, Default)]
pub struct Sources<'p> {
    pointers: Vec<&'p str>,
}

// ===== impl Policy =====

impl Policy {
    /// Decides. `operation` is what the catalog made of the request, `subject` on whose behalf it is.
    #[must_use]
    pub fn decide<'p>(
        &'p self,
        account: &AccountId,
        operation: Option<&Operation<'_, '_>>,
        subject: Option<Subject>,
        now: Timestamp,
    ) -> Verdict<'p> {
        let account = self.accounts.get(account.as_str());
        match self.find(account, operation, subject.as_ref(), until_of(now)) {
            Ok(share) => Verdict::Allowed(Grant { subject, share: Some(share) }),
            Err(denial) => match account.map_or(self.enforcement, |account| account.enforcement) {
                Enforcement::Enforce => Verdict::Denied(denial),
                Enforcement::Observe => Verdict::Observed(Grant { subject: None, share: None }, denial),
            },
        }
    }

    /// The JSON pointers of those shares of `account` that could cover `operation`, each once.
    #[must_use]
    pub fn subject_sources<'p>(&'p self, account: &AccountId, operation: &Operation<'_, '_>, now: Timestamp) -> Sources<'p> {
        let mut sources = Sources::default();
        let Some(account) = self.accounts.get(account.as_str()).filter(|account| account.names_in_body) else { return sources };
        let now = until_of(now);
        account.allow.visit(&self.place(operation), |cell| {
            for (number, until) in cell.behalf.iter().flat_map(|behalf| &behalf.sources) {
                if let Some(pointer) = self.pointers.get(*number as usize)
                    && *until > now
                    && !sources.pointers.contains(&&**pointer)
                {
                    sources.pointers.push(pointer);
                }
            }
        });
        sources
    }

    fn place<'r>(&self, operation: &'r Operation<'_, '_>) -> Place<'r> {
        let id = operation.id.as_deref();
        let number = id.and_then(|id| self.ids.get(id).copied());
        Place { kind: code(operation.kind.index()), action: code(operation.action.index()), id, number }
    }

    fn find<'p>(
        &'p self,
        account: Option<&'p Account>,
        operation: Option<&Operation<'_, '_>>,
        subject: Option<&Subject>,
        now: Until,
    ) -> Result<&'p str, Denial<'p>> {
        let operation = operation.ok_or(Denial::of(Reason::EndpointUnknown))?;
        let account = account.ok_or(Denial::of(Reason::NotShared))?;
        let place = self.place(operation);
        if !account.deny.is_empty() {
            let mut denied = Pick::default();
            account.deny.visit(&place, |pick| denied.better(*pick));
            if let Some(rule) = denied.live(now) {
                return Err(Denial { reason: Reason::DeniedByRule, rule: name(&account.denials, rule) });
            }
        }
        let (mut any, mut covering) = (Pick::default(), Pick::default());
        account.allow.visit(&place, |cell| {
            any.better(cell.any);
            match subject {
                None => covering.better(cell.itself),
                Some(subject) => {
                    if let Some(behalf) = &cell.behalf {
                        self.who.visit(subject, |token| {
                            if let Some(pick) = behalf.get(token) {
                                covering.better(pick);
                            }
                        });
                    }
                }
            }
        });
        if any.live(now).is_none() {
            return Err(Denial::of(Reason::NotShared));
        }
        if subject.is_some_and(|subject| self.who.is_protected(subject)) {
            return Err(Denial::of(Reason::NeverImpersonate));
        }
        let share = covering.live(now).and_then(|rule| name(&account.shares, rule));
        share.ok_or(match subject {
            None => Denial::of(Reason::ImpersonationRequired),
            Some(_) => Denial::of(Reason::ImpersonationNotAllowed),
        })
    }
}

fn name(names: &[Box<str>], rule: u32) -> Option<&str> {
    names.get(rule as usize).map(|name| &**name)
}

// ===== impl Grant, Denial, Reason, Sources =====

impl Grant<'_> {
    /// The user on whose behalf the request goes on; the account itself when there is none.
    #[must_use]
    pub fn subject(&self) -> Option<&Subject> {
        self.subject.as_ref()
    }

    /// The share that allowed it; none where the policy is only observed.
    #[must_use]
    pub fn share(&self) -> Option<&str> {
        self.share
    }

    /// The reason code.
    #[must_use]
    pub fn reason(&self) -> Reason {
        Reason::Shared
    }

    /// The proof that there is this grant.
    #[must_use]
    pub fn leave(&self) -> Leave {
        Leave(())
    }
}

impl<'p> Denial<'p> {
    fn of(reason: Reason) -> Self {
        Self { reason, rule: None }
    }

    /// The reason code.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The denial of the policy that made it, if it was one.
    #[must_use]
    pub fn rule(&self) -> Option<&'p str> {
        self.rule
    }
}

impl Verdict<'_> {
    /// The reason code of what was decided, whether or not it is carried out.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Allowed(grant) => grant.reason(),
            Self::Observed(_, denial) | Self::Denied(denial) => denial.reason(),
        }
    }

    /// The share or denial that decided.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        match self {
            Self::Allowed(grant) => grant.share(),
            Self::Observed(_, denial) | Self::Denied(denial) => denial.rule(),
        }
    }
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Shared,
        Self::EndpointUnknown,
        Self::NotShared,
        Self::DeniedByRule,
        Self::ImpersonationNotAllowed,
        Self::ImpersonationRequired,
        Self::NeverImpersonate,
    ];

    /// The code, as records and answers have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::EndpointUnknown => "endpoint-unknown",
            Self::NotShared => "not-shared",
            Self::DeniedByRule => "denied-by-rule",
            Self::ImpersonationNotAllowed => "impersonation-not-allowed",
            Self::ImpersonationRequired => "impersonation-required",
            Self::NeverImpersonate => "never-impersonate",
        }
    }

    /// The reason of this code.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == code)
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'p> Sources<'p> {
    /// Whether none of the shares names users in the body.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pointers.is_empty()
    }

    /// The JSON pointers.
    pub fn iter(&self) -> impl Iterator<Item = &'p str> {
        self.pointers.iter().copied()
    }
}
