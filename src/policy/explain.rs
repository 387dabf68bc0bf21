//! The way to a decision, in words.

use std::{cell::OnceCell, fmt::Write as _};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    Enforcement, Expect, Foretold, Policy, Reason, Verdict,
    compile::{end_of, until_of},
    document::{ImpersonateEntry, ShareEntry},
    groups::Groups,
    pattern::UserPattern,
    resource::{ResourcePattern, code},
};
use crate::{
    catalog::{CanonicalPath, Catalog, Operation, Unclassified},
    identity::{AccountId, Subject},
    source::{At, Complaints, OneOrMany, Source, nearest},
};

/// What somebody wants to know the decision on.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Who asks.
    pub account: &'a AccountId,
    /// For whom.
    pub subject: Option<&'a Subject>,
    /// How.
    pub method: &'a str,
    /// For what.
    pub path: &'a CanonicalPath<'a>,
}

/// A decision and the way to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Allow or deny; under `observe`, what would have been.
    pub decision: Expect,
    /// The reason code.
    pub reason: &'static str,
    /// Who asked.
    pub account: String,
    /// For whom.
    pub subject: Option<String>,
    /// `kind:id`, or `kind`.
    pub resource: Option<String>,
    /// What it does to it.
    pub action: Option<String>,
    /// METHOD and template of the endpoint.
    pub endpoint: Option<String>,
    /// The share or denial that decided.
    pub share: Option<String>,
    /// The digest of the policy in force.
    pub policy: String,
    /// Whether a refusal is carried out.
    pub enforcement: Enforcement,
    /// The way to the decision, a sentence or two each.
    pub steps: Vec<String>,
}

/// How many shares that do not cover a request are told of one by one.
const SHOWN: usize = 12;

/// Explains a decision. What it says is decided by [`Policy::decide`]; the steps are found by reading the file as it is written.
#[must_use]
pub fn explain(policy: &Policy, catalog: &Catalog, asked: &Asked<'_>, now: Timestamp) -> Explanation {
    let classified = catalog.classify(asked.method, asked.path);
    let verdict = policy.decide(asked.account, classified.as_ref().ok(), asked.subject.cloned(), now);
    let decision = match &verdict {
        Verdict::Allowed(_) => Expect::Allow,
        Verdict::Observed(..) | Verdict::Denied(_) => Expect::Deny,
    };
    let mut teller = Teller { policy, catalog, asked, now, groups: OnceCell::new(), steps: Vec::new() };
    match &classified {
        Ok(operation) => teller.known(operation),
        Err(error) => teller.unknown(*error),
    }
    teller.verdict(&verdict);
    let steps = teller.steps;
    let operation = classified.as_ref().ok();
    Explanation {
        decision,
        reason: verdict.reason().as_str(),
        account: asked.account.to_string(),
        subject: asked.subject.map(ToString::to_string),
        resource: operation.map(ToString::to_string),
        action: operation.map(|operation| operation.action_name().to_owned()),
        endpoint: operation.map(|operation| operation.endpoint.to_string()),
        share: verdict.rule().map(ToOwned::to_owned),
        policy: policy.digest().to_owned(),
        enforcement: policy.enforcement(asked.account),
        steps,
    }
}

impl Explanation {
    /// Of what is decided without a policy; it holds where a policy only observes, too.
    #[must_use]
    pub fn beforehand(policy: &Policy, account: &AccountId, subject: Option<&Subject>, foretold: Foretold) -> Self {
        Self {
            decision: foretold.decision,
            reason: foretold.reason,
            account: account.to_string(),
            subject: subject.map(ToString::to_string),
            resource: None,
            action: None,
            endpoint: None,
            share: None,
            policy: policy.digest().to_owned(),
            enforcement: Enforcement::Enforce,
            steps: vec![foretold.why],
        }
    }
}

struct Teller<'a> {
    policy: &'a Policy,
    catalog: &'a Catalog,
    asked: &'a Asked<'a>,
    now: Timestamp,
    /// Read where a share names users: there may be many.
    groups: OnceCell<Groups<'a>>,
    steps: Vec<String>,
}

