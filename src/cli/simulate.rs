//! `vicar simulate`: past requests, asked of another policy.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};

use super::{
    Done, Failure, Options, Output,
    listing::{Cell, Table},
    options::now,
    past::PastArgs,
    print::{complain, say, say_json},
    when::count,
};
use crate::{
    lifecycle,
    policy::{self, Change, Simulation},
    source::Complaints,
    terminal::{Colours, Ink},
};

/// Replay the audit log against another policy: which past requests would change.
#[derive(Debug, Args)]
#[command(
    long_about = "Replay the audit log against another policy: which past requests would fare differently, grouped by account, resource, action and user, with an example each. Nothing is sent.\n\nExit 0; with --fail-on, 1 if there is such a change.",
    after_help = "Example:\n  vicar simulate --policy new.yaml --since 30d\n  vicar simulate --policy new.yaml --fail-on denied --output json"
)]
pub(super) struct SimulateArgs {
    /// The policy to try.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// A catalog to try in place of those the settings name (repeatable).
    #[arg(long, value_name = "FILE")]
    catalog: Vec<PathBuf>,
    /// Exit 1 if something would now be refused, or let through, or either.
    #[arg(long, value_enum, value_name = "denied|allowed|any", hide_possible_values = true)]
    fail_on: Option<FailOn>,
    #[command(flatten)]
    past: PastArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FailOn {
    Denied,
    Allowed,
    Any,
}

pub(super) async fn run(args: SimulateArgs, options: &Options) -> Done {
    // Another catalog numbers its kinds and actions in another way.
    let in_force = match args.catalog.as_slice() {
        [] => lifecycle::documents_untested(&options.settings()?.settings, &mut Complaints::default()),
        _ => None,
    };
    let mut loaded = options.settings_with(Some(args.policy))?;
    if !args.catalog.is_empty() {
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        loaded.settings.catalog = args.catalog.iter().map(|path| absolute(path).into()).collect();
    }
    let now = now();
    let paths = lifecycle::path_rules(&loaded.settings);
    let mut complaints = Complaints::default();
    let Some(documents) = lifecycle::documents_untested(&loaded.settings, &mut complaints) else {
        return Err(Failure::documents(&complaints));
    };
    // A policy that fails its own tests would not be taken; what it would change can be shown all the same.
    policy::verify(&documents.policy, &documents.catalog, &lifecycle::terms(&loaded.settings), now)
        .complain(&documents.policy_source, &mut complaints);
    complain(&complaints);
    let mut simulation = Simulation::new(&documents.policy, &documents.catalog, paths, now);
    if let Some(in_force) = &in_force {
        simulation = simulation.beside(&in_force.policy);
    }
    let source = args.past.replay(&loaded, "replaying", |past| simulation.replay(past)).await?;
    let outcome = simulation.finish();
    match options.output {
        Output::Json => say_json(&outcome)?,
        Output::Table => {
            say(&format!("{} from the {source} replayed: {} unchanged", count(outcome.replayed, "request"), outcome.unchanged))?;
            print("would be refused from now on", Ink::Red, &outcome.now_denied)?;
            print("would go through from now on", Ink::Yellow, &outcome.now_allowed)?;
            print("may be made for another, or for nobody, from now on", Ink::Yellow, &outcome.now_for_others)?;
            if outcome.ungrouped > 0 {
                say(&format!("\nand {} in further groups that are not listed", count(outcome.ungrouped, "changed request")))?;
            }
        }
    }
    let (denied, allowed, otherwise) =
        (!outcome.now_denied.is_empty(), !outcome.now_allowed.is_empty(), !outcome.now_for_others.is_empty());
    let failed = match args.fail_on {
        None => false,
        Some(FailOn::Denied) => denied,
        Some(FailOn::Allowed) => allowed,
        Some(FailOn::Any) => denied || allowed || otherwise,
    };
    Ok(ExitCode::from(u8::from(failed)))
}

fn print(what: &str, ink: Ink, changes: &[Change]) -> Result<(), Failure> {
    if changes.is_empty() {
        return Ok(());
    }
    let requests = changes.iter().map(|change| change.count).sum();
    say(&format!("\n{}", Colours::of_output().paint(ink, &format!("{} {what}", count(requests, "request")))))?;
    let mut table = Table::new(["requests", "account", "action", "resource", "for", "was", "now", "example"]);
    for change in changes {
        let text = |field: &Option<String>| Cell::from(field.as_deref().unwrap_or("-"));
        table.row([
            change.count.to_string().into(),
            change.account.as_str().into(),
            text(&change.action),
            text(&change.resource),
            text(&change.subject),
            change.was.as_str().into(),
            change.reason.as_str().into(),
            format!("{} {}", change.example.method, change.example.path).into(),
        ]);
    }
    table.print()
}
