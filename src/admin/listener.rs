//! The socket, TLS, and the life of a connection.

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::Router;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, UnixListener},
    sync::Semaphore,
    time::Sleep,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Desk, router};
use crate::proxy::{server::Listening, tls::ServerTls};

/// Connections at once: admins, scrapers and probes, not integrations.
const CONNECTIONS: usize = 256;
/// For a TLS handshake, for a request head to arrive, and for the peer to take some of an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// For a request to arrive whole and be answered; beyond it, the connection closes.
const LONGEST: Duration = Duration::from_secs(120);
/// For answers under way when the sidecar ends.
const GRACE: Duration = Duration::from_secs(2);

/// The client at the other end of a connection; `None` on a Unix socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) Option<IpAddr>);

/// A bound socket and how to speak on it.
#[derive(Debug)]
pub struct Door {
    /// The socket.
    pub listening: Listening,
    /// The certificate to serve, if any.
    pub tls: Option<Arc<ServerTls>>,
}

/// The running listener; [`Listener::close`] ends it.
#[derive(Debug)]
pub struct Listener {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

/// Serves `desk` behind `door` on the current runtime, until [`Listener::close`].
///
/// # Errors
/// When the socket cannot be used.
pub fn serve(desk: Desk, door: Door) -> io::Result<Listener> {
    let stop = CancellationToken::new();
    let serving = Serving {
        router: router(desk),
        tls: door.tls,
        stop: stop.clone(),
        room: Arc::new(Semaphore::new(CONNECTIONS)),
        connections: TaskTracker::new(),
    };
    let task = match door.listening {
        Listening::Tcp(socket) => tokio::spawn(serving.tcp(TcpListener::from_std(socket)?)),
        Listening::Unix(socket) => tokio::spawn(serving.unix(UnixListener::from_std(socket)?)),
    };
    Ok(Listener { stop, task })
}

#[derive(Clone)]
struct Serving {
    router: Router,
    tls: Option<Arc<ServerTls>>,
    stop: CancellationToken,
    room: Arc<Semaphore>,
    connections: TaskTracker,
}

// ===== impl Listener =====

impl Listener {
    /// No new connections; answers under way get a moment.
    pub async fn close(self) {
        self.stop.cancel();
        if tokio::time::timeout(GRACE, self.task).await.is_err() {
            tracing::warn!("answers of the admin listener were cut off");
        }
    }
}

// ===== impl Serving =====

impl Serving {
    async fn tcp(self, listener: TcpListener) {
        while let Some(accepted) = self.stop.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((stream, address)) => {
                    let _ = stream.set_nodelay(true);
                    self.take(stream, Peer(Some(address.ip())));
                }
                Err(error) => rest_after(&error).await,
            }
        }
        self.wait().await;
    }

    async fn unix(self, listener: UnixListener) {
        while let Some(accepted) = self.stop.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((stream, _)) => self.take(stream, Peer(None)),
                Err(error) => rest_after(&error).await,
            }
        }
        self.wait().await;
    }

    async fn wait(&self) {
        self.connections.close();
        self.connections.wait().await;
    }

    fn take<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S, peer: Peer) {
        let Ok(place) = self.room.clone().try_acquire_owned() else { return };
        let serving = self.clone();
        self.connections.spawn(async move {
            match &serving.tls {
                None => serving.connection(stream, peer).await,
                Some(tls) => match tokio::time::timeout(PATIENCE, acceptor(tls).accept(stream)).await {
                    Ok(Ok(stream)) => serving.connection(stream, peer).await,
                    Ok(Err(error)) => tracing::debug!(%error, "no TLS on the admin listener"),
                    Err(_) => {}
                },
            }
            drop(place);
        });
    }

    async fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S, peer: Peer) {
        let router = TowerToHyperService::new(self.router.clone());
        let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(peer);
            let answer = hyper::service::Service::call(&router, request);
            async move { tokio::time::timeout(LONGEST, answer).await.map_err(io::Error::other)?.map_err(io::Error::other) }
        });
        let io = TokioIo::new(Impatient { stream, stalled: None });
        let connection = http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(PATIENCE).serve_connection(io, service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => return,
            () = self.stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }
}

/// A stream whose peer has so long to take what is written: who asks and reads nothing would hold a place for ever.
struct Impatient<S> {
    stream: S,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    /// What came of writing; an error where the peer has taken nothing for too long.
    fn judge<T>(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.stalled = None;
            return wrote;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge(cx, wrote)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.judge(cx, ended)
    }
}

/// Out of descriptors, most likely: trying again at once would only burn the processor.
async fn rest_after(error: &io::Error) {
    tracing::warn!(%error, "an admin connection could not be accepted");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// With the certificate in force. The data port may offer HTTP/2 with it; here HTTP/1.1 alone is spoken.
fn acceptor(tls: &ServerTls) -> TlsAcceptor {
    let mut config = rustls::ServerConfig::clone(&tls.config());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}
