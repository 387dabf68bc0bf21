//! The life of a connection: what comes before HTTP, which HTTP it is, and how it ends.

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures_util::FutureExt as _;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::TokioTimer;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_util::sync::CancellationToken;

use super::{
    arrival::Peer,
    body::Body,
    deadline::{Deadline, Deadlines},
    local::Local,
    phase::{BodyOf, Overdue, Phase, READY_FOR},
    pipeline,
    problem::Code,
    proxy_protocol::{self, Announced},
    rewrite::LastForwarded,
    server::{CallerBy, Manner, Slot, Worker},
    stream::Stream,
    streams::{Found, Open, Streams},
    unparsed::Unparsed,
    wire::{Seen, Wire},
};
use crate::settings::Timeouts;

/// First bytes of HTTP/2 with prior knowledge (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a kept-alive connection is still good for one request after the end has begun: a request may be on its
/// way, and closing would lose it.
const LINGER: Duration = Duration::from_secs(1);
/// Room for what comes first on a connection, in bytes: more than most heads need.
const USUAL_HEAD: usize = 4 << 10;
/// Most header fields that the HTTP library takes by itself, of callers and of the service.
pub(super) const USUAL_FIELDS: usize = 100;
/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 128;
/// How much a caller may send ahead over HTTP/2, a stream and a connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// How much of an answer may wait for an HTTP/2 caller to take it, a stream.
const SEND_BUFFER: usize = 256 << 10;
/// How often an HTTP/2 caller is asked whether it is still there, and how long it has to say so.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_PATIENCE: Duration = Duration::from_secs(20);
/// How often the streams of an HTTP/2 connection are looked at.
const REVIEW: Duration = Duration::from_secs(1);
/// How many looks an HTTP/2 connection has to end after it was told to.
const LAST_REVIEWS: u32 = 5;

/// One connection, as a request on it sees it.
#[derive(Debug)]
pub struct Exchange {
    /// The other end.
    pub peer: Peer,
    /// For the upstream's part of the exchange.
    pub deadline: Rc<Deadline>,
    /// Where the connection stands, for HTTP/1.
    pub phase: Option<Rc<Phase>>,
    /// The connection's place among those there may be.
    slot: Rc<Slot>,
    /// What is seen of the connection's bytes, for HTTP/1.
    seen: Option<Arc<Seen>>,
    /// What else is on the connection, for HTTP/2.
    streams: Option<Rc<Streams>>,
    /// What the upstream was last told of how the connection's requests come.
    pub(super) forwarded: Rc<LastForwarded>,
}

/// A connection that carries something else than HTTP, until dropped.
#[derive(Debug)]
pub(super) struct InUse {
    _slot: Rc<Slot>,
    _stream: Option<Open>,
}

/// How a stretch of requests over HTTP/1 ended.
enum Stretch {
    /// With the connection, or HTTP on it.
    Over,
    /// With nothing to do for a while; what has come meanwhile goes before what comes next.
    Resting(Stream, Vec<u8>),
}

impl Exchange {
    /// Whether the target came with a fragment, which the HTTP library drops.
    #[must_use]
    pub fn had_fragment(&self, method: &Method, uri: &Uri) -> bool {
        let Some(seen) = &self.seen else { return false };
        if seen.clear() {
            return false;
        }
        seen.had_fragment(method.as_str(), uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str))
    }

    /// What comes now is no HTTP any more, and nothing but what is returned says that the connection is in use.
    pub(super) fn left_http(&self) -> InUse {
        if let Some(seen) = &self.seen {
            seen.close_eyes();
        }
        InUse { _slot: self.slot.clone(), _stream: self.streams.as_ref().map(Streams::left_http) }
    }
}

