//! What the record of a request says, and the answers that stand beside a record of their own.

use http::{HeaderValue, header};

use super::{
    admission::Head,
    counts::Outcome,
    credentials::Unread,
    pipeline::Way,
    problem::{Code, Problem},
};
use crate::{
    audit::{Concerned, Decision, Opening, Standing},
    catalog::Operation,
    directory::{Caller, Refused},
    identity::{KeyId, Subject},
    policy::{Denial, Reason},
};

/// What the record of this request says, as far as it is known at this step.
#[derive(Default)]
pub(super) struct Known<'k> {
    pub(super) caller: Option<&'k Caller>,
    /// Of a sign-in that failed.
    pub(super) claimed: Option<(Option<&'k str>, Option<&'k str>)>,
    pub(super) operation: Option<&'k Operation<'k, 'k>>,
    pub(super) subject: Option<&'k Subject>,
    pub(super) share: Option<&'k str>,
}

impl Way {
    pub(super) fn not_signed_in(&self, head: &Head<'_>, presented: KeyId, refused: &Refused) -> Problem {
        match refused {
            Refused::NotKnown { reason, key, account } => {
                let claimed = Some((account.as_ref().map(|account| account.as_str()), Some(key.as_str())));
                let known = Known { claimed, ..Known::default() };
                let problem = self.failed_sign_in(Code::CredentialsInvalid);
                self.refused_for(head, &known, problem, reason.as_str())
            }
            Refused::Unavailable { retry_after } => {
                let known = Known { claimed: Some((None, Some(presented.as_str()))), ..Known::default() };
                let problem = Problem::from(Code::DirectoryUnavailable).retry_after(retry_after.as_secs());
                self.refused(head, &known, problem)
            }
        }
    }

    pub(super) fn not_presented(&self, head: &Head<'_>, unread: &Unread) -> Problem {
        let known = Known { claimed: Some((None, unread.key.as_ref().map(|key| key.as_str()))), ..Known::default() };
        let problem = match unread.code {
            Code::CredentialsMissing => {
                let names = &self.rules.names;
                if names.basic {
                    Problem::because(Code::CredentialsMissing, format!("The headers are {} and {}.", names.id, names.secret))
                } else {
                    let detail = format!("Send the access-key id and secret in the headers {} and {}.", names.id, names.secret);
                    Problem::instead(Code::CredentialsMissing, detail)
                }
            }
            code => self.failed_sign_in(code),
        };
        self.refused_for(head, &known, problem, unread.reason)
    }

    /// One answer for every failed sign-in, and a slower one for an address that fails all the time.
    fn failed_sign_in(&self, code: Code) -> Problem {
        match self.worker.shared.limits.failed_sign_in(self.client) {
            Ok(()) => code.into(),
            Err(wait) => Problem::from(Code::RateLimited).retry_after(wait.0.as_secs() + 1),
        }
    }

    pub(super) fn denied(&self, head: &Head<'_>, known: &Known<'_>, denial: &Denial) -> Problem {
        let code = match denial.reason() {
            Reason::EndpointUnknown => Code::EndpointUnknown,
            Reason::Shared | Reason::NotShared => Code::NotShared,
            Reason::DeniedByRule => Code::DeniedByRule,
            Reason::ImpersonationNotAllowed => Code::ImpersonationNotAllowed,
            Reason::ImpersonationRequired => Code::ImpersonationRequired,
            Reason::NeverImpersonate => Code::NeverImpersonate,
        };
        let problem = match known.operation {
            Some(operation) => {
                let asked = format!("Asked for {} on {}", operation.action_name(), operation.resource());
                let detail = match denial.reason() {
                    Reason::DeniedByRule => format!("{asked}; a deny rule covers it."),
                    Reason::ImpersonationNotAllowed | Reason::ImpersonationRequired | Reason::NeverImpersonate => format!("{asked}."),
                    Reason::EndpointUnknown | Reason::Shared | Reason::NotShared => format!("{asked}; no share covers it."),
                };
                Problem::because(code, detail)
            }
            None => code.into(),
        };
        self.refused(head, known, problem)
    }

    pub(super) fn no_audit(&self) -> Problem {
        Problem::from(Code::AuditUnavailable).retry_after(5)
    }

    /// Records a refusal; a refusal that cannot be recorded is another one.
    pub(super) fn refused(&self, head: &Head<'_>, known: &Known<'_>, problem: Problem) -> Problem {
        let reason = problem.code.as_str();
        self.refused_for(head, known, problem, reason)
    }

    fn refused_for(&self, head: &Head<'_>, known: &Known<'_>, problem: Problem, reason: &str) -> Problem {
        let opening = self.opening(head, known, Decision::Deny, reason);
        match self.worker.shared.audit.refuse(opening, problem.code.status().as_u16()) {
            Ok(()) => problem,
            Err(_) => self.no_audit(),
        }
    }

    /// What the record of this request begins with.
    pub(super) fn opening<'o>(&'o self, head: &'o Head<'_>, known: &'o Known<'_>, decision: Decision, reason: &'o str) -> Opening<'o> {
        let (account, key) = match (known.caller, known.claimed) {
            (Some(caller), _) => (Some(caller.account_id().as_str()), Some(caller.key_id_str())),
            (None, Some((account, key))) => (account, key),
            (None, None) => (None, None),
        };
        self.outcome.set(Outcome::decided(decision, reason, known.operation, &self.rules.words));
        let opening = Opening {
            id: self.id.ulid(),
            time: self.time,
            began: self.began,
            standing: if known.caller.is_some() { Standing::SignedIn } else { Standing::Claimed },
            account,
            key,
            subject: known.subject.map(Subject::as_str),
            method: head.method.as_str(),
            path: head.clean.path.as_str(),
            query: head.clean.query,
            resource: known.operation.map(|operation| Concerned { kind: operation.kind_name(), id: operation.id.as_deref() }),
            action: known.operation.map(Operation::action_name),
            decision,
            reason,
            share: known.share,
            policy: self.rules.policy.digest(),
            stale: known.caller.is_some_and(Caller::stale),
            client: self.client,
            user_agent: head.headers.get(header::USER_AGENT).map(HeaderValue::as_bytes),
            trace_id: Some(head.trace.id()),
        };
        if let Some(span) = self.span.borrow_mut().as_mut() {
            span.note(&opening, known.operation.map(|operation| operation.endpoint.template.to_string()));
        }
        opening
    }
}
