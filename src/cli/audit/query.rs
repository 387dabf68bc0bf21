//! `vicar audit query`.

use std::{
    io::{self, BufWriter, Write as _},
    ops::ControlFlow,
    process::ExitCode,
};

use clap::Args;

use super::{
    From,
    line::{json_line, line},
    unread,
    wanted::Wanted,
};
use crate::{
    audit::{Line, Order, Page, read},
    cli::{Done, Failure, Options, Output, options::now, print::tell},
    terminal::Colours,
};

/// Find records: by time, account, key, user, resource, action, decision.
#[derive(Debug, Args)]
#[command(
    long_about = "Find records: by time, account, key, user, resource, action, decision.\n\nThey come in the order in which they reached the log. Where several sidecars ship to one stream, one that was cut off from it for a while hands in older records behind newer ones of the others.",
    after_help = "Example:\n  vicar audit query --since 24h --account reporting --decision deny\n  vicar audit query --subject zoe@acme.example --output json | jq .path"
)]
pub(super) struct QueryArgs {
    #[command(flatten)]
    wanted: Wanted,
    /// No more than this many.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "How")]
    limit: Option<u64>,
    /// What reached the log last comes first.
    #[arg(long, help_heading = "How")]
    newest_first: bool,
    #[command(flatten)]
    from: From,
}

pub(super) async fn run(args: QueryArgs, options: &Options) -> Done {
    let loaded = options.settings()?;
    let source = args.from.source(&loaded)?;
    let filter = args.wanted.filter(now())?;
    let order = if args.newest_first { Order::NewestFirst } else { Order::OldestFirst };
    let colours = Colours::of_output();
    // Not `lock()`: what holds it would have to stay on one thread.
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout());
    let (mut count, mut failed) = (0u64, None);
    let mut each = |found: Line<'_>| {
        count += 1;
        let written = match options.output {
            Output::Table => writeln!(out, "{}", line(found.record, colours)),
            Output::Json => writeln!(out, "{}", json_line(found.raw, colours)),
        };
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(cause) => {
                failed = Some(cause);
                ControlFlow::Break(())
            }
        }
    };
    read(&source, &filter, Page { order, limit: args.limit }, &mut each).await.map_err(unread)?;
    if let Some(cause) = failed.or_else(|| out.flush().err()) {
        return Err(Failure::output(cause));
    }
    match options.output {
        Output::Table if count == 0 => tell(&format!("No such record in the {source}.")),
        Output::Table | Output::Json => {}
    }
    Ok(ExitCode::SUCCESS)
}
