//! The scripts that run where the data is, and the change that one of them makes.

use redis::Value;
use serde::Serialize;

use super::{FORMAT, Fault, link::Live};
use crate::{
    directory::{DirectoryError, record::Rules},
    identity::AccountId,
};

/// A script on the one key of a directory, or on quotas beside it.
#[derive(Debug)]
pub(super) struct Script {
    text: &'static str,
    /// Whether it may be run again when nobody knows whether it has run.
    pub(super) repeatable: bool,
}

pub(super) static FIND: Script = Script { text: include_str!("scripts/find.lua"), repeatable: true };
pub(super) static GET: Script = Script { text: include_str!("scripts/get.lua"), repeatable: true };
pub(super) static LIST: Script = Script { text: include_str!("scripts/list.lua"), repeatable: true };
pub(super) static NOTE: Script = Script { text: include_str!("scripts/note.lua"), repeatable: true };
// Half of it is bookkeeping of what has happened already; doing that twice would be wrong.
pub(super) static DRAW: Script = Script { text: include_str!("scripts/draw.lua"), repeatable: false };
pub(super) static COMMIT: Script = Script { text: include_str!("scripts/commit.lua"), repeatable: false };

impl Script {
    /// Runs it; a server that does not know it is sent the text, and knows it from then on.
    pub(super) async fn run(&self, live: &Live, keys: &[&str], arguments: &[&str]) -> Result<Value, Fault> {
        let command = |name: &str, script: &str| {
            let mut command = redis::cmd(name);
            command.arg(script).arg(keys.len()).arg(keys).arg(arguments);
            command
        };
        let hash = redis::Script::new(self.text).get_hash().to_owned();
        match live.query(&command("EVALSHA", &hash)).await {
            Err(Fault::NoScript) => live.query(&command("EVAL", self.text)).await,
            ran => ran,
        }
    }
}

/// A change, and what it was made on.
#[derive(Debug, Default)]
pub(super) struct Commit {
    expect: Vec<(String, Option<String>)>,
    set: Vec<(String, String)>,
    del: Vec<String>,
    grow: Vec<(String, String, u32)>,
    shrink: Vec<(String, String)>,
    tell: Vec<String>,
    account: Option<AccountId>,
}

/// A value that Lua compares with what `HGET` gives: `false` for none.
#[derive(Serialize)]
#[serde(untagged)]
enum Expected<'a> {
    Text(&'a str),
    Absent(bool),
}

#[derive(Serialize)]
struct Json<'a> {
    format: &'a str,
    channel: &'a str,
    expect: Vec<(&'a str, Expected<'a>)>,
    set: &'a [(String, String)],
    del: &'a [String],
    grow: &'a [(String, String, u32)],
    shrink: &'a [(String, String)],
    tell: &'a [String],
}

impl Commit {
    /// Only if this field still holds this.
    pub(super) fn expect(mut self, field: String, value: Option<String>) -> Self {
        self.expect.push((field, value));
        self
    }

    pub(super) fn set(mut self, field: String, value: String) -> Self {
        self.set.push((field, value));
        self
    }

    pub(super) fn del(mut self, field: String) -> Self {
        self.del.push(field);
        self
    }

    /// Adds an id to an index, unless that has `limit` of them.
    pub(super) fn grow(mut self, index: String, id: String, limit: u32) -> Self {
        self.grow.push((index, id, limit));
        self
    }

    pub(super) fn shrink(mut self, index: String, id: String) -> Self {
        self.shrink.push((index, id));
        self
    }

    pub(super) fn tell(mut self, what: String) -> Self {
        self.tell.push(what);
        self
    }

    /// It concerns keys of this account.
    pub(super) fn of(mut self, account: &AccountId) -> Self {
        self.account = Some(account.clone());
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.del.is_empty() && self.grow.is_empty() && self.shrink.is_empty()
    }

    /// What to say when an index is full.
    pub(super) fn full(&self, rules: &Rules) -> DirectoryError {
        let index = self.grow.first();
        match (&self.account, index) {
            (Some(account), _) => DirectoryError::TooManyKeys { account: account.clone(), limit: rules.keys_per_account },
            (None, Some((index, _, limit))) if index == "admins" => DirectoryError::TooManyAdmins { limit: *limit },
            (None, _) => DirectoryError::TooManyAccounts { limit: rules.accounts },
        }
    }

    pub(super) fn json(&self, channel: &str) -> String {
        let expect = self.expect.iter().map(|(field, value)| {
            let value = value.as_deref().map_or(Expected::Absent(false), Expected::Text);
            (field.as_str(), value)
        });
        let json = Json {
            format: FORMAT,
            channel,
            expect: expect.collect(),
            set: &self.set,
            del: &self.del,
            grow: &self.grow,
            shrink: &self.shrink,
            tell: &self.tell,
        };
        serde_json::to_string(&json).unwrap_or_default()
    }
}
