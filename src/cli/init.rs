//! `vicar init`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use serde_json::json;

use super::{
    Done, Failure, Options, Output, catalog,
    operator::Operator,
    options::{directory, now},
    print::{say, say_json, tell},
};
use crate::{
    directory::{Created, Expiry, NewAccount, NewKey},
    identity::AccountId,
    init::{self, InitError, Plan, Wanted},
    settings::{Loaded, Overrides, Settings, Span},
};

/// Write what Vicar needs beside an existing service: settings, a policy, a catalog, a first account and its key.
#[derive(Debug, Args)]
#[command(
    long_about = "Write what Vicar needs beside an existing service: settings, a policy, a catalog, a first account and its key. What is written passes `vicar check` and serves at once; each file says how to go on.\n\nNothing is overwritten. The key's secret is shown once, now.",
    after_help = "Example:\n  vicar init --upstream http://127.0.0.1:3000\n  vicar init deploy --upstream https://api.internal --catalog openapi.yaml --listen 0.0.0.0:8080"
)]
pub(super) struct InitArgs {
    /// The folder to write to; it is made if it is not there.
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// What the service has: the catalog that ships with Vicar, or an OpenAPI document to make one of.
    #[arg(long, value_name = "kissflow|OPENAPI", default_value = "kissflow")]
    catalog: String,
    /// What the first account is called: a-z, 0-9 and -.
    #[arg(long, value_name = "ID", default_value = "first")]
    account: AccountId,
}

/// How long the first key lives.
const KEY_LIFE: Span = Span::days(90);

pub(super) async fn run(args: InitArgs, options: &Options) -> Done {
    let upstream = options
        .upstream
        .clone()
        .ok_or_else(|| Failure::usage("the service behind is missing; name it, such as `vicar init --upstream http://127.0.0.1:3000`"))?;
    if options.listen.len() > 1 {
        return Err(Failure::usage("name one address with --listen; more of them can be added in vicar.yaml"));
    }
    let imported = if args.catalog == "kissflow" { None } else { Some(catalog::read(Path::new(&args.catalog))?) };
    let wanted = Wanted {
        upstream,
        listen: options.listen.first().cloned().unwrap_or_else(|| "127.0.0.1:8080".to_owned()),
        redis: options.redis.clone(),
        catalog: match &imported {
            Some(imported) => ("service".to_owned(), imported.yaml.clone()),
            None => ("kissflow".to_owned(), init::KISSFLOW.to_owned()),
        },
        account: args.account,
    };
    let plan = Plan::new(&wanted, now()).map_err(|error| match error {
        InitError::Unfit(complaints) => Failure::documents(&complaints),
        InitError::There(_) | InitError::Password | InitError::Io { .. } => Failure::failed(error),
    })?;
    if wanted.redis.is_some() {
        let loaded = plan.settings_in(&args.folder).map_err(Failure::failed)?;
        room_for(&wanted.account, &loaded).await?;
    }
    plan.write(&args.folder).map_err(|error| match error {
        InitError::There(_) | InitError::Unfit(_) | InitError::Password => Failure::failed(error),
        InitError::Io { .. } => Failure::failed(format!("{error}; what was written before it is still there")),
    })?;
    let settings = args.folder.join("vicar.yaml");
    let loaded = Settings::load(&settings, &Overrides::default()).map_err(|complaints| Failure::documents(&complaints))?;
    let made = first_account(&loaded, wanted.account).await.inspect_err(|_failure| {
        tell(&format!("vicar: the files are in {}, but the first account could not be made:", args.folder.display()));
    })?;
    let (key, secret) = (&made.key, made.secret.reveal());
    match options.output {
        Output::Json => say_json(&json!({
            "folder": args.folder,
            "files": plan.files().collect::<Vec<_>>(),
            "account": key.account,
            "id": key.id,
            "secret": secret,
            "expires": key.expires,
            "sample": plan.sample,
            "left_out": imported.as_ref().map_or(&[][..], |imported| &imported.left_out),
        }))?,
        Output::Table => {
            for file in plan.files() {
                say(&format!("wrote {}", args.folder.join(file).display()))?;
            }
            if let Some(imported) = &imported {
                catalog::report(imported);
            }
            let address = if wanted.listen.starts_with("unix:") { "localhost".to_owned() } else { wanted.listen.clone() };
            let socket = wanted.listen.strip_prefix("unix:").map(|path| format!(" --unix-socket {path}")).unwrap_or_default();
            say(&format!(
                "\naccount  {}\nkey id   {}\nsecret   {secret}\n\nServe, and ask who you are:\n  vicar serve -c {}\n  curl{socket} -u {}:{secret} http://{address}/.vicar/whoami",
                key.account,
                key.id,
                settings.display(),
                key.id
            ))?;
            tell("\nThe secret is shown this once; only its hash is kept.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks a Redis for what will be wanted of it, so that nothing is written for an account that cannot be made.
async fn room_for(id: &AccountId, loaded: &Loaded) -> Result<(), Failure> {
    let held = directory(loaded).await?.account(id).await;
    match held.map_err(|error| Failure::failed(format!("{error}; nothing was written, so the same command can be given again")))? {
        Some(_) => {
            Err(Failure::failed(format!("this Redis has an account {id} already; name another with --account; nothing was written")))
        }
        None => Ok(()),
    }
}

async fn first_account(loaded: &Loaded, id: AccountId) -> Result<Created, Failure> {
    let operator = Operator::open(loaded, directory(loaded).await?)?;
    let directory = &operator.directory;
    let new = NewAccount { id: id.clone(), name: "First account".to_owned(), description: Some("Made by vicar init".to_owned()) };
    operator.create_account(new).await?;
    let attempt = operator.event_about("key.create", &format!("account:{id}"), "named first key").account(id.as_str());
    let new =
        NewKey { account: id, name: "first key".to_owned(), expires: Expiry::In(KEY_LIFE), sources: Vec::new(), client_certs: Vec::new() };
    let made = operator
        .create(
            attempt,
            directory.create_key(new, jiff::Timestamp::now()),
            |made: &Created| {
                let event = operator.event_about("key.create", &format!("key:{}", made.key.id), "named first key");
                event.account(made.key.account.as_str()).key(made.key.id.as_str())
            },
            async |made: &Created| directory.delete_key(made.key.id, None).await.map(drop),
        )
        .await?;
    operator.finish().await;
    Ok(made)
}
