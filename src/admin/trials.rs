//! What would be decided, and what another policy would change: for API and console alike. Nothing is sent anywhere.

use std::{borrow::Cow, ops::ControlFlow};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Desk,
    records::{self, aside},
    refusal::Refusal,
    roles::{Right, Scope, permit},
    sign_in::Who,
};
use crate::{
    audit::{self, Filter, Kind, Page},
    identity::{AccountId, Subject},
    policy::{self, Asked, Explanation, Outcome, Past, Simulation},
    proxy::{
        foretell::{Terms, foretell},
        rules::Rules,
    },
    source::{Complaint, Complaints, Source},
};

/// What somebody wants to know the decision on.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    /// The service account that asks; `as`, as in the policy's tests, is the same.
    #[serde(alias = "as")]
    pub(super) account: String,
    /// The user it asks for; `on_behalf_of` is the same.
    #[serde(default, alias = "on_behalf_of")]
    pub(super) subject: Option<String>,
    /// `GET`, `POST`, …; letter case counts.
    pub(super) method: String,
    /// The path, with its query if it has one.
    pub(super) path: String,
}

/// What another policy comes to.
#[derive(Debug, Serialize)]
pub(super) struct Trial {
    /// Whether it would be taken: no mistakes, and its own tests pass.
    pub(super) holds: bool,
    /// Its digest.
    pub(super) digest: Option<String>,
    /// All that is wrong with it, and what somebody should look at.
    pub(super) diagnostics: Vec<Complaint>,
    /// What would change, if it can be told.
    #[serde(flatten)]
    pub(super) outcome: Option<Outcome>,
}

/// The decision on a question, and the way to it.
///
/// # Errors
/// When the question makes no sense, or the role does not reach that far.
pub(super) fn explain(desk: &Desk, who: &Who, question: &Question) -> Result<Explanation, Refusal> {
    let account: AccountId = question.account.trim().parse().map_err(|error| Refusal::Invalid(format!("{error}.")))?;
    permit(&who.admin, Right::Explain, Scope::Account(&account))?;
    let subject = question.subject.as_deref().filter(|subject| !subject.is_empty()).map(str::trim);
    let subject =
        subject.map(|subject| Subject::parse(subject.as_bytes())).transpose().map_err(|error| Refusal::Invalid(format!("{error}.")))?;
    let method = question.method.trim();
    if method.is_empty() || !method.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-') {
        return Err(Refusal::Invalid("The method is a word such as GET or POST.".to_owned()));
    }
    let rules = desk.shared.rules.load_full();
    let path = match foretell(method, question.path.trim(), &rules.catalog, &terms(&rules)) {
        Ok(path) => path,
        Err(foretold) => return Ok(Explanation::beforehand(&rules.policy, &account, subject.as_ref(), foretold)),
    };
    let asked = Asked { account: &account, subject: subject.as_ref(), method, path: &path };
    Ok(policy::explain(&rules.policy, &rules.catalog, &asked, Timestamp::now()))
}

fn terms(rules: &Rules) -> Terms<'_> {
    Terms { path: rules.path, reserved_query: Cow::Borrowed(&rules.reserved_query), self_service: &rules.self_service }
}

/// Reads `text` as a policy and asks it what was asked since then.
///
/// # Errors
/// When the log cannot be read, or the role does not reach that far. A policy with mistakes is no error: they are told.
pub(super) async fn simulate(desk: &Desk, who: &Who, text: String, since: Option<Timestamp>) -> Result<Trial, Refusal> {
    permit(&who.admin, Right::Simulate, Scope::Whole)?;
    let known: Vec<AccountId> = desk.shared.backend.accounts().await?.into_iter().map(|account| account.id).collect();
    let rules = desk.shared.rules.load_full();
    let source = records::source(desk)?;
    aside(desk, async move {
        let now = Timestamp::now();
        let (written, mut complaints) = (Source::new("policy.yaml", text), Complaints::default());
        let Some(tried) = policy::load(&written, &rules.catalog, &mut complaints) else {
            return Ok(Trial { holds: false, digest: None, diagnostics: complaints.iter().cloned().collect(), outcome: None });
        };
        policy::verify(&tried, &rules.catalog, &terms(&rules), now).complain(&written, &mut complaints);
        policy::lint(&tried, &rules.catalog, &written, Some(&known), now, &mut complaints);
        let mut simulation = Simulation::new(&tried, &rules.catalog, rules.path, now).beside(&rules.policy);
        let filter = Filter { since, kind: Some(Kind::Access), ..Filter::default() };
        audit::read(&source, &filter, Page::default(), &mut |line| {
            simulation.replay(&Past::from(line.record));
            ControlFlow::Continue(())
        })
        .await?;
        Ok(Trial {
            holds: !complaints.has_errors(),
            digest: Some(tried.digest().to_owned()),
            diagnostics: complaints.iter().cloned().collect(),
            outcome: Some(simulation.finish()),
        })
    })
    .await
}

/// What somebody should look at in the policy in force.
///
/// # Errors
/// When looking was broken off.
pub(super) async fn warnings(desk: &Desk) -> Result<Vec<Complaint>, Refusal> {
    let known = desk.shared.backend.accounts().await.ok();
    let known: Option<Vec<AccountId>> = known.map(|accounts| accounts.into_iter().map(|account| account.id).collect());
    let (rules, in_force) = (desk.shared.rules.load_full(), desk.status.in_force());
    // A large policy takes a while to look through.
    aside(desk, async move {
        let mut complaints = in_force.warnings.clone();
        policy::lint(&rules.policy, &rules.catalog, &in_force.policy, known.as_deref(), Timestamp::now(), &mut complaints);
        Ok(complaints.iter().cloned().collect())
    })
    .await
}
