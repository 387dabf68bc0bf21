//! The shape of `vicar.yaml`. Field docs are what `vicar schema settings` shows in editors.

use std::{collections::BTreeMap, path::PathBuf};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Size, Span, Text, defaults};
use crate::source::{At, filled};

/// Settings of a Vicar sidecar.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Vicar settings")]
pub struct Settings {
    /// Version of this format: 1.
    #[schemars(extend("const" = 1))]
    pub version: At<u32>,
    /// Where integrations connect.
    pub listen: Vec<Listen>,
    /// The service behind.
    pub upstream: Upstream,
    /// Where accounts and keys live.
    #[serde(default)]
    pub directory: DirectoryBackend,
    /// The policy file.
    pub policy: At<PathBuf>,
    /// The catalog files; together they name every endpoint.
    pub catalog: Vec<At<PathBuf>>,
    /// How callers present their key.
    #[serde(default)]
    pub credentials: Credentials,
    /// How a caller names a user to act for, and how the upstream is told.
    #[serde(default)]
    pub impersonation: Impersonation,
    /// What requests are refused before anybody looks at who sent them.
    #[serde(default)]
    pub guard: Guard,
    /// Where the audit log goes.
    #[serde(default)]
    pub audit: Audit,
    /// The admin listener: health, metrics, API and console.
    #[serde(default)]
    pub admin: Admin,
    /// Numbers that bound what a caller can use.
    #[serde(default)]
    pub limits: Limits,
    /// Peers whose `X-Forwarded-*`, `Forwarded` and PROXY headers count, as networks.
    #[serde(default, deserialize_with = "super::units::networks")]
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<IpNet>,
    /// What a key may do about itself under `/.vicar/`.
    #[serde(default = "defaults::self_service")]
    pub self_service: Vec<SelfService>,
    /// What goes to standard error.
    #[serde(default)]
    pub log: Log,
    /// This sidecar's name in the audit log; the host's name unless set.
    #[serde(default, deserialize_with = "filled")]
    pub sidecar: Option<String>,
    /// Threads that serve requests; one for each core unless set.
    #[serde(default, deserialize_with = "filled")]
    #[schemars(range(min = 1, max = 1024))]
    pub workers: Option<usize>,
}

impl Settings {
    /// The audit stream, where its Redis is another than the directory's.
    #[must_use]
    pub fn stream_apart(&self) -> Option<&Stream> {
        self.audit.stream.as_ref().filter(|stream| self.directory.redis.as_ref() != Some(&stream.redis))
    }
}

/// One address to listen on.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// `IP:PORT`, `[IPv6]:PORT`, or `unix:/path`.
    pub address: Text,
    /// Serve TLS with this certificate.
    #[serde(default, deserialize_with = "filled")]
    pub tls: Option<Tls>,
    /// Permissions of a Unix socket, in octal; 0660 unless set.
    #[serde(default, deserialize_with = "filled")]
    pub mode: Option<At<String>>,
    /// Expect a PROXY protocol header (v1 or v2) from peers in `trusted_proxies`.
    #[serde(default)]
    pub proxy_protocol: bool,
}

/// A server certificate.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the certificate and its chain.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
    /// PEM file with the CAs that client certificates must chain to; clients must then show one, and a key can be bound to it (`vicar key create --client-cert`).
    #[serde(default, deserialize_with = "filled")]
    pub client_ca: Option<PathBuf>,
}

/// The service behind Vicar.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// `http://host:port`, `https://host:port`, or `unix:/path`.
    pub url: Text,
    /// Further addresses of the same service; the least loaded healthy one gets the next request.
    #[serde(default)]
    pub also: Vec<Text>,
    /// Headers that every request upstream carries. `${env:NAME}` and `${file:PATH}` keep secrets out of this file.
    #[serde(default)]
    pub headers: BTreeMap<String, Text>,
    /// Send the caller's `Host` on instead of the upstream's own name.
    #[serde(default)]
    pub preserve_host: bool,
    /// Send this `Host`.
    #[serde(default, deserialize_with = "filled")]
    pub host: Option<At<String>>,
    /// Speak HTTP/2 to the upstream (prior knowledge, or ALPN under TLS).
    #[serde(default)]
    pub http2: bool,
    /// How `https` upstreams are checked.
    #[serde(default)]
    pub tls: UpstreamTls,
    /// How dead addresses are found.
    #[serde(default, deserialize_with = "filled")]
    pub health: Option<Health>,
}

