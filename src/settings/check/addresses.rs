//! Where Vicar listens, and where it finds the service.

use std::net::{IpAddr, SocketAddr};

use super::{super::Settings, Desk};
use crate::settings::{Listen, Text, UpstreamTls, places::Way};

/// Longest path of a Unix socket, in bytes (`sun_path` of Linux, less the zero behind it).
const SOCKET_PATH_MAX: usize = 107;

/// Something to listen on or to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Address {
    Tcp(SocketAddr),
    Unix(String),
}

pub(super) fn check(settings: &Settings, desk: &mut Desk<'_>) {
    let mut taken: Vec<(String, Address)> = Vec::new();
    // First, so that a clash with its default is said of a listener, which is written.
    if let Some(address) = read(&settings.admin.address, &Way::to("admin.address"), desk) {
        take(&mut taken, address, &Way::to("admin.address"), desk);
    }
    if settings.listen.is_empty() {
        desk.error(&Way::to("listen"), "no address to listen on").help("write one, such as {address: \"127.0.0.1:8080\"}");
    }
    for (number, listen) in settings.listen.iter().enumerate() {
        let way = Way::to("listen").item(number);
        if let Some(address) = read(&listen.address, &way.field("address"), desk) {
            listener(listen, &address, settings, &way, desk);
            take(&mut taken, address, &way.field("address"), desk);
        }
    }
    upstream(settings, &taken, desk);
    if let Some(url) = &settings.log.otlp
        && !url.parse::<http::Uri>().is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
    {
        desk.error(&Way::to("log.otlp"), format!("{url:?} is no URL of a collector")).help("write http://HOST:4318");
    }
}

/// An address to listen on; `None` when it is none, said at the desk.
fn read(address: &Text, way: &Way, desk: &mut Desk<'_>) -> Option<Address> {
    if let Some(path) = address.strip_prefix("unix:") {
        return socket_path(path, way, desk).map(Address::Unix);
    }
    if let Ok(address) = address.parse() {
        return Some(Address::Tcp(address));
    }
    let written = address.as_str();
    let help = match written.rsplit_once(':') {
        _ if written.is_empty() => "write IP:PORT, such as 127.0.0.1:8080, or unix:/path".to_owned(),
        Some(("", port)) => format!("write 0.0.0.0:{port} for every interface, 127.0.0.1:{port} for this machine"),
        Some(("localhost", port)) => format!("a name has several addresses: write 127.0.0.1:{port} or [::1]:{port}"),
        Some((host, port)) if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) => format!("write [{host}]:{port}"),
        Some((host, _)) if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() => "a port is a number up to 65535".to_owned(),
        _ if written.parse::<IpAddr>().is_ok() => "a port is missing: write IP:PORT".to_owned(),
        _ if written.bytes().all(|b| b.is_ascii_digit()) => format!("write 127.0.0.1:{written}"),
        _ if written.starts_with('/') => format!("write unix:{written}"),
        _ => "write IP:PORT, such as 127.0.0.1:8080, or unix:/path".to_owned(),
    };
    desk.error(way, format!("{written:?} is no address to listen on")).help(help);
    None
}

fn socket_path(path: &str, way: &Way, desk: &mut Desk<'_>) -> Option<String> {
    if path.is_empty() || path.ends_with('/') || path.contains('\0') {
        desk.error(way, "the path of the socket is missing").help("write unix:/run/vicar/vicar.sock");
        return None;
    }
    if path.len() > SOCKET_PATH_MAX {
        desk.error(way, format!("the path of a socket has at most {SOCKET_PATH_MAX} bytes, and this one {}", path.len()))
            .help("put it nearer to the root");
        return None;
    }
    Some(path.to_owned())
}

