//! The scripts that run where the stream is.

use std::sync::LazyLock;

use redis::{Cmd, ErrorKind, Script, ServerErrorKind, Value};

use crate::audit::stream::{Cursor, Keys, Link};

static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(TAKE_TEXT));
static TRIM: LazyLock<Script> = LazyLock::new(|| Script::new(TRIM_TEXT));
const TAKE_TEXT: &str = include_str!("take.lua");
const TRIM_TEXT: &str = include_str!("trim.lua");

/// What a batch has beside its records: arguments, and usually bytes.
const BESIDES: usize = 9;
const BESIDES_BYTES: usize = 1 << 10;

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is in the stream, and the cursor behind it.
    Taken,
    /// Nothing was done: the cursor is not where it was thought to be.
    At(String),
}

/// Adds a batch to the stream, if the sidecar stands at `expected`.
pub(super) async fn take<'b>(
    link: &mut Link,
    keys: &Keys,
    sidecar: &str,
    expected: &str,
    after: &Cursor,
    first: u64,
    records: impl Iterator<Item = &'b [u8]>,
) -> redis::RedisResult<Taken> {
    let arguments: Vec<&[u8]> = records.collect();
    let bytes = arguments.iter().map(|record| record.len()).sum::<usize>();
    let build = |name: &str, script: &str| {
        let mut command = Cmd::with_capacity(arguments.len() + BESIDES, bytes + script.len() + BESIDES_BYTES);
        command.arg(name).arg(script).arg(2).arg(&keys.stream).arg(&keys.cursors);
        command.arg(sidecar).arg(expected).arg(after.to_string()).arg(first);
        for record in &arguments {
            command.arg(record);
        }
        command
    };
    let (word, at): (String, String) = run(link, &TAKE, TAKE_TEXT, build).await?;
    Ok(if word == "taken" { Taken::Taken } else { Taken::At(at) })
}

/// Removes entries older than `keep_ms`, and notes down beside the cursors how far.
pub(super) async fn trim(link: &mut Link, keys: &Keys, keep_ms: u64) -> redis::RedisResult<()> {
    let build = |name: &str, script: &str| {
        let mut command = redis::cmd(name);
        command.arg(script).arg(2).arg(&keys.stream).arg(&keys.cursors).arg(keep_ms);
        command
    };
    run::<Value>(link, &TRIM, TRIM_TEXT, build).await.map(|_| ())
}

/// By its hash; a server that does not know it gets the text.
async fn run<T: redis::FromRedisValue>(
    link: &mut Link,
    script: &Script,
    text: &str,
    build: impl Fn(&str, &str) -> Cmd,
) -> redis::RedisResult<T> {
    match link.ask(&build("EVALSHA", script.get_hash())).await {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => link.ask(&build("EVAL", text)).await,
        answer => answer,
    }
}
