//! What somebody should know of a Redis before relying on it.

use std::fmt::Display;

use redis::Value;

use super::{
    fault::Fault,
    link::{Link, Live, Patience, Shared},
};
use crate::directory::DirectoryError;

/// Looks at how the server is set up. What it does not let us see is not warned of.
pub(super) async fn warnings(link: &Link) -> Result<Vec<String>, DirectoryError> {
    let shared = link.shared();
    let live = link.live(0, Patience::of_an_admin()).await?;
    let memory = info(shared, &live, "memory").await?;
    let persistence = info(shared, &live, "persistence").await?;
    let snapshots = config(shared, &live, "save").await?;
    Ok(judge(&shared.address, &memory, &persistence, snapshots.as_deref()))
}

/// What to say of a server, from its `INFO memory`, `INFO persistence` and `CONFIG GET save`; each empty where it was not to be had.
pub(crate) fn judge(address: &impl Display, memory: &str, persistence: &str, save: Option<&str>) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(policy) = field(memory, "maxmemory_policy")
        && policy.starts_with("allkeys")
    {
        warnings.push(format!(
            "{address} may drop what Vicar keeps there when its memory is full (maxmemory-policy {policy}): set noeviction, or give Vicar a Redis of its own"
        ));
    }
    if field(persistence, "aof_enabled") == Some("0") && save == Some("") {
        warnings.push(format!(
            "{address} keeps nothing on disk (appendonly no, save \"\"): a restart forgets all that Vicar keeps there; set appendonly yes"
        ));
    }
    warnings
}

async fn info(shared: &Shared, live: &Live, section: &str) -> Result<String, DirectoryError> {
    let mut command = redis::cmd("INFO");
    command.arg(section);
    Ok(match seen(shared, live.query(&command).await)? {
        Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Value::VerbatimString { text, .. } => text,
        _ => String::new(),
    })
}

async fn config(shared: &Shared, live: &Live, name: &str) -> Result<Option<String>, DirectoryError> {
    let mut command = redis::cmd("CONFIG");
    command.arg("GET").arg(name);
    let value = match seen(shared, live.query(&command).await)? {
        Value::Map(pairs) => pairs.into_iter().next().map(|(_, value)| value),
        Value::Array(pair) => pair.into_iter().nth(1),
        _ => None,
    };
    Ok(match value {
        Some(Value::BulkString(bytes)) => String::from_utf8(bytes).ok(),
        Some(Value::SimpleString(text)) => Some(text),
        _ => None,
    })
}

/// Nothing, where the server does not let us see it.
fn seen(shared: &Shared, answer: Result<Value, Fault>) -> Result<Value, DirectoryError> {
    match answer {
        Err(Fault::Refused(_)) => Ok(Value::Nil),
        answer => answer.map_err(|fault| fault.into_error(shared)),
    }
}

fn field<'i>(info: &'i str, name: &str) -> Option<&'i str> {
    info.lines().filter_map(|line| line.split_once(':')).find(|(field, _)| *field == name).map(|(_, value)| value.trim())
}