fn listener(listen: &Listen, address: &Address, settings: &Settings, way: &Way, desk: &mut Desk<'_>) {
    match (address, &listen.mode) {
        (Address::Tcp(_), Some(_)) => {
            desk.error_in_name(&way.field("mode"), "only a Unix socket has a mode").help("leave it out");
        }
        (Address::Unix(_), Some(mode)) if u32::from_str_radix(mode, 8).is_err() || mode.len() > 4 || mode.len() < 3 => {
            desk.error(&way.field("mode"), format!("{:?} is no mode", mode.value))
                .help("write it in octal and in quotes, such as \"0660\"");
        }
        (Address::Unix(_), Some(mode)) if u32::from_str_radix(mode, 8).is_ok_and(|bits| bits > 0o777) => {
            desk.error(&way.field("mode"), format!("{:?} is no mode of a socket", mode.value)).help("a socket has no set-id or sticky bit");
        }
        (Address::Tcp(_) | Address::Unix(_), _) => {}
    }
    if matches!(address, Address::Unix(_)) && listen.tls.is_some() {
        desk.error_in_name(&way.field("tls"), "a Unix socket does not leave this machine").help("leave tls out, or listen on IP:PORT");
    }
    if listen.proxy_protocol && settings.trusted_proxies.is_empty() {
        desk.error_in_name(&way.field("proxy_protocol"), "no peer is trusted to say where a connection came from")
            .help("name the load balancer's network under trusted_proxies");
    }
}

fn take(taken: &mut Vec<(String, Address)>, address: Address, way: &Way, desk: &mut Desk<'_>) {
    let free = matches!(address, Address::Tcp(address) if address.port() == 0);
    if let Some((other, _)) = taken.iter().find(|(_, other)| *other == address && !free) {
        desk.error(way, format!("{other} is the same address")).help("each listener has an address of its own");
    }
    taken.push((way.to_string(), address));
}

// ===== the service =====

/// How an upstream URL begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
    Unix,
}

fn upstream(settings: &Settings, taken: &[(String, Address)], desk: &mut Desk<'_>) {
    let upstream = &settings.upstream;
    let way = Way::to("upstream.url");
    let scheme = upstream_url(&upstream.url, &way, taken, desk);
    for (number, url) in upstream.also.iter().enumerate() {
        let other = Way::to("upstream.also").item(number);
        let scheme_here = upstream_url(url, &other, taken, desk);
        if let (Some(one), Some(two)) = (scheme, scheme_here)
            && one != two
        {
            desk.error(&other, "addresses of one service begin alike").help("write http://, https:// or unix: for all of them");
        }
        if *url == upstream.url || upstream.also.iter().take(number).any(|before| before == url) {
            desk.error(&other, "this address is named twice").help("leave one of the two out");
        }
    }
    let tls = &upstream.tls;
    if matches!(scheme, Some(Scheme::Http | Scheme::Unix))
        && (tls.ca.is_some() || tls.certificate.is_some() || tls.key.is_some() || tls.server_name.is_some())
    {
        desk.error_in_name(&Way::to("upstream.tls"), "the upstream is not encrypted, so there is nothing to check")
            .help("write https:// in upstream.url");
    }
    client_tls(tls, &Way::to("upstream.tls"), desk);
    if let Some(host) = &upstream.host {
        if upstream.preserve_host {
            desk.error_in_name(&Way::to("upstream.host"), "upstream.preserve_host sends the caller's Host")
                .help("leave out one of the two");
        }
        if !is_host_and_port(host) {
            desk.error(&Way::to("upstream.host"), format!("{:?} is no host", host.value)).help("write NAME or NAME:PORT");
        }
    }
    if let Some(health) = &upstream.health
        && (!health.path.starts_with('/') || health.path.contains([' ', '#']) || health.path.chars().any(char::is_control))
    {
        desk.error(&Way::to("upstream.health.path"), format!("{:?} is no path", health.path)).help("write one such as /healthz");
    }
}

