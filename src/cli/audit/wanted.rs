//! Which records: the options that `query`, `export` and `usage` share.

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use crate::{
    audit::{Decision, Filter, Kind, Outcome},
    cli::{Failure, when::point},
    identity::{AccountId, KeyId},
};

/// Records that have all that is asked.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which records")]
pub(super) struct Wanted {
    /// From then on: a time back from now (7d, 12h), a day, or a moment.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before then.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Of this account.
    #[arg(long, value_name = "ID")]
    account: Option<AccountId>,
    /// With this access key.
    #[arg(long, value_name = "KEY_ID")]
    key: Option<KeyId>,
    /// On behalf of this user.
    #[arg(long, value_name = "USER")]
    subject: Option<String>,
    /// On this resource (dataset:Vendors); a * at the end stands for any rest.
    #[arg(long, value_name = "RESOURCE")]
    resource: Option<String>,
    /// With this action.
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Decided so.
    #[arg(long, value_enum, hide_possible_values = true, value_name = "allow|deny")]
    decision: Option<DecisionWord>,
    /// Ended so.
    #[arg(long, value_enum)]
    outcome: Option<OutcomeWord>,
    /// This request.
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Of this kind.
    #[arg(long, value_enum, hide_possible_values = true, value_name = "access|admin|system")]
    kind: Option<KindWord>,
    /// Written by this sidecar.
    #[arg(long, value_name = "NAME")]
    sidecar: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DecisionWord {
    Allow,
    Deny,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum OutcomeWord {
    Completed,
    Refused,
    UpstreamError,
    Interrupted,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KindWord {
    /// Requests.
    Access,
    /// Changes of accounts, keys and tokens.
    Admin,
    /// What happens to the sidecar itself.
    System,
}

impl Wanted {
    /// As the log's readers take it.
    ///
    /// # Errors
    /// When a time is none, or none lies between the two.
    pub(super) fn filter(self, now: Timestamp) -> Result<Filter, Failure> {
        let time = |option: &str, raw: Option<String>| raw.map(|raw| point(option, &raw, now)).transpose();
        let (since, until) = (time("since", self.since)?, time("until", self.until)?);
        if since.zip(until).is_some_and(|(since, until)| since >= until) {
            return Err(Failure::usage("--since is not before --until: no record lies between them"));
        }
        Ok(Filter {
            since,
            until,
            kind: self.kind.map(|word| match word {
                KindWord::Access => Kind::Access,
                KindWord::Admin => Kind::Admin,
                KindWord::System => Kind::System,
            }),
            account: self.account.map(|account| account.to_string()),
            accounts: Vec::new(),
            key: self.key.map(|key| key.to_string()),
            subject: self.subject.map(Filter::subject_as_recorded),
            resource: self.resource,
            action: self.action,
            decision: self.decision.map(|word| match word {
                DecisionWord::Allow => Decision::Allow,
                DecisionWord::Deny => Decision::Deny,
            }),
            outcome: self.outcome.map(|word| match word {
                OutcomeWord::Completed => Outcome::Completed,
                OutcomeWord::Refused => Outcome::Refused,
                OutcomeWord::UpstreamError => Outcome::UpstreamError,
                OutcomeWord::Interrupted => Outcome::Interrupted,
            }),
            request_id: self.request_id,
            sidecar: self.sidecar,
        })
    }
}
