//! `vicar account`: service accounts.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::{
    Done, Failure, Options, Output,
    confirm::{Consent, account_stops, share_words},
    key::{KeyView, key_table},
    listing::{Cell, Facts, Table},
    operator::Operator,
    options::{directory, now},
    print::{nearby, say, say_json, tell},
    when::{apart, count, minute},
};
use crate::{
    directory::{AccountChange, Directory, NewAccount},
    identity::{Account, AccountId, Key, Status},
    lifecycle,
    policy::ShareView,
    source::Complaints,
    terminal::Ink,
};

/// Service accounts: who may sign in.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct AccountArgs {
    #[command(subcommand)]
    command: AccountCommand,
}

#[derive(Debug, Subcommand)]
enum AccountCommand {
    /// Make a service account. What it may do is said in the policy; keys are made with `key create`.
    #[command(
        after_help = "Example:\n  vicar account create reporting --name Reporting --description \"Reads datasets for the nightly report\""
    )]
    Create(CreateArgs),
    /// List all service accounts.
    #[command(after_help = "Example:\n  vicar account list --output json")]
    List,
    /// Show one service account: its keys, and what the policy shares with it.
    #[command(after_help = "Example:\n  vicar account show reporting")]
    Show(IdArgs),
    /// Turn an account off: none of its keys signs in until it is enabled again.
    #[command(after_help = "Example:\n  vicar account disable reporting\n  vicar account disable reporting --yes")]
    Disable(StopArgs),
    /// Turn an account on again.
    #[command(after_help = "Example:\n  vicar account enable reporting")]
    Enable(IdArgs),
    /// Delete an account and its keys, for good. Its records in the audit log stay.
    #[command(after_help = "Example:\n  vicar account delete reporting")]
    Delete(StopArgs),
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// What policy, log and commands call it: a-z, 0-9 and -, such as procure-to-pay.
    id: AccountId,
    /// What people call it; under 80 characters.
    #[arg(long)]
    name: String,
    /// What it is for.
    #[arg(long)]
    description: Option<String>,
}

#[derive(Debug, Args)]
struct IdArgs {
    /// Which account.
    id: AccountId,
}

#[derive(Debug, Args)]
struct StopArgs {
    /// Which account.
    id: AccountId,
    #[command(flatten)]
    consent: Consent,
}

/// An account as listings show it.
#[derive(Debug, Serialize)]
struct AccountView<'a> {
    id: &'a AccountId,
    name: &'a str,
    description: Option<&'a str>,
    status: Status,
    created: Timestamp,
    keys: usize,
    last_used: Option<Timestamp>,
}

/// An account with all that belongs to it.
#[derive(Debug, Serialize)]
struct AccountPage<'a> {
    id: &'a AccountId,
    name: &'a str,
    description: Option<&'a str>,
    status: Status,
    created: Timestamp,
    last_used: Option<Timestamp>,
    keys: Vec<KeyView<'a>>,
    shares: Option<&'a [ShareView]>,
}

pub(super) async fn run(args: AccountArgs, options: &Options) -> Done {
    match args.command {
        AccountCommand::Create(args) => create(args, options).await,
        AccountCommand::List => list(options).await,
        AccountCommand::Show(args) => show(&args.id, options).await,
        AccountCommand::Disable(args) => disable(&args, options).await,
        AccountCommand::Enable(args) => enable(&args.id, options).await,
        AccountCommand::Delete(args) => delete(&args, options).await,
    }
}

