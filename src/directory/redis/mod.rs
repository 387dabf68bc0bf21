//! The directory in Redis: what a fleet of sidecars shares.
//!
//! All of a directory is one hash. It is small (25 accounts of 50 keys have half a megabyte) and read only where a
//! cache has no answer, so nothing is gained by spreading it; and being one key it is on one slot of a cluster, moves
//! as a whole, and every change to it is atomic, limits and the telling of it included. Its fields:
//!
//! | field | holds |
//! | --- | --- |
//! | `format` | [`FORMAT`]: what else stands there is not ours |
//! | `version` | counts the changes |
//! | `account:ID`, `key:ID`, `admin:ID` | a record, as JSON |
//! | `accounts`, `admins`, `keys:ACCOUNT` | ids, oldest first |
//! | `used:KEY` | when the key last signed in |
//!
//! Each change is published as `VERSION key ID` or `VERSION account ID`. Beside the hash stand the quotas of limits that
//! a fleet shares ([`draw`]).

pub(crate) mod address;
pub(crate) mod advice;
mod backend;
mod draw;
mod fault;
mod link;
mod locate;
mod script;

use std::{sync::Arc, time::Duration};

use redis::Value;
use serde::{Serialize, de::DeserializeOwned};

use super::{DirectoryError, record::Rules};
use crate::{
    identity::{Account, AccountId, AdminId, Key, KeyId},
    settings::DirectoryBackend,
};
use address::Address;
use fault::Fault;
use link::{Link, Patience};
use script::{COMMIT, Commit, FIND, LIST, Script};

/// What the field `format` of our hash holds.
const FORMAT: &str = "vicar-directory-1";
/// How often a change is tried on a record that others change too.
const ATTEMPTS: u32 = 100;
/// How long a change may take in all; nobody's request waits for it.
const CHANGE_PATIENCE: Duration = Duration::from_secs(5);

/// The least that Vicar's user of a Redis needs, for the default prefix: a line for its ACL file (Redis 6.2 or Valkey).
/// `role` is for Sentinel alone, `asking` and `cluster|slots` for a cluster alone, `info` and `config|get` for the
/// warnings at start alone; the names with `quota`, `get`, `set` and `time` for limits that a fleet shares.
pub const LEAST_ACL: &str = "user vicar on >PASSWORD resetkeys ~vicar:directory ~vicar:quota:* resetchannels \
&vicar:directory:changes -@all +hello +auth +select +subscribe +eval +evalsha +hmget +hget +hset +hdel +hexists +exists +publish +get +set \
+time +role +asking +cluster|slots +info +config|get";

/// The names that a directory has in Redis.
#[derive(Debug, Clone)]
struct Names {
    directory: String,
    channel: String,
    /// What those of quotas begin with: in the directory's slot of a cluster.
    quotas: String,
}

/// The directory in a Redis.
#[derive(Debug)]
pub(super) struct RedisDirectory {
    link: Link,
    rules: Rules,
}

