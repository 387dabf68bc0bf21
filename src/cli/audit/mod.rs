//! `vicar audit`: the log of what was done.

mod export;
mod line;
mod query;
mod tail;
mod usage;
mod verify;
mod wanted;

use clap::{Args, Subcommand};

use super::{Done, Failure, Options};
use crate::{
    audit::{AuditError, LogSource},
    settings::Loaded,
};

/// The audit log: who did what, for whom, and what came of it.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    Tail(tail::TailArgs),
    Query(query::QueryArgs),
    Verify(verify::VerifyArgs),
    Export(export::ExportArgs),
    Usage(usage::UsageArgs),
}

pub(super) async fn run(args: AuditArgs, options: &Options) -> Done {
    match args.command {
        AuditCommand::Tail(args) => tail::run(args, options).await,
        AuditCommand::Query(args) => query::run(args, options).await,
        AuditCommand::Verify(args) => verify::run(args, options).await,
        AuditCommand::Export(args) => export::run(args, options).await,
        AuditCommand::Usage(args) => usage::run(args, options).await,
    }
}

/// `--from`.
#[derive(Debug, Args)]
pub(super) struct From {
    /// Read journal, stream, or an exported FILE [default: the stream where one is set, else the journal].
    #[arg(long, value_name = "journal|stream|FILE")]
    from: Option<String>,
}

impl From {
    /// Where to read.
    ///
    /// # Errors
    /// When it names nothing that can be read.
    pub(super) fn source(&self, loaded: &Loaded) -> Result<LogSource, Failure> {
        LogSource::choose(&loaded.settings.audit, self.from.as_deref()).map_err(Failure::failed)
    }
}

/// Why the log cannot be read, and where else it may be.
pub(super) fn unread(error: AuditError) -> Failure {
    match error {
        AuditError::Stream { .. } => Failure::failed(format!("{error}; `--from journal` reads what is on this machine")),
        other => Failure::failed(other),
    }
}
