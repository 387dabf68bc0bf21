//! `vicar explain`: one decision, and the way to it.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use serde::Serialize;

use super::{
    Done, Failure, Options, Output,
    options::{directory, now},
    print::{complain, say, say_json, tell},
};
use crate::{
    catalog::CanonicalPath,
    identity::{AccountId, Status, Subject},
    lifecycle,
    policy::{Asked, Enforcement, Expect, Explanation, explain},
    proxy::query,
    settings::Loaded,
    source::Complaints,
    terminal::{Colours, Ink, printable},
};

/// Say what would be decided about a request, and why.
#[derive(Debug, Args)]
#[command(
    long_about = "Say what would be decided about a request, and why: which endpoint it is, which shares were looked at, which rule decided. Nothing is sent, and no proxy has to run.\n\nExit 0 if it is allowed, 1 if it is denied.",
    after_help = "Example:\n  vicar explain --as reporting GET /dataset/2/Ac1/Vendors/list\n  vicar explain --as bot --on-behalf-of zoe@acme.example POST /process/2/Ac1/Purchase_Order"
)]
pub(super) struct ExplainArgs {
    /// The service account that asks.
    #[arg(long = "as", value_name = "ACCOUNT")]
    account: AccountId,
    /// The user it asks for.
    #[arg(long, value_name = "USER", value_parser = subject)]
    on_behalf_of: Option<Subject>,
    /// Ask this policy instead of the one the settings name.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// GET, POST, …
    #[arg(value_parser = method)]
    method: String,
    /// The path; a query counts for whether the guard lets it through.
    path: String,
}

/// What programs read.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    decision: &'static str,
    reason: &'a str,
    account: &'a str,
    subject: Option<&'a str>,
    resource: Option<&'a str>,
    action: Option<&'a str>,
    endpoint: Option<&'a str>,
    share: Option<&'a str>,
    policy: &'a str,
}

pub(super) async fn run(args: ExplainArgs, options: &Options) -> Done {
    let loaded = options.settings_with(args.policy.clone())?;
    let mut complaints = Complaints::default();
    // A policy whose own tests fail can be asked why.
    let Some(documents) = lifecycle::documents_untested(&loaded.settings, &mut complaints) else {
        return Err(Failure::documents(&complaints));
    };
    let (raw, query) = args.path.split_once('?').map_or((args.path.as_str(), None), |(path, query)| (path, Some(query)));
    let digest = documents.policy.digest();
    let path = match CanonicalPath::parse(raw, lifecycle::path_rules(&loaded.settings)) {
        Ok(path) => path,
        Err(error) => {
            let why = format!("The path could be read in more than one way, so it is refused before any policy is asked: {error}.");
            return refused_before(&args, "ambiguous-request", &why, digest, options);
        }
    };
    let operation = documents.catalog.classify(&args.method, &path).ok();
    let takes = operation.as_ref().and_then(|operation| operation.endpoint.query.as_deref());
    let reserved: Vec<String> = loaded.settings.guard.reserved_query.iter().map(|name| query::fold(name.as_bytes())).collect();
    if let Some(name) = query.and_then(|query| query::refused(query, takes, &reserved)) {
        let why = format!("The query has {name:?}, which this endpoint does not take, so it is refused before any policy is asked.");
        return refused_before(&args, "query-not-allowed", &why, digest, options);
    }
    let asked = Asked { account: &args.account, subject: args.on_behalf_of.as_ref(), method: &args.method, path: &path };
    let explanation = explain(&documents.policy, &documents.catalog, &asked, now());
    match options.output {
        Output::Json => say_json(&Answer::of(&explanation))?,
        Output::Table => {
            print(&explanation)?;
            complain(&complaints);
            note_account(&loaded, &args.account).await;
        }
    }
    Ok(exit(explanation.decision))
}

/// Such a request gets no further than the guard: no policy is asked.
fn refused_before(args: &ExplainArgs, reason: &str, why: &str, policy: &str, options: &Options) -> Done {
    let subject = args.on_behalf_of.as_ref().map(Subject::as_str);
    let answer = Answer {
        decision: "deny",
        reason,
        account: args.account.as_str(),
        subject,
        resource: None,
        action: None,
        endpoint: None,
        share: None,
        policy,
    };
    match options.output {
        Output::Json => say_json(&answer)?,
        Output::Table => {
            let colours = Colours::of_output();
            say(&format!("{}  {} (400)", colours.paint(Ink::Red, "deny"), answer.reason))?;
            say(&format!("\n1. {}", printable(why)))?;
        }
    }
    Ok(exit(Expect::Deny))
}

fn print(explanation: &Explanation) -> Result<(), Failure> {
    let colours = Colours::of_output();
    let (ink, word) = match explanation.decision {
        Expect::Allow => (Ink::Green, "allow"),
        Expect::Deny => (Ink::Red, "deny"),
    };
    let by = explanation.share.as_ref().map(|share| format!(", by {share}")).unwrap_or_default();
    say(&format!("{}  {}{}", colours.paint(ink, word), explanation.reason, printable(&by)))?;
    say("")?;
    for (number, step) in explanation.steps.iter().enumerate() {
        say(&format!("{}. {}", number + 1, printable(step)))?;
    }
    match (explanation.decision, explanation.enforcement) {
        (Expect::Deny, Enforcement::Observe) => {
            say(&format!("\n{}", colours.paint(Ink::Yellow, "The policy only observes here: the request would go through all the same.")))
        }
        (Expect::Allow | Expect::Deny, Enforcement::Enforce | Enforcement::Observe) => Ok(()),
    }
}

/// The policy may share things with an account that cannot sign in; that is worth a word.
async fn note_account(loaded: &Loaded, id: &AccountId) {
    let Ok(directory) = directory(loaded).await else { return };
    match directory.account(id).await {
        Ok(Some(account)) if account.status == Status::Disabled => {
            tell(&format!("\nNote: the account {id} is disabled, so none of its keys signs in."));
        }
        Ok(None) => tell(&format!("\nNote: the directory has no account {id}; make it with `vicar account create {id} --name NAME`.")),
        Ok(Some(_)) | Err(_) => {}
    }
}

fn exit(decision: Expect) -> ExitCode {
    match decision {
        Expect::Allow => ExitCode::SUCCESS,
        Expect::Deny => ExitCode::FAILURE,
    }
}

impl<'a> Answer<'a> {
    fn of(explanation: &'a Explanation) -> Self {
        Self {
            decision: match explanation.decision {
                Expect::Allow => "allow",
                Expect::Deny => "deny",
            },
            reason: explanation.reason.as_str(),
            account: &explanation.account,
            subject: explanation.subject.as_deref(),
            resource: explanation.resource.as_deref(),
            action: explanation.action.as_deref(),
            endpoint: explanation.endpoint.as_deref(),
            share: explanation.share.as_deref(),
            policy: &explanation.policy,
        }
    }
}

// ===== reading options =====

fn subject(raw: &str) -> Result<Subject, String> {
    Subject::parse(raw.as_bytes()).map_err(|error| error.to_string())
}

fn method(raw: &str) -> Result<String, String> {
    let word = !raw.is_empty() && raw.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
    if word { Ok(raw.to_ascii_uppercase()) } else { Err("write a method, such as GET or POST, then the path".to_owned()) }
}
