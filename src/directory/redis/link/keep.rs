//! Keeping the connection up: trying it, giving it up, making another.

use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{PushInfo, Value};
use tokio::sync::Notify;

use super::{Live, Shared, State, ear::Ear};
use crate::directory::{
    DirectoryError, News,
    redis::{
        FORMAT,
        address::{Kind, Role},
        fault::{Fault, Redirect},
        locate,
    },
};

/// How often the push channel is tried.
const BEAT: Duration = Duration::from_millis(200);
/// How long the answer to that may take.
const BEAT_PATIENCE: Duration = Duration::from_millis(500);
/// How long making a connection may take, all steps together.
pub(super) const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
/// How often Sentinel is asked whether the master is still the same.
const ASK_SENTINEL_EVERY: Duration = Duration::from_secs(1);
/// Between attempts, at first and at most; each with jitter.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Makes a connection and tries it; when it is no good any more, makes another.
pub(super) async fn keep(shared: Arc<Shared>) {
    let mut known = locate::Known::new(&shared.address);
    let mut failures = 0u32;
    loop {
        let redirect = shared.redirect.lock().unwrap_or_else(PoisonError::into_inner).take();
        let connected = tokio::time::timeout(CONNECT_PATIENCE, connect(&shared, &mut known, redirect)).await;
        let connected = connected.unwrap_or_else(|_| Err(shared.unavailable("it does not answer; see that the server runs")));
        match connected {
            Ok((live, ear, at)) => {
                failures = 0;
                tracing::info!(server = %live.host, generation = live.generation, "connected to the directory");
                let generation = live.generation;
                shared.tell(&News::Generation(generation));
                shared.state.send_replace(State::Up(live.clone()));
                shared.vouch(generation, at);
                let cause = serve(&shared, &live, &ear, &known).await;
                shared.state.send_replace(State::Connecting);
                shared.tell(&News::Lost(cause.clone()));
                tracing::warn!(server = %live.host, cause, "the connection to the directory is given up");
            }
            Err(error) => {
                if failures == 0 {
                    tracing::error!(%error, "the directory cannot be reached; it is tried again");
                }
                failures = failures.saturating_add(1);
                shared.state.send_replace(State::Down(error.clone()));
                shared.tell(&News::Lost(error.to_string()));
                tokio::time::sleep(backoff(failures)).await;
            }
        }
    }
}

/// Longer with each failure, and never the same for two sidecars, so that a fleet does not come back as one.
fn backoff(failures: u32) -> Duration {
    let (least, most) = BACKOFF;
    let full = least.saturating_mul(1 << failures.min(10)).min(most);
    let mut random = [0u8; 2];
    let _ = getrandom::fill(&mut random);
    full / 2 + full.mul_f64(f64::from(u16::from_le_bytes(random)) / 131_072.0)
}

/// Tries the connection until it is no good any more; says why.
async fn serve(shared: &Shared, live: &Live, ear: &Ear, known: &locate::Known) -> String {
    tokio::select! {
        cause = beat(shared, live, ear) => cause,
        () = ear.gone.notified() => "the server closed it".to_owned(),
        () = shared.unfit.notified() => "the server sent us elsewhere, or takes no changes".to_owned(),
        () = elsewhere(shared, live, known) => "Sentinel names another master".to_owned(),
    }
}

async fn beat(shared: &Shared, live: &Live, ear: &Ear) -> String {
    loop {
        tokio::time::sleep(BEAT).await;
        let heard = ear.heard.load(Ordering::Acquire);
        let at = Instant::now();
        let version = match tokio::time::timeout(BEAT_PATIENCE, version(shared, live)).await {
            Ok(Ok(version)) => version,
            Ok(Err(Fault::Moved(redirect))) => {
                let cause = format!("the data has moved to {}", redirect.host);
                *shared.redirect.lock().unwrap_or_else(PoisonError::into_inner) = Some(redirect);
                return cause;
            }
            // A slot in transit, a server that loads: the next beat sees.
            Ok(Err(Fault::Wait(_))) => continue,
            Ok(Err(fault)) => return fault.into_error(shared).to_string(),
            Err(_) => return format!("no answer within {} ms", BEAT_PATIENCE.as_millis()),
        };
        if version < heard {
            return "its data is older than what it has told: writes were lost".to_owned();
        }
        if version > ear.heard.load(Ordering::Acquire) {
            return "a change was made that it has not told".to_owned();
        }
        shared.vouch(live.generation, at);
    }
}

