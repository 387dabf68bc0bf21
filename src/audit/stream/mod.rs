//! The stream in Redis: its names, and how it is asked.

mod layouts;

pub(super) use layouts::Layouts;

use std::{collections::HashMap, time::Duration};

use redis::{
    AsyncConnectionConfig, Cmd, FromRedisValue,
    aio::{ConnectionLike as _, MultiplexedConnection},
};

use super::error::AuditError;
use crate::{
    directory::redis::{
        address::{Address, Host, Kind, Role},
        advice,
    },
    settings,
};

/// How often a cluster may send us elsewhere with one question.
const REDIRECTIONS: usize = 5;
/// Connections to other nodes that are kept.
const OTHERS: usize = 3;

/// How long Redis may take for one answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a connection may take to stand.
const CONNECT: Duration = Duration::from_secs(3);

/// A connection to the stream's Redis.
pub(super) struct Link {
    address: Address,
    host: Host,
    connection: MultiplexedConnection,
    /// To nodes of a cluster that were asked before.
    others: Vec<(Host, MultiplexedConnection)>,
}

/// The keys of one partition: the stream, and the hash that says how far each sidecar has shipped to it. Both are on
/// one slot of a Cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) stream: String,
    pub(super) cursors: String,
}

impl Keys {
    /// Of the partition that `sidecar` ships to.
    pub(super) fn of(stream: &settings::Stream, sidecar: &str) -> Self {
        Self::among(&stream.name, sidecar, stream.partitions.max(1))
    }

    /// Of the partition that `sidecar` ships to where there are so many.
    fn among(name: &str, sidecar: &str, partitions: u32) -> Self {
        let hash = blake3::hash(sidecar.as_bytes());
        let number = hash.as_bytes().first_chunk().map_or(0, |head| u32::from_le_bytes(*head));
        Self::partition(name, number % partitions, partitions)
    }

    fn partition(name: &str, number: u32, partitions: u32) -> Self {
        let name = if partitions > 1 { format!("{name}:{number}") } else { name.to_owned() };
        // A tag in the name itself is the tag of both keys; else the whole name is. Both begin with the stream's name, so
        // that whoever may use keys of that prefix may use both.
        let tagged = name.split_once('{').is_some_and(|(_, rest)| rest.split_once('}').is_some_and(|(tag, _)| !tag.is_empty()));
        let cursors = if tagged { format!("{name}:cursors") } else { format!("{name}:cursors:{{{name}}}") };
        Self { stream: name, cursors }
    }
}

impl Link {
    /// Connects to whoever is in charge.
    pub(super) async fn connect(stream: &settings::Stream) -> Result<Self, AuditError> {
        let address = Address::parse(&stream.redis, &stream.tls).map_err(|error| AuditError::Stream { why: error.to_string() })?;
        let mut why = "no server was named".to_owned();
        for host in address.hosts.clone() {
            match Self::by_way_of(&address, &host).await {
                Ok((host, connection)) => return Ok(Self { address, host, connection, others: Vec::new() }),
                Err(error) => why = format!("{host}: {error}"),
            }
        }
        Err(AuditError::Stream { why })
    }

    /// Connects to a server, or to the master that a sentinel names.
    async fn by_way_of(address: &Address, host: &Host) -> redis::RedisResult<(Host, MultiplexedConnection)> {
        let Kind::Sentinel(service) = &address.kind else { return Ok((host.clone(), dial(address, host, Role::Server).await?)) };
        let mut sentinel = dial(address, host, Role::Sentinel).await?;
        let mut ask = redis::cmd("SENTINEL");
        ask.arg("get-master-addr-by-name").arg(service);
        let master: Option<(String, u16)> = query(&mut sentinel, &ask).await?;
        let Some((name, port)) = master else { return Err(client_error("the sentinel does not know this service")) };
        let host = Host { name, port };
        let mut connection = dial(address, &host, Role::Server).await?;
        // A sentinel may not know yet that its master is none any more.
        let role: redis::Value = query(&mut connection, &redis::cmd("ROLE")).await?;
        match role {
            redis::Value::Array(parts) if parts.first() == Some(&redis::Value::BulkString(b"master".to_vec())) => Ok((host, connection)),
            _ => Err(client_error("Sentinel names a server that is no master; a failover is under way")),
        }
    }

