//! Where things are kept: the directory, the audit log, the documents.

use super::{super::Settings, Desk};
use crate::settings::{Counting, Text, UpstreamTls, places::Way};

/// What a Redis URL begins with, and whether the connection is encrypted. Valkey is Redis by another name.
const SCHEMES: [(&str, Encryption); 4] =
    [("redis", Encryption::Off), ("rediss", Encryption::On), ("valkey", Encryption::Off), ("valkeys", Encryption::On)];
/// How many servers there are, behind the `+` of the scheme.
const MODES: [&str; 3] = ["", "sentinel", "cluster"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encryption {
    On,
    Off,
}

pub(super) fn check(settings: &Settings, desk: &mut Desk<'_>) {
    directory(settings, desk);
    audit(settings, desk);
    documents(settings, desk);
    if let Some(name) = &settings.sidecar {
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > 253 || !name.bytes().all(good) {
            desk.error(&Way::to("sidecar"), format!("{name:?} is no name of a sidecar"))
                .help("use letters, digits, `.`, `_` and `-`, at most 253 of them");
        }
    }
}

fn directory(settings: &Settings, desk: &mut Desk<'_>) {
    let directory = &settings.directory;
    if let Some(redis) = &directory.redis {
        if directory.file.is_some() {
            desk.error_in_name(&Way::to("directory.redis"), "accounts and keys live in a file or in Redis, not in both")
                .help("leave out directory.file or directory.redis");
        }
        redis_url(redis, &directory.tls, &Way::to("directory.redis"), &Way::to("directory.tls"), desk);
    }
    name(&directory.prefix, &Way::to("directory.prefix"), desk);
    if settings.limits.requests_counted_by == Counting::Fleet && directory.redis.is_none() {
        desk.error(&Way::to("limits.requests_counted_by"), "there is no Redis for a fleet to count in")
            .help("set directory.redis, or leave limits.requests_counted_by out: each sidecar counts its own then");
    }
    // A file has no age.
    if directory.redis.is_some() && directory.stale_for < directory.fresh_for {
        desk.error(
            &Way::to("directory.stale_for"),
            format!("{} is less than directory.fresh_for, {}", directory.stale_for, directory.fresh_for),
        )
        .help("known keys work for fresh_for in any case; stale_for is how long they do while Redis is away");
    }
}

fn audit(settings: &Settings, desk: &mut Desk<'_>) {
    if let Some(stream) = &settings.audit.stream {
        let way = Way::to("audit.stream.redis");
        // `--redis` is the directory's too, and what is wrong with it has been said.
        if !desk.is_overridden(&way) {
            redis_url(&stream.redis, &stream.tls, &way, &Way::to("audit.stream.tls"), desk);
        }
        name(&stream.name, &Way::to("audit.stream.name"), desk);
    }
    for (number, value) in settings.audit.query_values.iter().enumerate() {
        if value.is_empty() {
            desk.error(&Way::to("audit.query_values").item(number), "a query name is missing").help("write the name of a query parameter");
        } else if settings.guard.reserved_query.contains(value) {
            desk.error(&Way::to("audit.query_values").item(number), format!("`{value}` may carry a secret: guard.reserved_query names it"))
                .help("what may be a secret stands in no record");
        }
    }
}

/// A name in Redis: no braces, which would choose the slot in a Cluster, and nothing that is a pattern.
fn name(name: &str, way: &Way, desk: &mut Desk<'_>) {
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '{' | '}' | '*' | '?' | '[' | ']' | '\\');
    if name.is_empty() || name.len() > 200 || name.contains(bad) {
        desk.error(way, format!("{name:?} is no name in Redis")).help("use letters, digits, `:`, `.`, `_` and `-`");
    }
}

fn documents(settings: &Settings, desk: &mut Desk<'_>) {
    if settings.catalog.is_empty() {
        desk.error(&Way::to("catalog"), "no catalog is named, so every request would be refused")
            .help("name one, such as catalog/kissflow.yaml, or make one with `vicar catalog import OPENAPI`");
    }
    for (number, catalog) in settings.catalog.iter().enumerate() {
        if settings.catalog.iter().take(number).any(|before| before.value == catalog.value) {
            desk.error(&Way::to("catalog").item(number), "this catalog is named twice").help("leave one of the two out");
        }
    }
}

fn redis_url(url: &Text, tls: &UpstreamTls, way: &Way, tls_way: &Way, desk: &mut Desk<'_>) {
    let Some((scheme, rest)) = url.split_once("://") else {
        desk.error(way, "this is no Redis URL").help("write redis://HOST:PORT or rediss://USER:PASSWORD@HOST:PORT");
        return;
    };
    let (base, mode) = scheme.split_once('+').unwrap_or((scheme, ""));
    let known = SCHEMES.iter().find(|(known, _)| *known == base).filter(|_| MODES.contains(&mode));
    let Some((_, encryption)) = known else {
        let known =
            SCHEMES.iter().flat_map(|(base, _)| MODES.map(|mode| format!("{base}{}{mode}", if mode.is_empty() { "" } else { "+" })));
        let known: Vec<String> = known.collect();
        let help = "write redis:// or rediss://, with +sentinel or +cluster where there are several servers";
        desk.error(way, format!("`{scheme}` is no kind of Redis")).help(help).suggest(scheme, known.iter().map(String::as_str));
        return;
    };
    if let Some(problem) = hosts(mode, rest) {
        desk.error(way, problem).help(match mode {
            "sentinel" => format!("write {scheme}://HOST:PORT,HOST:PORT/SERVICE/DB"),
            "cluster" => format!("write {scheme}://HOST:PORT,HOST:PORT"),
            _ => format!("write {scheme}://HOST:PORT/DB"),
        });
    }
    if *encryption == Encryption::Off && (tls.ca.is_some() || tls.certificate.is_some() || tls.key.is_some() || tls.server_name.is_some()) {
        desk.error_in_name(tls_way, format!("{scheme}:// is not encrypted, so there is nothing to check")).help("write rediss://");
    }
    super::addresses::client_tls(tls, tls_way, desk);
}

/// What is wrong with `user:password@host:port,host:port/…`. Never repeats what may be a password.
fn hosts(mode: &str, rest: &str) -> Option<String> {
    let rest = rest.rsplit_once('@').map_or(rest, |(_, hosts)| hosts);
    let rest = rest.split('?').next().unwrap_or_default();
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    for host in hosts.split(',') {
        if !super::addresses::is_host_and_port(host) {
            return Some(if host.is_empty() { "a host is missing".to_owned() } else { format!("`{host}` is no HOST:PORT") });
        }
    }
    if mode.is_empty() && hosts.contains(',') {
        return Some("more than one host".to_owned());
    }
    let mut words = path.split('/').filter(|word| !word.is_empty());
    if mode == "sentinel" && words.next().is_none() {
        return Some("the service that Sentinel watches is missing".to_owned());
    }
    match words.next() {
        Some(_) if mode == "cluster" => Some("a cluster has no database numbers".to_owned()),
        Some(database) if database.parse::<u16>().is_err() => Some(format!("`{database}` is no database number")),
        Some(_) | None => None,
    }
}
