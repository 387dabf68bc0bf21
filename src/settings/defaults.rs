//! What holds where a settings file says nothing: safe to run with.

use std::collections::BTreeMap;

use super::{
    Admin, Counting, Credentials, DirectoryBackend, Durability, Guard, Impersonation, Journal, Limits, SelfService, Settings, Size, Span,
    Stream, Text, Timeouts, UpstreamTls,
};
use crate::source::At;

pub(super) fn self_service() -> Vec<SelfService> {
    vec![SelfService::Whoami]
}

pub(super) fn health_every() -> Span {
    Span::seconds(5)
}

pub(super) fn assertion_header() -> At<String> {
    "X-Vicar-Assertion".to_owned().into()
}

pub(super) fn issuer() -> String {
    "vicar".to_owned()
}

pub(super) fn assertion_life() -> At<Span> {
    Span::seconds(30).into()
}

pub(super) fn keep() -> Span {
    Span::days(90)
}

pub(super) fn one() -> u32 {
    1
}

pub(super) fn backlog() -> Size {
    Size(1 << 30)
}

pub(super) fn checkpoint_every() -> Span {
    Span::seconds(600)
}

impl Default for DirectoryBackend {
    fn default() -> Self {
        Self {
            file: None,
            redis: None,
            prefix: "vicar:".to_owned(),
            tls: UpstreamTls::default(),
            fresh_for: Span::seconds(5),
            stale_for: Span::seconds(3600),
            negative_for: Span::seconds(5),
            cache: 10_000,
            timeout: Span::millis(500),
        }
    }
}

impl Settings {
    /// Every name in Redis begins with the prefix, unless somebody names it otherwise.
    pub(super) fn name_stream(&mut self) {
        if let Some(stream) = self.audit.stream.as_mut().filter(|stream| stream.name.is_empty()) {
            stream.name = format!("{}audit", self.directory.prefix);
        }
    }
}

impl Stream {
    /// The stream in this Redis that holds where the file says nothing.
    pub(super) fn at(redis: impl Into<Text>) -> Self {
        Self { redis: redis.into(), name: String::new(), keep: keep(), partitions: one(), tls: UpstreamTls::default(), backlog: backlog() }
    }
}

impl Default for Credentials {
    fn default() -> Self {
        Self { id_header: "X-Access-Key-Id".to_owned().into(), secret_header: "X-Access-Key-Secret".to_owned().into(), basic: true }
    }
}

impl Default for Impersonation {
    fn default() -> Self {
        Self {
            subject_header: "X-Impersonate-User".to_owned().into(),
            upstream_headers: BTreeMap::from([("X-Forwarded-User".to_owned(), "{user}".to_owned().into())]),
            body_limit: Size(64 << 10),
            assertion: None,
        }
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            content_types: vec!["application/json".to_owned()],
            reserved_query: ["key", "api_key", "apikey", "access_token", "token", "_method"].map(str::to_owned).to_vec(),
            pass: Vec::new(),
        }
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            path: "audit".into(),
            durability: Durability::Process,
            segment: Size(64 << 20),
            keep: Span::days(90),
            max_size: Size(10 << 30),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: "127.0.0.1:9090".into(), tls: None }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            accounts: 25,
            keys_per_account: 50,
            requests_per_minute: None,
            requests_counted_by: Counting::Sidecar,
            concurrency: None,
            failed_sign_ins_per_minute: 6000,
            body: Size(50 << 20),
            header_bytes: Size(96 << 10),
            headers: 100,
            connections: 20_000,
            key_lifetime: None,
            rotate_overlap: Span::seconds(24 * 60 * 60),
            timeouts: Timeouts::default(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Span::seconds(10),
            head: Span::seconds(10),
            body: Span::seconds(60),
            keep_alive: Span::seconds(75),
            connect: Span::seconds(5),
            first_byte: Span::seconds(60),
            idle: Span::seconds(60),
            total: None,
            drain: Span::seconds(30),
        }
    }
}