/// TLS towards the upstream.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTls {
    /// PEM file with the CAs to trust instead of the system's.
    #[serde(default, deserialize_with = "filled")]
    pub ca: Option<PathBuf>,
    /// PEM file with a client certificate.
    #[serde(default, deserialize_with = "filled")]
    pub certificate: Option<PathBuf>,
    /// PEM file with the client certificate's key.
    #[serde(default, deserialize_with = "filled")]
    pub key: Option<PathBuf>,
    /// The name to ask for and to check, where it is not the URL's.
    #[serde(default, deserialize_with = "filled")]
    pub server_name: Option<String>,
}

/// Active health checks.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Path to GET; any status below 500 is healthy.
    pub path: String,
    /// How often; 5s unless set.
    #[serde(default = "defaults::health_every")]
    pub every: Span,
}

/// Where accounts and keys live: `{file: PATH}` or `{redis: URL}`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DirectoryBackend {
    /// The keys file of the embedded backend.
    #[serde(deserialize_with = "filled")]
    pub file: Option<At<PathBuf>>,
    /// `redis://`, `rediss://`, `redis+sentinel://host,host/SERVICE/DB` or `redis+cluster://host,host`.
    #[serde(deserialize_with = "filled")]
    pub redis: Option<Text>,
    /// What every name in Redis begins with.
    pub prefix: String,
    /// How the Redis server is checked under `rediss://`.
    pub tls: UpstreamTls,
    /// How old an answer may be that no revocation push vouches for.
    pub fresh_for: Span,
    /// How long known keys keep working while Redis is away.
    pub stale_for: Span,
    /// How long it is remembered that a key does not exist.
    pub negative_for: Span,
    /// How many keys are remembered.
    pub cache: u64,
    /// How long one question to Redis may take.
    pub timeout: Span,
}

/// How callers present their key.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Credentials {
    /// Header with the access-key id.
    pub id_header: At<String>,
    /// Header with the access-key secret.
    pub secret_header: At<String>,
    /// Take HTTP Basic too (id as user, secret as password).
    pub basic: bool,
}

/// How a caller names a user to act for, and how the upstream is told.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Impersonation {
    /// Header in which callers name the user.
    pub subject_header: At<String>,
    /// Headers the upstream gets. Placeholders: `{user}`, `{user.local}`, `{user.domain}`, `{account}`, `{key}`,
    /// `{request_id}`; a header whose placeholder has no value is not sent.
    pub upstream_headers: BTreeMap<String, At<String>>,
    /// How much of a body is read to find the user in it.
    pub body_limit: Size,
    /// A signed statement of who is acting, for upstreams that verify it.
    #[serde(deserialize_with = "filled")]
    pub assertion: Option<Assertion>,
}

/// A signed JWT (EdDSA) for the upstream.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// Header that carries it.
    #[serde(default = "defaults::assertion_header")]
    pub header: At<String>,
    /// PEM file with an Ed25519 private key (PKCS#8).
    pub key: At<PathBuf>,
    /// A key that signed before and is still published while its tokens live.
    #[serde(default, deserialize_with = "filled")]
    pub previous: Option<At<PathBuf>>,
    /// The `aud` claim: the upstream's name.
    pub audience: String,
    /// The `iss` claim; `vicar` unless set.
    #[serde(default = "defaults::issuer")]
    pub issuer: String,
    /// How long it holds; 30s unless set, 60s at most.
    #[serde(default = "defaults::assertion_life")]
    pub valid_for: At<Span>,
}

/// What requests are refused before anybody looks at who sent them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// Media types that a body may have, for endpoints that name none.
    pub content_types: Vec<String>,
    /// Query names that are refused, for endpoints that name none.
    pub reserved_query: Vec<String>,
    /// What is let through although it is dangerous by default.
    pub pass: Vec<Pass>,
}

/// Something that is held back unless named under `guard.pass`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    /// The caller's `Authorization`.
    Authorization,
    /// The caller's `Cookie`.
    Cookie,
    /// The upstream's `Set-Cookie`.
    SetCookie,
    /// `;name=value` parameters in the path.
    PathParameters,
}

/// Where the audit log goes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// The journal on this machine's disk.
    pub journal: Journal,
    /// The Redis stream that all sidecars ship to.
    #[serde(deserialize_with = "filled")]
    pub stream: Option<Stream>,
    /// Query names whose values are recorded too.
    pub query_values: Vec<String>,
    /// Refusals without a valid key that one client address may cause in a minute before they are folded into counted records.
    #[serde(deserialize_with = "filled")]
    pub refusals_per_minute: Option<u32>,
    /// Signed checkpoints of the chain.
    #[serde(deserialize_with = "filled")]
    pub checkpoint: Option<Checkpoint>,
}

