//! `vicar serve`: the proxy.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{Done, Failure, Options, print::near};
use crate::{
    audit::stream_warnings,
    directory::Directory,
    lifecycle::{self, Running, StartError},
    settings::Settings,
    telemetry,
};

/// Run the proxy.
#[derive(Debug, Args)]
#[command(
    long_about = "Run the proxy in front of the service that the settings name.\n\nEdits of the policy, the catalogs and most settings are taken into force within a second, or refused whole and said so; SIGHUP asks for it at once. What waits for the next start (listeners, the directory, the audit log, limits and the like) is named in the log. SIGTERM drains: running requests finish, then the journal is closed.",
    after_help = "Example:\n  vicar serve -c /etc/vicar/vicar.yaml --listen 127.0.0.1:8080"
)]
pub(super) struct ServeArgs {
    /// Use this policy instead of the one the settings name.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

/// How long the stream's Redis may take to say what is odd about it.
const STREAM_WAIT: Duration = Duration::from_secs(3);
/// How long before a directory that is away is asked again what is odd about it.
const DIRECTORY_AGAIN: Duration = Duration::from_secs(5);

pub(super) async fn run(args: ServeArgs, options: &Options) -> Done {
    let loaded = options.settings_to_serve(args.policy)?;
    telemetry::start(&loaded.settings.log);
    // A proxy's allocations are small and come and go: huge pages would have it hold several times what it uses.
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages cannot be turned off");
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
    let settings = loaded.settings.clone();
    let running = lifecycle::start(loaded).await.map_err(|error| match error {
        StartError::Documents(complaints) => Failure::documents(&complaints),
        other => Failure::failed(other),
    })?;
    announce(&running, &settings);
    let warning = tokio::spawn(warn_of_redis(running.shared.backend.clone(), settings));
    let mut told = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    told().await;
    warning.abort();
    running.stop(told()).await;
    Ok(ExitCode::SUCCESS)
}

/// What somebody who reads the log after a start wants to know.
fn announce(running: &Running, settings: &Settings) {
    for warning in near(&running.warnings) {
        tracing::warn!(file = warning.file, line = warning.line, column = warning.column, help = warning.help, "{}", warning.message);
    }
    let rules = running.shared.rules.load();
    if let Some(words) = rules.policy.observes() {
        tracing::warn!("{words}");
    }
    for address in &running.addresses {
        tracing::info!(%address, upstream = %settings.upstream.url, "serving");
    }
    for listen in settings.listen.iter().filter(|listen| listen.address.starts_with("unix:")) {
        tracing::info!(address = listen.address.as_str(), upstream = %settings.upstream.url, "serving");
    }
    let admin = running.admin_address.map_or_else(|| settings.admin.address.to_string(), |address| address.to_string());
    tracing::info!(address = admin, "health, metrics, admin API and console");
    // As `/readyz` has it.
    let known = running.shared.directory.stats().vouched.is_some();
    tracing::info!(
        policy = rules.policy.digest(),
        accounts_in_policy = rules.policy.accounts().count(),
        endpoints = rules.catalog.endpoints().len(),
        journal = %settings.audit.journal.path.display(),
        "{}",
        if known { "ready" } else { "listening, and ready once the directory has been reached: until then no key is known" }
    );
}

/// A Redis that may forget, or that is not there: it serves all the same, and somebody should know. A directory that is
/// not there is asked again, for as long as it takes.
async fn warn_of_redis(directory: Arc<dyn Directory>, settings: Settings) {
    if let Some(stream) = settings.stream_apart() {
        let warnings = tokio::time::timeout(STREAM_WAIT, stream_warnings(stream)).await;
        warnings.unwrap_or_default().iter().for_each(|warning| tracing::warn!("{warning}"));
    }
    let mut told = false;
    loop {
        match directory.warnings().await {
            Ok(warnings) => return warnings.iter().for_each(|warning| tracing::warn!("{warning}")),
            Err(error) if !std::mem::replace(&mut told, true) => tracing::warn!("{error}"),
            Err(_) => {}
        }
        tokio::time::sleep(DIRECTORY_AGAIN).await;
    }
}
