//! What is used, and what nobody uses: shares and keys that could go.

use std::{collections::HashMap, ops::ControlFlow};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    error::AuditError,
    read::{Filter, Line, LogSource, Page, read},
    record::{Decision, Kind, Outcome, Record},
};

/// A share, as the policy has it.
#[derive(Debug, Clone)]
pub struct KnownShare {
    /// Whose.
    pub account: String,
    /// As records name it.
    pub name: String,
    /// For people: its resources and actions, its note.
    pub title: String,
}

/// A key, as the directory has it.
#[derive(Debug, Clone)]
pub struct KnownKey {
    /// Whose.
    pub account: String,
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// When it expires.
    pub expires: Option<Timestamp>,
    /// When the directory last saw it used, which may be before the log begins.
    pub last_used: Option<Timestamp>,
}

/// What was asked about.
#[derive(Debug, Clone)]
pub struct UsageQuestion {
    /// Records that count.
    pub filter: Filter,
    /// Every account there is.
    pub accounts: Vec<String>,
    /// Every share there is.
    pub shares: Vec<KnownShare>,
    /// Every key there is.
    pub keys: Vec<KnownKey>,
    /// Keys that expire before this are named.
    pub expiring_before: Timestamp,
}

/// What is used and what is not.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Usage {
    /// Time of the first record that was looked at.
    pub since: Option<Timestamp>,
    /// For each account; those that only the log knows come last.
    pub accounts: Vec<AccountUsage>,
}

/// What one account did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct AccountUsage {
    /// Its id.
    pub account: String,
    /// Requests that were let through.
    pub allowed: u64,
    /// Requests that were not.
    pub denied: u64,
    /// First seen.
    pub first_seen: Option<Timestamp>,
    /// Last seen.
    pub last_seen: Option<Timestamp>,
    /// Its shares and how often each was used.
    pub shares: Vec<ShareUsage>,
    /// Its keys and how often each was used.
    pub keys: Vec<KeyUsage>,
    /// On whose behalf it acted, and how often: the most frequent first.
    pub subjects: Vec<SubjectUsage>,
    /// How many further subjects there were beyond those listed.
    pub more_subjects: u64,
}

/// How often a share was used.
#[derive(Debug, Clone, Serialize)]
pub struct ShareUsage {
    /// As records name it.
    pub share: String,
    /// For people.
    pub title: String,
    /// Requests that it let through; 0 is a share that nobody used.
    pub used: u64,
    /// The last of them.
    pub last_used: Option<Timestamp>,
}

/// How often a key was used.
#[derive(Debug, Clone, Serialize)]
pub struct KeyUsage {
    /// Its id.
    pub key: String,
    /// What people call it.
    pub name: String,
    /// Requests with it; 0 is a key that nobody used.
    pub used: u64,
    /// The last of them.
    pub last_used: Option<Timestamp>,
    /// When it expires.
    pub expires: Option<Timestamp>,
    /// Whether that is soon.
    pub expiring: bool,
}

/// How often a user was acted for.
#[derive(Debug, Clone, Serialize)]
pub struct SubjectUsage {
    /// The user.
    pub subject: String,
    /// How often.
    pub used: u64,
    /// The last time.
    pub last_used: Option<Timestamp>,
}

/// Counts what the log says about the accounts, shares and keys there are.
///
/// # Errors
/// When the source cannot be read.
pub async fn usage(source: &LogSource, question: &UsageQuestion, progress: &mut (dyn FnMut(u64) + Send)) -> Result<Usage, AuditError> {
    let mut tally = Tally::new(question);
    let mut count = 0u64;
    let mut each = |line: Line<'_>| {
        tally.meet(line.record);
        count += 1;
        if count.is_multiple_of(4096) {
            progress(count);
        }
        ControlFlow::Continue(())
    };
    read(source, &question.filter, Page::default(), &mut each).await?;
    Ok(tally.conclude(question))
}

/// Subjects that are counted one by one for each account; a hostile or a huge log must not fill the memory.
const SUBJECTS: usize = 10_000;
/// Subjects that are listed for each account.
const LISTED: usize = 50;
/// Accounts that only the log knows and that are counted one by one.
const UNKNOWN: usize = 1_000;

#[derive(Default)]
struct Tally {
    since: Option<Timestamp>,
    accounts: HashMap<String, Counts>,
    /// Accounts in the order they are shown.
    order: Vec<String>,
    known: usize,
}

#[derive(Default)]
struct Counts {
    allowed: u64,
    denied: u64,
    seen: Seen,
    shares: HashMap<String, Seen>,
    keys: HashMap<String, Seen>,
    subjects: HashMap<String, Seen>,
    more_subjects: u64,
}

