//! `vicar audit verify`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::unread;
use crate::{
    audit::{AuditError, Broken, CheckpointKey, LogSource, Verification, compare, verify},
    cli::{
        Done, Failure, Options, Output,
        listing::{Cell, Table},
        print::{say, say_json, tell},
        progress::Progress,
        when::count,
    },
    settings::Loaded,
    terminal::{Colours, Ink, printable},
};

/// Check that no record was edited, dropped, reordered or repeated.
#[derive(Debug, Args)]
#[command(
    long_about = "Check that no record was edited, dropped, reordered or repeated.\n\nEach record holds the hash of the one before. With --public-key, the signed checkpoints are checked too: somebody who wrote a whole new chain does not have the key. The journal and, where one is set, the stream are looked at, or what --from says.\n\nExit 0 if all is as it was written, 1 if not, or if there is no record at all.",
    after_help = "Example:\n  vicar audit verify\n  vicar audit verify --from export.jsonl --public-key checkpoint.pub --output json"
)]
pub(super) struct VerifyArgs {
    /// PEM file with the public key of signed checkpoints [default: the key of audit.checkpoint].
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// Check journal, stream, or an exported FILE [default: the journal and, where one is set, the stream].
    #[arg(long, value_name = "journal|stream|FILE")]
    from: Option<String>,
}

pub(super) async fn run(args: VerifyArgs, options: &Options) -> Done {
    let loaded = options.settings()?;
    let key = public_key(&args, &loaded)?;
    let mut looked: Vec<(LogSource, Verification)> = Vec::new();
    for (source, need) in sources(&args, &loaded)? {
        let progress = Progress::start("verifying");
        let verified = verify(&source, key.as_ref(), &mut |done| progress.at(done)).await;
        drop(progress);
        match (verified, need) {
            (Ok(one), _) => looked.push((source, one)),
            (Err(AuditError::NoJournal { .. }), Need::IfThere) => {}
            (Err(error), _) => return Err(unread(error)),
        }
    }
    let nothing = looked.iter().all(|(_, one)| one.records == 0 && one.ok);
    let mut found = Verification::default();
    found.ok = true;
    for (_, one) in &looked {
        // Journal and stream hold the same records: the log has as many as the fuller of them.
        found.records = found.records.max(one.records);
        found.ok &= one.ok;
        found.broken.extend(one.broken.iter().cloned());
    }
    if let [(journal, of_journal), (stream, of_stream)] = looked.as_slice() {
        let lacking = compare((stream, of_stream), (journal, of_journal)).await.map_err(unread)?;
        found.ok &= lacking.is_empty();
        found.broken.extend(lacking);
    }
    if nothing && found.ok {
        // All of it may have been removed.
        let sources: Vec<_> = looked.iter().map(|(source, _)| source.to_string()).collect();
        let problem = format!("there is no record in the {}: nothing was verified", sources.join(" or the "));
        match options.output {
            Output::Table => return Err(Failure::failed(problem)),
            Output::Json => {
                found.ok = false;
                found.broken.push(Broken { seq: None, sidecar: String::new(), problem });
            }
        }
    }
    match options.output {
        Output::Json => say_json(&found)?,
        Output::Table => print(&found, &looked)?,
    }
    Ok(ExitCode::from(u8::from(!found.ok)))
}

/// Whether a source that is not there is a failure.
#[derive(Debug, Clone, Copy)]
enum Need {
    Asked,
    IfThere,
}

fn sources(args: &VerifyArgs, loaded: &Loaded) -> Result<Vec<(LogSource, Need)>, Failure> {
    let main = LogSource::choose(&loaded.settings.audit, args.from.as_deref()).map_err(Failure::failed)?;
    Ok(match (&args.from, &main) {
        (None, LogSource::Stream(_)) => {
            let journal = LogSource::Journal(loaded.settings.audit.journal.path.clone());
            vec![(journal, Need::IfThere), (main, Need::Asked)]
        }
        (Some(_), _) | (None, LogSource::Journal(_) | LogSource::File(_)) => vec![(main, Need::Asked)],
    })
}

fn public_key(args: &VerifyArgs, loaded: &Loaded) -> Result<Option<CheckpointKey>, Failure> {
    match (&args.public_key, &loaded.settings.audit.checkpoint) {
        (Some(path), _) => CheckpointKey::load(path).map(Some).map_err(Failure::failed),
        (None, Some(checkpoint)) => match CheckpointKey::load(&checkpoint.key) {
            Ok(key) => Ok(Some(key)),
            // An auditor may read the log and not the sidecar's private key.
            Err(error) => {
                tell(&format!("vicar: signatures are not checked: {error}; name the public half with --public-key"));
                Ok(None)
            }
        },
        (None, None) => Ok(None),
    }
}

fn print(found: &Verification, looked: &[(LogSource, Verification)]) -> Result<(), Failure> {
    let colours = Colours::of_output();
    let words: Vec<_> = looked.iter().map(|(source, one)| format!("{source} ({})", count(one.records, "record"))).collect();
    let words = printable(&words.join(", ")).into_owned();
    if found.ok {
        say(&format!("{}: {words}", colours.paint(Ink::Green, "as it was written")))?;
    } else {
        say(&format!("{}: {words}", colours.paint(Ink::Red, "NOT as it was written")))?;
        let mut table = Table::new(["sidecar", "record", "problem"]);
        for broken in &found.broken {
            let seq = broken.seq.map_or("-".to_owned(), |seq| seq.to_string());
            table.row([broken.sidecar.as_str().into(), seq.into(), Cell::inked(Ink::Red, broken.problem.as_str())]);
        }
        table.print()?;
    }
    let several = looked.len() > 1;
    for (source, chain) in looked.iter().flat_map(|(source, one)| one.chains.iter().map(move |chain| (source, chain))) {
        let signed = match (chain.checkpoints, chain.signed_to) {
            (0, _) => "no signed checkpoints".to_owned(),
            (_, Some(to)) => format!("signed up to {to}"),
            (_, None) => "signatures not checked".to_owned(),
        };
        let place = if several { format!(" in {source}") } else { String::new() };
        say(&format!("  {}{}: records {} to {}, {signed}", printable(&chain.sidecar), printable(&place), chain.first, chain.last))?;
    }
    Ok(())
}