impl Worker {
    /// Serves one connection from its first byte to its last.
    pub(super) async fn connection(
        self: Rc<Self>,
        mut stream: Stream,
        mut peer: Peer,
        manner: Manner,
        stop: CancellationToken,
        slot: Slot,
    ) {
        let timeouts = self.rules().timeouts.clone();
        let slot = Rc::new(slot);
        let deadline = self.deadlines.deadline();
        if manner.caller == CallerBy::ProxyHeader {
            deadline.arm(timeouts.head.0);
            match deadline.bound(Box::pin(self.announced(&mut stream, &peer))).await {
                Some(Ok(Announced::Client(address))) => peer = Peer::new(address, peer.proto),
                Some(Ok(Announced::Nobody)) => {}
                Some(Err(error)) => return tracing::debug!(%error, peer = %peer.address, "closed: the PROXY header does not hold"),
                None => return,
            }
        }
        if let Some(tls) = &manner.tls {
            deadline.arm(timeouts.handshake.0);
            // Boxed like all that comes once: the state of a handshake is large, and would stay with the connection.
            match deadline.bound(Box::pin(tls.accept(stream))).await {
                Some(Ok(shaken)) => {
                    peer.certificate = shaken.certificate();
                    stream = shaken;
                }
                Some(Err(error)) => {
                    self.shared.connections.no_handshake();
                    return tracing::debug!(%error, peer = %peer.address, "closed: no TLS");
                }
                None => return self.shared.connections.no_handshake(),
            }
        }
        deadline.arm(timeouts.head.0);
        // What was agreed on under TLS holds; without that, the first bytes tell.
        let first = if stream.alpn() == Some(b"http/1.1") {
            Vec::new()
        } else {
            let said = tokio::select! {
                biased;
                said = deadline.bound(first_bytes(&mut stream)) => said,
                () = left(&stop) => return,
            };
            let Some(Ok(first)) = said else { return };
            first
        };
        let second = first.starts_with(PREFACE);
        if stream.alpn() == Some(b"h2") && !second {
            return;
        }
        // What each needs while it is busy stands in a box of its own, so that a connection that rests goes without.
        if second {
            let wire = Wire::new(stream, first, Arc::new(Seen::opaque()), None);
            Box::pin(self.http2(wire, peer, slot, &timeouts, stop)).await;
            return;
        }
        let mut before = first;
        loop {
            let stretch = Box::pin(self.clone().http1(stream, before, &peer, &slot, &timeouts, &stop)).await;
            let Stretch::Resting(rested, unread) = stretch else { return };
            (stream, before) = (rested, unread);
            if before.is_empty() {
                deadline.arm(timeouts.keep_alive.0.saturating_sub(READY_FOR));
                let woken = tokio::select! {
                    biased;
                    byte = deadline.bound(stream.read_u8()) => byte,
                    () = left(&stop) => return,
                };
                let Some(Ok(byte)) = woken else { return };
                before.reserve(USUAL_HEAD);
                before.push(byte);
                // With what came with it: a buffer that has one byte in it makes the library take one of twice the size.
                if let Some(Err(_)) = stream.read_buf(&mut before).now_or_never() {
                    return;
                }
            }
        }
    }

    /// Who calls, as a trusted peer says it before anything else.
    async fn announced(&self, stream: &mut Stream, peer: &Peer) -> io::Result<Announced> {
        if !self.rules().trusted.iter().any(|net| net.contains(&peer.address)) {
            return Err(io::Error::other("the peer is not in trusted_proxies"));
        }
        proxy_protocol::read(stream).await
    }

