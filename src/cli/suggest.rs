//! `vicar suggest`: a policy from what was done.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{
    Done, Failure, Options, Output,
    past::PastArgs,
    print::{say, say_json, tell},
    when::count,
};
use crate::{lifecycle, policy::Suggestion, source::Complaints};

/// Write the smallest policy that allows what was done.
#[derive(Debug, Args)]
#[command(
    long_about = "Write the smallest policy that allows what was done, from the audit log: the way out of `enforcement: observe`. Each line says how often it was needed. Read it before you use it: what was done is not always what was meant.",
    after_help = "Example:\n  vicar suggest --since 30d > suggested.yaml && vicar check --policy suggested.yaml\n  vicar suggest --account reporting --fold dataset --fold \"process:PO_*\""
)]
pub(super) struct SuggestArgs {
    /// Write ids of this kind, or that this pattern holds for, as the pattern (repeatable); no id becomes one unasked.
    #[arg(long, value_name = "KIND|PATTERN")]
    fold: Vec<String>,
    #[command(flatten)]
    past: PastArgs,
}

pub(super) async fn run(args: SuggestArgs, options: &Options) -> Done {
    let loaded = options.settings()?;
    let mut complaints = Complaints::default();
    let Some(catalog) = lifecycle::catalog(&loaded.settings, &mut complaints) else {
        return Err(Failure::documents(&complaints));
    };
    let mut suggestion = Suggestion::new(&catalog, lifecycle::path_rules(&loaded.settings), &args.fold).map_err(Failure::usage)?;
    // A policy with mistakes is none that anything was done under.
    let in_force = lifecycle::documents_untested(&loaded.settings, &mut Complaints::default());
    if let Some(documents) = &in_force {
        suggestion = suggestion.beside(&documents.policy);
    }
    let source = args.past.replay(&loaded, "reading", |past| suggestion.learn(past)).await?;
    let (learned, skipped) = (suggestion.learned(), suggestion.skipped());
    let policy = suggestion.finish();
    match options.output {
        Output::Json => say_json(&json!({"policy": policy, "learned": learned, "skipped": skipped}))?,
        Output::Table => {
            say(policy.trim_end())?;
            tell(&format!("{} from the {source}; {} told nothing", count(learned, "request"), count(skipped, "other record")));
        }
    }
    Ok(ExitCode::SUCCESS)
}
