//! `vicar audit tail`.

use std::{
    io::{self, Write as _},
    ops::ControlFlow,
    os::fd::AsFd as _,
    process::ExitCode,
};

use clap::Args;
use tokio::{
    io::Interest,
    net::unix::pipe,
    signal::unix::{SignalKind, signal},
};

use super::{
    From,
    line::{json_line, line},
    unread,
};
use crate::{
    audit::{Decision, Filter, follow},
    cli::{Done, Failure, Options, Output},
    terminal::Colours,
};

/// Show the log as it grows, one line a record. Ctrl-C ends it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vicar audit tail --account reporting --denied")]
pub(super) struct TailArgs {
    /// Of this account only.
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Only what was, or would have been, refused.
    #[arg(long)]
    denied: bool,
    /// How many of the latest records to begin with.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    lines: usize,
    #[command(flatten)]
    from: From,
}

pub(super) async fn run(args: TailArgs, options: &Options) -> Done {
    let loaded = options.settings()?;
    let source = args.from.source(&loaded)?;
    let filter = Filter { account: args.account, decision: args.denied.then_some(Decision::Deny), ..Filter::default() };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
    let colours = Colours::of_output();
    let mut failed = None;
    let mut each = |found: crate::audit::Line<'_>| {
        let text = match options.output {
            Output::Table => line(found.record, colours).into(),
            Output::Json => json_line(found.raw, colours),
        };
        let mut out = io::stdout().lock();
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(cause) => {
                failed = Some(cause);
                ControlFlow::Break(())
            }
        }
    };
    let followed = tokio::select! {
        followed = follow(&source, &filter, args.lines, &mut each) => followed.map_err(unread),
        _ = interrupt.recv() => Ok(()),
        () = reader_gone() => Ok(()),
    };
    match failed {
        Some(cause) => Err(Failure::output(cause)),
        None => followed.map(|()| ExitCode::SUCCESS),
    }
}

/// Waits until nobody reads standard output any more; a log in which nothing happens would not notice by writing.
async fn reader_gone() {
    let pipe = io::stdout().as_fd().try_clone_to_owned().and_then(pipe::Sender::from_owned_fd_unchecked);
    match pipe {
        Ok(pipe) => {
            let _ = pipe.ready(Interest::ERROR).await;
        }
        // A file: it has no reader who could leave.
        Err(_) => std::future::pending().await,
    }
}
