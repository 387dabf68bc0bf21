//! Finding the server in charge: the one there is, the master that Sentinel names, the node that has our slot.

use redis::{AsyncConnectionConfig, Value, aio::MultiplexedConnection};

use super::{
    address::{Address, Host, Kind, Role},
    fault::Fault,
    link::{Live, Shared},
};
use crate::directory::DirectoryError;

/// Hears what a connection pushes.
pub(super) type Push = Box<dyn Fn(redis::PushInfo) -> Result<(), redis::aio::SendError> + Send + Sync>;

/// Most nodes of a cluster that are remembered.
const NODES: usize = 64;

/// How long one server may take to let us in: less than an attempt may take in all, so that another is tried next.
const ONE_HOST: std::time::Duration = std::time::Duration::from_millis(1500);

/// Servers that may know where the data is, the likeliest first.
#[derive(Debug, Clone)]
pub(super) struct Known {
    hosts: Vec<Host>,
}

impl Known {
    pub(super) fn new(address: &Address) -> Self {
        Self { hosts: address.hosts.clone() }
    }

    /// It had the data.
    pub(super) fn found(&mut self, host: &Host) {
        self.hosts.retain(|known| known != host);
        self.hosts.insert(0, host.clone());
        self.hosts.truncate(NODES);
    }

    /// It is not to be reached; the next attempt begins with another.
    pub(super) fn failed(&mut self, host: &Host) {
        if let Some(at) = self.hosts.iter().position(|known| known == host) {
            let host = self.hosts.remove(at);
            self.hosts.push(host);
        }
    }

    fn add(&mut self, host: Host) {
        if !self.hosts.contains(&host) && self.hosts.len() < NODES {
            self.hosts.push(host);
        }
    }
}

/// Where to begin.
pub(super) async fn first(shared: &Shared, known: &Known) -> Result<Host, DirectoryError> {
    match &shared.address.kind {
        Kind::Sentinel(_) => master(shared, known).await,
        Kind::Alone | Kind::Cluster => known.hosts.first().cloned().ok_or_else(|| shared.unavailable("no server is named")),
    }
}

/// The master, by the first sentinel that answers.
pub(super) async fn master(shared: &Shared, _known: &Known) -> Result<Host, DirectoryError> {
    let Kind::Sentinel(service) = &shared.address.kind else { return Err(shared.unavailable("there is no Sentinel")) };
    let mut last = shared.unavailable("no sentinel is named");
    // All at once: one that hangs costs nothing while another answers.
    let mut asked = futures_util::stream::FuturesUnordered::new();
    for sentinel in &shared.address.hosts {
        asked.push(ask_sentinel(shared, sentinel, service));
    }
    while let Some(answer) = futures_util::StreamExt::next(&mut asked).await {
        match answer {
            Ok(master) => return Ok(master),
            Err(fault) => last = fault.into_error(shared),
        }
    }
    Err(last)
}

async fn ask_sentinel(shared: &Shared, sentinel: &Host, service: &str) -> Result<Host, Fault> {
    let mut connection = open(shared, sentinel, Role::Sentinel, None).await?;
    let mut command = redis::cmd("SENTINEL");
    command.arg("GET-MASTER-ADDR-BY-NAME").arg(service);
    let answer = connection.send_packed_command(&command).await.map_err(|error| Fault::of(error, sentinel))?;
    match answer {
        Value::Array(parts) => match parts.as_slice() {
            [Value::BulkString(name), Value::BulkString(port)] => {
                let text = |raw: &[u8]| String::from_utf8(raw.to_vec()).ok();
                let host = text(name).zip(text(port).and_then(|port| port.parse().ok()));
                let (name, port) = host.ok_or_else(|| Fault::Broken("a sentinel names a master that is no address".to_owned()))?;
                Ok(Host { name, port })
            }
            _ => Err(Fault::Broken("a sentinel's answer makes no sense".to_owned())),
        },
        Value::Nil => Err(Fault::Wait(format!("the sentinel at {sentinel} knows no service {service:?}"))),
        _ => Err(Fault::Broken("a sentinel's answer makes no sense".to_owned())),
    }
}

/// Sentinel may name a master that does not know yet that it is none any more, or not yet that it is one.
pub(super) async fn is_master(live: &Live) -> Result<(), Fault> {
    match live.query(&redis::cmd("ROLE")).await? {
        Value::Array(parts) if matches!(parts.first(), Some(Value::BulkString(role)) if role == b"master") => Ok(()),
        _ => Err(Fault::Wait("Sentinel names a server that is no master; a failover is under way".to_owned())),
    }
}

/// Remembers the cluster's nodes, for when those that the settings name are gone. It works without, too.
pub(super) async fn learn(live: &Live, known: &mut Known) {
    let mut command = redis::cmd("CLUSTER");
    command.arg("SLOTS");
    let Ok(Value::Array(ranges)) = live.query(&command).await else { return };
    for range in ranges {
        let Value::Array(range) = range else { continue };
        for node in range.into_iter().skip(2) {
            let Value::Array(node) = node else { continue };
            if let [Value::BulkString(name), Value::Int(port), ..] = node.as_slice()
                && let (Ok(name), Ok(port)) = (String::from_utf8(name.clone()), u16::try_from(*port))
                && !name.is_empty()
            {
                known.add(Host { name, port });
            }
        }
    }
}

/// Connects to a server.
pub(super) async fn open(shared: &Shared, host: &Host, role: Role, push: Option<Push>) -> Result<MultiplexedConnection, Fault> {
    let mut config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(shared.timeout.max(ONE_HOST)))
        // Whoever asks has a deadline of their own; this bounds what is left of a question that nobody waits for.
        .set_response_timeout(Some(super::CHANGE_PATIENCE))
        .set_pipeline_buffer_size(1024);
    if let Some(push) = push {
        config = config.set_push_sender(push);
    }
    let connected = shared.address.connect(host, role, config).await.map_err(|error| Fault::Refused(error.to_string()))?;
    connected.map_err(|error| Fault::of(error, host))
}