impl RedisDirectory {
    /// Connects. A server that is away is no error; one that has something else under our name, or refuses us, is.
    pub(super) async fn open(url: &str, settings: &DirectoryBackend, rules: Rules) -> Result<Arc<Self>, DirectoryError> {
        let address = Address::parse(url, &settings.tls)?;
        let prefix = &settings.prefix;
        if prefix.len() > 100 || prefix.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(DirectoryError::Address("directory.prefix has white space or is longer than 100 bytes".to_owned()));
        }
        let names = Names {
            directory: format!("{prefix}directory"),
            channel: format!("{prefix}directory:changes"),
            quotas: format!("{prefix}quota:{{{prefix}directory}}:"),
        };
        let link = Link::start(address, names, settings.timeout.0).await;
        match link.hopeless() {
            Some(error) => Err(error),
            None => Ok(Arc::new(Self { link, rules })),
        }
    }

    /// Runs a script; where nothing is lost by it, on another connection if the first breaks.
    async fn run(&self, script: &Script, arguments: &[&str], patience: Patience) -> Result<(Vec<Value>, u32), DirectoryError> {
        let until = patience.until;
        let shared = self.link.shared();
        let mut after = 0;
        loop {
            let live = self.link.live(after, patience).await?;
            let ran = tokio::time::timeout_at(until, script.run(&live, &[&shared.names.directory], arguments)).await;
            let fault = match ran {
                Ok(Ok(Value::Array(parts))) => return Ok((parts, live.generation)),
                Ok(Ok(_)) => return Err(self.foreign("", "an answer that is none of ours")),
                Ok(Err(fault)) => fault,
                Err(_) => Fault::Broken("it does not answer in time; see that the server is not overloaded".to_owned()),
            };
            match fault {
                Fault::Moved(redirect) => {
                    self.link.give_up(live.generation, Some(redirect));
                    after = live.generation;
                }
                Fault::ReadOnly => {
                    self.link.give_up(live.generation, None);
                    after = live.generation;
                }
                Fault::Wait(_) if tokio::time::Instant::now() + WAIT < until => tokio::time::sleep(WAIT).await,
                Fault::Broken(_) if script.repeatable && tokio::time::Instant::now() < until => after = live.generation,
                Fault::Broken(cause) if !script.repeatable => {
                    return Err(shared.unavailable(format!("{cause}; whether the change was made is not known: look before repeating it")));
                }
                fault => return Err(fault.into_error(shared)),
            }
        }
    }

    /// The answer to a question that an admin waits for: what stands after `ok`.
    async fn ask(&self, script: &Script, arguments: &[&str]) -> Result<Option<(Vec<Value>, u32)>, DirectoryError> {
        self.ask_within(script, arguments, Patience::of_an_admin()).await
    }

    async fn ask_within(
        &self,
        script: &Script,
        arguments: &[&str],
        patience: Patience,
    ) -> Result<Option<(Vec<Value>, u32)>, DirectoryError> {
        let (mut parts, generation) = self.run(script, arguments, patience).await?;
        match self.word(&parts)?.as_str() {
            "ok" => {
                parts.remove(0);
                Ok(Some((parts, generation)))
            }
            "missing" => Ok(None),
            _ => Err(self.odd(&parts)),
        }
    }

    /// The records of some fields; one that is not there is `None`.
    async fn fields(&self, fields: &[String]) -> Result<Vec<Option<String>>, DirectoryError> {
        let mut arguments = vec![FORMAT];
        arguments.extend(fields.iter().map(String::as_str));
        let (parts, _) = self.ask(&script::GET, &arguments).await?.unwrap_or_default();
        parts.into_iter().map(|part| self.text(part)).collect()
    }

    async fn field(&self, field: String) -> Result<Option<String>, DirectoryError> {
        Ok(self.fields(&[field]).await?.into_iter().next().flatten())
    }

    /// Makes a change, again and again until it is made on what holds.
    async fn change<T, F>(&self, mut prepare: impl FnMut() -> F) -> Result<T, DirectoryError>
    where
        F: Future<Output = Result<(T, Commit), DirectoryError>>,
    {
        for attempt in 0..ATTEMPTS {
            let (done, commit) = prepare().await?;
            if commit.is_empty() {
                return Ok(done);
            }
            let json = commit.json(&self.link.shared().names.channel);
            let (parts, _) = self.run(&COMMIT, &[&json], Patience::of_an_admin()).await?;
            match self.word(&parts)?.as_str() {
                "ok" => return Ok(done),
                "changed" => tokio::time::sleep(Duration::from_millis(u64::from(attempt.min(20)))).await,
                "full" => return Err(commit.full(&self.rules)),
                _ => return Err(self.odd(&parts)),
            }
        }
        Err(DirectoryError::Changed { what: "the directory".to_owned() })
    }

    async fn account_record(&self, id: &AccountId) -> Result<(String, Account), DirectoryError> {
        let field = account_field(id);
        let raw = self.field(field.clone()).await?.ok_or_else(|| DirectoryError::NoSuchAccount(id.clone()))?;
        let account = self.read(&field, &raw)?;
        Ok((raw, account))
    }

    /// A key and its account, as they stand.
    async fn key_record(&self, id: KeyId) -> Result<KeyRecord, DirectoryError> {
        let found = self.ask(&FIND, &[FORMAT, id.as_str()]).await?;
        let (_, key, account) = self.found(found.map(|(parts, _)| parts).unwrap_or_default())?;
        let raw = key.ok_or(DirectoryError::NoSuchKey(id))?;
        let key: Key = self.read(&key_field(id), &raw)?;
        let raw_account = account.ok_or_else(|| self.foreign(&key_field(id), "a key without its account"))?;
        let account = self.read(&account_field(&key.account), &raw_account)?;
        let used = self.field(used_field(id)).await?;
        Ok(KeyRecord { raw, key, used, raw_account, account })
    }

    fn found(&self, parts: Vec<Value>) -> Result<(u64, Option<String>, Option<String>), DirectoryError> {
        let mut parts = parts.into_iter();
        let mut next = || self.text(parts.next().unwrap_or(Value::Nil));
        let (version, key, account) = (next()?, next()?, next()?);
        let version = version.unwrap_or_default().parse().map_err(|_| self.foreign("version", "no number"))?;
        Ok((version, key, account))
    }

    async fn list<T: DeserializeOwned>(
        &self,
        [index, record, beside, needs]: [&str; 4],
    ) -> Result<Option<Vec<(T, Option<String>)>>, DirectoryError> {
        let Some((parts, _)) = self.ask(&LIST, &[FORMAT, index, record, beside, needs]).await? else { return Ok(None) };
        let mut records = Vec::with_capacity(parts.len() / 2);
        let mut parts = parts.into_iter();
        while let (Some(raw), Some(beside)) = (parts.next(), parts.next()) {
            let raw = self.text(raw)?.ok_or_else(|| self.foreign(index, "an id without its record"))?;
            records.push((self.read(record, &raw)?, self.text(beside)?));
        }
        Ok(Some(records))
    }

    // ===== reading what came =====

    fn word(&self, parts: &[Value]) -> Result<String, DirectoryError> {
        match parts.first() {
            Some(Value::BulkString(word)) => Ok(String::from_utf8_lossy(word).into_owned()),
            Some(_) | None => Err(self.foreign("", "an answer that is none of ours")),
        }
    }

    fn odd(&self, parts: &[Value]) -> DirectoryError {
        let what = parts.get(1).and_then(|part| self.text(part.clone()).ok().flatten()).unwrap_or_default();
        self.foreign("format", &what.chars().take(80).collect::<String>())
    }

    fn text(&self, value: Value) -> Result<Option<String>, DirectoryError> {
        match value {
            Value::Nil => Ok(None),
            Value::BulkString(bytes) => String::from_utf8(bytes).map(Some).map_err(|_| self.foreign("", "bytes that are no text")),
            _ => Err(self.foreign("", "a value of another type")),
        }
    }

    fn read<T: DeserializeOwned>(&self, field: &str, raw: &str) -> Result<T, DirectoryError> {
        serde_json::from_str(raw).map_err(|error| self.foreign(field, &error.to_string()))
    }

    fn foreign(&self, field: &str, what: &str) -> DirectoryError {
        let shared = self.link.shared();
        DirectoryError::Foreign { place: format!("{} {} {field}", shared.address, shared.names.directory), what: what.to_owned() }
    }
}

