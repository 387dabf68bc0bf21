//! `vicar completions`.

use std::{io, process::ExitCode};

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, Done, Failure};

/// Print what makes a shell complete vicar's commands and options.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  vicar completions bash > /etc/bash_completion.d/vicar\n  vicar completions zsh > \"${fpath[1]}/_vicar\""
)]
pub(super) struct CompletionsArgs {
    /// For which shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: CompletionsArgs) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "vicar", &mut script);
    io::Write::write_all(&mut io::stdout().lock(), &script).map_err(Failure::output)?;
    Ok(ExitCode::SUCCESS)
}
