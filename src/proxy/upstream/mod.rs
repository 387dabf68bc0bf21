//! Step 11: the service behind.
//!
//! Each serving thread keeps its own connections, so that no lock and no other thread stands between a request and
//! the wire; how the addresses fare ([`Service`]) is known to all threads. [`Upstream::send`] takes a [`Grant`] and an
//! [`Entry`]: without both there is no way to the service.

mod health;
mod heard;
mod pool;
mod service;

use std::{
    cell::Cell,
    fmt, io,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use http::{Request, Response, Uri, header, uri};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioIo, TokioTimer};

use pin_project_lite::pin_project;

pub use health::check;
pub use service::{Address, Service, ServiceError, Target};

use self::{
    heard::Listening,
    pool::{Freshness, Link, Pool, Sent},
    service::Load,
};
use super::{
    connection::USUAL_FIELDS,
    deadline::{Deadline, Deadlines},
    local::Local,
    stream::Stream,
    tls::Alpn,
    upload::{UploadEnd, UploadState, UpstreamBody},
};
use crate::{audit::Entry, policy::Leave};

/// How often a service that speaks HTTP/2 is asked whether it is still there, and how long it has to say so.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_PATIENCE: Duration = Duration::from_secs(10);
/// How much an HTTP/2 service may send ahead, a stream and a connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// Shared connections that a request is given to. What does not get onto the wire of one goes to the next; with a service that
/// ends each connection soon after it was made, that could go on for as long as other requests make new ones.
const SHARED_TRIES: u32 = 3;

/// The service behind, as one serving thread sees it.
pub struct Upstream {
    service: Arc<Service>,
    pools: Vec<Pool>,
    turn: Cell<usize>,
    deadlines: Deadlines,
    /// Header fields that an answer may have.
    fields: usize,
}

/// A connection to the service while an exchange is on it.
pub struct Lease {
    link: Option<Link>,
    home: Rc<Upstream>,
    index: usize,
    _load: Option<Load>,
}

/// How long an exchange may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Until there is a connection.
    pub connect: Duration,
    /// From then until the answer begins.
    pub first_byte: Duration,
    /// When all of it has to be over, if it is bounded.
    pub end: Option<Instant>,
}

/// What comes of a request that was sent.
pub trait Answer: Future<Output = Answered> {}

impl<F: Future<Output = Answered>> Answer for F {}

/// A request on a connection.
struct Trial {
    lease: Lease,
    freshness: Freshness,
    /// What may be sent a second time.
    copy: Option<Box<Request<UpstreamBody>>>,
    /// As in [`Unanswered`].
    acted: Option<UpstreamError>,
    /// How many shared connections it was given to.
    shared: u32,
}

pin_project! {
    /// A request that waits for its answer. By hand, for an `async` function keeps twice what it is given.
    struct Sending<S> {
        #[pin]
        sent: Option<S>,
        trial: Option<Trial>,
        // Where the first try came to nothing.
        trying: Option<Pin<Box<dyn Future<Output = Answered>>>>,
        deadline: Rc<Deadline>,
        bounds: Bounds,
    }
}

/// The head of an answer, and the connection it came on.
pub type Answered = Result<(Response<Incoming>, Lease), UpstreamError>;

/// A request that is still to be sent, or is to be sent again.
struct Unanswered {
    request: Request<UpstreamBody>,
    /// Why the first try went wrong, where there was one: the service may have acted on it.
    acted: Option<UpstreamError>,
    shared: u32,
}

/// Why there is no answer to one try.
enum Failed {
    Finally(UpstreamError),
    Again(Box<Unanswered>),
}

/// Why the service gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// No connection in time.
    #[error("no connection in time")]
    ConnectTimeout,
    /// It could not be reached for a while, and is not being tried just now.
    #[error("left alone for another {wait:?} after connections failed")]
    Shut {
        /// Until the next trial.
        wait: Duration,
    },
    /// No first byte in time.
    #[error("no answer in time")]
    Timeout,
    /// The exchange broke off, or was no HTTP.
    #[error("{0}")]
    Http(hyper::Error),
    /// An answer without a body that does not say one length for it.
    #[error("the answer's Content-Length is not one number")]
    Lengths,
    /// A switch of protocols that nobody asked for.
    #[error("the service switched protocols unasked")]
    Unasked,
}

// ===== impl UpstreamError =====