/// Returns when Sentinel names another master; for ever waits where there is none.
async fn elsewhere(shared: &Shared, live: &Live, known: &locate::Known) {
    if !matches!(shared.address.kind, Kind::Sentinel(_)) {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(ASK_SENTINEL_EVERY).await;
        let asked = tokio::time::timeout(CONNECT_PATIENCE, locate::master(shared, known)).await;
        if let Ok(Ok(master)) = asked
            && master != live.host
        {
            return;
        }
    }
}

// ===== making one =====

async fn connect(
    shared: &Arc<Shared>,
    known: &mut locate::Known,
    redirect: Option<Redirect>,
) -> Result<(Live, Arc<Ear>, Instant), DirectoryError> {
    /// More than a cluster ever needs.
    const HOPS: u32 = 5;
    let mut to = match redirect {
        Some(redirect) => redirect,
        None => Redirect { host: locate::first(shared, known).await?, asking: false },
    };
    for _ in 0..HOPS {
        match open(shared, &to).await {
            Ok(opened) => {
                known.found(&to.host);
                if shared.address.kind == Kind::Cluster {
                    locate::learn(&opened.0, known).await;
                }
                return Ok(opened);
            }
            Err(Fault::Moved(redirect)) => to = redirect,
            Err(fault) => {
                known.failed(&to.host);
                return Err(fault.into_error(shared));
            }
        }
    }
    Err(shared.unavailable("its nodes send us round in a circle"))
}

async fn open(shared: &Arc<Shared>, to: &Redirect) -> Result<(Live, Arc<Ear>, Instant), Fault> {
    let generation = shared.generations.fetch_add(1, Ordering::Relaxed).saturating_add(1);
    let ear = Arc::new(Ear { generation, shared: Arc::downgrade(shared), heard: AtomicU64::new(0), gone: Notify::new() });
    let hearing = ear.clone();
    let push = move |info: PushInfo| {
        hearing.hear(info);
        Ok::<(), redis::aio::SendError>(())
    };
    let mut connection = locate::open(shared, &to.host, Role::Server, Some(Box::new(push))).await?;
    connection.subscribe(&shared.names.channel).await.map_err(|error| Fault::of(error, &to.host))?;
    let live = Live { connection, generation, host: to.host.clone(), asking: to.asking };
    if matches!(shared.address.kind, Kind::Sentinel(_)) {
        locate::is_master(&live).await?;
    }
    let at = Instant::now();
    let version = version(shared, &live).await?;
    ear.heard.fetch_max(version, Ordering::AcqRel);
    Ok((live, ear, at))
}

/// The version of the directory; an empty one has 0.
async fn version(shared: &Shared, live: &Live) -> Result<u64, Fault> {
    let mut command = redis::cmd("HMGET");
    command.arg(&shared.names.directory).arg("format").arg("version");
    let mut exists = redis::cmd("EXISTS");
    exists.arg(&shared.names.directory);
    let foreign = |what: &str| Fault::Foreign(what.to_owned());
    for _ in 0..2 {
        let Value::Array(fields) = live.query(&command).await? else { return Err(foreign("not a hash")) };
        match fields.as_slice() {
            // Nothing of ours; and nothing of others either, or made just now.
            [Value::Nil, Value::Nil] if live.query(&exists).await? == Value::Int(0) => return Ok(0),
            [Value::Nil, Value::Nil] => {}
            [Value::BulkString(format), Value::BulkString(version)] if format == FORMAT.as_bytes() => {
                let version = std::str::from_utf8(version).ok().and_then(|text| text.parse().ok());
                return version.ok_or_else(|| foreign("a version that is no number"));
            }
            _ => return Err(foreign("another format")),
        }
    }
    Err(foreign("a hash without a format"))
}
