//! The service as the settings describe it and as all threads see it: its addresses, how each is faring, and how a
//! connection to one is made.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};

use crate::{
    proxy::{
        outbox::Tcp,
        stream::Stream,
        tls::{Alpn, ClientTls, TlsError},
    },
    settings,
};

/// Connections that may fail in a row before an address is left alone for a while.
const FAILURES: u32 = 5;
/// How long it is left alone at first; twice as long each time after, up to [`LONGEST_REST`], and no longer than
/// [`ONLY_REST`] where it is the only one: nobody else answers meanwhile, and one trial a second is no burden.
const FIRST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(15);
const ONLY_REST: Duration = Duration::from_secs(1);
/// How long one trial connection has before another may be tried.
const TRIAL: Duration = Duration::from_secs(1);
/// How often the log is told of a request without an answer.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// The service behind.
#[derive(Debug)]
pub struct Service {
    addresses: Vec<Address>,
    speaks: Alpn,
    tls: Option<ClientTls>,
    health: Option<settings::Health>,
    began: Instant,
    /// When the log may be told again of a request without an answer, in milliseconds since then.
    next_complaint: AtomicU64,
    /// What it was made from, to tell whether an edit concerns it.
    like: String,
}

/// One address of the service.
#[derive(Debug)]
pub struct Address {
    target: Target,
    /// The name to check its certificate against; none without TLS.
    name: Option<ServerName<'static>>,
    state: State,
}

/// Where an address is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `http://host:port`, `https://host:port`.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// `unix:/path`.
    Unix(PathBuf),
}

/// How an address is faring.
#[derive(Debug, Default)]
struct State {
    active: AtomicU32,
    /// Connections that failed in a row.
    failures: AtomicU32,
    /// Until when nothing is tried, in milliseconds since the service was made; 0 when all is well.
    shut_until: AtomicU64,
    sick: AtomicBool,
}

/// A request under way at an address; counted until dropped.
#[derive(Debug)]
pub(super) struct Load {
    service: Arc<Service>,
    index: usize,
}

/// A service that cannot be had from the settings.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// No URL.
    #[error("upstream: {0:?} is no address of a service: write http://host:port, https://host:port or unix:/path")]
    Url(String),
    /// Certificates do not hold.
    #[error("upstream: {0}")]
    Tls(#[from] TlsError),
}

/// How good an address is, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Well,
    Sick,
    Shut,
}

// ===== impl Service =====

impl Service {
    /// Reads what the settings say; nothing is connected yet.
    ///
    /// # Errors
    /// [`ServiceError`] when an address is none, or certificates do not hold.
    pub fn new(settings: &settings::Upstream) -> Result<Self, ServiceError> {
        let urls: Vec<&str> = std::iter::once(&settings.url).chain(&settings.also).map(|url| url.as_str()).collect();
        let speaks = if settings.http2 { Alpn::Http2 } else { Alpn::Http1 };
        let tls = if urls.iter().any(|url| secure(url)) { Some(ClientTls::load(&settings.tls, speaks)?) } else { None };
        let mut addresses = Vec::with_capacity(urls.len());
        for url in &urls {
            let target = Target::parse(url).ok_or_else(|| ServiceError::Url((*url).to_owned()))?;
            let name = match (&tls, &target) {
                (Some(tls), Target::Tcp { host, .. }) if secure(url) => Some(tls.name(host)?),
                _ => None,
            };
            addresses.push(Address { target, name, state: State::default() });
        }
        let like = format!("{urls:?} {speaks:?} {:?} {:?}", settings.tls, settings.health);
        Ok(Self { addresses, speaks, tls, health: settings.health.clone(), began: Instant::now(), next_complaint: AtomicU64::new(0), like })
    }