impl UpstreamError {
    /// What it says, and what each cause behind it does.
    pub(super) fn in_full(&self) -> String {
        let mut words = self.to_string();
        let mut cause = match self {
            Self::Http(error) => std::error::Error::source(error),
            _ => None,
        };
        while let Some(error) = cause {
            words = format!("{words}: {error}");
            cause = error.source();
        }
        words
    }
}

// ===== impl Upstream =====

impl Upstream {
    /// The service, not yet connected to; its answers may have as many header `fields` as requests may, or the usual number
    /// where that is more.
    #[must_use]
    pub fn new(service: Arc<Service>, deadlines: Deadlines, fields: usize) -> Rc<Self> {
        let pools = service.addresses().iter().map(|_| Pool::default()).collect();
        Rc::new(Self { service, pools, turn: Cell::new(0), deadlines, fields })
    }

    /// The service it stands for.
    #[must_use]
    pub const fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Lets go of connections that have rested too long.
    pub fn sweep(&self) {
        for pool in &self.pools {
            pool.sweep(self.deadlines.tick());
        }
    }

    /// Sends a request that was granted and is in the journal, for the head of the answer. Where a connection is free, it is on
    /// its way when this returns.
    ///
    /// It is tried again only where the service cannot have acted on it (nothing has gone out: no connection, or one
    /// that was dead), or where acting twice changes nothing: a safe method without a body, on a connection that had rested
    /// and was gone when it was needed, before anything of an answer came. A second DELETE changes nothing either, but gets
    /// another answer than the first, and the record would tell of that one alone.
    ///
    /// The answer is an [`UpstreamError`] when there is no connection, no answer in time, or no HTTP in the answer.
    pub fn send(
        self: &Rc<Self>,
        request: Request<UpstreamBody>,
        _leave: Leave,
        _entry: &Entry,
        deadline: &Rc<Deadline>,
        bounds: Bounds,
    ) -> impl Answer + use<> {
        let unanswered = Unanswered { request, acted: None, shared: 0 };
        let index = self.service.choose(&[], self.turn.get()).filter(|_| self.service.speaks() == Alpn::Http1);
        let ready = index.and_then(|index| Some((index, self.pools.get(index)?.take_ready(self.deadlines.tick())?)));
        let deadline = deadline.clone();
        match ready {
            Some((index, linked)) => {
                self.next_turn();
                let (sent, trial) = self.try_on(linked, index, unanswered, &deadline, bounds);
                Sending { sent: Some(sent), trial: Some(trial), trying: None, deadline, bounds }
            }
            // Rare, and its way is long: boxed, so that the usual way is small.
            None => {
                let trying: Pin<Box<dyn Future<Output = Answered>>> =
                    Box::pin(self.clone().keep_trying(unanswered, deadline.clone(), bounds));
                Sending { sent: None, trial: None, trying: Some(trying), deadline, bounds }
            }
        }
    }

    fn try_on(
        self: &Rc<Self>,
        (mut link, freshness): (Link, Freshness),
        index: usize,
        unanswered: Unanswered,
        deadline: &Deadline,
        bounds: Bounds,
    ) -> (impl Future<Output = Sent> + use<>, Trial) {
        let Unanswered { mut request, acted, mut shared } = unanswered;
        if let Link::Shared(_) = link {
            shared += 1;
            self.absolute(index, &mut request);
        }
        let copy = if acted.is_none() && freshness == Freshness::Cold { harmless_copy(&request) } else { None };
        deadline.arm(bounds.at_most(bounds.first_byte));
        let load = self.service.load(index);
        let sent = link.send(request);
        let lease = Lease { link: Some(link), home: self.clone(), index, _load: load };
        (sent, Trial { lease, freshness, copy, acted, shared })
    }

