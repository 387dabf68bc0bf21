//! `vicar catalog`.

use std::{
    fs::OpenOptions,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    Done, Failure, Options, Output,
    print::{say, say_json, tell},
    when::count,
};
use crate::{
    catalog::openapi::{self, Imported},
    source::{MAX_BYTES, Source},
    terminal::printable,
};

/// Catalogs: what each request does to which resource.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct CatalogArgs {
    #[command(subcommand)]
    command: CatalogCommand,
}

#[derive(Debug, Subcommand)]
enum CatalogCommand {
    Import(ImportArgs),
}

/// Make a catalog out of an OpenAPI document (3.0 and later, JSON or YAML).
#[derive(Debug, Args)]
#[command(
    long_about = "Make a catalog out of an OpenAPI document (3.0 and later, JSON or YAML).\n\nWhat an operation concerns: the word before the first parameters of its path is the kind, in the singular, and those parameters are the id. /repos/{owner}/{repo}/issues/{number} concerns repo:{owner}/{repo}. A path without parameters concerns the kind as a whole.\n\nWhat it does: GET is read, or list where the path ends in a plural or the operationId begins with list, search, find or query; POST is create, PUT and PATCH update, DELETE delete; a POST to a word behind a parameter is that word (/orders/{id}/cancel is cancel). The words behind the id go with it: list-issues, lock-issues.\n\nx-vicar-resource and x-vicar-action on an operation, or on its path, override both. What has no place in a catalog is told, and stands at its end.",
    after_help = "Example:\n  vicar catalog import openapi.yaml --save catalog/service.yaml\n  curl -s https://api.example/openapi.json | vicar catalog import -"
)]
struct ImportArgs {
    /// The document; - reads it from standard input.
    #[arg(value_name = "OPENAPI")]
    document: PathBuf,
    /// Write the catalog to this new file instead of standard output.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

/// How many of the operations that were left out are told of at a terminal.
const TOLD_MAX: usize = 20;

pub(super) fn run(args: CatalogArgs, options: &Options) -> Done {
    match args.command {
        CatalogCommand::Import(args) => import(&args, options),
    }
}

fn import(args: &ImportArgs, options: &Options) -> Done {
    let imported = read(&args.document)?;
    if let Some(file) = &args.save {
        let new = OpenOptions::new().write(true).create_new(true).open(file);
        new.and_then(|mut file| file.write_all(imported.yaml.as_bytes())).map_err(|cause| match cause.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Failure::failed(format!("{} is there already and is not overwritten; name another file", file.display()))
            }
            _ => Failure::failed(format!("{}: {cause}", file.display())),
        })?;
    }
    match options.output {
        Output::Json => say_json(&json!({
            "catalog": args.save.is_none().then_some(&imported.yaml),
            "endpoints": imported.endpoints,
            "kinds": imported.kinds,
            "left_out": imported.left_out,
            "notes": imported.notes,
        }))?,
        Output::Table => {
            if args.save.is_none() {
                say(imported.yaml.trim_end())?;
            }
            report(&imported);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The catalog of an OpenAPI document.
///
/// # Errors
/// When there is none to be made.
pub(super) fn read(document: &Path) -> Result<Imported, Failure> {
    let named = |cause: &dyn std::fmt::Display| Failure::failed(format!("{}: {cause}", document.display()));
    let source = if document.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().lock().take(MAX_BYTES).read_to_string(&mut text).map_err(|cause| named(&cause))?;
        Source::new("-", text)
    } else if document.to_str().is_some_and(|name| name.contains("://")) {
        return Err(Failure::failed(format!("{} is not fetched; download it, and name the file", document.display())));
    } else {
        Source::read(document).map_err(Failure::failed)?
    };
    openapi::import(&source).map_err(|error| named(&error))
}

/// Tells what was made, and what was not.
pub(super) fn report(imported: &Imported) {
    let left_out = imported.left_out.len() as u64;
    tell(&format!(
        "{} of {}; {}",
        count(imported.endpoints as u64, "endpoint"),
        count(imported.kinds.len() as u64, "kind"),
        if left_out == 0 { "nothing was left out".to_owned() } else { format!("{} left out", count(left_out, "operation")) }
    ));
    for one in imported.left_out.iter().take(TOLD_MAX) {
        tell(&format!("  left out: {}: {}", printable(&one.request), printable(&one.because)));
    }
    if imported.left_out.len() > TOLD_MAX {
        tell(&format!("  … and {} more, listed at the end of the catalog", imported.left_out.len() - TOLD_MAX));
    }
    for note in imported.notes.iter().take(TOLD_MAX) {
        tell(&format!("  note: {}", printable(note)));
    }
}
