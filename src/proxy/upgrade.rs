//! Requests that leave HTTP behind: WebSocket, over HTTP/1.1 (RFC 6455) or as a stream of HTTP/2 (RFC 8441).
//!
//! To every step before this one it is a GET of its endpoint: the policy decides it as such, and it is in the journal
//! before it goes anywhere. Nothing but `websocket` can be upgraded to: any other protocol (`h2c` above all) would
//! carry requests past Vicar.

use std::{cell::Cell, io, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::{
    body::{Body as _, Incoming},
    ext::Protocol,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{
    body::{Body, Held},
    connection::Exchange,
    deadline::Deadline,
    server::Worker,
};
use crate::{audit::Passed, directory::Refused};

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const KEY: HeaderName = header::SEC_WEBSOCKET_KEY;
/// How long nothing may pass in either direction.
const QUIET: Duration = Duration::from_secs(60 * 60);
/// How long one direction may go on after the other has ended.
const HALF_OPEN: Duration = Duration::from_secs(10);
/// Room for what is under way in one direction.
const BUFFER: usize = 8 << 10;

/// A caller's wish to leave HTTP.
#[derive(Debug)]
pub(super) struct Upgrade {
    caller: OnUpgrade,
    wish: Wish,
}

/// How it was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// `Upgrade: websocket`.
    Switch,
    /// `CONNECT` with `:protocol` websocket.
    ExtendedConnect,
}

/// How a conversation ended.
enum Ended {
    /// Both sides said goodbye.
    Orderly,
    /// One broke off, or both fell silent.
    Broken,
}

/// Whether a request wishes to leave HTTP. One that does so over HTTP/2 becomes the GET that it would be over HTTP/1.
pub(super) fn wished(request: &mut Request<Incoming>) -> Option<Upgrade> {
    let wish = match request.version() {
        Version::HTTP_11 if request.headers().contains_key(header::UPGRADE) => {
            let headers = request.headers();
            let websocket = has_token(headers, &header::UPGRADE, b"websocket") && headers.contains_key(KEY);
            let asks = has_token(headers, &header::CONNECTION, b"upgrade");
            if !websocket || !asks || request.method() != Method::GET || !request.body().is_end_stream() {
                return None;
            }
            Wish::Switch
        }
        Version::HTTP_2 if request.method() == Method::CONNECT => {
            if request.extensions().get::<Protocol>().map(Protocol::as_str) != Some("websocket") {
                return None;
            }
            *request.method_mut() = Method::GET;
            Wish::ExtendedConnect
        }
        _ => return None,
    };
    Some(Upgrade { caller: hyper::upgrade::on(request), wish })
}

/// Whether the upstream's answer is the agreement that was asked for.
pub(super) fn agreed(answer: &Response<Incoming>) -> bool {
    answer.status() == StatusCode::SWITCHING_PROTOCOLS && has_token(answer.headers(), &header::UPGRADE, b"websocket")
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &[u8]) -> bool {
    headers.get_all(name).iter().any(|value| value.as_bytes().split(|b| *b == b',').any(|t| t.trim_ascii().eq_ignore_ascii_case(token)))
}

impl Upgrade {
    /// Whether any answer of 2xx would be taken for an agreement, as RFC 9113 §8.5 has it of `CONNECT`.
    pub(super) fn is_extended_connect(&self) -> bool {
        self.wish == Wish::ExtendedConnect
    }

    /// Adds the wish to what the upstream is asked.
    pub(super) fn ask(&self, worker: &Worker, headers: &mut HeaderMap) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, WEBSOCKET);
        if self.wish == Wish::ExtendedConnect {
            let nonce = (u128::from(worker.ids.bits()) << 64 | u128::from(worker.ids.bits())).to_ne_bytes();
            if let Ok(key) = HeaderValue::try_from(STANDARD.encode(nonce)) {
                headers.insert(KEY, key);
            }
            headers.entry(header::SEC_WEBSOCKET_VERSION).or_insert(HeaderValue::from_static("13"));
        }
    }

    /// Turns the agreement into the caller's answer, and carries on from there until either side ends it, or
    /// `revoked` says that the key no longer holds.
    pub(super) fn switch(
        self,
        worker: &Worker,
        exchange: &Exchange,
        mut answer: Response<Incoming>,
        held: Held,
        revoked: impl Future<Output = Refused> + 'static,
    ) -> Response<Body> {
        let service = hyper::upgrade::on(&mut answer);
        let mut response = answer.map(|_| Body::Empty);
        let headers = response.headers_mut();
        match self.wish {
            Wish::Switch => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
                headers.insert(header::UPGRADE, WEBSOCKET);
            }
            Wish::ExtendedConnect => {
                headers.remove(header::SEC_WEBSOCKET_ACCEPT);
                *response.status_mut() = StatusCode::OK;
            }
        }
        let in_use = exchange.left_http();
        let deadline = worker.deadlines.deadline();
        worker.tasks.spawn_local(async move {
            converse(self.caller, service, held, &deadline, revoked).await;
            drop(in_use);
        });
        response
    }
}

async fn converse(caller: OnUpgrade, service: OnUpgrade, held: Held, deadline: &Deadline, revoked: impl Future<Output = Refused>) {
    let Held { mut entry, permit, span } = held;
    let passed = Arc::<Passed>::default();
    entry.counted_by(passed.clone());
    let ended = tokio::select! {
        ended = carry(caller, service, deadline, &passed) => ended,
        _ = revoked => Ended::Broken,
    };
    match ended {
        Ended::Orderly => entry.complete(),
        // Dropped unfinished, an entry says that it was interrupted.
        Ended::Broken => drop(entry),
    }
    drop((permit, span));
}

async fn carry(caller: OnUpgrade, service: OnUpgrade, deadline: &Deadline, passed: &Passed) -> Ended {
    let both = async {
        let (caller, service) = futures_util::future::try_join(caller, service).await.map_err(io::Error::other)?;
        let (caller_reads, caller_writes) = tokio::io::split(TokioIo::<Upgraded>::new(caller));
        let (service_reads, service_writes) = tokio::io::split(TokioIo::<Upgraded>::new(service));
        let lasting = Cell::new(QUIET);
        let upwards = pass(
            caller_reads,
            service_writes,
            |bytes| {
                passed.receive(bytes);
            },
            deadline,
            &lasting,
        );
        let downwards = pass(service_reads, caller_writes, |bytes| passed.send(bytes), deadline, &lasting);
        futures_util::future::try_join(upwards, downwards).await
    };
    deadline.arm(QUIET);
    match deadline.bound(both).await {
        Some(Ok(((), ()))) => Ended::Orderly,
        Some(Err(_)) | None => Ended::Broken,
    }
}

/// Hands bytes on in one direction until it ends, and ends the other side's reading with it.
async fn pass<R, W>(mut from: R, mut to: W, count: impl Fn(u64), deadline: &Deadline, lasting: &Cell<Duration>) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            lasting.set(HALF_OPEN);
            deadline.arm(HALF_OPEN);
            return to.shutdown().await;
        }
        to.write_all(buffer.get(..read).unwrap_or_default()).await?;
        to.flush().await?;
        count(read as u64);
        deadline.arm(lasting.get());
    }
}
