//! Where Redis is: `redis://`, `rediss://`, Sentinel, Cluster.

use std::{fmt, net::SocketAddr};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo as _, ProtocolVersion, RedisConnectionInfo, RedisFuture, RedisResult,
    TlsCertificates,
    aio::MultiplexedConnection,
    io::{AsyncDNSResolver, tcp::TcpSettings},
};

use crate::{directory::DirectoryError, settings::UpstreamTls};

/// An address as the settings give it.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) kind: Kind,
    /// The servers that are named: the one, the sentinels, or some nodes of the cluster.
    pub(crate) hosts: Vec<Host>,
    pub(crate) database: i64,
    user: Option<String>,
    password: Option<String>,
    sentinel_user: Option<String>,
    sentinel_password: Option<String>,
    tls: Option<Tls>,
}

/// How many servers there are, and who says which is in charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One server.
    Alone,
    /// Sentinels know the master of this service.
    Sentinel(String),
    /// The nodes of a cluster know who has the slot.
    Cluster,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) port: u16,
}

/// How the server is checked, and how it checks us.
#[derive(Clone, Default)]
struct Tls {
    ca: Option<Vec<u8>>,
    client: Option<(Vec<u8>, Vec<u8>)>,
    server_name: Option<String>,
}

/// Whom a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// One that holds data.
    Server,
    /// One that knows where it is.
    Sentinel,
}