/// How long to wait before asking a server again that asks for patience.
const WAIT: Duration = Duration::from_millis(20);

struct KeyRecord {
    raw: String,
    key: Key,
    /// When it last signed in: that stands beside the record, and a change writes nothing of it.
    used: Option<String>,
    raw_account: String,
    account: Account,
}

fn account_field(id: &AccountId) -> String {
    format!("account:{id}")
}

fn key_field(id: KeyId) -> String {
    format!("key:{id}")
}

fn used_field(id: KeyId) -> String {
    format!("used:{id}")
}

fn admin_field(id: &AdminId) -> String {
    format!("admin:{id}")
}

fn keys_field(id: &AccountId) -> String {
    format!("keys:{id}")
}

fn json(record: &impl Serialize) -> Result<String, DirectoryError> {
    // Our own records; there is nothing in them that JSON cannot hold.
    serde_json::to_string(record).map_err(|error| DirectoryError::Random(error.to_string()))
}

fn with_last_use((key, used): (Key, Option<String>)) -> Key {
    Key { last_used: used.and_then(|at| at.parse().ok()), ..key }
}

impl KeyRecord {
    /// The account is expected to stand as it did, too: whether a key may change depends on it.
    fn replaced_by(&self, key: &Key) -> Result<Commit, DirectoryError> {
        Ok(Commit::default()
            .expect(key_field(key.id), Some(self.raw.clone()))
            .expect(account_field(&key.account), Some(self.raw_account.clone()))
            .set(key_field(key.id), json(key)?)
            .tell(format!("key {}", key.id)))
    }
}