async fn create(args: CreateArgs, options: &Options) -> Done {
    let loaded = options.settings()?;
    let operator = Operator::open(&loaded, directory(&loaded).await?)?;
    let made = operator.create_account(NewAccount { id: args.id, name: args.name, description: args.description }).await?;
    operator.finish().await;
    match options.output {
        Output::Json => say_json(&json!({"id": made.id, "name": made.name, "status": made.status}))?,
        Output::Table => {
            say(&format!("account {} is there", made.id))?;
            tell(&format!(
                "Next: vicar key create {0} --name NAME, and a share for {0} in {1} where it has none",
                made.id,
                nearby(&loaded.settings.policy.display().to_string())
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(options: &Options) -> Done {
    let loaded = options.settings()?;
    let directory = directory(&loaded).await?;
    let accounts = directory.accounts().await.map_err(Failure::failed)?;
    let mut keys = Vec::with_capacity(accounts.len());
    for account in &accounts {
        keys.push(directory.keys(&account.id).await.map_err(Failure::failed)?);
    }
    let views: Vec<AccountView<'_>> = accounts.iter().zip(&keys).map(|(account, keys)| AccountView::of(account, keys)).collect();
    let now = now();
    match options.output {
        Output::Json => say_json(&views)?,
        Output::Table if views.is_empty() => tell("There are no accounts yet. Make one: vicar account create ID --name NAME"),
        Output::Table => {
            let mut table = Table::new(["id", "name", "status", "keys", "last used", "created"]);
            for view in &views {
                table.row([
                    view.id.as_str().into(),
                    view.name.into(),
                    status_cell(view.status),
                    view.keys.to_string().into(),
                    used_cell(view.last_used, now),
                    minute(view.created).into(),
                ]);
            }
            table.print()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(id: &AccountId, options: &Options) -> Done {
    let loaded = options.settings()?;
    let directory = directory(&loaded).await?;
    let account = known(&*directory, id).await?;
    let keys = directory.keys(id).await.map_err(Failure::failed)?;
    let now = now();
    let mut complaints = Complaints::default();
    let documents = lifecycle::documents(&loaded.settings, now, &mut complaints);
    let shared = documents.as_ref().map(|documents| documents.policy.shares(id));
    let page = AccountPage {
        id: &account.id,
        name: &account.name,
        description: account.description.as_deref(),
        status: account.status,
        created: account.created,
        last_used: last_used(&keys),
        keys: keys.iter().map(|key| KeyView::of(key, now)).collect(),
        shares: shared.as_deref(),
    };
    match options.output {
        Output::Json => say_json(&page)?,
        Output::Table => {
            let mut facts = Facts::default();
            facts.add("id", account.id.as_str()).add("name", account.name.as_str());
            if let Some(description) = page.description {
                facts.add("description", description);
            }
            facts.add("status", status_cell(account.status)).add("created", minute(account.created));
            facts.add("last used", used_cell(page.last_used, now));
            facts.print()?;
            say(&format!("\n{}", count(keys.len() as u64, "key")))?;
            if !keys.is_empty() {
                key_table(&page.keys, now).print()?;
            }
            match &shared {
                None => say("\nThe policy does not hold, so what is shared cannot be told; see `vicar check`")?,
                Some(shares) => {
                    say(&format!("\n{}", count(shares.len() as u64, "share")))?;
                    for share in shares {
                        say(&format!("  {}", share_words(share)))?;
                    }
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn disable(args: &StopArgs, options: &Options) -> Done {
    let loaded = options.settings()?;
    let directory = directory(&loaded).await?;
    let account = known(&*directory, &args.id).await?;
    let keys = directory.keys(&args.id).await.map_err(Failure::failed)?;
    args.consent.ask(&format!("Disabling the account {}", account.id), || account_stops(&loaded.settings, &account, &keys, now()))?;
    let operator = Operator::open(&loaded, directory)?;
    let done = change_status(&operator, &args.id, "account.disable", Status::Disabled).await?;
    operator.finish().await;
    told(&done, "disabled", options)
}

async fn enable(id: &AccountId, options: &Options) -> Done {
    let loaded = options.settings()?;
    let directory = directory(&loaded).await?;
    known(&*directory, id).await?;
    let operator = Operator::open(&loaded, directory)?;
    let done = change_status(&operator, id, "account.enable", Status::Active).await?;
    operator.finish().await;
    told(&done, "active", options)
}

async fn change_status(operator: &Operator, id: &AccountId, verb: &str, status: Status) -> Result<Account, Failure> {
    let event = operator.event(verb, &format!("account:{id}")).account(id.as_str());
    let change = AccountChange { status: Some(status), ..AccountChange::default() };
    operator.change(event, operator.directory.change_account(id, change, None)).await
}

async fn delete(args: &StopArgs, options: &Options) -> Done {
    let loaded = options.settings()?;
    let directory = directory(&loaded).await?;
    let account = known(&*directory, &args.id).await?;
    let keys = directory.keys(&args.id).await.map_err(Failure::failed)?;
    args.consent.ask(&format!("Deleting the account {} and its keys, for good,", account.id), || {
        account_stops(&loaded.settings, &account, &keys, now())
    })?;
    let operator = Operator::open(&loaded, directory)?;
    let detail = format!("with {}", count(keys.len() as u64, "key"));
    let event = operator.event_about("account.delete", &format!("account:{}", args.id), &detail).account(args.id.as_str());
    operator.change(event, operator.directory.delete_account(&args.id, None)).await?;
    operator.finish().await;
    match options.output {
        Output::Json => say_json(&json!({"id": account.id, "name": account.name, "status": "deleted"}))?,
        Output::Table => say(&format!("account {} and {} are gone", account.id, count(keys.len() as u64, "key")))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn told(account: &Account, word: &str, options: &Options) -> Done {
    match options.output {
        Output::Json => say_json(&json!({"id": account.id, "name": account.name, "status": account.status}))?,
        Output::Table => say(&format!("account {} is {word}", account.id))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The account of this id.
///
/// # Errors
/// When there is none; proposes the nearest.
pub(super) async fn known(directory: &dyn Directory, id: &AccountId) -> Result<Account, Failure> {
    if let Some(account) = directory.account(id).await.map_err(Failure::failed)? {
        return Ok(account);
    }
    let all = directory.accounts().await.map_err(Failure::failed)?;
    let near = crate::source::nearest(id.as_str(), all.iter().map(|account| account.id.as_str()));
    let advice = match near {
        Some(near) => format!("did you mean {near}?"),
        None => "`vicar account list` shows what there is".to_owned(),
    };
    Err(Failure::failed(format!("there is no account {id}; {advice}")))
}

pub(super) fn status_cell(status: Status) -> Cell {
    match status {
        Status::Active => Cell::inked(Ink::Green, status.as_str()),
        Status::Disabled => Cell::inked(Ink::Red, status.as_str()),
    }
}

pub(super) fn used_cell(at: Option<Timestamp>, now: Timestamp) -> Cell {
    at.map_or(Cell::inked(Ink::Dim, "never"), |at| apart(at, now).into())
}

fn last_used(keys: &[Key]) -> Option<Timestamp> {
    keys.iter().filter_map(|key| key.last_used).max()
}

impl<'a> AccountView<'a> {
    fn of(account: &'a Account, keys: &[Key]) -> Self {
        Self {
            id: &account.id,
            name: &account.name,
            description: account.description.as_deref(),
            status: account.status,
            created: account.created,
            keys: keys.len(),
            last_used: last_used(keys),
        }
    }
}
