//! `vicar schema`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{Done, Failure, print::say};
use crate::schema::{self, Document};

/// Print the JSON Schema of a file that people edit, so that an editor completes and checks it.
#[derive(Debug, Args)]
#[command(
    long_about = "Print the JSON Schema (2020-12) of a file that people edit, so that an editor completes and checks it.\n\nEditors with the YAML language server (VS Code's YAML extension, Neovim, Helix) take it from a first line such as\n  # yaml-language-server: $schema=schema/policy.json",
    after_help = "Example:\n  vicar schema policy > schema/policy.json"
)]
pub(super) struct SchemaArgs {
    /// Of which file.
    #[arg(value_enum, value_name = "settings|policy|catalog", hide_possible_values = true)]
    of: Of,
}

/// A document, as it is called on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Of {
    Settings,
    Policy,
    Catalog,
}

impl From<Of> for Document {
    fn from(of: Of) -> Self {
        match of {
            Of::Settings => Self::Settings,
            Of::Policy => Self::Policy,
            Of::Catalog => Self::Catalog,
        }
    }
}

pub(super) fn run(args: SchemaArgs) -> Done {
    say(&serde_json::to_string_pretty(&schema::schema(args.of.into())).map_err(Failure::failed)?)?;
    Ok(ExitCode::SUCCESS)
}