impl Teller<'_> {
    fn unknown(&mut self, error: Unclassified) {
        let Asked { method, path, .. } = self.asked;
        let upper = method.to_ascii_uppercase();
        let by_case = upper != *method && self.catalog.classify(&upper, path).is_ok();
        let path = path.as_str();
        self.steps.push(match error {
            Unclassified::Unknown => {
                format!("No endpoint of the catalog has the path {path}. What no catalog names is refused; add the endpoint to a catalog.")
            }
            Unclassified::Method if by_case => {
                format!("The catalog has the path {path} with {upper}, and methods are told apart by letter case: write {upper}, not {method}.")
            }
            Unclassified::Method => format!("The catalog has the path {path}, but no endpoint takes {method} there."),
            Unclassified::Parameter => format!(
                "A segment of {path} is a word of the catalog where an id should be, or one in all but letter case: an id is never such a word, so no endpoint takes it."
            ),
        });
    }

    fn known(&mut self, operation: &Operation<'_, '_>) {
        let Asked { method, path, account, .. } = self.asked;
        let (action, resource, endpoint) = (operation.action_name(), operation.resource(), operation.endpoint);
        self.steps.push(format!("{method} {} is the endpoint `{endpoint}` of the catalog: it asks to {action} {resource}.", path.as_str()));
        let Some(written) = self.policy.written(account) else {
            let mut step = format!("The policy has no account {account}, so nothing is shared with it.");
            if let Some(near) = nearest(account.as_str(), self.policy.accounts()) {
                let _ = write!(step, " Did you mean {near}?");
            }
            self.steps.push(step);
            return;
        };
        self.steps.push(format!(
            "{account} has {} and {}.",
            counted(written.shares().len(), "share"),
            counted(written.denials().len(), "denial")
        ));
        let mut denied = false;
        for (name, denial) in written.denials() {
            if self.covers(&denial.resource, &denial.actions, operation).is_ok() {
                let until = denial.until.as_ref();
                let line = format!("{name} denies {} on {}", actions(&denial.actions), resources(&denial.resource));
                self.steps.push(match self.ended(until) {
                    Some(end) => format!("{line}, but it ended with {end}."),
                    None => {
                        denied = true;
                        format!("{line}. A denial decides, whatever is shared.{}", note(denial.note.as_deref()))
                    }
                });
            }
        }
        if denied {
            return;
        }
        self.shares(operation, written.shares());
        self.protected();
    }

    fn shares<'e>(&mut self, operation: &Operation<'_, '_>, shares: impl Iterator<Item = (&'e str, &'e ShareEntry)>) {
        let (mut told, mut untold, mut covering) = (0, 0, 0);
        for (name, share) in shares {
            match self.covers(&share.resource, &share.actions, operation) {
                Ok(()) => {
                    covering += 1;
                    if covering <= 4 * SHOWN {
                        let step = self.covering(name, share);
                        self.steps.push(step);
                    }
                }
                Err(_) if told == SHOWN => untold += 1,
                Err(why) => {
                    told += 1;
                    self.steps.push(format!("{name} does not cover it: {why}."));
                }
            }
        }
        if untold > 0 {
            self.steps.push(format!("{} more cover other resources or actions.", counted(untold, "share")));
        }
    }

    /// What a share that covers resource and action says of the subject.
    fn covering(&self, name: &str, share: &ShareEntry) -> String {
        let covers = format!("{name} covers {} on {}{}", actions(&share.actions), resources(&share.resource), note(share.note.as_deref()));
        if let Some(end) = self.ended(share.until.as_ref()) {
            return format!("{covers}, but it ended with {end}.");
        }
        match (&share.impersonate, self.asked.subject) {
            (None, None) => format!("{covers}, for the account acting as itself."),
            (None, Some(subject)) => format!("{covers}, but only for the account acting as itself, not on behalf of {subject}."),
            (Some(behalf), None) if behalf.required => {
                let way = behalf.from.as_ref().map(|from| format!(", or at {} in its JSON body", from.json.value)).unwrap_or_default();
                format!(
                    "{covers}, but only on behalf of {}: the request has to name a user, in the header for it{way}.",
                    list(&behalf.users)
                )
            }
            (Some(_), None) => format!("{covers}, for the account acting as itself too."),
            (Some(behalf), Some(subject)) => match self.holds(behalf, subject) {
                Some(pattern) => format!("{covers}, on behalf of {subject}: `{pattern}` holds for that user."),
                None => format!("{covers}, but {} does not hold for {subject}.", list(&behalf.users)),
            },
        }
    }

    fn protected(&mut self) {
        let Some(subject) = self.asked.subject.filter(|subject| self.policy.who.is_protected(subject)) else { return };
        let document = self.policy.document();
        let found = document.never_impersonate.iter().find(|written| self.pattern_holds(written, subject));
        let by = found.map(|written| format!(" (`{}`)", written.value)).unwrap_or_default();
        self.steps.push(format!("never_impersonate protects {subject}{by}: nobody acts on behalf of that user, whatever is shared."));
    }

    fn verdict(&mut self, verdict: &Verdict<'_>) {
        let Asked { account, subject, .. } = self.asked;
        let rule = verdict.rule().unwrap_or_default();
        let behalf = subject.map(|subject| format!(" on behalf of {subject}")).unwrap_or_default();
        let mut step = match verdict.reason() {
            Reason::Shared => format!("Allowed{behalf}, by {rule}."),
            Reason::EndpointUnknown => "Refused (endpoint-unknown).".to_owned(),
            Reason::NotShared => format!("Refused (not-shared): no share of {account} covers this resource and this action."),
            Reason::DeniedByRule => format!("Refused (denied-by-rule), by {rule}."),
            Reason::ImpersonationNotAllowed => {
                format!("Refused (impersonation-not-allowed): {account} has no share that covers this{behalf}.")
            }
            Reason::ImpersonationRequired => {
                format!("Refused (impersonation-required): {account} may do this on behalf of a user only, and the request names none.")
            }
            Reason::NeverImpersonate => "Refused (never-impersonate).".to_owned(),
        };
        if matches!(verdict, Verdict::Observed(..)) {
            step.push_str(
                " Under `enforcement: observe` the request goes through all the same, as the account itself; it is only recorded.",
            );
        }
        self.steps.push(step);
    }

    // ===== reading the file =====

    /// Whether resources and actions hold for `operation`; if not, which do not.
    fn covers(&self, resource: &OneOrMany, actions: &OneOrMany, operation: &Operation<'_, '_>) -> Result<(), String> {
        let (kind, id) = (code(operation.kind.index()), operation.id.as_deref());
        let resource_holds =
            resource.iter().any(|written| ResourcePattern::parse(written, self.catalog).is_ok_and(|pattern| pattern.matches(kind, id)));
        if !resource_holds {
            let whole = resource.iter().find(|written| id.is_some() && written.as_str() == operation.kind_name());
            return Err(match whole {
                Some(kind) => format!("`{}` alone is the kind as a whole, `{}:*` would be every one of it", kind.value, kind.value),
                None => format!("it is for {}", list(resource)),
            });
        }
        if actions.iter().any(|written| written.as_str() == "*" || written.as_str() == operation.action_name()) {
            Ok(())
        } else {
            Err(format!("on {} it allows {} only", list(resource), list(actions)))
        }
    }

    fn ended<'u>(&self, until: Option<&'u At<String>>) -> Option<&'u str> {
        until.filter(|written| end_of(written).is_some_and(|end| until_of(end) <= until_of(self.now))).map(|written| written.as_str())
    }

    fn holds<'b>(&self, behalf: &'b ImpersonateEntry, subject: &Subject) -> Option<&'b str> {
        behalf.users.iter().find(|written| self.pattern_holds(written, subject)).map(|written| written.as_str())
    }

    fn pattern_holds(&self, written: &At<String>, subject: &Subject) -> bool {
        let groups = self.groups.get_or_init(|| groups(self.policy));
        match UserPattern::parse(written) {
            Ok(UserPattern::Group(name)) => groups.users_within(name).any(|user| user.matches(subject.as_str())),
            Ok(pattern) => pattern.matches(subject.as_str()),
            Err(_) => false,
        }
    }
}

