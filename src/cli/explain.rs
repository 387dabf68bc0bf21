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
    identity::{AccountId, Status, Subject},
    lifecycle,
    policy::{Asked, Enforcement, Expect, Explanation, explain},
    proxy::foretell::foretell,
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
    /// GET, POST, …; letter case counts.
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
    let (account, subject) = (&args.account, args.on_behalf_of.as_ref());
    let explanation = match foretell(&args.method, &args.path, &documents.catalog, &lifecycle::terms(&loaded.settings)) {
        Ok(path) => {
            let asked = Asked { account, subject, method: &args.method, path: &path };
            explain(&documents.policy, &documents.catalog, &asked, now())
        }
        Err(foretold) => Explanation::beforehand(&documents.policy, account, subject, foretold),
    };
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
            reason: explanation.reason,
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
    if word { Ok(raw.to_owned()) } else { Err("write a method, such as GET or POST, then the path".to_owned()) }
}