    /// Tries one connection after the other, and new ones.
    async fn keep_trying(self: Rc<Self>, mut unanswered: Unanswered, deadline: Rc<Deadline>, bounds: Bounds) -> Answered {
        let deadline = &*deadline;
        let mut unreachable: Vec<usize> = Vec::new();
        let mut error = UpstreamError::ConnectTimeout;
        loop {
            let Some(index) = self.service.choose(&unreachable, self.next_turn()) else { return Err(unanswered.acted.unwrap_or(error)) };
            let linked = match self.pools.get(index).filter(|_| self.service.speaks() == Alpn::Http1) {
                Some(pool) => pool.take(self.deadlines.tick(), deadline, bounds.at_most(bounds.connect)).await,
                None => None,
            };
            let linked = match linked {
                Some(rested) => Ok(rested),
                None => self.link(index, deadline, bounds).await,
            };
            let linked = match linked {
                Ok(linked) => linked,
                Err(failed) => {
                    error = graver(error, failed, unreachable.is_empty());
                    unreachable.push(index);
                    continue;
                }
            };
            let (sent, trial) = self.try_on(linked, index, unanswered, deadline, bounds);
            match trial.judge(deadline.bound_pinned(pin!(sent)).await) {
                Ok(answer) => return Ok(answer),
                Err(Failed::Finally(error)) => return Err(error),
                Err(Failed::Again(again)) => unanswered = *again,
            }
        }
    }

    /// Whose turn it is, of several addresses that are as good; then it is the next one's.
    fn next_turn(&self) -> usize {
        self.turn.replace(self.turn.get().wrapping_add(1))
    }

    /// A new connection, or a place on a shared one.
    async fn link(&self, index: usize, deadline: &Deadline, bounds: Bounds) -> Result<(Link, Freshness), UpstreamError> {
        let Some(pool) = self.pools.get(index) else { return Err(UpstreamError::ConnectTimeout) };
        let now = self.deadlines.tick();
        match self.service.speaks() {
            Alpn::Http1 => {
                let stream = self.connect(index, deadline, bounds).await?;
                let mut builder = http1::Builder::new();
                if self.fields > USUAL_FIELDS {
                    // Told a number, the library makes room for as many with each answer.
                    builder.max_headers(self.fields);
                }
                let (listening, heard) = Listening::new(stream);
                let (sender, connection) = builder.handshake(TokioIo::new(listening)).await.map_err(UpstreamError::Http)?;
                // Owned by the thread's task set; it ends when the sender is dropped or the service closes.
                tokio::task::spawn_local(async move {
                    if let Err(error) = connection.with_upgrades().await {
                        tracing::debug!(%error, "upstream connection ended");
                    }
                });
                Ok((Link::Alone { sender, born: now, heard }, Freshness::New))
            }
            Alpn::Http2 => {
                if let Some(link) = pool.join(now) {
                    return Ok((link, Freshness::Cold));
                }
                // Whoever comes while one connection is being made waits for it no longer than for one of its own.
                deadline.arm(bounds.at_most(bounds.connect));
                let Some(_one) = deadline.bound(pool.connecting.lock()).await else { return Err(UpstreamError::ConnectTimeout) };
                if let Some(link) = pool.join(now) {
                    return Ok((link, Freshness::Cold));
                }
                let stream = self.connect(index, deadline, bounds).await?;
                let handshake = http2::Builder::new(Local)
                    .timer(TokioTimer::new())
                    .keep_alive_interval(PING_EVERY)
                    .keep_alive_timeout(PING_PATIENCE)
                    .initial_stream_window_size(STREAM_WINDOW)
                    .initial_connection_window_size(CONNECTION_WINDOW)
                    .handshake(TokioIo::new(stream));
                let (sender, connection) = handshake.await.map_err(UpstreamError::Http)?;
                tokio::task::spawn_local(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "upstream connection ended");
                    }
                });
                Ok((pool.share(sender, now), Freshness::New))
            }
        }
    }

    async fn connect(&self, index: usize, deadline: &Deadline, bounds: Bounds) -> Result<Stream, UpstreamError> {
        self.service.may_connect(index).map_err(|wait| UpstreamError::Shut { wait })?;
        deadline.arm(bounds.at_most(bounds.connect));
        match deadline.bound(self.service.connect(index)).await {
            Some(Ok(stream)) => {
                self.service.connected(index);
                Ok(stream)
            }
            Some(Err(error)) => {
                self.service.failed(index, &error);
                Err(UpstreamError::Connect(error))
            }
            None => {
                self.service.failed(index, &"no connection in time");
                Err(UpstreamError::ConnectTimeout)
            }
        }
    }

    /// HTTP/2 says the authority in the target and has no `Host`.
    fn absolute(&self, index: usize, request: &mut Request<UpstreamBody>) {
        // How long a body is and where it ends is said by frames.
        request.headers_mut().remove(header::TRANSFER_ENCODING);
        let (Some(address), Some(host)) = (self.service.addresses().get(index), request.headers_mut().remove(header::HOST)) else { return };
        let mut parts = uri::Parts::default();
        parts.scheme = uri::Scheme::try_from(address.scheme()).ok();
        parts.authority = uri::Authority::try_from(host.as_bytes()).ok();
        parts.path_and_query = request.uri().path_and_query().cloned();
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
}