impl Address {
    /// Reads an address. No error repeats it: there may be a password in it.
    pub(crate) fn parse(raw: &str, tls: &UpstreamTls) -> Result<Self, DirectoryError> {
        let wrong = |why: String| DirectoryError::Address(why);
        let forms = "write redis://HOST:PORT, rediss://HOST:PORT, redis+sentinel://HOST,HOST/SERVICE or redis+cluster://HOST,HOST";
        let (scheme, rest) = raw.split_once("://").ok_or_else(|| wrong(format!("this is no address; {forms}")))?;
        let (secure, mode) = match scheme.split_once('+').unwrap_or((scheme, "")) {
            ("redis" | "valkey", mode) => (false, mode),
            ("rediss" | "valkeys", mode) => (true, mode),
            (other, _) => return Err(wrong(format!("{other:?} is no scheme of Redis; {forms}"))),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (login, rest) = rest.rsplit_once('@').map_or((None, rest), |(login, rest)| (Some(login), rest));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let default_port = if mode == "sentinel" { 26379 } else { 6379 };
        let hosts = hosts.split(',').map(|host| host_of(host, default_port)).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        let (kind, database) = match mode {
            "" => (Kind::Alone, path),
            "sentinel" => {
                let (service, database) = path.split_once('/').unwrap_or((path, ""));
                if service.is_empty() {
                    return Err(wrong("the name of the Sentinel service is missing: redis+sentinel://HOST,HOST/SERVICE".to_owned()));
                }
                (Kind::Sentinel(decoded(service).map_err(wrong)?), database)
            }
            "cluster" => (Kind::Cluster, path),
            other => return Err(wrong(format!("{other:?} is no way to reach Redis; {forms}"))),
        };
        let database = match database.trim_end_matches('/') {
            "" => 0,
            number => number.parse::<u16>().map_err(|_| wrong(format!("{number:?} is not the number of a database")))?,
        };
        if kind == Kind::Cluster && database != 0 {
            return Err(wrong("a cluster has database 0 only".to_owned()));
        }
        if kind == Kind::Alone && hosts.len() > 1 {
            return Err(wrong("several servers are a Sentinel's or a cluster's: redis+sentinel:// or redis+cluster://".to_owned()));
        }
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or(("", login))) {
            None => (None, None),
            Some((user, password)) => {
                let user = decoded(user).map_err(wrong)?;
                (Some(user).filter(|user| !user.is_empty()), Some(decoded(password).map_err(wrong)?))
            }
        };
        let (mut sentinel_user, mut sentinel_password) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "sentinel_user" => sentinel_user = Some(decoded(value).map_err(wrong)?),
                "sentinel_password" => sentinel_password = Some(decoded(value).map_err(wrong)?),
                // What is spoken anyhow.
                "protocol" if value == "resp3" => {}
                other => return Err(wrong(format!("{other:?} is no option; there are sentinel_user and sentinel_password"))),
            }
        }
        let tls = if secure { Some(Tls::read(tls)?) } else { None };
        Ok(Self { kind, hosts, database: i64::from(database), user, password, sentinel_user, sentinel_password, tls })
    }

    /// A client of one of the servers.
    fn client(&self, host: &Host, role: Role) -> Result<Client, DirectoryError> {
        let wrong = |error: redis::RedisError| DirectoryError::Address(error.to_string());
        let addr = match &self.tls {
            None => ConnectionAddr::Tcp(host.name.clone(), host.port),
            Some(tls) => ConnectionAddr::TcpTls {
                // What is asked for and checked; `connect` says where it is.
                host: tls.server_name.clone().unwrap_or_else(|| host.name.clone()),
                port: host.port,
                insecure: false,
                tls_params: None,
            },
        };
        let (user, password) = match role {
            Role::Server => (&self.user, &self.password),
            Role::Sentinel => (&self.sentinel_user, &self.sentinel_password),
        };
        let mut login = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name();
        if role == Role::Server {
            login = login.set_db(self.database);
        }
        if let Some(user) = user {
            login = login.set_username(user);
        }
        if let Some(password) = password {
            login = login.set_password(password);
        }
        let info = addr
            .into_connection_info()
            .map_err(wrong)?
            .set_redis_settings(login)
            .set_tcp_settings(TcpSettings::default().set_nodelay(true));
        match &self.tls {
            None => Client::open(info).map_err(wrong),
            Some(tls) => {
                let client_tls = tls.client.clone().map(|(client_cert, client_key)| redis::ClientTlsConfig { client_cert, client_key });
                Client::build_with_tls(info, TlsCertificates { client_tls, root_cert: tls.ca.clone() }).map_err(wrong)
            }
        }
    }

    /// Connects to one of the servers.
    pub(crate) async fn connect(
        &self,
        host: &Host,
        role: Role,
        mut config: AsyncConnectionConfig,
    ) -> Result<RedisResult<MultiplexedConnection>, DirectoryError> {
        let client = self.client(host, role)?;
        if self.tls.as_ref().is_some_and(|tls| tls.server_name.is_some()) {
            config = config.set_dns_resolver(Fixed(host.clone()));
        }
        Ok(client.get_multiplexed_async_connection_with_config(&config).await)
    }
}

/// Answers with one host's addresses, whatever is asked: TLS asks for a server by another name than where it is.
struct Fixed(Host);

impl AsyncDNSResolver for Fixed {
    fn resolve<'a, 'b: 'a>(&'a self, _: &'b str, _: u16) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async {
            let found = tokio::net::lookup_host((self.0.name.as_str(), self.0.port)).await?;
            Ok(Box::new(found.collect::<Vec<_>>().into_iter()) as Box<dyn Iterator<Item = SocketAddr> + Send>)
        })
    }
}

impl Tls {
    fn read(settings: &UpstreamTls) -> Result<Self, DirectoryError> {
        let read = |path: &Option<std::path::PathBuf>, what: &str| {
            let read = |path: &std::path::PathBuf| {
                std::fs::read(path).map_err(|error| DirectoryError::Address(format!("tls.{what}: {}: {error}", path.display())))
            };
            path.as_ref().map(read).transpose()
        };
        let client = match (read(&settings.certificate, "certificate")?, read(&settings.key, "key")?) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                return Err(DirectoryError::Address("tls.certificate and tls.key belong together: give both or neither".to_owned()));
            }
        };
        Ok(Self { ca: read(&settings.ca, "ca")?, client, server_name: settings.server_name.clone() })
    }
}