#[derive(Default, Clone, Copy)]
struct Seen {
    times: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl Seen {
    fn at(&mut self, time: Timestamp) {
        self.times += 1;
        self.first = Some(self.first.map_or(time, |first| first.min(time)));
        self.last = self.last.max(Some(time));
    }
}

impl Tally {
    fn new(question: &UsageQuestion) -> Self {
        let mut tally = Self::default();
        let of_shares = question.shares.iter().map(|share| &share.account);
        let of_keys = question.keys.iter().map(|key| &key.account);
        for account in question.accounts.iter().chain(of_shares).chain(of_keys) {
            tally.account(account);
        }
        tally.known = tally.order.len();
        for share in &question.shares {
            tally.account(&share.account).shares.insert(share.name.clone(), Seen::default());
        }
        for key in &question.keys {
            tally.account(&key.account).keys.insert(key.id.clone(), Seen::default());
        }
        tally
    }

    fn account(&mut self, id: &str) -> &mut Counts {
        if !self.accounts.contains_key(id) {
            self.order.push(id.to_owned());
        }
        self.accounts.entry(id.to_owned()).or_default()
    }

    fn meet(&mut self, record: &Record) {
        self.since = Some(self.since.map_or(record.time, |since| since.min(record.time)));
        // What a caller without a valid key claims to be is no use of the account.
        if record.kind != Kind::Access || (record.outcome == Outcome::Refused && record.status == Some(401)) {
            return;
        }
        let Some(account) = &record.account else { return };
        if !self.accounts.contains_key(account) && self.order.len() >= self.known + UNKNOWN {
            return;
        }
        let counts = self.account(account);
        counts.seen.at(record.time);
        match record.outcome {
            Outcome::Refused => counts.denied += 1,
            Outcome::Completed | Outcome::UpstreamError | Outcome::Interrupted => {
                counts.allowed += 1;
                if record.decision == Some(Decision::Allow)
                    && let Some(share) = &record.share
                {
                    entry(&mut counts.shares, share).at(record.time);
                }
                if let Some(subject) = &record.subject {
                    if counts.subjects.len() < SUBJECTS || counts.subjects.contains_key(subject) {
                        entry(&mut counts.subjects, subject).at(record.time);
                    } else {
                        counts.more_subjects += 1;
                    }
                }
            }
        }
        if let Some(key) = &record.key {
            entry(&mut counts.keys, key).at(record.time);
        }
    }

    fn conclude(mut self, question: &UsageQuestion) -> Usage {
        let accounts = std::mem::take(&mut self.order).into_iter();
        let accounts = accounts.filter_map(|id| self.accounts.remove(&id).map(|counts| counts.conclude(id, question))).collect();
        Usage { since: self.since, accounts }
    }
}

impl Counts {
    fn conclude(self, account: String, question: &UsageQuestion) -> AccountUsage {
        let title = |name: &str| question.shares.iter().find(|share| share.account == account && share.name == name);
        let mut shares: Vec<ShareUsage> = self
            .shares
            .iter()
            .map(|(name, seen)| ShareUsage {
                share: name.clone(),
                title: title(name).map(|share| share.title.clone()).unwrap_or_default(),
                used: seen.times,
                last_used: seen.last,
            })
            .collect();
        shares.sort_unstable_by(|a, b| a.share.cmp(&b.share));
        let mut keys: Vec<KeyUsage> = self
            .keys
            .iter()
            .map(|(id, seen)| {
                let known = question.keys.iter().find(|key| key.id == *id);
                let expires = known.and_then(|key| key.expires);
                KeyUsage {
                    key: id.clone(),
                    name: known.map(|key| key.name.clone()).unwrap_or_default(),
                    used: seen.times,
                    last_used: seen.last.max(known.and_then(|key| key.last_used)),
                    expires,
                    expiring: expires.is_some_and(|end| end < question.expiring_before),
                }
            })
            .collect();
        keys.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let mut subjects: Vec<SubjectUsage> =
            self.subjects.into_iter().map(|(subject, seen)| SubjectUsage { subject, used: seen.times, last_used: seen.last }).collect();
        subjects.sort_unstable_by(|a, b| b.used.cmp(&a.used).then_with(|| a.subject.cmp(&b.subject)));
        let unlisted = subjects.len().saturating_sub(LISTED) as u64;
        subjects.truncate(LISTED);
        AccountUsage {
            account,
            allowed: self.allowed,
            denied: self.denied,
            first_seen: self.seen.first,
            last_seen: self.seen.last,
            shares,
            keys,
            subjects,
            more_subjects: unlisted + self.more_subjects,
        }
    }
}

fn entry<'m>(map: &'m mut HashMap<String, Seen>, name: &str) -> &'m mut Seen {
    map.entry(name.to_owned()).or_default()
}