fn upstream_url(url: &Text, way: &Way, taken: &[(String, Address)], desk: &mut Desk<'_>) -> Option<Scheme> {
    if let Some(path) = url.strip_prefix("unix:") {
        let path = socket_path(path, way, desk)?;
        loops(&Address::Unix(path), taken, way, desk);
        return Some(Scheme::Unix);
    }
    let scheme = match url.split_once("://") {
        Some(("http", _)) => Scheme::Http,
        Some(("https", _)) => Scheme::Https,
        Some((other, _)) => {
            desk.error(way, format!("`{other}` is no way to a service")).help("write http://HOST:PORT, https://HOST:PORT or unix:/path");
            return None;
        }
        None => {
            let help = if is_host_and_port(url) { format!("write http://{}", url.as_str()) } else { "write http://HOST:PORT".to_owned() };
            desk.error(way, format!("{url:?} is no URL")).help(help);
            return None;
        }
    };
    let Ok(uri) = url.parse::<http::Uri>() else {
        desk.error(way, format!("{url:?} is no URL")).help("write http://HOST:PORT");
        return None;
    };
    let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    let problem = if authority.contains('@') {
        Some(("a URL with a user in it", "give the service its credentials under upstream.headers, such as Authorization"))
    } else if !is_host_and_port(authority) {
        Some(("a URL without a host or with a port that is none", "write http://HOST:PORT"))
    } else if !matches!(uri.path(), "" | "/") || uri.query().is_some() || url.contains('#') {
        Some(("a URL with a path", "leave it out: requests go upstream with the path they came with"))
    } else {
        None
    };
    if let Some((problem, help)) = problem {
        desk.error(way, format!("{problem} is no upstream")).help(help);
        return None;
    }
    let port = uri.port_u16().unwrap_or(if scheme == Scheme::Https { 443 } else { 80 });
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let ip = if host == "localhost" { Some(IpAddr::from([127, 0, 0, 1])) } else { host.parse().ok() };
    if let Some(ip) = ip {
        loops(&Address::Tcp(SocketAddr::new(ip, port)), taken, way, desk);
    }
    Some(scheme)
}

/// Complains of an upstream that is Vicar itself.
fn loops(upstream: &Address, taken: &[(String, Address)], way: &Way, desk: &mut Desk<'_>) {
    let same = |listener: &Address| match (listener, upstream) {
        (Address::Tcp(listener), Address::Tcp(upstream)) => {
            let everywhere = listener.ip().is_unspecified() && upstream.ip().is_loopback();
            listener.port() != 0 && listener.port() == upstream.port() && (listener.ip() == upstream.ip() || everywhere)
        }
        (Address::Unix(listener), Address::Unix(upstream)) => listener == upstream,
        (Address::Tcp(_), Address::Unix(_)) | (Address::Unix(_), Address::Tcp(_)) => false,
    };
    if let Some((name, _)) = taken.iter().find(|(_, listener)| same(listener)) {
        desk.error(way, format!("this is Vicar's own address ({name}), so it would call itself")).help("name the service behind");
    }
}

/// TLS as a client: a certificate and its key come together.
pub(super) fn client_tls(tls: &UpstreamTls, way: &Way, desk: &mut Desk<'_>) {
    match (&tls.certificate, &tls.key) {
        (Some(_), None) => {
            desk.error_in_name(&way.field("certificate"), "a certificate without its key").help("name the private key's file as key");
        }
        (None, Some(_)) => {
            desk.error_in_name(&way.field("key"), "a key without its certificate").help("name the certificate's file as certificate");
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
    if let Some(name) = &tls.server_name
        && (name.contains(':') && name.parse::<IpAddr>().is_err() || !is_host_and_port(name) && name.parse::<IpAddr>().is_err())
    {
        desk.error(&way.field("server_name"), format!("{name:?} is no name of a server")).help("write a host name, without a port");
    }
}

/// Whether this is `host`, `host:port`, `[v6]` or `[v6]:port`.
pub(super) fn is_host_and_port(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => return host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()),
        Some((host, port)) => match port.strip_prefix(':') {
            Some(port) if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) => ("v6", Some(port)),
            _ => return false,
        },
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let label = |label: &str| {
        !label.is_empty() && label.len() <= 63 && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    host.len() <= 253
        && host.split('.').all(label)
        && port.is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0))
}