/// The groups, read once more: compiling has found nothing wrong with them.
pub(super) fn groups(policy: &Policy) -> Groups<'_> {
    Groups::read(&policy.document.groups, &Source::new("", ""), &mut Complaints::default())
}

fn list(texts: &OneOrMany) -> String {
    const MANY: usize = 8;
    let mut text = texts.iter().take(MANY).map(|text| text.as_str()).collect::<Vec<_>>().join(", ");
    if texts.len() > MANY {
        let _ = write!(text, " and {} more", texts.len() - MANY);
    }
    text
}

fn actions(texts: &OneOrMany) -> String {
    if texts.iter().any(|text| text.as_str() == "*") { "every action".to_owned() } else { list(texts) }
}

fn resources(texts: &OneOrMany) -> String {
    if texts.iter().any(|text| text.as_str() == "*") { "everything".to_owned() } else { list(texts) }
}

fn note(note: Option<&str>) -> String {
    note.map(|note| format!(" (note: {})", note.trim())).unwrap_or_default()
}

fn counted(count: usize, what: &str) -> String {
    match count {
        0 => format!("no {what}s"),
        1 => format!("one {what}"),
        count => format!("{count} {what}s"),
    }
}

impl std::fmt::Display for Explanation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, step) in self.steps.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}. {step}", at + 1)?;
        }
        Ok(())
    }
}
