//! Start order, reload, drain.
//!
//! `cli::serve` and the demo call [`start`]; it returns once every listener answers. What has to be there before a
//! request may come (rules, directory, journal) is made before a socket is bound, and goes in the other order.

mod certificates;
mod footprint;
mod health;
mod notify;
mod rehearse;
mod reload;
mod sockets;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, thread::JoinHandle, time::Duration};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{self, Desk, Door, InForce, Status},
    audit::{Audit, Event, Writer},
    catalog::{self, Catalog, PathRules},
    directory::{self, DirectoryCache},
    policy::{self, Policy},
    proxy::{
        counts::Counts,
        foretell::Terms,
        limits::Limits,
        query,
        rules::{Rules, RulesError},
        server::{self, Connections, Draining, HeadLimits, Shared},
        tls::{ServerTls, TlsError},
    },
    settings::{Loaded, Pass, Settings},
    source::{Complaints, Source},
    telemetry::spans::{CollectorError, Spans},
};

pub use rehearse::rehearse;
pub use sockets::BindError;

/// For serving threads to let go of what they were doing.
const LAST_MOMENT: Duration = Duration::from_secs(2);

/// A sidecar that serves.
#[derive(Debug)]
pub struct Running {
    /// What the serving threads share.
    pub shared: Arc<Shared>,
    /// Where integrations connect, in the order of the settings; Unix sockets have no address here.
    pub addresses: Vec<SocketAddr>,
    /// Where the admin listener is, unless it is a Unix socket.
    pub admin_address: Option<SocketAddr>,
    /// Warnings about the documents and the directory, to show once.
    pub warnings: Complaints,
    status: Arc<Status>,
    admin: admin::Listener,
    stop: CancellationToken,
    cut: CancellationToken,
    threads: Vec<JoinHandle<std::io::Result<()>>>,
    background: Vec<tokio::task::JoinHandle<()>>,
    drain: Duration,
    files: Vec<PathBuf>,
}

