//! The demo: a sample workflow API, Vicar in front of it, and a tour of the four use cases.
//!
//! Only the `demo` command calls this room: [`run`] plays the tour, [`serve_api`] runs the sample
//! API alone. Nothing here is needed to run Vicar beside a real service. `tour` is the script,
//! `stage` plays one scene of it and compares what came with what was expected, `files` and
//! `sidecar` put Vicar up in a folder of its own, and `terminal` is what people see.

mod commands;
mod files;
mod sidecar;
mod stage;
mod terminal;
mod tour;
pub mod workflow_api;

use std::{io, net::SocketAddr, path::PathBuf};

use tokio::signal::unix::{SignalKind, signal};

use files::Folder;
use sidecar::Sidecar;
use stage::Stage;
use workflow_api::WorkflowApi;

/// How the demo ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Every answer was the expected one.
    AsExpected,
    /// These were not.
    Otherwise(Vec<String>),
    /// Somebody ended it before the tour was over.
    Interrupted,
}

/// Why there was no demo.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Files of the demo.
    #[error("{path}: {cause}; set TMPDIR to a folder that can be written to")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// No loopback port, most likely.
    #[error("the sample API cannot listen on {address}: {cause}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// A command of ours did not do its work.
    #[error("`vicar {words}` failed: {said}")]
    Command {
        /// What was asked.
        words: String,
        /// What it said.
        said: String,
    },
    /// Vicar did not start.
    #[error("Vicar did not start: {0}")]
    Start(String),
    /// No answer from something that was just started.
    #[error("no answer from {0}: {1}")]
    Silent(SocketAddr, String),
    /// Nowhere to print to.
    #[error("cannot print: {0}")]
    Print(io::Error),
}

/// Runs the whole demo: starts everything in a temporary folder, plays the tour and, unless `exit`,
/// stays up with the audit log on the terminal until it is told to end. Leaves nothing behind.
///
/// # Errors
/// When something could not be started at all.
pub async fn run(exit: bool) -> Result<Ended, DemoError> {
    let mut interrupted = std::pin::pin!(end_signal());
    let folder = Folder::make()?;
    let options = workflow_api::Options { api_key: Some(folder.api_key.clone()), narrate: false };
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let api = WorkflowApi::start(address, options).await.map_err(|cause| DemoError::Listen { address, cause })?;
    let keys = folder.furnish(api.address()).await?;
    let sidecar = Sidecar::start(&folder).await?;
    let mut stage = Stage::new(&folder, &api, sidecar.address());
    let toured = tokio::select! {
        toured = tour::play(&mut stage, &keys) => toured,
        () = &mut interrupted => Ok(Ended::Interrupted),
    };
    if let (Ok(Ended::AsExpected | Ended::Otherwise(_)), false) = (&toured, exit) {
        folder.write_environment(sidecar.address(), api.address(), &keys)?;
        tour::say_what_to_try(&mut stage, &keys)?;
        let tail = commands::follow_audit(&folder)?;
        interrupted.await;
        drop(tail);
        stage.terminal.line("")?;
    }
    sidecar.stop().await;
    toured
}

/// Runs the sample API alone on `address` until it is told to end, with a line for each request.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve_api(address: SocketAddr, api_key: Option<String>) -> Result<(), DemoError> {
    let options = workflow_api::Options { api_key, narrate: true };
    let api = WorkflowApi::start(address, options).await.map_err(|cause| DemoError::Listen { address, cause })?;
    eprintln!("the sample workflow API listens on http://{}", api.address());
    end_signal().await;
    Ok(())
}

/// Waits until somebody wants the demo to end: Ctrl-C, a service manager, a closed terminal.
async fn end_signal() {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let mut waits: Vec<_> = kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect();
    std::future::poll_fn(|context| {
        let over = waits.iter_mut().any(|wait| wait.poll_recv(context).is_ready());
        if over { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}
