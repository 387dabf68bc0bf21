//! Step 1: listeners, serving threads, and who may connect.
//!
//! Each serving thread has a runtime, listeners, upstream connections and deadlines of its own; what threads share is
//! immutable or atomic, so no request waits for another's I/O. Redis, the journal's keeper and the admin listener run
//! elsewhere. What happens on a connection is `super::connection`'s.

use std::{
    cell::{Cell, RefCell},
    io,
    net::IpAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UnixListener},
    runtime::LocalOptions,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    arrival::Peer,
    counts::{Counts, Tally},
    deadline::Deadlines,
    limits::Limits,
    outbox::{self, Tcp},
    pipeline,
    problem::{Afterwards, Code, Problem},
    request_id::RequestIds,
    rules::Rules,
    stream::Stream,
    tls::ServerTls,
    unparsed,
    upstream::{Service, Upstream},
};
use crate::{
    audit::Audit,
    directory::{Directory, DirectoryCache},
    telemetry::spans::Spans,
};

/// How often idle upstream connections are looked at.
const SWEEP: Duration = Duration::from_secs(5);
/// Callers over the limit that are told so at once, each thread; beyond them connections are closed without a word.
const TURNED_AWAY: usize = 64;
/// How long such a caller has to take the answer.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long the queue of a listener must stay empty before it is closed.
const QUIET: Duration = Duration::from_millis(20);
/// How long that may take under load.
const LONGEST_QUIET: Duration = Duration::from_secs(1);

/// What all serving threads share.
#[derive(Debug)]
pub struct Shared {
    /// The rules in force, swapped whole.
    pub rules: ArcSwap<Rules>,
    /// Who may sign in.
    pub directory: DirectoryCache,
    /// Where accounts and keys live, for the changes a key may make to itself.
    pub backend: Arc<dyn Directory>,
    /// How long an old secret lives after a self-service rotation.
    pub rotate_overlap: Duration,
    /// The audit log.
    pub audit: Audit,
    /// Where spans go, if they go anywhere.
    pub spans: Option<Spans>,
    /// How much a caller may ask for.
    pub limits: Limits,
    /// Connections there are, and may be.
    pub connections: Connections,
    /// Largest request head in bytes, most header fields.
    pub head: HeadLimits,
    /// What requests came to.
    pub counts: Counts,
    /// Whether the end has begun.
    pub draining: Draining,
}

/// Connections there are, and may be.
#[derive(Debug)]
pub struct Connections {
    open: AtomicU32,
    most: u32,
    taken: AtomicU64,
    refused: AtomicU64,
    unshaken: AtomicU64,
}

/// Whether the end has begun: set once, read by every answer.
#[derive(Debug, Default)]
pub struct Draining(AtomicBool);

/// How large a request head may be.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// Bytes.
    pub bytes: usize,
    /// Fields.
    pub fields: usize,
}

/// A listening socket, ready to be served from any thread.
#[derive(Debug)]
pub enum Listening {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// Unix.
    Unix(std::os::unix::net::UnixListener),
}

/// A listening socket, and what comes before HTTP on its connections.
#[derive(Debug)]
pub struct Entrance {
    /// The socket.
    pub listening: Listening,
    /// What comes first.
    pub manner: Manner,
}

/// What comes before HTTP on a connection.
#[derive(Debug, Clone, Default)]
pub struct Manner {
    /// TLS with this certificate.
    pub tls: Option<Arc<ServerTls>>,
    /// Who says who is calling.
    pub caller: CallerBy,
}

/// Who says who is calling.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CallerBy {
    /// The connection itself.
    #[default]
    Address,
    /// A PROXY header, which only a trusted peer may send and each must.
    ProxyHeader,
}

/// One serving thread's own.
#[derive(Debug)]
pub struct Worker {
    /// What it shares with the others.
    pub shared: Arc<Shared>,
    /// Its request ids.
    pub ids: RequestIds,
    /// Its counts.
    pub tally: Tally,
    /// Its deadlines.
    pub deadlines: Deadlines,
    /// What it is doing: connections, and what outlives their HTTP.
    pub tasks: TaskTracker,
    upstream: RefCell<Option<Rc<Upstream>>>,
    turning_away: Cell<usize>,
}

/// A connection's place among those there may be, until dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<Shared>);

// ===== impl Connections, Slot, Draining =====

impl Connections {
    /// At most `most`.
    #[must_use]
    pub const fn new(most: u32) -> Self {
        Self { open: AtomicU32::new(0), most, taken: AtomicU64::new(0), refused: AtomicU64::new(0), unshaken: AtomicU64::new(0) }
    }

    /// How many there are.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    /// How many were taken so far.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    /// How many were turned away because there were too many.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Of how many no TLS handshake came about.
    #[must_use]
    pub fn unshaken(&self) -> u64 {
        self.unshaken.load(Relaxed)
    }

    pub(super) fn no_handshake(&self) {
        self.unshaken.fetch_add(1, Relaxed);
    }
}

impl Slot {
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let Connections { open, most, taken, refused, .. } = &shared.connections;
        if open.fetch_add(1, Relaxed) < *most {
            taken.fetch_add(1, Relaxed);
            return Some(Self(shared.clone()));
        }
        open.fetch_sub(1, Relaxed);
        refused.fetch_add(1, Relaxed);
        None
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.connections.open.fetch_sub(1, Relaxed);
    }
}

impl Draining {
    /// From now on every answer says that its connection ends.
    pub fn begin(&self) {
        self.0.store(true, Relaxed);
    }

    /// Whether the end has begun.
    #[must_use]
    pub fn begun(&self) -> bool {
        self.0.load(Relaxed)
    }
}

// ===== impl Worker =====

