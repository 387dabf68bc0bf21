//! `vicar audit usage`.

use std::process::ExitCode;

use clap::Args;

use super::{From, unread, wanted::Wanted};
use crate::{
    audit::{AccountUsage, KnownKey, KnownShare, UsageQuestion, usage},
    cli::{
        Done, Failure, Options, Output,
        confirm::share_words,
        listing::{Cell, Table},
        options::{directory, now},
        print::{say, say_json, tell},
        progress::Progress,
        when::{apart, count, minute},
    },
    identity::AccountId,
    lifecycle,
    settings::{Loaded, Span},
    source::Complaints,
    terminal::{Colours, Ink, printable},
};

/// Show what is used and what nobody uses: shares and keys that could go, keys that will end.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vicar audit usage --since 90d\n  vicar audit usage --account reporting --output json")]
pub(super) struct UsageArgs {
    #[command(flatten)]
    wanted: Wanted,
    /// Mark keys that end within this time.
    #[arg(long, value_name = "TIME", default_value = "14d")]
    expiring: Span,
    #[command(flatten)]
    from: From,
}

pub(super) async fn run(args: UsageArgs, options: &Options) -> Done {
    let loaded = options.settings()?;
    let source = args.from.source(&loaded)?;
    let now = now();
    let filter = args.wanted.filter(now)?;
    let mut question = UsageQuestion {
        accounts: Vec::new(),
        shares: Vec::new(),
        keys: Vec::new(),
        expiring_before: now.checked_add(args.expiring.0).unwrap_or(now),
        filter,
    };
    ask_directory(&loaded, &mut question).await?;
    ask_policy(&loaded, &mut question, now);
    let progress = Progress::start("counting");
    let used = usage(&source, &question, &mut |done| progress.at(done)).await;
    drop(progress);
    let used = used.map_err(unread)?;
    match options.output {
        Output::Json => say_json(&used)?,
        Output::Table => {
            let since = used.since.map_or("nothing in the log is like that".to_owned(), |since| format!("since {}", minute(since)));
            say(&format!("{source}, {since}"))?;
            for account in &used.accounts {
                print(account, now)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask_directory(loaded: &Loaded, question: &mut UsageQuestion) -> Result<(), Failure> {
    let directory = directory(loaded).await?;
    for account in directory.accounts().await.map_err(Failure::failed)? {
        if question.filter.account.as_deref().is_some_and(|only| only != account.id.as_str()) {
            continue;
        }
        for key in directory.keys(&account.id).await.map_err(Failure::failed)? {
            question.keys.push(KnownKey {
                account: account.id.to_string(),
                id: key.id.to_string(),
                name: key.name,
                expires: key.expires,
                last_used: key.last_used,
            });
        }
        question.accounts.push(account.id.to_string());
    }
    Ok(())
}

fn ask_policy(loaded: &Loaded, question: &mut UsageQuestion, now: jiff::Timestamp) {
    let mut complaints = Complaints::default();
    let Some(documents) = lifecycle::documents(&loaded.settings, now, &mut complaints) else {
        tell("vicar: the policy does not hold, so its shares are not counted; see `vicar check`");
        return;
    };
    for id in &question.accounts {
        let Ok(account) = id.parse::<AccountId>() else { continue };
        for share in documents.policy.shares(&account) {
            question.shares.push(KnownShare { account: id.clone(), title: share_words(&share), name: share.share });
        }
    }
}

fn print(account: &AccountUsage, now: jiff::Timestamp) -> Result<(), Failure> {
    let colours = Colours::of_output();
    let ago = |at: Option<jiff::Timestamp>| at.map_or(Cell::inked(Ink::Yellow, "never"), |at| apart(at, now).into());
    let seen = match (account.first_seen, account.last_seen) {
        (Some(first), Some(last)) => format!("first {}, last {}", minute(first), minute(last)),
        (_, _) => "never seen".to_owned(),
    };
    say(&format!(
        "\n{}  {} allowed, {} denied; {seen}",
        colours.paint(Ink::Bold, &printable(&account.account)),
        account.allowed,
        account.denied
    ))?;
    if !account.shares.is_empty() {
        let mut table = Table::new(["share", "what", "used", "last used"]);
        for share in &account.shares {
            table.row([share.share.as_str().into(), share.title.as_str().into(), times(share.used), ago(share.last_used)]);
        }
        table.print()?;
    }
    if !account.keys.is_empty() {
        let mut table = Table::new(["key", "name", "used", "last used", "expires"]);
        for key in &account.keys {
            let expires = match key.expires {
                Some(end) if key.expiring => Cell::inked(Ink::Yellow, apart(end, now)),
                Some(end) => apart(end, now).into(),
                // Every key of the directory has a name.
                None if key.name.is_empty() => Cell::inked(Ink::Dim, "deleted"),
                None => Cell::inked(Ink::Dim, "never"),
            };
            table.row([key.key.as_str().into(), key.name.as_str().into(), times(key.used), ago(key.last_used), expires]);
        }
        table.print()?;
    }
    if !account.subjects.is_empty() {
        let named = account.subjects.iter().map(|subject| format!("{} ({})", printable(&subject.subject), subject.used));
        let more = if account.more_subjects > 0 { format!(" and {} more", account.more_subjects) } else { String::new() };
        say(&format!("on behalf of {}{more}", named.collect::<Vec<_>>().join(", ")))?;
    }
    Ok(())
}

fn times(used: u64) -> Cell {
    if used == 0 { Cell::inked(Ink::Yellow, "never") } else { count(used, "time").into() }
}
