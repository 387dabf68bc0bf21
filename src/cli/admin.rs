//! `vicar admin`: tokens for the admin API and the console.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::{
    Done, Failure, Options, Output,
    account::known,
    listing::{Cell, Facts, Table},
    operator::{Operator, operator_name},
    options::{directory, now},
    print::{say, say_json, tell},
    when::{apart, expiry, minute},
};
use crate::{
    directory::{CreatedAdmin, Expiry, NewAdmin},
    identity::{AccountId, Admin, AdminId, Role},
    settings,
    terminal::Ink,
};

/// People who govern: tokens for the admin API and the console, by role.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct AdminArgs {
    #[command(subcommand)]
    command: AdminCommand,
}

#[derive(Debug, Subcommand)]
enum AdminCommand {
    Create(CreateArgs),
    /// List who has a token; never the tokens.
    #[command(after_help = "Example:\n  vicar admin list")]
    List,
    /// Take a token back; it signs in nowhere from now on.
    #[command(after_help = "Example:\n  vicar admin revoke zoe-miller")]
    Revoke(RevokeArgs),
}

/// Make a token for somebody who governs. It is shown once, now.
#[derive(Debug, Args)]
#[command(
    long_about = "Make a token for somebody who governs. It is shown once, now.\n\nRoles: super-admin (everything), iam-admin (accounts, keys, the log), account-admin (named accounts only), auditor (reads).",
    after_help = "Example:\n  vicar admin create --role auditor --name \"Zoe Miller\"\n  vicar admin create --role account-admin --accounts reporting,procure-to-pay --expires 30d"
)]
struct CreateArgs {
    /// What the log calls them: a-z, 0-9 and - [default: from the name].
    id: Option<AdminId>,
    /// What they may do: super-admin, iam-admin, account-admin or auditor.
    #[arg(long)]
    role: Role,
    /// For which accounts; of account-admin only.
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    accounts: Vec<AccountId>,
    /// When the token ends: after a time (30d, 6mo), with a day (in UTC), or never.
    #[arg(long, value_name = "TIME|DATE|never", default_value = "90d", value_parser = expiry)]
    expires: Expiry,
    /// Who they are; under 80 characters [default: who runs this command].
    #[arg(long)]
    name: Option<String>,
}

#[derive(Debug, Args)]
struct RevokeArgs {
    /// Whose.
    id: AdminId,
}

/// An admin as listings show them: everything but what proves it.
#[derive(Debug, Serialize)]
struct AdminView<'a> {
    id: &'a AdminId,
    name: &'a str,
    role: Role,
    accounts: &'a [AccountId],
    created: Timestamp,
    expires: Option<Timestamp>,
    expired: bool,
}

pub(super) async fn run(args: AdminArgs, options: &Options) -> Done {
    match args.command {
        AdminCommand::Create(args) => create(args, options).await,
        AdminCommand::List => list(options).await,
        AdminCommand::Revoke(args) => revoke(&args.id, options).await,
    }
}