impl Worker {
    /// The rules in force now.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        self.shared.rules.load_full()
    }

    /// This thread's connections to `service`; new ones when an edit has moved it.
    #[must_use]
    pub fn upstream(&self, service: &Arc<Service>) -> Rc<Upstream> {
        let mut known = self.upstream.borrow_mut();
        if let Some(upstream) = &*known
            && Arc::ptr_eq(upstream.service(), service)
        {
            return upstream.clone();
        }
        let upstream = Upstream::new(service.clone(), self.deadlines.clone(), self.shared.head.fields);
        *known = Some(upstream.clone());
        upstream
    }

    fn accepted(self: &Rc<Self>, stream: Stream, peer: Peer, manner: &Manner, stop: &CancellationToken) {
        match Slot::take(&self.shared) {
            Some(slot) => {
                self.tasks.spawn_local(self.clone().connection(stream, peer, manner.clone(), stop.clone(), slot));
            }
            // Under TLS a refusal would cost a handshake, which is what there is too much of.
            None if manner.tls.is_none() && self.turning_away.get() < TURNED_AWAY => {
                self.turning_away.set(self.turning_away.get() + 1);
                let worker = self.clone();
                self.tasks.spawn_local(async move {
                    let _ = tokio::time::timeout(GOODBYE, turn_away(stream, &worker.shared)).await;
                    worker.turning_away.set(worker.turning_away.get().saturating_sub(1));
                });
            }
            None => {}
        }
    }
}

async fn turn_away(mut stream: Stream, shared: &Shared) -> io::Result<()> {
    let problem = Problem::because(Code::Draining, "There are too many connections.").retry_after(1);
    let refusal = pipeline::refuse(shared, Problem { connection: Afterwards::Close, ..problem });
    stream.write_all(&unparsed::written(refusal)).await?;
    stream.shutdown().await?;
    // What was sent is read, or the system would reset the connection and with it the answer.
    let mut sent = [0; 4096];
    while stream.read(&mut sent).await? > 0 {}
    Ok(())
}

// ===== serving =====

/// Serves `entrances` on this thread until `stop`, then until every connection has ended, or until `cut`.
///
/// # Errors
/// When the thread cannot have a runtime, or the sockets cannot be used.
pub fn run(shared: Arc<Shared>, entrances: Vec<Entrance>, stop: &CancellationToken, cut: &CancellationToken) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let ids = RequestIds::new().map_err(|cause| io::Error::other(cause.to_string()))?;
    let tally = shared.counts.tally();
    let worker = Rc::new(Worker {
        shared,
        ids,
        tally,
        deadlines: Deadlines::new(),
        tasks: TaskTracker::new(),
        upstream: RefCell::default(),
        turning_away: Cell::new(0),
    });
    // A token of the thread's own: connections come and go on it without a lock that threads share.
    let stop = stop.child_token();
    runtime.block_on(async move {
        let outbox = tokio::task::spawn_local(outbox::run());
        let keeper = tokio::task::spawn_local(worker.deadlines.clone().keep());
        let sweeper = tokio::task::spawn_local(sweep(worker.clone()));
        let mut acceptors = Vec::new();
        for entrance in entrances {
            let listener = Listener::new(entrance.listening)?;
            acceptors.push(tokio::task::spawn_local(accept(worker.clone(), listener, entrance.manner, stop.clone())));
        }
        for acceptor in acceptors {
            let _ = acceptor.await;
        }
        worker.tasks.close();
        let _ = cut.run_until_cancelled(worker.tasks.wait()).await;
        outbox.abort();
        keeper.abort();
        sweeper.abort();
        Ok(())
    })
    // Whatever still runs is dropped here with the runtime; open audit entries close as interrupted.
}

async fn sweep(worker: Rc<Worker>) {
    let mut every = tokio::time::interval(SWEEP);
    loop {
        every.tick().await;
        let upstream = worker.upstream.borrow().clone();
        if let Some(upstream) = upstream {
            upstream.sweep();
        }
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn new(socket: Listening) -> io::Result<Self> {
        Ok(match socket {
            Listening::Tcp(socket) => Self::Tcp(TcpListener::from_std(socket)?),
            Listening::Unix(socket) => Self::Unix(UnixListener::from_std(socket)?),
        })
    }

    async fn accept(&self) -> io::Result<(Stream, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                let _ = stream.set_nodelay(true);
                Ok((Stream::Tcp(Tcp::new(stream)), Some(address.ip())))
            }
            Self::Unix(listener) => Ok((Stream::Unix(listener.accept().await?.0), None)),
        }
    }
}

async fn accept(worker: Rc<Worker>, listener: Listener, manner: Manner, stop: CancellationToken) {
    let proto = if manner.tls.is_some() { "https" } else { "http" };
    let welcome = |stream, address: Option<IpAddr>| {
        let peer = address.map_or_else(|| Peer::local(proto), |address| Peer::new(address, proto));
        worker.accepted(stream, peer, &manner, &stop);
    };
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, address)) => welcome(stream, address),
            Err(error) => rest_after(&error).await,
        }
    }
    // Whoever connected before the end is served: closing the socket would reset them.
    let end = tokio::time::Instant::now() + LONGEST_QUIET;
    while tokio::time::Instant::now() < end
        && let Ok(Ok((stream, address))) = tokio::time::timeout(QUIET, listener.accept()).await
    {
        welcome(stream, address);
    }
    // Under load it never gets quiet: what stands in the queue now is the last.
    while let Some(Ok((stream, address))) = listener.accept().now_or_never() {
        welcome(stream, address);
    }
}

/// Out of descriptors, most likely: trying again at once would only burn the processor.
async fn rest_after(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(Duration::from_millis(50)).await;
}