/// The journal on disk.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Journal {
    /// Folder of the journal.
    pub path: PathBuf,
    /// What a record survives before its request goes upstream.
    pub durability: Durability,
    /// Size of one segment file.
    pub segment: Size,
    /// How long records are kept; `audit.stream.keep` is the stream's own.
    pub keep: Span,
    /// How much disk the journal may take; the oldest shipped segments go first.
    pub max_size: Size,
}

/// What a record survives before its request goes upstream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The end of the process, at any instant.
    #[default]
    Process,
    /// The loss of power.
    Disk,
}

/// The Redis stream.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// Redis, as under `directory`.
    pub redis: Text,
    /// Name of the stream.
    #[serde(default)]
    #[schemars(extend("default" = "vicar:audit"))]
    pub name: String,
    /// How long records stay in it.
    #[serde(default = "defaults::keep")]
    pub keep: Span,
    /// Streams to spread sidecars over, for a Cluster. May be changed: what was shipped stays where it is, and is read there.
    #[serde(default = "defaults::one")]
    #[schemars(range(min = 1, max = 1024))]
    pub partitions: u32,
    /// How the Redis server is checked under `rediss://`.
    #[serde(default)]
    pub tls: UpstreamTls,
    /// How much may wait on disk for Redis; beyond it, requests are refused.
    #[serde(default = "defaults::backlog")]
    pub backlog: Size,
}

/// Signed checkpoints of the chain.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// PEM file with an Ed25519 private key (PKCS#8).
    pub key: At<PathBuf>,
    /// How often; 10m unless set.
    #[serde(default = "defaults::checkpoint_every")]
    pub every: Span,
}

/// The admin listener.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// `IP:PORT` or `unix:/path`; loopback unless set.
    pub address: Text,
    /// Serve TLS with this certificate.
    #[serde(deserialize_with = "filled")]
    pub tls: Option<Tls>,
}

/// Numbers that bound what a caller can use.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Service accounts.
    pub accounts: u32,
    /// Access keys in one account.
    pub keys_per_account: u32,
    /// Requests a minute, for each account and for each key.
    #[serde(deserialize_with = "filled")]
    pub requests_per_minute: Option<u32>,
    /// Whether each sidecar counts its own requests a minute, or the fleet all of them together, in the directory's Redis.
    pub requests_counted_by: Counting,
    /// Requests of one account under way at once.
    #[serde(deserialize_with = "filled")]
    pub concurrency: Option<u32>,
    /// Failed sign-ins a minute from one client address before it is slowed down.
    pub failed_sign_ins_per_minute: u32,
    /// Largest request body.
    pub body: Size,
    /// Largest request head.
    pub header_bytes: Size,
    /// Most header fields in a request. An answer of the service may have as many, and 100 in any case.
    pub headers: usize,
    /// Connections at once, over all listeners.
    pub connections: u32,
    /// Longest life that a new key may be given.
    #[serde(deserialize_with = "filled")]
    pub key_lifetime: Option<Span>,
    /// How long an old secret lives beside its successor after a self-service rotation.
    pub rotate_overlap: Span,
    /// How long each phase of a request may take.
    pub timeouts: Timeouts,
}

/// Who counts requests a minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Counting {
    /// Each sidecar its own.
    #[default]
    Sidecar,
    /// All sidecars of a directory in Redis together.
    Fleet,
}

/// How long each phase of a request may take.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// TLS handshake with a caller.
    pub handshake: Span,
    /// A request head to arrive whole.
    pub head: Span,
    /// The next piece of a request body to arrive, or of an answer to be taken.
    pub body: Span,
    /// A kept-alive connection without a request.
    pub keep_alive: Span,
    /// A connection to the upstream to stand.
    pub connect: Span,
    /// The upstream's first byte, after the request has gone out.
    pub first_byte: Span,
    /// The next piece of the upstream's answer.
    pub idle: Span,
    /// The whole exchange, if bounded.
    #[serde(deserialize_with = "filled")]
    pub total: Option<Span>,
    /// Running requests to end, at shutdown.
    pub drain: Span,
}

/// A thing that a key may do about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SelfService {
    /// `GET /.vicar/whoami`.
    Whoami,
    /// `POST /.vicar/rotate`.
    Rotate,
}

/// What goes to standard error.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `human`, `json`, or by whether standard error is a terminal.
    pub format: LogFormat,
    /// A level (`info`) or a filter (`vicar=debug,hyper=warn`).
    #[serde(deserialize_with = "filled")]
    pub level: Option<String>,
    /// Send spans by OTLP over HTTP to this collector, for example `http://127.0.0.1:4318`.
    #[serde(deserialize_with = "filled")]
    pub otlp: Option<Text>,
}

/// Shape of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Human on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Human,
    /// For machines.
    Json,
}
