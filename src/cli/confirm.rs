//! What stops an integration asks first: says what will stop, and waits for a yes.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use clap::Args;
use jiff::Timestamp;

use super::{
    Failure,
    print::tell,
    when::{apart, count},
};
use crate::{
    identity::{Account, AccountId, Key, Status},
    lifecycle,
    policy::ShareView,
    settings::Settings,
    source::Complaints,
    terminal::printable,
};

/// Bytes of an answer that are looked at.
const ANSWER: u64 = 1024;

/// `--yes`.
#[derive(Debug, Args)]
pub(super) struct Consent {
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
}

impl Consent {
    /// Shows what will stop and asks, unless it was said beforehand.
    ///
    /// # Errors
    /// When the answer is no, or there is nobody to ask.
    pub(super) fn ask(&self, doing: &str, stops: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        tell(&format!("{doing} stops:\n{}", stops()));
        let nobody = || Failure::failed("nothing was changed: there is nobody to ask here; say --yes if this is meant");
        // Somebody at a terminal must see the question. An answer may also come through a pipe.
        if io::stdin().is_terminal() && !io::stderr().is_terminal() {
            return Err(nobody());
        }
        let mut error = io::stderr().lock();
        let _ = write!(error, "Go on? [y/N] ").and_then(|()| error.flush());
        let mut answer = String::new();
        let read = io::stdin().lock().take(ANSWER).read_line(&mut answer);
        if !io::stdin().is_terminal() {
            let _ = writeln!(error);
        }
        match (read, answer.trim().to_ascii_lowercase().as_str()) {
            (Ok(_), "y" | "yes") => Ok(()),
            (Ok(0) | Err(_), _) => Err(nobody()),
            (Ok(_), _) => Err(Failure::failed("nothing was changed")),
        }
    }
}

/// What stops when an account does.
pub(super) fn account_stops(settings: &Settings, account: &Account, keys: &[Key], now: Timestamp) -> String {
    let live: Vec<&Key> = keys.iter().filter(|key| key.status == Status::Active && !key.expired(now)).collect();
    let mut lines = vec![format!("  {}", count(live.len() as u64, "working key"))];
    lines.extend(live.iter().map(|key| format!("    {}", key_line(key, now))));
    lines.extend(share_lines(settings, &account.id, now));
    lines.join("\n")
}

/// What stops when a key does.
pub(super) fn key_stops(settings: &Settings, key: &Key, others: &[Key], now: Timestamp) -> String {
    let left = others.iter().filter(|other| other.id != key.id && other.status == Status::Active && !other.expired(now)).count();
    let mut lines = vec![format!("  {}", key_line(key, now))];
    if key.status != Status::Active || key.expired(now) {
        lines.push("    which does not sign in as it is".to_owned());
    } else if left == 0 {
        lines.push(format!("  the account {}, for this is its last working key", key.account));
        lines.extend(share_lines(settings, &key.account, now));
    } else {
        lines.push(format!("  and leaves {} to the account {}, which keeps", count(left as u64, "other working key"), key.account));
        lines.extend(share_lines(settings, &key.account, now));
    }
    lines.join("\n")
}

fn key_line(key: &Key, now: Timestamp) -> String {
    let used = key.last_used.map_or("never used".to_owned(), |at| format!("last used {}", apart(at, now)));
    format!("{} ({}), {used}", key.id, printable(&key.name))
}

fn share_lines(settings: &Settings, account: &AccountId, now: Timestamp) -> Vec<String> {
    let mut complaints = Complaints::default();
    let Some(documents) = lifecycle::documents(settings, now, &mut complaints) else {
        return vec!["  shares that cannot be told, for the policy does not hold (see `vicar check`)".to_owned()];
    };
    let shares = documents.policy.shares(account);
    if shares.is_empty() {
        return vec!["  no shares: the policy gives it none".to_owned()];
    }
    let mut lines = vec![format!("  {}", count(shares.len() as u64, "share"))];
    lines.extend(shares.iter().map(|share| format!("    {}", share_words(share))));
    lines
}

/// A share on one line: what, which actions, for whom.
pub(super) fn share_words(share: &ShareView) -> String {
    let mut words = format!("{}: {}", share.resources.join(", "), share.actions.join(", "));
    if let Some(behalf) = &share.impersonate {
        let only = if behalf.required { " only" } else { "" };
        words.push_str(&format!(", for {}{only}", behalf.users.join(", ")));
    }
    if let Some(until) = &share.until {
        words.push_str(&format!(", until {until}"));
    }
    if let Some(note) = &share.note {
        words.push_str(&format!(" ({note})"));
    }
    printable(&words).into_owned()
}
