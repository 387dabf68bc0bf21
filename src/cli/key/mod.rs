//! `vicar key`: access keys.

mod binding;
mod change;
mod create;
mod scan;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use ipnet::IpNet;
use jiff::Timestamp;
use serde::Serialize;

use super::{
    Done, Failure, Options, Output,
    account::{known, status_cell, used_cell},
    listing::{Cell, Facts, Table},
    options::{directory, now},
    print::{say_json, tell},
    when::{apart, days_left, minute},
};
use crate::{
    directory::Directory,
    identity::{AccountId, Fingerprint, Key, KeyId, Status},
    terminal::Ink,
};

/// Access keys: what accounts sign in with.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    Create(create::CreateArgs),
    /// List the keys of an account; never their secrets.
    #[command(after_help = "Example:\n  vicar key list reporting\n  vicar key list reporting --output json")]
    List(ListArgs),
    /// Show one key; never its secret.
    #[command(after_help = "Example:\n  vicar key show VKAAAAAAAAAAAAAAAAAAAA")]
    Show(KeyIdArgs),
    /// Give a key another name.
    #[command(after_help = "Example:\n  vicar key rename VKAAAAAAAAAAAAAAAAAAAA \"nightly job\"")]
    Rename(change::RenameArgs),
    /// Change when a key ends and where it may be used; what is not named stays.
    #[command(
        after_help = "Example:\n  vicar key change VKAAAAAAAAAAAAAAAAAAAA --expires 2027-06-30\n  vicar key change VKAAAAAAAAAAAAAAAAAAAA --client-cert old.crt --client-cert new.crt\n  vicar key change VKAAAAAAAAAAAAAAAAAAAA --from any --client-cert none"
    )]
    Change(change::ChangeArgs),
    /// Turn a key off, on every sidecar at once, until it is enabled again.
    #[command(
        visible_alias = "revoke",
        after_help = "Example:\n  vicar key disable VKAAAAAAAAAAAAAAAAAAAA\n  vicar key disable VKAAAAAAAAAAAAAAAAAAAA --yes"
    )]
    Disable(change::StopArgs),
    /// Turn a key on again.
    #[command(after_help = "Example:\n  vicar key enable VKAAAAAAAAAAAAAAAAAAAA")]
    Enable(KeyIdArgs),
    Rotate(create::RotateArgs),
    /// Delete a key, for good. Its records in the audit log stay.
    #[command(after_help = "Example:\n  vicar key delete VKAAAAAAAAAAAAAAAAAAAA")]
    Delete(change::StopArgs),
    Scan(scan::ScanArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Of which account.
    account: AccountId,
}

#[derive(Debug, Args)]
struct KeyIdArgs {
    /// Which key.
    #[arg(value_name = "KEY_ID")]
    id: KeyId,
}

/// A key as listings show it: everything but what proves it.
#[derive(Debug, Serialize)]
pub(super) struct KeyView<'a> {
    account: &'a AccountId,
    id: KeyId,
    name: &'a str,
    status: Status,
    created: Timestamp,
    expires: Option<Timestamp>,
    days_left: Option<i64>,
    last_used: Option<Timestamp>,
    from: &'a [IpNet],
    client_certs: &'a [Fingerprint],
    previous_until: Option<Timestamp>,
}

pub(super) async fn run(args: KeyArgs, options: &Options) -> Done {
    match args.command {
        KeyCommand::Create(args) => create::create(args, options).await,
        KeyCommand::List(args) => list(&args.account, options).await,
        KeyCommand::Show(args) => show(args.id, options).await,
        KeyCommand::Rename(args) => change::rename(args, options).await,
        KeyCommand::Change(args) => change::change(args, options).await,
        KeyCommand::Disable(args) => change::disable(&args, options).await,
        KeyCommand::Enable(args) => change::enable(args.id, options).await,
        KeyCommand::Rotate(args) => create::rotate(args, options).await,
        KeyCommand::Delete(args) => change::delete(&args, options).await,
        KeyCommand::Scan(args) => scan::run(&args, options),
    }
}