    async fn http1(
        self: Rc<Self>,
        stream: Stream,
        before: Vec<u8>,
        peer: &Peer,
        slot: &Rc<Slot>,
        timeouts: &Timeouts,
        stop: &CancellationToken,
    ) -> Stretch {
        let wire = Wire::new(stream, before, Arc::default(), Some(Unparsed::new(self.shared.clone())));
        let phase = Rc::new(Phase::new(self.deadlines.deadline(), wire.seen().clone(), timeouts));
        let exchange = Rc::new(Exchange {
            peer: peer.clone(),
            deadline: Rc::new(self.deadlines.deadline()),
            phase: Some(phase.clone()),
            slot: slot.clone(),
            seen: Some(wire.seen().clone()),
            streams: None,
            forwarded: Rc::default(),
        });
        let seen = wire.seen().clone();
        let head = self.shared.head;
        let mut linger: Option<Deadline> = None;
        let deadlines = self.deadlines.clone();
        let shared = self.shared.clone();
        let service = service_fn({
            let phase = phase.clone();
            move |request: Request<Incoming>| {
                phase.asked(if request.body().is_end_stream() { BodyOf::Nothing } else { BodyOf::Something });
                let served = pipeline::serve(&self, &exchange, request);
                let (worker, phase) = (self.clone(), phase.clone());
                served.map(move |mut response| {
                    if worker.shared.draining.begun() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                    }
                    if !matches!(response.body(), Body::Relayed(_)) {
                        phase.answered();
                    }
                    Ok::<_, Infallible>(response)
                })
            }
        });
        let mut builder = http1::Builder::new();
        if head.fields != USUAL_FIELDS {
            // Told a number, the library makes room for as many with each request.
            builder.max_headers(head.fields);
        }
        let mut connection = builder
            // Never `pipeline_flush`: with it the library holds an answer without bound when the caller takes it slowly.
            .max_buf_size(head.bytes.max(8 << 10))
            .max_header_size(head.bytes)
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .serve_connection(wire, service)
            .with_upgrades();
        let mut stopped = pin!(stop.cancelled());
        let mut closing = false;
        let mut listening = false;
        let rests = poll_fn(|cx| {
            loop {
                if Pin::new(&mut connection).poll(cx).is_ready() {
                    return Poll::Ready(false);
                }
                match &linger {
                    // The word has this task's waker, and comes after the mark: no need to look again.
                    None if listening && !shared.draining.begun() => break,
                    None if stopped.as_mut().poll(cx).is_pending() => {
                        listening = true;
                        break;
                    }
                    None => linger.insert(deadlines.deadline()).arm(LINGER),
                    // A head that is still coming was not waited for.
                    Some(_) if closing && seen.owes_nothing() => return Poll::Ready(false),
                    Some(_) if closing => break,
                    Some(linger) => {
                        if linger.poll_passed(cx).is_pending() {
                            break;
                        }
                        closing = true;
                        Pin::new(&mut connection).graceful_shutdown();
                    }
                }
            }
            phase.review(timeouts);
            while phase.deadline().poll_passed(cx).is_ready() {
                match phase.overdue(timeouts) {
                    Overdue::Rest => return Poll::Ready(linger.is_none()),
                    Overdue::Close => return Poll::Ready(false),
                    Overdue::Wait => {}
                }
            }
            Poll::Pending
        })
        .await;
        match connection.into_parts().filter(|_| rests) {
            None => Stretch::Over,
            Some(parts) => {
                let (stream, mut unread) = parts.io.into_parts();
                unread.splice(..0, parts.read_buf);
                Stretch::Resting(stream, unread)
            }
        }
    }

    async fn http2(self: Rc<Self>, wire: Wire<Stream>, peer: Peer, slot: Rc<Slot>, timeouts: &Timeouts, stop: CancellationToken) {
        let seen = wire.seen().clone();
        let head = self.shared.head;
        let streams = Rc::new(Streams::new(self.deadlines.clone()));
        let review = self.deadlines.deadline();
        review.arm(REVIEW);
        let forwarded: Rc<LastForwarded> = Rc::default();
        let service = service_fn({
            let streams = streams.clone();
            move |mut request: Request<Incoming>| {
                let open = streams.open();
                let exchange = Rc::new(Exchange {
                    peer: peer.clone(),
                    deadline: Rc::new(self.deadlines.deadline()),
                    phase: None,
                    slot: slot.clone(),
                    seen: None,
                    streams: Some(streams.clone()),
                    forwarded: forwarded.clone(),
                });
                let worker = self.clone();
                async move {
                    if request.headers().len() > head.fields || list_size(&request) > head.bytes {
                        let mut response = pipeline::refuse(&worker.shared, Code::HeadTooLarge.into());
                        if request.method() == Method::HEAD {
                            pipeline::leave_body_away(&mut response);
                        }
                        return Ok::<_, Infallible>(response.map(|body| open.carry(body)));
                    }
                    join_cookies(&mut request);
                    let response = pipeline::serve(&worker, &exchange, request).await;
                    Ok(response.map(|body| open.carry(body)))
                }
            }
        });
        let connection = http2::Builder::new(Local)
            .max_concurrent_streams(STREAMS)
            // Beyond this the library answers, with a status and nothing else.
            .max_header_list_size(u32::try_from(head.bytes.saturating_mul(2)).unwrap_or(u32::MAX))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .enable_connect_protocol()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_PATIENCE)
            .serve_connection(wire, service);
        let mut connection = pin!(connection);
        let mut stopped = pin!(stop.cancelled());
        let mut told = false;
        // Looks since the connection was told to end for having nothing to do.
        let mut last: Option<u32> = None;
        poll_fn(|cx| {
            loop {
                if connection.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                if !told && stopped.as_mut().poll(cx).is_ready() {
                    told = true;
                    connection.as_mut().graceful_shutdown();
                    continue;
                }
                if review.poll_passed(cx).is_pending() {
                    return Poll::Pending;
                }
                review.arm(REVIEW);
                if let Some(looks) = &mut last {
                    *looks += 1;
                    if *looks > LAST_REVIEWS {
                        return Poll::Ready(());
                    }
                }
                match streams.review(&seen, timeouts) {
                    Found::Well => {}
                    Found::Flooding | Found::Stuck => return Poll::Ready(()),
                    Found::Idle if last.is_some() => {}
                    Found::Idle => {
                        last = Some(0);
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        })
        .await;
    }
}

/// When a connection that has not said anything is no longer waited for.
async fn left(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(LINGER).await;
}

/// The first bytes of a connection: enough to tell HTTP/2 from HTTP/1.
async fn first_bytes<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Vec<u8>> {
    let mut first = Vec::with_capacity(USUAL_HEAD);
    loop {
        if stream.read_buf(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let seen = first.len().min(PREFACE.len());
        if first.get(..seen) != PREFACE.get(..seen) || seen == PREFACE.len() {
            return Ok(first);
        }
    }
}

/// How large a head is, as HTTP/2 counts it (RFC 9113 section 6.5.2).
fn list_size(request: &Request<Incoming>) -> usize {
    let uri = request.uri();
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len()) + uri.authority().map_or(0, |host| host.as_str().len());
    request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum::<usize>() + target
}

/// HTTP/2 may send a cookie in crumbs, which HTTP/1 has in one field (RFC 9113 §8.2.3).
fn join_cookies(request: &mut Request<Incoming>) {
    let crumbs: Vec<&[u8]> = request.headers().get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        request.headers_mut().insert(header::COOKIE, whole);
    }
}

/// Whether so many ticks are more than a span.
pub(super) fn longer(ticks: u64, span: Duration) -> bool {
    ticks > Deadlines::ticks_in(span)
}