/// Why a sidecar does not serve.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Settings, catalog or policy do not hold.
    #[error("{0}")]
    Documents(Complaints),
    /// Accounts and keys cannot be had.
    #[error("{0}")]
    Directory(#[from] directory::DirectoryError),
    /// The journal cannot be written.
    #[error("{0}")]
    Audit(#[from] crate::audit::AuditError),
    /// A certificate of a listener does not hold.
    #[error("listen: {0}")]
    Certificate(#[from] TlsError),
    /// An address cannot be listened on.
    #[error("{0}")]
    Bind(#[from] BindError),
    /// The admin listener's socket cannot be used.
    #[error("the admin listener cannot be served: {0}")]
    Admin(std::io::Error),
    /// Spans have nowhere to go.
    #[error("log.otlp: {0}")]
    Collector(#[from] CollectorError),
    /// No threads.
    #[error("the system gives no thread: {0}")]
    Thread(std::io::Error),
}

/// A catalog and a policy that hold together, and the files they came from.
#[derive(Debug)]
pub struct Documents {
    /// What endpoints there are.
    pub catalog: Catalog,
    /// Who may do what.
    pub policy: Policy,
    /// The policy as it was read.
    pub policy_source: Source,
    /// The catalogs as they were read.
    pub catalog_sources: Vec<Source>,
}

/// Reads the catalog and the policy that `settings` name, and runs the policy's own tests.
///
/// # Errors
/// All that is wrong with them.
pub fn documents(settings: &Settings, now: Timestamp, complaints: &mut Complaints) -> Option<Documents> {
    let documents = documents_untested(settings, complaints)?;
    policy::verify(&documents.policy, &documents.catalog, &terms(settings), now).complain(&documents.policy_source, complaints);
    if complaints.has_errors() { None } else { Some(documents) }
}

/// The same, but the policy's tests are for the caller to run. Nothing that serves may do with these.
///
/// # Errors
/// All else that is wrong with them.
pub fn documents_untested(settings: &Settings, complaints: &mut Complaints) -> Option<Documents> {
    let catalog_sources = catalog_sources(settings, complaints);
    let policy_source = read(&settings.policy, complaints);
    let (catalog_sources, policy_source) = (catalog_sources?, policy_source?);
    let catalog = catalog::load(&catalog_sources, complaints)?;
    let policy = policy::load(&policy_source, &catalog, complaints)?;
    if complaints.has_errors() { None } else { Some(Documents { catalog, policy, policy_source, catalog_sources }) }
}

/// Reads the catalog that `settings` name, whatever the policy is.
///
/// # Errors
/// All that is wrong with it.
pub fn catalog(settings: &Settings, complaints: &mut Complaints) -> Option<Catalog> {
    let sources = catalog_sources(settings, complaints)?;
    catalog::load(&sources, complaints)
}

fn catalog_sources(settings: &Settings, complaints: &mut Complaints) -> Option<Vec<Source>> {
    settings.catalog.iter().map(|path| read(path, complaints)).collect()
}

fn read(path: &std::path::Path, complaints: &mut Complaints) -> Option<Source> {
    match Source::read(path) {
        Ok(source) => Some(source),
        Err(error) => {
            complaints.unreadable(&path.display().to_string(), &error);
            None
        }
    }
}

/// What the settings say of paths: the guard's rules, for whoever asks about a request that is not there.
#[must_use]
pub fn path_rules(settings: &Settings) -> PathRules {
    PathRules { allow_parameters: settings.guard.pass.contains(&Pass::PathParameters) }
}

/// What the settings say that counts before a policy, for the same.
#[must_use]
pub fn terms(settings: &Settings) -> Terms<'_> {
    Terms { path: path_rules(settings), reserved_query: query::reserved(settings).into(), self_service: &settings.self_service }
}

/// The rules that `loaded` puts in force around a catalog and a policy.
fn rules(loaded: &Loaded, catalog: Catalog, policy: Policy, complaints: &mut Complaints) -> Option<Rules> {
    match Rules::new(&loaded.settings, catalog, policy) {
        Ok(rules) => Some(rules),
        Err(error) => {
            let place = match error {
                RulesError::Assertion(_) => "impersonation.assertion",
                RulesError::Service(_) => "upstream.url",
            };
            loaded.complain(place, error.to_string(), complaints);
            None
        }
    }
}

/// The sidecar's name in the audit log.
#[must_use]
pub fn sidecar_name(settings: &Settings) -> String {
    settings.sidecar.clone().unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
}

/// Starts a sidecar; it serves once this returns.
///
/// # Errors
/// [`StartError`] when anything it needs is not there. Nothing is left running then.
pub async fn start(loaded: Loaded) -> Result<Running, StartError> {
    let settings = &loaded.settings;
    let mut complaints = loaded.warnings.clone();
    let first = reload::First::look(&loaded);
    // Reading a large policy takes a while, and so may reaching Redis: neither waits for the other.
    let opening = async { Ok(directory::open(&settings.directory, &settings.limits).await) };
    let (documents, backend) = tokio::try_join!(documents_aside(settings.clone(), &mut complaints), opening)?;
    let digest = documents.policy.digest().to_owned();
    let in_force = InForce {
        settings: settings.clone(),
        policy: documents.policy_source,
        warnings: complaints.clone(),
        next_start: Vec::new(),
        since: Timestamp::now(),
    };
    let rules =
        rules(&loaded, documents.catalog, documents.policy, &mut complaints).ok_or_else(|| StartError::Documents(complaints.clone()))?;

    let backend = backend?;
    let cache = DirectoryCache::start(backend.clone(), &settings.directory);
    let audit = Audit::open(&settings.audit, &sidecar_name(settings), Writer::Sidecar)?;

    let workers = settings.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let manners = sockets::manners(&settings.listen)?;
    let mut sockets = sockets::bind(&settings.listen, &manners, sockets::inherited()?, workers)?;
    let admin_socket = sockets::bind_admin(&settings.admin)?;
    sockets.files.extend(admin_socket.file);
    let head = HeadLimits { bytes: usize::try_from(settings.limits.header_bytes.0).unwrap_or(128 << 10), fields: settings.limits.headers };
    let spans = settings.log.otlp.as_ref().map(|url| Spans::start(url, &sidecar_name(settings))).transpose()?;
    let shared = Arc::new(Shared {
        spans,
        rules: ArcSwap::from_pointee(rules),
        directory: cache,
        backend,
        rotate_overlap: settings.limits.rotate_overlap.0,
        audit,
        limits: Limits::new(&settings.limits),
        connections: Connections::new(settings.limits.connections),
        head,
        counts: Counts::default(),
        draining: Draining::default(),
    });
    shared.audit.record_event(Event::system("start").detail(format!("serving with policy {digest}")));

    let status = Arc::new(Status::new(in_force));
    let desk = Desk::new(shared.clone(), status.clone());
    let admin_tls = settings.admin.tls.as_ref().map(ServerTls::load).transpose()?.map(Arc::new);
    let admin = admin::serve(desk, Door { listening: admin_socket.listening, tls: admin_tls.clone() }).map_err(StartError::Admin)?;

    let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
    let mut threads = Vec::with_capacity(workers);
    for (number, entrances) in sockets.threads.into_iter().enumerate() {
        let (shared, stop, cut) = (shared.clone(), stop.clone(), cut.clone());
        let thread = std::thread::Builder::new().name(format!("serve-{number}"));
        let thread = thread.spawn(move || server::run(shared, entrances, &stop, &cut));
        threads.push(thread.map_err(StartError::Thread)?);
    }
    let certificates = manners.iter().filter_map(|manner| manner.tls.clone()).chain(admin_tls).collect();
    let drain = settings.limits.timeouts.drain.0;
    let background = vec![
        tokio::spawn(reload::watch(shared.clone(), status.clone(), loaded.clone(), first, stop.clone())),
        tokio::spawn(sweep(shared.clone(), stop.clone())),
        tokio::spawn(share_limits(shared.clone(), stop.clone())),
        tokio::spawn(admin::watch_expiring(shared.clone(), stop.clone())),
        tokio::spawn(certificates::watch(shared.clone(), certificates, stop.clone())),
        tokio::spawn(health::watch(shared.clone(), stop.clone())),
        tokio::spawn(footprint::shrink()),
    ];
    let admin_address = admin_socket.address;
    notify::ready();
    Ok(Running {
        shared,
        addresses: sockets.addresses,
        admin_address,
        warnings: complaints,
        status,
        admin,
        stop,
        cut,
        threads,
        background,
        drain,
        files: sockets.files,
    })
}

/// Catalog and policy, read on a thread of their own.
async fn documents_aside(settings: Settings, complaints: &mut Complaints) -> Result<Documents, StartError> {
    let mut so_far = std::mem::take(complaints);
    let reading = tokio::task::spawn_blocking(move || (documents(&settings, Timestamp::now(), &mut so_far), so_far));
    let (read, found) = reading.await.map_err(|panicked| StartError::Thread(panicked.into()))?;
    complaints.clone_from(&found);
    read.ok_or(StartError::Documents(found))
}

/// Forgets what idle callers left in the buckets.
async fn sweep(shared: Arc<Shared>, stop: CancellationToken) {
    let mut every = tokio::time::interval(Duration::from_secs(60));
    while stop.run_until_cancelled(every.tick()).await.is_some() {
        shared.limits.sweep();
    }
}

async fn share_limits(shared: Arc<Shared>, stop: CancellationToken) {
    shared.limits.share(&*shared.backend, &stop).await;
}

// ===== impl Running =====

impl Running {
    /// Stops: no new connections, running requests get their grace time, then the journal is closed and shipped.
    /// `hurry` ends the grace at once.
    pub async fn stop(self, hurry: impl Future<Output = ()>) {
        // Readiness goes first: whoever sends requests here should stop before anything is refused.
        self.status.drain();
        notify::stopping();
        tracing::info!(at_most = ?self.drain, "draining: running requests finish");
        self.shared.audit.record_event(Event::system("drain"));
        self.shared.draining.begin();
        self.stop.cancel();
        let threads = self.threads;
        let mut joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                match thread.join() {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::error!(%error, "a serving thread ended early"),
                    Err(_) => tracing::error!("a serving thread panicked"),
                }
            }
        });
        let all_ended = tokio::select! {
            _ = &mut joined => true,
            () = tokio::time::sleep(self.drain) => {
                tracing::warn!("requests still running after the grace time are cut off");
                false
            }
            () = hurry => {
                tracing::warn!("told again to stop: running requests are cut off");
                false
            }
        };
        if !all_ended {
            // Their records close as interrupted, which takes the threads a moment.
            self.cut.cancel();
            let _ = tokio::time::timeout(LAST_MOMENT, joined).await;
        }
        self.admin.close().await;
        for task in self.background {
            task.abort();
        }
        for file in self.files {
            let _ = std::fs::remove_file(file);
        }
        self.shared.directory.flush().await;
        self.shared.audit.record_event(Event::system("stop"));
        self.shared.audit.close().await;
        tracing::info!("stopped");
    }
}
