//! `vicar audit export`.

use std::{
    io::{self, BufWriter, Write as _},
    process::ExitCode,
};

use clap::{Args, ValueEnum};

use super::{From, unread, wanted::Wanted};
use crate::{
    audit::{AuditError, Format, export},
    cli::{Done, Failure, Options, options::now, print::tell, progress::Progress, when::count},
};

/// Print the log for other programs: JSON lines, CSV, or OCSF for a SIEM. Oldest first.
#[derive(Debug, Args)]
#[command(
    long_about = "Print the log for other programs: JSON lines, CSV, or OCSF for a SIEM. Oldest first.\n\nThat is in the order in which records reached the log. Where several sidecars ship to one stream, one that was cut off from it for a while hands in older records behind newer ones of the others.",
    after_help = "Example:\n  vicar audit export --since 30d --format csv > november.csv\n  vicar audit export --format jsonl > log.jsonl && vicar audit verify --from log.jsonl"
)]
pub(super) struct ExportArgs {
    /// How.
    #[arg(long, value_enum, default_value_t)]
    format: FormatWord,
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    from: From,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum FormatWord {
    /// The records as they are, one a line; `verify` takes it.
    #[default]
    Jsonl,
    /// A table; no cell can start a formula.
    Csv,
    /// OCSF API Activity events, one a line.
    Ocsf,
}

pub(super) async fn run(args: ExportArgs, options: &Options) -> Done {
    let loaded = options.settings()?;
    let source = args.from.source(&loaded)?;
    let filter = args.wanted.filter(now())?;
    let format = match args.format {
        FormatWord::Jsonl => Format::Jsonl,
        FormatWord::Csv => Format::Csv,
        FormatWord::Ocsf => Format::Ocsf,
    };
    let progress = Progress::start("exporting");
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout());
    let exported = export(&source, &filter, format, &mut out, &mut |done| progress.at(done)).await;
    drop(progress);
    let records = exported.map_err(|error| match error {
        AuditError::Output(cause) => Failure::output(cause),
        other => unread(other),
    })?;
    out.flush().map_err(Failure::output)?;
    tell(&format!("{} from the {source}", count(records, "record")));
    Ok(ExitCode::SUCCESS)
}
