//! `vicar check`: everything that a sidecar would be started with.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::{
    Done, Failure, Options, Output,
    options::now,
    print::{complain, near, say, say_json},
    when::count,
};
use crate::{
    audit::stream_warnings,
    directory::{self, Directory, DirectoryError},
    identity::{Account, AccountId},
    lifecycle, policy,
    settings::{Loaded, Settings},
    source::{Complaint, Complaints, Severity, Source, Span},
};

/// Check the settings, the policy, the catalog and the policy's tests.
#[derive(Debug, Args)]
#[command(
    long_about = "Check the settings, the policy, the catalog and the policy's tests, and print the settings in force.\n\nEvery mistake is told with file, line and column; warnings are of what holds but may not be what was meant. Exit 0 if a sidecar would take all of it, 1 if not.",
    after_help = "Example:\n  vicar check\n  vicar check --policy new.yaml --output json"
)]
pub(super) struct CheckArgs {
    /// Check this policy instead of the one the settings name.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

/// What programs read.
#[derive(Debug, Serialize)]
struct Checked {
    ok: bool,
    errors: Vec<Complaint>,
    warnings: Vec<Complaint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<Found>,
}

/// What there is.
#[derive(Debug, Serialize)]
struct Found {
    policy: String,
    catalog: String,
    endpoints: usize,
    accounts: usize,
    tests: usize,
}

pub(super) async fn run(args: CheckArgs, options: &Options) -> Done {
    let mut complaints = Complaints::default();
    let loaded = match options.read_settings(args.policy)? {
        Ok(loaded) => {
            complaints.extend(loaded.warnings.clone());
            Some(loaded)
        }
        Err(found) => {
            complaints.extend(found);
            None
        }
    };
    let found = match &loaded {
        Some(loaded) => look(loaded, &mut complaints).await,
        None => None,
    };
    let ok = !complaints.has_errors();
    match options.output {
        Output::Json => {
            let (errors, warnings) = near(&complaints).partition(|complaint| complaint.severity == Severity::Error);
            let settings = loaded.as_ref().map(|loaded| loaded.settings.in_force());
            say_json(&Checked { ok, errors, warnings, settings, found })?;
        }
        Output::Table => {
            complain(&complaints);
            match (&loaded, &found) {
                (Some(loaded), Some(found)) if ok => {
                    say(&format!("{}\n{}", loaded.settings.in_force_yaml().trim_end(), found.words()))?;
                }
                (_, _) => {
                    let errors = complaints.iter().filter(|complaint| complaint.severity == Severity::Error).count();
                    return Err(Failure::failed(format!("{}; a sidecar would not take this", count(errors as u64, "error"))));
                }
            }
        }
    }
    Ok(ExitCode::from(u8::from(!ok)))
}

async fn look(loaded: &Loaded, complaints: &mut Complaints) -> Option<Found> {
    let now = now();
    lifecycle::rehearse(loaded, complaints);
    let documents = lifecycle::documents(&loaded.settings, now, complaints);
    // What no edit of a file mends stands behind what one does.
    let known = accounts(loaded, complaints).await;
    if let Some(stream) = loaded.settings.stream_apart() {
        for warning in stream_warnings(stream).await {
            complaints.warning(&Source::new("audit stream", ""), Span::default(), warning);
        }
    }
    let documents = documents?;
    let tests = policy::verify(&documents.policy, &documents.catalog, &lifecycle::terms(&loaded.settings), now);
    let found = Found {
        policy: documents.policy.digest().to_owned(),
        catalog: documents.catalog.digest().to_owned(),
        endpoints: documents.catalog.endpoints().len(),
        accounts: documents.policy.accounts().count(),
        tests: tests.passed + tests.failed,
    };
    policy::lint(&documents.policy, &documents.catalog, &documents.policy_source, known.as_deref(), now, complaints);
    Some(found)
}

/// The accounts that the directory has; complains of what is odd about it. One that cannot be reached from here is no
/// mistake in the files.
async fn accounts(loaded: &Loaded, complaints: &mut Complaints) -> Option<Vec<AccountId>> {
    let settings = &loaded.settings;
    let source = Source::new("directory", "");
    let asked = async {
        let directory = directory::open(&settings.directory, &settings.limits).await?;
        let mut warnings = directory.warnings().await?;
        let accounts = directory.accounts().await?;
        warnings.extend(cut_off(settings, &*directory, &accounts).await?);
        if let Some(file) = settings.directory.file.as_ref().filter(|file| !file.exists()) {
            warnings.push(format!("there is no {} yet: no key signs in until an account and a key are made", file.display()));
        }
        Ok::<_, directory::DirectoryError>((warnings, accounts))
    };
    match asked.await {
        Ok((warnings, accounts)) => {
            for warning in warnings {
                complaints.warning(&source, Span::default(), warning);
            }
            Some(accounts.into_iter().map(|account| account.id).collect())
        }
        Err(error) if error.is_unavailable() => {
            complaints.warning(&source, Span::default(), error.to_string());
            None
        }
        Err(error) => {
            complaints.error(&source, Span::default(), error.to_string());
            None
        }
    }
}

/// Keys that are bound to a client certificate where no listener asks for one: they never sign in.
async fn cut_off(settings: &Settings, directory: &dyn Directory, accounts: &[Account]) -> Result<Vec<String>, DirectoryError> {
    if settings.listen.iter().any(|listen| listen.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some())) {
        return Ok(Vec::new());
    }
    let mut warnings = Vec::new();
    for account in accounts {
        let bound = directory.keys(&account.id).await?.into_iter().filter(|key| !key.client_certs.is_empty());
        warnings.extend(bound.map(|key| {
            format!("the key {} of {} wants a client certificate, and no listener asks for one (listen.tls.client_ca)", key.id, account.id)
        }));
    }
    Ok(warnings)
}

impl Found {
    fn words(&self) -> String {
        format!(
            "\nok: policy {}, {} in it, {} passed, {}",
            self.policy,
            count(self.accounts as u64, "account"),
            count(self.tests as u64, "test"),
            count(self.endpoints as u64, "endpoint")
        )
    }
}