async fn create(args: CreateArgs, options: &Options) -> Done {
    let loaded = options.settings()?;
    let directory = directory(&loaded).await?;
    for account in &args.accounts {
        known(&*directory, account).await?;
    }
    let name = args.name.unwrap_or_else(operator_name);
    let id = match args.id {
        Some(id) => id,
        None => free_id(&name, &directory.admins().await.map_err(Failure::failed)?)?,
    };
    let operator = Operator::open(&loaded, directory)?;
    let role = args.role;
    let event = operator.event_about("admin.create", &format!("admin:{id}"), &format!("{role}, named {}", name.trim()));
    let new = NewAdmin { id, name, role, accounts: args.accounts, expires: args.expires };
    let directory = &operator.directory;
    let made = operator
        .create(
            event.clone(),
            directory.create_admin(new, Timestamp::now()),
            |_| event,
            async |made: &CreatedAdmin| directory.revoke_admin(&made.admin.id).await.map(drop),
        )
        .await?;
    operator.finish().await;
    let CreatedAdmin { admin, token } = &made;
    match options.output {
        Output::Json => say_json(&json!({
            "id": admin.id, "name": admin.name, "role": admin.role, "accounts": admin.accounts, "token": token.reveal(), "expires": admin.expires,
        }))?,
        Output::Table => {
            let now = now();
            let mut facts = Facts::default();
            facts.add("id", admin.id.as_str()).add("name", admin.name.as_str()).add("role", admin.role.as_str());
            if !admin.accounts.is_empty() {
                facts.add("accounts", accounts(&admin.accounts));
            }
            facts.add("token", token.reveal());
            facts.add("expires", admin.expires.map_or("never".to_owned(), |end| format!("{} ({})", minute(end), apart(end, now))));
            facts.print()?;
            tell(&format!("\nThe token is shown this once. It signs in at {}", console(&loaded.settings.admin)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(options: &Options) -> Done {
    let loaded = options.settings()?;
    let admins = directory(&loaded).await?.admins().await.map_err(Failure::failed)?;
    let now = now();
    match options.output {
        Output::Json => say_json(&admins.iter().map(|admin| AdminView::of(admin, now)).collect::<Vec<_>>())?,
        Output::Table if admins.is_empty() => tell("Nobody has a token yet. Make one: vicar admin create --role super-admin --name NAME"),
        Output::Table => {
            let mut table = Table::new(["id", "name", "role", "accounts", "expires", "created"]);
            for admin in &admins {
                let expires = match admin.expires {
                    Some(_) if admin.expired(now) => Cell::inked(Ink::Red, "expired"),
                    Some(end) => apart(end, now).into(),
                    None => Cell::inked(Ink::Dim, "never"),
                };
                let row = [admin.id.as_str(), &admin.name, admin.role.as_str()].map(Cell::from);
                let [id, name, role] = row;
                table.row([id, name, role, accounts(&admin.accounts).into(), expires, minute(admin.created).into()]);
            }
            table.print()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn revoke(id: &AdminId, options: &Options) -> Done {
    let loaded = options.settings()?;
    let directory = directory(&loaded).await?;
    let admins = directory.admins().await.map_err(Failure::failed)?;
    if !admins.iter().any(|admin| admin.id == *id) {
        let near = crate::source::nearest(id.as_str(), admins.iter().map(|admin| admin.id.as_str()));
        let advice = near.map_or("`vicar admin list` shows who has a token".to_owned(), |near| format!("did you mean {near}?"));
        return Err(Failure::failed(format!("there is no admin {id}; {advice}")));
    }
    let operator = Operator::open(&loaded, directory)?;
    let event = operator.event("admin.revoke", &format!("admin:{id}"));
    let gone = operator.change(event, operator.directory.revoke_admin(id)).await?;
    operator.finish().await;
    match options.output {
        Output::Json => say_json(&json!({"id": gone.id, "name": gone.name, "role": gone.role, "status": "revoked"}))?,
        Output::Table => say(&format!("the token of {} is taken back", gone.id))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the console is.
fn console(admin: &settings::Admin) -> String {
    match (&admin.tls, admin.address.starts_with("unix:")) {
        (_, true) => format!("/console of {}", admin.address),
        (Some(_), false) => format!("https://{}/console", admin.address),
        (None, false) => format!("http://{}/console", admin.address),
    }
}

fn accounts(accounts: &[AccountId]) -> String {
    accounts.iter().map(AccountId::as_str).collect::<Vec<_>>().join(", ")
}

impl<'a> AdminView<'a> {
    fn of(admin: &'a Admin, now: Timestamp) -> Self {
        Self {
            id: &admin.id,
            name: &admin.name,
            role: admin.role,
            accounts: &admin.accounts,
            created: admin.created,
            expires: admin.expires,
            expired: admin.expired(now),
        }
    }
}

/// A slug made of a name, with a number after it where somebody has that one.
fn free_id(name: &str, taken: &[Admin]) -> Result<AdminId, Failure> {
    let words: Vec<String> =
        name.to_lowercase().split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let slug: String = words.join("-").chars().take(50).collect();
    let slug = slug.trim_matches('-');
    let base = if slug.is_empty() { "admin" } else { slug };
    let candidates = std::iter::once(base.to_owned()).chain((2..=taken.len() + 2).map(|number| format!("{base}-{number}")));
    candidates
        .filter_map(|candidate| candidate.parse::<AdminId>().ok())
        .find(|candidate| !taken.iter().any(|admin| admin.id == *candidate))
        .ok_or_else(|| Failure::usage(format!("no id can be made of the name {name:?}; say one: vicar admin create ID --role …")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_of_the_name() {
        let id = |name: &str| free_id(name, &[]).unwrap().to_string();
        assert_eq!(id("Zoe Miller"), "zoe-miller");
        assert_eq!(id("  --Ärzte & Co. "), "rzte-co");
        assert_eq!(id("漢字"), "admin");
        assert_eq!(id(&"x".repeat(200)), "x".repeat(50));
    }
}