    /// Whether an edit has left the service as it was: then its connections and what is known of it stay too.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.like == other.like
    }

    /// What stands in `Host` unless the settings say otherwise.
    #[must_use]
    pub fn authority(&self) -> String {
        self.addresses.first().map_or_else(|| "localhost".to_owned(), Address::authority)
    }

    /// The HTTP that is spoken with it.
    #[must_use]
    pub const fn speaks(&self) -> Alpn {
        self.speaks
    }

    /// Its TLS, where there is any.
    #[must_use]
    pub const fn tls(&self) -> Option<&ClientTls> {
        self.tls.as_ref()
    }

    /// How it is checked, if it is.
    #[must_use]
    pub const fn health(&self) -> Option<&settings::Health> {
        self.health.as_ref()
    }

    /// Its addresses.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The least loaded of the best addresses that are not in `tried`; `turn` breaks ties.
    pub(super) fn choose(&self, tried: &[usize], turn: usize) -> Option<usize> {
        let count = self.addresses.len();
        if count == 1 {
            return if tried.is_empty() { Some(0) } else { None };
        }
        let now = self.now();
        (0..count)
            .map(|step| (turn + step) % count)
            .filter(|index| !tried.contains(index))
            .min_by_key(|&index| self.addresses.get(index).map(|address| (address.state.standing(now), address.state.active.load(Relaxed))))
    }

    /// Counts a request at an address; with one address there is nothing to choose, and nothing is counted.
    pub(super) fn load(self: &Arc<Self>, index: usize) -> Option<Load> {
        if self.addresses.len() == 1 {
            return None;
        }
        self.addresses.get(index)?.state.active.fetch_add(1, Relaxed);
        Some(Load { service: self.clone(), index })
    }

    /// Whether a connection may be tried now.
    ///
    /// # Errors
    /// How long the address is to be left alone.
    pub(super) fn may_connect(&self, index: usize) -> Result<(), Duration> {
        match self.addresses.get(index) {
            Some(address) => address.state.may_connect(self.now()),
            None => Ok(()),
        }
    }

    /// Takes note of a connection that stands.
    pub(super) fn connected(&self, index: usize) {
        let Some(address) = self.addresses.get(index) else { return };
        let State { failures, shut_until, .. } = &address.state;
        // Another thread may be shutting the address on account of failures before this: the next success opens it again.
        let (failed, shut) = (failures.load(Relaxed) > 0, shut_until.load(Relaxed) > 0);
        if failed {
            failures.store(0, Relaxed);
        }
        if shut && shut_until.swap(0, Relaxed) > 0 {
            tracing::info!(address = %address, "the service can be reached again");
        }
    }

    /// Takes note of one that came to nothing.
    pub(super) fn failed(&self, index: usize, cause: &dyn std::fmt::Display) {
        let Some(address) = self.addresses.get(index) else { return };
        let failures = address.state.failures.fetch_add(1, Relaxed) + 1;
        if failures == 1 && self.may_complain() {
            tracing::warn!(address = %address, %cause, "no connection to the service");
        }
        if failures >= FAILURES {
            let longest = if self.addresses.len() == 1 { ONLY_REST } else { LONGEST_REST };
            let rest = FIRST_REST.saturating_mul(1 << (failures - FAILURES).min(8)).min(longest);
            address.state.shut_until.store(self.now() + millis(rest), Relaxed);
            if failures == FAILURES {
                tracing::warn!(address = %address, failures, %cause, "the service cannot be reached; it is left alone between trials");
            }
        }
    }

    /// Whether the log may be told of a request that got no answer: now and then, however many there are.
    pub(in crate::proxy) fn may_complain(&self) -> bool {
        let (now, next) = (self.now(), self.next_complaint.load(Relaxed));
        now >= next && self.next_complaint.compare_exchange(next, now + millis(COMPLAIN_EVERY), Relaxed, Relaxed).is_ok()
    }

    /// Makes a connection, TLS and all.
    ///
    /// # Errors
    /// What the system or TLS says.
    pub(super) async fn connect(&self, index: usize) -> io::Result<Stream> {
        let address = self.addresses.get(index).ok_or_else(|| io::Error::other("no such address"))?;
        let stream = match &address.target {
            // A name is looked up for each connection, so that a service that moves is found again.
            Target::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Stream::Tcp(Tcp::new(stream))
            }
            Target::Unix(path) => Stream::Unix(UnixStream::connect(path).await?),
        };
        match (&address.name, &self.tls) {
            (Some(name), Some(tls)) => tls.connect(name.clone(), stream).await,
            _ => Ok(stream),
        }
    }

    /// Takes note of a health check's outcome; `true` when it says something new.
    pub(super) fn found(&self, index: usize, sick: bool) -> bool {
        self.addresses.get(index).is_some_and(|address| address.state.sick.swap(sick, Relaxed) != sick)
    }

    fn now(&self) -> u64 {
        millis(self.began.elapsed())
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn secure(url: &str) -> bool {
    url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
}

// ===== impl State, Load =====

impl State {
    fn standing(&self, now: u64) -> Standing {
        if now < self.shut_until.load(Relaxed) {
            Standing::Shut
        } else if self.sick.load(Relaxed) {
            Standing::Sick
        } else {
            Standing::Well
        }
    }

    fn may_connect(&self, now: u64) -> Result<(), Duration> {
        let until = self.shut_until.load(Relaxed);
        if until == 0 {
            return Ok(());
        }
        // Whoever comes first after the rest makes the trial; the others wait for what it finds.
        let next = now + millis(TRIAL);
        if now >= until && self.shut_until.compare_exchange(until, next, Relaxed, Relaxed).is_ok() {
            return Ok(());
        }
        Err(Duration::from_millis(until.max(now + 1) - now))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(address) = self.service.addresses.get(self.index) {
            address.state.active.fetch_sub(1, Relaxed);
        }
    }
}

// ===== impl Address, Target =====

impl Address {
    /// Requests under way there, where there is a choice.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.state.active.load(Relaxed)
    }

    /// Whether the last health check and the last connections went well.
    #[must_use]
    pub fn well(&self) -> bool {
        !self.state.sick.load(Relaxed) && self.state.shut_until.load(Relaxed) == 0
    }

    /// Its name and port as they stand in `Host`.
    #[must_use]
    pub fn authority(&self) -> String {
        let usual = if self.name.is_some() { 443 } else { 80 };
        match &self.target {
            Target::Tcp { host, port } if *port == usual => bracketed(host),
            Target::Tcp { host, port } => format!("{}:{port}", bracketed(host)),
            Target::Unix(_) => "localhost".to_owned(),
        }
    }

    /// `http` or `https`, as HTTP/2 says it.
    pub(super) const fn scheme(&self) -> &'static str {
        if self.name.is_some() { "https" } else { "http" }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.target {
            Target::Tcp { .. } => f.write_str(&self.authority()),
            Target::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Target {
    /// Reads a URL.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        if let Some(path) = url.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { None } else { Some(Self::Unix(path.into())) };
        }
        let uri: http::Uri = url.parse().ok()?;
        let usual = match uri.scheme_str()? {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Self::Tcp { host, port: uri.port_u16().unwrap_or(usual) })
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn service(urls: &[&str]) -> Service {
        let also: String = urls[1..].iter().map(|url| format!("{url:?}, ")).collect();
        let text = format!("{{url: {:?}, also: [{also}]}}", urls[0]);
        Service::new(&serde_yaml::from_str(&text).unwrap()).unwrap()
    }

    #[test]
    fn an_address_that_cannot_be_reached_is_left_alone_until_a_trial_succeeds() {
        let state = State::default();
        assert_eq!(state.may_connect(5), Ok(()));
        state.shut_until.store(100, Relaxed);
        assert_eq!(state.may_connect(40), Err(Duration::from_millis(60)));
        assert_eq!(state.may_connect(100), Ok(()), "the trial");
        assert!(state.may_connect(101).is_err(), "one trial at a time");
    }

    #[test]
    fn the_least_loaded_of_the_healthy_addresses_is_chosen() {
        let service = Arc::new(service(&["http://a", "http://b", "http://c"]));
        let loads: Vec<_> = [0, 0, 1].into_iter().map(|index| service.load(index)).collect();
        assert_eq!(service.choose(&[], 0), Some(2));
        assert!(service.found(2, true));
        assert_eq!(service.choose(&[], 0), Some(1));
        (0..FAILURES).for_each(|_| service.failed(1, &"refused"));
        assert_eq!(service.choose(&[], 0), Some(0));
        assert_eq!(service.choose(&[0], 0), Some(2), "a sick one before one that cannot be reached");
        drop(loads);
        service.connected(1);
        assert_eq!(service.choose(&[0], 2), Some(1));
        assert_eq!(service.choose(&[0, 1, 2], 0), None);
    }

    #[test]
    fn addresses_are_read_as_they_are_written() {
        assert_eq!(service(&["http://h:80"]).authority(), "h");
        assert_eq!(service(&["http://[::1]:8080"]).authority(), "[::1]:8080");
        assert_eq!(Target::parse("unix:/run/a.sock"), Some(Target::Unix("/run/a.sock".into())));
        assert_eq!(Target::parse("unix:///run/a.sock"), Some(Target::Unix("/run/a.sock".into())));
        for wrong in ["", "ftp://a", "host:1", "unix:", "http://"] {
            assert_eq!(Target::parse(wrong), None, "{wrong}");
        }
    }
}