/// Of two failures to reach the service, the one to report: one that was tried before one that was not, and of two
/// that were not, the one that will be tried first.
fn graver(before: UpstreamError, now: UpstreamError, first: bool) -> UpstreamError {
    match (&before, &now) {
        _ if first => now,
        (UpstreamError::Shut { wait }, UpstreamError::Shut { wait: later }) if later < wait => now,
        (UpstreamError::Shut { .. }, UpstreamError::Connect(_) | UpstreamError::ConnectTimeout) => now,
        _ => before,
    }
}

/// A copy of a request that may be made twice.
fn harmless_copy(request: &Request<UpstreamBody>) -> Option<Box<Request<UpstreamBody>>> {
    if !request.method().is_safe() || !matches!(request.body(), UpstreamBody::Empty) {
        return None;
    }
    let mut copy = Request::new(UpstreamBody::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(Box::new(copy))
}

impl Bounds {
    fn at_most(&self, span: Duration) -> Duration {
        self.end.map_or(span, |end| span.min(end.saturating_duration_since(Instant::now())))
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let idle: usize = self.pools.iter().map(Pool::resting).sum();
        f.debug_struct("Upstream").field("addresses", &self.service.addresses().len()).field("idle", &idle).finish()
    }
}

// ===== impl Sending, Trial, Lease =====

impl<S: Future<Output = Sent>> Future for Sending<S> {
    type Output = Answered;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answered> {
        let this = self.project();
        if let Some(sent) = this.sent.as_pin_mut()
            && this.trial.is_some()
        {
            let came = match sent.poll(cx) {
                Poll::Ready(came) => Some(came),
                Poll::Pending => {
                    ready!(this.deadline.poll_passed(cx));
                    None
                }
            };
            if let Some(trial) = this.trial.take() {
                let home = trial.lease.home.clone();
                match trial.judge(came) {
                    Ok(answer) => return Poll::Ready(Ok(answer)),
                    Err(Failed::Finally(error)) => return Poll::Ready(Err(error)),
                    Err(Failed::Again(unanswered)) => {
                        *this.trying = Some(Box::pin(home.keep_trying(*unanswered, this.deadline.clone(), *this.bounds)));
                    }
                }
            }
        }
        match this.trying {
            Some(trying) => trying.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

impl Trial {
    /// What is to be made of what came, if anything came in time.
    fn judge(self, came: Option<Sent>) -> Result<(Response<Incoming>, Lease), Failed> {
        let Self { lease, freshness, copy, acted, shared } = self;
        match came {
            Some(Ok(response)) => Ok((response, lease)),
            Some(Err(mut failed)) => {
                let unsent = failed.take_message();
                let failed = failed.into_error();
                match (unsent, copy) {
                    (Some(request), _) if freshness != Freshness::New && shared < SHARED_TRIES => {
                        Err(Failed::Again(Box::new(Unanswered { request, acted, shared })))
                    }
                    (None, Some(copy)) if lease.is_unanswered(&failed) => {
                        let acted = Some(UpstreamError::Http(failed));
                        Err(Failed::Again(Box::new(Unanswered { request: *copy, acted, shared })))
                    }
                    _ => Err(Failed::Finally(UpstreamError::Http(failed))),
                }
            }
            None => Err(Failed::Finally(UpstreamError::Timeout)),
        }
    }
}

impl Lease {
    fn is_unanswered(&self, error: &hyper::Error) -> bool {
        self.link.as_ref().is_some_and(|link| link.is_unanswered(error))
    }

    /// Gives the connection back, its answer read to the end; an answer that came before the request had gone out
    /// whole leaves the connection unusable. A lease that is dropped instead closes it.
    pub fn give_back(mut self, upload: Option<&UploadState>) {
        if upload.is_some_and(|upload| upload.ended.get() != UploadEnd::Whole) {
            return;
        }
        if let Some(pool) = self.home.pools.get(self.index) {
            pool.give_back(&mut self.link, self.home.deadlines.tick());
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lease")
    }
}
