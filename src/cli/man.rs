//! `vicar man`.

use std::{fs, path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory as _};

use super::{
    Cli, Done, Failure, Options, Output,
    print::{say, say_json},
};

/// Write the manual pages, one for each command.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vicar man /usr/local/share/man/man1 && man vicar-key-create")]
pub(super) struct ManArgs {
    /// The folder to write to; it is made if it is not there.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(super) fn run(args: ManArgs, options: &Options) -> Done {
    let told = |cause| Failure::failed(format!("{}: {cause}; name a folder that you may write to", args.folder.display()));
    fs::create_dir_all(&args.folder).map_err(told)?;
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    write(&command, &args.folder, &mut pages).map_err(told)?;
    pages.sort_unstable();
    match options.output {
        Output::Json => say_json(&serde_json::json!({"folder": args.folder, "pages": pages}))?,
        Output::Table => say(&format!("{} pages are in {}", pages.len(), args.folder.display()))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn write(command: &clap::Command, folder: &std::path::Path, pages: &mut Vec<String>) -> std::io::Result<()> {
    let man = clap_mangen::Man::new(command.clone()).manual("Vicar");
    let name = man.get_filename();
    let mut page = Vec::new();
    man.render(&mut page)?;
    fs::write(folder.join(&name), page)?;
    pages.push(name);
    command.get_subcommands().filter(|child| !child.is_hide_set()).try_for_each(|child| write(child, folder, pages))
}
