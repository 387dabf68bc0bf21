//! `vicar demo`.

use std::{net::SocketAddr, process::ExitCode};

use clap::Args;

use super::{Done, Failure, Options};
use crate::demo::{self, DemoError, Ended};

/// Options of `vicar demo`.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// End after the tour: 0 if every answer was the expected one, else 1.
    #[arg(long)]
    exit: bool,
    /// Run the sample workflow API alone on this address, to put a Vicar of your own in front of it.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "exit")]
    api: Option<SocketAddr>,
    /// What a gateway must show that API as X-Api-Key; without it, anybody is taken for the gateway.
    #[arg(long, value_name = "KEY", env = "WORKFLOW_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
}

pub(super) async fn run(args: DemoArgs, options: &Options) -> Done {
    if options.upstream.is_some() || options.redis.is_some() || !options.listen.is_empty() {
        return Err(Failure::usage(
            "the demo brings its own service, keys and ports: --upstream, --redis and --listen are for `vicar serve`",
        ));
    }
    if let Some(address) = args.api {
        demo::serve_api(address, args.api_key.filter(|key| !key.is_empty())).await.map_err(Failure::failed)?;
        return Ok(ExitCode::SUCCESS);
    }
    let ended = demo::run(args.exit).await.map_err(|error| match error {
        DemoError::Print(cause) => Failure::output(cause),
        other => Failure::failed(other),
    })?;
    match ended {
        Ended::AsExpected => Ok(ExitCode::SUCCESS),
        // 128 + SIGINT, as shells count.
        Ended::Interrupted => Ok(ExitCode::from(130)),
        Ended::Otherwise(what) => {
            Err(Failure::failed(format!("{} of the tour's answers were not the expected ones:\n  {}", what.len(), what.join("\n  "))))
        }
    }
}