impl Host {
    /// Reads `host:port` as a server writes it in a redirection; an empty host is the one that was asked.
    pub(crate) fn redirected(raw: &str, asked: &Self) -> Option<Self> {
        let (name, port) = raw.rsplit_once(':')?;
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let name = if name.is_empty() || name == "?" { asked.name.clone() } else { name.to_owned() };
        Some(Self { name, port: port.parse().ok()? })
    }
}

fn host_of(raw: &str, default_port: u16) -> Result<Host, String> {
    let (name, port) = match raw.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, rest)) => (name, rest.strip_prefix(':')),
        None => raw.split_once(':').map_or((raw, None), |(name, port)| (name, Some(port))),
    };
    if name.is_empty() {
        return Err("a host is missing".to_owned());
    }
    let port = port.map_or(Ok(default_port), |port| port.parse().map_err(|_| "a port is not a number up to 65535".to_owned()))?;
    Ok(Host { name: decoded(name)?, port })
}

/// Undoes percent-encoding.
fn decoded(raw: &str) -> Result<String, String> {
    let wrong = || "a % is not followed by two hexadecimal digits".to_owned();
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first == b'%' {
            let (digits, tail) = rest.split_at_checked(2).ok_or_else(wrong)?;
            let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
            if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(wrong());
            }
            out.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
            rest = tail;
        } else {
            out.push(*first);
        }
    }
    String::from_utf8(out).map_err(|_| "what is percent-encoded is not UTF-8".to_owned())
}

// ===== printing: never a password =====

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') { write!(f, "[{}]:{}", self.name, self.port) } else { write!(f, "{}:{}", self.name, self.port) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
        let hosts = self.hosts.iter().map(Host::to_string).collect::<Vec<_>>().join(",");
        match &self.kind {
            Kind::Alone => write!(f, "{scheme}://{hosts}"),
            Kind::Sentinel(service) => write!(f, "{scheme}+sentinel://{hosts}/{service}"),
            Kind::Cluster => write!(f, "{scheme}+cluster://{hosts}"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(raw: &str) -> Result<Address, DirectoryError> {
        Address::parse(raw, &UpstreamTls::default())
    }

    #[test]
    fn every_way_to_reach_redis_is_read() {
        for (raw, shown) in [
            ("redis://127.0.0.1", "redis://127.0.0.1:6379"),
            ("redis://:p%40ss@h:1/3", "redis://h:1"),
            ("rediss://user:x@h", "rediss://h:6379"),
            ("redis://[::1]:7", "redis://[::1]:7"),
            ("valkey://h", "redis://h:6379"),
            ("redis+sentinel://a,b:7/mymaster/2", "redis+sentinel://a:26379,b:7/mymaster"),
            ("rediss+cluster://a:1,b:2?protocol=resp3", "rediss+cluster://a:1,b:2"),
        ] {
            assert_eq!(parse(raw).unwrap().to_string(), shown, "{raw}");
        }
        let address = parse("redis://zoe:p%40s%3As@h/3").unwrap();
        assert_eq!((address.user.as_deref(), address.password.as_deref(), address.database), (Some("zoe"), Some("p@s:s"), 3));
    }

    #[test]
    fn what_means_nothing_is_refused_and_no_password_is_repeated() {
        for raw in [
            "hunter2",
            "http://:hunter2@h",
            "redis://:hunter2@",
            "redis://:hunter2@h:port",
            "redis://:hunter2@a,b",
            "redis://:hunter2@h/x",
            "redis://:%zzhunter2@h",
            "redis://:hunter2@h?hunter=3",
            "redis+sentinel://:hunter2@h",
            "redis+cluster://:hunter2@h/1",
            "redis+moon://:hunter2@h",
        ] {
            let error = parse(raw).unwrap_err();
            assert!(matches!(error, DirectoryError::Address(_)), "{error:?}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
        assert!(!format!("{:?}", parse("redis://:hunter2@h").unwrap()).contains("hunter2"));
    }
}
