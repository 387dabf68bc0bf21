//! `vicar key rename|change|disable|enable|delete`.

use std::process::ExitCode;

use clap::Args;
use ipnet::IpNet;
use serde_json::json;

use super::{
    KeyView,
    binding::{OrNone, certificate_or_none, source_or_any},
    known_key,
};
use crate::{
    cli::{
        Done, Failure, Options, Output,
        confirm::{Consent, key_stops},
        operator::Operator,
        options::{directory, now},
        print::{say, say_json},
        when::expiry,
    },
    directory::{Expiry, KeyChange},
    identity::{Fingerprint, Key, KeyId, Status},
};

#[derive(Debug, Args)]
pub(super) struct RenameArgs {
    /// Which key.
    #[arg(value_name = "KEY_ID")]
    id: KeyId,
    /// What to call it; under 80 characters.
    #[arg(value_name = "NAME", required_unless_present = "named")]
    name: Option<String>,
    /// The same, said as `key create` says it.
    #[arg(long = "name", value_name = "NAME", conflicts_with = "name", hide = true)]
    named: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ChangeArgs {
    /// Which key.
    #[arg(value_name = "KEY_ID")]
    id: KeyId,
    /// What to call it; under 80 characters.
    #[arg(long)]
    name: Option<String>,
    /// When it ends: after a time from now (90d, 6mo, 2y), with a day (in UTC), or never.
    #[arg(long, value_name = "TIME|DATE|never", value_parser = expiry)]
    expires: Option<Expiry>,
    /// Take it only from these addresses (repeatable, 64 networks at most), or from any.
    #[arg(long, value_name = "CIDR|any", value_parser = source_or_any)]
    from: Vec<OrNone<IpNet>>,
    /// Take it only from who shows this client certificate: a PEM file, or a SHA-256 fingerprint (repeatable, 64 at most); or none.
    #[arg(long, value_name = "PEM|SHA256|none", value_parser = certificate_or_none)]
    client_cert: Vec<OrNone<Fingerprint>>,
}

#[derive(Debug, Args)]
pub(super) struct StopArgs {
    /// Which key.
    #[arg(value_name = "KEY_ID")]
    id: KeyId,
    #[command(flatten)]
    consent: Consent,
}

pub(super) async fn rename(args: RenameArgs, options: &Options) -> Done {
    let loaded = options.settings()?;
    let directory = directory(&loaded).await?;
    let key = known_key(&*directory, args.id).await?;
    let operator = Operator::open(&loaded, directory)?;
    let name = args.name.or(args.named).unwrap_or_default();
    let detail = format!("{} is now {}", key.name, name.trim());
    let change = KeyChange { name: Some(name), ..KeyChange::default() };
    let done = changed(&operator, &key, "key.rename", Some(&detail), change).await?;
    operator.finish().await;
    told(&done, &format!("is called {}", done.name), options)
}

pub(super) async fn change(args: ChangeArgs, options: &Options) -> Done {
    if args.name.is_none() && args.expires.is_none() && args.from.is_empty() && args.client_cert.is_empty() {
        return Err(Failure::usage("say what to change: --name, --expires, --from or --client-cert"));
    }
    let loaded = options.settings()?;
    let directory = directory(&loaded).await?;
    let key = known_key(&*directory, args.id).await?;
    let operator = Operator::open(&loaded, directory)?;
    let change = KeyChange {
        name: args.name,
        status: None,
        sources: OrNone::list(args.from),
        client_certs: OrNone::list(args.client_cert),
        expires: args.expires,
    };
    let detail = change.told(&key);
    let done = changed(&operator, &key, "key.change", Some(&detail), change).await?;
    operator.finish().await;
    told(&done, "is changed", options)
}

pub(super) async fn disable(args: &StopArgs, options: &Options) -> Done {
    let loaded = options.settings()?;
    let directory = directory(&loaded).await?;
    let key = known_key(&*directory, args.id).await?;
    let others = directory.keys(&key.account).await.map_err(Failure::failed)?;
    args.consent.ask(&format!("Disabling the key {}", key.id), || key_stops(&loaded.settings, &key, &others, now()))?;
    let operator = Operator::open(&loaded, directory)?;
    let change = KeyChange { status: Some(Status::Disabled), ..KeyChange::default() };
    let done = changed(&operator, &key, "key.disable", None, change).await?;
    operator.finish().await;
    told(&done, "is disabled", options)
}

pub(super) async fn enable(id: KeyId, options: &Options) -> Done {
    let loaded = options.settings()?;
    let directory = directory(&loaded).await?;
    let key = known_key(&*directory, id).await?;
    let operator = Operator::open(&loaded, directory)?;
    let change = KeyChange { status: Some(Status::Active), ..KeyChange::default() };
    let done = changed(&operator, &key, "key.enable", None, change).await?;
    operator.finish().await;
    told(&done, "is active", options)
}

pub(super) async fn delete(args: &StopArgs, options: &Options) -> Done {
    let loaded = options.settings()?;
    let directory = directory(&loaded).await?;
    let key = known_key(&*directory, args.id).await?;
    let others = directory.keys(&key.account).await.map_err(Failure::failed)?;
    args.consent.ask(&format!("Deleting the key {}, for good,", key.id), || key_stops(&loaded.settings, &key, &others, now()))?;
    let operator = Operator::open(&loaded, directory)?;
    let event = operator.event_about("key.delete", &format!("key:{}", key.id), &format!("named {}", key.name));
    let event = event.account(key.account.as_str()).key(key.id.as_str());
    operator.change(event, operator.directory.delete_key(key.id, None)).await?;
    operator.finish().await;
    match options.output {
        Output::Json => say_json(&json!({"account": key.account, "id": key.id, "name": key.name, "status": "deleted"}))?,
        Output::Table => say(&format!("key {} is gone", key.id))?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn changed(operator: &Operator, key: &Key, verb: &str, detail: Option<&str>, change: KeyChange) -> Result<Key, Failure> {
    let object = format!("key:{}", key.id);
    let event = match detail {
        Some(detail) => operator.event_about(verb, &object, detail),
        None => operator.event(verb, &object),
    };
    let event = event.account(key.account.as_str()).key(key.id.as_str());
    operator.change(event, operator.directory.change_key(key.id, change, None)).await
}

fn told(key: &Key, what: &str, options: &Options) -> Done {
    match options.output {
        Output::Json => say_json(&KeyView::of(key, now()))?,
        Output::Table => say(&format!("key {} {}", key.id, crate::terminal::printable(what)))?,
    }
    Ok(ExitCode::SUCCESS)
}