async fn list(account: &AccountId, options: &Options) -> Done {
    let loaded = options.settings()?;
    let directory = directory(&loaded).await?;
    known(&*directory, account).await?;
    let keys = directory.keys(account).await.map_err(Failure::failed)?;
    let now = now();
    let views: Vec<KeyView<'_>> = keys.iter().map(|key| KeyView::of(key, now)).collect();
    match options.output {
        Output::Json => say_json(&views)?,
        Output::Table if views.is_empty() => tell(&format!("{account} has no keys yet. Make one: vicar key create {account} --name NAME")),
        Output::Table => key_table(&views, now).print()?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(id: KeyId, options: &Options) -> Done {
    let loaded = options.settings()?;
    let directory = directory(&loaded).await?;
    let key = known_key(&*directory, id).await?;
    let now = now();
    let view = KeyView::of(&key, now);
    match options.output {
        Output::Json => say_json(&view)?,
        Output::Table => {
            let mut facts = Facts::default();
            facts.add("id", key.id.as_str()).add("account", key.account.as_str()).add("name", key.name.as_str());
            facts.add("status", view.status_cell(now)).add("created", minute(key.created));
            facts.add("expires", view.expiry_cell(now)).add("last used", used_cell(key.last_used, now));
            facts.add("from", view.sources());
            for certificate in view.client_certs {
                facts.add("certificate", certificate.to_string());
            }
            if let Some(until) = view.previous_until {
                facts.add("rotated", format!("the secret before is taken until {} ({})", minute(until), apart(until, now)));
            }
            facts.print()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Keys for people.
pub(super) fn key_table(views: &[KeyView<'_>], now: Timestamp) -> Table {
    let mut table = Table::new(["key id", "name", "status", "expires", "last used", "from"]);
    for view in views {
        table.row([
            view.id.as_str().into(),
            view.name.into(),
            view.status_cell(now),
            view.expiry_cell(now),
            used_cell(view.last_used, now),
            view.sources().into(),
        ]);
    }
    table
}

/// The key of this id.
///
/// # Errors
/// When there is none.
async fn known_key(directory: &dyn Directory, id: KeyId) -> Result<Key, Failure> {
    let key = directory.key(id).await.map_err(Failure::failed)?;
    key.ok_or_else(|| Failure::failed(format!("there is no key {id}; `vicar key list ACCOUNT` shows those of an account")))
}

/// Days before its end from which on an expiry is marked.
const SOON: i64 = 14;

impl<'a> KeyView<'a> {
    pub(super) fn of(key: &'a Key, now: Timestamp) -> Self {
        Self {
            account: &key.account,
            id: key.id,
            name: &key.name,
            status: key.status,
            created: key.created,
            expires: key.expires,
            days_left: key.expires.map(|end| days_left(end, now)),
            last_used: key.last_used,
            from: &key.sources,
            client_certs: &key.client_certs,
            previous_until: key.previous.until().filter(|until| *until > now),
        }
    }

    fn status_cell(&self, now: Timestamp) -> Cell {
        match self.expires {
            Some(end) if now >= end => Cell::inked(Ink::Red, "expired"),
            Some(_) | None => status_cell(self.status),
        }
    }

    fn expiry_cell(&self, now: Timestamp) -> Cell {
        match (self.expires, self.days_left) {
            (Some(end), Some(days)) if days < SOON => Cell::inked(Ink::Yellow, apart(end, now)),
            (Some(end), _) => apart(end, now).into(),
            (None, _) => Cell::inked(Ink::Dim, "never"),
        }
    }

    fn sources(&self) -> String {
        let networks: Vec<_> = self.from.iter().map(IpNet::to_string).collect();
        let from = if networks.is_empty() { "anywhere".to_owned() } else { networks.join(", ") };
        if self.client_certs.is_empty() { from } else { format!("{from}, with its certificate") }
    }
}