    /// Whether the keys are spread over nodes.
    pub(super) fn is_cluster(&self) -> bool {
        self.address.kind == Kind::Cluster
    }

    /// Asks, and waits for the answer; follows a cluster to where the key is.
    pub(super) async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> redis::RedisResult<T> {
        for _ in 0..REDIRECTIONS {
            match query(&mut self.connection, command).await {
                Err(error) if self.address.kind == Kind::Cluster && error.redirect_node().is_some() => {
                    let to = error.redirect_node().and_then(|(to, _)| Host::redirected(to, &self.host));
                    let Some(to) = to else { return Err(error) };
                    self.turn_to(to).await?;
                    if error.kind() == redis::ErrorKind::Server(redis::ServerErrorKind::Ask) {
                        let _: redis::Value = query(&mut self.connection, &redis::cmd("ASKING")).await?;
                    }
                }
                answer => return answer,
            }
        }
        Err(client_error("the cluster sends us from node to node"))
    }

    /// Asks this node of the cluster from now on. The other stays at hand: two journals may lie on two nodes.
    async fn turn_to(&mut self, to: Host) -> redis::RedisResult<()> {
        let connection = match self.others.iter().position(|(host, _)| *host == to) {
            Some(at) => self.others.swap_remove(at).1,
            None => dial(&self.address, &to, Role::Server).await?,
        };
        let before = (std::mem::replace(&mut self.host, to), std::mem::replace(&mut self.connection, connection));
        self.others.truncate(OTHERS - 1);
        self.others.push(before);
        Ok(())
    }
}

async fn dial(address: &Address, host: &Host, role: Role) -> redis::RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(ANSWER));
    address.connect(host, role, config).await.map_err(|error| (redis::ErrorKind::InvalidClientConfig, "address", error.to_string()))?
}

async fn query<T: FromRedisValue>(connection: &mut MultiplexedConnection, command: &Cmd) -> redis::RedisResult<T> {
    let answer = connection.req_packed_command(command).await?.extract_error()?;
    Ok(redis::from_redis_value(answer)?)
}

fn client_error(why: &'static str) -> redis::RedisError {
    (redis::ErrorKind::Client, why).into()
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

/// What somebody should know of the stream's Redis before relying on it. What it does not let us see is not warned of, and
/// that it cannot be reached is the shipper's to tell.
pub async fn stream_warnings(stream: &settings::Stream) -> Vec<String> {
    let Ok(mut link) = Link::connect(stream).await else { return Vec::new() };
    let mut info = async |section: &str| link.ask::<String>(redis::cmd("INFO").arg(section)).await.unwrap_or_default();
    let (memory, persistence) = (info("memory").await, info("persistence").await);
    let config: HashMap<String, String> = link.ask(redis::cmd("CONFIG").arg("GET").arg("save")).await.unwrap_or_default();
    advice::judge(&link.address, &memory, &persistence, config.get("save").map(String::as_str))
}

/// How far a sidecar has shipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Number of the last record that was shipped.
    pub(super) seq: u64,
    /// Its hash.
    pub(super) hash: String,
}

impl Cursor {
    /// As it stands in Redis.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (seq, hash) = text.split_once(':')?;
        Some(Self { seq: seq.parse().ok()?, hash: hash.to_owned() })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

/// How far every sidecar has shipped to a partition.
pub(super) async fn cursors(link: &mut Link, keys: &Keys) -> redis::RedisResult<Vec<(String, Cursor)>> {
    let all: HashMap<String, String> = link.ask(redis::cmd("HGETALL").arg(&keys.cursors)).await?;
    Ok(all.into_iter().filter_map(|(sidecar, text)| Some((sidecar, Cursor::parse(&text)?))).collect())
}
